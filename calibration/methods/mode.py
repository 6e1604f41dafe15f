"""The most probable parameters (MAP), from several starts, and the Laplace approximation there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from scipy.stats import multivariate_normal

from calibration.problem import Problem
from diffsoil.io import InputError
from diffsoil.output.simulation import simulate
from diffsoil.work import arrays
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say

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


MATTERS = 5.0
"""A summit lower than the best fit by less than this, in the log posterior, cannot be neglected."""
APART = 3.0
"""Standard deviations between two summits that are not the same."""

DESCENT = optax.scale_by_lbfgs(memory_size=20)
_direction = jax.jit(DESCENT.update)  # as single operations it would be compiled in every step


class Maximum(NamedTuple):
    """End of one search; ``z`` unbounded parameters, ``value`` the negative log posterior."""

    z: Float[np.ndarray, " parameter"]
    value: float
    gradient: float
    evaluations: int


def search(
    problem: Problem,
    start: Float[Array, " parameter"],
    steps: int = 80,
    report: Say = print,
    value: Float[Array, " obs"] | None = None,
) -> Maximum:
    """Climb from one start with L-BFGS and a backtracking line search.

    Args:
        problem: what to fit.
        start: unbounded parameters.
        steps: largest number of steps.
        report: called with a line of progress now and then.
        value: measured values in the place of the table's own.
    """
    function = problem.value_and_gradient(value)
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


def maximum(problem: Problem, starts: int, seed: int, report: Say = print) -> list[Maximum]:
    """Search from the defaults and from draws of the prior; best first.

    Args:
        problem: what to fit.
        starts: number of searches, at least 1.
        seed: of the draws.
        report: progress lines.

    Raises:
        diffsoil.io.InputError: no start has a finite density.
    """
    drawn = problem.priors.sample(jax.random.key(seed), max(starts - 1, 1))
    points = [problem.defaults, *drawn[: starts - 1]]
    found = []
    for number, x in enumerate(points):
        result = search(problem, problem.reparameterization.unbounded(x), report=report)
        report(
            f"  start {number + 1} of {starts}: -log posterior {result.value:.2f}, "
            f"{result.evaluations} evaluations"
        )
        found.append(result)
    finite = [result for result in found if np.isfinite(result.value)]
    if not finite:
        simulate(problem.case, problem.column)  # which says where, if it is the run that is lost
        raise InputError(f"{problem.case.path}: no start of the search has a finite density")
    return sorted(finite, key=lambda m: m.value)


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


def save(folder: Path, start: Normal) -> None:
    """Keep where a method begins, in the folder of a fit."""
    arrays.save(folder / START, **start._asdict())


class Start(NamedTuple):
    """Where a method begins, and what the searches for it found besides.

    ``worse`` is by how much each further search ended lower, in the logarithm of the posterior,
    and ``away`` how far from the best fit, the largest of its standard coordinates.
    """

    normal: Normal
    worse: Float[np.ndarray, " search"] = np.empty(0)
    away: Float[np.ndarray, " search"] = np.empty(0)

    @property
    def elsewhere(self) -> int:
        """How many searches ended at another summit that counts."""
        return int(((self.worse < MATTERS) & (self.away > APART)).sum())


def start(
    problem: Problem, starts: int, seed: int, folder: Path, report: Say, resume: bool
) -> Start:
    """The normal approximation at the best fit, kept in the folder of a fit.

    Args:
        problem: what to fit.
        starts, seed: see :func:`maximum`.
        folder: where it is kept.
        report: progress lines.
        resume: take what is kept.
    """

    def compute() -> dict[str, np.ndarray]:
        report("best fit (first call compiles)")
        found = maximum(problem, starts, seed, report)
        report("curvature there")
        normal = laplace(problem, found[0].z)
        others = np.array([m.z for m in found[1:]]).reshape(-1, normal.mean.size)
        standard = np.linalg.solve(normal.factor, (others - normal.mean).T)
        worse = np.array([m.value - found[0].value for m in found[1:]])
        return normal._asdict() | {"worse": worse, "away": np.abs(standard).max(axis=0)}

    kept = Checkpoints(folder, resume, report).once(NAME, compute)
    normal = Normal(kept.pop("mean"), kept.pop("covariance"))
    return Start(normal, **kept)


def laplace(
    problem: Problem,
    mode: Float[np.ndarray, " parameter"],
    value: Float[Array, " obs"] | None = None,
) -> Normal:
    """Laplace approximation at a mode, with the curvature that the posterior has on its width.

    The Hessian is taken by differences of the exact gradient: first in small steps, then twice
    more along the axes of the approximation found, over :data:`SECANT` standard deviations to
    both sides. Where one protection mechanism gives way to another the posterior has a bend of
    strong local curvature; a tangent there would make the approximation far too narrow, a secant
    does not.
    Directions of weak or negative curvature get the variance of a standard logistic at most.

    Args:
        problem: what to fit.
        mode: unbounded parameters.
        value: measured values in the place of the table's own.
    """
    function = problem.value_and_gradient(value)
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
        step: to both sides, in lengths of an axis.
    """
    rows = []
    for axis in axes.T:
        up = function(jnp.asarray(at + step * axis))[1]
        down = function(jnp.asarray(at - step * axis))[1]
        rows.append(axes.T @ np.asarray(up - down) / (2 * step))
    found = np.array(rows)
    return 0.5 * (found + found.T)


def inverse(
    curvature: np.ndarray, axes: np.ndarray, least: float
) -> Float[np.ndarray, "parameter parameter"]:
    """Covariance of parameters from a Hessian along ``axes``, every curvature ``least`` or more."""
    values, vectors = np.linalg.eigh(curvature)
    along = axes @ vectors
    return (along / np.maximum(values, least)) @ along.T
