"""Normal errors."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Array

from calibration.noise.distribution import Noise

LOG_2PI = float(np.log(2 * np.pi))


@dataclasses.dataclass(frozen=True)
class Normal(Noise):
    """The measured value is normal around the expected one."""

    name: ClassVar[str] = "normal"
    gaussian: ClassVar[bool] = True

    @property
    def words(self) -> str:
        """See :class:`.distribution.Noise`."""
        return "normal"

    @property
    def variance(self) -> float:
        """See :class:`.distribution.Noise`."""
        return 1.0

    def log_density(self, standard: Array) -> Array:
        """See :class:`.distribution.Noise`."""
        return -0.5 * standard**2 - 0.5 * LOG_2PI

    def sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        """See :class:`.distribution.Noise`."""
        return jax.random.normal(jax.random.split(key)[0], shape)

    def draw(self, rng: np.random.Generator, size: int) -> np.ndarray:
        """See :class:`.distribution.Noise`."""
        return rng.standard_normal(size)
