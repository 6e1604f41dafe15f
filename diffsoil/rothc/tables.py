"""Inputs as tables of our own: a CSV of months and a JSON of the site."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from diffsoil import io
from diffsoil.cases import plausible
from diffsoil.io import InputError
from diffsoil.rothc.model import (
    EVAPORATION_PER_PAN,
    FARINA_KEYS,
    LEAST_MODERN,
    REFERENCE_DEPTH_CM,
    Site,
)
from diffsoil.tables import NOTE, Column, Meant, read_table

SITE_KEYS = {
    "clay_pct": Column("float", 0.0, 100.0, unit="%"),
    "depth_cm": Column("float", 0.1, 1000.0, unit="cm"),
    "iom_tC_ha": Column("float", 0.0, 1e4, unit="t C/ha"),
    "silt_pct": Column("float", 0.0, 100.0, required=False, unit="%"),
    "bulk_density_g_cm3": Column(
        "float", 0.1, 2.65, required=False, unit="g/cm3", hint="is this in kg/m3?"
    ),
    "oc_pct": Column("float", 0.0, 60.0, required=False, unit="%", hint="is this in g/kg?"),
    "min_rm_moist": Column("float", 0.0, 1.0, required=False),
    "rm_moist": Column("int", 1, 3, required=False),
    "smd_bare": Column("int", 1, 2, required=False),
}
"""Keys of a site file."""

OPTION_KEYS = {
    "opt_RMmoist": "rm_moist",
    "opt_SMDbare": "smd_bare",
    "siltper": "silt_pct",
    "BD": "bulk_density_g_cm3",
    "OC": "oc_pct",
    "minRM_Moist": "min_rm_moist",
}
"""Names that version 2 of the official program has for keys of a site; a site file may too."""

KEYS_OF_A_RUN = (
    "n_input_rows",
    "n_run_months",
    "spinup_months_until_converged",
    "spinup_convergence",
    "state_after_spinup",
    "swc_mm_after_spinup",
    "radiocarbon_age_yr_after_spinup",
)
"""What a site file may say about a run of the official program; it is not read."""

INPUT_COLUMNS = {
    "role": Column("str", choices=("spinup", "run")),
    "year": Column("int", -1e6, 1e6),
    "month": Column("int", 1, 12),
    "modern_pct": Column("float", 0.0, 1000.0, unit="% modern"),
    "tmp_c": Column("float", -60.0, 60.0, unit="degrees C", hint="is this in kelvin?"),
    "rain_mm": Column("float", 0.0, 5000.0, unit="mm a month"),
    # the official files have months of dew, down to -20.7 mm, and the official code takes them
    "evap_mm": Column("float", -50.0, 5000.0, unit="mm a month"),
    "c_inp_tC_ha": Column("float", 0.0, 100.0, unit="t C/ha", hint="is this in g/m2 or kg/ha?"),
    "fym_tC_ha": Column("float", 0.0, 100.0, unit="t C/ha", hint="is this in g/m2 or kg/ha?"),
    "pc": Column("int", 0, 1),
    "dpm_rpm": Column("float", 0.0, 1000.0),
}
"""Columns of an input file."""

CONFIRMED = Meant((), "--plausible {} says that it is meant")


def read_site(path: str | Path, meant: Meant = CONFIRMED) -> Site:
    """Read a site file: a JSON object with the fields of :class:`Site`.

    The options of version 2 of the official program may have their names there; what a run of it
    was like may be told; a note of the user's own begins with ``note``.

    Raises:
        InputError: all that is wrong: the file cannot be read, a key is missing or unknown, or a
            value is not acceptable.
    """
    return site_of(path, io.read_json(path), OPTION_KEYS, meant)


def site_of(
    path: str | Path, content: Mapping[str, Any], names: Mapping[str, str], meant: Meant
) -> Site:
    """A site out of what a file says of it, under our names and those of ``names``."""
    faults = io.Faults()
    written: dict[str, str] = {}
    unknown = []
    for key in content:
        own = names.get(key, key)
        if own in written:
            faults.add(f"{path}: keys {written[own]!r} and {key!r} say the same")
        elif own in SITE_KEYS:
            written[own] = key
        elif key not in KEYS_OF_A_RUN and not key.startswith(NOTE):
            unknown.append(key)
    values: dict[str, Any] = {}
    missing = []
    for own, column in SITE_KEYS.items():
        if own in written:
            with faults.gathered():
                values[own] = _site_value(path, written[own], content[written[own]], column)
        elif column.required:
            near = io.nearest(own, unknown)
            unknown = [key for key in unknown if repr(key) not in near]
            missing.append(f"key {own!r} is missing{near}")
    if missing:
        faults.add(f"{path}: {'; '.join(missing)}")
    known = [*SITE_KEYS, *names]
    for key in unknown:
        faults.add(f"{path}: unknown key {io.shown(key)}{io.nearest(key, known)}")
    option = values.get("rm_moist", 1)
    absent = [own for own in FARINA_KEYS if own not in written]
    if option != 1 and absent:
        asked = written["rm_moist"]
        own_names = asked == "rm_moist"
        key = absent[0] if own_names else next(k for k, own in names.items() if own == absent[0])
        faults.add(f"{path}: key {key!r} is missing, {asked} {option} needs it")
    texture = values.get("clay_pct", 0.0) + values.get("silt_pct", 0.0)
    if texture > 100.0:
        faults.add(f"{path}: clay_pct + silt_pct is {texture:g}, more than 100 %")
    doubts = {
        "clay_pct": plausible.of_soil("clay_percent", values.get("clay_pct", 0.0), 0.0),
        "silt_pct": plausible.of_soil("silt_percent", values.get("silt_pct", 0.0), 0.0),
        "iom_tC_ha": _of_inert(values.get("iom_tC_ha", 0.0)),
        "oc_pct": plausible.of_soil("soc_percent", values.get("oc_pct", 0.0), 0.0),
        "depth_cm": plausible.of_depth(0.0, values.get("depth_cm", REFERENCE_DEPTH_CM)),
    }
    for own, doubt in doubts.items():
        if doubt and (question := meant.question(own, doubt)):
            faults.add(f"{path}: key {written[own]!r}: {values[own]:g} {question}")
    faults.refuse()
    return Site(**values)


MOST_INERT = 100.0
"""Inert carbon, t C/ha, that mineral soils hardly have; 0.049 SOC^1.139 of 500 t C/ha is 58."""


def _of_inert(value: float) -> str:
    return "is more than soils have: is this in kg/ha?" if value > MOST_INERT else ""


def _site_value(path: str | Path, key: str, value: object, column: Column) -> Any:
    if not isinstance(value, float):
        raise InputError(f"{path}: key {key!r}: {json.dumps(value)} is not a number")
    if complaint := column.objection(value):
        raise InputError(f"{path}: key {key!r}: {complaint}")
    return int(value) if column.kind == "int" else float(value)


def read_inputs(path: str | Path, meant: Meant = CONFIRMED) -> pd.DataFrame:
    """Read an input file: twelve spin-up months from January on, then the months to run.

    Returns:
        The columns of ``INPUT_COLUMNS``, with the line in the file as index.

    Raises:
        InputError: all that is wrong with the file, with its lines.
    """
    table = read_table(path, INPUT_COLUMNS, meant)
    spinup = table["role"] == "spinup"
    if spinup.sum() != 12 or not spinup.iloc[:12].all():
        raise InputError(
            f"{path}: column 'role': {spinup.sum()} spinup rows, exactly 12 are needed, "
            "before the run rows"
        )
    check_months(path, table, meant)
    return table


def check_months(path: str | Path, table: pd.DataFrame, meant: Meant) -> None:
    """Twelve spin-up months from January on, then months without a gap, of a likely climate."""
    for expected, (line, month) in enumerate(table["month"].iloc[:12].items(), start=1):
        if month != expected:
            raise InputError(
                f"{path}: line {line}, column 'month': spin-up month {month} where {expected} "
                "is expected"
            )
    months = table.iloc[12:]
    if months.empty:
        raise InputError(f"{path}: column 'role': there is no run row")
    _check_consecutive(path, months)
    faults = io.Faults()
    modern = table["modern_pct"]
    for line, value in modern[(modern > 0) & (modern < LEAST_MODERN)].items():
        if question := meant.question("modern_pct", "is very old carbon: is this a fraction?"):
            faults.cell(path, line, "modern_pct", f"{value:g}", question)
    if (modern == 0).all() and (
        question := meant.question("modern_pct", "all 0, carbon without any 14C: is it missing?")
    ):
        faults.add(f"{path}: column 'modern_pct': {question}")
    whole = months.groupby("year")["month"].transform("size") == 12
    doubts = dict(_doubts(table.iloc[:12].drop(columns="year")))
    doubts |= dict(_doubts(months[whole])) if whole.any() else {}
    for name, doubt in doubts.items():
        if question := meant.question(name, doubt):
            faults.add(f"{path}: column {name!r}: {question}")
    faults.refuse()


def _doubts(months: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Doubts about the climate of whole years: column and what it looks like."""
    names = {"tmp_c": "temperature_c", "rain_mm": "precipitation_mm", "evap_mm": "pet_mm"}
    own = {other: name for name, other in names.items()}
    pet = EVAPORATION_PER_PAN * months["evap_mm"]
    for name, doubt in plausible.of_climate(months.rename(columns=names).assign(pet_mm=pet)):
        yield own[name], doubt


def _check_consecutive(path: str | Path, months: pd.DataFrame) -> None:
    count = (months["year"] * 12 + months["month"] - 1).tolist()
    faults = io.Faults()
    before, behind = count[0], False
    for line, now in zip(months.index[1:], count[1:], strict=True):
        where = f"{path}: line {line}, columns 'year' and 'month'"
        if now == before:
            faults.add(f"{where}: {_name(now)} appears twice")
        elif now < before and not behind:
            faults.add(f"{where}: {_name(now)} comes after {_name(before)}")
        elif now > before + 1:
            last = f" to {_name(now - 1)} are" if now > before + 2 else " is"
            faults.add(f"{where}: {_name(before + 1)}{last} missing")
        behind = now < before  # what follows it is, too
        before = max(before, now)
    faults.refuse()


def _name(count: int) -> str:
    return f"{count // 12}-{count % 12 + 1:02d}"
