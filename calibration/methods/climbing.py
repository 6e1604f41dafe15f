"""The best fit, and the normal approximation there, from runs of the column without a gradient.

At each turn the column is run to both sides of the present fit along every axis of a normal
approximation. Quadratics through these runs stand for it (:mod:`.stand_in`); what is most probable
with them is the next fit, and their curvature the next normal. This is Gauss and Newton's method
with secants as long as the posterior is wide, and exact errors and priors. It needs neither the
gradient of the column nor its compilation, which takes longer than all of these runs.

Where one mechanism gives way to another a posterior can have a narrow summit beside a wide shelf,
which no curvature shows and no weights of draws from the summit would miss. So each parameter is
moved far out, the others following it; where the posterior falls too little, the normal is made
wider until it falls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration import prediction
from calibration.methods import mode
from calibration.methods.mode import Maximum, Normal, Start
from calibration.methods.stand_in import (
    Polynomials,
    StandIn,
    Variables,
    exact_density,
    learnt,
    of_the_column,
)
from calibration.problem import Problem
from diffsoil.numerics import polynomial
from diffsoil.work.progress import Say

MOST = 25
"""Turns of a search."""
NEAR = 0.15
"""A turn that moves no axis by more, in its standard deviations, ends the search."""
STEPS = 200
"""Steps within a turn; they cost no run."""
DAMPING = 1.0 / 9.0
"""Pull back to the present fit, as of a normal three times as wide as the runs are apart."""
SHORTER = 0.5
"""Axes after a turn that was none: a run failed, or the fit became worse."""
WORSE = 0.1
"""Loss of the log posterior that makes a turn none."""

FAR = 6.0
"""Standard deviations by which a parameter is moved to see whether the posterior falls."""
WIDENED = 2.0
"""Factor on the width of a parameter along which it does not."""
WIDENINGS = 4
"""How often at most."""


def _lost(z: Array, stand_in: StandIn, value: Array | None, damping: float) -> Array:
    pull = jnp.sum(stand_in.polynomials.own(z) ** 2)
    return 0.5 * damping * pull - stand_in(z, value)


_descent = jax.jit(jax.value_and_grad(_lost))


class Summit(NamedTuple):
    """Where a search ended: the normal approximation there, and how good the fit is."""

    normal: Normal
    end: Maximum


@dataclasses.dataclass
class Climb:
    """Searches for the best fit of one set of data.

    Args:
        problem: what to fit.
        report: progress lines.
        value: measured values in the place of the table's own.

    Attributes:
        runs: of the column so far.
    """

    problem: Problem
    report: Say
    value: Float[Array, " obs"] | None = None
    runs: int = 0

    def __call__(self, start: Normal) -> Summit:
        """Search from the mean of a normal, with first runs as far away as it is wide."""
        at, kept, best = start, start, -np.inf
        for turn in range(MOST):
            z, latent = self._around(at)
            here = self._density(z[0], latent[0])
            if not (np.isfinite(latent).all() and here > best - WORSE):
                kept = at = Normal(kept.mean, SHORTER**2 * kept.covariance)
                continue
            kept, best = at, here
            at, end, moved = self._turn(at, latent)
            self.report(f"    turn {turn + 1}: -log posterior {-here:.2f}, {self.runs} runs")
            if moved < NEAR:
                return Summit(self._widened(at), end)
        self.report("    the search has not settled")
        return Summit(kept, Maximum(kept.mean, -best, np.nan, MOST))

    def _around(self, normal: Normal) -> tuple[np.ndarray, np.ndarray]:
        """The mean, and the ends of all axes; what is in the soil at each."""
        own = list(of_the_column(self.problem))
        axes = self._axes(normal).T
        z = np.tile(normal.mean, (1 + 2 * len(own), 1))
        z[1:, own] += np.concatenate([axes, -axes])
        return z, self._latent(z)

    def _latent(self, z: np.ndarray) -> np.ndarray:
        """What is in the soil at each observation, by runs of the column."""
        self.runs += len(z)
        found = prediction.predict_draws(self.problem, self.problem.bounded(z), lambda line: None)
        return np.asarray(found.latent)

    def _widened(self, normal: Normal) -> Normal:
        """A normal that reaches as far as the posterior does, along each parameter."""
        for _ in range(WIDENINGS):
            sd = np.sqrt(np.diag(normal.covariance))
            along = normal.covariance / sd  # a column for each parameter, the others following
            ends = FAR * np.concatenate([np.zeros_like(along[:1]), along.T, -along.T])
            latent = self._latent(normal.mean + ends)
            here, *there = map(self._density, normal.mean + ends, latent)
            falls = here - np.nan_to_num(np.array(there), nan=-np.inf).reshape(2, -1)
            wide = np.flatnonzero((falls < mode.MATTERS).any(axis=0))
            if not len(wide):
                break
            names = ", ".join(self.problem.names[i] for i in wide)
            self.report(f"    the posterior goes on beside the best fit: wider along {names}")
            more = (WIDENED**2 - 1.0) * along[:, wide] @ along[:, wide].T
            normal = Normal(normal.mean, normal.covariance + more)
        return normal

    def _axes(self, normal: Normal) -> np.ndarray:
        own = list(of_the_column(self.problem))
        return np.linalg.cholesky(normal.covariance[np.ix_(own, own)])

    def _density(self, z: np.ndarray, latent: np.ndarray) -> float:
        return float(exact_density(self.problem.posterior, z, latent, self.value))

    def _turn(self, at: Normal, latent: np.ndarray) -> tuple[Normal, Maximum, float]:
        """The next normal, what is most probable, and how far it is in standard deviations."""
        stand_in = StandIn(self.problem.posterior, self._quadratics(at, latent))

        def descent(z: Array, damping: float) -> tuple[Array, Array]:
            value, gradient = _descent(z, stand_in, self.value, damping)
            return value, gradient

        end = mode.search(lambda z: descent(z, DAMPING), at.mean, STEPS, lambda line: None)
        normal = mode.laplace(lambda z: descent(z, 0.0), end.z)
        moved = np.linalg.solve(at.factor, end.z - at.mean)
        return normal, end, float(np.abs(moved).max())

    def _quadratics(self, at: Normal, latent: np.ndarray) -> Polynomials:
        """Those that go through the runs, along each axis."""
        own = of_the_column(self.problem)
        logarithm, y = learnt(latent)
        up, down = np.split(y[1:], 2)
        coefficients = np.concatenate(
            [np.zeros_like(y[:1]), 0.5 * (up - down), 0.5 * (up + down) - y[0]]
        )
        arrays = (
            at.mean[None, list(own)],
            np.linalg.inv(self._axes(at))[None],
            polynomial.products(len(own), 2, 1),
            np.eye(len(coefficients))[None],
            coefficients.T,
            np.zeros(y.shape[1], dtype=int),
            logarithm,
            y[0],
            np.ones(y.shape[1]),
        )
        return Polynomials(Variables(own), *map(jnp.asarray, arrays))


def by_runs(
    problem: Problem, points: Sequence[Normal], report: Say, value: Array | None = None
) -> Start:
    """As :func:`calibration.methods.mode.by_gradients`, from runs without a gradient."""
    climb = Climb(problem, report, value)
    found = []
    for number, point in enumerate(points):
        summit = climb(point)
        report(
            f"  start {number + 1} of {len(points)}: -log posterior {summit.end.value:.2f}, "
            f"{climb.runs} runs"
        )
        found.append(summit)
    ends = mode.ranked(problem, [summit.end for summit in found])
    best = next(summit for summit in found if summit.end is ends[0])
    return mode.beside(best.normal, ends[0], ends[1:], climb.runs)
