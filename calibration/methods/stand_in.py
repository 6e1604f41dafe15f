"""Polynomials that stand for the column: of what is in the soil, by unbounded parameters.

Each treatment has polynomials of its own, of the parameters that move it: a crop that is not
grown there costs no terms. Only the column is learnt. Priors, errors of measurement and what a
procedure makes of a value stay exact, so :class:`StandIn` is a posterior with a fast column, and
a gradient that costs no run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from calibration.methods.mode import Normal
from calibration.pooling import sets_nothing
from calibration.posterior import Posterior
from calibration.problem import Problem, by_row
from calibration.reparameterization import RATE, Reparameterization
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
SMALLEST_MODE = 1e-3
"""Root mean square of what is left out of the polynomials of a kind, relative to the spread of what
they are of."""
MODES = 8
"""Their number is filled up to a multiple of this, so that polynomials of the next round, which may
need one more, have the same compiled programs."""
FENCE = 1.2
"""Distance from which on a stand-in falls off, in that of the farthest run. In many parameters
together a posterior that is somewhat wider than the runs lies beyond nearly all of them."""
NARROWEST = 1e-9
"""Variance that is added to that of each parameter of the runs."""
STILL = 1e-9
"""Relative change of what is in the soil that is none."""


class Variables(eqx.Module):
    """What treatments depend on, or sites where there are none; each stands for those alike.

    That is its unbounded parameters; or, in the place of those of protection, main components of
    the logarithms of the modifiers that they make. The column knows nothing else of them. Where
    another mechanism takes over the modifiers stand still, which no polynomial of the parameters
    does. A parameter that differs between sites is that of the treatment's own site. What differs
    otherwise is known by its median and by how far the value of the treatment is from it.

    Attributes:
        places: of the parameters.
        members: places of the treatments.
        sites: site of each.
        own: parameters with a value of its own for each site, in the place of the median.
        apart: other parameters that differ between members.
        reparameterization: makes those values, and the modifiers.
        components: of the logarithms of the modifiers.
    """

    places: tuple[int, ...] = eqx.field(static=True)
    members: tuple[int, ...] = eqx.field(static=True, default=(0,))
    sites: tuple[int, ...] = eqx.field(static=True, default=(0,))
    own: tuple[Pooled, ...] = eqx.field(static=True, default=())
    apart: tuple[Pooled, ...] = eqx.field(static=True, default=())
    reparameterization: Reparameterization | None = None
    components: Float[Array, "component place"] | None = None

    def __call__(self, z: Float[Array, " parameter"]) -> Float[Array, "kind variable"]:
        """The variables of each."""
        count = len(self.members)
        found = [jnp.broadcast_to(z, (count, z.size))]
        if self.own or self.apart:
            assert self.reparameterization is not None
            x = self.reparameterization.bounded(z)
            own = jnp.broadcast_to(x, (count, x.size))
            for of in self.own:
                own = own.at[:, of.median].set(self._values(of, x))
            if self.own:
                found = [self.reparameterization.of_fields(x, own)]
        variables = [found[0][:, jnp.asarray(self.places, dtype=int)]]
        if self.apart:
            away = [jnp.log(self._values(of, x) / x[of.median]) for of in self.apart]
            variables.append(jnp.stack(away, axis=1))
        if self.components is not None:
            assert self.reparameterization is not None
            of_all = self.components @ self.reparameterization.protection(z)
            variables.append(jnp.broadcast_to(of_all, (count, of_all.size)))
        return jnp.concatenate(variables, axis=1)

    def _values(self, of: Pooled, x: Float[Array, " parameter"]) -> Float[Array, " kind"]:
        """Value of a pooled parameter at each."""
        return of.values(x)[jnp.asarray(self.sites if of.by == "site" else self.members)]


class Polynomials(eqx.Module):
    """What is in the soil at every observation, as polynomials of the variables of its treatment.

    What is not fitted has none: it stays where the runs have it in the mean.

    Attributes:
        variables: of parameters.
        middle, turned: what is taken from the variables of each kind of treatment, and the matrix
            that they are then multiplied by, so that they are about one in size; zero for those
            that do not move it.
        factors: of each term, see :func:`diffsoil.numerics.polynomial.products`.
        coefficients: of the terms in a few modes of each kind; zero where it has fewer. Stocks of
            one soil in many years and plots move in a few ways.
        modes: how each observation follows those of its kind.
        kind: of each observation.
        logarithm: whether the polynomial is of the logarithm.
        centre, spread: of what it is of.
    """

    variables: Variables
    middle: Float[Array, "kind variable"]
    turned: Float[Array, "kind own variable"]
    factors: Array
    coefficients: Float[Array, "kind mode term"]
    modes: Float[Array, "obs mode"]
    kind: Int[Array, " obs"]
    logarithm: Bool[Array, " obs"]
    centre: Float[Array, " obs"]
    spread: Float[Array, " obs"]

    def own(self, z: Float[Array, " parameter"]) -> Float[Array, "kind own"]:
        """The variables of the polynomials."""
        away = self.variables(z) - self.middle
        own: Array = jnp.einsum("kov,kv->ko", self.turned, away)
        return own

    def __call__(self, z: Float[Array, " parameter"]) -> Float[Array, " obs"]:
        """What is in the soil at each fitted observation."""
        terms = polynomial.terms(self.own(z), self.factors)
        of_kinds = jnp.einsum("kmt,kt->km", self.coefficients, terms)
        y = self.centre + self.spread * (self.modes * of_kinds[self.kind]).sum(axis=1)
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


class Fenced(eqx.Module):
    """A stand-in that falls off far from the runs that it is made from.

    Far from all of them polynomials may have a summit that the column does not have. How far a
    point is out is its distance from the middle of the runs in their standard coordinates, of the
    parameters that the column depends on. The fall is gentle at first, so that where a posterior
    goes on there some draws do too, and their weights tell it.

    Attributes:
        inside: the stand-in.
        places: of those parameters.
        middle, standard: of the runs, and the matrix that makes their coordinates standard ones.
        reach: distance from which on it falls.
    """

    inside: StandIn
    places: tuple[int, ...] = eqx.field(static=True)
    middle: Float[Array, " place"]
    standard: Float[Array, "place place"]
    reach: Float[Array, ""]

    def __call__(
        self, z: Float[Array, " parameter"], value: Float[Array, " obs"] | None = None
    ) -> Float[Array, ""]:
        """Logarithm of the density of the stand-in, lower far from the runs."""
        away = self.standard @ (z[jnp.asarray(self.places, dtype=int)] - self.middle)
        beyond = jnp.sqrt(jnp.maximum(away @ away, self.reach**2)) - self.reach
        return self.inside(z, value) - 0.5 * beyond**4


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


def fenced(problem: Problem, runs: Runs, polynomials: Polynomials) -> Fenced:
    """The stand-in of polynomials that were made from these runs, kept near to them."""
    places = of_the_column(problem)
    z = runs.z[:, list(places)]
    middle = np.average(z, axis=0, weights=runs.weight)
    covariance = np.cov(z.T, aweights=runs.weight).reshape(len(places), len(places))
    standard = np.linalg.inv(np.linalg.cholesky(covariance + NARROWEST * np.eye(len(places))))
    reach = FENCE * np.linalg.norm((z - middle) @ standard.T, axis=1).max()
    arrays = map(jnp.asarray, (middle, standard, reach))
    return Fenced(StandIn(problem.posterior, polynomials), places, *arrays)


def of_the_column(problem: Problem) -> tuple[int, ...]:
    """Places of the parameters that the column depends on; the others are of observations."""
    return tuple(i for i, n in enumerate(problem.names) if not n.startswith("observation."))


def learnt(
    latent: Float[np.ndarray, "run obs"],
) -> tuple[Bool[np.ndarray, " obs"], Float[np.ndarray, "run obs"]]:
    """What polynomials are made of: logarithms, where all runs have positive values."""
    logarithm = (latent > 0).all(axis=0)
    return logarithm, np.where(logarithm, np.log(np.where(logarithm, latent, 1.0)), latent)


def candidates(
    problem: Problem, z: Float[np.ndarray, "run parameter"], members: Sequence[int]
) -> list[Variables]:
    """Variables that polynomials may be of, for what these runs reach.

    Args:
        problem: what is fitted.
        z: the runs.
        members: places of treatments that stand for those alike.
    """
    pooled, names = problem.pooled, problem.names
    differing = {i for of in pooled for i in (of.spread, *of.deviations)}
    places = tuple(i for i in of_the_column(problem) if i not in differing)
    # history has the median of what differs between treatments, and modifiers that of protection
    own = tuple(of for of in pooled if of.by == "site" and not of.name.startswith(OF_PROTECTION))
    apart = tuple(of for of in pooled if of not in own)
    of = problem.reparameterization
    whose = tuple(members), tuple(problem.site_of[member] for member in members)
    found = [Variables(places, *whose, own, apart, of if pooled else None)]
    other = tuple(i for i in places if not names[i].startswith(OF_PROTECTION))
    if of.shear is None or len(other) == len(places):
        return found
    logarithms = by_row(_protection, z, of)
    _, size, components = np.linalg.svd(logarithms - logarithms.mean(axis=0), full_matrices=False)
    counted = components[size > SMALLEST_COMPONENT * size[0]]
    return [*found, Variables(other, *whose, own, apart, of, jnp.asarray(counted))]


_protection = jax.jit(lambda z, of: of.protection(z))
_variables = jax.jit(lambda z, of: of(z))


def probes(problem: Problem, around: Normal) -> Float[np.ndarray, "run parameter"]:
    """Runs that tell which members a parameter moves: at two places, and beside each of them."""
    middle = np.stack([around.mean, around.mean + around.factor.sum(axis=1)])
    step = np.diag(np.sqrt(np.diag(around.covariance)))[list(_probed(problem))]
    return np.concatenate([middle[:, None], middle[:, None] + step], axis=1).reshape(
        -1, around.mean.size
    )


def moves(
    problem: Problem, latent: Float[np.ndarray, "run obs"]
) -> Bool[np.ndarray, "member parameter"]:
    """Which parameters move a member; the column of another crop or of no manure stands still.

    Args:
        problem: what is fitted.
        latent: what was in the soil in the runs of :func:`probes`.
    """
    found = np.ones((len(problem.members), len(problem.names)), dtype=bool)
    here, *beside = latent.reshape(2, -1, latent.shape[1]).swapaxes(0, 1)
    member = problem.table["member"].to_numpy()
    for place, there in zip(_probed(problem), beside, strict=True):
        # a run that has no answer tells nothing
        moved = ~(np.abs(there - here) <= STILL * np.abs(here)).all(axis=0)
        found[:, place] = np.bincount(member, moved, len(found)) > 0
    return found


def kinds(
    problem: Problem, moved: Bool[np.ndarray, "member parameter"]
) -> Int[np.ndarray, " member"]:
    """For each treatment the first one that the same parameters move, with the same values."""
    by = {of.by for of in problem.pooled}
    first: dict[tuple[object, ...], int] = {}
    found = []
    for member, (site, parameters) in enumerate(zip(problem.site_of, moved, strict=True)):
        own = site if "site" in by else None, member if "treatment" in by else None
        found.append(first.setdefault((*own, *parameters), member))
    return np.array(found)


def _probed(problem: Problem) -> tuple[int, ...]:
    """Parameters that may not move all members: one of the others may act elsewhere only."""
    everywhere = (OF_PROTECTION, RATE, *(of.name for of in problem.pooled))
    return tuple(
        i
        for i, name in enumerate(problem.names)
        if not sets_nothing(name) and not name.startswith(everywhere)
    )


class _Form(NamedTuple):
    """A way to make polynomials: their variables at the runs, their terms, and a ridge."""

    variables: Variables
    middle: Float[np.ndarray, "kind variable"]
    turned: Float[np.ndarray, "kind own variable"]
    own: Float[np.ndarray, "kind run own"]
    form: tuple[int, int]
    ridge: float


def fitted(
    problem: Problem, runs: Runs, moved: Bool[np.ndarray, "member parameter"]
) -> tuple[Polynomials, float]:
    """The polynomials that predict held-out runs best, made from all runs.

    Args:
        problem: what is fitted.
        runs: what they are made from.
        moved: from :func:`moves`.

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
    of_row = kinds(problem, moved)[problem.table["member"].to_numpy()]
    members = np.unique(of_row[counted])  # what is kept out has no part in the density
    every = [np.flatnonzero(counted & (of_row == of)) for of in members]

    def error(predicted: np.ndarray) -> float:
        """Of held-out runs."""
        back = centre + spread * predicted
        back = np.where(logarithm, np.exp(np.where(logarithm, back, 0.0)), back)
        off = ((back - runs.latent[out]) / runs.sd[out])[:, counted]
        return float(np.sqrt(np.average((off**2).mean(axis=1), weights=runs.weight[out])))

    best: tuple[float, _Form] | None = None
    for variables in candidates(problem, runs.z, members.tolist()):
        middle, turned, own = _standardised(variables, runs.z, share, moved[members])
        for form in FORMS:
            factors = polynomial.products(own.shape[2], *form)
            if form != FORMS[0] and len(factors) * RUNS_PER_TERM > (~out).sum():
                continue
            predicted = np.zeros((len(RIDGES), out.sum(), y.shape[1]))
            for rows, of in zip(every, own, strict=True):
                values = polynomial.values(of, factors)
                coefficients = polynomial.least_squares(
                    values[~out], targets[np.ix_(~out, rows)], runs.weight[~out], RIDGES
                )
                predicted[:, :, rows] = values[out] @ coefficients
            for ridge, found in zip(RIDGES, predicted, strict=True):
                off = error(found)
                if best is None or off < best[0]:
                    best = off, _Form(variables, middle, turned, own, form, ridge)
    assert best is not None
    off, (variables, middle, turned, own, form, ridge) = best
    factors = polynomial.products(own.shape[2], *form)
    found = [
        _modes(
            polynomial.least_squares(
                polynomial.values(of, factors), targets[:, rows], runs.weight, (ridge,)
            )
        )
        for rows, of in zip(every, own, strict=True)
    ]
    most = -(-max(len(terms) for _, terms in found) // MODES) * MODES
    coefficients = np.zeros((len(every), most, len(factors)))
    modes = np.zeros((len(of_row), most))
    for number, (rows, (follow, terms)) in enumerate(zip(every, found, strict=True)):
        coefficients[number, : len(terms)] = terms
        modes[rows, : len(terms)] = follow
    kind = np.where(counted, np.searchsorted(members, of_row), 0)
    arrays = (middle, turned, factors, coefficients, modes, kind, logarithm, centre, spread)
    return Polynomials(variables, *map(jnp.asarray, arrays)), off


def _modes(
    coefficients: Float[np.ndarray, "1 term obs"],
) -> tuple[Float[np.ndarray, "obs mode"], Float[np.ndarray, "mode term"]]:
    """How observations follow modes, and the terms of these; see :data:`SMALLEST_MODE`."""
    follow, size, terms = np.linalg.svd(coefficients[0].T, full_matrices=False)
    left = np.sqrt(np.cumsum(size[::-1] ** 2)[::-1] / len(follow))
    count = max(1, int((left > SMALLEST_MODE).sum()))
    return follow[:, :count] * size[:count], terms[:count]


def _standardised(
    variables: Variables,
    z: Float[np.ndarray, "run parameter"],
    share: Float[np.ndarray, " run"],
    moved: Bool[np.ndarray, "kind parameter"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle and matrix of :class:`Polynomials`, and what they make of runs."""
    found = by_row(_variables, z, variables).swapaxes(0, 1)
    count = found.shape[2]
    chosen = np.ones((len(found), count), dtype=bool)
    chosen[:, : len(variables.places)] = moved[:, list(variables.places)]
    turned = np.zeros((len(found), chosen.sum(axis=1).max(), count))
    middle = np.empty((len(found), count))
    for kind, values in enumerate(found):
        middle[kind], scale = _moments(values, share, 1e-9)
        places = np.flatnonzero(chosen[kind])
        turned[kind, np.arange(len(places)), places] = 1.0 / scale[places]
    return middle, turned, np.einsum("kov,krv->kro", turned, found - middle[:, None])


def _moments(
    of: Float[np.ndarray, "run column"], share: Float[np.ndarray, " run"], least: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations of weighted runs."""
    middle = share @ of
    return middle, np.maximum(np.sqrt(share @ (of - middle) ** 2), least)
