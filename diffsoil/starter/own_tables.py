"""What the user's own tables say about a new case: its site, treatments, years and land uses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from diffsoil.io import InputError, shown
from diffsoil.starter.answers import Answers, OwnTables
from diffsoil.tables import number, read_texts

SITE = "field"
"""Name of the site where no table has one."""


@dataclasses.dataclass(frozen=True)
class Described:
    """What the tables say.

    ``treatments`` is empty where the site itself is the only one, and ``land_uses`` has the names
    of the management.
    """

    answers: Answers
    site: str
    treatments: tuple[str, ...]
    land_uses: tuple[str, ...] = ()


def described(answers: Answers, tables: OwnTables) -> Described:
    """Read what the tables have to say about the case.

    Raises:
        InputError: a table lacks a column, has two sites, or years other than those asked for.
    """
    site = SITE
    treatments: tuple[str, ...] = (SITE,)
    land_uses: tuple[str, ...] = ()
    if tables.observations is not None:
        site, treatments = _observed(tables.observations)
    if tables.management is not None:
        table = read_texts(tables.management, ("treatment", "year", "land_use"))
        years = _years(tables.management, table["year"])
        answers = answers.over(min(years), max(years), tables.management)
        treatments = tuple(dict.fromkeys(table["treatment"]))
        land_uses = tuple(dict.fromkeys(table["land_use"]))
        if tables.observations is None and len(treatments) == 1:
            site = treatments[0]
    return Described(answers, site, () if treatments == (site,) else treatments, land_uses)


def _observed(path: Path) -> tuple[str, tuple[str, ...]]:
    """The site and the treatments of observations."""
    table = read_texts(path, ("site",), ("treatment",))
    sites = list(dict.fromkeys(table["site"]))
    if len(sites) > 1:
        raise InputError(
            f"{path}: column 'site': {len(sites)} sites ({', '.join(sites)[:80]}); a new case has "
            "one: give those of one site, and add the others to the case"
        )
    names: Iterable[str] = table.get("treatment", ())
    return sites[0], tuple(dict.fromkeys(name or sites[0] for name in names)) or (sites[0],)


def _years(path: Path, cells: pd.Series) -> list[int]:
    found = []
    for line, cell in cells.items():
        try:
            year = number(cell)
        except ValueError:
            year = 0.5
        if year != int(year):
            raise InputError(f"{path}: line {line}, column 'year': {shown(cell)} is no year")
        found.append(int(year))
    return found
