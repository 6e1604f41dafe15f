"""A case as a function: from values of its inputs to what is read from its run, differentiable.

An input sets one or more of

- a parameter of a process, ``carbon.k_hum``;
- a factor on what the case gives, ``forcing.pet`` (:mod:`diffsoil.cases.factors`);
- the strength of a process, ``strength.fauna`` (:mod:`diffsoil.strength`).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffsoil import strength
from diffsoil.cases.arrays import Plan, prepare_plan, run
from diffsoil.cases.factors import FACTORS
from diffsoil.column import Column
from diffsoil.process import Environment
from diffsoil.processes.geometry import overlap
from diffsoil.quantities import YEARLY
from diffsoil.state import State
from diffsoil.time import NOTHING, Phase, Record

STRENGTH = "strength."
"""Of the inputs that are strengths of processes."""

GEOMETRY = ("thickness", "depth_top")
"""What tells where the layers lie."""


@dataclasses.dataclass(frozen=True)
class Course:
    """What a run recorded, phase after phase, of one column; years are calendar years.

    Attributes:
        phases: each with what was recorded in it: yearly quantities with a leading axis of
            years, variables with one of slow steps.
        first_year: of the run.
    """

    phases: Sequence[tuple[Phase, Environment]]
    first_year: int = 1

    @cached_property
    def ends(self) -> list[int]:
        """Last year of each phase."""
        lengths = np.cumsum([phase.years for phase, _ in self.phases])
        return (self.first_year - 1 + lengths).tolist()

    def yearly(self, name: str) -> Float[Array, "year ..."]:
        """A yearly quantity at the ends of all years."""
        return jnp.concatenate([record[name] for _, record in self.phases])

    def at(self, name: str, year: int, yearly: bool = False) -> Array:
        """A yearly quantity at the end of a year, or a variable of the slow step it lies in."""
        number = int(np.searchsorted(self.ends, year))
        phase, record = self.phases[number]
        inside = year - 1 - (self.ends[number] - phase.years)  # years of the phase before it
        if yearly:
            return record[name][inside]
        step = inside // phase.years_per_step
        if name in record:
            return record[name][step]
        return phase.series[name][step] if name in phase.series else phase.constant[name]

    def share(self, year: int, upper: float, lower: float) -> Float[Array, " layer"]:
        """Share of each layer between two depths, m, in the slow step of a year."""
        thickness, top = (self.at(name, year) for name in GEOMETRY)
        return overlap(top, thickness, upper, lower)


class Reading(abc.ABC):
    """One or more numbers that a run is asked for."""

    @property
    @abc.abstractmethod
    def yearly(self) -> tuple[str, ...]:
        """Quantities of :data:`diffsoil.quantities.YEARLY` that have to be recorded."""

    @property
    @abc.abstractmethod
    def steps(self) -> tuple[str, ...]:
        """Variables that have to be recorded."""

    @abc.abstractmethod
    def read(self, course: Course) -> Array:
        """The numbers; a scalar or an array of any shape."""


class Run(NamedTuple):
    """A run of all members of a plan.

    ``history`` has the record of each phase by site, ``experiment`` that of the experiment by
    member; empty where nothing was recorded. ``end`` is the state after the last year by member;
    None where nothing was run.
    """

    plan: Plan
    history: list[Environment]
    experiment: Environment
    end: State | None = None

    @property
    def courses(self) -> list[Course]:
        """The run of each member by itself."""
        courses = []
        for member, site in enumerate(self.plan.site_of):
            pairs = zip(self.plan.history, self.history, strict=True)
            phases = [_one(pair, site) for pair in pairs]
            if self.plan.experiment is not None:
                phases.append(_one((self.plan.experiment, self.experiment), member))
            courses.append(Course(phases, self.plan.start_year))
        return courses

    def by_year(self, name: str, first: int) -> Float[Array, "member year ..."]:
        """A yearly quantity or a variable of all members, from a year on.

        A variable of a slow step stands for each of its years. One that was not recorded is read
        from the plan.

        Args:
            name: of the quantity or the variable.
            first: calendar year to begin with.
        """
        plan = self.plan
        parts = []
        records = [*self.history, self.experiment]
        for phase, start, record in zip(plan.phases, plan.starts, records, strict=False):
            if start + phase.years <= first:
                continue
            values = _by_year(name, phase, record)
            if phase is not plan.experiment:
                values = values[np.array(plan.site_of)]
            parts.append(values[:, max(first - start, 0) :])
        return jnp.concatenate(parts, axis=1)

    def stock(
        self, upper: float, lower: float, first: int, of: str = "soc"
    ) -> Float[Array, "member year"]:
        """Carbon of the mineral soil between two depths, m, at the ends of years, Mg/ha.

        Args:
            upper, lower: the depths.
            first: calendar year to begin with.
            of: another recorded amount by layer.
        """

        def one(amount: Array, top: Array, thickness: Array) -> Array:
            return jnp.sum(amount * overlap(top, thickness, upper, lower))

        names = (of, "depth_top", "thickness")
        return jax.vmap(jax.vmap(one))(*(self.by_year(name, first) for name in names))


class Pooled(NamedTuple):
    """A parameter with a value of its own for each site or treatment, around a common median.

    A value is the median times exp(spread x deviation), within the bounds of the parameter.

    Attributes:
        name: of the parameter.
        median, spread, deviations: places in the inputs; a deviation for each site or treatment.
        by: what has a value of its own; with treatments the history before them has the median.
        lower, upper: bounds of the parameter.
    """

    name: str
    median: int
    spread: int
    deviations: tuple[int, ...]
    by: Literal["site", "treatment"]
    lower: float
    upper: float

    def values(self, x: Float[Array, " input"]) -> Float[Array, " group"]:
        """The value of each site or treatment."""
        off = x[self.spread] * x[jnp.asarray(self.deviations)]
        return jnp.clip(x[self.median] * jnp.exp(off), self.lower, self.upper)


class Forward(eqx.Module):
    """A case as a function of its inputs.

    Jitted functions take it as an argument, so that nothing of it becomes a constant of the
    compiled program. Whatever an input can change is computed inside the function.

    Attributes:
        column, plan: of the case.
        keys: what each input sets, all to the same value.
        readings: what is read from a run.
        in_history, in_experiment: what to record besides what the readings need.
        ahead: whether the plan has been prepared (:meth:`prepared`).
        pooled: parameters that differ between the columns; what they take from the inputs sets
            nothing else.
    """

    column: Column
    plan: Plan
    keys: tuple[tuple[str, ...], ...] = eqx.field(static=True)
    readings: tuple[Reading, ...] = eqx.field(static=True, default=())
    in_history: Record = NOTHING
    in_experiment: Record = NOTHING
    ahead: bool = eqx.field(static=True, default=False)
    pooled: tuple[Pooled, ...] = eqx.field(static=True, default=())

    def at(self, x: Float[Array, " input"]) -> tuple[Column, Plan]:
        """The column and the plan with other values of the inputs."""
        values = {key: x[i] for i, keys in enumerate(self.keys) for key in keys}
        strengths = {k.removeprefix(STRENGTH): v for k, v in values.items() if is_strength(k)}
        of_column = {k: v for k, v in values.items() if k not in FACTORS and not is_strength(k)}
        column, plan = self.column.with_parameters(of_column), self.plan
        for name in FACTORS.keys() & values.keys():
            plan = FACTORS[name].change(plan, values[name])
        for of in self.pooled:
            plan = plan.with_own(of.name, of.values(x), of.by)
        return strength.apply(column, strengths) if strengths else column, plan

    def prepared(self, keep: Collection[str] = ()) -> Forward:
        """The same function of parameters, with all computed ahead that they do not change.

        Args:
            keep: variables that stay in the plan besides those that have to be recorded.
        """
        names = [key for keys in self.keys for key in keys]
        assert not any(is_strength(name) or name in FACTORS for name in names)
        records = (self._record(self.in_history), self._record(self.in_experiment))
        keep = {*keep, *(name for record in records for name in record.steps)}
        plan = prepare_plan(self.column, self.plan, names, keep)
        return dataclasses.replace(self, plan=plan, ahead=True)

    def _record(self, own: Record) -> Record:
        """What to record in a phase: what is asked for and what readings need."""
        yearly = {*own.yearly, *(name for reading in self.readings for name in reading.yearly)}
        steps = {*own.steps, *(name for reading in self.readings for name in reading.steps)}
        return Record(tuple(sorted(yearly)), tuple(sorted(steps)))

    def run(self, x: Float[Array, " input"]) -> Run:
        """Run all members of the plan."""
        column, plan = self.at(x)
        in_history, in_experiment = map(self._record, (self.in_history, self.in_experiment))
        if not self.ahead:
            plan = prepare_plan(column, plan, keep={*in_history.steps, *in_experiment.steps})
        end, of_history, of_experiment = run(column, plan, in_history, in_experiment)
        return Run(plan, of_history, of_experiment, end)

    def read(self, x: Float[Array, " input"]) -> list[list[Array]]:
        """What is read from the run of each member."""
        courses = self.run(x).courses
        return [[reading.read(course) for reading in self.readings] for course in courses]

    def values(self, x: Float[Array, " input"]) -> Float[Array, " value"]:
        """All that is read in one row: member by member, reading by reading."""
        found = [jnp.ravel(numbers) for member in self.read(x) for numbers in member]
        return jnp.concatenate(found)


def _by_year(name: str, phase: Phase, record: Environment) -> Array:
    """What a phase recorded or was given, with an axis of years behind the first."""
    if name in YEARLY:
        return record[name]
    by_step = record[name] if name in record else phase.series.get(name)
    if by_step is None:
        value = phase.constant[name][:, None]
        return jnp.broadcast_to(value, (len(value), phase.years, *value.shape[2:]))
    return by_step if phase.years_per_step == 1 else jnp.repeat(by_step, phase.years_per_step, 1)


def _one(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def is_strength(key: str) -> bool:
    """Whether an input sets the strength of a process."""
    return key.startswith(STRENGTH)


def computed(column: Column, plan: Plan) -> set[str]:
    """Variables that a case gives in every phase or that the column provides."""
    given = set.intersection(*[{*phase.constant, *phase.series} for phase in plan.phases])
    return given | {name for process in column.processes for name in process.provides}
