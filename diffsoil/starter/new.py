"""Folders of new cases, from an example, a table of horizons, files of RothC or a shipped case."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import tomlkit

from diffsoil.cases import find_case, load_case
from diffsoil.cases.fingerprint import files_of
from diffsoil.cases.json_schema import json_schema
from diffsoil.cases.land_use import library
from diffsoil.cases.schema import CaseFile
from diffsoil.io import Faults, InputError, data_path, hint, nearest, parse_toml, read_text
from diffsoil.rothc import read_inputs, read_official, read_site
from diffsoil.rothc.model import Site
from diffsoil.rothc.official import is_official
from diffsoil.starter.answers import Answers
from diffsoil.work.folder import Kind, OutputFolder

KIND = Kind(
    "case",
    "a new case",
    ("case.toml", "case.schema.json", *(f"{name}.csv" for name in (
        "normals", "weather", "profile", "management", "observations"))),
)  # fmt: skip

MOST_BARE = 0.5
"""Share of the years in which a month has plants from which on it counts as covered."""


def new_case(
    folder: Path | str,
    source: Path | str | None = None,
    site: Path | str | None = None,
    answers: Answers = Answers(),
) -> list[str]:
    """Make the folder of a new case.

    Args:
        folder: to make; its name is that of the case.
        source: input of RothC (the official program's own file, or CSV), a CSV of horizons, or
            the name of a shipped case; the example if not given.
        site: JSON of the site of a CSV of RothC.
        answers: what else the case says.

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
    faults.refuse()
    inputs = [path for path in (source, site) if path is not None and Path(path).exists()]
    place = OutputFolder(folder, KIND, inputs=inputs)
    with place:
        if source is None:
            files = _example(folder.name, answers)
        elif is_rothc(source):
            files = _of_rothc(folder.name, source, site, answers)
        elif Path(source).suffix == ".csv":
            files = _of_profile(folder.name, source, answers)
        else:
            files = _of_case(source)
        for name, content in files.items():
            _write(place.work / name, content)
        place.add(list(files))
        schema = json.dumps(json_schema(CaseFile), indent=1, ensure_ascii=False)
        (place.work / "case.schema.json").write_text(schema + "\n", encoding="utf-8")
        _refuse_as_given(place.work, folder, source)
    return ["case.toml", *sorted(name for name in files if name != "case.toml")]


def _write(path: Path, content: str | pd.DataFrame | Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        shutil.copyfile(content, path)
    elif isinstance(content, str):
        path.write_text(content, encoding="utf-8")
    else:
        content.to_csv(path, index=False, float_format="%.6g")


def _refuse_as_given(work: Path, folder: Path, source: Path | str | None) -> None:
    """Read what was written; a fault is that of the source, and is named so."""
    try:
        load_case(work / "case.toml")
    except InputError as error:
        given = str(source) if source is not None else str(folder / "case.toml")
        raise InputError(
            fault.replace(str(work / "profile.csv"), given).replace(str(work), str(folder))
            for fault in error.faults
        ) from error


def _text(title: str, answers: Answers, **more: Any) -> str:
    """The case."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diffsoil.starter", "."),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # TOML, whose texts the filter quotes
    )
    environment.filters["toml"] = lambda text: tomlkit.string(text).as_string()
    values: dict[str, Any] = {
        "title": answers.title or title,
        "native": answers.native,
        "crop": answers.crop,
        "since": answers.since,
        "first": answers.first,
        "last": answers.last,
        "start_year": answers.since - 6000,
        "old_carbon": 2.5,
        "native_more": [],
        "old_more": [],
        "crop_more": [],
        "monthly": False,
        "table": False,
        "example": True,
    }
    return environment.get_template("case.toml.j2").render(values | more)


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


def _example(name: str, answers: Answers) -> dict[str, Any]:
    return {
        "case.toml": _text(name, answers),
        "normals.csv": _normals(),
        "profile.csv": PROFILE,
        "observations.csv": _observations(answers),
    }


def _of_profile(name: str, source: Path | str, answers: Answers) -> dict[str, Any]:
    """The example with horizons of one's own."""
    return _example(name, answers) | {"profile.csv": Path(source)}


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


# From files of RothC.


def is_rothc(path: Path | str) -> bool:
    """Whether a file is an input of RothC, the official program's or ours."""
    if not Path(path).is_file():
        return False
    if Path(path).suffix == ".csv":
        return "dpm_rpm" in read_text(path).split("\n", 1)[0].lower()
    return is_official(path)


def _of_rothc(
    name: str, source: Path | str, site: Path | str | None, answers: Answers
) -> dict[str, Any]:
    """A column of the depth of a RothC run, with its climate and its inputs by year."""
    if is_official(source):
        of_site, table, _ = read_official(source)
    elif site is None:
        raise InputError(f"{source}: needs the site as well, --site SITE.json")
    else:
        of_site, table = read_site(site), read_inputs(source)
    before, months = table.iloc[:12], table.iloc[12:]
    counted = months.groupby("year")["month"].count()
    whole = months[months["year"].isin(counted.index[counted == 12])]
    if whole.empty:
        raise InputError(f"{source}: column 'month': there is no year with twelve months")
    first, last = int(whole["year"].min()), int(whole["year"].max())
    answers = dataclasses.replace(
        answers, first=first, last=last, since=min(answers.since, first - 100)
    )
    carbon = float(before["c_inp_tC_ha"].sum())
    if dew := int((table["evap_mm"] < 0).sum()):
        hint(f"{source}: {dew} months have negative evaporation (dew), which is 0 in the column")
    text = _text(
        name,
        answers,
        monthly=True,
        table=True,
        example=False,
        old_carbon=f"{carbon:g}",
        native_more=[f"plant_carbon_t_ha = {carbon:g}    # that of the spin-up of RothC"],
        old_more=_use(before),
        crop_more=_use(whole),
    )
    return {
        "case.toml": text,
        "normals.csv": _weather(before).drop(columns="year"),
        "weather.csv": _weather(whole),
        "profile.csv": _profile(of_site),
        "management.csv": _management(whole),
    }


def _weather(table: pd.DataFrame) -> pd.DataFrame:
    names = {
        "year": "year",
        "month": "month",
        "tmp_c": "temperature_c",
        "rain_mm": "precipitation_mm",
        "evap_mm": "evaporation_mm",
    }
    found = table[list(names)].rename(columns=names)
    return found.assign(evaporation_mm=found["evaporation_mm"].clip(lower=0.0))


def _use(table: pd.DataFrame) -> list[str]:
    """Cover, input by month and quality of plants, as RothC has them."""
    by_month = table.groupby("month")
    cover = (by_month["pc"].mean() >= MOST_BARE).astype(int).tolist()
    input_ = by_month["c_inp_tC_ha"].mean()
    lines = [f"cover = {cover}"]
    if input_.sum() > 0:
        shares = np.round((input_ / input_.sum()).to_numpy(), 4)
        shares[shares.argmax()] += 1.0 - shares.sum()  # they have to sum to 1
        lines.append(f"plant_input_months = [{', '.join(f'{s:.4g}' for s in shares)}]")
    ratio = table["dpm_rpm"]
    same = ratio.min() == ratio.max()
    told = "" if same else f"  # {ratio.min():g} to {ratio.max():g} in RothC"
    return [*lines, f"dpm_rpm_ratio = {ratio.mean():g}{told}"]


def _profile(site: Site) -> pd.DataFrame:
    """One horizon of the depth of RothC; what RothC does not know is assumed, and marked so."""
    clay, depth = float(site.clay_pct), float(site.depth_cm)
    assumed = []

    def known(name: str, value: Any, otherwise: float) -> float:
        if value is None:
            assumed.append(name)
        return otherwise if value is None else float(value)

    silt = known("silt_percent", site.silt_pct, round(0.5 * (100.0 - clay), 1))
    density = known("bulk_density", site.bulk_density_g_cm3, 1.3)
    mass = density * depth * 100.0  # Mg/ha
    inert = 100.0 * float(site.iom_tC_ha) / mass
    carbon = known("soc_percent", site.oc_pct, round(max(1.0, 2.0 * inert), 2))
    return pd.DataFrame(
        {
            "horizon": ["Ap"],
            "upper_cm": [0],
            "lower_cm": [depth],
            "clay_percent": [clay],
            "silt_percent": [silt],
            "bulk_density": [density],
            "soc_percent": [carbon],
            "iom_percent": [inert],
            "note": [f"assumed: {', '.join(assumed)}" if assumed else ""],
        }
    )


def _management(table: pd.DataFrame) -> pd.DataFrame:
    """Carbon of plants and of manure by year."""
    sums: Mapping[str, str] = {
        "c_inp_tC_ha": "plant_carbon_base_t_ha",
        "fym_tC_ha": "manure_carbon_t_ha",
    }
    yearly = table.groupby("year")[list(sums)].sum().rename(columns=sums).reset_index()
    yearly.insert(0, "treatment", "field")
    yearly.insert(2, "land_use", "crop")
    return yearly
