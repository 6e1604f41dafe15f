"""Pools of workers: this process, processes of this machine, or those of a Dask scheduler."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import functools
import itertools
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsoil import _runtime
from diffsoil.io import InputError

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10


class BatchError(RuntimeError):
    """A batch failed; the cause says how.

    Args:
        place: which of the arguments it was.
        message: what the user reads.
    """

    def __init__(self, place: int, message: str) -> None:
        super().__init__(message)
        self.place = place


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
    workers = workers or len(gpus) or cores()
    if workers == 1 and not gpus:
        yield _ThisProcess()
        return
    with _started(workers) as client:
        yield _pool(client, _Preparation(device, gpus), "--workers")


def cores() -> int:
    """Cores that this process may use."""
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
    environment = {"NPROC": str(max(1, cores() // workers))}
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
        raise InputError(f"{option}: the workers cannot start: {explained(error)}") from error
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
                raise BatchError(place, f"batch {place}: {explained(error)}") from error
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
            raise BatchError(place, f"batch {place}: {explained(error)}") from error
        except OSError as error:
            raise ConnectionError("the connection to the workers is lost") from error
        finally:
            with contextlib.suppress(OSError):
                self.client.cancel(list(places))


def explained(error: BaseException) -> str:
    """What a user reads of an error of a worker."""
    if type(error).__name__ == "KilledWorker":  # Dask's; its own text is a paragraph
        return "every worker that computed it died; is there enough memory?"
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


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
