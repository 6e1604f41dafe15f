"""Single processes against analytic solutions, published numbers and conservation."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.io import data_path
from diffsoil.processes import npp, protection
from diffsoil.processes.burial import Burial, buried
from diffsoil.processes.carbon import (
    RADIOCARBON_MEAN_LIFE,
    RothC,
    depth_of_decay,
    twelve_months,
)
from diffsoil.processes.carbon.linear import lost_share
from diffsoil.processes.fauna_diffusion import FaunaDiffusion, diffused, exchanged
from diffsoil.processes.geometry import Geometry, overlap
from diffsoil.processes.heat import Heat, damped_wave, damping_depth
from diffsoil.processes.mixing import Fauna, Plough, PloughZone, mix, shares
from diffsoil.processes.vegetation import root_distribution
from diffsoil.processes.water import BARE_SOIL_LIMIT, Water, cascade, uptake
from diffsoil.processes.weather_years import WeatherYears, rain_factors
from diffsoil.state import empty_state
from diffsoil.tables import Column, read_table
from diffsoil.units import SECONDS_PER_YEAR

RATES = jnp.array([10.0, 0.3, 0.66, 0.02])
MONTHS = np.arange(12)
AIR = 9.0 + 7.5 * np.cos(2 * np.pi * (MONTHS - 6.5) / 12)


def layers(thickness):
    thickness = jnp.asarray(thickness, dtype=float)
    return {"thickness": thickness, "depth_top": jnp.cumsum(thickness) - thickness}


# heat


def test_single_harmonic_is_damped_and_delayed_as_the_heat_equation_says():
    depth = jnp.array([0.0, 0.1, 0.5, 1.0, 3.0])
    damping = damping_depth(jnp.asarray(5.0e-7))
    phase = 2 * np.pi * (MONTHS[:, None] - 6.5) / 12 - np.asarray(depth / damping)
    exact = 9.0 + 7.5 * np.exp(-np.asarray(depth / damping)) * np.cos(phase)
    wave = damped_wave(jnp.asarray(AIR), depth, damping)
    np.testing.assert_allclose(wave, exact, atol=1e-12)


def test_damping_depth_of_the_literature():
    diffusivity = jnp.array([2.33e-7, 3.5e-7, 5.0e-7, 6.5e-7])
    damping = np.asarray(jax.vmap(damping_depth)(diffusivity))
    np.testing.assert_allclose(damping, [1.53, 1.88, 2.24, 2.56], atol=0.006)
    omega = 2 * np.pi / SECONDS_PER_YEAR
    np.testing.assert_allclose(damping**2 * omega / 2, diffusivity, rtol=1e-14)


def test_any_weather_keeps_its_mean_at_every_depth_and_itself_at_the_surface():
    weather = jnp.asarray(np.random.default_rng(1).normal(8, 9, 12))
    wave = damped_wave(weather, jnp.array([0.0, 0.3, 2.0]), jnp.asarray(2.2))
    np.testing.assert_allclose(wave.mean(axis=0), float(weather.mean()), rtol=1e-13)
    np.testing.assert_allclose(wave[:, 0], weather, rtol=1e-13)


def test_soil_temperatures_of_rothamsted_are_met_within_half_a_degree():
    columns = {name: Column() for name in ("month", "air_c", "soil_30cm_c", "soil_100cm_c")}
    columns["period"] = Column("str")
    path = data_path("climate", "rothamsted_soil_temperature.csv")
    table = read_table(path, columns)
    measured, modelled = [], []
    depth = {"depth_top": jnp.array([0.3, 1.0]), "thickness": jnp.zeros(2)}
    state = empty_state(2, jnp.zeros(2))
    for _, period in table.groupby("period"):
        air = {"air_temperature": jnp.asarray(period["air_c"].to_numpy())}
        _, found = Heat().slow(state, air | depth, 1)
        modelled.append(np.asarray(found["soil_temperature"]))
        measured.append(period[["soil_30cm_c", "soil_100cm_c"]].to_numpy())
    error = np.stack(modelled) - np.stack(measured)
    assert np.sqrt(np.mean(error**2)) < 0.5
    assert np.abs(error).max() < 1.0
    assert np.abs(error.mean(axis=1)).max() < 0.15  # yearly means


# depth of decay


def test_a_layer_decays_at_its_middle_unless_it_swells_into_peat():
    soil = layers([0.05, 0.1, 0.3, 0.5])
    middle = soil["depth_top"] + 0.5 * soil["thickness"]
    np.testing.assert_array_equal(depth_of_decay(**soil), middle)
    peat = layers([0.6, 2.0, 100.0, 0.05])
    below = depth_of_decay(**peat) - peat["depth_top"]
    assert np.all(below[:3] <= 0.35 + 1e-12)
    assert below[0] == pytest.approx(0.25 + 0.1 * np.tanh(0.5))
    assert below[3] == pytest.approx(0.025)


def test_decay_of_a_swelling_layer_is_smooth():
    def depth(thickness):
        return depth_of_decay(jnp.zeros(1), thickness[None])[0]

    slope, bend = jax.grad(depth), jax.grad(jax.grad(depth))
    for side in (-1e-7, 1e-7):
        assert float(slope(jnp.asarray(0.5 + side))) == pytest.approx(0.5, abs=1e-9)
        assert float(bend(jnp.asarray(0.5 + side))) == pytest.approx(0.0, abs=1e-4)
    assert float(slope(jnp.asarray(500.0))) == pytest.approx(0.0, abs=1e-12)


# mixing


def test_two_layers_exchange_towards_their_common_mean():
    mass = jnp.array([1.0, 1.0])
    fraction = jnp.array([0.1, 0.1])
    amount = jnp.array([3.0, 1.0])
    for _ in range(20):
        amount = mix(amount, fraction, shares(fraction, mass))
    # the difference shrinks by the mixed fraction each time
    np.testing.assert_allclose(amount, [2 + 0.9**20, 2 - 0.9**20], rtol=1e-12)


def test_mixing_conserves_and_leaves_a_uniform_soil_uniform():
    rng = np.random.default_rng(2)
    mass = jnp.asarray(rng.uniform(500, 900, 7))
    fraction = jnp.asarray(rng.uniform(0, 1, 7))
    pools = jnp.asarray(rng.uniform(0, 5, (5, 7)))
    mixed = mix(pools, fraction, shares(fraction, mass))
    np.testing.assert_allclose(mixed.sum(axis=1), pools.sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(mix(0.02 * mass, fraction, shares(fraction, mass)), 0.02 * mass)


def diffusing(count=60, thickness=0.05):
    """Layers of one density, and what they exchange at a diffusivity of 1 cm2/a everywhere."""
    soil = layers(np.full(count, thickness))
    mass = 1.3e4 * soil["thickness"]
    exchange = exchanged(**soil, mass=mass, diffusivity=jnp.asarray(1e-4), depth=jnp.asarray(1e6))
    return soil, mass, exchange


def test_diffusion_spreads_a_pulse_as_the_heat_equation_says():
    """From a pulse in the middle: variance 2 D t, whatever the steps."""
    soil, mass, exchange = diffusing()
    middle = np.asarray(soil["depth_top"]) + 0.025
    amount = jnp.zeros((1, 60)).at[0, 30].set(1.0)
    for _ in range(20):
        amount = diffused(amount, mass, exchange, 5.0)
    share = np.asarray(amount[0])
    mean = share @ middle
    assert share.sum() == pytest.approx(1.0, abs=1e-14)
    assert mean == pytest.approx(middle[30], abs=1e-7)  # 1e6 m is not quite everywhere
    assert share @ (middle - mean) ** 2 == pytest.approx(2 * 1e-4 * 100, rel=1e-5)


def test_diffusion_conserves_and_leaves_uniform_soil_as_it_is():
    random = np.random.default_rng(3)
    soil = layers(random.uniform(0.005, 0.3, 30))
    mass = jnp.asarray(random.uniform(0.6e4, 1.8e4, 30)) * soil["thickness"]
    exchange = exchanged(**soil, mass=mass, diffusivity=jnp.asarray(3e-3), depth=jnp.asarray(0.3))
    amount = jnp.asarray(random.uniform(0.0, 9.0, (4, 30)))
    after = diffused(amount, mass, exchange, 50.0)
    np.testing.assert_allclose(after.sum(axis=1), amount.sum(axis=1), rtol=1e-13)
    np.testing.assert_allclose(diffused(0.02 * mass[None], mass, exchange, 50.0)[0], 0.02 * mass)
    content = np.asarray(amount / mass[None])
    assert np.all(np.asarray(after / mass[None]) <= content.max(axis=1)[:, None] * (1 + 1e-12))
    assert np.all(np.asarray(after / mass[None]) >= content.min(axis=1)[:, None] * (1 - 1e-12))


def test_diffusion_fades_with_depth_and_ends_at_the_bottom():
    soil = layers(np.full(10, 0.1))
    mass = 1e4 * soil["thickness"]
    exchange = exchanged(**soil, mass=mass, diffusivity=jnp.asarray(1e-4), depth=jnp.asarray(0.3))
    np.testing.assert_allclose(exchange[:-1], 1e-4 * 1e4 / 0.1 * np.exp(-np.arange(1, 10) / 3))
    assert exchange[-1] == 0.0


def test_fauna_that_diffuses_moves_litter_carbon_and_radiocarbon_alike():
    soil = layers(np.full(6, 0.1)) | {"surface_share": jnp.asarray([0.7, 0.3, 0, 0, 0, 0])}
    soil |= {"soil_mass": 1.3e4 * soil["thickness"]}
    state = empty_state(6, jnp.linspace(1.0, 2.0, 6), radiocarbon=True)
    start = jnp.asarray([4.0, 3.0, 2.0, 1.0])
    state = dataclasses.replace(state, litter=start, litter_radiocarbon=0.5 * start)
    process = FaunaDiffusion()
    _, found = process.slow(state, soil, 10)
    after = process.year(state, soil | found)
    np.testing.assert_allclose(after.litter, 0.85 * start)
    assert float(after.stock()) == pytest.approx(float(state.stock()), rel=1e-14)
    np.testing.assert_allclose(after.radiocarbon[:4], 0.5 * after.carbon[:4], rtol=1e-12)
    assert np.all(np.asarray(after.carbon[0, :3]) > 0)


def test_fauna_mixes_its_rate_and_not_below_its_depth():
    soil = layers([0.1] * 6) | {"soil_mass": jnp.full(6, 1300.0)}
    state = empty_state(6, jnp.zeros(6))
    _, found = Fauna().slow(state, soil, 1)
    np.testing.assert_allclose((found["fauna_fraction"] * soil["soil_mass"]).sum(), 11.9)
    assert np.all(np.asarray(found["fauna_fraction"])[4:] == 0)


def test_plough_makes_the_ploughed_depth_uniform_and_takes_up_the_litter():
    soil = layers([0.1] * 5) | {
        "soil_mass": jnp.array([1200.0, 1300, 1400, 1500, 1500]),
        "plough_depth": jnp.asarray(0.25),
    }
    state = empty_state(5, jnp.zeros(5))
    carbon = jnp.asarray(np.random.default_rng(3).uniform(0, 9, (5, 5)))
    state = state.__class__(**{**vars(state), "carbon": carbon, "litter": jnp.ones(4)})
    _, zone = PloughZone().slow(state, soil, 1)
    np.testing.assert_allclose(zone["plough_fraction"], [1, 1, 0.5, 0, 0], atol=1e-12)
    _, share = Burial().slow(state, soil | zone, 1)
    after = Plough().year(state, soil | zone | share)
    content = np.asarray(after.carbon / soil["soil_mass"][None])
    np.testing.assert_allclose(content[:, 0], content[:, 1], rtol=1e-12)
    np.testing.assert_array_equal(after.carbon[:, 3:], carbon[:, 3:])
    np.testing.assert_allclose(after.stock(), state.stock(), rtol=1e-14)
    assert float(after.litter.sum()) == 0


# geometry, roots


def test_layers_keep_their_mass_when_the_soil_loosens():
    soil = {"soil_mass": jnp.array([1250.0, 1400.0]), "bulk_density": jnp.array([1.0, 1.4])}
    _, found = Geometry().slow(empty_state(2, jnp.zeros(2)), soil, 1)
    np.testing.assert_allclose(found["thickness"], [0.125, 0.1])
    np.testing.assert_allclose(found["depth_top"], [0.0, 0.125], atol=1e-15)
    share = overlap(found["depth_top"], found["thickness"], 0.1, 0.2)
    np.testing.assert_allclose(share, [0.2, 0.75], rtol=1e-12)


@pytest.mark.parametrize(
    ("beta", "table"),
    [
        (0.966, [0.159, 0.292, 0.499, 0.579, 0.749, 0.823, 0.925, 0.969]),
        (0.943, [0.254, 0.444, 0.691, 0.769, 0.904, 0.947, 0.988, 0.997]),
        (0.961, [0.180, 0.328, 0.549, 0.630, 0.796, 0.863, 0.949, 0.981]),
    ],
)
def test_roots_follow_jackson_and_sum_to_one(beta, table):
    bottoms = np.array([5, 10, 20, 25, 40, 50, 75, 100]) / 100
    soil = layers(np.diff(bottoms, prepend=0))
    roots = np.asarray(root_distribution(**soil, beta=jnp.asarray(beta)))
    assert roots.sum() == pytest.approx(1, abs=1e-14)
    np.testing.assert_allclose(np.cumsum(roots) * (1 - beta**100), table, atol=6e-4)


def on_surface(plough_fraction, depth=0.0):
    """Shares of three layers in what is laid on the surface."""
    soil = layers([0.1, 0.1, 0.2]) | {"plough_fraction": jnp.asarray(plough_fraction)}
    _, found = Burial(jnp.asarray(depth)).slow(empty_state(3, jnp.zeros(3)), soil, 1)
    return np.asarray(found["surface_share"])


def test_matter_on_the_surface_goes_to_the_ploughed_layers_or_to_the_first():
    np.testing.assert_array_equal(on_surface(np.zeros(3)), [1, 0, 0])
    np.testing.assert_allclose(on_surface([1.0, 1.0, 0.5]), [1 / 3] * 3)
    np.testing.assert_allclose(on_surface([1.0, 1.0, 0.5], 0.08), [1 / 3] * 3)


def test_buried_matter_falls_exponentially_with_depth():
    shares = on_surface(np.zeros(3), 0.1)
    faces = np.exp(-np.array([0.0, 1.0, 2.0, 4.0]))
    np.testing.assert_allclose(shares, -np.diff(faces) / (1.0 - faces[-1]), rtol=1e-12)
    slope = jax.grad(lambda d: buried(**layers([0.1, 0.1, 0.2]), depth=d)[0])(jnp.asarray(0.0))
    assert slope == 0.0


# water


def of_climate(process, rain, demand):
    """A metre of loess under grass, in a slow step of ten years."""
    soil = layers(np.full(20, 0.05)) | {
        "precipitation": jnp.asarray(rain),
        "potential_evapotranspiration": jnp.asarray(demand),
        "cover": jnp.ones(12),
        "root_beta": jnp.asarray(0.95),
        "field_capacity": jnp.full(20, 0.33),
        "wilting_point": jnp.full(20, 0.12),
    }
    state = dataclasses.replace(empty_state(20, jnp.zeros(20)), water=jnp.full(20, 10.0))
    return process.slow(state, soil, 10)


STEPPE_RAIN = np.full(12, 50.0)
STEPPE_DEMAND = 55.0 * (1.0 - 0.9 * np.cos(2 * np.pi * (MONTHS + 0.5) / 12))
"""A steppe: 600 mm of rain, 660 mm of demand."""


def test_wet_years_percolate_where_the_mean_year_does_not():
    _, equal = of_climate(Water(), STEPPE_RAIN, STEPPE_DEMAND)
    after, differing = of_climate(WeatherYears(), STEPPE_RAIN, STEPPE_DEMAND)
    below = [
        float(np.asarray(found["percolation"]).sum(axis=0)[-1]) for found in (equal, differing)
    ]
    assert below[1] > below[0] + 5.0
    # as much water as came: rain that enters, what is taken, what leaves, what is stored
    entered = STEPPE_RAIN.sum() - float(differing["interception"].sum())
    taken = float(differing["evapotranspiration"].sum())
    stored = float((after.water - differing["initial_water"]).sum())
    assert entered - taken - below[1] == pytest.approx(stored, abs=1e-9)


def test_years_without_variation_are_the_mean_year():
    state, equal = of_climate(Water(80), STEPPE_RAIN, STEPPE_DEMAND)
    after, same = of_climate(
        WeatherYears(80, rain_variation=jnp.zeros(())), STEPPE_RAIN, STEPPE_DEMAND
    )
    for name in equal:
        np.testing.assert_allclose(same[name], equal[name], atol=1e-6)
    np.testing.assert_allclose(after.water, state.water, atol=1e-6)


def test_rain_of_weather_years_has_the_mean_and_nearly_the_variation_of_the_climate():
    factors = np.asarray(rain_factors(jnp.asarray(0.2), 20))
    assert factors.mean() == pytest.approx(1.0, abs=1e-14)
    assert factors.std() == pytest.approx(0.2, abs=0.015)
    slope = jax.grad(lambda v: rain_factors(v, 20)[-1])(jnp.asarray(0.0))
    assert np.isfinite(slope)


def test_cascade_conserves_and_fills_from_above():
    water = jnp.array([10.0, 2.0, 0.0, 5.0])
    capacity = jnp.array([12.0, 10.0, 10.0, 10.0])
    after, outflow = cascade(water, capacity, jnp.asarray(15.0), jnp.asarray(0.0))
    np.testing.assert_allclose(after, [12, 10, 5, 5])
    np.testing.assert_allclose(outflow, [13, 5, 0, 0])


def test_bypass_moves_water_past_the_layers():
    water, capacity = jnp.zeros(3), jnp.full(3, 10.0)
    after, outflow = cascade(water, capacity, jnp.asarray(15.0), jnp.asarray(0.4))
    np.testing.assert_allclose(after, [9, 0, 0])
    np.testing.assert_allclose(outflow, [6, 6, 6])
    np.testing.assert_allclose(after.sum() + outflow[-1], 15)


def test_uptake_exceeds_neither_demand_nor_what_is_there():
    rng = np.random.default_rng(4)
    capacity = rng.uniform(0, 30, (200, 8))
    capacity[:20] = 0
    available = capacity * rng.uniform(0, 1, (200, 8))
    available[20:40] = 0
    demand = rng.uniform(0, 200, 200)
    demand[40:50] = 0
    roots = rng.dirichlet(np.ones(8), 200)
    taken = np.asarray(jax.vmap(uptake)(*map(jnp.asarray, (available, capacity, demand, roots))))
    assert np.all(taken >= 0)
    assert np.all(taken <= available * (1 + 1e-12))
    assert np.all(taken.sum(axis=1) <= demand * (1 + 1e-12))


@pytest.mark.parametrize("last", [1e-90, 1e-120, 1e-160, 1e-300, 5e-324, 0.0])
def test_uptake_from_a_soil_that_has_dried_for_months_has_a_gradient(last):
    # what is left halves month by month, down to the smallest number there is
    available = jnp.full(4, last)
    capacity, roots = jnp.full(4, 8.0), jnp.full(4, 0.25)
    slope = jax.jacfwd(uptake)(available, capacity, jnp.asarray(60.0), roots)
    assert np.isfinite(np.asarray(slope)).all()


def test_uptake_meets_the_demand_of_a_moist_soil_where_roots_are():
    full = jnp.full(4, 20.0)
    roots = jnp.array([0.4, 0.3, 0.2, 0.1])
    np.testing.assert_allclose(uptake(full, full, jnp.asarray(10.0), roots), 10 * roots)


RAIN = jnp.array([60.0, 45, 50, 48, 55, 57, 50, 58, 62, 70, 68, 66])
DEMAND = jnp.array([5.0, 10, 30, 55, 85, 100, 105, 85, 50, 25, 10, 5])
STORE = 100.0  # mm m-1 of layer, times thickness 0.1


def bucket(rain=RAIN, demand=DEMAND, cover=1.0, start=0.25, years=1, **parameters):
    soil = layers([0.1] * 8) | {
        "precipitation": rain,
        "potential_evapotranspiration": demand,
        "cover": jnp.full(12, cover),
        "root_beta": jnp.asarray(0.96),
        "field_capacity": jnp.full(8, 0.35),
        "wilting_point": jnp.full(8, 0.15),
    }
    state = empty_state(8, jnp.zeros(8))
    state = state.__class__(**{**vars(state), "water": jnp.full(8, start * STORE)})
    process = Water(**{k: jnp.asarray(v) for k, v in parameters.items()})
    after, found = process.slow(state, soil, years)
    return np.asarray(after.water), {k: np.asarray(v) for k, v in found.items()}


@pytest.mark.parametrize("bypass", [0.0, 0.3])
@pytest.mark.parametrize("cover", [0.0, 0.7, 1.0])
def test_a_year_of_water_closes(cover, bypass):
    water, found = bucket(cover=cover, bypass=bypass)
    storage = found["water_content"] * STORE
    flux = np.asarray(RAIN) - found["interception"] - found["evapotranspiration"].sum(axis=1)
    flux -= found["percolation"][:, -1]
    change = np.diff(storage.sum(axis=1), prepend=0.25 * STORE * 8)
    np.testing.assert_allclose(change, flux, atol=1e-10)
    np.testing.assert_allclose(water, storage[-1], rtol=1e-14)


def test_nothing_percolates_in_a_desert():
    _, found = bucket(rain=jnp.full(12, 10.0), demand=jnp.full(12, 80.0))
    assert np.all(found["percolation"] == 0)
    np.testing.assert_allclose(found["water_content"][-1], 0.15, atol=1e-3)


def test_one_year_for_many_comes_back_to_its_start_from_any_start():
    wet, from_wet = bucket(start=0.35, years=50)
    dry, from_dry = bucket(start=0.15, years=50)
    np.testing.assert_allclose(wet, dry, atol=1e-10)
    np.testing.assert_allclose(from_wet["percolation"], from_dry["percolation"], atol=1e-10)


def test_bare_soil_does_not_dry_beyond_its_limit_and_a_covered_one_does():
    weather = {"rain": jnp.zeros(12), "demand": jnp.full(12, 100.0), "start": 0.35}
    _, bare = bucket(cover=0.0, evaporation_depth=0.5, **weather)
    _, covered = bucket(cover=1.0, **weather)
    assert bare["moisture_deficit"].max() == pytest.approx(BARE_SOIL_LIMIT, abs=1e-9)
    assert covered["moisture_deficit"].max() > 0.99


# protection


def test_modifiers_have_the_limits_of_the_published_table():
    b, zero, one = jnp.asarray(0.8), jnp.asarray(0.0), jnp.asarray(1.0)
    b3 = jnp.asarray(0.2)
    assert protection.clay_modifier(zero, b) == pytest.approx(0.8)
    assert protection.clay_modifier(one, b) == pytest.approx(1)
    assert protection.mooh_modifier(zero, jnp.asarray(5.0)) == pytest.approx(1)
    assert protection.mooh_modifier(jnp.asarray(0.0446), jnp.asarray(5.0)) == pytest.approx(
        0.8, abs=2e-4
    )
    assert protection.mooh_modifier(one, jnp.asarray(5.0)) == pytest.approx(0.8)
    saturated = jnp.asarray(100.0)
    assert protection.aggregation_modifier(saturated, zero, b3, b3) == pytest.approx(0.8)
    assert protection.aggregation_modifier(zero, one, b3, b3) == pytest.approx(0.8)
    assert protection.aggregation_modifier(zero, zero, b3, b3) == pytest.approx(1)
    assert protection.pore_modifier(zero, one, b) == pytest.approx(0.8)
    assert protection.pore_modifier(one, zero, b) == pytest.approx(1)
    assert protection.pore_modifier(zero, zero, b) == pytest.approx(1)


def test_the_strongest_mechanism_limits_and_the_others_do_not_add():
    chosen = protection.Protection(mechanisms=("clay", "aggregation"))
    soil = {
        "clay_percent": jnp.full(2, 20.0),
        "one_to_one_share": jnp.array([0.0, 1.0]),
        "base_saturation": jnp.array([50.0, 100.0]),
        "calcite_fraction": jnp.zeros(2),
    }
    _, found = chosen.slow(empty_state(2, jnp.zeros(2)), soil, 1)
    np.testing.assert_allclose(found["modifier_overall"], [0.8, 0.8])
    np.testing.assert_allclose(found["modifier_aggregation"], [0.9, 0.8])
    np.testing.assert_allclose(found["modifier_pores"], [1.0, 1.0])


def test_soft_minimum_lies_below_the_hard_one_by_at_most_width_times_log_n():
    modifiers = jnp.asarray(np.random.default_rng(5).uniform(0.8, 1, (4, 500)))
    soft, hard = protection.SoftMinimum(), protection.HardMinimum()
    gap = np.asarray(hard(modifiers) - soft(modifiers))
    assert np.all(gap >= 0)
    assert np.all(gap <= soft.width * np.log(4) * (1 + 1e-12))
    equal = jnp.full((4, 1), 0.9)
    np.testing.assert_allclose(hard(equal) - soft(equal), soft.width * np.log(4), rtol=1e-10)


# production


def test_miami_has_the_published_values():
    assert npp.miami(10.0, 1e6) == pytest.approx(1406, abs=0.5)
    assert npp.miami(40.0, 1000.0) == pytest.approx(1456, abs=0.5)
    assert npp.miami(9.5, 600.0) == pytest.approx(986, abs=0.5)
    assert npp.miami(10.0, 0.0) == 0


def test_other_npp_models_follow_their_equations():
    warm, wet = 17.6243 / (1 + np.exp(1.3496 - 0.71514)), 0.005215 * 1000**1.12363
    assert npp.schuur(10.0, 1000.0) == pytest.approx(
        200 * min(warm, wet / np.exp(0.459532)), rel=1e-12
    )
    warm, wet = 2540 / (1 + np.exp(1.584 - 0.622)), 0.551 * 1000**1.055 / np.exp(0.306)
    assert npp.nceas(10.0, 1000.0) == pytest.approx(2 * min(warm, wet), rel=1e-12)
    assert npp.carbon_input(1400.0) == pytest.approx(6.65)


# carbon and radiocarbon


def year_of(pools, inputs, modifier, clay=20.0):
    """One year of one place: tracers carbon and 14C, with the decay of the column."""
    decay = jnp.array([1.0, np.exp(-1 / (12 * RADIOCARBON_MEAN_LIFE))])
    transfers = RothC().transfers(jnp.full(1, clay))
    loses = lost_share(RATES[:, None], jnp.full((12, 1), modifier))
    return twelve_months(pools, inputs, loses, transfers, decay)


def test_radiocarbon_without_turnover_decays_with_the_mean_life():
    pools = jnp.ones((2, 4, 1))
    for _ in range(30):
        pools, _ = year_of(pools, jnp.zeros((2, 12, 4, 1)), 0.0)
    np.testing.assert_allclose(pools[0], 1.0)
    np.testing.assert_allclose(pools[1], np.exp(-30 / 8267), rtol=1e-13)


@pytest.fixture(scope="module")
def steady():
    """Steady amounts of carbon and 14C under an atmosphere of 1, by the linear system."""
    inputs = jnp.zeros((2, 12, 4, 1)).at[:, :, 0].set(0.12).at[:, :, 1].set(0.08)
    nothing = jnp.zeros((2, 4, 1))
    offset, _ = year_of(nothing, inputs, 0.5)
    columns = [year_of(nothing.at[:, i].set(1.0), inputs * 0, 0.5)[0] for i in range(4)]
    matrix = np.stack([np.asarray(c) for c in columns])[:, :, :, 0]  # source, tracer, pool
    exact = np.stack(
        [np.linalg.solve(np.eye(4) - matrix[:, t].T, np.asarray(offset)[t, :, 0]) for t in (0, 1)]
    )
    return inputs, exact


def test_steady_pools_have_the_activity_of_the_linear_system(steady):
    inputs, exact = steady
    after, _ = year_of(jnp.asarray(exact)[:, :, None], inputs, 0.5)
    np.testing.assert_allclose(after[:, :, 0], exact, rtol=1e-12)


def test_slow_pools_are_older_than_fast_ones_in_a_steady_soil(steady):
    _, (carbon, radiocarbon) = steady
    activity = dict(zip(RothC.pools, radiocarbon / carbon, strict=True))
    assert 0.9999 < activity["DPM"] < 1
    assert activity["DPM"] > activity["RPM"] > activity["BIO"] > activity["HUM"]
    # HUM stays 1/(k m) and receives carbon that is not quite fresh
    assert activity["HUM"] == pytest.approx(1 / (1 + 1 / (0.02 * 0.5 * 8267)), abs=0.005)


def test_inert_carbon_keeps_its_amount_and_its_radiocarbon_decays():
    state = empty_state(1, jnp.ones(1), radiocarbon=True)
    modern = state.radiocarbon.at[-1].set(1.0)
    state = state.__class__(**{**vars(state), "radiocarbon": modern})
    soil = {
        "clay_percent": jnp.full(1, 20.0),
        "climate_modifier": jnp.ones((12, 1)),
        "litter_modifier": jnp.ones(12),
        "modifier_overall": jnp.ones(1),
        "depth_top": jnp.zeros(1),
        "thickness": jnp.full(1, 0.2),
        "plant_carbon": jnp.zeros((12, 4, 2)),
        "manure_carbon": jnp.zeros((12, 4, 2)),
        "atmosphere_14c": jnp.ones(()),
    }
    after = RothC().year(state, soil)
    np.testing.assert_array_equal(after.carbon[-1], [1.0])
    np.testing.assert_allclose(after.radiocarbon[-1], np.exp(-1 / 8267), rtol=1e-14)
