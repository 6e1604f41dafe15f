"""The shipped tables of the Woburn ley-arable experiment are what its plots make them."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
HISTORY = ["land_use", "yield_t_ha", "manure_carbon_t_ha"]


def read_case(name):
    return tomllib.loads((DATA / "cases" / f"{name}.toml").read_text(encoding="utf-8"))


def script_of(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def script():
    return script_of("prepare_woburn")


@pytest.fixture(scope="module")
def soil():
    return pd.read_csv(DATA / "observations" / "woburn" / "source" / "soil.csv")


@pytest.fixture(scope="module")
def cropping():
    return pd.read_csv(DATA / "observations" / "woburn" / "source" / "cropping.csv")


@pytest.fixture(scope="module")
def management():
    return pd.read_csv(DATA / "management" / "woburn.csv")


@pytest.fixture(scope="module")
def observations():
    return pd.read_csv(DATA / "observations" / "woburn" / "observations.csv")


@pytest.fixture(scope="module")
def case():
    return read_case("woburn")


def test_the_derived_tables_are_what_the_script_makes(script):
    assert script.main(["--check"]) == 0


def test_the_joint_case_is_made_of_the_two_cases():
    assert script_of("join_fields").main(["--check"]) == 0


def test_the_check_notices_a_changed_table(script, tmp_path):
    tables = script.derive()
    assert script.differing(tables, tmp_path) == list(tables)


def test_each_plot_is_sampled_every_fifth_year(observations):
    plots = observations[observations["series"] == "woburn"]
    assert len(plots) == 880
    years = plots.groupby("treatment")["year"].agg(["size", "min", "max"])
    assert len(years) == 80
    assert (years["size"] == 11).all()
    assert years["min"].between(1955, 1959).all()
    assert years["max"].between(2005, 2009).all()
    assert not plots.duplicated(["treatment", "year"]).any()


def test_the_value_of_a_block_before_the_experiment_counts_once(observations, soil):
    start = observations[observations["series"] == "woburn_start"]
    assert list(start["treatment"]) == [f"b{block}_ab" for block in range(1, 6)]
    of_blocks = soil[soil["year"] == 1938].groupby("block")["soc_percent"]
    assert of_blocks.min().equals(of_blocks.max())
    assert list(start["value"]) == list(of_blocks.first()) == [0.929, 0.888, 0.985, 1.114, 0.980]


@pytest.mark.parametrize(
    ("plot", "year", "treatment", "value", "method", "mass"),
    [
        (1, 1959, "b1_ab_fym", 0.80, "tinsley", 3770),
        (1, 1979, "b1_ab_fym", 0.78, "tinsley", 3770),
        (43, 1980, "b3_ln3", 1.27, "combustion", 3470),
        (62, 2007, "b4_ln8b_fym", 1.34, "combustion", 3470),
        (79, 1966, "b5_lc3", 0.95, "tinsley", 3470),
        (69, 1971, "b5_ln8b", 0.99, "tinsley", 3770),
    ],
)
def test_a_sample_is_that_of_its_plot(
    plot, year, treatment, value, method, mass, soil, observations
):
    of_archive = soil[(soil["main_plot"] == plot) & (soil["year"] == year)]
    assert of_archive["soc_percent"].item() == value
    row = observations[(observations["treatment"] == treatment) & (observations["year"] == year)]
    assert row["value"].item() == value
    assert row["method"].item() == method
    assert row["soil_mass_Mg_ha"].item() == mass


def test_the_samples_of_1961_are_those_of_two_years_later(soil, observations):
    of_archive = soil[(soil["block"] == 5) & (soil["year"] == 1961)]
    moved = observations[(observations["site"] == "woburn_5") & (observations["year"] == 1962)]
    assert sorted(moved["value"]) == sorted(of_archive["soc_percent"])
    assert not observations["year"].eq(1961).any()


def test_manure_is_that_of_every_fifth_year_to_one_plot_of_each_pair(management, cropping):
    manured = management[management["manure_carbon_t_ha"] > 0]
    assert manured["treatment"].str.endswith("_fym").all()
    assert manured["treatment"].nunique() == 40
    assert set(manured["manure_carbon_t_ha"]) == {3.231}
    for block, first, times in [
        (1, 1945, 5),
        (2, 1944, 5),
        (3, 1941, 6),
        (4, 1943, 5),
        (5, 1942, 6),
    ]:
        own = manured[manured["treatment"].str.startswith(f"b{block}_")]
        years = list(range(first, first + 5 * times, 5))
        assert all(list(rows) == years for _, rows in own.groupby("treatment")["year"])
        tested = cropping[(cropping["block"] == block) & cropping["year"].isin(years)]
        assert (tested["test_or_treatment"] == "1st test crop").all()


def test_the_plots_of_a_pair_differ_by_manure_alone(management):
    history = {
        name: rows.set_index("year")[["land_use", "yield_t_ha"]]
        for name, rows in management.groupby("treatment")
    }
    for name in (name for name in history if not name.endswith("_fym")):
        assert history[name].equals(history[f"{name}_fym"])


def test_no_two_plots_have_the_same_history(management):
    histories = {
        tuple(rows.sort_values("year")[HISTORY].fillna(0).itertuples(index=False, name=None))
        for _, rows in management.groupby("treatment")
    }
    assert len(histories) == 80


def test_plots_have_the_rotation_of_their_name(management):
    uses = pd.crosstab(management["treatment"], management["land_use"])
    leys = uses[["grass", "clover_grass", "legume"]].sum(axis=1)
    rotation = leys.index.str.extract(r"b\d_([a-z0-9]+)")[0].to_numpy()
    years = leys.groupby(rotation).agg(["min", "max"])
    assert years.loc["af", "max"] < years.loc["ab", "min"]
    assert (years.loc[["lc3", "ln3"], "min"] >= 40).all()
    assert uses.loc[rotation == "af", "fallow"].min() >= 6
    assert (years.loc[["lc8a", "lc8b", "ln8a", "ln8b"], "min"] > years.loc["ab", "max"]).all()


def test_the_case_has_the_treatments_of_the_tables(case, observations, management):
    named = {treatment["name"]: treatment["site"] for treatment in case["treatment"]}
    assert set(named) == set(management["treatment"])
    assert observations["site"].equals(observations["treatment"].map(named))


def test_what_is_withheld_is_a_rotation_and_the_last_samples(case, observations):
    withheld = case["observations"]
    assert set(withheld["keep_out_treatments"]) == {
        name for name in observations["treatment"] if "_af" in name
    }
    out = observations["treatment"].isin(withheld["keep_out_treatments"])
    last = observations["year"].isin(withheld["keep_out_years"])
    assert (out.sum(), (last & ~out).sum(), (~out & ~last).sum()) == (110, 70, 705)


def test_rates_and_priors_are_those_of_rothamsted(case):
    rothamsted, woburn = read_case("rothamsted")["free"], case["free"]
    shared = set(rothamsted) & set(woburn)
    assert {"carbon.k_hum", "carbon.k_rpm", "protection.b1", "manure.factor"} <= shared
    assert all(woburn[name].get("prior") == rothamsted[name].get("prior") for name in shared)
