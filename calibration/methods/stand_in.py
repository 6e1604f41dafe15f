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
from calibration.problem import Problem, by_row
from calibration.reparameterization import Reparameterization
from diffsoil.forward import Pooled
from diffsoil.numerics import polynomial

FORMS = ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3))
"""Degree of a polynomial and most parameters in a term; the one that predicts best is taken."""
RIDGES = (1e-9, 1e-7, 1e-5)
OF_PROTECTION = "protection."
"""Parameters that the column knows only through the modifiers of its layers."""
SMALLEST_COMPONENT = 0.01
"""Standard deviation of a component of the modifiers that counts, relative to the largest."""
RUNS_PER_TERM = 1.3
"""No form has more terms than runs divided by this."""
HELD_OUT = 5
"""One in so many runs is held out to compare the forms."""


class Variables(eqx.Module):
    """What the column depends on.

    That is its unbounded parameters; or, in the place of those of protection, main components of
    the logarithms of the modifiers that they make. The column knows nothing else of them. Where
    another mechanism takes over the modifiers stand still, which no polynomial of the parameters
    does. Of a parameter that differs between fields they have its median, whose coordinate moves
    with protection as that of a shared one, and how far each field's own value is from it.

    Attributes:
        places: of the parameters.
        pooled: parameters with a value of its own for each site or treatment.
        reparameterization: makes those values, and the modifiers.
        components: of the logarithms of the modifiers.
    """

    places: tuple[int, ...] = eqx.field(static=True)
    pooled: tuple[Pooled, ...] = eqx.field(static=True, default=())
    reparameterization: Reparameterization | None = None
    components: Float[Array, "component place"] | None = None

    def __call__(self, z: Float[Array, " parameter"]) -> Float[Array, " variable"]:
        """The variables."""
        found = [z[jnp.asarray(self.places, dtype=int)]]
        if self.reparameterization is not None:
            x = self.reparameterization.bounded(z)
            found += [jnp.log(of.values(x) / x[of.median]) for of in self.pooled]
            if self.components is not None:
                found.append(self.components @ self.reparameterization.protection(z))
        return jnp.concatenate(found)


class Polynomials(eqx.Module):
    """What is in the soil at every observation, as polynomials of unbounded parameters.

    Attributes:
        variables: of parameters.
        middle, turned: what is taken from them, and the matrix that they are then multiplied by,
            so that they are about one in size.
        factors: of each term, see :func:`diffsoil.numerics.polynomial.products`.
        coefficients: of the terms.
        logarithm: whether the polynomial is of the logarithm.
        centre, spread: of what it is of.
    """

    variables: Variables
    middle: Float[Array, " own"]
    turned: Float[Array, "own own"]
    factors: Array
    coefficients: Float[Array, "term obs"]
    logarithm: Bool[Array, " obs"]
    centre: Float[Array, " obs"]
    spread: Float[Array, " obs"]

    def own(self, z: Float[Array, " parameter"]) -> Float[Array, " own"]:
        """The variables of the polynomials."""
        own: Array = self.turned @ (self.variables(z) - self.middle)
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


def candidates(problem: Problem, z: Float[np.ndarray, "run parameter"]) -> list[Variables]:
    """Variables that polynomials may be of, for what these runs reach."""
    pooled = problem.pooled
    differing = {i for of in pooled for i in (of.spread, *of.deviations)}
    places = tuple(i for i in of_the_column(problem) if i not in differing)
    found = [Variables(places, pooled, problem.reparameterization if pooled else None)]
    other = tuple(i for i in places if not problem.names[i].startswith(OF_PROTECTION))
    if problem.reparameterization.shear is None or len(other) == len(places):
        return found
    logarithms = by_row(_protection, z, problem.reparameterization)
    _, size, components = np.linalg.svd(logarithms - logarithms.mean(axis=0), full_matrices=False)
    counted = components[size > SMALLEST_COMPONENT * size[0]]
    return [*found, Variables(other, pooled, problem.reparameterization, jnp.asarray(counted))]


_protection = jax.jit(lambda z, of: of.protection(z))
_variables = jax.jit(lambda z, of: of(z))


class _Form(NamedTuple):
    """A way to make polynomials: their variables at the runs, their terms, and a ridge."""

    variables: Variables
    own: Float[np.ndarray, "run variable"]
    form: tuple[int, int]
    ridge: float


def fitted(problem: Problem, runs: Runs) -> tuple[Polynomials, float]:
    """The polynomials that predict held-out runs best, made from all runs.

    Returns:
        The polynomials, and their error at runs that were held out: root mean square over runs
        and fitted observations, in standard deviations of a measurement.
    """
    share = runs.weight / runs.weight.sum()
    logarithm, y = learnt(runs.latent)
    centre, spread = _moments(y, share, 1e-12)
    targets = (y - centre) / spread
    out = np.arange(len(y)) % HELD_OUT == HELD_OUT - 1
    counted = problem.table["fitted"].to_numpy()

    def error(predicted: np.ndarray) -> float:
        """Of held-out runs."""
        back = centre + spread * predicted
        back = np.where(logarithm, np.exp(np.where(logarithm, back, 0.0)), back)
        off = ((back - runs.latent[out]) / runs.sd[out])[:, counted]
        return float(np.sqrt(np.average((off**2).mean(axis=1), weights=runs.weight[out])))

    best: tuple[float, _Form] | None = None
    for variables in candidates(problem, runs.z):
        own = by_row(_variables, runs.z, variables)
        for form in FORMS:
            factors = polynomial.products(own.shape[1], *form)
            if form != FORMS[0] and len(factors) * RUNS_PER_TERM > (~out).sum():
                continue
            values = _terms(own, share, factors)
            for ridge in RIDGES:
                of = polynomial.least_squares(values[~out], targets[~out], runs.weight[~out], ridge)
                off = error(values[out] @ of)
                if best is None or off < best[0]:
                    best = off, _Form(variables, own, form, ridge)
    assert best is not None
    found, (variables, own, form, ridge) = best
    factors = polynomial.products(own.shape[1], *form)
    coefficients = polynomial.least_squares(
        _terms(own, share, factors), targets, runs.weight, ridge
    )
    middle, scale = _moments(own, share, 1e-9)
    arrays = (middle, np.diag(1.0 / scale), factors, coefficients, logarithm, centre, spread)
    return Polynomials(variables, *map(jnp.asarray, arrays)), found


def _moments(
    of: Float[np.ndarray, "run column"], share: Float[np.ndarray, " run"], least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of weighted runs."""
    middle = share @ of
    return middle, np.maximum(np.sqrt(share @ (of - middle) ** 2), least)


def _terms(
    own: Float[np.ndarray, "run variable"], share: Float[np.ndarray, " run"], factors: np.ndarray
) -> np.ndarray:
    """Values of the terms at runs."""
    middle, scale = _moments(own, share, 1e-9)
    return np.asarray(polynomial.terms(jnp.asarray((own - middle) / scale), factors))
