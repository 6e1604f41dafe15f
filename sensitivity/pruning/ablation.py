"""What processes are worth: exact runs with and without them, and along their strengths.

The inputs are the strengths of processes (:mod:`diffsoil.strength`), all traced, so that one
compiled program per case serves every combination of them and every draw of the parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import combinations
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from diffsoil import strength
from diffsoil.cases import Case
from diffsoil.cases.arrays import Plan, build, check, prepare_plan, run
from diffsoil.column import Column
from diffsoil.time import Record
from diffsoil.work import ensemble
from sensitivity import indices, variance
from sensitivity.distributions import Law
from sensitivity.journal import Journal
from sensitivity.outputs import STOCKS, Course, Output, Stock, ages, check_computed, parse

BATCH = 8
"""Runs that are computed together."""

YEARS = 24
"""Years at which a target that is no stock is read, if it has none of its own."""

NODES = 8
"""Points of Gauss and Legendre along the path of integrated gradients."""


@dataclasses.dataclass(frozen=True)
class Target:
    """What is compared: a stock in every year, or outputs at some years.

    Attributes:
        text: as asked for.
        outputs: what is read; empty for a stock in every year.
        years: calendar year of each value; None where it has none.
    """

    text: str
    outputs: tuple[Output, ...]
    years: tuple[int | None, ...]

    @property
    def yearly(self) -> set[str]:
        """Quantities that have to be recorded by the year."""
        if not self.outputs:
            return set(Stock(self.text).yearly)
        return {name for output in self.outputs for name in output.quantity.yearly}

    @property
    def steps(self) -> set[str]:
        """Variables that have to be recorded by the slow step."""
        return {name for output in self.outputs for name in output.quantity.steps}

    def read(self, course: Course) -> Float[Array, " value"]:
        """Its values in a run."""
        if not self.outputs:
            return course.stock(self.text)
        return jnp.stack([output.read(course) for output in self.outputs])


def targets(texts: Iterable[str], case: Case) -> tuple[Target, ...]:
    """Targets from their texts, see :mod:`sensitivity.outputs`.

    A stock without a year is compared in every year of the run.

    Raises:
        diffsoil.io.InputError: an unknown output, or one that the case does not compute.
    """
    found = []
    site = case.sites[0]
    for text in dict.fromkeys(texts):
        outputs = tuple(parse([text], case, site, YEARS, "--target"))
        years = tuple(output.year for output in outputs)
        if text in STOCKS:
            outputs, years = (), tuple(range(case.file.start_year, case.end_year + 1))
        found.append(Target(text, outputs, years))
    return tuple(found)


class Runs(eqx.Module):
    """A case as a function of parameters and strengths: the values of its targets.

    Attributes:
        column, plan: of the case.
        parameters: full names of those that are given.
        switches: names of the processes whose strengths are given.
        targets: what is read, one after the other, member by member.
    """

    column: Column
    plan: Plan
    parameters: tuple[str, ...] = eqx.field(static=True)
    switches: tuple[str, ...] = eqx.field(static=True)
    targets: tuple[Target, ...] = eqx.field(static=True)

    def values(
        self, x: Float[Array, " parameter"], s: Float[Array, " switch"]
    ) -> Float[Array, " value"]:
        """Values of all targets in one run."""
        column = self.column.with_parameters(dict(zip(self.parameters, x, strict=True)))
        column = strength.apply(column, dict(zip(self.switches, s, strict=True)))
        yearly = {name for target in self.targets for name in target.yearly}
        steps = {name for target in self.targets for name in target.steps}
        ready = prepare_plan(column, self.plan, keep=steps)
        record = Record(tuple(sorted(yearly)), tuple(sorted(steps)))
        _, kept, of_experiment = run(column, ready, record, record)
        parts = []
        for member, site in enumerate(self.plan.site_of):
            phases = [_one(pair, site) for pair in zip(ready.history, kept, strict=True)]
            if ready.experiment is not None:
                phases.append(_one((ready.experiment, of_experiment), member))
            course = Course(phases, self.plan.start_year)
            parts += [target.read(course) for target in self.targets]
        return jnp.concatenate(parts)


def _one(tree: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], tree)


def of_case(
    case: Case, texts: Iterable[str], switches: Sequence[str] | None = None, drawn: bool = True
) -> Runs:
    """A case as a function of its parameters and of the strengths of its processes.

    Args:
        case: the case.
        texts: of the targets.
        switches: names; all candidates of :mod:`diffsoil.strength` if not given.
        drawn: whether parameters are given too, all of them.

    Raises:
        diffsoil.io.InputError: a case or a target that does not fit.
    """
    column, plan = case.column(), build(case)
    check(plan, column, case)
    found = targets(texts, case)
    for target in found:
        check_computed(target.outputs, computed(column, plan), "--target")
    names = strength.candidates(column) if switches is None else tuple(switches)
    return Runs(column, plan, tuple(column.parameters()) if drawn else (), names, found)


def computed(column: Column, plan: Plan) -> set[str]:
    """Variables that the case gives in every phase or that the column provides."""
    phases = [*plan.history, *([plan.experiment] if plan.experiment else [])]
    given = set.intersection(*[{*phase.constant, *phase.series} for phase in phases])
    return given | {name for process in column.processes for name in process.provides}


def defaults(runs: Runs) -> Float[np.ndarray, " parameter"]:
    """Values of the parameters in the case."""
    values = runs.column.values()
    return np.array([float(values[name]) for name in runs.parameters])


@eqx.filter_jit
def _values(runs: Runs, x: Array, s: Array) -> Float[Array, "run value"]:
    return jax.vmap(runs.values)(x, s)


@eqx.filter_jit
def _slopes(runs: Runs, x: Array, s: Array) -> Float[Array, "value switch"]:
    return jax.jacfwd(runs.values, argnums=1)(x, s)


def evaluate(
    runs: Sequence[Runs], argument: tuple[int, np.ndarray, np.ndarray]
) -> Float[np.ndarray, "run value"]:
    """Values of a batch; ``partial(evaluate, runs)`` is what an ensemble computes.

    Args:
        runs: of all cases.
        argument: which of them, parameters [run, parameter] and strengths [run, switch]; fewer
            than a batch are filled up, so that nothing is compiled anew.
    """
    place, x, s = argument
    missing = -len(x) % BATCH
    x, s = (np.concatenate([a, np.repeat(a[-1:], missing, axis=0)]) for a in (x, s))
    return np.asarray(_values(runs[place], jnp.asarray(x), jnp.asarray(s)))[: len(x) - missing]


def slope(
    runs: Sequence[Runs], argument: tuple[int, np.ndarray, np.ndarray]
) -> Float[np.ndarray, "value switch"]:
    """Derivatives of all values of one run by the strengths; arguments as :func:`evaluate`."""
    place, x, s = argument
    return np.asarray(_slopes(runs[place], jnp.asarray(x), jnp.asarray(s)))


def compute(
    runs: Sequence[Runs],
    asked: Sequence[tuple[int, np.ndarray, np.ndarray]],
    pool: ensemble.Pool,
) -> list[np.ndarray]:
    """Values of many runs, cut into batches for the workers of a pool.

    Args:
        runs: of all cases.
        asked: which case, parameters [run, parameter] and strengths [run, switch].
        pool: who computes.

    Returns:
        Of each of ``asked`` the values [run, value].
    """
    # runs of one case that are asked for apart share batches
    tasks: list[tuple[int, list[tuple[int, int]]]] = []
    for place in dict.fromkeys(place for place, _, _ in asked):
        own = [(i, j) for i, (p, x, _) in enumerate(asked) if p == place for j in range(len(x))]
        tasks += [(place, own[k : k + BATCH]) for k in range(0, len(own), BATCH)]
    arguments = [
        (
            place,
            np.stack([asked[i][1][j] for i, j in rows]),
            np.stack([asked[i][2][j] for i, j in rows]),
        )
        for place, rows in tasks
    ]
    results = ensemble.collect(partial(evaluate, tuple(runs)), arguments, pool)
    found: list[list[np.ndarray]] = [[np.empty(0)] * len(x) for _, x, _ in asked]
    for (_, rows), values in zip(tasks, results, strict=True):
        for (i, j), value in zip(rows, values, strict=True):
            found[i][j] = value
    return [np.stack(values) for values in found]


def switched_off(switches: Sequence[str], names: Iterable[str]) -> Float[np.ndarray, " switch"]:
    """Strengths of 1, and of 0 for some."""
    off = set(names)
    return np.array([0.0 if name in off else 1.0 for name in switches])


# What a process is worth.


@dataclasses.dataclass(frozen=True, eq=False)
class Worth:
    """What the processes of one case are worth.

    Attributes:
        names: of the switches.
        on, off: values with all of them and with none, [value].
        single: what the values lose without one, [switch, value]: ``on`` less the exact run.
        pair: interaction of two, [pair, value], in the order of
            :func:`sensitivity.indices.pairs`: what both are worth together less what each is
            worth alone. Empty where it was not asked for.
        path: integrated gradients from none to all along equal strengths, [switch, value]; their
            sum is ``on - off`` but for :attr:`incomplete`.
    """

    names: tuple[str, ...]
    on: Float[np.ndarray, " value"]
    off: Float[np.ndarray, " value"]
    single: Float[np.ndarray, "switch value"]
    pair: Float[np.ndarray, "pair value"]
    path: Float[np.ndarray, "switch value"]

    @property
    def incomplete(self) -> Float[np.ndarray, " value"]:
        """What the integrated gradients miss of ``on - off``, relative to it."""
        whole = self.on - self.off
        return np.abs(self.path.sum(axis=0) - whole) / np.maximum(np.abs(whole), 1e-300)


def worth(runs: Runs, pool: ensemble.Pool, pairs: bool = True, nodes: int = NODES) -> Worth:
    """Exact on and off runs, interactions and integrated gradients, at the case's parameters.

    Args:
        runs: of one case.
        pool: who computes.
        pairs: whether every two are switched off together: ``switches^2 / 2`` runs.
        nodes: of the path; each costs a Jacobian by all strengths.
    """
    x, names = defaults(runs), runs.switches
    count = len(names)
    two = list(combinations(range(count), 2)) if pairs else []
    rows = [np.ones(count), np.zeros(count)]
    rows += [switched_off(names, [name]) for name in names]
    rows += [switched_off(names, [names[i], names[j]]) for i, j in two]
    s = np.stack(rows)
    (values,) = compute([runs], [(0, np.repeat(x[None], len(s), axis=0), s)], pool)
    on, off = values[0], values[1]
    single = on[None] - values[2 : 2 + count]
    both = on[None] - values[2 + count :]
    alone = [single[i] + single[j] for i, j in two]
    interaction = both - np.stack(alone) if two else np.empty((0, on.size))
    points, weights = np.polynomial.legendre.leggauss(nodes)
    arguments = [(0, x, np.full(count, 0.5 * (1.0 + point))) for point in points]
    slopes = ensemble.collect(partial(slope, (runs,)), arguments, pool)
    path = sum((0.5 * w * d.T for w, d in zip(weights, slopes, strict=True)), np.zeros(()))
    return Worth(names, on, off, single, interaction, np.asarray(path))


def total_indices(
    runs: Runs, pool: ensemble.Pool, read: Sequence[int], n: int = 64, seed: int = 0
) -> list[indices.Result]:
    """First and total Sobol indices of the strengths, all uniform from 0 to 1.

    Args:
        runs: of one case.
        pool: who computes.
        read: which values.
        n: base points; each takes ``switches + 2`` runs.
        seed: of the design.

    Returns:
        Indices of each of ``read``.
    """
    laws = [Law(name, "uniform", 0.0, 1.0) for name in runs.switches]
    design = variance.sobol_design(laws, n, seed)
    x = np.repeat(defaults(runs)[None], len(design.x), axis=0)
    (values,) = compute([runs], [(0, x, design.x)], pool)
    return [variance.sobol(design, values[:, i], seed=seed) for i in read]


def table(
    found: Worth,
    runs: Runs,
    case: str,
    read: Sequence[int],
    totals: Sequence[indices.Result] = (),
) -> pd.DataFrame:
    """Rows of ``indices.csv``: worth, interaction, integrated gradients and total indices.

    Args:
        found: from :func:`worth`.
        runs: of the case, with one member.
        case: its name.
        read: which values.
        totals: from :func:`total_indices`, of the same values.
    """
    years = [(t.text.partition("@")[0], year) for t in runs.targets for year in t.years]
    tables = []
    for place, i in enumerate(read):
        output, year = years[i]
        exact = len(found.single) + 1
        of_pairs = indices.pairs(found.names) if len(found.pair) else []
        for names, index, value in (
            (found.names, "worth", found.single[:, i]),
            (of_pairs, "interaction", found.pair[:, i]),
            (found.names, "integrated_gradient", found.path[:, i]),
        ):
            tables.append(
                indices.rows(
                    "strength", output, case, year, names, index, value, value, value, exact
                )
            )
        if totals:
            total = dataclasses.replace(totals[place], method="strength")
            tables.append(total.table(output, case, year, found.names))
    return pd.concat([t for t in tables if len(t)], ignore_index=True)


def of_cases(
    cases: Sequence[Case],
    texts: Sequence[str],
    base_points: int,
    pool: ensemble.Pool,
    journal: Journal,
    say: Callable[[str], None],
) -> pd.DataFrame:
    """What all processes of some cases are worth, as rows of ``indices.csv``.

    Args:
        cases: the cases, whose first member is looked at.
        texts: of the targets; those without a year are read early and late in nature, and at the
            end of agriculture and of recovery where there are such.
        base_points: of the total indices, see :func:`total_indices`; 0 for nothing at all.
        pool: who computes.
        journal: keeps what is measured.
        say: told what is done.
    """
    tables = [pd.DataFrame(columns=list(indices.COLUMNS))]
    for case in cases if base_points else ():
        runs = of_case(case, _dated(texts, case), drawn=False)
        read = range(sum(len(target.years) for target in runs.targets))
        count, outputs = len(runs.switches), [target.text for target in runs.targets]
        say(
            f"prune: worth of {count} processes of {case.name}: "
            f"{2 + count + count * (count - 1) // 2 + base_points * (count + 2)} runs, "
            f"{NODES} derivatives"
        )

        def exact(runs: Runs = runs) -> list[np.ndarray]:
            found = worth(runs, pool)
            journal.runs += 2 + len(found.single) + len(found.pair)
            return [found.on, found.off, found.single, found.pair, found.path]

        def totals(runs: Runs = runs, read: Sequence[int] = read) -> list[np.ndarray]:
            found = total_indices(runs, pool, read, base_points)
            journal.runs += found[0].n_runs + found[0].dropped
            return [np.array([r.estimates[k] for k in ("S1", "ST")]) for r in found]

        found = Worth(runs.switches, *journal.once(["worth", case.name, outputs], exact))
        arrays = journal.once(["total indices", case.name, outputs, base_points], totals)
        results = [
            indices.Result(
                "sobol",
                {k: indices.Estimate(*own) for k, own in zip(("S1", "ST"), array, strict=True)},
                base_points * (count + 2),
            )
            for array in arrays
        ]
        tables.append(table(found, runs, case.name, read, results))
    return pd.concat([t for t in tables if len(t)] or tables, ignore_index=True)


def _dated(texts: Iterable[str], case: Case) -> list[str]:
    """Outputs with years of their own."""
    when = ages(case, case.sites[0])
    years = [when.early, when.late, when.agriculture, when.recovery]
    at = list(dict.fromkeys(year for year in years if year is not None))
    found: dict[str, None] = {}
    for text in texts:
        dated = "@" in text or text.startswith("recovery_years")
        found |= dict.fromkeys([text] if dated else [f"{text}@{year}" for year in at])
    return list(found)
