"""Ensembles: nothing lost, nothing twice, whoever computes and whatever dies."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from distributed import rpc
from distributed.security import Security

from diffsoil.io import InputError
from diffsoil.work import pool as pools
from diffsoil.work import progress
from diffsoil.work.ensemble import Batch, run
from diffsoil.work.pool import BatchError, Pool, cluster, collect
from diffsoil.work.store import Store

NAMES = ("calm", "dry", "wet", "früh", "late", "hot", "cold", "deep", "thin", "old", "bare", "lime")
SIZE = 300
"""Large enough for results of LAPACK to depend on its threads."""
PATIENCE = 120.0
"""s; processes that start take so long on a machine with other work, and no longer."""


def template() -> xr.Dataset:
    rows = len(NAMES)
    return xr.Dataset(
        {
            "carbon": (
                ("scenario", "depth"),
                np.broadcast_to(np.nan, (rows, SIZE)),
                {"unit": "kg m-2"},
            ),
            "loss": ("scenario", np.broadcast_to(np.float32(np.nan), (rows,)), {"unit": "1"}),
        },
        coords={"scenario": list(NAMES), "depth": np.arange(SIZE) / 10},
        attrs={"title": "a study"},
    )


def batches() -> list[Batch]:
    return [Batch((row, row + 1), (row, row + 1)) for row in range(0, len(NAMES), 2)]


@jax.jit
def _column(row: jax.Array) -> tuple[jax.Array, jax.Array]:
    a = jax.random.normal(jax.random.key(row), (SIZE, SIZE))
    carbon = jnp.linalg.solve(a, jnp.exp(a))[0]
    return carbon, carbon.sum()


def soil(rows: tuple[int, ...]) -> dict[str, np.ndarray]:
    carbon, loss = jax.vmap(_column)(jnp.asarray(rows))
    return {"carbon": np.asarray(carbon), "loss": np.asarray(loss)}


def noted(rows: tuple[int, ...], folder: Path, seconds: float = 0.0) -> dict[str, np.ndarray]:
    """As soil, and leaves a file as it starts and another as it ends: ROW-PROCESS.start."""
    note = folder / f"{rows[0]}-{os.getpid()}"
    note.with_suffix(".start").touch()
    time.sleep(seconds)
    result = soil(rows)
    note.with_suffix(".end").touch()
    return result


def fails(rows: tuple[int, ...], error: Exception) -> dict[str, np.ndarray]:
    if 4 in rows:
        raise error
    return soil(rows)


def starts(folder: Path) -> Counter[int]:
    """How often every batch was started, by its first row."""
    return Counter(int(note.name.split("-")[0]) for note in folder.glob("*.start"))


def quiet(text: str) -> None:
    """For who does not listen."""


@pytest.fixture(scope="module")
def alone() -> Iterator[Pool]:
    with cluster(workers=1) as pool:
        yield pool


@pytest.fixture(scope="module")
def two() -> Iterator[Pool]:
    with cluster(workers=2, device="cpu") as pool:
        yield pool


@pytest.fixture(scope="module")
def expected(alone: Pool, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    store = Store.open(tmp_path_factory.mktemp("expected") / "runs.zarr", template(), "a")
    run(soil, batches(), store, alone, quiet)
    return store.dataset().load()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


# The store.


def test_a_store_is_made_larger_and_keeps_its_rows(tmp_path: Path) -> None:
    path, few = tmp_path / "runs.zarr", template().isel(scenario=slice(4))
    for written in ((), (0, 1)):
        store = Store.open(path, few, "a", overwrite=bool(written))
        if written:
            store.write(written, soil(written))
        larger = Store.open(path, template(), "a", resume=True)
        assert larger.rows == NAMES
        assert np.flatnonzero(larger.done).tolist() == list(written)
    np.testing.assert_array_equal(larger.dataset()["carbon"][:2], soil((0, 1))["carbon"])
    with pytest.raises(InputError, match="its inputs have changed"):
        Store.open(path, few, "b", resume=True)


def test_a_user_opens_a_store_with_plain_xarray(expected: xr.Dataset, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "new" / "runs.zarr", template(), "a")
    store.write([3, 0], soil((3, 0)))
    with xr.open_zarr(store.path) as seen:
        assert seen.scenario.to_numpy().tolist() == list(NAMES)
        assert seen.carbon.attrs == {"unit": "kg m-2"}
        assert seen.loss.dtype == np.float32
        assert seen.attrs["title"] == "a study"
        assert seen.done.to_numpy().nonzero()[0].tolist() == [0, 3]
        np.testing.assert_array_equal(seen.carbon[[0, 3]], expected.carbon[[0, 3]])
        assert seen.carbon[[1, 2, *range(4, len(NAMES))]].isnull().all()


def test_large_rows_have_their_own_files_and_small_ones_share(tmp_path: Path) -> None:
    large = template().isel(depth=0, drop=True)
    large["profile"] = (("scenario", "x"), np.broadcast_to(np.nan, (len(NAMES), 10_000)))
    store = Store.open(tmp_path / "runs.zarr", large, "a")
    for row in range(2):
        values = {"carbon": np.ones(1), "loss": np.ones(1), "profile": np.ones((1, 10_000))}
        store.write([row], values)
    files = {name: len([*(store.path / name).glob("[0-9]*")]) for name in values}
    assert files == {"carbon": 1, "loss": 1, "profile": 2}
    assert store.dataset().carbon.notnull().sum() == 2


def test_a_store_that_is_there_is_not_touched_unasked(tmp_path: Path) -> None:
    path = tmp_path / "runs.zarr"
    Store.open(path, template(), "a").write([0, 1], soil((0, 1)))
    with pytest.raises(InputError, match=r"runs.zarr: exists already; use --resume .*--overwrite"):
        Store.open(path, template(), "a")
    assert Store.read(path).done.sum() == 2


def test_a_store_of_other_inputs_is_not_resumed(tmp_path: Path) -> None:
    path = tmp_path / "runs.zarr"
    before = {"format": 1, "case": "a", "files": {"rain.csv": "a"}, "seed": 1}
    Store.open(path, template(), before).write([0, 1], soil((0, 1)))
    for change, told in (
        ({"files": {"rain.csv": "b"}}, "file 'rain.csv' has changed"),
        ({"case": "b"}, "the case file has changed"),
        ({"seed": 2}, "seed was 1, is 2"),
        ({"format": 2}, "another version"),
    ):
        with pytest.raises(InputError, match=f"runs.zarr: cannot resume: .*{told}"):
            Store.open(path, template(), before | change, resume=True)


@pytest.mark.parametrize("damage", [b"", b"\x00" * 8])
def test_rows_of_a_damaged_file_are_computed_again(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "runs.zarr"
    store = Store.open(path, template(), "a")
    store.write([0, 1], soil((0, 1)))
    chunk = next(p for p in sorted((path / "carbon").iterdir()) if not p.name.startswith("."))
    chunk.write_bytes(damage or chunk.read_bytes()[:20])
    again = Store.open(path, template(), "a", resume=True)
    assert not again.done.any()
    assert "carbon" in again.damaged[0]
    again.write([0, 1], soil((0, 1)))
    assert not Store.open(path, template(), "a", resume=True).damaged


def test_overwriting_begins_anew_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "runs.zarr"
    Store.open(path, template(), "a").write([0, 1], soil((0, 1)))
    store = Store.open(path, template(), "b", overwrite=True)
    assert not store.done.any()
    assert store.dataset().carbon.isnull().all()
    assert [p.name for p in tmp_path.iterdir()] == ["runs.zarr"]


def test_the_old_store_stays_when_the_new_one_cannot_be_made(tmp_path: Path) -> None:
    path = tmp_path / "runs.zarr"
    Store.open(path, template(), "a").write([0, 1], soil((0, 1)))
    whole_numbers = template().assign(loss=("scenario", np.arange(len(NAMES))))
    with pytest.raises(ValueError, match="floating point"):
        Store.open(path, whole_numbers, "b", overwrite=True)
    assert Store.read(path).done.sum() == 2
    assert [p.name for p in tmp_path.iterdir()] == ["runs.zarr"]


@pytest.mark.parametrize("flags", [{}, {"resume": True}, {"overwrite": True}])
def test_what_is_no_store_is_never_replaced(flags: dict[str, bool], tmp_path: Path) -> None:
    thesis = tmp_path / "thesis" / "chapter.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    for path in (thesis, thesis.parent):
        with pytest.raises(InputError, match=rf"{path}: exists already and is no store"):
            Store.open(path, template(), "a", **flags)
    assert thesis.read_text() == "years of work"


def half_created(store: Path) -> None:
    shutil.rmtree(store / "loss")
    (store / ".zmetadata").unlink()


def without_flags(store: Path) -> None:
    (store / "done" / ".zarray").write_text("{")
    (store / ".zmetadata").write_text("{")


def emptied(store: Path) -> None:
    shutil.rmtree(store)
    store.mkdir()


@pytest.mark.parametrize("damage", [half_created, without_flags, emptied])
def test_a_damaged_store_is_named(damage: Any, tmp_path: Path) -> None:
    path = tmp_path / "runs.zarr"
    Store.open(path, template(), "a").write([0, 1], soil((0, 1)))
    damage(path)
    with pytest.raises(InputError, match=rf"{path}: .*damaged"):
        Store.open(path, template(), "a", resume=True)
    with pytest.raises(InputError, match=rf"{path}: .*damaged"):
        Store.read(path)


def test_reading_needs_finished_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.zarr: does not exist"):
        Store.read(tmp_path / "none.zarr")
    Store.open(tmp_path / "runs.zarr", template(), "a")
    with pytest.raises(InputError, match="no row is finished"):
        Store.read(tmp_path / "runs.zarr")


def test_a_result_that_does_not_fit_is_refused_whole(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs.zarr", template(), "a")
    good = soil((0, 1))
    with pytest.raises(ValueError, match="loss"):
        store.write([0, 1], {"carbon": good["carbon"]})
    with pytest.raises(ValueError, match=r"loss: shape is \(1,\), not \(2,\)"):
        store.write([0, 1], good | {"loss": good["loss"][:1]})
    assert not store.done.any()
    assert store.dataset().carbon.isnull().all()


# Runs.


def test_a_resumed_run_computes_only_what_is_missing(
    alone: Pool, expected: xr.Dataset, tmp_path: Path, notes: Path
) -> None:
    compute = functools.partial(noted, folder=notes)
    store = Store.open(tmp_path / "runs.zarr", template(), "a")
    run(compute, batches()[:2], store, alone, quiet)
    again = Store.open(tmp_path / "runs.zarr", template(), "a", resume=True)
    assert again.done.tolist() == [True] * 4 + [False] * 8
    run(compute, batches(), again, alone, quiet)
    assert starts(notes) == dict.fromkeys(range(0, 12, 2), 1)
    assert Store.read(again.path).done.all()
    xr.testing.assert_identical(again.dataset().load(), expected)


def test_batches_that_share_a_row_are_refused(alone: Pool, tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs.zarr", template(), "a")
    with pytest.raises(ValueError, match="share a row"):
        run(soil, [Batch((0, 1), (0, 1)), Batch((1, 2), (1, 2))], store, alone, quiet)


def test_progress_is_told_with_the_time_that_is_left(
    alone: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = itertools.count()
    clock = types.SimpleNamespace(monotonic=lambda: 60.0 * next(minute))
    monkeypatch.setattr(progress, "time", clock)
    store = Store.open(tmp_path / "runs.zarr", template(), "a")
    store.write([0, 1], soil((0, 1)))
    said: list[str] = []
    run(soil, batches(), store, alone, said.append)
    assert said[0] == "4 of 12 rows, 1:00, about 4:00 left"
    assert said[-1] == "12 of 12 rows, 5:00, about 0:00 left"


def test_durations_read_as_on_a_clock() -> None:
    seconds = (0.2, 35.4, 59.6, 600, 3725)
    shown = ["0:00", "0:35", "1:00", "10:00", "1:02:05"]
    assert [progress.duration(s) for s in seconds] == shown


@pytest.mark.parametrize("who", ["alone", "two"])
@pytest.mark.parametrize(
    ("error", "kind"), [(OverflowError("too hot"), BatchError), (InputError("too hot"), InputError)]
)
def test_a_failing_batch_is_named_and_the_finished_ones_are_kept(
    who: str, error: Exception, kind: type, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pool = request.getfixturevalue(who)
    store = Store.open(tmp_path / "runs.zarr", template(), "a")
    run(soil, batches()[:2], store, pool, quiet)
    compute = functools.partial(fails, error=error)
    with pytest.raises(kind, match=r"scenario 'late', 'hot': .*too hot$"):
        run(compute, batches(), store, pool, quiet)
    kept = Store.open(store.path, template(), "a", resume=True)
    assert kept.done[:4].all()
    assert not kept.done[4:6].any()
    run(soil, batches(), kept, pool, quiet)
    assert kept.done.all()


def test_any_number_of_workers_gives_the_same_bits(
    expected: xr.Dataset, two: Pool, tmp_path: Path
) -> None:
    store = Store.open(tmp_path / "runs.zarr", template(), "a")
    run(soil, batches(), store, two, quiet)
    xr.testing.assert_identical(store.dataset().load(), expected)


@pytest.mark.parametrize("who", ["alone", "two"])
def test_collected_results_keep_the_order_of_their_arguments(
    who: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    pool = request.getfixturevalue(who)
    shift = jnp.asarray(2.0)
    assert collect(lambda x: float(x * shift), [3.0, 1.0, 2.0] * 5, pool) == [6.0, 2.0, 4.0] * 5
    assert collect(abs, [], pool) == []
    with pytest.raises(BatchError, match="batch 1: TypeError"):
        collect(abs, [1, "one", 2], pool)


def test_importing_the_runner_is_quick() -> None:
    code = "import sys, diffsoil.work.ensemble; assert 'distributed' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# Workers.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "--workers: 0 is no positive number"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "--workers: a --scheduler has its own"),
        ({"scheduler": "tcp://127.0.0.1:1"}, "--scheduler tcp://127.0.0.1:1: cannot be reached"),
        ({"scheduler": "nowhere"}, "--scheduler nowhere: cannot be reached"),
        ({"scheduler": "tls://127.0.0.1:1"}, "without the keys that Dask's configuration names"),
    ],
)
def test_impossible_workers_are_refused_in_one_line(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=message), cluster(**options):
        pass


async def identity(address: str, keys: Security) -> Any:
    there = rpc(address, connection_args=keys.get_connection_args("client"))
    try:
        return await asyncio.wait_for(there.identity(), 5)
    finally:
        await there.close_rpc()


def test_nobody_else_has_a_local_worker_compute_something(two: Pool) -> None:
    assert isinstance(two, pools._Workers)
    known = asyncio.run(identity(two.client.scheduler.address, two.client.security))
    workers = known["workers"]
    nannies = [worker["nanny"] for worker in workers.values()]
    found = [known["address"], *workers, *nannies]
    assert len(found) == 5
    others = Security.temporary()
    for address in found:
        assert address.startswith("tls://127.0.0.1:")
        plain = address.replace("tls", "tcp")
        for at, keys in ((plain, Security()), (address, Security()), (address, others)):
            with pytest.raises((OSError, TypeError)):
                asyncio.run(identity(at, keys))


def test_every_local_worker_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins = types.SimpleNamespace(entry_points=lambda group: ["cuda"])
    monkeypatch.setattr(pools, "metadata", plugins)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    gpus = pools._gpus()
    assert gpus == ("4", "7")
    monkeypatch.setattr("distributed.get_worker", lambda: types.SimpleNamespace(name=1))
    pools._prepare.__wrapped__(pools._Preparation("cpu", gpus))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


def test_workers_do_not_outnumber_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_gpus", lambda: ("0", "1"))
    with pytest.raises(InputError, match="--workers: 3, and GPUs for 2"), cluster(workers=3):
        pass


@pytest.fixture
def processes() -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_a_worker_that_is_killed_costs_nothing_and_doubles_nothing(
    processes: list[subprocess.Popen[bytes]],
    expected: xr.Dataset,
    tmp_path: Path,
    notes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(*arguments: str) -> None:
        command = [sys.executable, "-m", *arguments, "--no-dashboard"]
        paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
        environment = os.environ | {"PYTHONPATH": paths}
        with (tmp_path / "log").open("ab") as log:
            processes.append(
                subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=tmp_path)
            )

    contact = tmp_path / "scheduler.json"
    local = ("--host", "127.0.0.1")
    start("distributed.cli.dask_scheduler", *local, "--port=0", f"--scheduler-file={contact}")
    # without a nanny, whoever is killed stays dead, and BLAS has as many threads as here
    worker = ("distributed.cli.dask_worker", f"--scheduler-file={contact}", *local, "--no-nanny")
    start(*worker, "--nthreads=1")
    start(*worker, "--nthreads=1")
    deadline = time.monotonic() + PATIENCE
    while not contact.exists() or not contact.read_text().endswith("}"):
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.05)

    written: Counter[int] = Counter()
    killed: list[Path] = []
    write = Store.write

    def kill_one_who_computes(store: Store, rows: list[int], values: dict[str, np.ndarray]) -> None:
        write(store, rows, values)
        written.update(rows)
        while len(written) == 4 and not killed:
            for note in notes.glob("*.start"):
                if not note.with_suffix(".end").exists():
                    os.kill(int(note.stem.split("-")[1]), signal.SIGKILL)
                    killed.append(note)
                    break

    monkeypatch.setattr(Store, "write", kill_one_who_computes)
    store = Store.open(tmp_path / "runs.zarr", template(), "a")
    address = json.loads(contact.read_text())["address"]
    with cluster(scheduler=address, device="cpu") as pool:
        pool.client.wait_for_workers(2)  # type: ignore[attr-defined]
        compute = functools.partial(noted, folder=notes, seconds=0.3)
        run(compute, batches(), store, pool, quiet)
    lost = int(killed[0].stem.split("-")[0])
    assert not killed[0].with_suffix(".end").exists()
    assert starts(notes)[lost] == 2
    assert written == dict.fromkeys(range(len(NAMES)), 1)
    xr.testing.assert_identical(store.dataset().load(), expected)


class Interrupting:
    """A result during whose writing the user presses Ctrl-C."""

    def __init__(self, result: np.ndarray) -> None:
        self.result, self.shape = result, result.shape

    def __array__(self, *args: object, **kwargs: object) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGINT)
        return self.result


def test_an_interruption_waits_for_rows_that_are_being_written(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "runs.zarr", template(), "a")
    result = soil((0, 1))
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            store.write((0, 1), result | {"loss": Interrupting(result["loss"])})  # type: ignore[dict-item]
    finally:
        signal.signal(signal.SIGINT, usual)
    assert store.progress() == "2 of 12 rows"
    assert Store.read(tmp_path / "runs.zarr").done.sum() == 2


INTERRUPTED = """
import functools, pathlib, signal, sys
from test_ensemble import *
# a shell without job control starts what it puts in the background deaf to Ctrl-C, tests as well
signal.signal(signal.SIGINT, signal.default_int_handler)
store = Store.open("runs.zarr", template(), "a")
try:
    with cluster(workers=2, device="cpu") as pool:
        compute = functools.partial(noted, folder=pathlib.Path("notes"), seconds=0.3)
        run(compute, batches(), store, pool, quiet)
except KeyboardInterrupt as interrupt:
    sys.exit(str(interrupt))
"""


def test_a_run_that_is_interrupted_can_go_on(
    alone: Pool, expected: xr.Dataset, tmp_path: Path, notes: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    while len([*notes.glob("*.end")]) < 3 and process.poll() is None:  # the first is stored
        if time.monotonic() > deadline:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            pytest.fail("nothing is stored")
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    _, said = process.communicate(timeout=PATIENCE)
    store = Store.open(tmp_path / "runs.zarr", template(), "a", resume=True)
    done = int(store.done.sum())
    assert said == f"{done} of 12 rows are stored in runs.zarr; --resume goes on\n"
    assert 0 < done < 12
    run(soil, batches(), store, alone, quiet)
    xr.testing.assert_identical(store.dataset().load(), expected)
