"""Success indicators: what a case says, before anything is fitted, that predictions have to reach.

    [success."withheld plots"]
    score = "rmse_percent"
    at_most = 10

A fit judges them among its checks, a prediction by them alone.
"""

from __future__ import annotations

import pandas as pd

from calibration.checks.predictive import kept_out
from calibration.checks.rows import COLUMNS, check, unchecked
from calibration.methods.method import Row
from calibration.quantities import QUANTITIES
from calibration.scores import score, selected
from diffsoil.cases import Case
from diffsoil.cases.schema import Indicator


def rows(case: Case, table: pd.DataFrame) -> list[Row]:
    """A check for each indicator of a case.

    Args:
        case: with indicators.
        table: observations with their predictive distribution.
    """
    return [_row(name, of, table) for name, of in case.file.success.items()]


def judged(case: Case, table: pd.DataFrame) -> pd.DataFrame:
    """The same as a table, with the columns of ``checks.csv``."""
    return pd.DataFrame(rows(case, table), columns=COLUMNS).astype({"passed": bool})


def _row(name: str, of: Indicator, table: pd.DataFrame) -> Row:
    seen = table["fitted"] if of.of == "fitted" else kept_out(table)
    own = selected(of, table[seen])
    low, high = of.at_least, of.at_most
    # a row of checks has one threshold: the one that is nearer to failing
    if own.empty:
        what = "were fitted" if of.of == "fitted" else "were kept out"
        return unchecked(f"success, {name}", _first(low, high), f"no such observations {what}")
    value = score(own)[of.score]
    if value != value:
        return unchecked(f"success, {name}", _first(low, high), "the predictions have no spread")
    failed = [b for b, bad in ((low, low is not None and value < low),
                               (high, high is not None and value > high)) if bad]  # fmt: skip
    unit = QUANTITIES[own["variable"].iloc[0]].unit if of.score in ("rmse", "bias") else ""
    bounds = [f"at least {low:g}"] if low is not None else []
    bounds += [f"at most {high:g}"] if high is not None else []
    meaning = (
        f"{of.score} of {len(own)} measurements that were {of.of.replace('_', ' ')}: {value:.3g}"
        f"{' ' + unit if unit else ''}; the case asks for {' and '.join(bounds)}."
    )
    return check(f"success, {name}", value, _first(*failed, low, high), not failed, meaning)


def _first(*bounds: float | None) -> float:
    """The first bound that there is."""
    return next(bound for bound in bounds if bound is not None)
