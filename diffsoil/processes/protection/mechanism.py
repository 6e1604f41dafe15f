"""What a mechanism of protection is."""

from __future__ import annotations

import abc
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array

from diffsoil.process import Environment

SOURCE = "van der Meij & Finke (2026), Table 1"


class Mechanism(eqx.Module):
    """One way in which a soil protects its carbon; its fields are parameters of ``protection``."""

    name: ClassVar[str]
    """What a case writes; the output is ``modifier_NAME``."""
    needs: ClassVar[tuple[str, ...]]
    """Variables that it must find."""
    strength: ClassVar[str]
    """The parameter that says how much it protects, of those that it has."""
    words: ClassVar[str]
    """What protects, in tables and pictures."""
    colour: ClassVar[str]
    """Of its areas in pictures, ``#RRGGBB``."""

    @abc.abstractmethod
    def __call__(self, soil: Environment) -> Array:
        """Modifier of the rate of decomposition of every layer, above 0 and at most 1."""
