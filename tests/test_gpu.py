"""What must hold on a GPU (run as ``pytest -m gpu``), on the CPU where there is none."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from calibration.methods import nuts
from calibration.problem import Problem
from diffsoil.work.checkpoints import Checkpoints
from tests.known_posterior import Known
from tests.test_calibration import rows, write_case
from tests.test_methods import assert_moments

# NumPyro mixes float types inside
pytestmark = pytest.mark.mixed_types


@pytest.fixture(scope="module", params=["cpu", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request) -> str:
    """The device that computes where nothing else is asked for."""
    if request.param != jax.default_backend():
        pytest.skip(f"JAX computes on the {jax.default_backend()} here")
    return request.param


def test_float64_holds(device):
    there = jnp.ones(1) / 3
    assert there.dtype == jnp.float64
    assert {d.platform for d in there.devices()} == {device}


def test_posterior_and_gradient_equal_those_of_the_cpu(device, tmp_path):
    path = write_case(tmp_path, rows())

    def found() -> tuple[float, np.ndarray]:
        problem = Problem(path)
        z = problem.reparameterization.unbounded(problem.defaults)
        value, gradient = problem.value_and_gradient()(z)
        return float(value), np.asarray(gradient)

    value, gradient = found()
    assert np.isfinite(gradient).all()
    assert gradient.any()
    if device == "cpu":
        return  # it is the one to compare with: nothing would be told by computing it twice
    with jax.default_device(jax.devices("cpu")[0]):
        expected, expected_gradient = found()
    assert value == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6)


def test_chains_are_vectorised_on_one_device(device, monkeypatch):
    # a CPU, which takes a device for each of its chains, is taken for another device
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    known = Known()
    chains = jax.local_device_count() + 2
    settings = nuts.NUTS(chains=chains, warmup=50, draws=150, tree_depth=3)
    drawn = nuts.Sampler(known.posterior, known.start, settings, seed=0).run(
        Checkpoints(None), lambda line: None
    )
    assert drawn["z"].shape == (chains, 150, 3)
    assert_moments(known, drawn["z"], within=0.2)
