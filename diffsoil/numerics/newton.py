"""Roots of functions of several unknowns, by Newton's method."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

MOST_STEPS = 30
"""Steps of Newton's method; a linear function takes two."""

SMALLEST_STEP = 1e-11
"""Largest change of an unknown at which the root is found."""

type Residual = Callable[[Float[Array, " unknown"]], Float[Array, " unknown"]]


def root(function: Residual, guess: Float[Array, " unknown"]) -> Float[Array, " unknown"]:
    """A root of a function, with the derivative of the implicit function, in both modes.

    Args:
        function: what has to vanish, of unknowns that are about 1; what it closes over is
            differentiated.
        guess: where the search begins.

    Returns:
        The unknowns; NaN where a step is singular.
    """
    found: Array = lax.custom_root(function, guess, _newton, _solve_linear)
    return found


def _solve_linear(function: Residual, value: Float[Array, " unknown"]) -> Float[Array, " unknown"]:
    """Where a linear function has a value."""
    return jnp.linalg.solve(jax.jacfwd(function)(jnp.zeros_like(value)), value)


def _newton(function: Residual, guess: Float[Array, " unknown"]) -> Float[Array, " unknown"]:
    """A root of a function, from a guess; NaN where a step is singular."""

    def unfinished(now: tuple[Array, Array, Array]) -> Array:
        _, size, steps = now
        return (size > SMALLEST_STEP) & (steps < MOST_STEPS)

    def another(now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        found, _, steps = now
        step = jnp.linalg.solve(jax.jacfwd(function)(found), function(found))
        return found - step, jnp.max(jnp.abs(step)), steps + 1

    start = (guess, jnp.asarray(jnp.inf), jnp.asarray(0))
    return lax.while_loop(unfinished, another, start)[0]
