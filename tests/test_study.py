"""The runs of the study, what they share, and their exact derivatives."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import equinox as eqx
import numpy as np
import pytest

from diffsoil.cases import inputs, read_case
from diffsoil.cli import main
from diffsoil.io import InputError, data_path
from diffsoil.output.simulation import simulate
from diffsoil.studies.vandermeij2026 import analysis, suite
from diffsoil.studies.vandermeij2026 import family as families
from diffsoil.studies.vandermeij2026.fit import TARGETS, Evaluations, Found, Misfit
from diffsoil.studies.vandermeij2026.scenarios import load_study
from diffsoil.work import ensemble
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.ensemble import Batch
from diffsoil.work.pool import cluster
from diffsoil.work.store import Store
from tests.tiny_study import tiny_study

CHOSEN = (
    "dry-n-natural-E0-E0-E0",
    "dry-n-agricultural-E1-E2-E3",
    "wet-n-natural-E0-E0-E0",
    "wet-n-agricultural-E1-E2-E3",
)


@pytest.fixture(scope="module")
def family() -> families.Family:
    study = tiny_study()
    return suite.families(study, study.chosen(CHOSEN))[0].argument


@pytest.fixture(scope="module")
def values(family: families.Family) -> dict[str, np.ndarray]:
    return families.whole(family)


# Which runs there are.


def test_the_study_has_72_runs_of_ten_thousand_years_and_40_that_go_on() -> None:
    study = load_study()
    runs = study.scenarios
    assert [study.until(s) for s in runs] == [10_000] * 72 + [12_000] * 40
    assert len({s.name for s in runs}) == 112
    long = [s for s in runs if s.recovery]
    assert {s.protection for s in long} == {"x"}
    assert sum(s.land_use == "natural" for s in long) == 4
    assert sum(s.rock != "none" for s in long) == 20
    assert all(s.erosion == ("E0", "E0", "E0") for s in long if s.rock != "none")


def test_a_common_case_of_format_1_gives_the_same_runs(tmp_path) -> None:
    new = load_study("loess_study")
    text = new.base.text.replace("format = 2", "format = 1").replace(
        "start_year = 1", "start_year = 0"
    )
    (tmp_path / "old.toml").write_text(text)
    old = load_study(tmp_path / "old.toml")
    (scenario,) = new.chosen(["wet-x-agricultural-E0-E0-E0-then-natural-goethite"])
    assert old.text(scenario) == new.text(scenario)
    assert old.case(scenario).file == new.case(scenario).file
    assert old.case(scenario).file.spans()[-1] == (10_001, 12_000)


def test_the_analysis_counts_phases_and_events_as_the_description_does() -> None:
    study = load_study()
    assert tuple(study.description.until) == analysis.BORDERS
    assert {
        name: study.event_interval(name) for name in study.description.erosion
    } == analysis.EROSION_INTERVAL
    assert set(study.description.protection) == set(analysis.LEVELS["protection"])


def test_a_run_is_a_case_with_its_land_use_its_erosion_and_its_additions() -> None:
    study = load_study("loess_study")
    (scenario,) = study.chosen(["wet-x-agricultural-E0-E0-E0-then-natural-goethite"])
    natural, extensive, intensive, recovery = study.case(scenario).file.history
    assert [p.until for p in (natural, extensive, intensive, recovery)] == [
        8000,
        9900,
        10000,
        12000,
    ]
    assert (natural.land_use, recovery.land_use) == ("forest", "forest")
    assert (extensive.land_use, extensive.amendments[0].mol_m2) == ("extensive", 1.88)
    assert {a.material for a in intensive.amendments} == {"calcite", "potassium"}
    (rock,) = recovery.amendments
    assert (rock.material, rock.kg_m2, rock.year) == ("goethite", 2.5, 10_001)
    (eroded,) = study.chosen(["dry-p-agricultural-E1-E2-E3"])
    case = study.case(eroded)
    assert [p.erosion_mm_a for p in case.file.history] == [0.05, 0.5, 5.0]
    values = case.column().values()
    off = {"protection.b1": 1.0, "protection.b2": 0.0, "protection.b3a": 0.0}
    assert {name: float(values[name]) for name in off} == off
    assert float(values["protection.b4"]) == 0.8


def test_names_of_runs_that_do_not_exist_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "list", "dry-x-natural-E0-E0-E1"]) == 2
    message = capsys.readouterr().err
    assert "no such run" in message
    assert "did you mean" in message


def test_a_listed_run_can_be_simulated_as_a_case(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["study", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 112
    name = lines[-1].split()[0]
    assert main(["study", "list", name]) == 0
    file = tmp_path / "run.toml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    assert read_case(file, file.read_text(encoding="utf-8")).name == name


def test_a_case_without_what_the_study_needs_is_refused() -> None:
    with pytest.raises(InputError, match="climate 'wet'"):
        load_study("loess_dry_agriculture")
    with pytest.raises(InputError, match="whole_soil"):
        load_study("rothamsted")


# Running them.


def test_runs_that_are_not_finite_are_refused_with_their_first_year(
    family: families.Family, values: dict[str, np.ndarray]
) -> None:
    column = family.column.with_parameters({"carbon.k_hum": np.nan})
    lost = eqx.tree_at(lambda of: of.column, family, column)
    with pytest.raises(InputError, match=r"(litter|carbon) .*not finite.* year 1 of the run on"):
        families.whole(lost)


def test_a_common_past_is_lived_once(family: families.Family) -> None:
    # the two wet runs are one until agriculture begins; erosion needs 1000 years for a layer
    assert [len(g.parent) for g in family.generations] == [2, 4]
    assert family.path == ((0, 0), (0, 1), (1, 2), (1, 3))


# both erode, and part late; the second soil is the one that a wrong path would miss
@pytest.mark.slow  # runs of a single soil have a program of their own
@pytest.mark.parametrize("run", [1, 3])
def test_runs_of_a_family_are_what_each_is_alone(values: dict[str, np.ndarray], run: int) -> None:
    study = tiny_study()
    text = study.text(study.chosen(CHOSEN)[run])
    alone = simulate(read_case(study.base.path, text))
    for name in families.YEARLY:
        expected = alone.values[name][0]
        np.testing.assert_allclose(values[name][run, :400], expected, rtol=1e-9, atol=1e-12)
        assert np.isnan(values[name][run, 400:]).all()
    steps = np.searchsorted(alone.output_year, [100, 200, 300, 400])
    for name in ("soc", *families.PROFILES):
        expected = alone.values[name][0][steps]
        np.testing.assert_allclose(values[name][run, :4], expected, rtol=1e-9, atol=1e-12)


def test_stocks_alone_are_those_of_the_whole_runs(
    family: families.Family, values: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def live(of: families.Family, profiles: bool = True) -> list[dict]:
        asked.append(profiles)
        return pieces

    # what they are computed by is compiled for the slopes below
    pieces = families.live(family)
    monkeypatch.setattr(families, "live", live)
    found = families.stocks(family)["stock"]
    assert asked == [False]
    np.testing.assert_array_equal(found, values["soc_stock_0_100"])


def test_farming_and_erosion_cost_carbon(values: dict[str, np.ndarray]) -> None:
    natural, eroded, _, _ = values["soc_stock_0_100"][:, 399]
    assert eroded < 0.9 * natural


def test_runs_one_after_the_other_are_the_runs_at_once(
    values: dict[str, np.ndarray], tmp_path: Path
) -> None:
    study = tiny_study()
    store = Store.open(
        tmp_path / "runs.zarr", suite.template(study, study.scenarios), suite.fingerprint(study)
    )
    chosen = study.chosen(CHOSEN)
    place = [study.scenarios.index(s) for s in chosen]
    batches = [
        Batch(tuple(place[row] for row in batch.rows), batch.argument)
        for batch in suite.families(study, chosen)
    ]
    with cluster(workers=1) as pool:
        ensemble.run(families.whole, batches, store, pool, print)
    assert store.done.sum() == len(CHOSEN)
    with store.dataset() as stored:
        for name in ("soc_stock_0_100", "modifier_clay"):
            np.testing.assert_array_equal(stored[name].to_numpy()[place], values[name])


def test_a_store_is_of_one_weather_too() -> None:
    study = tiny_study()
    warmer = {name: table.assign(temperature_c=table["temperature_c"] + 1.0)
              for name, table in study.base.climate.items()}  # fmt: skip
    other = dataclasses.replace(study, base=dataclasses.replace(study.base, climate=warmer))
    assert suite.fingerprint(other) != suite.fingerprint(study)
    assert suite.fingerprint(study) == suite.fingerprint(tiny_study())


# Derivatives by what the study does not tell.


@pytest.mark.parametrize("name", ["k_hum", "leaf_forest", "one_to_one"])
@pytest.mark.slow
def test_slopes_of_all_yearly_stocks_are_exact(name: str, slopes: tuple) -> None:
    misfit, u, _, found = slopes
    place = list(misfit.inputs).index(name)
    step = np.zeros_like(u)
    step[place] = 1e-3 * misfit.scale[place]
    ends, stocks = [], []
    for at in (u - step, u + step):
        (batch,) = suite.families(misfit.at(at), misfit.runs.scenarios)
        # with all its profiles, as it has been compiled for the runs above
        stocks.append(families.whole(batch.argument)["soc_stock_0_100"][:, :400])
        ends.append(misfit.coordinate(list(misfit.values(at).values()))[place])
    secant = (stocks[1] - stocks[0]) / (ends[1] - ends[0])
    exact = found["slope"][:, :400, place]
    assert np.abs(secant).max() > 1e-3
    np.testing.assert_allclose(exact, secant, atol=2e-5 * np.abs(secant).max())


@pytest.fixture(scope="module")
def slopes() -> tuple:
    study = tiny_study()
    every = inputs.load_inputs(data_path("study", "inputs.toml"))
    few = {name: every[name] for name in ("k_hum", "leaf_forest", "one_to_one")}
    with cluster(workers=1) as pool:
        misfit = Misfit(study, few, pool)
    misfit.runs.scenarios = study.chosen(CHOSEN)
    u = misfit.start()
    batches = suite.families(study, misfit.runs.scenarios)
    along = misfit.slopes(u, batches)
    return misfit, u, along, families.stocks_and_slopes((batches[0].argument, along))


@pytest.mark.slow
def test_what_no_input_moves_has_no_slope(slopes: tuple) -> None:
    misfit, _, along, found = slopes
    assert set(along.parameters) == {"carbon.k_hum"}
    leaf = list(misfit.inputs).index("leaf_forest")
    dry = [i for i, s in enumerate(misfit.runs.scenarios) if s.bioclimate == "dry"]
    assert np.all(found["slope"][dry, :400, leaf] == 0.0)
    assert np.isfinite(found["slope"][:, :400]).all()


@pytest.mark.slow
def test_inputs_of_plants_that_a_family_never_has_are_left_out(slopes: tuple) -> None:
    misfit, u, _, _ = slopes
    places = {}
    for group in misfit.runs.groups(misfit.study):
        bioclimates = {misfit.runs.scenarios[i].bioclimate for b in group for i in b.rows}
        places[bioclimates.pop()] = misfit.slopes(u, group).places
    leaf = list(misfit.inputs).index("leaf_forest")
    assert leaf in places["wet"]
    assert leaf not in places["dry"]
    assert len(places["dry"]) == len(misfit.inputs) - 1


# Inputs.


def test_an_input_sets_its_keys_and_takes_from_its_balance() -> None:
    study = load_study("loess_study")
    every = inputs.load_inputs(data_path("study", "inputs.toml"))
    case = inputs.with_values(
        study.base, every, {"one_to_one": 0.5, "leaf_crop": 0.3, "k_hum": 0.03}
    )
    clay = case.file.mineralogy["loess"].clay
    assert clay["kaolinite"] == 0.5
    assert clay["illite"] == pytest.approx(0.17)
    assert sum(clay.values()) == pytest.approx(1.0)
    assert {case.file.land_use[u].leaf_share for u in ("extensive", "intensive")} == {0.3}
    assert float(case.column().values()["carbon.k_hum"]) == 0.03
    assert inputs.value(case, every["k_hum"]) == 0.03
    assert "# Assumptions: kaolinite" in case.text


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"lower": 2.0}, "lower 2 is not below upper 1"),
        ({"keys": []}, "keys"),
        ({"key": ["carbon.k_hum"]}, "did you mean 'keys'"),
    ],
)
def test_bad_inputs_are_refused(table: dict, message: str, tmp_path: Path) -> None:
    import tomlkit

    good = {"what": "x", "keys": ["carbon.k_hum"], "lower": 0.0, "upper": 1.0}
    file = tmp_path / "inputs.toml"
    file.write_text(tomlkit.dumps({"input": {"rate": good | table}}), encoding="utf-8")
    with pytest.raises(InputError, match=message):
        inputs.load_inputs(file)


def test_an_input_that_the_case_does_not_have_is_refused() -> None:
    base = load_study("loess_study").base
    of = inputs.Input(what="x", keys=["land_use.steppe.leaf_shar"], lower=0.0, upper=1.0)
    with pytest.raises(InputError, match="did you mean 'leaf_share'"):
        inputs.value(base, of)
    of = inputs.Input(what="x", keys=["land_use.steppe.npp"], lower=0.0, upper=1.0)
    with pytest.raises(InputError, match="'miami' is not a number"):
        inputs.value(base, of)


# Evaluations of a search.


def test_a_search_that_goes_on_repeats_no_evaluation(tmp_path: Path) -> None:
    asked: list[bool] = []

    class Counted(Misfit):
        def __init__(self) -> None:
            pass

        def evaluate(self, u: np.ndarray, slopes: bool = False) -> Found:
            asked.append(slopes)
            return Found({"T3-a": 8.49}, {"T3-a": [0.1, 1 / 3]} if slopes else {})

    u = np.array([0.1, 1 / 3])
    for resume in (False, True):
        evaluations = Evaluations(Counted(), Checkpoints(tmp_path, resume))
        assert evaluations.at(u) == Found({"T3-a": 8.49}, {})
        assert evaluations.at(u, slopes=True).slopes == {"T3-a": [0.1, 1 / 3]}
    assert asked == [False, True]
    evaluations.at(u + 1e-12)
    assert len(asked) == 3


def test_misfit_is_counted_in_half_tolerances_of_table_3_and_in_deviations() -> None:
    study = load_study("loess_study")
    every = inputs.load_inputs(data_path("study", "inputs.toml"))
    with cluster(workers=1) as pool:
        misfit = Misfit(study, {"k_hum": every["k_hum"]}, pool)
    assert misfit.deviation[TARGETS.index("T3-c")] == 0.5
    assert misfit.deviation[TARGETS.index("F1-c")] == 1.5
    exact = dict(zip(misfit.paper.index, misfit.paper["paper"], strict=True))
    off = exact | {"T3-wet": exact["T3-wet"] + 6.0, "F1-p": exact["F1-p"] - 4.5, "T3-r2": 0.0}
    u = misfit.location + 2.0 * misfit.scale
    residuals = misfit.residuals(u, Found(off, {}))
    assert residuals @ residuals == pytest.approx(4.0**2 + 3.0**2 + 2.0**2)


def test_every_search_coordinate_comes_back() -> None:
    study = load_study("loess_study")
    every = inputs.load_inputs(data_path("study", "inputs.toml"))
    with cluster(workers=1) as pool:
        misfit = Misfit(study, every, pool)
    u = misfit.start()
    assert np.all((misfit.lower <= u) & (u <= misfit.upper))
    np.testing.assert_allclose(misfit.coordinate(list(misfit.values(u).values())), u, atol=1e-7)
    moved = dataclasses.replace(misfit.study, base=misfit.at(u).base).base
    assert inputs.value(moved, every["bypass"]) == pytest.approx(0.05)


def test_a_search_can_begin_from_another_case() -> None:
    every = inputs.load_inputs(data_path("study", "inputs.toml"))
    chosen = {name: every[name] for name in ("bypass", "k_hum")}
    study = load_study("loess_study")
    earlier = inputs.with_values(study.base, every, {"bypass": 0.36, "k_hum": 0.03})
    with cluster(workers=1) as pool:
        misfit = Misfit(study, chosen, pool)
    assert misfit.values(misfit.start()) == {"bypass": 0.05, "k_hum": 0.02}
    found = misfit.values(misfit.start(earlier))
    assert found["k_hum"] == pytest.approx(0.03)
    assert found["bypass"] == pytest.approx(0.1, abs=1e-5)  # a value out of bounds is moved in
