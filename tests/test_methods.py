"""Methods on posteriors that are known, work that is resumed, and weights."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from calibration.methods import NUTS, SMC, SVI, Flow, importance, nuts, smc, svi
from calibration.methods.mode import Normal
from calibration.posterior import Prediction
from calibration.prediction import Predicted
from diffsoil.work.checkpoints import Checkpoints
from tests.known_posterior import Known

# NumPyro, BlackJAX and optax mix float types inside
pytestmark = pytest.mark.mixed_types


def silent(line: str) -> None:
    pass


class Killed(BaseException):
    """As sudden as a kill: nothing may catch it and tidy up."""


def killed_at(count: int):
    """A report that stops the run at its n-th line."""
    lines = []

    def report(line: str) -> None:
        lines.append(line)
        if len(lines) == count:
            raise Killed

    return report


@pytest.fixture(scope="module")
def known() -> Known:
    return Known()


def density(known: Known, z: np.ndarray) -> np.ndarray:
    return np.asarray(jax.vmap(lambda one: known.posterior(one))(jnp.asarray(z)))


def assert_moments(known: Known, z: np.ndarray, within: float) -> None:
    flat = z.reshape(-1, z.shape[-1])
    sd = np.sqrt(np.diag(known.covariance))
    assert np.abs((flat.mean(axis=0) - known.mean) / sd).max() < within
    assert np.abs(flat.std(axis=0) / sd - 1).max() < within


MADE = {
    "nuts": (nuts.Sampler, NUTS(chains=2, warmup=50, draws=300)),
    "svi": (svi.Variational, SVI(chains=2, warmup=30, draws=400)),
    "flow": (svi.Variational, Flow(chains=2, warmup=30, draws=400)),
    "smc": (smc.Tempered, SMC(chains=2, draws=250)),
}


@pytest.fixture(scope="module", params=list(MADE))
def run(request, known):
    """A method, itself compiled, with what it found undisturbed."""
    kind, settings = MADE[request.param]
    method = kind(known.posterior, known.start, settings, seed=0)
    return request.param, method, method.draw(Checkpoints(None), silent)


def test_each_method_finds_the_mean_and_the_width(run, known):
    _, _, drawn = run
    assert_moments(known, drawn.z, within=0.15)


def test_weights_and_particles_find_the_evidence(run, known):
    name, _, drawn = run
    if name == "nuts":
        pytest.skip("NUTS knows nothing of the evidence")
    if drawn.log_evidence is not None:
        found = float(drawn.log_evidence.mean())
    else:
        flat = drawn.z.reshape(-1, drawn.z.shape[-1])
        target, proposal = density(known, flat), drawn.log_proposal.ravel()
        weights = importance.weights(target, proposal)
        assert weights.trusted
        found = importance.log_evidence(target, proposal)
    assert found == pytest.approx(known.log_evidence, abs=0.15)


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been(run, tmp_path):
    name, method, drawn = run
    with pytest.raises(Killed):
        # NUTS in the midst of its draws, after two lines of warm-up
        method.draw(Checkpoints(tmp_path), killed_at({"nuts": 4, "smc": 2}.get(name, 1)))
    kept = MADE[name][1].finished(Checkpoints(tmp_path, resume=True))
    assert (kept is None) == (name != "nuts")
    if kept is not None:
        np.testing.assert_array_equal(kept, drawn.z[:, : kept.shape[1]])
    (tmp_path / ".000099-half.npz").write_bytes(b"a part that was being written")
    again = method.draw(Checkpoints(tmp_path, resume=True), silent)
    np.testing.assert_array_equal(again.z, drawn.z)


def test_a_chain_does_not_begin_where_it_would_be_lost(known):
    start = known.start
    wide = Normal(start.mean, start.factor @ np.diag([1.0, 1.0, 1e6]) @ start.factor.T)
    keys = jax.random.split(jax.random.PRNGKey(0), 2)
    spread = np.array([[1.0, -1.0, 0.5], [1.0, -1.0, 1e-4]])

    def begun(normal: Normal) -> np.ndarray:
        sampler = nuts.Sampler(known.posterior, normal, NUTS(chains=2, warmup=25, draws=25), 0)
        return np.asarray(sampler._started(keys, spread).z)

    np.testing.assert_allclose(begun(start), spread)
    # draws of a normal that is far too wide in one direction are in a desert, but not all of them
    lost, near = begun(wide)
    np.testing.assert_allclose(near, spread[1])
    assert 1000.0 * abs(lost[2]) < 5.0


def test_weights_that_are_nearly_the_same_have_no_tail_to_be_judged():
    # the error of a cubic stand-in goes with the fourth power, whose tail looks heavy at any size
    off = np.random.default_rng(1).standard_normal(80) ** 4
    assert importance.weights(0.01 * off, np.zeros(80)).k > importance.TRUSTED
    assert importance.weights(1e-4 * off, np.zeros(80)).k == 0.0
    one_of_three = np.where(np.arange(400) < 20, np.log(3.0) * np.arange(400) / 20, 0.0)
    assert importance.weights(one_of_three, np.zeros(400)).k > 0.0


def test_a_heavy_tail_of_percents_is_no_reason_to_distrust():
    rng = np.random.default_rng(1)
    log = np.clip(0.003 * rng.standard_t(1.2, size=800), -0.3, 0.3)
    *_, raw = importance.array_stats.psislw(-log)
    assert raw > importance.TRUSTED
    weights = importance.weights(log, np.zeros(800))
    assert weights.trusted
    assert weights.effective > 799
    # twenty times as large it is one
    assert not importance.weights(20 * log, np.zeros(800)).trusted


def test_a_chain_that_stands_still_is_one_draw():
    moving = 0.1 * np.random.default_rng(1).standard_normal(400)
    found = importance.weights(np.concatenate([moving, np.full(400, 5.0)]), np.zeros(800))
    assert not found.trusted
    assert found.effective < 1.1
    twice = importance.weights(3.0 * np.repeat(moving, 2), np.zeros(800))
    assert twice.trusted
    assert 300 < twice.effective < 400


def test_weights_that_cannot_be_trusted_say_so():
    rng = np.random.default_rng(0)
    narrow = 0.4 * rng.standard_normal((600, 3))
    target = -0.5 * (narrow**2).sum(axis=1)
    found = importance.weights(target, -0.5 * (narrow**2).sum(axis=1) / 0.16)
    assert not found.trusted
    wide = 1.3 * rng.standard_normal((600, 3))
    found = importance.weights(-0.5 * (wide**2).sum(axis=1), -0.5 * (wide**2).sum(axis=1) / 1.69)
    assert found.trusted
    chosen = wide[importance.resampled(found.weight, 600, 0)]
    np.testing.assert_allclose(chosen.std(axis=0), 1.0, atol=0.12)


def test_draws_without_a_density_have_no_weight():
    target = np.zeros(100)
    target[:3] = [np.nan, -np.inf, np.nan]
    found = importance.weights(target, np.zeros(100))
    np.testing.assert_allclose(found.weight[:3], 0.0, atol=1e-12)
    assert found.weight.sum() == pytest.approx(1.0)


def predictions(count: int) -> Prediction:
    rng = np.random.default_rng(0)
    shapes = {"topsoil": (count, 2, 3), "profile": (count, 2, 5, 3), "bottom": (count, 2, 3)}
    return Prediction(**{n: rng.normal(size=shapes.get(n, (count, 4))) for n in Prediction._fields})


def test_stored_predictions_are_those_in_memory_also_repeated_and_shuffled(tmp_path):
    whole = predictions(50)
    checkpoints = Checkpoints(tmp_path / "predicted")
    for start in range(0, 50, 20):
        part = jax.tree.map(lambda a, s=start: a[s : s + 20], whole)
        checkpoints.append(part._asdict(), ())
    stored = Predicted(checkpoints, np.arange(50))
    np.testing.assert_array_equal(stored.rows("latent"), whole.latent)
    np.testing.assert_array_equal(stored.rows("latent", slice(1, 3)), whole.latent[:, 1:3])
    chosen = np.random.default_rng(1).integers(0, 50, 70)
    np.testing.assert_array_equal(stored.taken(chosen).rows("topsoil"), whole.topsoil[chosen])
    places = np.concatenate([p for p, _ in stored.taken(chosen).blocks("latent")])
    assert sorted(places) == list(range(70))
