"""Physical weathering: frost and heat break sand into silt and silt into clay."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, parameter
from diffsoil.process import Environment, Process
from diffsoil.state import State

CLAY_FROM_SAND = 0.04
"""Share of broken sand that is of clay size at once (Salvador-Blanes et al. 2007)."""

REFERENCE_AMPLITUDE = 20.0
"""degC; yearly range of soil temperature at which the rates below hold."""


class PhysicalWeathering(Process):
    """Breaking of grains, faster where the temperature changes more over the year."""

    name: ClassVar[str] = "physical_weathering"
    needs: ClassVar[tuple[str, ...]] = ("soil_temperature",)
    reads: ClassVar[tuple[str, ...]] = ("ground",)

    sand_rate: Float[Array, ""] = parameter(
        2.0e-6, unit="a-1", lower=0.0, upper=1e-4, prior=lognormal(2.0e-6, 1.0),
        source="assumption: some percent of the sand in ten thousand years",
        description="share of sand that breaks in a year",
    )  # fmt: skip
    silt_rate: Float[Array, ""] = parameter(
        1.0e-6, unit="a-1", lower=0.0, upper=1e-4, prior=lognormal(1.0e-6, 1.0),
        source="assumption: about one percent of the silt in ten thousand years",
        description="share of silt that breaks in a year",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None
        monthly = environment["soil_temperature"]
        stress = (jnp.max(monthly, axis=0) - jnp.min(monthly, axis=0)) / REFERENCE_AMPLITUDE
        clay, silt, sand = (ground.minerals[:, i] for i in range(3))
        broken_sand = sand * -jnp.expm1(-self.sand_rate * stress * years)[None]
        broken_silt = silt * -jnp.expm1(-self.silt_rate * stress * years)[None]
        minerals = jnp.stack(
            [
                clay + broken_silt + CLAY_FROM_SAND * broken_sand,
                silt - broken_silt + (1.0 - CLAY_FROM_SAND) * broken_sand,
                sand - broken_sand,
            ],
            axis=1,
        )
        ground = dataclasses.replace(ground, minerals=minerals)
        return eqx.tree_at(lambda s: s.ground, state, ground), {}
