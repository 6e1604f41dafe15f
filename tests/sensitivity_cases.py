"""Small cases for tests of sensitivity: a closed form, and a whole soil that is farmed."""

from __future__ import annotations

from pathlib import Path

from diffsoil.cases import Case, read_case
from diffsoil.io import data_path

CLOSED = """
format = 2
name = "closed"
title = "One layer, every month the same"
start_year = 1
minimum = "hard"
protection = []

[grid]
layers = 1
thickness_m = 0.25

[climate.same]
normals = "normals.csv"

[site]
field = "loam"

[[soil.loam.horizons]]
upper_cm = 0
lower_cm = 25
clay_percent = 20
silt_percent = 50
bulk_density = 1.3
soc_percent = 1.0
one_to_one_share = 0.3
base_saturation = 60
calcite_percent = 2

[land_use.grass]
cover = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
plant_input_months = [MONTHS]
dpm_rpm_ratio = 0.67
leaf_share = 0.0
root_beta = 0.95
input_group = "grass"
plant_carbon_t_ha = 3.0

[[history]]
until = 4000
step_years = 100
climate = "same"
land_use = "grass"
"""


def closed(folder: Path, text: str = CLOSED) -> Case:
    """Carbon of one layer whose months are all the same; at steady state in year 4000."""
    rows = [f"{month},10,100,20" for month in range(1, 13)]
    lines = ["month,temperature_c,precipitation_mm,pet_mm", *rows]
    (folder / "normals.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = text.replace("MONTHS", ", ".join(["0.08333333333333333"] * 12))
    path = folder / "closed.toml"
    path.write_text(text, encoding="utf-8")
    return read_case(path, text)


def protected(folder: Path) -> Case:
    """The same with all four mechanisms, in three layers, for a shorter time."""
    text = CLOSED.replace("protection = []", "").replace("layers = 1", "layers = 3")
    text = text.replace("until = 4000", "until = 400").replace("lower_cm = 25", "lower_cm = 75")
    return closed(folder, text)


def farmed() -> Case:
    """Loess under steppe, farmed and left again, with layers of 0.1 m that erode evenly."""
    path = data_path("cases", "loess_dry_agriculture.toml")
    text = path.read_text(encoding="utf-8")
    # one of its two kinds of farm: every phase is compiled
    first, steppe, farm, _, again = text.split("[[history]]")
    text = "[[history]]".join([first, steppe, farm, again])
    changes = {
        "layers = 40": "layers = 10",
        "thickness_m = 0.05": "thickness_m = 0.10",
        "until = 8000": "until = 200",
        "until = 9900": "until = 280",
        "until = 12000": "until = 500",
        'erosion = "events"': 'erosion = "continuous"',
    }
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return read_case(path, text)
