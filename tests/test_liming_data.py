"""The shipped tables of the liming experiment are what its plots and its chalk make them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from diffsoil.io import data_path

LEVEL = {"0": "lime_0", "L": "lime_l", "M": "lime_m", "H": "lime_h"}
CHARGES = {"calcium": 40.078 / 2, "magnesium": 24.305 / 2, "potassium": 39.098}
"""mg in a mmol of charge."""


@pytest.fixture(scope="module")
def plots() -> pd.DataFrame:
    """Samples of plots; years are those at whose end a model has the value."""
    soil = pd.read_csv(data_path("observations", "rothamsted_liming", "soil.csv"))
    level = soil.dropna(subset="lime_level").groupby("plot")["lime_level"].first()
    soil["treatment"] = soil["plot"].map(level).map(LEVEL)
    soil["year"] = soil["sample_year"].replace({"baseline": "1961", "1994": "1993"}).astype(int)
    depths = soil["depth_cm"].str.split("-", expand=True).astype(int)
    return soil.assign(upper_cm=depths[0], lower_cm=depths[1])


@pytest.mark.parametrize("variable", ["ph", *CHARGES])
def test_levels_are_means_of_plots_with_their_standard_error(variable, plots):
    column = {"ph": "ph_water", "calcium": "exch_ca_mg_kg", "magnesium": "exch_mg_mg_kg"}
    measured = column.get(variable, "exch_k_mg_kg")
    sample = ["treatment", "year", "upper_cm", "lower_cm"]
    by_plot = plots.groupby([*sample, "plot"])[measured].mean() / CHARGES.get(variable, 1.0)
    expected = by_plot.groupby(sample).agg(["mean", "sem"]).dropna()
    levels = pd.read_csv(data_path("observations", "rothamsted_liming", "levels.csv"))
    found = levels[levels["series"] == variable].set_index(sample).loc[expected.index]
    assert len(found) == (levels["series"] == variable).sum()
    np.testing.assert_allclose(found["value"], expected["mean"], atol=0.006)
    np.testing.assert_allclose(found["sd"], expected["sem"], atol=0.006)


def test_chalk_of_the_case_is_what_was_spread(plots):
    management = pd.read_csv(data_path("management", "rothamsted_liming.csv"))
    spread = management.groupby("treatment")["lime_mol_m2"].sum()
    total = plots.groupby("treatment")["lime_total_t_ha"].max()
    # one t/ha of chalk is 1 mol/m2
    assert spread.to_dict() == pytest.approx(total.to_dict())
