"""The wheel holds all that the program needs, and works away from the clone."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("diffsoil", "calibration", "sensitivity")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """Folder the wheel is installed in: for pure Python, unpacking is installing."""
    target = tmp_path_factory.mktemp("installed")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def run_installed(target: Path, folder: Path, *words: str) -> str:
    # Without `site` no .pth file is read, so an editable install cannot lend the clone's files.
    paths = [str(target), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    done = subprocess.run(
        [sys.executable, "-S", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path, pattern: str) -> set[str]:
    return {p.relative_to(ROOT).as_posix() for p in folder.rglob(pattern) if p.is_file()}


def test_wheel_holds_the_packages_and_the_data_and_nothing_else(wheel):
    content = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    modules = set().union(*(files(ROOT / package, "*.py") for package in PACKAGES))
    data = {f"diffsoil/{name}" for name in files(ROOT / "data", "*")}
    pages = files(ROOT / "diffsoil" / "report" / "templates", "*")
    pages |= files(ROOT / "diffsoil" / "starter", "*.j2")
    assert content == modules | data | pages


def test_wheel_carries_the_license(wheel):
    assert any(n.endswith("licenses/LICENSE") for n in zipfile.ZipFile(wheel).namelist())


def test_installed_program_lists_the_shipped_cases(installed, tmp_path):
    listed = run_installed(installed, tmp_path, "-m", "diffsoil", "cases")
    names = {line.split()[0] for line in listed.splitlines()}
    assert names == {path.stem for path in (ROOT / "data" / "cases").glob("*.toml")}
    assert names


def test_installed_packages_are_not_those_of_the_clone(installed, tmp_path):
    program = f"import {', '.join(PACKAGES)}; print({'.__file__, '.join(PACKAGES)}.__file__)"
    for path in run_installed(installed, tmp_path, "-c", program).split():
        assert Path(path).is_relative_to(installed)
