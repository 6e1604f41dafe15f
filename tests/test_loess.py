"""The shipped loess cases: what a pedologist expects of them, and how exact they are."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from diffsoil.cases import Case, load_case
from diffsoil.cases.arrays import Plan, build, run
from diffsoil.cases.read import read_case
from diffsoil.output.simulation import simulate
from diffsoil.output.trajectory import Trajectory
from diffsoil.process import Environment
from diffsoil.time import Record

THICKNESS = 0.05


@pytest.fixture(scope="module")
def wet() -> Trajectory:
    return simulate("loess_wet_forest")


@pytest.fixture(scope="module")
def dry() -> Trajectory:
    return simulate("loess_dry_steppe")


@pytest.fixture(scope="module")
def farmed() -> Trajectory:
    return simulate("loess_dry_agriculture")


def at(run: Trajectory, name: str, year: int) -> np.ndarray:
    """Profile of a variable at the end of a year."""
    return run.values[name][0, np.searchsorted(run.output_year, year)]


def decalcified(run: Trajectory, year: int) -> float:
    """Depth of the first layer with more than half a percent of calcite, m."""
    calcite = at(run, "calcite", year)
    first = int(np.argmax(calcite > 0.005)) if (calcite > 0.005).any() else len(calcite)
    return float(at(run, "thickness", year)[:first].sum())


@pytest.mark.parametrize("case", ["wet", "dry", "farmed"])
def test_everything_is_accounted_for_over_twelve_thousand_years(case, request):
    run = request.getfixturevalue(case)
    assert set(run.balances) == {"carbon", "water", "calcium", "solids", "elements"}
    assert max(run.balances.values()) < 1e-12


def test_wet_loess_decalcifies_at_the_speed_of_belgian_loess_and_dry_several_times_slower(wet, dry):
    # the front of 2000 to 8000 years: 0.2 to 0.5 m a millennium under forest
    speed = (decalcified(wet, 8000) - decalcified(wet, 2000)) / 6
    assert 0.15 < speed < 0.5
    slow = decalcified(dry, 8000) / 8
    assert slow < 0.1 < 3 * speed
    assert slow < speed / 3


def test_wet_topsoil_ends_acid_and_base_saturation_follows_the_front(wet):
    ph, bases = at(wet, "ph", 12000), at(wet, "base_saturation", 12000)
    assert 4.0 < ph[:6].min() < 5.2
    assert 10 < bases[:6].min() < 50
    assert bases[30] > 80
    early = at(wet, "base_saturation", 3000)
    calcareous = at(wet, "calcite", 3000) > 0.005
    assert early[calcareous].min() > 99


def test_an_argillic_horizon_forms_below_the_mixed_topsoil_after_the_calcite_has_gone(wet):
    before, after = at(wet, "clay", 300), at(wet, "clay", 12000)
    assert np.ptp(before[:20]) < 2.0
    depth = (np.argmax(after) + 0.5) * THICKNESS
    assert 0.3 < depth < 1.2
    assert after.max() > 1.2 * after[:6].mean()


def test_dry_loess_gets_a_calcic_horizon_under_a_leached_topsoil(dry):
    calcite = at(dry, "calcite", 8000)
    assert calcite[:6].max() < 0.02
    assert calcite[8:14].max() > 0.15
    assert calcite[30] == pytest.approx(0.1, abs=0.02)


def test_aggregation_protects_most_at_first_and_less_when_bases_leave(dry):
    early, late = at(dry, "modifier_aggregation", 1000), at(dry, "modifier_aggregation", 12000)
    assert early[:6].max() < 0.81
    assert late[:3].min() > 0.82
    assert at(dry, "modifier_mooh", 12000).min() > 0.95


def test_stocks_are_those_of_the_study_within_a_fifth(wet, dry):
    # natural, without erosion: 110 in the dry and 75 in the wet bioclimate, Mg C/ha
    assert dry.values["soc_stock_0_100"][0, 7999] == pytest.approx(110, rel=0.2)
    assert wet.values["soc_stock_0_100"][0, 7999] == pytest.approx(75, rel=0.2)


def test_erosion_keeps_up_with_decalcification_and_farming_takes_carbon(farmed, dry):
    assert decalcified(farmed, 8000) < 0.1 < decalcified(dry, 8000)
    stock = farmed.values["soc_stock_0_100"][0]
    assert stock[9890:9900].mean() < 0.6 * stock[7990:8000].mean()
    assert stock[11999] > 0.9 * stock[7990:8000].mean()
    assert farmed.values["carbon_eroded"][0].sum() > 20


@pytest.mark.slow
def test_ten_years_in_a_step_are_as_good_as_one(farmed, tmp_path):
    # fifteen hundred years around the beginning of farming, erosion and lime
    text = load_case("loess_dry_agriculture").text
    stocks = []
    for step in (2, 10):
        path = tmp_path / f"{step}.toml"
        path.write_text(
            text.replace("step_years = 10", f"step_years = {step}").replace(
                "start_year = 1", "start_year = 7001"
            )
        )
        stocks.append(simulate(path).values["soc_stock_0_100"][0])
    error = np.abs(stocks[1] / stocks[0] - 1)
    assert error[200:].max() < 0.005
    assert error[200:].mean() < 0.001


@pytest.fixture(scope="module")
def with_richards(tmp_path_factory) -> Case:
    """Two hundred years of eroding steppe on coarse layers, with Richards' equation."""
    text = load_case("loess_dry_steppe").text.replace("until = 12000", "until = 200")
    text = text.replace("layers = 40", "layers = 8").replace(
        "thickness_m = 0.05", "thickness_m = 0.1"
    )
    text = text.replace("erosion_mm_a = 0", "erosion_mm_a = 1")
    text = text.replace('"water.bypass" = 0.03', "")  # of the bucket
    path = tmp_path_factory.mktemp("richards") / "case.toml"
    path.write_text('water = "richards"\nwater_reuse_years = 100\n' + text)
    return load_case(path)


@pytest.mark.slow
def test_richards_water_closes_in_the_developing_column(with_richards):
    run = simulate(with_richards)
    assert run.values["carbon_eroded"][0].sum() > 0
    assert max(run.balances.values()) < 1e-10
    assert run.values["water_residual"].max() < 1e-8


@pytest.mark.slow
def test_a_year_of_richards_may_stand_for_a_hundred(with_richards):
    plan = build(with_richards)
    (history,) = plan.history
    assert history.reuse == 10
    plans = [
        dataclasses.replace(plan, history=(dataclasses.replace(history, reuse=n),)) for n in (10, 1)
    ]
    record = Record(yearly=("soc_stock_0_25",), steps=("percolation", "water_content"))

    def lived(factor: Array, plan: Plan) -> Environment:
        column = with_richards.column().with_parameters({"water.conductivity_factor": factor})
        return run(column, plan, in_history=record)[1][0]

    slope = jax.jit(lambda x, plan: jax.jvp(lambda y: lived(y, plan), (x,), (jnp.ones(()),)))
    (coarse, by_factor), (fine, _) = (slope(jnp.ones(()), p) for p in plans)
    # a soil without humus gathers it in the first century, which hardly shows in its carbon
    stock = [x["soc_stock_0_25"][0] for x in (coarse, fine)]
    error = np.abs(stock[0] / stock[1] - 1)
    assert error.max() < 0.1
    assert error[-1] < 0.006
    percolation = [x["percolation"][0].sum(axis=1) for x in (coarse, fine)]
    assert np.array_equal(percolation[0][0], percolation[0][9])
    assert not np.array_equal(percolation[1][0], percolation[1][9])

    step = 1e-4
    sides = [slope(jnp.asarray(1 + d), plans[0])[0]["soc_stock_0_25"] for d in (-step, step)]
    difference = (sides[1] - sides[0])[0, -1] / (2 * step)
    assert by_factor["soc_stock_0_25"][0, -1] == pytest.approx(float(difference), rel=1e-3)


@pytest.mark.slow
def test_a_soil_that_turns_to_peat_does_not_swell_without_limit():
    # it came to 136 m while a thick layer decomposed as its middle would
    case = load_case("loess_wet_forest")
    extreme = """[set]
"texture.organic_density" = 0.17
"carbon.k_hum" = 0.01
"carbon.subsoil_slowing" = 3
"vegetation.input_factor.forest" = 3
"""
    text = case.text.replace('"vegetation.input_factor.forest" = 0.62', "")
    run = simulate(read_case(case.path, text.replace("[set]\n", extreme)))
    thickness = run.values["thickness"][0].sum(axis=1)
    assert thickness.max() < 3.5
    assert abs(thickness[-1] / thickness[-100] - 1) < 0.01
    assert max(run.balances.values()) < 1e-12
    soil = at(run, "bulk_density", 12000) * at(run, "thickness", 12000) * 1e4
    assert (at(run, "soc", 12000) / soil)[0] > 0.4


def test_aluminium_takes_the_exchanger_of_acid_layers_only(wet):
    aluminium = at(wet, "exchangeable_aluminium", 12000)
    bases = at(wet, "base_saturation", 12000)
    assert aluminium[:6].max() > 15
    assert np.all(aluminium + bases <= 100 + 1e-9)
    assert at(wet, "exchangeable_aluminium", 3000)[30:].max() < 0.5
