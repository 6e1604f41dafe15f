"""Protection by hydroxides of aluminium and iron."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import UNIFORM, parameter
from diffsoil.process import Environment
from diffsoil.processes.protection.mechanism import SOURCE, Mechanism

MOOH_MINIMUM = 0.8
"""Most protection that dissolved Al and Fe can give."""


def mooh_modifier(dissolved_al_fe: Float[Array, "..."], b2: Float[Array, ""]) -> Array:
    """``max(0.8, exp(-B2 (Al + Fe)))``: Al and Fe hydroxides protect.

    Args:
        dissolved_al_fe: dissolved Al3+, Fe3+ and Fe2+, mmol/dm3, >= 0.
        b2: dm3/mmol, >= 0.
    """
    return jnp.maximum(MOOH_MINIMUM, jnp.exp(-b2 * dissolved_al_fe))


class Mooh(Mechanism):
    """Hydroxides that form where Al and Fe are in solution; see :func:`mooh_modifier`."""

    name: ClassVar[str] = "mooh"
    needs: ClassVar[tuple[str, ...]] = ("dissolved_al_fe",)
    strength: ClassVar[str] = "b2"
    words: ClassVar[str] = "Al and Fe hydroxides"
    colour: ClassVar[str] = "#CC79A7"

    b2: Float[Array, ""] = parameter(
        5.0, unit="dm3 mmol-1", lower=0.0, upper=20.0, prior=UNIFORM, source=SOURCE + ", B2",
        description="protection by dissolved Al and Fe",
    )  # fmt: skip

    def __call__(self, soil: Environment) -> Array:
        """See :class:`.mechanism.Mechanism`."""
        return mooh_modifier(soil["dissolved_al_fe"], self.b2)
