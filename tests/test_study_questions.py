"""Questions beyond the study: other choices of the model, polynomials in the place of runs."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.cases import read_case
from diffsoil.studies.vandermeij2026.protection import _surrogate
from diffsoil.studies.vandermeij2026.questions import variants
from diffsoil.studies.vandermeij2026.scenarios import load_study


def test_every_other_choice_is_a_legal_case_of_every_history() -> None:
    study = load_study("loess_study")
    found = {name: other for name, _, other in variants(study)}
    assert len(found) == 7
    (eroded,) = study.chosen(["dry-x-agricultural-E1-E2-E3"])
    cases = {n: read_case(s.base.path, s.text(eroded)) for n, s in found.items()}
    assert cases["step_5"].file.history[0].step_years == 5
    assert cases["continuous"].file.erosion == "continuous"
    assert cases["layers_25_mm"].file.grid.layers == 80
    assert cases["layers_100_mm"].file.grid.thickness_m == 0.1
    assert cases["kinetic_iron"].file.dissolved_iron == "kinetic"
    assert cases["soft_minimum"].file.minimum == "soft"


def test_a_choice_that_the_case_does_not_name_is_refused() -> None:
    study = load_study("loess_study")
    object.__setattr__(study.base, "text", study.base.text.replace('minimum = "hard"\n', ""))
    with pytest.raises(ValueError, match="minimum"):
        list(variants(study))


def test_polynomials_repeat_a_cubic_and_tell_how_wrong_they_are_elsewhere() -> None:
    random = np.random.default_rng(0)
    lower, upper = np.array([0.4, 0.0]), np.array([1.0, 20.0])
    x = lower + (upper - lower) * random.random((40, 2))
    cubic = 3.0 + x[:, 0] ** 3 - 0.01 * x[:, 0] * x[:, 1] ** 2
    bent = np.exp(3.0 * x[:, 0])
    y = np.stack([cubic, bent], axis=1)
    surrogate = _surrogate(x, y, lower, upper, points=30, tolerance=np.array([0.1, 0.1]))
    assert surrogate.error[0] < 1e-8
    assert surrogate.error[1] > 1e-3
    at = jnp.array([0.7, 5.0])
    np.testing.assert_allclose(surrogate(at)[0], 3.0 + 0.7**3 - 0.01 * 0.7 * 25.0)
