"""Where matter that is laid on the surface goes: under the plough, or buried by earthworms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.state import State
from diffsoil.variables import LAYER, Variable

THINNEST = 1e-6
"""m; what is buried no deeper lies in the uppermost layer."""


def buried(
    depth_top: Float[Array, " layer"],
    thickness: Float[Array, " layer"],
    depth: Float[Array, ""],
) -> Float[Array, " layer"]:
    """Shares of the layers in what falls exponentially with depth; they sum to 1.

    Args:
        depth_top, thickness: of the layers, m.
        depth: in which it falls to 1/e, m; 0 for all of it in the uppermost layer.
    """
    length = jnp.maximum(depth, THINNEST)
    faces = jnp.append(depth_top, depth_top[-1] + thickness[-1])
    above = jnp.exp(-faces / length)
    return (above[:-1] - above[1:]) / (above[0] - above[-1])


class Burial(Process):
    """Leaves, manure and litter: evenly into ploughed layers, else buried by anecic fauna."""

    name: ClassVar[str] = "burial"
    variables: ClassVar[Mapping[str, Variable]] = {
        "surface_share": Variable(
            LAYER, "1", "share of the layer in what is laid on the surface and worked in"
        ),
    }
    needs: ClassVar[tuple[str, ...]] = ("thickness", "depth_top", "plough_fraction")
    provides: ClassVar[tuple[str, ...]] = ("surface_share",)

    depth: Float[Array, ""] = parameter(
        0.0, unit="m", lower=0.0, upper=0.5, prior=normal(0.08, 0.04),
        source="0 in van der Meij & Finke (2026); assumption: earthworms bury litter over some "
        "0.08 m, 0.03 to 0.15",
        description="depth in which what is laid on an unploughed soil falls to 1/e",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        thickness = environment["thickness"]
        ploughed = environment["plough_fraction"] * thickness
        total = jnp.sum(ploughed)
        by_fauna = buried(environment["depth_top"], thickness, self.depth)
        share = jnp.where(total > 0, safe.divide(ploughed, total), by_fauna)
        return state, {"surface_share": share}
