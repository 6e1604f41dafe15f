"""Sentences of a report follow the numbers that they speak of, also where those disagree."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from calibration import checks, conclusion, treatments
from calibration.methods import NUTS
from calibration.prediction_report import Predicted, scores
from calibration.prediction_report import conclusion as of_prediction
from tests.test_checks import YEARS, fake_table, fake_tree, result, run

INDEPENDENT = np.random.default_rng(0).normal(0.0, 1.0, (400, 3 * len(YEARS)))


def described(**contraction: float) -> pd.DataFrame:
    index = [name.replace("__", ".") for name in contraction]
    return pd.DataFrame({"contraction": list(contraction.values())}, index=index)


def directions(told: int, of: int) -> pd.DataFrame:
    return pd.DataFrame({"eigenvalue": [10.0] * told + [0.1] * (of - told)})


def test_a_posterior_wider_than_its_prior_is_not_called_as_wide() -> None:
    said = checks.learnt(described(carbon__k=-1.2, manure__factor=0.02, protection__b1=0.9))
    same, wide = said.split("The posterior is wider than the prior for ")
    assert "manure.factor" in same
    assert "carbon.k" not in same
    assert wide.startswith("carbon.k:")
    assert "protection.b1" not in said


def test_uncorrelated_parameters_are_not_said_to_be_known_apart() -> None:
    table = fake_table()
    row = result(run(fake_tree(table), table), "correlation")
    assert abs(row["value"]) < checks.STRONG_CORRELATION
    assert f"beyond {checks.STRONG_CORRELATION:g}" in row["meaning"]
    assert "told from every other" not in row["meaning"]
    said = conclusion.known(described(a=0.3, b=0.4), directions(3, 10))
    assert "settle 0 of 2 parameters" in said
    assert "They tell 3 of 10 directions" in said


def test_bands_that_hold_everything_do_not_hide_a_treatment_on_one_side() -> None:
    table = fake_table(np.full(len(YEARS), 0.5))
    found = treatments.sides(table, INDEPENDENT)
    said = conclusion.fits(table, found, 400)
    assert "hold 24 of 24 (100 %)" in said
    assert "plain: 12 of 12 above the predicted median" in said


def test_a_side_that_errors_explain_is_told_with_its_probability() -> None:
    table = fake_table(np.full(len(YEARS), 0.4))
    together = np.repeat(np.random.default_rng(1).normal(size=(400, 1)), len(table), axis=1)
    said = conclusion.fits(table, treatments.sides(table, together), 400)
    assert "wild: 12 of 12 above the predicted median" in said
    assert "errors and the spread of the parameters do that with a probability of" in said
    assert "missing or wrong" not in said


def test_one_set_of_parameters_claims_no_bands() -> None:
    table = fake_table()
    said = conclusion.fits(table, treatments.sides(table, INDEPENDENT[:1]), 1)
    assert "One set of parameters has no bands." in said
    assert "%" not in said


def test_what_was_fitted_is_counted_not_assumed() -> None:
    table = fake_table()
    table.loc[0, ["estimated", "fitted"]] = [1, False]
    table["variable"] = np.where(table["treatment"] == "manured", "delta14c", "soc_stock")
    summary = described(carbon__k_hum=0.5, observation__error__field=0.5)
    said = conclusion.fitted(table, summary, NUTS())
    assert "1 parameter of the model and 1 of the errors were fitted to 23 measurements" in said
    assert "organic C, Δ14C" in said
    assert "12 more were kept out" in said
    assert "1 estimate of the source not used" in said


def test_names_with_commas_can_be_told_apart() -> None:
    assert checks.listed(["plain", "manured"]) == "plain, manured"
    assert checks.listed(["field, north", "field, south"]) == "field, north; field, south"
    doubts = list(conclusion.doubts(pd.DataFrame(
        {"check": ["residual mean, field", "R-hat"], "value": [1.0, 2.0], "passed": [False, False],
         "meaning": ["Aside.", "Apart."]}
    )))  # fmt: skip
    assert doubts == ["residual mean, field: Aside.", "R-hat: Apart."]


@pytest.mark.parametrize(
    ("value", "passed", "says"),
    [
        ([np.nan, np.nan], [True, True], "No check could be made."),
        ([1.0, np.nan], [True, True], "None of 1 check failed; 1 more could not be made."),
        ([1.0, np.nan], [True, False], "1 of 2 checks failed."),
    ],
)
def test_checks_that_could_not_be_made_are_not_counted_as_passed(
    value: list[float], passed: list[bool], says: str
) -> None:
    found = pd.DataFrame({"check": ["a", "b"], "value": value, "passed": passed, "meaning": ""})
    assert conclusion.verdict(found) == says


def predicted(table: pd.DataFrame) -> str:
    table = table.assign(log_density=-1.0)
    none = pd.DataFrame()
    of = Predicted(table, treatments.sides(table, INDEPENDENT), none, none, ())
    return of_prediction(of, scores(table))


def test_a_treatment_measured_once_does_not_hide_one_that_is_aside() -> None:
    table = fake_table(np.zeros(len(YEARS)))
    table.loc[table["treatment"] == "plain", "value"] = 20.6
    table.loc[table.index[-1], ["treatment", "value"]] = ["single", 20.01]
    said = predicted(table)
    assert "plain: 12 of 12 above the predicted median" in said
    assert "single" not in said


def test_intervals_that_miss_too_often_are_not_to_be_believed() -> None:
    said = "fewer than chance allows"
    table = fake_table()
    assert said not in predicted(table)
    assert said in predicted(table.assign(q05=19.9, q95=20.1))


def test_a_prediction_of_estimates_alone_is_not_said_to_lack_draws() -> None:
    said = predicted(fake_table().assign(estimated=1, fitted=False))
    assert "no measurement to compare with" in said


def test_of_many_treatments_on_one_side_the_least_probable_are_named() -> None:
    count = 80
    found = pd.DataFrame(
        {
            "treatment": [f"plot_{number}" for number in range(count)],
            "variable": "soc_stock",
            "unit": "t/ha",
            "fitted": True,
            "n": 11,
            "above": [11, 0] * (count // 2),
            "bias": [3.0, -2.0] * (count // 2),
            "probability": [1e-6 if number == 70 else 0.005 for number in range(count)],
        }
    )
    said = treatments.told(found)
    assert len(said) == treatments.MOST_TOLD + 1
    assert any(sentence.startswith("plot_70: 11 of 11 above") for sentence in said)
    assert said[-1].startswith("75 more of 80 treatments and quantities lie on one side")
    failed = pd.DataFrame(checks.one_sided(found))
    other = failed.tail(1).assign(check="R-hat", meaning="Chains disagree.")
    doubts = list(conclusion.doubts(pd.concat([failed, other])))
    assert len(doubts) == conclusion.MOST_NAMED + 2
    assert doubts[-2] == "residuals on one side: 75 more checks of this failed, see Checks."
    assert doubts[-1] == "R-hat: Chains disagree."
    assert not list(conclusion.doubts(other.assign(passed=True)))
