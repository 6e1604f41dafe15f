"""Layers as material: where a layer lies follows from its mass and its bulk density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.process import Environment, Process
from diffsoil.state import State
from diffsoil.units import MG_PER_HA_M
from diffsoil.variables import LAYER, Variable


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
    variables: ClassVar[Mapping[str, Variable]] = {
        "thickness": Variable(LAYER, "m", "thickness of the layer", output=True, share_of="itself"),
        "depth_top": Variable(LAYER, "m", "depth of the upper face of the layer"),
    }
    needs: ClassVar[tuple[str, ...]] = ("soil_mass", "bulk_density")
    provides: ClassVar[tuple[str, ...]] = ("thickness", "depth_top")

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        thickness = environment["soil_mass"] / (environment["bulk_density"] * MG_PER_HA_M)
        return state, {"thickness": thickness, "depth_top": jnp.cumsum(thickness) - thickness}
