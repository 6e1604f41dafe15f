"""How many programs a command compiles, and what it loads: what a user waits for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_calibration import rows, write_case

COUNT = """
import sys
from diffsoil.__main__ import main
import jax

programs = []

def listen(event, duration, **more):
    if event.endswith("to_mlir_module_duration"):
        programs.append(more.get("fun_name"))

jax.monitoring.register_event_duration_secs_listener(listen)
code = main()
print(*sys.modules, file=sys.stderr)
print(len(programs), file=sys.stderr)
raise SystemExit(code)
"""

FIT = ("calibrate", "case.toml", "-o", "fit", "--method", "map", "--quick")
MOST = {
    "simulate": (60, ("simulate", "case.toml", "-o", "run.nc")),
    "calibrate": (390, FIT),
    "predict": (150, ("predict", "case.toml", "--fit", "fit", "-o", "predicted.csv")),
}
"""Programs that a command compiles at most in a process of its own, some in reserve."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("counted")
    write_case(place, rows())
    return place


HEAVY = {"xarray", "dask", "distributed", "scipy", "matplotlib", "numpyro", "arviz", "jinja2"}
HEAVY |= {"calibration.problem", "sensitivity.problem"}
"""What a simulation can do without."""


def counted(folder: Path, command: tuple[str, ...]) -> tuple[int, set[str], list[str]]:
    """Programs compiled, modules loaded, and lines told."""
    run = subprocess.run(
        [sys.executable, "-c", COUNT, *command],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    *told, modules, programs = run.stderr.splitlines()
    return int(programs), set(modules.split()), told


@pytest.mark.parametrize(
    "name",
    [
        "simulate",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("calibrate", "predict")),
    ],
)
def test_a_command_compiles_no_more_programs_than_it_did(folder, name):
    most, command = MOST[name]
    programs, modules, told = counted(folder, command)
    assert programs <= most
    assert all(line.startswith("diffsoil: ") for line in told)
    if name == "simulate":
        assert not HEAVY & modules
        assert (folder / "run.nc").exists()
