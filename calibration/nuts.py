"""NUTS in chunks: NumPyro's sampler, whitened by the Laplace approximation, resumable.

The kernel is stepped by one compiled function of a fixed number of transitions, for warm-up and
sampling alike. All that the sampler knows is in its state; the state is written after every
chunk, so an interrupted run goes on where it was and ends with the same draws.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.infer import NUTS

from calibration.maximum import Laplace
from calibration.problem import Problem
from diffsoil.io import replacing

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
        start: Laplace approximation; its factor whitens the parameters, draws of it start
            the chains.
        chains: number of chains; on a CPU they run side by side, each on a device of its own.
        warmup, draws: transitions per chain; rounded up to whole chunks.
        seed: same seed, same draws.
        tree_depth: a path is not doubled more often than this.
        acceptance: mean acceptance probability that warm-up sets the step size for.

    Raises:
        RuntimeError: fewer CPU devices than chains, so that they could not run side by side.
    """

    def __init__(
        self,
        problem: Problem,
        start: Laplace,
        chains: int,
        warmup: int,
        draws: int,
        seed: int,
        tree_depth: int = 10,
        acceptance: float = 0.8,
    ) -> None:
        self.problem = problem
        self.chains = chains
        self.warmup = -(-warmup // CHUNK) * CHUNK
        self.draws = -(-draws // CHUNK) * CHUNK
        self._mean = jnp.asarray(start.mean)
        self._factor = jnp.asarray(start.factor)
        self._seed = seed
        self._tree_depth = tree_depth
        self._acceptance = acceptance
        self._plan = problem.plan
        self.parallel = jax.default_backend() == "cpu"
        if self.parallel and jax.local_device_count() < chains:
            raise RuntimeError(
                f"{chains} chains need {chains} CPU devices to run side by side, JAX has "
                f"{jax.local_device_count()}"
            )

    def unbounded(self, u: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Unbounded parameters from whitened ones."""
        return self._mean + self._factor @ u

    def _kernel(self, plan: Any) -> NUTS:
        def potential(u: Array) -> Array:
            return -self.problem.log_posterior(self.unbounded(u), plan)

        return NUTS(
            potential_fn=potential,
            step_size=FIRST_STEP,
            target_accept_prob=self._acceptance,
            max_tree_depth=self._tree_depth,
            adapt_mass_matrix=self.warmup >= LONG_WARMUP,
        )

    def _start(self, key: Array, u: Array, plan: Any) -> Any:
        return self._start_with(self._kernel(plan), key, u)

    def _start_with(self, kernel: NUTS, key: Array, u: Array) -> Any:
        return kernel.init(key, self.warmup, init_params=u, model_args=(), model_kwargs={})

    def _chunk(self, state: Any, plan: Any) -> tuple[Any, dict[str, Array]]:
        kernel = self._kernel(plan)
        # A kernel learns its warm-up schedule when it starts; the state made here is thrown away.
        jax.eval_shape(lambda: self._start_with(kernel, jax.random.PRNGKey(0), self._mean))

        def transition(state: Any, _: None) -> tuple[Any, dict[str, Array]]:
            state = kernel.sample(state, (), {})
            kept = {name: getattr(state, name) for name in FIELDS}
            return state, kept | {"z": self.unbounded(state.z)}

        return jax.lax.scan(transition, state, None, length=CHUNK)

    def _mapped(self, function: Callable, fixed: int) -> Callable:
        axes = (0,) * fixed + (None,)
        if self.parallel:
            devices = jax.local_devices()[: self.chains]
            return jax.pmap(function, in_axes=axes, devices=devices)
        return jax.jit(jax.vmap(function, in_axes=axes))

    def run(self, folder: Path, report: Callable[[str], None], resume: bool = False) -> dict:
        """Sample to the end, writing ``chains.npz`` in a folder after every chunk.

        Args:
            folder: where the chunks are written.
            report: called with a progress line after every chunk.
            resume: go on from ``chains.npz`` if it is there.

        Returns:
            Arrays with leading axes chain and draw: ``z`` (unbounded parameters), ``diverging``,
            ``num_steps``, ``accept_prob``, ``energy``, ``potential_energy``.
        """
        path = folder / "chains.npz"
        keys = jax.random.split(jax.random.PRNGKey(self._seed), self.chains)
        spread = np.random.default_rng(self._seed).standard_normal((self.chains, self._mean.size))
        state = self._mapped(self._start, 2)(keys, jnp.asarray(spread), self._plan)
        leaves, shape = jax.tree.flatten(state)
        done = 0
        kept: dict[str, np.ndarray] = {}
        if resume and path.exists():
            done, kept, leaves = _load(path, len(leaves))
            state = jax.tree.unflatten(shape, leaves)
        step = self._mapped(self._chunk, 1)
        total = self.warmup + self.draws
        while done < total:
            state, new = step(state, self._plan)
            new = {name: np.asarray(value) for name, value in new.items()}
            done += CHUNK
            if done > self.warmup:
                kept = {n: np.concatenate([kept[n], v], 1) if kept else v for n, v in new.items()}
            with replacing(path, overwrite=True) as part:
                _save(part, done, kept, jax.tree.leaves(state))
            report(self._progress(done, new))
        return kept

    def _progress(self, done: int, new: dict[str, np.ndarray]) -> str:
        phase = "warm-up " if done <= self.warmup else "sampling"
        count, of = (done, self.warmup) if done <= self.warmup else (done - self.warmup, self.draws)
        return (
            f"  {phase} {count:5d} of {of}, {new['num_steps'].mean():5.1f} gradients a draw, "
            f"acceptance {new['accept_prob'].mean():.2f}, {int(new['diverging'].sum())} divergences"
        )


def finished(folder: Path) -> dict[str, np.ndarray] | None:
    """Draws that an interrupted run has finished, or None when there are none yet."""
    path = folder / "chains.npz"
    if not path.exists():
        return None
    _, kept, _ = _load(path, 0)
    return kept or None


def _save(path: Path, done: int, kept: dict[str, np.ndarray], leaves: list) -> None:
    arrays: dict[str, Any] = {f"state_{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    arrays |= {f"kept_{name}": value for name, value in kept.items()}
    with open(path, "wb") as file:
        np.savez(file, done=done, **arrays)


def _load(path: Path, size: int) -> tuple[int, dict[str, np.ndarray], list[Array]]:
    with np.load(path) as file:
        kept = {n.removeprefix("kept_"): file[n] for n in file.files if n.startswith("kept_")}
        return int(file["done"]), kept, [jnp.asarray(file[f"state_{i}"]) for i in range(size)]
