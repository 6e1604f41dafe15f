"""Output folders: which of them are ours, and how results get there whole or not at all.

A folder is ours if its marker ``.diffsoil.json`` says so, with the kind of what it holds; anything
else is refused and never touched. Of a folder of ours only files that its kind knows are ever
removed: whatever else lies there is somebody's, and then nothing is replaced.

New results are written in the folder itself. Results that replace others are written in its
subfolder ``.diffsoil.new`` and put in place at the end, by a few renames within the folder that
the next run finishes if they are cut off. So nothing beside the folder is needed or touched.
"""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from diffsoil.io import InputError, reason
from diffsoil.work.files import REFUSALS, TEMPORARY, place_of, write_json
from diffsoil.work.lock import Lock

FORMAT = 1
MARKER, LOCK = ".diffsoil.json", ".diffsoil.lock"
NEW, OLD = ".diffsoil.new", ".diffsoil.old"
OURS = (MARKER, LOCK)
MOST_NAMES = 3

State = Literal["unfinished", "complete", "replacing"]


@dataclass(frozen=True)
class Kind:
    """What an output folder holds.

    Args:
        name: written into the marker, such as ``fit``.
        words: in messages, such as ``a fit``.
        files: patterns (:mod:`fnmatch`, of paths within the folder) of all files that a run
            writes, apart from those it adds by :meth:`OutputFolder.add`.
        older: files beyond those patterns that belong to a folder which an older version of the
            program made, without a marker; None if it is not such a folder.
        resumable: whether an interrupted run can be gone on with.
        grows: whether later runs add to the folder, and never replace it as a whole.
    """

    name: str
    words: str
    files: tuple[str, ...]
    older: Callable[[Path], Sequence[str] | None] = lambda path: None
    resumable: bool = False
    grows: bool = False

    def writes(self, name: str) -> bool:
        """Whether a path within the folder is one that a run writes, on any file system."""
        folded = name.casefold()
        return name in OURS or any(
            fnmatch.fnmatchcase(folded, pattern.casefold()) for pattern in self.files
        )


def having(*names: str) -> Callable[[Path], Sequence[str] | None]:
    """Tells folders without a marker by some of their files, as :attr:`Kind.older`."""
    return lambda path: [] if all((path / name).exists() for name in names) else None


class OutputFolder:
    """An output folder, from the check before a run to the results in their place.

    Making one checks and changes nothing; as a context it takes the lock, makes the folder and,
    when the block ends well, puts the results in place. A block that fails leaves an interrupted
    run to go on with where :meth:`keep` was called, or else nothing.

    Args:
        path: the folder; a symbolic link is followed.
        kind: what it will hold.
        overwrite: replace results that are there.
        resume: go on with an interrupted run; it has to be there.
        inputs: files and folders that are read, which the output may not take the place of.

    Attributes:
        path: the folder, without symbolic links.
        work: where the run writes.
        resumed: whether there is something to go on with.
        finished: whether the run to resume was finished already.

    Raises:
        InputError: the folder is not ours, holds a file that is not, is another output's or an
            input, is being written by another run, or cannot be made.
    """

    def __init__(
        self,
        path: Path | str,
        kind: Kind,
        *,
        overwrite: bool = False,
        resume: bool = False,
        inputs: Sequence[Path | str] = (),
    ) -> None:
        self.given, self.kind = Path(path), kind
        self.overwrite, self.resume = overwrite, resume
        self.path = _place(path, inputs)
        self.work = self.path
        self.resumed = self.finished = False
        self._kept = self._discarded = False
        self._made: list[Path] = []
        self._lock = Lock(self.path / LOCK, self.given)
        settle(self.path, kind)
        self._check()

    def _check(self) -> None:
        """Choose where to work, or refuse."""
        self.work, self.resumed, self.finished = self.path, False, False
        if not _holds_something(self.path):
            if self.resume and not self.kind.grows:
                raise InputError(f"{self.given}: nothing to resume there")
            return
        state = _state_of(self.given, self.path, self.kind)
        if self.kind.grows:
            self.resumed = True
            return
        if self.resume:
            fresh = self.path / NEW
            self.work = fresh if _read_marker(fresh) else self.path
            self.finished = state == "complete" and self.work == self.path
            self.resumed = True
            return
        if not self.overwrite and (state == "complete" or self.kind.resumable):
            ways = "--overwrite, --resume" if self.kind.resumable else "--overwrite"
            raise InputError(f"{self.given}: exists already; use {ways} or another folder")
        self._refuse_foreign()
        self.work = self.path / NEW if state == "complete" else self.path

    def _refuse_foreign(self) -> None:
        others = foreign(self.path, self.kind)
        if others:
            raise InputError(
                f"{self.given}: holds {some(others)}, which diffsoil did not make; move it "
                "elsewhere, or choose another folder"
            )

    def __enter__(self) -> OutputFolder:
        """Lock and make the folder."""
        self._make(self.path)
        try:
            self._lock.acquire()
            self._check()  # again: another run may have ended since
            self._open()
        except BaseException:
            self._lock.release()
            self._unmake()
            raise
        return self

    def _make(self, path: Path) -> None:
        missing = [p for p in (path, *path.parents) if not p.exists()]
        for folder in reversed(missing):
            try:
                folder.mkdir(exist_ok=True)
            except OSError as error:
                self._unmake()
                raise InputError(f"{self.given}: cannot be made: {reason(error)}") from error
            self._made.append(folder)

    def _unmake(self) -> None:
        """Remove the folders that were made, as far as they are empty."""
        for folder in reversed(self._made):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _open(self) -> None:
        _sweep(self.path)
        if not self.kind.grows:
            _remove(self.path / OLD, self.kind, own=_added(self.path, self.kind))
        if self.finished:
            return
        if not self.resumed:
            if self.work != self.path:
                _remove(self.work, self.kind)
                self._make(self.work)
            elif not self.kind.grows:
                _remove(self.path, self.kind, but=OURS)
        if not (self.resumed and _read_marker(self.work)):
            _write_marker(self.work, self.kind, "unfinished")

    def add(self, names: Sequence[str]) -> None:
        """Say that files beyond those of the kind are ours: paths within :attr:`work`."""
        known = (_read_marker(self.work) or {}).get("files", [])
        content = {"files": sorted({*known, *names})}
        _write_marker(self.work, self.kind, "unfinished", **content)

    def keep(self) -> None:
        """From here on a block that fails leaves work to go on with."""
        self._kept = True

    def discard(self) -> None:
        """Remove what the run has written when the block ends well; it was to be resumed only."""
        self._discarded = True
        self._made = self._made or [self.path]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the results in place, or leave what can be gone on with, or nothing."""
        try:
            if error is None and not self._discarded:
                if not self.finished:
                    self._publish()
            elif error is None or not (self._kept or self.resumed):
                _remove(self.work, self.kind, but=(LOCK,))
        finally:
            self._lock.release()
            if error is not None or self._discarded:
                self._unmake()
        if isinstance(error, InputError):
            said = list(error.faults)
        elif isinstance(error, OSError) and error.errno in REFUSALS:
            said = [f"{self.given}: cannot be written: {reason(error)}"]
        else:
            return
        if self._kept and self.kind.resumable:
            said[-1] += f"; finished work is kept in {self.given}, go on with --resume"
        raise InputError(said) from error

    def _publish(self) -> None:
        marker = _read_marker(self.work) or {}
        if self.work != self.path:
            self._refuse_foreign()
            names = [p.name for p in self.work.iterdir() if p.name not in OURS]
            was = (_read_marker(self.path) or {}).get("files") or self.kind.older(self.path) or ()
            files = {"files": marker.get("files", []), "was": sorted(was)}
            _write_marker(self.path, self.kind, "replacing", new=names, **files)
            _finish(self.path, self.kind)
            return
        _write_marker(self.path, self.kind, "complete", files=marker.get("files", []))


# Which folders and files are ours.


def _place(path: Path | str, inputs: Sequence[Path | str]) -> Path:
    """The folder that a path means, or a refusal."""
    text, place = os.fspath(path), place_of(path, "folder")
    if place.exists() and not place.is_dir():
        raise InputError(f"{text}: is a file, a folder is needed")
    here = Path.cwd()
    if place == here or place in here.parents:
        raise InputError(f"{text}: is the folder you are in, or above it; name a folder for output")
    for given in inputs:
        read = Path(given).resolve()
        if read == place or place in read.parents:
            raise InputError(f"{text}: holds the input {given}; choose another folder")
    return place


def some(names: Sequence[str]) -> str:
    """The first of some names."""
    return ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")


def _holds_something(path: Path) -> bool:
    """Whether there is more in a folder than a run leaves that is killed as it begins."""
    try:
        return any(
            p.name != LOCK and not fnmatch.fnmatchcase(p.name, TEMPORARY) for p in path.iterdir()
        )
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error


def _state_of(given: Path, path: Path, kind: Kind) -> State:
    """How far what is in a folder got; refuses one that is not ours, or of another kind."""
    marker = _read_marker(path)
    if marker is None:
        if kind.older(path) is None:
            shown = some(sorted(p.name for p in path.iterdir() if p.name != LOCK))
            raise InputError(
                f"{given}: holds {shown}, and was not made by diffsoil for {kind.words}; choose "
                "another folder"
            )
        return "complete"
    if marker["kind"] != kind.name:
        raise InputError(
            f"{given}: holds results of another kind ({marker['kind']}), not {kind.words}; choose "
            "another folder"
        )
    if marker["format"] > FORMAT:
        raise InputError(
            f"{given}: was made by diffsoil {marker.get('version', '?')}, which is newer than this"
        )
    state: State = marker["state"]
    return state


def foreign(path: Path, kind: Kind) -> list[str]:
    """Files in a folder that no run of diffsoil wrote, as paths within it, sorted."""
    own = _added(path, kind)
    return sorted(name for name in _files(path) if not _is_ours(name, kind, own))


def _added(path: Path, kind: Kind) -> set[str]:
    """Files of a folder that are ours beyond the patterns of its kind."""
    marker = _read_marker(path)
    return set(marker.get("files", [])) if marker else set(kind.older(path) or ())


def _is_ours(name: str, kind: Kind, own: set[str]) -> bool:
    first, _, _ = name.partition("/")
    if name in OURS or name in own or fnmatch.fnmatchcase(first, TEMPORARY):
        return True
    if first in (NEW, OLD):
        return True  # made in a folder of ours, by a run
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in kind.files)


def _files(path: Path) -> Iterator[str]:
    """All files and links below a folder, as paths within it."""
    for folder, folders, files in os.walk(path):
        here = Path(folder)
        links = [name for name in folders if (here / name).is_symlink()]
        for name in (*files, *links):
            yield (here / name).relative_to(path).as_posix()


def _remove(
    path: Path, kind: Kind, but: Sequence[str] = (), own: Collection[str] | None = None
) -> None:
    """Remove all that is ours in a folder, and the folders that this leaves empty."""
    if not path.is_dir():
        return
    known = _added(path, kind) if own is None else set(own)
    # the marker last: without it the rest of a removal that is cut off would be nobody's
    for name in sorted(_files(path), key=lambda name: name == MARKER):
        if name not in but and _is_ours(name, kind, known):
            (path / name).unlink(missing_ok=True)
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):  # not empty
            if Path(folder) != path or not but:
                os.rmdir(folder)


def _sweep(path: Path) -> None:
    """Remove what a killed run was making; only the holder of the lock may."""
    for left in list(path.rglob(TEMPORARY)):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)


# The marker.


def _read_marker(path: Path) -> dict[str, Any] | None:
    """The marker of a folder; None if it has none that can be read."""
    try:
        marker = json.loads((path / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(marker, dict) or not isinstance(marker.get("kind"), str):
        return None
    if not isinstance(marker.get("format"), int):
        return None
    return marker if marker.get("state") in ("unfinished", "complete", "replacing") else None


def _write_marker(path: Path, kind: Kind, state: State, **more: Any) -> None:
    content = {"kind": kind.name, "format": FORMAT, "version": metadata.version("diffsoil")}
    content |= {"state": state} | more
    write_json(path / MARKER, content)


# Putting new results in the place of old ones.


def settle(path: Path, kind: Kind) -> None:
    """Finish putting results in place, if a run was killed while doing so."""
    marker = _read_marker(path)
    if marker is None or marker["state"] != "replacing" or marker["kind"] != kind.name:
        return
    with Lock(path / LOCK, path):
        marker = _read_marker(path)
        if marker is not None and marker["state"] == "replacing":
            _finish(path, kind)


def _finish(path: Path, kind: Kind) -> None:
    """Move the old results aside and the new ones up; may be cut off anywhere and repeated."""
    marker = _read_marker(path)
    assert marker is not None
    fresh, aside = path / NEW, path / OLD
    aside.mkdir(exist_ok=True)
    pending = {name for name in marker["new"] if os.path.lexists(fresh / name)}
    stay = {*OURS, NEW, OLD, *marker["new"]} - pending
    for entry in list(path.iterdir()):
        if entry.name not in stay:
            os.replace(entry, aside / entry.name)
    for name in sorted(pending):
        os.replace(fresh / name, path / name)
    (fresh / MARKER).unlink(missing_ok=True)  # or it would look like work to go on with
    _write_marker(path, kind, "complete", files=marker["files"])
    _remove(fresh, kind, own=marker["files"])
    _remove(aside, kind, own=marker["was"])
