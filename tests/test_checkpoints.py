"""Checkpoints: a run that was stopped goes on from the last good part, with equal inputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from diffsoil.io import InputError
from diffsoil.options import Existing
from diffsoil.work.checkpoints import Checkpoints, beside


def append(folder: Path, count: int) -> None:
    checkpoints = Checkpoints(folder)
    for number in range(count):
        checkpoints.append({"value": np.full((1, 2), number)}, {"at": np.array(number)})


def test_numbered_parts_after_a_gap_do_not_count(tmp_path):
    append(tmp_path, 4)
    (tmp_path / "000002.npz").unlink()
    again = Checkpoints(tmp_path, resume=True)
    assert again.done == 2
    np.testing.assert_array_equal(again.joined()["value"], [[0, 0, 1, 1]])
    assert int(again.state({"at": np.array(0)})["at"]) == 1


@pytest.mark.parametrize("damage", [b"", b"not a part", None])
def test_a_run_goes_on_from_the_last_good_part(tmp_path, damage):
    append(tmp_path, 3)
    middle = tmp_path / "000001.npz"
    middle.write_bytes(middle.read_bytes()[:-40] if damage is None else damage)
    said: list[str] = []
    again = Checkpoints(tmp_path, resume=True, report=said.append)
    assert "000001.npz: is damaged" in said[0]
    assert "going on from the 1 of 3" in said[0]
    assert again.done == 1
    np.testing.assert_array_equal(again.joined()["value"], [[0, 0]])
    assert {p.name for p in tmp_path.iterdir()} == {"000000.npz"}


def test_an_unreadable_part_is_one_line_with_its_name(tmp_path):
    append(tmp_path, 1)
    (tmp_path / "000000.npz").write_bytes(b"not a part")
    with pytest.raises(InputError, match=r"000000.npz: is damaged and cannot be read"):
        Checkpoints(tmp_path, resume=True)


def test_a_named_part_is_computed_once_and_again_where_its_file_is_damaged(tmp_path):
    calls: list[int] = []

    def compute() -> dict[str, object]:
        calls.append(1)
        return {"x": [1.0, 2.0], "n": 3}

    first = Checkpoints(tmp_path)
    for key in ("mode", "mode", ["draws", 1], ["draws", 2]):
        found = first.once(key, compute)
        np.testing.assert_array_equal(found["x"], [1.0, 2.0])
    assert len(calls) == 3
    said: list[str] = []
    again = Checkpoints(tmp_path, resume=True, report=said.append)
    assert again.kept == 3
    assert int(again.once(["draws", 2], compute)["n"]) == 3
    assert len(calls) == 3
    (tmp_path / "mode.npz").write_bytes(b"half")
    again.once("mode", compute)
    assert len(calls) == 4
    assert said == [
        f"{tmp_path / 'mode.npz'}: is damaged and cannot be read (ValueError); it is computed again"
    ]
    Checkpoints(tmp_path, resume=False).once("mode", compute)
    assert len(calls) == 5


def test_without_a_folder_nothing_is_kept():
    nowhere = Checkpoints(None, resume=True)
    assert int(nowhere.once("one", lambda: {"x": 1})["x"]) == 1
    assert int(nowhere.once("one", lambda: {"x": 2})["x"]) == 2


# In a folder beside an output that is a file.


ASKED = {"cases": [{"format": 1, "case": "a", "files": {"weather.csv": "a"}}], "seed": 0}


def parts(
    output: Path, count: int, asked: dict = ASKED, error: type | None = None, **how: bool
) -> tuple[int, list[str]]:
    """How many of some parts are computed, and what is said."""
    computed, said = [], []
    with beside(output, asked, Existing(**how), said.append) as checkpoints:
        for number in range(count):
            checkpoints.once([number], lambda n=number: computed.append(n) or {"n": n})
        if error is not None:
            raise error("stopped")
    return len(computed), said


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, RuntimeError])
def test_a_stopped_run_leaves_its_parts_beside_the_output_and_a_finished_one_nothing(
    tmp_path, error
):
    output, folder = tmp_path / "out.toml", tmp_path / "out_progress"
    with pytest.raises(error, match="stopped" if error is RuntimeError else "--resume"):
        parts(output, 3, error=error)
    assert list(tmp_path.iterdir()) == [folder]
    with pytest.raises(InputError, match="out_progress: exists already; use --overwrite, --resume"):
        parts(output, 3)
    computed, said = parts(output, 5, resume=True)
    assert computed == 2
    assert said == [f"going on with 3 results that are kept in {folder}"]
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_stopped_before_its_first_part_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        parts(tmp_path / "out.toml", 0, error=KeyboardInterrupt)
    assert not list(tmp_path.iterdir())


def test_kept_work_is_forgotten_when_that_is_asked_for(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        parts(tmp_path / "out.toml", 3, error=KeyboardInterrupt)
    assert parts(tmp_path / "out.toml", 3, overwrite=True) == (3, [])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, "cannot resume: seed was 0, is 1"),
        ({"cases": []}, "cannot resume: cases has changed"),
        (
            {"cases": [{"format": 1, "case": "b", "files": {"weather.csv": "a"}}]},
            "cannot resume: the case file has changed",
        ),
        (
            {"cases": [{"format": 1, "case": "a", "files": {"weather.csv": "b"}}]},
            "cannot resume: file 'weather.csv' has changed",
        ),
    ],
)
def test_a_run_is_not_resumed_with_other_inputs(tmp_path, change, says):
    with pytest.raises(KeyboardInterrupt):
        parts(tmp_path / "out.toml", 3, error=KeyboardInterrupt)
    with pytest.raises(InputError, match=says) as error:
        parts(tmp_path / "out.toml", 3, ASKED | change, resume=True)
    assert "\n" not in str(error.value)
    assert parts(tmp_path / "out.toml", 3, resume=True)[0] == 0


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_folder_that_diffsoil_did_not_make_is_refused(tmp_path, how):
    mine = tmp_path / "out_progress" / "journal.json"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"holds journal.json, and was not made by diffsoil"):
        parts(tmp_path / "out.toml", 1, **how)
    assert mine.read_text() == "mine"


def test_a_second_run_is_refused(tmp_path):
    with (
        beside(tmp_path / "out.toml", ASKED, Existing(), print),
        pytest.raises(InputError, match="another run of diffsoil is writing there"),
    ):
        parts(tmp_path / "out.toml", 1, overwrite=True)
    assert not list(tmp_path.iterdir())


KILLED = """
import itertools, os, sys
from pathlib import Path
from diffsoil.options import Existing
from diffsoil.work.checkpoints import beside

def run(number):
    calls = itertools.count()
    def die(event, args):
        if event in {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate"}:
            if next(calls) == number:
                os._exit(9)
    os.mkdir(str(number))
    os.chdir(str(number))
    sys.addaudithook(die)
    with beside(Path("out.toml"), {"seed": 0}, Existing(), print) as checkpoints:
        for n in range(3):
            checkpoints.once([n], lambda: {"n": n})
    os._exit(0)

for number in itertools.count():
    child = os.fork()
    if child == 0:
        run(number)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def test_a_run_that_is_killed_at_any_file_operation_goes_on(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, check=True)
    folders = sorted(tmp_path.iterdir())
    assert len(folders) > 15
    for folder in folders:
        computed, _ = parts(folder / "out.toml", 3, {"seed": 0}, resume=True)
        assert computed <= 3
        assert not list(folder.iterdir())


def test_a_full_disk_is_one_line_and_leaves_what_was_whole(tmp_path):
    fill = (
        "import resource, signal; from pathlib import Path; import numpy as np;"
        "from diffsoil.options import Existing; from diffsoil.work.checkpoints import beside;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000));"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with beside(Path('out.toml'), {}, Existing(), print) as checkpoints:\n"
        "    checkpoints.once('a' * 32, lambda: {'x': 1})\n"
        "    checkpoints.once('b' * 32, lambda: {'x': np.random.default_rng(0).random(9000)})\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", fill], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    last = run.stderr.splitlines()[-1]
    assert "cannot be written: file too large" in last
    assert "go on with --resume" in last
    left = {name for name in os.listdir(tmp_path / "out_progress") if not name.startswith(".")}
    assert left == {"asked.json", f"{'a' * 32}.npz"}
