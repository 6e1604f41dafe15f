"""A store of many rows on disk: the results of an ensemble, of which a part may be finished."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from diffsoil.cases.fingerprint import Fingerprint, difference
from diffsoil.io import InputError, reason
from diffsoil.work.files import temporary

FORMAT = 1
DONE = "done"
"""Variable of a store that says which rows are there."""

CHUNK_BYTES = 2**16

type Rows = tuple[list[int], dict[str, np.ndarray]]
"""Numbers of rows, and their values by variable."""


class Store:
    """Results of an ensemble on disk, one row a column; one process may write.

    A Zarr folder (format 2, which other programs read too) that ``xarray.open_zarr`` opens. Rows
    that are not :attr:`done` are NaN. Made by :meth:`open` and :meth:`read`.

    Attributes:
        path: the folder.
        rows: name of every row, from the coordinate of the row dimension.
        done: whether a row is finished (rows,).
        damaged: files that could not be read on resuming; their rows are computed again.
    """

    damaged: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._group: Any = zarr.open_group(path, mode="r+", zarr_format=2)
            self.fingerprint = str(self._group.attrs["fingerprint"])
            self.done = np.asarray(self._group[DONE]).astype(bool)
            with self.dataset() as all_rows:
                self.row_dimension = str(all_rows[DONE].dims[0])
                self.rows = tuple(all_rows[self.row_dimension].to_numpy().tolist())
                variables = all_rows.drop_vars(DONE).data_vars
                self._shapes = {str(name): v.shape[1:] for name, v in variables.items()}
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise InputError(f"{path}: is damaged, or is no store of diffsoil") from error

    @classmethod
    def open(
        cls,
        path: str | Path,
        template: xr.Dataset,
        fingerprint: Fingerprint,
        *,
        resume: bool = False,
        overwrite: bool = False,
    ) -> Store:
        """Make a store, or go on with one that has been interrupted.

        Args:
            path: folder of the store.
            template: what is to be computed. Every data variable is floating point and has the
                row dimension first; only its shape, type and attributes are used, so a broadcast
                NaN is enough. Coordinates and attributes are written as they are.
            fingerprint: changes with everything that the results depend on, also with the
                composition of batches; see :mod:`diffsoil.cases.fingerprint`.
            resume: go on with the store if there is one. It is made larger if the template has
                more rows, which follow those that are there.
            overwrite: replace the store if there is one; it stays until the new one is there.

        Raises:
            InputError: there is something and neither is said, it is not a store, it is damaged,
                it holds results of other inputs, or the operating system refuses.
        """
        path = Path(path)
        if not os.path.lexists(path):
            _create(path, template, fingerprint)
        elif not _is_store(path):
            raise InputError(f"{path}: exists already and is no store of diffsoil, or is damaged")
        elif overwrite:
            _create(path, template, fingerprint)
        elif not resume:
            raise InputError(
                f"{path}: exists already; use --resume to go on or --overwrite to begin anew"
            )
        store = cls(path)
        if other := store.difference(fingerprint):
            raise InputError(f"{path}: cannot resume: {other}")
        if store._shapes != {str(name): v.shape[1:] for name, v in template.data_vars.items()}:
            raise InputError(f"{path}: cannot resume: the store is damaged")
        damaged = store._drop_damaged() if resume else ()
        if store.done.size < template[next(iter(template.data_vars))].shape[0]:
            _create(path, template, fingerprint, store._finished())
            store = cls(path)
        store.damaged = damaged
        return store

    @classmethod
    def read(cls, path: str | Path) -> Store:
        """A store that is there.

        Raises:
            InputError: there is none, it is damaged, or no row is finished.
        """
        path = Path(path)
        if not path.exists():
            raise InputError(f"{path}: does not exist")
        store = cls(path)
        if not store.done.any():
            raise InputError(f"{path}: no row is finished yet")
        return store

    def difference(self, fingerprint: Fingerprint) -> str:
        """In what the inputs of the store differ from others, in words; empty if in nothing."""
        if self.fingerprint == json.dumps(fingerprint, sort_keys=True):
            return ""
        try:
            before = json.loads(self.fingerprint)
        except ValueError:
            before = None
        return difference(before, fingerprint)

    def _drop_damaged(self) -> tuple[str, ...]:
        """Remove files that cannot be read and forget their rows; which files these were."""
        found, bad = [], np.zeros_like(self.done)
        for name in self._shapes:
            array = self._group[name]
            size = array.chunks[0]
            for number, start in enumerate(range(0, len(self.done), size)):
                rows = slice(start, start + size)
                if not self.done[rows].any():
                    continue
                try:
                    array[rows]
                except Exception:  # a decoder may raise anything
                    file = self.path / name / ".".join(map(str, (number, *[0] * (array.ndim - 1))))
                    file.unlink()  # or rows beside them could not be written
                    found.append(str(file))
                    bad[rows] = True
        if found:
            self.done = self.done & ~bad
            self._group[DONE][:] = self.done
        return tuple(found)

    def write(self, rows: Sequence[int], values: dict[str, np.ndarray]) -> None:
        """Write finished rows. A process that dies in here loses these rows and no others.

        Ctrl-C waits until they are written, so that what is told of the store is what it holds.

        Args:
            rows: numbers of the rows.
            values: every variable, of shape (rows, ...) in the order of ``rows``.

        Raises:
            ValueError: a variable is missing, unknown or of another shape.
            InputError: the operating system refuses, as when the disk is full.
        """
        if values.keys() != self._shapes.keys():
            raise ValueError(f"variables are {sorted(values)}, not {sorted(self._shapes)}")
        for name, shape in self._shapes.items():
            if np.shape(values[name]) != (len(rows), *shape):
                raise ValueError(
                    f"{name}: shape is {np.shape(values[name])}, not {(len(rows), *shape)}"
                )
        index = np.asarray(rows, dtype=int)
        done = self.done.copy()
        done[index] = True
        with _undisturbed():
            try:
                for name, value in values.items():
                    self._group[name].oindex[index] = np.asarray(value)
                self._group[DONE][:] = done  # one file, which zarr replaces whole
            except OSError as error:
                raise InputError(f"{self.path}: cannot be written: {error.strerror}") from error
            self.done = done

    def _finished(self) -> Rows:
        """Finished rows, in memory."""
        rows = np.flatnonzero(self.done)
        return rows.tolist(), {n: np.asarray(self._group[n].oindex[rows]) for n in self._shapes}

    def dataset(self) -> xr.Dataset:
        """All rows, read when they are used."""
        return xr.open_zarr(self.path, chunks=None, consolidated=True)

    def progress(self) -> str:
        """How far it got, e.g. ``12 of 72 rows``."""
        return f"{self.done.sum()} of {self.done.size} rows"


def _is_store(path: Path) -> bool:
    """Whether a folder is one of ours: nothing else is ever replaced."""
    try:
        attributes = json.loads((path / ".zattrs").read_text(encoding="utf-8"))
        return bool(attributes["diffsoil_store"] == FORMAT)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _create(
    path: Path, template: xr.Dataset, fingerprint: Fingerprint, rows: Rows | None = None
) -> None:
    """Make a store, empty or with some rows, beside its place, then put it there, whole."""
    unfinished, old = temporary(path), temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_empty(unfinished, template, fingerprint)
        if rows is not None and rows[0]:
            Store(unfinished).write(*rows)
        if path.exists():
            path.rename(old)
            unfinished.rename(path)
            shutil.rmtree(old)
        else:
            unfinished.rename(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be made: {reason(error)}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _write_empty(path: Path, template: xr.Dataset, fingerprint: Fingerprint) -> None:
    dimensions = {variable.dims[:1] for variable in template.data_vars.values()}
    if len(dimensions) != 1 or dimensions == {()} or DONE in template:
        raise ValueError(f"the data variables need one row dimension, and no {DONE!r}")
    (rows,) = dimensions.pop()
    small = template.drop_vars(list(template.data_vars)).assign_attrs(
        diffsoil_store=FORMAT,
        diffsoil_version=metadata.version("diffsoil"),
        fingerprint=json.dumps(fingerprint, sort_keys=True),
    )
    small[DONE] = (rows, np.zeros(template.sizes[rows], dtype=bool))
    # Format 3 has neither strings nor a joint index of the metadata in its standard, and warns.
    small.drop_encoding().to_zarr(
        path, zarr_format=2, consolidated=False, encoding={DONE: {"chunks": -1}}
    )
    group = zarr.open_group(path, mode="r+", zarr_format=2)
    for name, variable in template.data_vars.items():
        if variable.dtype.kind != "f":
            raise ValueError(f"{name}: type is {variable.dtype}, has to be floating point")
        array = group.create_array(
            str(name),
            shape=variable.shape,
            dtype=variable.dtype,
            chunks=_chunks(variable),
            fill_value=np.nan,
        )
        array.attrs.update({**variable.attrs, "_ARRAY_DIMENSIONS": [*map(str, variable.dims)]})
    zarr.consolidate_metadata(path, zarr_format=2)


def _chunks(variable: xr.DataArray) -> tuple[int, ...]:
    """Whole rows: one a file, or some where a file would be tiny."""
    rows, *row = (max(1, size) for size in variable.shape)
    return (min(rows, max(1, CHUNK_BYTES // (math.prod(row) * variable.dtype.itemsize))), *row)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C, and a signal that acts as it, wait until the block is done: milliseconds."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    usual = {n: handler for n, handler in usual.items() if callable(handler)}
    waiting: list[tuple[Any, ...]] = []
    for number in usual:
        signal.signal(number, lambda *of_signal: waiting.append(of_signal))
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
    for number, frame in waiting[:1]:
        handler = usual[number]
        assert callable(handler)
        handler(number, frame)
