import importlib.util
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "data"
SOURCE = DATA / "observations" / "rothamsted" / "source"


@pytest.fixture(scope="module")
def script():
    path = ROOT / "scripts" / "prepare_rothamsted.py"
    spec = importlib.util.spec_from_file_location("prepare_rothamsted", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def climate():
    return pd.read_csv(DATA / "climate" / "rothamsted_monthly.csv")


@pytest.fixture(scope="module")
def management():
    return pd.read_csv(DATA / "management" / "rothamsted.csv")


@pytest.fixture(scope="module")
def observations():
    return pd.read_csv(DATA / "observations" / "rothamsted" / "observations.csv")


def test_the_derived_tables_are_what_the_script_makes(script):
    assert script.main(["--check"]) == 0


def test_the_check_notices_a_changed_table(script, tmp_path):
    tables, _ = script.derive()
    script.write(tables, tmp_path)
    assert script.differing(tables, tmp_path) == []

    changed = tmp_path / "management" / "rothamsted.csv"
    changed.write_text(changed.read_text().replace("plot 3", "plot 4", 1))
    (tmp_path / "climate" / "rothamsted_monthly.csv").unlink()
    assert script.differing(tables, tmp_path) == [
        "climate/rothamsted_monthly.csv",
        "management/rothamsted.csv",
    ]


def test_every_month_is_there_once(climate):
    months = list(zip(climate["year"], climate["month"], strict=True))
    assert months == [(year, month) for year in range(1843, 2019) for month in range(1, 13)]
    assert climate.notna().all(axis=None)


def test_annual_means_of_reconstructed_years_equal_the_record(climate):
    record = pd.read_csv(SOURCE / "annual_temp_1878-2019.csv").set_index("year")["t_mean_c"]
    rebuilt = climate.loc[climate["temperature_origin"] == "reconstructed", "year"].unique()
    annual = climate.groupby("year")["temperature_c"].mean().loc[rebuilt]
    assert set(rebuilt) == {*range(1878, 1986), 2017, 2018}
    assert annual.to_numpy() == pytest.approx(record.loc[rebuilt].to_numpy(), abs=1e-4)


def test_years_before_the_record_have_its_first_thirty_year_mean(climate):
    record = pd.read_csv(SOURCE / "annual_temp_1878-2019.csv").set_index("year")["t_mean_c"]
    annual = climate[climate["year"] < 1878].groupby("year")["temperature_c"].mean()
    assert annual.to_numpy() == pytest.approx(record.loc[1878:1907].mean(), abs=1e-4)


def test_measured_months_are_the_original_values(climate):
    original = pd.read_csv(SOURCE / "monthly_rain_1853-2018_temp_1985-2017.csv")
    both = climate.merge(original, on=["year", "month"])
    rain = both[both["precipitation_origin"] == "measured"]
    warm = both[both["temperature_origin"] == "measured"]
    assert len(rain) == original["rain_mm"].count()
    assert len(warm) == original["t_mean_c"].count()
    assert rain["precipitation_mm"].equals(rain["rain_mm"])
    assert warm["temperature_c"].equals(warm["t_mean_c"])


def test_every_treatment_has_every_year_once(management):
    for _, rows in management.groupby("treatment"):
        assert rows["year"].tolist() == list(range(1843, 2019))


def test_fallow_years_carry_four_fifths_of_the_inputs(management):
    fallow = management[management["fallow_share"] > 0]
    wheat = management[management["land_use"] == "wheat"]
    assert (fallow["fallow_share"] == 0.2).all()
    assert fallow.index.equals(wheat.index[wheat["year"].between(1926, 1967)])
    assert (fallow["plant_carbon_base_t_ha"] == 0.8).all()
    assert set(fallow["manure_carbon_t_ha"]) == {0.0, 2.4}

    # Plot 3 has the same grain, 1.63 t/ha, before and after the end of the fallowing.
    nil = management[management["treatment"] == "broadbalk_nil"].set_index("year")
    before, after = nil["plant_carbon_yield_t_ha"].loc[[1967, 1968]]
    assert before == pytest.approx(0.8 * after, abs=1e-4)


def test_bare_fallow_and_woodland_have_no_input(management):
    inputs = ["plant_carbon_base_t_ha", "plant_carbon_yield_t_ha", "manure_carbon_t_ha"]
    rows = management[management["land_use"].isin(["bare_fallow", "woodland"])]
    assert (rows[inputs] == 0).all(axis=None)
    assert rows.groupby("treatment")["year"].min().to_dict() == {
        "highfield_bare_fallow": 1960,
        "wilderness": 1882,
    }


def test_manure_is_spread_in_the_years_of_the_experiment_only(management):
    manured = management[management["manure_carbon_t_ha"] > 0].groupby("treatment")["year"]
    assert manured.agg(["min", "max"]).T.to_dict("list") == {
        "broadbalk_fym_1843": [1843, 2018],
        "broadbalk_fym_1885": [1885, 2018],
        "broadbalk_fymn_1968": [1968, 2000],
    }


def test_no_estimated_value_lacks_its_flag(observations):
    original = pd.read_csv(SOURCE / "soc_timeseries.csv")
    estimated = original[
        (original["estimated"] == 1) & ~original["treatment"].str.startswith("highfield")
    ]
    found = observations.merge(
        estimated[["year", "c_t_ha"]].drop_duplicates(),
        left_on=["year", "value"],
        right_on=["year", "c_t_ha"],
    )
    assert len(found) == len(estimated)
    assert (found["estimated"] == 1).all()


@pytest.mark.parametrize(
    ("treatment", "year"),
    [
        ("broadbalk_fymn_1968", 1967),
        ("fosters_arable", 1951),
        ("fosters_grass", 1948),
        ("highfield_arable", 1948),
    ],
)
def test_starts_and_repeats_are_no_measurements(observations, treatment, year):
    row = observations[(observations["treatment"] == treatment) & (observations["year"] == year)]
    assert row["estimated"].tolist() == [1]
    assert row["source"].str.contains("; ").all()


def test_no_observation_is_counted_twice(observations):
    key = ["treatment", "year", "variable", "upper_cm", "lower_cm"]
    assert not observations.duplicated(key).any()
    assert observations.groupby("treatment")["variable"].nunique().eq(1).all()

    measured = observations[observations["estimated"] == 0]
    fields = measured[measured["site"] != "broadbalk"]
    assert not fields.duplicated(["site", "year", "value"]).any()


def test_unmanured_broadbalk_stocks_stand_for_one_soil_mass(observations):
    # 28.8 times a percentage with two decimals; the means of 2015 were not rounded.
    rows = observations[(observations["series"] == "broadbalk") & (observations["year"] < 2015)]
    assert (rows["soil_mass_Mg_ha"] == 2880).all()
    assert (28.8 * (rows["value"] / 28.8).round(2)).to_numpy() == pytest.approx(
        rows["value"].to_numpy(), abs=6e-4
    )


def test_standard_errors_count_independent_plots_only(observations):
    highfield = observations[observations["site"] == "highfield"].set_index(["treatment", "year"])
    bulked = highfield.loc[("highfield_arable", 1951)]
    assert bulked["value"] == pytest.approx((2.70 + 2.46) / 2)
    assert bulked["sd"] == pytest.approx((2.70 - 2.46) / 2)

    halves = highfield.loc[("highfield_grass", 1969)]
    assert halves["value"] == pytest.approx((3.40 + 3.47) / 2)
    assert pd.isna(halves["sd"])


def test_every_row_names_its_data_set(observations):
    assert observations["source"].str.startswith("doi:10.23637/").all()
