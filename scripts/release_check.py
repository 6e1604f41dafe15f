"""Install the wheel into new environments and run it there: what pyproject.toml promises.

    make release-check
    python scripts/release_check.py --python 3.13 --resolution lowest-direct

One environment for each Python and each choice of dependencies: `highest` takes the newest
versions that pyproject.toml allows, `lowest-direct` the oldest of the packages that it names. In
each the program is run away from the clone, as on a machine that has never seen it. A Python that
is not here, and that uv cannot fetch, is said and counts as not checked.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from clean_environment import UV, CommandError, build_wheel, install, new_environment, run

PYTHONS = ("3.12", "3.13", "3.14")
RESOLUTIONS = ("highest", "lowest-direct")
SMOKE = (
    "diffsoil --version",
    "diffsoil doctor",
    "diffsoil cases",
    "diffsoil new field",
    "diffsoil check field/case.toml",
    "diffsoil simulate field/case.toml -o run.nc",
    "diffsoil plot run.nc -o pictures",
)
FIT = (
    "diffsoil calibrate field/case.toml -o fit --method laplace",
    "diffsoil predict field/case.toml --fit fit -o prediction --draws 20",
    "diffsoil sensitivity field/case.toml --method local -o study",
)
"""What takes minutes, with --fit."""


def check(python: str, resolution: str, wheel: Path, commands: tuple[str, ...]) -> str:
    """What came of one environment, in some words."""
    with tempfile.TemporaryDirectory(prefix="release_check_") as folder:
        environment = new_environment(Path(folder), python)
        if environment is None:
            return "not checked: this Python is not here, and could not be fetched"
        try:
            install(wheel, environment, resolution)
            began = time.perf_counter()
            for command in commands:
                run(*command.split(), cwd=Path(environment["HOME"]), **environment)
        except CommandError as error:
            return f"failed: {error}"
        return f"passed in {time.perf_counter() - began:.0f} s"


def main() -> int:
    """Check every environment that was asked for; 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", nargs="+", default=PYTHONS, metavar="VERSION")
    parser.add_argument("--resolution", nargs="+", default=RESOLUTIONS, choices=RESOLUTIONS)
    parser.add_argument("--fit", action="store_true", help="calibrate and predict as well")
    options = parser.parse_args()
    if not shutil.which(UV):
        print("release-check: needs uv; make setup fetches it into .uv", file=sys.stderr)
        return 2
    commands = SMOKE + (FIT if options.fit else ())
    results = []
    with tempfile.TemporaryDirectory(prefix="release_check_") as folder:
        wheel = build_wheel(Path(folder))
        print(wheel.name, flush=True)
        for python in options.python:
            for resolution in options.resolution:
                results.append(check(python, resolution, wheel, commands))
                print(f"Python {python}, {resolution:13}  {results[-1]}", flush=True)
    passed = sum(result.startswith("passed") for result in results)
    failed = sum(result.startswith("failed") for result in results)
    print(f"{passed} passed, {failed} failed, {len(results) - passed - failed} not checked")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    raise SystemExit(main())
