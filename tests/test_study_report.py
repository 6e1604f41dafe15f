"""The report of the study: its files, its refusals, and verdicts that follow the numbers."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from diffsoil.io import InputError
from diffsoil.studies.vandermeij2026 import analysis, beyond, figures, findings, report
from diffsoil.studies.vandermeij2026.findings import Results
from diffsoil.work.folder import MARKER
from diffsoil.work.store import Store
from tests.tiny_suite import suite

COLUMNS = {
    "table3": [
        "variable", "predictor", "estimate_Mg_C_ha", "p_value", "eta2_percent", "paper_estimate",
        "paper_eta2",
    ],
    "recovery": [
        "bioclimate", "erosion", "compartment", "deficit_Mg_C_ha", "recovery_years", "recovered",
        "years_to_stock_of_10000",
    ],
    "smoothing": ["id", "paper", "tolerance", "looking_back", "restarted"],
    "recovery_fit": ["compartment", "slope_a_per_Mg", "p_value", "r2"],
    "rocks": ["bioclimate", "land_use", "rock", "year", "soc_stock_0_100", "difference_to_none"],
    "protection": [
        "bioclimate", "erosion", "land_use", "year", "protection", "percent_over_none",
    ],
    "comparison": [
        "id", "paper", "before_fit", "ours", "difference", "tolerance", "used_in_fit", "verdict",
    ],
}  # fmt: skip


def whole_suite() -> xr.Dataset:
    """The runs of the tests of the analysis, with all that a report reads."""
    dataset = suite()
    stock = dataset["soc_stock_0_100"]
    profile = dataset["thickness"]
    return dataset.assign(
        soc_stock_25_100=0.4 * stock,
        litter_stock=0.1 * stock,
        soc=50.0 * profile,
        base_saturation=200.0 * profile,
    )


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return whole_suite()


@pytest.fixture(scope="module")
def runs(dataset: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete suite."""
    folder = tmp_path_factory.mktemp("study")
    values = {str(name): v.to_numpy() for name, v in dataset.data_vars.items()}
    store = Store.open(folder / "runs.zarr", dataset, "made by hand")
    store.write(range(dataset.sizes["scenario"]), values)
    return folder


@pytest.fixture(scope="module")
def results(dataset: xr.Dataset) -> Results:
    """All tables; the slow fit of Table 3, which has tests of its own, is the paper's."""
    printed = analysis._paper_table3()
    table = printed.assign(
        p_value=0.0,
        paper_estimate=printed["estimate_Mg_C_ha"],
        paper_eta2=printed["eta2_percent"],
    )[COLUMNS["table3"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "table3", lambda _: (table, 0.81))
        return findings.evaluate(dataset, {"T3-wet": -20.0}, ["T3-wet", "F1-c"])


@pytest.fixture
def quick(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without the computation and the pictures."""

    def draw(*arguments: object) -> dict[str, Path]:
        folder = arguments[5]
        assert isinstance(folder, Path)
        for name in report.PICTURES:
            for kind in ("png", "pdf"):
                (folder / f"{name}.{kind}").write_bytes(b"a picture")
        return {name: folder / f"{name}.png" for name in report.PICTURES}

    monkeypatch.setattr(report, "evaluate", lambda *_: results)
    monkeypatch.setattr(figures, "draw", draw)


# Files.


def test_a_report_has_every_table_and_figure(
    runs: Path, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(report, "evaluate", lambda *_: results)
    monkeypatch.setattr(figures, "DPI", 50)
    for large in ("histories_by_protection", "histories_by_depth"):
        monkeypatch.setattr(figures, large, figures.intensive)
    report.write_report(runs, tmp_path / "report")
    assert {p.name for p in tmp_path.iterdir()} == {"report"}
    assert {p.name for p in (tmp_path / "report").iterdir()} == {*report.FILES, MARKER}
    for name, columns in COLUMNS.items():
        table = pd.read_csv(tmp_path / "report" / f"{name}.csv")
        assert list(table) == columns, name
        assert len(table) == len(getattr(results, name))
    for name in report.PICTURES:
        assert (tmp_path / "report" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (tmp_path / "report" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(report.PICTURES)
    assert not re.search(r'(src|href)="(?!data:)', page)
    lines = capsys.readouterr().err.splitlines()
    assert lines
    assert all(line.startswith("diffsoil: report: ") for line in lines)


@pytest.mark.slow
def test_the_large_figures_show_all_that_shares_an_axis(dataset: xr.Dataset) -> None:
    """Every protection and every history stays inside the axes."""
    highest = float(dataset["soc_stock_0_100"].isel(year=slice(10000)).max())
    figure = figures.histories_by_protection(dataset)
    assert len(figure.axes) == 6 * 4
    assert all(ax.get_ylim()[0] == 0.0 for ax in figure.axes)
    assert max(ax.get_ylim()[1] for ax in figure.axes) > 0.95 * highest
    assert len({ax.get_ylim() for ax in figure.axes}) == 1
    figure = figures.histories_by_depth(dataset)
    assert len({ax.get_ylim() for ax in figure.axes}) == 3


@pytest.mark.usefixtures("quick")
def test_a_report_that_is_there_stays_unless_told(runs: Path, tmp_path: Path) -> None:
    output = tmp_path / "report"
    report.write_report(runs, output)
    (output / "table3.csv").write_text("mine")
    with pytest.raises(InputError, match="exists already; use --overwrite"):
        report.write_report(runs, output)
    report.write_report(runs, output, overwrite=True)
    assert (output / "table3.csv").read_text() != "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["report"]


def test_a_folder_of_something_else_is_never_replaced(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds thesis.txt, and was not made by diffsoil"):
        report.write_report(runs, tmp_path, overwrite=True)
    with pytest.raises(InputError, match="is a file, a folder is needed"):
        report.write_report(runs, tmp_path / "thesis.txt", overwrite=True)


@pytest.mark.usefixtures("quick")
def test_a_report_that_fails_leaves_nothing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(figures, "draw", fail)
    with pytest.raises(RuntimeError):
        report.write_report(runs, tmp_path / "report")
    assert not list(tmp_path.iterdir())


# Runs that are not there.


def test_an_incomplete_suite_says_what_is_missing_and_how_to_go_on(
    dataset: xr.Dataset, tmp_path: Path
) -> None:
    small = dataset.isel(scenario=slice(6))
    values = {str(name): v.to_numpy() for name, v in small.data_vars.items()}
    store = Store.open(tmp_path / "runs.zarr", small, "made by hand")
    names = small["scenario"].to_numpy().tolist()
    with pytest.raises(InputError, match=f"6 of 6 runs are missing \\({names[0]}"):
        report.write_report(tmp_path, tmp_path / "report")
    store.write([0, 2], {name: value[[0, 2]] for name, value in values.items()})
    with pytest.raises(InputError) as refused:
        report.write_report(tmp_path, tmp_path / "report")
    told = str(refused.value)
    assert f"4 of 6 runs are missing ({names[1]}, {names[3]}, {names[4]}, ...)" in told
    assert told.endswith(f"diffsoil study run -o {tmp_path} --resume")
    assert not (tmp_path / "report").exists()


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"runs.zarr: does not exist; make it with: diffsoil"):
        report.write_report(tmp_path, tmp_path / "report")


def test_another_ensemble_is_refused(tmp_path: Path) -> None:
    other = xr.Dataset({"yield": ("draw", np.zeros(2))}, {"draw": [0, 1]})
    Store.open(tmp_path / "runs.zarr", other, "").write([0, 1], {"yield": np.zeros(2)})
    with pytest.raises(InputError, match="is no suite of the study"):
        report.write_report(tmp_path, tmp_path / "report")


# Targets of a fit.


@pytest.mark.usefixtures("quick")
def test_targets_of_a_fit_are_told_apart(
    runs: Path, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit = tmp_path / "fit"
    shutil.copytree(runs, fit)
    (fit / "targets.csv").write_text(
        "id,paper,tolerance,before,after,used_in_fit\n"
        "T3-wet,-34.82,3,-20,-34,True\nF1-c,12,1.5,9,12,True\nF1-x-switch,5000,700,,4900,False\n"
    )
    asked = []

    def evaluate(_: xr.Dataset, before: dict[str, float], fitted: list[str]) -> Results:
        asked.append((before, fitted))
        return results

    monkeypatch.setattr(report, "evaluate", evaluate)
    report.write_report(fit, tmp_path / "report")
    ((before, fitted),) = asked
    assert fitted == ["T3-wet", "F1-c"]
    assert before["T3-wet"] == -20.0
    assert np.isnan(before["F1-x-switch"])
    table = pd.read_csv(tmp_path / "report" / "comparison.csv").set_index("id")
    assert table.index[table["used_in_fit"]].tolist() == ["T3-wet", "F1-c"]
    assert table.loc["T3-wet", "before_fit"] == -20.0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "2 of the 27 numbers were used to fit" in page
    assert "<h3>Fitted</h3>" in page


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id,before,used_in_fit\nT3-dry,1,True\n", "line 2, column 'id': 'T3-dry' is no target"),
        ("id,before,used_in_fit\nT3-wet,1,maybe\n", "column 'used_in_fit'"),
        ("id,before\nT3-wet,1\n", "column 'used_in_fit' is missing"),
    ],
)
def test_wrong_targets_are_refused(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "targets.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        report.read_targets(tmp_path / "targets.csv")


def test_without_a_fit_nothing_was_fitted(tmp_path: Path) -> None:
    assert report.read_targets(tmp_path / "targets.csv") == ({}, [])


# What lies beside the runs.

INPUTS = """\
input,what,keys,value,prior,lower,upper,logarithm,prior_sd,posterior_sd,posterior_over_prior,partner,correlation,at_bound,verdict
npp,plant input <dry>,a b,0.7,0.75,0.2,1.5,True,0.3,0.03,0.1,roots,-0.8,False,pinned
roots,roots,c,0.95,0.943,0.9,0.985,False,0.012,0.006,0.5,npp,-0.8,False,partly
kaolinite,kaolinite,d,0.4,0.2,0,0.4,False,0.1,0.09,0.9,roots,0.1,True,hardly
"""


@pytest.mark.usefixtures("quick")
def test_fitted_inputs_come_first_and_are_passed_on(runs: Path, tmp_path: Path) -> None:
    fit, output = tmp_path / "fit", tmp_path / "report"
    shutil.copytree(runs, fit)
    (fit / "inputs.csv").write_text(INPUTS)
    report.write_report(fit, output)
    report.write_report(fit, output, overwrite=True)
    assert (output / "inputs.csv").read_text() == INPUTS
    page = (output / "report.html").read_text()
    assert page.index("not tell, fitted</h2>") < page.index("How much of it is reproduced")
    assert "1 pinned, 1 partly and 1 hardly" in page
    assert "at a bound: kaolinite." in page
    assert "plant input &lt;dry&gt; (−0.8)" in page
    assert "0.2 to 1.5" in page


def test_inputs_that_are_wrong_are_refused(tmp_path: Path) -> None:
    (tmp_path / "inputs.csv").write_text(INPUTS.replace("pinned", "certain"))
    with pytest.raises(InputError, match="line 2, column 'verdict': 'certain' is not one of"):
        beyond.read_inputs(tmp_path / "inputs.csv")


def answered(folder: Path, **texts: str) -> Path:
    """A folder with some answers."""
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text)
    return folder


def test_without_answers_there_is_no_section(results: Results, tmp_path: Path) -> None:
    assert beyond.answers(tmp_path / "questions", results) == ""


def test_other_choices_are_judged_in_tolerances(results: Results, tmp_path: Path) -> None:
    text = (
        "id,paper,tolerance,ours,step_5,continuous\nT3-wet,-35,3,-34,-34.3,-34\n"
        "T3-a,8,1.5,8.5,8.5,10.6\nF1-x-switch,5000,700,,,4900\n"
    )
    told = beyond.answers(answered(tmp_path, choices=text), results)
    assert "1 of 2 other choices change no estimate of Table 3 by more than" in told
    assert "1 change no verdict" in told
    cells = re.sub(r"<[^>]*>", "|", told)
    assert "|slow step of 5 years||0.1||T3-wet||none|" in cells
    assert "||1.4||T3-a||T3-a: reproduced → partly; F1-x-switch: not → reproduced|" in cells


def test_the_strength_that_mooh_needs_is_interpolated(results: Results, tmp_path: Path) -> None:
    text = "b2,effect_Mg_C_ha,largest_Mg_C_ha\n5,0.5,1\n500,1.5,3\n5000,2,4\n"
    told = beyond.answers(answered(tmp_path, mooh=text), given(results, T3_p=2.5))
    assert "1 Mg C/ha at B2 = 50;" in told
    assert "what pores add (2.5 Mg C/ha) not even at B2 = 5000." in told
    told = beyond.answers(tmp_path, given(results, T3_p=0.4))
    assert "what pores add (0.4 Mg C/ha) already at B2 = 5." in told


def test_protection_is_set_against_its_uniform_prior(results: Results, tmp_path: Path) -> None:
    text = (
        "parameter,fitted,mean,sd,q05,q95,prior_lower,prior_upper,laplace_sd,r_hat,"
        "effective_draws,corrected_mean,corrected_sd,pareto_k,polynomial_error\n"
        "protection.b1,0.8,0.8,0.02,0.77,0.83,0.5,1,0.02,1.001,900,0.8,0.02,0.4,0.05\n"
        "protection.b2,5,50,28.8,5,95,0,100,,1.002,950,48,27,0.4,0.05\n"
    )
    (tmp_path / "protection.png").write_bytes(b"a picture")
    told = beyond.answers(answered(tmp_path, protection=text), results)
    assert "are pinned down: protection.b1; hardly told: protection.b2." in told
    assert "R-hat is at most 1.002" in told
    assert "(Pareto k 0.4, good)" in told
    assert told.count("data:image/png;base64,") == 1


# Verdicts.


def given(results: Results, **ours: float) -> Results:
    """The results with other numbers of ours; ``T3_wet`` stands for ``T3-wet``.

    What is not given is the paper's.
    """
    table = results.comparison.copy()
    numbers = {
        name.replace("_", "-").replace("land-use", "land_use"): v for name, v in ours.items()
    }
    table["ours"] = [numbers.pop(n, p) for n, p in zip(table["id"], table["paper"], strict=True)]
    assert not numbers
    table["difference"] = table["ours"] - table["paper"]
    table["verdict"] = [
        analysis.verdict(*row) for row in table[["paper", "ours", "tolerance"]].to_numpy()
    ]
    return dataclasses.replace(results, comparison=table)


def test_the_numbers_of_the_paper_reproduce_every_finding(results: Results) -> None:
    found = findings.findings(given(results))
    judged = [f for f in found if f.verdict != findings.OWN]
    assert [f.verdict for f in judged] == ["reproduced"] * len(judged)
    assert len(judged) == 14
    covered = {name for f in judged for name in f.ids}
    assert covered == set(analysis.paper()["id"])


@pytest.mark.parametrize(
    ("look", "numbers", "verdict"),
    [
        (findings.bioclimate, {"T3_wet": -20.0}, "partly"),
        (findings.bioclimate, {"T3_wet": 20.0}, "not"),
        (findings.ranking, {"T3_eta2_land_use": 3.0}, "partly"),
        (findings.ranking, {"T3_eta2_climate": 3.0}, "not"),
        (findings.farming, {"F1_n_extensive": 0.5}, "partly"),
        (findings.farming, {"T3_agricultural": 4.0}, "not"),
        (findings.erosion_order, {"T3_E3": -30.0}, "partly"),
        (findings.erosion_order, {"T3_E3": -20.0}, "not"),
        (findings.protection_order, {"T3_a": 10.0}, "partly"),
        (findings.protection_order, {"T3_m": 20.0}, "not"),
        (findings.together, {"T3_x": 15.0}, "partly"),
        (findings.together, {"T3_x": 9.0}, "not"),
        (findings.mooh, {"T3_m": 3.0}, "partly"),
        (findings.mooh, {"T3_m": 3.0, "F1_m": 5.0}, "not"),
        (findings.alone, {"F1_p": 20.0}, "partly"),
        (findings.aggregation_declines, {"F1_a_early": 30.0}, "partly"),
        (findings.aggregation_declines, {"F1_a_late": 21.0}, "not"),
        (findings.switch, {"F1_x_switch": 2500.0}, "partly"),
        (findings.switch, {"F1_x_switch": np.nan}, "not"),
        (findings.liming, {"F1_a_liming": 0.0}, "not"),
        (findings.liming, {"F1_a_late": 13.0}, "partly"),
        (findings.filling, {"F1_n_equilibrium": 700.0}, "not"),
        (findings.drift, {"T3_year": -0.0001}, "not"),
        (findings.explained, {"T3_intercept": 90.0}, "partly"),
        (findings.explained, {"T3_intercept": 90.0, "T3_r2": 0.6}, "not"),
    ],
)
def test_verdicts_turn_with_the_numbers(
    results: Results, look: findings.Look, numbers: dict[str, float], verdict: str
) -> None:
    same, found = (findings.find(look, given(results, **other)) for other in ({}, numbers))
    assert same.verdict == "reproduced"
    assert found.verdict == verdict
    assert found.reason != same.reason


def test_reasons_turn_with_the_numbers(results: Results) -> None:
    def reason(look: findings.Look, **numbers: float) -> str:
        return findings.find(look, given(results, **numbers)).reason

    swapped = reason(findings.ranking, T3_eta2_land_use=3.0)
    assert "protection comes before land use" in swapped
    assert "eta2 of land use 3 against" in swapped
    assert "more quickly" in reason(findings.filling, F1_n_equilibrium=700.0)
    assert "more slowly" in reason(findings.filling, F1_n_equilibrium=2700.0)
    fit = results.recovery_fit.assign(slope_a_per_Mg=-3.0, p_value=0.4, r2=0.1)
    turned = dataclasses.replace(results, recovery_fit=fit)
    told = findings.find(findings.recovery_and_deficit, turned).reason
    assert "3 years shorter" in told
    assert "not significant" in told
    assert told != findings.find(findings.recovery_and_deficit, results).reason


def test_what_the_reference_does_not_tell_has_no_verdict(results: Results) -> None:
    own = [f for f in findings.findings(results) if not f.ids]
    assert len(own) == 5
    assert {f.verdict for f in own} == {findings.OWN}


# Numbers behind the reasons.


def test_phase_means_are_those_of_their_years(dataset: xr.Dataset) -> None:
    table = findings.phase_stocks(dataset)
    assert len(table) == 12 * 4 * 3
    place = analysis.find(
        analysis.histories(dataset), bioclimate="wet", protection="x", land_use="agricultural",
        erosion="E1-E2-E3", recovery="",
    )[0]  # fmt: skip
    wanted = float(dataset["soc_stock_0_100"][place, 9900:10000].mean())
    labels = {"bioclimate": "wet", "erosion": "E1-E2-E3", "phase": "intensive"}
    chosen = table[(table[list(labels)] == pd.Series(labels)).all(axis=1)].set_index("compartment")
    assert chosen.loc["all", "stock"] == pytest.approx(wanted)
    assert chosen.loc["litter", "stock"] == pytest.approx(0.1 * wanted)


def test_shares_are_those_of_the_carbon(dataset: xr.Dataset) -> None:
    changed = dataset.copy(deep=True)
    changed["modifier_clay"][{"depth_m": 1}] = 0.8
    changed["soc"][{"depth_m": 2}] = 10.0
    shares = figures.limiting_shares(changed)
    assert shares.groupby(["bioclimate", "land_use", "erosion", "output_year"])[
        "share"
    ].sum().to_numpy() == pytest.approx(1.0)
    # 0.4 m each with 20, 20 and, of the upper half, 5 Mg/ha
    means = shares.groupby("mechanism")["share"].mean()
    assert means["clay"] == pytest.approx(20.0 / 45.0)
    assert means["pores"] == pytest.approx(25.0 / 45.0)
    assert shares["output_year"].max() == 10000


@pytest.mark.parametrize(
    ("erosion", "years", "event"),
    [
        ("E1-E1-E1", 0.9, True),
        ("E1-E2-E3", 1000.2, True),
        ("E1-E1-E1", 300.0, False),
        ("E1-E1-E1", 0.0, False),
        ("E0-E0-E0", 1.0, False),
        ("E1-E1-E1", float("nan"), False),
    ],
)
def test_returns_after_an_event_are_found(erosion: str, years: float, event: bool) -> None:
    assert figures.after_event(erosion, years) is event


def test_stretched_years_grow_and_thinned_years_keep_the_saw_tooth() -> None:
    assert np.all(np.diff(figures.KNOTS) > 0.0)
    assert np.all(np.diff(figures.PLACES) > 0.0)
    kept = set((figures._thinned(12000) + 1).tolist())
    for interval in (10, 100, 1000):
        assert {interval * n + late for n in range(1, 12000 // interval) for late in (0, 1)} <= kept
