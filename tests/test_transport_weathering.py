"""Weathering limited by transport: what percolation carries away before it is in equilibrium."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.cases import load_case
from diffsoil.output.simulation import simulate
from diffsoil.processes.weathering import (
    PRIMARY,
    TransportWeathering,
    Weathering,
    undersaturation,
)
from diffsoil.state import MINERALS
from tests import whole_soil_tools as tools
from tests.whole_soil_tools import LAYERS, THICKNESS

SHARES = {
    "clay": {"kaolinite": 0.5, "illite": 0.5},
    "silt": {"quartz": 0.6, "k_feldspar": 0.2, "albite": 0.2},
    "sand": {"quartz": 0.8, "anorthite": 0.2},
}
YEARS = 10
OF_ROCK = [mineral in PRIMARY for mineral in MINERALS]


def environment(percolation: float = 20.0) -> dict[str, jnp.ndarray]:
    """What weathering needs; mm of percolation in each month."""
    return {
        "soil_temperature": jnp.full((12, LAYERS), 10.0),
        "water_content": jnp.full((12, LAYERS), 0.3),
        "percolation": jnp.full((12, LAYERS), percolation),
        "porosity": jnp.full(LAYERS, 0.5),
        "thickness": jnp.full(LAYERS, THICKNESS),
        "mineral_mass": jnp.full(LAYERS, 1220.0),
    }


@pytest.fixture(scope="module")
def soil():
    """Silt loam without lime."""
    return tools.soil_of(16.0, 67.0, SHARES, bases=(50.0, 10.0, 4.0, 1.0), ph=5.5)[0]


@jax.jit
def dissolved(process, state, given):
    """The state after a slow step."""
    return process.slow(state, given, YEARS)[0]


def share_lost(process, state, given) -> np.ndarray:
    """Share of each mineral that a slow step dissolves of its silt and sand, by layer."""
    before = np.asarray(state.ground.minerals[:, 1:].sum(axis=1))
    after = np.asarray(dissolved(process, state, given).ground.minerals[:, 1:].sum(axis=1))
    return (before - after)[OF_ROCK] / np.maximum(before, 1e-6)[OF_ROCK]


def with_values(process, **values: float):
    return dataclasses.replace(process, **{k: jnp.asarray(v) for k, v in values.items()})


def test_water_comes_to_equilibrium_as_its_equation_says():
    """dc/dz = s (1 - c / c_eq) / q: c = c_eq (1 - exp(-s z / (q c_eq))), in thin layers."""
    layers, water, equilibrium = 2000, 3.0, 0.4
    supply = jnp.full(layers, 2.0 / layers)
    factor = undersaturation(supply, jnp.full(layers, water), jnp.asarray(equilibrium))
    depth = np.arange(1, layers + 1) / layers
    np.testing.assert_allclose(factor, np.exp(-2.0 * depth / (water * equilibrium)), rtol=2e-3)


def test_water_leaves_a_layer_at_the_concentration_that_slows_it():
    supply, water = jnp.asarray([0.3, 0.0, 2.0, 0.5]), jnp.asarray([2.0, 1.5, 1.5, 1.2])
    equilibrium = 0.4
    factor = np.asarray(undersaturation(supply, water, jnp.asarray(equilibrium)))
    flux = np.cumsum(np.asarray(supply) * factor)
    np.testing.assert_allclose(factor[:3], 1 - flux[:3] / np.asarray(water * equilibrium)[:3])
    # roots have taken water, so that it is beyond equilibrium
    assert flux[2] > 1.2 * equilibrium
    assert factor[3] == 0.0


def test_nothing_dissolves_without_water_and_all_in_much():
    supply = jnp.asarray([0.3, 0.0, 2.0])
    none = undersaturation(supply, jnp.zeros(3), jnp.asarray(0.4))
    np.testing.assert_array_equal(none, 0.0)
    much = undersaturation(supply, jnp.full(3, 1e12), jnp.asarray(0.4))
    np.testing.assert_allclose(much, 1.0, rtol=1e-10)


def test_no_element_is_made_or_lost_and_less_dissolves_below(soil):
    given = environment()
    process = TransportWeathering(field_factor=jnp.asarray(0.1))
    assert tools.balance(soil, dissolved(process, soil, given)).max() < 1e-14
    found = share_lost(process, soil, given)
    by_rate = share_lost(Weathering(field_factor=jnp.asarray(0.1)), soil, given)
    there = by_rate[:, 0] > 0
    slowed = found[there] / by_rate[there]
    # all silicates of rocks alike
    np.testing.assert_allclose(slowed, np.broadcast_to(slowed[:1], slowed.shape), rtol=1e-8)
    assert slowed[0, 0] > 0.5
    assert slowed[0, -1] < 0.5 * slowed[0, 0]
    assert np.all(np.diff(slowed[0]) < 0)


def test_far_from_equilibrium_it_is_weathering_by_its_rates(soil):
    far = with_values(TransportWeathering(), equilibrium_silicon=1e12)
    both = [dissolved(process, soil, environment()) for process in (Weathering(), far)]
    for one, other in zip(*map(jax.tree.leaves, both), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9)


def test_what_soil_forms_dissolves_as_before(soil):
    given = environment(0.0)
    before = soil.ground.minerals
    by_rate, found = (
        dissolved(process, soil, given).ground.minerals
        for process in (Weathering(), TransportWeathering())
    )
    rock = jnp.asarray(OF_ROCK)
    np.testing.assert_array_equal(found[rock], before[rock])
    quartz = MINERALS.index("quartz")
    np.testing.assert_array_equal(found[quartz], by_rate[quartz])
    assert float((before - found)[quartz].sum()) > 0


@jax.jit
def weighed(factor, equilibrium, percolation, state):
    """Minerals left, each layer with a weight of its own."""
    process = TransportWeathering(field_factor=factor, equilibrium_silicon=equilibrium)
    given = environment() | {"percolation": percolation}
    after = process.slow(state, given, YEARS)[0].ground
    weights = jnp.arange(1.0, LAYERS + 1)
    change = after.minerals - state.ground.minerals
    return jnp.sum(change * weights[None, None]) + jnp.sum(after.labile * weights[None])


slopes_of = jax.jit(jax.grad(weighed, argnums=(0, 1, 2)))


def test_derivatives_are_those_of_differences(soil):
    at = (jnp.asarray(0.1), jnp.asarray(0.375), environment()["percolation"])
    slopes = slopes_of(*at, soil)
    for i, h in enumerate((1e-4, 1e-4, 1e-2)):
        there, back = (
            weighed(*(x + sign * h if j == i else x for j, x in enumerate(at)), soil)
            for sign in (1, -1)
        )
        slope = float(jnp.sum(slopes[i]))
        assert slope == pytest.approx(float(there - back) / (2 * h), rel=1e-5)
        assert slope != 0.0


@pytest.mark.parametrize("percolation", [0.0, 1e-9, 1e5])
@pytest.mark.parametrize("empty", [False, True])
def test_value_and_gradient_are_finite_in_any_water(percolation, empty, soil):
    minerals = soil.ground.minerals * (0.0 if empty else 1.0)
    state = dataclasses.replace(soil, ground=dataclasses.replace(soil.ground, minerals=minerals))
    at = (jnp.asarray(1.0), jnp.asarray(0.02), jnp.full((12, LAYERS), percolation))
    assert np.isfinite(float(weighed(*at, state)))
    assert all(np.isfinite(x).all() for x in slopes_of(*at, state))


@pytest.mark.slow  # the whole column to compile, twice
def test_the_forest_gets_a_front_of_weathering():
    """Clay below the horizon that gains it, and feldspar, come back to what they were."""
    case = load_case("loess_wet_forest")
    clay, feldspar = {}, {}
    for weathering in ("kinetic", "transport"):
        values = case.file.set | {"weathering.field_factor": 0.03}
        file = case.file.model_copy(update={"weathering": weathering, "set": values})
        run = simulate(dataclasses.replace(case, file=file))
        assert max(run.balances.values()) < 1e-12
        thickness = run.values["thickness"][0, -1]
        middle = np.cumsum(thickness) - 0.5 * thickness
        at = [int(np.argmin(np.abs(middle - depth))) for depth in (0.5, 1.7)]
        clay[weathering] = run.values["clay"][0, -1][at]
        rows = [MINERALS.index(name) for name in ("k_feldspar", "albite")]
        feldspar[weathering] = run.values["mineral_percent"][0, -1][rows].sum(axis=0)[at]
    assert clay["transport"][0] - clay["transport"][1] > 5.0
    assert abs(clay["kinetic"][0] - clay["kinetic"][1]) < 2.0
    assert feldspar["transport"][1] > feldspar["transport"][0] + 2.0
