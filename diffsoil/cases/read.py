"""Cases: one TOML file that says what a site is, what happened there, and what was observed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffsoil.cases.case import Case, resolve
from diffsoil.cases.check import faults_of
from diffsoil.cases.drivers import check_covered, read_atmosphere, read_climate
from diffsoil.cases.formats import upgrade
from diffsoil.cases.kinds import names_of
from diffsoil.cases.management import read_management
from diffsoil.cases.profile_table import read_horizons
from diffsoil.cases.profiles import Horizon
from diffsoil.cases.schema import CaseFile
from diffsoil.cases.validation import validated
from diffsoil.io import (
    Faults,
    InputError,
    data_path,
    nearest,
    parse_toml,
    read_text,
)
from diffsoil.tables import Meant


def find_case(case: str | Path) -> Path:
    """The file of a case: a path, or the name of a shipped case."""
    path = Path(case)
    shipped = data_path("cases", f"{case}.toml")
    if path.is_file():
        return path
    if path.suffix == "" and shipped.is_file():
        return shipped
    names = sorted(p.stem for p in data_path("cases").glob("*.toml"))
    suggestion = nearest(str(case), names) or f" (shipped: {', '.join(names)})"
    raise InputError(f"{case}: no such file, and no shipped case of that name{suggestion}")


def load_case(case: str | Path) -> Case:
    """Read and check a case.

    Args:
        case: path of a TOML file, or the name of a shipped case.

    Raises:
        InputError: all that is wrong with its files, one line each with file, field and value.
    """
    path = find_case(case)
    return read_case(path, read_text(path))


def read_case(path: Path, text: str) -> Case:
    """Check the text of a case; see :func:`load_case`.

    Args:
        path: the file that it is from: named in messages, and its folder is where files named
            in the case are looked for first.
        text: TOML.
    """
    content = parse_toml(path, text)
    written = upgrade(content)
    try:
        return _checked(path, text, content)
    except InputError as error:
        raise InputError(_as_written(line, written) for line in error.faults) from error


STAND_IN = Horizon(
    upper_cm=0, lower_cm=1000, clay_percent=20, silt_percent=40, bulk_density=1.4, soc_percent=1
)
"""In place of a profile that cannot be read, so that other faults are reported as well."""


def _with_profiles(path: Path, content: dict[str, Any], faults: Faults) -> dict[str, Any]:
    """The content of a case with the horizons of tables that it names."""
    soils, meant = content.get("soil"), content.get("plausible")
    if not isinstance(soils, dict):
        return content
    read = dict(soils)
    for name, soil in soils.items():
        if not (isinstance(soil, dict) and isinstance(soil.get("horizons"), str)):
            continue
        read[name] = soil | {"horizons": [STAND_IN]}
        with faults.gathered():
            table = resolve(path, soil["horizons"])
            confirmed = Meant(meant if isinstance(meant, list) else ())
            read[name] = soil | {"horizons": read_horizons(table, name, confirmed)}
    return content | {"soil": read}


def _name(path: Path) -> str:
    """The name of a case that does not say one: of its file, or of its folder for a case.toml."""
    own = path.stem if path.stem != "case" else path.absolute().parent.name
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", own).lstrip("_.-")[:64] or "case"


def _as_written(fault: str, written: Mapping[str, object]) -> str:
    """A fault that names the value that stands in the file, where that has an older format."""
    for where, value in written.items():
        if f": {where}:" in fault:
            return f"{fault} (written as {value} in an older format)"
    return fault


def _checked(path: Path, text: str, content: dict[str, Any]) -> Case:
    faults = Faults()
    content = {"name": _name(path)} | _with_profiles(path, content, faults)
    with faults.gathered():
        file = validated(path, CaseFile, content)
    faults.refuse()
    faults = faults_of(path, file)
    faults.refuse()  # what the tables have to hold follows from the case
    climate, management = {}, None
    for name, of in file.climate.items():
        with faults.gathered():
            climate[name] = read_climate(path, of, Meant(file.plausible))
    with faults.gathered():
        management = read_management(path, file)
    for name in names_of(file.experiment.climate) if file.experiment else ():
        with faults.gathered():
            check_covered(path, file, name, climate.get(name))
    read = Case(path=path, text=text, file=file, climate=climate, management=management)
    with faults.gathered():
        if file.radiocarbon_atmosphere:
            of_air = read.resolve(file.radiocarbon_atmosphere)
            meant = Meant(file.plausible)
            air = read_atmosphere(of_air, file.start_year, read.end_year, meant)
            read = dataclasses.replace(read, atmosphere=air)
    with faults.gathered():
        _check_parameters(read)
    faults.refuse()
    return read


def _check_parameters(case: Case) -> None:
    table = case.column().parameters()
    faults = Faults()
    for name in case.file.free:
        if name not in table and not name.startswith("observation."):
            faults.add(f"{case.path}: free: no parameter {name!r}{nearest(name, table)}")
    for name, free in case.file.free.items():
        if free.by is None:
            if free.between is not None:
                faults.add(f'{case.path}: free.{name}.between: of what? by = "site" is missing')
        elif name not in table or table[name].lower < 0:
            faults.add(f"{case.path}: free.{name}.by: only a parameter >= 0 of a process can be")
        elif free.by == "treatment" and not case.file.treatment:
            faults.add(f'{case.path}: free.{name}.by: "treatment", and there are none')
        elif free.between is not None and free.between.kind == "uniform":
            faults.add(f"{case.path}: free.{name}.between: kind must be normal or lognormal")
    for name, prior in case.priors().items():
        of = table.get(name)
        if prior and of and (complaint := prior.objection(of.lower, of.upper)):
            faults.add(f"{case.path}: free.{name}.prior: {complaint} {of.unit}")
    faults.refuse()
