"""Simulation-based calibration: it passes what is right and fails what is too narrow."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from calibration import plots, simulation_based
from calibration.methods import MAP, NUTS, Laplace
from calibration.problem import Problem
from diffsoil.io import InputError
from diffsoil.work.checkpoints import Checkpoints
from tests.known_posterior import Known
from tests.test_calibration import rows, write_case

# NumPyro and optax mix float types inside
pytestmark = pytest.mark.mixed_types

COUNT = 24


def silent(line: str) -> None:
    pass


def judged(problem, folder, count: int = COUNT) -> tuple[np.ndarray, pd.DataFrame]:
    replicates = simulation_based.Replicates(problem, Laplace(), seed=1)
    ranks = replicates.ranks(count, Checkpoints(folder), silent)
    return ranks, simulation_based.described(ranks, problem.names)


def test_a_right_posterior_has_uniform_ranks(tmp_path):
    ranks, table = judged(Known(), tmp_path)
    assert ranks.shape == (COUNT, 3)
    assert all(row["passed"] for row in simulation_based.verdict(table)), table
    picture = plots.simulated(tmp_path, ranks, Known.names, simulation_based.RANKED)
    assert picture.stat().st_size > 1000


def test_a_method_that_cannot_be_repeated_is_refused():
    with pytest.raises(
        InputError, match="--method map: only laplace, surrogate and nuts can be checked"
    ):
        simulation_based.Replicates(Known(), MAP(), seed=1)


def test_a_posterior_that_is_too_narrow_fails(tmp_path):
    _, table = judged(Known(claimed=0.1), tmp_path, 12)
    assert not any(row["passed"] for row in simulation_based.verdict(table)), table


def test_ranks_go_on_where_they_were_stopped(tmp_path):
    whole, _ = judged(Known(), tmp_path / "whole", 6)
    replicates = simulation_based.Replicates(Known(), Laplace(), seed=1)
    replicates.ranks(3, Checkpoints(tmp_path / "part"), silent)
    again = replicates.ranks(6, Checkpoints(tmp_path / "part", resume=True), silent)
    np.testing.assert_array_equal(again, whole)


@pytest.mark.slow
def test_the_tiny_column_gets_its_parameters_back(tmp_path):
    """Forty data sets simulated from the prior of a case, each sampled with NUTS."""
    path = write_case(tmp_path, rows())
    problem = Problem(path)
    replicates = simulation_based.Replicates(
        problem, NUTS(chains=2, warmup=50, draws=200, tree_depth=6), seed=2
    )
    table = simulation_based.described(
        replicates.ranks(40, Checkpoints(tmp_path), print), problem.names
    )
    rows_ = simulation_based.verdict(table)
    assert all(row["passed"] for row in rows_), table.to_string()
