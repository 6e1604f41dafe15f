"""Ensembles: many columns computed in batches, by any pool of workers, into one store."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diffsoil.io import InputError
from diffsoil.work.pool import BatchError, Pool, explained
from diffsoil.work.store import Store

SAY_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Batch:
    """Rows that are computed together. The caller composes batches, whoever computes them.

    Args:
        rows: rows of the store that it fills.
        argument: what the computation is given; picklable, and small: it travels.
    """

    rows: tuple[int, ...]
    argument: Any


def run(
    compute: Callable[[Any], dict[str, np.ndarray]],
    batches: Sequence[Batch],
    store: Store,
    pool: Pool,
    say: Callable[[str], None],
) -> None:
    """Compute the batches that a store does not have yet, and store each as it is finished.

    Args:
        compute: picklable; takes a batch's argument and gives what :meth:`Store.write` takes.
        batches: batches that share no row.
        store: where results go; only this process writes.
        pool: from :func:`cluster`.
        say: told every few seconds how far it is.

    Raises:
        ValueError: two batches share a row, or a result does not fit the store.
        BatchError: a batch failed; its rows are named, and what was finished is stored.
        InputError: the same where the user can mend it, or the workers are gone.
        KeyboardInterrupt: the user's, with a message on what is stored.
    """
    rows = [row for batch in batches for row in batch.rows]
    if len(set(rows)) < len(rows):
        raise ValueError("two batches share a row")
    left = [batch for batch in batches if not store.done[list(batch.rows)].all()]
    clock = _Clock(say, store, sum(len(batch.rows) for batch in left))
    try:
        arguments = [batch.argument for batch in left]
        with contextlib.closing(pool.results(compute, arguments)) as results:
            for place, values in results:
                store.write(left[place].rows, values)
                clock.tick(len(left[place].rows))
    except BatchError as error:
        names = ", ".join(repr(store.rows[row]) for row in left[error.place].rows)
        kind = InputError if isinstance(error.__cause__, InputError) else None
        message = f"{store.row_dimension} {names}: {explained(error.__cause__ or error)}"
        raise (InputError(message) if kind else BatchError(error.place, message)) from error
    except ConnectionError as error:
        raise InputError(f"{error}; {_kept(store)}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_kept(store)) from None


def _kept(store: Store) -> str:
    return f"{store.progress()} are stored in {store.path}; --resume goes on"


class _Clock:
    """Says how far a run is, and how long the rest will take."""

    def __init__(self, say: Callable[[str], None], store: Store, left: int) -> None:
        self._say = say
        self._store = store
        self._left = left
        self._computed = 0
        self._start = self._said = time.monotonic()

    def tick(self, rows: int) -> None:
        self._computed += rows
        self._left -= rows
        now = time.monotonic()
        if now - self._said < SAY_SECONDS:
            return
        self._said = now
        elapsed = now - self._start
        rest = elapsed / self._computed * self._left
        self._say(f"{self._store.progress()}, {_minutes(elapsed)}, about {_minutes(rest)} left")


def _minutes(seconds: float) -> str:
    """A duration as ``0:35``, or ``1:02:10``."""
    text = str(datetime.timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0")
