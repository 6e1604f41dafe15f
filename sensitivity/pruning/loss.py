"""Errors of pruned columns, and when they are small enough."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy import stats

FLOOR = 0.01
"""Share of the largest value of a run below which errors are no longer relative to the value."""

CONFIDENCE = 0.95
"""That the quantile of all draws there could be is below the limit that is found from some.

By order statistics (Wilks 1941): 59 draws, all of them within the tolerance, for a quantile of
0.95; with fewer it is the largest that counts, and the confidence is less.
"""


@dataclasses.dataclass(frozen=True)
class Rule:
    """When something may go: on all cases, and at a quantile of draws of each, within tolerance.

    Of the quantile it is the upper 95 % limit that counts, see :data:`CONFIDENCE`.

    Attributes:
        tolerance: largest error.
        draws: of the parameters, for each case.
        quantile: of the errors of the draws of a case.
        seed: of the draws.
    """

    tolerance: float
    draws: int = 64
    quantile: float = 0.95
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Loss:
    """Errors of a column against the full one.

    Attributes:
        cases: [case, target], at the parameters of the case.
        draws: of each case [draw, target]; NaN where the full column failed.
    """

    cases: np.ndarray
    draws: tuple[np.ndarray, ...]

    @property
    def worst(self) -> float:
        """Of the cases."""
        return float(self.cases.max())

    def quantile(self, q: float) -> float:
        """Of the draws, its upper 95 % limit, in the worst case; 0 without draws."""
        found = [_quantile(own.max(axis=1), q) for own in self.draws if own.size]
        return max(found, default=0.0)

    @property
    def worst_draw(self) -> float:
        """Of all draws; 0 without draws."""
        return self.quantile(1.0)

    def reached(self, rule: Rule) -> float:
        """What the tolerance is compared with."""
        return max(self.worst, self.quantile(rule.quantile))


def _quantile(found: np.ndarray, q: float) -> float:
    """Upper confidence limit of a quantile, from an order statistic; NaN are left out."""
    kept = np.sort(found[~np.isnan(found)])
    if not kept.size:
        return float("inf")
    return float(kept[place_of_limit(kept.size, q)])


def place_of_limit(n: int, q: float) -> int:
    """Which of n sorted draws is the upper limit of their quantile; the largest if few."""
    return min(int(stats.binom.ppf(CONFIDENCE, n, q)), n - 1)


def errors(pruned: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Errors of all values of runs, [run, value] of both.

    NaN in a run whose full values are not all finite, infinite where only the pruned one is not.
    """
    size = np.abs(full)
    scale = np.maximum(size, FLOOR * size.max(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(pruned == full, 0.0, np.abs(pruned - full) / scale)
    error = np.where(np.isfinite(error), error, np.inf)
    return np.where(np.isfinite(full).all(axis=1, keepdims=True), error, np.nan)


def relative(pruned: np.ndarray, full: np.ndarray) -> np.ndarray:
    """The largest of :func:`errors` of each run, [run]."""
    return np.asarray(errors(pruned, full).max(axis=1))
