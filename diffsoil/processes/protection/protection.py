"""The process: the modifier of decomposition that all mechanisms together leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from diffsoil.process import Environment, Process
from diffsoil.processes.protection.mechanism import Mechanism
from diffsoil.processes.protection.mechanisms import MECHANISMS, modifier
from diffsoil.processes.protection.minimum import HardMinimum, SoftMinimum
from diffsoil.state import State
from diffsoil.variables import LAYER, Variable

OVERALL = modifier("overall")


class Protection(Process):
    """Rate modifier d of every layer: the minimum of the chosen mechanisms.

    Attributes:
        mechanisms: names of those that act.
        minimum: of their modifiers.
        parts: the mechanisms of the program and those that act, with their parameters.
    """

    name: ClassVar[str] = "protection"
    variables: ClassVar[Mapping[str, Variable]] = {
        "modifier_overall": Variable(
            LAYER, "1", "rate modifier by protection", neutral=1.0, output=True
        ),
    }

    mechanisms: tuple[str, ...] = eqx.field(static=True, default=tuple(MECHANISMS.own))
    minimum: HardMinimum | SoftMinimum = HardMinimum()
    parts: tuple[Mechanism, ...] = ()

    def __post_init__(self) -> None:
        if not self.parts:
            names = dict.fromkeys((*MECHANISMS.own, *self.mechanisms))
            self.parts = tuple(MECHANISMS[name]() for name in names)

    @property
    def acting(self) -> dict[str, Mechanism]:
        """The chosen mechanisms by name."""
        parts = {part.name: part for part in self.parts}
        return {name: parts[name] for name in self.mechanisms}

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Only what the chosen mechanisms need."""
        return ("clay_percent", *(need for of in self.acting.values() for need in of.needs))

    @property
    def provides(self) -> tuple[str, ...]:  # type: ignore[override]
        """The modifier of each mechanism, 1 where it does not act, and that of all."""
        return (*(modifier(part.name) for part in self.parts), OVERALL)

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        found = {name: of(environment) for name, of in self.acting.items()}
        return state, self._provided(environment, found)

    def _provided(
        self, soil: Environment, found: Mapping[str, Array], weights: Array | None = None
    ) -> Environment:
        """All that is provided, from the modifiers of the chosen mechanisms."""
        one = jnp.ones_like(soil["clay_percent"])
        overall = self.minimum(jnp.stack(list(found.values())), weights) if found else one
        modifiers = {modifier(name): value for name, value in found.items()}
        return dict.fromkeys(self.provides, one) | modifiers | {OVERALL: overall}
