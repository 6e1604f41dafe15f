"""Compiled programs: kept whole for the commands, so that the next run need not trace them.

JAX's own cache of compiled programs is asked only after a function has been traced and lowered,
which takes seconds for a whole soil. What :func:`kept_program` wraps is looked up before that, by
all that the program can depend on.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import os
import pickle
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jaxlib
import numpy as np
from jax.experimental import serialize_executable

from diffsoil import _runtime

OURS = {"diffsoil", "jax", "jaxlib", "jaxtyping", "equinox", "numpy", "builtins"}
"""Packages whose version, or text, is part of the name of a program."""

type _Program = tuple[Callable[[list], list], Any]
"""A compiled program of arrays, and the tree that its results are the leaves of."""

DIGEST = hashlib.sha256().digest_size

MOST_KEPT = 200
"""Programs in the folder, some MB each; beyond that the ones not used for longest are removed."""


def kept_program[**P, T](function: Callable[P, T]) -> Callable[P, T]:
    """Compile a function of modules and arrays, and keep its program for the next process.

    The function has to be of a module, and to depend on nothing but its arguments and the text of
    the package: on no file, and on no variable that changes. Outside commands, inside another
    traced function and on anything but one CPU it is :func:`equinox.filter_jit`.
    """
    compiled = eqx.filter_jit(function)
    here: dict[str, _Program] = {}

    @functools.wraps(function)
    def call(*arguments: P.args, **options: P.kwargs) -> T:
        leaves, tree = jax.tree.flatten((arguments, options))
        traced = any(isinstance(leaf, jax.core.Tracer) for leaf in leaves)
        if traced or (folder := _folder()) is None:
            return compiled(*arguments, **options)
        arrays = [leaf if _is_array(leaf) else None for leaf in leaves]
        fixed = [None if _is_array(leaf) else leaf for leaf in leaves]
        try:
            name = _name(function, arrays, fixed, tree)
        except (pickle.PicklingError, TypeError, AttributeError):  # of what cannot be pickled
            return compiled(*arguments, **options)
        if name not in here:
            here[name] = _load(folder / name) or _make(folder / name, function, arrays, fixed, tree)
        program, results = here[name]
        return jax.tree.unflatten(results, program(arrays))

    return call


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray)


def _folder() -> Path | None:
    """Where programs are kept; None where none may be."""
    if not _runtime.keeps_programs() or jax.default_backend() != "cpu":
        return None
    folder = jax.config.jax_compilation_cache_dir
    return Path(folder) / "programs" if folder and jax.device_count() == 1 else None


def _name(function: Callable, arrays: list[Any], fixed: list[Any], tree: Any) -> str:
    """What a program is known by: a checksum of all that it depends on.

    Raises:
        pickle.PicklingError: something of a package that is not ours takes part, which may change
            without notice.
    """
    types = [None if array is None else jax.typeof(array) for array in arrays]
    shapes = [of and (of.shape, str(of.dtype), of.weak_type) for of in types]
    text = io.BytesIO()
    pickler = _Pickler(text)
    pickler.fast = True  # the same for equal objects, whether or not they are one
    pickler.dump((function.__module__, function.__qualname__, fixed, tree, shapes))
    return hashlib.sha256(_surroundings() + text.getvalue()).hexdigest()


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        """Refuse what belongs to other packages."""
        if isinstance(obj, type) or callable(obj):
            module = getattr(obj, "__module__", None) or type(obj).__module__
            if module.partition(".")[0] not in OURS:
                raise pickle.PicklingError(f"{obj} is not ours")
        return NotImplemented


@functools.cache
def _surroundings() -> bytes:
    """Checksum of what a program depends on besides the arguments: our text, versions, machine."""
    checksum = hashlib.sha256()
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        checksum.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes() + b"\0")
    versions = [module.__version__ for module in (jax, jaxlib, eqx, np)]
    device = jax.devices()[0]
    settings = {name: value for name, value in os.environ.items() if name.startswith("XLA_")}
    told = (
        sys.version,
        versions,
        device.device_kind,
        device.client.platform_version,
        _processor(),
        sorted(settings.items()),
        sorted((name, str(value)) for name, value in jax.config.values.items()),
    )
    checksum.update(repr(told).encode())
    return checksum.digest()


def _processor() -> str:
    """What this machine's processor is and can do, for which a program is made."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return f"{platform.node()} {platform.processor()}"
    changing = ("processor", "cpu MHz", "core id", "apicid", "initial apicid", "bogomips")
    return "\n".join(line for line in lines if not line.startswith(changing))


def _make(
    path: Path, function: Callable, arrays: list[Any], fixed: list[Any], tree: Any
) -> _Program:
    """Compile a function for some arguments, and keep the program if there is a place for it."""
    trees: list[Any] = []

    def flat(arrays: list[Any]) -> list[Any]:
        leaves = [of if array is None else array for array, of in zip(arrays, fixed, strict=True)]
        arguments, options = jax.tree.unflatten(tree, leaves)
        results, of_results = jax.tree.flatten(function(*arguments, **options))
        trees.append(of_results)
        return results

    flat.__name__ = function.__name__
    lowered = jax.jit(flat).lower(arrays)
    _runtime.compilation_begins()
    with _runtime.without_cache():  # XLA cannot write again a program of a CPU that it has read
        program = lowered.compile()
    with contextlib.suppress(OSError, ValueError, pickle.PicklingError):  # made anew next time
        # a module, for a tree of modules does not survive being pickled
        places = jax.tree.unflatten(trees[0], range(trees[0].num_leaves))
        content = pickle.dumps((serialize_executable.serialize(program), places))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}")
        part.write_bytes(hashlib.sha256(content).digest() + content)
        os.replace(part, path)  # whole, whoever else writes it
        _remove_unused(path.parent)
    return program, trees[0]


def _remove_unused(folder: Path) -> None:
    """Remove the programs that were not used for longest; each new version leaves its own behind.

    Another process may do the same at once, or be reading one: it makes its own again.
    """

    def last_use(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:  # removed meanwhile
            return 0.0

    for path in sorted(folder.iterdir(), key=last_use, reverse=True)[MOST_KEPT:]:
        path.unlink(missing_ok=True)


def _load(path: Path) -> _Program | None:
    """A program that was kept; None if there is none, or none that is whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(content[DIGEST:]).digest() != content[:DIGEST]:
        return None
    try:
        parts, places = pickle.loads(content[DIGEST:])
        with contextlib.suppress(OSError):  # of a cache that may only be read
            os.utime(path)
        return serialize_executable.deserialize_and_load(*parts), jax.tree.structure(places)
    except Exception:  # whatever it is, compiling mends it
        return None
