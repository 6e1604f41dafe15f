"""``diffsoil new``: a folder with a case that runs as it is."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from calibration.preview import check_case
from diffsoil.cases import load_case
from diffsoil.cases.overview import overview, yearly_inputs
from diffsoil.cli import main
from diffsoil.io import InputError, data_path
from diffsoil.rothc import read_inputs
from diffsoil.starter.answers import Answers, OwnTables
from diffsoil.starter.new import new_case
from tests.test_schema import tombi

ROTHC = data_path("reference", "rothc")


def test_the_example_is_short_and_checks_without_a_word_of_python(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "field", "--title", 'My "first" soil']) == 0
    assert "diffsoil check field/case.toml" in capsys.readouterr().out
    text = Path("field/case.toml").read_text()
    assert len(text.splitlines()) <= 60
    assert tombi(tmp_path, text) == ""
    case = load_case("field/case.toml")
    assert (case.name, case.file.title) == ("field", 'My "first" soil')
    assert "soc_percent" in check_case("field/case.toml")
    assert case.file.carbon == "rothc_passive"


def test_a_rothc_run_keeps_its_climate_and_the_carbon_of_each_year(tmp_path):
    new_case(tmp_path / "field", ROTHC / "inputs.csv", ROTHC / "site.json")
    case = load_case(tmp_path / "field" / "case.toml")
    months = read_inputs(ROTHC / "inputs.csv").iloc[12:]
    by_year = yearly_inputs(overview(case).plan).set_index("year")
    for kind, column in (("plants", "c_inp_tC_ha"), ("manure", "fym_tC_ha")):
        given = months.groupby("year")[column].sum()
        np.testing.assert_allclose(by_year[kind], given.loc[by_year.index], rtol=1e-4, atol=1e-9)
    weather = case.climate["weather"]
    np.testing.assert_allclose(weather["precipitation_mm"], months["rain_mm"], rtol=1e-5)
    grid = case.file.grid
    assert grid.layers * grid.thickness_m == pytest.approx(0.25)  # the depth of RothC
    horizon = case.file.soil["field"].horizons[0]
    assert horizon.clay_percent == 18.5
    inert = horizon.iom_percent / 100 * horizon.bulk_density * 25 * 100
    assert inert == pytest.approx(3.4, rel=1e-4)
    assert case.file.carbon == "rothc"


def test_inert_carbon_of_a_profile_is_not_counted_beside_the_old_pool(tmp_path):
    for inert in (0.0, 0.1):
        table = tmp_path / f"{inert}.csv"
        horizon = {"upper_cm": 0, "lower_cm": 100, "clay_percent": 20, "silt_percent": 60}
        more = {"bulk_density": 1.4, "soc_percent": 1.0, "iom_percent": inert}
        pd.DataFrame([horizon | more]).to_csv(table, index=False)
        new_case(tmp_path / f"field_{inert}", table)
        case = load_case(tmp_path / f"field_{inert}" / "case.toml")
        assert ("carbon.iom_factor" in case.file.set) == (inert > 0)
    assert case.file.set["carbon.iom_factor"] == 0.0


def test_a_fault_of_a_profile_names_the_file_of_the_user_and_leaves_no_folder(tmp_path):
    table = tmp_path / "mine.csv"
    pd.DataFrame({"upper_cm": [0], "lower_cm": [20], "clay_percent": [-3]}).to_csv(table)
    with pytest.raises(InputError) as error:
        new_case(tmp_path / "field", table)
    assert all(fault.startswith(f"{table}: ") for fault in error.value.faults)
    assert any("clay_percent" in fault for fault in error.value.faults)
    assert not (tmp_path / "field").exists()


def test_nothing_that_is_there_is_written_over(tmp_path):
    (tmp_path / "field").mkdir()
    with pytest.raises(InputError, match="field: exists already"):
        new_case(tmp_path / "field")
    assert list((tmp_path / "field").iterdir()) == []


@pytest.mark.parametrize(
    ("answers", "said"),
    [({"crop": "ceral"}, "did you mean 'cereal'"), ({"native": "x"}, "no land use 'x'")],
)
def test_a_land_use_that_the_library_lacks_is_named(answers, said, tmp_path):
    with pytest.raises(InputError, match=said):
        new_case(tmp_path / "field", answers=Answers(**answers))


def test_years_that_do_not_follow_one_another_are_refused(capsys, tmp_path):
    assert main(["new", str(tmp_path / "field"), "--first", "900"]) == 2
    assert "must follow one another" in capsys.readouterr().err


@pytest.fixture
def trial(tmp_path, monkeypatch) -> OwnTables:
    """A trial of two treatments, one of which is limed and lies fallow once."""
    monkeypatch.chdir(tmp_path)
    rows = [(name, year) for name in ("none", "limed") for year in (1990, 1991, 1992)]
    table = pd.DataFrame(rows, columns=["treatment", "year"])
    table["land_use"] = ["crop", "bare_fallow", "maize"] * 2
    table["yield_t_ha"] = [4.0, None, 6.0] * 2
    table["lime_mol_m2"] = [0.0, 0.0, 0.0, 5.0, 0.0, 0.0]
    table.to_csv("rows.csv", index=False)
    seen = {"site": "plot 7", "treatment": ["none", "limed"], "year": 1992, "variable": "ph"}
    seen |= {"upper_cm": 0, "lower_cm": 20, "value": [5.0, 6.5], "unit": "1", "method": "water"}
    pd.DataFrame(seen).to_csv("seen.csv", index=False)
    return OwnTables(management=Path("rows.csv"), observations=Path("seen.csv"))


def test_own_tables_make_the_treatments_years_and_land_uses_of_a_case(trial):
    new_case("field", answers=Answers(column="whole_soil"), tables=trial)
    case = load_case("field/case.toml")
    assert [treatment.name for treatment in case.file.treatment] == ["none", "limed"]
    assert (list(case.sites), case.file.history[-1].until, case.end_year) == (
        ["plot 7"],
        1989,
        1992,
    )
    by_year = yearly_inputs(overview(case).plan).set_index(["year", "treatment"])["plants"]
    assert by_year[1991, "none"] == 0.0  # the library's bare fallow
    assert by_year[1992, "none"] > by_year[1990, "none"] > 0.0
    horizon = case.file.soil["plot 7"].horizons[0]
    assert horizon.mineralogy == "mixed"  # the only one, so it need not be said


@pytest.mark.parametrize(
    ("source", "column", "cell", "answers", "said"),
    [
        (None, "site", "plot 8", {}, "seen.csv: column 'site': 2 sites (plot 7, plot 8)"),
        (None, "", "", {"first": 1980}, "--first 1980: rows.csv has the years 1990 to 1992"),
        (None, "", "", {"column": "soil"}, "--column soil: must be one of carbon, whole_soil"),
        ("rothamsted", "", "", {}, "--management: rothamsted has its own"),
    ],
)
def test_tables_that_do_not_fit_are_refused(source, column, cell, answers, said, trial):
    if column:
        table = pd.read_csv("seen.csv")
        table.loc[1, column] = cell
        table.to_csv("seen.csv", index=False)
    with pytest.raises(InputError) as error:
        new_case("field", source, answers=Answers(**answers), tables=trial)
    assert said in str(error.value)
    assert not Path("field").exists()


def test_a_shipped_case_is_copied_as_it_is(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "field", "--from", "rothamsted", "--crop", "maize"]) == 2
    assert "rothamsted: is copied as it is" in capsys.readouterr().err
    assert main(["new", "field", "--from", "loess_dry_steppe"]) == 0


def test_a_fault_of_an_own_table_is_that_of_the_file_of_the_user(trial):
    table = pd.read_csv("rows.csv")
    table.loc[2, "land_use"] = "maiz+e"
    table.loc[3, "yield_t_ha"] = -1
    table.to_csv("rows.csv", index=False)
    with pytest.raises(InputError, match=r"rows.csv: line 5, column 'yield_t_ha': -1"):
        new_case("field", answers=Answers(column="whole_soil"), tables=trial)
