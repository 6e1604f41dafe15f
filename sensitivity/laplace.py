"""What observations say about a few parameters, with one column and with a pruned one.

A normal approximation of the posterior around its mode (Laplace), by Gauss and Newton from exact
derivatives. Each parameter is searched in the coordinate in which its prior is standard normal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from scipy import stats
from scipy.optimize import least_squares

from sensitivity import laws
from sensitivity.worth import Runs

FURTHEST = 6.0
"""Bounds of the search, in standard deviations of the prior."""


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """A normal posterior of some parameters.

    Attributes:
        names: of the parameters.
        mode: in the coordinates of the priors, [parameter].
        covariance: in these coordinates, [parameter, parameter].
        estimate: the parameters at the mode.
        sd: of the parameters, to first order.
        misfit: chi-square of the observations at the mode.
    """

    names: tuple[str, ...]
    mode: Float[np.ndarray, " parameter"]
    covariance: Float[np.ndarray, "parameter parameter"]
    estimate: Float[np.ndarray, " parameter"]
    sd: Float[np.ndarray, " parameter"]
    misfit: float


@eqx.filter_jit
def _with_slopes(runs: Runs, x: Array, s: Array) -> tuple[Array, Array]:
    def values(x: Array) -> tuple[Array, Array]:
        y = runs.values(x, s)
        return y, y

    slopes, y = jax.jacfwd(values, has_aux=True)(x)
    return y, slopes


def posterior(
    runs: Runs,
    names: Sequence[str],
    observed: Float[np.ndarray, " value"],
    sd: Float[np.ndarray, " value"],
) -> Posterior:
    """Posterior of some parameters given values of the targets; the others stay as they are.

    Args:
        runs: of a case.
        names: of the parameters.
        observed: values of all targets.
        sd: their errors, > 0.
    """
    runs = dataclasses.replace(runs, parameters=tuple(names))
    table = runs.column.parameters()
    found = [laws.law(table[name]) for name in names]
    strengths = jnp.ones(len(runs.switches))

    def at(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        x = np.array([law.quantile(stats.norm.cdf(v)) for law, v in zip(found, u, strict=True)])
        density = np.array([law.density(v) for law, v in zip(found, x, strict=True)])
        stretch = stats.norm.pdf(u) / density
        y, slopes = _with_slopes(runs, jnp.asarray(x), strengths)
        return np.asarray(y), np.asarray(slopes) * stretch, x, stretch

    def residuals(u: np.ndarray) -> np.ndarray:
        return np.concatenate([(at(u)[0] - observed) / sd, u])

    def jacobian(u: np.ndarray) -> np.ndarray:
        return np.concatenate([at(u)[1] / sd[:, None], np.eye(len(u))])

    start = np.zeros(len(found))
    fit = least_squares(residuals, start, jacobian, bounds=(-FURTHEST, FURTHEST), xtol=1e-6)
    y, _, x, stretch = at(fit.x)
    covariance = np.linalg.inv(fit.jac.T @ fit.jac)
    spread = np.sqrt(np.diag(covariance))
    misfit = float(np.sum(((y - observed) / sd) ** 2))
    return Posterior(tuple(names), fit.x, covariance, x, spread * stretch, misfit)


def compared(full: Posterior, pruned: Posterior) -> pd.DataFrame:
    """Both posteriors, a row for each parameter.

    ``shift`` is the distance of the modes over the standard deviation of the full posterior,
    ``spread`` the ratio of the standard deviations, both in the coordinates of the priors.
    """
    own, other = (np.sqrt(np.diag(p.covariance)) for p in (full, pruned))
    return pd.DataFrame(
        {
            "parameter": full.names,
            "full": full.estimate,
            "full_sd": full.sd,
            "pruned": pruned.estimate,
            "pruned_sd": pruned.sd,
            "shift": (pruned.mode - full.mode) / own,
            "spread": other / own,
        }
    )
