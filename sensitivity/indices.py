"""The table of indices: one form for all methods, so that they can be laid side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

COLUMNS = (
    "method",
    "output",
    "case",
    "year",
    "parameter",
    "index",
    "value",
    "low",
    "high",
    "n_runs",
)


def pairs(names: Sequence[str]) -> list[str]:
    """Names of all pairs of inputs, ``a:b``, in the order of :func:`numpy.triu_indices`."""
    return [f"{a}:{b}" for a, b in combinations(names, 2)]


OF_PAIRS = ("S2", "interaction")
"""Indices of pairs of inputs."""


class Estimate(NamedTuple):
    """An index of all inputs (or pairs) with the ends of its 95 % interval, [input] each."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """Indices of one output by one method.

    Attributes:
        method: what they were found with.
        estimates: by name of the index; all NaN if the output is constant or was refused.
        n_runs: runs that they rest on.
        dropped: runs that were computed but could not be used: failed ones, and those that
            are of no use without them.
        constant: the output has the same value in all runs.
        note: what a reader has to know, or empty.
    """

    method: str
    estimates: Mapping[str, Estimate]
    n_runs: int
    dropped: int = 0
    constant: bool = False
    note: str = ""

    @classmethod
    def exact(cls, method: str, values: Mapping[str, np.ndarray], n_runs: int) -> Result:
        """Indices that are exact numbers, which are their own intervals."""
        return cls(method, {name: Estimate(v, v, v) for name, v in values.items()}, n_runs)

    def table(self, output: str, case: str, year: int | None, names: Sequence[str]) -> pd.DataFrame:
        """All indices, a row for each input (or pair of inputs, as ``a:b``) and index.

        Args:
            output, case: what was looked at, and in which case.
            year: year of the output; None where it has none.
            names: inputs.

        Returns:
            A table with ``COLUMNS``; ``year`` is an integer or missing.
        """
        tables = []
        for index, estimate in self.estimates.items():
            own = pairs(names) if index in OF_PAIRS else names
            table = pd.DataFrame({"parameter": own} | estimate._asdict())
            table = table.assign(
                method=self.method, output=output, case=case, index=index, n_runs=self.n_runs
            )
            table["year"] = pd.array([year] * len(table), dtype="Int64")
            tables.append(table[list(COLUMNS)])
        return pd.concat(tables, ignore_index=True)


def nothing(n: int) -> Estimate:
    """An estimate that says that there is none, for n inputs."""
    return Estimate(*np.full((3, n), np.nan))


def usable(y: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Which runs are finite, [n]: in the output, [n], and in all else, [n, input]."""
    return np.asarray(
        np.isfinite(y) & np.all([np.isfinite(of).all(axis=1) for of in others], axis=0)
    )


RESAMPLES = 500
"""Of a bootstrap, unless told."""

CONSTANT = "the output is constant"
TOO_FEW = "too few runs are left to say anything"


def is_constant(y: np.ndarray) -> bool:
    """Whether values, [n], differ by no more than rounding."""
    return bool(np.ptp(y) <= 1e-12 * np.abs(y).max())


@lru_cache(maxsize=4)
def resampling(n: int, resamples: int, seed: int) -> np.ndarray:
    """Weights of the bootstrap: how often each of n runs is drawn, over n; [resample, n].

    A mean over resampled runs is then a product with a matrix. Runs of a Sobol sequence are
    more even than independent ones, so that intervals found in this way are rather too wide.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(n, np.full(n, 1.0 / n), size=resamples) / n


def interval(value: np.ndarray, resampled: np.ndarray) -> Estimate:
    """A value, [...], with the 2.5 and 97.5 % quantiles of resampled ones, [resample, ...]."""
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return Estimate(np.asarray(value), low, high)


FAR = 10.0
"""Interquartile ranges beyond the quartiles from where on a run is outlying."""

HELD = 0.1
"""Share of the variance held by outlying runs that is told."""


def outlying(y: np.ndarray) -> np.ndarray:
    """Which values, [n], lie far from the middle half of all; none if that has no width."""
    low, high = np.nanquantile(y, [0.25, 0.75])
    with np.errstate(invalid="ignore"):
        far = (y < low - FAR * (high - low)) | (y > high + FAR * (high - low))
    return np.asarray(far & (high > low))


def told_outlying(y: np.ndarray) -> str:
    """A sentence on a few runs that have much of the variance of values, [n]; or nothing.

    Indices by variance tell of such runs more than of all others, and are as uncertain as they
    are rare.
    """
    far = outlying(y)
    squares = (y - y.mean()) ** 2
    share = squares[far].sum() / squares.sum()
    if not share > HELD:
        return ""
    return (
        f"{far.sum()} of {len(y)} runs are outlying, {FAR:g} interquartile ranges and more beyond "
        f"the quartiles, and have {100 * share:.0f} % of the variance: indices tell of them"
    )
