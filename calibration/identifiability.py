"""What the observations can tell, from the Fisher information at one set of parameters.

In coordinates whose prior has unit width the eigenvalues of ``J' S^-1 J`` say how much more the
observations know along a direction than the prior did: l measurements' worth of the prior. A
direction of eigenvalue l keeps 1 / (1 + l) of its prior variance.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Float

from calibration.likelihood import ERROR, MEMORY
from calibration.prediction import predict_draws
from calibration.priors import Transform
from calibration.problem import Problem

PRIOR_DRAWS = 2000
SHOWN = 0.25
"""Loadings from this size on are named."""

STEP = 1e-3
"""Of the differences, in sd of the prior."""

# compiled whole: as single operations each of them would be compiled
_inverse = jax.jit(jax.vmap(lambda x, of: of.inverse(x), (0, None)))
_forward = jax.jit(jax.vmap(lambda z, of: of.forward(z), (0, None)))
_spread = jax.jit(lambda x, expected, of: of.spread(x, expected))


def spectrum(problem: Problem, x: Float[np.ndarray, " parameter"]) -> pd.DataFrame:
    """Directions that the observations tell, best known first.

    Slopes are central differences: whoever asks has predicted draws, with a program that is
    compiled, and compiling one for derivatives takes longer than all of its runs.

    Args:
        problem: what was fitted.
        x: bounded parameter values, such as posterior means.

    Returns:
        Columns ``eigenvalue``, ``contraction`` (l / (1 + l)), ``combination`` (the parameters
        that make up most of the direction, with their loadings) and one column of loadings for
        each parameter. Parameters of the errors are taken as known.
    """
    transform = Transform(problem.parameters)
    prior = problem.priors.sample(jax.random.key(0), PRIOR_DRAWS)
    inside = np.concatenate([np.asarray(prior), np.asarray(x)[None]])
    *unbounded, at = np.asarray(_inverse(inside, transform))
    wide = np.std(unbounded, axis=0)
    moving = [i for i, n in enumerate(problem.names) if not n.startswith((ERROR, MEMORY))]
    away = STEP * np.eye(len(at))[moving] * wide
    points = _forward(np.concatenate([at + away, at - away]), transform)
    runs = np.concatenate([np.asarray(points), np.asarray(x)[None]])
    expected = np.asarray(predict_draws(problem, runs, lambda line: None).expected)
    more, less = np.split(expected[:-1], 2)
    middle = jnp.asarray(expected[-1])
    jacobian = (more - less) / (2 * STEP)
    fitted = problem.table["fitted"].to_numpy()
    spread = _spread(jnp.asarray(x), middle, problem.likelihood)
    size = np.asarray(problem.errors.stretch(middle))
    slope = (jacobian / size)[:, fitted]
    noise = problem.errors.covariance(middle, spread)[np.ix_(fitted, fitted)]
    values, vectors = np.linalg.eigh(slope @ np.linalg.solve(noise, slope.T))
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    names = [problem.names[i] for i in moving]
    loadings = pd.DataFrame(vectors.T, columns=names)
    head = pd.DataFrame(
        {
            "eigenvalue": values,
            "contraction": values / (1.0 + values),
            "combination": [combination(row, names) for row in vectors.T],
        }
    )
    return pd.concat([head, loadings], axis=1)


def combination(loadings: Float[np.ndarray, " parameter"], names: list[str]) -> str:
    """A direction in words; its largest loading is positive."""
    sign = np.sign(loadings[np.argmax(np.abs(loadings))]) or 1.0
    order = np.argsort(-np.abs(loadings))
    chosen = [i for i in order if abs(loadings[i]) >= SHOWN] or [int(order[0])]
    return " ".join(f"{sign * loadings[i]:+.2f} {names[i]}" for i in chosen[:5])
