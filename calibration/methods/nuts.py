"""NUTS in chunks: NumPyro's sampler, whitened by the Laplace approximation, resumable.

The kernel is stepped by one compiled function of a fixed number of transitions, for warm-up and
sampling alike. All that the sampler knows is in its state; draws and state of every chunk are a
file of their own, so an interrupted run goes on where it was and ends with the same draws.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from numpyro.infer import NUTS

from calibration.methods.mode import Normal
from calibration.methods.posterior import Draws, Posterior, Whitened, side_by_side
from diffsoil.work.chunks import Chunks

NAME = "chains"
"""Folder of the chunks."""

CHUNK = 25
"""Transitions between two writes."""

FIRST_STEP = 0.4
"""Step size to begin with; whitened coordinates of some twenty parameters take about this."""

LONG_WARMUP = 250
"""Warm-up from which scales are learnt anew; in a shorter one the Laplace scales are better."""

FIELDS = ("diverging", "num_steps", "accept_prob", "energy", "potential_energy")


class Sampler:
    """NUTS chains on a problem.

    Args:
        problem: what to sample.
        start: Normal approximation; its factor whitens the parameters, draws of it start
            the chains.
        chains: number of chains; on a CPU they run side by side, each on a device of its own.
        warmup, draws: transitions per chain; rounded up to whole chunks.
        seed: same seed, same draws.
        tree_depth: a path is not doubled more often than this.
        acceptance: mean acceptance probability that warm-up sets the step size for.
        value: measured values in the place of the table's own.

    Raises:
        RuntimeError: fewer CPU devices than chains, so that they could not run side by side.
    """

    def __init__(
        self,
        problem: Posterior,
        start: Normal,
        chains: int,
        warmup: int,
        draws: int,
        seed: int,
        tree_depth: int = 10,
        acceptance: float = 0.8,
        value: Array | None = None,
    ) -> None:
        self.problem = problem
        self.chains = chains
        self.warmup = -(-warmup // CHUNK) * CHUNK
        self.draws = -(-draws // CHUNK) * CHUNK
        self._target = Whitened(problem, start, value)
        self._seed = seed
        self._tree_depth = tree_depth
        self._acceptance = acceptance
        self._begin = side_by_side(self._start, chains, 2)
        self._step = side_by_side(self._chunk, chains, 1)

    def restart(self, start: Normal, seed: int, value: Array | None = None) -> None:
        """Sample other data, or from another start, with the same compiled program."""
        self._target = Whitened(self.problem, start, value)
        self._seed = seed

    def _kernel(self, arguments: Any) -> NUTS:
        def potential(u: Array) -> Array:
            return -self._target.log_density(u, arguments)

        return NUTS(
            potential_fn=potential,
            step_size=FIRST_STEP,
            target_accept_prob=self._acceptance,
            max_tree_depth=self._tree_depth,
            adapt_mass_matrix=self.warmup >= LONG_WARMUP,
        )

    def _start(self, key: Array, u: Array, arguments: Any) -> Any:
        return self._start_with(self._kernel(arguments), key, u)

    def _start_with(self, kernel: NUTS, key: Array, u: Array) -> Any:
        return kernel.init(key, self.warmup, init_params=u, model_args=(), model_kwargs={})

    def _chunk(self, state: Any, arguments: Any) -> tuple[Any, dict[str, Array]]:
        kernel = self._kernel(arguments)
        _, _, mean, factor = arguments
        # A kernel learns its warm-up schedule when it starts; the state made here is thrown away.
        jax.eval_shape(lambda: self._start_with(kernel, jax.random.PRNGKey(0), mean))

        def transition(state: Any, _: None) -> tuple[Any, dict[str, Array]]:
            state = kernel.sample(state, (), {})
            kept = {name: getattr(state, name) for name in FIELDS}
            return state, kept | {"z": mean + factor @ state.z}

        return jax.lax.scan(transition, state, None, length=CHUNK)

    def run(
        self, folder: Path, report: Callable[[str], None], resume: bool = False
    ) -> dict[str, np.ndarray]:
        """Sample to the end, writing a file in ``chains/`` of a folder after every chunk.

        Args:
            folder: where the chunks are written.
            report: called with a progress line after every chunk.
            resume: go on after the chunks that are there.

        Returns:
            Arrays with leading axes chain and draw: ``z`` (unbounded parameters), ``diverging``,
            ``num_steps``, ``accept_prob``, ``energy``, ``potential_energy``.
        """
        chunks = Chunks(folder, NAME, resume, report)
        keys = jax.random.split(jax.random.PRNGKey(self._seed), self.chains)
        size = (self.chains, self._target.size)
        spread = np.random.default_rng(self._seed).standard_normal(size)
        state = self._begin(keys, jnp.asarray(spread), self._target.arguments)
        if chunks.done:
            state = chunks.state(state)
        while (done := chunks.done * CHUNK) < self.warmup + self.draws:
            state, new = self._step(state, self._target.arguments)
            new = {name: np.asarray(value) for name, value in new.items()}
            chunks.save(new if done >= self.warmup else {}, state)
            report(self._progress(done + CHUNK, new))
        return chunks.kept()

    def draw(self, folder: Path, report: Callable[[str], None], resume: bool = False) -> Draws:
        """As :meth:`run`, as every method returns it."""
        kept = self.run(folder, report, resume)
        warm = self.warmup / self.draws  # warm-up costs about as much as sampling
        cost = float(kept["num_steps"].sum()) * (1 + warm)
        return Draws(kept.pop("z"), kept, gradients=cost)

    def _progress(self, done: int, new: dict[str, np.ndarray]) -> str:
        phase = "warm-up " if done <= self.warmup else "sampling"
        count, of = (done, self.warmup) if done <= self.warmup else (done - self.warmup, self.draws)
        return (
            f"  {phase} {count:5d} of {of}, {new['num_steps'].mean():5.1f} gradients a draw, "
            f"acceptance {new['accept_prob'].mean():.2f}, {int(new['diverging'].sum())} divergences"
        )


def finished(folder: Path) -> dict[str, np.ndarray] | None:
    """Draws that an interrupted run has finished, or None when there are none yet."""
    return Chunks(folder, NAME, resume=True).kept() or None
