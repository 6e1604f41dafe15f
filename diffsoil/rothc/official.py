"""The official program's own input file, ``RothC_input.dat`` of version 1 or 2."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from diffsoil import io
from diffsoil.io import InputError
from diffsoil.rothc.model import Site
from diffsoil.rothc.tables import CONFIRMED, INPUT_COLUMNS, OPTION_KEYS, check_months, site_of
from diffsoil.tables import Meant, checked_table, number

HEADER_KEYS = {"clay": "clay_pct", "depth": "depth_cm", "iom": "iom_tC_ha", **OPTION_KEYS}
"""Names in the header of the official program's input file, besides ``nsteps``."""

OFFICIAL_COLUMNS = {
    "year": "year",
    "month": "month",
    "modern": "modern_pct",
    "Tmp": "tmp_c",
    "Rain": "rain_mm",
    "Evap": "evap_mm",
    "C_inp": "c_inp_tC_ha",
    "FYM": "fym_tC_ha",
    "PC": "pc",
    "DPM_RPM": "dpm_rpm",
}
"""Columns of the official program's input file, and what they are called in ours."""


# The official program's own input file.


def is_official(path: str | Path) -> bool:
    """Whether a file is an input file of the official program: its header has the site."""
    lines = io.read_text(path).split("\n", 20)[:20]
    return any(_names(line.split(), HEADER_KEYS) >= {"clay", "depth", "iom"} for line in lines)


def _months(
    path: str | Path, lines: list[tuple[int, list[str]]], faults: io.Faults, meant: Meant
) -> pd.DataFrame:
    """The table of months from its header on; its faults are refused with those found before."""
    by_lower = {name.lower(): own for name, own in OFFICIAL_COLUMNS.items()}
    names = [by_lower.get(word.lower(), word) for word in lines[0][1]]
    places, rows = [], []
    for line, cells in lines[1:]:
        if len(cells) == len(names):
            places.append(line)
            rows.append(cells)
        else:
            expected = f"where the header has {len(names)}"
            faults.cell(path, line, "", f"{len(cells)} values", expected)
    columns = {name: column for name, column in INPUT_COLUMNS.items() if name != "role"}
    return checked_table(path, names, places, rows, columns, faults, meant)


def _names(words: list[str], known: Iterable[str]) -> set[str]:
    """Those of some names that stand in a line, in whatever case."""
    by_lower = {name.lower(): name for name in known}
    return {by_lower[word.lower()] for word in words if word.lower() in by_lower}


def read_official(path: str | Path, meant: Meant = CONFIRMED) -> tuple[Site, pd.DataFrame, int]:
    """Read an input file of the official program, version 1 or 2.

    Its header names the site, with the number of months (``nsteps``, those of the spin-up among
    them); a table follows, whose first twelve months are repeated until the soil is steady.

    Returns:
        The site, the table as :func:`read_inputs` returns it, and how many rows at its end are
        left out because ``nsteps`` does not count them, as in the official program.

    Raises:
        InputError: all that is wrong with the file, with its lines.
    """
    lines = [
        (place, line.split())
        for place, line in enumerate(io.read_text(path).split("\n"), start=1)
        if line.split()
    ]
    header: dict[str, Any] = {}
    start, named = len(lines), -1
    nameless: list[str] = []
    for place, (line, words) in enumerate(lines[:-1]):
        if _names(words, OFFICIAL_COLUMNS) >= {"year", "month"}:
            start = place
            break
        keys = _names(words, HEADER_KEYS)
        if keys >= {"clay", "depth", "iom"} or "opt_RMmoist" in keys:
            header |= _header_values(path, words, *lines[place + 1])
            named = place + 1
        elif place != named and all(map(_is_number, words)):
            nameless.append(f"{path}: line {line}: {io.shown(' '.join(words))}")
    if start == len(lines):
        raise InputError(f"{path}: there is no line 'year month modern Tmp Rain Evap ...'")
    if nameless:
        known = ", ".join(HEADER_KEYS)
        raise InputError(f"{nameless[0]}: above it is no line of known names ({known})")
    steps = header.pop("nsteps", None)
    faults = io.Faults()
    with faults.gathered():
        site = site_of(path, header, HEADER_KEYS, meant)
    table = _months(path, lines[start:], faults, meant)
    if steps is None or steps != int(steps) or not 13 <= steps <= len(table):
        given = "is missing" if steps is None else f"{steps:g} is not 13 to {len(table)}"
        raise InputError(
            f"{path}: nsteps {given}: the months in the file, the first 12 of which are the spin-up"
        )
    left_out = len(table) - int(steps)
    table = table.iloc[: int(steps)]
    check_months(path, table, meant)
    return site, table, left_out


def _is_number(word: str) -> bool:
    try:
        number(word)
    except ValueError:
        return False
    return True


def _header_values(
    path: str | Path, words: list[str], line: int, values: list[str]
) -> dict[str, float]:
    """The numbers below a line of names."""
    by_lower = {name.lower(): name for name in (*HEADER_KEYS, "nsteps")}
    if len(values) != len(words):
        raise InputError(f"{path}: line {line}: {len(values)} values below {len(words)} names")
    found = {}
    for word, value in zip(words, values, strict=True):
        try:
            found[by_lower.get(word.lower(), word)] = number(value)
        except ValueError as error:
            raise InputError(f"{path}: line {line}, {word}: {io.shown(value)} {error}") from None
    return found
