"""What has to be settled before JAX makes its first array: precision, cache, device."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

Device = Literal["auto", "cpu", "gpu"]

CACHE = "jax_compilation_cache_dir"

ZSTANDARD = b"\x28\xb5\x2f\xfd"
"""First bytes of a file in that format."""


FLOAT64 = 'jax.config.update("jax_enable_x64", True)'
"""What a program that starts JAX itself has to say."""


def cache_folder() -> Path | None:
    """Folder of the persistent compile cache, in the user's own cache folder.

    ``DIFFSOIL_CACHE`` names another one; None where there is no place for it.
    """
    if named := os.environ.get("DIFFSOIL_CACHE"):
        return Path(named)
    if (root := os.environ.get("XDG_CACHE_HOME")) and Path(root).is_absolute():
        return Path(root) / "diffsoil"
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        return None
    caches = home / "Library" / "Caches" if sys.platform == "darwin" else home / ".cache"
    return caches / "diffsoil" if home.is_absolute() else None


def configure() -> None:
    """Ask for float64 and keep compiled programs between runs. Called once, on import.

    A JAX that is not there yet is asked through the environment, so that this costs nothing and
    programs started from here do the same. What the user has settled stays: the precision of a
    JAX that is there already or that ``JAX_ENABLE_X64`` sets, and a cache of the user's own.
    """
    jax = sys.modules.get("jax")
    settings: dict[str, Any] = {} if jax else {"jax_enable_x64": True}
    own = jax.config.jax_compilation_cache_dir if jax else os.environ.get(CACHE.upper())
    if own is None and (folder := _usable_cache()):
        settings[CACHE] = str(folder)
        # small programs too: a calibration has hundreds, which take longer than the large ones
        settings["jax_persistent_cache_min_compile_time_secs"] = 0.0
        settings["jax_persistent_cache_min_entry_size_bytes"] = 0
        # a full disk, or an entry that another process is writing: JAX compiles instead
        warnings.filterwarnings("ignore", r"Error (reading|writing) persistent compilation cache")
    for name, value in settings.items():
        if name.upper() in os.environ:
            continue
        if jax:
            jax.config.update(name, value)
        else:
            os.environ[name.upper()] = str(value)


_keeping = False


def keep_programs() -> None:
    """Let programs be kept whole, see :mod:`diffsoil.programs`; for a process that is a command.

    Elsewhere what a program is made of could have been changed by hand, which its name does not
    tell.
    """
    global _keeping
    _keeping = True


def keeps_programs() -> bool:
    """Whether programs are kept whole."""
    return _keeping


COMPILED_IN = 30.0
"""What compiling a program takes, as a multiple of what making it for the compiler took: 27 for
the run of a whole soil, 30 to 40 for that of a carbon column, on a CPU."""

WORTH_TELLING, WORTH_REPEATING = 2.0, 10.0
"""s; what is about to be compiled for longer is told, and again in the same process."""

LOWERED = "/jax/core/compile/jaxpr_to_mlir_module_duration"
"""Event of JAX: a program has been made for the compiler."""

NOT_IN_CACHE = "PERSISTENT COMPILATION CACHE MISS"
"""How JAX begins what it logs of a program that it is about to compile."""


class _Compiling(logging.Filter):
    """Tells of long compilations before they begin, with an estimate.

    How long the program took to make tells how long it will take to compile.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__()
        self._say = say
        self._told = False
        self._made = threading.local()

    def lowered(self, event: str, duration_secs: float, **about: str | int) -> None:
        """Listens to JAX."""
        if event == LOWERED:
            self._made.seconds = duration_secs

    def filter(self, record: logging.LogRecord) -> bool:
        """Reads what JAX logs of its cache; such lines are nothing for a user."""
        if str(record.msg).startswith(NOT_IN_CACHE):
            self.begins()
        return record.levelno > logging.DEBUG

    def begins(self) -> None:
        """The program that was made last in this thread is about to be compiled."""
        estimate = COMPILED_IN * getattr(self._made, "seconds", 0.0)
        if estimate < (WORTH_REPEATING if self._told else WORTH_TELLING):
            return
        again, self._told = self._told, True
        folder = sys.modules["jax"].config.jax_compilation_cache_dir
        kept = f"; kept in {folder} for the next time" if folder and not again else ""
        which = "another part" if again else "a part of the model for the first time"
        self._say(f"compiling {which}, about {estimate:.0f} s{kept}")


_compiling: _Compiling | None = None


def tell_of_compiling(say: Callable[[str], None]) -> None:
    """Have it told what is about to be compiled for seconds, and not what was kept.

    Args:
        say: takes a line; the last one given is used.
    """
    import jax

    global _compiling
    logger = logging.getLogger("jax._src.compiler")
    if _compiling is not None:
        logger.removeFilter(_compiling)
        jax.monitoring.unregister_event_duration_listener(_compiling.lowered)
    _compiling = _Compiling(say)
    jax.monitoring.register_event_duration_secs_listener(_compiling.lowered)
    logger.addFilter(_compiling)
    logger.setLevel(logging.DEBUG)


def compilation_begins() -> None:
    """The program that was made last is about to be compiled, without the cache of JAX."""
    if _compiling is not None:
        _compiling.begins()


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Compile anew, whatever earlier runs left in the persistent cache of JAX."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def _usable_cache() -> Path | None:
    """Our folder of compiled programs, without damaged ones; None where there is no place."""
    if (folder := cache_folder()) is None:
        return None
    try:
        _without_damaged(folder / "xla")
    except OSError:
        return None  # a read-only home costs compile time, nothing else
    return folder / "xla"


def _without_damaged(folder: Path) -> None:
    """Make the folder of the cache, and remove what was not written whole.

    JAX warns of a damaged entry in every run and never replaces it. Only entries that are newer
    than the last look are read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    looked = folder / "checked"
    last = looked.stat().st_mtime_ns if looked.exists() else 0
    looked.touch()
    for entry in os.scandir(folder):
        if not entry.name.endswith("-cache") or entry.stat().st_mtime_ns < last:
            continue
        content = Path(entry.path).read_bytes()
        if content[:4] == ZSTANDARD:  # which JAX prefers where it is installed
            continue
        try:
            zlib.decompress(content)
        except zlib.error:
            Path(entry.path).unlink(missing_ok=True)


def require_float64() -> None:
    """Refuse to compute in float32, where a soil of ten thousand years loses its balance.

    Raises:
        diffsoil.io.InputError: JAX was started by somebody else, or set otherwise.
    """
    import jax

    if not jax.config.jax_enable_x64:
        from diffsoil.io import InputError

        raise InputError(
            f"JAX computes in float32 here, and diffsoil needs float64: add {FLOAT64} after the "
            "first import of jax, and leave JAX_ENABLE_X64 unset"
        )


def use_device(device: Device, cpu_devices: int = 1) -> str:
    """Choose the device and, on a CPU, how many parallel devices it offers.

    Must be called before the first array is made: JAX fixes its devices then.

    Args:
        device: ``auto`` takes a GPU where JAX finds one.
        cpu_devices: chains that are to run side by side on the CPU, at least 1.

    Returns:
        The platform in use, ``cpu`` or ``gpu``.

    Raises:
        RuntimeError: a GPU is asked for and there is none, or JAX had already started with
            fewer CPU devices than asked for.
    """
    import jax

    if device == "cpu":
        jax.config.update("jax_platforms", "cpu")
    with contextlib.suppress(RuntimeError):  # already started: the count below tells if in time
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    platform = jax.default_backend()
    if device == "gpu" and platform != "gpu":
        raise RuntimeError(
            "--device gpu: JAX finds no GPU; install diffsoil[cuda] or use --device cpu"
        )
    if platform == "cpu" and jax.local_device_count() < cpu_devices:
        raise RuntimeError(
            f"JAX started with {jax.local_device_count()} CPU device(s), {cpu_devices} are needed "
            "to run the chains side by side; call diffsoil._runtime.use_device first"
        )
    return platform


def release_memory() -> None:
    """Give memory that compiling left behind back to the system, as far as it lets us.

    Compiled programs of an earlier stage of a job are dropped too. glibc keeps what a compiler
    has freed; elsewhere nothing is asked for.
    """
    import jax

    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)
