"""Tests run with JAX at its strictest: no silent change of type or rank.

They compile without LLVM's optimiser, in half of the time: the same programs of XLA, with the
same results but for rounding. With ``--optimised`` they are compiled as users have them.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

QUICKLY = "jax_disable_most_optimizations"

MOST_MAPS = 25_000
"""Of 65 530 that Linux allows a process where nobody has changed it."""

DEAREST = (
    "test_calibration", "test_twin", "test_study", "test_loess", "test_sensitivity",
    "test_whole_soil", "test_strength", "test_observations", "test_ensemble", "test_richards",
    "test_sensitivity_study", "test_column", "test_prune", "test_measured_start", "test_extending",
)  # fmt: skip
"""Files that take longest; they come first, so that no worker begins one when others end."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--optimised", action="store_true", help="compile programs as users have them: slower"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Settle the devices before the first array: two on the CPU, for chains side by side.

    ``pytest -m gpu`` takes the GPU where there is one; everything else stays on the CPU.
    """
    import jax

    from diffsoil import _runtime

    only_gpu = session.config.getoption("markexpr") == "gpu"
    _runtime.use_device("auto" if only_gpu else "cpu", cpu_devices=2)
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    if not session.config.getoption("optimised"):
        jax.config.update(QUICKLY, True)
        os.environ[QUICKLY.upper()] = "1"  # of the commands that tests start


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Forget the compiled programs before the kernel allows no more memory maps.

    Each program has some; beyond the limit XLA aborts, and the worker with it.
    """
    import jax

    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > MOST_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="module")
def each_picture_once() -> Iterator[None]:
    """Draw the first figure of each kind, and one white point for those like it.

    For tests that write the same report again and again, and are not about its pictures.
    """
    from PIL import Image

    from diffsoil.report import pictures

    drawn: set[tuple[tuple[str, str], ...]] = set()
    write = pictures.write

    def once(figure: pictures.Figure, path: Path, dpi: int) -> None:
        kind = tuple((ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes)
        if kind in drawn:
            Image.new("L", (1, 1), 255).save(path, format="png")
        else:
            drawn.add(kind)
            write(figure, path, dpi)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "write", once)
        yield


@pytest.fixture(autouse=True, scope="module")
def strict_types(request: pytest.FixtureRequest) -> Iterator[None]:
    """Strict types in a whole module, so that they hold in its own fixtures too."""
    import jax

    mixed = request.node.get_closest_marker("mixed_types")
    with jax.numpy_dtype_promotion("standard" if mixed else "strict"):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bring the dearest files to the front, and skip what needs a GPU where there is none."""
    import jax

    # tracing makes many objects that live on: the collector need not look at all of them so often
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)

    place = {f"{name}.py": number for number, name in enumerate(DEAREST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))
    if jax.default_backend() == "gpu":
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no GPU, or not run as pytest -m gpu"))
