"""The short case of the documentation runs as it stands there."""

import re
from pathlib import Path

import numpy as np
import pytest

import diffsoil
from diffsoil.cases import load_case
from diffsoil.cases.crops import crops
from diffsoil.cases.land_use import library
from tests.test_schema import tombi

PAGE = next((Path(__file__).resolve().parents[1] / "docs").rglob("short_cases.md"))


def block(kind: str) -> str:
    return re.search(rf"```{kind}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    (folder / "field.toml").write_text(block("toml"), encoding="utf-8")
    (folder / "profile.csv").write_text(block("text"), encoding="utf-8")
    return folder / "field.toml"


def test_it_has_at_most_sixty_lines_and_an_editor_takes_it(tmp_path):
    text = block("toml")
    assert len(text.splitlines()) <= 60
    assert tombi(tmp_path, text) == ""


def test_it_simulates_and_grass_with_manure_gains_carbon(case):
    read = load_case(case)
    assert read.file.grid.layers * read.file.grid.thickness_m == pytest.approx(1)
    run = diffsoil.simulate(case).to_xarray()
    last = run["soc"].isel(output_year=-1).sum("depth_m")
    mineral, manured = (float(last.sel(treatment=name)) for name in ("mineral", "manured"))
    assert np.isfinite([mineral, manured]).all()
    assert 20 < mineral < 150  # t C/ha to 1 m
    assert manured > mineral


def test_the_page_names_what_the_libraries_have():
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in library() if f"`{name}`" not in page] == []
    assert round(crops()["wheat"].carbon(1), 2) == 0.37
