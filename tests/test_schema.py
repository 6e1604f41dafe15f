"""The JSON schema of cases and scenarios: every key is explained, and editors understand it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from calibration.twin.scenario import ScenarioFile
from diffsoil.cases.json_schema import json_schema, keys
from diffsoil.cases.schema import CaseFile
from diffsoil.cli import main
from diffsoil.column import COLUMNS
from diffsoil.io import data_path
from diffsoil.processes.protection import MECHANISMS


@pytest.mark.parametrize("model", [CaseFile, ScenarioFile])
def test_every_key_has_a_description(model):
    silent = [name for name, key in keys(json_schema(model)) if not key["description"]]
    assert silent == []


@pytest.mark.parametrize("model", [CaseFile, ScenarioFile])
def test_keys_that_name_a_unit_say_it(model):
    units = {
        "_cm": "cm",
        "_percent": "%",
        "carbon_t_ha": "t C/ha",
        "_m": "m",
        "_mm_a": "mm",
        "_kg_m2": "g",
    }
    for name, key in keys(json_schema(model)):
        for end, unit in units.items():
            if name.endswith(end):
                assert unit in key["description"], name


def test_schema_knows_choices_ranges_and_defaults():
    schema = json_schema(CaseFile)
    of = dict(keys(schema))
    assert of["CaseFile.column"]["enum"] == list(COLUMNS)
    assert of["CaseFile.protection"]["items"]["enum"] == list(MECHANISMS)
    assert of["Horizon.clay_percent"]["description"].endswith("Range: 0 to 100.")
    assert of["LandUse.plough_depth_m"]["description"].endswith("Range: 0 to 1. Default: 0.")


def tombi(folder: Path, text: str, kind: str = "case") -> str:
    """What the TOML language tool has to say of a file with a line #:schema; empty if nothing."""
    if not (folder / f"{kind}.schema.json").exists():
        assert main(["schema", kind, "-o", str(folder / f"{kind}.schema.json")]) == 0
    (folder / "file.toml").write_text(f"#:schema ./{kind}.schema.json\n{text}", encoding="utf-8")
    found = subprocess.run(
        [Path(sys.executable).parent / "tombi", "lint", "--offline", "file.toml"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    said = found.stdout + found.stderr
    return "" if found.returncode == 0 and "arning" not in said else said


def test_shipped_files_agree_with_their_schema_in_an_editor(tmp_path):
    for kind in ("case", "scenario"):
        for path in sorted(data_path(f"{kind}s").glob("*.toml")):
            assert tombi(tmp_path, path.read_text(encoding="utf-8"), kind) == "", path.name


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("leaf_share = 0.6", "leafshare = 0.6", '"leafshare" is not allowed'),
        ("root_beta = 0.966", "root_beta = 9.66", "9.66"),
        ('column = "whole_soil"', 'column = "whole"', '"carbon", "whole_soil"'),
    ],
)
def test_editor_names_what_is_wrong_in_a_case(old, new, words, tmp_path):
    text = data_path("cases", "loess_wet_forest.toml").read_text(encoding="utf-8")
    assert old in text
    assert words in tombi(tmp_path, text.replace(old, new, 1))


def test_schema_is_printed_as_json(capsys):
    assert main(["schema", "scenario"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema(ScenarioFile)
