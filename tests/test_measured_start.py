"""A start from a measured stock: pools in balance, the input that keeps it, derivatives."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.balance import Balance
from diffsoil.cases import load_case
from diffsoil.cases.arrays import balance, build, initial_state, prepare_plan
from diffsoil.cases.keeping import keeping
from diffsoil.cases.measured import stock_of, why_unmet
from diffsoil.cli import main
from diffsoil.io import InputError
from diffsoil.output.simulation import simulate
from tests import tiny_case

FIRST, LAST = 0, 299  # years of the history, 1600 to 1899


def write(folder, measured="", key='initial = "measured"', **changes):
    """The tiny case of one phase with a measured start, and more keys of it."""
    changes["case"] = [
        ('minimum = "hard"', f'minimum = "hard"\n{key}'),
        ("[grid]", f"[measured]\n{measured}\n[grid]"),
        *changes.get("case", []),
    ]
    path = tiny_case.write(folder, **changes)
    path.write_text(tiny_case.with_one_phase(path.read_text()))
    return path


def topsoil(trajectory):
    """Stock to 25 cm of the control at the field, and of the hill, by year."""
    stocks = trajectory.values["soc_stock_0_25"]
    members = trajectory.members
    return {s: stocks[members.index(m)] for s, m in (("field", "control"), ("hill", "cleared"))}


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    case = load_case(write(tmp_path_factory.mktemp("start"), "lower_cm = 25"))
    return case, simulate(case)


def test_simulated_stock_is_the_measured_one(started):
    case, trajectory = started
    for site, stocks in topsoil(trajectory).items():
        wanted = stock_of(case.file, site)
        assert wanted > 30
        assert stocks[FIRST] == pytest.approx(wanted, rel=1e-8)
    # the profile of the hill: 1.5 % of 1.40 g/cm3 in 25 cm
    assert stock_of(case.file, "hill") == pytest.approx(0.015 * 1.40 * 2500)


def test_balance_lasts_through_the_first_phase(started):
    _, trajectory = started
    stocks = topsoil(trajectory)
    # without inert carbon nothing moves; the inert carbon of the field is mixed by fauna
    assert stocks["hill"][LAST] == pytest.approx(stocks["hill"][FIRST], rel=1e-8)
    assert stocks["field"][LAST] == pytest.approx(stocks["field"][FIRST], rel=0.02)
    assert trajectory.balances["carbon"] < 1e-10


@pytest.mark.slow
def test_history_of_the_input_found_ends_with_the_measured_stock(started, tmp_path):
    """The balance is where ages of the same input lead, in carbon and in 14C."""
    case, _ = started
    table = keeping(case).set_index("of")
    needed = float(table.loc["hill", "needed"])
    path = tiny_case.write(
        tmp_path,
        case=[
            ("start_year = 1600", "start_year = -40000"),
            ('npp = "miami"\nharvest_share = 0.4', f"plant_carbon_t_ha = {needed!r}"),
        ],
        atmosphere=[("-60000,1.0\n1800,0.99", "-60000,1.0\n1800,1.0")],
    )
    (tmp_path / "begun").mkdir()
    same_air = write(
        tmp_path / "begun",
        "lower_cm = 25",
        atmosphere=[("-60000,1.0\n1800,0.99", "-60000,1.0\n1800,1.0")],
    )
    aged, begun = simulate(path, treatments=["cleared"]), simulate(same_air, treatments=["cleared"])
    at = int(np.flatnonzero(aged.year == 1799)[0])
    stock = aged.values["soc_stock_0_25"][0, at]
    assert stock == pytest.approx(table.loc["hill", "stock"], rel=1e-6)
    place = np.flatnonzero(aged.output_year == 1799)
    first = np.flatnonzero(begun.output_year <= 1799)[-1:]
    for name in ("soc", "delta14c"):
        np.testing.assert_allclose(
            aged.values[name][0, place], begun.values[name][0, first], rtol=1e-5
        )


def test_inert_carbon_makes_up_for_what_the_input_leaves_open(tmp_path):
    case = load_case(write(tmp_path, 'lower_cm = 25\nstock_t_ha = 120\nsolve = "inert"'))
    trajectory = simulate(case)
    for stocks in topsoil(trajectory).values():
        assert stocks[FIRST] == pytest.approx(120.0, rel=1e-8)
    inert = trajectory.values["soc_pool"][:, 0, -1]
    assert (inert > 0).all()


def test_input_that_keeps_a_stock_counts_the_manure(started):
    case, _ = started
    table = keeping(case).set_index("of")
    assert table.loc["manured", "needed"] < table.loc["control", "needed"]
    assert table.loc["control", "stock"] == table.loc["field", "stock"]
    assert table.loc["control", "plants"] == pytest.approx(2.5)


@pytest.mark.slow
@pytest.mark.parametrize("solve", ["input", "inert"])
def test_start_has_the_derivative_of_the_balance(tmp_path, solve):
    """Of the pools, the stock and what was sought, by turnover, protection and mixing."""
    case = load_case(write(tmp_path, f'lower_cm = 80\nstock_t_ha = 150\nsolve = "{solve}"'))
    column, plan = case.column(), build(case)
    names = ("carbon.k_hum", "protection.b4", "fauna.rate")
    ready = prepare_plan(column, dataclasses.replace(plan, experiment=None), names)
    x = jnp.asarray([float(column.values()[name]) for name in names])

    def start(x):
        found = balance(column.with_parameters(dict(zip(names, x, strict=True))), ready)
        pools = jnp.sum(found.state.carbon, axis=-1)
        values = jnp.concatenate([found.stock, jnp.ravel(pools), found.factor])
        return values, values

    mode = jax.jacrev if solve == "input" else jax.jacfwd  # both rest on one rule
    both = jax.jit(mode(start, has_aux=True))  # one program for slopes and values
    slopes = np.asarray(both(x)[0])
    for number in range(len(names)):
        step = 1e-4 * x[number]  # at 1e-5 the rounding of a stock of 150 is 1e-7 of its slope
        there = [both(x.at[number].add(sign * step))[1] for sign in (1.0, -1.0)]
        expected = np.asarray(there[0] - there[1]) / (2.0 * step)
        np.testing.assert_allclose(slopes[:, number], expected, rtol=1e-5, atol=1e-7)
    # whatever the parameters are the measured stock is met, by another factor
    np.testing.assert_allclose(slopes[:2], 0.0, atol=1e-6)
    assert (np.abs(slopes[-2:]) > 1e-6).all()


@pytest.mark.parametrize(
    ("measured", "changes", "words"),
    [
        ("lower_cm = 200", [], "measured.lower_cm: 200 is below the column of 80 cm"),
        ("stock_t_ha = { field = 40 }", [], "measured.stock_t_ha: nothing for site 'hill'"),
        ("stock_t_ha = { field = 40, hil = 40 }", [], "no site 'hil', did you mean 'hill'?"),
        ("stock_t_ha = -3", [], "measured.stock_t_ha"),
        ("stock_t_ha = 0.5", [], "is this in kg/m2?"),
        (
            "",
            [('npp = "miami"\nharvest_share = 0.4', "plant_carbon_t_ha = 0")],
            "land_use.forest.plant_carbon_t_ha: is 0, but initial",
        ),
        (
            'solve = "inert"',
            [('[free."carbon.k_hum"]', '[free."carbon.iom_factor"]')],
            "free: carbon.iom_factor has no effect",
        ),
        ("", [("soc_percent = 1.5", "soc_percent = 0")], "soil of site 'hill' has no carbon"),
    ],
)
def test_bad_measured_stock_is_refused(measured, changes, words, tmp_path):
    path = write(tmp_path, measured, case=changes)
    with pytest.raises(InputError) as refused:
        load_case(path)
    assert any(words in line for line in refused.value.faults)


def test_stock_without_a_balance_is_refused_before_anything_runs(tmp_path, capsys):
    low = 'lower_cm = 25\nstock_t_ha = 12\nsolve = "inert"'
    path = write(tmp_path, low)
    assert main(["simulate", str(path), "-o", str(tmp_path / "run.nc")]) == 2
    said = capsys.readouterr().err
    assert "initial: site 'hill':" in said
    assert "in balance without any inert carbon, but 12 were measured" in said
    assert not (tmp_path / "run.nc").exists()


@pytest.mark.parametrize(("plants", "kept"), [(1e-11, True), (0.1, False)])
def test_a_stock_that_next_to_nothing_keeps_has_no_balance(plants, kept, tmp_path):
    case = load_case(write(tmp_path))
    plan = build(case)
    (phase,) = plan.history
    inputs = {"plant_input": jnp.full_like(phase.constant["plant_input"], plants)}
    phase = dataclasses.replace(phase, constant=phase.constant | inputs)
    state = initial_state(case.column(), plan)
    found = Balance(phase, state, jnp.ones(len(plan.sites)), plan.measured.stock)
    told = why_unmet(plan.sites, plan.measured, found)
    assert list(told) == (list(plan.sites) if kept else [])
    assert all("nothing decomposes" in reason for reason in told.values())


def test_whole_soil_is_refused_in_one_line(tmp_path):
    path = write(tmp_path, key='initial = "measured"\ncolumn = "whole_soil"')
    with pytest.raises(InputError) as refused:
        load_case(path)
    assert (
        sum('initial: "measured" needs column = "carbon"' in f for f in refused.value.faults) == 1
    )


def test_check_says_the_start_and_what_keeps_the_stock(tmp_path, capsys):
    path = write(tmp_path, "lower_cm = 25\nstock_t_ha = { field = 40, hill = 50 }")
    assert main(["check", str(path), "--keep-stock"]) == 0
    said = capsys.readouterr().out
    assert "Start: pools in balance with the measured stock" in said
    kept = said.split("keeps the measured stock down to 25 cm")[1]
    rows = {line.split()[0]: line for line in kept.splitlines() if line.startswith("  ")}
    assert {"field", "hill", "control", "manured", "compacted", "cleared"} <= rows.keys()
