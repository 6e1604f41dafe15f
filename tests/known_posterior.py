"""A posterior whose moments and evidence are known: a linear model with normal errors."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from calibration.methods.mode import Normal

SIZE, ROWS, SD = 3, 8, 0.5


class Linear(eqx.Module):
    """Density of a standard normal z, given data = A z + error of an sd that is believed."""

    matrix: Array
    data: Array
    sd: float = eqx.field(static=True)

    def __call__(self, z: Array, value: Array | None = None) -> Array:
        data = self.data if value is None else value
        residual = (data - self.matrix @ z) / self.sd
        likelihood = -0.5 * jnp.sum(residual**2) - ROWS * np.log(self.sd * np.sqrt(2 * np.pi))
        prior = -0.5 * jnp.sum(z**2) - 0.5 * SIZE * np.log(2 * np.pi)
        return likelihood + prior

    def draw(self, key: Array, x: Array) -> Array:
        return self.matrix @ x + SD * jax.random.normal(key, (ROWS,))


class Known:
    """A problem with such a posterior, as far as simulation-based calibration needs one.

    Args:
        seed: of the matrix and the data.
        claimed: sd of the errors that the posterior believes in, as a factor on the true one.
    """

    names = ("first", "second", "third")

    def __init__(self, seed: int = 0, claimed: float = 1.0) -> None:
        rng = np.random.default_rng(seed)
        self.matrix = rng.normal(size=(ROWS, SIZE))
        self.data = self.matrix @ rng.normal(size=SIZE) + SD * rng.normal(size=ROWS)
        self.posterior = Linear(jnp.asarray(self.matrix), jnp.asarray(self.data), SD * claimed)
        self.likelihood = self.posterior
        self.errors = SimpleNamespace(value=jnp.asarray(self.data))
        self.reparameterization = SimpleNamespace(bounded=lambda z: z, unbounded=lambda x: x)
        self.priors = SimpleNamespace(
            sample=lambda key, draws: jax.random.normal(key, (draws, SIZE))
        )

    def bounded(self, z: np.ndarray) -> np.ndarray:
        return z

    def unbounded(self, x: np.ndarray) -> np.ndarray:
        return x

    @functools.cached_property
    def _compiled(self):
        return jax.jit(jax.value_and_grad(lambda z, density, value: -density(z, value)))

    def value_and_gradient(self, value: Array | None = None):
        measured = self.errors.value if value is None else value
        return lambda z: self._compiled(z, self.posterior, measured)

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
