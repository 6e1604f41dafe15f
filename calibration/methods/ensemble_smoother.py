"""Ensemble smoother with multiple data assimilation: a posterior without any gradient.

For a model that is not smooth (a hard minimum, events), or whose gradient is too dear. An
ensemble from the prior is moved towards the observations in :data:`PASSES` Kalman steps whose
inflated errors add up to the real ones (ES-MDA; Emerick & Reynolds 2013). It is exact for linear
models, normal priors and infinite ensembles, and an approximation everywhere else: there is no
density to correct it by. A Kalman step cannot learn the size of an error. So after each one every
member draws its error parameters anew, given how far it now lies from the observations
(Metropolis, no model runs).
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from calibration.checks.sampling import agreement_check
from calibration.likelihood import ERROR, MEMORY
from calibration.methods.method import Method, Row
from calibration.methods.mode import Normal
from calibration.methods.posterior import Draws
from calibration.prediction import predict_draws
from calibration.problem import Problem
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say

PASSES = 6
ERROR_STEPS, ERROR_STRIDE = 60, 0.35
"""Metropolis steps of the error parameters after each pass, and their size."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class EnsembleSmoother(Method):
    """ES-MDA.

    Args:
        chains: number of ensembles, which know nothing of each other.
        draws: members of each; a few times the number of parameters at least.
    """

    name = "ensemble"
    description = (
        "an ensemble moved towards the observations in Kalman steps (ES-MDA), without "
        "gradients; exact for linear models only, and not corrected by anything"
    )
    searches = False
    has_density = False
    options = ("chains", "draws")
    short = MappingProxyType({"chains": 2, "draws": 200})

    chains: int = 4
    draws: int = 500

    def draw(
        self,
        problem: Problem,
        start: Normal,
        seed: int,
        checkpoints: Checkpoints,
        report: Say,
    ) -> Draws:
        """See :meth:`.method.Method.draw`."""
        return Smoother(problem, self, seed).draw(checkpoints, report)

    def checks(self, tree: xr.DataTree) -> list[Row]:
        """See :meth:`.method.Method.checks`."""
        return [agreement_check(tree, self.quick)]


class Smoother:
    """Ensembles that know nothing of each other.

    Args:
        problem: what to fit.
        method: the settings.
        seed: same seed, same draws.
    """

    def __init__(self, problem: Problem, method: EnsembleSmoother, seed: int) -> None:
        self.problem = problem
        self.chains = method.chains
        self.members = method.draws
        self._seed = seed
        names = problem.names
        self._of_errors = np.array([n.startswith((ERROR, MEMORY)) for n in names])
        self._bounded = jax.jit(jax.vmap(problem.reparameterization.bounded))
        self._redraw = jax.jit(jax.vmap(self._redrawn))

    def draw(self, checkpoints: Checkpoints, report: Say) -> Draws:
        """Smooth, with a checkpoint after every pass.

        Args:
            checkpoints: keep what is done.
            report: called with a progress line after every pass.
        """
        count = self.chains * self.members
        prior = self.problem.priors.sample(jax.random.key(self._seed), count)
        z = np.asarray(jax.jit(jax.vmap(self.problem.reparameterization.unbounded))(prior))
        z = np.asarray(checkpoints.state(z))
        while checkpoints.done < PASSES:
            number = checkpoints.done
            predicted = predict_draws(
                self.problem, np.asarray(self._bounded(jnp.asarray(z))), report
            )
            misfit = -np.asarray(predicted.log_likelihood)[:, self._fitted].sum(axis=1)
            key = jax.random.fold_in(jax.random.key(self._seed + 1), number)
            z = self._with_errors(key, z, predicted.latent)
            rng = np.random.default_rng([self._seed, number])
            parts = np.split(np.arange(count), self.chains)
            z = np.concatenate([self._pass(rng, z[own], predicted.latent[own]) for own in parts])
            checkpoints.append({"misfit": misfit.reshape(self.chains, 1, self.members)}, z)
            report(f"  pass {number + 1} of {PASSES}: -log likelihood {np.median(misfit):.1f}")
        predicted = predict_draws(self.problem, np.asarray(self._bounded(jnp.asarray(z))), report)
        key = jax.random.fold_in(jax.random.key(self._seed + 1), PASSES)
        z = self._with_errors(key, z, predicted.latent)
        return Draws(z.reshape(self.chains, self.members, -1), runs=float((PASSES + 1) * count))

    @property
    def _fitted(self) -> np.ndarray:
        return self.problem.table["fitted"].to_numpy()

    def _pass(
        self, rng: np.random.Generator, z: np.ndarray, latent: Array
    ) -> Float[np.ndarray, "member parameter"]:
        """One Kalman step of one ensemble, with errors inflated by the number of passes."""
        x = self._bounded(jnp.asarray(z))
        errors, fitted = self.problem.errors, self._fitted
        _, expected = jax.vmap(self._compared)(x, jnp.asarray(latent))
        middle = jnp.median(expected, axis=0)
        spread = self.problem.likelihood.spread(jnp.median(x, axis=0), middle)
        noise = PASSES * errors.covariance(middle, spread)[np.ix_(fitted, fitted)]
        shown = errors.symmetric(np.asarray(expected))[:, fitted]
        data = errors.symmetric(np.asarray(errors.value))[fitted]
        away = shown - shown.mean(axis=0)
        moved = z - z.mean(axis=0)
        moved[:, self._of_errors] = 0.0
        inner = away.T @ away / (len(z) - 1) + noise
        gain = np.linalg.solve(inner, away.T @ moved / (len(z) - 1)).T
        blurred = data + rng.multivariate_normal(np.zeros(data.size), noise, len(z))
        return z + (blurred - shown) @ gain.T

    def _compared(self, x: Array, latent: Array) -> tuple[Array, Array]:
        found = self.problem.likelihood.compare(x, latent)
        return found.log_likelihood, found.expected

    def _with_errors(self, key: Array, z: np.ndarray, latent: Any) -> np.ndarray:
        if not self._of_errors.any():
            return z
        keys = jax.random.split(key, len(z))
        return np.asarray(self._redraw(keys, jnp.asarray(z), jnp.asarray(latent)))

    def _redrawn(self, key: Array, z: Array, latent: Array) -> Array:
        """Error parameters of one member, given its distance from the observations."""

        def density(z: Array) -> Array:
            terms, _ = self._compared(self.problem.reparameterization.bounded(z), latent)
            posterior = self.problem.posterior
            return posterior.likelihood.joint(terms) + posterior.log_prior(z)

        def step(state: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], None]:
            here, now = state
            one, two = jax.random.split(key)
            stride = ERROR_STRIDE * jnp.asarray(self._of_errors)
            there = here + stride * jax.random.normal(one, here.shape)
            then = density(there)
            taken = jnp.log(jax.random.uniform(two)) < then - now
            return (jnp.where(taken, there, here), jnp.where(taken, then, now)), None

        keys = jax.random.split(key, ERROR_STEPS)
        (z, _), _ = jax.lax.scan(step, (z, density(z)), keys)
        return z
