"""Shapley effects: shares of the variance for inputs that depend on each other.

Where inputs are correlated, as those of a posterior are, Sobol indices do not add up and total
ones may be below first ones. Shapley effects give each input its mean part, over all orders, of
the variance that becoming known takes away (Owen 2014; Song, Nelson & Staum 2016; Owen & Prieur
2017). They are never negative and add up to one.

The dependence is a Gaussian copula. The output is replaced by a quadratic in its normal scores,
fitted to runs and their exact gradients, since there every conditional variance has a closed
form and nothing is left to chance but the fit. What the quadratic explains of runs that it has
not seen is reported; below ``FEWEST_EXPLAINED`` there is no answer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import linalg, stats
from scipy.interpolate import PchipInterpolator

from sensitivity.distributions import Distribution, Posterior, unit_sample
from sensitivity.indices import (
    CONSTANT,
    TOO_FEW,
    Result,
    interval,
    is_constant,
    nothing,
    resampling,
    usable,
)

FEWEST_EXPLAINED = 0.9
"""Share of the variance of unseen runs that the surrogate must explain."""

MOST_EXACT = 12
"""Inputs up to which all subsets are taken; above it, orders at random."""

ORDERS = 256
RESAMPLES = 100

FOLDS = 5
"""Each fifth of the runs is predicted by a fit to the others, which tells how good it is."""

EQUATIONS = 1.5
"""Equations for each coefficient that a fit needs at least."""

REACH = 2.5
"""Normal scores between which the shape of a marginal is taken from draws."""


@dataclasses.dataclass(frozen=True, eq=False)
class Copula:
    """Inputs as monotone functions of correlated standard normal scores.

    Attributes:
        names: of the inputs.
        correlation: of the scores, [input, input].
        scores: where the marginals are tabulated, rising, [node].
        values: values of the inputs there, rising, [node, input].
    """

    names: tuple[str, ...]
    correlation: np.ndarray
    scores: np.ndarray
    values: np.ndarray

    @classmethod
    def of_draws(cls, posterior: Posterior) -> Copula:
        """The copula of joint draws: marginals from their quantiles, correlation of ranks."""
        draws = posterior.draws
        n, k = draws.shape
        ranks = stats.rankdata(draws, axis=0)
        normal = stats.norm.ppf((ranks - 0.5) / n)
        correlation = np.corrcoef(normal, rowvar=False).reshape(k, k)
        # no further out than the draws tell, no closer than they can be told apart
        reach = min(REACH, float(stats.norm.ppf(1.0 - 2.0 / n)))
        knots = np.linspace(-reach, reach, int(np.clip(n // 25, 3, 15)))
        at_knots = np.quantile(draws, stats.norm.cdf(knots), axis=0)
        least = 1e-9 * np.ptp(draws, axis=0) * np.arange(len(knots))[:, None]
        shape = PchipInterpolator(knots, np.maximum.accumulate(at_knots) + least)
        scores = np.linspace(-8.0, 8.0, 1601)
        values = shape(np.clip(scores, -reach, reach))
        ends = np.stack([shape.derivative()(-reach), shape.derivative()(reach)])
        mean_slope = (at_knots[-1] - at_knots[0]) / (2.0 * reach)
        ends = np.maximum(ends, 0.05 * mean_slope)
        beyond = scores[:, None]
        values += np.minimum(beyond + reach, 0.0) * ends[0]
        values += np.maximum(beyond - reach, 0.0) * ends[1]
        return cls(posterior.names, _positive(correlation), scores, values)

    @classmethod
    def of_distributions(
        cls, distributions: Sequence[Distribution], correlation: np.ndarray | None = None
    ) -> Copula:
        """A copula of given marginals.

        Args:
            distributions: of the inputs.
            correlation: of their normal scores, [input, input]; None for independent inputs.
        """
        scores = np.linspace(-8.0, 8.0, 1601)
        u = stats.norm.cdf(scores)
        values = np.stack([of.quantile(u) for of in distributions], axis=-1)
        given = (
            np.eye(len(distributions)) if correlation is None else np.asarray(correlation, float)
        )
        return cls(
            tuple(of.name for of in distributions),
            _positive(given),
            scores,
            values,
        )

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Values of the inputs, [n, input]; the first m of n are the m values."""
        u = unit_sample(len(self.names), n, seed)
        normal = stats.norm.ppf(np.clip(u, 1e-12, 1.0 - 1e-12))
        scores = normal @ np.linalg.cholesky(self.correlation).T
        tables = zip(scores.T, self.values.T, strict=True)
        columns = [np.interp(z, self.scores, values) for z, values in tables]
        return np.stack(columns, axis=-1)

    def normal(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Normal scores of values, and the derivative of the values by them, [n, input] each."""
        score, slope = np.empty_like(x), np.empty_like(x)
        for i, values in enumerate(self.values.T):
            rising = np.concatenate([[True], np.diff(values) > 0.0])
            nodes, at = self.scores[rising], values[rising]
            score[:, i] = np.interp(x[:, i], at, nodes)
            slope[:, i] = np.interp(score[:, i], nodes, np.gradient(at, nodes))
        return score, slope


def _positive(correlation: np.ndarray) -> np.ndarray:
    """The nearest correlation that can be factorised, after directions without spread."""
    values, vectors = np.linalg.eigh(correlation)
    mended = (vectors * np.maximum(values, 1e-8)) @ vectors.T
    size = np.sqrt(np.diag(mended))
    return np.asarray(mended / np.outer(size, size))


@dataclasses.dataclass(frozen=True, eq=False)
class Shapley:
    """Shapley effects of one output.

    Attributes:
        result: index ``shapley``, shares of the variance that add up to one; all NaN if the
            surrogate was refused, with the reason in ``note``.
        explained: share of the variance of unseen runs that the surrogate explains; NaN if it
            could not be fitted.
    """

    result: Result
    explained: float


def shapley(
    copula: Copula,
    x: np.ndarray,
    y: np.ndarray,
    gradient: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    orders: int = ORDERS,
    seed: int = 0,
) -> Shapley:
    """Shapley effects of inputs with a Gaussian copula.

    Exact given the surrogate for up to ``MOST_EXACT`` inputs, from all subsets; above that a
    mean over random orders and their reverses. The intervals are of the fit (bootstrap over
    runs); they do not contain what the quadratic cannot follow, nor how well the copula is known.

    Args:
        copula: of the inputs.
        x: their values in the runs, drawn from the copula or the posterior behind it, [n, input].
        y: output, [n]. A run with anything that is not finite is left out and counted.
        gradient: exact derivative of the output by each input, [n, input]. Without it many more
            runs are needed: 1.5 for each of (inputs + 1)(inputs + 2)/2 coefficients.
        resamples, seed: of the bootstrap.
        orders: random orders of more than ``MOST_EXACT`` inputs.
    """
    kept = usable(y, x) if gradient is None else usable(y, x, gradient)
    gradient = None if gradient is None else gradient[kept]
    x, y, dropped = x[kept], y[kept], int((~kept).sum())
    n, k = x.shape

    def refused(note: str, explained: float = math.nan) -> Shapley:
        empty = {"shapley": nothing(k)}
        return Shapley(Result("shapley", empty, n, dropped, note == CONSTANT, note), explained)

    if n < (needed := _needed(k, 1 if gradient is None else k + 1)):
        return refused(f"{TOO_FEW}: {n}, {needed} are needed for {k} inputs")
    if is_constant(y):
        return refused(CONSTANT)

    factor = np.linalg.cholesky(copula.correlation)
    score, slope = copula.normal(x)
    white = linalg.solve_triangular(factor, score.T, lower=True).T
    tangent = None if gradient is None else (gradient * slope) @ factor
    scale = y.std()
    fit = _Fit(white, (y - y.mean()) / scale, None if tangent is None else tangent / scale)
    explained = fit.explained()
    if not explained >= FEWEST_EXPLAINED:
        return refused(
            f"the quadratic surrogate explains {max(explained, 0.0):.2f} of the variance of runs "
            f"that it has not seen, less than {FEWEST_EXPLAINED:g}: no Shapley effects",
            explained,
        )

    ways = _Ways(copula.correlation, factor, orders, seed)
    weights = [np.ones(n), *(resampling(n, resamples, seed) * n)]
    effects = np.stack([ways.effects(*fit.quadratic(w)) for w in weights])
    estimates = {"shapley": interval(effects[0], effects[1:])}
    note = f"the quadratic surrogate explains {explained:.3f} of the variance of unseen runs"
    return Shapley(Result("shapley", estimates, n, dropped, note=note), explained)


def _needed(inputs: int, per_run: int) -> int:
    """Runs that the quadratic needs, of which each gives so many equations."""
    coefficients = (inputs + 1) * (inputs + 2) // 2
    return max(10, math.ceil(EQUATIONS * coefficients / per_run * FOLDS / (FOLDS - 1)))


def from_subsets(known: np.ndarray) -> np.ndarray:
    """Shapley values of k inputs, [k].

    Args:
        known: what each subset is worth, e.g. the variance of the mean given it, [2^k]; input i
            is in subset number s if bit i of s is set.
    """
    k = len(known).bit_length() - 1
    subsets = np.arange(len(known))
    sizes = ((subsets[:, None] >> np.arange(k)) & 1).sum(axis=1)
    weight = np.array([1.0 / (k * math.comb(k - 1, size)) for size in range(k)])
    value = np.empty(k)
    for i in range(k):
        without = subsets[(subsets >> i) & 1 == 0]
        value[i] = weight[sizes[without]] @ (known[without | (1 << i)] - known[without])
    return value


class _Fit:
    """Least squares of a quadratic in independent normal coordinates e.

    Its terms are the Hermite polynomials up to order 2, orthonormal, as their derivatives are
    orthogonal: what the quadratic cannot follow then disturbs neither values nor derivatives.

    The derivative by ``e_i`` of all terms is ``(1, e)`` (``e_i`` times the root of 2) at the
    places ``own[i]``, so that the sums of all equations need no matrix of them.
    """

    def __init__(self, e: np.ndarray, y: np.ndarray, tangent: np.ndarray | None):
        n, k = e.shape
        first, second = np.triu_indices(k, 1)
        one, squares = np.ones((n, 1)), (e**2 - 1.0) / math.sqrt(2.0)
        self.value = np.concatenate([one, e, squares, e[:, first] * e[:, second]], axis=1)
        self.y, self.tangent = y, tangent
        self.linear = np.concatenate([one, e], axis=1)
        place = np.zeros((k, k), int)
        place[first, second] = place[second, first] = 1 + 2 * k + np.arange(len(first))
        place[np.diag_indices(k)] = 1 + k + np.arange(k)
        self.own = np.concatenate([1 + np.arange(k)[:, None], place], axis=1)
        self.factor = np.ones((k, k + 1))
        self.factor[np.arange(k), 1 + np.arange(k)] = math.sqrt(2.0)

    def coefficients(self, weight: np.ndarray) -> np.ndarray:
        """Coefficients for weights of the runs, with just enough of a ridge to be solvable."""
        weighted = self.value * weight[:, None]
        gram, moment = self.value.T @ weighted, weighted.T @ self.y
        if self.tangent is not None:
            weighted = self.linear * weight[:, None]
            square, cross = self.linear.T @ weighted, self.tangent.T @ weighted
            for own, factor, right in zip(self.own, self.factor, cross, strict=True):
                gram[np.ix_(own, own)] += np.outer(factor, factor) * square
                moment[own] += factor * right
        gram[np.diag_indices_from(gram)] += 1e-9 * np.trace(gram) / len(gram)
        return np.asarray(linalg.cho_solve(linalg.cho_factor(gram), moment))

    def explained(self) -> float:
        """Share of the variance of runs that a fit to the other folds explains."""
        fold, error = np.arange(len(self.y)) % FOLDS, np.empty(len(self.y))
        for i in range(FOLDS):
            unseen = fold == i
            seen = self.coefficients((~unseen).astype(float))
            error[unseen] = self.y[unseen] - self.value[unseen] @ seen
        return 1.0 - float((error**2).mean() / self.y.var())

    def quadratic(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Slope b and curvature H of ``b'e + e'He / 2``, up to a constant, [k] and [k, k]."""
        k = len(self.own)
        b, squares, crossed = np.split(self.coefficients(weight)[1:], [k, 2 * k])
        h = np.diag(math.sqrt(2.0) * squares)
        h[np.triu_indices(k, 1)] = crossed
        return b, h + np.triu(h, 1).T


class _Ways:
    """Orders in which inputs become known, and the effects of a quadratic along them.

    In an order with Cholesky factor L the scores are ``L e``, and knowing the first m of them is
    knowing the first m of e. A quadratic in e then has the variance
    ``sum b_i^2 + sum H_ij^2 / 2`` over what is known.
    """

    def __init__(self, correlation: np.ndarray, factor: np.ndarray, orders: int, seed: int):
        k = len(correlation)
        self.exact = k <= MOST_EXACT
        if self.exact:
            inside = (np.arange(2**k)[:, None] >> np.arange(k)) & 1
            self.sizes = inside.sum(axis=1)
            self.orders = np.argsort(1 - inside, axis=1, kind="stable")
        else:
            random = np.random.default_rng(seed)
            half = random.permuted(np.tile(np.arange(k), (max(1, orders // 2), 1)), axis=1)
            self.orders = np.concatenate([half, half[:, ::-1]])
        own = np.linalg.cholesky(correlation[self.orders[:, :, None], self.orders[:, None, :]])
        # from the coordinates of the fit to those of each order: scores are the same
        ordered = np.linalg.solve(factor, np.eye(k))[:, self.orders].swapaxes(0, 1)
        self.turn = ordered @ own  # [order, coordinate of the fit, coordinate of the order]

    def effects(self, b: np.ndarray, h: np.ndarray) -> np.ndarray:
        """Shapley effects, shares of the variance, [input]."""
        slope = b @ self.turn
        curved = self.turn.swapaxes(1, 2) @ (h @ self.turn)
        squares = curved**2
        row = np.tril(squares, -1).sum(axis=2) + 0.5 * np.diagonal(squares, axis1=1, axis2=2)
        added = slope**2 + row  # variance that each step in the order takes away
        whole = float(added[0].sum())
        k = len(b)
        if not self.exact:
            total = np.zeros(k)
            np.add.at(total, self.orders.ravel(), added.ravel())
            return total / len(self.orders) / whole
        known = np.where(np.arange(k) < self.sizes[:, None], added, 0.0).sum(axis=1)
        return from_subsets(known) / whole
