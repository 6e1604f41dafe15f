"""NUTS in chunks: NumPyro's sampler, whitened by the Laplace approximation, resumable.

The kernel is stepped by one compiled function of a fixed number of transitions, for warm-up and
sampling alike. All that the sampler knows is in its state; draws and state of every chunk are a
file of their own, so an interrupted run goes on where it was and ends with the same draws.
"""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array
from numpyro import infer

from calibration.checks.sampling import sampler_checks
from calibration.methods.method import Method, Repeated, Row
from calibration.methods.mode import Normal
from calibration.methods.posterior import Density, Draws, StandardPosterior, side_by_side
from calibration.problem import Problem
from diffsoil._runtime import release_memory
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say

CHUNK = 25
"""Transitions between two writes."""

FIRST_STEP = 0.4
"""Step size to begin with; standard coordinates of some twenty parameters take about this."""

LONG_WARMUP = 250
"""Warm-up from which scales are learnt anew; in a shorter one the Laplace scales are better."""

LOST = 2.0
HALVINGS = 8
"""A chain begins half as far from the mean if the density there is larger by more than this, in its
logarithm and for each parameter (by 3/8 where the density is the normal); so often at most."""

WARM_WARMUP = 100
"""Warm-up at most where the scales are known from a posterior before."""

FIELDS = ("diverging", "num_steps", "accept_prob", "energy", "potential_energy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class NUTS(Method):
    """Hamiltonian Monte Carlo that chooses the length of its paths.

    In standard coordinates seven leapfrog steps (depth 3) go about a quarter of a period, enough
    for nearly independent draws; the full setting lets NUTS decide.

    Args:
        chains: number of chains; on a CPU they run side by side, each on a device of its own.
        warmup, draws: transitions per chain; rounded up to whole chunks.
        tree_depth: a path is not doubled more often than this.
        acceptance: mean acceptance probability that warm-up sets the step size for.
    """

    name = "nuts"
    description = "draws from the full posterior by Hamiltonian Monte Carlo (NUTS)"
    exact = True
    options = ("chains", "warmup", "draws")
    short = MappingProxyType(
        {"chains": 2, "warmup": 50, "draws": 200, "tree_depth": 4, "acceptance": 0.7}
    )
    unchecked = ""

    chains: int = 4
    warmup: int = 250
    draws: int = 500
    tree_depth: int = 10
    acceptance: float = 0.8

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
        report(
            f"NUTS: {self.chains} chains, {self.warmup} warm-up steps and {self.draws} draws each"
        )
        return Sampler(problem.posterior, start, self, seed).draw(checkpoints, report)

    def finished(self, checkpoints: Checkpoints) -> np.ndarray | None:
        """See :meth:`.method.Method.finished`."""
        return checkpoints.joined().get("z")

    def warm(self) -> Self:
        """See :meth:`.method.Method.warm`."""
        return dataclasses.replace(self, warmup=min(self.warmup, WARM_WARMUP))

    def repeated(self, problem: Problem, seed: int) -> Repeated:
        """See :meth:`.method.Method.repeated`."""
        size = len(problem.names)
        somewhere = Normal(np.zeros(size), np.eye(size))
        sampler = Sampler(problem.posterior, somewhere, self, seed, problem.errors.value)

        def draws(start: Normal, value: Array, seed: int) -> Draws:
            sampler.restart(start, seed, value)
            return sampler.draw(Checkpoints(None), lambda line: None)

        return draws

    def checks(self, tree: xr.DataTree) -> list[Row]:
        """See :meth:`.method.Method.checks`."""
        return sampler_checks(tree, self.quick)

    def told(self) -> dict[str, str]:
        """See :meth:`.method.Method.told`."""
        return super().told() | {
            "warm-up": f"{self.warmup} steps a chain",
            "longest path": f"2^{self.tree_depth} - 1 steps",
        }


class Sampler:
    """NUTS chains.

    Args:
        density: what to sample.
        start: Laplace approximation; its factor whitens the parameters, draws of it start
            the chains.
        method: the settings.
        seed: same seed, same draws.
        value: measured values in the place of the table's own.

    Raises:
        RuntimeError: fewer CPU devices than chains, so that they could not run side by side.
    """

    def __init__(
        self,
        density: Density,
        start: Normal,
        method: NUTS,
        seed: int,
        value: Array | None = None,
    ) -> None:
        self._density = density
        self.method = method
        self.warmup = -(-method.warmup // CHUNK) * CHUNK
        self.draws = -(-method.draws // CHUNK) * CHUNK
        self._target = StandardPosterior(density, start, value)
        self._seed = seed
        self._begin = side_by_side(self._start, method.chains, 2)
        self._step = side_by_side(self._chunk, method.chains, 1)

    def restart(
        self,
        start: Normal,
        seed: int,
        value: Array | None = None,
        density: Density | None = None,
    ) -> None:
        """Sample other data, another density or from another start, with the same program.

        A density has to have arrays of the same shapes as the one before.
        """
        self._density = density or self._density
        self._target = StandardPosterior(self._density, start, value)
        self._seed = seed

    def _kernel(self, target: StandardPosterior) -> infer.NUTS:
        def potential(u: Array) -> Array:
            return -target(u)

        return infer.NUTS(
            potential_fn=potential,
            step_size=FIRST_STEP,
            target_accept_prob=self.method.acceptance,
            max_tree_depth=self.method.tree_depth,
            adapt_mass_matrix=self.warmup >= LONG_WARMUP,
        )

    def _start(self, key: Array, u: Array, target: StandardPosterior) -> Any:
        return self._start_with(self._kernel(target), key, u)

    def _start_with(self, kernel: infer.NUTS, key: Array, u: Array) -> Any:
        return kernel.init(key, self.warmup, init_params=u, model_args=(), model_kwargs={})

    def _chunk(self, state: Any, target: StandardPosterior) -> tuple[Any, dict[str, Array]]:
        kernel = self._kernel(target)
        # A kernel learns its warm-up schedule when it starts; the state made here is thrown away.
        jax.eval_shape(lambda: self._start_with(kernel, jax.random.PRNGKey(0), target.mean))

        def transition(state: Any, _: None) -> tuple[Any, dict[str, Array]]:
            state = kernel.sample(state, (), {})
            kept = {name: getattr(state, name) for name in FIELDS}
            return state, kept | {"z": target.unbounded(state.z)}

        return jax.lax.scan(transition, state, None, length=CHUNK)

    def run(self, checkpoints: Checkpoints, report: Say) -> dict[str, np.ndarray]:
        """Sample to the end, with a checkpoint after every chunk.

        Args:
            checkpoints: keep what is done.
            report: called with a progress line after every chunk.

        Returns:
            Arrays with leading axes chain and draw: ``z`` (unbounded parameters), ``diverging``,
            ``num_steps``, ``accept_prob``, ``energy``, ``potential_energy``.
        """
        keys = jax.random.split(jax.random.PRNGKey(self._seed), self.method.chains)
        size = (self.method.chains, self._target.size)
        spread = np.random.default_rng(self._seed).standard_normal(size)
        state = checkpoints.state(self._started(keys, spread))
        while (done := checkpoints.done * CHUNK) < self.warmup + self.draws:
            state, new = self._step(state, self._target)
            new = {name: np.asarray(value) for name, value in new.items()}
            checkpoints.append(new if done >= self.warmup else {}, state)
            report(self._progress(done + CHUNK, new))
        return checkpoints.joined()

    def _started(self, keys: Array, spread: np.ndarray) -> Any:
        """States of chains at draws of the start, nearer to its mean where they would be lost.

        In many parameters a normal that is too wide in a few directions has most of its draws
        where the density is lower by thousands, and steps that suit that place lead nowhere.
        """
        state = self._begin(keys, jnp.asarray(spread), self._target)
        for _ in range(HALVINGS):
            nearer = self._begin(keys, jnp.asarray(0.5 * spread), self._target)
            here, there = (np.asarray(of.potential_energy) for of in (state, nearer))
            lost = ~(here - there <= LOST * self._target.size)
            if not lost.any():
                break
            spread = np.where(lost[:, None], 0.5 * spread, spread)
            state = self._begin(keys, jnp.asarray(spread), self._target)
        return state

    def draw(self, checkpoints: Checkpoints, report: Say) -> Draws:
        """As :meth:`run`, as every method returns it."""
        kept = self.run(checkpoints, report)
        statistics = {
            "diverging": kept["diverging"],
            "n_steps": kept["num_steps"],
            "tree_depth": np.ceil(np.log2(kept["num_steps"] + 1)).astype(int),
            "acceptance_rate": kept["accept_prob"],
            "energy": kept["energy"],
            "lp": -kept["potential_energy"],
        }
        warm = self.warmup / self.draws  # warm-up costs about as much as sampling
        cost = float(kept["num_steps"].sum()) * (1 + warm)
        return Draws(kept["z"], statistics, gradients=cost)

    def _progress(self, done: int, new: dict[str, np.ndarray]) -> str:
        phase = "warm-up " if done <= self.warmup else "sampling"
        count, of = (done, self.warmup) if done <= self.warmup else (done - self.warmup, self.draws)
        return (
            f"  {phase} {count:5d} of {of}, {new['num_steps'].mean():5.1f} gradients a draw, "
            f"acceptance {new['accept_prob'].mean():.2f}, {int(new['diverging'].sum())} divergences"
        )
