"""What is handed out: one version everywhere, what a recipe asks for, names that are public."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import jinja2
import pytest
import yaml

import calibration
import diffsoil
import sensitivity

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_all_files_have_the_version_of_the_package_and_the_changelog_begins_with_it():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    archive = json.loads((ROOT / ".zenodo.json").read_text())
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
    versions = {str(citation["version"]), archive["version"], newest and newest[1]}
    assert versions == {PROJECT["version"]}
    assert archive["license"] == citation["license"] == PROJECT["license"]
    assert archive["creators"] == citation["authors"]


def test_the_recipe_asks_for_what_the_wheel_asks_for():
    def load_file_data(name: str, from_recipe_dir: bool) -> dict:
        assert from_recipe_dir
        return tomllib.loads((ROOT / "recipe" / name).read_text())

    text = (ROOT / "recipe" / "meta.yaml").read_text()
    recipe = yaml.safe_load(jinja2.Template(text).render(load_file_data=load_file_data))
    assert recipe["package"] == {"name": PROJECT["name"], "version": PROJECT["version"]}
    python, *packages = recipe["requirements"]["run"]
    assert python == f"python {PROJECT['requires-python']}"
    assert packages == PROJECT["dependencies"]
    assert recipe["build"]["entry_points"] == ["diffsoil = diffsoil.__main__:main"]


def test_an_image_is_made_of_all_that_a_wheel_is_made_of():
    ignored, *kept = (ROOT / ".dockerignore").read_text().split("\n", 1)[1].splitlines()
    assert ignored == "*"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = {"pyproject.toml", "requirements.lock", PROJECT["readme"], *PROJECT["license-files"]}
    needed |= set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
    assert {name[1:] for name in kept if name.startswith("!")} == needed


@pytest.mark.parametrize("package", [diffsoil, calibration, sensitivity], ids=lambda p: p.__name__)
def test_the_page_of_public_names_has_those_of_a_package(package):
    page = (ROOT / "docs" / "reference" / "api.md").read_text()
    listed = set(re.findall(rf"^\.\. auto\w+:: {package.__name__}\.(\w+)$", page, flags=re.M))
    assert listed == set(package.__all__)
    assert all(hasattr(package, name) for name in listed)
