"""What the study makes of its runs, on stocks whose answers are known."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from diffsoil.io import InputError
from diffsoil.studies.vandermeij2026 import analysis
from tests.tiny_suite import FARMED, ROCKS, YEARS, scenarios, suite

TRUTH = {
    "intercept": 110.0, "a": 8.0, "c": 9.0, "m": 0.1, "p": 6.0, "x": 11.0, "wet": -35.0,
    "E1": -4.0, "E2": -21.0, "E3": -50.0, "agricultural": -22.0, "year": 0.00145,
}  # fmt: skip


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return suite()


@pytest.fixture(scope="module")
def short() -> pd.DataFrame:
    """The 72 runs of the regression."""
    runs = scenarios()
    return runs[runs["recovery"] == ""]


@pytest.fixture(scope="module")
def whole(short: pd.DataFrame) -> analysis.Design:
    """The design of the 72 runs and 10 000 years."""
    return analysis.design(short)


def with_stocks(dataset: xr.Dataset, name: str, values: np.ndarray) -> xr.Dataset:
    return dataset.assign({name: (("scenario", "year"), values)})


# Smoothing.


def test_smoothing_is_the_mean_of_the_years_of_the_window() -> None:
    random = np.random.default_rng(1)
    stock, window = random.normal(size=(2, 3, 60)), random.integers(1, 25, (3, 60))
    wanted = np.empty_like(stock)
    for t, run, year in np.ndindex(stock.shape):
        first = max(0, year + 1 - window[run, year])
        wanted[t, run, year] = stock[t, run, first : year + 1].mean()
    np.testing.assert_allclose(analysis.smoothed(stock, window), wanted, rtol=1e-12)
    np.testing.assert_allclose(analysis.smoothed(stock[0, 0], window[0]), wanted[0, 0], rtol=1e-12)


def test_windows_follow_the_phases_and_recovery_goes_back_to_natural_erosion() -> None:
    window = analysis.windows(["E1-E2-E3", "E0-E0-E0"], YEARS)
    assert window.shape == (2, YEARS)
    places = [0, 7999, 8000, 9899, 9900, 9999, 10000, 11999]  # year - 1
    assert window[0, places].tolist() == [1000, 1000, 100, 100, 10, 10, 1000, 1000]
    assert (window[1] == 1).all()


def test_smoothing_may_begin_anew_with_each_phase() -> None:
    back, anew = (analysis.windows(["E1-E2-E2"], 10500, again)[0] for again in (False, True))
    for year, looking_back, restarted in (
        (1, 1000, 1), (8000, 1000, 1000), (8001, 100, 1), (8050, 100, 50), (9900, 100, 100),
        (9901, 100, 1), (10000, 100, 100), (10001, 1000, 1), (10500, 1000, 500),
    ):  # fmt: skip
        assert (back[year - 1], anew[year - 1]) == (looking_back, restarted)


def test_smoothing_takes_out_the_saw_tooth() -> None:
    year = np.arange(1, YEARS + 1)
    window = analysis.windows(["E1-E2-E3"], YEARS)[0]
    smooth = analysis.smoothed(80.0 - 5.0 * ((year - 1) % window) / window, window)
    for first, last, interval in ((1000, 8000, 1000), (8100, 9900, 100), (9910, 10000, 10)):
        level = 80.0 - 2.5 * (interval - 1) / interval
        np.testing.assert_allclose(smooth[first - 1 : last], level, rtol=1e-10)


def test_smoothing_keeps_what_lies_before_the_end_of_a_run() -> None:
    stock = np.where(np.arange(20) < 12, 3.0, np.nan)
    smooth = analysis.smoothed(stock, np.full(20, 5))
    np.testing.assert_allclose(smooth[:12], 3.0)
    assert np.isnan(smooth[12:]).all()


# Regression.


def test_the_table_has_a_row_for_each_run_and_year(dataset: xr.Dataset) -> None:
    table = analysis.regression_table(dataset)
    assert len(table) == 720_000
    assert set(table["year"]) == set(range(1, 10001))
    farmed = table[table["land_use"] == "agricultural"]
    assert len(farmed) == 48 * 2000
    assert farmed["year"].min() == 8001
    counts = table["erosion"].value_counts()
    assert counts["E3"] == 12 * 100
    assert counts["E2"] == 12 * (2000 + 1900)
    assert counts["E1"] == 12 * (8000 * 4 + 2000 * 2)
    assert {name: tuple(table[name].cat.categories) for name in analysis.LEVELS} == analysis.LEVELS
    assert (table["soc_stock_0_100"] > 0.0).mean() > 0.99


def test_an_incomplete_suite_is_refused(dataset: xr.Dataset) -> None:
    stock = dataset["soc_stock_0_100"].to_numpy().copy()
    stock[3, 5000:] = np.nan
    half = with_stocks(dataset, "soc_stock_0_100", stock)
    with pytest.raises(InputError, match=r"of 1 of the runs.* year 10000; compute the missing"):
        analysis.regression_table(half)
    with pytest.raises(InputError, match="no run with protection x, recovery natural"):
        analysis.recovery(dataset.isel(scenario=slice(72)))


def test_known_coefficients_are_found(whole: analysis.Design) -> None:
    y = (whole.matrix @ np.array(list(TRUTH.values()))).reshape(72, -1)
    found = analysis.coefficients(y, whole)
    for name, value in TRUTH.items():
        assert found[f"T3-{name}"] == pytest.approx(value, rel=1e-9)
    assert found["T3-r2"] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("total", ["mean", "anova"])
def test_plain_algebra_is_what_statsmodels_says(
    dataset: xr.Dataset, short: pd.DataFrame, total: analysis.Total
) -> None:
    """On half of the runs, which is less balanced still than all of them."""
    chosen = np.random.default_rng(3).permutation(72)[:36]
    part = dataset.isel(scenario=chosen)
    table, r2 = analysis.table3(part, total)
    y = analysis.smoothed_stocks(part, np.arange(36))
    found = analysis.coefficients(y, analysis.design(short.iloc[chosen]), total)
    ids = "T3-" + table["predictor"]
    np.testing.assert_allclose(ids.map(found), table["estimate_Mg_C_ha"], rtol=1e-8)
    eta2 = table["variable"].map(lambda v: found.get(f"T3-eta2-{v}", np.nan))
    np.testing.assert_allclose(eta2, table["eta2_percent"], rtol=1e-8)
    assert found["T3-r2"] == pytest.approx(r2, rel=1e-8)
    assert table["p_value"].between(0.0, 1.0).all()


def test_table_3_has_the_rows_of_the_paper(dataset: xr.Dataset) -> None:
    paper = analysis._paper_table3()
    assert tuple(zip(paper["variable"], paper["predictor"], strict=True)) == analysis.PREDICTORS
    table, _ = analysis.table3(dataset.isel(scenario=slice(72), year=slice(10000)))
    assert list(table) == [
        "variable", "predictor", "estimate_Mg_C_ha", "p_value", "eta2_percent",
        "paper_estimate", "paper_eta2",
    ]  # fmt: skip
    assert table.groupby("variable")["eta2_percent"].nunique().drop("intercept").eq(1).all()


def test_sums_of_squares_are_what_leaving_a_variable_out_costs(short: pd.DataFrame) -> None:
    plan = analysis.design(short.iloc[[0, 3, 7, 20, 33, 45, 50, 60, 71, 14, 39, 28, 66]])
    plan = analysis.Design(plan.matrix[::50])
    y = np.random.default_rng(5).normal(size=len(plan.matrix)) + plan.matrix[:, 6] * 3.0

    def left(columns: list[int]) -> float:
        return float(np.linalg.lstsq(plan.matrix[:, columns], y)[1][0])

    found = analysis.coefficients(y, plan, "mean")
    for variable in analysis.VARIABLES:
        others = [i for i, (v, _) in enumerate(analysis.PREDICTORS) if v != variable]
        cost = left(others) - left(list(range(12)))
        share = 100.0 * cost / ((y - y.mean()) ** 2).sum()
        assert found[f"T3-eta2-{variable}"] == pytest.approx(share, rel=1e-6, abs=1e-9)


def test_the_papers_eta2_is_of_the_sum_of_its_anova_table(whole: analysis.Design) -> None:
    """Its estimates and R2 imply its eta2, and by the sum about the mean they would not.

    The slope is printed as 0.001; 0.00145 is within that.
    """
    paper = analysis._paper_table3().set_index("predictor")
    estimate = paper["estimate_Mg_C_ha"].to_numpy().copy()
    estimate[-1] = 0.00145
    fitted = whole.matrix @ estimate
    noise = np.random.default_rng(0).normal(size=len(fitted))
    noise -= whole.matrix @ (whole.inverse @ (whole.matrix.T @ noise))
    y = fitted + noise * np.sqrt((1.0 / 0.81 - 1.0) * fitted.var() / noise.var())
    printed = paper.reset_index().drop_duplicates("variable").set_index("variable")["eta2_percent"]
    for total, furthest in (("anova", 0.25), ("mean", 5.5)):
        found = analysis.coefficients(y, whole, total)
        gaps = [abs(found[f"T3-eta2-{v}"] - printed[v]) for v in analysis.VARIABLES]
        assert max(gaps) == pytest.approx(furthest, rel=0.2)


@pytest.mark.parametrize("total", ["mean", "anova"])
def test_derivatives_of_coefficients_are_finite_differences(
    dataset: xr.Dataset, whole: analysis.Design, total: analysis.Total
) -> None:
    y = analysis.smoothed_stocks(dataset, np.arange(72))
    random = np.random.default_rng(2)
    effects = random.normal(size=(2, 12)) * [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1e-4]
    dy = (effects @ whole.matrix.T).reshape(2, *y.shape) + random.normal(size=(2, *y.shape))
    slopes = analysis.d_coefficients(y, dy, whole, total)
    h = 1e-4
    for tangent in range(2):
        above = analysis.coefficients(y + h * dy[tangent], whole, total)
        below = analysis.coefficients(y - h * dy[tangent], whole, total)
        for name, slope in slopes.items():
            wanted = (above[name] - below[name]) / (2.0 * h)
            assert slope[tangent] == pytest.approx(wanted, rel=1e-5, abs=1e-7)


# Statements.


def figure1_stocks() -> dict[str, np.ndarray]:
    """Without protection 100 (1 - exp(-t / 300)), then 80; the others above it as in the paper."""
    year = np.arange(1.0, 10001.0)
    none = 100.0 * -np.expm1(-year / 300.0) * np.where(year > 8000, 0.8, 1.0)
    aggregation = np.where(year > 8000, 1.2, 1.2 - 0.12 * year / 8000)
    over = {"n": 1.0, "a": aggregation, "c": 1.12, "m": 1.0, "p": 1.11}
    return {protection: none * factor for protection, factor in over.items()}


def test_statements_are_what_was_put_in() -> None:
    found = {name: float(value) for name, value in analysis.figure1(figure1_stocks()).items()}
    # 1 - exp(-(t + 500) / 300) = 1.01 (1 - exp(-t / 300))
    still = 300.0 * np.log((1.01 - np.exp(-500.0 / 300.0)) / 0.01)
    wanted = {
        "F1-n-equilibrium": still, "F1-n-extensive": 0.8, "F1-m": 0.0, "F1-p": 11.0, "F1-c": 12.0,
        "F1-a-late": 20.0 - 12.0 * 7750.5 / 8000.0, "F1-x-switch": 8000.0 * 0.08 / 0.12,
        "F1-a-liming": 1.0,
    }  # fmt: skip
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-5, abs=1e-9), name
    assert 17.5 < found["F1-a-early"] < 18.5


def test_what_never_happens_is_not_a_number() -> None:
    stocks = figure1_stocks()
    ahead = stocks | {"a": 0.9 * stocks["n"]}
    found = analysis.figure1(ahead)
    assert np.isnan(found["F1-x-switch"])
    assert float(found["F1-a-liming"]) == 0.0
    rising = {name: np.arange(1.0, 10001.0) ** 2 for name in stocks}
    assert np.isnan(analysis.figure1(rising)["F1-n-equilibrium"])


def test_derivatives_of_statements_are_finite_differences() -> None:
    stocks = figure1_stocks()
    random = np.random.default_rng(4)
    year = np.arange(10000) / 10000
    tangents = {
        name: random.normal(size=(3, 1)) * stock + np.sin(random.normal(size=(3, 1)) * year)
        for name, stock in stocks.items()
    }
    slopes = analysis.d_figure1(stocks, tangents)
    h = 1e-5
    for tangent in range(3):
        ends = [
            analysis.figure1({k: v + sign * h * tangents[k][tangent] for k, v in stocks.items()})
            for sign in (1.0, -1.0)
        ]
        for name, slope in slopes.items():
            wanted = float(ends[0][name] - ends[1][name]) / (2.0 * h)
            assert slope[tangent] == pytest.approx(wanted, rel=1e-4, abs=1e-6), name


def test_labels_may_be_strings_as_zarr_gives_them(dataset: xr.Dataset) -> None:
    words = {
        name: ("scenario", dataset[name].to_numpy().astype(np.dtypes.StringDType()))
        for name in (*analysis.LABELS, "scenario")
    }
    stored = dataset.assign_coords(words)
    assert stored["erosion"].dtype == np.dtypes.StringDType()
    pd.testing.assert_frame_equal(analysis.histories(stored), analysis.histories(dataset))
    pd.testing.assert_frame_equal(analysis.recovery(stored), analysis.recovery(dataset))
    assert analysis.limiting(stored).sizes == analysis.limiting(dataset).sizes


def test_statements_of_a_suite_are_those_of_its_runs(dataset: xr.Dataset) -> None:
    found = analysis.statements(dataset)
    assert list(found) == list(analysis._paper_statements()["id"])
    runs = analysis.histories(dataset)
    places = analysis.figure1_runs(runs)
    stock = dataset["soc_stock_0_100"].to_numpy()
    clay, none = (stock[places[p], 2000:8000].mean() for p in "cn")
    assert found["F1-c"] == pytest.approx(100.0 * (clay / none - 1.0))
    assert set(runs.iloc[list(places.values())]["erosion"]) == {"E0-E0-E0"}
    assert set(runs.iloc[list(places.values())]["bioclimate"]) == {"dry"}


def test_both_ways_of_smoothing_stand_side_by_side(dataset: xr.Dataset) -> None:
    table = analysis.smoothing(dataset).set_index("id")
    ours = analysis.targets(dataset)
    np.testing.assert_allclose(table["looking_back"], [ours[name] for name in table.index])
    assert table.loc["T3-E3", "restarted"] != table.loc["T3-E3", "looking_back"]
    # no erosion, nothing to smooth
    figure1 = table.index.str.startswith("F1")
    pd.testing.assert_series_equal(
        table["looking_back"][figure1], table["restarted"][figure1], check_names=False
    )


# Recovery.


@pytest.mark.parametrize(
    ("values", "place"),
    [([-2.0, -1.0, 3.0], 1.25), ([-1.0, 0.0, 1.0], 1.0), ([1.0, -1.0, 1.0], 1.5)],
)
def test_a_rise_through_zero_is_interpolated(values: list[float], place: float) -> None:
    assert float(analysis.first_rise(jnp.asarray(values))) == pytest.approx(place)


@pytest.mark.parametrize("values", [[-1.0, -2.0], [1.0, 2.0], [2.0, -1.0]])
def test_what_does_not_rise_through_zero_has_no_place(values: list[float]) -> None:
    assert np.isnan(analysis.first_rise(jnp.asarray(values)))


@pytest.fixture(scope="module")
def recovering(dataset: xr.Dataset) -> xr.Dataset:
    """In recovery the topsoil lacks 10, 20, 30, -1 Mg/ha by history and gains 0.1 a year.

    The subsoil of wet runs lacks 300, more than 2000 years can bring. All lose 5 Mg/ha to the
    events of natural erosion and get it back until the next.
    """
    runs = scenarios()
    year = np.arange(1.0, YEARS + 1.0)
    natural = ["-".join([history[:2]] * 3) for history in runs["erosion"]]
    window = analysis.windows(natural, YEARS)
    saw_tooth = 5.0 * ((year - 1.0) % window) / window
    lack = dict(zip(FARMED, (10.0, 20.0, 30.0, -1.0), strict=True))
    since = np.maximum(year - 10000.0, 0.0)
    farmed = (runs["land_use"] == "agricultural").to_numpy()[:, None]
    top = np.where(farmed, runs["erosion"].map(lack).to_numpy()[:, None] - 0.1 * since, 0.0)
    wet = (runs["bioclimate"] == "wet").to_numpy()[:, None]
    sub = np.where(farmed, np.where(wet, 300.0, 5.0) - 0.1 * since, 0.0)
    changed = with_stocks(dataset, "soc_stock_0_25", 50.0 + saw_tooth - top)
    return with_stocks(changed, "soc_stock_25_75", 40.0 + saw_tooth - sub)


def test_recovery_takes_as_long_as_the_gain_says(recovering: xr.Dataset) -> None:
    table = analysis.recovery(recovering).set_index(["bioclimate", "erosion", "compartment"])
    assert len(table) == 16
    # down to 1 % of 50 Mg/ha, to which 0.005 a year is added between the events of E1
    for erosion, deficit, years in (
        (FARMED[0], 10.0, 9.5 / 0.1), (FARMED[1], 20.0, 19.50005 / 0.10005),
        (FARMED[2], 30.0, 29.50005 / 0.10005), (FARMED[3], -1.0, 0.0),
    ):  # fmt: skip
        row = table.loc[("dry", erosion, "top")]
        assert row["deficit_Mg_C_ha"] == pytest.approx(deficit)
        assert row["recovery_years"] == pytest.approx(years)
        assert row["recovered"]
    # nothing happens to the natural stock without erosion: both ways are one
    none = table.xs(FARMED[0], level="erosion")
    np.testing.assert_allclose(none["years_to_stock_of_10000"], none["recovery_years"])
    wet = table.loc[("wet", FARMED[1], "sub")]
    assert np.isnan(wet["recovery_years"])
    assert not wet["recovered"]


@pytest.mark.parametrize(
    ("lack", "years"),
    [
        ([-1.0, -2.0, 0.0], 0.0),
        ([2.0, 1.0, -1.0, -1.0], 1.5),
        ([2.0, -1.0, 1.0, -3.0, -3.0], 2.25),  # back, and not for good
        ([2.0, 0.0, 0.0], 1.0),
        ([-1.0, -1.0, 1.0], np.nan),
        ([3.0], np.nan),
    ],
)
def test_a_stock_is_back_when_it_stays(lack: list[float], years: float) -> None:
    assert analysis.time_to_stay(np.array(lack)) == pytest.approx(years, nan_ok=True)


@pytest.mark.parametrize(
    ("lack", "years"),
    [
        ([-1.0, 2.0], 0.0),
        ([2.0, 1.0, -1.0, 1.0], 1.5),  # lost again
        ([2.0, 0.0, 1.0], 1.0),
        ([3.0, 1.0], np.nan),
    ],
)
def test_a_stock_is_first_back_when_nothing_lacks(lack: list[float], years: float) -> None:
    assert analysis.time_to_reach(np.array(lack)) == pytest.approx(years, nan_ok=True)


def test_an_event_that_closes_the_gap_for_some_years_is_no_recovery(
    recovering: xr.Dataset,
) -> None:
    """A loss of the soil never farmed alone, at once after year 10 000, changes nothing."""
    stock = recovering["soc_stock_0_25"].to_numpy().copy()
    stock[analysis.find(analysis.histories(recovering), land_use="natural"), 10000:10050] -= 40.0
    changed = analysis.recovery(with_stocks(recovering, "soc_stock_0_25", stock))
    pd.testing.assert_frame_equal(changed, analysis.recovery(recovering))


def test_recovery_time_against_deficit_is_a_line(recovering: xr.Dataset) -> None:
    table = analysis.recovery(recovering)
    fit = analysis.recovery_fit(table).set_index("compartment")
    assert list(fit) == ["slope_a_per_Mg", "p_value", "r2", "intercept_a", "n"]
    top = fit.loc["top"]
    assert top["slope_a_per_Mg"] == pytest.approx(10.0, rel=1e-3)
    assert top["intercept_a"] == pytest.approx(-5.0, abs=0.2)
    assert top["r2"] == pytest.approx(1.0, abs=1e-6)
    assert top["p_value"] < 0.001
    assert top["n"] == 6  # without those that lacked nothing
    assert fit.loc["sub"].drop("n").isna().all()  # four, all with one deficit
    assert analysis.recovery_fit(table[:0])["n"].eq(0).all()


def test_rocks_are_compared_with_the_same_land_use_without_them(dataset: xr.Dataset) -> None:
    runs = scenarios()
    bonus = runs["rock"].map({"none": 0.0} | {r: 1.0 + i for i, r in enumerate(ROCKS)})
    base = runs["recovery"].map({"": 0.0, "natural": 60.0, "agriculture": 40.0})
    stock = np.tile((base + bonus).to_numpy()[:, None], YEARS)
    table = analysis.rocks(with_stocks(dataset, "soc_stock_0_100", stock))
    assert list(table) == [
        "bioclimate", "land_use", "rock", "year", "soc_stock_0_100", "difference_to_none",
    ]  # fmt: skip
    assert len(table) == 2 * 2 * 6 * 201
    assert set(table["land_use"]) == {"natural", "agriculture"}
    assert (table["year"].min(), table["year"].max()) == (10000, 12000)
    calcite = table[table["rock"] == "calcite"]
    assert (calcite["difference_to_none"] == 3.0).all()
    assert set(calcite["soc_stock_0_100"]) == {63.0, 43.0}


# Protection.


def test_protection_is_compared_with_the_same_history_without(dataset: xr.Dataset) -> None:
    table = analysis.protection(dataset)
    assert list(table) == [
        "bioclimate", "erosion", "land_use", "year", "protection", "percent_over_none",
    ]  # fmt: skip
    assert len(table) == 60 * 100
    runs = analysis.histories(dataset)
    labels = {"bioclimate": "wet", "erosion": FARMED[3], "land_use": "agricultural"}
    ours, none = (analysis.find(runs, protection=p, recovery="", **labels)[0] for p in "cn")
    stock = analysis.smoothed_stocks(dataset, np.array([ours, none]))[:, 9899]
    row = table[
        (table[list(labels)] == pd.Series(labels)).all(axis=1)
        & (table["protection"] == "c")
        & (table["year"] == 9900)
    ]
    wanted = 100.0 * (stock[0] / stock[1] - 1.0)
    assert row["percent_over_none"].item() == pytest.approx(wanted)


def test_the_lowest_modifier_limits(dataset: xr.Dataset) -> None:
    changed = dataset.copy(deep=True)
    for mechanism in analysis.MECHANISMS:
        changed[f"modifier_{mechanism}"][{"depth_m": 0, "output_year": slice(9)}] = 1.0
    changed["modifier_clay"][{"depth_m": 1, "output_year": slice(9)}] = 0.8
    found = analysis.limiting(changed)
    assert found["limiting"].dtype.kind == "i"
    assert found.sizes["scenario"] == 12 + 40
    here = found.isel(scenario=0, output_year=3)
    # 0.4 m each: the first unprotected, the second clay's, the next to 1 m of the pores
    assert here["limiting"].to_numpy().tolist() == [0, 1, 4, 4]
    share = here["share"].to_series()
    assert share.to_dict() == pytest.approx(
        {"none": 0.4, "clay": 0.4, "mooh": 0.0, "aggregation": 0.0, "pores": 0.2}
    )
    after = found.isel(scenario=0, output_year=-1)
    assert (after["limiting"] == -1).all()
    assert np.isnan(after["share"]).all()


# The paper beside it.


def test_the_comparison_has_every_number_of_the_paper(dataset: xr.Dataset) -> None:
    before = {"T3-wet": -20.0}
    table = analysis.comparison(dataset, before, fitted_targets=["T3-wet", "F1-c"])
    assert list(table) == [
        "id", "what", "paper", "before_fit", "ours", "difference", "tolerance", "used_in_fit",
        "verdict",
    ]  # fmt: skip
    assert len(table) == 12 + 5 + 10
    assert table["id"].is_unique
    assert set(table["id"]) == set(analysis.targets(dataset))
    assert set(table["verdict"]) <= {"reproduced", "partly", "not"}
    rows = table.set_index("id")
    assert rows.loc["T3-wet", "before_fit"] == -20.0
    assert rows["used_in_fit"].sum() == 2
    assert rows.loc["T3-eta2-climate", "tolerance"] == pytest.approx(15.9)
    assert rows.loc["T3-eta2-year", "tolerance"] == 1.5
    assert rows.loc["F1-n-extensive", "paper"] == 0.8
    np.testing.assert_allclose(table["difference"], table["ours"] - table["paper"])
    assert table["before_fit"].isna().sum() == len(table) - 1


@pytest.mark.parametrize(
    ("paper", "ours", "tolerance", "judged"),
    [
        (10.0, 11.0, 1.0, "reproduced"),
        (10.0, 12.0, 1.0, "partly"),
        (10.0, 12.1, 1.0, "not"),
        (1.2, -0.5, 1.0, "not"),  # within two tolerances and of the other sign
        (0.05, -1.5, 1.0, "partly"),  # nothing, in the paper, has no sign
        (5000.0, float("nan"), 700.0, "not"),
    ],
)
def test_verdicts(paper: float, ours: float, tolerance: float, judged: str) -> None:
    assert analysis.verdict(paper, ours, tolerance) == judged
