"""A guest in other people's programs and folders: precision, compile cache, home."""

from __future__ import annotations

import os
import subprocess
import sys
import zlib
from pathlib import Path

import jax
import pytest
import tiny_case

from diffsoil import _runtime
from diffsoil.cases import load_case
from diffsoil.cases.arrays import build
from diffsoil.io import InputError
from diffsoil.output.simulation import simulate

LOOK = "print(jax.config.jax_enable_x64, jax.config.jax_compilation_cache_dir)"
FIRST, SECOND = f"import diffsoil, jax; {LOOK}", f"import jax, diffsoil; {LOOK}"


def python(program: str, **environment: str) -> str:
    unset = {"JAX_ENABLE_X64", "JAX_COMPILATION_CACHE_DIR"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", program], env=kept | environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("program", "environment", "precise"),
    [(FIRST, {}, True), (FIRST, {"JAX_ENABLE_X64": "0"}, False), (SECOND, {}, False)],
)
def test_precision_is_that_of_the_user_where_there_is_one(program, environment, precise, tmp_path):
    said = python(program, DIFFSOIL_CACHE=str(tmp_path), **environment)
    assert said == f"{precise} {tmp_path / 'xla'}"


def test_in_float32_the_first_run_says_the_line_to_add(tmp_path):
    case = load_case(tiny_case.write(tmp_path))
    with jax.enable_x64(False):
        for run in (build, simulate):
            with pytest.raises(
                InputError, match=r'add jax\.config\.update\("jax_enable_x64", True'
            ):
                run(case)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"JAX_COMPILATION_CACHE_DIR": "/my/own"}, "/my/own"),
        ({"DIFFSOIL_CACHE": os.devnull}, None),
    ],
)
def test_cache_is_the_users_own_or_where_there_is_place(environment, folder):
    assert python(FIRST, **environment) == f"True {folder}"


def test_user_without_home_has_no_cache(monkeypatch):
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    for name in ("DIFFSOIL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert _runtime.cache_folder() is None


def test_damaged_entry_of_the_cache_is_replaced(tmp_path):
    program = (
        "import diffsoil, jax, jax.numpy as jnp;"
        "print(jax.jit(lambda x: jnp.linalg.inv(x + jnp.eye(3)))(jnp.ones((3, 3)))[0, 0])"
    )
    environment = {
        "DIFFSOIL_CACHE": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    expected = python(program, **environment)
    entries = sorted((tmp_path / "xla").glob("*-cache"))
    for number, entry in enumerate(entries):
        whole = entry.read_bytes()
        damaged = (b"", whole[: len(whole) // 2], os.urandom(len(whole)))
        entry.write_bytes(damaged[number % 3])
    assert entries
    assert python(program, **environment) == expected
    for entry in entries:
        zlib.decompress(entry.read_bytes())
