"""A fit that is kept up to date, and what it forecasts: on a small case whose truth is known."""

from __future__ import annotations

import base64
import json
import shutil

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from calibration import explore, plots, prediction, results, saved_fit, store
from calibration.methods import NUTS, importance
from calibration.options import Update
from calibration.problem import Problem
from calibration.twin import assimilation, forecast, result, scenario
from diffsoil.cases import load_case
from diffsoil.cases.fingerprint import checksum, checksum_of
from diffsoil.io import InputError
from diffsoil.options import Existing
from diffsoil.processes.minerals import MOLAR_MASS
from diffsoil.state import MINERALS
from tests import tiny_case
from tests.test_whole_soil_cases import with_experiment

pytestmark = [pytest.mark.mixed_types, pytest.mark.usefixtures("each_picture_once")]

FREE = """
[free."vegetation.input_factor.crop"]

[observations]
files = ["observations.csv"]
"""
FREED = '[free."carbon.k_hum"]\n'
HEADER = (
    "site,treatment,year,variable,upper_cm,lower_cm,value,sd,unit,estimated,basis,"
    "soil_mass_Mg_ha,source,series,method\n"
)
TRUTH = {"vegetation.input_factor.crop": 1.3, "observation.error.field": 0.03}
FITTED = range(1900, 1906)
LATER = (1908, 1910)
DRAWS = 400


def row(year: int, value: object = 40, treatment: str = "control", series: str = "field") -> str:
    return (
        f"field,{treatment},{year},soc_stock,0,25,{value},,Mg C/ha,0,fixed_depth,,test,{series},\n"
    )


def write_case(folder):
    case = tiny_case.write(folder, case=[(FREED, "")])
    case.write_text(tiny_case.with_one_phase(case.read_text()) + FREE)
    weather = folder / "weather.csv"  # a record may say where a value is from
    first, *months = weather.read_text().splitlines()
    lines = [f"{first},precipitation_origin", *(f"{month},measured" for month in months)]
    weather.write_text("\n".join(lines) + "\n")
    rows = [row(y, 40) for y in (*FITTED, *LATER)]
    (folder / "observations.csv").write_text(HEADER + "".join(rows))
    return case


def write_results(problem, x, folder):
    """A fit of given draws, as a calibration would leave it."""
    settings = store.Settings(
        case=problem.case.name, case_sha256=checksum(problem.case.text),
        method=NUTS(quick=True, chains=2, warmup=25, draws=25, starts=1, tree_depth=3),
        seed=0, set={}, free=sorted(problem.case.file.free),
    )  # fmt: skip
    with store.folder_of(folder, Existing(), inputs=[]) as place:
        store.begin(place, settings, problem.case)
        predicted = prediction.predict_draws(problem, x, print)
        outcome = results.Outcome(
            x[None], prediction.in_memory(predicted), (1, len(x)), {"method": "nuts"}
        )
        results.write(problem, settings, folder, outcome, lambda line: None)
        store.complete(place)
    return folder


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Pictures of fits have tests of their own; here they would take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "all_figures", lambda *_: {})
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Case, problem of all data, draws of the prior, their predictions and their likelihood."""
    folder = tmp_path_factory.mktemp("twin")
    path = write_case(folder)
    problem = Problem(path)
    truth = np.array([[TRUTH[name] for name in problem.names]])
    latent = np.asarray(prediction.predict_draws(problem, truth).latent[0])
    table = pd.read_csv(folder / "observations.csv")
    noise = np.random.default_rng(3).standard_normal(len(table))
    table["value"] = latent * (1 + 0.03 * noise)
    for year in LATER:
        table[table["year"] == year].to_csv(folder / f"new_{year}.csv", index=False)
    table[table["year"] >= LATER[0]].to_csv(folder / "both.csv", index=False)
    table[table["year"] < LATER[0]].to_csv(folder / "observations.csv", index=False)
    rng = np.random.default_rng(0)
    # a proposal that is wide and covers the posterior; its density is known
    z = rng.standard_normal((6000, 2))
    x = np.exp(np.log([1.3, 0.03]) + z * [0.08, 0.45])
    x[:, 1] = np.clip(x[:, 1], 0.0011, 0.59)
    by_name = dict(
        zip(("vegetation.input_factor.crop", "observation.error.field"), x.T, strict=True)
    )
    x = np.stack([by_name[name] for name in problem.names], axis=1)
    proposal = -0.5 * (z**2).sum(axis=1) - np.log(by_name["vegetation.input_factor.crop"])
    proposal -= np.log(by_name["observation.error.field"])
    # stocks are a smooth function of one factor: interpolated between a few runs of the model
    factor = np.linspace(0.85, 1.85, 16)
    error = np.full(16, 0.03)
    runs = {"vegetation.input_factor.crop": factor, "observation.error.field": error}
    every = np.stack([runs[n] for n in problem.names], axis=1)
    grid = np.asarray(prediction.predict_draws(problem, every).latent)
    crop = by_name["vegetation.input_factor.crop"]
    stocks = np.stack([np.interp(crop, factor, grid[:, i]) for i in range(len(table))], axis=1)
    sd = by_name["observation.error.field"][:, None] * stocks
    likelihood = -0.5 * ((table["value"].to_numpy() - stocks) / sd) ** 2 - np.log(sd)
    prior = np.asarray([float(problem.priors.log_density(jnp.asarray(v))) for v in x[:1]])
    assert np.isfinite(prior).all()
    density = np.asarray(_log_prior(problem, x)) - proposal
    return {
        "folder": folder, "path": path, "x": x, "density": density,
        "likelihood": likelihood, "names": problem.names,
    }  # fmt: skip


def _log_prior(problem, x):
    import jax

    return jax.jit(jax.vmap(problem.priors.log_density))(jnp.asarray(x))


def posterior(world, rows: slice):
    """Weights of the draws of the proposal for the posterior of some rows."""
    log = world["density"] + world["likelihood"][:, rows].sum(axis=1)
    return importance.weights(log, np.zeros_like(log))


@pytest.fixture(scope="module")
def fit(world):
    """The posterior of the first six observations, drawn by sampling and resampling."""
    first = posterior(world, slice(0, len(FITTED)))
    chosen = importance.resampled(first.weight, DRAWS, 1)
    problem = Problem(world["path"])
    return write_results(problem, world["x"][chosen], world["folder"] / "fit")


@pytest.fixture(scope="module")
def updated(world, fit):
    """The fit with the first of the later samplings."""
    output = world["folder"] / "fit_1908"
    new = world["folder"] / "new_1908.csv"
    assimilation.assimilate_case(fit, new, output, Update(method="weights"))
    return output


def step(world, fit, file: str):
    """Weights of the base draws of a fit with more data, without writing anything."""
    found = saved_fit.load(fit)
    path = world["folder"] / file
    stage = world["folder"] / f"stage_{fit.name}_{file}"
    known = assimilation.staged(found, stage)
    rows = assimilation.check_new(known, path)
    case, _ = assimilation.with_file(known, path, len(found.history), stage)
    problem = Problem(case)
    settings = found.settings
    base, _ = assimilation.base_draws(found, problem, None, 0)
    task = assimilation.Step(found, problem, settings, len(rows), fit, lambda line: None, None)
    return base, task.learn(base)[0]


def test_weights_of_a_conjugate_normal_are_its_posterior():
    rng = np.random.default_rng(2)
    draws = rng.normal(1.0, 0.5, 4000)  # what is known before: N(1, 0.5)
    measured, error = 1.6, 0.4
    log = -0.5 * ((measured - draws) / error) ** 2
    found = importance.weights(log, np.zeros_like(log))
    precision = 1 / 0.5**2 + 1 / error**2
    mean = (1.0 / 0.5**2 + measured / error**2) / precision
    assert assimilation.hold(found)
    assert float(found.weight @ draws) == pytest.approx(mean, abs=0.03)
    spread = np.sqrt(found.weight @ (draws - mean) ** 2)
    assert float(spread) == pytest.approx(precision**-0.5, rel=0.05)
    again = draws[importance.resampled(found.weight, 4000, 0)]
    assert again.mean() == pytest.approx(mean, abs=0.03)


def test_weights_do_not_hold_where_no_draw_is():
    draws = np.random.default_rng(2).normal(0.0, 1.0, 600)
    log = -0.5 * ((6.0 - draws) / 0.05) ** 2
    assert not assimilation.hold(importance.weights(log, np.zeros_like(log)))


def test_assimilated_weights_are_the_posterior_of_all_data(world, updated):
    whole = posterior(world, slice(0, len(FITTED) + 1))
    crop = world["names"].index("vegetation.input_factor.crop")
    mean = float(whole.weight @ world["x"][:, crop])
    sd = float(np.sqrt(whole.weight @ (world["x"][:, crop] - mean) ** 2))
    found = saved_fit.load(updated)
    draws = found.draws[:, found.names.index("vegetation.input_factor.crop")]
    assert abs(draws.mean() - mean) < 4 * sd / np.sqrt(found.history[-1]["ess"])
    assert draws.std() == pytest.approx(sd, rel=0.25)


def test_two_steps_are_one(world, fit, updated):
    base, once = step(world, fit, "both.csv")
    again, twice = step(world, updated, "new_1910.csv")
    np.testing.assert_array_equal(base.draws, again.draws)
    np.testing.assert_allclose(once, twice, rtol=1e-9, atol=1e-9)


def test_the_history_says_what_entered_when(world, updated):
    entries = saved_fit.load(updated).history
    assert [e["method"] for e in entries] == ["nuts", "weights"]
    assert (entries[0]["rows"], entries[0]["years"]) == (len(FITTED), "1900-1905")
    last = entries[-1]
    assert (last["rows"], last["fitted"], last["years"]) == (1, 1, "1908")
    kept = updated / last["data"][0]["file"]
    assert last["data"][0]["sha256"] == checksum_of(world["folder"] / "new_1908.csv")
    assert kept.read_bytes() == (world["folder"] / "new_1908.csv").read_bytes()
    page = (updated / "report.html").read_text()
    assert "Which data entered when" in page
    assert last["data"][0]["sha256"][:12] in page


def test_an_updated_fit_is_a_whole_fit_that_can_be_moved(updated, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(updated, moved)
    names = {p.name for p in moved.iterdir()}
    assert {"posterior.nc", "summary.csv", "predictions.csv", "checks.csv", "report.html"} <= names
    case = saved_fit.load(moved).case()
    assert case.path.parent == moved
    assert len(case.file.observations.files) == 2
    assert len(pd.read_csv(moved / "predictions.csv")) == len(FITTED) + 1


def refused(fit, text: str, folder, says: str) -> None:
    file = folder / "wrong.csv"
    file.write_text(HEADER + text)
    with pytest.raises(InputError, match=says) as error:
        assimilation.assimilate_case(fit, file, folder / "never")
    assert "wrong.csv" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (folder / "never").exists()


def test_what_the_fit_has_already_is_refused(world, fit, updated, tmp_path):
    known = (world["folder"] / "new_1908.csv").read_text().split("\n", 1)[1]
    refused(updated, known, tmp_path, "is in the fit already: 01_new_1908.csv line 2")
    refused(fit, row(1903, 12.3), tmp_path, "contradicts .* a second measurement needs a series")


WRONG = {
    "a year beyond the drivers": (row(1999), "to 1911"),
    "an unknown treatment": (row(1909, treatment="contrl"), "did you mean 'control'"),
    "an unknown site": (row(1909).replace("field,", "feild,", 1), "did you mean 'field'"),
    "a stock in kg": (row(1909, 45000), "outside"),
    "nothing to fit": (row(1909).replace(",0,fixed", ",1,fixed"), "none of 1 rows may be fitted"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_new_observation_is_one_line(wrong, fit, tmp_path):
    refused(fit, *[WRONG[wrong][0]], tmp_path, WRONG[wrong][1])


def test_a_series_that_the_fit_does_not_know_gets_an_error_from_its_prior(world, fit, tmp_path):
    file = tmp_path / "new.csv"
    file.write_text(HEADER + row(1909, 40, series="other"))
    found = saved_fit.load(fit)
    case, _ = assimilation.with_file(assimilation.staged(found, tmp_path), file, 1, tmp_path)
    base, anew = assimilation.base_draws(found, Problem(case), None, 0)
    assert anew == ["observation.error.other"]
    drawn = base.draws[:, base.names.index("observation.error.other")]
    assert np.ptp(drawn) > 0
    assert len(base.draws) == DRAWS


def longer_drivers(folder, until: int, swap: tuple[str, str] = ("", "")):
    """The case with some more years of weather and management like those of 1911."""
    folder.mkdir()
    path = tiny_case.write(folder, case=[(FREED, ""), ("until = 1911", f"until = {until}")])
    for name in ("weather.csv", "management.csv"):
        text = (folder / name).read_text()
        last = [line for line in text.splitlines(keepends=True) if "1911" in line]
        more = "".join(
            line.replace("1911", str(y)) for y in range(1912, until + 1) for line in last
        )
        (folder / name).write_text(text.replace(*swap, 1) + more)
    return path


def test_what_is_meant_stays_with_the_fit(fit, tmp_path):
    found = saved_fit.load(fit)
    case = assimilation.staged(found, tmp_path, confirmed=["soc_stock"])
    assert case.file.plausible == ["soc_stock"]
    with pytest.raises(InputError, match=r"--plausible soc: .* did you mean 'soc_stock'"):
        assimilation.staged(found, tmp_path, confirmed=["soc"])


def test_years_after_the_last_one_come_with_their_drivers(fit, tmp_path):
    new = tmp_path / "new.csv"
    new.write_text(HEADER + row(1914, 40.6))
    drivers = longer_drivers(tmp_path / "longer", 1915)
    air = drivers.parent / "atmosphere.csv"
    air.write_text(air.read_text().replace("2020,1.02", "1911,0.983667\n1915,1.1"))
    update = Update(drivers, method="weights")
    assimilation.assimilate_case(fit, new, tmp_path / "fit2", update)
    found = saved_fit.load(tmp_path / "fit2")
    assert found.case().end_year == 1915
    entry = found.history[-1]
    assert {d["file"] for d in entry["drivers"]} == {
        "weather.csv", "management.csv", "atmosphere.csv",
    }  # fmt: skip
    predicted = pd.read_csv(tmp_path / "fit2" / "predictions.csv")
    assert predicted["year"].max() == 1914
    assert found.case().atmosphere["activity"].iloc[-1] == 1.1
    assert np.isfinite(predicted["mean"]).all()


def test_drivers_that_tell_another_past_are_refused(fit, tmp_path):
    new = tmp_path / "new.csv"
    new.write_text(HEADER + row(1914, 40.6))
    swap = ("control,1901,crop,1.0", "control,1901,crop,3.0")
    other = longer_drivers(tmp_path / "other", 1915, swap)
    with pytest.raises(InputError, match="another past"):
        assimilation.assimilate_case(fit, new, tmp_path / "fit2", Update(other))
    shorter = tiny_case.write(tmp_path, case=[("until = 1911", "until = 1909")])
    with pytest.raises(InputError, match="is 1909, the fit has drivers to 1911"):
        assimilation.assimilate_case(fit, new, tmp_path / "fit2", Update(shorter))
    assert not (tmp_path / "fit2").exists()


# Forecast.

OPTIONS = """
format = 1
until = 1917
treatments = ["control"]
depths_cm = [[0, 25]]
years = [1917]

[weather]
repeat_years = 4

[[option]]
name = "as_now"

[[option]]
name = "same"
land_use = "crop"
manure_carbon_t_ha = 0.0

[[option]]
name = "manure"
manure_carbon_t_ha = 3.0

[[option]]
name = "warm_forest"
land_use = "forest"
warming = { k = 2, by = 1917 }
"""


@pytest.fixture(scope="module")
def told(world, fit):
    options = world["folder"] / "options.toml"
    options.write_text(OPTIONS)
    output = world["folder"] / "forecast"
    forecast.forecast_case(fit, options, output, draws=20)
    return output


def test_options_that_are_the_same_differ_by_nothing(told):
    table = pd.read_csv(told / "differences.csv")
    same = table[(table["option"] == "same") & (table["versus"] == "as_now")]
    assert len(same) == 18  # stock, 14C and litter, six years
    assert (same[["mean", "sd", "q05", "q95"]] == 0).all(axis=None)
    assert (same[["probability_more", "probability_less"]] == 0).all(axis=None)


def test_stocks_of_each_draw_are_kept_with_the_place_of_the_draw(told, fit):
    found = saved_fit.load(fit)
    kept = result.read(told, found)
    assert kept["draw"].to_numpy()[[0, -1]].tolist() == [0, len(found.draws) - 1]
    soil = kept["value"].isel(quantity=0).sel(year=1917).to_numpy()
    table = pd.read_csv(told / "forecast.csv")
    table = table[(table["variable"] == "soc_stock") & (table["year"] == 1917)]
    assert kept["option"].to_numpy().tolist() == table["option"].tolist()
    np.testing.assert_allclose(np.median(soil, axis=0), table["q50"])
    # more carbon comes in with a larger factor, whatever the option
    crop = found.draws[kept["draw"], found.names.index("vegetation.input_factor.crop")]
    assert np.corrcoef(crop, soil[:, 0])[0, 1] > 0.9


def test_a_page_of_a_fit_goes_on_with_each_option_by_draw(told, fit):
    shown = explore.contents(saved_fit.load(fit), [told])
    labels = ["forecast: as now", "forecast: same", "forecast: manure", "forecast: warm forest"]
    assert [option["label"] for option in shown["options"]] == labels
    (ahead,) = shown["forecasts"]
    control = [of["name"] for of in shown["treatments"]].index("control")
    assert ahead["years"] == list(range(1911, 1918))
    kept = np.frombuffer(base64.b64decode(ahead["stocks"]), "<f4").reshape(4, 7, -1)
    weight = np.array(ahead["draws"]["weight"])
    assert weight.sum() == 20  # resampled draws are there once, and count so often
    table = pd.read_csv(told / "forecast.csv")
    own = table[(table["variable"] == "soc_stock") & (table["year"] >= 1911)]
    means = kept @ weight / weight.sum()
    np.testing.assert_allclose(means.ravel(), own["mean"], rtol=1e-5)
    # in the last year of record they are where the fit ends
    assert [member["treatment"] for member in ahead["members"]] == [control] * 4
    past = np.frombuffer(base64.b64decode(shown["stocks"]), "<f4")
    past = past.reshape(len(shown["treatments"]), len(shown["years"]), -1)[control, -1]
    assert kept[0, 0].min() >= past.min() - 1e-3
    assert kept[0, 0].max() <= past.max() + 1e-3


def test_what_no_page_can_be_made_of_is_one_line(told, fit, updated, tmp_path):
    page = tmp_path / "page.html"
    with pytest.raises(InputError, match=r"no fit.json there"):
        explore.explore_fit(told, page)
    with pytest.raises(InputError, match=r"forecast.nc: is a forecast with another fit than"):
        explore.explore_fit(updated, page, [told])
    with pytest.raises(InputError, match=r"no forecast.nc there"):
        explore.explore_fit(fit, page, [fit])
    single = tmp_path / "single"
    shutil.copytree(fit, single)
    tree = store.read_posterior(fit)
    best = {n: g.isel(draw=[0]) if "draw" in g.dims else g for n, g in tree.children.items()}
    xr.DataTree(children=best).to_netcdf(single / "posterior.nc", engine="h5netcdf")
    with pytest.raises(InputError, match=r"single: has one draw \(nuts\)"):
        explore.explore_fit(single, page)
    assert not page.exists()
    page.write_text("somebody's")
    with pytest.raises(InputError, match=r"is not a file that this command writes"):
        explore.explore_fit(fit, page, overwrite=True)
    assert page.read_text() == "somebody's"


def test_manure_adds_carbon_in_every_draw(told):
    table = pd.read_csv(told / "differences.csv")
    soil = table[(table["variable"] == "soc_stock") & (table["year"] == 1917)]
    manure = soil[(soil["option"] == "manure") & (soil["versus"] == "as_now")].iloc[0]
    assert manure["probability_more"] == 1.0
    assert 5 < manure["q50"] < 18  # of 18 Mg C/ha brought
    by_year = pd.read_csv(told / "forecast.csv")
    assert by_year["year"].max() == 1917
    assert (by_year[by_year["year"] <= 1911]["forecast"] == 0).all()
    # manure is younger than what is in the soil
    dated = table[(table["variable"] == "delta14c") & (table["option"] == "manure")]
    assert set(dated["unit"]) == {"permil"}
    assert dated[dated["versus"] == "as_now"]["q05"].iloc[-1] > 1
    assert {"forecast.png", "differences.png", "report.html", "options.csv"} <= {
        p.name for p in told.iterdir()
    }


def test_the_record_is_the_same_under_all_options(told):
    by_year = pd.read_csv(told / "forecast.csv")
    past = by_year[(by_year["forecast"] == 0) & (by_year["variable"] == "soc_stock")]
    by_option = past.pivot_table(index="year", columns="option", values="mean")
    for name in by_option:
        np.testing.assert_allclose(by_option[name], by_option["as_now"], rtol=1e-12)


MANURE = "manure_carbon_t_ha = 3.0"
ROCK = 'amendments = [{ material = "albite", kg_m2 = 1, year = 1913 }]'
BAD_OPTIONS = {
    "an unknown key": (MANURE, "manure_carbn_t_ha = 3.0", "did you mean"),
    "an unknown land use": ('land_use = "forest"', 'land_use = "forrest"', "'forest'"),
    "a past year": ("until = 1917", "until = 1911", "record of the case ends in 1911"),
    "an unknown treatment": ('["control"]', '["contrl"]', "did you mean 'control'"),
    "rock without a soil for it": (MANURE, ROCK, "ground rock and lime need"),
    "erosion without a soil for it": (MANURE, "erosion_mm_a = 1", "whole_soil"),
    "more years than the record": ("repeat_years = 4", "repeat_years = 40", "the record has 12"),
    "no weather": ("repeat_years = 4", "", "repeat_years or mean_years"),
    "a depth below the column": ("[[0, 25]]", "[[0, 250]]", "0 to 80 cm"),
    "no 14C after the record": ("until = 1917", "until = 2025", "needed to 2025, .* ends in 2020"),
    "14C within the record": (
        "[weather]",
        "[radiocarbon]\nyears = [2010]\ndelta14c_permil = [0]\n[weather]",
        "2010 is in the record, which ends in 2020",
    ),
    "14C that ends too early": (
        "until = 1917",
        "until = 2030\nradiocarbon = { years = [2025], delta14c_permil = [0] }",
        "the last one, 2025, is before 2030",
    ),
    "a year without 14C": (
        "until = 1917",
        "until = 2030\nradiocarbon = { years = [2025, 2030], delta14c_permil = [0] }",
        "2 years and 1 values",
    ),
}


def test_all_that_is_wrong_with_options_is_reported_at_once(world, fit, tmp_path):
    options = tmp_path / "options.toml"
    text = OPTIONS
    for old, new, _ in (BAD_OPTIONS[bad] for bad in ("a past year", "an unknown treatment")):
        text = text.replace(old, new)
    options.write_text(text.replace("[[0, 25]]", "[[0, 250]]"))
    with pytest.raises(InputError) as error:
        forecast.forecast_case(fit, options, tmp_path / "never")
    assert [fault.split(": ")[1] for fault in error.value.faults] == [
        "treatments",
        "until",
        "depths_cm",
    ]
    text = OPTIONS.replace('land_use = "forest"', 'land_use = "forrest"')
    options.write_text(text.replace(MANURE, f"{ROCK}\nerosion_mm_a = 1"))
    with pytest.raises(InputError) as error:
        forecast.forecast_case(fit, options, tmp_path / "never")
    assert len(error.value.faults) == 3


@pytest.mark.parametrize("bad", BAD_OPTIONS)
def test_a_bad_option_is_one_line(bad, world, fit, tmp_path):
    old, new, says = BAD_OPTIONS[bad]
    assert old in OPTIONS
    options = tmp_path / "options.toml"
    options.write_text(OPTIONS.replace(old, new))
    with pytest.raises(InputError, match=says) as error:
        forecast.forecast_case(fit, options, tmp_path / "never")
    assert str(options) in str(error.value)
    assert not (tmp_path / "never").exists()


def test_the_14c_of_the_air_goes_on_as_the_scenario_says(tmp_path):
    air = [("1900,0.98", "1911,0.98"), ("2020,1.02\n", "")]
    case = load_case(tiny_case.write(tmp_path, atmosphere=air))
    options = tmp_path / "options.toml"
    goes_on = "radiocarbon = { years = [1921, 1931], delta14c_permil = [-40, -40] }\n"
    options.write_text(OPTIONS.replace("until = 1917", f"until = 1927\n{goes_on}"))
    plan = scenario.lived(scenario.read(options, case))
    lived = np.asarray(plan.experiment.yearly["atmosphere_14c"])[0, :, 0]
    np.testing.assert_allclose(lived[-17:], [*np.linspace(0.98, 0.96, 11), *[0.96] * 6], rtol=1e-12)
    later = goes_on.replace("1931", "1990")
    options.write_text(OPTIONS.replace("until = 1917", f"until = 1990\n{later}"))
    with pytest.raises(InputError, match="the peak of the bomb tests is missed"):
        scenario.read(options, case)
    none = tiny_case.write(tmp_path, case=[('radiocarbon_atmosphere = "atmosphere.csv"\n', "")])
    with pytest.raises(
        InputError, match=r"options\.toml: radiocarbon: the case tiny follows no 14C"
    ):
        scenario.read(options, load_case(none))


def test_rock_and_erosion_of_an_option_begin_with_it(tmp_path):
    case = load_case(with_experiment(tmp_path))
    options = tmp_path / "options.toml"
    options.write_text(
        "format = 1\nuntil = 355\ndepths_cm = [[0, 20]]\n[weather]\nmean_years = 3\n"
        '[[option]]\nname = "as_now"\n[[option]]\nname = "rock"\nstart = 350\n'
        "erosion_mm_a = 0\n"
        'amendments = [{ material = "albite", kg_m2 = 1, every_years = 2, depth_m = 0.1 }]\n'
    )
    asked = scenario.read(options, case)
    plan = scenario.lived(asked)
    assert plan.members == ("limed:as_now", "limed:rock")
    added = np.asarray(plan.experiment.series["added_minerals"]).sum(axis=(2, 3))
    assert (added[0] == 0).all()
    years = np.arange(plan.experiment_year, 356)
    np.testing.assert_array_equal(added[1] > 0, years >= 350)
    albite = MOLAR_MASS[MINERALS.index("albite")]
    np.testing.assert_allclose(added[1, -1], 0.5 / albite, rtol=1e-12)
    eroded = np.asarray(plan.experiment.series["removed_layers"])
    assert (eroded[1, years >= 350] == 0).all()
    lime = np.asarray(plan.experiment.series["added_calcite"])
    assert (lime[:, years == 342] > 0).all()


@pytest.mark.slow
def test_an_interrupted_refit_goes_on_to_the_same_draws(world, fit, tmp_path, monkeypatch):
    from calibration.methods import nuts

    new = world["folder"] / "new_1908.csv"
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assimilation.assimilate_case(fit, new, whole, Update(method="refit"))
    run = nuts.Sampler.draw

    def interrupted(self, checkpoints, report):
        def line(text):
            report(text)
            raise KeyboardInterrupt

        return run(self, checkpoints, line)

    with monkeypatch.context() as patch:
        patch.setattr(nuts.Sampler, "draw", interrupted)
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            assimilation.assimilate_case(fit, new, stopped, Update(method="refit"))
    assert not json.loads((stopped / "fit.json").read_text())["complete"]
    resume = Existing(resume=True)
    assimilation.assimilate_case(fit, new, stopped, Update(method="refit"), existing=resume)
    for name in ("summary.csv", "predictions.csv"):
        assert (whole / name).read_bytes() == (stopped / name).read_bytes()
    assert saved_fit.load(stopped).history[-1]["method"] == "nuts"
