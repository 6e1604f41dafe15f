"""Evidence of model variants: bridge sampling, and tempered sequential Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import blackjax
import blackjax.smc.resampling as resampling
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.smc import adaptive_tempered
from jaxtyping import Array, Float

from calibration.profiles.hierarchy import Given, Hierarchy

BRIDGE_TOLERANCE = 1e-8
LEAPFROGS, MOVES = 6, 4
TARGET_ESS = 0.6


class Evidence(NamedTuple):
    """Log marginal likelihood and its Monte Carlo error (standard deviation)."""

    log_evidence: float
    error: float


def bridge(
    log_density: Callable[[np.ndarray], np.ndarray],
    z: Float[np.ndarray, "chain draw parameter"],
    seed: int,
) -> Evidence:
    """Log evidence by bridge sampling from a normal fitted to half of the draws.

    Args:
        log_density: log prior + log likelihood of unbounded parameters.
        z: posterior draws; every chain gives an estimate, their scatter the error.
        seed: of the draws from the normal.

    Source: Meng & Wong (1996); Gronau et al. (2017).
    """
    half = z.shape[1] // 2
    fitted = z[:, :half].reshape(-1, z.shape[2])
    mean = fitted.mean(axis=0)
    factor = np.linalg.cholesky(np.cov(fitted.T) + 1e-10 * np.eye(mean.size))
    estimates = []
    for number, chain in enumerate(z[:, half:]):
        generator = np.random.default_rng([seed, number])
        drawn = mean + generator.standard_normal(chain.shape) @ factor.T
        both = np.concatenate([chain, drawn])
        white = np.linalg.solve(factor, (both - mean).T).T
        normal = -0.5 * np.sum(white**2, axis=1) - np.sum(np.log(np.diag(factor)))
        normal -= 0.5 * mean.size * np.log(2 * np.pi)
        logs = np.asarray(log_density(both)) - normal
        estimates.append(_bridge_estimate(logs[: len(chain)], logs[len(chain) :]))
    error = np.std(estimates, ddof=1) / np.sqrt(len(estimates)) if len(estimates) > 1 else np.nan
    return Evidence(float(np.mean(estimates)), float(error))


def _bridge_estimate(of_posterior: np.ndarray, of_normal: np.ndarray) -> float:
    """Fixed point of the optimal bridge, from log ratios of density to normal, equally many."""
    shift = np.median(of_posterior)
    a, b = np.exp(of_posterior - shift), np.exp(of_normal - shift)
    r = 1.0
    for _ in range(1000):
        new = np.mean(b / (b + r)) / np.mean(1.0 / (a + r))
        if abs(np.log(new / r)) < BRIDGE_TOLERANCE:
            break
        r = new
    return float(np.log(new) + shift)


def tempered(model: Hierarchy, given: Given, particles: int, seed: int) -> Evidence:
    """Log evidence by tempered sequential Monte Carlo with HMC moves (BlackJAX).

    The error is that of two independent halves.

    Args:
        model: the model.
        given: the variant, and the emulator or None for the column.
        particles: of the two halves together.
        seed: same seed, same answer.
    """

    def likelihood(z: Array) -> Array:
        return model.log_likelihood(z, given)

    kernel = adaptive_tempered.build_kernel(
        model.log_prior,
        likelihood,
        blackjax.hmc.build_kernel(),
        blackjax.hmc.init,
        resampling.systematic,
        TARGET_ESS,
    )
    move = jax.jit(lambda key, state, settings: kernel(key, state, MOVES, settings))
    found = []
    for half in range(2):
        key = jax.random.fold_in(jax.random.key(seed), half)
        start = model.priors.sample(key, particles // 2)
        state = adaptive_tempered.init(jax.vmap(model.transform.inverse)(start))
        total = 0.0
        for step in range(200):
            if float(state.tempering_param) >= 1.0:
                break
            covariance = np.cov(np.asarray(state.particles).T) + 1e-8 * np.eye(len(model.names))
            settings = {
                "step_size": jnp.asarray([0.7 / len(model.names) ** 0.25]),
                "inverse_mass_matrix": jnp.asarray(covariance)[None],
                "num_integration_steps": jnp.asarray([LEAPFROGS]),
            }
            state, info = move(jax.random.fold_in(key, 1000 + step), state, settings)
            total += float(info.log_likelihood_increment)
        found.append(total)
    return Evidence(float(np.mean(found)), float(abs(found[0] - found[1]) / 2))
