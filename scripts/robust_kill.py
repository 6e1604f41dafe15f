"""Kill runs at random moments, go on with --resume, and compare with runs that were left alone.

    python scripts/robust_kill.py [COMMAND ...] [--moments N] [--seed SEED] [--workers N]

Every command works on a small field trial. Half of the moments are times, half are file
operations: the process dies right before it opens, makes, moves or removes a file. Afterwards
nothing of the user's may be changed, the run has to go on to the same results or say in one line
why not, and no file may be left beside the output. The exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import filecmp
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

# Imported before forking: a run then begins where its work begins.
import sensitivity.pruning.workflow
import sensitivity.workflow  # noqa: F401
from diffsoil import cli

CASE = """
format = 1
name = "trial"
title = "A small field trial"
start_year = 1900
minimum = "soft"

[grid]
layers = 4
thickness_m = 0.10

[climate.before]
normals = "normals.csv"

[climate.weather]
monthly = "weather.csv"

[site]
field = "loam"

[[soil.loam.horizons]]
upper_cm = 0
lower_cm = 60
clay_percent = 20
silt_percent = 50
bulk_density = 1.35
soc_percent = 1.3
iom_percent = 0.08
base_saturation = 90

[land_use.crop]
cover = [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 1, 1]
plant_input_months = [0, 0, 0, 0.1, 0.2, 0.2, 0.5, 0, 0, 0, 0, 0]
dpm_rpm_ratio = 1.44
leaf_share = 0.4
root_beta = 0.96
plough_depth_m = 0.20
input_group = "crop"
plant_carbon_t_ha = 2.0

[[history]]
until = 1980
step_years = 20
climate = "before"
land_use = "crop"

[experiment]
until = 1989
climate = "weather"
management = "management.csv"

[[treatment]]
name = "control"
site = "field"

[[treatment]]
name = "manured"
site = "field"

[free."carbon.k_hum"]
[free."vegetation.input_factor.crop"]

[observations]
files = ["observations.csv"]
"""

SCENARIO = """
format = 1
title = "What to do"
until = 1999
treatments = ["control"]

[weather]
repeat_years = 5

[[option]]
name = "as_now"

[[option]]
name = "manure"
manure_carbon_t_ha = 2.0
"""

TEMPERATURE = (1.0, 2.0, 5.0, 8.0, 12.5, 16.0, 18.0, 17.5, 14.0, 9.5, 5.0, 2.0)
RAIN = (60, 45, 50, 48, 55, 57, 50, 58, 62, 70, 68, 66)
PET = (5, 10, 30, 55, 85, 100, 105, 85, 50, 25, 10, 5)


def write_trial(folder: Path) -> None:
    """The files of the trial, with somebody's files among them."""
    months = pd.DataFrame(
        {
            "month": range(1, 13),
            "temperature_c": TEMPERATURE,
            "precipitation_mm": RAIN,
            "pet_mm": PET,
        }
    )
    months.to_csv(folder / "normals.csv", index=False)
    weather = pd.concat([months.assign(year=year) for year in range(1980, 1995)])
    weather.to_csv(folder / "weather.csv", index=False)
    rows = [
        (treatment, year, "crop", 2.0, 1.5 if treatment == "manured" else 0.0)
        for treatment in ("control", "manured")
        for year in range(1980, 1990)
    ]
    columns = ["treatment", "year", "land_use", "plant_carbon_base_t_ha", "manure_carbon_t_ha"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "management.csv", index=False)
    head = "site,treatment,year,variable,upper_cm,lower_cm,value,sd,unit,series\n"
    line = "field,{},{},soc_percent,0,20,{},0.05,%,main\n"
    seen = [("control", 1980, 1.3), ("control", 1989, 1.2), ("manured", 1989, 1.5)]
    (folder / "observations.csv").write_text(head + "".join(line.format(*row) for row in seen))
    (folder / "new.csv").write_text(head + line.format("manured", 1987, 1.45))
    (folder / "case.toml").write_text(CASE)
    (folder / "scenario.toml").write_text(SCENARIO)
    for name in ("out.part", "out.old", "out_mine", "part"):
        (folder / name).mkdir()
        (folder / name / "thesis.txt").write_text("mine")


@dataclasses.dataclass(frozen=True)
class Command:
    """A command, and what its results are.

    Args:
        words: without the options of going on.
        results: files or folders that have to be equal, within the folder of the trial.
        resumable: whether it has ``--resume``; else it is just run again.
    """

    words: tuple[str, ...]
    results: tuple[str, ...]
    resumable: bool = True


FIT_FILES = ("posterior.nc", "summary.csv", "predictions.csv", "checks.csv")


def fit(method: str, *more: str) -> Command:
    """A calibration."""
    words = ("calibrate", "case.toml", "-o", "out", "--quick", "--method", method, *more)
    return Command(words, tuple(f"out/{name}" for name in FIT_FILES))


TARGET = ("--target", "soc_stock_0_25@1985")
COMMANDS = {
    "map": fit("map"),
    "laplace": fit("laplace"),
    "surrogate": fit("surrogate", "--draws", "100"),
    "nuts": fit("nuts", "--warmup", "25", "--draws", "50"),
    "smc": fit("smc", "--draws", "40"),
    "study": Command(
        (
            *("study", "run", "-o", "out", "--workers", "1"),
            *("--scenario", "dry-n-natural-E0-E0-E0", "--scenario", "dry-m-natural-E0-E0-E0"),
        ),
        ("out/runs.zarr",),
    ),
    "sensitivity": Command(
        (
            *("sensitivity", "case.toml", "-o", "out", "--method", "dgsm", "--method", "local"),
            *("--samples", "24", "--treatment", "manured", "--workers", "1", *TARGET),
            *("--parameter", "carbon.k_hum", "--parameter", "carbon.k_rpm"),
        ),
        ("out/indices.csv", "out/elasticities.csv"),
    ),
    "prune": Command(
        (
            *("prune", "history.toml", "-o", "out.toml", "--target", "soc_stock_0_25@1979"),
            *("--tolerance", "0.2", "--draws", "2", "--unseen", "4", "--workers", "1"),
            "--processes-only",
        ),
        ("out.toml", "out_report/prune.csv", "out_report/errors.csv"),
    ),
    "assimilate": Command(
        ("assimilate", "FIT", "--observations", "new.csv", "-o", "out", "--method", "refit"),
        tuple(f"out/{name}" for name in FIT_FILES),
    ),
    "forecast": Command(
        ("forecast", "FIT", "--scenario", "scenario.toml", "-o", "out"),
        ("out/forecast.csv", "out/differences.csv"),
        resumable=False,
    ),
}

OPERATIONS = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def run(
    folder: Path,
    words: Sequence[str],
    seconds: float | None = None,
    operation: int | None = None,
) -> tuple[int, int, str]:
    """Run a command in a process of its own, and kill it at some moment.

    Args:
        folder: where it runs.
        words: after ``diffsoil``.
        seconds: kill it then.
        operation: kill it before this file operation below the folder.

    Returns:
        Exit code (-9 if it was killed), number of file operations, what it said to the user.
    """
    said = folder.with_suffix(".said")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        _become(folder, words, operation, write, said)
    os.close(write)
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if deadline is not None and time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            deadline = None
        time.sleep(0.02)
    with os.fdopen(read, "rb") as pipe:
        count = len(pipe.read())
    text = said.read_text(errors="replace")
    said.unlink()
    return os.waitstatus_to_exitcode(status), count, text


def _become(
    folder: Path, words: Sequence[str], operation: int | None, pipe: int, said: Path
) -> None:
    """Be the process that runs a command; does not return."""
    code = 70
    try:
        os.chdir(folder)
        out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        count, here = 0, str(folder)

        def watch(event: str, arguments: tuple) -> None:
            nonlocal count
            if event == "open":
                if not isinstance(arguments[2], int) or not arguments[2] & WRITING:
                    return
            elif event not in OPERATIONS:
                return
            path = arguments[0]
            if not isinstance(path, str | bytes | os.PathLike):
                return
            if not os.path.abspath(os.fsdecode(path)).startswith(here):
                return
            count += 1
            os.write(pipe, b".")
            if count == operation:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        code = cli.main(list(words))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


# What has to hold.


def equal(one: Path, other: Path) -> bool:
    """Whether two results are the same."""
    if one.suffix not in (".nc", ".zarr"):
        return filecmp.cmp(one, other, shallow=False)
    child = os.fork()  # the libraries start threads, and a process with threads must not fork
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    code = 1
    try:
        kind = {"engine": "zarr", "chunks": None}
        if one.suffix == ".nc":
            kind = {"engine": "h5netcdf", "group": "posterior"}
        with xr.open_dataset(one, **kind) as a, xr.open_dataset(other, **kind) as b:
            code = 0 if a.identical(b.assign_attrs(a.attrs)) else 1
    finally:
        os._exit(code)


def users_files(folder: Path) -> dict[str, bytes]:
    """All that was there before the run, by name."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def names(folder: Path) -> set[str]:
    """What lies in a folder."""
    return {p.name for p in folder.iterdir()}


@dataclasses.dataclass(frozen=True)
class Trial:
    """One command on the trial: its undisturbed run, and what became of the killed ones."""

    name: str
    command: Command
    template: Path
    reference: Path
    seconds: float = 0.0
    operations: int = 0

    def prepared(self) -> Trial:
        """Run it undisturbed, twice: the first run fills the compile cache."""
        for _ in range(2):
            shutil.rmtree(self.reference, ignore_errors=True)
            shutil.copytree(self.template, self.reference)
            began = time.monotonic()
            code, operations, said = run(self.reference, self.command.words)
            seconds = time.monotonic() - began
            if code != 0:
                raise RuntimeError(f"{self.name}: exit {code}: {said[-2000:]}")
        return dataclasses.replace(self, seconds=seconds, operations=operations)

    def kill(self, number: int, rng: np.random.Generator, folder: Path) -> str:
        """Kill a run, go on, and compare; what went wrong, or nothing."""
        where = folder / f"{self.name}-{number}"
        shutil.copytree(self.template, where)
        mine = users_files(where)
        if number % 2:
            operation = int(rng.integers(1, self.operations + 1))
            moment, code = f"operation {operation}", run(where, self.command.words, None, operation)
        else:
            seconds = float(rng.uniform(0, self.seconds))
            moment, code = f"{seconds:.1f} s", run(where, self.command.words, seconds)
        try:
            wrong = self._after(where, mine, killed=code[0] == -signal.SIGKILL)
        finally:
            shutil.rmtree(where, ignore_errors=True)
        return f"{self.name}, killed at {moment}: {wrong}" if wrong else ""

    def _after(self, where: Path, mine: dict[str, bytes], killed: bool) -> str:
        if lost := self._lost(where, mine):
            return f"lost {lost} by the kill"
        if killed:
            code, said = self._go_on(where)
            if code != 0:
                return f"exit {code} afterwards: {said[-500:]}"
        if lost := self._lost(where, mine):
            return f"lost {lost} afterwards"
        other = [n for n in self.command.results if not equal(where / n, self.reference / n)]
        if other:
            return f"other results: {', '.join(other)}"
        if more := names(where) ^ names(self.reference):
            return f"left behind or missing: {', '.join(sorted(more))}"
        return ""

    def _lost(self, where: Path, mine: dict[str, bytes]) -> list[str]:
        now = {name: (where / name).read_bytes() for name in mine if (where / name).is_file()}
        return [name for name, content in mine.items() if now.get(name) != content]

    def _go_on(self, where: Path) -> tuple[int, str]:
        """Resume; where that is refused in one line, begin anew as it says."""
        if not self.command.resumable:
            code, _, said = run(where, self.command.words)
            if code == 2 and "--overwrite" in said:  # it was finished already
                code, _, said = run(where, (*self.command.words, "--overwrite"))
            return code, said
        code, _, said = run(where, (*self.command.words, "--resume"))
        if code == 2:
            line = [text for text in said.splitlines() if text.startswith("diffsoil: error")]
            if len(line) != 1:
                return code, said
            again = ("--overwrite",) if "exists already" in line[0] else ()
            code, _, said = run(where, (*self.command.words, *again))
        return code, said


def main() -> int:
    """Kill all commands at many moments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commands", nargs="*", help=f"of {', '.join(COMMANDS)}; all if none")
    parser.add_argument("--moments", type=int, default=30, help="for each command (default 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default 0)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="side by side")
    options = parser.parse_args()
    chosen = options.commands or list(COMMANDS)
    began, failures = time.monotonic(), 0

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.0f} s] {text}", flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        template = folder / "template"
        template.mkdir()
        write_trial(template)
        _history(template)
        if {"assimilate", "forecast"} & set(chosen):
            words = ("calibrate", "case.toml", "-o", "FIT", "--quick", "--method", "laplace")
            code, _, said = run(template, words)
            if code != 0:
                raise RuntimeError(said)
        # processes, for a process with threads must not fork
        fork = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(options.workers, mp_context=fork) as pool:
            for name in chosen:
                trial = Trial(name, COMMANDS[name], template, folder / f"whole-{name}")
                trial = pool.submit(trial.prepared).result()
                say(f"{name}: {trial.seconds:.0f} s, {trial.operations} file operations")
                rngs = np.random.default_rng(options.seed).spawn(options.moments)
                wrong = [
                    text
                    for text in pool.map(trial.kill, range(options.moments), rngs,
                                         [folder] * options.moments)
                    if text
                ]  # fmt: skip
                failures += len(wrong)
                for text in wrong:
                    print(text, flush=True)
                say(f"{name}: killed {options.moments} times, {len(wrong)} failures")
    return 1 if failures else 0


def _history(folder: Path) -> None:
    """The trial without its experiment, for what looks at one soil only."""
    text = CASE[: CASE.index("[experiment]")].replace('monthly = "weather.csv"', "")
    (folder / "history.toml").write_text(text.replace("[climate.weather]\n", ""))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
