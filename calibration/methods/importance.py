"""Importance weights: draws of one density in the place of draws of another.

Weights are smoothed (Pareto smoothed importance sampling, Vehtari et al. 2024). The shape k of
their tail says whether they can be trusted: up to :data:`TRUSTED` they can; above it the first
density misses what the second has, and only sampling the second helps.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Float, Int

TRUSTED = 0.7

EVEN = 1.05
"""Largest weight over the mean up to which weights are all nearly the same."""

ALIKE = 0.999
"""Share of the draws that weights are worth from which on they are all nearly the same: the shape
of a tail is then that of a tail of percents, and says nothing about what the draws may miss."""

LEAST_EFFECTIVE = 100
"""So many effective draws are enough for 5 and 95 % quantiles."""


class Weights(NamedTuple):
    """Smoothed weights that sum to one, Pareto k, and how many equal draws they are worth.

    A draw that is repeated counts once. k is 0 where weights are all nearly the same: the largest
    at most :data:`EVEN` of the mean, or all together worth :data:`ALIKE` of the draws.
    """

    weight: Float[np.ndarray, " draw"]
    k: float
    effective: float

    @property
    def trusted(self) -> bool:
        """Whether weighted draws stand for draws of the target."""
        return bool(self.k <= TRUSTED)


def weights(target: Float[np.ndarray, " draw"], proposal: Float[np.ndarray, " draw"]) -> Weights:
    """Weights of draws.

    Args:
        target: logarithm of the density wanted, up to a constant; -inf or NaN where there is none.
        proposal: logarithm of the density that the draws come from, up to a constant.
    """
    log = np.asarray(target, float) - np.asarray(proposal, float)
    log = np.where(np.isfinite(log), log, -np.inf)
    if not np.isfinite(log).any():
        return Weights(np.full(log.size, 1.0 / log.size), np.inf, 1.0)
    log = np.maximum(log - log.max(), -700.0)
    raw = np.exp(log)
    even = raw.mean() >= 1.0 / EVEN or raw.mean() ** 2 >= ALIKE * np.mean(raw**2)
    try:
        with np.errstate(all="ignore"):
            # ArviZ takes what is divided by, a log likelihood: the sign is that of leave-one-out
            smoothed, k = array_stats.psislw(-log)
    except ValueError:  # the largest weights are all the same: of all draws, or of one repeated
        smoothed, k = log, np.inf
    weight = np.exp(smoothed - smoothed.max())
    weight /= weight.sum()
    if even:
        return Weights(weight, 0.0, float(1.0 / np.sum(weight**2)))
    # draws of a chain that stands still have the same ratio to the last digit: they are one draw
    together = np.bincount(np.unique(log, return_inverse=True)[1], weight)
    return Weights(
        weight, float(k) if np.isfinite(k) else np.inf, float(1.0 / (together @ together))
    )


def log_evidence(target: np.ndarray, proposal: np.ndarray) -> float:
    """Logarithm of the integral of the target, from draws of a normalised proposal."""
    log = np.asarray(target, float) - np.asarray(proposal, float)
    log = log[np.isfinite(log)]
    return float(np.log(np.mean(np.exp(log - log.max()))) + log.max())


def resampled(
    weight: Float[np.ndarray, " draw"], draws: int, seed: int
) -> Int[np.ndarray, " draw"]:
    """Which draws to take, and how often, so that all count alike (systematic resampling).

    The order is shuffled, so that the repetitions of a draw are not neighbours.
    """
    rng = np.random.default_rng(seed)
    points = (np.arange(draws) + rng.uniform()) / draws
    chosen = np.searchsorted(np.cumsum(weight) / np.sum(weight), points)
    return rng.permutation(np.minimum(chosen, weight.size - 1))
