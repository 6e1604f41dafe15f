"""Protection by 2:1 clay minerals."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Array, Float

from diffsoil.parameters import UNIFORM, parameter
from diffsoil.process import Environment
from diffsoil.processes.protection.mechanism import SOURCE, Mechanism


def clay_modifier(one_to_one_share: Float[Array, "..."], b1: Float[Array, ""]) -> Array:
    """``B1 + (1 - B1) * 1:1 / (1:1 + 2:1)``: 2:1 clay minerals protect.

    Args:
        one_to_one_share: mass share of 1:1 minerals in 1:1 and 2:1 clay minerals, 0 to 1.
        b1: modifier of a soil without 1:1 minerals, 0 to 1.
    """
    return b1 + (1.0 - b1) * one_to_one_share


class Clay(Mechanism):
    """Surfaces and interlayers of 2:1 clay minerals; see :func:`clay_modifier`."""

    name: ClassVar[str] = "clay"
    needs: ClassVar[tuple[str, ...]] = ("one_to_one_share",)
    strength: ClassVar[str] = "b1"
    words: ClassVar[str] = "clay minerals"
    colour: ClassVar[str] = "#E69F00"

    b1: Float[Array, ""] = parameter(
        0.8, unit="1", lower=0.4, upper=1.0, prior=UNIFORM, source=SOURCE + ", B1",
        description="modifier of a soil without 1:1 clay minerals",
    )  # fmt: skip

    def __call__(self, soil: Environment) -> Array:
        """See :class:`.mechanism.Mechanism`."""
        return clay_modifier(soil["one_to_one_share"], self.b1)
