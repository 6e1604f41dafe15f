"""Studies of sensitivity in a folder: methods side by side, interruption, what goes wrong."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import sensitivity
from diffsoil import cli
from diffsoil.io import InputError
from diffsoil.work import ensemble
from diffsoil.work.store import Store
from sensitivity import jobs, report
from sensitivity.folder import read_table
from sensitivity.indices import COLUMNS, Estimate, Result
from sensitivity.problem import Problem, evaluate, gradients
from tests import sensitivity_cases

pytestmark = [pytest.mark.mixed_types, pytest.mark.usefixtures("each_picture_once")]

NAMES = (
    "carbon.k_hum",
    "vegetation.input_factor.grass",
    "protection.b4",
    "water.direct_evaporation_share",
)
OUTPUTS = ("soc_stock_0_100@100", "soc_stock_0_100@400", "litter_stock@400")

WORDS = [word for name in NAMES for word in ("--parameter", name)]
WORDS += [word for text in OUTPUTS for word in ("--target", text)]


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Path:
    return sensitivity_cases.protected(tmp_path_factory.mktemp("case")).path


def run(case: Path, folder: Path, *words: str) -> int:
    fixed = ["--workers", "1", "--device", "cpu"]
    return cli.main(["sensitivity", str(case), "-o", str(folder), *fixed, *words])


@pytest.fixture(scope="module", autouse=True)
def timed_once():
    """The time of one run is measured once: other inputs have another program for it."""
    measure, found = jobs.time_of_run, []

    def timed(problem: Problem) -> float:
        if not found:
            found.append(measure(problem))
        return found[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "time_of_run", timed)
        yield


@pytest.fixture(scope="module")
def study(case, tmp_path_factory) -> Path:
    """All methods but Shapley effects, asked for one after the other."""
    folder = tmp_path_factory.mktemp("study") / "study"
    assert run(case, folder, "--method", "dgsm", "--samples", "16", *WORDS) == 0
    assert run(case, folder, "--method", "morris", "--samples", "8") == 0
    assert run(case, folder, "--method", "sobol", "--samples", "32", "--second") == 0
    assert run(case, folder, "--method", "local") == 0
    return folder


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "indices.csv", dtype={"year": "Int64"})


# What a study gives.


def test_methods_asked_for_one_after_the_other_lie_side_by_side(study):
    found = table(study)
    assert list(found) == list(COLUMNS)
    assert set(found["method"]) == {"local", "dgsm", "morris", "sobol"}
    assert set(found["output"]) == {"soc_stock_0_100", "litter_stock"}
    assert set(found["year"]) == {100, 400}
    pairs = found[found["index"] == "S2"]["parameter"]
    assert "carbon.k_hum:protection.b4" in set(pairs)
    counts = found.drop_duplicates(["method", "index"]).set_index(["method", "index"])["n_runs"]
    assert counts["sobol", "ST"] == 32 * 10
    assert counts["morris", "mu_star"] == 8 * 5
    assert counts["dgsm", "ST_bound"] == 16
    for name in ("report.html", "study.json", "costs.csv", "failed.csv", "disagreements.csv"):
        assert (study / name).is_file()


def test_all_methods_find_the_input_that_rules(study):
    found = table(study)
    last = found[(found["output"] == "soc_stock_0_100") & (found["year"] == 400)]
    for method in ("local", "dgsm", "morris", "sobol"):
        first = report.ranking(last, method)["parameter"].iloc[0]
        assert first == "vegetation.input_factor.grass", method


def test_total_indices_are_within_their_bounds(study):
    found = table(study)
    total = found[(found["method"] == "sobol") & (found["index"] == "ST")]
    bound = found[(found["method"] == "dgsm") & (found["index"] == "ST_bound")]
    both = total.merge(bound.dropna(), on=["output", "year", "parameter"])
    assert len(both) == 2 * len(NAMES)
    assert (both["low_x"] <= both["high_y"]).all()
    against = pd.read_csv(study / "disagreements.csv")
    assert not (against["kind"] == "bound").any()


def test_a_constant_output_has_no_indices_and_the_report_says_so(study):
    found = table(study)
    constant = found[(found["output"] == "litter_stock") & (found["method"] != "local")]
    assert len(constant)
    assert constant["value"].isna().all()
    notes = pd.read_csv(study / "notes.csv")
    told = notes[notes["output"] == "litter_stock"]["note"]
    assert (told == "the output is constant").all()
    page = (study / "report.html").read_text(encoding="utf-8")
    assert "the output is constant" in page
    assert "no input changes litter_stock" in page


def test_a_second_method_on_the_same_gradients_costs_no_run(study, monkeypatch, capsys):
    before = table(study)

    def refuse(*_: object) -> None:
        raise AssertionError("nothing is to be computed")

    monkeypatch.setattr(ensemble, "run", refuse)
    methods = ["--method", "active-subspace", "--method", "shapley", "--samples", "16"]
    assert cli.main(["sensitivity", "PATH", "-o", str(study)]) == 2  # no such case
    capsys.readouterr()
    path = json.loads((study / "study.json").read_text())["cases"]["closed"]["case"]
    assert run(Path(path), study, *methods) == 0
    assert "nothing to compute" in capsys.readouterr().err
    after = table(study)
    assert {"active-subspace", "shapley"} <= set(after["method"])
    kept = after[after["method"].isin(before["method"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)
    shares = after[(after["index"] == "shapley") & (after["year"] == 400)]["value"].dropna()
    assert shares.sum() == pytest.approx(1.0)


def test_the_python_functions_give_the_same_as_the_command(study, case):
    problem = Problem(case, outputs=OUTPUTS, parameters=NAMES)
    found = sensitivity.dgsm(problem, samples=16)
    there = table(study)
    there = there[there["method"] == "dgsm"].reset_index(drop=True)
    np.testing.assert_array_equal(found["value"], there["value"])


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_numbers(study, case):
    problem = Problem(case, outputs=OUTPUTS, parameters=NAMES)
    alone, two = (sensitivity.morris(problem, samples=8, workers=n) for n in (1, 2))
    pd.testing.assert_frame_equal(alone, two)
    there = table(study)
    there = there[there["method"] == "morris"]
    np.testing.assert_array_equal(two["value"], there["value"])


def test_a_study_can_be_made_larger(study, case, tmp_path):
    words = ["--method", "dgsm", *WORDS]
    assert run(case, tmp_path / "grown", *words, "--samples", "6") == 0
    assert run(case, tmp_path / "grown", *words, "--samples", "16") == 0
    there = table(study)
    there = there[there["method"] == "dgsm"].reset_index(drop=True)
    pd.testing.assert_frame_equal(table(tmp_path / "grown"), there)


# Interruption.


def test_a_resumed_study_equals_an_uninterrupted_one(study, case, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "stopped"
    write, times = Store.write, iter(range(100))

    def interrupted(store: Store, *args: object) -> None:
        if next(times) == 3:
            raise KeyboardInterrupt
        write(store, *args)

    words = ["--method", "dgsm", "--samples", "16"]
    with monkeypatch.context() as patch:
        patch.setattr(Store, "write", interrupted)
        capsys.readouterr()
        assert run(case, folder, *words, *WORDS) == 130
    assert pd.read_csv(folder / "costs.csv")["rows"].tolist() == [3]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("diffsoil: interrupted; 3 of 16 rows are stored")
    assert "--resume goes on" in last
    assert run(case, folder, *words) == 2
    assert "use --resume to go on" in capsys.readouterr().err
    assert run(case, folder, *words, "--resume") == 0
    assert "13 of 16 gradients to compute" in capsys.readouterr().err
    assert pd.read_csv(folder / "costs.csv")["rows"].tolist() == [16]
    there = table(study)
    there = there[there["method"] == "dgsm"].reset_index(drop=True)
    pd.testing.assert_frame_equal(table(folder), there)


# What goes wrong.


def fails(capsys: pytest.CaptureFixture[str], case: Path, folder: Path, *words: str) -> str:
    capsys.readouterr()
    assert run(case, folder, *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--target", "soc_stock_0_1000"], "did you mean 'soc_stock_0_100'"),
        (["--parameter", "carbon.k_humus"], "did you mean 'carbon.k_hum'"),
        (["--method", "dgsm", "--samples", "1"], "--samples 1"),
        (["--method", "sobol", "--posterior", "absent.nc"], "depend on each other"),
        (["--method", "dgsm", "--posterior", "absent.nc"], "absent.nc"),
        (["--inputs", "absent.toml"], "absent.toml"),
        (["--target", "ph[0-25]@100"], "does not compute ph"),
        (["--target", "recovery_years[topsoil]"], "no land use that comes back"),
    ],
)
def test_bad_words_are_refused_in_one_line_before_anything_is_made(
    words, expected, case, tmp_path, capsys
):
    assert expected in fails(capsys, case, tmp_path / "study", *words)
    assert not (tmp_path / "study").exists()


def test_a_folder_of_something_else_is_left_alone(case, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert "mine.txt, and was not made by diffsoil for a study of sensitivity" in fails(
        capsys, case, tmp_path
    )


def test_a_study_of_other_inputs_is_not_mixed_in(study, case, capsys):
    words = ["--method", "morris", "--samples", "8", "--parameter", "carbon.k_hum"]
    assert "inputs has changed" in fails(capsys, case, study, *words)
    words = ["--method", "morris", "--samples", "8", "--prior", "uniform"]
    assert "holds another study of closed: " in fails(capsys, case, study, *words)
    words = ["--method", "dgsm", "--samples", "16", "--seed", "1"]
    assert "seed was 0, is 1" in fails(capsys, case, study, *words)


def test_failed_draws_are_counted_with_their_inputs(case, tmp_path, monkeypatch):
    def failing(model, x):
        found = gradients(model, x)
        return found | {"value": np.where(x[:, :1] > 0.025, np.nan, found["value"])}

    monkeypatch.setattr(jobs, "gradients", failing)
    folder = tmp_path / "failing"
    words = ["--method", "dgsm", "--method", "active-subspace", "--samples", "16", *WORDS]
    assert run(case, folder, *words) == 0
    failed = pd.read_csv(folder / "failed.csv")
    values = failed[failed["parameter"] == "carbon.k_hum"]["value"]
    n = len(values)
    assert 0 < n < 16
    assert (values > 0.025).all()
    assert set(failed["parameter"]) == set(NAMES)
    found = table(folder)
    of_stock = found[found["output"] == "soc_stock_0_100"]
    assert (of_stock["n_runs"] == 16 - n).all()
    assert of_stock["value"].notna().all()
    assert f"{n} draws failed" in (folder / "report.html").read_text(encoding="utf-8")


def test_a_failed_run_takes_its_trajectory_with_it(case, tmp_path, monkeypatch):
    def failing(model, x):
        found = evaluate(model, x)
        first = np.arange(len(x))[:, None] == 0
        return found | {"value": np.where(first, np.nan, found["value"])}

    monkeypatch.setattr(jobs, "evaluate", failing)
    folder = tmp_path / "failing"
    assert run(case, folder, "--method", "morris", "--samples", "8", *WORDS) == 0
    notes = pd.read_csv(folder / "notes.csv")
    # batches of 16 of the 40 points begin in three trajectories of 5
    assert (notes["dropped"] == 15).all()
    assert (notes["n_runs"] == 25).all()


def test_joint_draws_of_a_fit_are_used_instead_of_priors(case, tmp_path):
    random = np.random.default_rng(1)
    first = random.normal(0.02, 0.002, (2, 40))
    middle = dict(zip(NAMES, (0.02, 1.0, 0.7, 0.5), strict=True))  # all of the study: one compile
    draws = {name: at * (1.0 + 5.0 * (first - 0.02)) for name, at in middle.items()}
    draws |= {NAMES[0]: first, "series error": np.abs(first)}
    posterior = xr.Dataset({k: (("chain", "draw"), v) for k, v in draws.items()})
    posterior.to_netcdf(tmp_path / "posterior.nc", group="posterior", engine="h5netcdf")
    words = ["--posterior", str(tmp_path / "posterior.nc"), *WORDS]
    folder = tmp_path / "study"
    assert run(case, folder, *words, "--method", "shapley", "--samples", "40") == 0
    found = table(folder)
    assert set(found["parameter"]) == set(NAMES)
    with Store.read(folder / "closed" / "gradients.zarr").dataset() as store:
        x = store["x"].to_numpy()
    assert np.corrcoef(x.T)[0, 1] > 0.999  # as they were drawn


def test_inputs_of_a_file_have_their_own_range(case, tmp_path):
    text = """
[input.rates]
what = "two rates alike"
keys = ["carbon.k_rpm", "carbon.k_bio"]
lower = 0.2
upper = 0.5
"""
    path = tmp_path / "inputs.toml"
    path.write_text(text)
    folder = tmp_path / "study"
    assert run(case, folder, "--inputs", str(path), "--prior", "uniform", "--method", "morris",
               "--samples", "2", "--target", "soc_stock_0_100@400") == 0  # fmt: skip
    assert set(table(folder)["parameter"]) == {"rates"}


# Disagreement.


def indices(method: str, index: str, values: list[float], half: float) -> pd.DataFrame:
    names = [f"p{i}" for i in range(len(values))]
    value = np.array(values)
    estimate = Estimate(value, value - half, value + half)
    return Result(method, {index: estimate}, 9).table("stock", "c", 5, names)


def test_a_total_index_above_its_bound_is_flagged_beyond_the_intervals_only():
    total = indices("sobol", "ST", [0.5, 0.3, 0.2], 0.05)
    bound = indices("dgsm", "ST_bound", [0.3, 0.25, 0.9], 0.05)
    found = report.disagreements(pd.concat([total, bound]))
    assert list(found["parameter"]) == ["p0"]
    assert list(found["kind"]) == ["bound"]


def test_an_input_that_one_method_misses_is_flagged():
    sizes = [0.5, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.0]
    total = indices("sobol", "ST", sizes, 0.01)
    turned = indices("dgsm", "mu_scaled", sizes[::-1], 0.01)
    found = report.disagreements(pd.concat([total, turned]))
    assert set(found["kind"]) == {"rank"}
    assert {"p0", "p9"} <= set(found["parameter"])
    same = indices("dgsm", "mu_scaled", sizes, 0.01)
    assert report.disagreements(pd.concat([total, same])).empty


def test_a_table_that_is_damaged_is_named(study, tmp_path):
    (tmp_path / "indices.csv").write_text("method,case\nlocal,c\n")
    with pytest.raises(InputError, match=r"indices\.csv: is damaged"):
        read_table(tmp_path, "indices", COLUMNS)


def test_what_an_ensemble_computes_can_travel(case):
    import pickle

    problem = Problem(case, outputs=OUTPUTS, parameters=NAMES)
    there = pickle.loads(pickle.dumps(partial(evaluate, problem.model)))
    y, again = (
        f(problem.defaults[None])["value"] for f in (there, partial(evaluate, problem.model))
    )
    np.testing.assert_array_equal(y, again)
