"""Indices without derivatives: Morris screening and Sobol indices, through SALib.

Each in two parts, since the runs are computed in between: a design says which points, a function
makes indices of the values there.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from sensitivity.distributions import Distribution, quantiles
from sensitivity.indices import (
    CONSTANT,
    RESAMPLES,
    TOO_FEW,
    Estimate,
    Result,
    interval,
    is_constant,
    nothing,
    resampling,
    told_outlying,
)

SOBOL_RESAMPLES = 100

LEVELS = 4

EDGE = 0.05
"""Probability beyond the outermost levels of Morris' trajectories."""


@dataclasses.dataclass(frozen=True, eq=False)
class Design:
    """Points of a study, in groups of equal size that are of use only as a whole.

    A design with more groups begins with the same points.

    Attributes:
        unit: points in the unit cube, [point, input].
        x: values of the inputs, [point, input].
        size: points of a group.
        second: whether second-order indices can be had.
    """

    unit: np.ndarray
    x: np.ndarray
    size: int
    second: bool = False

    @property
    def groups(self) -> int:
        """Number of groups: trajectories, or base points."""
        return len(self.unit) // self.size


def morris_design(
    distributions: Sequence[Distribution], n: int, seed: int, levels: int = LEVELS
) -> Design:
    """Trajectories of Morris (1991) on a grid of probabilities.

    With 4 levels an input takes the 5, 35, 65 and 95 % quantiles of its distribution, never the
    ends, which a distribution with a tail hardly ever reaches.

    Args:
        distributions: of the inputs.
        n: number of trajectories; each has one point more than there are inputs.
        seed: of the random numbers.
        levels: number of quantiles, even.
    """
    from SALib.sample.morris import sample

    ends = sample(_problem(len(distributions)), n, num_levels=levels, seed=seed)
    unit = EDGE + (1.0 - 2.0 * EDGE) * ends
    return Design(unit, quantiles(distributions, unit), len(distributions) + 1)


def morris(design: Design, y: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Result:
    """Elementary effects: change of the output over the step in probability of an input.

    ``mu_star`` is the mean of their sizes, ``sigma`` their standard deviation (Campolongo,
    Cariboni & Saltelli 2007), ``mu`` their mean; all in the unit of the output. ``sigma`` much
    above ``mu_star`` tells of a bent response or of interactions.

    Args:
        design: from :func:`morris_design`.
        y: output at its points, [point]. A trajectory with a failed run is left out as a whole,
            and its runs are counted as dropped.
        resamples, seed: of the bootstrap over trajectories.
    """
    k = design.unit.shape[1]
    y, kept, dropped = _whole_groups(design, y)
    names = ("mu_star", "sigma", "mu")
    if note := _useless(y, kept):
        return _empty("morris", names, k, y, dropped, note)
    unit = design.unit.reshape(design.groups, design.size, k)[kept]
    step = np.diff(unit, axis=1)  # [trajectory, move, input]; one input moves at a time
    moved = np.abs(step).argmax(axis=2)
    size = np.take_along_axis(step, moved[..., None], axis=2)[..., 0]
    effect = np.empty((len(y), k))
    np.put_along_axis(effect, moved, np.diff(y, axis=1) / size, axis=1)

    n = len(y)
    weights = np.vstack([np.full((1, n), 1.0 / n), resampling(n, resamples, seed)])
    mu = weights @ effect
    variance = np.maximum(weights @ effect**2 - mu**2, 0.0) * n / (n - 1)
    found = {"mu_star": weights @ np.abs(effect), "sigma": np.sqrt(variance), "mu": mu}
    estimates = {name: interval(found[name][0], found[name][1:]) for name in names}
    return Result("morris", estimates, y.size, dropped, note=told_outlying(y.ravel()))


def sobol_design(
    distributions: Sequence[Distribution], n: int, seed: int, second: bool = False
) -> Design:
    """Points for Sobol indices (Saltelli et al. 2010), made of a scrambled Sobol sequence.

    Args:
        distributions: of the inputs.
        n: number of base points, best a power of two. Each needs ``inputs + 2`` runs, or
            ``2 inputs + 2`` for second-order indices as well.
        seed: of the scrambling.
        second: whether second-order indices are wanted.
    """
    from SALib.sample.sobol import sample

    with warnings.catch_warnings():
        # fewer points than a power of two are good enough; SciPy renames an argument
        warnings.simplefilter("ignore")
        unit = sample(
            _problem(len(distributions)),
            n,
            calc_second_order=second,
            seed=np.random.default_rng(seed),
        )
    size = (2 * len(distributions) if second else len(distributions)) + 2
    return Design(unit, quantiles(distributions, unit), size, second)


def sobol(design: Design, y: np.ndarray, resamples: int = SOBOL_RESAMPLES, seed: int = 0) -> Result:
    """First, total and, if the design has them, second-order Sobol indices.

    ``S1`` by the estimator of Saltelli et al. (2010), ``ST`` by that of Jansen (1999), ``S2``
    (in the order of :func:`sensitivity.indices.pairs`) by Saltelli (2002), of centred outputs
    over the variance of all base points; intervals are 1.96 bootstrap standard errors to both
    sides. Small indices may come out below zero: their interval says how much that means.

    Args:
        design: from :func:`sobol_design`.
        y: output at its points, [point]. A group with a failed run is left out as a whole.
        resamples, seed: of the bootstrap over base points.
    """
    from SALib.analyze.sobol import analyze

    k = design.unit.shape[1]
    y, kept, dropped = _whole_groups(design, y)
    names = ("S1", "ST", "S2") if design.second else ("S1", "ST")
    if note := _useless(y, kept):
        return _empty("sobol", names, k, y, dropped, note)
    found = analyze(
        _problem(k),
        y.ravel(),
        calc_second_order=design.second,
        num_resamples=resamples,
        seed=seed + 1,  # SALib takes 0 for no seed
    )
    upper = np.triu_indices(k, 1)
    estimates = {}
    for name in names:
        value, half = (found[key][upper] if name == "S2" else found[key]
                       for key in (name, f"{name}_conf"))  # fmt: skip
        value, half = np.asarray(value), np.asarray(half)
        estimates[name] = Estimate(value, value - half, value + half)
    return Result("sobol", estimates, y.size, dropped, note=told_outlying(y.ravel()))


def _problem(k: int) -> dict[str, Any]:
    """The unit cube, as SALib wants it."""
    names = [f"x{i}" for i in range(k)]
    return {"num_vars": k, "names": names, "bounds": [[0.0, 1.0]] * k}


def _whole_groups(design: Design, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Values of the groups without a failed run, [group, point], which, and runs dropped."""
    groups = np.asarray(y, float).reshape(design.groups, design.size)
    kept = np.isfinite(groups).all(axis=1)
    return groups[kept], kept, int((~kept).sum()) * design.size


def _useless(y: np.ndarray, kept: np.ndarray) -> str:
    if kept.sum() < 2:
        return TOO_FEW
    return CONSTANT if is_constant(y) else ""


def _empty(
    method: str, names: Sequence[str], k: int, y: np.ndarray, dropped: int, note: str
) -> Result:
    sizes = {name: k * (k - 1) // 2 if name == "S2" else k for name in names}
    empty = {name: nothing(size) for name, size in sizes.items()}
    return Result(method, empty, y.size, dropped, note == CONSTANT, note)
