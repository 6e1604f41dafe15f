"""NUTS on a fast stand-in for the column, corrected by weights of exact runs.

What the column predicts is a smooth function of its parameters. The logarithm of what is in the
soil at each observation is learnt as a polynomial of the unbounded model parameters, from runs of
the column around the best fit; the priors and the errors of measurement stay exact. NUTS on the
stand-in costs seconds. The column is then run at its draws, and each is weighted by the exact
density over that of the stand-in (Pareto smoothed importance sampling). Where the weights cannot
be trusted, those runs join the ones that the polynomial is made from, and it is sampled anew:
now it is exact where the posterior is. Where rounds of this do not get there, NUTS samples the
column itself, from what was learnt.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Bool, Float
from scipy.stats import norm, qmc

from calibration import prediction
from calibration.checks.sampling import sampler_checks
from calibration.methods import importance, mode
from calibration.methods.method import Method, Repeated, Row
from calibration.methods.mode import Normal
from calibration.methods.nuts import NUTS, Sampler
from calibration.methods.posterior import Draws
from calibration.posterior import Posterior
from calibration.problem import Problem
from diffsoil._runtime import release_memory
from diffsoil.numerics import polynomial
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say

WIDER = 1.2
"""Spread of the first runs, in standard deviations of the normal approximation."""
FARTHEST = 3.0
"""No parameter of them is farther out than so many standard deviations of their spread."""

FORMS = ((1, 1), (2, 1), (2, 2), (3, 2), (3, 3))
"""Degree of a polynomial and most parameters in a term; the one that predicts best is taken."""
RIDGES = (1e-9, 1e-7, 1e-5)
RUNS_PER_TERM = 1.3
"""No form has more terms than runs divided by this."""
HELD_OUT = 5
"""One in so many runs is held out to compare the forms."""

FIRST_WEIGHT = 0.3
"""Weight of a run of the design beside one of the posterior."""

THIN = 3
"""Transitions on the stand-in from one draw to the next: they cost nothing beside a run."""

SHARE = 0.4
"""A round ends the search when its draws are worth this share of them, or more."""


class Polynomials(eqx.Module):
    """What is in the soil at every observation, as polynomials of unbounded parameters.

    Attributes:
        places: of the parameters that the model depends on.
        middle, scale: that make them about one in size.
        factors: of each term, see :func:`diffsoil.numerics.polynomial.products`.
        coefficients: of the terms.
        logarithm: whether the polynomial is of the logarithm.
        centre, spread: of what it is of.
    """

    places: tuple[int, ...] = eqx.field(static=True)
    middle: Float[Array, " own"]
    scale: Float[Array, " own"]
    factors: Array
    coefficients: Float[Array, "term obs"]
    logarithm: Bool[Array, " obs"]
    centre: Float[Array, " obs"]
    spread: Float[Array, " obs"]

    def __call__(self, z: Float[Array, " parameter"]) -> Float[Array, " obs"]:
        """What is in the soil at each observation."""
        own = (z[jnp.asarray(self.places)] - self.middle) / self.scale
        y = self.centre + self.spread * (polynomial.terms(own, self.factors) @ self.coefficients)
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surrogate(Method):
    """NUTS on polynomials, corrected by exact runs.

    Args:
        chains: of NUTS on the polynomials, at least 1.
        warmup: transitions of each that tune it.
        draws: exact runs that the posterior is made of, a chain.
        runs: exact runs that the first polynomials are made from.
        judged: exact runs, of all chains, by which a round is judged.
        rounds: at most.
        acceptance: mean acceptance probability that warm-up sets the step size for.
    """

    name = "surrogate"
    description = (
        "draws from a polynomial stand-in for the column by Hamiltonian Monte Carlo (NUTS), each "
        "weighted by an exact run of the column (Pareto-smoothed importance sampling)"
    )
    options = ("chains", "warmup", "draws")
    short = MappingProxyType(
        {"chains": 2, "warmup": 250, "draws": 400, "runs": 800, "judged": 200, "rounds": 3}
    )
    unchecked = ""

    chains: int = 4
    warmup: int = 500
    draws: int = 500
    runs: int = 2000
    judged: int = 400
    rounds: int = 4
    acceptance: float = 0.95

    def draw(
        self,
        problem: Problem,
        start: Normal,
        seed: int,
        checkpoints: Checkpoints,
        report: Say,
    ) -> Draws:
        """See :meth:`.method.Method.draw`."""
        release_memory()
        search = _Search(self, problem, seed, checkpoints, report)
        drawn = search.run(start)
        if search.trusted or self.quick:
            return drawn
        report(
            f"the polynomials cannot stand for the column (Pareto k {search.k:.2f}): "
            "NUTS on the column itself"
        )
        sampler = NUTS(chains=self.chains, warmup=self.warmup, draws=self.draws).warm()
        warm = mode.moments(drawn.z, 1e-9)
        drawn = sampler.draw(problem, warm, seed, checkpoints.within("nuts"), report)
        facts = {"surrogate_k": search.k, "fallback": "nuts"}
        return drawn._replace(runs=float(search.count), facts=facts)

    def repeated(self, problem: Problem, seed: int) -> Repeated:
        """See :meth:`.method.Method.repeated`."""

        def draws(start: Normal, value: Array, seed: int) -> Draws:
            search = _Search(self, problem, seed, Checkpoints(None), lambda line: None, value)
            return search.run(start)._replace(predicted=None)

        return draws

    def checks(self, tree: xr.DataTree) -> list[Row]:
        """See :meth:`.method.Method.checks`."""
        return sampler_checks(tree, self.quick)

    def told(self) -> dict[str, str]:
        """See :meth:`.method.Method.told`."""
        return super().told() | {
            "warm-up": f"{self.warmup} steps a chain, on the stand-in",
            "exact runs": f"{self.runs} to learn from, {self.chains * self.draws} as draws",
        }


class _Search:
    """Rounds of learning, sampling and exact runs.

    Args:
        method, problem, seed, checkpoints, report: see :meth:`.method.Method.draw`.
        value: measured values in the place of the table's own.
    """

    def __init__(
        self,
        method: Surrogate,
        problem: Problem,
        seed: int,
        checkpoints: Checkpoints,
        report: Say,
        value: Array | None = None,
    ) -> None:
        self.method, self.problem, self.seed = method, problem, seed
        self._checkpoints, self._report, self._value = checkpoints, report, value
        self._densities = jax.jit(jax.vmap(density, in_axes=(None, 0, 0, None)))
        self._stand_in = jax.jit(jax.vmap(StandIn.__call__, in_axes=(None, 0, None)))
        self._samplers: dict[int, Sampler] = {}
        self.k, self.trusted, self.count = np.inf, False, 0

    def run(self, start: Normal) -> Draws:
        """The draws of the last round, with the density that they come from."""
        method, size = self.method, start.mean.size
        sobol = qmc.Sobol(size, seed=self.seed).random_base2((method.runs - 1).bit_length())
        points = WIDER * np.clip(norm.ppf(sobol[: method.runs]), -FARTHEST, FARTHEST)
        z = start.mean + points @ start.factor.T
        self._report(f"{method.runs} runs of the column around the best fit")
        runs = self._learnt(z, self._exact(z, self._checkpoints.within("design")), FIRST_WEIGHT)
        normal = start
        for number in range(1, method.rounds + 1):
            drawn, new = self._round(runs, normal, number)
            if self.trusted:
                break
            runs, normal = runs.joined(new), mode.moments(drawn.z, 1e-9)
        return drawn._replace(runs=float(self.count))

    def _round(self, runs: Runs, normal: Normal, number: int) -> tuple[Draws, Runs]:
        """Learn, sample, and judge by exact runs; all of them where the first ones will do."""
        method = self.method
        polynomials, error = fitted(self.problem, runs)
        stand_in = StandIn(self.problem.posterior, polynomials)
        drawn = self._sampled(stand_in, normal, number)
        flat = drawn.z.reshape(-1, drawn.z.shape[-1])
        # the exact runs are of draws in random order, so that the first ones stand for all
        order = np.random.default_rng([self.seed, number]).permutation(len(flat))
        batch = prediction.BATCH * jax.local_device_count()
        judged = min(-(-method.judged // batch) * batch, len(flat))
        proposal = np.asarray(self._stand_in(stand_in, jnp.asarray(flat), self._value))
        kept = self._checkpoints.within(f"round_{number}")
        first = order[:judged]
        predicted = self._exact(flat[first], kept)
        weights = self._weights(flat[first], predicted, proposal[first])
        self._report(
            f"round {number}: {len(polynomials.factors)} terms learnt from {len(runs.z)} runs, "
            f"error {error:.2f} of a measurement's; Pareto k {weights.k:.2f}, "
            f"{weights.effective:.0f} of {judged} draws effective"
        )
        enough = SHARE * judged if number < method.rounds else 0.0
        good = weights.trusted and weights.effective >= enough
        new = self._learnt(flat[first], predicted, 1.0)
        if good or (method.quick and number == method.rounds):
            self._report(f"{len(flat)} exact runs in all at the draws of the stand-in")
            predicted = self._exact(flat[order], kept)
            weights = self._weights(flat[order], predicted, proposal[order])
            self.count -= judged
            new = self._learnt(flat[order], predicted, 1.0)
            self.trusted = weights.trusted
            drawn = drawn._replace(predicted=predicted.taken(np.argsort(order)))
        self.k = weights.k
        return drawn._replace(log_proposal=proposal.reshape(drawn.z.shape[:2])), new

    def _sampled(self, stand_in: StandIn, normal: Normal, number: int) -> Draws:
        """Thinned draws of NUTS on the stand-in, with the statistics of every transition."""
        method = self.method
        nuts = NUTS(
            quick=method.quick,
            chains=method.chains,
            warmup=method.warmup,
            draws=method.draws * THIN,
            acceptance=method.acceptance,
        )
        seed, terms = self.seed + number, len(stand_in.polynomials.factors)
        if terms not in self._samplers:  # compiled once for each form
            self._samplers[terms] = Sampler(stand_in, normal, nuts, seed, self._value)
        sampler = self._samplers[terms]
        sampler.restart(normal, seed, self._value, stand_in)
        drawn = sampler.draw(Checkpoints(None), lambda line: None)
        return drawn._replace(z=drawn.z[:, : method.draws * THIN : THIN], gradients=0.0)

    def _exact(self, z: np.ndarray, kept: Checkpoints) -> prediction.Predicted:
        """Predictions of the column; those of a run that is resumed are kept already."""
        return prediction.stream(self.problem, self.problem.bounded(z), kept, self._report)

    def _learnt(self, z: np.ndarray, predicted: prediction.Predicted, weight: float) -> Runs:
        """Exact runs to learn from; one that has no answer teaches nothing."""
        latent, sd = predicted.rows("latent"), predicted.rows("sd")
        self.count += len(z)
        found = Runs(z, latent, sd, np.full(len(z), weight))
        return found.part(np.isfinite(latent).all(axis=1) & np.isfinite(sd).all(axis=1))

    def _weights(
        self, z: np.ndarray, predicted: prediction.Predicted, proposal: np.ndarray
    ) -> importance.Weights:
        latent = jnp.asarray(predicted.rows("latent"))
        target = self._densities(self.problem.posterior, jnp.asarray(z), latent, self._value)
        return importance.weights(np.asarray(target), proposal)


def fitted(problem: Problem, runs: Runs) -> tuple[Polynomials, float]:
    """The polynomials that predict held-out runs best, made from all runs.

    Returns:
        The polynomials, and their error at runs that were held out: root mean square over runs
        and fitted observations, in standard deviations of a measurement.
    """
    places = tuple(i for i, n in enumerate(problem.names) if not n.startswith("observation."))
    own = runs.z[:, list(places)]
    share = runs.weight / runs.weight.sum()
    middle = share @ own
    scale = np.maximum(np.sqrt(share @ (own - middle) ** 2), 1e-9)
    logarithm = (runs.latent > 0).all(axis=0)
    y = np.where(logarithm, np.log(np.where(logarithm, runs.latent, 1.0)), runs.latent)
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
    arrays = (middle, scale, factors, coefficients, logarithm, centre, spread)
    return Polynomials(places, *map(jnp.asarray, arrays)), found
