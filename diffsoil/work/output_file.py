"""An output that is a file: checked first, locked meanwhile, and in the place of its like only."""

from __future__ import annotations

import contextlib
import os
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from diffsoil.io import InputError, reason
from diffsoil.work.files import check_output, replacing
from diffsoil.work.lock import Lock


class OutputFile:
    """A file that a command computes for: checked first, locked meanwhile, written at the end.

    As a context it holds a lock, so that a second run into the same file is refused; within it,
    :meth:`writing` gives the name to write to.

    Args:
        path: the file; a symbolic link is followed.
        overwrite: replace it if it is there and one of its like.
        suffix: that it has to have, such as ``.nc``; any if empty.
        like: whether a file that is there may be replaced, for it is what this run writes.
        inputs: files that are read, which the output may not take the place of.

    Raises:
        InputError: as :func:`check_output`; another suffix; something that diffsoil did not write,
            or an input, would be replaced; another run is writing it.
    """

    def __init__(
        self,
        path: str | Path,
        overwrite: bool = False,
        *,
        suffix: str = "",
        like: Callable[[Path], bool] = lambda path: True,
        inputs: Sequence[str | Path] = (),
    ) -> None:
        self.given, self.overwrite = Path(path), overwrite
        self.path = check_output(path, overwrite)
        if suffix and self.path.suffix.lower() != suffix:
            raise InputError(f"{path}: has to end in {suffix}")
        for given in inputs:
            read = Path(given).resolve()
            if read == self.path:
                raise InputError(f"{path}: is an input of this run; choose another output")
            if read in self.path.parents:
                raise InputError(f"{path}: lies in the input {given}; choose another output")
        if self.path.exists() and self.path.stat().st_size and not like(self.path):
            raise InputError(
                f"{path}: is not a file that this command writes, and is not replaced; choose "
                "another output"
            )
        short = os.fsdecode(os.fsencode(self.path.stem)[:180])
        self._lock = Lock(self.path.with_name(f".{short}.diffsoil.lock"), self.given)
        # The lock makes it ours: what a killed run left there, the next one replaces.
        self._part = self.path.with_name(f".{short}.diffsoil-part{self.path.suffix}")

    def __enter__(self) -> OutputFile:
        """Take the lock, and see that something can be written there."""
        self._lock.acquire()
        try:
            check_output(self.given, self.overwrite)  # again: another run may have ended since
            try:
                self._part.write_bytes(b"\0" * 4096)
            except OSError as error:
                raise InputError(f"{self.given}: cannot be written: {reason(error)}") from error
            finally:
                with contextlib.suppress(OSError):
                    self._part.unlink(missing_ok=True)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the lock go."""
        self._lock.release()

    def writing(self) -> contextlib.AbstractContextManager[Path]:
        """As :func:`replacing`."""
        return replacing(self.path, self.overwrite, self._part)


def netcdf_with(*attributes: str) -> Callable[[Path], bool]:
    """What finds out whether a file is a netCDF file with some attributes."""

    def has_attributes(path: Path) -> bool:
        import h5py

        try:
            with h5py.File(path) as file:
                return set(attributes) <= set(file.attrs)
        except OSError:
            return False

    return has_attributes


def table_with(*columns: str) -> Callable[[Path], bool]:
    """What finds out whether a file is a CSV table with some columns."""

    def has_columns(path: Path) -> bool:
        header = _start(path, LONGEST_HEADER).split(b"\n")[0].decode(errors="replace")
        return set(columns) <= set(header.strip().split(","))

    return has_columns


def page_by(maker: str) -> Callable[[Path], bool]:
    """What finds out whether a file is a page that some command has made."""

    def is_page(path: Path) -> bool:
        name = f'<meta name="generator" content="{maker}">'
        return name.encode() in _start(path, LONGEST_HEADER)

    return is_page


def case_with_note(name: str) -> Callable[[Path], bool]:
    """What finds out whether a file is a case with some note, which the program has put there."""

    def has_note(path: Path) -> bool:
        notes = _toml(path).get("notes", {})
        return isinstance(notes, dict) and name in notes

    return has_note


def is_case(path: Path) -> bool:
    """Whether a file is meant to be a case."""
    return {"format", "history", "soil"} <= _toml(path).keys()


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}


LONGEST_HEADER = 10_000
"""Bytes of the first line of a table."""


def _start(path: Path, count: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
