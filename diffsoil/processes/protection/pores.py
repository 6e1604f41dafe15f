"""Protection in pores too fine for microorganisms."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import UNIFORM, parameter
from diffsoil.process import Environment
from diffsoil.processes.protection.mechanism import SOURCE, Mechanism


def pore_modifier(
    mesopores: Float[Array, "..."], micropores: Float[Array, "..."], b4: Float[Array, ""]
) -> Array:
    """``B4 + (1 - B4) * meso / (meso + micro)``: carbon in micropores is out of reach.

    Args:
        mesopores, micropores: volume fractions, >= 0.
        b4: modifier of a soil without mesopores, 0 to 1.
    """
    return b4 + (1.0 - b4) * safe.divide(mesopores, mesopores + micropores, otherwise=1.0)


class Pores(Mechanism):
    """Carbon in micropores; see :func:`pore_modifier`."""

    name: ClassVar[str] = "pores"
    needs: ClassVar[tuple[str, ...]] = ("mesopores", "micropores")
    strength: ClassVar[str] = "b4"
    words: ClassVar[str] = "pores"
    colour: ClassVar[str] = "#009E73"

    b4: Float[Array, ""] = parameter(
        0.8, unit="1", lower=0.4, upper=1.0, prior=UNIFORM, source=SOURCE + ", B4",
        description="modifier of a soil without mesopores",
    )  # fmt: skip

    def __call__(self, soil: Environment) -> Array:
        """See :class:`.mechanism.Mechanism`."""
        return pore_modifier(soil["mesopores"], soil["micropores"], self.b4)
