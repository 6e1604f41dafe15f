"""Variational inference: the nearest distribution of a family, by climbing the evidence bound.

The family is a multivariate normal or, for posteriors that bend, an inverse autoregressive flow
(NumPyro's automatic guides), in standard coordinates where both begin as about the Laplace
approximation. Draws come with their density, so that importance weights can correct what the
family cannot follow and say when it cannot (Pareto k).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from types import MappingProxyType
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
import xarray as xr
from jaxtyping import Array
from numpyro import infer
from numpyro.distributions import constraints
from numpyro.infer.autoguide import AutoContinuous, AutoIAFNormal, AutoMultivariateNormal
from numpyro.infer.initialization import init_to_value
from numpyro.optim import optax_to_numpyro

from calibration.checks.sampling import agreement_check
from calibration.methods.method import Method, Row
from calibration.methods.mode import Normal
from calibration.methods.posterior import Density, Draws, StandardPosterior, side_by_side, stacked
from calibration.problem import Problem
from diffsoil._runtime import release_memory
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say

CHUNK = 50
"""Steps of the optimiser between two writes."""

PARTICLES = 4
"""Draws from which each step estimates the gradient of the bound."""

RATE = 0.02
"""Step of Adam at the start, in standard coordinates; it falls to a hundredth of it."""

STEPS_OF_WARMUP = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class SVI(Method):
    """The nearest multivariate normal, its draws weighted where weights can correct them.

    Args:
        chains: number of fits, which know nothing of each other.
        warmup: tenths of the steps of the optimiser, which are rounded up to whole chunks.
        draws: from each fit.
    """

    name = "svi"
    description = (
        "the multivariate normal nearest to the posterior (stochastic variational inference), "
        "its draws weighted where weights can correct them"
    )
    options = ("chains", "warmup", "draws")
    short = MappingProxyType({"chains": 2, "warmup": 50, "draws": 200})
    family: ClassVar[str] = "normal"

    chains: int = 4
    warmup: int = 250
    draws: int = 500

    def guide(self, model: Callable, centre: Callable) -> AutoContinuous:
        """The family of distributions, beginning as about a standard normal."""
        return AutoMultivariateNormal(model, init_loc_fn=centre, init_scale=1.0)

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
        steps = STEPS_OF_WARMUP * self.warmup
        report(f"variational fit of a {self.family}: {self.chains} runs of {steps} steps")
        return Variational(problem.posterior, start, self, seed).draw(checkpoints, report)

    def checks(self, tree: xr.DataTree) -> list[Row]:
        """See :meth:`.method.Method.checks`."""
        return [agreement_check(tree, self.quick)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flow(SVI):
    """The nearest normalising flow, with the settings of :class:`SVI`."""

    name = "flow"
    description = (
        "the normalising flow nearest to the posterior (stochastic variational inference with "
        "an inverse autoregressive flow), its draws weighted where weights can correct them"
    )
    family = "flow"

    def guide(self, model: Callable, centre: Callable) -> AutoContinuous:
        """See :meth:`SVI.guide`."""
        return AutoIAFNormal(model, init_loc_fn=centre, num_flows=2)


class Variational:
    """Variational fits side by side, from different random numbers.

    Args:
        density: what to approximate.
        start: Laplace approximation, which whitens.
        method: the family and the settings.
        seed: same seed, same draws.
    """

    def __init__(self, density: Density, start: Normal, method: SVI, seed: int) -> None:
        self._target = StandardPosterior(density, start)
        self.chains = method.chains
        self.steps = -(-STEPS_OF_WARMUP * method.warmup // CHUNK) * CHUNK
        self.draws = method.draws
        self._seed = seed
        size = self._target.size

        def model(target: StandardPosterior | None) -> None:
            u = numpyro.sample("u", dist.ImproperUniform(constraints.real_vector, (), (size,)))
            if target is not None:  # None: a shape to build the guide on, without a column
                # numpyro.factor, which does not find its own module where ArviZ came first
                unit = dist.Unit(target(u))
                numpyro.sample("posterior", unit, obs=unit.sample(None))

        centre = init_to_value(values={"u": jnp.zeros(size)})
        self._guide = method.guide(model, centre)
        rate = optax.exponential_decay(RATE, self.steps, 0.01)
        self._svi = infer.SVI(
            model,
            self._guide,
            optax_to_numpyro(optax.adam(rate)),
            infer.Trace_ELBO(num_particles=PARTICLES, vectorize_particles=False),
        )
        # the first call learns the shapes, which takes random numbers that later ones do not
        self._svi.init(jax.random.PRNGKey(seed), None)
        self._step = side_by_side(self._chunk, self.chains, 1)
        self._sample = side_by_side(self._drawn, self.chains, 2)

    def _chunk(self, state: Any, target: StandardPosterior) -> tuple[Any, Array]:
        def one(state: Any, _: None) -> tuple[Any, Array]:
            return self._svi.stable_update(state, target)

        return jax.lax.scan(one, state, None, length=CHUNK)

    def _drawn(self, params: Any, key: Array, target: StandardPosterior) -> tuple[Array, Array]:
        """Draws of unbounded parameters, and their density there."""
        transform = self._guide.get_transform(params)
        base = self._guide.get_base_dist()

        def one(key: Array) -> tuple[Array, Array]:
            noise = base.sample(key)
            u = transform(noise)
            density = base.log_prob(noise) - transform.log_abs_det_jacobian(noise, u)
            return target.unbounded(u), density - target.log_volume

        return jax.lax.map(one, jax.random.split(key, self.draws))

    def draw(self, checkpoints: Checkpoints, report: Say) -> Draws:
        """Fit and draw, with a checkpoint after every chunk.

        Args:
            checkpoints: keep what is done.
            report: called with a progress line now and then.
        """
        keys = jax.random.split(jax.random.PRNGKey(self._seed), 2 * self.chains)
        # the guide takes its shape from a model without a column, so nothing heavy runs here
        begun = stacked([self._svi.init(key, None) for key in keys[: self.chains]])
        state = checkpoints.state(begun)
        while (done := checkpoints.done * CHUNK) < self.steps:
            state, losses = self._step(state, self._target)
            checkpoints.append({"loss": np.asarray(losses)}, state)
            if (done // CHUNK) % 5 == 4:
                bound = ", ".join(f"{-np.mean(one):.2f}" for one in np.asarray(losses))
                report(f"  step {done + CHUNK} of {self.steps}, evidence bound {bound}")
        on_host = jax.tree.map(np.asarray, state)
        params = [
            self._svi.get_params(jax.tree.map(lambda leaf, c=c: jnp.asarray(leaf[c]), on_host))
            for c in range(self.chains)
        ]
        joined = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
        z, density = self._sample(joined, np.asarray(keys[self.chains :]), self._target)
        reached = -checkpoints.joined()["loss"][:, -4 * CHUNK :]
        return Draws(
            np.asarray(z),
            log_proposal=np.asarray(density),
            gradients=float(self.steps * PARTICLES * self.chains),
            facts={"evidence_bound": reached.mean(axis=1).tolist()},
        )
