"""The column in time: conservation, slow steps, hoisting, derivatives, removed processes."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.cases import load_case
from diffsoil.cases.arrays import build, check, initial_state, prepare_plan, run
from diffsoil.column import Column, standard_column
from diffsoil.io import InputError
from diffsoil.processes.carbon import BIO_SHARE, RothC, co2_ratio, plant_shares
from diffsoil.processes.pores import PrescribedPores
from diffsoil.processes.protection import Protection
from diffsoil.state import empty_state
from diffsoil.time import Phase, Record, advance
from tests import tiny_case

RECORD = Record(yearly=("soc", "pools", "litter_stock", "radiocarbon", "added", "respired"))
live = jax.jit(run)


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return load_case(tiny_case.write(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def column(case):
    return case.column()


@pytest.fixture(scope="module")
def plan(case):
    return build(case)


@pytest.fixture(scope="module")
def late(plan):
    """Slow steps of ten years, then yearly ones; nothing computed ahead."""
    return dataclasses.replace(plan, history=plan.history[1:])


@pytest.fixture(scope="module")
def in_loop(column, late):
    """A case of one phase with nothing computed ahead that any parameter could change."""
    return prepare_plan(column, late, free=tuple(column.values()))


@pytest.fixture(scope="module")
def lived(column, in_loop):
    """Every process in the loop: final states, history, experiment."""
    return live(column, in_loop, RECORD, RECORD)


@pytest.fixture(scope="module")
def short(plan):
    """The experiment alone, on soils that begin without carbon."""
    return dataclasses.replace(plan, history=())


def total(states):
    return states.carbon.sum(axis=(1, 2)) + states.litter.sum(axis=1)


def final_stocks(column, plan):
    return total(run(column, plan)[0])


stocks = jax.jit(final_stocks)


# conservation


def test_carbon_closes_in_every_year(column, plan, lived):
    _, history, experiment = lived
    start = np.asarray(initial_state(column, plan).carbon.sum(axis=(1, 2)))
    for record, of in [*((r, slice(None)) for r in history), (experiment, list(plan.site_of))]:
        stock = record["pools"].sum(axis=(2, 3)) + record["litter_stock"]
        present = start[of][:, None] + record["added"]
        np.testing.assert_allclose(stock, present - record["respired"], rtol=1e-10)
    assert float(experiment["respired"].min()) > 100


def test_radiocarbon_is_never_more_than_the_atmosphere_allows(lived):
    _, _, experiment = lived
    activity = np.asarray(experiment["radiocarbon"] / experiment["soc"])
    assert np.all((activity > 0) & (activity < 1.0))


def test_treatments_are_equal_until_they_part(lived, plan):
    soc = np.asarray(lived[2]["soc"])
    control, manured, compacted = (
        soc[plan.members.index(name)] for name in ("control", "manured", "compacted")
    )
    same = 1905 - tiny_case.EXPERIMENT
    np.testing.assert_array_equal(control[:same], manured[:same])
    np.testing.assert_array_equal(control[:same], compacted[:same])
    assert manured[same].sum() > control[same].sum() + 0.5
    assert np.abs(compacted[same] - control[same]).max() > 1e-6


# what is computed ahead


def test_computing_ahead_changes_nothing(column, late, lived):
    ahead = prepare_plan(column, late)
    assert "water" in ahead.history[0].done
    assert "water" in ahead.experiment.done
    found = live(column, ahead, RECORD, RECORD)
    for one, other in zip(jax.tree.leaves(lived[1:]), jax.tree.leaves(found[1:]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_a_free_parameter_keeps_its_process_and_what_follows_in_the_loop(column, short):
    free = prepare_plan(column, short, free=("heat.offset",))
    assert free.experiment.done == (
        "geometry", "plough_zone", "burial", "retention", "water", "vegetation", "manure", "fauna",
    )  # fmt: skip


# slow steps


def in_steps(phase: Phase, years_per_step: int, years: int = 200) -> Phase:
    """A prepared constant phase with another slow step."""
    steps = years // years_per_step
    yearly = {
        k: v.reshape(v.shape[0], -1)[:, :years].reshape(v.shape[0], steps, years_per_step)
        for k, v in phase.yearly.items()
    }
    return dataclasses.replace(phase, steps=steps, years_per_step=years_per_step, yearly=yearly)


@jax.jit
def stepped(column, phase, states):
    return jax.vmap(lambda p, s: advance(column, p, s, RECORD))(phase, states)


def test_one_map_for_the_year_equals_twelve_months(column, plan):
    constant = column.replaced(PrescribedPores())
    # the carbon map stays in the loop: one year of it is made of months when the step is one
    woodland = prepare_plan(constant, plan, free=("carbon.k_hum",)).history[0]
    states = initial_state(constant, plan)
    months, by_month = stepped(constant, in_steps(woodland, 1), states)
    maps, by_map = stepped(constant, in_steps(woodland, 20), states)
    for one, other in zip(
        jax.tree.leaves((months, by_month)), jax.tree.leaves((maps, by_map)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-13)


def test_slow_step_of_ten_years_is_within_a_thousandth(column, plan):
    woodland = prepare_plan(column, plan).history[0]
    states = initial_state(column, plan)
    stock = {}
    for step in (1, 10):
        _, record = stepped(column, in_steps(woodland, step), states)
        stock[step] = np.asarray(record["soc"].sum(axis=2) + record["litter_stock"])
    error = np.abs(stock[10] / stock[1] - 1)
    assert error.max() < 1e-3
    assert error[:, -1].max() > 0  # pores follow carbon, one step behind


def test_one_layer_comes_to_its_closed_form_steady_state():
    clay, ratio, slowing, monthly = jnp.full(1, 16.0), jnp.asarray(1.44), 0.35, 0.3
    dpm, rpm = plant_shares(ratio)
    inputs = jnp.zeros((12, 4, 2)).at[:, 0, 1].set(monthly * dpm).at[:, 1, 1].set(monthly * rpm)
    phase = Phase(
        steps=60,
        years_per_step=100,
        constant={
            "clay_percent": clay,
            "climate_modifier": jnp.full((12, 1), slowing),
            "litter_modifier": jnp.ones(12),
            "modifier_overall": jnp.ones(1),
            "depth_top": jnp.zeros(1),
            "thickness": jnp.full(1, 0.2),
            "plant_carbon": inputs,
            "manure_carbon": jnp.zeros((12, 4, 2)),
        },
        series={},
        yearly={},
    )
    end, _ = advance(Column((RothC(),)), phase, empty_state(1, jnp.zeros(1)))
    lost = 1 - np.exp(-np.array([10.0, 0.3, 0.66, 0.02]) * slowing / 12)
    x = float(co2_ratio(clay)[0])
    shares = np.array([float(dpm), float(rpm), BIO_SHARE / x, (1 - BIO_SHARE) / x])
    np.testing.assert_allclose(end.carbon[:4, 0], monthly * shares / lost, rtol=1e-10)


# parameters and processes


def test_an_input_factor_acts_on_its_own_group(column, in_loop, lived):
    def ends(group):  # in the program that is compiled already
        doubled = column.with_parameters({f"vegetation.input_factor.{group}": 2.0})
        return np.asarray(total(live(doubled, in_loop, RECORD, RECORD)[0]))

    before, after = np.asarray(total(lived[0])), ends("compact_crop")
    compacted = np.array([name == "compacted" for name in in_loop.members])
    np.testing.assert_array_equal(after[~compacted], before[~compacted])
    assert np.all(after[compacted] > before[compacted] + 1)
    grown = ends("trees") - before
    cleared = np.array([name == "cleared" for name in in_loop.members])
    np.testing.assert_array_equal(grown[~cleared], 0)  # no tree has stood there
    assert np.all(grown[cleared] > 1)


@pytest.mark.parametrize(
    "name",
    [
        "vegetation.input_factor.typo",
        "vegetation.input_factor",
        "vegetation.input_factor.plants.more",
        "protection.minimum",
        "water.spin_up_years",
        "carbon.k_humus",
        "humus.k",
    ],
)
def test_a_column_takes_values_of_declared_parameters_only(name):
    with pytest.raises(KeyError, match=name):
        standard_column().with_parameters({"carbon.k_hum": 0.02, name: 1.0})


def test_a_removed_process_equals_its_neutral_value(column, short):
    # what none of them changes is computed ahead: less to compile, five times
    free = ("manure.factor", "fauna.rate", "protection.b1")
    plan = prepare_plan(column, short, free)
    neutral = {
        "manure": column.with_parameters({"manure.factor": 0.0}),
        "fauna": column.with_parameters({"fauna.rate": 0.0, "fauna.litter_incorporation": 0.0}),
        "protection": column.replaced(Protection(mechanisms=())),
    }
    for name, instead in neutral.items():
        without = column.without(name)
        assert not any(full.startswith(f"{name}.") for full in without.parameters())
        check_free = np.asarray(stocks(without, plan))
        np.testing.assert_allclose(check_free, stocks(instead, plan), rtol=1e-13)
        assert np.abs(check_free - np.asarray(stocks(column, plan))).max() > 1e-3 or (
            name == "fauna"  # moves carbon, hardly changes how much there is in a few years
        )


def test_a_missing_need_is_an_error_before_anything_runs(case, column, plan):
    check(plan, column, case)
    with pytest.raises(InputError, match="'plough_zone' needs 'thickness'"):
        check(plan, column.without("geometry"), case)
    without = dataclasses.replace(plan.experiment, series={}, constant={})
    with pytest.raises(InputError, match="nothing provides it"):
        check(dataclasses.replace(plan, experiment=without), column, case)


# derivatives

POINT = {
    "heat.offset": 0.6,
    "heat.diffusivity": 5.2e-7,
    "water.bypass": 0.1,
    "water.evaporation_depth": 0.12,
    "rate_modifiers.minimum_moisture": 0.21,
    "fauna.rate": 10.0,
    "fauna.depth": 0.43,
    "fauna.litter_incorporation": 0.2,
    "carbon.k_hum": 0.021,
    "carbon.co2_factor": 1.05,
    "carbon.iom_factor": 1.1,
    "protection.b1": 0.75,
    "protection.b3a": 0.21,
    "protection.b4": 0.78,
    "vegetation.input_factor.trees": 1.1,
    "vegetation.input_factor.crop": 0.9,
    "vegetation.input_factor.compact_crop": 1.2,
    "vegetation.input_factor.yield": 0.8,
    "manure.factor": 1.1,
    "manure.hum_share": 0.05,
}
OF_FORESTS = ("vegetation.input_factor.trees", "fauna.litter_incorporation")
"""What has no effect in the experiment, all of which is arable."""
POINT_VALUES = np.array(list(POINT.values()))
SCALED = jnp.ones(len(POINT))
WEIGHTS = jnp.array([1.0, 0.7, 1.3, 0.9])


def weighted_stock(scaled, column, plan):
    """One number out of all treatments' stocks; parameters relative to the point above."""
    values = {name: scaled[i] * POINT_VALUES[i] for i, name in enumerate(POINT)}
    return jnp.sum(WEIGHTS * final_stocks(column.with_parameters(values), plan))


value_and_gradient = jax.jit(jax.value_and_grad(weighted_stock))


@jax.jit
def with_derivative(scaled, direction, column, plan):
    return jax.jvp(lambda s: weighted_stock(s, column, plan), (scaled,), (direction,))


BOTH = pytest.mark.parametrize(
    "lived_through", ["short", pytest.param("late", marks=pytest.mark.slow)]
)
"""Yearly steps alone, and after slow ones, which is twice as much to compile."""


@BOTH
def test_forward_reverse_and_finite_differences_agree(column, late, lived_through, request):
    plan = request.getfixturevalue(lived_through)
    _, reverse = value_and_gradient(SCALED, column, plan)

    step = 1e-5
    for i, name in enumerate(POINT):
        along = jnp.zeros_like(SCALED).at[i].set(1.0)
        _, forward = with_derivative(SCALED, along, column, plan)
        up, _ = with_derivative(SCALED + step * along, along, column, plan)
        down, _ = with_derivative(SCALED - step * along, along, column, plan)
        assert float(forward) != 0 or (name in OF_FORESTS and plan is not late), name
        assert float(reverse[i]) == pytest.approx(float(forward), rel=1e-9), name
        assert float(up - down) / (2 * step) == pytest.approx(float(forward), rel=1e-5), name


DEGENERATE = {
    "empty pools": {"plant_input": 0.0, "manure_input": 0.0},
    "no clay": {"clay_percent": 0.0},
    "no clay and no silt": {"clay_percent": 0.0, "silt_percent": 0.0},
    "frozen soil": {"air_temperature": -20.0},
    "no rain": {"precipitation": 0.0},
    "saturated soil": {"precipitation": 2000.0, "potential_evapotranspiration": 0.0},
    "no calcite, no bases, no aluminium": {
        "calcite_fraction": 0.0,
        "base_saturation": 0.0,
        "dissolved_al_fe": 0.0,
    },
}


@BOTH
@pytest.mark.parametrize("state", DEGENERATE)
def test_value_and_gradient_are_finite_from_a_degenerate_state(
    state, column, lived_through, request
):
    def changed(values):
        return {
            k: jnp.full_like(v, DEGENERATE[state][k]) if k in DEGENERATE[state] else v
            for k, v in values.items()
        }

    extreme = request.getfixturevalue(lived_through).changed(
        lambda phase: dataclasses.replace(
            phase, constant=changed(phase.constant), series=changed(phase.series)
        )
    )
    value, gradient = value_and_gradient(SCALED, column, extreme)
    assert np.isfinite(float(value))
    assert np.all(np.isfinite(np.asarray(gradient)))
