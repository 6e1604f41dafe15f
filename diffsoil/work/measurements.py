"""Measurements that are kept, so that long work which was stopped goes on where it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from diffsoil.cases.fingerprint import difference
from diffsoil.io import InputError
from diffsoil.work import arrays
from diffsoil.work.files import TEMPORARY, replacing

TOLD = "journal.json"
FILE = "[0-9a-f]" * 32 + ".npz"
"""Names of the files of measurements."""


def clear(folder: Path) -> None:
    """Remove all measurements from a folder, and the folder if that leaves it empty."""
    if not folder.is_dir():
        return
    for pattern in (FILE, TEMPORARY, TOLD):
        for path in folder.glob(pattern):
            path.unlink()
    with contextlib.suppress(OSError):
        folder.rmdir()


class Measurements:
    """Results of measurements by what was measured, in a folder or nowhere.

    Work that asks for the same measurements in the same order gets the same results, whether they
    were kept from before or are new: that is how it is resumed.

    Args:
        folder: made with the first measurement; None to keep nothing.
        told: of what all measurements are; JSON. It has to be that of the folder.
        resume: go on with the folder if it is there.
        overwrite: forget what is in the folder.
        say: given a line on what is damaged and measured again.

    Attributes:
        runs, seconds: that all measurements took, the kept ones included.
        kept: how many were there.

    Raises:
        diffsoil.io.InputError: the folder is there and neither is said, holds something else, or is
            one of other measurements.
    """

    def __init__(
        self,
        folder: Path | None = None,
        told: Mapping[str, Any] | None = None,
        resume: bool = False,
        overwrite: bool = False,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.say = say
        self.folder, self.told = folder, json.dumps(told or {}, sort_keys=True)
        self.runs, self.seconds, self.kept = 0, 0.0, 0
        if folder is None or not os.path.lexists(folder):
            return
        self.refuse_foreign()
        if overwrite:
            clear(folder)
            return
        self.kept = len(list(folder.glob(FILE)))
        if not self.kept:
            clear(folder)
            return
        if not resume:
            raise InputError(
                f"{folder}: holds an interrupted pruning, {self.kept} measurements; use --resume "
                "to go on or --overwrite to begin anew"
            )
        if other := self._difference():
            raise InputError(f"{folder}: cannot resume: {other}")

    def refuse_foreign(self) -> None:
        """Refuse a folder that is not, or not only, of measurements."""
        assert self.folder is not None
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: is no folder of diffsoil; move it elsewhere")
        for path in sorted(self.folder.iterdir()):
            if not any(fnmatchcase(path.name, own) for own in (FILE, TOLD, TEMPORARY)):
                raise InputError(
                    f"{self.folder}: holds {path.name}, which diffsoil did not make; move it "
                    "elsewhere, or choose another output"
                )

    def _difference(self) -> str:
        """In what the measurements differ from those that are wanted, in words."""
        assert self.folder is not None
        try:
            before = json.loads((self.folder / TOLD).read_text(encoding="utf-8"))
            before_cases = before.get("cases", [])
        except (OSError, ValueError, AttributeError):
            return "it was begun by another version of diffsoil"
        now = json.loads(self.told)
        cases = now.get("cases", [])
        if len(before_cases) == len(cases):
            for old, new in zip(before_cases, cases, strict=True):
                if other := difference(old, new):
                    return other
        return difference(before | {"format": 0}, now | {"format": 0})

    def once(
        self, key: Sequence[Any], measure: Callable[[], Sequence[np.ndarray]]
    ) -> list[np.ndarray]:
        """Arrays that were measured before, or are now.

        Args:
            key: tells measurements apart; JSON.
            measure: called if the result is not there.
        """
        file = self._file(key)
        if file is not None and file.is_file():
            try:
                return self._read(file)
            except arrays.DamagedError as error:
                self.say(f"{error}; it is measured again")
        runs, began = self.runs, time.monotonic()
        found = [np.asarray(array) for array in measure()]
        seconds = time.monotonic() - began
        self.seconds += seconds
        if file is not None:
            self._write(file, found, np.array([self.runs - runs, seconds]))
        return found

    def _file(self, key: Sequence[Any]) -> Path | None:
        if self.folder is None:
            return None
        text = json.dumps([self.told, key], sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.npz"

    def _read(self, file: Path) -> list[np.ndarray]:
        there = arrays.load(file)
        took = there["took"]
        found = [there[f"a{i}"] for i in range(len(there) - 1)]
        self.runs += int(took[0])
        self.seconds += float(took[1])
        return found

    def _write(self, file: Path, found: Sequence[np.ndarray], took: np.ndarray) -> None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{file.parent}: cannot be made: {error.strerror}") from error
        told = file.parent / TOLD
        if not told.is_file():
            with replacing(told, overwrite=True) as part:
                part.write_text(self.told, encoding="utf-8")
        arrays.save(file, took=took, **{f"a{i}": array for i, array in enumerate(found)})
