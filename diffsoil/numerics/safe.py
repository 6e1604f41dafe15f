"""Functions that are finite in value and in gradient where the textbook form is not."""

from __future__ import annotations

import jax.numpy as jnp
from jax.nn import logsumexp  # jax.scipy.special loads more
from jaxtyping import Array, Float

TINY = 1e-100
"""No amount of anything; the derivative of a quotient squares the denominator and would
underflow below 1e-154."""


def divide(
    numerator: Float[Array, "..."], denominator: Float[Array, "..."], otherwise: float = 0.0
) -> Float[Array, "..."]:
    """``numerator / denominator``, and ``otherwise`` where the denominator is as good as zero."""
    safe = jnp.abs(denominator) > TINY
    return jnp.where(safe, numerator / jnp.where(safe, denominator, 1.0), otherwise)


def root(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Square root of what is not negative; its derivative at zero is that of zero."""
    there = x > TINY
    return jnp.where(there, jnp.sqrt(jnp.where(there, x, 1.0)), 0.0)


def minimum_hard(x: Float[Array, "n ..."]) -> Float[Array, "..."]:
    """Smallest value along the first axis."""
    return jnp.min(x, axis=0)


def minimum_soft(x: Float[Array, "n ..."], width: float) -> Float[Array, "..."]:
    """Smooth minimum along the first axis, never above the hard one.

    Lies below the hard minimum by at most ``width * log(n)``, reached when all are equal.
    """
    return -width * logsumexp(-x / width, axis=0)
