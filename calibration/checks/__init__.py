"""Checks of a fit, each with a threshold and what it means in plain words.

``sampling`` looks at the chains, ``predictive`` at the observations, ``parameters`` at what the
posterior says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import xarray as xr

from calibration.checks.parameters import (
    LITTLE_LEARNED,
    MASS_AT_BOUND,
    SENSITIVE,
    STRONG_CORRELATION,
    bounds,
    correlations,
    entangled,
    identified,
    learned,
    learnt,
    mass_at_bounds,
    power,
    power_scaling,
    spreads,
    summary,
    unlearned,
    wider,
)
from calibration.checks.predictive import (
    CHANCE,
    COVERAGE,
    PARETO_K,
    coverages,
    has_spread,
    influence,
    inside,
    kept_out,
    least_coverage,
    leave_one_out,
    one_sided,
    residuals,
    standardised,
)
from calibration.checks.rows import (
    COLUMNS,
    ENOUGH_DRAWS,
    QUANTILES,
    draws_of,
    listed,
)
from calibration.checks.sampling import (
    BFMI,
    DEEPEST_TREE,
    EVIDENCE_SPREAD,
    accuracy,
    effective_row,
    evidence_row,
    importance_row,
    summits_row,
)
from calibration.methods.method import Method, Row
from diffsoil.parameters import Parameter
from diffsoil.tables import read_written

__all__ = [
    "BFMI",
    "CHANCE",
    "COLUMNS",
    "COVERAGE",
    "DEEPEST_TREE",
    "ENOUGH_DRAWS",
    "EVIDENCE_SPREAD",
    "LITTLE_LEARNED",
    "MASS_AT_BOUND",
    "PARETO_K",
    "QUANTILES",
    "SENSITIVE",
    "STRONG_CORRELATION",
    "Row",
    "accuracy",
    "checks",
    "correlations",
    "draws_of",
    "effective_row",
    "evidence_row",
    "has_spread",
    "identified",
    "importance_row",
    "inside",
    "kept_out",
    "learnt",
    "least_coverage",
    "leave_one_out",
    "listed",
    "mass_at_bounds",
    "one_sided",
    "power_scaling",
    "read",
    "spreads",
    "standardised",
    "summary",
    "summits_row",
    "unlearned",
    "wider",
]


def checks(
    tree: xr.DataTree,
    parameters: list[Parameter],
    table: pd.DataFrame,
    method: Method,
    described: pd.DataFrame | None = None,
    more: Sequence[Row] = (),
) -> pd.DataFrame:
    """All checks of a fit, parameters at bounds first.

    Args:
        tree: as :func:`calibration.results.write` leaves it.
        parameters: the free parameters.
        table: observations with their predictive distribution.
        method: which has checks of its own.
        described: from :func:`summary`, if there already.
        more: further checks, put after the bounds.

    Returns:
        Columns ``check, value, threshold, passed, meaning``. A value of NaN means that nothing
        could be checked, and ``meaning`` says why.
    """
    described = summary(tree, parameters) if described is None else described
    rows: list[Row] = [bounds(tree, parameters), *more, *method.checks(tree)]
    rows.append(influence(tree, table, method))
    rows += coverages(table)
    rows += residuals(table)
    rows += [learned(described), *power(tree), *spreads(tree, parameters, described)]
    rows.append(entangled(tree))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"passed": bool})


def read(folder: Path) -> pd.DataFrame:
    """The checks of a finished fit."""
    table = read_written(folder / "checks.csv", COLUMNS)
    table["passed"] = table["passed"].astype(str).str.lower() == "true"
    return table
