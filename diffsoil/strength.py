"""Processes as inputs: the strength of a process, from 0 (removed) to 1 (as it is).

A process of strength s does its work beside its stand-in, or beside nothing, and the column gets
``s`` parts of the one and ``1 - s`` of the other: of the state after it, and of what it provides.
A mean of two columns that conserve carbon, elements and water conserves them too, and what is
positive in both stays positive. Strengths are traced, so one compiled program serves all of them;
at 0 the column is the one without the process (:func:`without`), which is faster.

The mechanisms of protection have strengths of their own, ``protection.clay`` and so on: the
modifier of a mechanism is blended with 1, inside the minimum.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import cast

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from diffsoil.column import Column, removable
from diffsoil.process import Environment, Process
from diffsoil.processes.protection import Protection
from diffsoil.state import State
from diffsoil.variables import VARIABLES

PREFIX = f"{Protection.name}."
"""Of the names of the mechanisms of protection."""


class Blended(Process):
    """A process of some strength, in its place and with its name.

    Attributes:
        process: at a strength of 1.
        instead: what acts at a strength of 0; None where nothing does.
        strength: 0 to 1.
    """

    process: Process
    instead: Process | None
    strength: Float[Array, ""]

    @property
    def name(self) -> str:  # type: ignore[override]
        """Of the process."""
        return self.process.name

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of both."""
        other = self.instead.needs if self.instead else ()
        return tuple(dict.fromkeys((*self.process.needs, *other)))

    @property
    def yearly_needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of the process; no stand-in acts by the year."""
        return self.process.yearly_needs

    @property
    def provides(self) -> tuple[str, ...]:  # type: ignore[override]
        """What the process provides."""
        return self.process.provides

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of both."""
        other = self.instead.reads if self.instead else ()
        return tuple(dict.fromkeys((*self.process.reads, *other)))

    @property
    def changes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Of the process."""
        return self.process.changes

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        after, provided = self.process.slow(state, environment, years)
        without: State = state
        other: Environment = {}
        if self.instead is not None:
            without, other = self.instead.slow(state, environment, years)
        for name, value in provided.items():
            neutral = VARIABLES[name].neutral
            if name not in other and neutral is not None:
                other[name] = jnp.full_like(value, neutral)
        # what has neither is used by the process alone, and stays as it is
        blended = {name: self._blend(provided[name], other[name]) for name in other}
        return self._blend_states(after, without), provided | blended

    def year(self, state: State, environment: Environment) -> State:
        """See :class:`diffsoil.process.Process`."""
        return self._blend_states(self.process.year(state, environment), state)

    def _blend(self, with_it: Array, without: Array) -> Array:
        # exact at both ends
        return self.strength * with_it + (1.0 - self.strength) * without

    def _blend_states(self, with_it: State, without: State) -> State:
        def one(a: Array, b: Array) -> Array:
            return a if a is b else self._blend(a, b)  # what nobody has touched

        return jax.tree.map(one, with_it, without)


class BlendedProtection(Protection):
    """Protection whose mechanisms have strengths.

    Attributes:
        strengths: by mechanism, in the order of ``mechanisms``.
    """

    strengths: tuple[Float[Array, ""], ...] = ()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        one = jnp.ones_like(environment["clay_percent"])
        found = {
            name: strength * of(environment) + (1.0 - strength) * one
            for (name, of), strength in zip(self.acting.items(), self.strengths, strict=True)
        }
        return state, self._provided(environment, found, jnp.stack(self.strengths))


def candidates(column: Column) -> tuple[str, ...]:
    """What may have a strength: processes that can be removed, then mechanisms of protection."""
    processes = removable(column)
    mechanisms: tuple[str, ...] = ()
    if Protection.name in processes:
        mechanisms = cast(Protection, column.process(Protection.name)).mechanisms
    return (*processes, *(f"{PREFIX}{mechanism}" for mechanism in mechanisms))


def apply(column: Column, strengths: Mapping[str, ArrayLike]) -> Column:
    """A column in which some processes have strengths.

    Args:
        column: with the parameter values to use: those of a blended process can no longer be set.
        strengths: by the names of :func:`candidates`, 0 to 1; others stay as they are. May be
            traced.

    Raises:
        KeyError: a name that is no candidate.
    """
    known = candidates(column)
    for name in strengths:
        if name not in known:
            raise KeyError(name)
    given = {name: jnp.asarray(value, dtype=float) for name, value in strengths.items()}
    if any(name.startswith(PREFIX) for name in given):
        old = cast(Protection, column.process(Protection.name))
        blend = tuple(given.get(f"{PREFIX}{m}", jnp.ones(())) for m in old.mechanisms)
        column = column.replaced(
            BlendedProtection(old.mechanisms, old.minimum, old.parts, strengths=blend)
        )
    for name, strength in given.items():
        if not name.startswith(PREFIX):
            process = column.process(name)
            column = column.replaced(Blended(process, process.stand_in(), strength))
    return column


def without(column: Column, names: Iterable[str]) -> Column:
    """The column without some candidates: they are not traced, not compiled and not run.

    Args:
        column: the column.
        names: of :func:`candidates`.

    Raises:
        KeyError: a name that is no candidate.
    """
    names = list(names)
    known = candidates(column)
    for name in names:
        if name not in known:
            raise KeyError(name)
    gone = {name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)}
    if gone:
        old = cast(Protection, column.process(Protection.name))
        left = tuple(m for m in old.mechanisms if m not in gone)
        column = column.replaced(dataclasses.replace(old, mechanisms=left))
    for name in names:
        if not name.startswith(PREFIX):
            column = column.without(name)
    return column
