"""Checkpoints: finished parts of long work, a file for each, whole or not at all.

Work that is stopped at any moment loses the part that it was at. Resumed, it asks for the same
parts in the same order, reads those that are there, and ends as if it had never been stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffsoil.cases.fingerprint import check_same
from diffsoil.io import InputError
from diffsoil.options import Existing
from diffsoil.work import arrays
from diffsoil.work.files import read_json, write_json
from diffsoil.work.folder import MARKER, Kind, OutputFolder
from diffsoil.work.progress import Say

FOUND, STATE = "kept_", "state_"
"""Beginnings of the names of arrays in a numbered part."""


class Checkpoints:
    """Parts of one run: each with a name, or numbered where each begins at the end of the last.

    Args:
        folder: made with the first part; None for numbered parts in memory, and no named ones.
        resume: use the parts that are there; numbered ones are removed if not.
        report: given a line on each damaged file, whose part is computed again; if there is
            none, the first damaged file is an error.

    Attributes:
        folder: where the parts are.
        kept: number of parts that were there.
        done: number of numbered parts.
    """

    def __init__(
        self, folder: Path | None, resume: bool = False, report: Say | None = None
    ) -> None:
        self.folder, self._resume, self._report = folder, resume, report
        self._memory: list[dict[str, np.ndarray]] = []
        there = folder.glob("*.npz") if resume and folder is not None else ()
        self._names = {path.stem for path in there}
        self.kept = len(self._names)
        files = self._files()
        self.done = self._good(files) if resume else 0
        for path in files[self.done :]:
            path.unlink()

    def once(
        self, key: str | Sequence[Any], compute: Callable[[], Mapping[str, Any]]
    ) -> dict[str, np.ndarray]:
        """Arrays by name that were computed before, or are now.

        Args:
            key: name of the part, or JSON that tells it from others.
            compute: called if the part is not there.
        """
        if self.folder is None:
            return {name: np.asarray(value) for name, value in compute().items()}
        name = key if isinstance(key, str) else _digest(key)
        path = self.folder / f"{name}.npz"
        if name in self._names:
            try:
                return arrays.load(path)
            except arrays.DamagedError as error:
                self._damaged(error, "it is computed again")
        found = {array: np.asarray(value) for array, value in compute().items()}
        self._save(path, found)
        self._names.add(name)
        return found

    def append(self, found: Mapping[str, np.ndarray], state: Any) -> None:
        """Write the next numbered part.

        Args:
            found: its results by name; may be empty.
            state: pytree of arrays that the next part starts from.
        """
        content = {f"{FOUND}{name}": np.asarray(value) for name, value in found.items()}
        leaves = jax.tree.leaves(state)
        content |= {f"{STATE}{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        if self.folder is None:
            self._memory.append(content)
        else:
            self._save(self._path(self.done), content)
        self.done += 1

    def shorten(self, count: int) -> None:
        """Forget the numbered parts after the first so many."""
        del self._memory[count:]
        for number in range(count, self.done) if self.folder is not None else ():
            self._path(number).unlink()
        self.done = min(self.done, count)

    def within(self, name: str) -> Checkpoints:
        """Checkpoints of a stage of this run, in a folder within this one."""
        folder = None if self.folder is None else self.folder / name
        return Checkpoints(folder, self._resume, self._report)

    def state(self, start: Any) -> Any:
        """The state after the last numbered part, structured as ``start``, or else ``start``."""
        if not self.done:
            return start
        last = self._part(self.done - 1)
        count = sum(name.startswith(STATE) for name in last)
        expected, shape = jax.tree.flatten(start)
        if count != len(expected):
            raise InputError(
                f"{self._path(self.done - 1)}: holds {count} arrays, {len(expected)} are expected"
            )
        return jax.tree.unflatten(shape, [jnp.asarray(last[f"{STATE}{i}"]) for i in range(count)])

    def each(self, names: Collection[str] | None = None) -> Iterator[dict[str, np.ndarray]]:
        """Results of the numbered parts in order, one in memory at a time; all, or some by name."""
        wanted = None if names is None else [FOUND + name for name in names]
        for number in range(self.done):
            part = self._part(number, wanted)
            yield {n.removeprefix(FOUND): part[n] for n in part if n.startswith(FOUND)}

    def joined(self, axis: int = 1) -> dict[str, np.ndarray]:
        """Results of all numbered parts, joined along an axis; nothing if there are none."""
        full = [part for part in self.each() if part]
        names = full[0] if full else ()
        return {name: np.concatenate([p[name] for p in full], axis=axis) for name in names}

    def _part(self, number: int, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
        if self.folder is not None:
            return arrays.load(self._path(number), names)
        part = self._memory[number]
        return part if names is None else {name: part[name] for name in names}

    def _good(self, files: Sequence[Path]) -> int:
        """How many numbered parts there are before the first damaged one."""
        for number, path in enumerate(files):
            try:
                arrays.load(path)
            except arrays.DamagedError as error:
                self._damaged(error, f"going on from the {number} of {len(files)} pieces before it")
                return number
        return len(files)

    def _damaged(self, error: arrays.DamagedError, remedy: str) -> None:
        if self._report is None:
            raise error
        self._report(f"{error}; {remedy}")

    def _files(self) -> list[Path]:
        """Files of the numbered parts in order; one after a gap does not count."""
        found: list[Path] = []
        while self.folder is not None and (path := self._path(len(found))).is_file():
            found.append(path)
        return found

    def _path(self, number: int) -> Path:
        assert self.folder is not None
        return self.folder / f"{number:06d}.npz"

    def _save(self, path: Path, content: Mapping[str, np.ndarray]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays.save(path, **content)


def _digest(key: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


# Checkpoints of work whose output is a file, in a folder beside it.


ASKED = "asked.json"
KIND = Kind("progress", "an interrupted run", (ASKED, f"{'[0-9a-f]' * 32}.npz"), resumable=True)


def progress_of(output: Path) -> Path:
    """The folder beside an output in which its checkpoints are kept."""
    return output.with_name(f"{output.stem}_progress")


@contextlib.contextmanager
def beside(
    output: Path, asked: Mapping[str, Any], existing: Existing, report: Say, discard: bool = True
) -> Iterator[Checkpoints]:
    """Checkpoints in ``OUTPUT_progress``, a folder beside an output that is a file.

    A block that fails leaves the folder to go on with, unless it holds no checkpoint yet.

    Args:
        output: the file.
        asked: what the work depends on; JSON. It is resumed with the same only.
        existing: go on with the folder if it is there, or replace it.
        report: given a line on what was there, and on damaged files.
        discard: remove the folder when the block has ended well.

    Raises:
        InputError: the folder is there and neither is said, is not ours, is of another run, or
            other inputs.
    """
    path = progress_of(output)
    resume = existing.resume and (path / MARKER).exists()
    with OutputFolder(path, KIND, overwrite=existing.overwrite, resume=resume) as place:
        file = place.work / ASKED
        if place.resumed and file.is_file():
            check_same(file, read_json(file), asked)
        else:
            write_json(file, asked)
        checkpoints = Checkpoints(place.work, place.resumed, report)
        if checkpoints.kept:
            report(f"going on with {checkpoints.kept} results that are kept in {path}")
        try:
            yield checkpoints
        except BaseException as error:
            if any(place.work.glob("*.npz")):
                place.keep()
                if isinstance(error, KeyboardInterrupt):
                    raise KeyboardInterrupt(
                        f"finished work is kept in {path}; --resume goes on"
                    ) from None
            raise
        if discard:
            place.discard()
