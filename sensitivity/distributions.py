"""What the inputs of a study are drawn from: independent of each other, or joint draws."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.linalg import eigh_tridiagonal
from scipy.stats import qmc

from diffsoil.io import InputError
from diffsoil.parameters import Parameter

TAIL = 1e-4
"""Probability that is cut off where a prior has no bound, so that every range is finite."""

NODES = 2000
CLOSEST = 5e-5  # of the range; nodes that are closer would only add rounding errors


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Distribution of one input, independent of the others, truncated to ``[lower, upper]``.

    ``uniform`` uses the bounds alone; ``normal`` has the mean ``location`` and the standard
    deviation ``scale`` before it is truncated; ``lognormal`` the median ``location`` and the
    standard deviation of the logarithm ``scale``. The bounds are finite.
    """

    name: str
    kind: Literal["uniform", "normal", "lognormal"]
    lower: float
    upper: float
    location: float = math.nan
    scale: float = math.nan

    def quantile(self, u: ArrayLike) -> np.ndarray:
        """Value that is not exceeded with a probability, any shape, 0 to 1."""
        return np.clip(self._inner(self._frozen.ppf(u)), self.lower, self.upper)

    def probability(self, x: ArrayLike) -> np.ndarray:
        """Probability of at most a value, any shape."""
        return np.asarray(self._frozen.cdf(self._outer(x)))

    def density(self, x: ArrayLike) -> np.ndarray:
        """Probability density at a value, any shape, 1 / unit of the value; 0 out of bounds."""
        x = np.asarray(x, float)
        if self.kind != "lognormal":
            return np.asarray(self._frozen.pdf(x))
        inside = x > 0.0
        safe = np.where(inside, x, 1.0)
        return np.where(inside, self._frozen.pdf(np.log(safe)) / safe, 0.0)

    def stretch(self, x: ArrayLike) -> np.ndarray:
        """Change of the value by that of its normal score, any shape, in the unit of the value.

        The normal score z of a value has the same probability in the standard normal distribution.
        Where nothing is truncated dx/dz is the standard deviation of a normal distribution, and
        ``scale * x`` of a lognormal one.
        """
        density = self.density(x)
        score = stats.norm.ppf(self.probability(x))
        inside = density > 0.0
        return np.where(inside, stats.norm.pdf(score) / np.where(inside, density, 1.0), 0.0)

    @cached_property
    def mean(self) -> float:
        """Mean, in the unit of the value."""
        return self._moments[0]

    @cached_property
    def sd(self) -> float:
        """Standard deviation, in the unit of the value."""
        return self._moments[1]

    def poincare(self) -> float:
        """Poincare constant: the least C with Var f(X) <= C E[f'(X)^2] for all smooth f.

        In the square of the unit of the value; the derivative is by the value itself.

        ``(upper - lower)^2 / pi^2`` for the uniform distribution. For the others one over the
        smallest non-zero eigenvalue of ``-(f' p)' = lambda f p`` with ``f' = 0`` at the bounds, p
        the density, by finite elements (Roustant, Barthe & Iooss 2017, section 4). The wider a
        lognormal distribution reaches, the larger is its constant, without end: see
        :meth:`log_poincare`.
        """
        if self.kind == "uniform":
            return (self.upper - self.lower) ** 2 / math.pi**2
        return self._constant

    def log_poincare(self) -> float:
        """Least C with Var f(X) <= C E[(X f'(X))^2], for a lognormal distribution; otherwise NaN.

        That is the inequality of the normal distribution of the logarithm, whose constant is never
        above ``scale^2`` however wide the bounds are.
        """
        if self.kind != "lognormal":
            return math.nan
        return self._log.poincare()

    @cached_property
    def _constant(self) -> float:
        return _spectral_constant(self)

    @cached_property
    def _log(self) -> Distribution:
        """Distribution of the logarithm of a lognormal value."""
        lower, upper = (float(self._outer(x)) for x in (self.lower, self.upper))
        middle = math.log(self.location)
        # no more than 40 standard deviations: nothing is left out there, and the grid stays finite
        lower = max(lower, min(middle, upper) - 40.0 * self.scale)
        return Distribution(self.name, "normal", lower, upper, middle, self.scale)

    @cached_property
    def _frozen(self) -> Any:
        """SciPy's distribution of the value, or of its logarithm if it is lognormal."""
        lower, upper = (float(self._outer(x)) for x in (self.lower, self.upper))
        if self.kind == "uniform":
            return stats.uniform(lower, upper - lower)
        middle = float(self._outer(self.location)) if self.kind == "lognormal" else self.location
        low, high = (lower - middle) / self.scale, (upper - middle) / self.scale
        return stats.truncnorm(low, high, middle, self.scale)

    @cached_property
    def _moments(self) -> tuple[float, float]:
        if self.kind != "lognormal":
            return float(self._frozen.mean()), float(self._frozen.std())
        # a truncated lognormal distribution has those of a normal one shifted by the variance
        s, middle = self.scale, math.log(self.location)
        ends = (np.array([self._outer(self.lower), self._outer(self.upper)]) - middle) / s

        def raw(order: int) -> float:
            whole = np.diff(stats.norm.cdf(ends - order * s)) / np.diff(stats.norm.cdf(ends))
            return float(whole[0]) * math.exp(order * middle + 0.5 * (order * s) ** 2)

        mean = raw(1)
        return mean, math.sqrt(max(raw(2) - mean**2, 0.0))

    def _outer(self, x: ArrayLike) -> np.ndarray:
        """The value as the normal distribution knows it: the logarithm of a lognormal one."""
        x = np.asarray(x, float)
        if self.kind != "lognormal":
            return x
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(x, 0.0))

    def _inner(self, z: np.ndarray) -> np.ndarray:
        return np.exp(z) if self.kind == "lognormal" else z

    def _log_density(self, x: np.ndarray) -> np.ndarray:
        """Logarithm of the density inside the bounds, up to a constant."""
        z = self._outer(x)
        middle = self._outer(self.location)
        return -0.5 * ((z - middle) / self.scale) ** 2 - (z if self.kind == "lognormal" else 0.0)


def _spectral_constant(distribution: Distribution) -> float:
    """One over the smallest non-zero eigenvalue of a truncated distribution.

    Linear elements, mass lumped to the nodes; only ratios of densities matter, so that nothing
    underflows far out in a tail.
    """
    x = _nodes(distribution)
    width = np.diff(x)
    middle = 0.5 * (x[1:] + x[:-1])
    log_density = distribution._log_density(middle)
    log_mass = np.full(len(x), -np.inf)
    half = log_density + np.log(0.5 * width)
    log_mass[:-1] = half
    log_mass[1:] = np.logaddexp(log_mass[1:], half)
    log_stiffness = log_density - np.log(width)

    diagonal = np.zeros(len(x))
    diagonal[:-1] += np.exp(log_stiffness - log_mass[:-1])
    diagonal[1:] += np.exp(log_stiffness - log_mass[1:])
    beside = -np.exp(log_stiffness - 0.5 * (log_mass[:-1] + log_mass[1:]))
    gap = eigh_tridiagonal(diagonal, beside, eigvals_only=True, select="i", select_range=(1, 1))
    return 1.0 / float(gap[0])


def _nodes(distribution: Distribution) -> np.ndarray:
    """Nodes from bound to bound, dense where the distribution has its mass."""
    lower, upper = distribution.lower, distribution.upper
    if distribution.kind == "lognormal":
        smallest = distribution.location * math.exp(-8.0 * distribution.scale)
        dense = np.geomspace(max(lower, min(smallest, 1e-3 * upper)), upper, NODES)
    else:
        reach = 12.0 * distribution.scale
        near = min(max(distribution.location, lower), upper)  # where the density is highest
        lower, upper = max(lower, near - reach), min(upper, near + reach)
        dense = distribution.location + np.linspace(-reach, reach, NODES)
    dense = dense[(dense > lower) & (dense < upper)]
    x = np.union1d(np.linspace(lower, upper, NODES), dense)
    closest = CLOSEST * (upper - lower)
    places = np.floor((x - lower) / closest)
    x = x[np.concatenate([[True], np.diff(places) > 0])]
    x[-1] = upper
    return x


def distribution(parameter: Parameter, kind: Literal["prior", "uniform"] = "prior") -> Distribution:
    """Distribution of a parameter: its prior, or all its range evenly.

    Args:
        parameter: from the parameter table.
        kind: ``prior``, or ``uniform`` between the bounds.

    Raises:
        diffsoil.io.InputError: the distribution would have no finite range. A prior without a
            bound has one: all but ``TAIL`` of its probability.
    """
    p, prior = parameter, parameter.prior
    shape = "uniform" if kind == "uniform" else prior.kind
    lower, upper = p.lower, p.upper
    if shape != "uniform":
        free = Distribution(p.name, shape, lower, upper, prior.location, prior.scale)
        lower = lower if math.isfinite(lower) else float(free.quantile(TAIL))
        upper = upper if math.isfinite(upper) else float(free.quantile(1.0 - TAIL))
    if not (math.isfinite(lower) and math.isfinite(upper)):
        told = "no prior" if prior.kind == "uniform" else "its prior is not used"
        raise InputError(
            f"parameter {p.name} has no range (bounds {p.lower:g} to {p.upper:g}, {told}): "
            "give it a prior or finite bounds, or leave it out"
        )
    if not lower < upper:
        raise InputError(f"parameter {p.name} has no range (bounds {p.lower:g} to {p.upper:g})")
    if shape == "uniform":
        return Distribution(p.name, "uniform", lower, upper)
    return Distribution(p.name, shape, lower, upper, prior.location, prior.scale)


def sample(
    distributions: Sequence[Distribution],
    n: int,
    seed: int,
    kind: Literal["sobol", "random"] = "sobol",
) -> np.ndarray:
    """Points drawn from independent distributions, [n, input].

    The same for the same seed, and the first m of n points are the m points: a study can be
    made larger without losing what it has.

    Args:
        distributions: of each input.
        n: number of points.
        seed: of the random numbers.
        kind: a scrambled Sobol sequence (evenest for n a power of two), or independent points.
    """
    return quantiles(distributions, unit_sample(len(distributions), n, seed, kind))


def unit_sample(
    k: int, n: int, seed: int, kind: Literal["sobol", "random"] = "sobol"
) -> np.ndarray:
    """Points in the unit cube, [n, k]; as :func:`sample`."""
    if kind == "random":
        return np.random.default_rng(seed).random((n, k))
    with warnings.catch_warnings():  # fewer points than a power of two are good enough
        warnings.simplefilter("ignore", UserWarning)
        return np.asarray(qmc.Sobol(k, rng=np.random.default_rng(seed)).random(n))


def quantiles(distributions: Sequence[Distribution], u: np.ndarray) -> np.ndarray:
    """Points of the unit cube, [n, input], as values of the inputs."""
    return np.stack([of.quantile(u[:, i]) for i, of in enumerate(distributions)], axis=-1)


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """Inputs that belong together: joint draws, used instead of distributions.

    Attributes:
        names: of the inputs.
        draws: [draw, input], all finite.

    Raises:
        diffsoil.io.InputError: draws that are not finite, fewer than ten, or an input that does
            not vary.
    """

    names: tuple[str, ...]
    draws: np.ndarray

    def __post_init__(self) -> None:
        finite = np.isfinite(self.draws).all(axis=0)
        if not finite.all():
            name = self.names[int(np.argmin(finite))]
            count = int((~np.isfinite(self.draws)).any(axis=1).sum())
            raise InputError(f"posterior: {name}: {count} draws are not finite numbers")
        if len(self.draws) < 10:
            raise InputError(f"posterior: {len(self.draws)} draws, at least 10 are needed")
        still = np.ptp(self.draws, axis=0) == 0.0
        if still.any():
            raise InputError(f"posterior: {self.names[int(np.argmax(still))]} has the same value "
                             "in all draws; leave it out")  # fmt: skip

    def choose(self, names: Sequence[str]) -> Posterior:
        """The draws of some inputs, in their order.

        Raises:
            diffsoil.io.InputError: an input that the posterior does not have.
        """
        for name in names:
            if name not in self.names:
                raise InputError(
                    f"posterior: there are no draws of {name}; there are {', '.join(self.names)}"
                )
        places = [self.names.index(name) for name in names]
        return Posterior(tuple(names), self.draws[:, places])

    def sample(self, n: int, seed: int) -> np.ndarray:
        """Some of the draws, [n, input], without repetition as long as there are enough.

        The same for the same seed, and the first m of n are the m draws.
        """
        order = np.random.default_rng(seed).permutation(len(self.draws))
        return self.draws[np.resize(order, n)]

    @property
    def mean(self) -> np.ndarray:
        """Mean of each input, [input]."""
        return np.asarray(self.draws.mean(axis=0))

    @property
    def sd(self) -> np.ndarray:
        """Standard deviation of each input, [input]."""
        return np.asarray(self.draws.std(axis=0))
