"""Calibration on a small case whose truth is known."""

from __future__ import annotations

import dataclasses
import shlex
import warnings

import arviz as az
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from calibration import depth, fitting, identifiability, prediction, report, saved_fit, store
from calibration.methods import MAP, Laplace, Surrogate, climbing, importance, nuts, surrogate
from calibration.methods import mode as approximation
from calibration.methods.climbing import by_runs
from calibration.methods.posterior import Draws
from calibration.methods.surrogate import fitted
from calibration.operator import Operator
from calibration.priors import Priors, Transform
from calibration.problem import Problem
from calibration.transfer import predict_case, transfer
from diffsoil.cases import Case, load_case
from diffsoil.column import standard_column
from diffsoil.io import InputError
from diffsoil.options import Existing
from diffsoil.parameters import UNIFORM, Parameter, lognormal, normal
from diffsoil.processes.pores import PrescribedPores
from diffsoil.work.checkpoints import Checkpoints
from tests import tiny_case

# NumPyro and optax mix float types inside
pytestmark = [pytest.mark.mixed_types, pytest.mark.usefixtures("each_picture_once")]

FREE = """
[free."protection.b1"]

[free."vegetation.input_factor.crop"]

[free."manure.factor"]

[observations]
files = ["observations.csv"]
keep_out = ["hill"]
"""
HEADER = (
    "site,treatment,year,variable,upper_cm,lower_cm,value,sd,unit,estimated,basis,"
    "soil_mass_Mg_ha,source,series,method\n"
)
TRUTH = {
    "carbon.k_hum": 0.025,
    "protection.b1": 0.75,
    "vegetation.input_factor.crop": 1.3,
    "manure.factor": 0.8,
    "observation.error.field": 0.01,
}


def observation(**changes: object) -> str:
    row: dict[str, object] = {
        "site": "field", "treatment": "control", "year": 1905, "variable": "soc_stock",
        "upper_cm": 0, "lower_cm": 25, "value": 40, "sd": "", "unit": "Mg C/ha", "estimated": 0,
        "basis": "fixed_depth", "soil_mass_Mg_ha": "", "source": "test", "series": "field",
        "method": "",
    }  # fmt: skip
    return ",".join(str(v) for v in (row | changes).values()) + "\n"


def rows() -> list[str]:
    years = range(1900, 1912)
    fitted = [
        observation(year=y, treatment=t)
        for t in ("control", "manured", "compacted")
        for y in years
        if (y + len(t)) % 2
    ]
    percent = [
        observation(year=y, variable="soc_percent", unit="%", value=1.2, soil_mass_Mg_ha=3100)
        for y in (1903, 1909)
    ]
    deep = [observation(year=1911, upper_cm=25, lower_cm=60, value=30)]
    mass = [
        observation(
            year=1910,
            treatment="manured",
            lower_cm=30,
            basis="equivalent_mass",
            soil_mass_Mg_ha=3000,
        )
    ]
    hill = [
        observation(site="hill", treatment="cleared", year=y, series="hill", sd=2, value=60)
        for y in (1905, 1910)
    ]
    guess = [observation(year=1900, treatment="compacted", estimated=1, value=500)]
    return fitted + percent + deep + mass + hill + guess


def write_case(folder, observations: list[str], whole: bool = False, **changes):
    """The tiny case with observations; with both phases of its history where asked for."""
    case = tiny_case.write(folder, **changes)
    text = case.read_text()
    case.write_text((text if whole else tiny_case.with_one_phase(text)) + FREE)
    (folder / "observations.csv").write_text(HEADER + "".join(observations))
    return case


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A case whose observations are those of the true parameters with 1 % of noise."""
    folder = tmp_path_factory.mktemp("case")
    path = write_case(folder, rows(), whole=True)
    problem = Problem(path)
    x = np.array([TRUTH[name] for name in problem.names])
    predicted = prediction.predict_draws(problem, x[None]).latent[0]
    table = pd.read_csv(folder / "observations.csv")
    noise = np.random.default_rng(5).standard_normal(len(table))
    real = table["estimated"] == 0
    table["value"] = np.where(real, predicted * (1 + 0.01 * noise), table["value"])
    table.to_csv(folder / "observations.csv", index=False)
    return path


@pytest.fixture(scope="module")
def problem(case):
    return Problem(case)


@pytest.fixture(scope="module")
def best(problem):
    (start,) = approximation.starting(problem, 1, 0)
    return approximation.search(problem.value_and_gradient(), start.mean, report=silent)


@pytest.fixture(scope="module")
def laplace(problem, best):
    return approximation.laplace(problem.value_and_gradient(), best.z)


CHAINS = nuts.NUTS(chains=2, warmup=150, draws=1200)
QUICK = Laplace.sized(quick=True)


@pytest.fixture(scope="module")
def sampled(problem, laplace):
    sampler = nuts.Sampler(problem.posterior, laplace, CHAINS, seed=3)
    return sampler.run(Checkpoints(None), lambda line: None)


def parameter(prior, lower=0.0, upper=1.0, default=0.5) -> Parameter:
    return Parameter("p.q", default, "1", lower, upper, prior, "test", "test")


PARAMETERS = [
    parameter(UNIFORM),
    parameter(normal(0.2, 0.3)),
    parameter(lognormal(0.5, 0.7), lower=0.1, upper=5.0),
    parameter(lognormal(1.0, 0.5), upper=float("inf")),
]


@pytest.mark.parametrize("p", PARAMETERS, ids=str)
def test_priors_are_densities_within_the_bounds(p):
    priors = Priors([p])
    x = jnp.linspace(max(p.lower, 1e-6), min(p.upper, 40.0), 40001)
    density = np.exp(jax.jit(jax.vmap(lambda v: priors.log_density(v[None])))(x))
    assert np.trapezoid(density, x) == pytest.approx(1.0, abs=2e-3)
    draws = np.asarray(priors.sample(jax.random.key(0), 500))
    assert np.all((draws >= p.lower) & (draws <= p.upper))
    below = integrate.cumulative_trapezoid(density, x, initial=0.0)
    assert stats.kstest(draws[:, 0], lambda v: np.interp(v, x, below)).pvalue > 0.01


@eqx.filter_jit
def log_volume(function, z):
    """Logarithm of how a function changes volumes, by its derivative."""

    def values(z):
        return function(z)

    return jnp.linalg.slogdet(jax.jacfwd(values)(z))[1]


def test_transform_and_its_inverse_cancel_and_the_jacobian_is_its_derivative():
    transform = Transform(PARAMETERS)
    z = jnp.asarray([-1.0, 0.3, 2.0, 0.7])
    there_and_back = jax.jit(lambda z: transform.inverse(transform.forward(z)))
    np.testing.assert_allclose(there_and_back(z), z, rtol=1e-12)
    derivative = log_volume(transform.forward, z)
    log_jacobian = eqx.filter_jit(transform.log_jacobian)(z)
    assert float(log_jacobian) == pytest.approx(float(derivative), abs=1e-12)


def test_sheared_coordinates_invert_and_keep_volumes(problem):
    z = jnp.asarray(np.random.default_rng(1).standard_normal(len(problem.names)))
    coordinates = problem.reparameterization
    x = eqx.filter_jit(coordinates.bounded)(z)
    np.testing.assert_allclose(eqx.filter_jit(coordinates.unbounded)(x), z, rtol=1e-10)
    derivative = log_volume(coordinates.bounded, z)
    log_jacobian = eqx.filter_jit(coordinates.log_jacobian)(z)
    assert float(log_jacobian) == pytest.approx(float(derivative), abs=1e-10)


def operator(**changes) -> Operator:
    fields = {
        "member": jnp.zeros(1, int),
        "year": jnp.zeros(1, int),
        "weights": jnp.asarray([[1.0, 0.5, 0.0]]),
        "mineral_mass": jnp.asarray([[1000.0, 1200.0, 1300.0]]),
        "sampled_mass": jnp.ones(1),
        "by_mass": jnp.zeros(1, bool),
        "variable": jnp.zeros(1, int),
        "needs_radiocarbon": False,
    }
    return Operator(**(fields | changes))


SOC = {"soc": jnp.asarray([[[20.0, 10.0, 5.0]]])}


def test_a_stock_counts_layers_by_their_overlap():
    assert float(operator()(SOC)[0]) == pytest.approx(25.0)


def test_a_sampled_mass_counts_soil_with_its_organic_matter():
    first, second = 1000.0 + 1.724 * 20, 1200.0 + 1.724 * 10
    by_mass = operator(by_mass=jnp.ones(1, bool), sampled_mass=jnp.asarray([first + second / 4]))
    assert float(by_mass(SOC)[0]) == pytest.approx(22.5)


def test_percent_is_carbon_in_the_soil_that_was_weighed():
    mass = 1000.0 + 1.724 * 20 + 0.5 * (1200.0 + 1.724 * 10)
    assert float(operator(variable=jnp.ones(1, int))(SOC)[0]) == pytest.approx(100 * 25 / mass)


def test_the_gradient_of_the_posterior_is_that_of_finite_differences(problem):
    function = problem.value_and_gradient()
    # off the defaults, where two protection mechanisms tie and the hard minimum has a kink
    z = jnp.asarray(problem.unbounded(np.array([TRUTH[name] for name in problem.names])) + 0.1)
    gradient = np.asarray(function(z)[1])
    step = 1e-5
    for i in range(z.size):
        shift = jnp.zeros_like(z).at[i].set(step)
        difference = (function(z + shift)[0] - function(z - shift)[0]) / (2 * step)
        assert float(difference) == pytest.approx(gradient[i], rel=1e-5, abs=1e-5)


def test_estimated_and_kept_out_observations_do_not_move_the_posterior(problem):
    fitted = problem.table["fitted"]
    assert not fitted[problem.table["estimated"] == 1].any()
    assert not fitted[problem.table["series"] == "hill"].any()
    z = jnp.asarray(problem.unbounded(np.asarray(problem.defaults)))
    value, _ = problem.value_and_gradient()(z)
    moved = Problem(problem.case)
    odd = jnp.where(jnp.asarray(~fitted.to_numpy()), 1e6, moved.errors.value)
    object.__setattr__(moved.errors, "value", odd)
    other, _ = moved.value_and_gradient()(z)
    assert float(value) == float(other)


def test_the_spectrum_knows_of_the_inputs_what_a_few_runs_tell_of_them(problem):
    inputs = ["vegetation.input_factor.crop", "manure.factor"]
    at = [problem.names.index(name) for name in inputs]
    x = np.array([TRUTH[name] for name in problem.names])
    # carbon is linear in its inputs, but percent count it in the soil too: a small step
    more = [np.where(np.arange(len(x)) == i, 1.001 * x, x) for i in at]
    found = prediction.predict_draws(problem, np.stack([x, *more]))
    transform = problem.reparameterization.transform
    slope = jax.jacfwd(transform.forward)(transform.inverse(jnp.asarray(x)))
    prior = problem.priors.sample(jax.random.key(0), identifiability.PRIOR_DRAWS)
    wide = np.std(np.asarray(jax.vmap(transform.inverse)(prior)), axis=0)
    gained = (found.expected[1:] - found.expected[0]) / (0.001 * x[at][:, None])
    gained *= (np.diag(slope) * wide)[at, None] / found.sd[0]
    gained = gained[:, problem.table["fitted"]]
    told = identifiability.spectrum(problem, x)
    loadings = told[inputs].to_numpy()
    information = loadings.T @ (told["eigenvalue"].to_numpy()[:, None] * loadings)
    np.testing.assert_allclose(information, gained @ gained.T, rtol=1e-4)


def test_a_series_that_is_kept_out_is_as_far_off_as_the_fitted_ones(problem):
    x = jnp.asarray([TRUTH[name] for name in problem.names])
    expected = jnp.full(len(problem.table), 50.0)
    spread = problem.likelihood.spread(x, expected)
    hill = (problem.table["series"] == "hill").to_numpy()
    np.testing.assert_allclose(spread.scatter, 0.01 * 50)
    np.testing.assert_allclose(spread.total[hill], np.hypot(2.0, 0.01 * 50))
    assert "the mean fitted relative part of other series" in problem.errors.texts[-2]


def test_a_series_that_is_kept_out_may_have_an_error_of_its_own_stated(case, tmp_path):
    for file in case.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / case.name
    path.write_text(path.read_text() + "[observations.errors.hill]\ntypical = 0.2\n")
    problem = Problem(path)
    assert "observation.error.hill" not in problem.names
    hill = (problem.table["series"] == "hill").to_numpy()
    expected = jnp.full(len(problem.table), 50.0)
    scatter = problem.likelihood.spread(problem.defaults, expected).scatter
    np.testing.assert_allclose(scatter[hill], 0.2 * 50)
    np.testing.assert_allclose(scatter[~hill], 0.05 * 50)
    assert "an assumed relative part of 0.2" in problem.errors.texts[-2]


def test_a_search_that_starts_nowhere_finite_is_refused(problem, monkeypatch):
    nowhere = approximation.Maximum(np.zeros(1), np.nan, np.nan, 1)
    monkeypatch.setattr(approximation, "search", lambda *_, **__: nowhere)
    monkeypatch.setattr(approximation, "simulate", lambda *_: None)
    with pytest.raises(InputError, match="no start of the search has a finite density"):
        approximation.by_gradients(problem, approximation.starting(problem, 2, 0), silent)


def test_the_best_fit_comes_back_to_the_truth_from_far_away(problem, best):
    _, far = approximation.starting(problem, 2, 7)
    again = approximation.search(problem.value_and_gradient(), far.mean, report=silent)
    assert again.value == pytest.approx(best.value, abs=0.05)
    x = problem.bounded(np.asarray(best.z))
    truth = np.array([TRUTH[name] for name in problem.names])
    predicted, expected = prediction.predict_draws(problem, np.stack([x, truth])).latent
    np.testing.assert_allclose(predicted, expected, rtol=0.02)


@pytest.mark.slow
def test_runs_alone_find_the_same_best_fit_and_the_same_width(problem, best, laplace):
    found = by_runs(problem, approximation.starting(problem, 3, 7), silent)
    value, _ = problem.value_and_gradient()(jnp.asarray(found.normal.mean))
    assert float(value) == pytest.approx(best.value, abs=0.05)
    assert found.worse.max() < 0.1
    assert 3 * 9 < found.runs < 3 * 150
    wider = np.sqrt(np.diag(found.normal.covariance) / np.diag(laplace.covariance))
    shelf = problem.names.index("protection.b1")
    np.testing.assert_allclose(np.delete(wider, shelf), 1.0, atol=0.2)
    # beyond a value of b1 another mechanism is the least, and the posterior falls no more
    assert 1.6 < wider[shelf] < 5.0


def test_a_climb_goes_back_from_where_the_column_has_no_answer(problem, best, monkeypatch):
    limit, without_answer = float(best.z[0]) + 0.3, []
    predict = prediction.predict_draws

    def lost(problem, x, report):
        found = predict(problem, x, report)
        beyond = problem.unbounded(np.asarray(x))[:, 0] > limit
        without_answer.append(int(beyond.sum()))
        return found._replace(latent=np.where(beyond[:, None], np.nan, found.latent))

    monkeypatch.setattr(climbing.prediction, "predict_draws", lost)
    (start,) = approximation.starting(problem, 1, 0)
    found = by_runs(problem, [start], silent)
    value, _ = problem.value_and_gradient()(jnp.asarray(found.normal.mean))
    assert sum(without_answer) > 0
    assert float(value) == pytest.approx(best.value, abs=0.1)


def test_more_chains_than_devices_is_an_error_not_a_silent_queue(problem, laplace):
    with pytest.raises(RuntimeError, match="side by side"):
        nuts.Sampler(problem.posterior, laplace, nuts.NUTS(chains=9), seed=0)


@pytest.fixture(scope="module")
def fit(case, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits") / "fit"
    fitting.calibrate_case(case, folder, QUICK)
    return folder


def test_a_fit_folder_holds_everything(fit):
    names = {p.name for p in fit.iterdir()}
    assert {"posterior.nc", "summary.csv", "checks.csv", "report.html", "case.toml"} <= names
    tree = store.read_posterior(fit)
    groups = {"posterior", "prior", "posterior_predictive", "log_likelihood", "observed_data"}
    assert groups <= set(tree.children)


def test_a_fit_opens_in_arviz_without_our_code(fit):
    with az.from_netcdf(fit / "posterior.nc") as opened:
        tree = opened.load()
    ours = pd.read_csv(fit / "predictions.csv")
    fitted = np.flatnonzero(ours["fitted"])
    means = az.summary(tree, kind="stats", round_to="none")["mean"]
    own = pd.read_csv(fit / "summary.csv", index_col="parameter")["mean"]
    np.testing.assert_allclose(means[own.index].astype(float), own, rtol=1e-6)
    assert tree["posterior"]["carbon.k_hum"].attrs["units"] == "a-1"
    assert tree.attrs["title"]
    # each observation, by the row that it has in predictions.csv
    rows = tree["constant_data"].to_dataset()
    for name in ("treatment", "variable", "upper_cm", "lower_cm"):
        assert rows[name].to_numpy().tolist() == ours[name].tolist()
    np.testing.assert_array_equal(tree["observed_data"]["observation"], ours["value"])
    measured = tree["posterior_predictive"]["observation"].mean(["chain", "draw"])
    np.testing.assert_allclose(measured, ours["mean"], rtol=1e-9)
    # leaving one out, and where it then lies in its prediction
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        left_out = az.loo(tree, pointwise=True)
        places = az.loo_pit(tree, var_names="fitted_observation")["fitted_observation"]
    np.testing.assert_array_equal(left_out.pareto_k["fitted_obs"], fitted)
    terms = tree["log_likelihood"]["fitted_observation"]
    assert left_out.elpd < float(terms.mean(["chain", "draw"]).sum())
    np.testing.assert_array_equal(places["fitted_obs"], fitted)
    assert ((places > 0) & (places < 1)).all()
    picture = az.plot_ppc_dist(tree, var_names="observation", num_samples=5, backend="none")
    assert "observation" in picture.viz["observed_dist"]


def test_the_command_of_a_report_names_a_case_that_is_there_with_all_its_files(fit):
    kept = saved_fit.load(fit)
    words = shlex.split(report.command(kept.settings))
    again = load_case(words[words.index("calibrate") + 1].replace("FIT", str(fit)))
    assert again.text == kept.text
    assert again.resolve("observations.csv").parent == fit


def test_the_profile_of_each_draw_is_kept(fit):
    found = pd.read_csv(fit / "profile.csv")
    every = found[found["pool"] == depth.ALL]
    drawn = store.read_posterior(fit)["posterior_predictive"]["profile"]
    assert drawn.dims == ("chain", "draw", "treatment", "layer")
    np.testing.assert_allclose(drawn.mean(["chain", "draw"]).to_numpy().ravel(), every["mean"])
    q95 = np.quantile(drawn.to_numpy(), 0.95, axis=(0, 1)).ravel()
    np.testing.assert_allclose(q95, every["q95"])


def test_the_pools_of_a_profile_add_up_to_the_stock_of_the_topsoil(fit):
    found = pd.read_csv(fit / "profile.csv")
    by_pool = found[found["pool"] != depth.ALL].groupby(["treatment", "upper_cm"])["mean"].sum()
    every = found[found["pool"] == depth.ALL].set_index(["treatment", "upper_cm"])["mean"]
    np.testing.assert_allclose(by_pool[every.index], every, rtol=1e-9)
    last = store.read_posterior(fit)["posterior_predictive"]["topsoil"].isel(year=-1)
    stock = float(last.sel(treatment="manured").mean())  # 25 cm are two and a half layers
    layers = every.loc["manured"].sort_index().to_numpy()
    assert layers[:2].sum() + layers[2] / 2 == pytest.approx(stock, rel=1e-9)


def test_an_existing_fit_is_neither_overwritten_nor_touched_unasked(case, fit):
    before = {p.name: p.stat().st_mtime_ns for p in fit.iterdir()}
    with pytest.raises(InputError, match="exists already"):
        fitting.calibrate_case(case, fit, MAP(quick=True))
    assert before == {p.name: p.stat().st_mtime_ns for p in fit.iterdir()}


def test_a_run_is_not_resumed_with_other_settings(case, fit):
    with pytest.raises(InputError, match="seed was 0, is 9"):
        fitting.calibrate_case(case, fit, QUICK, seed=9, existing=Existing(resume=True))


def test_a_resumed_fit_is_the_same_fit(case, fit):
    before = (fit / "predictions.csv").read_bytes()
    fitting.calibrate_case(case, fit, QUICK, existing=Existing(resume=True))
    assert (fit / "predictions.csv").read_bytes() == before


def test_an_interrupted_overwrite_keeps_the_old_fit(case, fit, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    before = (fit / "summary.csv").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(approximation, "search", interrupted)
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            fitting.calibrate_case(case, fit, QUICK, existing=Existing(overwrite=True))
    assert (fit / "summary.csv").read_bytes() == before


def test_prediction_of_every_observation_with_ordered_quantiles(case, fit, tmp_path):
    output = tmp_path / "prediction.csv"
    predict_case(case, fit, output, draws=200)
    table = pd.read_csv(output)
    assert len(table) == len(rows())
    quantiles = table[["q05", "q25", "q50", "q75", "q95"]].to_numpy()
    assert (np.diff(quantiles, axis=1) >= 0).all()
    assert (table["sd"] >= table["latent_sd"] * 0.9).all()
    fitted = pd.read_csv(fit / "predictions.csv")["fitted"]
    np.testing.assert_array_equal(table["fitted"], fitted)
    assert fitted.sum() == len(rows()) - 3


def test_a_prediction_as_a_folder_is_scored_by_treatment_and_tells_its_parameters(
    case, fit, tmp_path
):
    folder = tmp_path / "predicted"
    predict_case(case, fit, folder, draws=200)
    table = pd.read_csv(folder / "predictions.csv", keep_default_na=False, na_values=[""])
    found = pd.read_csv(folder / "scores.csv").set_index(["treatment", "variable"])
    own = table[(table["treatment"] == "control") & (table["variable"] == "soc_stock")]
    error = own["mean"] - own["value"]
    row = found.loc[("control", "soc_stock")]
    assert row["n"] == len(own)
    assert row["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert row["bias"] == pytest.approx(error.mean())
    inside = (own["q05"] <= own["value"]) & (own["value"] <= own["q95"])
    assert row["coverage_90"] == pytest.approx(inside.mean())
    # a normal prediction of that mean and sd is about as dense
    normal = stats.norm.logpdf(own["value"], own["mean"], own["sd"])
    assert row["log_density"] == pytest.approx(normal.mean(), abs=0.3)
    parameters = pd.read_csv(folder / "parameters.csv").set_index("parameter")
    assert set(parameters.loc[list(fitted_names(fit)), "from"]) == {"fit"}
    page = (folder / "report.html").read_text()
    assert f"The 90 % intervals hold {inside_all(table)} of them" in page
    assert page.count("<img") == 3


def fitted_names(fit) -> list[str]:
    return [str(name) for name in pd.read_csv(fit / "summary.csv")["parameter"]]


def inside_all(table: pd.DataFrame) -> int:
    real = table[table["estimated"] == 0]
    return int(((real["q05"] <= real["value"]) & (real["value"] <= real["q95"])).sum())


# Another case.


@pytest.fixture
def elsewhere(tmp_path):
    """A way to write the case of another site, with observations of its own series."""

    def write(*changes: tuple[str, str], add: str = ""):
        mine = [observation(year=y, series="elsewhere") for y in (1903, 1909)]
        path = write_case(tmp_path, mine)
        text = path.read_text()
        for old, new in (('keep_out = ["hill"]\n', ""), *changes):
            assert old in text, old
            text = text.replace(old, new)
        path.write_text(text + add)
        return load_case(path)

    return write


def with_set(fit, text: str) -> saved_fit.Fit:
    """The fit as if its case had set something."""
    found = saved_fit.load(fit)
    return dataclasses.replace(found, text=f"{found.text}\n[set]\n{text}\n")


def test_what_a_fit_has_fixed_holds_in_another_case(fit, elsewhere):
    found = with_set(fit, '"carbon.k_rpm" = 0.25')
    carried = transfer(found, elsewhere())
    assert float(carried.column.values()["carbon.k_rpm"]) == 0.25
    assert "taken over from the fit: carbon.k_rpm = 0.25" in carried.notes
    same = transfer(found, elsewhere(add='[set]\n"carbon.k_rpm" = 0.25\n'))
    assert not any("k_rpm" in note for note in same.notes)
    with pytest.raises(InputError, match=r"carbon.k_rpm = 0.3, but the fit was made with 0.25"):
        transfer(found, elsewhere(add='[set]\n"carbon.k_rpm" = 0.3\n'))


def test_a_case_that_differs_from_that_of_the_fit_says_so(fit, elsewhere):
    found = with_set(fit, '"carbon.k_rpm" = 0.25')
    case = elsewhere(
        ('minimum = "hard"', 'minimum = "soft"'),
        add='[free."carbon.k_rpm"]\n[set]\n"carbon.k_dpm" = 9\n"manure.factor" = 0.9\n',
    )
    carried = transfer(found, case)
    assert "carbon.k_rpm" not in carried.free
    assert carried.notes == (
        "minimum: 'soft' here, 'hard' in the fit",
        "taken over from the fit: carbon.k_rpm = 0.25",
        "free in this case, fixed in the fit: carbon.k_rpm",
        "set in this case, drawn from the fit: manure.factor",
        "set in this case alone: carbon.k_dpm = 9 (the fit: 10)",
    )


def test_an_input_that_the_fit_does_not_know_is_drawn_and_one_that_it_knows_is_not(
    fit, elsewhere, tmp_path, capsys
):
    other = [('input_group = "crop"', 'input_group = "barley"'), ("{ crop =", "{ barley =")]
    other += [('[free."vegetation.input_factor.crop"]', "")]
    case = elsewhere(*other)
    carried = transfer(saved_fit.load(fit), case)
    factor = "vegetation.input_factor."
    assert factor + "barley" in carried.free
    assert factor + "yield" not in carried.free
    output = tmp_path / "prediction.csv"
    predict_case(case.path, fit, output, draws=60)
    assert f"drawn from their priors: {factor}barley\n" in capsys.readouterr().out
    table = pd.read_csv(output)
    assert not table["fitted"].any()
    assert (table["latent_sd"] > 0.1 * table["latent_mean"]).all()
    fixed = elsewhere(*other, add=f'[set]\n"{factor}barley" = 1.2\n')
    assert factor + "barley" not in transfer(saved_fit.load(fit), fixed).free


def test_a_new_series_is_as_far_off_as_the_fitted_ones_of_its_variable(fit, elsewhere):
    def error(case: Case) -> tuple[Problem, np.ndarray]:
        carried = transfer(saved_fit.load(fit), case)
        found = Problem(case, carried.column, carried.free, carried.known)
        x = found.defaults.at[found.names.index("observation.error.field")].set(0.013)
        return found, np.asarray(found.likelihood.spread(x, jnp.asarray([40.0, 40.0])).scatter)

    problem, scatter = error(elsewhere())
    assert "observation.error.elsewhere" not in problem.names
    np.testing.assert_allclose(scatter, 0.013 * 40)
    stated = elsewhere(add="[observations.errors.elsewhere]\ntypical = 0.2\n")
    np.testing.assert_allclose(error(stated)[1], 0.2 * 40)
    other = '[observations.errors.soc_stock]\nfitted = "absolute"\ntypical = 3.0\n'
    np.testing.assert_allclose(error(elsewhere(add=other))[1], 3.0)


WRONG = {
    "a unit mix-up": ({"variable": "soc_percent", "unit": "%", "value": 120}, "g/kg"),
    "a stock in kg": ({"value": 45000}, "outside"),
    "an interval upside down": ({"upper_cm": 30, "lower_cm": 10}, "upside down"),
    "below the profile": ({"lower_cm": 300}, "below the column"),
    "outside the history": ({"year": 1550}, "older than the history"),
    "a negative value": ({"value": -3}, "outside"),
    "a missing value": ({"value": "nan"}, "missing"),
    "no mass for equivalent mass": ({"basis": "equivalent_mass"}, "needs a mass"),
    "a mass heavier than the column": (
        {"basis": "equivalent_mass", "soil_mass_Mg_ha": 50000},
        "more than the whole column",
    ),
    "an unknown treatment": ({"treatment": "contrl"}, "did you mean 'control'"),
    "an unknown site": ({"site": "feild"}, "did you mean 'field'"),
    "an unknown variable": ({"variable": "soc_stok"}, "soc_stock"),
    "a wrong unit": ({"unit": "%"}, "is expected"),
    "sd of zero": ({"sd": 0}, "leave it empty"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_observation_is_one_line_with_file_and_field(wrong, tmp_path):
    changes, says = WRONG[wrong]
    rows_ = [observation(), observation(**({"year": 1907} | changes)), *rows()[-3:-1]]
    case = write_case(tmp_path, rows_)
    with pytest.raises(InputError) as error:
        Problem(case)
    message = str(error.value)
    assert says in message
    assert "observations.csv" in message
    assert "line 3" in message
    assert "\n" not in message


def test_a_column_without_pores_has_its_observations_in_the_same_soil(problem, tmp_path):
    less = [('minimum = "hard"', 'minimum = "hard"\nwithout = ["pores"]')]
    without = Problem(write_case(tmp_path, rows(), case=less))
    assert isinstance(without.column.process("pores"), PrescribedPores)
    np.testing.assert_array_equal(
        without.likelihood.operator.mineral_mass, problem.likelihood.operator.mineral_mass
    )


def test_a_second_value_of_the_same_thing_is_refused(tmp_path):
    case = write_case(tmp_path, [observation(), observation()])
    with pytest.raises(InputError, match="average replicates"):
        Problem(case)


def test_an_unknown_series_to_keep_out_suggests_the_nearest(tmp_path):
    case = write_case(tmp_path, [observation()])
    with pytest.raises(InputError, match="no series 'hill'"):
        Problem(case)


def test_a_column_with_other_input_groups_is_refused(tmp_path):
    case = write_case(tmp_path, rows())
    with pytest.raises(InputError, match="input groups"):
        Problem(case, standard_column(["plants"]))


STOOD_IN = Surrogate(chains=2, warmup=150, draws=200, runs=256, judged=80, rounds=4)


def silent(line: str) -> None:
    pass


class Killed(BaseException):
    """As sudden as a kill: nothing may catch it and tidy up."""


@pytest.fixture(scope="module")
def by_runs_alone(problem):
    return by_runs(problem, approximation.starting(problem, 1, 0), silent).normal


@pytest.fixture(scope="module")
def stood_in(problem, by_runs_alone):
    return STOOD_IN.draw(problem, by_runs_alone, 0, Checkpoints(None), silent)


@pytest.fixture(scope="module")
def weighted(problem, stood_in):
    """Draws of the stand-in by their weights: what is left of them is the posterior."""
    z = stood_in.z.reshape(-1, 5)
    target = np.asarray(jax.jit(jax.vmap(problem.posterior))(jnp.asarray(z)))
    weights = importance.weights(target, stood_in.log_proposal.ravel())
    assert weights.trusted
    assert weights.effective > 200
    # the runs that it brings along are those of its draws
    latent = stood_in.predicted.rows("log_likelihood")[:, problem.table["fitted"].to_numpy()]
    prior = np.asarray(jax.vmap(problem.posterior.log_prior)(jnp.asarray(z)))
    np.testing.assert_allclose(latent.sum(axis=1) + prior, target, rtol=1e-9)
    return problem.bounded(z)[importance.resampled(weights.weight, 400, 0)]


def test_the_posterior_covers_the_truth_and_narrows_the_input(problem, weighted):
    for i, name in enumerate(problem.names):
        low, high = np.quantile(weighted[:, i], [0.005, 0.995])
        assert low < TRUTH[name] < high, name
    prior = np.asarray(problem.priors.sample(jax.random.key(0), 2000))
    crop = problem.names.index("vegetation.input_factor.crop")
    assert weighted[:, crop].std() < 0.5 * prior[:, crop].std()


@pytest.mark.slow
def test_weighted_draws_of_the_stand_in_have_the_posterior_of_the_column(
    problem, weighted, sampled
):
    theirs = problem.bounded(sampled["z"]).reshape(-1, 5)
    # a ridge that chains are slow on: a mean of fewer draws than these says nothing
    assert az.ess(problem.bounded(sampled["z"])[..., problem.names.index("protection.b1")]) > 50
    sd = theirs.std(axis=0)
    assert np.abs((weighted.mean(axis=0) - theirs.mean(axis=0)) / sd).max() < 0.35
    assert np.abs(weighted.std(axis=0) / sd - 1).max() < 0.35


@pytest.mark.slow
def test_a_killed_surrogate_goes_on_and_ends_as_if_it_had_not_been(
    problem, by_runs_alone, stood_in, tmp_path
):
    lines = []

    def killing(line: str) -> None:
        lines.append(line)
        if line.startswith("round 1"):
            raise Killed

    with pytest.raises(Killed):
        STOOD_IN.draw(problem, by_runs_alone, 0, Checkpoints(tmp_path), killing)
    kept = len(list(tmp_path.glob("*/*.npz")))
    again = STOOD_IN.draw(problem, by_runs_alone, 0, Checkpoints(tmp_path, resume=True), silent)
    assert kept > 0
    np.testing.assert_array_equal(again.z, stood_in.z)
    np.testing.assert_array_equal(again.log_proposal, stood_in.log_proposal)


@pytest.mark.slow
def test_a_fit_by_the_default_method_says_what_its_draws_are_worth(problem, tmp_path):
    few = dataclasses.replace(STOOD_IN, quick=True, starts=2)
    found = fitting.calibrate_case(problem, tmp_path / "fit", few).set_index("check")
    assert found.loc["importance weights (Pareto k)", "value"] <= importance.TRUSTED
    assert found.loc["other best fits, of 2 searches", "passed"]
    assert found.loc["R-hat", "passed"]
    facts = store.read_json(tmp_path / "fit" / "facts.json")
    assert facts["runs"] >= few.runs + few.chains * few.draws
    tree = store.read_posterior(tmp_path / "fit")
    assert dict(tree["posterior"].sizes) == dict(tree["sampled"].sizes)
    summary = pd.read_csv(tmp_path / "fit" / "summary.csv", index_col="parameter")
    assert (summary["ess_bulk"] <= facts["effective"]).all()
    # its exact runs are in the posterior, and not kept twice
    assert not (tmp_path / "fit" / "surrogate").exists()


@pytest.mark.parametrize(
    ("effective", "k", "last", "good"),
    [
        (79.0, 0.3, False, False),  # another round does better
        (79.0, 0.3, True, True),
        (120.0, 0.3, False, True),
        (120.0, 0.6, False, False),  # no variance, where another round can have one
        (120.0, 0.6, True, True),
        (120.0, 0.75, True, False),
        (191.0, 0.75, False, True),  # a tail of nearly equal weights is chance: all draws decide
    ],
)
def test_a_round_ends_the_search_by_what_its_first_draws_are_worth(effective, k, last, good):
    weights = importance.Weights(np.zeros(200), k=k, effective=effective)
    assert surrogate.good_enough(weights, judged=200, last=last) == good


def test_where_polynomials_fail_the_column_itself_is_sampled(
    problem, laplace, tmp_path, monkeypatch
):
    def wrong(problem, runs, moved):
        polynomials, error = fitted(problem, runs, moved)
        return eqx.tree_at(lambda p: p.centre, polynomials, polynomials.centre + 0.5), error

    def of_the_column(method, problem, start, seed, checkpoints, report):
        asked.append((method, start))
        return Draws(np.zeros((2, 25, 5)))

    asked: list = []
    monkeypatch.setattr(surrogate, "fitted", wrong)
    monkeypatch.setattr(surrogate.NUTS, "draw", of_the_column)
    lines: list[str] = []
    once = dataclasses.replace(STOOD_IN, rounds=1, draws=50)
    drawn = once.draw(problem, laplace, 0, Checkpoints(tmp_path), lines.append)
    ((nuts_method, start),) = asked
    assert nuts_method.draws == once.draws
    assert not np.allclose(start.mean, laplace.mean)  # it begins at what was learnt
    assert drawn.facts["fallback"] == "nuts"
    assert drawn.runs >= once.runs  # what was learnt is counted
    assert drawn.facts["surrogate_k"] > importance.TRUSTED
    assert drawn.log_proposal is None
    assert any("NUTS on the column itself" in line for line in lines)
    # a quick run does not, but ends with what failed; its runs of the column are there already
    quick = dataclasses.replace(once, quick=True)
    drawn = quick.draw(problem, laplace, 0, Checkpoints(tmp_path, resume=True), silent)
    assert len(asked) == 1
    assert drawn.log_proposal is not None
