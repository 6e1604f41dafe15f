"""Sampling with a coarser slow step, and what weights make of it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from calibration import fitting, store
from calibration.methods import Laplace, mode
from calibration.methods.importance import Weights
from calibration.methods.method import Method
from calibration.methods.posterior import Draws
from calibration.slow_step import coarser
from diffsoil.cases import load_case
from diffsoil.io import InputError
from tests.test_calibration import rows, write_case

# NumPyro and optax mix float types inside
pytestmark = pytest.mark.mixed_types


def silent(line: str) -> None:
    pass


def test_steps_grow_as_far_as_the_length_of_a_phase_allows():
    case = load_case("rothamsted")
    found = coarser(case, 100)
    steps = []
    spans = found.file.spans()
    for phase, span, before in zip(found.file.history, spans, case.file.history, strict=True):
        assert (span[1] - span[0] + 1) % phase.step_years == 0
        assert before.step_years <= phase.step_years <= 100
        steps.append(phase.step_years)
    assert steps == [100, 84]  # of 9200 and 840 years
    assert found.file.experiment == case.file.experiment


def test_a_step_that_is_no_longer_than_the_own_is_refused():
    with pytest.raises(InputError, match=r"--slow-step 10: no phase of .* can have so long a step"):
        coarser(load_case("rothamsted"), 10)


@pytest.mark.parametrize(("k", "again"), [(0.5, False), (0.9, True)])
def test_draws_that_weights_cannot_correct_are_drawn_again_with_the_own_step(
    k, again, monkeypatch, tmp_path
):
    fine, coarse = object(), object()
    z = np.random.default_rng(0).normal([1.0, -2.0], [0.5, 3.0], (2, 200, 2))
    asked = []

    class Twice(Method):
        """Draws that are there already, and what they were asked for."""

        name = "twice"

        def draw(self, problem, start, seed, checkpoints, report):
            asked.append((problem, start, checkpoints.folder))
            return Draws(z, log_proposal=np.zeros((2, 200)), gradients=10.0)

    def weighted(problem, drawn, checkpoints, say):
        assert problem is fine  # predictions are those of the case's own step
        of_fine = checkpoints.folder.name.endswith("fine")
        return "predicted", Weights(np.full(400, 1 / 400), 0.2 if of_fine else k, 300)

    monkeypatch.setattr(fitting, "predictions", weighted)
    wanted = SimpleNamespace(method=Twice(), seed=0)
    start = mode.Start(coarse)
    _, _, weights, facts = fitting.sampled(fine, coarse, start, wanted, tmp_path, silent, False)
    assert asked[0] == (coarse, coarse, tmp_path / "twice")
    assert len(asked) == 1 + again
    assert facts["pareto_k"] == weights.k == (0.2 if again else k)
    assert facts.get("coarse_k") == (k if again else None)
    assert facts["gradients"] == 10.0 * len(asked)
    if again:
        problem, start, folder = asked[1]
        assert (problem, folder) == (fine, tmp_path / "fine" / "twice")
        flat = z.reshape(-1, 2)
        np.testing.assert_allclose(start.mean, flat.mean(axis=0))
        np.testing.assert_allclose(start.covariance, np.cov(flat.T))


@pytest.mark.slow
def test_a_coarser_history_leads_to_the_same_posterior(tmp_path):
    case = write_case(tmp_path, rows())
    found = {}
    for years in (0, 50):
        folder = tmp_path / f"fit{years}"
        fitting.calibrate_case(case, folder, Laplace.sized(quick=True), slow_step=years or None)
        found[years] = pd.read_csv(folder / "summary.csv", index_col="parameter")
    away = (found[50]["mean"] - found[0]["mean"]) / found[0]["sd"]
    assert away.abs().max() < 0.3
    told = store.read_json(tmp_path / "fit50" / "facts.json")
    assert told["pareto_k"] <= 0.7
    assert "coarse_k" not in told
