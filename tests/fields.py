"""A case with several fields that differ in how fast their humus decomposes, for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tests.tiny_case import PET, RAIN, TEMPERATURE

YEARS = (1900, 1912, 1924, 1936, 1950)

HEAD = """
format = 2
title = "Fields that differ"
start_year = -100

[grid]
layers = 2
thickness_m = 0.15

[climate.normals]
normals = "normals.csv"

[land_use.grass]
like = "natural_grass"
plant_carbon_t_ha = 4.0
[land_use.crop]
like = "cereal"
plant_carbon_t_ha = 2.0

[[history]]
until = 1899
land_use = "grass"
step_years = 50

[experiment]
until = 1950
[[management]]
land_use = "crop"

[observations]
files = ["observations.csv"]
keep_out_sites = KEPT_OUT

[free."carbon.k_hum"]
by = "site"
between = { kind = "lognormal", location = 0.2, scale = 0.7 }
"""


def write(folder: Path, names: Sequence[str], kept_out: Sequence[str] = ()) -> Path:
    """Write a case of some fields, each with a stock in some years whose values are to be set.

    Args:
        folder: where to.
        names: of the fields.
        kept_out: those of them that are not to be fitted.
    """
    normals = "month,temperature_c,precipitation_mm,pet_mm\n" + "".join(
        f"{m + 1},{TEMPERATURE[m]},{RAIN[m]},{PET[m]}\n" for m in range(12)
    )
    soils = "".join(["[site]\n", *(f'{name} = "{name}"\n' for name in names)])
    for place, name in enumerate(names):
        soils += f"[[soil.{name}.horizons]]\nupper_cm = 0\nlower_cm = 30\n"
        soils += f"clay_percent = {15 + 3 * place % 20}\nsilt_percent = 60\n"
        soils += "bulk_density = 1.35\nsoc_percent = 1.5\nbase_saturation = 80\n"
        soils += f'[[treatment]]\nname = "{name}_arable"\nsite = "{name}"\n'
    table = "site,treatment,year,variable,upper_cm,lower_cm,value,sd,unit,series\n"
    for name in names:
        for year in YEARS:
            table += f"{name},{name}_arable,{year},soc_stock,0,30,50,1.0,t C/ha,topsoil\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "normals.csv").write_text(normals, encoding="utf-8")
    (folder / "observations.csv").write_text(table, encoding="utf-8")
    case = folder / "case.toml"
    text = HEAD.replace("KEPT_OUT", json.dumps(list(kept_out))) + soils
    case.write_text(text, encoding="utf-8")
    return case
