"""A case as a function of its inputs: outputs, exact derivatives, factors on what it gives."""

from __future__ import annotations

import dataclasses
import gc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from diffsoil.cases import Case
from diffsoil.cases.factors import FACTORS
from diffsoil.forward import Course
from diffsoil.io import InputError
from diffsoil.output.simulation import simulate
from diffsoil.processes.protection import MECHANISMS
from diffsoil.time import Phase
from sensitivity.local_derivatives import local
from sensitivity.outputs import Ages, CalciteDepth, Recovery, ages, default_texts, parse
from sensitivity.problem import (
    Problem,
    default_inputs,
    evaluate,
    forward_mode,
    gradients,
    with_outputs,
)
from sensitivity.workflow import _read_posterior
from tests import sensitivity_cases

pytestmark = pytest.mark.mixed_types

OUTPUTS = (
    "soc_stock_0_100@200",
    "soc_stock_25_75@280",
    "litter_stock@500",
    "calcite_depth@500",
    "ph[0-25]@280",
    "clay[30-60]@500",
    "modifier_overall[0-25]@500",
    "temperature[0-20]@500",
    "HUM[0-100]@280",
    "soc[10-35]@200",
    "recovery_years[soc_stock_0_25, 0.5, 200, 280]",
    "recovery_years[subsoil, 0.7, 200, 280]",
)

INPUTS = (
    "carbon.k_hum",
    "vegetation.input_factor.steppe",
    "erosion.factor",
    "protection.b3a",
    "exchange.saturation_factor",
    "forcing.precipitation",
    "forcing.temperature",
    "initial.calcite",
    "initial.clay",
    "forcing.amendments",
    "forcing.erosion",
    "strength.migration",
)


@pytest.fixture(scope="module")
def case() -> Case:
    return sensitivity_cases.farmed()


@pytest.fixture(scope="module")
def problem(case) -> Problem:
    return Problem(case, outputs=OUTPUTS, parameters=INPUTS)


@pytest.fixture(scope="module")
def point(problem) -> np.ndarray:
    x = problem.defaults.copy()
    x[problem.names.index("strength.migration")] = 0.8
    return x


@pytest.fixture(scope="module")
def found(problem, point) -> dict[str, np.ndarray]:
    return gradients(problem.model, point[None])


# Outputs.


@pytest.mark.slow
def test_outputs_are_those_of_a_simulation(case, problem):
    run = simulate(case).to_xarray().isel(treatment=0)
    y = evaluate(problem.model, problem.defaults[None])["value"][0]
    named = {output.text: value for output, value in zip(problem.outputs, y, strict=True)}
    stock = run["soc_stock_0_100"].sel(year=200)
    assert named["soc_stock_0_100@200"] == pytest.approx(float(stock), rel=1e-12)
    assert named["litter_stock@500"] == pytest.approx(0.0)

    def mean(name: str, year: int, upper: float, lower: float) -> float:
        at = run.sel(output_year=year)
        bottom = np.cumsum(at["thickness"].to_numpy())
        top = bottom - at["thickness"].to_numpy()
        inside = np.clip(np.minimum(bottom, lower) - np.maximum(top, upper), 0, None)
        return float((at[name].to_numpy() * inside).sum() / inside.sum())

    assert named["ph[0-25]@280"] == pytest.approx(mean("ph", 280, 0, 0.25), rel=1e-10)
    assert named["clay[30-60]@500"] == pytest.approx(mean("clay", 500, 0.3, 0.6), rel=1e-10)
    at = run.sel(output_year=280)
    share = np.clip((1.0 - np.cumsum(at["thickness"]) + at["thickness"]) / at["thickness"], 0, 1)
    humus = (at["soc_pool"].sel(pool="HUM") * share).sum()
    assert named["HUM[0-100]@280"] == pytest.approx(float(humus), rel=1e-10)


def course_of(stock: np.ndarray) -> Course:
    phase = Phase(steps=len(stock), years_per_step=1, constant={}, series={}, yearly={})
    return Course([(phase, {"soc_stock_0_25": jnp.asarray(stock)})])


def test_recovery_is_interpolated_and_censored_and_0_where_nothing_was_lost():
    stock = np.concatenate([np.full(5, 10.0), 4.0 + np.arange(10.0)])
    back = Recovery("soc_stock_0_25", 0.95, 5, 6, 15)
    assert float(back.read(course_of(stock), 15)) == pytest.approx(5.5)  # 9.5 after 4, 5, ...
    slope = jax.grad(lambda s: back.read(course_of(s), 15))(jnp.asarray(stock))
    # the level is asked for at 0.95, and the years around it lie 1 Mg apart
    np.testing.assert_allclose(np.asarray(slope)[[4, 10, 11]], [0.95, -0.5, -0.5])
    lost = np.concatenate([np.full(5, 10.0), np.full(10, 4.0)])
    assert float(back.read(course_of(lost), 15)) == back.limit == 9.0
    assert float(back.read(course_of(np.full(15, 10.0)), 15)) == 0.0


def test_a_stock_that_dips_again_is_not_back_yet():
    stock = np.array([10.0, 2.0, 12.0, 9.0, 10.0, 11.0])
    back = Recovery("soc_stock_0_25", 1.0, 1, 2, 6)
    assert float(back.read(course_of(stock), 6)) == pytest.approx(3.0)


def test_calcite_depth_is_that_of_a_sharp_front_and_even_in_between():
    phase = Phase(steps=2, years_per_step=1, constant={}, series={}, yearly={})
    thickness = jnp.full((2, 4), 0.1)

    def depth(*now: float) -> float:
        calcite = jnp.stack([jnp.full(4, 0.2), jnp.asarray(now)])
        record = {"thickness": thickness, "depth_top": thickness, "calcite_fraction": calcite}
        return float(CalciteDepth().read(Course([(phase, record)]), 2))

    assert depth(0.2, 0.2, 0.2, 0.2) == pytest.approx(0.0)
    assert depth(0.0, 0.0, 0.2, 0.2) == pytest.approx(0.2)
    assert depth(0.0, 0.0, 0.05, 0.2) == pytest.approx(0.275)
    assert depth(0.0, 0.0, 0.3, 0.2) == pytest.approx(0.2)  # more than there was


def test_phases_of_a_history_give_the_years_of_the_default_outputs(case):
    assert ages(case, "loess") == Ages(1, 50, 200, 280, 500, 500)
    texts = default_texts(case, "loess")
    assert {"soc_stock_0_25@50", "soc_stock_0_100@200", "soc_stock_25_100@280"} <= set(texts)
    assert {"recovery_years[topsoil]", "calcite_depth@500"} <= set(texts)
    parse(texts, case, "loess", 1, "--target")


def test_an_output_without_a_year_is_read_at_equally_spaced_ones(case):
    found = parse(["soc_stock_0_25", "ph[0-25]"], case, "loess", 4, "--target")
    assert [output.year for output in found] == [125, 250, 375, 500] * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("soc_stock_0_1000", "did you mean 'soc_stock_0_100'.*known are"),
        ("base_saturaton[0-25]", "did you mean 'base_saturation'"),
        ("ph@100", "needs a depth interval"),
        ("ph[25-0]", "no interval"),
        ("soc_stock_0_25@501", "outside of the case, 1 to 500"),
        ("soc_stock_0_25@late", "'late' is no year"),
        ("recovery_years[topsol]", "did you mean 'topsoil'"),
        ("recovery_years[topsoil]@300", "has no year"),
        ("recovery_years[topsoil, 0.9, 200, 500]", "end of the run"),
        ("recovery_years[topsoil, much]", "is no share"),
    ],
)
def test_outputs_that_cannot_be_read(text, expected, case):
    with pytest.raises(InputError, match=expected):
        Problem(case, outputs=[text], parameters=INPUTS)


# Derivatives.


def test_local_derivatives_are_finite_differences(problem, point, found):
    slope = found["gradient"][0]
    assert np.isfinite(slope).all()
    for place, name in enumerate(problem.names):
        size = max(abs(point[place]), 0.1)
        step = 1e-5 * size
        ends = np.stack([point, point])
        ends[:, place] += [-step, step]
        y = evaluate(problem.model, ends)["value"]
        difference = (y[1] - y[0]) / (2 * step)
        scale = np.abs(found["value"][0]) / size
        np.testing.assert_allclose(
            slope[:, place], difference, rtol=2e-4, atol=2e-6 * scale.max(), err_msg=name
        )


def test_a_gradient_comes_with_the_values_of_its_run(problem, point, found):
    alone = evaluate(problem.model, point[None])
    np.testing.assert_allclose(found["value"], alone["value"], rtol=1e-11)
    np.testing.assert_allclose(found["ruling"], alone["ruling"], atol=1e-9)


def test_shares_of_limiting_modifiers_add_up_to_all_of_the_soil(found):
    np.testing.assert_allclose(found["ruling"].sum(axis=-1), 1.0, rtol=1e-12)
    assert found["ruling"].shape[-1] == 1 + len(MECHANISMS)


@pytest.mark.slow
def test_backwards_is_the_same_as_forwards(tmp_path):
    case = sensitivity_cases.protected(tmp_path)
    problem = Problem(case, outputs=["soc_stock_0_100@400"])
    assert not forward_mode(problem.model)
    more = with_outputs(problem.model, problem.outputs * 40)
    assert forward_mode(more)
    backwards = gradients(problem.model, problem.defaults[None])["gradient"][0, 0]
    forwards = gradients(more, problem.defaults[None])["gradient"][0, 0]
    np.testing.assert_allclose(backwards, forwards, rtol=1e-9, atol=1e-12)


# The closed form of RothC.


@pytest.fixture(scope="module")
def steady(tmp_path_factory) -> local.__class__:
    case = sensitivity_cases.closed(tmp_path_factory.mktemp("closed"))
    pools = [f"{pool}[0-25]@4000" for pool in ("DPM", "RPM", "BIO", "HUM")]
    names = ["vegetation.input_factor.grass", "forcing.plant_input"]
    names += [f"carbon.k_{pool}" for pool in ("dpm", "rpm", "bio", "hum")]
    problem = Problem(case, outputs=[*pools, "soc_stock_0_100@4000"], parameters=names)
    indices = local(problem, courses=False).indices
    stocks = evaluate(problem.model, problem.defaults[None])["value"][0, :4]
    chosen = indices[indices["index"] == "elasticity"]
    return stocks, chosen.pivot_table(index="output", columns="parameter", values="value")


def test_steady_stocks_are_proportional_to_their_input(steady):
    _, elasticity = steady
    for name in ("vegetation.input_factor.grass", "forcing.plant_input"):
        np.testing.assert_allclose(elasticity[name], 1.0, rtol=1e-9)


def test_elasticity_of_a_steady_pool_by_its_own_rate_is_that_of_the_closed_form(steady):
    """C = input / (1 - exp(-r)) with r = k m / 12: elasticity -r exp(-r) / (1 - exp(-r))."""
    stocks, elasticity = steady
    dpm_share = 0.67 / 1.67
    entered = 3.0 / 12 * np.array([dpm_share, 1 - dpm_share])
    # the modifier m of a month follows from any pool, here from RPM
    modifier = -np.log1p(-entered[1] / stocks[1]) * 12 / 0.3
    for pool, k in zip(("dpm", "rpm", "bio", "hum"), (10.0, 0.3, 0.66, 0.02), strict=True):
        r = k * modifier / 12
        expected = -r * np.exp(-r) / -np.expm1(-r)
        own = elasticity.loc[f"{pool.upper()}[0-25]", f"carbon.k_{pool}"]
        assert own == pytest.approx(expected, rel=1e-8), pool


def test_a_steady_pool_does_not_depend_on_the_rates_of_the_others(steady):
    _, elasticity = steady
    for pool in ("dpm", "rpm", "bio", "hum"):
        others = [f"carbon.k_{other}" for other in ("dpm", "rpm", "bio", "hum") if other != pool]
        row = elasticity.loc[f"{pool.upper()}[0-25]", others]
        np.testing.assert_allclose(row, 0.0, atol=1e-8)


# Inputs.


def test_default_inputs_are_those_that_can_matter(case):
    problem = Problem(case)
    names = set(problem.names)
    assert len(names) > 50
    assert not any(name.startswith("manure.") for name in names)
    assert "carbon.iom_factor" not in names
    assert "weathering.mineral_factor.anorthite" not in names
    assert "weathering.mineral_factor.montmorillonite" in names
    assert {"vegetation.input_factor.steppe", "vegetation.input_factor.crop"} <= names


def test_what_a_case_switches_off_is_no_default_input(case):
    file = case.file.model_copy(update={"protection": ["pores"]})
    problem = Problem(dataclasses.replace(case, file=file))
    assert {n for n in problem.names if n.startswith("protection.")} == {"protection.b4"}
    assert "weathering.field_factor" in default_inputs(problem.model.column, problem.model.plan)


@pytest.mark.parametrize("name", ["initial.calcite", "initial.clay"])
def test_a_factor_on_what_the_soil_is_made_of_keeps_its_mass(name, problem):
    from diffsoil.processes.texture import size_masses

    plan = problem.model.plan
    changed = FACTORS[name].change(plan, jnp.asarray(1.2))
    before, after = (jax.vmap(size_masses)(p.ground) for p in (plan, changed))
    np.testing.assert_allclose(after.sum(axis=1), before.sum(axis=1), rtol=1e-12)
    if name == "initial.clay":
        np.testing.assert_allclose(after[:, 0], 1.2 * before[:, 0], rtol=1e-12)
    else:
        np.testing.assert_allclose(changed.ground.calcite, 1.2 * plan.ground.calcite, rtol=1e-12)
    # what erosion brings up from below is the soil of the start
    parent = changed.history[0].constant
    np.testing.assert_allclose(parent["parent_minerals"][0], changed.ground.minerals[0, :, :, -1])
    np.testing.assert_allclose(parent["parent_calcite"][0], changed.ground.calcite[0, -1])


def test_factors_at_their_neutral_value_change_nothing(problem):
    plan = problem.model.plan
    for factor in FACTORS.values():
        changed = factor.change(plan, jnp.asarray(factor.parameter.default))
        for a, b in zip(jax.tree.leaves(plan), jax.tree.leaves(changed), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-14)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("carbon.k_humus", "did you mean 'carbon.k_hum'"),
        ("forcing.rain", "factors are forcing.precipitation"),
    ],
)
def test_inputs_that_are_not_known(name, expected, case):
    with pytest.raises(InputError, match=expected):
        Problem(case, parameters=[name])


def test_a_factor_that_a_case_cannot_have_says_why(case, tmp_path):
    events = dataclasses.replace(case, file=case.file.model_copy(update={"erosion": "events"}))
    with pytest.raises(InputError, match='needs erosion = "continuous"'):
        Problem(events, parameters=["forcing.erosion"])
    with pytest.raises(InputError, match="needs a whole soil"):
        Problem(sensitivity_cases.protected(tmp_path), parameters=["initial.calcite"])


def test_a_case_with_treatments_needs_one_of_them():
    with pytest.raises(InputError, match="choose one with --treatment"):
        Problem("rothamsted")
    problem = Problem("rothamsted", ["soc_stock_0_25@1990"], treatment="broadbalk_nil")
    assert problem.name == "rothamsted/broadbalk_nil"
    assert problem.model.plan.members == ("broadbalk_nil",)


def _posterior(path, values):
    draws = xr.Dataset({"carbon.k_hum": (("chain", "draw"), values)})
    draws.to_netcdf(path, group="posterior", engine="h5netcdf")
    return path


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda content: content[: len(content) // 2], "has no group posterior"),
        (lambda content: content[:64] + bytes(len(content) - 64), "has no group posterior"),
        (lambda content: b"value\n1\n", "has no group posterior"),
        (None, "draws of carbon.k_hum are not finite"),
    ],
)
def test_a_posterior_that_cannot_be_read_is_one_line(tmp_path, capfd, damage, expected):
    values = np.full((1, 3), 0.02 if damage else np.nan)
    path = _posterior(tmp_path / "posterior.nc", values)
    if damage:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=f"{path}: .*{expected}") as error:
        _read_posterior(path)
    assert "\n" not in str(error.value)
    del error
    gc.collect()
    assert "Traceback" not in capfd.readouterr().err
