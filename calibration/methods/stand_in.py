"""Polynomials that stand for the column: of what is in the soil, by unbounded parameters.

Only the column is learnt. Priors, errors of measurement and what a procedure makes of a value stay
exact, so :class:`StandIn` is a posterior with a fast column, and a gradient that costs no run.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from calibration.posterior import Posterior
from calibration.problem import Problem
from diffsoil.numerics import polynomial

FORMS = ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3))
"""Degree of a polynomial and most parameters in a term; the one that predicts best is taken."""
RIDGES = (1e-9, 1e-7, 1e-5)
RUNS_PER_TERM = 1.3
"""No form has more terms than runs divided by this."""
HELD_OUT = 5
"""One in so many runs is held out to compare the forms."""


class Polynomials(eqx.Module):
    """What is in the soil at every observation, as polynomials of unbounded parameters.

    Attributes:
        places: of the parameters that the model depends on.
        middle, turned: what is taken from them, and the matrix that they are then multiplied by,
            so that they are about one in size.
        factors: of each term, see :func:`diffsoil.numerics.polynomial.products`.
        coefficients: of the terms.
        logarithm: whether the polynomial is of the logarithm.
        centre, spread: of what it is of.
    """

    places: tuple[int, ...] = eqx.field(static=True)
    middle: Float[Array, " own"]
    turned: Float[Array, "own own"]
    factors: Array
    coefficients: Float[Array, "term obs"]
    logarithm: Bool[Array, " obs"]
    centre: Float[Array, " obs"]
    spread: Float[Array, " obs"]

    def own(self, z: Float[Array, " parameter"]) -> Float[Array, " own"]:
        """The variables of the polynomials."""
        own: Array = self.turned @ (z[jnp.asarray(self.places, dtype=int)] - self.middle)
        return own

    def __call__(self, z: Float[Array, " parameter"]) -> Float[Array, " obs"]:
        """What is in the soil at each observation."""
        found = polynomial.terms(self.own(z), self.factors) @ self.coefficients
        y = self.centre + self.spread * found
        return jnp.where(self.logarithm, jnp.exp(jnp.where(self.logarithm, y, 0.0)), y)


class StandIn(eqx.Module):
    """The posterior with polynomials in the place of the column."""

    posterior: Posterior
    polynomials: Polynomials

    def __call__(
        self, z: Float[Array, " parameter"], value: Float[Array, " obs"] | None = None
    ) -> Float[Array, ""]:
        """Logarithm of prior times likelihood; see :class:`calibration.posterior.Posterior`."""
        return density(self.posterior, z, self.polynomials(z), value)


def density(
    posterior: Posterior,
    z: Float[Array, " parameter"],
    latent: Float[Array, " obs"],
    value: Float[Array, " obs"] | None,
) -> Float[Array, ""]:
    """Logarithm of prior times likelihood, where it is known what is in the soil."""
    x = posterior.reparameterization.bounded(z)
    found = posterior.likelihood.compare(x, latent, None, value)
    return posterior.log_prior(z) + posterior.likelihood.joint(found.log_likelihood)


exact_density = jax.jit(density)


class Runs(NamedTuple):
    """Exact runs: unbounded parameters, what was in the soil, its error, how much they count."""

    z: Float[np.ndarray, "run parameter"]
    latent: Float[np.ndarray, "run obs"]
    sd: Float[np.ndarray, "run obs"]
    weight: Float[np.ndarray, " run"]

    def joined(self, other: Runs) -> Runs:
        """These and others."""
        return Runs(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def part(self, chosen: np.ndarray) -> Runs:
        """Some of them."""
        return Runs(*(values[chosen] for values in self))


def of_the_column(problem: Problem) -> tuple[int, ...]:
    """Places of the parameters that the column depends on; the others are of observations."""
    return tuple(i for i, n in enumerate(problem.names) if not n.startswith("observation."))


def learnt(
    latent: Float[np.ndarray, "run obs"],
) -> tuple[Bool[np.ndarray, " obs"], Float[np.ndarray, "run obs"]]:
    """What polynomials are made of: logarithms, where all runs have positive values."""
    logarithm = (latent > 0).all(axis=0)
    return logarithm, np.where(logarithm, np.log(np.where(logarithm, latent, 1.0)), latent)


def fitted(problem: Problem, runs: Runs) -> tuple[Polynomials, float]:
    """The polynomials that predict held-out runs best, made from all runs.

    Returns:
        The polynomials, and their error at runs that were held out: root mean square over runs
        and fitted observations, in standard deviations of a measurement.
    """
    places = of_the_column(problem)
    own = runs.z[:, list(places)]
    share = runs.weight / runs.weight.sum()
    middle = share @ own
    scale = np.maximum(np.sqrt(share @ (own - middle) ** 2), 1e-9)
    logarithm, y = learnt(runs.latent)
    centre = share @ y
    spread = np.maximum(np.sqrt(share @ (y - centre) ** 2), 1e-12)
    targets, at = (y - centre) / spread, jnp.asarray((own - middle) / scale)
    out = np.arange(len(own)) % HELD_OUT == HELD_OUT - 1
    counted = problem.table["fitted"].to_numpy()

    def error(predicted: np.ndarray) -> float:
        """Of held-out runs."""
        back = centre + spread * predicted
        back = np.where(logarithm, np.exp(np.where(logarithm, back, 0.0)), back)
        off = ((back - runs.latent[out]) / runs.sd[out])[:, counted]
        return float(np.sqrt(np.average((off**2).mean(axis=1), weights=runs.weight[out])))

    best = (np.inf, FORMS[0], RIDGES[0])
    for form in FORMS:
        factors = polynomial.products(len(places), *form)
        if len(factors) * RUNS_PER_TERM > (~out).sum():
            continue
        values = np.asarray(polynomial.terms(at, factors))
        for ridge in RIDGES:
            of = polynomial.least_squares(values[~out], targets[~out], runs.weight[~out], ridge)
            best = min(best, (error(values[out] @ of), form, ridge))
    found, form, ridge = best
    factors = polynomial.products(len(places), *form)
    values = np.asarray(polynomial.terms(at, factors))
    coefficients = polynomial.least_squares(values, targets, runs.weight, ridge)
    arrays = (middle, np.diag(1.0 / scale), factors, coefficients, logarithm, centre, spread)
    return Polynomials(places, *map(jnp.asarray, arrays)), found
