"""The chemistry of the column beside PHREEQC, which was written by others for the same."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("phreeqc", reason="PHREEQC is not installed: a package of the group dev")

from tests import phreeqc_models as models
from tests.phreeqc_models import COLUMN, KINDS, OWN, Row, size

PAGE = Path(__file__).parent.parent / "docs/explanation/whole_soil.md"

ROUNDING = 5e-4
"""What molality for molarity, and the activity of water, make between equal equations."""
LIMITS = {
    # bicarbonate alone balances the charge of calcium
    "lg Ca over calcite, pure water": 0.008,
    "pH over calcite, pure water": 0.006,
    "lg Ca over calcite, other ions": 0.07,
    "pH over it, usual": 0.006,
    "pH over it, saline": 0.006,
}
"""Largest difference with the same constants, where it is more than rounding."""


@cache
def rows(kind) -> list[Row]:
    return models.rows(kind)


def in_documentation() -> dict[str, list[list[float]]]:
    """Rows of the table, as pairs of rms and largest."""
    text = PAGE.read_text(encoding="utf-8").split("| what | same constants |")[1].split("\n\n")[0]
    cells = [[x.strip() for x in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    return {name: [[float(y) for y in x.split("/")] for x in rest] for name, *rest in cells}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_the_column_is_phreeqc_with_the_same_constants(kind):
    for row in rows(kind):
        assert row.same[1] < LIMITS.get(row.name, ROUNDING), row.name


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_assumptions_cost_is_what_the_documentation_says(kind):
    table = in_documentation()
    for row in rows(kind):
        found = [row.same, row.own, *row.by.values()]
        np.testing.assert_allclose(found, table[row.name], atol=1.5e-3, err_msg=row.name)


def test_the_documentation_has_no_other_rows():
    assert set(in_documentation()) == {row.name for kind in KINDS for row in rows(kind)}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_without_the_assumptions_only_the_formula_of_activities_is_left(kind):
    undone = dataclasses.replace(OWN, activities="davies")
    for here, there in zip(kind(undone), kind(OWN), strict=True):
        assert size(here.phreeqc - there.phreeqc)[0] < 0.035, here.name


def test_of_hydrolysis_the_temperature_of_the_first_step_is_all_that_counts():
    for kind in (models.in_solution, models.on_exchanger):
        warmed, whole = (
            kind(dataclasses.replace(COLUMN, hydrolysis=x)) for x in ("warmed", "database")
        )
        for one, other in zip(warmed, whole, strict=True):
            assert size(one.phreeqc - other.phreeqc)[1] < 5e-3, one.name


def test_layers_are_of_all_kinds():
    at, made, _ = models.soil()
    usual, saline = (x for x in models.on_exchanger(COLUMN) if x.name.startswith("pH"))
    limed = np.asarray(made.calcite) > 0
    assert 50 < limed.sum() < 150
    assert 20 < (at.anions >= models.SALT).sum() < 80
    for kind in (usual, saline):
        assert kind.column.min() < 4.5
        assert kind.column.max() > 7.5


def test_a_wrong_constant_is_seen(monkeypatch):
    reaction = "CO3-2 + 2 H+ = CO2 + H2O"
    wrong = models.CARBONATE[reaction] + 0.01 * np.eye(5)[0]
    monkeypatch.setitem(models.CARBONATE, reaction, wrong)
    differences = [x.phreeqc - x.column for x in models.in_solution(COLUMN)]
    assert size(differences[0])[0] > 10 * ROUNDING
