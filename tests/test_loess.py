"""The shipped loess cases: what a pedologist expects of them, and how exact they are."""

from __future__ import annotations

import numpy as np
import pytest

from diffsoil.cases import load_case
from diffsoil.processes.richards import SimulatedRichards
from diffsoil.simulation import simulate
from diffsoil.trajectory import Trajectory

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


def test_ten_years_in_a_step_are_as_good_as_one(farmed, tmp_path):
    # fifteen hundred years around the beginning of farming, erosion and lime
    text = load_case("loess_dry_agriculture").text
    stocks = []
    for step in (2, 10):
        path = tmp_path / f"{step}.toml"
        path.write_text(
            text.replace("step_years = 10", f"step_years = {step}").replace(
                "start_year = 0", "start_year = 7000"
            )
        )
        stocks.append(simulate(path).values["soc_stock_0_100"][0])
    error = np.abs(stocks[1] / stocks[0] - 1)
    assert error[200:].max() < 0.005
    assert error[200:].mean() < 0.001


def test_richards_water_closes_in_the_developing_column(tmp_path):
    text = load_case("loess_dry_steppe").text.replace("until = 12000", "until = 20")
    text = text.replace("layers = 40", "layers = 16")
    path = tmp_path / "case.toml"
    path.write_text(text)
    case = load_case(path)
    run = simulate(case, case.column().replaced(SimulatedRichards()))
    assert max(run.balances.values()) < 1e-10


def test_aluminium_takes_the_exchanger_of_acid_layers_only(wet):
    aluminium = at(wet, "exchangeable_aluminium", 12000)
    bases = at(wet, "base_saturation", 12000)
    assert aluminium[:6].max() > 15
    assert np.all(aluminium + bases <= 100 + 1e-9)
    assert at(wet, "exchangeable_aluminium", 3000)[30:].max() < 0.5
