"""Outputs: nothing of anybody else's is touched, and what is there is whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from calibration import store
from diffsoil.io import InputError
from diffsoil.options import Existing
from diffsoil.work.files import replacing
from diffsoil.work.folder import MARKER, NEW, OLD, Kind, OutputFolder, settle
from diffsoil.work.lock import Lock
from diffsoil.work.output_file import OutputFile, is_case, netcdf_with, table_with

PICTURES = Kind("pictures", "pictures", ("*.png", "kept/*.npz"))
FIT = Kind("fit", "a fit", ("fit.json", "draws/*.npz", "*.png"), resumable=True)


def draw(path: Path, text: str = "new", kind: Kind = PICTURES, during=None, **how: bool) -> None:
    with OutputFolder(path, kind, **how) as folder:
        (folder.work / "soil.png").write_text(text)
        if during is not None:
            during(folder)


def content(path: Path) -> dict[str, str]:
    return {
        p.relative_to(path).as_posix(): p.read_text()
        for p in path.rglob("*")
        if p.is_file() and p.name != MARKER
    }


def test_results_appear_in_a_new_folder_and_replace_their_like_when_asked(tmp_path):
    draw(tmp_path / "a" / "b", "old")
    assert content(tmp_path) == {"a/b/soil.png": "old"}
    with pytest.raises(InputError, match="exists already; use --overwrite"):
        draw(tmp_path / "a" / "b")
    draw(tmp_path / "a" / "b", "new", overwrite=True)
    assert content(tmp_path) == {"a/b/soil.png": "new"}
    assert json.loads((tmp_path / "a" / "b" / MARKER).read_text())["state"] == "complete"


@pytest.mark.parametrize("neighbour", ["out.part", "out.old", ".new", ".old"])
def test_neighbours_of_any_name_stay(tmp_path, neighbour):
    (tmp_path / neighbour).mkdir()
    (tmp_path / neighbour / "thesis.txt").write_text("mine")
    for how in ({}, {"overwrite": True}):
        draw(tmp_path / "out", **how)
    assert (tmp_path / neighbour / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_folder_that_diffsoil_did_not_make_is_refused(tmp_path, how):
    mine = tmp_path / "out" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    for kind in (PICTURES, FIT):
        with pytest.raises(InputError, match=r"holds thesis.txt, and was not made by diffsoil"):
            draw(tmp_path / "out", kind=kind, **how)
    assert content(tmp_path) == {"out/thesis.txt": "mine"}


def test_a_file_of_the_users_in_our_folder_stops_a_replacement(tmp_path):
    draw(tmp_path / "out", "old")
    (tmp_path / "out" / "notes").mkdir()
    (tmp_path / "out" / "notes" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes/thesis.txt, which diffsoil did not make"):
        draw(tmp_path / "out", overwrite=True)
    assert content(tmp_path / "out") == {"soil.png": "old", "notes/thesis.txt": "mine"}


def test_a_file_put_there_during_a_run_stops_the_replacement_too(tmp_path):
    draw(tmp_path / "out", "old")

    def put(folder):
        (folder.path / "thesis.txt").write_text("mine")

    with pytest.raises(InputError, match=r"thesis.txt, which diffsoil did not make"):
        draw(tmp_path / "out", overwrite=True, during=put)
    assert content(tmp_path / "out")["thesis.txt"] == "mine"
    assert content(tmp_path / "out")["soil.png"] == "old"


def test_another_kind_of_results_is_refused(tmp_path):
    draw(tmp_path / "out")
    with pytest.raises(InputError, match=r"results of another kind \(pictures\), not a fit"):
        draw(tmp_path / "out", kind=FIT, overwrite=True)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, InputError("bad")])
def test_a_run_that_fails_leaves_nothing_new(tmp_path, error):
    def fail(**how: bool) -> None:
        with OutputFolder(tmp_path / "deep" / "out", PICTURES, **how) as folder:
            (folder.work / "soil.png").write_text("half")
            raise error

    with pytest.raises((KeyboardInterrupt, RuntimeError, InputError)):
        fail()
    assert not list(tmp_path.iterdir())
    draw(tmp_path / "deep" / "out", "old")
    with pytest.raises((KeyboardInterrupt, RuntimeError, InputError)):
        fail(overwrite=True)
    assert content(tmp_path) == {"deep/out/soil.png": "old"}


@pytest.mark.parametrize("before", [False, True])
def test_kept_work_is_gone_on_with(tmp_path, before):
    if before:
        draw(tmp_path / "out", "old", FIT)

    def stop(folder):
        folder.keep()
        (folder.work / "fit.json").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw(tmp_path / "out", "half", FIT, during=stop, overwrite=before)
    if before:
        assert content(tmp_path / "out")["soil.png"] == "old"
    with pytest.raises(InputError, match="use --overwrite, --resume"):
        draw(tmp_path / "out", "new", FIT)
    with OutputFolder(tmp_path / "out", FIT, resume=True) as folder:
        assert folder.resumed
        assert (folder.work / "fit.json").read_text() == "half"
        (folder.work / "soil.png").write_text("new")
    assert content(tmp_path / "out") == {"fit.json": "half", "soil.png": "new"}
    assert OutputFolder(tmp_path / "out", FIT, resume=True).finished


def test_a_second_run_into_one_output_is_refused(tmp_path):
    with OutputFolder(tmp_path / "out", PICTURES) as folder:
        (folder.work / "soil.png").write_text("first")
        with pytest.raises(InputError, match=f"another run .*process {os.getpid()}"):
            draw(tmp_path / "out", "second", overwrite=True)
    assert content(tmp_path / "out") == {"soil.png": "first"}
    with OutputFile(tmp_path / "run.nc") as file:
        with (
            pytest.raises(InputError, match=r"run.nc: another run"),
            OutputFile(tmp_path / "run.nc"),
        ):
            pass
        with file.writing() as part:
            part.write_text("first")
    assert {p.name for p in tmp_path.iterdir()} == {"out", "run.nc"}


def test_a_lock_of_a_killed_run_is_free(tmp_path):
    hold = (
        "import os, pathlib; from diffsoil.work.lock import Lock;"
        "Lock(pathlib.Path('lock'), pathlib.Path('out')).acquire(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", hold], cwd=tmp_path, check=False)
    assert (tmp_path / "lock").exists()
    with Lock(tmp_path / "lock", tmp_path / "out"):
        pass
    assert not (tmp_path / "lock").exists()


def killed_at(number: int, path: Path) -> bool:
    """Replace results, but stop dead at a rename; whether it came that far."""
    count = 0
    real = os.replace

    def rename(*where):
        nonlocal count
        count += 1
        if count == number:
            raise SystemExit
        real(*where)

    with pytest.MonkeyPatch.context() as patch:
        folder = OutputFolder(path, FIT, overwrite=True)
        try:
            with folder:
                (folder.work / "soil.png").write_text("new")
                (folder.work / "draws").mkdir()
                (folder.work / "draws" / "0.npz").write_text("new")
                patch.setattr(os, "replace", rename)
        except SystemExit:
            return True
    return False


def test_a_run_killed_between_two_renames_is_finished_by_the_next(tmp_path):
    number = 0
    while True:
        number += 1
        path = tmp_path / str(number)
        with OutputFolder(path, FIT) as folder:
            for name in ("soil.png", "fit.json"):
                (folder.work / name).write_text("old")
            (folder.work / "draws").mkdir()
            for name in ("0.npz", "1.npz"):
                (folder.work / "draws" / name).write_text("old")
        if not killed_at(number, path):
            break
        settle(path, FIT)
        settled = content(path)
        if (path / NEW).exists():  # before it was decided: the old results are whole
            settled = {k: v for k, v in settled.items() if not k.startswith(NEW)}
            assert set(settled.values()) == {"old"}
            assert len(settled) == 4
        else:
            assert settled == {"soil.png": "new", "draws/0.npz": "new"}
        assert not (path / OLD).exists() or not list((path / OLD).iterdir())
        draw(path, "again", FIT, overwrite=True)
        assert content(path) == {"soil.png": "again"}
    assert number > 6


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "empty"),
        (".", "the folder you are in"),
        ("..", "or above it"),
        ("/", "or above it"),
        ("n" * 300, "too long"),
        ("file/out", "cannot be made: not a directory|is a file|cannot be an output"),
        ("file", "is a file"),
        ("read", "holds the input"),
        ("nul\0", "cannot be an output folder"),
    ],
)
def test_places_where_nothing_can_be_written_are_told(tmp_path, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "read").mkdir()
    (tmp_path / "read" / "case.toml").write_text("mine")
    with pytest.raises(InputError, match=says):
        draw(Path(name) if name else "", inputs=[Path("read/case.toml")], overwrite=True)
    assert content(tmp_path) == {"file": "mine", "read/case.toml": "mine"}


def test_links_lead_to_the_folder_and_are_kept(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "scratch")
    draw(tmp_path / "out", "old")
    draw(tmp_path / "out", "new", overwrite=True)
    assert (tmp_path / "out").is_symlink()
    assert content(tmp_path / "scratch") == {"soil.png": "new"}


def test_files_of_the_user_that_look_like_pieces_of_a_fit_stay(tmp_path):
    with store.folder_of(tmp_path / "fit", Existing(), []) as folder:
        (folder.work / "chains").mkdir()
        (folder.work / "chains" / "000000.npz").write_text("ours")
    for name in ("raw/202001.npz", "chains/deep/000000.npz", "soil_pit.png"):
        mine = tmp_path / "fit" / name
        mine.parent.mkdir(exist_ok=True)
        mine.write_text("mine")
        with pytest.raises(InputError, match=f"holds {name}, which"):
            store.folder_of(tmp_path / "fit", Existing(overwrite=True), [])
        mine.unlink()
    store.folder_of(tmp_path / "fit", Existing(overwrite=True), [])


def test_a_link_in_our_folder_is_not_followed_to_what_is_elsewhere(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.npz").write_text("mine")
    draw(tmp_path / "out")
    (tmp_path / "out" / "kept").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="holds kept, which"):
        draw(tmp_path / "out", overwrite=True)
    assert (tmp_path / "elsewhere" / "a.npz").read_text() == "mine"


def test_a_file_that_appears_during_a_run_is_left(tmp_path):

    def write():
        with replacing(tmp_path / "run.nc", overwrite=False) as part:
            part.write_text("ours")
            (tmp_path / "run.nc").write_text("theirs")

    with pytest.raises(InputError, match="has appeared"):
        write()
    assert content(tmp_path) == {"run.nc": "theirs"}


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"suffix": ".nc"}, "has to end in .nc"),
        ({"like": table_with("year", "month")}, "is not a file that this command writes"),
        ({"inputs": ["case.toml"]}, "is an input"),
        ({"inputs": ["."]}, "lies in the input"),
        ({"like": netcdf_with("processes")}, "is not a file that this command writes"),
        ({"like": is_case}, "is not a file that this command writes"),
    ],
)
def test_a_file_is_replaced_only_by_its_like(tmp_path, monkeypatch, how, says):
    monkeypatch.chdir(tmp_path)
    Path("case.toml").write_text("mine")
    with pytest.raises(InputError, match=says):
        OutputFile("case.toml", overwrite=True, **how)


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    write = (
        "import resource, pathlib; from diffsoil.work.folder import *;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with OutputFolder('out', Kind('pictures', 'pictures', ('*.png',))) as folder:\n"
        "    (folder.work / 'soil.png').write_bytes(bytes(20000))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", write], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "InputError: out: cannot be written: file too large" in run.stderr
    assert not list(tmp_path.iterdir())
