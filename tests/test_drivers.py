"""The exact decomposition of the runs of the study beside the additive model."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from diffsoil.io import InputError
from diffsoil.studies.vandermeij2026 import analysis, drivers
from diffsoil.work.store import Store
from tests.tiny_suite import suite


def crossed(*sizes: int) -> pd.DataFrame:
    """All combinations of levels, a column for each factor."""
    rows = itertools.product(
        *[[f"{name}{i}" for i in range(n)] for name, n in zip("fgh", sizes, strict=False)]
    )
    return pd.DataFrame(list(rows), columns=list("fgh"[: len(sizes)]))


def sign(labels: pd.DataFrame, name: str) -> np.ndarray:
    """-1 for the first of two levels, 1 for the second."""
    return np.where(labels[name].str.endswith("1"), 1.0, -1.0)


def test_shares_of_a_two_level_design_are_squares_of_its_contrasts() -> None:
    labels = crossed(2, 2, 2)
    f, g, h = (sign(labels, name) for name in "fgh")
    y = 50.0 + 3.0 * f + 2.0 * g + 1.0 * f * g + 0.5 * f * g * h
    table = drivers.decompose(labels, y).set_index("factor")
    whole = 9.0 + 4.0 + 1.0 + 0.25
    np.testing.assert_allclose(table["S1"], np.array([9.0, 4.0, 0.0]) / whole, atol=1e-12)
    np.testing.assert_allclose(table["ST"], np.array([10.25, 5.25, 0.25]) / whole, rtol=1e-12)
    fair = np.array([9.0 + 0.5 + 0.25 / 3, 4.0 + 0.5 + 0.25 / 3, 0.25 / 3]) / whole
    np.testing.assert_allclose(table["shapley"], fair, rtol=1e-12)
    assert table["swing_low"].tolist() == pytest.approx([3.0, 1.0, 1.0])
    assert table["swing_high"].tolist() == pytest.approx([9.0, 7.0, 1.0])
    assert table.loc["f", "swing_linear"] == pytest.approx(6.0)
    terms = drivers._terms(labels, y).set_index("term")["share"]
    assert terms["f:g"] == pytest.approx(1.0 / whole)
    assert terms["f:g:h"] == pytest.approx(0.25 / whole)
    assert terms["g:h"] == pytest.approx(0.0, abs=1e-12)
    assert terms.sum() == pytest.approx(1.0)


def test_in_a_balanced_design_the_additive_model_sees_first_indices_only() -> None:
    labels = crossed(2, 3, 4)
    y = np.random.default_rng(1).normal(10.0, 1.0, len(labels))
    table = drivers.decompose(labels, y)
    np.testing.assert_allclose(table["eta2"], table["S1"], rtol=1e-9)
    np.testing.assert_allclose(table["residual"], 1.0 - table["S1"].sum(), rtol=1e-9)
    assert (table["ST"] >= table["S1"]).all()
    assert table["shapley"].sum() == pytest.approx(1.0)


def test_factors_that_go_together_share_what_both_could_explain() -> None:
    labels = pd.DataFrame({"f": list("aabbbb"), "g": list("cccdde"), "h": list("xyxyxx")})
    labels = labels.drop_duplicates()
    y = np.array([0.0, 1.0, 2.0, 5.0, 4.0, 3.0])[: len(labels)]
    table = drivers.decompose(labels, y).set_index("factor")
    assert table["shapley"].sum() == pytest.approx(1.0)
    assert (table["shapley"] >= 0.0).all()
    assert table.loc["f", "S1"] > table.loc["f", "ST"]


def test_an_order_that_turns_round_is_found() -> None:
    labels = crossed(2, 2)
    f, g = sign(labels, "f"), sign(labels, "g")
    table = drivers.decompose(labels, 100.0 + 10.0 * f * g).set_index("factor")
    assert table.loc["f", "reversal"] == 0.5
    assert table.loc["f", "reversal_levels"] == "f0/f1"
    np.testing.assert_allclose(table["ST"], 1.0)
    np.testing.assert_allclose(table["eta2"], 0.0, atol=1e-12)
    # by less than one per cent of the stock it is no matter
    weak = drivers.decompose(labels, 100.0 + 10.0 * f + 0.2 * g * f).set_index("factor")
    assert weak["reversal"].tolist() == [0.0, 0.0]
    # and one that is the same everywhere is none, whichever level is above
    for slope in (-10.0, 10.0):
        steady = drivers.decompose(labels, 100.0 + slope * f + 3.0 * g)
        assert steady["reversal"].tolist() == [0.0, 0.0]


def test_a_constant_stock_has_no_shares() -> None:
    table = drivers.decompose(crossed(2, 2), np.full(4, 7.0))
    assert table[["S1", "ST", "shapley", "eta2"]].isna().all(axis=None)
    told = drivers.sentences(
        table.assign(design="farmed", year=pd.array([8000, 8000], dtype="Int64")),
        pd.DataFrame({"design": [], "year": [], "term": [], "order": [], "share": []}),
    )
    assert told[-1] == "farmed from year 8000, all erosion histories, year 8000: " \
        "the stock is the same in all runs."  # fmt: skip


@pytest.fixture(scope="module")
def made() -> xr.Dataset:
    """Runs in which only land use, erosion and their product act, from year 8001 on."""
    dataset = suite()[["soc_stock_0_100"]]
    runs = analysis.histories(dataset)
    farmed = (runs["land_use"] == "agricultural").to_numpy()
    eroded = (runs["erosion"] != "E0-E0-E0").to_numpy()
    wet = (runs["bioclimate"] == "wet").to_numpy()
    year = dataset["year"].to_numpy()
    late = (year > analysis.NATURAL)[None]
    change = 10.0 * farmed + 6.0 * eroded + 8.0 * (farmed & eroded)
    stock = 60.0 + 4.0 * wet[:, None] + late * change[:, None]
    return dataset.assign(soc_stock_0_100=(("scenario", "year"), stock))


@pytest.fixture(scope="module")
def folder(made: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("study")
    store = Store.open(path / "runs.zarr", made, "made by hand")
    wanted = np.flatnonzero(analysis.histories(made)["recovery"] == "")
    values = {"soc_stock_0_100": made["soc_stock_0_100"].to_numpy()[wanted]}
    store.write(wanted.tolist(), values)  # the runs that go on to year 12 000 are not needed
    return path


def test_drivers_of_a_store_are_written_and_are_those_put_in(folder: Path, tmp_path: Path) -> None:
    found = drivers.drivers(folder)
    found.write(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(drivers.FILES)
    table = pd.read_csv(tmp_path / "out" / "drivers.csv")
    assert len(table) == len(found.factors) == 3 * (4 + 3 + 4) + 5

    def of(design: str, year: int) -> pd.DataFrame:
        return table[(table["design"] == design) & (table["year"] == year)].set_index("factor")

    before = of("crossed", 8000)
    assert before["ST"].round(9).tolist() == [1.0, 0.0, 0.0, 0.0]
    # contrasts of two-level factors: half the mean effect, and a quarter of the product
    part = {"bioclimate": 2.0**2, "land_use": 7.0**2, "erosion": 5.0**2}
    whole = sum(part.values()) + 2.0**2
    for year in (9900, 10000):
        after = of("crossed", year)
        for factor, square in part.items():
            both = 4.0 if factor != "bioclimate" else 0.0
            assert after.loc[factor, "S1"] == pytest.approx(square / whole, rel=1e-5)
            assert after.loc[factor, "ST"] == pytest.approx((square + both) / whole, rel=1e-5)
        assert after.loc["protection", "ST"] == pytest.approx(0.0, abs=1e-9)
        assert after["residual"].iloc[0] == pytest.approx(4.0 / whole, rel=1e-4)
    # more than a thousand years after the change trailing means hold nothing from before it
    late = of("crossed", 9900)
    assert late.loc["land_use", "ST_smoothed"] == pytest.approx(
        late.loc["land_use", "ST"], rel=1e-4
    )
    dependent = of("all", 10000)
    assert dependent["shapley"].sum() == pytest.approx(1.0, rel=1e-5)
    assert dependent.loc["erosion", "S1"] > dependent.loc["erosion", "ST"]

    pooled = table[table["design"] == drivers.POOLED].set_index("factor")
    stock = analysis.regression_table(drivers.read(folder))
    printed = anova(stock)
    np.testing.assert_allclose(pooled["eta2"], printed[list(pooled.index)], atol=1e-5)

    term = found.terms.query("design == 'crossed' and year == 10000").set_index("term")["share"]
    assert term["land_use:erosion"] == pytest.approx(4.0 / whole)
    words = (tmp_path / "out" / "drivers.txt").read_text(encoding="utf-8")
    assert "its p values say nothing" in words
    assert "go together in these runs" in words


def anova(table: pd.DataFrame) -> pd.Series:
    """Type-II ANOVA of the regression by statsmodels, shares of the sum of its lines."""
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    fit = ols("soc_stock_0_100 ~ " + " + ".join(analysis.VARIABLES), table).fit()
    squares = anova_lm(fit, typ=2)["sum_sq"]
    return (squares / squares.sum()).rename({"climate": "bioclimate"})


def test_missing_runs_and_files_in_the_way_are_told(
    folder: Path, made: xr.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"none/runs.zarr: does not exist; make it with: diffsoil"):
        drivers.drivers(tmp_path / "none")
    store = Store.open(tmp_path / "runs.zarr", made, "made by hand")
    store.write([0], {"soc_stock_0_100": made["soc_stock_0_100"].to_numpy()[:1]})
    with pytest.raises(InputError, match="71 of 72 runs are missing"):
        drivers.drivers(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "drivers.png").touch()
    with pytest.raises(InputError, match=r"drivers.png: exists already; use --overwrite"):
        drivers.drivers(folder).write(tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["drivers.png"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: is a file, a folder is needed"):
        drivers.drivers(folder).write(tmp_path / "file")
