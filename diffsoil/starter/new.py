"""Folders of new cases, from an example, a table of horizons, files of RothC or a shipped case."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tomlkit

from diffsoil.cases import find_case, load_case
from diffsoil.cases.fingerprint import files_of
from diffsoil.cases.json_schema import json_schema
from diffsoil.cases.land_use import library
from diffsoil.cases.schema import CaseFile
from diffsoil.column import COLUMNS
from diffsoil.io import Faults, InputError, data_path, nearest, parse_toml, read_text
from diffsoil.starter.answers import Answers, OwnTables
from diffsoil.starter.case_text import case_text
from diffsoil.starter.from_rothc import is_rothc, of_rothc
from diffsoil.starter.own_tables import described
from diffsoil.work.folder import Kind, OutputFolder

TABLES = tuple(field.name for field in dataclasses.fields(OwnTables))

KIND = Kind(
    "case",
    "a new case",
    ("case.toml", "case.schema.json", *(f"{name}.csv" for name in ("profile", "sites", *TABLES))),
)


SITES = "sites"
"""Source that is a table of sites, with the case that says all else."""


def new_case(
    folder: Path | str,
    source: Path | str | None = None,
    site: Path | str | None = None,
    answers: Answers = Answers(),
    tables: OwnTables = OwnTables(),
) -> list[str]:
    """Make the folder of a new case.

    Args:
        folder: to make; its name is that of the case.
        source: input of RothC (the official program's own file, or CSV), a CSV of horizons,
            :data:`SITES`, or the name of a shipped case; the example if not given.
        site: JSON of the site of a CSV of RothC.
        answers: what else the case says.
        tables: of the user's own, which are copied into the folder.

    Returns:
        Names of the files in the folder.

    Raises:
        InputError: a source that is none of these or is wrong, or a folder that holds something.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder}: exists already; a new case gets a folder of its own")
    faults = Faults()
    for name in (answers.native, answers.crop):
        if name not in library():
            faults.add(f"no land use {name!r} in the library{nearest(name, library())}")
    if answers.column not in COLUMNS:
        faults.add(f"--column {answers.column}: must be one of {', '.join(COLUMNS)}")
    faults.refuse()
    given = [source, site, *tables.given.values()]
    place = OutputFolder(folder, KIND, inputs=[p for p in given if p and Path(p).exists()])
    with place:
        files = _files(folder.name, source, site, answers, tables)
        for name, content in files.items():
            _write(place.work / name, content)
        place.add(list(files))
        schema = json.dumps(json_schema(CaseFile), indent=1, ensure_ascii=False)
        (place.work / "case.schema.json").write_text(schema + "\n", encoding="utf-8")
        _refuse_as_given(place.work, folder, source, tables)
    return ["case.toml", *sorted(name for name in files if name != "case.toml")]


def _files(
    name: str,
    source: Path | str | None,
    site: Path | str | None,
    answers: Answers,
    tables: OwnTables,
) -> dict[str, Any]:
    """Name and content of each file of the folder."""
    rothc = source is not None and is_rothc(source)
    horizons = source is None or Path(source).suffix == ".csv"
    taken = {"observations"} if rothc else set(TABLES) if horizons else set()
    for table in tables.given:
        if table not in taken:
            raise InputError(f"--{table}: {source} has its own")
    if rothc:
        assert source is not None
        files = of_rothc(name, source, site, answers, tables)
    elif horizons:
        files = _example(name, answers, tables, None if source is None else Path(source))
    else:
        assert source is not None
        if dataclasses.astuple(answers) != dataclasses.astuple(Answers()):
            raise InputError(f"{source}: is copied as it is; change the copy, not by options")
        files = _of_sites() if source == SITES else _of_case(source)
    return files | {f"{table}.csv": path for table, path in tables.given.items()}


def _write(path: Path, content: str | pd.DataFrame | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        content.to_csv(path, index=False, float_format="%.6g")


def _refuse_as_given(
    work: Path, folder: Path, source: Path | str | None, tables: OwnTables
) -> None:
    """Read what was written; a fault is that of the source, and is named so."""
    given = {str(work / f"{name}.csv"): str(path) for name, path in tables.given.items()}
    given[str(work / "profile.csv")] = str(source or folder / "profile.csv")
    given[str(work)] = str(folder)
    try:
        load_case(work / "case.toml")
    except InputError as error:
        faults = list(error.faults)
        for written, name in given.items():
            faults = [fault.replace(written, name) for fault in faults]
        raise InputError(faults) from error


# From an example.

PROFILE = pd.DataFrame(
    {
        "horizon": ["Ap", "Bt", "C"],
        "upper_cm": [0, 25, 60],
        "lower_cm": [25, 60, 100],
        "clay_percent": [18.0, 26.0, 20.0],
        "silt_percent": [62.0, 56.0, 64.0],
        "bulk_density": [1.35, 1.50, 1.55],
        "soc_percent": [0.9, 0.4, 0.2],
        "base_saturation": [85, 80, 90],
        "note": "EXAMPLE",
    }
)


def _normals() -> pd.DataFrame:
    table = pd.read_csv(data_path("climate", "rothamsted_early_normals.csv"))
    return table.assign(note="EXAMPLE: Rothamsted, England")


def _observations(answers: Answers) -> pd.DataFrame:
    """Measurements that the example could have had."""
    years = np.unique(np.linspace(answers.first, answers.last, 4).astype(int))
    gained = {"control": -0.05, "manured": 0.25}  # % in the whole time
    rows = [
        (name, year, 0.80 + gain * place / max(1, len(years) - 1))
        for name, gain in gained.items()
        for place, year in enumerate(years)
    ]
    table = pd.DataFrame(rows, columns=["treatment", "year", "value"])
    table = table.assign(
        site="field", variable="soc_percent", upper_cm=0, lower_cm=25, sd=0.06, unit="%",
        note="EXAMPLE",
    )  # fmt: skip
    columns = ["site", "treatment", "year", "variable", "upper_cm", "lower_cm", "value", "sd"]
    return table[[*columns, "unit", "note"]]


EXAMPLES = ("control", "manured")
"""Treatments of the example."""

OF_CASE = ("native", "old_farming", "crop")
"""Land uses that every new case has."""


def _has_inert(profile: Path) -> bool:
    """Whether a profile has inert carbon; one that cannot be read is refused when it is."""
    try:
        table = pd.read_csv(profile)
    except (OSError, ValueError):
        return False
    inert = table.get("iom_percent", pd.Series(dtype=float))
    return bool((pd.to_numeric(inert, errors="coerce") > 0).any())


def _example(
    name: str, answers: Answers, tables: OwnTables, profile: Path | None
) -> dict[str, Any]:
    """A case with example tables for those that are not given."""
    of, uses = described(answers, tables), library()
    others = [use for use in of.land_uses if use not in OF_CASE]
    files: dict[str, Any] = {"normals.csv": _normals(), "profile.csv": profile or PROFILE}
    if example := not tables.given.keys() & {"management", "observations"}:
        files["observations.csv"] = _observations(of.answers)
    own = {f"{table}.csv" for table in tables.given} | ({"profile.csv"} if profile else set())
    text = case_text(
        name,
        of.answers,
        site=of.site,
        treatments=EXAMPLES if example else of.treatments,
        other_uses={use: use if use in uses else answers.crop for use in others},
        examples=sorted(files.keys() - own),
        weather=tables.weather is not None,
        management=tables.management is not None,
        inert=profile is not None and _has_inert(profile),
        observations="observations.csv" in files or tables.observations is not None,
    )
    return {"case.toml": text} | files


def _of_sites() -> dict[str, Any]:
    """The example of a table of sites, and the case that says all else."""
    folder = data_path("sites")
    return {"case.toml": read_text(folder / "case.toml"), "sites.csv": folder / "sites.csv"}


def _of_case(source: Path | str) -> dict[str, Any]:
    """A shipped case with all of its tables."""
    path = find_case(source)
    text = read_text(path)
    parse_toml(path, text)
    document = tomlkit.parse(text)
    case = load_case(path)
    files: dict[str, Any] = {}
    for table, key in files_of(document):
        name = str(table[key])
        files[name] = case.resolve(name)
    return {"case.toml": text} | files
