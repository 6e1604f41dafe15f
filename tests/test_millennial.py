"""Millennial V2: its published program, its steady state, and a column of it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.cases import load_case
from diffsoil.cases.keeping import keeping
from diffsoil.column import Column
from diffsoil.io import InputError, data_path
from diffsoil.numerics import elimination
from diffsoil.output.simulation import simulate
from diffsoil.processes.carbon import RADIOCARBON_MEAN_LIFE, millennial
from diffsoil.processes.carbon.millennial import (
    AGG,
    CO2,
    LEACHED,
    LMWC,
    MAOM,
    POOLS,
    Millennial,
    Millennial2,
    Soil,
    implicit_step,
    rates_of_change,
    steady,
)
from diffsoil.state import empty_state
from diffsoil.time import Phase, advance
from tests import tiny_case

FOLDER = data_path("reference", "millennial_v2")
CAPACITY = float(np.float32(0.86)) * 80.0 * 1000.0
"""As the program has it, 0.86 in single precision."""


def published() -> dict[str, float]:
    """Parameters in the file of the program."""
    lines = (FOLDER / "soilpara_in_fit.txt").read_text().split("\n")
    return {name: float(value) for name, value in (line.split() for line in lines if line)}


def forcing() -> tuple[Soil, jax.Array]:
    """The soil and the input of 365 days."""
    temperature, water, plants = jnp.asarray(np.loadtxt(FOLDER / "globalaverage.txt").T)
    every = jnp.ones_like(water)
    return Soil(temperature, water, 0.6 * every, CAPACITY * every, every, every, every), plants


def year_of_days(model, pools, plants=None):
    """Pools after each day of the published year."""
    soil, given = forcing()

    def day(now, x):
        after = model.day(now, x[1], x[0])
        return after, after

    return jax.lax.scan(day, pools, (soil, given if plants is None else plants))


def test_defaults_are_those_of_the_published_file():
    model, given = Millennial(), published()
    assert given.pop("lambda") == float(model.lambda_matpot)
    assert given.pop("matpot") == millennial.MATRIC_POTENTIAL
    assert given.pop("porosity") == float(forcing()[0].porosity[0])
    assert {name: float(getattr(model, name)) for name in given} == given
    declared = {field.name for field in dataclasses.fields(model)}
    assert declared - given.keys() == {"lambda_matpot", "param_ph", "param_c1"}


def test_ten_years_of_days_are_those_of_the_published_program():
    expected = np.genfromtxt(FOLDER / "pools.csv", delimiter=",", names=True)
    now, found = jnp.asarray(np.loadtxt(FOLDER / "initial.txt")), []
    year = jax.jit(lambda pools: year_of_days(Millennial(), pools))
    for _ in range(10):
        now, days = year(now)
        found.append(np.asarray(days))
    days = np.concatenate(found)
    assert days.shape == (3650, 5)
    for number, name in enumerate(POOLS):
        np.testing.assert_allclose(days[:, number], expected[name], rtol=1e-9, err_msg=name)


def test_capacity_is_that_of_the_program():
    model = dataclasses.replace(Millennial(), param_c1=jnp.asarray(float(np.float32(0.86))))
    assert float(model.capacity(jnp.asarray(80.0), jnp.asarray(1000.0))) == CAPACITY


def test_what_a_pool_loses_another_gains_or_leaves():
    pools = jnp.asarray([300.0, 2.0, 800.0, 10.0, 500.0])
    soil = Soil(*map(jnp.asarray, (12.0, 0.25, 0.5, 3e4, 1.0, 1.0, 1.0)))
    flows = Millennial().flows(pools, soil)
    out = (flows[LMWC, CO2] + flows[LMWC, LEACHED]) * pools[LMWC]
    change = rates_of_change(pools, flows)
    assert float(jnp.sum(change) + out) == pytest.approx(0.0, abs=1e-12)
    assert all(float(share) > 0 for share in flows.values())


def test_overfull_minerals_give_back_what_the_equation_says():
    soil = Soil(*map(jnp.asarray, (12.0, 0.25, 0.5, 100.0, 1.0, 1.0, 1.0)))
    pools = jnp.asarray([0.0, 5.0, 0.0, 0.0, 150.0])
    model = Millennial()
    found = rates_of_change(pools, model.flows(pools, soil))
    wet = np.sqrt(0.5)
    adsorbed = wet * np.exp(-0.12 * 7 - 0.216) * 5.0 * (1 - 150.0 / 100.0)
    assert adsorbed < 0
    expected = adsorbed - 150.0 / 100.0 - 0.0048 * wet * 150.0
    assert float(found[MAOM]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("water", [0.0, 0.3, 0.5, 0.7], ids=["dry", "moist", "full", "over"])
def test_value_and_gradient_are_finite_at_the_edge(water):
    soil = Soil(*map(jnp.asarray, (-20.0, water, 0.5, 100.0, 1.0, 1.0, 1.0)))

    def total(pools, water):
        change = rates_of_change(pools, Millennial().flows(pools, soil._replace(water=water)))
        return jnp.sum(change * jnp.arange(1.0, 6.0))

    slopes = jax.grad(total, argnums=(0, 1))(jnp.zeros(5), jnp.asarray(water))
    assert np.isfinite(np.concatenate([np.ravel(of) for of in slopes])).all()


def steady_of(model, begins):
    return steady(lambda pools: year_of_days(model, pools)[0], begins)


BEGINNINGS = {"little": [1.0] * 5, "much": [2000.0, 5.0, 5000.0, 30.0, 2e4]}


@pytest.mark.parametrize("begins", BEGINNINGS.values(), ids=BEGINNINGS)
def test_steady_state_is_where_long_stepping_leads(begins):
    model = Millennial()
    found = jax.jit(steady_of)(model, jnp.asarray(begins))

    @jax.jit
    def after(years, pools):
        return jax.lax.fori_loop(0, years, lambda _, now: year_of_days(model, now)[0], pools)

    long = after(1000, jnp.ones(5))
    assert np.max(np.abs(after(10, jnp.ones(5)) / long - 1)) > 0.1
    np.testing.assert_allclose(found, long, rtol=1e-9)


@pytest.mark.slow
def test_steady_state_has_the_derivative_of_the_implicit_function():
    """By parameters of each kind, in both modes, against central differences."""
    names = ("param_pi", "alpha_pl", "rate_break", "kaff_des", "eact_lb", "rate_bd", "cue_ref")
    start = jnp.asarray([getattr(Millennial(), name) for name in names])

    def pools(scale):
        values = dict(zip(names, start * scale, strict=True))
        return steady_of(dataclasses.replace(Millennial(), **values), jnp.ones(5))

    one = jnp.ones(len(names))
    forward = np.asarray(jax.jit(jax.jacfwd(pools))(one))
    reverse = np.asarray(jax.jit(jax.jacrev(pools))(one))
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-9)
    both = jax.jit(pools)
    for number in range(len(names)):
        step = 1e-5
        there = [np.asarray(both(one.at[number].add(sign * step))) for sign in (1.0, -1.0)]
        expected = (there[0] - there[1]) / (2.0 * step)
        np.testing.assert_allclose(forward[:, number], expected, rtol=1e-5, atol=1e-4)


def test_no_steady_state_is_said():
    growing = steady(lambda pools: 1.1 * pools, jnp.ones(5))
    assert np.isnan(np.asarray(growing)).all()


# Implicit steps and layers.


def places(seed=0, many=6):
    """Random pools, inputs and soils of some places, of carbon and 14C."""
    random = np.random.default_rng(seed)
    typical = np.array([300.0, 3.0, 800.0, 10.0, 2000.0])[:, None]
    pools = jnp.asarray(typical * random.uniform(0.0, 3.0, (2, 5, many)))
    entering = jnp.asarray(random.uniform(0.0, 30.0, (2, 5, many)))
    between = {"temperature": (-5, 30), "water": (0.05, 0.5), "porosity": (0.35, 0.55)}
    between |= {"capacity": (1.0, 5e4), "leaching": (0.0, 30.0)}
    between |= {"decomposing": (0.2, 1.0), "aggregating": (0.0, 1.0)}
    soil = Soil(**{k: jnp.asarray(random.uniform(*of, many)) for k, of in between.items()})
    return pools, entering, Millennial().flows(pools[0], soil)


def test_elimination_solves_what_lapack_does():
    random = np.random.default_rng(3)
    matrix = -random.uniform(0, 1, (5, 5, 7))
    for i in range(5):
        matrix[i, i] = 1.0 - np.delete(matrix[:, i], i, axis=0).sum(axis=0)
    right = random.normal(size=(5, 3, 7))
    found = elimination.solve(jnp.asarray(matrix), jnp.asarray(right))
    expected = np.linalg.solve(np.moveaxis(matrix, -1, 0), np.moveaxis(right, -1, 0))
    np.testing.assert_allclose(found, np.moveaxis(expected, 0, -1), rtol=1e-12)


@pytest.mark.parametrize("days", [0.01, 1.0, 30.0, 3650.0])
def test_a_step_of_any_length_keeps_all_carbon_and_no_pool_falls_below_zero(days):
    pools, entering, flows = places()
    after, co2, below = jax.jit(implicit_step, static_argnums=3)(pools, entering, flows, days)
    came = np.sum(pools + entering, axis=(1, 2))
    np.testing.assert_allclose(np.sum(after, (1, 2)) + np.sum(co2, 1) + below, came, rtol=1e-13)
    assert min(map(np.min, (after, co2, below))) >= 0.0
    assert float(below[0]) > 0.0


def test_what_is_leached_enters_the_place_below():
    pools, entering, flows = places()
    after, co2, below = implicit_step(pools, entering, flows, 10.0)
    first = {flow: share[:1] for flow, share in flows.items()}
    above, _, leaves = implicit_step(pools[..., :1], entering[..., :1], first, 10.0)
    np.testing.assert_allclose(after[..., :1], above, rtol=1e-13)
    rest = {flow: share[1:] for flow, share in flows.items()}
    more = entering[..., 1:].at[:, LMWC, 0].add(leaves)
    without, gone, end = implicit_step(pools[..., 1:], more, rest, 10.0)
    np.testing.assert_allclose(after[..., 1:], without, rtol=1e-12)
    np.testing.assert_allclose(co2[:, 1:], gone, rtol=1e-12)
    np.testing.assert_allclose(below, end, rtol=1e-12)


def test_fluxes_take_the_activity_of_their_donor():
    """Of one activity there is no other to be had; of several, a short step follows each flux."""
    pools, entering, flows = places()
    activity = jnp.asarray([1.2, 1.1, 0.7, 1.0, 0.5])[:, None]
    alike = jnp.stack([pools[0], 0.8 * pools[0]])
    after, co2, below = implicit_step(alike, jnp.stack([entering[0], 0.8 * entering[0]]), flows, 30)
    for of in (after, co2, below):
        np.testing.assert_allclose(of[1], 0.8 * of[0], rtol=1e-12)
    alone = {k: share for k, share in flows.items() if k != (LMWC, LEACHED)}
    alone[LMWC, LEACHED] = jnp.zeros(pools.shape[-1])
    traced = jnp.stack([pools[0], activity * pools[0]])
    step = 1e-6
    after, _, _ = implicit_step(traced, jnp.zeros_like(traced), alone, step)
    rate = (after[1] - traced[1]) / step
    expected = rates_of_change(traced[1], alone)
    np.testing.assert_allclose(rate, expected, rtol=1e-3, atol=1e-4)


def year_of_steps(model, pools, per_day):
    """The published year by implicit steps, in one place."""
    soil, plants = forcing()

    def step(now, x):
        of_day, given = x
        flows = {k: jnp.ravel(v) for k, v in model.flows(now, of_day).items()}
        enters = model.entering(given)[None, :, None] / per_day
        after, _, _ = implicit_step(now[None, :, None], enters, flows, 1.0 / per_day)
        return after[0, :, 0], None

    many = [jnp.repeat(x, per_day) for x in (*soil, plants)]
    return jax.lax.scan(step, pools, (Soil(*many[:-1]), many[-1]))[0]


def test_implicit_and_explicit_steps_come_together_as_they_shorten():
    """Both are of first order, and err to different sides: their distance is."""
    model = Millennial()
    pools = jnp.asarray([461.0, 1.56, 1403.0, 3.84, 4109.0])
    explicit = np.asarray(year_of_days(model, pools)[0])
    by_day = np.asarray(jax.jit(year_of_steps, static_argnums=2)(model, pools, 1))
    finer = np.asarray(jax.jit(year_of_steps, static_argnums=2)(model, pools, 8))
    np.testing.assert_allclose(by_day, explicit, rtol=0.05)
    kept = [0, 2, 4]  # these change little in a day
    np.testing.assert_allclose(finer[kept], explicit[kept], rtol=1e-4)


def test_a_step_leaves_steady_pools_as_they_are():
    """Whatever its length is: under the same weather long steps have no error in the end."""
    model = Millennial()
    soil = Soil(*(x[:1] for x in forcing()[0]))
    plants = jnp.asarray([0.4])

    def steps(pools, days):
        def step(now, _):
            flows = model.flows(now, soil)
            enters = days * model.entering(plants)[None]
            return implicit_step(now[None], enters, flows, days)[0][0], None

        return jax.lax.scan(step, pools, length=12)[0]

    found = steady(lambda pools: steps(pools[:, None], 30.0)[:, 0], jnp.ones(5))
    np.testing.assert_allclose(steps(found[:, None], 1.0)[:, 0], found, rtol=1e-9)


# The column.

LAYERS, THICKNESS = 4, 0.2
AIR = [1.0, 2.0, 5.0, 8.0, 12.5, 16.0, 18.0, 17.5, 14.0, 9.5, 5.0, 2.0]
WATER = [0.3, 0.3, 0.3, 0.28, 0.25, 0.23, 0.22, 0.22, 0.24, 0.27, 0.29, 0.3]
RAIN = [40.0, 30.0, 30.0, 10.0, 0.0, 0.0, 0.0, 0.0, 5.0, 20.0, 40.0, 50.0]
COLUMN = Column((Millennial2(),))


def surroundings(**changes):
    """A loam under plants with a litter layer; leaves and roots in summer, manure in March."""
    roots = np.array([0.7, 0.2, 0.07, 0.03])
    plants, manure = np.zeros((2, 12, 3, LAYERS + 1))
    plants[4:8, 0, 1:], plants[4:8, 1, 1:] = 0.2 * roots, 0.3 * roots
    plants[9:11, 0, 0], plants[9:11, 1, 0] = 0.1, 0.2
    manure[2, :, 1] = 0.2, 0.25, 0.05
    by_month = {"soil_temperature": AIR, "water_content": WATER, "percolation": RAIN}
    each = {"clay_percent": 18.0, "silt_percent": 55.0, "bulk_density": 1.35}
    each |= {"mineral_mass": 1.32e4 * THICKNESS, "thickness": THICKNESS}
    values = {name: np.repeat(np.array(of)[:, None], LAYERS, 1) for name, of in by_month.items()}
    values |= {name: np.full(LAYERS, of) for name, of in each.items()}
    values |= {"air_temperature": np.array(AIR), "depth_top": THICKNESS * np.arange(LAYERS)}
    values |= {"plant_carbon": plants, "manure_carbon": manure, "atmosphere_14c": np.array(1.0)}
    return {name: jnp.asarray(of, dtype=float) for name, of in (values | changes).items()}


def after_years(column, steps, years_per_step, given, state=None):
    if state is None:
        state = empty_state(LAYERS, jnp.full(LAYERS, 0.5), radiocarbon=True, active=5)
    return advance(column, Phase(steps, years_per_step, given, {}, {}), state)[0]


many_years = jax.jit(after_years, static_argnums=(1, 2))


def test_a_column_keeps_all_carbon():
    end = many_years(COLUMN, 20, 10, surroundings())
    came = LAYERS * 0.5 + end.added
    assert float(end.added) == pytest.approx(200 * (0.5 * 4 + 0.3 * 2 + 0.5), rel=1e-12)
    went = end.respired + end.leached
    assert float((end.stock() + went) / came - 1) == pytest.approx(0.0, abs=1e-12)
    assert float(end.leached) > 0
    assert np.all(np.asarray(end.carbon) > 0)
    np.testing.assert_array_equal(end.carbon[-1], 0.5)  # inert carbon stays


def test_a_year_does_not_depend_on_the_slow_step_it_is_in():
    long, short = (many_years(COLUMN, *of, surroundings()) for of in ((2, 10), (20, 1)))
    for one, other in zip(jax.tree.leaves(long), jax.tree.leaves(short), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13)


def test_shorter_steps_change_stocks_little():
    """Ten days against one; the error is of first order."""
    by_steps = {
        steps: float(
            many_years(
                Column((dataclasses.replace(Millennial2(), steps_per_month=steps),)),
                20, 10, surroundings(),
            ).stock()
        )
        for steps in (3, 6, 30)
    }  # fmt: skip
    coarse, finer = (by_steps[steps] / by_steps[30] - 1 for steps in (3, 6))
    assert abs(coarse) < 0.03
    assert 0.3 < finer / coarse < 0.6


def test_percolation_alone_brings_carbon_down():
    plants = surroundings()["plant_carbon"].at[:, :, 1:].set(0.0)  # on the litter layer only
    given = surroundings(plant_carbon=plants, manure_carbon=jnp.zeros_like(plants))
    end = many_years(COLUMN, 2, 10, given)
    assert np.all(np.asarray(end.carbon[LMWC]) > 0)
    assert np.all(np.diff(np.asarray(end.carbon[:-1].sum(axis=0))) < 0)
    dry = many_years(COLUMN, 2, 10, given | {"percolation": jnp.zeros((12, LAYERS))})
    np.testing.assert_array_equal(dry.carbon[:-1], 0.0)
    assert float(dry.leached) == 0.0


def test_a_litter_layer_holds_next_to_nothing_on_minerals():
    end = many_years(COLUMN, 20, 10, surroundings())
    assert float(end.litter[AGG]) == 0.0
    assert float(end.litter[MAOM]) < 1e-2 * float(jnp.sum(end.litter))
    assert float(end.carbon[MAOM, 0]) > 0.2 * float(jnp.sum(end.carbon[:-1, 0]))


def test_a_subsoil_is_slowed_where_it_is_asked_to():
    slowed = COLUMN.with_parameters({"carbon.subsoil_slowing": 2.0})
    plain, slow = (many_years(of, 20, 10, surroundings()) for of in (COLUMN, slowed))
    stocks = [np.asarray(of.carbon[:-1].sum(axis=0)) for of in (plain, slow)]
    assert stocks[1][0] == pytest.approx(stocks[0][0], rel=1e-12)
    assert np.all(stocks[1][2:] > 1.1 * stocks[0][2:])


def test_radiocarbon_of_a_soil_without_turnover_decays():
    """Dry, without microbes and input: nothing leaves, and 14C does so by its mean life only."""
    pools = jnp.asarray([5.0, 0.1, 8.0, 0.0, 20.0, 3.0])[:, None] * jnp.ones((1, LAYERS))
    active = jnp.ones((6, 1)).at[-1].set(0.2) * jnp.asarray([1.0, 0.9, 0.8, 0.7])[None]
    state = empty_state(LAYERS, pools[-1], radiocarbon=True, active=5)
    state = dataclasses.replace(state, carbon=pools, radiocarbon=pools * active)
    nothing = jnp.zeros((12, 3, LAYERS + 1))
    dry = surroundings(
        plant_carbon=nothing, manure_carbon=nothing, water_content=jnp.zeros((12, LAYERS))
    )
    end = many_years(COLUMN, 10, 10, dry, state)
    assert float(end.respired) == float(end.leached) == 0.0
    np.testing.assert_allclose(end.carbon.sum(axis=0), pools.sum(axis=0), rtol=1e-12)
    left = np.exp(-100.0 / RADIOCARBON_MEAN_LIFE)
    np.testing.assert_allclose(
        end.radiocarbon.sum(axis=0), left * (pools * active).sum(axis=0), rtol=1e-12
    )
    np.testing.assert_allclose(end.radiocarbon[-1], left * (pools * active)[-1], rtol=1e-12)


def test_carbon_is_never_younger_than_the_air_and_older_below():
    end = many_years(COLUMN, 20, 10, surroundings(atmosphere_14c=jnp.asarray(0.9)))
    activity = np.asarray(end.radiocarbon[:-1] / end.carbon[:-1])
    assert activity.max() < 0.9
    assert activity[LMWC, 0] > activity[MAOM, 0]
    assert activity[MAOM, 0] > activity[MAOM, -1]


SOUGHT = (
    "carbon.rate_bd",
    "carbon.kaff_pl",
    "carbon.alpha_lb",
    "carbon.cue_ref",
    "carbon.rate_leach",
    "carbon.litter_thickness",
    "carbon.subsoil_slowing",
)


def test_forward_reverse_and_finite_differences_agree():
    values = COLUMN.values() | {"carbon.subsoil_slowing": jnp.asarray(0.5)}
    start = jnp.asarray([values[name] for name in SOUGHT])
    weight = jnp.arange(1.0, 7.0)[:, None] * jnp.arange(1.0, LAYERS + 1)[None]

    def total(scale):
        column = COLUMN.with_parameters(dict(zip(SOUGHT, start * scale, strict=True)))
        end = after_years(column, 3, 5, surroundings())
        mixed = jnp.sum(weight * (end.carbon + end.radiocarbon)) + jnp.sum(end.litter)
        return mixed + end.respired + 1e3 * end.leached

    one = jnp.ones(len(SOUGHT))
    reverse = np.asarray(jax.jit(jax.grad(total))(one))
    both = jax.jit(lambda of, along: jax.jvp(total, (of,), (along,)))
    for number, slope in enumerate(reverse):
        along = jnp.zeros(len(SOUGHT)).at[number].set(1.0)
        assert float(both(one, along)[1]) == pytest.approx(slope, rel=1e-9)
        there = [float(both(one + sign * 1e-5 * along, along)[0]) for sign in (1.0, -1.0)]
        assert slope == pytest.approx((there[0] - there[1]) / 2e-5, rel=1e-6, abs=1e-6)
        assert slope != 0.0


# A case.


CHOSEN = [
    ("format = 1", 'format = 1\ncarbon = "millennial2"'),
    ('[free."carbon.k_hum"]', '[free."carbon.rate_bd"]'),
]


def test_a_case_of_it_closes(tmp_path):
    """With litter, plough, manure, mixing and 14C, in slow steps of ten years and of one."""
    path = tiny_case.write(tmp_path, case=CHOSEN)
    path.write_text(tiny_case.with_one_phase(path.read_text()))
    run = simulate(load_case(path))
    assert run.column.pools == (*POOLS, "IOM")
    assert run.balances["carbon"] < 1e-12
    leached, taken_in = run.values["carbon_leached"], run.values["carbon_input"]
    assert np.all(leached[:, -1] > 0)
    assert np.all(leached[:, -1] < 0.1 * taken_in[:, -1])
    assert np.all(run.values["soc_pool"] > -1e-15)
    manured, control = (run.members.index(name) for name in ("manured", "control"))
    last = run.values["soc_stock_0_25"][:, -1]
    assert last[manured] > last[control] + 1.0
    inert = run.values["soc_pool"][control, :, -1].sum(axis=-1)
    np.testing.assert_allclose(inert, inert[0], rtol=1e-12)


def test_a_case_of_it_has_no_balance_with_a_measured_stock(tmp_path):
    path = tiny_case.write(tmp_path, case=CHOSEN)
    with pytest.raises(InputError, match="--keep-stock needs linear pools"):
        keeping(load_case(path))
    text = path.read_text()
    path.write_text(text.replace("format = 1", 'format = 1\ninitial = "measured"', 1))
    with pytest.raises(InputError, match='initial: "measured" needs linear pools'):
        load_case(path)
