"""Tempered sequential Monte Carlo: particles walk from a wide reference to the posterior.

The reference is the Laplace approximation, :data:`WIDER` times as wide: a normal whose volume is
known, so the weights gathered on the way estimate the evidence. (From the prior the way would be
ten times as long. Mass that lies outside the reference is not found; NUTS from several starts is
the check of that.) Steps of temperature are chosen to keep :data:`KEPT` of the particles
effective; HMC moves them at each (BlackJAX). Runs side by side know nothing of each other: their
log evidences say how far one can be trusted.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

from calibration.checks.sampling import agreement_check
from calibration.methods.method import Method, Row
from calibration.methods.mode import Normal
from calibration.methods.posterior import (
    NOWHERE,
    Density,
    Draws,
    StandardPosterior,
    side_by_side,
    stacked,
)
from calibration.problem import Problem
from diffsoil._runtime import release_memory
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say

WIDER = 1.7
KEPT = 0.6
MOVES, LEAPS = 3, 5
"""HMC transitions at each temperature, and leapfrog steps in each."""

STEP = 0.8
"""Leapfrog step in standard coordinates, times the fourth root of the number of parameters."""

MOST_STAGES = 60


@dataclasses.dataclass(frozen=True, kw_only=True)
class SMC(Method):
    """Tempered runs of particles.

    Args:
        chains: number of runs, which know nothing of each other.
        draws: particles of each run; each becomes a draw.
    """

    name = "smc"
    description = (
        "particles that walk from a wide normal to the posterior (tempered sequential Monte "
        "Carlo), which also gives the evidence"
    )
    exact = True
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
        release_memory()
        report(f"tempered SMC: {self.chains} runs of {self.draws} particles")
        return Tempered(problem.posterior, start, self, seed).draw(checkpoints, report)

    def checks(self, tree: xr.DataTree) -> list[Row]:
        """See :meth:`.method.Method.checks`."""
        return [agreement_check(tree, self.quick)]


class Tempered:
    """Tempered runs side by side.

    Args:
        density: what to sample.
        start: Laplace approximation, which whitens and is the reference.
        method: the settings.
        seed: same seed, same draws.
    """

    def __init__(self, density: Density, start: Normal, method: SMC, seed: int) -> None:
        self._target = StandardPosterior(density, start)
        self.chains = method.chains
        self.particles = method.draws
        self._seed = seed
        self._step = side_by_side(self._stage, self.chains, 2)

    def _stage(self, key: Array, state: Any, target: StandardPosterior) -> tuple[Any, Array, Array]:
        # importing it starts JAX, whose devices may not be settled when this module is loaded
        import blackjax
        from blackjax.smc import extend_params, resampling

        size = target.size

        def reference(u: Array) -> Array:
            normal = -0.5 * jnp.sum((u / WIDER) ** 2)
            return normal - size * (jnp.log(WIDER) + 0.5 * jnp.log(2 * jnp.pi))

        def gained(u: Array) -> Array:
            return jnp.maximum(target(u) - reference(u), NOWHERE)

        hmc = {
            "step_size": jnp.asarray(STEP * size**-0.25),
            "inverse_mass_matrix": jnp.ones(size),
            "num_integration_steps": jnp.asarray(LEAPS),
        }
        sampler = blackjax.adaptive_tempered_smc(
            reference,
            gained,
            blackjax.hmc.build_kernel(),
            blackjax.hmc.init,
            extend_params(hmc),
            resampling.systematic,
            target_ess=KEPT,
            num_mcmc_steps=MOVES,
            batch_size=1,  # one column after the other: memory does not grow with particles
        )
        state, info = sampler.step(key, state)
        accepted = jnp.mean(info.update_info.acceptance_rate)
        return state, info.log_likelihood_increment, accepted

    def draw(self, checkpoints: Checkpoints, report: Say) -> Draws:
        """Sample, with a checkpoint after every temperature.

        Args:
            checkpoints: keep what is done.
            report: called with a progress line after every stage.
        """
        from blackjax.smc import tempered

        keys = jax.random.split(jax.random.PRNGKey(self._seed), self.chains)
        shape = (self.chains, self.particles, self._target.size)
        normal = np.random.default_rng(self._seed).standard_normal(shape)
        particles = jnp.asarray(WIDER * normal)
        state = checkpoints.state(stacked([tempered.init(own) for own in particles]))
        before = checkpoints.joined()
        finished = bool(before) and bool((before["temperature"][:, -2:] >= 1.0).all())
        finished = finished and before["temperature"].shape[1] > 1
        # the particles at temperature 1 are resampled and moved once more: all count alike then
        while not finished:
            if checkpoints.done >= MOST_STAGES:
                raise RuntimeError(f"temperature 1 was not reached in {MOST_STAGES} stages")
            stage_keys = jax.vmap(lambda key, n=checkpoints.done: jax.random.fold_in(key, n))(keys)
            was = np.asarray(state.tempering_param)
            state, increment, accepted = self._step(stage_keys, state, self._target)
            now = np.asarray(state.tempering_param)
            # what a finished run still moves adds nothing to its evidence
            step = np.where(was >= 1.0, 0.0, np.asarray(increment))
            checkpoints.append({"temperature": now[:, None], "increment": step[:, None]}, state)
            shown = ", ".join(f"{t:.3g}" for t in now)
            report(
                f"  stage {checkpoints.done}: temperature {shown}, acceptance "
                f"{float(np.mean(np.asarray(accepted))):.2f}"
            )
            finished = bool((was >= 1.0).all())
        stages = checkpoints.done
        moved = stages * self.particles * self.chains
        mean, factor = np.asarray(self._target.mean), np.asarray(self._target.factor)
        return Draws(
            mean + np.asarray(state.particles) @ factor.T,
            log_evidence=checkpoints.joined()["increment"].sum(axis=1),
            gradients=float(moved * (MOVES * LEAPS + 1)),
            runs=float(2 * moved),
        )
