"""Polynomials of several variables, and their fit to points by least squares."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int


def products(variables: int, degree: int, most: int) -> Int[np.ndarray, "term degree"]:
    """The terms of a polynomial: all products of so many factors.

    Args:
        variables: number of variables.
        degree: largest number of factors of a term.
        most: largest number of different variables in a term.

    Returns:
        The factors of each term as places of variables; ``variables`` stands for the constant 1.
        The first term is the constant.
    """
    chosen = [
        (*factors, *[variables] * (degree - count))
        for count in range(degree + 1)
        for factors in itertools.combinations_with_replacement(range(variables), count)
        if len(set(factors)) <= most
    ]
    return np.array(chosen, dtype=int).reshape(len(chosen), degree)


def terms(
    z: Float[Array, "*point variable"], factors: Int[ArrayLike, "term degree"]
) -> Float[Array, "*point term"]:
    """Values of the terms at points."""
    padded = jnp.concatenate([z, jnp.ones_like(z[..., :1])], axis=-1)
    return jnp.prod(padded[..., jnp.asarray(factors)], axis=-1)


def values(
    z: Float[np.ndarray, "*point variable"], factors: Int[np.ndarray, "term degree"]
) -> Float[np.ndarray, "*point term"]:
    """The same in NumPy, which compiles nothing: for points that a fit is made to."""
    padded = np.concatenate([z, np.ones_like(z[..., :1])], axis=-1)
    found: np.ndarray = np.prod(padded[..., factors], axis=-1)
    return found


def least_squares(
    values: Float[np.ndarray, "point term"],
    targets: Float[np.ndarray, "point target"],
    weight: Float[np.ndarray, " point"],
    ridges: Sequence[float],
) -> Float[np.ndarray, "ridge term target"]:
    """Coefficients of the terms, by weighted least squares.

    Args:
        values: of the terms at points.
        targets: what is to be met there.
        weight: of each point.
        ridges: each is added to the diagonal of the normal equations, times the number of points:
            settles what no point tells. Terms have to be about one in size for it to mean the same
            for all.
    """
    root = np.sqrt(weight)[:, None]
    A, b = root * values, root * targets
    gram, right = A.T @ A, A.T @ b
    more = len(values) * np.eye(len(gram))
    return np.stack([np.linalg.solve(gram + ridge * more, right) for ridge in ridges])
