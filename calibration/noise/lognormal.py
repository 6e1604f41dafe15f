"""Log-normal errors."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from calibration.noise.normal import Normal

SMALLEST = 1e-9
"""Value below which logarithms are cut."""


@dataclasses.dataclass(frozen=True)
class Lognormal(Normal):
    """The logarithm is normal, with sd / expected value as its standard deviation.

    The expected value is the median.
    """

    name: ClassVar[str] = "lognormal"
    positive: ClassVar[bool] = True

    @property
    def words(self) -> str:
        """See :class:`.distribution.Noise`."""
        return "log-normal"

    def symmetric(self, value: Array) -> Array:
        """The logarithm."""
        return jnp.log(self.stretch(value))

    def measured(self, symmetric: Array) -> Array:
        """From the logarithm."""
        return jnp.exp(symmetric)

    def stretch(self, value: Array) -> Array:
        """The value."""
        return jnp.maximum(value, SMALLEST)
