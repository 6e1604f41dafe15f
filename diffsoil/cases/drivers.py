"""What drives a case: tables of climate and of the 14C of the atmosphere; plant carbon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from diffsoil.cases import plausible
from diffsoil.cases.case import resolve
from diffsoil.cases.land_use import LandUse
from diffsoil.cases.schema import CaseFile, Climate
from diffsoil.io import Faults, InputError, data_path
from diffsoil.processes import npp
from diffsoil.tables import Column as Table
from diffsoil.tables import Meant, read_table

PAN_TO_PET = 0.75
"""Potential evapotranspiration per open-pan evaporation (RothC description)."""

NORMALS = {
    "month": Table("int", 1, 12),
    "temperature_c": Table("float", -80, 60, unit="C", hint="is this in kelvin or Fahrenheit?"),
    "precipitation_mm": Table("float", 0, 10000, unit="mm in the month"),
    "evaporation_mm": Table("float", 0, 600, unit="mm in the month", required=False),
    "pet_mm": Table("float", 0, 600, unit="mm in the month", required=False),
}

ORIGIN = Table("str", required=False, allow_missing=True)

MONTHS = {
    "year": Table("int", -50000, 3000),
    **NORMALS,
    "temperature_origin": ORIGIN,
    "precipitation_origin": ORIGIN,
}
"""Weather by month; where a value is from may be said, and is not used."""


def read_climate(path: Path, climate: Climate, meant: Meant) -> pd.DataFrame:
    """Normals or monthly weather, with the potential evapotranspiration in ``pet_mm``.

    Args:
        path: file of the case.
        climate: as it says.
        meant: what the user has confirmed.

    Raises:
        InputError: all that is wrong with the table, or looks as if it were.
    """
    name = climate.normals or climate.monthly
    assert name is not None
    file = resolve(path, name)
    table = read_table(file, NORMALS if climate.normals else MONTHS, meant)
    if ("pet_mm" in table) == ("evaporation_mm" in table):
        raise InputError(f"{file}: one of the columns evaporation_mm (open pan), pet_mm is needed")
    if "pet_mm" not in table:
        table["pet_mm"] = PAN_TO_PET * table["evaporation_mm"]
    if climate.monthly:
        _check_months(file, table)
    elif table["month"].tolist() != list(range(1, 13)):
        raise InputError(f"{file}: column 'month': the months 1 to 12 are needed, in order")
    evaporation = "pet_mm" if "evaporation_mm" not in table else "evaporation_mm"
    questions = [
        (name, meant.question(name, doubt))
        for name, doubt in plausible.of_climate(table, evaporation)
    ]
    lines = [f"{file}: column {name!r}: {question}" for name, question in questions if question]
    if lines:
        raise InputError(lines)
    return table


ATMOSPHERE = {
    "year": Table("int", -60000, 3000),
    "activity": Table("float", 0, 3, required=False, hint="modern is 1, is this in percent?"),
    "delta14c_permil": Table("float", -1000, 2000, required=False, unit="permil"),
    "sd_permil": Table("float", 0, 1000, required=False, allow_missing=True, unit="permil"),
    "source": ORIGIN,
}
"""A record of the 14C of the air; its sd and where it is from may be said, and are not used."""

ENDS = {
    "north.csv": "it has the bomb curve of zone NH1 to 2019; a later case brings a record",
    "south.csv": "it ends before the bomb tests; a later southern case brings a record",
}
"""What is said of a shipped record that does not cover a case."""


def read_atmosphere(path: Path, first: int, last: int, meant: Meant | None = None) -> pd.DataFrame:
    """14C activity of the atmosphere by year, in order; straight lines lie between its years.

    Args:
        path: file.
        first, last: years that it has to cover.
        meant: what the user has confirmed; nothing is asked about if not given.

    Raises:
        InputError: the file is wrong, holds a year twice, or does not cover the years asked for.
    """
    table = read_table(path, ATMOSPHERE)
    if ("activity" in table) == ("delta14c_permil" in table):
        raise InputError(f"{path}: one of the columns activity, delta14c_permil is needed")
    if "activity" not in table:
        table["activity"] = 1.0 + table["delta14c_permil"] / 1000.0
    faults = Faults()
    for line, year in table.loc[table["year"].duplicated(), "year"].items():
        faults.cell(path, line, "year", year, "is there already")
    begin, end = table["year"].min(), table["year"].max()
    if first < begin or last > end:
        faults.add(
            f"{path}: column 'year': the record covers {begin} to {end}, not all years of the "
            f"case, {first} to {last}; it is not extrapolated"
            + (f": {ENDS[path.name]}" if path.parent == data_path("atmosphere") else "")
        )
    table = table.sort_values("year")
    if meant is not None:
        for doubt in plausible.of_atmosphere(table, first, last):
            if question := meant.question("activity", doubt):
                faults.add(f"{path}: column 'activity': {question}")
    faults.refuse()
    return table


def _check_months(file: Path, table: pd.DataFrame) -> None:
    number = (table["year"] * 12 + table["month"] - 1).tolist()
    faults = Faults()
    before, behind = number[0], False
    for line, now in zip(table.index[1:], number[1:], strict=True):
        if now <= before and not behind:
            again = "appears twice" if now == before else f"comes after {_month(before)}"
            faults.cell(file, line, "", f"month {_month(now)}", again)
        elif now > before + 1:
            faults.cell(file, line, "", f"month {_month(before + 1)}", "is missing")
        behind = now < before  # what follows it is, too
        before = max(before, now)
    faults.refuse()


def _month(number: int) -> str:
    return f"{number // 12}-{number % 12 + 1:02d}"


def weather_of_years(climate: pd.DataFrame, years: np.ndarray) -> pd.DataFrame:
    """The months of some years; normals are those of each of them.

    Args:
        climate: normals, or weather with a ``year``.
        years: calendar years, ascending.
    """
    if "year" in climate:
        return climate[climate["year"].isin(years)]
    months = pd.concat([climate] * len(years), ignore_index=True)
    return months.assign(year=np.repeat(years, len(climate)))


def check_covered(path: Path, file: CaseFile, name: str, weather: pd.DataFrame | None) -> None:
    """The weather of an experiment reaches over all of its years."""
    if weather is None or file.experiment is None or "year" not in weather:
        return  # it could not be read, or holds in every year
    first, last = file.history[-1].until + 1, file.experiment.until
    for year in dict.fromkeys((first, last)):
        if (weather["year"] == year).sum() != 12:
            raise InputError(
                f"{resolve(path, file.climate[name].monthly or '')}: the twelve months of "
                f"{year} are needed: the experiment runs {first} to {last}"
            )


def yearly_npp(use: LandUse, weather: pd.DataFrame) -> float:
    """Carbon input (Mg/ha/a) of a land use that is given by NPP or by its own number."""
    if use.npp is None:
        return use.plant_carbon_t_ha or 0.0
    if isinstance(use.npp, str):
        years = len(weather) / 12
        dry = float(
            npp.MODELS[use.npp](
                float(weather["temperature_c"].mean()),
                float(weather["precipitation_mm"].sum() / years),
            )
        )
    else:
        dry = use.npp
    return float(npp.carbon_input(dry)) * (1 - use.harvest_share)
