"""Sites out of a table: what a row is, which rows are refused, and what their runs are."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from diffsoil.cases import load_case, seasons
from diffsoil.cases.sites import Template, read_sites
from diffsoil.cli import main
from diffsoil.io import InputError, data_path
from diffsoil.options import Existing, ManySites, Workers
from diffsoil.output import many_sites
from diffsoil.output.many_sites import REFUSED, STORE, SUMMARY, simulate_sites
from diffsoil.output.simulation import simulate
from diffsoil.starter.new import new_case
from diffsoil.work.store import Store

CASE = """
format = 2
start_year = 1801
protection = ["clay"]
without = ["heat", "pores", "fauna", "plough", "plough_zone"]
[grid]
layers = 4
thickness_m = 0.15
[climate.usual]
normals = "normals.csv"
[soil.stand_in]
horizons = [{ upper_cm = 0, lower_cm = 60, clay_percent = 9, silt_percent = 9, bulk_density = 1.5, soc_percent = 1 }]
[land_use.prairie]
like = "natural_grass"
[land_use.forest]
like = "deciduous_forest"
[land_use.crop]
like = "cereal"
plant_carbon_t_ha = 2.5
[[history]]
until = 1840
step_years = 20
land_use = "prairie"
[[history]]
until = 1880
step_years = 20
land_use = "crop"
"""  # noqa: E501

NORMALS = "month,temperature_c,precipitation_mm,pet_mm\n" + "".join(
    f"{m + 1},{10 - 9 * np.cos(np.pi * m / 6):.2f},60,{70 - 60 * np.cos(np.pi * m / 6):.1f}\n"
    for m in range(12)
)

ROW = {
    "latitude": 50.0,
    "longitude": 8.0,
    "land_use": "crop",
    "mean_temperature_c": 9.0,
    "temperature_amplitude_c": 9.0,
    "yearly_precipitation_mm": 700.0,
    "clay_percent_0_20": 15.0,
    "silt_percent_0_20": 60.0,
    "bulk_density_0_20": 1.3,
    "soc_percent_0_20": 1.4,
    "clay_percent_20_60": 25.0,
    "silt_percent_20_60": 55.0,
    "bulk_density_20_60": 1.5,
    "soc_percent_20_60": 0.5,
}
"""What a row has besides its name."""

FIVE = [
    {"site": "loess"},
    {"site": "clay", "clay_percent_0_20": 45.0, "silt_percent_0_20": 40.0},
    {"site": "forest", "land_use": "forest", "yearly_precipitation_mm": 1100.0},
    {"site": "cold", "mean_temperature_c": 3.0, "latitude": 62.0},
    {"site": "rich", "plant_carbon_t_ha": 5.0},
]

KEPT = ManySites(batch=3, every=20)
HERE = Workers(workers=1, device="cpu")


def write(folder: Path, *rows: dict, name: str = "sites.csv", drop: tuple[str, ...] = ()) -> Path:
    """A table of rows that differ from :data:`ROW`, beside its case."""
    (folder / "case.toml").write_text(CASE)
    (folder / "normals.csv").write_text(NORMALS)
    table = pd.DataFrame([ROW | row for row in rows]).drop(columns=list(drop))
    table.to_csv(folder / name, index=False)
    return folder / name


def template(folder: Path) -> Template:
    return Template(load_case(folder / "case.toml"))


def run(table: Path, output: Path, **existing: bool) -> xr.Dataset:
    how = Existing(**existing)
    simulate_sites(table, table.parent / "case.toml", output, None, KEPT, how, HERE)
    return xr.open_zarr(output / STORE, chunks=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sites")
    bad = {"site": "too much", "silt_percent_0_20": 90.0}
    write(folder, *FIVE[:3], bad, *FIVE[3:])
    return folder


@pytest.fixture(scope="module")
def result(folder):
    return run(folder / "sites.csv", folder / "whole")


# Rows.

WRONG = {
    "column 'bulk_density_0_20': the value is missing": {"bulk_density_0_20": np.nan},
    "column 'clay_percent_0_20': -3 is outside 0 to 100 %": {"clay_percent_0_20": -3.0},
    "column 'soc_percent_0_20': '14 cm' has text after the number": {"soc_percent_0_20": "14 cm"},
    "0 to 20 cm: clay_percent + silt_percent = 105, more than 100 %": {"silt_percent_0_20": 90.0},
    "0 to 20 cm, clay_percent: 0.15 is less than there is in soils": {"clay_percent_0_20": 0.15},
    "no land use 'wood'": {"land_use": "wood"},
    "no land use 'forrest', did you mean 'forest'?": {"land_use": "forrest"},
    "column 'latitude': 95 is outside -90 to 90 degrees north": {"latitude": 95.0},
    "column 'latitude': the value is missing": {"latitude": np.nan},
    "column 'mean_temperature_c': the value is missing": {"mean_temperature_c": np.nan},
    "column 'mean_temperature_c': 285 is outside -30 to 40 C": {"mean_temperature_c": 285.0},
    "climate: 70 mm of rain in a year": {"yearly_precipitation_mm": 70.0},
    "column 'site': 'twice' is in line": {"site": "twice"},
    "column 'site': the value is missing": {"site": ""},
    "column 'site': a name begins with": {"site": "../up"},
    "absent.csv' is neither beside the case nor": {"climate": "absent.csv", **dict.fromkeys(
        ("mean_temperature_c", "temperature_amplitude_c", "yearly_precipitation_mm"), np.nan
    )},
    "column 'mean_temperature_c': the climate is that of 'normals.csv' already": {
        "climate": "normals.csv"
    },
    "column 'wettest_month': is missing": {"precipitation_amplitude": 0.5},
    "nothing is given between 0 and 20 cm": {
        name: np.nan for name in ROW if name.endswith("_0_20")
    },
    "horizons end at 20 cm, the layers of the grid at 60 cm": {
        name: np.nan for name in ROW if name.endswith("_20_60")
    },
    "no horizon is given": {name: np.nan for name in ROW if name[-3:] in ("_20", "_60")},
}  # fmt: skip


def test_a_wrong_row_is_refused_by_itself_with_its_reason(tmp_path):
    rows = [{"site": f"wrong {n}", **row} for n, row in enumerate(WRONG.values())]
    twice = {"site": "twice"}
    table = write(tmp_path, {"site": "good"}, *rows, twice, {"site": "fine"})
    with table.open("a") as more:
        more.write("short,1,2\n")
    read = read_sites(table, template(tmp_path))
    assert [site.name for site in read.sites] == ["good", "fine"]
    assert len(read.refused) == len(rows) + 2
    assert [row.line for row in read.refused] == sorted(row.line for row in read.refused)
    for line, reason in enumerate(WRONG, start=3):
        (found,) = [row for row in read.refused if row.line == line]
        assert reason in found.reason, found
        assert str(tmp_path) not in found.reason or "absent" in reason
    assert "3 cells where the header has" in read.refused[-1].reason


def test_all_faults_of_a_row_are_named(tmp_path):
    many = {"site": "many", "bulk_density_20_60": np.nan, "clay_percent_0_20": 300.0}
    (refused,) = read_sites(write(tmp_path, many, {"site": "good"}), template(tmp_path)).refused
    assert "bulk_density" not in refused.reason  # cells first
    assert "clay_percent_0_20" in refused.reason
    many["clay_percent_0_20"], many["land_use"] = 20.0, "wood"
    many["silt_percent_0_20"] = 95.0
    (refused,) = read_sites(write(tmp_path, many, {"site": "good"}), template(tmp_path)).refused
    assert "bulk_density_20_60" in refused.reason
    assert "115" in refused.reason


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        ("site,latitude\n", "there is a header and nothing below it"),
        ("site,latitude\na,50\n", "there are no columns by depth such as 'clay_percent_0_30'"),
        ("site,clay_0_30\na,20\n", "no property 'clay' of a horizon, did you mean 'clay_percent'?"),
        ("site,clay_percent_0_30\na,20\n", "column 'bulk_density_0_30' is missing"),
        ("site,clay_percent_30_0\na,20\n", "the interval is upside down"),
        ("site,clay_percent_5_30\na,20\n", "columns by depth begin at 5 cm, not at 0"),
        ("site;clay_percent_0_30\na;20\n", "separated by semicolons"),
        ("site,landuse,clay_percent_0_30\na,b,20\n", "unknown column 'landuse'"),
        ("clay_percent_0_30,latitude\n20,3\n", "column 'site' is missing"),
    ],
)
def test_a_table_that_is_wrong_as_a_whole_is_refused(text, words, tmp_path):
    table = write(tmp_path, {"site": "a"})
    needed = ("silt_percent", "bulk_density", "soc_percent")
    if "landuse" in text or text.startswith("clay_percent"):  # all else is there
        head, row = text.splitlines()
        text = f"{head},{','.join(f'{name}_0_30' for name in needed)}\n{row},60,1.4,1\n"
    table.write_text(text)
    with pytest.raises(InputError) as error:
        read_sites(table, template(tmp_path))
    assert any(words in fault for fault in error.value.faults), error.value.faults


def test_depths_that_overlap_or_leave_a_gap_are_of_the_header(tmp_path):
    for lower, what in ((30, "overlap at 20"), (10, "leave a gap at 10")):
        table = write(tmp_path, {"site": "a"})
        table.write_text(table.read_text().replace("_0_20", f"_0_{lower}"))
        with pytest.raises(InputError, match=what):
            read_sites(table, template(tmp_path))


def test_a_table_without_a_good_row_is_refused_with_the_reasons(tmp_path):
    table = write(tmp_path, {"site": "a", "land_use": "wood"}, {"site": "b", "latitude": 91.0})
    with pytest.raises(InputError) as error:
        read_sites(table, template(tmp_path))
    assert error.value.faults[0].endswith("no row is a site: all 2 are refused")
    assert "line 3: b: column 'latitude': 91" in error.value.faults[2]
    assert main(["simulate-sites", str(table), "--case", str(tmp_path / "case.toml"),
                 "-o", str(tmp_path / "out")]) == 2  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_site_is_the_site_of_a_case(folder):
    read = read_sites(folder / "sites.csv", template(folder))
    case = template(folder).case_of(read.sites, read.climates)
    assert case.sites == ["loess", "clay", "forest", "cold", "rich"]
    assert case.file.soil["clay"].horizons[0].clay_percent == 45
    prairie, last = case.file.history
    assert set(prairie.land_use.values()) == {"prairie"}
    rich = case.file.land_use[last.land_use["rich"]]
    assert (rich.plant_carbon_t_ha, rich.input_group) == (5.0, "crop")
    assert last.land_use["forest"] == "forest"
    weather = case.climate[last.climate["forest"]]
    assert weather["precipitation_mm"].sum() == pytest.approx(1100)
    assert weather["temperature_c"].mean() == pytest.approx(9)


def test_a_climate_is_of_the_row_of_a_file_or_of_the_case(tmp_path):
    yearly = tuple(name for name in ROW if name[-2:] == "_c" or name == "yearly_precipitation_mm")
    table = write(tmp_path, {"site": "a", "climate": "normals.csv"}, drop=yearly)
    read = read_sites(table, template(tmp_path))
    case = template(tmp_path).case_of(read.sites, read.climates)
    assert case.file.history[0].climate == {"a": "normals.csv"}
    table = write(tmp_path, {"site": "a"}, drop=yearly)
    case = template(tmp_path).case_of(read_sites(table, template(tmp_path)).sites, {})
    assert case.file.history[0].climate == {"a": "usual"}
    table = write(tmp_path, {"site": "a", "yearly_pet_mm": 500.0})
    case = template(tmp_path).case_of(read_sites(table, template(tmp_path)).sites, {})
    (weather,) = case.climate.values()
    assert weather["pet_mm"].sum() == pytest.approx(500)


def test_the_south_is_warm_in_january():
    of = seasons.Seasons(9.0, 1.2, 0.0, 1.2, 12.0)
    table = seasons.normals(10.0, 600.0, -40.0, of).set_index("month")
    assert table["temperature_c"].idxmax() == 1
    assert table["pet_mm"].idxmax() in (12, 1)


def test_profiles_may_be_a_table_of_their_own(tmp_path):
    wide = tuple(name for name in ROW if name[-3:] in ("_20", "_60"))
    table = write(tmp_path, *({"site": name} for name in "abcd"), drop=wide)
    rows = [
        ("a", -5, 0, 10, 50, 0.2, 30), ("a", 0, 10, 10, 50, 1.2, 2), ("a", 10, 60, 12, 50, 1.4, 1),
        ("b", 0, 60, 20, 60, 1.4, 1),
        ("c", 0, 30, 20, 60, 1.4, 1), ("c", 40, 60, 20, 60, 1.4, 1),
    ]  # fmt: skip
    names = ["soil", "upper_cm", "lower_cm", "clay_percent", "silt_percent", "bulk_density"]
    profiles = tmp_path / "profiles.csv"
    pd.DataFrame(rows, columns=[*names, "soc_percent"]).to_csv(profiles, index=False)
    read = read_sites(table, template(tmp_path), profiles)
    assert [(site.name, len(site.horizons)) for site in read.sites] == [("a", 2), ("b", 1)]
    reasons = {row.site: row.reason for row in read.refused}
    assert "lines 6 and 7: nothing is given between 30 and 40 cm" in reasons["c"]
    assert "no profile of this name" in reasons["d"]
    with pytest.raises(InputError, match="--profiles has the horizons"):
        read_sites(write(tmp_path, {"site": "a"}), template(tmp_path), profiles)


def test_a_case_that_differs_between_its_sites_is_no_template(tmp_path):
    write(tmp_path, {"site": "a"})
    text = CASE + "[experiment]\nuntil = 1890\n[[management]]\nland_use = 'crop'\n"
    (tmp_path / "case.toml").write_text(text)
    with pytest.raises(InputError, match="experiment: sites of a table have a history alone"):
        template(tmp_path)


# Runs.


def test_a_run_of_a_row_is_that_of_a_case_of_its_own(folder, result):
    read = read_sites(folder / "sites.csv", template(folder))
    case = template(folder).case_of(read.sites[:2], read.climates)
    own = simulate(case).to_xarray()
    for site in ("loess", "clay"):
        of_case, of_row = own.sel(treatment=site), result.sel(site=site)
        for name in ("soc_stock_0_25", "soc_stock_0_100", "litter_stock"):
            expected = of_case[name].sel(year=result["year"]).to_numpy()
            np.testing.assert_allclose(of_row[name].to_numpy(), expected, rtol=1e-12, atol=1e-12)
        last = of_case.isel(output_year=-1)
        for name in ("soc", "clay", "modifier_overall"):
            np.testing.assert_allclose(of_row[name].to_numpy(), last[name], rtol=1e-12)


def test_the_result_is_whole_and_says_what_it_is(folder, result):
    assert result["site"].to_numpy().tolist() == [row["site"] for row in FIVE]
    assert result["line"].to_numpy().tolist() == [2, 3, 4, 6, 7]
    assert result["year"].to_numpy().tolist() == [1820, 1840, 1860, 1880]
    assert result["soc_stock_0_100"].attrs["units"] == "Mg ha-1"
    assert result["latitude"].attrs["standard_name"] == "latitude"
    assert float(result["fault"].max()) == 0
    assert float(result["balance_carbon"].max()) < 1e-10
    np.testing.assert_allclose(
        result["carbon_input"].sel(site=["loess", "rich"]), [2.5, 5.0], rtol=1e-12
    )
    stocks = result["soc_stock_0_100"].isel(year=-1)
    assert float(stocks.sel(site="rich")) > float(stocks.sel(site="loess"))
    assert float(stocks.sel(site="cold")) > float(stocks.sel(site="loess"))
    summary = pd.read_csv(folder / "whole" / SUMMARY)
    np.testing.assert_allclose(summary["soc_stock_0_100"], stocks, rtol=1e-5)
    page = (folder / "whole" / "report.html").read_text()
    assert "5 of 6 rows of the table" in page
    assert "clay_percent + silt_percent = 105" in page
    refused = pd.read_csv(folder / "whole" / REFUSED)
    assert refused.to_numpy().tolist() == [
        [5, "too much", "0 to 20 cm: clay_percent + silt_percent = 105, more than 100 %"]
    ]


def test_a_run_that_is_stopped_goes_on_and_ends_the_same(folder, result, tmp_path, monkeypatch):
    table = folder / "sites.csv"
    once, called = many_sites.Runs.__call__, []

    def stopped(self, of):
        called.append(of)
        if len(called) == 2:
            raise KeyboardInterrupt
        return once(self, of)

    monkeypatch.setattr(many_sites.Runs, "__call__", stopped)
    with pytest.raises(KeyboardInterrupt, match=r"3 of 5 rows are stored in .*; --resume"):
        run(table, tmp_path / "out")
    assert Store.read(tmp_path / "out" / STORE).progress() == "3 of 5 rows"
    assert len(pd.read_csv(tmp_path / "out" / REFUSED)) == 1
    with pytest.raises(InputError, match="use --resume to go on or --overwrite"):
        run(table, tmp_path / "out")
    again = run(table, tmp_path / "out", resume=True)
    assert [len(of.sites) for of in called] == [3, 2, 2]
    for name in result.data_vars:
        assert result[name].equals(again[name]), name
    for name in (SUMMARY, REFUSED):
        assert (folder / "whole" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()


def test_what_has_changed_is_not_gone_on_with(folder, result, tmp_path):
    shutil.copytree(folder, tmp_path / "other")
    table, output = tmp_path / "other" / "sites.csv", tmp_path / "other" / "whole"
    table.write_text(table.read_text().replace("45.0", "44.0"))
    with pytest.raises(InputError, match="cannot resume: the table of sites has changed"):
        run(table, output, resume=True)
    case, on = folder / "case.toml", Existing(resume=True)
    kept = dataclasses.replace(KEPT, batch=2)
    with pytest.raises(InputError, match="--batch was 3, is 2"):
        simulate_sites(folder / "sites.csv", case, output, None, kept, on, HERE)
    assert (output / SUMMARY).read_bytes() == (folder / "whole" / SUMMARY).read_bytes()


def test_a_folder_of_somebody_else_is_left_alone(folder, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds thesis.txt, and was not made by diffsoil"):
        run(folder / "sites.csv", tmp_path, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_run_that_is_not_finite_is_refused_by_itself(result, tmp_path, monkeypatch):
    weather = many_sites._weather

    def broken(case, names):
        values = weather(case, names)
        values["precipitation"][[name == "forest" for name in names]] = np.nan
        return values

    monkeypatch.setattr(many_sites, "_weather", broken)
    found = run(write(tmp_path, *FIVE[:3]), tmp_path / "out")
    assert np.isnan(found["soc_stock_0_100"].sel(site="forest")).all()
    others = ["loess", "clay"]
    assert found["soc"].sel(site=others).equals(result["soc"].sel(site=others))
    refused = pd.read_csv(tmp_path / "out" / REFUSED)
    assert refused["line"].tolist() == [4]
    assert "not finite" in refused["reason"][0]
    assert pd.read_csv(tmp_path / "out" / SUMMARY)["site"].tolist() == others


# What is shipped.


def test_the_example_is_of_real_profiles_and_all_its_rows_are_sites(tmp_path):
    new_case(tmp_path / "many", "sites")
    of = Template(load_case(tmp_path / "many" / "case.toml"))
    read = read_sites(tmp_path / "many" / "sites.csv", of)
    assert read.refused == []
    layers = pd.read_csv(data_path("observations", "neon_silty", "layers.csv"))
    assert {site.name for site in read.sites} <= set(layers["profile_id"])


# Other columns: minutes of compiling.


@pytest.mark.slow
def test_a_whole_soil_and_a_measured_start_have_sites_too(tmp_path):
    """The same command for both: their runs are those of cases of their own."""
    whole = load_case("loess_wet_forest").text.replace("until = 12000", "until = 40")
    whole = whole.replace("layers = 40", "layers = 6").replace(
        "thickness_m = 0.05", "thickness_m = 0.1"
    )
    yearly = tuple(name for name in ROW if name[-2:] == "_c" or name == "yearly_precipitation_mm")
    table = write(
        tmp_path,
        {"site": "a", "land_use": "forest"},
        {"site": "b", "land_use": "forest", "clay_percent_0_20": 25.0},
        {"site": "one horizon", "land_use": "forest", "base_saturation_0_20": np.nan},
        drop=yearly,
    )
    rows = pd.read_csv(table)
    rows["base_saturation_0_20"], rows["base_saturation_20_60"] = [60.0, 90.0, np.nan], 95.0
    rows.to_csv(table, index=False)
    (tmp_path / "case.toml").write_text(whole)
    found = run(table, tmp_path / "whole")
    assert pd.read_csv(tmp_path / "whole" / REFUSED)["site"].tolist() == ["one horizon"]
    read = read_sites(table, template(tmp_path))
    own = simulate(template(tmp_path).case_of(read.sites, read.climates)).to_xarray()
    last = own.isel(output_year=-1)
    for name in ("soc", "ph", "clay", "base_saturation", "calcite"):
        np.testing.assert_allclose(found[name], last[name], rtol=1e-9, atol=1e-12)

    rows = [*FIVE[:4], {"site": "no carbon", "soc_percent_0_20": 0.0, "soc_percent_20_60": 0.0}]
    rows.append({"site": "frozen", "mean_temperature_c": -28.0, "temperature_amplitude_c": 1.0})
    table = write(tmp_path, *rows, name="measured.csv")
    one_phase = CASE[: CASE.rindex("[[history]]")]
    (tmp_path / "case.toml").write_text('initial = "measured"\n' + one_phase)
    found = run(table, tmp_path / "measured")
    refused = pd.read_csv(tmp_path / "measured" / REFUSED)
    assert set(refused["site"]) == {"no carbon", "frozen"}
    assert refused["reason"].str.contains("no balance|has no carbon").all()
    good = found.isel(site=found["fault"].to_numpy() == 0)
    stock = good["soc"].isel(depth_m=slice(2)).sum("depth_m")  # 30 cm
    measured = 1.4 * 1.3 * 20 + 0.5 * 1.5 * 10  # t/ha
    np.testing.assert_allclose(stock, measured, rtol=1e-6)
    assert float(good["carbon_input"].min()) > 0
    assert float(good["carbon_input"].max() - good["carbon_input"].min()) > 0.1
