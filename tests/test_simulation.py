"""From a case to a file of results: names, units, balances, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from importlib import metadata

import numpy as np
import pytest
import xarray as xr

import diffsoil
from diffsoil import cli
from diffsoil.cases import load_case
from diffsoil.cases.arrays import build, initial_state
from diffsoil.io import InputError
from diffsoil.output import simulation
from diffsoil.output.audit import first_loss
from diffsoil.output.simulation import Progress, simulate, simulate_file
from diffsoil.time import Phase
from tests import tiny_case

STOCKS = ("soc_stock_0_25", "soc_stock_25_75", "soc_stock_25_100", "soc_stock_0_100")
BY_LAYER = (
    "soc", "clay", "calcite", "base_saturation", "temperature", "water_content", "percolation",
    "modifier_clay", "modifier_mooh", "modifier_aggregation", "modifier_pores",
    "modifier_overall", "thickness", "delta14c",
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tiny_case.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def trajectory(path):
    return simulate(path)


@pytest.fixture(scope="module")
def file(path, tmp_path_factory):
    output = tmp_path_factory.mktemp("run") / "RUN.nc"
    simulate_file(path, {"carbon.k_hum": 0.02}, output)
    return output


@pytest.fixture(scope="module")
def results(file):
    with xr.open_dataset(file, engine="h5netcdf") as opened:
        return opened.load()


def test_file_has_the_names_that_stay(results):
    assert {*STOCKS, "litter_stock", *BY_LAYER} <= set(results.data_vars)
    for name in STOCKS:
        assert results[name].dims == ("treatment", "year")
    for name in BY_LAYER:
        assert results[name].dims == ("treatment", "output_year", "depth_m")
    assert results["soc_pool"].dims == ("treatment", "output_year", "pool", "depth_m")


def test_every_variable_has_a_unit_a_name_and_an_owner(results):
    owners = {*results.attrs["processes"].split(), "case"}
    for name, variable in results.data_vars.items():
        assert variable.attrs["units"], name
        assert variable.attrs["long_name"], name
        assert set(variable.attrs["process"].split()) <= owners, name
    assert results["depth_m"].attrs["bounds"] == "depth_bounds"
    for name, coordinate in results.drop_vars("depth_bounds").coords.items():
        assert coordinate.attrs["long_name"], name
        assert coordinate.dtype.kind in "UOT" or coordinate.attrs["units"], name


def test_years_are_those_of_the_calendar_and_are_counted_beside(results):
    np.testing.assert_array_equal(results["year"], np.arange(1600, 1912))
    np.testing.assert_array_equal(results["year_of_run"], np.arange(1, 313))
    output = results["output_year"].values
    np.testing.assert_array_equal(results["output_year_of_run"], output - 1599)
    np.testing.assert_array_equal(output[:10], np.arange(1619, 1800, 20))
    np.testing.assert_array_equal(output[10:20], np.arange(1809, 1900, 10))
    np.testing.assert_array_equal(output[20:], np.arange(1900, 1912))


def test_layers_have_bounds_that_meet(results):
    bounds = results["depth_bounds"].to_numpy()
    np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
    np.testing.assert_allclose(bounds.mean(axis=1), results["depth_m"])
    assert bounds[0, 0] == results.attrs["geospatial_vertical_min"] == 0
    assert bounds[-1, 1] == results.attrs["geospatial_vertical_max"]


def test_stocks_add_up(results):
    total = results["soc_stock_0_25"] + results["soc_stock_25_100"] + results["litter_stock"]
    np.testing.assert_array_equal(results["soc_stock_0_100"], total)
    np.testing.assert_allclose(results["soc_pool"].sum("pool"), results["soc"], rtol=1e-14)
    at_output = results["soc_stock_0_100"].sel(year=results["output_year"].values)
    litter = results["litter_stock"].sel(year=results["output_year"].values)
    np.testing.assert_allclose(results["soc"].sum("depth_m"), at_output - litter, rtol=1e-12)


def test_carbon_of_the_file_closes(results):
    stock = results["soc_stock_0_100"]
    flux = results["carbon_input"] - results["co2_respired"]
    np.testing.assert_allclose(stock.diff("year"), flux.isel(year=slice(1, None)), atol=1e-9)


def test_balances_close(results):
    assert 0 <= results.attrs["balance_carbon"] < 1e-10
    assert 0 <= results.attrs["balance_water"] < 1e-10


def test_only_a_prescribed_change_of_the_pores_makes_or_takes_water(results):
    made = np.abs(results["water_adjustment"]).max("output_year")
    assert float(made.sel(treatment="compacted")) > 0.1
    np.testing.assert_allclose(made.sel(treatment=["control", "manured"]), 0, atol=1e-10)
    thickness = results["thickness"].sel(treatment="compacted").isel(depth_m=0)
    np.testing.assert_allclose(thickness[[0, -1]], [0.1, 0.1 * 1.25 / 1.45])


def test_water_of_a_year_closes_in_a_steady_climate(results):
    history = results.isel(output_year=slice(0, 20))
    drainage = history["percolation"].isel(depth_m=-1)
    out = history["evapotranspiration"] + drainage
    np.testing.assert_allclose(out, history["precipitation"], rtol=1e-9)


def test_file_says_how_to_repeat_it(results, path):
    assert results.attrs["case"] == path.read_text()
    assert json.loads(results.attrs["parameters"])["carbon.k_hum"] == 0.02
    assert results.attrs["Conventions"].startswith("CF-")
    assert results.attrs["version"] == metadata.version("diffsoil")


def test_same_settings_give_the_same_values(results, trajectory):
    xr.testing.assert_equal(results.drop_attrs(), trajectory.to_xarray().drop_attrs())


def test_a_part_of_the_treatments_is_what_it_is_among_all(path, trajectory):
    part = simulate(path, treatments=["cleared", "control"])
    assert part.members == ("cleared", "control")
    assert part.sites == ("hill", "field")
    chosen = [trajectory.members.index(name) for name in part.members]
    for name, value in part.values.items():
        np.testing.assert_allclose(value, trajectory.values[name][chosen], rtol=1e-12, atol=1e-12)


def test_a_case_without_treatments_has_its_sites_as_members(tmp_path):
    text = tiny_case.CASE
    experiment = text[text.index("[experiment]") : text.index("[free")]
    path = tiny_case.write(tmp_path, case=[(experiment, ""), ("step_years = 20", "step_years = 1")])
    results = simulate(path, treatments=["hill"]).to_xarray()
    assert results["treatment"].values.tolist() == results["site"].values.tolist() == ["hill"]
    assert results["year"].values[[0, -1]].tolist() == [1600, 1899]
    # ten years lie between the output years of a history in yearly steps
    np.testing.assert_array_equal(results["output_year"], np.arange(1609, 1900, 10))
    assert results.attrs["balance_carbon"] < 1e-10
    assert results.attrs["balance_water"] < 1e-10


def test_water_that_did_not_converge_is_kept_and_named_with_its_first_year(path, capsys):
    case = load_case(path)
    plan = build(case)
    states = initial_state(case.column(), plan)
    pieces = simulation._Pieces(case, case.column(), plan.members, states, np.zeros(4, int))
    phase = Phase(steps=6, years_per_step=10, constant={}, series={}, yearly={})
    residual = np.full((4, 6), 1e-10)
    kept = pieces._water_residual(phase, residual, np.array([2, 5]))
    assert pieces.unsolved == ""
    np.testing.assert_array_equal(kept, np.full((4, 2), 1e-10))
    residual[2, 3] = 0.02
    kept = pieces._water_residual(phase, residual, np.array([2, 5]))
    np.testing.assert_array_equal(kept[2], [1e-10, 0.02])
    told = f"{plan.members[2]}: Richards' equation (process 'water') did not converge"
    assert pieces.unsolved.startswith(told)
    assert f"first in the year {tiny_case.START + 30} with a residual of 0.02 mm" in pieces.unsolved
    with Progress() as progress:
        progress.warn(pieces.unsolved)
    assert capsys.readouterr().err == f"diffsoil: {pieces.unsolved}\n"


def test_column_of_another_case_is_refused(path):
    from diffsoil.column import standard_column

    with pytest.raises(ValueError, match="input groups: the column has plants"):
        simulate(path, standard_column())


def refused(capsys, *words) -> str:
    assert cli.main(["simulate", *map(str, words)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_unknown_parameter_suggests_the_nearest(path, tmp_path, capsys):
    text = refused(capsys, path, "-o", tmp_path / "a.nc", "--set", "carbon.khum=0.02")
    assert "'carbon.khum', did you mean 'carbon.k_hum'?" in text
    assert not (tmp_path / "a.nc").exists()


def test_value_outside_its_bounds_is_refused(path, tmp_path, capsys):
    text = refused(capsys, path, "-o", tmp_path / "a.nc", "--set", "carbon.k_hum=2")
    assert "carbon.k_hum = 2 is outside its bounds 0.002 to 0.1 a-1" in text


def test_unknown_treatment_suggests_the_nearest(path, tmp_path, capsys):
    text = refused(capsys, path, "-o", tmp_path / "a.nc", "--treatment", "contrl")
    assert "'contrl', did you mean 'control'?" in text


def test_existing_output_is_refused_and_left_alone(path, tmp_path, capsys):
    output = tmp_path / "a.nc"
    output.write_text("precious")
    assert "exists already" in refused(capsys, path, "-o", output)
    assert output.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(("patience", "lines"), [(0.0, 2), (60.0, 0)])
def test_only_a_long_run_says_what_it_is_doing(patience, lines, monkeypatch, capsys):
    monkeypatch.setattr(simulation, "SILENT_SECONDS", patience)
    with Progress() as progress:
        for number in range(2):
            progress.say(f"phase {number}")
            time.sleep(0.05)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"diffsoil: phase {i}" for i in range(lines)]


def test_importing_the_package_loads_no_tables_or_files():
    program = (
        "import sys, diffsoil;"
        "sys.exit(' '.join({'pandas', 'xarray', 'pydantic', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.strip() == ""


def test_the_package_offers_its_verbs():
    assert diffsoil.simulate is simulate
    assert callable(diffsoil.load_case)
    assert "carbon.k_hum" in set(diffsoil.parameter_table()["name"])
    with pytest.raises(AttributeError, match="'simulat'"):
        _ = diffsoil.simulat


def test_a_run_that_is_not_finite_says_where_and_writes_nothing(path, tmp_path, monkeypatch):
    lost = diffsoil.load_case(path).column().with_parameters({"carbon.k_hum": np.nan})
    said = r"case.toml: control: litter \(process 'carbon'.*\) is not finite.* 1600 \(year 1 "
    monkeypatch.setattr(simulation, "set_parameters", lambda *_: lost)
    with pytest.raises(InputError, match=said):
        simulate_file(path, {}, tmp_path / "run.nc")
    assert not list(tmp_path.iterdir())


def test_the_first_loss_is_the_first_in_time_and_then_in_the_order_of_processes(trajectory):
    processes = trajectory.column.processes
    water = np.ones((2, 3, 12, 4))
    by_step = {"percolation": water.copy(), "water_content": water.copy()}
    by_year = {"pools": np.ones((2, 30, 5, 4))}
    assert first_loss(processes, by_step, by_year, 10) is None
    by_year["pools"][0, 25, 0, 3] = np.inf
    found = first_loss(processes, by_step, by_year, 10)
    assert found is not None
    assert found[:2] == (0, 25)
    for values in by_step.values():
        values[1, 2, 5, 1] = np.nan
    expected = (1, 20, "water_content (process 'water') is not finite in layer 2 from the top")
    assert first_loss(processes, by_step, by_year, 10) == expected


def test_a_balance_keeps_what_is_not_a_number():
    pieces = object.__new__(simulation._Pieces)
    pieces.balances = {"carbon": 0.0}
    for relative in (1e-15, np.nan, 1e-14):
        pieces._worst("carbon", np.array([relative]))
    assert np.isnan(pieces.balances["carbon"])
