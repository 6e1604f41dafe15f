"""Checks of a fit find what they are there to find, on small made-up posteriors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import arviz as az
import jax
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from calibration import checks, treatments
from calibration.methods import METHODS, NUTS, Laplace, importance
from calibration.priors import Priors
from diffsoil.parameters import UNIFORM, Parameter, lognormal

NAMES = ("carbon.k_hum", "protection.b1", "manure.factor")
YEARS = np.arange(1900, 1960, 5)


def parameters(upper: float = 10.0) -> list[Parameter]:
    return [
        Parameter(
            name=name,
            default=0.5,
            unit="1",
            lower=0.0,
            upper=upper,
            prior=UNIFORM,
            source="test",
            description=f"what {name} is",
        )
        for name in NAMES
    ]


def fake_tree(
    table: pd.DataFrame, chains: int = 2, draws: int = 300, seed: int = 0, **posterior: np.ndarray
) -> xr.DataTree:
    """A posterior of independent normals around 5, unless draws are given by parameter."""
    rng = np.random.default_rng(seed)
    shape = (chains, draws)
    given = {n.replace("__", "."): v for n, v in posterior.items()}
    latent = table["latent_mean"].to_numpy() + rng.normal(0, 0.3, (*shape, len(table)))
    fitted = table["fitted"].to_numpy()
    terms = -0.5 * ((table["value"].to_numpy() - latent)[..., fitted]) ** 2
    members = list(dict.fromkeys(table["treatment"]))
    topsoil = 20 + rng.normal(0, 0.5, (*shape, len(members), len(YEARS)))
    groups: dict[str, Any] = {
        "posterior": {n: given.get(n, rng.normal(5, 0.5, shape)) for n in NAMES},
        "prior": {n: rng.uniform(0, 10, (1, 1000)) for n in NAMES},
        "posterior_predictive": {"latent": latent, "topsoil": topsoil},
        "log_likelihood": {"fitted_observation": terms},
        "joint": {
            "log_likelihood": terms.sum(axis=-1),
            "log_prior": given.get("log_prior", np.random.default_rng(9).normal(0, 0.1, shape)),
        },
        "sample_stats": {
            "diverging": np.zeros(shape, bool),
            "tree_depth": np.full(shape, 4),
            "energy": rng.normal(size=shape),
        },
    }
    return az.from_dict(
        groups,
        dims={
            "latent": ["obs"],
            "topsoil": ["treatment", "year"],
            "fitted_observation": ["fitted_obs"],
        },
        coords={"treatment": members, "year": YEARS},
    )


def fake_table(residual: np.ndarray | None = None, sd: float = 1.0) -> pd.DataFrame:
    """Two fitted treatments and a kept-out one; residuals in units of the predictive sd."""
    rows = []
    rng = np.random.default_rng(3)
    for treatment, series in (("plain", "field"), ("manured", "field"), ("wild", "forest")):
        e = rng.normal(size=len(YEARS)) if residual is None else residual
        for year, away in zip(YEARS, e, strict=True):
            rows.append(
                {
                    "site": "hill",
                    "treatment": treatment,
                    "year": int(year),
                    "variable": "soc_stock",
                    "upper_cm": 0.0,
                    "lower_cm": 23.0 if series == "field" else 69.0,
                    "value": 20.0 + away,
                    "observed_sd": np.nan if series == "field" else 1.0,
                    "error_sd": 1.0,
                    "error_model": "normal, measured sd and a fitted relative part",
                    "estimated": 0,
                    "basis": "fixed_depth",
                    "soil_mass_Mg_ha": np.nan,
                    "series": series,
                    "method": "",
                    "fitted": series == "field",
                    "mean": 20.0,
                    "sd": sd,
                    "latent_mean": 20.0,
                    "latent_sd": 0.3,
                }
            )
    table = pd.DataFrame(rows)
    normal = {"q05": -1.645, "q25": -0.675, "q50": 0.0, "q75": 0.675, "q95": 1.645}
    for name, z in normal.items():
        table[name] = 20.0 + z * sd
    return table


def result(table: pd.DataFrame, check: str) -> pd.Series:
    found = table[table["check"].str.startswith(check)]
    assert len(found) == 1, list(table["check"])
    return found.iloc[0]


def run(
    tree: xr.DataTree, table: pd.DataFrame, method: str = "nuts", **kwargs: Any
) -> pd.DataFrame:
    asked = METHODS[method](quick=kwargs.pop("quick", True))
    return checks.checks(tree, kwargs.pop("parameters", parameters()), table, asked)


def test_a_good_fit_passes_every_check() -> None:
    table = fake_table()
    found = run(fake_tree(table), table)
    assert list(found.columns) == ["check", "value", "threshold", "passed", "meaning"]
    assert found["passed"].all(), found[~found["passed"]].to_string()
    assert set(found["check"][found["value"].isna()]) == {"tree depth"}  # capped when quick


def test_a_chain_that_sits_elsewhere_fails_r_hat_and_is_named() -> None:
    table = fake_table()
    apart = np.random.default_rng(1).normal(5, 0.5, (2, 300)) + np.array([[0.0], [1.0]])
    row = result(run(fake_tree(table, protection__b1=apart), table), "R-hat")
    assert not row["passed"]
    assert "protection.b1" in row["meaning"]
    assert "carbon.k_hum" not in row["meaning"]


def test_a_full_run_has_to_meet_more_than_a_quick_one() -> None:
    table = fake_table()
    tree = fake_tree(table, draws=120)
    assert result(run(tree, table, quick=True), "effective draws, bulk")["passed"]
    assert not result(run(tree, table, quick=False), "effective draws, bulk")["passed"]


def test_one_chain_of_nuts_cannot_pass_r_hat() -> None:
    table = fake_table()
    row = result(run(fake_tree(table, chains=1), table), "R-hat")
    assert not row["passed"]
    assert np.isnan(row["value"])
    assert "two chains" in row["meaning"]


def test_chains_that_do_not_move_fail_r_hat() -> None:
    table = fake_table()
    stuck = np.broadcast_to([[4.0], [6.0]], (2, 300)).copy()
    found = run(fake_tree(table, manure__factor=stuck), table)
    row = result(found, "R-hat")
    assert not row["passed"]
    assert "did not move at all in manure.factor:" in row["meaning"]
    assert not result(found, "effective draws, bulk")["passed"]


@pytest.mark.parametrize(
    ("variable", "check"),
    [("diverging", "divergences"), ("tree_depth", "tree depth"), ("energy", "energy")],
)
def test_a_sampler_in_trouble_fails(variable: str, check: str) -> None:
    table = fake_table()
    tree = fake_tree(table)
    values = tree["sample_stats"][variable].data
    if variable == "energy":
        values[:] = np.cumsum(values, axis=1)
    else:
        values[0, 0] = 10
    assert not result(run(tree, table, quick=False), check)["passed"]


def test_checks_of_a_sampler_are_left_out_where_there_is_none() -> None:
    table = fake_table()
    found = run(fake_tree(table, chains=1), table, method="laplace")
    assert not found["check"].str.contains("R-hat|divergences|effective|tree depth|energy").any()


def test_a_parameter_piled_at_its_bound_is_named() -> None:
    table = fake_table()
    piled = np.random.default_rng(1).uniform(9.8, 10.0, (2, 300))
    row = result(run(fake_tree(table, manure__factor=piled), table), "parameters at bounds")
    assert not row["passed"]
    assert row["value"] > 0.4
    assert "manure.factor" in row["meaning"]
    assert "carbon.k_hum" not in row["meaning"]


def test_an_open_bound_is_never_reached() -> None:
    open_ended = parameters(upper=np.inf)
    assert checks.mass_at_bounds(np.array([1.0, 1e6]), open_ended[0]) == 0.0
    assert checks.mass_at_bounds(np.array([1e-4, 1.0]), open_ended[0]) == 0.5


def test_an_autocorrelated_residual_series_is_flagged() -> None:
    slow = np.sin(np.arange(len(YEARS)) / 2)
    table = fake_table(slow)
    found = run(fake_tree(table), table)
    assert not result(found, "residual autocorrelation, field")["passed"]
    assert result(found, "residual mean, field")["passed"]


def test_residuals_that_drift_or_sit_on_one_side_are_flagged() -> None:
    drifting = fake_table(np.linspace(-2, 2, len(YEARS)))
    row = result(run(fake_tree(drifting), drifting), "residual trend, field")
    assert not row["passed"]
    assert row["value"] == pytest.approx(4.0)
    assert "rises too slowly" in row["meaning"]
    aside = fake_table(np.tile([0.5, 1.5], len(YEARS) // 2))
    row = result(run(fake_tree(aside), aside), "residual mean, field")
    assert not row["passed"]
    assert row["value"] == pytest.approx(1.0)
    assert "above" in row["meaning"]


def test_a_treatment_on_one_side_is_seen_although_its_series_hides_it() -> None:
    table = fake_table(np.tile([1.0, -1.0], len(YEARS) // 2))
    for treatment, away in (("plain", 0.4), ("manured", -0.4)):
        table.loc[table["treatment"] == treatment, "value"] = 20.0 + away
    assert result(run(fake_tree(table), table), "residual mean, field")["passed"]
    errors = np.random.default_rng(8).normal(size=(300, len(table)))
    found = pd.DataFrame(checks.one_sided(treatments.sides(table, errors)))
    row = result(found, "residuals on one side, plain")
    assert not row["passed"]
    assert row["value"] < 0.01
    assert row["meaning"].startswith("12 of 12 above the predicted median")
    assert "12 of 12 below" in result(found, "residuals on one side, manured")["meaning"]
    assert result(found, "residuals on one side, wild (kept out)")["passed"]


def test_errors_that_go_together_excuse_a_treatment_on_one_side() -> None:
    table = fake_table(np.full(len(YEARS), 0.4))
    rng = np.random.default_rng(4)
    alone = rng.normal(size=(400, len(table)))
    together = np.repeat(rng.normal(size=(400, 1)), len(table), axis=1)
    assert (treatments.sides(table, alone)["probability"] < treatments.RARE).all()
    assert (treatments.sides(table, together)["probability"] > 0.5).all()


def test_the_probability_of_a_side_is_that_of_chance() -> None:
    rng = np.random.default_rng(5)
    table = fake_table()
    draws = rng.normal(size=(200, len(table)))
    found = []
    for _ in range(40):
        table["value"] = 20.0 + rng.normal(size=len(table))
        found.append(treatments.sides(table, draws)["probability"])
    every = np.concatenate(found)
    assert (every < treatments.RARE).mean() < 0.04
    assert 0.3 < (every < 0.6).mean() < 0.8


def test_treatments_do_not_run_into_each_other_in_the_autocorrelation() -> None:
    table = fake_table(np.tile([1.0, -1.0], len(YEARS) // 2))
    row = result(run(fake_tree(table), table), "residual autocorrelation, field")
    assert row["value"] == pytest.approx(-1.0)
    assert row["threshold"] == pytest.approx(2.6 / np.sqrt(2 * (len(YEARS) - 1)))


def test_coverage_of_a_too_narrow_band_fails_for_fitted_and_kept_out_apart() -> None:
    table = fake_table()
    out = ~table["fitted"]
    table.loc[out, ["q05", "q95"]] = [19.9, 20.1]
    found = run(fake_tree(table), table)
    assert result(found, "coverage, fitted")["passed"]
    row = result(found, "coverage, kept out")
    assert not row["passed"]
    assert "too narrow" in row["meaning"]
    assert "wild 1900" in row["meaning"]


def test_estimated_values_count_in_no_check() -> None:
    table = fake_table()
    clean = run(fake_tree(table), table)
    extra = table[~table["fitted"]].assign(estimated=1, value=1e6)
    both = pd.concat([table, extra], ignore_index=True)
    found = checks.checks(fake_tree(table), parameters(), both, NUTS(quick=True))
    pd.testing.assert_frame_equal(clean, found)


def test_an_observation_that_holds_the_fit_alone_is_named() -> None:
    table = fake_table()
    tree = fake_tree(table)
    terms = tree["log_likelihood"]["fitted_observation"].data
    terms[..., 2] = -5 * np.random.default_rng(0).standard_exponential(terms.shape[:2])
    row = result(run(tree, table), "leave-one-out")
    assert not row["passed"]
    assert "plain 1910" in row["meaning"]


def test_a_parameter_that_the_data_leave_alone_is_named_and_fails_nothing() -> None:
    table = fake_table()
    as_prior = np.random.default_rng(1).uniform(0, 10, (2, 300))
    row = result(run(fake_tree(table, carbon__k_hum=as_prior), table), "contraction")
    assert row["passed"]
    assert "next to nothing of carbon.k_hum:" in row["meaning"]


def test_parameters_known_only_together_are_named() -> None:
    table = fake_table()
    rng = np.random.default_rng(1)
    one = rng.normal(5, 0.5, (2, 300))
    tree = fake_tree(table, carbon__k_hum=one, protection__b1=10 - one)
    row = result(run(tree, table), "correlation")
    assert row["passed"]
    assert row["value"] == pytest.approx(1.0)
    assert "carbon.k_hum with protection.b1 (-1.00)" in row["meaning"]


def test_contraction_is_one_minus_the_ratio_of_variances() -> None:
    table = fake_table()
    found = checks.summary(fake_tree(table), parameters())
    row = found.loc["carbon.k_hum"]
    assert row["contraction"] == pytest.approx(1 - (row["sd"] / row["prior_sd"]) ** 2)
    assert found.index.name == "parameter"
    assert row["q05"] < row["q50"] < row["q95"]
    assert row["description"] == "what carbon.k_hum is"


@pytest.mark.parametrize(("chains", "draws"), [(1, 1), (1, 3), (1, 300)])
def test_few_draws_give_nan_where_nothing_is_defined(chains: int, draws: int) -> None:
    table = fake_table(sd=0.0) if draws == 1 else fake_table()
    tree = fake_tree(table, chains=chains, draws=draws)
    described = checks.summary(tree, parameters())
    assert described["mean"].notna().all()
    assert described["rhat"].isna().all()
    found = run(tree, table, method="map")
    if draws == 1:
        assert found["passed"].all()
        unchecked = found[found["value"].isna()]
        assert unchecked["meaning"].str.startswith("Not checked").all()
        assert "coverage, fitted" in set(unchecked["check"])


def test_checks_come_back_from_their_file(tmp_path: Path) -> None:
    table = fake_table(np.sin(np.arange(len(YEARS)) / 2))
    found = run(fake_tree(table), table)
    found.to_csv(tmp_path / "checks.csv", index=False)
    again = checks.read(tmp_path)
    assert again["passed"].dtype == bool
    assert list(again["passed"]) == list(found["passed"])
    assert 0 < (~again["passed"]).sum() < len(again)


def test_a_prior_that_pulls_is_named_with_its_parameter() -> None:
    table = fake_table()
    b1 = np.random.default_rng(2).normal(5, 0.5, (2, 300))
    tree = fake_tree(table, protection__b1=b1, log_prior=-5.0 * (b1 - 3.0))
    row = result(run(tree, table), "prior sensitivity")
    assert row["passed"]
    assert row["value"] > checks.SENSITIVE
    assert "protection.b1" in row["meaning"]
    flat = result(run(fake_tree(table), table), "prior sensitivity")
    assert flat["value"] < checks.SENSITIVE


def test_parameters_at_bounds_come_first() -> None:
    table = fake_table()
    assert run(fake_tree(table), table)["check"].iloc[0] == "parameters at bounds"


@pytest.mark.parametrize("method", ["svi", "flow", "smc", "ensemble"])
def test_runs_of_a_method_have_to_agree(method: str) -> None:
    table = fake_table()
    assert result(run(fake_tree(table), table, method), "agreement of the runs")["passed"]
    apart = np.random.default_rng(1).normal(5, 0.5, (2, 300)) + np.array([[0.0], [1.0]])
    tree = fake_tree(table, protection__b1=apart)
    assert not result(run(tree, table, method), "agreement of the runs")["passed"]


def test_withheld_years_have_a_coverage_of_their_own() -> None:
    table = fake_table()
    table["withheld"] = ""
    late = (table["year"] >= 1940) & table["fitted"]
    table.loc[late, ["fitted", "withheld"]] = [False, "year"]
    table.loc[late, "value"] = 40.0
    found = run(fake_tree(table), table)
    assert not result(found, "coverage of withheld years")["passed"]
    assert result(found, "coverage, fitted")["passed"]


def test_the_evidence_has_to_come_out_alike_in_several_runs() -> None:
    assert checks.evidence_row(np.array([-10.0, -10.2]))["passed"]
    assert not checks.evidence_row(np.array([-10.0, -13.0]))["passed"]
    assert np.isnan(checks.evidence_row(np.array([-10.0]))["value"])


def test_weights_of_a_narrow_approximation_fail_and_say_what_to_do() -> None:
    rng = np.random.default_rng(0)
    z = 0.4 * rng.normal(size=(500, 2))
    log = -0.5 * (z**2).sum(axis=1)
    row = checks.importance_row(importance.weights(log, log / 0.16), Laplace())
    assert not row["passed"]
    assert "Sample with nuts" in row["meaning"]


def test_few_effective_draws_fail_although_their_tail_holds() -> None:
    weights = importance.Weights(np.full(500, 1 / 500), 0.5, 29.0)
    assert checks.importance_row(weights, Laplace())["passed"]
    row = checks.effective_row(weights, "sample with nuts")
    assert not row["passed"]
    assert row["meaning"].endswith("Too few for quantiles: sample with nuts.")
    assert checks.effective_row(weights._replace(effective=100.0), "refit")["passed"]


@pytest.mark.parametrize("told", [False, True])
def test_a_spread_that_is_its_prior_is_told(told: bool) -> None:
    prior = lognormal(0.2, 0.7)
    spread = Parameter("between.carbon.k_hum", 0.2, "1", 0.005, 2.0, prior, "", "")
    rng = np.random.default_rng(0)
    before = np.asarray(Priors([spread]).sample(jax.random.key(0), 800))
    after = rng.normal(0.3, 0.005, (2, 400)) if told else before.reshape(2, 400)
    named = {spread.name: (("chain", "draw"), after)}
    tree = xr.DataTree.from_dict(
        {
            "posterior": xr.Dataset(named),
            "prior": xr.Dataset({spread.name: (("chain", "draw"), before.reshape(1, -1))}),
        }
    )
    (row,) = checks.spreads(tree, [spread], checks.summary(tree, [spread]))
    assert row["passed"] is told
    assert ("carbon.k_hum (0.2" in row["meaning"]) is not told
    assert not checks.spreads(tree, [], checks.summary(tree, []))
    tree["posterior"][spread.name] = xr.full_like(tree["posterior"][spread.name], 0.3)
    (row,) = checks.spreads(tree, [spread], checks.summary(tree, [spread]))
    assert np.isnan(row["value"])  # one draw, many times
