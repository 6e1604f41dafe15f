"""Plant carbon: how much, when in the year, into which pool, and at which depth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.carbon import plant_shares
from diffsoil.state import State
from diffsoil.units import CM_PER_M
from diffsoil.variables import MONTH_QUALITY_PLACE, Variable


def root_distribution(
    depth_top: Float[Array, " layer"],
    thickness: Float[Array, " layer"],
    beta: Float[Array, ""],
) -> Float[Array, " layer"]:
    """Share of the roots in each layer, normalised to the depth of the profile.

    Args:
        depth_top, thickness: of the layers, m.
        beta: coefficient of the cumulative share ``1 - beta^z`` (z in cm), 0 < beta < 1.

    Source: Jackson et al. (1996).
    """
    upper = beta ** (CM_PER_M * depth_top)
    lower = beta ** (CM_PER_M * (depth_top + thickness))
    return (upper - lower) / (upper[0] - lower[-1])


class Vegetation(Process):
    """Carbon of roots and leaves; the yearly amount of each input group has its own factor."""

    name: ClassVar[str] = "vegetation"
    variables: ClassVar[Mapping[str, Variable]] = {
        "plant_carbon": Variable(
            MONTH_QUALITY_PLACE, "Mg ha-1", "plant carbon by month, quality and place"
        ),
    }
    needs: ClassVar[tuple[str, ...]] = (
        "plant_input",
        "plant_input_months",
        "leaf_share",
        "root_beta",
        "litter_layer",
        "dpm_rpm_ratio",
        "thickness",
        "depth_top",
        "surface_share",
    )
    provides: ClassVar[tuple[str, ...]] = ("plant_carbon",)

    input_factor: dict[str, Float[Array, ""]] = parameter(
        1.0,
        unit="1",
        lower=0.05,
        upper=5.0,
        prior=lognormal(1.0, 0.4),
        source="assumption: input estimates are good to about half to double",
        description="factor on the estimated plant carbon input of a group",
    )

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        # by name: a dict that has been through JAX comes back sorted
        factors = jnp.stack([self.input_factor[group] for group in sorted(self.input_factor)])
        monthly = environment["plant_input_months"] * jnp.sum(environment["plant_input"] * factors)
        thickness = environment["thickness"]
        leaves = environment["leaf_share"]
        litter = leaves * environment["litter_layer"]
        roots = root_distribution(environment["depth_top"], thickness, environment["root_beta"])
        mineral = (1.0 - leaves) * roots + (leaves - litter) * environment["surface_share"]
        place = jnp.concatenate([litter[None], mineral])
        decomposable, resistant = plant_shares(environment["dpm_rpm_ratio"])
        qualities = jnp.stack([decomposable, resistant, jnp.zeros(())])
        carbon = monthly[:, None, None] * qualities[None, :, None] * place[None, None, :]
        return state, {"plant_carbon": carbon}
