"""Farmyard manure: partly decomposed carbon, ploughed in or left on the surface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.carbon import MANURE_HUM
from diffsoil.state import State
from diffsoil.variables import MONTH_QUALITY_PLACE, Variable


class Manure(Process):
    """Carbon of farmyard manure by month, quality and layer."""

    name: ClassVar[str] = "manure"
    variables: ClassVar[Mapping[str, Variable]] = {
        "manure_carbon": Variable(
            MONTH_QUALITY_PLACE, "Mg ha-1", "manure carbon by month, quality and place", neutral=0.0
        ),
    }
    needs: ClassVar[tuple[str, ...]] = (
        "manure_input",
        "manure_months",
        "surface_share",
    )
    provides: ClassVar[tuple[str, ...]] = ("manure_carbon",)

    factor: Float[Array, ""] = parameter(
        1.0,
        unit="1",
        lower=0.2,
        upper=2.0,
        prior=lognormal(1.0, 0.25),
        source="assumption: carbon of 35 t fresh manure is known to a quarter",
        description="factor on the estimated carbon of farmyard manure",
    )
    hum_share: Float[Array, ""] = parameter(
        MANURE_HUM,
        unit="1",
        lower=0.0,
        upper=0.5,
        prior=normal(0.02, 0.08),
        source="RothC-26.3: 0.02; manures vary with age and storage",
        description="share of manure carbon that is already humified",
    )
    dpm_share: Float[Array, ""] = parameter(
        0.5,
        unit="1",
        lower=0.0,
        upper=1.0,
        prior=normal(0.5, 0.15),
        source="RothC-26.3: 0.49 / (0.49 + 0.49)",
        description="DPM share of the manure carbon that is not humified",
    )

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        monthly = environment["manure_months"] * environment["manure_input"] * self.factor
        fresh = 1.0 - self.hum_share
        decomposable = fresh * self.dpm_share
        qualities = jnp.stack([decomposable, fresh - decomposable, self.hum_share])
        place = jnp.concatenate([jnp.zeros(1), environment["surface_share"]])
        carbon = monthly[:, None, None] * qualities[None, :, None] * place[None, None]
        return state, {"manure_carbon": carbon}
