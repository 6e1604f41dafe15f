"""Global indices from exact derivatives: DGSM with Poincare bounds, active subspaces.

Both are made of the same gradients, so that the second one costs no run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from sensitivity.distributions import Distribution
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
    usable,
)

LARGEST_DIMENSION = 10
"""Dimensions of an active subspace that are considered; more could not be looked at."""

ENOUGH = 0.9
"""Sum of the bounds below which they are doubted: that of total indices is 1 or more."""

SMALLEST = 1e-14
"""Eigenvalues below this share of the largest are rounding errors."""


def dgsm(
    x: np.ndarray,
    gradient: np.ndarray,
    y: np.ndarray,
    distributions: Sequence[Distribution] | None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Result:
    """Derivative-based global sensitivity measures, and what they say of total Sobol indices.

    - ``mu_star``: mean size of the derivative by the normal score of the input, unit of the
      output: what ``mu_star`` of Morris becomes for ever smaller steps (Kucherenko et al. 2009),
      in steps of one standard deviation. One steep place weighs in it by its height, not by its
      square, so it ranks inputs best.
    - ``mu_scaled``: its square over the variance of the output; 1. For independent inputs in
      which the output only rises or only falls it cannot exceed the first-order Sobol index
      (Cacoullos 1982), and equals it for a straight line in the normal scores.
    - ``nu``: mean of the squared derivative, (unit of the output / unit of the input)^2.
    - ``nu_scaled``: ``nu`` times the variance of the input over that of the output; 1; the
      share of the variance if the output is a straight line in each input.
    - ``ST_bound``: ``nu`` times the Poincare constant over the variance of the output, which
      the total Sobol index cannot exceed (Lamboni et al. 2013; Roustant, Barthe & Iooss 2017).
      For a lognormal distribution the smaller of two such bounds, with the derivative by the value
      and by its logarithm. It is a bound of independent inputs only and may be above 1.

    Args:
        x: values of the inputs, drawn from their distributions, [n, input].
        gradient: exact derivative of the output by each input, [n, input].
        y: output, [n]. A run with anything that is not finite is left out and counted.
        distributions: of the inputs; None for inputs that depend on each other: without
            ``ST_bound``, and
            with derivatives by the input over its standard deviation in ``mu_star``.
        resamples, seed: of the bootstrap.
    """
    kept = usable(y, x, gradient)
    x, gradient, y, dropped = x[kept], gradient[kept], y[kept], int((~kept).sum())
    n, k = gradient.shape
    names = (
        "mu_star",
        "mu_scaled",
        "nu",
        "nu_scaled",
        *(() if distributions is None else ("ST_bound",)),
    )
    if note := _useless(y):
        empty = {name: nothing(k) for name in names}
        return Result("dgsm", empty, n, dropped, note == CONSTANT, note)

    weights = np.vstack([np.full((1, n), 1.0 / n), resampling(n, resamples, seed)])
    found = _measures(weights, x, gradient, _variance(weights, y)[:, None], distributions)
    estimates = {name: interval(values[0], values[1:]) for name, values in found.items()}
    notes = [
        told_outlying(y),
        "" if distributions is None else _told_too_small(estimates["ST_bound"]),
    ]
    return Result("dgsm", estimates, n, dropped, note="; ".join(filter(None, notes)))


def _told_too_small(bound: Estimate) -> str:
    """A sentence on bounds that cannot be bounds of total indices; or nothing."""
    whole = float(bound.value.sum())
    if whole >= ENOUGH:
        return ""
    return (
        f"the bounds add up to {whole:.2f}, less than total indices ever do: the output jumps "
        "where it has no derivative, or the runs are too few for it"
    )


def _measures(
    weights: np.ndarray,
    x: np.ndarray,
    gradient: np.ndarray,
    variance: np.ndarray,
    distributions: Sequence[Distribution] | None,
) -> dict[str, np.ndarray]:
    """The measures of :func:`dgsm` in each resample, [resample, input]."""
    nu = weights @ gradient**2
    spread = x.std(axis=0) if distributions is None else np.array([of.sd for of in distributions])
    stretch = spread if distributions is None else _stretch(distributions, x)
    mu_star = weights @ np.abs(gradient * stretch)
    found = {
        "mu_star": mu_star,
        "mu_scaled": mu_star**2 / variance,
        "nu": nu,
        "nu_scaled": nu * spread**2 / variance,
    }
    if distributions is not None:
        constant = np.array([of.poincare() for of in distributions])
        log_constant = np.array([of.log_poincare() for of in distributions])
        by_logarithm = weights @ (x**2 * gradient**2)
        found["ST_bound"] = np.fmin(constant * nu, log_constant * by_logarithm) / variance
    return found


def _stretch(distributions: Sequence[Distribution], x: np.ndarray) -> np.ndarray:
    """Change of each input by that of its normal score, [n, input]."""
    return np.stack([of.stretch(x[:, i]) for i, of in enumerate(distributions)], axis=1)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Subspace:
    """Directions in which an output varies, from the mean outer product of its gradient.

    Inputs are in units of their spread, about their centre.

    Attributes:
        result: index ``activity``: scores of Constantine & Diaz (2017) over the variance of the
            output, for the suggested dimension.
        eigenvalues: in the square of the unit of the output, falling, with intervals, [input].
        vectors: [input, direction], each of length 1; its largest entry is positive.
        error: distance between the subspace of dimension 1, 2, ... and its resampled ones
            (sine of the largest angle), mean and 95 % interval, [dimension].
        dimension: the one before the widest gap of the eigenvalues.
        clear: whether the intervals on both sides of that gap are apart.
        active: the first two active variables of each run used, [n, 2]; [n, 1] for one input.
        y: output of these runs, [n].
    """

    result: Result
    eigenvalues: Estimate
    vectors: np.ndarray
    error: Estimate
    dimension: int
    clear: bool
    active: np.ndarray
    y: np.ndarray


def active_subspace(
    x: np.ndarray,
    gradient: np.ndarray,
    y: np.ndarray,
    centre: np.ndarray,
    spread: np.ndarray,
    resamples: int = 200,
    seed: int = 0,
    dimension: int | None = None,
) -> Subspace:
    """Active subspace and activity scores (Constantine 2015; Constantine & Diaz 2017).

    Args:
        x, gradient, y: as in :func:`dgsm`.
        centre, spread: mean and standard deviation of each input, of its distribution or posterior,
            [input]. They make directions comparable; another scale is another subspace.
        resamples, seed: of the bootstrap.
        dimension: taken instead of the one that the eigenvalues suggest.
    """
    kept = usable(y, x, gradient)
    x, gradient, y, dropped = x[kept], gradient[kept], y[kept], int((~kept).sum())
    n, k = gradient.shape
    scaled = (x - centre) / spread
    if note := _useless(y):
        result = Result("active-subspace", {"activity": nothing(k)}, n, dropped,
                        note == CONSTANT, note)  # fmt: skip
        vectors = np.full((k, k), np.nan)
        error = nothing(max(1, min(k - 1, LARGEST_DIMENSION)))
        active = np.full((n, min(k, 2)), np.nan)
        return Subspace(result, nothing(k), vectors, error, 0, False, active, y)

    slopes = gradient * spread
    weights = np.vstack([np.full((1, n), 1.0 / n), resampling(n, resamples, seed)])
    outer = (slopes[:, :, None] * slopes[:, None, :]).reshape(n, k * k)
    values, vectors = np.linalg.eigh((weights @ outer).reshape(-1, k, k))
    values, vectors = np.maximum(values[:, ::-1], 0.0), vectors[:, :, ::-1]
    largest = vectors[0][np.abs(vectors[0]).argmax(axis=0), np.arange(k)]
    vectors[0] *= np.sign(largest)

    eigenvalues = interval(values[0], values[1:])
    suggested, clear = _gap(eigenvalues)
    chosen = suggested if dimension is None else dimension
    score = (values[:, None, :chosen] * vectors[:, :, :chosen] ** 2).sum(axis=-1)
    score /= _variance(weights, y)[:, None]
    result = Result("active-subspace", {"activity": interval(score[0], score[1:])}, n, dropped)
    return Subspace(
        result,
        eigenvalues,
        vectors[0],
        _subspace_error(vectors),
        chosen,
        clear,
        scaled @ vectors[0][:, :2],
        y,
    )


def _gap(eigenvalues: Estimate) -> tuple[int, bool]:
    """Dimension before the widest gap (as a ratio), and whether intervals do not meet there."""
    value, low, high = eigenvalues
    if len(value) == 1:
        return 1, True
    least = SMALLEST * value[0]
    last = min(len(value) - 1, LARGEST_DIMENSION)
    ratio = np.maximum(value[:last], least) / np.maximum(value[1 : last + 1], least)
    place = int(ratio.argmax())
    return place + 1, bool(low[place] > max(high[place + 1], least))


def _subspace_error(vectors: np.ndarray) -> Estimate:
    """Sine of the largest angle between each subspace and its resampled ones."""
    k = vectors.shape[-1]
    errors = []
    for dimension in range(1, max(2, min(k, LARGEST_DIMENSION + 1))):
        # the part of the resampled subspace that lies outside of the first one
        outside = vectors[0][:, dimension:].T @ vectors[1:, :, :dimension]
        size = np.linalg.norm(outside, 2, axis=(-2, -1)) if k > 1 else np.zeros(len(vectors) - 1)
        errors.append(size)
    sample = np.stack(errors, axis=-1)
    return interval(sample.mean(axis=0), sample)


def _useless(y: np.ndarray) -> str:
    """Why nothing can be said of an output, or an empty text."""
    if len(y) < 3:
        return TOO_FEW
    return CONSTANT if is_constant(y) else ""


def _variance(weights: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Variance of the output in each resample, [resample]; never zero."""
    n, centred = len(y), y - y.mean()
    variance = weights @ centred**2 - (weights @ centred) ** 2
    # all runs of a resample may be one and the same when there are few
    return np.maximum(variance * n / (n - 1), np.finfo(float).tiny)
