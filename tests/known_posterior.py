"""A posterior whose moments and evidence are known: a linear model with normal errors."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from calibration.methods.mode import Normal

SIZE, ROWS, SD = 3, 8, 0.5


class Known:
    """Data = A z + error, z standard normal; what simulation-based calibration needs with it.

    Args:
        seed: of the matrix and the data.
        claimed: sd of the errors that the posterior believes in, as a factor on the true one.
    """

    names = ("first", "second", "third")

    def __init__(self, seed: int = 0, claimed: float = 1.0) -> None:
        self.claimed = claimed
        rng = np.random.default_rng(seed)
        self.matrix = rng.normal(size=(ROWS, SIZE))
        self.data = self.matrix @ rng.normal(size=SIZE) + SD * rng.normal(size=ROWS)
        self.plan = {"matrix": jnp.asarray(self.matrix)}
        self.errors = SimpleNamespace(value=jnp.asarray(self.data))
        self.coordinates = SimpleNamespace(bounded=lambda z: z, unbounded=lambda x: x)
        self.priors = SimpleNamespace(
            sample=lambda key, draws: jax.random.normal(key, (draws, SIZE))
        )

    def log_posterior(self, z: Array, plan: dict, value: Array | None = None) -> Array:
        data = jnp.asarray(self.data) if value is None else value
        sd = SD * self.claimed
        residual = (data - plan["matrix"] @ z) / sd
        likelihood = -0.5 * jnp.sum(residual**2) - ROWS * np.log(sd * np.sqrt(2 * np.pi))
        prior = -0.5 * jnp.sum(z**2) - 0.5 * SIZE * np.log(2 * np.pi)
        return likelihood + prior

    def simulate_values(self, key: Array, x: Array, plan: dict) -> Array:
        return plan["matrix"] @ x + SD * jax.random.normal(key, (ROWS,))

    @functools.cached_property
    def _compiled(self):
        return jax.jit(
            jax.value_and_grad(lambda z, plan, value: -self.log_posterior(z, plan, value))
        )

    def value_and_gradient(self, value: Array | None = None):
        measured = self.errors.value if value is None else value
        return lambda z: self._compiled(z, self.plan, measured)

    @property
    def covariance(self) -> np.ndarray:
        return np.linalg.inv(self.matrix.T @ self.matrix / SD**2 + np.eye(SIZE))

    @property
    def mean(self) -> np.ndarray:
        return self.covariance @ self.matrix.T @ self.data / SD**2

    @property
    def log_evidence(self) -> float:
        total = self.matrix @ self.matrix.T + SD**2 * np.eye(ROWS)
        _, log = np.linalg.slogdet(2 * np.pi * total)
        return float(-0.5 * log - 0.5 * self.data @ np.linalg.solve(total, self.data))

    @property
    def start(self) -> Normal:
        """A normal approximation that is somewhat off."""
        return Normal(self.mean + 0.05, 1.3 * self.covariance)
