"""Horizons of a soil from a table, as a profile is written in the field."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from diffsoil.cases.profiles import Horizon
from diffsoil.io import Faults, InputError, hint, nearest
from diffsoil.tables import Column, Meant, read_table

HIGHEST_CM = -200.0
"""Upper end of the highest organic horizon, cm."""

HINTS = {
    "lower_cm": "is this in mm?",
    "bulk_density": "is this in kg/m3?",
    "soc_percent": "is this in g/kg?",
    "clay_percent": "is this in g/kg?",
    "silt_percent": "is this in g/kg?",
}

UNITS = {"cm": "cm", "percent": "%", "density": "g/cm3", "kg": "mmol_c/kg"}


def _column(name: str) -> Column:
    """What the column of a key holds: as the key, but depths above the mineral soil too."""
    field = Horizon.model_fields[name]
    optional = not field.is_required()
    if name == "mineralogy":
        return Column("str", required=False, allow_missing=True)
    limits = {
        k: v
        for m in field.metadata
        for k in ("ge", "gt", "le")
        if (v := getattr(m, k, None)) is not None
    }
    lower = HIGHEST_CM if name in ("upper_cm", "lower_cm") else limits.get("ge", 0.0)
    return Column(
        "float",
        lower,
        limits.get("le", np.inf),
        required=not optional,
        allow_missing=optional,
        unit=UNITS.get(re.split("_", name)[-1], ""),
        hint=HINTS.get(name, ""),
    )


COLUMNS = {
    "soil": Column("str", required=False),
    "horizon": Column("str", required=False, allow_missing=True),
    **{name: _column(name) for name in Horizon.model_fields if name != "exchange"},
}
"""The keys of a horizon; the soil, where a table has several; and what the horizon is called."""


def read_horizons(path: Path, soil: str, meant: Meant) -> list[Horizon]:
    """The mineral horizons of a soil, from the surface down.

    Horizons above the mineral soil, which end at 0 cm or higher, are left out, and that is said.

    Args:
        path: CSV file with the columns of :data:`COLUMNS`.
        soil: its name; where the table has a column ``soil`` only its rows are read.
        meant: what the user has confirmed.

    Raises:
        InputError: all that is wrong, with the lines.
    """
    table = read_table(path, COLUMNS, meant)
    if "soil" in table:
        known = table["soil"].unique()
        table = table[table["soil"] == soil]
        if table.empty:
            raise InputError(f"{path}: column 'soil': no row of {soil!r}{nearest(soil, known)}")
    return horizons_of(path, table)


def horizons_of(
    path: Path, table: pd.DataFrame, tell: Callable[[str], object] = hint
) -> list[Horizon]:
    """The mineral horizons of a soil out of its rows, from the surface down.

    Args:
        path: file, named in messages.
        table: rows of one soil, with the columns of :data:`COLUMNS`.
        tell: is told of organic horizons that are left out.

    Raises:
        InputError: all that is wrong, with the lines.
    """
    faults = Faults()
    _check_depths(path, table, faults)
    faults.refuse()  # what lies above what follows from the depths
    organic = table["lower_cm"] <= 0
    if organic.any():
        lines = ", ".join(str(line) for line in table.index[organic])
        tell(
            f"{path}: line {lines}: {int(organic.sum())} organic horizons above the mineral soil "
            "are left out; litter_layer = true in a land use lets a litter layer grow"
        )
    table = table[~organic].sort_values("upper_cm", kind="stable")
    for fault in _gaps(path, table):
        faults.add(fault)
    found = []
    for line, row in table.iterrows():
        given = {
            name: value
            for name, value in row.items()
            if name in Horizon.model_fields and not pd.isna(value) and value != ""
        }
        try:
            found.append(Horizon.model_validate(given))
        except ValidationError as error:
            for of in error.errors():
                faults.add(f"{path}: line {line}: {_said(of)}")
    faults.refuse()
    return found


def _said(error: Any) -> str:
    column = f"column {error['loc'][0]!r}: " if error["loc"] else ""
    return column + str(error["msg"]).removeprefix("Value error, ")


def _check_depths(path: Path, table: pd.DataFrame, faults: Faults) -> None:
    """Depths are counted downwards from the surface of the mineral soil."""
    for line, upper, lower in zip(table.index, table["upper_cm"], table["lower_cm"], strict=True):
        if lower <= upper:
            why = "is the depth interval upside down?"
            if lower < 0 <= upper or upper < 0:
                why = (
                    "depths grow downwards from 0 at the surface of the mineral soil; an organic "
                    "horizon above it lies from -5 to 0, say"
                )
            faults.cell(path, line, "", f"{upper:g} to {lower:g} cm:", why)
        elif upper < 0 < lower:
            faults.cell(
                path,
                line,
                "",
                f"{upper:g} to {lower:g} cm",
                "crosses the surface of the mineral soil, 0 cm: give the organic and the mineral "
                "part a row each",
            )


def _gaps(path: Path, table: pd.DataFrame) -> Iterator[str]:
    """Where horizons overlap, or leave something out."""
    if table.empty:
        yield f"{path}: there is no mineral horizon"
        return
    lines, uppers, lowers = table.index, table["upper_cm"].tolist(), table["lower_cm"].tolist()
    if uppers[0] > 0:
        yield f"{path}: line {lines[0]}: the profile begins at {uppers[0]:g} cm, not at 0"
    for place in range(1, len(table)):
        where = f"{path}: lines {lines[place - 1]} and {lines[place]}"
        above, below = lowers[place - 1], uppers[place]
        if below > above:
            yield f"{where}: nothing is given between {above:g} and {below:g} cm"
        elif below < above:
            yield f"{where}: overlap between {below:g} and {min(above, lowers[place]):g} cm"
