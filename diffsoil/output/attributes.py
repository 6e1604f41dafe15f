"""Attributes that say what a file of results is, who made it and how (ACDD 1.3)."""

from __future__ import annotations

import datetime
from importlib import metadata

from diffsoil.cases import Case
from diffsoil.cases.about import About
from diffsoil.quantities import Result

CONVENTIONS = "CF-1.11, ACDD-1.3"
"""What files of results keep to: climate and forecast, and data discovery."""

VOCABULARY = "CF Standard Name Table v93"
"""Where the standard names of variables are from."""

DEPTH = {
    "units": "m",
    "long_name": "depth of the middle of the layer as laid down",
    "standard_name": "depth",
    "positive": "down",
    "axis": "Z",
    "bounds": "depth_bounds",
}
"""Attributes of the coordinate of the layers."""

STANDARD_NAMES = {
    "bulk_density": "dry_soil_density",
    "litter_stock": "surface_litter_mass_content_of_carbon",
    "ph": "soil_water_ph",
    "precipitation": "lwe_thickness_of_precipitation_amount",
    "temperature": "soil_temperature",
    "thickness": "cell_thickness",
    "water_content": "volume_fraction_of_condensed_water_in_soil",
}
"""Standard names of results, where one means the same; of most there is none."""


def discovery(case: Case, made_by: str) -> dict[str, str]:
    """Attributes of a file by which it is found, and its maker.

    Args:
        case: what was computed; ``[about]`` in it says who made the results.
        made_by: the command, as in ``history``.
    """
    file, about = case.file, case.file.about or About()
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    program = f"diffsoil {metadata.version('diffsoil')}"
    depth = file.grid.layers * file.grid.thickness_m
    given = {name: value for name, value in about.model_dump().items() if value is not None}
    return {
        "title": file.title,
        "summary": f"{file.title}: organic carbon and other properties of the soil from "
        f"{file.start_year} to {case.end_year}, to a depth of {depth:g} m, by {program}.",
        **given,
        "keywords": ", ".join(about.keywords),
        "source": program,
        "history": f"{now} {program} {made_by} of the case {case.name}",
        "date_created": now,
    }


def of_variable(name: str, about: Result) -> dict[str, str]:
    """Attributes of a result, besides who computes it."""
    found = {
        "units": about.unit,
        "long_name": about.long_name,
        "coverage_content_type": "modelResult",
    }
    if name in STANDARD_NAMES:
        found["standard_name"] = STANDARD_NAMES[name]
    if about.unit == "degC":
        found["units_metadata"] = "temperature: on_scale"
    return found


def extent(case: Case) -> dict[str, str | float]:
    """Attributes that say which depths and years a file of results covers."""
    file = case.file
    years = case.end_year - file.start_year + 1
    return {
        "standard_name_vocabulary": VOCABULARY,
        "geospatial_vertical_min": 0.0,
        "geospatial_vertical_max": file.grid.layers * file.grid.thickness_m,
        "geospatial_vertical_units": "m",
        "geospatial_vertical_positive": "down",
        "geospatial_vertical_resolution": f"{file.grid.thickness_m:g} m",
        "time_coverage_start": _begin(file.start_year),
        "time_coverage_end": _begin(case.end_year).replace("-01-01", "-12-31"),
        "time_coverage_duration": f"P{years}Y",
        "time_coverage_resolution": "P1Y",
    }


def _begin(year: int) -> str:
    """First day of a year (ISO 8601); years before the common era have a sign."""
    sign = "-" if year < 0 else ""
    return f"{sign}{abs(year):04d}-01-01"
