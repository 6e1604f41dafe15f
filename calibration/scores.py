"""Scores of predictions against what was measured: one definition for every table and script."""

from __future__ import annotations

import numpy as np
import pandas as pd

from diffsoil.cases import Case
from diffsoil.cases.schema import Indicator
from diffsoil.io import Faults, nearest

SELECTED = ("variable", "site", "treatment", "series")
"""Columns of observations by which an indicator selects."""


def score(rows: pd.DataFrame, predicted: str = "mean") -> dict[str, float]:
    """The scores of some observations, by the names that success indicators have for them.

    RMSE and bias are in the unit of the variable or percentages of the mean of the measurements,
    of predicted less measured; a coverage is the share of measurements, 0 to 1, that lie within
    the predictive interval.

    Args:
        rows: observations with ``value`` and their predictive distribution: ``mean``, and
            ``q05``, ``q25``, ``q75``, ``q95`` with ``sd``. Where a row has no spread, coverages
            are NaN.
        predicted: column that is compared: the mean, or ``q50``, the median.
    """
    value = rows["value"].to_numpy(float)
    off = rows[predicted].to_numpy(float) - value
    rmse, bias = float(np.sqrt(np.mean(off**2))), float(off.mean())
    spread = "sd" in rows and bool((rows["sd"] > 0).all())

    def inside(low: str, high: str) -> float:
        if not spread:
            return float("nan")
        return float(((rows[low] <= value) & (value <= rows[high])).mean())

    return {
        "rmse": rmse,
        "rmse_percent": 100.0 * rmse / float(value.mean()),
        "bias": bias,
        "bias_percent": 100.0 * bias / float(value.mean()),
        "coverage_50": inside("q25", "q75"),
        "coverage_90": inside("q05", "q95"),
    }


def selected(of: Indicator, table: pd.DataFrame) -> pd.DataFrame:
    """The observations that an indicator speaks of."""
    for key in SELECTED:
        if (wanted := getattr(of, key)) is not None:
            table = table[table[key].astype(str) == wanted]
    return table


def refuse_meaningless(case: Case, table: pd.DataFrame) -> None:
    """Refuse indicators that no prediction of these observations could be judged by.

    Args:
        case: with indicators.
        table: its observations.

    Raises:
        diffsoil.io.InputError: names indicator, key and value.
    """
    faults = Faults()
    for name, of in case.file.success.items():
        where = f"{case.path}: success.{name}"
        for key in SELECTED:
            wanted, known = getattr(of, key), sorted(set(table[key].astype(str)))
            if wanted is not None and wanted not in known:
                near = nearest(wanted, known)
                faults.add(f"{where}.{key}: no observation is of {wanted!r}{near}")
        variables = selected(of, table)["variable"].unique()
        if len(variables) > 1 and not of.score.startswith("coverage"):
            faults.add(
                f"{where}: {of.score} of {' and '.join(sorted(variables))} together means "
                "nothing; give a variable"
            )
    faults.refuse()
