"""What processes are worth, and columns that are pruned without losing what matters."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import tomllib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from diffsoil.cases import load_case, read_case
from diffsoil.cli import main
from diffsoil.io import InputError
from diffsoil.output.simulation import simulate
from diffsoil.work.pool import cluster
from sensitivity.pruning import ablation, confirmation, elimination
from sensitivity.pruning.case_text import without_text
from sensitivity.pruning.cost import Cost
from sensitivity.pruning.elimination import Search
from sensitivity.pruning.loss import Loss, Rule, relative
from tests import tiny_case

TARGET = "soc_stock_0_100"
PHASE = """
[[history]]
until = 1900
step_years = 10
climate = "early"
land_use = "crop"
"""
"""Three centuries of one crop, instead of the history and the experiment of the tiny case."""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A case of one phase of a prescribed soil, which compiles in a few seconds."""
    folder = tmp_path_factory.mktemp("tiny")
    text = tiny_case.write(folder).read_text(encoding="utf-8").split("[[history]]")[0] + PHASE
    for old, new in (
        ('radiocarbon_atmosphere = "atmosphere.csv"\n', ""),
        ('hill = "clay"\n', ""),
        ('[climate.weather]\nmonthly = "weather.csv"\n', ""),
        ("[grid]", '[set]\n"heat.offset" = 0.5\n"carbon.k_hum" = 0.021\n\n[grid]'),
    ):
        assert old in text
        text = text.replace(old, new)
    path = folder / "case.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def case(path):
    return load_case(path)


@pytest.fixture(scope="module")
def pool():
    with cluster(1) as pool:
        yield pool


def stock(case, column=None):
    """The target in every year of a run."""
    return simulate(case, column).to_xarray()[TARGET].to_numpy()[0]


@pytest.fixture(scope="module")
def found(case, pool):
    runs = ablation.of_case(case, [TARGET])
    return runs, ablation.ablate(runs, pool, nodes=16)


# worth


def test_integrated_gradients_sum_to_the_difference_of_all_on_and_all_off(found):
    _, of = found
    late = slice(100, None)
    assert of.on[-1] > 1.2 * of.off[-1]
    # the hard minimum of the mechanisms has kinks along the path
    assert of.incomplete[late].max() < 5e-3
    np.testing.assert_allclose(of.path.sum(axis=0)[-1], of.on[-1] - of.off[-1], rtol=5e-3)


def test_worth_is_the_difference_to_a_run_without_the_process(case, found):
    runs, of = found
    full = stock(case)
    np.testing.assert_allclose(of.on, full, rtol=1e-10)
    bare = stock(case, runs.column.without("heat"))
    single = of.single[of.names.index("heat")]
    np.testing.assert_allclose(single, full - bare, rtol=1e-9, atol=1e-9)


def test_processes_that_need_each_other_interact_and_those_that_do_nothing_do_not(found):
    from sensitivity.indices import pairs

    _, of = found
    of_pair = dict(zip(pairs(of.names), of.pair[:, -1], strict=True))
    assert abs(of_pair["heat:rate_modifiers"]) > 0.5  # temperature acts through the modifiers
    # without the modifiers, temperature is worth nothing: the two share one effect
    heat = of.single[of.names.index("heat"), -1]
    np.testing.assert_allclose(of_pair["heat:rate_modifiers"], -heat, rtol=1e-6)
    assert abs(of_pair["retention:manure"]) < 1e-9  # no manure is spread


def test_rows_of_ablation_have_the_form_of_all_indices(case, found):
    from sensitivity.indices import COLUMNS

    runs, of = found
    table = ablation.table(of, runs, case.name, [99, 299])
    assert tuple(table.columns) == COLUMNS
    assert set(table["index"]) == {"worth", "interaction", "integrated_gradient"}
    assert set(table["year"]) == {1699, 1899}
    of_heat = table.query("parameter == 'heat' and index == 'worth' and year == 1899")
    assert of_heat["value"].item() == of.single[of.names.index("heat"), 299]


# errors


def test_the_error_is_relative_and_has_a_floor():
    full = np.array([[100.0, 50.0, 0.1]])
    np.testing.assert_allclose(relative(np.array([[101.0, 50.0, 0.1]]), full), 0.01)
    np.testing.assert_allclose(relative(np.array([[100.0, 49.0, 0.1]]), full), 0.02)
    # a hundredth of the largest value divides instead of 0.1
    np.testing.assert_allclose(relative(np.array([[100.0, 50.0, 0.2]]), full), 0.1)


def test_failed_runs_are_told_from_infinite_errors():
    full = np.array([[1.0, np.nan], [1.0, 2.0], [0.0, 0.0]])
    pruned = np.array([[1.0, 1.0], [np.nan, 2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(relative(pruned, full), [np.nan, np.inf, 0.0])


def test_the_quantile_is_an_upper_limit_that_few_draws_cannot_give():
    rng = np.random.default_rng(3)
    kept = 0
    for _ in range(400):
        loss = Loss(np.zeros((1, 1)), (rng.random((64, 1)),))
        kept += loss.quantile(0.95) >= 0.95
    assert kept >= 0.94 * 400
    few = Loss(np.zeros((1, 1)), (np.array([[0.1], [np.nan], [0.3]]),))
    assert few.quantile(0.95) == few.worst_draw == 0.3
    many = Loss(np.zeros((1, 1)), (np.linspace(0, 1, 1001)[:, None],))
    assert 0.95 < many.quantile(0.95) < 0.965


def test_the_memory_of_a_new_process_is_not_that_of_its_parent():
    code = "from sensitivity.pruning.cost import peak_mb; print(peak_mb())"
    ballast = bytearray(1500 * 2**20)  # more than importing the package takes
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5 < float(done.stdout) < 0.7 * len(ballast) / 2**20


# texts


def test_the_text_of_a_pruned_case_keeps_comments_and_drops_values_of_what_is_gone():
    case = load_case("loess_wet_forest")
    text = case.text.replace("[set]", '[set]\n"heat.offset" = 0.5')
    case = read_case(case.path, text)
    pruned = without_text(case, ["heat", "migration", "protection.mooh"], "why")
    content = tomllib.loads(pruned)
    assert content["without"] == ["heat", "migration"]
    assert content["protection"] == ["clay", "aggregation", "pores"]
    assert content["notes"]["pruned"] == "why"
    assert "heat.offset" not in content["set"]
    assert content["set"]["vegetation.input_factor.forest"] == 0.62
    assert "# DPM/RPM of deciduous woodland (RothC)" in pruned
    column = read_case(case.path, pruned).column()
    assert "heat.offset" not in column.parameters()
    twice = without_text(read_case(case.path, pruned), ["oxides"])
    assert tomllib.loads(twice)["without"] == ["heat", "migration", "oxides"]


def test_a_pruned_case_finds_the_files_beside_the_case_from_another_folder(path, tmp_path):
    case = load_case(path)
    text = without_text(case, ["manure"], folder=tmp_path)
    (tmp_path / "PRUNED.toml").write_text(text, encoding="utf-8")
    there = load_case(tmp_path / "PRUNED.toml")
    pd.testing.assert_frame_equal(there.climate["early"], case.climate["early"])
    shipped = load_case("loess_wet_forest")
    text = without_text(shipped, ["manure"], folder=tmp_path)
    assert 'normals = "climate/loess_wet_normals.csv"' in text


def test_longer_slow_steps_and_fewer_layers_go_as_far_as_the_events_of_a_case_allow():
    farm = load_case("loess_dry_agriculture")
    steps = [phase.step_years for phase in farm.file.history]
    assert steps == [10, 10, 10, 10]
    longer = read_case(farm.path, without_text(farm, [], step=50))
    # 5 mm/a takes a layer of 50 mm every ten years
    assert [phase.step_years for phase in longer.file.history] == [50, 50, 10, 50]
    half = read_case(farm.path, without_text(farm, [], layers=20, step=50))
    assert (half.file.grid.layers, half.file.grid.thickness_m) == (20, 0.1)
    free = without_text(farm, [], erosion="continuous", step=50)
    assert [p.step_years for p in read_case(farm.path, free).file.history] == [50, 50, 50, 50]


# pruning


@pytest.fixture(scope="module")
def pruned(path, tmp_path_factory):
    """The case pruned by the command, into a folder of its own."""
    output = tmp_path_factory.mktemp("pruned") / "PRUNED.toml"
    other = path.with_name("other.toml")
    text = path.read_text(encoding="utf-8")
    name = next(line for line in text.splitlines() if line.startswith("name"))
    other.write_text(text.replace(name, 'name = "other"'), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        # each measurement would take a compilation, some a process too
        for name in ("measure", "_seconds"):
            patch.setattr(confirmation, name, once(getattr(confirmation, name)))
        patch.setattr(elimination, "BEYOND", 5)  # each is compiled
        assert main(["prune", *words(path, output), "--check", str(other)]) == 0
    return output


def once(measure):
    """What the first case costs, for all cases."""
    found = []

    def first(*arguments, **settings):
        if not found:
            found.append(measure(*arguments, **settings))
        return found[0]

    return first


def words(path, output):
    """What the command is given."""
    given = [str(path), "--target", TARGET, "--tolerance", "0.02", "-o", str(output)]
    given += ["--draws", "4", "--unseen", "8", "--workers", "1", "--device", "cpu"]
    return [*given, "--processes-only"]


def test_the_pruned_case_stays_within_the_tolerance(case, pruned):
    error = np.abs(stock(load_case(pruned)) / stock(case) - 1).max()
    table = pd.read_csv(pruned.with_name("PRUNED_report") / "errors.csv")
    assert error < 0.02
    np.testing.assert_allclose(table.loc[table["sample"] == "case", "error"], error, rtol=1e-4)
    assert max(simulate(load_case(pruned)).balances.values()) < 1e-10


def test_what_does_nothing_goes_and_what_matters_stays(pruned):
    table = pd.read_csv(pruned.with_name("PRUNED_report") / "prune.csv").set_index("name")
    assert table.loc["manure", "decision"] == "removed"
    assert table.loc["rate_modifiers", "decision"] == "kept"
    assert (table["reason"] != "").all()
    removed = table[table["decision"] == "removed"]
    assert (removed[["error", "quantile"]] <= 0.02).all(axis=None)
    content = tomllib.loads(pruned.read_text(encoding="utf-8"))
    gone = {name for name in removed.index if "." not in name}
    assert set(content["without"]) == gone
    left = {f"protection.{name}" for name in content["protection"]}
    assert not left & set(removed.index)


def test_the_report_has_errors_on_unseen_draws_cost_and_a_page(pruned):
    folder = pruned.with_name("PRUNED_report")
    errors = pd.read_csv(folder / "errors.csv")
    assert (errors["sample"] == "unseen").sum() == 8
    assert (errors["sample"] == "chosen").sum() == 4
    # a case that had no part in the choice, here the same one by another name
    other = errors[errors["case"] == "other"]
    assert set(other["sample"]) == {"other case", "other case, draws"}
    assert other["error"].iloc[0] == errors["error"].iloc[0]
    path = pd.read_csv(folder / "path.csv")
    assert (
        path.loc[path["within"], "error"].max() <= 0.02 < path.loc[~path["within"], "error"].max()
    )
    cost = pd.read_csv(folder / "cost.csv").set_index("version")
    assert (cost[["compile_s", "run_s"]] > 0).all(axis=None)
    assert (cost["memory_mb"] > 50).all()
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "data:image/png" in page
    assert "unseen draws" in page
    assert (folder / "pareto.png").stat().st_size > 5000


def test_nothing_that_is_there_is_replaced_unless_asked(path, pruned, capsys):
    words = ["prune", str(path), "--target", TARGET, "-o", str(pruned), "--workers", "1"]
    assert main(words) == 2
    assert "exists already; use --overwrite" in capsys.readouterr().err


def test_a_resumed_pruning_gives_the_answer_of_one_that_was_not_stopped(
    path, pruned, tmp_path, monkeypatch, capsys
):
    output = tmp_path / "PRUNED.toml"
    monkeypatch.setattr(elimination, "BEYOND", 0)
    monkeypatch.setattr(confirmation, "measure", lambda *_: Cost(1.0, 1.0, 1.0, 1.0))
    compute, calls = elimination.compute, []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 7:  # in the middle of the elimination
            raise KeyboardInterrupt
        return compute(*arguments)

    monkeypatch.setattr(elimination, "compute", stopped)
    assert main(["prune", *words(path, output)]) == 130
    progress = tmp_path / "PRUNED_progress"
    assert "--resume goes on" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [progress]
    assert main(["prune", *words(path, output)]) == 2
    assert "exists already; use --overwrite, --resume" in capsys.readouterr().err
    assert main(["prune", *words(path, output), "--resume", "--seed", "1"]) == 2
    assert "cannot resume" in capsys.readouterr().err
    monkeypatch.setattr(elimination, "compute", compute)
    assert main(["prune", *words(path, output), "--resume"]) == 0
    assert "results that are kept" in capsys.readouterr().err
    assert not progress.exists()

    assert output.read_text(encoding="utf-8") == pruned.read_text(encoding="utf-8")
    for name in ("prune", "errors"):
        resumed, whole = (
            pd.read_csv(p.with_name("PRUNED_report") / f"{name}.csv") for p in (output, pruned)
        )
        if name == "errors":
            whole = whole[~whole["sample"].str.startswith("other")]
        pd.testing.assert_frame_equal(resumed, whole)


def test_an_interrupted_pruning_leaves_nothing(path, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "prepare", interrupted)
    output = tmp_path / "PRUNED.toml"
    words = ["prune", str(path), "--target", TARGET, "-o", str(output), "--workers", "1"]
    assert main(words) == 130
    assert list(tmp_path.iterdir()) == []


def test_a_tolerance_that_nothing_meets_says_what_can_be_reached(case, pool, monkeypatch):
    search = Search([case], [TARGET], Rule(1e-9, draws=0), pool, lambda _: None)
    search.names = ("rate_modifiers", "heat")
    search.prepare()
    with pytest.raises(InputError, match=r"least error that can be reached is .*, without 'heat'"):
        search.eliminate()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", TARGET, "--tolerance", "0"], "--tolerance 0: must be a number above 0"),
        (
            ["--target", TARGET, "--quantile", "95"],
            "--quantile 95: must be a number above 0 and at most 1",
        ),
        (["--target", TARGET, "--draws", "-1"], "--draws -1: must be a whole number from 0"),
        (["--target", "soc_stok_0_100"], "no output 'soc_stok_0_100', did you mean 'soc_stock_0_"),
        (["--target", "ph[0-25]"], "the case does not compute ph"),
    ],
)
def test_bad_input_is_one_line(path, tmp_path, capsys, words, message):
    output = tmp_path / "PRUNED.toml"
    assert main(["prune", str(path), "-o", str(output), "--workers", "1", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_the_posterior_of_a_column_pruned_of_what_does_nothing_is_the_same(case):
    from sensitivity.pruning.laplace import compared, posterior

    bare = read_case(case.path, without_text(case, ["manure"]))
    runs, pruned = (ablation.of_case(c, [TARGET], (), drawn=False) for c in (case, bare))
    names, truth = ["carbon.k_hum", "protection.b4"], np.array([0.016, 0.7])
    there = dataclasses.replace(runs, keys=tuple((name,) for name in names))
    values = np.asarray(there.values(jnp.asarray(truth)))
    error = 0.02 * values
    observed = values + error * np.random.default_rng(1).standard_normal(error.size)
    full, other = (posterior(r, names, observed, error) for r in (runs, pruned))
    table = compared(full, other)
    assert abs(table["shift"]).max() < 1e-4
    np.testing.assert_allclose(table["spread"], 1.0, rtol=1e-4)
    assert np.all(np.abs(full.estimate - truth) < 3 * full.sd)
    assert np.all(full.sd < 0.3 * truth)
    assert 0.7 * error.size < full.misfit < 1.3 * error.size


def test_what_processes_are_worth_is_drawn_and_told():
    from sensitivity.indices import Estimate, Result
    from sensitivity.pruning.report import _ablation_section, ablation_bars

    names, values = ["heat", "pores"], np.array([1.0, -2.0])
    each = Estimate(values, values - 1, values + 1)
    estimates = dict.fromkeys(("worth", "integrated_gradient", "S1", "ST"), each)
    estimates["interaction"] = Estimate(*np.full((3, 1), 0.5))
    table = Result("strength", estimates, 9).table("ph[0-25]", "tiny", 100, names)
    axes = ablation_bars(table, "title").axes
    assert [text.get_text() for text in axes[0].get_yticklabels()] == ["pores", "heat"]
    assert "heat:pores" not in _ablation_section(table.iloc[:0], Path("nowhere"))
