"""Simulation-based calibration: does a method get back the parameters of data that it made up?

Parameters are drawn from the prior, data simulated from them with their errors, and the data
calibrated. The rank of each true parameter among the posterior draws is uniform if, and only if,
posteriors are neither too narrow nor too wide nor aside, on average over the prior (Talts et al.
2018; Modrák et al. 2023). Ranks that pile up at the ends mean a posterior too narrow.
"""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Int
from scipy import stats

from calibration import checks, plots, store
from calibration.methods import METHODS, importance
from calibration.methods.method import Method
from calibration.methods.mode import Normal, prior_covariance
from calibration.problem import Problem
from diffsoil.cases import load_case, set_parameters
from diffsoil.cases.fingerprint import case_files
from diffsoil.io import InputError
from diffsoil.options import Existing
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.files import write_table
from diffsoil.work.progress import Clock, Say

NAME = "sbc"
RANKED = 99
"""Draws of each posterior that the truth is ranked among, thinned to be nearly independent."""

LEAST_REPLICATES = 5

SIGNIFICANT = 0.01
"""Probability with which chance alone fails a set of parameters."""

WEIGHTED = 4 * RANKED
"""Draws of an approximation that are weighted for them."""


class Replicates:
    """Simulated data sets and their posteriors, one after another with one compiled program.

    Args:
        problem: its priors, operator and error models are used, its values are not.
        method: with settings; draws that have a density are weighted where the weights hold, as
            in a fit.
        seed: same seed, same ranks.

    Raises:
        InputError: the method cannot be repeated for many sets of data.
    """

    def __init__(self, problem: Problem, method: Method, seed: int = 0) -> None:
        _refuse_unable(method)
        self._draws, self._method = method.repeated(problem, seed), method
        self._spread = prior_covariance(problem)
        self.problem = problem
        self._seed = seed
        self._simulate = jax.jit(lambda key, x, of: of.draw(key, x))
        self._density = jax.jit(lambda z, of, value: jax.lax.map(lambda one: of(one, value), z))

    def ranks(
        self, count: int, checkpoints: Checkpoints, report: Say
    ) -> Int[np.ndarray, "replicate parameter"]:
        """Ranks of the true parameters, 0 to :data:`RANKED`; a file for each replicate.

        Args:
            count: number of data sets.
            checkpoints: keep what is done.
            report: progress lines.
        """
        while checkpoints.done < count:
            rank = self.rank(checkpoints.done)
            checkpoints.append({"rank": rank[None]}, ())
            if checkpoints.done % 10 == 0 or checkpoints.done == count:
                report(f"  {checkpoints.done} of {count} data sets")
        return checkpoints.joined(axis=0)["rank"][:count].astype(int)

    def rank(self, number: int) -> Int[np.ndarray, " parameter"]:
        """Ranks of one replicate."""
        key = jax.random.fold_in(jax.random.key(self._seed), number)
        of_truth, of_data = jax.random.split(key)
        truth = self.problem.priors.sample(of_truth, 1)[0]
        value = self._simulate(of_data, truth, self.problem.likelihood)
        z = self._posterior(self.problem.reparameterization.unbounded(truth), value, number)
        x = self.problem.bounded(z)
        return (x < np.asarray(truth)).sum(axis=0)

    def _posterior(self, truth: Array, value: Array, number: int) -> np.ndarray:
        """Nearly independent draws of one posterior."""
        seed = self._seed + number
        # the search may begin at the truth: what is tested is the posterior around its end
        near = Normal(np.asarray(truth), self._spread)
        start = self._method.best(self.problem, [near], lambda line: None, value)
        drawn = self._draws(start.normal, value, seed)
        z = drawn.z.reshape(-1, drawn.z.shape[-1])
        if drawn.log_proposal is None:
            return z[np.linspace(0, len(z) - 1, RANKED).astype(int)]
        z, proposal = z[:WEIGHTED], drawn.log_proposal.ravel()[:WEIGHTED]
        target = np.asarray(self._density(jnp.asarray(z), self.problem.posterior, value))
        weights = importance.weights(target, proposal)
        if weights.trusted:
            return z[importance.resampled(weights.weight, RANKED, seed)]
        return z[:RANKED]


def _refuse_unable(method: Method) -> None:
    if type(method).repeated is not Method.repeated:
        return
    *able, last = [name for name, kind in METHODS.items() if kind.repeated is not Method.repeated]
    known = f"{', '.join(able)} and {last}"
    raise InputError(f"--sbc: --method {method.name}: only {known} can be checked")


def described(
    ranks: Int[np.ndarray, "replicate parameter"], names: tuple[str, ...]
) -> pd.DataFrame:
    """Uniformity of ranks by parameter.

    Returns:
        Index ``parameter``; ``p_value`` of uniform ranks (Kolmogorov-Smirnov), the share of
        truths inside central intervals of 50 and 90 %, and the mean rank as a share.
    """
    rows = {}
    for i, name in enumerate(names):
        # a rank stands for a stretch of the unit interval: its middle is uniform enough to test
        share = (ranks[:, i] + 0.5) / (RANKED + 1)
        rows[name] = {
            "p_value": float(stats.kstest(share, "uniform").pvalue),
            "coverage_50": float(np.mean(np.abs(share - 0.5) <= 0.25)),
            "coverage_90": float(np.mean(np.abs(share - 0.5) <= 0.45)),
            "mean_rank": float(share.mean()),
            "replicates": len(ranks),
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "parameter"
    return table


def verdict(table: pd.DataFrame) -> list[checks.Row]:
    """Whether ranks are uniform and intervals hold what they say, over all parameters."""
    limit = SIGNIFICANT / len(table)
    worst = str(table["p_value"].idxmin())
    uniform = bool(table["p_value"].min() >= limit)
    count = float(table["replicates"].iloc[0]) * len(table)
    covered = float(table["coverage_90"].mean())
    # parameters of one replicate are not independent: judge by replicates alone
    least = checks.COVERAGE - 2 * np.sqrt(checks.COVERAGE * 0.1 / table["replicates"].iloc[0])
    rows = [
        (
            "simulation-based calibration (rank p-value)",
            float(table["p_value"].min()),
            limit,
            uniform,
            f"Ranks of true parameters are uniform (least likely: {worst})."
            if uniform
            else f"Ranks of {worst} are not uniform: its posterior is too narrow, too wide or "
            "aside.",
        ),
        (
            "simulation-based calibration (90 % coverage)",
            covered,
            least,
            covered >= least,
            f"{covered:.1%} of {count:.0f} true values lie in their 90 % interval.",
        ),
    ]
    return [dict(zip(checks.COLUMNS, row, strict=True)) for row in rows]


def check_case(
    case: Path | str,
    output: Path,
    method: Method,
    count: int,
    *,
    seed: int = 0,
    settings: dict[str, float] | None = None,
    existing: Existing = Existing(),
) -> pd.DataFrame:
    """Calibrate simulated data sets of a case, and write how well a method gets them back.

    Args:
        case: name or path.
        output: folder; made if it is not there.
        method: what is checked.
        count: number of data sets.
        seed: same seed, same result.
        settings: parameter values to fix differently from the case.
        existing: what to do with a folder that holds something already.

    Returns:
        The rows of :func:`verdict`.

    Raises:
        InputError: too few data sets, a method that cannot be checked, or a case or a folder that
            cannot be used.
    """
    say = Clock()
    read = load_case(case)
    place = store.folder_of(output, existing, case_files(read))
    column = set_parameters(read.column(), settings or {}, "--set", "calibrate")
    _refuse_unable(method)
    if count < LEAST_REPLICATES:
        raise InputError(f"--sbc {count}: at least {LEAST_REPLICATES} data sets are needed")
    wanted = store.Settings.of(read, method, seed, settings or {})
    with place:
        begun = store.go_on(place, wanted)
        if not place.finished:
            problem = Problem(read, column)
            replicates = Replicates(problem, method, seed)
            if not begun:
                store.begin(place, wanted, read)
            names = problem.names
            say(f"{count} data sets simulated from the prior, {len(names)} parameters each")
            ranks = replicates.ranks(count, Checkpoints(place.work / NAME, begun, say), say)
            _write(place.work, ranks, names)
            store.complete(place)
    results = checks.read(place.path)
    for row in results.to_dict("records"):
        say(f"{'passed' if row['passed'] else 'FAILED'}: {row['check']}: {row['meaning']}")
    return results


def _write(
    folder: Path, ranks: Int[np.ndarray, "replicate parameter"], names: tuple[str, ...]
) -> None:
    table = described(ranks, names)
    results = pd.DataFrame(verdict(table), columns=checks.COLUMNS)
    write_table(folder / "sbc.csv", table, index=True)
    write_table(folder / "checks.csv", results)
    plots.simulated(folder, ranks, names, RANKED)
