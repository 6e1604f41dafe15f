"""Kinds of measurements and their error models, on made-up records."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from calibration import prediction, preview
from calibration.likelihood import SMALLEST_SD, ErrorModel, Spread, error_model
from calibration.noise import Lognormal, Normal, OrnsteinUhlenbeck, StudentT
from calibration.observations import read, topsoil_cm
from calibration.operator import Operator
from calibration.posterior import Prediction
from calibration.problem import Problem
from calibration.quantities import QUANTITIES
from diffsoil.cases import load_case
from diffsoil.cases.arrays import build
from diffsoil.io import InputError
from diffsoil.processes.carbon import RothC
from tests import tiny_case
from tests.test_calibration import HEADER, observation, write_case
from tests.test_whole_soil_cases import with_experiment

LAYERS = 3
DEPTH = jnp.asarray([0.0, 0.1, 0.3])
THICKNESS = jnp.asarray([0.1, 0.2, 0.2])


def operator(variable: str, upper: float = 0.0, lower: float = 0.2, **changes) -> Operator:
    """One observation between two depths, m, in a soil that develops."""
    fields = {
        "member": jnp.zeros(1, int),
        "year": jnp.zeros(1, int),
        "weights": jnp.zeros((1, LAYERS)),
        "mineral_mass": jnp.zeros((1, LAYERS)),
        "sampled_mass": jnp.ones(1),
        "by_mass": jnp.zeros(1, bool),
        "variable": jnp.zeros(1, int),
        "needs_radiocarbon": False,
        "month": jnp.asarray([-1]),
        "upper": jnp.asarray([upper]),
        "lower": jnp.asarray([lower]),
        "kinds": (variable,),
    }
    return Operator(**(fields | changes))


def record(**values: object) -> dict:
    """Values by layer of one member and year; half of the second layer is sampled."""
    given = {
        "soc": [20.0, 30.0, 10.0],
        "thickness": THICKNESS,
        "depth_top": DEPTH,
        "mineral_mass": [1200.0, 2600.0, 2800.0],
    }
    return {name: jnp.asarray(v, dtype=float)[None, None] for name, v in (given | values).items()}


def value(variable: str, made: dict, **changes) -> float:
    return float(operator(variable, **changes)(made, RothC())[0])


def test_a_developing_soil_is_sampled_where_its_layers_lie():
    assert value("soc_stock", record()) == pytest.approx(20 + 30 / 2)
    thicker = record(thickness=[0.2, 0.2, 0.2], depth_top=[0.0, 0.2, 0.4])
    assert value("soc_stock", thicker) == pytest.approx(20)


def test_clay_and_calcite_are_shares_of_the_minerals():
    mean = (1200 * 10 + 1300 * 40) / 2500
    assert value("clay_percent", record(clay_percent=[10, 40, 90])) == pytest.approx(mean)
    assert value("calcite_percent", record(calcite_fraction=[0.1, 0.4, 1])) == pytest.approx(mean)


def test_bulk_density_and_temperature_are_means_by_volume():
    assert value("bulk_density", record(bulk_density=[1.2, 1.4, 9])) == pytest.approx(1.3)
    monthly = np.zeros((12, LAYERS)) + np.arange(12)[:, None]
    assert value("soil_temperature", record(soil_temperature=monthly)) == pytest.approx(5.5)
    july = {"month": jnp.asarray([6])}
    assert value("soil_temperature", record(soil_temperature=monthly), **july) == pytest.approx(6)


def test_base_saturation_counts_by_exchange_capacity_where_it_is_known():
    exchange = {"base_saturation": [100, 20, 0], "cec": [300, 100, 9]}
    known = (1200 * 300 * 100 + 1300 * 100 * 20) / (1200 * 300 + 1300 * 100)
    assert value("base_saturation", record(**exchange)) == pytest.approx(known)
    del exchange["cec"]
    by_mass = (1200 * 100 + 1300 * 20) / 2500
    assert value("base_saturation", record(**exchange)) == pytest.approx(by_mass)


def test_ph_is_a_mean_by_mass_of_soil():
    mass = np.array([1200 + 1.724 * 20, (2600 + 1.724 * 30) / 2])
    expected = (mass * [5, 7]).sum() / mass.sum()
    assert value("ph", record(ph=[5, 7, 9])) == pytest.approx(expected)


def test_a_ph_in_a_salt_solution_is_lower_than_in_water():
    water = record(ph=[5.0, 5.0, 9.0])
    assert value("ph cacl2", water) == pytest.approx(4.35)  # Conyers & Davey (1988)
    # Kabala et al. (2016): -1.95 + 11.58 log10(4) = 5.0218 in water where KCl has 4
    water = record(ph=[5.021855, 5.021855, 9.0])
    assert value("ph kcl", water) == pytest.approx(4.0, abs=1e-5)


def test_an_exchangeable_base_is_its_share_of_the_capacity():
    shares = np.array([[80, 15, 0], [10, 4, 0], [2, 1, 0], [1, 0, 0]])
    made = record(exchangeable_bases=shares, cec=[300, 100, 9])
    # 240 and 15 mmol/kg in 1200 and half of 2600 Mg/ha
    assert value("exchangeable_calcium", made) == pytest.approx((1200 * 240 + 1300 * 15) / 2500)
    assert value("exchangeable_potassium", made) == pytest.approx((1200 * 6 + 1300 * 1) / 2500)


def test_respired_carbon_is_that_of_the_fast_pools():
    pools = np.zeros((5, LAYERS))
    pools[0, 0], pools[3, 0], pools[4, 0] = 0.1, 20.0, 5.0
    activity = np.array([1.2, 1.0, 1.0, 0.9, 0.0])[:, None]
    made = record(
        pools=pools,
        radiocarbon_pools=pools * activity,
        radiocarbon=(pools * activity).sum(axis=0),
        modifier_overall=[0.5, 1, 1],
        soc=pools.sum(axis=0),
    )
    respired = (10 * 0.1 * 1.2 + 0.02 * 20 * 0.9) / (10 * 0.1 + 0.02 * 20)
    assert value("respired_delta14c", made) == pytest.approx(1000 * (respired - 1))
    assert value("delta14c", made) == pytest.approx(1000 * ((0.12 + 18) / 25.1 - 1))


# Error models.


YEARS = np.array([0.0, 1.0, 3.0, 10.0])


def errors(**changes) -> ErrorModel:
    """Four observations of a plot, years 0, 1, 3 and 10."""
    fields = {
        "value": jnp.asarray([20.0, 22.0, 19.0, 25.0]),
        "sd": jnp.asarray([0.5, 0.0, 1.0, 0.2]),
        "of_series": jnp.ones((4, 1)),
        "assumed": jnp.zeros(4),
        "of_method": jnp.zeros((4, 0)),
        "series": ("plot",),
        "methods": (),
        "relative": jnp.ones(4, bool),
        "noise": (Normal(),) * 4,
        "of_memory": jnp.zeros((4, 0)),
        "memories": (),
        "correlation": OrnsteinUhlenbeck(np.zeros((0, 0), int), YEARS),
        "texts": ("",) * 4,
    }
    return ErrorModel(**(fields | changes))


EXPECTED = jnp.asarray([21.0, 20.0, 20.0, 24.0])


def test_a_normal_error_joins_measured_and_fitted_parts():
    model = errors()
    spread = model.spread(jnp.asarray([0.1]), EXPECTED)
    sd = np.sqrt(np.asarray(model.sd) ** 2 + (0.1 * np.asarray(EXPECTED)) ** 2)
    np.testing.assert_allclose(spread.total, sd, rtol=1e-6)
    terms, others = model.log_density(EXPECTED, spread)
    np.testing.assert_allclose(terms, stats.norm.logpdf(model.value, EXPECTED, sd), rtol=1e-6)
    np.testing.assert_array_equal(terms, others)
    absolute = errors(relative=jnp.zeros(4, bool)).spread(jnp.asarray([0.1]), EXPECTED)
    np.testing.assert_allclose(absolute.scatter, 0.1)


def test_lognormal_and_student_errors_are_those_of_scipy():
    model = errors(noise=(Lognormal(), Lognormal(), StudentT(4.0), StudentT(7.0)))
    spread = model.spread(jnp.asarray([0.1]), EXPECTED)
    terms, _ = model.log_density(EXPECTED, spread)
    sd, middle, y = np.asarray(spread.total), np.asarray(EXPECTED), np.asarray(model.value)
    log = stats.lognorm.logpdf(y[:2], sd[:2] / middle[:2], scale=middle[:2])
    student = stats.t.logpdf(y[2:], [4, 7], middle[2:], sd[2:])
    np.testing.assert_allclose(terms, [*log, *student], rtol=1e-6)


def correlated(**changes) -> ErrorModel:
    """The first three belong together, the fourth is kept out."""
    blocks = OrnsteinUhlenbeck(np.array([[0, 1, 2]]), YEARS)
    return errors(of_memory=jnp.ones((4, 1)), memories=("plot",), correlation=blocks, **changes)


def covariance(model: ErrorModel, spread: Spread) -> np.ndarray:
    year, same = YEARS[:3], np.asarray(spread.scatter)[:3]
    together = np.exp(-np.abs(year[:, None] - year) / 5) * same[:, None] * same
    return together + np.diag(np.asarray(model.sd)[:3] ** 2 + SMALLEST_SD**2)


def test_errors_of_a_repeated_plot_are_one_multivariate_normal():
    model = correlated()
    spread = model.spread(jnp.asarray([0.1]), EXPECTED, jnp.asarray([5.0]))
    terms, others = model.log_density(EXPECTED, spread)
    full = covariance(model, spread)
    y, middle = np.asarray(model.value)[:3], np.asarray(EXPECTED)[:3]
    joint = stats.multivariate_normal(middle, full).logpdf(y)
    assert float(terms[:3].sum()) == pytest.approx(joint, rel=1e-9)
    alone = stats.norm.logpdf(model.value[3], EXPECTED[3], spread.total[3])
    assert float(terms[3]) == pytest.approx(float(alone), rel=1e-6)
    rest = np.array([0, 2])
    gain = full[1, rest] @ np.linalg.inv(full[np.ix_(rest, rest)])
    mean = middle[1] + gain @ (y[rest] - middle[rest])
    width = np.sqrt(full[1, 1] - gain @ full[rest, 1])
    assert float(others[1]) == pytest.approx(stats.norm.logpdf(y[1], mean, width), rel=1e-9)
    np.testing.assert_allclose(model.covariance(EXPECTED, spread)[:3, :3], full, rtol=1e-9)


def test_simulated_errors_have_the_covariance_that_is_stated():
    model = correlated()
    spread = model.spread(jnp.asarray([0.1]), EXPECTED, jnp.asarray([5.0]))
    keys = jax.random.split(jax.random.key(0), 20000)
    drawn = jax.jit(jax.vmap(lambda key: model.draw(key, EXPECTED, spread)))(keys)
    found = np.cov(np.asarray(drawn).T)
    np.testing.assert_allclose(found, model.covariance(EXPECTED, spread), atol=0.15)


@pytest.mark.parametrize("noise", [Normal(), Lognormal()])
def test_predicted_measurements_have_the_covariance_of_the_likelihood(noise):
    model = correlated(noise=(noise,) * 4)
    spread = model.spread(jnp.asarray([0.1]), EXPECTED, jnp.asarray([5.0]))
    count = 20000
    of_draws = {
        name: np.repeat(np.asarray(value)[None], count, axis=0)
        for name, value in zip(
            Prediction._fields,
            (EXPECTED, EXPECTED, spread.total, EXPECTED, EXPECTED, spread.memory, *3 * (EXPECTED,)),
            strict=True,
        )
    }
    draws = prediction.in_memory(Prediction(**of_draws))
    known = SimpleNamespace(errors=model, table=range(4))
    drawn = prediction.measured_columns(known, draws, slice(0, 4), 7)
    found = np.cov(model.symmetric(drawn).T)
    full = model.covariance(EXPECTED, spread)
    sd = np.sqrt(np.diag(full))
    np.testing.assert_allclose(found / np.outer(sd, sd), full / np.outer(sd, sd), atol=0.03)
    # whatever is drawn together
    some = prediction.measured_columns(known, draws, slice(1, 3), 7)
    np.testing.assert_array_equal(some, drawn[:, 1:3])


def test_a_filled_up_block_leaves_other_rows_alone():
    blocks = OrnsteinUhlenbeck(np.array([[0, 1, 2], [3, -1, -1]]), YEARS)
    model = dataclasses.replace(correlated(), correlation=blocks)
    spread = model.spread(jnp.asarray([0.1]), EXPECTED, jnp.asarray([5.0]))
    terms, _ = model.log_density(EXPECTED, spread)
    np.testing.assert_allclose(terms, correlated().log_density(EXPECTED, spread)[0], rtol=1e-6)


# Tables.


def table(folder, rows: list[str], errors: str = "", keep: str = "keep_out = []") -> pd.DataFrame:
    path = write_case(folder, rows)
    text = path.read_text().replace('keep_out = ["hill"]', keep)
    path.write_text(text + errors)
    case = load_case(path)
    return read(case, build(case))


def test_other_units_are_converted(tmp_path):
    rows = [
        observation(variable="soc_percent", unit="g/kg", value=14, sd=0.5),
        observation(variable="bulk_density", unit="kg/m3", value=1350),
    ]
    found = table(tmp_path, rows)
    np.testing.assert_allclose(found["value"], [1.4, 1.35])
    np.testing.assert_allclose(found["sd"], [0.05, np.nan])
    assert list(found["unit"]) == ["%", "g/cm3"]


@pytest.mark.parametrize(
    ("variable", "unit", "value"),
    [
        *(
            ("soc_stock", unit, 40)
            for unit in ("t C/ha", "t/ha", "Mg ha-1", "Mg C ha⁻¹", "t ha^-1", "tonnes per ha")
        ),
        *(("soc_stock", unit, 4) for unit in ("kg m-2", "kg C m⁻²", "kg/m²", "kg C/m^2")),
        ("soc_stock", "g C m-2", 4000),
        *(("soc_percent", unit, 1.4) for unit in ("percent", "wt%", "pct")),
        *(("soc_percent", unit, 14) for unit in ("g kg-1", "g kg⁻¹", "g C/kg", "‰")),
        *(("bulk_density", unit, 1.4) for unit in ("g cm-3", "g/cm³", "g/cc", "Mg m-3", "t/m3")),
        ("soil_temperature", "°C", 9),
        *(("cec", unit, 12) for unit in ("cmol(+)/kg", "cmolc kg-1", "cmol_c/kg", "meq/100g")),
        *(("cec", unit, 120) for unit in ("mmol(+) kg⁻¹", "mmolc/kg", "meq/kg")),
    ],
)
def test_a_unit_may_be_spelled_in_many_ways(variable, unit, value):
    quantity = QUANTITIES[variable]
    of_variable = {"soc_stock": 40, "soc_percent": 1.4, "bulk_density": 1.4, "soil_temperature": 9}
    of_variable |= {"cec": 120}
    assert value * quantity.factor(unit) == pytest.approx(of_variable[variable])


@pytest.mark.parametrize("unit", ["mg/ha", "t", "kg/ha/a", "C", "", "tC", "ha/t", "m2/kg", "K"])
def test_another_unit_is_none_of_a_stock(unit):
    assert QUANTITIES["soc_stock"].factor(unit) is None


def test_years_treatments_and_sites_can_be_withheld(tmp_path):
    rows = [
        observation(year=1901),
        observation(year=1905),
        observation(year=1901, treatment="manured"),
        observation(site="hill", treatment="cleared", year=1901, series="hill"),
    ]
    keep = 'keep_out_years = [1905]\nkeep_out_treatments = ["manured"]\nkeep_out_sites = ["hill"]'
    found = table(tmp_path, rows, keep=keep)
    assert list(found["withheld"]) == ["", "year", "treatment", "site"]
    assert list(found["fitted"]) == [True, False, False, False]


def test_how_it_was_measured_is_part_of_what_was_observed(tmp_path):
    rows = [
        observation(variable="ph", unit="1", value=6.2, method="H2O"),
        observation(variable="ph", unit="1", value=5.6, sd=0.15, method="CaCl2"),
        observation(variable="base_saturation", unit="%", value=60),
        observation(variable="exchangeable_calcium", unit="cmol/kg", value=9, method="NH4NO3"),
        observation(method="tinsley"),
    ]
    stated = "".join(
        f'\n[observations.errors.{name}]\nfitted = "absolute"\ntypical = 0.2\n'
        for name in ("ph", "base_saturation", "exchangeable_calcium")
    )
    found = table(tmp_path, rows, stated)
    assert list(found["method"]) == ["water", "cacl2", "nh4oac", "nh4no3", "tinsley"]
    assert found["value"].iloc[3] == 90
    errors = error_model(found, (), load_case(tmp_path / "case.toml"))
    np.testing.assert_allclose(errors.sd[:3], [0.0, np.hypot(0.15, 0.2), 0.0])
    assert "sd 0.2 of the procedure" in errors.texts[1]
    with pytest.raises(InputError, match="a second ph"):
        table(tmp_path, [rows[1], rows[1]])


WRONG = {
    "a pH of which nobody knows how": (
        observation(variable="ph", unit="1", value=5),
        "'method': has to say how pH was measured: one of water, cacl2, kcl",
    ),
    "a pH in NaF": (
        observation(variable="ph", unit="1", value=9, method="NaF"),
        "'NaF' has to say how pH was measured: one of water",
    ),
    "an effective base saturation": (
        observation(variable="base_saturation", unit="%", value=90, method="BaCl2"),
        "'BaCl2' .bases over exchange capacity, .* at pH 7, not the smaller one",
    ),
    "a base saturation with all acidity": (
        observation(variable="base_saturation", unit="%", value=40, method="sum"),
        "holds acidity up to pH 7 only",
    ),
    "a density in kg/m3": (
        observation(variable="bulk_density", unit="g/cm3", value=1350),
        "is this in kg/m3",
    ),
    "kelvin": (
        observation(variable="soil_temperature", unit="degC", value=283),
        "kelvin or Fahrenheit",
    ),
    "clay in g/kg": (observation(variable="clay_percent", unit="%", value=230), "g/kg"),
    "a month of a stock": (observation().strip() + ",7\n", "only soil_temperature"),
    "before the history": (observation(year=1500), "older than the history"),
    "a code for a missing value": (observation(value=-99), "-99 is outside .* missing value"),
    "a code that is possible": (observation(value=999), "soc_stock 999 Mg C/ha is possible, but"),
    "a depth in m": (observation(lower_cm=0.23), "0.23 is very shallow or thin: is this in m"),
    "carbon as a fraction": (
        observation(variable="soc_percent", unit="%", value=0.014),
        "soc_percent 0.014 % is less .* are these fractions",
    ),
    "carbon in g/kg": (
        observation(variable="soc_percent", unit="%", value=14),
        "soc_percent 14 % is that of an organic soil: is this in g/kg",
    ),
    "a stock in kg/m2": (observation(value=4), "soc_stock 4 Mg C/ha .* is this in kg/m2"),
    "an sd in percent": (
        observation(variable="soc_percent", unit="%", value=1.4, sd=15),
        "15 is more than the value itself: is this a percentage",
    ),
    "a slash in a series": (observation(series="lab A/B"), "'lab A/B' is no name"),
    "an unknown unit": (observation(unit="kg"), "'kg' for soc_stock, 'Mg C/ha' or"),
    "a treatment of another site": (
        observation(site="hill", series="field"),
        "treatment 'control' is at 'field'",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_row_is_one_line(wrong, tmp_path):
    row, says = WRONG[wrong]
    header_needs_month = row.count(",") > observation().count(",")
    path = write_case(tmp_path, [row])
    if header_needs_month:
        file = tmp_path / "observations.csv"
        file.write_text(file.read_text().replace("series,method\n", "series,method,month\n"))
    case = load_case(path)
    with pytest.raises(InputError, match=says) as error:
        read(case, build(case))
    assert "line 2" in str(error.value)
    assert "\n" not in str(error.value)


def test_fractions_in_the_place_of_percent_are_noticed(tmp_path):
    rows = [observation(year=y, variable="clay_percent", unit="%", value=0.2) for y in (1901, 1902)]
    with pytest.raises(InputError, match="are these fractions"):
        table(tmp_path, rows)


def test_all_faults_of_a_file_are_reported_at_once(tmp_path):
    rows = [
        observation(year=1899 + n, value=-9 if n < 3 else 40, unit="kg" if n == 4 else "Mg C/ha")
        for n in range(5)
    ]
    with pytest.raises(InputError) as error:
        table(tmp_path, [*rows, observation(treatment="contorl", year=1908)])
    lines = str(error.value).splitlines()
    assert [line.split("observations.csv: ")[1].split(" ", 1)[0] for line in lines] == [
        "column",
        "line",
        "line",
    ]
    assert "column 'value': 3 values, first in line 2: -9" in lines[0]
    assert "'kg'" in lines[1]
    assert "did you mean 'control'" in lines[2]


def test_what_the_case_says_is_meant_is_taken(tmp_path):
    keep = "keep_out = []"
    path = write_case(tmp_path, [observation(value=4)])
    text = path.read_text().replace('keep_out = ["hill"]', keep)
    path.write_text(text.replace("minimum =", 'plausible = ["soc_stock"]\nminimum =', 1))
    case = load_case(path)
    assert read(case, build(case))["value"].item() == 4


def test_contradictions_name_both_lines(tmp_path):
    with pytest.raises(InputError, match=r"line 3: .* 41 here, 40 in line 2"):
        table(tmp_path, [observation(), observation(value=41)])


STATED = '\n[observations.errors.soil_temperature]\nfitted = "absolute"\ntypical = 0.5\n'


def problem(folder, rows: list[str], errors: str = "", keep: str = "keep_out = []") -> Problem:
    path = write_case(folder, rows)
    text = path.read_text().replace('keep_out = ["hill"]', keep)
    path.write_text(text + errors)
    return Problem(path)


def test_an_error_that_the_case_has_to_state_says_what_to_write(tmp_path):
    row = observation(variable="soil_temperature", unit="degC", value=9)
    with pytest.raises(InputError, match=r"\[observations.errors.soil_temperature\]"):
        problem(tmp_path, [row])


def test_what_nothing_changes_is_refused_or_compared_as_it_is(tmp_path):
    row = observation(variable="bulk_density", unit="g/cm3", value=1.3, series="rings")
    errors = STATED.replace("soil_temperature", "bulk_density")
    with pytest.raises(InputError, match="prescribed by the case; nothing that is fitted"):
        problem(tmp_path, [observation(), row], errors)
    found = problem(tmp_path, [observation(), row], errors, keep='keep_out = ["rings"]')
    assert list(found.table["fitted"]) == [True, False]
    assert "observation.error.rings.bulk_density" not in found.names


def test_what_the_column_does_not_compute_needs_another_column(tmp_path):
    row = observation(variable="ph", unit="1", value=6, method="water")
    with pytest.raises(InputError, match='needs column = "whole_soil"'):
        problem(tmp_path, [row], STATED.replace("soil_temperature", "ph"))


def test_an_error_of_nothing_suggests_the_nearest(tmp_path):
    errors = STATED.replace("soil_temperature", "soc_stok")
    with pytest.raises(InputError, match="did you mean 'soc_stock'"):
        problem(tmp_path, [observation()], errors)


def test_a_stated_error_has_its_own_parameters_and_report(tmp_path):
    errors = (
        '\n[observations.errors.soc_stock]\ndistribution = "lognormal"\ntypical = 0.1\n'
        "autocorrelation = true\nmemory_years = 8\n"
    )
    found = problem(tmp_path, [observation(), observation(year=1907)], errors)
    assert "observation.error.field.soc_stock" in found.names
    assert "observation.correlation_years.field.soc_stock" in found.names
    assert found.errors.texts[0].startswith("log-normal")
    assert "correlated in time" in found.errors.texts[0]
    np.testing.assert_array_equal(found.errors.correlation.blocks, [[0, 1]])


def test_an_observation_of_history_is_that_of_its_site_and_year(tmp_path):
    rows = [observation(year=1605), observation(year=1605, treatment="manured"), observation()]
    found = problem(tmp_path, rows)
    predicted = jax.jit(lambda of, x: of.predict(x))(found.likelihood, found.defaults)
    latent = np.asarray(predicted.latent)
    assert latent[0] == pytest.approx(latent[1], rel=1e-12)
    assert latent[0] != pytest.approx(latent[2], rel=1e-3)
    assert found.likelihood.first_year == 1600
    assert predicted.topsoil.shape[1] == 12


def test_the_topsoil_is_what_most_stocks_were_measured_in():
    def depth(*rows: tuple[str, float, float]) -> float:
        return topsoil_cm(pd.DataFrame(rows, columns=["variable", "upper_cm", "lower_cm"]))

    stocks = [("soc_stock", 0, 23), ("soc_stock", 0, 23), ("soc_stock", 0, 69)]
    contents = [("soc_percent", 0, 10)] * 4
    assert depth(*stocks, *contents, ("soc_stock", 23, 46)) == 23
    assert depth(*contents, ("soc_percent", 10, 30), ("ph", 0, 5)) == 10
    assert depth(("ph", 0, 5), ("soc_stock", 10, 20)) == 30


FREE_OF_A_SOIL = """
[free."carbon.k_hum"]

[free."protection.b1"]

[free."protection.b3a"]

[observations]
files = ["observations.csv"]

[observations.errors.ph]
distribution = "normal"
fitted = "absolute"
typical = 0.2
spread = 0.5

[observations.errors.exchangeable_calcium]
"""


@pytest.fixture(scope="module")
def developing(tmp_path_factory):
    """A soil that develops, with yearly drivers at its end, carbon and pH of one field."""
    folder = tmp_path_factory.mktemp("developing")
    path = with_experiment(folder)
    text = tiny_case.with_one_phase(tiny_case.with_one_phase(path.read_text()))
    path.write_text(text + FREE_OF_A_SOIL)
    row = "field,limed,{},{},0,20,{},,{},0,fixed_depth,,test,{},{}\n"
    table = HEADER + row.format(343, "soc_stock", 30, "Mg C/ha", "carbon", "tinsley")
    for year, method in ((341, "water"), (345, "water"), (345, "cacl2")):
        table += row.format(year, "ph", 6.5, "1", "acidity", method)
    table += row.format(345, "exchangeable_calcium", 9, "cmol/kg", "bases", "nh4oac")
    (folder / "observations.csv").write_text(table)
    return Problem(path)


@pytest.mark.slow
def test_a_soil_that_develops_is_predicted_and_moved_by_its_protection(developing):
    x = developing.defaults
    b1 = developing.names.index("protection.b1")
    predict = jax.jit(lambda x, of: of.predict(x).latent)
    carbon, before, after, in_salt, calcium = np.asarray(predict(x, developing.likelihood))
    assert in_salt == pytest.approx(1.05 * after - 0.9, rel=1e-9)
    assert 0 < calcium < 300
    assert after > before + 0.05  # lime in between
    less = np.asarray(predict(x.at[b1].set(0.5), developing.likelihood))
    assert less[0] > carbon


def test_a_check_says_how_each_value_was_measured(developing):
    said = preview.procedures(developing)
    assert list(said["method"]) == ["water", "cacl2", "nh4oac"]
    assert list(said["rows"]) == [2, 1, 1]
    assert "adds an sd of 0.2" in said["what it is"][1]
    assert "where the table names none" in said["what it is"][2]


@pytest.mark.slow
def test_the_posterior_of_a_soil_that_develops_has_exact_derivatives(developing):
    x = developing.defaults
    z = developing.reparameterization.unbounded(x)
    np.testing.assert_allclose(developing.reparameterization.bounded(z), x, rtol=1e-9)
    at = developing.value_and_gradient()
    with jax.numpy_dtype_promotion("standard"):  # NumPyro's truncated priors mix types inside
        _, gradient = at(z)
        steps = 1e-4 * jnp.eye(len(z))
        slopes = [(at(z + step)[0] - at(z - step)[0]) / 2e-4 for step in steps]
    for i, slope in enumerate(slopes):
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-3, atol=1e-5)


def test_any_property_of_layers_can_be_observed(tmp_path):
    found = table(tmp_path, [observation(variable="silt", unit="percent", value=56)])
    assert list(found["unit"]) == ["%"]
    of_minerals = np.array([1.0, 0.5, 0.0]) * np.array([1200.0, 2600.0, 2800.0])
    expected = (of_minerals * [40.0, 60.0, 80.0]).sum() / of_minerals.sum()
    predicted = value("silt", record(silt_percent=[40.0, 60.0, 80.0]))
    assert predicted == pytest.approx(expected)


def test_the_thickness_of_a_layer_is_nothing_to_observe(tmp_path):
    with pytest.raises(InputError, match="column 'variable': 'thickness'"):
        table(tmp_path, [observation(variable="thickness", unit="m", value=0.1)])


def test_a_code_for_a_missing_value_is_no_property(tmp_path):
    with pytest.raises(InputError, match="column 'value': -999 is"):
        table(tmp_path, [observation(variable="cec", unit="mmol/kg", value=-999)])
