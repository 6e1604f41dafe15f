"""What the distribution of an error is."""

from __future__ import annotations

import abc
import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Noise(abc.ABC):
    """Distribution of a measured value around the expected one.

    On a scale on which it is symmetric an error is a standard error times its standard
    deviation; that scale is the one of the values unless :meth:`symmetric`, :meth:`measured` and
    :meth:`stretch` say otherwise. Fields are numbers that a case gives.
    """

    name: ClassVar[str]
    """What a case writes as ``distribution``."""
    gaussian: ClassVar[bool] = False
    """Whether standard errors are normal, so that those of a plot may be correlated in time."""
    positive: ClassVar[bool] = False
    """Whether no value at or below 0 can be measured."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """The distribution in words."""

    @property
    @abc.abstractmethod
    def variance(self) -> float:
        """Of a standard error; a finite one for what has none."""

    @abc.abstractmethod
    def log_density(self, standard: Float[Array, "..."]) -> Float[Array, "..."]:
        """Logarithm of the density of standard errors."""

    @abc.abstractmethod
    def sample(self, key: Array, shape: tuple[int, ...]) -> Array:
        """Standard errors, inside compiled programs."""

    def draw(self, rng: np.random.Generator, size: int) -> Float[np.ndarray, " draw"]:
        """Standard errors, from a generator of NumPy."""
        return np.asarray(self.sample(jax.random.key(int(rng.integers(2**31))), (size,)))

    def symmetric(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Values on the scale on which errors are symmetric."""
        return value

    def measured(self, symmetric: Float[Array, "..."]) -> Float[Array, "..."]:
        """Values from that scale; the inverse of :meth:`symmetric`."""
        return symmetric

    def stretch(self, value: Float[Array, "..."]) -> Float[Array, "..."]:
        """Slope of :meth:`measured` there: an sd of values is that on the scale times this."""
        return jnp.ones_like(value)
