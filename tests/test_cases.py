"""Cases: every mistake has one line with file, field and value; the grid conserves mass."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from diffsoil.cases import load_case, set_parameters
from diffsoil.cases.arrays import build
from diffsoil.cases.drivers import read_atmosphere
from diffsoil.cases.horizons import remap
from diffsoil.cases.plausible import of_atmosphere, of_climate
from diffsoil.cases.profiles import Soil
from diffsoil.cases.schema import Grid
from diffsoil.io import InputError, data_path
from diffsoil.output.simulation import simulate_file
from tests import tiny_case


def complaint(folder, **changes) -> str:
    path = tiny_case.write(folder, **changes)
    with pytest.raises(InputError) as caught:
        load_case(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(folder))
    return text.removeprefix(f"{folder}/")


JUNE_1905 = next(
    line for line in tiny_case.texts()["weather.csv"].splitlines() if line.startswith("1905,6,")
)
MANAGED_1905 = "manured,1905,crop,1.0,1.5,3.0,0.0"


def cells(line: str, **new: str) -> str:
    """A line of the weather file with some of its cells replaced."""
    names = ("year", "month", "temperature_c", "precipitation_mm", "evaporation_mm")
    return ",".join(new.get(name, old) for name, old in zip(names, line.split(","), strict=True))


SITES_APART = [
    (
        "[climate.weather]",
        '[climate.cold]\nnormals = "cold.csv"\n\n[climate.cool]\nmonthly = "cool.csv"\n\n'
        "[climate.weather]",
    ),
    ('climate = "early"', 'climate = { field = "early", hill = "cold" }'),
    ('climate = "early"', 'climate = { field = "early", hill = "cold" }'),
    ('climate = "weather"', 'climate = { field = "weather", hill = "cool" }'),
]


def prior(text: str) -> dict:
    return {"case": [('[free."carbon.k_hum"]', f'[free."carbon.k_hum"]\nprior = {{ {text} }}')]}


def scaled(name: str, by: float, column: str = "precipitation_mm") -> list[tuple[str, str]]:
    """Changes of a table that multiply the numbers of a column."""
    header, *lines = tiny_case.texts()[name].splitlines()
    place = header.split(",").index(column)
    changes = []
    for line in lines:
        cells = line.split(",")
        cells[place] = f"{float(cells[place]) * by:.5g}"
        changes.append((line, ",".join(cells)))
    return changes


MISTAKES = {
    **{
        f"rain in {unit}": (
            {"weather": scaled("weather.csv", by)},
            ["weather.csv", "column 'precipitation_mm'", "m, cm, inches or mm/day", "plausible = "],
        )
        for unit, by in {"m": 1e-3, "cm": 0.1, "mm/day": 1 / 30.4, "inches": 1 / 25.4}.items()
    },
    "normals of rain in cm": (
        {"normals": scaled("normals.csv", 0.1)},
        ["normals.csv", "68.9 mm of rain", "565 mm of potential"],
    ),
    "one year of rain in m": (
        {"weather": [c for c in scaled("weather.csv", 1e-3) if c[0].startswith("1903,")]},
        ["weather.csv", "mm of rain in 1903", "another unit"],
    ),
    "one year of evaporation in cm": (
        {
            "weather": [
                change
                for change in scaled("weather.csv", 0.1, "evaporation_mm")
                if change[0].startswith("1903,")
            ]
        },
        ["weather.csv", "column 'evaporation_mm'", "1903", "another unit"],
    ),
    "a summer of codes": (
        {
            "weather": [
                (line, cells(line, temperature_c="-9"))
                for line in tiny_case.texts()["weather.csv"].splitlines()
                if line.startswith(("1905,6,", "1905,7,", "1905,8,"))
            ]
        },
        ["weather.csv", "-9 C in line", "3 such months", "code for a missing value"],
    ),
    "fresh weight of manure": (
        {"management": scaled("management.csv", 10.0, "manure_carbon_t_ha")},
        ["management.csv", "'manure_carbon_t_ha'", "fresh weight", "plausible = "],
    ),
    "temperatures in Fahrenheit": (
        {
            "normals": [
                (f"{m + 1},{t}", f"{m + 1},{1.8 * t + 32:.4g}")
                for m, t in enumerate(tiny_case.TEMPERATURE)
            ]
        },
        ["normals.csv", "column 'temperature_c'", "Fahrenheit"],
    ),
    "code for a missing temperature": (
        {"weather": [(JUNE_1905, cells(JUNE_1905, temperature_c="-9"))]},
        ["weather.csv", "'temperature_c'", "-9 C in line 67", "missing value"],
    ),
    "code for missing rain": (
        {"weather": [(JUNE_1905, cells(JUNE_1905, precipitation_mm="999"))]},
        ["weather.csv", "line 67, column 'precipitation_mm'", "999", "missing value"],
    ),
    "evaporation in cm": (
        {"normals": [(f",{pet}\n", f",{pet / 10}\n") for pet in tiny_case.PET]},
        ["normals.csv", "column 'pet_mm'", "m, cm"],
    ),
    "clay as a fraction": (
        {"case": [("clay_percent = 16", "clay_percent = 0.16")]},
        ["soil.loam.horizons.0.clay_percent", "0.16 is less", "fractions"],
    ),
    "carbon as a fraction": (
        {"case": [("soc_percent = 1.5", "soc_percent = 0.015")]},
        ["soil.clay.horizons.0.soc_percent", "0.015 is less", "fractions"],
    ),
    "carbon in g/kg": (
        {"case": [("soc_percent = 1.2", "soc_percent = 13")]},
        ["soil.loam.horizons.0.soc_percent", "13 is that", "g/kg"],
    ),
    "more calcite than silt": (
        {"case": [("calcite_percent = 5", "calcite_percent = 80")]},
        ["soil.loam.horizons.1.calcite_percent", "80 is more than silt_percent 55"],
    ),
    "confirmation of what is never asked about": (
        {"case": [("minimum =", 'plausible = ["precipitation"]\nminimum =')]},
        ["plausible", "'precipitation'", "did you mean 'precipitation_mm'?"],
    ),
    "no input in the history": (
        {"case": [("plant_carbon_t_ha = 2.0\n", "")]},
        ["land_use.crop", "neither npp nor plant_carbon_t_ha", "history.1"],
    ),
    "plant carbon that npp overrules": (
        {"management": [(MANAGED_1905, MANAGED_1905.replace("crop", "forest"))]},
        ["management.csv", "line 19", "'plant_carbon_base_t_ha'", "land use 'forest' has npp"],
    ),
    "plant carbon left out": (
        {"management": [(MANAGED_1905, MANAGED_1905.replace("1.0", ""))]},
        ["management.csv", "line 19", "'plant_carbon_base_t_ha'", "missing"],
    ),
    "optional column under another name": (
        {"management": [("manure_carbon_t_ha", "manure_C_t_ha")]},
        ["unknown column 'manure_C_t_ha', did you mean 'manure_carbon_t_ha'?"],
    ),
    "normal prior without a scale": (
        prior('kind = "normal", location = 0.02'),
        ["free.carbon.k_hum.prior", "a normal prior needs scale"],
    ),
    "negative scale of a prior": (
        prior('kind = "normal", location = 0.02, scale = -1.0'),
        ["free.carbon.k_hum.prior.scale", "-1"],
    ),
    "numbers that a uniform prior does not have": (
        prior("location = 0.02"),
        ["free.carbon.k_hum.prior", "a uniform prior has no location (got 0.02)"],
    ),
    "prior outside the bounds": (
        prior('kind = "normal", location = 50, scale = 1'),
        ["free.carbon.k_hum.prior", "location 50", "0.002 to 0.1"],
    ),
    "prior with next to nothing within the bounds": (
        prior('kind = "normal", location = 0.05, scale = 1e4'),
        ["free.carbon.k_hum.prior", "of the prior lies within"],
    ),
    "lognormal prior around a negative number": (
        prior('kind = "lognormal", location = -0.02, scale = 1'),
        ["free.carbon.k_hum.prior", "location -0.02"],
    ),
    "true for a number": (
        {"case": [("layers = 8", "layers = true")]},
        ["grid.layers", "got true"],
    ),
    "number in quotation marks": (
        {"case": [("dpm_rpm_ratio = 1.44", 'dpm_rpm_ratio = "1.44"')]},
        ["land_use.crop.dpm_rpm_ratio", "got '1.44'"],
    ),
    "required key misspelt": (
        {"case": [("leaf_share = 0.3", "leave_share = 0.3")]},
        ["unknown key 'land_use.crop.leave_share', did you mean 'leaf_share'?"],
    ),
    "more years than there is memory for": (
        {"case": [("until = 1911", "until = 999999999")]},
        ["experiment.until", "999999999"],
    ),
    "longer history than there is memory for": (
        {
            "case": [
                ("start_year = 1600", "start_year = -59900"),
                ("until = 1900", "until = 59900"),
                ("until = 1911", "until = 59911"),
            ]
        },
        ["until: 119812 years", "at most 100000 years"],
    ),
    "start before there were soils": (
        {"case": [("start_year = 1600", "start_year = -100000990")]},
        ["start_year", "-100000990"],
    ),
    "name that leaves the folder": (
        {"case": [('name = "tiny"', 'name = "../../elsewhere"')]},
        ["name", "'../../elsewhere'"],
    ),
    "treatment with a slash": (
        {"case": [('name = "manured"', 'name = "N1/2"')]},
        ["treatment.1.name", "'N1/2'", "a label may be any text"],
    ),
    "key of a land use with a dollar": (
        {"case": [("[land_use.crop]", '[land_use."$crop$"]')]},
        ["land_use.$crop$"],
    ),
    "normals without a name": (
        {"case": [('"normals.csv"', '""')]},
        ["climate.early.normals"],
    ),
    "nested without end": (
        {"case": [("format = 1", "format = " + "[" * 100_000 + "]" * 100_000)]},
        ["case.toml", "nested too deeply"],
    ),
    "14C record that ends before the case": (
        {"atmosphere": [("2020,1.02", "1905,1.02")]},
        ["atmosphere.csv", "covers -60000 to 1905", "1600 to 1911", "not extrapolated"],
    ),
    "14C as a deviation": (
        {"atmosphere": [("1900,0.98", "1900,0.02")]},
        ["atmosphere.csv", "column 'activity': 0.02: is this a deviation"],
    ),
    "14C of one year twice": (
        {"atmosphere": [("2020,1.02", "1900,1.02\n2020,1.02")]},
        ["atmosphere.csv", "line 5", "1900 is there already"],
    ),
    "no climate for a site": (
        {"case": [('climate = "early"', 'climate = { field = "early" }')]},
        ["history.0.climate", "nothing for site 'hill'"],
    ),
    "unknown key": (
        {"case": [("harvest_share = 0.4", "harvest_shar = 0.4")]},
        ["case.toml", "land_use.forest.harvest_shar", "did you mean 'harvest_share'?"],
    ),
    "unknown table": (
        {"case": [("[grid]", "[grit]")]},
        ["case.toml", "grid"],
    ),
    "not TOML": ({"case": [("format = 1", "format = ")]}, ["case.toml", "not valid TOML"]),
    "upside-down horizon": (
        {"case": [("upper_cm = 25\nlower_cm = 90", "upper_cm = 90\nlower_cm = 25")]},
        ["soil.loam.horizons.1", "90", "25", "upside down"],
    ),
    "gap in horizons": (
        {"case": [("upper_cm = 25", "upper_cm = 30")]},
        ["soil.loam", "30 cm", "25 cm is expected"],
    ),
    "horizons shallower than the grid": (
        {"case": [("lower_cm = 90", "lower_cm = 70")]},
        ["soil.loam", "70 cm", "80 cm"],
    ),
    "text for a number": (
        {"case": [("clay_percent = 16", 'clay_percent = "sticky"')]},
        ["soil.loam.horizons.0.clay_percent", "'sticky'"],
    ),
    "texture above 100 %": (
        {"case": [("silt_percent = 60", "silt_percent = 90")]},
        ["soil.loam.horizons.0", "clay_percent + silt_percent = 106"],
    ),
    "eleven months of cover": (
        {"case": [("cover = [1, 1,", "cover = [1,")]},
        ["land_use.forest.cover", "12"],
    ),
    "input months do not sum to one": (
        {"case": [("0.2, 0.2, 0.2, 0.3", "0.2, 0.2, 0.2, 0.4")]},
        ["land_use.crop", "plant_input_months", "1.1"],
    ),
    "negative plant carbon": (
        {"case": [("plant_carbon_t_ha = 2.0", "plant_carbon_t_ha = -2.0")]},
        ["land_use.crop.plant_carbon_t_ha", "-2"],
    ),
    "unknown soil": (
        {"case": [('field = "loam"', 'field = "loan"')]},
        ["site.field", "'loan'", "did you mean 'loam'?"],
    ),
    "unknown land use in history": (
        {"case": [('land_use = "forest"', 'land_use = "forrest"')]},
        ["history.0.land_use", "'forrest'", "did you mean 'forest'?"],
    ),
    "site missing in history": (
        {"case": [('{ field = "crop", hill = "forest" }', '{ field = "crop" }')]},
        ["history.1.land_use", "'hill'"],
    ),
    "unknown site in history": (
        {"case": [('hill = "forest" }', 'hill = "forest", hil = "crop" }')]},
        ["history.1.land_use", "'hil'", "did you mean 'hill'?"],
    ),
    "unknown climate": (
        {"case": [('climate = "early"', 'climate = "earl"')]},
        ["history.0.climate", "'earl'", "did you mean 'early'?"],
    ),
    "unknown site of a treatment": (
        {"case": [('name = "control"\nsite = "field"', 'name = "control"\nsite = "fjeld"')]},
        ["treatment.0.site", "'fjeld'", "did you mean 'field'?"],
    ),
    "treatment that the management file does not have": (
        {"case": [('name = "control"', 'name = "contorl"')]},
        ["management.csv", "'contorl'", "did you mean 'control'?"],
    ),
    "two treatments of one name": (
        {"case": [('name = "manured"', 'name = "control"')]},
        ["case.toml", "treatment", "same name"],
    ),
    "unknown group in a treatment": (
        {"case": [('{ crop = "compact_crop" }', '{ corp = "compact_crop" }')]},
        ["treatment.2.input_groups", "'corp'", "did you mean 'crop'?"],
    ),
    "slow step that does not divide the phase": (
        {"case": [("step_years = 20", "step_years = 30")]},
        ["history.0.step_years", "30", "200"],
    ),
    "phase that ends before it begins": (
        {"case": [("until = 1900", "until = 1700")]},
        ["history.1.until", "1700", "1800"],
    ),
    "years of a change that do not ascend": (
        {"case": [("years = [1904, 1908]", "years = [1908, 1904]")]},
        ["treatment.2.changes.0", "1908"],
    ),
    "impossible value of a change": (
        {"case": [("values = [1.25, 1.45]", "values = [1.25, 0.0]")]},
        ["treatment.2.changes.0", "bulk_density", "0"],
    ),
    "upside-down change": (
        {"case": [("upper_cm = 0\nlower_cm = 20", "upper_cm = 20\nlower_cm = 10")]},
        ["treatment.2.changes.0", "20", "10", "upside down"],
    ),
    "unknown parameter in free": (
        {"case": [('[free."carbon.k_hum"]', '[free."carbon.k_humus"]')]},
        ["free", "'carbon.k_humus'", "did you mean 'carbon.k_hum'?"],
    ),
    "unknown parameter in set": (
        {"case": [("[grid]", '[set]\n"heat.ofset" = 1\n\n[grid]')]},
        ["set", "'heat.ofset'", "did you mean 'heat.offset'?"],
    ),
    "parameter out of bounds in set": (
        {"case": [("[grid]", '[set]\n"heat.offset" = 40\n\n[grid]')]},
        ["set", "heat.offset = 40", "-2 to 4 degC"],
    ),
    "climate file that is not there": (
        {"case": [('"normals.csv"', '"normal.csv"')]},
        ["case.toml", "'normal.csv'"],
    ),
    "missing month of the normals": (
        {"normals": [("3,5.0,50,30\n", "")]},
        ["normals.csv", "'month'", "1 to 12"],
    ),
    "missing month": (
        {"weather": [(JUNE_1905 + "\n", "")]},
        ["weather.csv", "line 67", "1905-06 is missing"],
    ),
    "duplicate month": (
        {"weather": [(JUNE_1905, JUNE_1905 + "\n" + JUNE_1905)]},
        ["weather.csv", "line 68", "1905-06 appears twice"],
    ),
    "NaN in the weather": (
        {"weather": [(JUNE_1905, cells(JUNE_1905, precipitation_mm="nan"))]},
        ["weather.csv", "line 67", "'precipitation_mm'", "missing"],
    ),
    "negative rain": (
        {"weather": [(JUNE_1905, cells(JUNE_1905, precipitation_mm="-3"))]},
        ["weather.csv", "line 67", "'precipitation_mm'", "-3"],
    ),
    "temperatures in kelvin": (
        {"weather": [(JUNE_1905, cells(JUNE_1905, temperature_c="289.3"))]},
        ["weather.csv", "line 67", "'temperature_c'", "289.3", "kelvin"],
    ),
    "weather that ends too early": (
        {"weather": [("1911,12,", "1912,1,")]},
        ["weather.csv"],
    ),
    "evaporation twice": (
        {"normals": [("precipitation_mm,pet_mm", "evaporation_mm,pet_mm")]},
        ["normals.csv", "precipitation_mm"],
    ),
    "missing year in the management file": (
        {"management": [(MANAGED_1905 + "\n", "")]},
        ["management.csv", "'manured'", "1905 is missing"],
    ),
    "duplicate year in the management file": (
        {"management": [(MANAGED_1905, MANAGED_1905 + "\n" + MANAGED_1905)]},
        ["management.csv", "'manured'", "1905", "twice"],
    ),
    "unknown land use in the management file": (
        {"management": [(MANAGED_1905, MANAGED_1905.replace("crop", "corp"))]},
        ["management.csv", "line 19", "'corp'", "did you mean 'crop'?"],
    ),
    "negative manure": (
        {"management": [(MANAGED_1905, MANAGED_1905.replace("3.0", "-3.0"))]},
        ["management.csv", "line 19", "'manure_carbon_t_ha'", "-3"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_has_one_line_with_file_field_and_value(mistake, tmp_path):
    changes, words = MISTAKES[mistake]
    text = complaint(tmp_path, **changes)
    for word in words:
        assert word in text


def test_all_faults_of_a_case_are_reported_at_once(tmp_path):
    changes = [
        ("harvest_share = 0.4", "harvest_shar = 0.4"),
        ("root_beta = 0.961", "root_beta = 1.5"),
        ('npp = "miami"', 'npp = "maimi"'),
        ("clay_percent = 16\n", ""),
    ]
    with pytest.raises(InputError) as caught:
        load_case(tiny_case.write(tmp_path, case=changes))
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(line.startswith(f"{tmp_path}/case.toml: ") for line in lines)
    keys = ("land_use.forest.harvest_shar", "land_use.crop.root_beta", "land_use.forest.npp")
    for words in (*keys, "key 'soil.loam.horizons.0.clay_percent' is missing"):
        assert any(words in line for line in lines)


def test_a_record_without_the_bomb_tests_is_asked_about_where_it_matters():
    record = pd.DataFrame({"year": [1700, 1948, 2010], "activity": [1.0, 0.98, 1.05]})
    assert list(of_atmosphere(record, 1600, 1950)) == []
    (doubt,) = of_atmosphere(record, 1600, 1990)
    assert "no year between 1948 and 2010" in doubt


def test_what_is_meant_is_taken_as_it_stands(tmp_path):
    # a desert in the case that says so
    changes = {"case": [("minimum =", 'plausible = ["precipitation_mm"]\nminimum =')]}
    path = tiny_case.write(tmp_path, weather=scaled("weather.csv", 0.1), **changes)
    table = load_case(path).climate["weather"]
    assert table.groupby("year")["precipitation_mm"].sum().max() < 110


WORLD = {
    # mean temperature, its half range, rain and potential evapotranspiration of a year, as round
    # numbers
    "Phoenix": (24, 11, 180, 1950),
    "Niamey": (29, 4, 540, 2200),
    "Alice Springs": (21, 8, 280, 2100),
    "west of New Zealand": (11, 4, 5000, 600),
    "Yakutsk": (-8, 29, 240, 560),
    "Bergen": (8, 6, 2500, 500),
    "Murmansk": (1, 12, 500, 390),
    "Singapore": (28, 1, 2100, 1500),
    "Ulaanbaatar": (0, 19, 280, 830),
    "Albuquerque": (14, 11, 230, 1600),
    "Rothamsted": (9, 6, 700, 560),
}


@pytest.mark.parametrize("place", WORLD)
def test_climates_of_the_world_are_not_in_doubt(place):
    mean, half_range, rain, pet = WORLD[place]
    season = np.cos(2 * np.pi * (np.arange(12) - 6) / 12)
    weather = pd.DataFrame(
        {
            "month": np.arange(1, 13),
            "temperature_c": mean + half_range * season,
            "precipitation_mm": rain / 12 * (1 + 0.8 * season),
            "pet_mm": pet / 12 * (1 + 0.9 * season),
        }
    )
    assert list(of_climate(weather)) == []


def test_a_case_with_a_byte_order_mark_is_read(tmp_path):
    path = tiny_case.write(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_case(path).name == "tiny"


def test_case_name_with_a_typo_suggests_the_nearest():
    with pytest.raises(InputError, match="did you mean 'rothamsted'"):
        load_case("rothamstead")


def test_the_tiny_case_is_good(tmp_path):
    case = load_case(tiny_case.write(tmp_path))
    assert case.input_groups == ["compact_crop", "crop", "trees", "yield"]
    assert case.end_year == tiny_case.END


def test_all_shipped_cases_are_good():
    from diffsoil.io import data_path

    paths = list(data_path("cases").glob("*.toml"))
    assert paths
    for path in paths:
        assert load_case(path).name == path.stem


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("carbon.k_humus", 0.02, ["'carbon.k_humus'", "did you mean 'carbon.k_hum'?"]),
        ("carbon.k_hum", 5.0, ["carbon.k_hum = 5", "0.002 to 0.1 a-1"]),
        ("carbon.k_hum", float("nan"), ["carbon.k_hum = nan", "0.002 to 0.1 a-1"]),
    ],
)
def test_bad_parameter_value_is_refused(name, value, words, tmp_path):
    case = load_case(tiny_case.write(tmp_path))
    with pytest.raises(InputError) as caught:
        set_parameters(case.column(), {name: value}, case.path, "--set")
    assert all(word in str(caught.value) for word in words)


def test_each_site_can_have_a_climate_of_its_own(tmp_path):
    path = tiny_case.write(tmp_path, case=SITES_APART)
    normals = (tmp_path / "normals.csv").read_text()
    (tmp_path / "cold.csv").write_text(normals.replace("12,2.0,", "12,-8.0,"))
    weather = tiny_case.texts()["weather.csv"]
    cool = "".join(
        cells(line, temperature_c=line.split(",")[2] + "1") + "\n"
        for line in weather.splitlines()[1:]
    )
    (tmp_path / "cool.csv").write_text(weather.splitlines()[0] + "\n" + cool)
    plan = build(load_case(path))
    both = build(load_case(tiny_case.write(tmp_path)))
    for own, same in zip(
        (*plan.history, plan.experiment), (*both.history, both.experiment), strict=True
    ):
        t, usual = [
            np.asarray((dict(p.series) | dict(p.constant))["air_temperature"]) for p in (own, same)
        ]
        apart = np.abs(t - usual).max(axis=tuple(range(1, t.ndim)))
        on_hill = [plan.sites[i] == "hill" for i in plan.site_of] if own is plan.experiment else []
        on_hill = on_hill or [site == "hill" for site in plan.sites]
        np.testing.assert_array_equal(apart > 0, on_hill)


def test_unknown_treatment_is_refused_before_anything_runs(tmp_path):
    path = tiny_case.write(tmp_path)
    with pytest.raises(InputError, match="'manurd', did you mean 'manured'"):
        simulate_file(path, {}, tmp_path / "run.nc", treatments=["manurd"])
    assert not (tmp_path / "run.nc").exists()


def test_horizons_on_the_grid_conserve_soil_and_clay():
    horizons = [
        {"upper_cm": 0, "lower_cm": 7, "clay_percent": 10, "bulk_density": 1.1},
        {"upper_cm": 7, "lower_cm": 31, "clay_percent": 25, "bulk_density": 1.4},
        {"upper_cm": 31, "lower_cm": 60, "clay_percent": 40, "bulk_density": 1.6},
    ]
    rest = {"silt_percent": 30, "soc_percent": 1.0}
    soil = Soil.model_validate({"horizons": [h | rest for h in horizons]})
    on_grid = remap(soil, Grid(layers=6, thickness_m=0.1))
    mass = on_grid["bulk_density"] * 10
    before = [(h["lower_cm"] - h["upper_cm"]) * h["bulk_density"] for h in horizons]
    np.testing.assert_allclose(mass.sum(), sum(before), rtol=1e-14)
    clay = sum(m * h["clay_percent"] for m, h in zip(before, horizons, strict=True))
    np.testing.assert_allclose((mass * on_grid["clay_percent"]).sum(), clay, rtol=1e-14)
    np.testing.assert_allclose(on_grid["silt_percent"], 30, rtol=1e-14)


def air(case_folder, name: str):
    path = tiny_case.write(case_folder)
    text = path.read_text().replace('"atmosphere.csv"', f'"{name}"')
    path.write_text(text)
    return path


def test_shipped_records_of_the_air_have_the_bomb_peak_in_the_north_only(tmp_path):
    north = read_atmosphere(data_path("atmosphere", "north.csv"), 1700, 2019).set_index("year")
    assert north["activity"].loc[1964:1966].max() > 1.8
    assert north["activity"].loc[1900] == pytest.approx(1.0, abs=0.01)
    case = load_case(air(tmp_path, "north"))
    built = build(case).history[0].yearly["atmosphere_14c"]
    assert float(built.max()) < 1.05  # from 1600 to 1800
    with pytest.raises(InputError, match=r"south\.csv: .*ends before the bomb tests"):
        read_atmosphere(data_path("atmosphere", "south.csv"), 1900, 1990)


def test_a_record_of_the_air_has_one_of_two_columns(tmp_path):
    record = tmp_path / "air.csv"
    record.write_text("year,delta14c_permil\n1500,0\n2000,100\n")
    found = read_atmosphere(record, 1600, 1900)
    np.testing.assert_allclose(found["activity"], [1.0, 1.1])
    record.write_text("year\n1500\n2000\n")
    with pytest.raises(InputError, match="one of the columns activity, delta14c_permil is needed"):
        read_atmosphere(record, 1600, 1900)
