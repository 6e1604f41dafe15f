"""Processes of any strength, stand-ins, and columns without processes."""

from __future__ import annotations

import functools
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil import strength
from diffsoil.cases import load_case, read_case
from diffsoil.cases.arrays import build, check
from diffsoil.column import needed_by, removable, standard_column, whole_soil_column
from diffsoil.io import InputError
from diffsoil.output.simulation import simulate
from diffsoil.processes.protection import SoftMinimum
from diffsoil.state import empty_state
from diffsoil.time import Record, advance
from tests import tiny_case
from tests import whole_soil_tools as tools
from tests.tiny_study import tiny_study

SHORT = """
[[history]]
until = 60
step_years = 10
climate = "dry"
land_use = "steppe"
erosion_mm_a = 0

[[history]]
until = 100
step_years = 10
climate = "dry"
land_use = "intensive"
erosion_mm_a = 5

[[history.amendments]]
material = "calcite"
mol_m2 = 0.28
every_years = 1
"""
"""Steppe, then a farm with lime and erosion."""

RECORD = Record(yearly=("pools", "litter_stock", "soc_stock_0_25"))


@functools.cache
def farm():
    """A century of a shallow loess in which every process does something."""
    shipped = load_case("loess_dry_agriculture")
    text = shipped.text.replace("layers = 40", "layers = 8").split("[[history]]")[0]
    text = text.replace('"water.bypass" = 0.03', '"water.bypass" = 0.2')
    manured = "plough_depth_m = 0.20\nmanure_carbon_t_ha = 1.5"
    text = text.replace("plough_depth_m = 0.20", manured)
    return read_case(shipped.path, text + SHORT)


@functools.cache
def full():
    return farm().column()


@functools.cache
def phase_and_start():
    """Its one phase, and a soil that has lost its calcite and gathered carbon."""
    plan = build(farm())
    phase = jax.tree.map(lambda x: x[0], plan.history[0])
    ground = jax.tree.map(lambda x: x[0], plan.ground)
    state = empty_state(8, jnp.zeros(8), ground=ground)
    carbon = jnp.outer(jnp.array([0.1, 1.0, 0.2, 5.0, 0.5]), jnp.linspace(1.5, 0.3, 8))
    litter = jnp.array([0.1, 1.0, 0.1, 0.3])
    where = lambda s: (s.carbon, s.litter, s.ground.calcite, s.ground.labile)  # noqa: E731
    labile = ground.labile * jnp.array([0.6, 0.6, 0.6, 0.6, 1.0, 1.0])[:, None]
    calcite = ground.calcite.at[:5].set(0.0)
    return phase, eqx.tree_at(where, state, (carbon, litter, calcite, labile))


@jax.jit
def _live(column, phase, state):
    return advance(column, phase, state, RECORD)


@jax.jit
def _live_at(strengths, column, phase, state):
    return advance(strength.apply(column, strengths), phase, state, RECORD)


def live(column):
    return _live(column, *phase_and_start())


def live_at(strengths):
    """All strengths traced: one program for whatever they are."""
    return _live_at(strengths, full(), *phase_and_start())


def ones(value=1.0):
    # a number alone has a weak type, for which all would be compiled anew
    return {name: value * jnp.ones(()) for name in strength.candidates(full())}


def assert_same(found, expected, rtol):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        scale = float(jnp.max(jnp.abs(other)))
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-3 * rtol * scale)


# strengths


@pytest.mark.slow
def test_at_full_strength_the_column_is_as_it_was():
    assert_same(live_at(ones()), live(full()), 1e-13)


@pytest.mark.parametrize(
    "names",
    [
        ("exchange", "erosion", "soil_gas", "retention", "rate_modifiers", "migration"),
        ("weathering", "heat", "fauna", "cec", "oxides", "plough_zone", "protection.aggregation"),
        strength.candidates(whole_soil_column()),
    ],
)
def test_at_strength_zero_the_column_is_without_the_processes(names):
    off = {name: jnp.zeros(()) for name in names}
    assert_same(live_at(ones() | off), live(strength.without(full(), names)), 1e-12)


def test_at_strength_zero_every_process_matters_in_a_column_where_all_act():
    whole = np.asarray(live_at(ones())[0].ground.minerals), np.asarray(live_at(ones())[0].carbon)
    idle = set()
    for name in strength.candidates(full()):
        state, _ = live_at(ones() | {name: jnp.zeros(())})
        change = abs(np.asarray(state.carbon) - whole[1]).max()
        if max(change, abs(np.asarray(state.ground.minerals) - whole[0]).max()) < 1e-12:
            idle.add(name)
    # the strongest mechanism limits: the others may do nothing
    assert idle <= {"protection.clay", "protection.mooh", "protection.pores", "oxides"}


def test_half_strength_conserves_carbon_elements_and_solids_and_stays_positive():
    for value in (0.3, 0.7):
        start = phase_and_start()[1]
        end, _ = live_at(ones(value))
        assert tools.balance(start, end).max() < 1e-12
        assert tools.carbon_error(start, end) < 1e-12
        for amount in (end.carbon, end.litter, end.ground.minerals, end.ground.calcite):
            assert float(amount.min()) >= -1e-12


def test_outputs_follow_a_strength_smoothly_from_one_end_to_the_other():
    # derivatives by a strength: test_sensitivity compares one with differences, too
    low, high = manured(jnp.zeros(())), manured(jnp.ones(()))
    assert high > low + 0.5
    np.testing.assert_allclose(rise_by_differences(), high - low, rtol=0.05)


@pytest.mark.slow
def test_outputs_have_the_derivative_of_a_strength():
    phase_and_start(), full()  # made before anything is traced
    _, rise = jax.jvp(manured, (0.5 * jnp.ones(()),), (jnp.ones(()),))
    np.testing.assert_allclose(rise, rise_by_differences(), rtol=1e-6)


def manured(strength_of_manure):
    _, found = live_at(ones() | {"manure": strength_of_manure})
    return found["soc_stock_0_25"][-1]


def rise_by_differences(step=1e-5):
    half = 0.5 * jnp.ones(())
    return (manured(half + step) - manured(half - step)) / (2 * step)


def test_a_soft_minimum_knows_mechanisms_of_strength_zero_from_those_removed():
    minimum = SoftMinimum(width=0.02)
    x = jnp.array([0.82, 0.9, 0.85])[:, None]
    everything = minimum(x, jnp.ones(3))
    np.testing.assert_allclose(everything, minimum(x), rtol=1e-14)
    two = minimum(x.at[1].set(1.0), jnp.array([1.0, 0.0, 1.0]))
    np.testing.assert_allclose(two, minimum(x[jnp.array([0, 2])]), rtol=1e-14)
    np.testing.assert_allclose(minimum(jnp.ones((3, 1)), jnp.zeros(3)), 1.0, rtol=1e-14)


def test_an_unknown_strength_is_an_error():
    with pytest.raises(KeyError, match="water"):
        strength.apply(full(), {"water": 0.5})
    with pytest.raises(KeyError, match=r"protection\.roots"):
        strength.without(full(), ["protection.roots"])


def test_parameters_keep_their_names_in_a_column_with_strengths_of_mechanisms():
    blended = strength.apply(full(), {"protection.clay": 0.5})
    assert blended.parameters().keys() == full().parameters().keys()


# what can be removed


def test_a_process_that_cannot_be_removed_says_what_needs_it():
    column = whole_soil_column()
    kept = {p.name for p in column.processes} - set(removable(column))
    assert kept == {"texture", "geometry", "burial", "water", "vegetation", "carbon"}
    assert "'vegetation' needs 'thickness'" in needed_by(column, "geometry") or "more" in needed_by(
        column, "geometry"
    )
    assert needed_by(column, "carbon") == "all results are about its carbon"
    assert needed_by(column, "heat") == ""


def test_a_stand_in_provides_what_others_need_and_has_no_parameter_of_the_process():
    for column in (whole_soil_column(), standard_column()):
        for name in removable(column):
            bare = column.without(name)
            left = {full for full in bare.parameters() if full.startswith(f"{name}.")}
            assert not left & column.parameters().keys()


# cases


def edited(case, *changes):
    text = case.text
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return read_case(case.path, text)


def test_a_case_without_processes_runs_and_closes_its_balances():
    names = list(removable(farm().column()))
    bare = edited(farm(), ('column = "whole_soil"', f'column = "whole_soil"\nwithout = {names}'))
    assert len(bare.column().parameters()) < 0.5 * len(full().parameters())
    for run in (simulate(bare), simulate(edited(farm(), WITHOUT_EXCHANGE))):
        assert set(run.balances) == {"carbon", "water", "calcium", "solids", "elements"}
        assert max(run.balances.values()) < 1e-10


WITHOUT_EXCHANGE = (
    'column = "whole_soil"',
    'column = "whole_soil"\nwithout = ["exchange"]',
)


def test_a_case_without_a_process_is_the_same_case_with_a_column_without_it():
    # such a column equals its strength zero, see above
    bare = edited(farm(), WITHOUT_EXCHANGE)
    pairs = [
        (bare.column(), strength.without(full(), ["exchange"])),
        (build(bare), build(farm())),
    ]
    for found, expected in pairs:
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_case_of_a_prescribed_soil_can_be_without_processes(tmp_path: Path):
    path = tiny_case.write(
        tmp_path, case=[("start_year", 'without = ["heat", "pores"]\nstart_year')]
    )
    path.write_text(tiny_case.with_one_phase(path.read_text()))
    case = load_case(path)
    check(build(case), case.column(), case)
    balances = simulate(case).balances
    assert balances["carbon"] < 1e-10
    assert balances["water"] < 1e-10


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('without = ["migraton"]', "without: no process 'migraton', did you mean 'migration'"),
        ('without = ["water"]', "without: 'water' cannot be removed: 'soil_gas' needs 'water_con"),
        ('without = ["carbon"]', "without: 'carbon' cannot be removed: all results"),
        ('without = ["protection.clay"]', "'protection.clay' is taken out of the list protection"),
        ('without = "heat"', "without: Input should be a valid list"),
    ],
)
def test_a_wrong_list_of_processes_is_one_line(line, message):
    with pytest.raises(InputError, match=message) as error:
        edited(farm(), ("[notes]", f"{line}\n\n[notes]"))
    assert "\n" not in str(error.value)


def test_a_parameter_of_a_removed_process_cannot_be_set():
    study = tiny_study().base
    assert "[set]" in study.text
    with pytest.raises(InputError, match=r"set: heat.offset belongs to 'heat', which the case is"):
        edited(
            study,
            ("[set]", '[set]\n"heat.offset" = 0.5'),
            ('column = "whole_soil"', 'column = "whole_soil"\nwithout = ["heat"]'),
        )
