"""Dissolved organic carbon: it is made of what decomposes, sorbed below, and leaves the column."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.cases import load_case
from diffsoil.io import InputError
from diffsoil.output.simulation import simulate
from diffsoil.processes.carbon import ICBM, Carbon, Dissolved, RothC, carried
from diffsoil.state import empty_state
from tests import tiny_case

LAYERS = 8


def environment(**changes: object) -> dict[str, jnp.ndarray]:
    """What turnover needs, of a metre of wet loam in which carbon is modern."""
    top = jnp.arange(float(LAYERS)) / LAYERS
    plants = jnp.zeros((12, 3, LAYERS + 1)).at[:, :2, 0].set(0.1)
    plants = plants.at[:, :2, 1:].set(0.1 * jnp.exp(-4.0 * top))
    given = {
        "clay_percent": jnp.full(LAYERS, 20.0),
        "climate_modifier": jnp.full((12, LAYERS), 0.8),
        "litter_modifier": jnp.ones(12),
        "modifier_overall": jnp.full(LAYERS, 0.7),
        "depth_top": top,
        "thickness": jnp.full(LAYERS, 1.0 / LAYERS),
        "plant_carbon": plants,
        "manure_carbon": jnp.zeros((12, 3, LAYERS + 1)),
        "atmosphere_14c": jnp.ones(()),
        "percolation": jnp.linspace(40.0, 15.0, LAYERS)[None] * jnp.ones((12, 1)),
    }
    return given | {name: jnp.asarray(value) for name, value in changes.items()}


def start(model: Carbon, dated: bool = True):
    """Modern carbon in all pools."""
    pools = len(model.pools)
    state = empty_state(LAYERS, jnp.ones(LAYERS), radiocarbon=dated, active=pools)
    fading = jnp.exp(-3.0 * jnp.arange(float(LAYERS)) / LAYERS)
    carbon = fading[None] * jnp.arange(1.0, pools + 2)[:, None]
    litter = jnp.arange(1.0, pools + 1)
    state = dataclasses.replace(state, carbon=carbon, litter=litter)
    if not dated:
        return state
    return dataclasses.replace(state, radiocarbon=carbon, litter_radiocarbon=litter)


@partial(jax.jit, static_argnames="years")
def lived(model: Carbon, state, given, years: int = 1):
    """The state after a year of a slow step of some years."""
    _, found = model.slow(state, given, years)
    return model.year(state, given | found)


# Where it ends.


@jax.jit
def ends(percolation, length):
    """Of a column of layers of 5 cm."""
    return carried(percolation, jnp.full(percolation.shape, 0.05), length)


def test_it_fades_with_depth_as_its_length_says():
    found = np.asarray(ends(jnp.full(40, 200.0), 0.5))
    leaves = 1 - np.exp(-1)
    bottom = 0.05 * np.arange(1, 41)
    np.testing.assert_allclose(
        np.cumsum(found[0, :-1]), leaves * (1 - np.exp(-bottom / 0.5)), rtol=1e-12
    )
    np.testing.assert_allclose(found.sum(axis=1), leaves, rtol=1e-12)
    # nothing goes up, or stays; of the last layer all leaves below
    np.testing.assert_array_equal(np.tril(found[1:, :-1]), 0.0)
    assert found[-1, -1] == pytest.approx(leaves, rel=1e-12)


def test_more_water_carries_more_and_farther():
    slow, fast = (np.asarray(ends(jnp.full(40, q), 0.8)) for q in (50.0, 500.0))
    assert np.all(fast.sum(axis=1) > slow.sum(axis=1))
    assert fast[0, -1] / fast[0].sum() > 10 * slow[0, -1] / slow[0].sum()


def test_it_does_not_pass_a_layer_without_percolation():
    found = np.asarray(ends(jnp.full(40, 300.0).at[6].set(0.0), 0.8))
    assert found[:7, 7:].max() < 1e-20
    assert found[7].max() < 1e-5  # which dissolves nothing itself
    assert found[8, -1] > 0.1
    assert np.asarray(ends(jnp.zeros(40), 0.8)).max() < 1e-5


# A year.


def test_no_carbon_is_made_or_lost_and_what_is_modern_stays_so():
    model, given = ICBM(dissolved=Dissolved()), environment()
    before = start(model)
    alone = lived(ICBM(), before, given)
    for years in (1, 10):
        after = lived(model, before, given, years)
        went = after.respired + after.leached
        assert float(after.stock() + went - before.stock() - after.added) == pytest.approx(
            0, abs=1e-12
        )
        assert 0 < float(after.leached) < 0.05 * float(after.respired)
        gain = np.asarray(after.carbon - alone.carbon)
        humified = model.pools.index(model.entered["humified"])
        assert gain[humified, 1:].min() > 0
        np.testing.assert_allclose(np.delete(gain, humified, axis=0), 0, atol=1e-12)
        # but for what decays in the year
        np.testing.assert_allclose(after.radiocarbon, after.carbon, rtol=2e-4)
        assert float(jnp.max(after.radiocarbon - after.carbon)) <= 0


def test_a_composed_year_is_twelve_months():
    model, given = RothC(dissolved=Dissolved()), environment()
    one, ten = (lived(model, start(model), given, years) for years in (1, 10))
    np.testing.assert_allclose(ten.carbon, one.carbon, rtol=1e-13)
    assert float(ten.leached) == pytest.approx(float(one.leached), rel=1e-12)
    # but for what decays in the year before it is dissolved
    np.testing.assert_allclose(ten.radiocarbon, one.radiocarbon, rtol=1e-5)


def test_a_share_of_nothing_is_the_model_alone():
    nothing = Dissolved(dissolved_share=jnp.zeros(()))
    given = environment()
    for years in (1, 10):
        both = [
            lived(model, start(model), given, years)
            for model in (RothC(), RothC(dissolved=nothing))
        ]
        for alone, found in zip(*map(jax.tree.leaves, both), strict=True):
            np.testing.assert_allclose(found, alone, rtol=1e-14)


def test_old_carbon_dissolves_as_old_carbon():
    model, given = RothC(dissolved=Dissolved()), environment(atmosphere_14c=0.5)
    half = start(model)
    half = dataclasses.replace(
        half,
        radiocarbon=0.5 * half.radiocarbon,
        litter_radiocarbon=0.5 * half.litter_radiocarbon,
    )
    after = lived(model, half, given, 10)
    np.testing.assert_allclose(after.radiocarbon, 0.5 * after.carbon, rtol=2e-4)


def test_a_year_needs_no_products_of_matrices_and_no_loops():
    model, given, state = RothC(dissolved=Dissolved()), environment(), start(RothC())
    _, found = jax.eval_shape(lambda: model.slow(state, given, 10))
    year = jax.jit(lambda state, given: model.year(state, given))
    text = year.lower(state, given | found).compile().as_text()
    for operation in ("dot", "scatter", "sort", "custom-call", "while"):
        assert f" {operation}(" not in text


# Derivatives.


@jax.jit
def below(share, length, percolation):
    """What leaves and what is sorbed, each layer with a weight of its own."""
    model = RothC(dissolved=Dissolved(dissolved_share=share, sorption_length=length))
    given = environment(percolation=percolation)
    state = start(model)
    _, found = model.slow(state, given, 10)
    after = model.year(state, given | found)
    weights = jnp.arange(1.0, LAYERS + 1)
    return (
        100.0 * after.leached + jnp.sum(weights[None] * after.carbon) + jnp.sum(after.radiocarbon)
    )


slope_of = jax.jit(jax.grad(below, argnums=(0, 1, 2)))


def test_derivatives_are_those_of_differences():
    at = (jnp.asarray(0.05), jnp.asarray(0.4), environment()["percolation"])
    slopes = slope_of(*at)
    for i, h in enumerate((1e-4, 1e-4, 1e-3)):
        there, back = (
            below(*(x + sign * h if j == i else x for j, x in enumerate(at))) for sign in (1, -1)
        )
        slope = float(jnp.sum(slopes[i]))
        assert slope == pytest.approx(float(there - back) / (2 * h), rel=1e-5)
        assert slope != 0.0


@pytest.mark.parametrize("percolation", [0.0, 1e-9, 1e5])
def test_value_and_gradient_are_finite_in_any_water(percolation):
    at = (jnp.asarray(0.3), jnp.asarray(0.05), jnp.full((12, LAYERS), percolation))
    assert np.isfinite(float(below(*at)))
    assert all(np.isfinite(x).all() for x in slope_of(*at))


# A case.


CHOSEN = ("format = 1", 'format = 1\ndissolved_carbon = "percolation"')


@pytest.mark.slow  # two phases to compile
def test_a_case_of_it_closes(tmp_path):
    """With litter, plough, manure, mixing and 14C, in slow steps of ten years and of one."""
    path = tiny_case.write(tmp_path, case=[CHOSEN])
    path.write_text(tiny_case.with_one_phase(path.read_text()))
    run = simulate(load_case(path))
    assert run.balances["carbon"] < 1e-12
    leached, taken_in = run.values["carbon_leached"], run.values["carbon_input"]
    assert np.all(leached[:, -1] > 0)
    assert np.all(leached[:, -1] < 0.05 * taken_in[:, -1])


def test_it_is_of_linear_pools_only(tmp_path):
    both = (CHOSEN[0], CHOSEN[1] + '\ncarbon = "millennial2"')
    path = tiny_case.write(tmp_path, case=[both, ("carbon.k_hum", "carbon.rate_bd")])
    with pytest.raises(InputError, match="dissolved_carbon: needs linear pools"):
        load_case(path).column()
