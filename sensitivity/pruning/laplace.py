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

from diffsoil.cases import Case
from diffsoil.forward import Forward
from diffsoil.io import InputError, nearest
from diffsoil.work.progress import Say
from sensitivity import distributions
from sensitivity.outputs import STOCKS, ages, spaced_years
from sensitivity.pruning.ablation import evaluate, of_case
from sensitivity.pruning.measurements import Measurements

FURTHEST = 6.0
"""Bounds of the search, in standard deviations of the prior."""


ERROR = 0.05
"""Relative error of a synthetic observation."""

YEARS = 6
"""Observations of a stock that is given without a year, equally spaced."""

COLUMNS = ("case", "parameter", "full", "full_sd", "pruned", "pruned_sd", "shift", "spread")


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
def _with_slopes(runs: Forward, x: Array) -> tuple[Array, Array]:
    def values(x: Array) -> tuple[Array, Array]:
        y = runs.values(x)
        return y, y

    slopes, y = jax.jacfwd(values, has_aux=True)(x)
    return y, slopes


def posterior(
    runs: Forward,
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
    runs = dataclasses.replace(runs, keys=tuple((name,) for name in names))
    table = runs.column.parameters()
    found = [distributions.distribution(table[name]) for name in names]

    def at(u: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        x = np.array(
            [
                distribution.quantile(stats.norm.cdf(v))
                for distribution, v in zip(found, u, strict=True)
            ]
        )
        stretch = np.array([of.stretch(v) for of, v in zip(found, x, strict=True)])
        y, slopes = _with_slopes(runs, jnp.asarray(x))
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


def check_free(case: Case, names: Sequence[str]) -> None:
    """Refuse parameters that a case does not have.

    Raises:
        diffsoil.io.InputError: the first of them.
    """
    there = case.column().parameters()
    for name in names:
        if name not in there:
            raise InputError(
                f"--calibrate {name}: {case.name} has no such parameter{nearest(name, there)}"
            )
        distributions.distribution(there[name])


def of_cases(
    full: Sequence[Case],
    pruned: Sequence[Case],
    texts: Sequence[str],
    names: Sequence[str],
    seed: int,
    measurements: Measurements,
    say: Say,
) -> pd.DataFrame:
    """Posteriors with full and with pruned columns, from the same synthetic observations.

    The observations are those of the full column with an error of 5 %. Parameters of a process
    that is gone are left out.

    Args:
        full, pruned: the cases.
        texts: what is observed; a stock without a year at equally spaced ones.
        names: of the parameters; none for an empty table.
        seed: of the errors.
        measurements: keeps what is found.
        say: told what is done.
    """
    tables = [pd.DataFrame(columns=list(COLUMNS))]
    for case, other in zip(full, pruned, strict=True):
        free = [name for name in names if name in other.column().parameters()]
        if not free:
            continue
        say(f"prune: posteriors of {case.name} with the full and the pruned column")

        def both(
            full: Case = case, other: Case = other, free: list[str] = free
        ) -> list[np.ndarray]:
            runs = [of_case(c, _observed(texts, full), (), drawn=False) for c in (full, other)]
            truth = evaluate(runs, (0, np.empty((1, 0))))[0]
            noise = np.random.default_rng(seed).standard_normal(truth.size)
            error = ERROR * np.abs(truth)
            found = compared(*(posterior(r, free, truth + error * noise, error) for r in runs))
            return [found[name].to_numpy(float) for name in COLUMNS[2:]]

        columns = measurements.once(["posterior", other.text, list(texts), free, seed], both)
        values = dict(zip(COLUMNS[2:], columns, strict=True))
        tables.append(pd.DataFrame({"case": case.name, "parameter": free, **values}))
    return pd.concat([t for t in tables if len(t)] or tables, ignore_index=True)


def _observed(texts: Sequence[str], case: Case) -> list[str]:
    years = spaced_years(ages(case, case.sites[0]), YEARS)
    found: dict[str, None] = {}
    for text in texts:
        found |= dict.fromkeys([f"{text}@{y}" for y in years] if text in STOCKS else [text])
    return list(found)
