"""The most probable parameters (MAP), from several starts, and the Laplace approximation there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int
from numpyro.diagnostics import effective_sample_size
from scipy.stats import multivariate_normal

from calibration.problem import Problem
from diffsoil.io import InputError
from diffsoil.output.simulation import simulate
from diffsoil.work import arrays
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say

if TYPE_CHECKING:
    from calibration.methods.method import Method

NAME = "laplace"
START = f"{NAME}.npz"
"""Checkpoint of where a method begins, and its file in the folder of a fit."""

GRADIENT_TOLERANCE = 2e-2
"""Largest component of the gradient at which a search is done."""
GAIN_TOLERANCE = 2e-3
"""Gain of a step, in units of the log posterior, at which a search is done."""


LEAST_CURVATURE = 3.0 / np.pi**2
"""Curvature of a standard logistic, the density of a uniform prior in logit coordinates."""

LEAST_WHITENED = 1.0 / 9.0
"""One pass widens no direction to more than three times its width."""

SECANT = 1.5
SECANT_PASSES = 2
"""How far to both sides curvature is measured, in standard deviations, and how often."""

STEEP = 100.0
HALVINGS = 30
"""Curvature is not measured from where the log posterior is lower by more than this; the way there
is halved, so often at most."""


STEEPEST = 1e10
"""Range of curvatures beyond which a covariance is lost in rounding."""

MATTERS = 5.0
"""A summit lower than the best fit by less than this, in the log posterior, cannot be neglected."""
APART = 3.0
"""Standard deviations between two summits that are not the same."""

TOLD = 0.5
"""Posterior standard deviation of a deviation, in spreads, below which the data tell it; theirs is
1 before."""

PRIOR_DRAWS = 400
"""Draws of the prior that tell how wide it is in unbounded parameters."""

BESIDES = ("worse", "away", "runs")
"""What :class:`Start` has besides the normal."""

Descent = Callable[[Array], tuple[Array, Array]]
"""A negative log posterior and its gradient, of unbounded parameters."""

DESCENT = optax.scale_by_lbfgs(memory_size=20)
_direction = jax.jit(DESCENT.update)  # as single operations it would be compiled in every step


class Maximum(NamedTuple):
    """End of one search; ``z`` unbounded parameters, ``value`` the negative log posterior."""

    z: Float[np.ndarray, " parameter"]
    value: float
    gradient: float
    evaluations: int


def search(
    function: Descent,
    start: Float[ArrayLike, " parameter"],
    steps: int = 80,
    report: Say = print,
) -> Maximum:
    """Climb from one start with L-BFGS and a backtracking line search.

    Args:
        function: negative log posterior and its gradient.
        start: unbounded parameters.
        steps: largest number of steps.
        report: called with a line of progress now and then.
    """
    z = jnp.asarray(start)
    state = DESCENT.init(z)
    value, gradient = function(z)
    evaluations = 1
    for step in range(steps):
        direction, state = _direction(gradient, state, z)
        slope = -float(jnp.vdot(direction, gradient))
        if not np.isfinite(slope) or slope >= 0:  # not downhill: forget the curvature
            state = DESCENT.init(z)
            direction, slope = gradient, -float(jnp.vdot(gradient, gradient))
        # no parameter moves more than two units of its logit or logarithm at once
        length = min(1.0, 2.0 / max(float(jnp.max(jnp.abs(direction))), 1e-12))
        accepted = False
        for _ in range(20):
            trial = z - length * direction
            new, new_gradient = function(trial)
            evaluations += 1
            if np.isfinite(float(new)) and float(new) <= float(value) + 1e-4 * length * slope:
                accepted = True
                break
            length *= 0.4
        if not accepted:
            break
        gained = float(value) - float(new)
        z, value, gradient = trial, new, new_gradient
        largest = float(jnp.max(jnp.abs(gradient)))
        if step % 10 == 9:
            report(f"    step {step + 1}: -log posterior {float(value):.2f}")
        if largest < GRADIENT_TOLERANCE or gained < GAIN_TOLERANCE:
            break
    largest = float(jnp.max(jnp.abs(gradient)))
    return Maximum(np.asarray(z), float(value), largest, evaluations)


class Normal(NamedTuple):
    """Normal approximation of the posterior in unbounded parameters."""

    mean: Float[np.ndarray, " parameter"]
    covariance: Float[np.ndarray, "parameter parameter"]

    @property
    def factor(self) -> Float[np.ndarray, "parameter parameter"]:
        """Lower triangular factor of the covariance."""
        return np.linalg.cholesky(self.covariance)

    def sample(self, draws: int, seed: int) -> Float[np.ndarray, "draw parameter"]:
        """Draws of unbounded parameters."""
        normal = np.random.default_rng(seed).standard_normal((draws, self.mean.size))
        return self.mean + normal @ self.factor.T

    def log_density(self, z: Float[np.ndarray, "draw parameter"]) -> Float[np.ndarray, " draw"]:
        """Logarithm of its density at unbounded parameters."""
        return multivariate_normal(self.mean, self.covariance).logpdf(z).reshape(len(z))


def wide(mean: Float[np.ndarray, " parameter"]) -> Normal:
    """A normal as wide as uniform priors are in logit coordinates."""
    return Normal(mean, np.eye(mean.size) / LEAST_CURVATURE)


def moments(z: Float[np.ndarray, "... parameter"], least: float) -> Normal:
    """A normal with the moments of draws, and ``least`` added to each variance."""
    flat = z.reshape(-1, z.shape[-1])
    size = flat.shape[1]
    return Normal(flat.mean(axis=0), np.cov(flat.T).reshape(size, size) + least * np.eye(size))


def corrected(before: Normal, z: Float[np.ndarray, "chain draw parameter"]) -> Normal:
    """The normal that chains come to, as far as so many draws can tell one.

    Their covariance counts as much as they have effective draws, the one before as much as there
    are parameters: a covariance of few draws is far too narrow in some directions.
    """
    found, size = moments(z, 1e-9), z.shape[-1]
    with np.errstate(all="ignore"):  # chains that stand still
        worth = float(np.nan_to_num(np.median(effective_sample_size(z)), nan=1.0))
    share = worth / (worth + size)
    covariance = share * found.covariance + (1.0 - share) * before.covariance
    return Normal(found.mean, covariance)


def save(folder: Path, start: Normal) -> None:
    """Keep where a method begins, in the folder of a fit."""
    arrays.save(folder / START, **start._asdict())


class Start(NamedTuple):
    """Where a method begins, and what the searches for it found besides.

    ``worse`` is by how much each further search ended lower, in the logarithm of the posterior,
    and ``away`` how far from the best fit, the largest of its standard coordinates. ``runs`` of
    the column were made without a gradient.
    """

    normal: Normal
    worse: Float[np.ndarray, " search"] = np.empty(0)
    away: Float[np.ndarray, " search"] = np.empty(0)
    runs: Int[np.ndarray, ""] = np.array(0)

    @property
    def elsewhere(self) -> int:
        """How many searches ended at another summit that counts."""
        return int(((self.worse < MATTERS) & (self.away > APART)).sum())


def starting(problem: Problem, starts: int, seed: int) -> list[Normal]:
    """Where searches begin: at the defaults and at draws of the prior, each as wide as the prior.

    Args:
        problem: what to fit.
        starts: number of searches, at least 1.
        seed: of the draws.
    """
    drawn = problem.priors.sample(jax.random.key(seed), max(starts - 1, 1))
    points = problem.unbounded(np.stack([problem.defaults, *np.asarray(drawn[: starts - 1])]))
    covariance = prior_covariance(problem)
    return [Normal(point, covariance) for point in points]


def prior_covariance(problem: Problem) -> Float[np.ndarray, "parameter parameter"]:
    """How wide the prior of each unbounded parameter is."""
    drawn = problem.priors.sample(jax.random.key(0), PRIOR_DRAWS)
    return np.diag(problem.unbounded(np.asarray(drawn)).var(axis=0))


def start(
    problem: Problem, method: Method, seed: int, folder: Path, report: Say, resume: bool
) -> Start:
    """Where a method begins that searches for the best fit, kept in the folder of a fit.

    Args:
        problem: what to fit.
        method: what searches.
        seed: of the starts of the searches.
        folder: where it is kept.
        report: progress lines.
        resume: take what is kept.
    """

    def compute() -> dict[str, Any]:
        report("best fit")
        found = method.best(problem, starting(problem, method.starts, seed), report)
        return found.normal._asdict() | {n: getattr(found, n) for n in BESIDES}

    kept = Checkpoints(folder, resume, report).once(NAME, compute)
    normal = Normal(kept.pop("mean"), kept.pop("covariance"))
    return Start(normal, **kept)


def told(problem: Problem, normal: Normal) -> frozenset[int]:
    """Places of the deviations that the data tell: narrower than :data:`TOLD` in the posterior.

    Args:
        problem: what was fitted, with no deviation centred.
        normal: the normal approximation at its best fit.
    """
    sd = np.sqrt(np.diag(normal.covariance))
    low, high = problem.bounded(np.stack([normal.mean - sd, normal.mean + sd]))
    deviations = (place for of in problem.pooled for place in of.deviations)
    return frozenset(place for place in deviations if high[place] - low[place] < 2.0 * TOLD)


def recentred(problem: Problem, normal: Normal) -> tuple[Problem, Normal]:
    """A problem and its normal approximation in the coordinates in which it is best sampled."""
    other = problem.recentred(told(problem, normal))
    if other is problem:
        return problem, normal
    mean = other.unbounded(problem.bounded(normal.mean))
    turned = np.asarray(_turned(normal.mean, problem.reparameterization, other.reparameterization))
    return other, Normal(mean, turned @ normal.covariance @ turned.T)


_turned = jax.jit(lambda z, of, other: jax.jacfwd(lambda z: other.unbounded(of.bounded(z)))(z))


def by_gradients(
    problem: Problem, points: Sequence[Normal], report: Say, value: Array | None = None
) -> Start:
    """The best fit by the gradient of the posterior, and the normal approximation there.

    Args:
        problem: what to fit.
        points: where to begin.
        report: progress lines.
        value: measured values in the place of the table's own.

    Raises:
        diffsoil.io.InputError: no start has a finite density.
    """
    function = problem.value_and_gradient(value)
    found = []
    for number, point in enumerate(points):
        result = search(function, point.mean, report=report)
        report(
            f"  start {number + 1} of {len(points)}: -log posterior {result.value:.2f}, "
            f"{result.evaluations} evaluations"
        )
        found.append(result)
    best, *others = ranked(problem, found)
    report("curvature there")
    return beside(laplace(function, best.z), best, others)


def ranked(problem: Problem, found: Sequence[Maximum]) -> list[Maximum]:
    """Ends of searches, best first.

    Raises:
        diffsoil.io.InputError: none has a finite density.
    """
    finite = [result for result in found if np.isfinite(result.value)]
    if not finite:
        simulate(problem.case, problem.column)  # which says where, if it is the run that is lost
        raise InputError(f"{problem.case.path}: no start of the search has a finite density")
    return sorted(finite, key=lambda m: m.value)


def beside(normal: Normal, best: Maximum, others: Sequence[Maximum], runs: int = 0) -> Start:
    """Where a method begins, with where other searches ended beside it."""
    ends = np.array([m.z for m in others]).reshape(-1, normal.mean.size)
    standard = np.linalg.solve(normal.factor, (ends - normal.mean).T)
    worse = np.array([m.value - best.value for m in others])
    return Start(normal, worse, np.abs(standard).max(axis=0), np.array(runs))


def laplace(function: Descent, mode: Float[np.ndarray, " parameter"]) -> Normal:
    """Laplace approximation at a mode, with the curvature that the posterior has on its width.

    The Hessian is taken by differences of the exact gradient: first in small steps, then twice
    more along the axes of the approximation found, over :data:`SECANT` standard deviations to
    both sides. Where one protection mechanism gives way to another the posterior has a bend of
    strong local curvature; a tangent there would make the approximation far too narrow, a secant
    does not.
    Directions of weak or negative curvature get the variance of a standard logistic at most.

    Args:
        function: negative log posterior and its gradient.
        mode: unbounded parameters.
    """
    identity = np.eye(mode.size)
    covariance = inverse(hessian(function, mode, identity, 1e-4), identity, LEAST_CURVATURE)
    for _ in range(SECANT_PASSES):
        factor = np.linalg.cholesky(covariance)
        covariance = inverse(hessian(function, mode, factor, SECANT), factor, LEAST_WHITENED)
    return Normal(np.asarray(mode), covariance)


def hessian(
    function: Callable, at: np.ndarray, axes: np.ndarray, step: float
) -> Float[np.ndarray, "axis axis"]:
    """Second derivatives along the columns of ``axes``, by central differences of the gradient.

    Args:
        function: value and gradient at a point.
        at: the point.
        axes: directions, one a column.
        step: to both sides, in lengths of an axis; shorter ones where the function rises by
            more than :data:`STEEP`, for there it is another one.
    """
    most = float(function(jnp.asarray(at))[0]) + STEEP
    rows = []
    for axis in axes.T:
        length = step
        for _ in range(HALVINGS):
            ends = [function(jnp.asarray(at + way * length * axis)) for way in (1.0, -1.0)]
            if all(value <= most for value, _ in ends):
                break
            length *= 0.5
        (_, up), (_, down) = ends
        rows.append(axes.T @ np.asarray(up - down) / (2 * length))
    found = np.array(rows)
    return 0.5 * (found + found.T)


def inverse(
    curvature: np.ndarray, axes: np.ndarray, least: float
) -> Float[np.ndarray, "parameter parameter"]:
    """Covariance of parameters from a Hessian along ``axes``, every curvature ``least`` or more.

    None is larger than :data:`STEEPEST` times that, and one that is not known is the least.
    """
    values, vectors = np.linalg.eigh(np.nan_to_num(curvature, posinf=0.0, neginf=0.0))
    along = axes @ vectors
    return (along / np.clip(values, least, STEEPEST * least)) @ along.T
