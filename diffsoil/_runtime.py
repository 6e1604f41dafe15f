"""What has to be settled before JAX makes its first array: precision, cache, device."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from pathlib import Path
from typing import Literal

Device = Literal["auto", "cpu", "gpu"]


def cache_folder() -> Path:
    """Folder of the persistent compile cache, in the user's own cache folder.

    ``DIFFSOIL_CACHE`` names another one.
    """
    if "DIFFSOIL_CACHE" in os.environ:
        return Path(os.environ["DIFFSOIL_CACHE"])
    if sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return root / "diffsoil"


def configure() -> None:
    """Switch to float64 and keep compiled programs between runs. Called once, on import."""
    import jax

    jax.config.update("jax_enable_x64", True)
    folder = cache_folder() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a read-only home costs compile time, nothing else
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


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
