"""Commands about this machine: what it has, how fast it is, and what its shell completes."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.completion.detect import ShellDetectionError, detect_shell

from diffsoil import _runtime
from diffsoil.cli.options import Device, Overwrite, UsageError, app, use_device

LIBRARIES = (
    "jax",
    "jaxlib",
    "equinox",
    "optax",
    "numpyro",
    "arviz",
    "numpy",
    "scipy",
    "pandas",
    "xarray",
    "h5netcdf",
    "zarr",
    "dask",
    "matplotlib",
)
"""Whose versions matter to a result or to a fault."""

SETTINGS = ("JAX_", "XLA_", "OMP_", "OPENBLAS_", "MKL_", "XDG_CACHE_HOME", "CUDA_VISIBLE")
"""Beginnings of the names of variables of the environment that change what is computed, or how."""


@app.command
def doctor() -> None:
    """Say what diffsoil runs with: versions, devices, cache, settings; for a report of a fault."""
    for name, value in _told():
        print(f"{name:12}  {value}")


def _told() -> Iterator[tuple[str, object]]:
    yield "diffsoil", f"{metadata.version('diffsoil')}, {Path(__file__).parents[1]}"
    yield "Python", f"{platform.python_version()}, {sys.executable}"
    yield "system", platform.platform()
    yield "processors", os.cpu_count()
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        yield "memory", f"{memory / 2**30:.1f} GiB"
    for name in LIBRARIES:
        yield name, _version(name)
    import jax

    # before the first array is made, the platform can still be chosen
    try:
        yield "devices", ", ".join(map(str, jax.devices()))
    except RuntimeError as error:
        yield "devices", f"none: {error}"
    yield "float64", "yes" if jax.config.jax_enable_x64 else "no: diffsoil will refuse to compute"
    yield "cache", _cache(jax.config.jax_compilation_cache_dir)
    for group in ("diffsoil.processes", "diffsoil.mechanisms", "calibration.noise",
                  "calibration.methods"):  # fmt: skip
        for point in metadata.entry_points(group=group):
            yield group.rpartition(".")[2], f"{point.name} = {point.value}"
    for name in sorted(os.environ):
        if name.startswith(SETTINGS):
            yield "set", f"{name}={os.environ[name]}"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _cache(folder: str | None) -> str:
    """Where compiled programs are kept, how many and how large."""
    if not folder:
        return f"none: {_runtime.cache_folder() or 'no home folder'} cannot be written"
    sizes = [entry.stat().st_size for entry in Path(folder).rglob("*") if entry.is_file()]
    return f"{folder}, {len(sizes)} files, {sum(sizes) / 2**20:.0f} MiB"


LOADED = {
    "bash": "new terminals complete diffsoil where the package bash-completion is installed; "
    "otherwise add to ~/.bashrc:  . '{path}'",
    "zsh": "new terminals complete diffsoil if ~/.zshrc has before its compinit:  "
    "fpath=('{path.parent}' $fpath)",
    "fish": "new terminals complete diffsoil",
}
"""Shells with completion, and how they come to load it."""


@app.command(name="--install-completion")
def install_completion(
    *,
    shell: Annotated[
        Literal["bash", "zsh", "fish"] | None,
        Parameter(show_default=False, help="Which shell. Default: the one that runs here."),
    ] = None,
) -> None:
    """Let the shell complete commands and options at the press of Tab.

    Writes one file into the shell's own folder of completions; no other file is changed.
    """
    try:
        shell = shell or detect_shell()  # type: ignore[assignment]
    except ShellDetectionError:
        shell = None
    if shell not in LOADED:
        raise UsageError(f"--shell: cannot tell which shell runs here: give {', '.join(LOADED)}")
    path = app.install_completion(shell=shell, add_to_startup=False)
    print(f"{path}: written\n{LOADED[shell].format(path=path)}")


@app.command
def benchmark(
    *,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="Also write the table here as CSV.")
    ] = None,
    overwrite: Overwrite = False,
    history: Annotated[
        Path | None,
        Parameter(help="Add the times to this CSV, and show those of the run before beside them."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Measure speed, memory and compile time on this machine.

    Times by RothC are multiples of what RothC alone takes for as many months of layers.
    """
    use_device(device)
    from diffsoil.benchmark import run

    run(output, overwrite=overwrite, history=history)
