"""Protection inside aggregates."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import UNIFORM, parameter
from diffsoil.process import Environment
from diffsoil.processes.protection.mechanism import SOURCE, Mechanism


def aggregation_modifier(
    base_saturation: Float[Array, "..."],
    calcite: Float[Array, "..."],
    b3a: Float[Array, ""],
    b3b: Float[Array, ""],
) -> Array:
    """``min(1 - B3a BS / 100, 1 - B3b calcite)``: aggregates of a base-rich soil protect.

    Args:
        base_saturation: %, 0 to 100.
        calcite: mass fraction, 0 to 1.
        b3a, b3b: largest protections, 0 to 1.
    """
    return jnp.minimum(1.0 - b3a * base_saturation / 100.0, 1.0 - b3b * calcite)


class Aggregation(Mechanism):
    """Aggregates that bases and calcite hold together; see :func:`aggregation_modifier`."""

    name: ClassVar[str] = "aggregation"
    needs: ClassVar[tuple[str, ...]] = ("base_saturation", "calcite_fraction")
    strength: ClassVar[str] = "b3a"
    words: ClassVar[str] = "aggregation"
    colour: ClassVar[str] = "#0072B2"

    b3a: Float[Array, ""] = parameter(
        0.2, unit="1", lower=0.0, upper=0.6, prior=UNIFORM, source=SOURCE + ", B3a",
        description="protection by aggregation at a base saturation of 100 %",
    )  # fmt: skip
    b3b: Float[Array, ""] = parameter(
        0.2, unit="1", lower=0.0, upper=0.6, prior=UNIFORM, source=SOURCE + ", B3b",
        description="protection by aggregation in pure calcite",
    )  # fmt: skip

    def __call__(self, soil: Environment) -> Array:
        """See :class:`.mechanism.Mechanism`."""
        base_saturation, calcite = (soil[name] for name in self.needs)
        return aggregation_modifier(base_saturation, calcite, self.b3a, self.b3b)
