"""Posteriors that are not normal: what a climb by runs makes of them, and what follows from it."""

from __future__ import annotations

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from calibration import prediction
from calibration.methods import Surrogate, importance, mode
from calibration.methods.climbing import by_runs
from calibration.methods.stand_in import Runs, fenced
from calibration.methods.stand_in import fitted as learn
from calibration.posterior import Prediction
from diffsoil.work.checkpoints import Checkpoints

SD = 0.3

pytestmark = pytest.mark.mixed_types


class Compared(eqx.Module):
    """A likelihood of normal errors around what a function of the parameters predicts."""

    value: jax.Array

    def compare(self, x, latent, soil, value):
        terms = -0.5 * ((self.value - latent) / SD) ** 2 - jnp.log(SD * jnp.sqrt(2 * jnp.pi))
        return SimpleNamespace(log_likelihood=terms)

    def joint(self, terms):
        return jnp.sum(terms)


class Same(eqx.Module):
    """Parameters that are unbounded as they are."""

    shear: None = None

    def bounded(self, z):
        return z

    def unbounded(self, x):
        return x


class Density(eqx.Module):
    """Standard normal priors and such a likelihood, as the posterior of a column is."""

    likelihood: Compared
    reparameterization: Same

    def log_prior(self, z):
        return -0.5 * jnp.sum(z**2) - 0.5 * z.size * jnp.log(2 * jnp.pi)


class Function:
    """A problem whose column is a function of two parameters."""

    names = ("first", "second")
    members = ("plot",)
    site_of = (0,)
    pooled = ()

    def __init__(self, column, value) -> None:
        self.column = column
        self.reparameterization = Same()
        self.posterior = Density(Compared(jnp.asarray(value, dtype=float)), self.reparameterization)
        self.table = pd.DataFrame({"fitted": np.ones(len(value), dtype=bool), "member": 0})
        self.priors = SimpleNamespace(sample=lambda key, draws: jax.random.normal(key, (draws, 2)))
        self.defaults = jnp.zeros(2) + 0.3
        self._many = jax.jit(jax.vmap(jax.vmap(self._predicted)))  # of draws on devices

    def _predicted(self, z):
        latent = self.column(z)
        zero = jnp.zeros_like(latent)
        nothing = jnp.zeros((1, 1))
        return Prediction(
            latent=latent, expected=latent, sd=zero + SD, log_likelihood=zero, left_out=zero,
            memory=zero, topsoil=nothing, profile=jnp.zeros((1, 1, 1)), bottom=nothing,
        )  # fmt: skip

    def predict_many(self, x, wanted):
        return self._many(x)

    def bounded(self, z):
        return z

    def unbounded(self, x):
        return x

    def density(self, z: np.ndarray) -> np.ndarray:
        """Logarithm of the exact posterior of some points."""
        latent = jax.vmap(self.column)(jnp.asarray(z))
        of = self.posterior
        terms = jax.vmap(lambda one: of.likelihood.compare(None, one, None, None).log_likelihood)
        return np.asarray(terms(latent).sum(axis=1) + jax.vmap(of.log_prior)(jnp.asarray(z)))

    def moments(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and sd of the posterior, on a grid."""
        side = np.linspace(-6, 6, 601)
        z = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, 2)
        density = self.density(z)
        weight = np.exp(density - density.max())
        mean = weight @ z / weight.sum()
        return mean, np.sqrt(weight @ (z - mean) ** 2 / weight.sum())


def silent(line: str) -> None:
    pass


def curved(z):
    """A banana: the second parameter follows the square of the first, seen with a wide error."""
    return jnp.stack([0.15 * z[0], z[1] - 0.4 * z[0] ** 2])


def shelf(z):
    """Two mechanisms of which the lesser acts: beyond 1.2 the first parameter does nothing."""
    return jnp.stack([2.0 * jnp.minimum(z[0], 1.2), z[1]])


def folded(z):
    """A square, of which two roots are as likely."""
    return jnp.stack([z[0] ** 2, z[1]])


METHOD = Surrogate(quick=True, chains=2, warmup=200, draws=500, runs=256, judged=120)


def test_curvature_is_not_measured_where_a_function_explodes():
    # as a polynomial of a logarithm does not far from the runs that it was made of
    explodes = jax.value_and_grad(
        lambda z: 0.5 * jnp.sum(z**2) + jnp.sum(jnp.exp(400.0 * z - 500.0))
    )
    normal = mode.laplace(lambda z: explodes(z), np.zeros(2))
    np.testing.assert_allclose(normal.covariance, np.eye(2), atol=0.2)


def test_few_draws_correct_a_normal_a_little_and_many_replace_it():
    before, truth = mode.Normal(np.zeros(20), np.eye(20)), 0.25 * np.eye(20)
    rng = np.random.default_rng(0)

    def widths(draws: int) -> np.ndarray:
        z = 1.0 + 0.5 * rng.standard_normal((2, draws, 20))
        found = mode.corrected(before, z)
        np.testing.assert_allclose(found.mean, 1.0, atol=5 * 0.5 / np.sqrt(2 * draws))
        return np.linalg.eigvalsh(found.covariance) / truth[0, 0]

    alone = np.linalg.eigvalsh(np.cov(0.5 * rng.standard_normal((20, 24)))) / truth[0, 0]
    assert alone.min() < 0.02  # what chains would be scaled by without
    assert widths(12).min() > 0.5
    np.testing.assert_allclose(widths(4000), 1.0, atol=0.15)
    still = mode.corrected(before, np.ones((2, 30, 20)))
    assert np.linalg.eigvalsh(still.covariance).min() > 0.3


def test_a_curvature_without_end_or_answer_leaves_a_covariance():
    for worst in (1e30, np.nan, np.inf):
        found = mode.inverse(np.diag([1.0, worst]), np.array([[1.0, 0.9], [0.0, 0.1]]), 0.3)
        assert np.isfinite(np.linalg.cholesky(found)).all()


def test_kept_predictions_are_taken_for_the_draws_that_they_are_of(tmp_path):
    problem = Function(curved, [0.1, 0.5])
    size = prediction.BATCH * jax.local_device_count()
    x = np.random.default_rng(0).standard_normal((2 * size + 3, 2))
    asked: list[int] = []
    predict = problem.predict_many
    problem.predict_many = lambda x, wanted: asked.append(int(wanted.sum())) or predict(x, wanted)

    def computed(x: np.ndarray) -> tuple[int, list[str]]:
        """How many predictions are computed, and what is said."""
        asked.clear()
        lines: list[str] = []
        found = prediction.stream(problem, x, Checkpoints(tmp_path, True), lines.append)
        np.testing.assert_allclose(found.rows("latent"), jax.vmap(curved)(jnp.asarray(x)))
        return sum(asked), lines

    assert computed(x[:size]) == (size, [])
    assert computed(x) == (size + 3, [])  # goes on
    assert computed(x[:size]) == (0, [])  # of the first of them: the others stay
    assert computed(x[: size + 1]) == (0, [])
    assert computed(x) == (0, [])
    other = x.copy()
    other[size + 1] += 1e-6  # as draws come out on other cores
    count, (line,) = computed(other)
    assert count == size + 3
    assert "other draws" in line


def test_a_stand_in_falls_off_far_from_its_runs_and_only_there():
    problem = Function(curved, [0.1, 0.5])
    z = np.random.default_rng(0).standard_normal((100, 2)) @ np.array([[1.0, 0.9], [0.0, 0.2]])
    latent = np.asarray(jax.vmap(curved)(jnp.asarray(z)))
    runs = Runs(z, latent, np.ones_like(latent), np.ones(100))
    polynomials, _ = learn(problem, runs, np.ones((1, 2), dtype=bool))
    of = fenced(problem, runs, polynomials)
    lower = np.array([float(of.inside(one)) - float(of(one)) for one in jnp.asarray(z)])
    np.testing.assert_allclose(lower, 0.0, atol=1e-12)
    # the same step is far out across the runs and near along them
    along, across = jnp.array([3.0, 2.7]), jnp.array([3.0, -2.7])
    assert float(of.inside(along)) - float(of(along)) < 1.0
    assert float(of.inside(across)) - float(of(across)) > 1000.0
    # where a posterior goes on, draws are found that tell it
    here = float(of.reach) + 0.5
    edge = of.middle + jnp.linalg.solve(of.standard, jnp.array([0.0, 1.0])) * here
    assert 0.0 < float(of.inside(edge)) - float(of(edge)) < 0.1


def weighted(problem: Function) -> tuple[importance.Weights, np.ndarray]:
    """Weights and draws of a quick run, which ends with what there is."""
    start = by_runs(problem, mode.starting(problem, 2, 0), silent)
    drawn = METHOD.draw(problem, start.normal, 0, Checkpoints(None), silent)
    z = drawn.z.reshape(-1, 2)
    return importance.weights(problem.density(z), drawn.log_proposal.ravel()), z


def off(problem: Function) -> tuple[np.ndarray, np.ndarray]:
    """Errors of the mean, in standard deviations, and of these as a share, by parameter."""
    weights, z = weighted(problem)
    assert weights.trusted
    mean, sd = problem.moments()
    found = weights.weight @ z
    return (found - mean) / sd, np.sqrt(weights.weight @ (z - found) ** 2) / sd - 1.0


def test_the_moments_of_a_banana_are_met():
    mean, sd = off(Function(curved, [0.1, 0.5]))
    np.testing.assert_allclose(mean, 0.0, atol=0.15)
    np.testing.assert_allclose(sd, 0.0, atol=0.15)


def test_a_shelf_beside_the_summit_is_noticed_and_sampled():
    problem = Function(shelf, [2.0, 0.2])
    lines: list[str] = []
    start = by_runs(problem, mode.starting(problem, 1, 0), lines.append)
    assert any("wider along first" in line for line in lines)
    mean, _ = problem.moments()
    reach = np.sqrt(start.normal.covariance[0, 0])
    assert start.normal.mean[0] < 1.1 < mean[0]  # a third of the posterior is beyond the bend
    assert start.normal.mean[0] + 3.0 * reach > 2.5  # and 95 % of that within this
    # no polynomial has a bend, but where it is sampled weights can correct it
    of_mean, of_sd = off(problem)
    np.testing.assert_allclose(of_mean, 0.0, atol=0.2)
    np.testing.assert_allclose(of_sd, 0.0, atol=0.25)


def test_a_second_summit_is_noticed():
    problem = Function(folded, [2.0, 0.2])
    start = by_runs(problem, mode.starting(problem, 4, 1), silent)
    assert start.elsewhere > 0
    assert np.abs(np.abs(start.normal.mean[0]) - np.sqrt(2.0)) < 0.2
