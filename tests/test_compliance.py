"""Files of results as others read them: a checker of conventions, in a process of its own."""

from __future__ import annotations

import json
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from diffsoil.cases import load_case
from diffsoil.io import InputError
from diffsoil.output.attributes import STANDARD_NAMES, discovery
from diffsoil.output.simulation import simulate_file
from tests import tiny_case

CHECKER = Path(__file__).parents[1] / ".venv-compliance" / "bin" / "compliance-checker"

ABOUT = """
[about]
creator_name = "A. Tester"
creator_email = "a.tester@example.org"
creator_url = "https://example.org/a"
institution = "Test"
project = "Tests"
license = "CC-BY-4.0"
acknowledgement = "None"

[grid]
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("compliance")
    path = tiny_case.write(folder, case=[("\n[grid]\n", ABOUT)])
    simulate_file(path, {}, folder / "RUN.nc")
    return folder / "RUN.nc"


def faults(file: Path, convention: str) -> dict[str, list[str]]:
    """What the checker says, by what it says it of."""
    found = file.with_name("found.json")
    words = ["--test", convention, "--format", "json_new", "--output", found.name, file.name]
    done = subprocess.run([CHECKER, *words], capture_output=True, text=True, cwd=file.parent)
    assert found.exists(), done.stderr
    (result,) = json.loads(found.read_text())[file.name].values()
    assert result["possible_points"] > 50, done.stderr
    return {one["name"]: one["msgs"] for one in result["all_priorities"] if one["msgs"]}


needs_checker = pytest.mark.skipif(
    not CHECKER.exists(), reason="no compliance checker; `make compliance` installs it"
)


@needs_checker
def test_results_keep_to_the_climate_and_forecast_conventions(file):
    assert faults(file, "cf:1.11") == {}


NOT_KNOWN = {
    # the place on the map
    "geospatial_bounds", "geospatial_lat_min", "geospatial_lat_max", "geospatial_lon_min",
    "geospatial_lon_max", "geospatial_bounds_crs", "geospatial_bounds_vertical_crs",
    # of an archive and its publisher
    "id", "naming_authority", "processing_level", "publisher_name", "publisher_url",
    "publisher_email",
}  # fmt: skip

BEYOND = {
    "geospatial_lat_extents_match",
    "geospatial_lon_extents_match",
    "geospatial_vertical_extents_match",  # compares with the middles of layers, not their bounds
    "time_coverage_extents_match",  # a year is a number here, and no time of a calendar
}
"""What the checker compares, and need not agree."""


@needs_checker
def test_results_say_what_they_are_and_who_made_them(file):
    found = {name: text for name, text in faults(file, "acdd").items() if name not in BEYOND}
    missing = {text.split()[0] for text in found.pop("Global Attributes")}
    assert missing == NOT_KNOWN
    for name, text in found.items():
        assert text == ["standard_name"]
        assert not any(f'"{known}"' in name for known in STANDARD_NAMES)


def test_nobody_is_said_to_have_made_what_a_case_does_not_say(tmp_path):
    said = discovery(load_case(tiny_case.write(tmp_path)), "simulate")
    assert said["title"] == "Two sites and four treatments"
    assert "from 1600 to 1911, to a depth of 0.8 m" in said["summary"]
    version = metadata.version("diffsoil")
    assert f"diffsoil {version} simulate of the case tiny" in said["history"]
    whose = ("creator", "institution", "license", "project", "acknowledgement", "publisher")
    assert not any(name.startswith(whose) for name in said)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('creator_url = "0000-0002"', "about.creator_url: '0000-0002' is no address"),
        ('creator_email = "me at home"', "about.creator_email: 'me at home' is no address of mail"),
        ('license = ""', "about.license"),
        ('author = "me"', "about.author"),
    ],
)
def test_what_a_case_says_of_its_maker_is_checked(line, says, tmp_path):
    path = tiny_case.write(tmp_path, case=[("\n[grid]\n", f"\n[about]\n{line}\n\n[grid]\n")])
    with pytest.raises(InputError, match=says) as error:
        load_case(path)
    assert str(error.value).count("\n") == 0
