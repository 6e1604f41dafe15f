"""What a check is: a row with a value, its threshold, and what it means in plain words."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from calibration.methods.method import Row

COLUMNS = ["check", "value", "threshold", "passed", "meaning"]

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.50, "q75": 0.75, "q95": 0.95}

ENOUGH_DRAWS = 20
"""Fewer draws than this describe no spread, so nothing that needs one is checked."""


def draws_of(tree: xr.DataTree, group: str = "posterior") -> dict[str, np.ndarray]:
    """Draws of a group by parameter, with axes chain and draw."""
    dataset = tree[group].to_dataset()
    return {str(name): np.asarray(dataset[name].to_numpy(), float) for name in dataset.data_vars}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of ArviZ and of 0/0 off the screen; what is undefined comes out as NaN."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def check(name: str, value: float, threshold: float, passed: bool, meaning: str) -> Row:
    """One check. ``meaning`` says what its value means, and what to do where it failed."""
    cells = (name, float(value), float(threshold), bool(passed), meaning)
    return dict(zip(COLUMNS, cells, strict=True))


def unchecked(name: str, threshold: float, why: str) -> Row:
    """A check that could not be made, and why; it does not count as failed."""
    return check(name, np.nan, threshold, True, f"Not checked: {why}.")


def unit_of(row: pd.Series) -> str:
    """The treatment of an observation, or its site where there are no treatments."""
    return str(row["treatment"] or row["site"])


def listed(names: Iterable[Any], most: int = 6) -> str:
    """Names in one line, the rest counted; apart by semicolons where a name has a comma."""
    every = [str(n) for n in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ("; " if any("," in name for name in every) else ", ").join(every[:most]) + more
