"""Time: slow steps, the years inside them, and phases. The only owner of ``lax.scan`` in time.

A phase is a stretch of history with one slow step. What its processes need is either constant
over the phase or a series with one entry for each slow step. Processes whose needs follow from
the case alone are computed ahead (:func:`prepare`), once for a constant phase, in a scan of
their own for a series; :func:`advance` then steps the rest through time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from diffsoil.column import Column
from diffsoil.process import SOLVED, Environment, Process
from diffsoil.quantities import YEARLY
from diffsoil.state import State
from diffsoil.variables import QUALITIES, VARIABLES


class Phase(eqx.Module):
    """A stretch of history of one column.

    ``constant`` holds variables without, ``series`` with a leading axis of slow steps;
    ``yearly`` has two leading axes, slow steps and the years in them; ``done`` names the
    processes whose slow part :func:`prepare` has computed. Costly processes act in the first of
    each ``reuse`` slow steps, a divisor of ``steps``: weather and land use stay for as long.
    ``own`` holds parameters, by full name, that have another value here than in the column.
    """

    steps: int = eqx.field(static=True)
    years_per_step: int = eqx.field(static=True)
    constant: Environment
    series: Environment
    yearly: Environment
    done: tuple[str, ...] = eqx.field(static=True, default=())
    reuse: int = eqx.field(static=True, default=1)
    own: Environment = eqx.field(default_factory=dict)

    @property
    def years(self) -> int:
        """Length of the phase."""
        return self.steps * self.years_per_step


class Record(eqx.Module):
    """What to keep of a phase.

    Quantities of :data:`diffsoil.quantities.YEARLY`, and variables by slow step.
    """

    yearly: tuple[str, ...] = eqx.field(static=True, default=())
    steps: tuple[str, ...] = eqx.field(static=True, default=())


KEPT = jax.checkpoint_policies.save_only_these_names(SOLVED)
"""What a slow step keeps for its derivatives; all else is computed anew."""

NOTHING = Record()
"""Record nothing."""


def _ahead(
    column: Column, state: State, available: set[str], not_ahead: Collection[str]
) -> tuple[Process, ...]:
    """Processes whose slow part follows from what is available, in order.

    A state field that no other process touches (soil water) may be stepped ahead with them, and
    one that the state does not have (the ground of a prescribed soil) is in nobody's way.
    """
    there = {f.name for f in dataclasses.fields(state) if getattr(state, f.name) is not None}
    touched = [field for p in column.processes for field in {*p.reads, *p.changes}]
    available = set(available)
    found = []
    for process in column.processes:
        alone = all(touched.count(field) == 1 for field in there & {*process.reads})
        known = set(process.needs) <= available
        new = not set(process.provides) <= available
        if alone and known and new and process.name not in not_ahead:
            found.append(process)
            available |= set(process.provides)
    return tuple(found)


def _slow(
    processes: tuple[Process, ...],
    state: State,
    environment: Environment,
    years: int,
    reuse: int = 1,
) -> tuple[State, Environment]:
    """Let each process act once, each on what those before it provide.

    What a costly process provides stands for ``reuse`` slow steps.
    """
    environment = dict(environment)
    for process in processes:
        lasting = years * reuse if process.costly else years
        with jax.named_scope(process.name):
            state, new = process.slow(state, environment, lasting)
            # else XLA repeats a process in every kernel that uses it, and compiles it each time
            new = lax.optimization_barrier(new)
        environment |= new
    return state, environment


def _neutral(column: Column, layers: int) -> Environment:
    """Neutral values of what no process of the column provides."""
    provided = {name for process in column.processes for name in process.provides}
    size = {"layer": layers, "month": 12, "quality": len(QUALITIES), "place": layers + 1}
    return {
        name: jnp.full([size[d] for d in variable.dims], variable.neutral)
        for name, variable in VARIABLES.items()
        if variable.neutral is not None and name not in provided
    }


class Reused(Process):
    """A costly process that does not act; what it provided earlier stands."""

    process: Process
    then: Environment

    @property
    def name(self) -> str:  # type: ignore[override]
        """Of the process."""
        return self.process.name

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        provided = {name: self.then[name] for name in self.process.provides}
        return state, self.process.reused(provided, self.then, environment)


def prepare(
    column: Column,
    phase: Phase,
    state: State,
    not_ahead: Collection[str] = (),
    keep: Collection[str] = (),
) -> tuple[Phase, State]:
    """Compute ahead what follows from the case, so that it need not be differentiated.

    Args:
        column: the column.
        phase: as the case gives it.
        state: at the start of the phase; only fields that are stepped ahead matter.
        not_ahead: names of processes to leave for :func:`advance`, because a parameter of
            theirs is free.
        keep: variables to keep besides those that the remaining processes need.

    Returns:
        The phase with all that was computed added and all that nobody needs any more dropped,
        and the state with the fields stepped ahead at the end of the phase.
    """
    given = phase.constant | _neutral(column, state.water.size)
    once = _ahead(column, state, set(given), not_ahead)
    state, constant = _slow(once, state, given, max(phase.years, 1))
    often = _ahead(column, state, set(constant) | set(phase.series), not_ahead)

    def step(carry: State, entry: Environment) -> tuple[State, Environment]:
        after, environment = _slow(often, carry, constant | entry, phase.years_per_step)
        return after, {k: v for k, v in environment.items() if k not in constant}

    series = phase.series
    if often:
        state, series = lax.scan(step, state, series)
    done = tuple(p.name for p in (*once, *often))
    ready = dataclasses.replace(phase, constant=constant, series=series, done=done)
    return needed(column, ready, keep), state


def needed(column: Column, phase: Phase, keep: Collection[str] = ()) -> Phase:
    """A phase without what no process needs that has yet to act in it.

    Args:
        column: the column.
        phase: prepared or not.
        keep: variables to keep besides.
    """
    wanted = set(keep)
    for process in column.processes:
        wanted |= set(process.yearly_needs)
        wanted |= set() if process.name in phase.done else set(process.needs)
    constant = {k: v for k, v in phase.constant.items() if k in wanted}
    series = {k: v for k, v in phase.series.items() if k in wanted}
    return dataclasses.replace(phase, constant=constant, series=series)


def one_year(column: Column, state: State, environment: Environment) -> State:
    """Let each process of a column act in a year of a slow step."""
    for process in column.processes:
        with jax.named_scope(process.name):
            state = process.year(state, environment)
    return state


def first_step(column: Column, phase: Phase, state: State) -> tuple[State, Environment]:
    """State and environment in the first year of a phase, after the slow part of its first step.

    Args:
        column, phase, state: as for :func:`advance`.
    """
    given = _neutral(column, state.water.size) | phase.constant
    given |= {name: values[0] for name, values in phase.series.items()}
    rest = tuple(p for p in column.processes if p.name not in phase.done)
    state, environment = _slow(rest, state, given, phase.years_per_step, phase.reuse)
    return state, environment | {name: values[0, 0] for name, values in phase.yearly.items()}


def advance(
    column: Column, phase: Phase, state: State, record: Record = NOTHING
) -> tuple[State, Environment]:
    """Step a column through a phase.

    Args:
        column: the column.
        phase: from :func:`prepare`, or as the case gives it with all in it that is needed.
        state: at the start.
        record: what to keep.

    Returns:
        The state at the end, and what was recorded: yearly quantities with a leading axis of
        years, variables with a leading axis of slow steps.
    """
    constant = _neutral(column, state.water.size) | phase.constant
    rest = [p for p in column.processes if p.name not in phase.done]

    def stepping(acting: list[Process]) -> Callable:
        # recomputing a step is cheaper than storing it, in time and in memory, but for a search
        @partial(jax.checkpoint, policy=KEPT, prevent_cse=False)
        def step(now: State, entry: tuple[Environment, Environment]) -> tuple[State, tuple]:
            series, yearly = entry
            now, environment = _slow(tuple(acting), now, constant | series, phase.years_per_step)

            def year(then: State, of_year: Environment) -> tuple[State, Environment]:
                then = one_year(column, then, environment | of_year)
                return then, {name: YEARLY[name].of(then, environment) for name in record.yearly}

            if phase.years_per_step == 1:
                now, kept = year(now, {k: v[0] for k, v in yearly.items()})
                kept = {k: v[None] for k, v in kept.items()}
            else:
                now, kept = lax.scan(year, now, yearly, length=phase.years_per_step)
            return now, (kept, {name: environment[name] for name in record.steps})

        return step

    entries = (phase.series, phase.yearly)
    if phase.reuse == 1 or not any(p.costly for p in rest):
        state, (by_year, by_step) = lax.scan(stepping(rest), state, entries, phase.steps)
    else:
        state, (by_year, by_step) = _reusing(rest, phase, state, constant, stepping)
    flat = {k: v.reshape(phase.years, *v.shape[2:]) for k, v in by_year.items()}
    return state, flat | by_step


def _reusing(
    rest: list[Process],
    phase: Phase,
    state: State,
    constant: Environment,
    stepping: Callable[[list[Process]], Callable],
) -> tuple[State, tuple]:
    """Step through a phase in whose slow steps costly processes act once in a while."""
    costly = [place for place, p in enumerate(rest) if p.costly]
    before = tuple(rest[: costly[-1] + 1])

    def steps(now: State, entries: tuple[Environment, Environment]) -> tuple[State, tuple]:
        """Some slow steps, in the first of which alone the costly processes act."""
        first = jax.tree.map(lambda x: x[0], entries[0])
        met = constant | first
        seen, then = _slow(before, now, met, phase.years_per_step, phase.reuse)
        moved = {field: getattr(seen, field) for i in costly for field in rest[i].reads}
        now = dataclasses.replace(now, **moved)
        acting = [Reused(p, then) if p.costly else p for p in rest]
        return lax.scan(stepping(acting), now, entries, phase.reuse)

    parts = (phase.steps // phase.reuse, phase.reuse)
    entries = (phase.series, phase.yearly)
    folded = jax.tree.map(lambda x: x.reshape(*parts, *x.shape[1:]), entries)
    state, kept = lax.scan(steps, state, folded, parts[0])
    return state, jax.tree.map(lambda x: x.reshape(phase.steps, *x.shape[2:]), kept)
