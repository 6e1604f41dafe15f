"""Ensembles: many columns computed in batches, by any pool of workers, into one store."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from diffsoil.io import InputError
from diffsoil.work.pool import BatchError, Pool, explained
from diffsoil.work.progress import Countdown, Say
from diffsoil.work.store import Store


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
    say: Say,
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
    countdown = Countdown(say, sum(len(batch.rows) for batch in left))
    try:
        arguments = [batch.argument for batch in left]
        with contextlib.closing(pool.results(compute, arguments)) as results:
            for place, values in results:
                store.write(left[place].rows, values)
                countdown.tick(len(left[place].rows), store.progress())
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
