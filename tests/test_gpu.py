"""What must hold on a GPU; skipped where there is none (run as ``pytest -m gpu``)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from calibration.methods import nuts
from calibration.methods.mode import Normal
from calibration.problem import Problem
from diffsoil.work.checkpoints import Checkpoints

pytestmark = [pytest.mark.gpu, pytest.mark.mixed_types]


@pytest.fixture(scope="module")
def problem():
    return Problem("rothamsted")


def test_float64_holds_on_the_gpu():
    assert jnp.ones(1).dtype == jnp.float64


def test_posterior_and_gradient_equal_those_of_the_cpu(problem):
    z = problem.reparameterization.unbounded(problem.defaults)
    value, gradient = problem.value_and_gradient()(z)
    with jax.default_device(jax.devices("cpu")[0]):
        there = Problem("rothamsted")
        expected, expected_gradient = there.value_and_gradient()(
            there.reparameterization.unbounded(there.defaults)
        )
    assert float(value) == pytest.approx(float(expected), rel=1e-9)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-6)


def test_chains_are_vectorised_on_one_device(problem):
    size = len(problem.names)
    mean = np.asarray(problem.reparameterization.unbounded(problem.defaults))
    start = Normal(mean, 0.01 * np.eye(size))
    sampler = nuts.Sampler(
        problem.posterior, start, nuts.NUTS(chains=4, warmup=25, draws=25, tree_depth=3), seed=0
    )
    assert not sampler.parallel
    drawn = sampler.run(Checkpoints(None), lambda line: None)
    assert drawn["z"].shape == (4, 25, size)
