"""Tests run with JAX at its strictest: no silent change of type or rank."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


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


@pytest.fixture(autouse=True, scope="module")
def strict_types(request: pytest.FixtureRequest) -> Iterator[None]:
    """Strict types in a whole module, so that they hold in its own fixtures too."""
    import jax

    mixed = request.node.get_closest_marker("mixed_types")
    with jax.numpy_dtype_promotion("standard" if mixed else "strict"):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import jax

    if jax.default_backend() == "gpu":
        return
    for item in items:
        if "gpu" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="no GPU, or not run as pytest -m gpu"))
