"""What drives a case: tables of climate, management and the 14C of the atmosphere; plant carbon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from diffsoil.cases import plausible
from diffsoil.cases.case import resolve
from diffsoil.cases.land_use import LandUse
from diffsoil.cases.schema import CaseFile, Climate
from diffsoil.io import (
    Faults,
    InputError,
    nearest,
)
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

MANAGEMENT = {
    "treatment": Table("str"),
    "year": Table("int", -50000, 3000),
    "land_use": Table("str"),
    "plant_carbon_base_t_ha": Table(
        "float", 0, 50, allow_missing=True, unit="Mg C/ha", hint="is this in kg/ha?"
    ),
    "plant_carbon_yield_t_ha": Table(
        "float", 0, 50, required=False, allow_missing=True, unit="Mg C/ha", hint="is this in kg/ha?"
    ),
    "manure_carbon_t_ha": Table(
        "float",
        0,
        50,
        required=False,
        allow_missing=True,
        unit="Mg C/ha",
        hint="is this fresh weight?",
    ),
    "fallow_share": Table(
        "float", 0, 1, required=False, allow_missing=True, hint="is this in percent?"
    ),
    "lime_mol_m2": Table(
        "float", 0, 1000, required=False, allow_missing=True, unit="mol/m2 of calcite"
    ),
}


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
    "activity": Table("float", 0, 3, hint="modern is 1, is this in percent?"),
}


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
    faults = Faults()
    for line, year in table.loc[table["year"].duplicated(), "year"].items():
        faults.cell(path, line, "year", year, "is there already")
    begin, end = table["year"].min(), table["year"].max()
    if first < begin or last > end:
        faults.add(
            f"{path}: column 'year': the record covers {begin} to {end}, not all years of the "
            f"case, {first} to {last}; it is not extrapolated"
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


def check_covered(path: Path, file: CaseFile, name: str, weather: pd.DataFrame | None) -> None:
    """The weather of an experiment reaches over all of its years."""
    if weather is None or file.experiment is None:  # it could not be read
        return
    first, last = file.history[-1].until + 1, file.experiment.until
    for year in dict.fromkeys((first, last)):
        if (weather["year"] == year).sum() != 12:
            raise InputError(
                f"{resolve(path, file.climate[name].monthly or '')}: the twelve months of "
                f"{year} are needed: the experiment runs {first} to {last}"
            )


def read_management(path: Path, file: CaseFile) -> pd.DataFrame | None:
    """Land use and carbon of every treatment and year; None for a case without an experiment.

    Args:
        path: file of the case.
        file: its content.

    Raises:
        InputError: all that is wrong with the table.
    """
    if not file.experiment:
        return None
    source = resolve(path, file.experiment.management)
    table = read_table(source, MANAGEMENT, Meant(file.plausible))
    faults = Faults()
    if "lime_mol_m2" in table and not file.whole_soil:
        faults.add(
            f"{source}: column 'lime_mol_m2': needs column = \"whole_soil\", the case has "
            f'column = "{file.column}"'
        )
    optional = ("plant_carbon_yield_t_ha", "manure_carbon_t_ha", "fallow_share", "lime_mol_m2")
    for name in optional:  # an empty cell is as if the column were not there
        table[name] = table[name].fillna(0.0) if name in table else 0.0
    manured = table.loc[table["manure_carbon_t_ha"] > 0, "manure_carbon_t_ha"]
    doubt = plausible.of_manure(float(manured.mean())) if len(manured) else ""
    if doubt and (question := Meant(file.plausible).question("manure_carbon_t_ha", doubt)):
        faults.add(f"{source}: column 'manure_carbon_t_ha': {question}")
    base = "plant_carbon_base_t_ha"
    for line, name, given in zip(table.index, table["land_use"], table[base], strict=True):
        use = file.land_use.get(name)
        if use is None:
            near = f"the case has no land use {name!r}{nearest(name, file.land_use)}"
            faults.cell(source, line, "land_use", "", near)
        elif use.npp is None and np.isnan(given):
            faults.cell(source, line, base, "", "the value is missing")
        elif use.npp is not None and given > 0:
            unused = f"is not used, as land use {name!r} has npp; leave the cell empty"
            faults.cell(source, line, base, f"{given:g}", unused)
    _check_rows(source, table, file, faults)
    faults.refuse()
    table[base] = table[base].fillna(0.0)
    return table


def _check_rows(source: Path, table: pd.DataFrame, file: CaseFile, faults: Faults) -> None:
    """Each treatment has each year of the experiment once."""
    assert file.experiment is not None
    first, last = file.history[-1].until + 1, file.experiment.until
    for line, row in table[table.duplicated(["treatment", "year"])].iterrows():
        what = f"year {row['year']} of treatment {row['treatment']!r}"
        faults.cell(source, line, "", what, "appears twice")
    for treatment in file.treatment:
        rows = table[table["treatment"] == treatment.name]
        if rows.empty:
            near = nearest(treatment.name, table["treatment"].unique())
            faults.add(f"{source}: no row for treatment {treatment.name!r}{near}")
            continue
        missing = sorted(set(range(first, last + 1)) - set(rows["year"]))
        if missing:
            more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            faults.add(
                f"{source}: treatment {treatment.name!r}: year {missing[0]}{more} missing; the "
                f"experiment runs {first} to {last}"
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
