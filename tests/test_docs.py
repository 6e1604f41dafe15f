"""Pages for readers: what they tell to type can be typed, and what they link to is there."""

from __future__ import annotations

import csv
import importlib
import os
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from cyclopts import CycloptsError

from calibration.twin import scenario
from calibration.twin.scenario import ScenarioFile
from diffsoil.cases import load_case
from diffsoil.cases.schema import CaseFile
from diffsoil.cli import app
from diffsoil.io import InputError

ROOT = Path(__file__).parents[1]
PROGRAMS = Path(sys.executable).parent
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if "_run" not in p.parts),
]
INDENTED = re.compile(r"(?:^    .*\n)+", flags=re.M)
FENCED = re.compile(r"^```([^\n]*)\n(.*?)^```", flags=re.M | re.S)


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(text: str) -> list[str]:
    """The commands of a page, those of the tutorial among them."""
    shell = [body for kind, body in FENCED.findall(text) if kind in ("{run}", "sh")]
    shell += INDENTED.findall(FENCED.sub("", text))
    lines = "\n".join(shell).replace("\\\n", " ").splitlines()
    typed = [line.strip().split(" || ")[0] for line in lines]
    return [line for line in typed if line.startswith(("diffsoil ", "make ", "python scripts/"))]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_of_a_page_can_be_typed(page):
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.M)
    for line in commands(page.read_text(encoding="utf-8")):
        program, *words = shlex.split(line, comments=True)
        if program == "make":
            assert words[0] in targets, line
        elif program == "python":
            assert (ROOT / words[0]).is_file(), line
        else:
            try:
                app.parse_args(words, exit_on_error=False, print_error=False)
            except CycloptsError as error:
                pytest.fail(f"{line}: {error}")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_files_that_a_page_links_to_are_there(page):
    text = FENCED.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not target.startswith("http") and "/_run/" not in f"/{target}":
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_blocks_of_code_are_valid(page):
    for kind, block in FENCED.findall(page.read_text(encoding="utf-8")):
        if kind == "toml":
            tomllib.loads(block)
        elif kind == "python":
            compile(block, str(page), "exec")


@pytest.fixture
def newcomer(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("newcomer")


def test_the_page_for_newcomers_has_counts_of_its_own_lines(newcomer):
    _, *told = csv.reader(newcomer.COUNTS.read_text(encoding="utf-8").splitlines())
    for way, (name, lines, rows, typed, failed, _) in zip(newcomer.ways(""), told, strict=True):
        for statement in way.statements:
            way.count(statement)
        assert (name, int(lines), int(rows), int(typed)) == way.counts[:4]
        assert way.lines <= newcomer.MOST_LINES
        assert failed in ("0", "")  # empty: not typed again since the page changed


def test_what_a_newcomer_types_makes_a_case_of_a_trial_without_fault(newcomer, tmp_path):
    (way,) = newcomer.ways("trial")
    way.walk(tmp_path / "way", {"PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}, "simulate")
    assert way.failed == 0
    assert way.commands >= 2


def test_the_blocks_of_the_page_on_an_own_site_make_a_case():
    text = (ROOT / "docs" / "how_to" / "own_site.md").read_text(encoding="utf-8")
    blocks = [block for kind, block in FENCED.findall(text) if kind == "toml"]
    case = CaseFile.model_validate(tomllib.loads("\n".join(blocks)))
    assert [treatment.name for treatment in case.treatment] == list(case.land_use)


def test_the_files_of_the_page_on_14c_say_how_its_record_goes_on(tmp_path):
    dated = ROOT / "docs" / "how_to" / "dated"
    management = ROOT / "docs" / "tutorial" / "field" / "management.csv"
    for file in (dated / "dated.toml", dated / "dated.csv", management):
        shutil.copy(file, tmp_path)
    case = load_case(tmp_path / "dated.toml")
    options = dated / "options.toml"
    asked = scenario.read(options, case)
    record = asked.file.radiocarbon
    assert case.atmosphere["year"].iloc[-1] == 2019 < record.years[0]
    silent = tmp_path / "silent.toml"
    before, after = options.read_text().split("[radiocarbon]")
    silent.write_text(before + after[after.index("[weather]") :])
    with pytest.raises(InputError, match=r"radiocarbon: needed to 2068.* ends in 2019"):
        scenario.read(silent, case)


def test_the_block_of_the_page_on_forecasts_is_a_scenario():
    text = (ROOT / "docs" / "how_to" / "forecast.md").read_text(encoding="utf-8")
    blocks = [block for kind, block in FENCED.findall(text) if kind == "toml"]
    assert ScenarioFile.model_validate(tomllib.loads(blocks[0])).until == 2068
