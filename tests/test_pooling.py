"""Parameters that differ between fields: values, coordinates, and a field that is not fitted."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from calibration import fit, transfer
from calibration.methods import Laplace, Surrogate
from calibration.methods.mode import Normal, recentred, told, wide
from calibration.methods.stand_in import (
    Runs,
    StandIn,
    candidates,
    exact_density,
    kinds,
    moves,
    probes,
)
from calibration.methods.stand_in import fitted as learn
from calibration.problem import Problem
from calibration.saved_fit import Fit
from calibration.simulation_based import RANKED, Replicates
from diffsoil.cases import load_case
from diffsoil.io import InputError
from tests import fields

# NumPyro mixes float types inside
pytestmark = pytest.mark.mixed_types

K_HUM, BETWEEN = "carbon.k_hum", "between.carbon.k_hum"
DATES = len(fields.YEARS)


def deviation(field: str) -> str:
    return f"deviation.carbon.k_hum.{field}"


@pytest.fixture(scope="module")
def problem(tmp_path_factory) -> Problem:
    """Three fields; nothing of the last one is fitted."""
    return Problem(fields.write(tmp_path_factory.mktemp("case"), "abc", kept_out="c"))


def moved(problem: Problem, **values: float) -> jnp.ndarray:
    x = problem.defaults
    for name, value in values.items():
        x = x.at[problem.names.index(name)].set(value)
    return x


@pytest.fixture(scope="module")
def stocks(problem):
    predict = jax.jit(lambda x, of: of.predict(x).latent.reshape(-1, DATES))
    return lambda **values: np.asarray(predict(moved(problem, **values), problem.likelihood))


def test_a_field_has_its_own_value_and_the_others_keep_theirs(stocks):
    same, own = stocks(), stocks(**{deviation("b"): 1.0})
    np.testing.assert_array_equal(own[[0, 2]], same[[0, 2]])
    all_of_them = stocks(**{K_HUM: 0.02 * np.exp(0.2)})
    np.testing.assert_allclose(own[1], all_of_them[1], rtol=1e-12)
    assert np.all(own[1] < 0.95 * same[1])


def grouped(folder: Path, groups: str) -> Path:
    """Three fields whose rate differs between groups of them."""
    path = fields.write(folder, "abc")
    text = path.read_text().replace('by = "site"', 'by = "group"')
    path.write_text(text.replace("[grid]", f"[group]\n{groups}\n[grid]", 1))
    return path


def test_sites_of_a_group_share_a_value_and_a_site_of_none_is_a_group(tmp_path):
    of = Problem(grouped(tmp_path, 'farm = ["a", "c"]'))
    values = of.pooled[0].values(moved(of, **{deviation("farm"): 1.0}))
    np.testing.assert_allclose(values, 0.02 * np.exp([0.2, 0.0, 0.2]), rtol=1e-12)
    assert [n for n in of.names if n.startswith("deviation.")] == [
        deviation("farm"), deviation("b"),
    ]  # fmt: skip
    z = 0.3 * np.random.default_rng(0).standard_normal(len(of.names))
    for centred in ([], [of.names.index(deviation("farm"))]):
        coordinates = of.recentred(frozenset(centred)).reparameterization
        _, size = np.linalg.slogdet(jax.jacobian(coordinates.bounded)(jnp.asarray(z)))
        assert float(coordinates.log_jacobian(jnp.asarray(z))) == pytest.approx(size)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ('farm = ["a", "d"]', "group.farm: no site 'd'"),
        ('farm = ["a"]\nother = ["b", "a"]', "group.farm: site 'a' is in group 'other' as well"),
        ('b = ["a"]', "group.b: is the name of a site that is not in the group"),
    ],
)
def test_groups_that_do_not_hold_together_are_refused(tmp_path, groups, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_case(grouped(tmp_path, groups))


def test_a_treatment_differs_from_when_it_begins(tmp_path):
    path = fields.write(tmp_path, "ab")
    table = pd.read_csv(tmp_path / "observations.csv")
    early = table[table["treatment"] == "b_arable"].iloc[:1].assign(year=1899)
    pd.concat([table, early]).to_csv(tmp_path / "observations.csv", index=False)
    path.write_text(path.read_text().replace('by = "site"', 'by = "treatment"'))
    of = Problem(path)
    predict = jax.jit(lambda likelihood, x: likelihood.predict(x).latent)
    before = np.asarray(predict(of.likelihood, of.defaults))
    after = np.asarray(predict(of.likelihood, moved(of, **{deviation("b_arable"): 1.0})))
    apart = np.abs(after / before - 1.0)
    row = of.table.reset_index()
    assert apart[row["site"] == "a"].max() == 0.0
    assert apart[row["year"] == 1899].max() == 0.0  # of history
    assert apart[(row["site"] == "b") & (row["year"] > 1899)].min() > 1e-4


def test_coordinates_invert_and_tell_how_much_room_there_is(problem):
    z = 0.3 * np.random.default_rng(0).standard_normal(len(problem.names))
    of = problem.recentred(frozenset([problem.names.index(deviation("a"))])).reparameterization
    x = of.bounded(jnp.asarray(z))
    np.testing.assert_allclose(of.unbounded(x), z, atol=1e-9)
    matrix = jax.jacobian(of.bounded)(jnp.asarray(z))
    _, size = np.linalg.slogdet(matrix)
    assert float(of.log_jacobian(jnp.asarray(z))) == pytest.approx(size, rel=1e-9)


def test_own_values_are_searched_where_that_was_asked_and_deviations_elsewhere(problem):
    a = problem.names.index(deviation("a"))
    of = problem.recentred(frozenset([a])).reparameterization
    z = of.unbounded(moved(problem, **{deviation("a"): 0.5, deviation("c"): 0.5}))
    wider = z.at[problem.names.index(BETWEEN)].add(0.7)
    own = [jnp.stack([p.values(of.bounded(at)) for p in problem.pooled]) for at in (z, wider)]
    apart = np.abs(np.log(own[1] / own[0]))[0]
    assert apart[0] < 0.02 < 0.05 < apart[2]
    assert problem.recentred(frozenset()) is problem


def test_data_tell_a_deviation_that_is_narrower_than_its_prior(problem):
    a, b = (problem.names.index(deviation(field)) for field in "ab")
    mean = np.asarray(problem.unbounded(np.asarray(problem.defaults)))
    sd = np.full(mean.size, 0.3)
    sd[[a, b]] = 0.3 / 3.0, 0.6 / 3.0  # the slope of a logistic between -6 and 6
    normal = Normal(mean, np.diag(sd**2))
    assert told(problem, normal) == {a}
    other, there = recentred(problem, normal)
    assert other.centred == {a}
    np.testing.assert_allclose(other.bounded(there.mean), problem.bounded(mean), rtol=1e-9)
    off = np.array([1e-4, -2e-4, 1e-4, 1e-4, 2e-4, 1e-4, -1e-4][: mean.size])
    moved_there = other.unbounded(problem.bounded(mean + off)) - there.mean
    quadratic = off @ np.linalg.solve(normal.covariance, off)
    again = moved_there @ np.linalg.solve(there.covariance, moved_there)
    assert again == pytest.approx(quadratic, rel=1e-2)


PROTECTED = """
[free."protection.b1"]
[free."carbon.k_rpm"]
[free."vegetation.input_factor.grass"]
[free."vegetation.input_factor.crop"]
"""


@pytest.fixture(scope="module")
def sheared(tmp_path_factory) -> Problem:
    """Two fields with protection, so that coordinates follow each other."""
    path = fields.write(tmp_path_factory.mktemp("case"), "ab")
    path.write_text(path.read_text() + PROTECTED)
    return Problem(path)


def test_a_stand_in_knows_a_field_by_its_own_value_whatever_the_median(sheared):
    (variables, of_modifiers) = candidates(sheared, start(sheared), (0, 1))
    others = {"carbon.k_rpm": 0.4, "vegetation.input_factor.crop": 1.3}
    one = moved(sheared, **others, **{deviation("b"): 1.0})
    other = moved(sheared, **others, **{K_HUM: 0.025, deviation("b"): 1.0 - np.log(1.25) / 0.2})
    unbounded = sheared.reparameterization.unbounded
    for of in (variables, of_modifiers):
        found, again = (np.asarray(of(unbounded(x))) for x in (one, other))
        np.testing.assert_allclose(found[1], again[1], atol=1e-9)
        assert np.abs(found[0] - again[0]).max() > 0.1


def test_coordinates_of_a_field_are_those_of_a_case_with_its_value(sheared):
    x = moved(sheared, **{K_HUM: 0.03, "protection.b1": 0.6, "carbon.k_rpm": 0.4})
    (variables, _) = candidates(sheared, start(sheared), (0, 1))
    z = sheared.reparameterization.unbounded(x)
    places = jnp.asarray(variables.places)
    np.testing.assert_allclose(variables(z), np.stack([z[places]] * 2), atol=1e-9)


def test_a_parameter_moves_the_fields_that_it_changes(sheared):
    normal = wide(np.zeros(len(sheared.names)))
    crop = sheared.names.index("vegetation.input_factor.crop")
    latent = np.ones((len(probes(sheared, normal)), len(sheared.table)))
    beside = np.flatnonzero(np.diff(probes(sheared, normal)[:, crop], prepend=0.0) > 1.0)
    latent[beside[-1], sheared.table["member"] == 1] = 1.1  # at the second place only
    found = moves(sheared, latent)
    assert found[:, crop].tolist() == [False, True]
    for name in (K_HUM, "carbon.k_rpm", "protection.b1"):  # not asked
        assert found[:, sheared.names.index(name)].all()
    assert kinds(sheared, found).tolist() == [0, 1]
    assert kinds(sheared, np.ones_like(found)).tolist() == [0, 1]  # their sites differ
    latent[beside[-1], 0] = np.nan
    assert moves(sheared, latent)[0, crop]


def test_what_is_kept_out_has_no_polynomials_and_no_part_in_the_density(problem):
    near = np.asarray(problem.unbounded(np.asarray(problem.defaults)))
    z = near + 0.1 * np.random.default_rng(1).standard_normal((60, near.size))
    predict = jax.jit(lambda x, of: of.predict(x))
    found = [predict(jnp.asarray(x), problem.likelihood) for x in problem.bounded(z)]
    latent, sd = (np.array([getattr(of, name) for of in found]) for name in ("latent", "sd"))
    runs = Runs(z, latent, sd, np.ones(len(z)))
    polynomials, _ = learn(problem, runs, np.ones((3, near.size), dtype=bool))
    assert len(polynomials.coefficients) == 2
    exact = float(exact_density(problem.posterior, z[0], latent[0], None))
    stand_in = StandIn(problem.posterior, polynomials)
    assert float(stand_in(jnp.asarray(z[0]))) == pytest.approx(exact, abs=0.05)
    elsewhere = np.where(problem.table["fitted"], latent[0], 2.0 * latent[0])
    assert float(exact_density(problem.posterior, z[0], elsewhere, None)) == exact


def start(problem: Problem) -> np.ndarray:
    """A few runs to make variables from."""
    count = len(problem.names)
    return 0.5 * np.random.default_rng(0).standard_normal((8, count))


@pytest.fixture(scope="module")
def fitted(problem, stocks, tmp_path_factory):
    """Two fields that differ, with 2 % of error."""
    truth = stocks(**{deviation("a"): -1.0, deviation("b"): 1.0})
    noise = 1.0 + 0.02 * np.random.default_rng(3).standard_normal(truth.shape)
    path = problem.case.path
    table = pd.read_csv(path.parent / "observations.csv")
    table["value"] = (truth * noise).ravel()
    table.to_csv(path.parent / "observations.csv", index=False)
    return fit(path, Laplace.sized(quick=True), seed=1)


@pytest.mark.slow
def test_a_field_that_was_not_fitted_is_as_uncertain_as_fields_differ(fitted):
    of = fitted.names.index
    x = fitted.draws
    assert x[:, of(deviation("a"))].mean() < -0.3 < 0.3 < x[:, of(deviation("b"))].mean()
    free = x[:, of(deviation("c"))]
    assert abs(free.mean()) < 0.25
    assert free.std() == pytest.approx(1.0, abs=0.2)


@pytest.mark.slow
def test_a_fit_predicts_a_new_field_from_the_spread_and_its_own_from_its_value(fitted, tmp_path):
    case = fields.write(tmp_path, ["b", "fresh"])
    case.write_text(case.read_text().replace('by = "site"\n', "").replace("between = ", "# "))
    found = transfer.predict(fitted, load_case(case), draws=200, say=lambda line: None)
    width = (found["q95"] - found["q05"]).groupby(found["site"]).mean()
    assert width["fresh"] > 3.0 * width["b"]


def test_a_case_tells_what_one_value_for_all_fields_leaves_out(problem):
    (line,) = problem.case.medians_taken()
    assert "carbon.k_hum differs by site" in line


def test_what_knows_one_value_for_all_fields_refuses_a_fit_in_which_they_differ(tmp_path):
    fit_of = Fit(tmp_path, None, "", None, [K_HUM, BETWEEN, deviation("a")], np.zeros((1, 3)))
    with pytest.raises(InputError, match=r"carbon.k_hum differs .* a forecast knows one value"):
        fit_of.refuse_differing("a forecast")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('by = "site"', 'by = "field"', "free.carbon.k_hum.by"),
        ('by = "site"\n', "", 'by = "site" is missing'),
        ('kind = "lognormal", location = 0.2, scale = 0.7', 'kind = "uniform"', "normal or logn"),
        ('[free."carbon.k_hum"]', '[free."observation.error.topsoil"]', "only a parameter"),
    ],
)
def test_what_cannot_differ_is_refused(tmp_path, old, new, words):
    path = fields.write(tmp_path, "a")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=words):
        load_case(path)


def own_ranks(problem: Problem, sets: int, seed: int) -> np.ndarray:
    """Ranks of the true value of each field among those of the posterior, 0 to :data:`RANKED`."""
    of = Replicates(problem, Surrogate.sized(quick=True), seed)
    (pooled,) = problem.pooled
    found = []

    def ranked(truth, value, number):
        z = posterior(truth, value, number)
        own = jax.vmap(pooled.values)(jnp.asarray(problem.bounded(z)))
        true = pooled.values(problem.reparameterization.bounded(truth))
        found.append((np.asarray(own) < np.asarray(true)).sum(axis=0))
        return z

    posterior, of._posterior = of._posterior, ranked
    for number in range(sets):
        of.rank(number)
    return np.array(found)


@pytest.mark.slow
def test_ninety_percent_of_new_fields_lie_in_their_interval(tmp_path):
    names = ["f1", "f2", "f3", "f4", "new"]
    problem = Problem(fields.write(tmp_path, names, kept_out=["new"]))
    known = frozenset(problem.names.index(deviation(name)) for name in names[:-1])
    problem = problem.recentred(known)
    inside = np.abs((own_ranks(problem, 20, seed=5) + 0.5) / (RANKED + 1) - 0.5) <= 0.45
    assert inside[:, -1].mean() >= 0.75  # of 20; fewer have a probability of 1 %
    assert inside[:, :-1].mean() >= 0.82
