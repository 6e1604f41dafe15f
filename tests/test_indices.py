"""Indices on functions whose indices are known."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from diffsoil.io import InputError
from diffsoil.parameters import UNIFORM, Parameter, Prior, lognormal, normal
from sensitivity import derivative, indices, variance
from sensitivity.distributions import Distribution, Posterior, distribution, sample
from sensitivity.indices import Estimate, Result
from sensitivity.shapley import Copula, from_subsets, shapley

ISHIGAMI = [Distribution(name, "uniform", -math.pi, math.pi) for name in "abc"]
G = np.array([0.0, 1.0, 4.5, 9.0, 99.0, 99.0])
UNIT = [Distribution(f"x{i}", "uniform", 0.0, 1.0) for i in range(len(G))]
NORMAL = [Distribution(name, "normal", m - 9.0 * s, m + 9.0 * s, m, s)
          for name, m, s in (("a", 1.0, 1.0), ("b", -2.0, 1.5), ("c", 0.0, 0.7))]  # fmt: skip
LOGNORMAL = [
    Distribution("a", "lognormal", 0.0, 400.0, 1.0, 0.8),
    Distribution("b", "lognormal", 0.5, 40.0, 3.0, 0.4),
]


def ishigami(x: np.ndarray) -> np.ndarray:
    return np.sin(x[:, 0]) * (1.0 + 0.1 * x[:, 2] ** 4) + 7.0 * np.sin(x[:, 1]) ** 2


def d_ishigami(x: np.ndarray) -> np.ndarray:
    a, b, c = x.T
    slopes = np.cos(a) * (1.0 + 0.1 * c**4), 7.0 * np.sin(2.0 * b), 0.4 * c**3 * np.sin(a)
    return np.stack(slopes, axis=1)


def ishigami_indices() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """S1, ST, S2 and the variance by the closed form of Ishigami & Homma (1990)."""
    a, b = 7.0, 0.1
    first = 0.5 * (1.0 + b * math.pi**4 / 5.0) ** 2, a**2 / 8.0, 0.0
    both = b**2 * math.pi**8 * (1.0 / 18.0 - 1.0 / 50.0)
    whole = sum(first) + both
    s1 = np.array(first) / whole
    st, s2 = s1 + np.array([both, 0.0, both]) / whole, np.array([0.0, both, 0.0]) / whole
    return s1, st, s2, whole


def sobol_g(x: np.ndarray) -> np.ndarray:
    return ((np.abs(4.0 * x - 2.0) + G) / (1.0 + G)).prod(axis=1)


def d_sobol_g(x: np.ndarray) -> np.ndarray:
    factor = (np.abs(4.0 * x - 2.0) + G) / (1.0 + G)
    return 4.0 * np.sign(x - 0.5) / (1.0 + G) * factor.prod(axis=1)[:, None] / factor


def sobol_g_indices() -> tuple[np.ndarray, np.ndarray, float]:
    """S1, ST and the variance (Saltelli & Sobol 1995)."""
    own = 1.0 / (3.0 * (1.0 + G) ** 2)
    whole = float(np.prod(1.0 + own) - 1.0)
    return own / whole, own * np.prod(1.0 + own) / (1.0 + own) / whole, whole


def inside(estimate: Estimate, truth: np.ndarray, slack: float = 0.0) -> None:
    assert (estimate.low - slack <= truth).all(), (estimate, truth)
    assert (truth <= estimate.high + slack).all(), (estimate, truth)


# Distributions.


def test_published_indices_of_ishigami_follow_from_the_closed_form() -> None:
    s1, st, _, _ = ishigami_indices()
    np.testing.assert_allclose(s1, [0.3139, 0.4424, 0.0], atol=5e-5)
    np.testing.assert_allclose(st, [0.5576, 0.4424, 0.2437], atol=5e-5)


@pytest.mark.parametrize("law_", [ISHIGAMI[0], NORMAL[1], *LOGNORMAL,
                                  Distribution("a", "normal", 1.0, 2.0, 0.0, 1.0)])  # fmt: skip
def test_density_quantiles_and_moments_of_a_law_agree(law_: Distribution) -> None:
    u = (np.arange(20000) + 0.5) / 20000
    x = law_.quantile(u)
    np.testing.assert_allclose(law_.probability(x), u, atol=1e-9)
    inner = slice(1, -1)
    slope = np.gradient(u, x)
    np.testing.assert_allclose(law_.density(x)[100:-100], slope[100:-100], rtol=1e-4)
    assert law_.density(np.array([law_.lower - 1.0, law_.upper + 1.0])).max() == 0.0
    assert x.mean() == pytest.approx(law_.mean, rel=1e-4)
    assert x.std() == pytest.approx(law_.sd, rel=2e-3)
    assert (x[inner] > law_.lower).all()
    assert (x[inner] < law_.upper).all()


def test_poincare_constant_of_a_uniform_law_is_exact() -> None:
    assert Distribution("a", "uniform", 1.0, 3.0).poincare() == pytest.approx(
        4.0 / math.pi**2, rel=1e-12
    )


def test_poincare_constant_of_a_wide_normal_law_is_its_variance() -> None:
    assert Distribution("a", "normal", -30.0, 50.0, 4.0, 2.0).poincare() == pytest.approx(
        4.0, rel=1e-4
    )


def test_poincare_constant_of_half_a_normal_law_is_half_its_variance() -> None:
    # the eigenfunctions are the even Hermite polynomials, the first of which has eigenvalue 2
    assert Distribution("a", "normal", 3.0, 30.0, 3.0, 2.0).poincare() == pytest.approx(
        2.0, rel=1e-4
    )


def test_poincare_constant_of_an_almost_flat_normal_law_is_that_of_the_uniform_one() -> None:
    flat = Distribution("a", "normal", 1.0, 3.0, 0.0, 1e4)
    assert flat.poincare() == pytest.approx(4.0 / math.pi**2, rel=1e-6)


def spectral_poincare(law_: Distribution, order: int = 40) -> float:
    """Galerkin with Legendre polynomials of the logarithm and Gauss quadrature."""
    from numpy.polynomial import legendre
    from scipy.linalg import eigh

    low, high = math.log(law_.lower), math.log(law_.upper)
    t, weight = legendre.leggauss(400)
    x = np.exp(0.5 * (low + high) + 0.5 * (high - low) * t)
    jacobian = 0.5 * (high - low) * x
    basis = legendre.legvander(t, order)
    slope = np.stack([legendre.legval(t, legendre.legder(row)) for row in np.eye(order + 1)], 1)
    slope /= jacobian[:, None]
    mass = weight * law_.density(x) * jacobian
    found = eigh(slope.T * mass @ slope, basis.T * mass @ basis, eigvals_only=True)
    return 1.0 / float(found[1])


@pytest.mark.parametrize(("lower", "upper", "median", "sigma"), [
    (2.0, 30.0, 10.0, 0.3), (0.01, 100.0, 1.0, 1.0), (0.1, 2.0, 0.66, 0.3), (1.0, 1.1, 5.0, 0.5),
])  # fmt: skip
def test_poincare_constant_of_a_lognormal_law_agrees_with_a_spectral_method(
    lower: float, upper: float, median: float, sigma: float
) -> None:
    law_ = Distribution("a", "lognormal", lower, upper, median, sigma)
    assert law_.poincare() == pytest.approx(spectral_poincare(law_), rel=1e-4)
    assert law_.poincare() > law_.sd**2
    assert law_.log_poincare() <= sigma**2 * (1 + 1e-4)


PARAMETER = Parameter("x.y", 1.0, "1", 0.0, math.inf, UNIFORM, "none", "none")


@pytest.mark.parametrize(("prior", "kind", "message"), [
    (UNIFORM, "prior", r"parameter x.y has no range \(bounds 0 to inf, no prior\)"),
    (lognormal(1.0, 0.4), "uniform", r"x.y has no range \(bounds 0 to inf, its prior is not used"),
])  # fmt: skip
def test_a_parameter_without_range_is_refused(prior: Prior, kind: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        distribution(dataclasses.replace(PARAMETER, prior=prior), kind)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no range"):
        distribution(dataclasses.replace(PARAMETER, lower=1.0, upper=1.0))


def test_an_open_prior_loses_its_outermost_tail_only() -> None:
    open_ = dataclasses.replace(PARAMETER, prior=lognormal(1.0, 0.4))
    assert distribution(open_).upper == pytest.approx(math.exp(0.4 * 3.719), rel=1e-3)
    bounded = dataclasses.replace(PARAMETER, upper=3.0, prior=normal(1.0, 0.5))
    assert distribution(bounded) == Distribution("x.y", "normal", 0.0, 3.0, 1.0, 0.5)
    even = distribution(bounded, "uniform")
    assert (even.kind, even.lower, even.upper) == ("uniform", 0.0, 3.0)


def test_samples_and_designs_can_be_made_larger() -> None:
    posterior = Posterior(("a", "b"), np.random.default_rng(0).normal(size=(40, 2)))
    makers: list[Callable[[int], np.ndarray]] = [
        lambda n: sample(NORMAL, n, 3),
        lambda n: sample(NORMAL, n, 3, "random"),
        lambda n: variance.morris_design(NORMAL, n, 3).x,
        lambda n: variance.sobol_design(NORMAL, n, 3).x,
        lambda n: variance.sobol_design(NORMAL, n, 3, second=True).x,
        lambda n: posterior.sample(n, 3),
        lambda n: Copula.of_draws(posterior).sample(n, 3),
    ]
    for make in makers:
        large, small = make(24), make(10)
        np.testing.assert_array_equal(large[: len(small)], small)
    assert not np.array_equal(sample(NORMAL, 4, 3), sample(NORMAL, 4, 4))


@pytest.mark.parametrize(("change", "message"), [
    ({3: np.nan}, "b: 1 draws are not finite"), (0.0, "b has the same value in all draws"),
])  # fmt: skip
def test_a_posterior_that_cannot_be_used_is_refused(change: object, message: str) -> None:
    draws = np.random.default_rng(0).normal(size=(40, 2))
    if isinstance(change, dict):
        draws[list(change), 1] = np.nan
    else:
        draws[:, 1] = change
    with pytest.raises(InputError, match=message):
        Posterior(("a", "b"), draws)
    good = Posterior(("a", "b"), np.random.default_rng(0).normal(size=(40, 2)))
    with pytest.raises(InputError, match="no draws of c; there are a, b"):
        good.choose(["c"])
    assert good.choose(["b"]).names == ("b",)


# Indices from derivatives.


def test_dgsm_of_ishigami_bounds_its_total_indices() -> None:
    x = sample(ISHIGAMI, 1024, 1)
    result = derivative.dgsm(x, d_ishigami(x), ishigami(x), ISHIGAMI)
    c4 = 1.0 + 0.2 * math.pi**4 / 5.0 + 0.01 * math.pi**8 / 9.0  # E[(1 + c^4 / 10)^2]
    nu = np.array([0.5 * c4, 24.5, 0.16 * math.pi**6 / 7.0 * 0.5])
    inside(result.estimates["nu"], nu)
    _, total, _, whole = ishigami_indices()
    inside(result.estimates["ST_bound"], 4.0 * nu / whole)
    assert (result.estimates["ST_bound"].low > total).all()
    np.testing.assert_allclose(
        result.estimates["nu_scaled"].value * 12.0 / math.pi**2,
        result.estimates["ST_bound"].value,
        rtol=1e-9,
    )


def test_dgsm_of_sobol_g_is_the_closed_form_and_bounds_its_total_indices() -> None:
    x = sample(UNIT, 1024, 2)
    result = derivative.dgsm(x, d_sobol_g(x), sobol_g(x), UNIT)
    own = 1.0 / (3.0 * (1.0 + G) ** 2)
    inside(result.estimates["nu"], 16.0 / (1.0 + G) ** 2 * np.prod(1.0 + own) / (1.0 + own))
    _, total, _ = sobol_g_indices()
    assert (result.estimates["ST_bound"].low > total).all()


def test_the_bound_is_reached_by_lines_and_products_of_normal_inputs() -> None:
    x = sample(NORMAL, 512, 3)
    slope = np.array([1.0, 0.5, -2.0])
    linear = derivative.dgsm(x, np.tile(slope, (512, 1)), x @ slope, NORMAL)
    spread = np.array([of.sd for of in NORMAL])
    share = (slope * spread) ** 2 / ((slope * spread) ** 2).sum()
    inside(linear.estimates["ST_bound"], share)
    np.testing.assert_allclose(linear.estimates["ST_bound"].value, share, rtol=0.03)

    z = x - [of.mean for of in NORMAL]
    product = np.stack([z[:, 1], z[:, 0], 0.0 * z[:, 0]], axis=1)
    both = derivative.dgsm(x, product, z[:, 0] * z[:, 1], NORMAL)
    inside(both.estimates["ST_bound"], np.array([1.0, 1.0, 0.0]))

    square = np.stack([2.0 * z[:, 0], 0.0 * z[:, 0], 0.0 * z[:, 0]], axis=1)
    twice = derivative.dgsm(x, square, z[:, 0] ** 2, NORMAL)
    inside(twice.estimates["ST_bound"], np.array([2.0, 0.0, 0.0]))


def test_the_bound_is_reached_by_logarithms_of_lognormal_inputs() -> None:
    x = sample(LOGNORMAL, 512, 4)
    slope = np.array([1.0, 3.0])
    logs = derivative.dgsm(x, slope / x, np.log(x) @ slope, LOGNORMAL)
    z = np.log(sample(LOGNORMAL, 4096, 5))
    share = (slope * z.std(axis=0)) ** 2 / ((slope * z.std(axis=0)) ** 2).sum()
    np.testing.assert_allclose(logs.estimates["ST_bound"].value, share, rtol=0.03)

    # a straight line and a parabola of the value: the total index is the exact share
    for f, df in ((lambda v: v, np.ones_like), (lambda v: v**2, lambda v: 2.0 * v)):
        dense = f(sample(LOGNORMAL, 2**15, 6))
        share = dense.var(axis=0) / dense.var(axis=0).sum()
        found = derivative.dgsm(x, df(x), f(x).sum(axis=1), LOGNORMAL)
        assert (found.estimates["ST_bound"].high >= share).all()


def test_the_mean_slope_is_exact_on_lines_of_normal_scores_and_never_above_first_order() -> None:
    slope = np.array([1.0, 3.0])
    x = sample(LOGNORMAL, 512, 4)
    line = derivative.dgsm(x, slope / x, np.log(x) @ slope, LOGNORMAL)
    sd = slope * [of.scale for of in LOGNORMAL]
    np.testing.assert_allclose(line.estimates["mu_star"].value, sd, rtol=0.02)
    np.testing.assert_allclose(line.estimates["mu_scaled"].value, sd**2 / (sd @ sd), rtol=0.04)

    # f = a^2 + b rises in both: shares of the variance are 4/45 and 1 over their sum
    distributions = [
        Distribution("a", "uniform", 0.0, 1.0),
        Distribution("b", "normal", -8.0, 8.0, 0.0, 1.0),
    ]
    x = sample(distributions, 4096, 1)
    gradient = np.stack([2.0 * x[:, 0], np.ones(4096)], axis=1)
    found = derivative.dgsm(x, gradient, x[:, 0] ** 2 + x[:, 1], distributions)
    share = np.array([4.0 / 45.0, 1.0]) / (4.0 / 45.0 + 1.0)
    # a = Phi(z): E[da^2/dz] = 2 E[Phi phi] = 1 / (2 sqrt(pi))
    exact = np.array([0.25 / math.pi, 1.0]) / (4.0 / 45.0 + 1.0)
    np.testing.assert_allclose(found.estimates["mu_scaled"].value, exact, rtol=0.02)
    assert (found.estimates["mu_scaled"].low <= share).all()


def test_one_steep_place_turns_the_mean_square_and_not_the_mean_slope() -> None:
    distributions = [Distribution(n, "normal", -8.0, 8.0, 0.0, 1.0) for n in "ab"]
    x = sample(distributions, 256, 3)
    step = np.tanh(x[:, 1] / 0.01)  # of 1 % of the width of the distribution
    y = x[:, 0] + 0.2 * step
    gradient = np.stack([np.ones(256), 20.0 * (1.0 - step**2)], axis=1)
    found = derivative.dgsm(x, gradient, y, distributions).estimates
    assert found["nu_scaled"].value[1] > found["nu_scaled"].value[0]
    assert found["mu_scaled"].value[1] < 0.1 * found["mu_scaled"].value[0]


def test_a_jump_that_derivatives_do_not_see_is_told() -> None:
    x = sample(ISHIGAMI, 256, 1)
    jump = ishigami(x) + 100.0 * (x[:, 2] > 0.0)
    assert derivative.dgsm(x, d_ishigami(x), ishigami(x), ISHIGAMI).note == ""
    assert "bounds add up to 0." in derivative.dgsm(x, d_ishigami(x), jump, ISHIGAMI).note


def test_inputs_that_belong_together_have_no_bound() -> None:
    x = sample(NORMAL, 64, 1)
    result = derivative.dgsm(x, np.ones_like(x), x.sum(axis=1), None)
    assert set(result.estimates) == {"mu_star", "mu_scaled", "nu", "nu_scaled"}
    np.testing.assert_allclose(result.estimates["mu_star"].value, x.std(axis=0), rtol=1e-12)


def ridge(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The function exp(0.7 a + 0.3 b) of Constantine & Diaz (2017), and a third input."""
    x = sample(ISHIGAMI, n, seed) / math.pi
    y = np.exp(0.7 * x[:, 0] + 0.3 * x[:, 1])
    return x, y[:, None] * [0.7, 0.3, 0.0], y


def test_a_ridge_function_has_one_active_direction() -> None:
    x, gradient, y = ridge(128)
    spread = np.full(3, 1.0 / math.sqrt(3.0))
    found = derivative.active_subspace(x, gradient, y, np.zeros(3), spread)
    assert (found.dimension, found.clear) == (1, True)
    along = np.array([0.7, 0.3, 0.0]) / math.hypot(0.7, 0.3)
    np.testing.assert_allclose(found.vectors[:, 0], along, atol=1e-8)
    np.testing.assert_allclose(found.error.value[0], 0.0, atol=1e-7)
    np.testing.assert_allclose(found.active[:, 0], math.sqrt(3.0) * x @ along, atol=1e-8)
    # closed form: lambda = |w|^2 E[y^2] / 3, and activity = lambda w_i^2 / Var(y)
    mean = math.sinh(0.7) / 0.7 * math.sinh(0.3) / 0.3
    square = math.sinh(1.4) / 1.4 * math.sinh(0.6) / 0.6
    eigenvalue = (0.49 + 0.09) * square / 3.0
    score = np.array([0.49, 0.09, 0.0]) * square / 3.0 / (square - mean**2)
    inside(Estimate(*(v[:1] for v in found.eigenvalues)), np.array([eigenvalue]))
    inside(found.result.estimates["activity"], score, slack=1e-12)


def test_all_activity_together_is_the_scaled_dgsm() -> None:
    x = sample(ISHIGAMI, 256, 1)
    spread = np.array([of.sd for of in ISHIGAMI])
    arguments = x, d_ishigami(x), ishigami(x)
    found = derivative.active_subspace(*arguments, np.zeros(3), spread, dimension=3)
    scaled = derivative.dgsm(*arguments, ISHIGAMI).estimates["nu_scaled"]
    np.testing.assert_allclose(found.result.estimates["activity"].value, scaled.value, rtol=1e-12)
    assert (found.error.high <= 1.0 + 1e-12).all()


def test_a_resampled_interval_holds_the_truth_as_often_as_it_says() -> None:
    distributions = [
        Distribution("a", "uniform", 0.0, 1.0),
        Distribution("b", "normal", -8.0, 8.0, 0.0, 1.0),
    ]
    truth = {"nu": np.array([4.0 / 3.0, 1.0]), "ST_bound": np.array([4.0 / 3.0 / math.pi**2, 1.0])}
    truth["ST_bound"] /= 4.0 / 45.0 + 1.0  # f = a^2 + b
    held = {name: np.zeros(2) for name in truth}
    repeats = 300
    for seed in range(repeats):
        x = sample(distributions, 120, seed, "random")
        gradient = np.stack([2.0 * x[:, 0], np.ones(120)], axis=1)
        y = x[:, 0] ** 2 + x[:, 1]
        result = derivative.dgsm(x, gradient, y, distributions, resamples=200, seed=seed)
        for name, value in truth.items():
            low, high = result.estimates[name].low, result.estimates[name].high
            held[name] += (low - 1e-12 <= value) & (value <= high + 1e-12)
    for count in (held["nu"][0], *held["ST_bound"]):
        assert 0.90 <= count / repeats <= 0.985


# Indices without derivatives.


def test_sobol_indices_of_ishigami_are_found() -> None:
    design = variance.sobol_design(ISHIGAMI, 2048, 1, second=True)
    result = variance.sobol(design, ishigami(design.x))
    for name, truth in zip(("S1", "ST", "S2"), ishigami_indices(), strict=False):
        inside(result.estimates[name], truth)
        np.testing.assert_allclose(result.estimates[name].value, truth, atol=0.03)
    assert result.n_runs == 2048 * 8
    table = result.table("y", "c", 8000, list("abc"))
    assert table[table["index"] == "S2"]["parameter"].tolist() == ["a:b", "a:c", "b:c"]


def test_sobol_indices_of_sobol_g_are_found() -> None:
    design = variance.sobol_design(UNIT, 2048, 5)
    result = variance.sobol(design, sobol_g(design.x))
    first, total, _ = sobol_g_indices()
    inside(result.estimates["S1"], first)
    inside(result.estimates["ST"], total)
    assert result.n_runs == 2048 * 8
    assert "S2" not in result.estimates


def test_sobol_intervals_are_the_same_for_the_same_seed() -> None:
    design = variance.sobol_design(UNIT, 64, 0)
    one, two = (variance.sobol(design, sobol_g(design.x), seed=0) for _ in range(2))
    np.testing.assert_array_equal(one.estimates["ST"].low, two.estimates["ST"].low)


def test_morris_sees_lines_interactions_and_what_does_nothing() -> None:
    design = variance.morris_design(UNIT, 40, 1)
    x = design.x
    y = 3.0 * x[:, 0] - 2.0 * x[:, 1] + 8.0 * (x[:, 2] - 0.5) * (x[:, 3] - 0.5)
    result = variance.morris(design, y)
    effects, sigma = result.estimates["mu_star"], result.estimates["sigma"]
    np.testing.assert_allclose(effects.value[[0, 1, 4, 5]], [3.0, 2.0, 0.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(sigma.value[[0, 1, 4, 5]], 0.0, atol=1e-6)
    # |x - 0.5| is 0.15 or 0.45 with equal chance
    inside(Estimate(*(v[2:4] for v in effects)), np.full(2, 8.0 * 0.3))
    assert (sigma.value[2:4] > 2.0).all()
    assert np.ptp(result.estimates["mu"].value[[2, 3]]) < 3.0
    assert result.n_runs == 40 * 7


def test_morris_agrees_with_salib() -> None:
    from SALib.analyze.morris import analyze

    design = variance.morris_design(ISHIGAMI, 30, 2)
    y = ishigami(design.x)
    ours = variance.morris(design, y).estimates
    problem = {"num_vars": 3, "names": list("abc"), "bounds": [[0.0, 1.0]] * 3}
    theirs = analyze(problem, design.unit, y, num_levels=variance.LEVELS, seed=1)
    step = 1.0 - 2.0 * variance.EDGE  # SALib takes the step for one from end to end
    for name in ("mu", "mu_star", "sigma"):
        np.testing.assert_allclose(ours[name].value * step, np.asarray(theirs[name]), rtol=1e-9)


@pytest.mark.parametrize("method", ["morris", "sobol"])
def test_a_group_with_a_failed_run_is_left_out_and_counted(method: str) -> None:
    make = getattr(variance, f"{method}_design")
    design = make(UNIT, 16, 3)
    y = sobol_g(design.x)
    broken = y.copy()
    broken[[1, 2, 3 * design.size]] = np.nan
    result = getattr(variance, method)(design, broken)
    assert result.dropped == 2 * design.size
    assert result.n_runs == 14 * design.size
    kept = np.ones(16, bool)
    kept[[0, 3]] = False
    rows = np.repeat(kept, design.size)
    without = variance.Design(design.unit[rows], design.x[rows], design.size)
    again = getattr(variance, method)(without, y[rows])
    for name, estimate in result.estimates.items():
        np.testing.assert_array_equal(estimate.value, again.estimates[name].value)


def every_method(y_of: Callable[[np.ndarray], np.ndarray]) -> dict[str, Result]:
    x = sample(NORMAL, 32, 1)
    flat = np.zeros_like(x)
    spread = np.array([of.sd for of in NORMAL])
    found = {
        "dgsm": derivative.dgsm(x, flat, y_of(x), NORMAL),
        "subspace": derivative.active_subspace(x, flat, y_of(x), 0.0 * spread, spread).result,
        "shapley": shapley(Copula.of_distributions(NORMAL), x, y_of(x), flat).result,
    }
    for method in ("morris", "sobol"):
        design = getattr(variance, f"{method}_design")(NORMAL, 8, 1)
        found[method] = getattr(variance, method)(design, y_of(design.x))
    return found


def test_a_constant_output_has_no_indices_and_says_so() -> None:
    for result in every_method(lambda x: np.full(len(x), 3.7)).values():
        assert result.constant
        assert result.note == indices.CONSTANT
        assert all(np.isnan(estimate).all() for estimate in result.estimates.values())


def test_a_few_runs_that_hold_the_variance_are_told() -> None:
    design = variance.sobol_design(ISHIGAMI, 64, 0)
    y = ishigami(design.x)
    assert variance.sobol(design, y).note == ""
    y[:3] = 1e4
    assert "3 of 320 runs are outlying" in variance.sobol(design, y).note
    x = design.x[:200]
    assert "3 of 200 runs" in derivative.dgsm(x, d_ishigami(x), y[:200], ISHIGAMI).note
    assert not indices.outlying(np.array([1.0, 1.0, 1.0, 1.0, 9.0])).any()


def test_runs_that_all_failed_leave_nothing_to_say() -> None:
    for result in every_method(lambda x: np.full(len(x), np.nan)).values():
        assert not result.constant
        assert result.note.startswith(indices.TOO_FEW)
        assert (result.n_runs, result.dropped > 0) == (0, True)
        assert all(np.isnan(estimate).all() for estimate in result.estimates.values())


def test_failed_runs_are_left_out_of_derivatives_and_counted() -> None:
    x = sample(ISHIGAMI, 64, 1)
    y, gradient = ishigami(x), d_ishigami(x)
    expected = derivative.dgsm(x[2:], gradient[2:], y[2:], ISHIGAMI)
    y[0], gradient[1, 2] = np.nan, np.inf
    found = derivative.dgsm(x, gradient, y, ISHIGAMI)
    assert (found.n_runs, found.dropped) == (62, 2)
    np.testing.assert_array_equal(found.estimates["nu"].value, expected.estimates["nu"].value)


# Shapley effects.


def linear_effects(slope: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Shapley effects of a line of Gaussian inputs, from conditional variances of all subsets."""
    k = len(slope)
    known = np.zeros(2**k)
    for subset in range(1, 2**k):
        own = [i for i in range(k) if subset >> i & 1]
        cross = covariance[own] @ slope
        known[subset] = cross @ np.linalg.solve(covariance[np.ix_(own, own)], cross)
    share = np.zeros(k)
    for order in itertools.permutations(range(k)):
        have = 0
        for i in order:
            share[i] += known[have | 1 << i] - known[have]
            have |= 1 << i
    return share / math.factorial(k) / known[-1]


def pair_effects(a: float, b: float, rho: float) -> np.ndarray:
    """Owen & Prieur (2017), section 4.1: a and b are slope times standard deviation."""
    shared = 0.5 * rho**2 * (a**2 - b**2)
    first = np.array([a**2 + rho * a * b - shared, b**2 + rho * a * b + shared])
    return first / (a**2 + b**2 + 2.0 * rho * a * b)


RHO = 0.8
CORRELATED = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, RHO], [0.0, RHO, 1.0]])


def test_the_closed_forms_of_correlated_lines_agree() -> None:
    covariance = np.array([[1.0, -0.6], [-0.6, 4.0]])
    expected = linear_effects(np.array([2.0, 0.5]), covariance)
    np.testing.assert_allclose(pair_effects(2.0, 1.0, -0.3), expected, rtol=1e-12)


@pytest.mark.parametrize("rho", [-0.9, 0.0, 0.5, 0.99])
def test_shapley_effects_of_two_correlated_inputs(rho: float) -> None:
    copula = Copula.of_distributions(NORMAL[:2], np.array([[1.0, rho], [rho, 1.0]]))
    x = copula.sample(64, 1)
    slope = np.array([2.0, 0.5])
    found = shapley(copula, x, x @ slope, np.tile(slope, (64, 1)))
    expected = pair_effects(2.0, 0.75, rho)
    np.testing.assert_allclose(found.result.estimates["shapley"].value, expected, atol=1e-4)
    assert found.explained == pytest.approx(1.0, abs=1e-6)
    assert "explains 1.000 of the variance of unseen runs" in found.result.note


@pytest.mark.parametrize("with_gradient", [True, False])
def test_shapley_effects_from_posterior_draws(with_gradient: bool) -> None:
    # Iooss & Prieur (2019), section 4.1: the first of three inputs stands alone
    spread = np.array([1.0, 1.5, 0.7])
    covariance = CORRELATED * np.outer(spread, spread)
    draws = np.random.default_rng(1).multivariate_normal([1.0, 2.0, 3.0], covariance, 4000)
    posterior = Posterior(("a", "b", "c"), draws)
    slope = np.array([1.0, 1.0, 2.0])
    x = posterior.sample(200, 1)
    gradient = np.tile(slope, (200, 1)) if with_gradient else None
    found = shapley(Copula.of_draws(posterior), x, x @ slope, gradient)
    value = found.result.estimates["shapley"].value
    np.testing.assert_allclose(value, linear_effects(slope, covariance), atol=0.015)
    assert value.sum() == pytest.approx(1.0, abs=1e-9)
    assert found.explained > 0.99


def test_shapley_effects_of_a_curved_function_of_correlated_inputs() -> None:
    # f = a^2 + b of standard normal inputs with correlation r: Var E[f | a] = 2 + r^2,
    # Var E[f | b] = 1 + 2 r^4, Var f = 3
    r = 0.6
    distributions = [Distribution(name, "normal", -9.0, 9.0, 0.0, 1.0) for name in "ab"]
    copula = Copula.of_distributions(distributions, np.array([[1.0, r], [r, 1.0]]))
    x = copula.sample(100, 2)
    gradient = np.stack([2.0 * x[:, 0], np.ones(100)], axis=1)
    found = shapley(copula, x, x[:, 0] ** 2 + x[:, 1], gradient)
    first = (2.0 + r**2 + 3.0 - (1.0 + 2.0 * r**4)) / 6.0
    np.testing.assert_allclose(
        found.result.estimates["shapley"].value, [first, 1.0 - first], atol=1e-3
    )


def test_shapley_effects_through_curved_marginals() -> None:
    # the logarithm of lognormal inputs is a line of their normal scores
    distributions = [
        Distribution(name, "lognormal", 1e-6, 1e6, 2.0, s) for name, s in (("a", 0.5), ("b", 1.0))
    ]
    copula = Copula.of_distributions(distributions, np.array([[1.0, 0.7], [0.7, 1.0]]))
    x = copula.sample(100, 3)
    found = shapley(copula, x, np.log(x) @ [1.0, 2.0], np.array([1.0, 2.0]) / x)
    np.testing.assert_allclose(
        found.result.estimates["shapley"].value, pair_effects(0.5, 2.0, 0.7), atol=2e-3
    )


def test_random_orders_agree_with_all_subsets(monkeypatch: pytest.MonkeyPatch) -> None:
    from sensitivity import shapley as module

    random = np.random.default_rng(3)
    distributions = [Distribution(f"x{i}", "normal", -9.0, 9.0, 0.0, 1.0) for i in range(8)]
    root = random.normal(size=(8, 8))
    size = np.sqrt(np.diag(root @ root.T))
    copula = Copula.of_distributions(distributions, root @ root.T / np.outer(size, size))
    x = copula.sample(60, 1)
    slope = random.normal(size=8)
    y, gradient = x @ slope + x[:, 0] * x[:, 1], np.tile(slope, (60, 1))
    gradient[:, :2] += x[:, 1::-1]
    exact = shapley(copula, x, y, gradient, resamples=5)
    monkeypatch.setattr(module, "MOST_EXACT", 0)
    random_orders = shapley(copula, x, y, gradient, resamples=5, orders=2000)
    np.testing.assert_allclose(
        random_orders.result.estimates["shapley"].value,
        exact.result.estimates["shapley"].value,
        atol=0.01,
    )


def test_a_surrogate_that_explains_too_little_is_refused() -> None:
    copula = Copula.of_distributions(ISHIGAMI)
    x = copula.sample(256, 1)
    found = shapley(copula, x, ishigami(x), d_ishigami(x))
    assert found.explained < 0.9
    assert "less than 0.9" in found.result.note
    assert np.isnan(found.result.estimates["shapley"].value).all()


def test_too_few_runs_for_the_surrogate_are_told() -> None:
    copula = Copula.of_distributions(NORMAL)
    x = copula.sample(12, 1)
    found = shapley(copula, x, x.sum(axis=1))
    assert (
        found.result.note == "too few runs are left to say anything: 12, 19 are needed for 3 inputs"
    )


def test_shapley_values_of_subsets_are_fair() -> None:
    # the glove game: one left glove (input 0) and two right ones; a pair is worth 1
    worth = np.array([0.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    np.testing.assert_allclose(from_subsets(worth), [2.0 / 3.0, 1.0 / 6.0, 1.0 / 6.0])


# The table.


def test_rows_have_one_form_for_all_methods() -> None:
    value = np.array([0.5, 0.6])
    result = Result("dgsm", {"nu": Estimate(value, np.zeros(2), np.ones(2))}, 9)
    table = result.table("y", "c", None, ["a", "b"])
    assert tuple(table.columns) == indices.COLUMNS
    assert table["year"].isna().all()
    assert table["year"].dtype == "Int64"
    assert table["value"].tolist() == [0.5, 0.6]
    exact = Result.exact("local", {"derivative": value}, 1).table("y", "c", 8000, ["a", "b"])
    assert exact["year"].tolist() == [8000, 8000]
    assert exact["low"].tolist() == exact["high"].tolist() == [0.5, 0.6]
