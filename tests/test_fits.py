"""Methods from outside: an eighth one calibrates a case, and a fit is an object that is saved."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from calibration import fit, load, saved_fit
from calibration.methods import METHODS, Laplace
from calibration.methods.method import Method
from calibration.methods.posterior import Draws
from calibration.problem import Problem
from diffsoil.io import InputError
from tests.test_calibration import rows, write_case

# NumPyro and optax mix float types inside
pytestmark = pytest.mark.mixed_types


@dataclasses.dataclass(frozen=True, kw_only=True)
class StudentT(Method):
    """Importance sampling from a Student t at the best fit: as Laplace, with heavier tails."""

    name = "student_t"
    description = "draws of a Student t around the most probable parameters, weighted"
    options = ("draws",)

    draws: int = 1000
    dof: float = 5.0

    def draw(self, problem, start, seed, checkpoints, report):
        wide = stats.multivariate_t(start.mean, start.covariance, self.dof, seed=seed)
        z = wide.rvs(self.draws)
        return Draws(z[None], log_proposal=wide.logpdf(z)[None])


@pytest.fixture(scope="module")
def problem(tmp_path_factory) -> Problem:
    path = write_case(tmp_path_factory.mktemp("case"), rows())
    return Problem(path)


@pytest.fixture(scope="module")
def fitted(problem):
    METHODS.register("student_t", StudentT)
    yield fit(problem, METHODS["student_t"].sized(quick=True, draws=300), seed=3)
    METHODS._added.clear()


def test_a_method_from_outside_needs_one_class_that_is_registered(fitted):
    assert fitted.settings.method == StudentT(quick=True, starts=1, draws=300)
    assert fitted.draws.shape == (300, len(fitted.names))
    k = fitted.checks.set_index("check").loc["importance weights (Pareto k)"]
    assert k["value"] < 0.7  # tails that are too light are what makes it larger
    assert "draws of a Student t" in (fitted.folder / "report.html").read_text()
    assert "Draws of the method student_t" in k["meaning"]


def test_a_fit_is_saved_and_read_again(fitted, tmp_path):
    fitted.save(tmp_path / "kept")
    again = load(tmp_path / "kept")
    np.testing.assert_array_equal(again.draws, fitted.draws)
    assert again.settings == fitted.settings
    assert list(again.summary.index) == fitted.names
    assert (tmp_path / "kept" / "report.html").is_file()
    with pytest.raises(InputError, match="exists already"):
        fitted.save(tmp_path / "kept")


def test_a_temporary_fit_goes_with_the_last_who_holds_it(problem, monkeypatch):
    from calibration import fitting

    made = [saved_fit.Scratch()]
    folder = made[0].path
    monkeypatch.setattr(fitting.saved_fit, "Scratch", lambda: made[0])
    with pytest.raises(InputError, match="has no density to weigh by"):
        fit(problem, METHODS["map"](), slow_step=50)
    assert folder.is_dir()
    made.clear()
    assert not folder.exists()


def test_a_problem_that_its_case_does_not_tell_is_refused(problem):
    other = Problem(problem.case, problem.column, {"carbon.k_hum": None})
    with pytest.raises(InputError, match="the problem has other processes, free parameters"):
        fit(other, Laplace())
