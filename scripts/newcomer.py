"""Do what docs/how_to/from_your_data.md says, with the wheel and nothing of the clone.

    make newcomer
    python scripts/newcomer.py --way trial --keep FOLDER

Each way of the page begins in an empty folder that has the files which the page offers. Its blocks
of commands are typed as they stand, in an environment that holds the wheel alone. What is counted:
lines that a newcomer writes (of cases and scripts), rows of tables, commands, commands that fail,
and minutes of a processor. The exit code is 1 if a command fails, a report is missing, or a way
needs more than 60 lines.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from clean_environment import ROOT, CommandError, build_wheel, install, new_environment, run

PAGE = ROOT / "docs" / "how_to" / "from_your_data.md"
COUNTS = PAGE.with_name("newcomer.csv")
MOST_LINES = 60
REPORTS = ("fit/report.html", "prediction/report.html")

SECTION = re.compile(r"^## (.+)\n((?:(?!^## ).*\n)*)", flags=re.M)
DOWNLOAD = re.compile(r"\{download\}`(\S+) <(\S+)>`")
BLOCK = re.compile(r"^```sh\n(.*?)^```", flags=re.M | re.S)
STATEMENT = re.compile(r"^cat .*<<'END'\n(?:.*\n)*?END$|^(?:.*\\\n)*.+$", flags=re.M)
FILE = re.compile(r"cat >>? (\S+) <<'END'")


@dataclasses.dataclass
class Way:
    """One way of the page, and what it took."""

    name: str
    text: str
    lines: int = 0
    rows: int = 0
    commands: int = 0
    failed: int = 0
    minutes: float = 0.0

    def count(self, statement: str) -> None:
        """Count what a statement lets a newcomer write."""
        first, *written = statement.splitlines()
        if file := FILE.match(first):
            if file[1].endswith(".csv"):
                self.rows += len(written) - 1  # the last one is END
            else:
                self.lines += sum(bool(line.strip()) for line in written) - 1
        elif first.startswith(("diffsoil ", "python ")):
            self.commands += 1
        else:
            self.lines += 1

    def walk(self, folder: Path, environment: dict[str, str], until: str = "") -> None:
        """Type the statements one after the other; a newcomer goes on after one that fails.

        Args:
            folder: to work in, which is made.
            environment: what the shell sets.
            until: command of diffsoil before which to stop; the reports are not asked for then.
        """
        folder.mkdir(parents=True)
        for name, path in DOWNLOAD.findall(self.text):
            shutil.copyfile(PAGE.parent / path, folder / name)
        began = _processor()
        for statement in self.statements:
            if until and statement.startswith(f"diffsoil {until} "):
                return
            self.count(statement)
            try:
                printed = run("bash", "-euc", statement, cwd=folder, **environment)
            except CommandError as error:
                self.failed += 1
                printed = f"FAILED {error}\n"
            print(f"$ {statement}\n{printed}", flush=True)
        self.minutes = (_processor() - began) / 60
        self.failed += sum(not (folder / report).exists() for report in REPORTS)

    @property
    def statements(self) -> list[str]:
        """What is typed: commands, each with its continued lines or the file that it writes."""
        return [one for block in BLOCK.findall(self.text) for one in STATEMENT.findall(block)]

    @property
    def counts(self) -> tuple[object, ...]:
        """What is shown, in the order of :data:`HEADER`."""
        minutes = f"{self.minutes:.1f}"
        return self.name, self.lines, self.rows, self.commands, self.failed, minutes


HEADER = ("from", "lines", "rows of tables", "commands", "failed", "processor minutes")


def _processor() -> float:
    """Seconds that ended commands computed; on a busy machine they say more than a clock."""
    times = os.times()
    return times.children_user + times.children_system


def ways(chosen: str) -> list[Way]:
    """The ways of the page whose names contain a text."""
    sections = SECTION.findall(PAGE.read_text(encoding="utf-8"))
    return [Way(name, text) for name, text in sections if chosen.lower() in name.lower()]


def main() -> int:
    """Go every way, and say what it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--way", default="", help="part of the name of a way; all if not given")
    parser.add_argument("--python", default=f"{sys.version_info[0]}.{sys.version_info[1]}")
    parser.add_argument("--keep", type=Path, help="keep what is made, in this new folder")
    parser.add_argument("--write", action="store_true", help="write the counts into the page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="newcomer_") as name:
        place = Path(name)
        (place / "dist").mkdir()
        environment = new_environment(place / "new", options.python)
        if environment is None:
            print(f"newcomer: no Python {options.python} here", file=sys.stderr)
            return 2
        install(build_wheel(place / "dist"), environment)
        gone = ways(options.way)
        for number, way in enumerate(gone):
            way.walk((options.keep or place).resolve() / f"way_{number}", environment)
            print(dict(zip(HEADER, way.counts, strict=True)), flush=True)
    if options.write:
        with COUNTS.open("w", encoding="utf-8", newline="") as file:
            rows = [HEADER, *(way.counts for way in gone)]
            csv.writer(file, lineterminator="\n").writerows(rows)
    return int(not gone or any(w.failed or w.lines > MOST_LINES for w in gone))


if __name__ == "__main__":
    raise SystemExit(main())
