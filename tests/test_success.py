"""Success indicators: settled in the case, judged by what is predicted."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from pydantic import ValidationError

from calibration import success
from calibration.scores import refuse_meaningless, score
from diffsoil.cases import Case, load_case
from diffsoil.cases.schema import Indicator
from diffsoil.io import InputError
from tests import fields


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Case:
    return load_case(fields.write(tmp_path_factory.mktemp("case"), "ab"))


def asking(case: Case, **indicators: Indicator) -> Case:
    return dataclasses.replace(case, file=case.file.model_copy(update={"success": indicators}))


@pytest.fixture
def table() -> pd.DataFrame:
    """Of four measurements of 50 one is off by 8 and outside of its interval; two are kept out."""
    rows = pd.DataFrame({"value": 50.0, "mean": [50.0, 54.0, 50.0, 58.0], "sd": 2.0})
    return rows.assign(
        **{
            f"q{q:02}": rows["mean"] + off
            for q, off in ((5, -5.0), (25, -2.0), (75, 2.0), (95, 5.0))
        },
        fitted=[True, True, False, False],
        estimated=0,
        variable="soc_stock",
        site="a",
        treatment=["a_arable", "a_arable", "a_arable", "b_arable"],
        series="topsoil",
    )


def test_scores_are_of_predicted_less_measured(table):
    found = score(table)
    assert found["bias"] == 3.0
    assert found["bias_percent"] == 6.0
    assert found["rmse"] == pytest.approx(20.0**0.5)
    assert found["coverage_50"] == 0.5
    assert found["coverage_90"] == 0.75


@pytest.mark.parametrize(
    ("indicator", "value", "passed"),
    [
        ({"score": "bias", "at_most": 3.0}, 4.0, False),
        ({"score": "bias", "at_most": 3.0, "of": "fitted"}, 2.0, True),
        ({"score": "bias", "at_least": 5.0}, 4.0, False),
        ({"score": "coverage_90", "at_least": 0.5, "at_most": 0.98}, 0.5, True),
        ({"score": "rmse_percent", "at_most": 10.0, "treatment": "b_arable"}, 16.0, False),
        ({"score": "rmse", "at_most": 0.1, "treatment": "a_arable"}, 0.0, True),
    ],
)
def test_an_indicator_is_judged_by_the_measurements_that_it_names(
    plain, table, indicator, value, passed
):
    (row,) = success.rows(asking(plain, it=Indicator(**indicator)), table)
    assert row["check"] == "success, it"
    assert row["value"] == pytest.approx(value)
    assert row["passed"] is passed
    assert str(row["threshold"]).removesuffix(".0") in row["meaning"]


def test_what_cannot_be_judged_is_not_called_a_success(plain, table):
    case = asking(plain, it=Indicator(score="rmse", at_most=1.0, treatment="b_arable", of="fitted"))
    (row,) = success.rows(case, table)
    assert row["value"] != row["value"]
    assert "no such observations were fitted" in row["meaning"]
    alone = asking(plain, it=Indicator(score="coverage_90", at_least=0.8))
    assert "no spread" in success.rows(alone, table.assign(sd=0.0))[0]["meaning"]


def test_indicators_without_a_meaning_are_refused(plain, table):
    wrong = asking(plain, it=Indicator(score="rmse", at_most=1.0, treatment="b_arabel"))
    with pytest.raises(InputError, match=r"success.it.treatment: .*'b_arabel'.*b_arable"):
        refuse_meaningless(wrong, table)
    both = table.assign(variable=["soc_stock", "ph", "ph", "ph"])
    with pytest.raises(InputError, match="rmse of ph and soc_stock together means nothing"):
        refuse_meaningless(asking(plain, it=Indicator(score="rmse", at_most=1.0)), both)
    with pytest.raises(ValidationError, match="at_least or at_most is missing"):
        Indicator(score="rmse")
    with pytest.raises(ValidationError, match="is above at_most"):
        Indicator(score="rmse", at_least=2.0, at_most=1.0)
