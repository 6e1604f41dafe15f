"""Layers as material: where a layer lies follows from its mass and its bulk density."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.process import Environment, Process
from diffsoil.state import State

MG_PER_HA_M = 1e4
"""Mg/ha in a layer of 1 m at a bulk density of 1 g/cm3."""


MG_PER_KG_M2 = 10.0
"""Mg/ha in a kg/m2."""


def overlap(
    depth_top: Float[Array, " layer"],
    thickness: Float[Array, " layer"],
    upper: Float[Array, ""] | float,
    lower: Float[Array, ""] | float,
) -> Float[Array, " layer"]:
    """Share of each layer that lies between two depths (all in m, ``upper <= lower``)."""
    inside = jnp.minimum(depth_top + thickness, lower) - jnp.maximum(depth_top, upper)
    return jnp.clip(inside / thickness, 0.0, 1.0)


class Geometry(Process):
    """Thickness and depth of the layers; a soil that loosens or settles moves its layers."""

    name: ClassVar[str] = "geometry"
    needs: ClassVar[tuple[str, ...]] = ("soil_mass", "bulk_density")
    provides: ClassVar[tuple[str, ...]] = ("thickness", "depth_top")

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        thickness = environment["soil_mass"] / (environment["bulk_density"] * MG_PER_HA_M)
        return state, {"thickness": thickness, "depth_top": jnp.cumsum(thickness) - thickness}
