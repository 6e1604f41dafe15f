"""Ensembles: many columns computed in batches, by any number of workers, into one Zarr store."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import datetime
import functools
import itertools
import json
import math
import os
import pickle
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
import zarr

from diffsoil import _runtime
from diffsoil.cases.fingerprint import Fingerprint, difference
from diffsoil.io import InputError, reason
from diffsoil.work.files import temporary

if TYPE_CHECKING:
    from distributed import Client, Future

FORMAT = 1
DONE = "done"
"""Variable of a store that says which rows are there."""

CHUNK_BYTES = 2**16
CONNECT_SECONDS = 10
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


class BatchError(RuntimeError):
    """A batch failed; the cause says how.

    Args:
        place: which of the arguments it was.
        message: what the user reads.
    """

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place


# The store.


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
            resume: go on with the store if there is one.
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
        store.damaged = store._drop_damaged() if resume else ()
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


def _create(path: Path, template: xr.Dataset, fingerprint: Fingerprint) -> None:
    """Make an empty store beside its place, then put it there, whole."""
    unfinished, old = temporary(path), temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_empty(unfinished, template, fingerprint)
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


# Those who compute.


type Results = Generator[tuple[int, Any], None, None]


class Pool(abc.ABC):
    """What computes batches; :func:`cluster` makes it."""

    @abc.abstractmethod
    def results(self, compute: Callable[[Any], Any], arguments: Sequence[Any]) -> Results:
        """Compute ``compute(argument)`` of every argument, in any order.

        Yields:
            The place of an argument and its result, each once, as they are finished.

        Raises:
            BatchError: one failed. What was finished by then has been yielded, the rest is
                cancelled.
            ConnectionError: the workers are gone.
        """


@contextlib.contextmanager
def cluster(
    workers: int | None = None, scheduler: str | None = None, device: _runtime.Device = "auto"
) -> Iterator[Pool]:
    """Start workers, or connect to some, for as many ensembles as the block holds.

    Worker processes import the main module: a script has to keep its own work below
    ``if __name__ == "__main__"``.

    Every local worker takes one GPU where JAX can use any. The process that starts them should
    stay off the GPUs (``_runtime.use_device("cpu")``), since JAX seizes most of a GPU's memory.
    For a scheduler of one's own, start one worker a GPU, each with its ``CUDA_VISIBLE_DEVICES``
    and one thread. A worker that dies is replaced by the others; a batch that has been on four
    workers as they died is given up.

    Args:
        workers: number of processes on this machine; 1 computes in this very process where no
            GPU is to be used. Default: one a GPU, or else one a core.
        scheduler: address of a Dask scheduler to use instead, such as ``tcp://host:8786``, or
            ``tls://host:8786`` with the keys that Dask's own configuration names.
        device: where the workers compute.

    Raises:
        InputError: ``workers`` is no positive number or more than the GPUs, both ``workers``
            and ``scheduler`` are given, the scheduler cannot be reached or has no workers, or
            the workers cannot use the device.
    """
    if workers is not None and scheduler is not None:
        raise InputError("--workers: a --scheduler has its own workers")
    if workers is not None and workers < 1:
        raise InputError(f"--workers: {workers} is no positive number")
    if scheduler is not None:
        with _connected(scheduler) as client:
            yield _pool(client, _Preparation(device), f"--scheduler {scheduler}")
        return
    gpus = () if device == "cpu" else _gpus()
    if gpus and (workers or 0) > len(gpus):
        raise InputError(
            f"--workers: {workers}, and GPUs for {len(gpus)}; take fewer, or --device cpu"
        )
    if device == "gpu" and not gpus:
        raise InputError("--device gpu: JAX finds no GPU; install diffsoil[cuda] or use cpu")
    workers = workers or len(gpus) or _cores()
    if workers == 1 and not gpus:
        yield _ThisProcess()
        return
    with _started(workers) as client:
        yield _pool(client, _Preparation(device, gpus), "--workers")


def _cores() -> int:
    from dask.system import CPU_COUNT  # knows of containers that are given fewer

    return int(CPU_COUNT)


def _gpus() -> tuple[str, ...]:
    """Names of the GPUs that JAX could use, found without starting it."""
    if not metadata.entry_points(group="jax_plugins"):
        return ()
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return tuple(filter(None, os.environ["CUDA_VISIBLE_DEVICES"].split(",")))
    return tuple(str(i) for i, _ in enumerate(Path("/dev").glob("nvidia[0-9]*")))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Dask: what matters to a user is raised."""
    import logging

    import dask
    from distributed.utils import silence_logging_cmgr

    large = {"distributed.admin.large-graph-warning-threshold": "1GB"}  # a program of megabytes
    with silence_logging_cmgr(logging.CRITICAL), dask.config.set(large):
        yield


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Client]:
    from distributed import Client

    with _quiet(), contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(
                Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
            )
        except (OSError, ValueError) as error:
            raise InputError(f"--scheduler {address}: cannot be reached") from error
        except TypeError as error:  # an address tls:// without keys
            raise InputError(
                f"--scheduler {address}: cannot be reached without the keys that Dask's "
                "configuration names (distributed.comm.tls)"
            ) from error
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except TimeoutError as error:
            raise InputError(f"--scheduler {address}: has no workers") from error
        yield client


@contextlib.contextmanager
def _started(workers: int) -> Iterator[Client]:
    import logging

    import dask
    from distributed import Client, LocalCluster
    from distributed.security import Security

    # XLA would start a thread a core in every worker; its results do not depend on how many.
    # Those of BLAS do, in the last digit: so it keeps the threads that it has in this process,
    # against Dask's habit of leaving it one, and any number of workers gives the same bits.
    environment = {"NPROC": str(max(1, _cores() // workers))}
    if not sys.warnoptions:
        environment["PYTHONWARNINGS"] = "ignore"  # what matters to a user is raised
    settings: dict[str, Any] = {
        "distributed.nanny.pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": 65536},
        # nothing to be seen or steered through a browser
        "distributed.scheduler.http.routes": [],
        "distributed.worker.http.routes": [],
    }
    with _quiet(), dask.config.set(settings), contextlib.ExitStack() as stack:
        with _deaf():
            local = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                processes=True,
                # whoever may talk to a worker can have it run any program: only those do who
                # have the keys that are made for this run and never leave its memory
                protocol="tls",
                security=Security.temporary(),
                dashboard_address=None,
                # any port, or it warns
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                memory_limit=0,  # a worker that holds a large program would be stopped for ever
                silence_logs=logging.CRITICAL,
                env=environment,
            )
            client = stack.enter_context(Client(stack.enter_context(local), set_as_default=False))
        yield client


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Ignore Ctrl-C, as will all processes that are started in the block, for ever.

    A terminal interrupts every process of a program; it is for the first one to tell the others.
    """
    if threading.current_thread() is not threading.main_thread():  # which may not set signals
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


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


@dataclasses.dataclass(frozen=True)
class _Preparation:
    """What a worker does once, before it touches JAX."""

    device: _runtime.Device
    gpus: tuple[str, ...] = ()
    """For each local worker, by its number."""


@functools.cache
def _prepare(preparation: _Preparation) -> None:
    from distributed import get_worker

    if preparation.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = preparation.gpus[int(get_worker().name)]
    _runtime.use_device(preparation.device)
    _runtime.require_float64()


def _pool(client: Client, preparation: _Preparation, option: str) -> Pool:
    try:
        client.run(_prepare, preparation)
    except Exception as error:  # of whatever kind: the workers may be another installation
        raise InputError(f"{option}: the workers cannot start: {_told(error)}") from error
    return _Workers(client, preparation)


@functools.lru_cache(maxsize=4)
def _unpacked(program: bytes) -> Callable[[Any], Any]:
    """The computation, the same object for all batches: what it has compiled is kept."""
    compute: Callable[[Any], Any] = pickle.loads(program)
    return compute


def _call(preparation: _Preparation, program: bytes, argument: bytes) -> Any:
    _prepare(preparation)  # again, for workers that came later
    return _unpacked(program)(pickle.loads(argument))


@dataclasses.dataclass(frozen=True)
class _ThisProcess(Pool):
    def results(self, compute: Callable[[Any], Any], arguments: Sequence[Any]) -> Results:
        for place, argument in enumerate(arguments):
            try:
                result = compute(argument)
            except Exception as error:
                raise BatchError(place, f"batch {place}: {_told(error)}") from error
            yield place, result


@dataclasses.dataclass(frozen=True)
class _Workers(Pool):
    client: Client
    preparation: _Preparation

    def results(self, compute: Callable[[Any], Any], arguments: Sequence[Any]) -> Results:
        from distributed import as_completed
        from distributed.protocol.pickle import dumps

        # Packed here, since unpacking an array starts JAX, which has to be prepared first.
        program = dumps(compute)
        left = iter(enumerate(arguments))
        places: dict[Future, int] = {}
        finished = as_completed(loop=self.client.loop)

        def submit() -> None:
            # two a thread: nobody waits, and results do not pile up
            room = 2 * max(1, sum(self.client.nthreads().values())) - len(places)
            for place, argument in itertools.islice(left, max(0, room)):
                future = self.client.submit(
                    _call, self.preparation, program, dumps(argument), pure=False
                )
                places[future] = place
                finished.add(future)

        try:
            submit()
            for future in finished:
                if future.status != "finished":
                    break
                yield places.pop(future), future.result()
                submit()
            else:
                return
            for other in [f for f in places if f.status == "finished"]:
                yield places[other], other.result()
            if future.status != "error":  # cancelled, and not by us
                raise ConnectionError
            error = future.exception()
            place = places[future]
            raise BatchError(place, f"batch {place}: {_told(error)}") from error
        except OSError as error:
            raise ConnectionError("the connection to the workers is lost") from error
        finally:
            with contextlib.suppress(OSError):
                self.client.cancel(list(places))


def _told(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":  # Dask's; its own text is a paragraph
        return "every worker that computed it died; is there enough memory?"
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


# What the rest of the program uses.


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
        message = f"{store.row_dimension} {names}: {_told(error.__cause__ or error)}"
        raise (InputError(message) if kind else BatchError(error.place, message)) from error
    except ConnectionError as error:
        raise InputError(f"{error}; {_kept(store)}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_kept(store)) from None


def collect(compute: Callable[[Any], Any], arguments: Sequence[Any], pool: Pool) -> list[Any]:
    """Results of ``compute`` in the order of ``arguments``, computed by the workers of a pool.

    Raises:
        BatchError: one of them failed.
        InputError: the workers are gone.
    """
    try:
        results = dict(pool.results(compute, arguments))
    except ConnectionError as error:
        raise InputError(str(error)) from error
    return [results[place] for place in range(len(arguments))]


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
