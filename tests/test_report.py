"""The pictures and the report of a fit, on small made-up posteriors."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape

from calibration import checks, plots, report, store, treatments
from calibration.methods import MAP, NUTS, Laplace
from diffsoil.cases import Case, load_case
from diffsoil.cases.fingerprint import checksum
from diffsoil.cases.overview import overview
from diffsoil.report import pictures
from tests import tiny_case
from tests.test_checks import YEARS, fake_table, fake_tree, parameters

LABELS = {"plain": "Plain & simple <plot 1>"}


def settings(case: Case, **changes: Any) -> store.Settings:
    given = {
        "case": case.file.name,
        "case_sha256": checksum(case.text),
        "method": NUTS(chains=2, warmup=75, draws=300),
        "seed": 7,
        "set": {"carbon.k_rpm": 0.25},
        "free": ["carbon.k_hum"],
        "version": "9.9",
    }
    return store.Settings(**(given | changes))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return load_case(tiny_case.write(tmp_path_factory.mktemp("tiny")))


def sides(table: pd.DataFrame) -> pd.DataFrame:
    return treatments.sides(table, np.random.default_rng(2).normal(size=(300, len(table))))


def made(
    folder: Path,
    case: Case,
    table: pd.DataFrame,
    chains: int = 2,
    draws: int = 300,
    drawn: bool = False,
    **how: Any,
) -> tuple[str, pd.DataFrame, dict[str, Path]]:
    """Text of a report, its checks and its pictures."""
    tree = fake_tree(table, chains=chains, draws=draws)
    wanted = settings(case, **how)
    summary = checks.summary(tree, parameters())
    found = checks.checks(tree, parameters(), table, dataclasses.replace(wanted.method, quick=True))
    figures = plots.draw(folder, tree, parameters(), table, LABELS) if drawn else {}
    contents = report.Contents(tree, table, summary, found, sides(table), overview(case), figures)
    path = report.write(folder, case, wanted, contents)
    return path.read_text(encoding="utf-8"), found, figures


@pytest.fixture(scope="module")
def full(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, pd.DataFrame, dict[str, Path]]:
    table = fake_table()
    return made(tmp_path_factory.mktemp("full"), case, table, drawn=True)


def test_every_picture_is_drawn_and_nothing_else_is_left(full: Any) -> None:
    _, _, figures = full
    names = ["fit", "overview", "kept_out", "priors", "pairs", "ranks", "residuals"]
    assert list(figures) == names
    for name, path in figures.items():
        assert path.name == f"{name}.png"
        assert path.read_bytes().startswith(b"\x89PNG")
    folder = next(iter(figures.values())).parent
    assert {p.name for p in folder.iterdir()} == {f"{n}.png" for n in names} | {"report.html"}


def test_a_report_is_one_file_without_references_to_anything_outside(full: Any) -> None:
    text, _, figures = full
    sources = re.findall(r'(?:src|href)\s*=\s*"([^"]{0,30})', text)
    assert len(sources) == len(figures)
    assert all(s.startswith("data:image/png;base64,") for s in sources)
    assert not re.search(r"<script|<link|<iframe|@import|url\(", text)


def test_a_report_contains_every_check_and_its_meaning(full: Any) -> None:
    text, found, _ = full
    for _, row in found.iterrows():
        assert escape(row["check"]) in text
        assert escape(row["meaning"]) in text
    assert text.index("<h2>In short") < text.index("<h2>Checks") < text.index("<h2>Fit")


def test_a_failed_check_is_marked_and_counted(case: Case, tmp_path: Path) -> None:
    table = fake_table(np.sin(np.arange(len(YEARS)) / 2))
    text, found, _ = made(tmp_path, case, table)
    failed = found[~found["passed"]]
    assert len(failed)
    made_of = int((found["value"].notna() | ~found["passed"]).sum())
    assert text.count(f"{len(failed)} of {made_of} checks failed") == 2
    assert text.count('<tr class="failed"><td>residual') == len(failed)
    for _, row in failed.iterrows():
        assert f"<li>{escape(row['check'])}: {escape(row['meaning'])}</li>" in text


def test_a_report_states_misses_of_kept_out_observations_plainly(
    case: Case, tmp_path: Path
) -> None:
    table = fake_table(np.zeros(len(YEARS)))
    table.loc[len(table) - 1, "value"] = 55.0
    text, _, _ = made(tmp_path, case, table)
    assert "11 of 12 kept-out measurements lie inside" in text
    assert "Missed: wild 1955, measured 55 Mg C/ha, above the limit of 21.6." in text


def test_a_report_says_how_to_repeat_the_fit(full: Any, case: Case) -> None:
    text, _, _ = full
    assert (
        "diffsoil calibrate FIT/case.toml -o AGAIN --method nuts --chains 2 --warmup 75 "
        "--draws 300 --seed 7 --set carbon.k_rpm=0.25"
    ) in text
    assert "diffsoil 9.9" in text
    assert escape(case.text) in text


def test_the_command_of_a_quick_fit_says_quick(case: Case) -> None:
    quick = settings(case, method=Laplace(quick=True), set={})
    assert report.command(quick) == (
        "diffsoil calibrate FIT/case.toml -o AGAIN --method laplace --quick --seed 7"
    )


def test_text_of_users_is_escaped(case: Case, tmp_path: Path) -> None:
    table = fake_table().replace({"treatment": {"wild": "<b>wild</b>"}})
    text, _, _ = made(tmp_path, case, table)
    assert "<b>wild" not in text
    assert "&lt;b&gt;wild" in text


def test_a_one_draw_tree_gets_a_report(case: Case, tmp_path: Path) -> None:
    table = fake_table(sd=0.0)
    text, _, figures = made(tmp_path, case, table, chains=1, draws=1, method=MAP(), drawn=True)
    assert set(figures) == {"fit", "overview", "kept_out", "priors"}
    assert "not checked" in text
    assert "A single set of parameters has no spread" in text
    assert "nothing is said about misses" in text


def test_crosses_are_spoken_of_where_there_are_divergences_only(
    case: Case, full: Any, tmp_path: Path
) -> None:
    said = "orange crosses the 3 divergences"
    table = fake_table()
    tree = fake_tree(table)
    tree["sample_stats"]["diverging"].data[0, :3] = True
    assert plots.diverging(tree).sum() == 3
    assert plots.diverging(fake_tree(table)).sum() == 0
    # statistics of more transitions than there are draws are not those of the draws
    tree["posterior"] = tree["posterior"].to_dataset().isel(draw=slice(0, None, 3))
    assert (
        plots.diverging(tree).size
        == tree["posterior"].sizes["draw"] * tree["posterior"].sizes["chain"]
    )
    assert plots.diverging(tree).sum() == 0
    tree = fake_tree(table)
    tree["sample_stats"]["diverging"].data[0, :3] = True
    assert "crosses" not in full[0]
    summary = checks.summary(tree, parameters())
    figures = plots.draw(tmp_path, tree, parameters(), table, LABELS)
    found = checks.checks(tree, parameters(), table, NUTS(quick=True))
    contents = report.Contents(tree, table, summary, found, sides(table), overview(case), figures)
    page = report.write(tmp_path, case, settings(case), contents)
    assert said in page.read_text(encoding="utf-8")


def test_a_series_has_one_error_in_a_report(full: Any) -> None:
    text, _, _ = full
    assert "published sd alone" not in text
    errors = text.split("<h2>Errors of measurement")[1].split("<h2>")[0]
    assert errors.count("<td>forest</td>") == 1


def test_one_chain_has_no_ranks(tmp_path: Path) -> None:
    tree = fake_tree(fake_table(), chains=1)
    assert plots.ranks(tree) is None
    assert plots.pairs(tree) is not None


def test_nothing_kept_out_is_said_and_not_drawn(case: Case, tmp_path: Path) -> None:
    table = fake_table()
    fitted = table[table["fitted"]].reset_index(drop=True)
    text, _, _ = made(tmp_path, case, fitted)
    assert plots.kept_out(fitted, LABELS) is None
    assert "Nothing was kept out of this fit." in text


def test_a_treatment_measured_in_two_ways_has_two_panels() -> None:
    table = fake_table()
    second = table[table["treatment"] == "plain"].assign(variable="soc_percent", value=1.0)
    both = pd.concat([table, second], ignore_index=True)
    found = plots._panels(fake_tree(both), both)
    assert [(p.treatment, p.variable) for p in found] == [
        ("plain", "soc_stock"),
        ("plain", "soc_percent"),
        ("manured", "soc_stock"),
        ("wild", "soc_stock"),
    ]
    assert [p.is_topsoil for p in found] == [True, False, True, False]


def test_values_of_a_method_with_a_fitted_factor_are_drawn_on_the_scale_of_the_soil() -> None:
    table = fake_table().assign(method="wet", error_sd=2.0)
    tree = fake_tree(table)
    posterior = tree["posterior"].to_dataset()
    shape = posterior["manure.factor"].shape
    posterior["observation.method_factor.wet"] = (("chain", "draw"), np.full(shape, 0.8))
    tree["posterior"] = type(tree)(posterior)
    found = plots.measured(tree, table.iloc[:1].assign(value=20.0))
    assert found["value"].item() == pytest.approx(25.0)
    assert found["error"].item() == pytest.approx(2.5)


def test_a_picture_that_fails_leaves_no_file(tmp_path: Path) -> None:
    figure = plots.pairs(fake_tree(fake_table()))
    assert figure is not None
    figure.set_size_inches(1e6, 1e6)  # cannot be drawn
    with pytest.raises(ValueError, match="too large"):
        pictures.save(figure, tmp_path / "pairs.png")
    assert not list(tmp_path.iterdir())
