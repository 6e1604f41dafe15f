"""Extreme soils with parameters from all over their bounds stay finite, possible and conserved."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from diffsoil import robustness
from diffsoil.robustness import BATCH, SITES, draws, site, within

DRAWS = 100
YEARS = 1000


@pytest.fixture(scope="module")
def wanted():
    return draws(DRAWS, seed=1)


def test_draws_lie_within_all_bounds_and_reach_them(wanted):
    for column in robustness.columns():
        mine = [d for d in wanted if d.column == column]
        table = robustness.columns()[column].parameters()
        assert len(mine) == DRAWS / 2
        for name, p in table.items():
            values = np.array([d.parameters[name] for d in mine])
            assert values.min() == pytest.approx(p.lower, abs=1e-12), name
            assert values.max() == pytest.approx(p.upper, abs=1e-12), name
            assert np.unique(values).size > DRAWS / 4
    assert {d.site for d in wanted} == set(SITES)


def test_a_parameter_without_an_upper_bound_is_drawn_around_its_default():
    table = robustness.columns()["standard"].parameters()["carbon.k_hum"]
    open_ended = table.__class__(**{**vars(table), "lower": 0.0, "upper": float("inf")})
    values = [within(open_ended, share) for share in (0.0, 0.5, 1.0)]
    np.testing.assert_allclose(values, [2e-4, 0.02, 2.0])


def test_every_site_is_a_soil_of_its_own():
    base = site("loess")
    for name in SITES:
        if name == "loess":
            continue
        other = site(name)
        pairs = [(base.constant, other.constant), (base.series, other.series)]
        pairs += [(base.soil, other.soil)]
        assert any(not np.array_equal(a[k], b[k]) for a, b in pairs for k in a), name


def test_what_breaks_is_found_where_it_begins(wanted):
    draw = wanted[0]
    broken = dataclasses.replace(
        draw, parameters=draw.parameters | {"soil_gas.tortuosity": float("nan")}
    )
    (failure,) = robustness.check([broken], YEARS)
    assert (failure.process, failure.check, failure.year) == ("soil_gas", "finite", 0)
    assert draw.site in str(failure)


@pytest.mark.parametrize(
    "column", ["standard", pytest.param("alternative", marks=pytest.mark.slow)]
)
def test_fifty_extreme_lives_of_a_millennium_stay_sound(column, wanted):
    mine = [draw for draw in wanted if draw.column == column]
    assert len(mine) == 2 * BATCH
    failures = list(robustness.check(mine, YEARS))
    assert not failures, "\n".join(map(str, failures))
