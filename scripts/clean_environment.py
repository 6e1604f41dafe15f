"""The wheel of this clone in an empty environment, away from the clone: for checks of releases."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = next((str(path) for path in [ROOT / ".uv/bin/uv"] if path.exists()), "uv")
NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


class CommandError(Exception):
    """A command ended with an error; the text has its last lines."""


def run(*words: str, cwd: Path, **environment: str) -> str:
    """Run a command, and return what it printed.

    Raises:
        CommandError: it ends with an error.
    """
    inherited = {name: of for name, of in os.environ.items() if name not in NOT_INHERITED}
    done = subprocess.run(
        words,
        cwd=cwd,
        env=inherited | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        last = "\n    ".join(done.stdout.strip().splitlines()[-12:])
        raise CommandError(f"{' '.join(words)}: exit code {done.returncode}\n    {last}")
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """The wheel of this clone."""
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder))
    run(*build, str(ROOT), cwd=folder)
    (wheel,) = folder.glob("*.whl")
    return wheel


def new_environment(folder: Path, python: str) -> dict[str, str] | None:
    """An empty environment with a cache and a home of its own, in a folder.

    Returns:
        What a shell in it sets; None where that Python is neither here nor to be had.
    """
    # pyenv shows the versions that its variable names, and no others
    found = {"PYENV_VERSION": python, "UV_SYSTEM_CERTS": "true"}
    place, home = folder / "env", folder / "home"
    home.mkdir(parents=True)
    try:
        run(UV, "venv", "--quiet", "--python", python, str(place), cwd=folder, **found)
    except CommandError:
        return None
    return {
        "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(place),
        "UV_SYSTEM_CERTS": "true",
        "HOME": str(home),
        "DIFFSOIL_CACHE": str(folder / "cache"),
    }


def install(wheel: Path, environment: dict[str, str], resolution: str = "highest") -> None:
    """Install the wheel with the dependencies that a resolution chooses; nothing is compiled.

    Raises:
        CommandError: there are no such versions, or they cannot be had.
    """
    chosen = ("--resolution", resolution, "--only-binary", ":all:")
    shared = os.environ | environment | {"HOME": os.environ.get("HOME", "")}  # uv's own cache
    run(UV, "pip", "install", "--quiet", *chosen, str(wheel), cwd=wheel.parent, **shared)
