"""Errors with heavy tails."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array

from calibration.noise.distribution import Noise


@dataclasses.dataclass(frozen=True)
class StudentT(Noise):
    """Student's t: the sd is the scale, and ``dof`` (above 1) says how heavy the tails are."""

    name: ClassVar[str] = "student_t"

    dof: float

    @property
    def words(self) -> str:
        """See :class:`.distribution.Noise`."""
        return f"Student t with {self.dof:g} degrees of freedom"

    @property
    def variance(self) -> float:
        """With the tails cut at dof 3; see :class:`.distribution.Noise`."""
        return 1.0 / (1.0 - 2.0 / max(self.dof, 3.0))

    def log_density(self, standard: Array) -> Array:
        """See :class:`.distribution.Noise`."""
        half, dof = 0.5 * (self.dof + 1), self.dof
        norm = gammaln(half) - gammaln(0.5 * dof) - 0.5 * jnp.log(jnp.pi * dof)
        return norm - half * jnp.log1p(standard**2 / dof)

    def sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See :class:`.distribution.Noise`."""
        normal_key, heavy_key = jax.random.split(key)
        heavy = 2.0 * jax.random.gamma(heavy_key, self.dof / 2, shape) / self.dof
        return jax.random.normal(normal_key, shape) / jnp.sqrt(heavy)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """See :class:`.distribution.Noise`."""
        return rng.standard_t(self.dof, size)
