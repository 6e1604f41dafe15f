"""Measurements that are kept, so that long work which was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from diffsoil.io import InputError
from diffsoil.work.files import replacing

TOLD = "journal.json"


class Journal:
    """Results of measurements by what was measured, in a folder or nowhere.

    Work that asks for the same measurements in the same order gets the same results, whether they
    were kept from before or are new: that is how it is resumed.

    Args:
        folder: made with the first measurement; None to keep nothing.
        told: of what all measurements are; JSON. It has to be that of the folder.
        resume: go on with the folder if it is there.
        overwrite: forget what is in the folder.

    Attributes:
        runs, seconds: that all measurements took, the kept ones included.
        kept: how many were there.

    Raises:
        diffsoil.io.InputError: the folder is there and neither is said, is not a journal, or is
            one of other measurements.
    """

    def __init__(
        self,
        folder: Path | None = None,
        told: Mapping[str, Any] | None = None,
        resume: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.folder, self.told = folder, json.dumps(told or {}, sort_keys=True)
        self.runs, self.seconds, self.kept = 0, 0.0, 0
        if folder is None or not folder.exists():
            return
        file = folder / TOLD
        if not file.is_file():
            raise InputError(f"{folder}: exists already and is no interrupted work of diffsoil")
        if overwrite:
            shutil.rmtree(folder)
            return
        self.kept = len(list(folder.glob("*.npz")))
        if not resume:
            raise InputError(
                f"{folder}: holds an interrupted pruning, {self.kept} measurements; use --resume "
                "to go on or --overwrite to begin anew"
            )
        if file.read_text(encoding="utf-8") != self.told:
            raise InputError(
                f"{folder}: cannot resume: cases, targets, tolerance, draws, seed or program "
                "version differ from those of the interrupted pruning"
            )

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
            return self._read(file)
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
        try:
            with np.load(file) as there:
                took = there["took"]
                found = [there[f"a{i}"] for i in range(len(there.files) - 1)]
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(f"{file}: is damaged; use --overwrite to begin anew") from error
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
        with replacing(file, overwrite=True) as part:
            arrays: dict[str, Any] = {f"a{i}": array for i, array in enumerate(found)}
            np.savez(part, took=took, **arrays)
