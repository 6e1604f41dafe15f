"""Plants and bases: where uptake takes them, where litter returns them, and what comes of it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.cases import load_case
from diffsoil.cases.read import read_case
from diffsoil.output.simulation import simulate
from diffsoil.processes.biocycling import Biocycling, SolutionBiocycling, solution_strength
from diffsoil.processes.vegetation import root_distribution
from diffsoil.state import CATIONS, SOLUTES
from tests import whole_soil_tools as tools

LAYERS, YEARS = tools.LAYERS, 10
SILICON = SOLUTES.index("silicon")
TOP = tools.THICKNESS * jnp.arange(LAYERS, dtype=float)
THICKNESS = jnp.full(LAYERS, tools.THICKNESS)
ROOTS = root_distribution(TOP, THICKNESS, jnp.asarray(0.95))


def environment(**changes: object) -> dict[str, jax.Array]:
    """Plants that return 6 Mg C/ha a year, a tenth of it as leaves."""
    place = jnp.concatenate([jnp.array([0.1]), 0.9 * ROOTS / jnp.sum(ROOTS)])
    given = {
        "plant_carbon": 6.0 / 36 * jnp.ones((12, 3, 1)) * place[None, None],
        "litter_cations": tools.solutes(calcium=0.3, magnesium=0.1, potassium=0.2, silicon=0.4),
        "harvest_share": jnp.asarray(0.0),
        "root_beta": jnp.asarray(0.95),
        "uptake_shallowness_factor": jnp.asarray(1.0),
        "thickness": THICKNESS,
        "depth_top": TOP,
        "cec": jnp.full(LAYERS, 90.0),
        "mineral_mass": jnp.full(LAYERS, 1220.0),
        "surface_share": jnp.eye(LAYERS)[0],
        "soil_temperature": jnp.full((12, LAYERS), 10.0),
        "pco2": jnp.full(LAYERS, 5e-3),
    }
    return given | {name: jnp.asarray(value) for name, value in changes.items()}


@pytest.fixture(scope="module")
def soil():
    """Loess that is acid and poor above 0.4 m, full of bases and limy below."""
    state, _ = tools.soil_of(16.0, 67.0, bases=(70.0, 10.0, 6.0, 1.0), ph=7.6)
    ground = state.ground
    labile = ground.labile.at[SILICON].set(0.5)
    labile = labile.at[: len(CATIONS), :4].multiply(0.3)
    ground = dataclasses.replace(ground, labile=labile, ph=ground.ph.at[:4].set(5.0))
    return dataclasses.replace(state, ground=ground)


@jax.jit
def acted(process, state, environment):
    return process.slow(state, environment, YEARS)[0]


def risen(process, state, **changes: object) -> np.ndarray:
    """What each layer gains of each solute, mol/m2."""
    after = acted(process, state, environment(**changes))
    return np.asarray(after.ground.labile - state.ground.labile)


KINDS = (Biocycling, SolutionBiocycling)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harvest", [0.0, 0.5])
def test_what_is_taken_returns_or_is_harvested(kind, harvest, soil):
    after = acted(kind(), soil, environment(harvest_share=harvest))
    assert tools.balance(soil, after).max() < 1e-14
    exported = np.asarray(after.ground.lost - soil.ground.lost)[: len(SOLUTES)]
    assert (exported[[0, 1, 2, SILICON]] > 0).all() == (harvest > 0)
    assert float(after.ground.labile.min()) >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_without_plants_nothing_moves(kind, soil):
    bare = jnp.zeros((12, 3, LAYERS + 1))
    np.testing.assert_array_equal(risen(kind(), soil, plant_carbon=bare), 0)


def test_a_limy_subsoil_feeds_an_acid_topsoil_by_its_solution_alone(soil):
    # where leaves are few, roots carry bases down that come by base saturation
    by_saturation, by_solution = (risen(kind(), soil)[:3, :4].sum() for kind in KINDS)
    assert by_saturation < 0 < by_solution


def test_leaves_return_their_share_to_the_surface(soil):
    # bases of the uppermost layer cannot be taken, so that it gains what returns
    empty = soil.ground.labile.at[: len(CATIONS), 0].set(0.0)
    state = dataclasses.replace(soil, ground=dataclasses.replace(soil.ground, labile=empty))
    gains = {}
    for share in (0.0, 0.7, 1.0):
        process = SolutionBiocycling(leaf_bases=jnp.asarray(share))
        gains[share] = risen(process, state)[0, 0]
    part = float(ROOTS[0] / jnp.sum(ROOTS))
    assert gains[0.0] == pytest.approx(part * gains[1.0], rel=1e-12)
    assert gains[0.7] == pytest.approx((0.7 + 0.3 * part) * gains[1.0], rel=1e-12)


def test_silicon_is_taken_up_whatever_the_ph(soil):
    other = dataclasses.replace(soil.ground, ph=jnp.full(LAYERS, 7.0))
    both = [
        risen(SolutionBiocycling(), state)[SILICON]
        for state in (soil, dataclasses.replace(soil, ground=other))
    ]
    np.testing.assert_array_equal(*both)


def test_a_vegetation_may_take_up_from_deeper_than_others(soil):
    half = risen(Biocycling(), soil, uptake_shallowness_factor=0.5)
    same = risen(Biocycling(shallowness=jnp.asarray(1.0)), soil)
    np.testing.assert_array_equal(half, same)
    assert half[0, :4].sum() > risen(Biocycling(), soil)[0, :4].sum()


def test_a_solution_holds_bases_as_its_bicarbonate_and_anions():
    # K1 is 10^-6.464 and KH 10^-1.270 at 10 C (Plummer & Busenberg 1982)
    ph = jnp.array([4.0, 6.0, 7.0])
    found = solution_strength(ph, jnp.full(3, 5e-3), jnp.full(3, 10.0), jnp.asarray(0.1)) - 0.1
    np.testing.assert_allclose(found[2] / found, [1e3, 10, 1], rtol=1e-9)
    assert found[2] == pytest.approx(1000 * 10 ** (-6.464 - 1.270) * 5e-3 / 1e-7, rel=0.01)


FREE = ("factor", "shallowness", "leaf_bases", "anions")


@jax.jit
def lifted(values, state, environment):
    """Bases lifted, each layer with a weight of its own."""
    process = SolutionBiocycling(**dict(zip(FREE, values, strict=True)))
    after = process.slow(state, environment, YEARS)[0].ground.labile
    return jnp.sum(after * jnp.exp(-3.0 * TOP)[None])


slope = jax.jit(jax.grad(lifted, argnums=(0, 1), allow_int=True))


def test_derivatives_are_those_of_differences(soil):
    given, values = environment(), jnp.array([1.0, 2.0, 0.7, 0.1])
    by_value, by_state = slope(values, soil, given)
    h = 1e-5

    def differ(there, back):
        return (lifted(*there, given) - lifted(*back, given)) / (2 * h)

    for i in range(len(FREE)):
        step = h * jnp.eye(len(FREE))[i]
        found = differ((values + step, soil), (values - step, soil))
        assert float(by_value[i]) == pytest.approx(float(found), rel=1e-6)
        assert float(found) != 0

    def shifted(d):
        ground = dataclasses.replace(soil.ground, ph=soil.ground.ph + d)
        return (values, dataclasses.replace(soil, ground=ground))

    by_ph = float(jnp.sum(by_state.ground.ph))
    assert by_ph == pytest.approx(float(differ(shifted(h), shifted(-h))), rel=1e-5)


@pytest.mark.parametrize("what", ["no bases", "one base", "no plants", "nothing there"])
def test_value_and_gradient_are_finite_where_there_is_nothing(what, soil):
    labile, given = soil.ground.labile, environment()
    if what == "no plants":
        given["plant_carbon"] = jnp.zeros((12, 3, LAYERS + 1))
    elif what == "one base":
        labile = labile.at[1:].set(0.0)
    else:
        labile = jnp.zeros_like(labile)
    if what == "nothing there":
        given["mineral_mass"] = jnp.full(LAYERS, 1e-3)
    state = dataclasses.replace(soil, ground=dataclasses.replace(soil.ground, labile=labile))
    gradient = slope(jnp.array([1.0, 2.0, 0.7, 0.1]), state, given)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    assert np.isfinite(float(lifted(jnp.array([1.0, 2.0, 0.7, 0.1]), state, given)))


BY_SOLUTION = ('column = "whole_soil"', 'column = "whole_soil"\nbiocycling = "solution"')
DUST = (
    "[deposition]",
    "[deposition]\n"
    'dust_g_m2_a = 10\ndust_mineralogy = "loess"\n'
    "dust_clay_percent = 20\ndust_silt_percent = 70\ndust_calcite_percent = 10",
)


def topsoil(name: str, change: tuple[str, str]) -> tuple[float, float]:
    """Base saturation (%) and pH of the upper 40 cm of a changed case after 12 000 years."""
    case = load_case(name)
    run = simulate(read_case(case.path, case.text.replace(*change)))
    assert max(run.balances.values()) < 1e-12
    thickness = run.values["thickness"][0, -1]
    bottom = np.cumsum(thickness)
    weight = np.clip(0.4 - (bottom - thickness), 0, thickness)
    bases, ph = (
        float(np.average(run.values[name][0, -1], weights=weight))
        for name in ("base_saturation", "ph")
    )
    return bases, ph


@pytest.mark.slow  # two whole columns to compile
def test_the_steppe_keeps_its_bases_and_the_forest_does_not():
    bases, ph = topsoil("loess_dry_steppe", BY_SOLUTION)
    assert bases > 90
    assert 6.3 < ph < 7.3
    bases, ph = topsoil("loess_wet_forest", BY_SOLUTION)
    assert bases < 50
    assert 4.5 < ph < 5.5


@pytest.mark.slow  # the whole column to compile
def test_dust_brings_lime_to_a_steppe():
    bases, ph = topsoil("loess_dry_steppe", DUST)
    assert bases > 75
    assert ph > 5.9
