"""Programs that are kept whole: found again, by all that they depend on, and told beforehand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from diffsoil import programs
from diffsoil.processes.npp import miami
from diffsoil.time import Record

COMMAND = """
import jax.numpy as jnp
from diffsoil import _runtime, programs
from diffsoil.processes.npp import miami
_runtime.keep_programs()
_runtime.use_device("cpu")
{before}
print(float(programs.kept_program(miami)(jnp.asarray(8.0), jnp.asarray(600.0))).hex())
"""

NOT_COMPILED = "programs._make = None"

DAMAGED = """
make = programs._make
(kept,) = (Path(sys.argv[1]) / "xla" / "programs").iterdir()
whole = kept.read_bytes()
for damaged in (whole[:-10], b"", whole[:200] + b"x" + whole[201:]):
    kept.write_bytes(damaged)
    for programs._make in (make, None):  # made anew, and found
        print(float(programs.kept_program(miami)(jnp.asarray(8.0), jnp.asarray(600.0))).hex())
    assert list(kept.parent.iterdir()) == [kept]
"""

PLAIN = """
import jax.numpy as jnp
from diffsoil import _runtime
_runtime.use_device("cpu")
_runtime.WORTH_TELLING = 0.0
_runtime.tell_of_compiling(print)
from diffsoil.processes.npp import miami
import jax
jax.jit(miami)(8.0, 600.0)
"""


def run(cache: Path, program: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(cache)],
        env=environment | {"DIFFSOIL_CACHE": str(cache)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_next_process_finds_a_program_and_replaces_a_damaged_one(tmp_path: Path) -> None:
    first = run(tmp_path, COMMAND.format(before=""))
    again = COMMAND.format(before=NOT_COMPILED)
    assert run(tmp_path, again) == first
    # each time as a process does that has just begun: what it has loaded is of one wrapped function
    damaged = "import sys\nfrom pathlib import Path\n" + COMMAND.format(before="") + DAMAGED
    assert run(tmp_path, damaged).split() == [first.strip()] * 7
    assert run(tmp_path, again) == first


def test_only_a_command_keeps_programs(tmp_path: Path) -> None:
    run(tmp_path, COMMAND.format(before="_runtime._keeping = False"))
    assert not (tmp_path / "xla" / "programs").exists()


class Foreign(eqx.Module):
    rate: jax.Array
    name: str = eqx.field(static=True, default="a")


def name(*arguments: object) -> str:
    leaves, tree = jax.tree.flatten((arguments, {}))
    arrays = [leaf if isinstance(leaf, jax.Array) else None for leaf in leaves]
    fixed = [None if isinstance(leaf, jax.Array) else leaf for leaf in leaves]
    return programs._name(miami, arrays, fixed, tree)


def test_a_program_is_known_by_all_that_it_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = jnp.asarray(0.5)
    arguments = [
        (jnp.zeros(3),),
        (jnp.zeros(4),),
        (jnp.zeros(3, int),),
        (jnp.zeros(()),),
        (weak,),
        (0.5,),
        (0.25,),
        (Record(("pools",)),),
        (Record(("added",)),),
        (Record((), ("added",)),),
        ((jnp.zeros(3), jnp.zeros(3)),),
        ({"a": jnp.zeros(3)},),
        ({"b": jnp.zeros(3)},),
    ]
    assert weak.weak_type
    names = [name(*each) for each in arguments]
    assert len(set(names)) == len(names)
    assert name(jnp.ones(3), "pools") == name(jnp.zeros(3), "".join(["po", "ols"]))
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    programs._surroundings.cache_clear()
    assert name(jnp.zeros(3)) != names[0]
    programs._surroundings.cache_clear()


def test_what_belongs_to_others_is_not_kept() -> None:
    with pytest.raises(programs.pickle.PicklingError, match="not ours"):
        name(Foreign(jnp.zeros(())))


def test_compiling_is_told_before_it_happens_and_only_then(tmp_path: Path) -> None:
    (told,) = run(tmp_path, PLAIN).splitlines()
    assert told.startswith("compiling a part of the model for the first time, about ")
    assert told.endswith(f" s; kept in {tmp_path / 'xla'} for the next time")
    assert run(tmp_path, PLAIN) == ""


def test_programs_not_used_for_longest_make_room(tmp_path: Path, monkeypatch) -> None:
    for age, name in enumerate(("new", "used", "old", "older")):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (0, 1000 - age))
    monkeypatch.setattr(programs, "MOST_KEPT", 2)
    programs._remove_unused(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "used"}
