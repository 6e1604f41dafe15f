"""``diffsoil check``: what will be done with a case, before it is done."""

from __future__ import annotations

import pandas as pd
import pytest

from calibration.preview import check_case
from diffsoil.cases import load_case
from diffsoil.cases.overview import overview, yearly_inputs
from diffsoil.cli import main
from tests.test_calibration import observation, rows, write_case


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return write_case(tmp_path_factory.mktemp("check"), rows())


def test_inputs_of_years_are_those_of_the_tables(case):
    read = load_case(case)
    found = overview(read)
    by_year = yearly_inputs(found.plan)
    given = read.management
    merged = by_year.merge(given, on=["treatment", "year"])
    assert len(merged) == len(by_year) == len(given)
    plants = merged["plant_carbon_base_t_ha"] + merged["plant_carbon_yield_t_ha"]
    own = [read.file.land_use[use].npp is None for use in merged["land_use"]]
    pd.testing.assert_series_equal(merged["plants"][own], plants[own], check_names=False)
    pd.testing.assert_series_equal(
        merged["manure"], merged["manure_carbon_t_ha"], check_names=False
    )
    # stretches of one land use cover all years of all treatments
    told = found.inputs[found.inputs["from"] >= found.plan.experiment_year]
    assert (told["until"] - told["from"] + 1).sum() == len(by_year)


def test_a_case_is_told_with_its_defaults_and_what_is_fitted(case, capsys):
    assert main(["check", str(case)]) == 0
    said = capsys.readouterr().out
    read = load_case(case)
    for member in read.file.treatment:
        assert member.name in said
    for name in read.file.free:
        assert name in said
    assert "no fault" in said
    holding = said.split("what holds instead")[1]
    assert "water" in holding
    assert "bucket" in holding
    assert "dissolved_iron" not in holding  # of a whole soil only


def test_a_case_with_faults_is_refused_with_all_of_them(tmp_path, capsys):
    path = write_case(tmp_path, [observation(value=-3), observation(year=1902, unit="stones")])
    assert main(["check", str(path)]) == 2
    said = capsys.readouterr().err
    assert "line 2, column 'value'" in said
    assert "line 3, column 'unit'" in said


def test_the_page_has_the_bands_of_the_priors_beside_the_data(case, tmp_path):
    folder = tmp_path / "page"
    check_case(case, folder)
    table = pd.read_csv(folder / "prior_predictions.csv")
    assert len(table) == len(rows())
    assert (table["q05"] < table["q50"]).all()
    assert (table["q50"] < table["q95"]).all()
    page = (folder / "report.html").read_text()
    assert page.count("<img") == 4
    assert "What the priors say before any fit" in page
