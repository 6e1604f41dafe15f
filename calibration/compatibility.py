"""Whether a fit still says what it said: the model it was made with against this one.

A number of a version tells too little: most releases do not touch what a fit depends on, and a
clone can change without one. So one stored draw is predicted again and compared with what the fit
has stored for it.
"""

from __future__ import annotations

from importlib import metadata

import numpy as np
import pandas as pd
from jaxtyping import Float

from calibration import prediction, saved_fit
from calibration.problem import Problem
from diffsoil.io import InputError

TOLERANCE = 1e-6
"""Largest difference of a prediction, relative to it or to 1, that is still the same model."""


def stored_draw(fit: saved_fit.Fit) -> tuple[Float[np.ndarray, " parameter"], np.ndarray]:
    """The first draw of a fit, and what is in the soil at each of its observations for it."""
    latent = fit.tree["posterior_predictive"]["latent"]
    return fit.draws[0], np.asarray(latent.isel(chain=0, draw=0).to_numpy(), float)


def refuse_difference(
    fit: saved_fit.Fit,
    table: pd.DataFrame,
    again: Float[np.ndarray, " obs"],
    new_drivers: bool = False,
) -> None:
    """Refuse a fit whose first draw no longer predicts what the fit has stored for it.

    Args:
        fit: the fit.
        table: its observations, in the order of the fit.
        again: what :func:`stored_draw` predicts now.
        new_drivers: whether it was predicted with weather and management of another case.

    Raises:
        InputError: the fit was made with another model, or another past.
    """
    _, stored = stored_draw(fit)
    if stored.shape != again.shape:
        raise InputError(
            f"{fit.folder / 'posterior.nc'}: posterior_predictive: {stored.size} observations, the "
            f"case has {again.size}"
        )
    apart = np.abs(again - stored) / np.maximum(np.abs(stored), 1.0)
    apart = np.where(np.isnan(again) & np.isnan(stored), 0.0, np.nan_to_num(apart, nan=np.inf))
    worst = int(np.argmax(apart))
    if apart[worst] <= TOLERANCE:
        return
    row = table.iloc[worst]
    differs = (
        f"its first draw predicts {again[worst]:.6g} for {row['variable']} of "
        f"{row['treatment'] or row['site']} in {row['year']}, {stored[worst]:.6g} is stored"
    )
    if new_drivers and fit.written_with == metadata.version("diffsoil"):
        raise InputError(f"--drivers: another past than that of {fit.file}: {differs}")
    raise InputError(
        f"{fit.file}: version: made with diffsoil {fit.written_with}, this is "
        f"{metadata.version('diffsoil')}, and another model: {differs}; calibrate anew"
    )


def check_same_model(fit: saved_fit.Fit) -> None:
    """Predict one stored draw again and compare, if another version of the program made the fit.

    Raises:
        InputError: as :func:`refuse_difference`.
    """
    if fit.written_with == metadata.version("diffsoil"):
        return
    case = fit.case()
    problem = Problem(case, fit.column(case))
    draw, _ = stored_draw(fit)
    x = in_order(fit.names, draw[None], problem.names, fit)
    found = prediction.predict_draws(problem, x, lambda line: None)
    refuse_difference(fit, problem.table, np.asarray(found.latent[0]))


def in_order(
    names: list[str], draws: np.ndarray, wanted: tuple[str, ...], fit: saved_fit.Fit
) -> np.ndarray:
    """Draws with their columns in the order that a problem wants.

    Raises:
        InputError: a parameter is not in the fit.
    """
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InputError(
            f"{fit.folder / 'posterior.nc'}: no draws of {missing[0]!r}, which the case of the fit "
            f"frees; it has {', '.join(names)}"
        )
    return draws[:, [names.index(name) for name in wanted]]
