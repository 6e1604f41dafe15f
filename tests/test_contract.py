"""A process reads and writes what it declares: pruning and stepping ahead rely on it."""

from __future__ import annotations

import dataclasses
import sys
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from diffsoil.cases import Case, load_case
from diffsoil.cases.arrays import Plan, build, initial_state, select
from diffsoil.column import Column
from diffsoil.process import Environment, Process
from diffsoil.processes.carbon import Carbon, CarbonModel
from diffsoil.processes.protection import Protection, SoftMinimum
from diffsoil.state import State
from diffsoil.time import _neutral
from diffsoil.variables import VARIABLES

FIELDS = tuple(field.name for field in dataclasses.fields(State))

CASES = ("loess_dry_agriculture", "neon_blan")
"""A whole soil and a prescribed one. What is traced of them is all that is traced of the shipped
cases: the others are given the same variables."""

CHOICES = (
    {},
    {"water": "richards"},
    {"erosion": "continuous", "weathering": "transport"},
    {"dissolved_iron": "kinetic", "biocycling": "solution"},
    {"minimum": "soft", "dissolved_carbon": "percolation"},
    {"mixing": "diffusion", "carbon": "rothc_passive"},
    {"carbon": "icbm", "water": "bucket_years"},
    {"carbon": "ctool"},
    {"carbon": "millennial2"},
)
"""Alternatives of a case, with and without 14C; those that it cannot have are left out."""

OF_GROUND = {"erosion", "dissolved_iron", "biocycling", "weathering"}
"""Choices of a whole soil only."""

read: set[str] = set()
"""Fields of the state that a process has asked for."""


def by_a_process() -> bool:
    """Whether a process asks, and not what copies or checks a whole state or environment."""
    return sys._getframe(2).f_globals.get("__name__", "").startswith("diffsoil.processes")


class Watched(State):
    """A state that notes which of its fields a process asks for."""

    def __getattribute__(self, name: str) -> Any:
        """The attribute."""
        if name in FIELDS and by_a_process():
            read.add(name)
        return super().__getattribute__(name)


class Noted(dict):
    """An environment that notes what is taken from it."""

    def __init__(self, values: Environment) -> None:
        super().__init__(values)
        self.taken: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        """The variable."""
        if by_a_process():
            self.taken.add(name)
        return super().__getitem__(name)


@dataclasses.dataclass
class Contract:
    """What a process reads and writes."""

    needs: set[str]
    yearly_needs: set[str]
    provides: set[str]
    reads: set[str]
    changes: set[str]

    @classmethod
    def declared(cls, process: Process) -> Contract:
        """As the process says."""
        return cls(**{f.name: set(getattr(process, f.name)) for f in dataclasses.fields(cls)})

    def __or__(self, other: Contract) -> Contract:
        names = [f.name for f in dataclasses.fields(self)]
        return Contract(**{name: getattr(self, name) | getattr(other, name) for name in names})


def changed(before: State, after: State) -> set[str]:
    """Fields of which something is another array than before."""

    def same(name: str) -> bool:
        pair = [jax.tree.leaves(object.__getattribute__(s, name)) for s in (before, after)]
        return all(a is b for a, b in zip(*pair, strict=True))

    return {name for name in FIELDS if not same(name)}


def seen(column: Column, plan: Plan, years: int) -> list[Contract]:
    """What each process of a column does in the first phase of a plan."""
    found: list[Contract] = []
    phase = plan.history[0]
    first = jax.tree.map(lambda x: x[0], phase.constant) | jax.tree.map(
        lambda x: x[0, 0], phase.series
    )
    of_year = {name: value[0, 0, 0] for name, value in phase.yearly.items()}
    start = jax.tree.map(lambda x: x[0], initial_state(column, plan))

    def step(state: State, given: Environment, of_year: Environment) -> Environment:
        state = Watched(**{name: getattr(state, name) for name in FIELDS})
        environment = _neutral(column, plan.layers) | given
        for process in column.processes:
            read.clear()
            noted = Noted(environment)
            after, provided = process.slow(state, noted, years)
            reads = read | changed(state, after)
            if process.costly:
                again = Noted(environment)
                process.reused(provided, again, again)
                noted.taken |= again.taken
            found.append(Contract(noted.taken, set(), set(provided), reads, set()))
            state, environment = after, environment | provided
        for process, contract in zip(column.processes, found, strict=True):
            read.clear()
            noted = Noted(environment | of_year)
            after = process.year(state, noted)
            contract.yearly_needs = noted.taken
            contract.changes = read | changed(state, after)
            state = after
        return {k: v for k, v in environment.items() if k in VARIABLES}

    jax.eval_shape(step, start, first, of_year)
    return found


@pytest.fixture(scope="module")
def contracts() -> dict[type[Process], tuple[list[Contract], list[Process]]]:
    """What each process did in all columns, and the objects that did it."""
    done: dict[type[Process], tuple[list[Contract], list[Process]]] = defaultdict(lambda: ([], []))
    known: set[tuple] = set()
    for name in CASES:
        case = load_case(name)
        plan = build(case)
        plan = select(plan, plan.members[:1], case.path)
        dated = {"atmosphere_14c": jnp.ones((1, 1, 1))}
        phase = dataclasses.replace(plan.history[0], yearly=dated)
        traced = dataclasses.replace(plan, history=(phase,), radiocarbon=True)
        given = tuple(sorted({*phase.constant, *phase.series}))
        first, *others = columns(case)
        ways = [(first, [*product((plan, traced), (1, 10))])]
        ways += [(column, [(traced, 1), (plan, 10)]) for column in others]
        ways += [(column, [(plan, 10)]) for column in with_stand_ins(case)]
        for column, runs in ways:
            for of, years in runs:
                kinds = tuple((type(p), p.needs) for p in column.processes)
                if (key := (kinds, given, of.radiocarbon, years)) in known:
                    continue
                known.add(key)
                for process, contract in zip(
                    column.processes, seen(column, of, years), strict=True
                ):
                    done[type(process)][0].append(contract)
                    done[type(process)][1].append(process)
    return done


def columns(case: Case) -> Iterator[Column]:
    """The column of a case with each of the choices."""
    for choice in CHOICES:
        if not case.whole_soil and OF_GROUND & choice.keys():
            continue
        # parameters of a process that a choice replaces cannot be set
        file = case.file.model_copy(update={**choice, "set": {}})
        yield dataclasses.replace(case, file=file).column()


def with_stand_ins(case: Case) -> Iterator[Column]:
    """The column of a case with each of its stand-ins."""
    whole = case.column()
    yield from (whole.without(p.name) for p in whole.processes if p.stand_in() is not None)


def kinds() -> list[type[Process]]:
    """Every process of the model, but for what models of carbon have in common."""
    import diffsoil.column  # noqa: F401  all of them are loaded by it

    found, left = set(), [Process]
    while left:
        for kind in left.pop().__subclasses__():
            left.append(kind)
            if kind.__module__.startswith("diffsoil.processes") and kind not in (
                CarbonModel,
                Carbon,
            ):
                found.add(kind)
    return sorted(found, key=lambda kind: (kind.__module__, kind.__name__))


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_a_process_reads_and_writes_what_it_declares(kind, contracts):
    assert kind in contracts, "no case has it"
    did, processes = contracts[kind]
    declared: Contract | None = None
    for contract, process in zip(did, processes, strict=True):
        own = Contract.declared(process)
        for part in dataclasses.fields(Contract):
            extra = getattr(contract, part.name) - getattr(own, part.name)
            assert not extra, f"{part.name} lacks {sorted(extra)}"
        declared = own if declared is None else declared | own
    together = did[0]
    for contract in did[1:]:
        together = together | contract
    assert declared is not None
    for part in dataclasses.fields(Contract):
        idle = getattr(declared, part.name) - getattr(together, part.name)
        assert not idle, f"{part.name}: nothing is done with {sorted(idle)}"


def test_a_soft_minimum_is_among_the_alternatives(contracts):
    _, processes = contracts[Protection]
    assert any(isinstance(process.minimum, SoftMinimum) for process in processes)
