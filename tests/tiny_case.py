"""A small case with everything in it, for tests: two sites, litter, plough, manure, a change."""

from __future__ import annotations

from pathlib import Path

import numpy as np

LAYERS = 8
START, EXPERIMENT, END = 1600, 1900, 1911

TEMPERATURE = [1.0, 2.0, 5.0, 8.0, 12.5, 16.0, 18.0, 17.5, 14.0, 9.5, 5.0, 2.0]
RAIN = [60, 45, 50, 48, 55, 57, 50, 58, 62, 70, 68, 66]
PET = [5, 10, 30, 55, 85, 100, 105, 85, 50, 25, 10, 5]

CASE = """
format = 1
name = "tiny"
title = "Two sites and four treatments"
start_year = 1600
minimum = "hard"
radiocarbon_atmosphere = "atmosphere.csv"

[grid]
layers = 8
thickness_m = 0.10

[climate.early]
normals = "normals.csv"

[climate.weather]
monthly = "weather.csv"

[site]
field = "loam"
hill = "clay"

[[soil.loam.horizons]]
upper_cm = 0
lower_cm = 25
clay_percent = 16
silt_percent = 60
bulk_density = 1.25
soc_percent = 1.2
iom_percent = 0.08
one_to_one_share = 0.9
base_saturation = 60

[[soil.loam.horizons]]
upper_cm = 25
lower_cm = 90
clay_percent = 24
silt_percent = 55
bulk_density = 1.45
soc_percent = 0.5
iom_percent = 0.05
one_to_one_share = 0.1
base_saturation = 90
calcite_percent = 5

[[soil.clay.horizons]]
upper_cm = 0
lower_cm = 80
clay_percent = 45
silt_percent = 35
bulk_density = 1.40
soc_percent = 1.5
one_to_one_share = 0.5
base_saturation = 30
dissolved_al_fe = 0.03

[land_use.forest]
cover = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
plant_input_months = [0, 0, 0, 0, 0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.1, 0.1]
dpm_rpm_ratio = 0.25
leaf_share = 0.5
root_beta = 0.966
litter_layer = true
input_group = "trees"
npp = "miami"
harvest_share = 0.4

[land_use.crop]
cover = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1]
plant_input_months = [0, 0, 0, 0.1, 0.2, 0.2, 0.2, 0.3, 0, 0, 0, 0]
dpm_rpm_ratio = 1.44
leaf_share = 0.3
root_beta = 0.961
plough_depth_m = 0.23
input_group = "crop"
yield_group = "yield"
plant_carbon_t_ha = 2.0

[[history]]
until = 1800
step_years = 20
climate = "early"
land_use = "forest"

[[history]]
until = 1900
step_years = 10
climate = "early"
land_use = { field = "crop", hill = "forest" }

[experiment]
until = 1911
climate = "weather"
management = "management.csv"

[[treatment]]
name = "control"
site = "field"

[[treatment]]
name = "manured"
site = "field"

[[treatment]]
name = "compacted"
site = "field"
input_groups = { crop = "compact_crop" }

[[treatment.changes]]
variable = "bulk_density"
upper_cm = 0
lower_cm = 20
years = [1904, 1908]
values = [1.25, 1.45]

[[treatment]]
name = "cleared"
site = "hill"

[free."carbon.k_hum"]
"""


def texts() -> dict[str, str]:
    """The files of the case, by name."""
    normals = "month,temperature_c,precipitation_mm,pet_mm\n" + "".join(
        f"{m + 1},{TEMPERATURE[m]},{RAIN[m]},{PET[m]}\n" for m in range(12)
    )
    # deterministic weather: warm and cold, dry and wet years
    weather = "year,month,temperature_c,precipitation_mm,evaporation_mm\n"
    for year in range(EXPERIMENT, END + 1):
        for m in range(12):
            swing = np.sin(2.3 * (year - EXPERIMENT) + 0.7 * m)
            weather += (
                f"{year},{m + 1},{TEMPERATURE[m] + 1.5 * swing:.4f},"
                f"{RAIN[m] * (1 + 0.5 * swing):.4f},{PET[m] / 0.75 * (1 - 0.1 * swing):.4f}\n"
            )
    management = (
        "treatment,year,land_use,plant_carbon_base_t_ha,plant_carbon_yield_t_ha,"
        "manure_carbon_t_ha,fallow_share\n"
    )
    for treatment in ("control", "manured", "compacted", "cleared"):
        for year in range(EXPERIMENT, END + 1):
            manure = 3.0 if treatment == "manured" and year >= 1905 else 0.0
            fallow = 0.2 if year == 1903 else 0.0
            management += f"{treatment},{year},crop,1.0,1.5,{manure},{fallow}\n"
    atmosphere = "year,activity\n-60000,1.0\n1800,0.99\n1900,0.98\n2020,1.02\n"
    return {
        "case.toml": CASE,
        "normals.csv": normals,
        "weather.csv": weather,
        "management.csv": management,
        "atmosphere.csv": atmosphere,
    }


def with_one_phase(text: str) -> str:
    """The case without the first phase of its history: less to compile."""
    begins = text.index("[[history]]")
    return text[:begins] + text[text.index("[[history]]", begins + 1) :]


def write(folder: Path, **changes: list[tuple[str, str]]) -> Path:
    """Write the case with texts replaced.

    Args:
        folder: where to.
        changes: (old, new) by stem of the file; each old text has to be there.
    """
    for name, text in texts().items():
        for old, new in changes.get(name.split(".")[0], []):
            assert old in text, old
            text = text.replace(old, new, 1)
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "case.toml"
