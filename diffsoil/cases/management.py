"""Land use and carbon of every treatment and year: a table, and blocks of years in the case."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from diffsoil.cases import plausible
from diffsoil.cases.case import resolve
from diffsoil.cases.crops import crops
from diffsoil.cases.schema import CaseFile, Management
from diffsoil.io import Faults, nearest
from diffsoil.tables import Column as Table
from diffsoil.tables import Meant, read_table

MANAGEMENT = {
    "treatment": Table("str"),
    "year": Table("int", -50000, 3000),
    "land_use": Table("str"),
    "plant_carbon_base_t_ha": Table(
        "float", 0, 50, required=False, allow_missing=True, unit="Mg C/ha", hint="is this in kg/ha?"
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
    "ammonium_kg_ha": Table(
        "float",
        0,
        1000,
        required=False,
        allow_missing=True,
        unit="kg N/ha",
        hint="is this the weight of the fertiliser?",
    ),
}

OF_WHOLE_SOIL = ("lime_mol_m2", "ammonium_kg_ha")
"""Columns, and keys of a block, that only a soil with an exchanger can use."""


YIELDS = {
    "yield_t_ha": Table(
        "float",
        0,
        60,
        required=False,
        allow_missing=True,
        unit="t dry matter/ha",
        hint="is this in dt/ha, or fresh weight?",
    ),
    "crop": Table("str", required=False, allow_missing=True),
    "residues_left_share": Table(
        "float", 0, 1, required=False, allow_missing=True, hint="is this in percent?"
    ),
}
"""Columns that become plant carbon."""

OPTIONAL = ("plant_carbon_yield_t_ha", "manure_carbon_t_ha", "fallow_share", *OF_WHOLE_SOIL)
"""Columns of which an empty cell is as if the column were not there: 0."""

BASE = "plant_carbon_base_t_ha"


def read_management(path: Path, file: CaseFile) -> pd.DataFrame | None:
    """Land use and carbon of every treatment and year; None for a case without an experiment.

    Args:
        path: file of the case.
        file: its content.

    Returns:
        A row for each treatment and year, with the columns of :data:`MANAGEMENT`.

    Raises:
        InputError: all that is wrong with the table and the blocks.
    """
    if not file.experiment:
        return None
    faults = Faults()
    parts = []
    sources = [resolve(path, name) for name in file.experiment.tables]
    for source in sources:
        with faults.gathered():
            parts.append(_of_file(source, file, faults).assign(block=-1, file=str(source)))
    if not sources and not file.management:
        faults.add(
            f"{path}: experiment.management: is missing: a file, or blocks [[management]] in the "
            "case, say land use and carbon of each year"
        )
    for number, block in enumerate(file.management):
        with faults.gathered():
            parts.append(_of_block(path, file, number, block).assign(block=number, file=str(path)))
    if len(parts) < len(file.management) + len(sources) or not parts:
        faults.refuse()  # a gap may be of what could not be read
    table = pd.concat(parts)
    _check_rows(path, ", ".join(map(str, sources or [path])), table, file, faults)
    faults.refuse()
    return table.drop(columns=["block", "file"])


def _of_file(source: Path, file: CaseFile, faults: Faults) -> pd.DataFrame:
    """The rows of a table; the index is the line. What is wrong with cells joins the faults."""
    table = read_table(source, MANAGEMENT | YIELDS, Meant(file.plausible))
    for name in OF_WHOLE_SOIL:
        if name in table and not file.whole_soil:
            faults.add(
                f'{source}: column {name!r}: needs column = "whole_soil", the case has '
                f'column = "{file.column}"'
            )
    for name in OPTIONAL:
        table[name] = table[name].fillna(0.0) if name in table else 0.0
    manured = table.loc[table["manure_carbon_t_ha"] > 0, "manure_carbon_t_ha"]
    doubt = plausible.of_manure(float(manured.mean())) if len(manured) else ""
    if doubt and (question := Meant(file.plausible).question("manure_carbon_t_ha", doubt)):
        faults.add(f"{source}: column 'manure_carbon_t_ha': {question}")
    if BASE not in table:
        amounts = {name: use.plant_carbon_t_ha for name, use in file.land_use.items()}
        table[BASE] = [amounts.get(name) for name in table["land_use"]]
        table[BASE] = table[BASE].astype(float)
        if "yield_t_ha" in table:  # it makes all of the carbon
            table.loc[table["yield_t_ha"].notna(), BASE] = 0.0
    _add_yields(source, table, file, faults)
    for line, name, given in zip(table.index, table["land_use"], table[BASE], strict=True):
        use = file.land_use.get(name)
        if use is None:
            near = f"the case has no land use {name!r}{nearest(name, file.land_use)}"
            faults.cell(source, line, "land_use", "", near)
        elif use.npp is None and np.isnan(given):
            faults.cell(source, line, BASE, "", "the value is missing")
        elif use.npp is not None and given > 0:
            unused = f"is not used, as land use {name!r} has npp; leave the cell empty"
            faults.cell(source, line, BASE, f"{given:g}", unused)
    table[BASE] = table[BASE].fillna(0.0)
    return table.drop(columns=[name for name in YIELDS if name in table])


def _add_yields(source: Path, table: pd.DataFrame, file: CaseFile, faults: Faults) -> None:
    """Put the plant carbon of yields into its column."""
    if "yield_t_ha" not in table:
        return
    carbon = {}
    for line, row in table[table["yield_t_ha"].notna()].iterrows():
        use = file.land_use.get(row["land_use"])
        if use is None:
            continue
        amount, crop = row["yield_t_ha"], row.get("crop") or use.crop
        left = row.get("residues_left_share", math.nan)
        if crop not in crops():
            said = f"{crop!r} is no crop{nearest(str(crop), crops())}" if crop else NO_CROP
            faults.cell(source, line, "crop", "", said)
        elif use.npp is not None:
            unused = f"is not used, as land use {row['land_use']!r} has npp; leave the cell empty"
            faults.cell(source, line, "yield_t_ha", f"{amount:g}", unused)
        elif row["plant_carbon_yield_t_ha"] > 0:
            fault = "makes plant_carbon_yield_t_ha, which is there already; leave one of them empty"
            faults.cell(source, line, "yield_t_ha", f"{amount:g}", fault)
        else:
            own = use.residues_left_share if math.isnan(left) else left
            carbon[line] = crops()[crop].carbon(amount, own)
    table.loc[list(carbon), "plant_carbon_yield_t_ha"] = list(carbon.values())
    table.loc[table["yield_t_ha"].notna(), BASE] = table[BASE].fillna(0.0)


NO_CROP = "is missing: a yield makes plant carbon of a crop, which the land use may name"


def _of_block(path: Path, file: CaseFile, number: int, block: Management) -> pd.DataFrame:
    """The rows of a block of years."""
    assert file.experiment is not None
    begin = file.history[-1].until + 1 if block.first is None else block.first
    end = file.experiment.until if block.until is None else block.until
    faults = Faults()
    names = _check_block(f"{path}: management.{number}", file, block, (begin, end), faults)
    faults.refuse()
    use = file.land_use[block.land_use]
    base, manure = block.plant_carbon_t_ha, block.manure_carbon_t_ha
    rows = [(name, year) for name in names for year in range(begin, end + 1)]
    table = pd.DataFrame(rows, columns=["treatment", "year"])
    table["land_use"] = block.land_use
    if base is None:
        base = (use.plant_carbon_t_ha or 0.0) if block.yield_t_ha is None else 0.0
    table[BASE] = base
    table["plant_carbon_yield_t_ha"] = 0.0
    if block.yield_t_ha is not None:
        crop = crops()[block.crop or use.crop or ""]
        left = block.residues_left_share
        left = use.residues_left_share if left is None else left
        table["plant_carbon_yield_t_ha"] = crop.carbon(block.yield_t_ha, left)
    table["manure_carbon_t_ha"] = use.manure_carbon_t_ha if manure is None else manure
    table["fallow_share"] = block.fallow_share
    for name in OF_WHOLE_SOIL:
        table[name] = getattr(block, name)
    return table


def _check_block(
    where: str, file: CaseFile, block: Management, years: tuple[int, int], faults: Faults
) -> list[str]:
    """What a block says fits the case; the treatments that it is of."""
    assert file.experiment is not None
    first, last = file.history[-1].until + 1, file.experiment.until
    for key, year in zip(("from", "until"), years, strict=True):
        if not first <= year <= last:
            faults.add(f"{where}.{key}: {year} is outside the experiment, {first} to {last}")
    if years[1] < years[0]:
        faults.add(f"{where}.until: {years[1]} is before {years[0]}, where the block begins")
    names = [treatment.name for treatment in file.treatment]
    chosen = [block.treatment] if isinstance(block.treatment, str) else block.treatment
    for name in chosen:
        if name not in names:
            faults.add(f"{where}.treatment: no treatment {name!r}{nearest(name, names)}")
    use, amount = file.land_use.get(block.land_use), block.plant_carbon_t_ha
    if use is None:
        near = nearest(block.land_use, file.land_use)
        faults.add(f"{where}.land_use: no land use {block.land_use!r}{near}")
    elif use.npp is not None and (amount is not None or block.yield_t_ha is not None):
        key = "yield_t_ha" if amount is None else "plant_carbon_t_ha"
        faults.add(
            f"{where}.{key}: is not used, as land use {block.land_use!r} has npp; give "
            "plant_carbon_t_ha in the land use instead"
        )
    elif block.yield_t_ha is not None:
        if not (block.crop or use.crop):
            faults.add(f"{where}.crop: {NO_CROP}")
    elif use.npp is None and amount is None and use.plant_carbon_t_ha is None:
        faults.add(
            f"{where}.plant_carbon_t_ha: is missing, and land use {block.land_use!r} has none; 0 "
            "says that nothing grows"
        )
    for name in OF_WHOLE_SOIL:
        if getattr(block, name) > 0 and not file.whole_soil:
            faults.add(
                f'{where}.{name}: needs column = "whole_soil", the case has '
                f'column = "{file.column}"'
            )
    return chosen or names


def _check_rows(
    path: Path, sources: str, table: pd.DataFrame, file: CaseFile, faults: Faults
) -> None:
    """Each treatment has each year of the experiment once."""
    assert file.experiment is not None
    first, last = file.history[-1].until + 1, file.experiment.until
    again = table[table.duplicated(["treatment", "year"])]
    for line, row in again[again["block"] < 0].iterrows():
        what = f"year {row['year']} of treatment {row['treatment']!r}"
        faults.cell(Path(row["file"]), line, "", what, "appears twice")
    for (number, name), rows in again[again["block"] >= 0].groupby(["block", "treatment"]):
        years = rows["year"]
        to = f" to {years.max()}" if len(years) > 1 else ""
        faults.add(
            f"{path}: management.{number}: treatment {name!r}: {years.min()}{to} is there already"
        )
    for treatment in file.treatment:
        rows = table[table["treatment"] == treatment.name]
        if rows.empty:
            near = nearest(treatment.name, table["treatment"].unique())
            faults.add(f"{sources}: no row for treatment {treatment.name!r}{near}")
            continue
        missing = sorted(set(range(first, last + 1)) - set(rows["year"]))
        if missing:
            more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            faults.add(
                f"{sources}: treatment {treatment.name!r}: year {missing[0]}{more} missing; the "
                f"experiment runs {first} to {last}"
            )
