"""What processes are worth: exact runs with and without them, and along their strengths.

The inputs are the strengths of processes (:mod:`diffsoil.strength`), all traced, so that one
compiled program per case serves every combination of them and every draw of the parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import partial
from itertools import combinations
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from diffsoil import strength
from diffsoil.cases import Case
from diffsoil.cases.arrays import build, check
from diffsoil.forward import STRENGTH, Course, Forward, Reading, computed, is_strength
from diffsoil.quantities import STOCKS
from diffsoil.work.pool import Pool, collect
from diffsoil.work.progress import Say
from sensitivity import indices, variance
from sensitivity.distributions import Distribution
from sensitivity.outputs import Output, Stock, ages, check_computed, parse
from sensitivity.pruning.measurements import Measurements

BATCH = 8
"""Forward that are computed together."""

YEARS = 24
"""Years at which a target that is no stock is read, if it has none of its own."""

NODES = 8
"""Points of Gauss and Legendre along the path of integrated gradients."""


@dataclasses.dataclass(frozen=True)
class Target(Reading):
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
    def yearly(self) -> tuple[str, ...]:
        """See :class:`diffsoil.forward.Reading`."""
        if not self.outputs:
            return Stock(self.text).yearly
        return tuple({name for output in self.outputs for name in output.yearly})

    @property
    def steps(self) -> tuple[str, ...]:
        """See :class:`diffsoil.forward.Reading`."""
        return tuple({name for output in self.outputs for name in output.steps})

    def read(self, course: Course) -> Float[Array, " value"]:
        """Its values in a run."""
        if not self.outputs:
            return course.yearly(self.text)
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


def of_case(
    case: Case, texts: Iterable[str], switches: Sequence[str] | None = None, drawn: bool = True
) -> Forward:
    """A case as a function of its parameters and, behind them, of the strengths of its processes.

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
    inputs = (*(column.parameters() if drawn else ()), *(STRENGTH + name for name in names))
    return Forward(column, plan, tuple((name,) for name in inputs), found)


def parameters_of(runs: Forward) -> tuple[str, ...]:
    """Full names of the parameters that are given."""
    return tuple(name for (name,) in runs.keys if not is_strength(name))


def switches_of(runs: Forward) -> tuple[str, ...]:
    """Names of the processes whose strengths are given."""
    return tuple(name.removeprefix(STRENGTH) for (name,) in runs.keys if is_strength(name))


def targets_of(runs: Forward) -> tuple[Target, ...]:
    """What is read."""
    return cast(tuple[Target, ...], runs.readings)


def defaults(runs: Forward) -> Float[np.ndarray, " parameter"]:
    """Values of the parameters in the case."""
    values = runs.column.values()
    return np.array([float(values[name]) for name in parameters_of(runs)])


@eqx.filter_jit
def _values(runs: Forward, x: Array) -> Float[Array, "run value"]:
    return jax.vmap(runs.values)(x)


@eqx.filter_jit
def _slopes(runs: Forward, x: Array, s: Array) -> Float[Array, "value switch"]:
    return jax.jacfwd(lambda s: runs.values(jnp.concatenate([x, s])))(s)


def evaluate(
    runs: Sequence[Forward], argument: tuple[int, np.ndarray]
) -> Float[np.ndarray, "run value"]:
    """Values of a batch; ``partial(evaluate, runs)`` is what an ensemble computes.

    Args:
        runs: of all cases.
        argument: which of them, and parameters and strengths [run, input]; fewer than a batch
            are filled up, so that nothing is compiled anew.
    """
    place, x = argument
    missing = -len(x) % BATCH
    x = np.concatenate([x, np.repeat(x[-1:], missing, axis=0)])
    return np.asarray(_values(runs[place], jnp.asarray(x)))[: len(x) - missing]


def slope(
    runs: Sequence[Forward], argument: tuple[int, np.ndarray, np.ndarray]
) -> Float[np.ndarray, "value switch"]:
    """Derivatives of all values of one run by the strengths.

    Args:
        runs: of all cases.
        argument: which of them, parameters [parameter] and strengths [switch].
    """
    place, x, s = argument
    return np.asarray(_slopes(runs[place], jnp.asarray(x), jnp.asarray(s)))


def compute(
    runs: Sequence[Forward], asked: Sequence[tuple[int, np.ndarray]], pool: Pool
) -> list[np.ndarray]:
    """Values of many runs, cut into batches for the workers of a pool.

    Args:
        runs: of all cases.
        asked: which case, and parameters and strengths [run, input].
        pool: who computes.

    Returns:
        Of each of ``asked`` the values [run, value].
    """
    # runs of one case that are asked for apart share batches
    tasks: list[tuple[int, list[tuple[int, int]]]] = []
    for place in dict.fromkeys(place for place, _ in asked):
        own = [(i, j) for i, (p, x) in enumerate(asked) if p == place for j in range(len(x))]
        tasks += [(place, own[k : k + BATCH]) for k in range(0, len(own), BATCH)]
    arguments = [(place, np.stack([asked[i][1][j] for i, j in rows])) for place, rows in tasks]
    results = collect(partial(evaluate, tuple(runs)), arguments, pool)
    found: list[list[np.ndarray]] = [[np.empty(0)] * len(x) for _, x in asked]
    for (_, rows), values in zip(tasks, results, strict=True):
        for (i, j), value in zip(rows, values, strict=True):
            found[i][j] = value
    return [np.stack(values) for values in found]


def at_strengths(
    x: Float[np.ndarray, " parameter"], s: Float[np.ndarray, "run switch"]
) -> Float[np.ndarray, "run input"]:
    """The inputs of runs at the same parameters with different strengths."""
    return np.concatenate([np.repeat(x[None], len(s), axis=0), s], axis=1)


def switched_off(switches: Sequence[str], names: Iterable[str]) -> Float[np.ndarray, " switch"]:
    """Strengths of 1, and of 0 for some."""
    off = set(names)
    return np.array([0.0 if name in off else 1.0 for name in switches])


# What a process is worth.


@dataclasses.dataclass(frozen=True, eq=False)
class Ablation:
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


def ablate(runs: Forward, pool: Pool, pairs: bool = True, nodes: int = NODES) -> Ablation:
    """Exact on and off runs, interactions and integrated gradients, at the case's parameters.

    Args:
        runs: of one case.
        pool: who computes.
        pairs: whether every two are switched off together: ``switches^2 / 2`` runs.
        nodes: of the path; each costs a Jacobian by all strengths.
    """
    x, names = defaults(runs), switches_of(runs)
    count = len(names)
    two = list(combinations(range(count), 2)) if pairs else []
    rows = [np.ones(count), np.zeros(count)]
    rows += [switched_off(names, [name]) for name in names]
    rows += [switched_off(names, [names[i], names[j]]) for i, j in two]
    s = np.stack(rows)
    (values,) = compute([runs], [(0, at_strengths(x, s))], pool)
    on, off = values[0], values[1]
    single = on[None] - values[2 : 2 + count]
    both = on[None] - values[2 + count :]
    alone = [single[i] + single[j] for i, j in two]
    interaction = both - np.stack(alone) if two else np.empty((0, on.size))
    points, weights = np.polynomial.legendre.leggauss(nodes)
    arguments = [(0, x, np.full(count, 0.5 * (1.0 + point))) for point in points]
    slopes = collect(partial(slope, (runs,)), arguments, pool)
    path = sum((0.5 * w * d.T for w, d in zip(weights, slopes, strict=True)), np.zeros(()))
    return Ablation(names, on, off, single, interaction, np.asarray(path))


def total_indices(
    runs: Forward, pool: Pool, read: Sequence[int], n: int = 64, seed: int = 0
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
    distributions = [Distribution(name, "uniform", 0.0, 1.0) for name in switches_of(runs)]
    design = variance.sobol_design(distributions, n, seed)
    (values,) = compute([runs], [(0, at_strengths(defaults(runs), design.x))], pool)
    return [variance.sobol(design, values[:, i], seed=seed) for i in read]


def table(
    found: Ablation,
    runs: Forward,
    case: str,
    read: Sequence[int],
    totals: Sequence[indices.Result] = (),
) -> pd.DataFrame:
    """Rows of ``indices.csv``: worth, interaction, integrated gradients and total indices.

    Args:
        found: from :func:`ablate`.
        runs: of the case, with one member.
        case: its name.
        read: which values.
        totals: from :func:`total_indices`, of the same values.
    """
    years = [(t.text.partition("@")[0], year) for t in targets_of(runs) for year in t.years]
    tables = []
    for place, i in enumerate(read):
        output, year = years[i]
        values = {"worth": found.single[:, i]}
        if len(found.pair):
            values["interaction"] = found.pair[:, i]
        values["integrated_gradient"] = found.path[:, i]
        results = [indices.Result.exact("strength", values, len(found.single) + 1)]
        if totals:
            results.append(dataclasses.replace(totals[place], method="strength"))
        tables += [result.table(output, case, year, found.names) for result in results]
    return pd.concat(tables, ignore_index=True)


def of_cases(
    cases: Sequence[Case],
    texts: Sequence[str],
    base_points: int,
    pool: Pool,
    measurements: Measurements,
    say: Say,
) -> pd.DataFrame:
    """What all processes of some cases are worth, as rows of ``indices.csv``.

    Args:
        cases: the cases, whose first member is looked at.
        texts: of the targets; those without a year are read early and late in nature, and at the
            end of agriculture and of recovery where there are such.
        base_points: of the total indices, see :func:`total_indices`; 0 for nothing at all.
        pool: who computes.
        measurements: keeps what is measured.
        say: told what is done.
    """
    tables = [pd.DataFrame(columns=list(indices.COLUMNS))]
    for case in cases if base_points else ():
        runs = of_case(case, _dated(texts, case), drawn=False)
        read = range(sum(len(target.years) for target in targets_of(runs)))
        count, outputs = len(switches_of(runs)), [target.text for target in targets_of(runs)]
        say(
            f"prune: worth of {count} processes of {case.name}: "
            f"{2 + count + count * (count - 1) // 2 + base_points * (count + 2)} runs, "
            f"{NODES} derivatives"
        )

        def exact(runs: Forward = runs) -> list[np.ndarray]:
            found = ablate(runs, pool)
            measurements.runs += 2 + len(found.single) + len(found.pair)
            return [found.on, found.off, found.single, found.pair, found.path]

        def totals(runs: Forward = runs, read: Sequence[int] = read) -> list[np.ndarray]:
            found = total_indices(runs, pool, read, base_points)
            measurements.runs += found[0].n_runs + found[0].dropped
            return [np.array([r.estimates[k] for k in ("S1", "ST")]) for r in found]

        found = Ablation(
            switches_of(runs), *measurements.once(["worth", case.name, outputs], exact)
        )
        arrays = measurements.once(["total indices", case.name, outputs, base_points], totals)
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
