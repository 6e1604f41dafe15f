"""Variational inference: the nearest distribution of a family, by climbing the evidence bound.

The family is a multivariate normal or, for posteriors that bend, an inverse autoregressive flow
(NumPyro's automatic guides), in whitened coordinates where both begin as about the Laplace
approximation. Draws come with their density, so that importance weights can correct what the
family cannot follow and say when it cannot (Pareto k).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jaxtyping import Array
from numpyro.distributions import constraints
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoContinuous, AutoIAFNormal, AutoMultivariateNormal
from numpyro.infer.initialization import init_to_value
from numpyro.optim import optax_to_numpyro

from calibration.methods.mode import Normal
from calibration.methods.posterior import Draws, Posterior, Whitened, side_by_side
from diffsoil.work.chunks import Chunks

NAME = "variational"
CHUNK = 50
"""Steps of the optimiser between two writes."""

PARTICLES = 4
"""Draws from which each step estimates the gradient of the bound."""

RATE = 0.02
"""Step of Adam at the start, in whitened coordinates; it falls to a hundredth of it."""

Family = Literal["normal", "flow"]


class Variational:
    """Variational fits side by side, from different random numbers.

    Args:
        problem: what to approximate.
        start: Normal approximation, which whitens.
        family: ``normal`` or ``flow``.
        chains: number of fits.
        steps: of the optimiser, rounded up to whole chunks.
        draws: from each fit.
        seed: same seed, same draws.
        value: measured values in the place of the table's own.
    """

    def __init__(
        self,
        problem: Posterior,
        start: Normal,
        family: Family,
        chains: int,
        steps: int,
        draws: int,
        seed: int,
        value: Array | None = None,
    ) -> None:
        self._target = Whitened(problem, start, value)
        self.chains = chains
        self.steps = -(-steps // CHUNK) * CHUNK
        self.draws = draws
        self._seed = seed
        size = self._target.size

        def model(arguments: Any) -> None:
            u = numpyro.sample("u", dist.ImproperUniform(constraints.real_vector, (), (size,)))
            if arguments is not None:  # None: a shape to build the guide on, without a column
                # numpyro.factor, which does not find its own module where ArviZ came first
                unit = dist.Unit(self._target.log_density(u, arguments))
                numpyro.sample("posterior", unit, obs=unit.sample(None))

        centre = init_to_value(values={"u": jnp.zeros(size)})
        self._guide: AutoContinuous = (
            AutoMultivariateNormal(model, init_loc_fn=centre, init_scale=1.0)
            if family == "normal"
            else AutoIAFNormal(model, init_loc_fn=centre, num_flows=2)
        )
        rate = optax.exponential_decay(RATE, self.steps, 0.01)
        self._svi = SVI(
            model,
            self._guide,
            optax_to_numpyro(optax.adam(rate)),
            Trace_ELBO(num_particles=PARTICLES, vectorize_particles=False),
        )
        # the first call learns the shapes, which takes random numbers that later ones do not
        self._svi.init(jax.random.PRNGKey(seed), None)
        self._step = side_by_side(self._chunk, chains, 1)
        self._sample = side_by_side(self._drawn, chains, 2)

    def _chunk(self, state: Any, arguments: Any) -> tuple[Any, Array]:
        def one(state: Any, _: None) -> tuple[Any, Array]:
            return self._svi.stable_update(state, arguments)

        return jax.lax.scan(one, state, None, length=CHUNK)

    def _drawn(self, params: Any, key: Array, arguments: Any) -> tuple[Array, Array]:
        """Draws of unbounded parameters, and their density there."""
        _, _, mean, factor = arguments
        transform = self._guide.get_transform(params)
        base = self._guide.get_base_dist()

        def one(key: Array) -> tuple[Array, Array]:
            noise = base.sample(key)
            u = transform(noise)
            density = base.log_prob(noise) - transform.log_abs_det_jacobian(noise, u)
            return mean + factor @ u, density - jnp.sum(jnp.log(jnp.diag(factor)))

        return jax.lax.map(one, jax.random.split(key, self.draws))

    def draw(self, folder: Path, report: Callable[[str], None], resume: bool = False) -> Draws:
        """Fit and draw, writing a file in ``variational/`` of a folder after every chunk.

        Args:
            folder: where the chunks are written.
            report: called with a progress line now and then.
            resume: go on after the chunks that are there.
        """
        chunks = Chunks(folder, NAME, resume, report)
        keys = jax.random.split(jax.random.PRNGKey(self._seed), 2 * self.chains)
        # the guide takes its shape from a model without a column, so nothing heavy runs here
        states = [self._svi.init(key, None) for key in keys[: self.chains]]
        state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
        if chunks.done:
            state = chunks.state(state)
        while (done := chunks.done * CHUNK) < self.steps:
            state, losses = self._step(state, self._target.arguments)
            chunks.save({"loss": np.asarray(losses)}, state)
            if (done // CHUNK) % 5 == 4:
                bound = ", ".join(f"{-np.mean(one):.2f}" for one in np.asarray(losses))
                report(f"  step {done + CHUNK} of {self.steps}, evidence bound {bound}")
        on_host = jax.tree.map(np.asarray, state)
        params = [
            self._svi.get_params(jax.tree.map(lambda leaf, c=c: jnp.asarray(leaf[c]), on_host))
            for c in range(self.chains)
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *params)
        z, density = self._sample(stacked, np.asarray(keys[self.chains :]), self._target.arguments)
        reached = -chunks.kept()["loss"][:, -4 * CHUNK :]
        return Draws(
            np.asarray(z),
            {"evidence_bound": np.repeat(reached.mean(axis=1)[:, None], self.draws, axis=1)},
            log_proposal=np.asarray(density),
            gradients=float(self.steps * PARTICLES * self.chains),
        )
