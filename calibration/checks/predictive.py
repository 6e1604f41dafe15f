"""Checks of the predictions: single observations, coverage and residuals."""

from __future__ import annotations

import dataclasses
import itertools

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from calibration import treatments
from calibration.checks.rows import (
    ENOUGH_DRAWS,
    check,
    draws_of,
    listed,
    quiet,
    unchecked,
    unit_of,
)
from calibration.checks.sampling import accuracy
from calibration.methods.importance import TRUSTED
from calibration.methods.method import Method, Row
from calibration.noise import OrnsteinUhlenbeck

PARETO_K = TRUSTED

CHANCE = 2.6
"""Standard errors that pure chance exceeds once in a hundred times."""

FEWEST_RESIDUALS = 5
"""A series with fewer observations shows no structure."""

COVERAGE = 0.9


@dataclasses.dataclass(frozen=True)
class LeaveOneOut:
    """Expected log predictive density of each observation left out, by importance sampling.

    ``k`` is the Pareto k of each fitted observation; above 0.7 its estimate is not reliable.
    ``failure`` says why there is no estimate, or is empty.
    """

    elpd: float
    se: float
    effective_parameters: float
    k: np.ndarray
    failure: str = ""


def leave_one_out(tree: xr.DataTree) -> LeaveOneOut:
    """PSIS-LOO of the fitted observations; never fails, but says why when there is none."""
    none = LeaveOneOut(np.nan, np.nan, np.nan, np.empty(0))
    if "log_likelihood" not in tree.children:
        return dataclasses.replace(none, failure="the fit keeps no likelihood")
    terms = tree["log_likelihood"].to_dataset()
    draws = terms.sizes.get("chain", 1) * terms.sizes.get("draw", 1)
    if draws < ENOUGH_DRAWS:
        return dataclasses.replace(none, failure=f"{draws} draw(s) are too few to leave one out")
    try:
        with quiet():
            result = az.loo(tree, pointwise=True, reff=_efficiency(tree, draws))
    except (ValueError, IndexError, TypeError, KeyError, FloatingPointError) as error:
        return dataclasses.replace(none, failure=f"the estimate failed ({error})")
    k = np.asarray(result.pareto_k, float).ravel()
    return LeaveOneOut(float(result.elpd), float(result.se), float(result.p), k)


def _efficiency(tree: xr.DataTree, draws: int) -> float:
    """Independent draws per draw of the likelihood, at most 1."""
    sizes = [accuracy(d)["ess_bulk"] for d in draws_of(tree).values()]
    known = [s for s in sizes if np.isfinite(s)]
    return min(1.0, float(np.mean(known)) / draws) if known else 1.0


def influence(tree: xr.DataTree, table: pd.DataFrame, method: Method) -> Row:
    """Whether single observations hold the fit on their own."""
    name = "leave-one-out (Pareto k)"
    found = leave_one_out(tree)
    if found.failure:
        return unchecked(name, PARETO_K, found.failure)
    largest = float(np.max(found.k)) if found.k.size else np.nan
    bad = np.flatnonzero(~(found.k <= PARETO_K))
    if bad.size == 0:
        meaning = "No single fitted observation holds the fit on its own."
    else:
        fitted = table[table["fitted"]]
        order = bad[np.argsort(-found.k[bad])]
        names = [f"{unit_of(r)} {r['year']}" for _, r in fitted.iloc[order].iterrows()]
        meaning = (
            f"{bad.size} of {found.k.size} fitted observations pull the fit so much that leaving "
            f"them out cannot be imitated: {listed(names)}. Look at them first."
        )
        if not method.exact:
            meaning += " The draws approximate the posterior, so this is a hint, not a finding."
    return check(name, largest, PARETO_K, bad.size == 0, meaning)


def kept_out(table: pd.DataFrame) -> pd.Series:
    """Which rows were measured, and kept out of the fit."""
    return ~table["fitted"] & (table["estimated"] == 0)


def inside(table: pd.DataFrame) -> pd.Series:
    """Which observations lie within their 5 to 95 % predictive interval."""
    return (table["value"] >= table["q05"]) & (table["value"] <= table["q95"])


def has_spread(table: pd.DataFrame) -> bool:
    """Whether a table of predictions says how uncertain they are."""
    return bool(len(table)) and bool((table["sd"] > 0).all())


def coverages(table: pd.DataFrame) -> list[Row]:
    """Whether 90 % bands hold nine of ten observations: fitted, kept out, withheld."""
    out = table[kept_out(table)]
    rows = [_coverage("coverage, fitted", table[table["fitted"]])]
    rows.append(_coverage("coverage, kept out", out))
    if "withheld" in table:
        for what in ("treatment", "site", "year"):
            part = out[out["withheld"] == what]
            if len(part):
                rows.append(_coverage(f"coverage of withheld {what}s", part))
    return rows


def least_coverage(count: int) -> float:
    """Share of so many observations that a 90 % band holds at least, by chance."""
    return float(COVERAGE - 2 * np.sqrt(COVERAGE * (1 - COVERAGE) / count))


def _coverage(name: str, part: pd.DataFrame) -> Row:
    """Share of observations in the 90 % band; two standard errors below 90 % fail."""
    if part.empty:
        return unchecked(name, COVERAGE, "there are no such observations")
    if not has_spread(part):
        return unchecked(name, COVERAGE, "the predictions have no spread (a single draw)")
    hit = inside(part)
    limit = least_coverage(len(part))
    passed = bool(hit.mean() >= limit)
    meaning = f"{hit.sum()} of {len(part)} observations lie in their 90 % band"
    if not passed:
        meaning += (
            ": the band is too narrow or lies aside, the prediction claims more than it knows"
        )
    missed = part[~hit]
    if len(missed):
        names = [f"{unit_of(row)} {row['year']}" for _, row in missed.iterrows()]
        meaning += f". Outside: {listed(names)}"
    return check(name, hit.mean(), limit, passed, meaning + ".")


def standardised(table: pd.DataFrame) -> pd.Series:
    """Observed minus predicted mean, divided by the predictive standard deviation."""
    return (table["value"] - table["mean"]) / table["sd"].where(table["sd"] > 0)


def residuals(table: pd.DataFrame) -> list[Row]:
    """Whether the residuals of a series lie aside, drift, or remember each other."""
    rows = []
    fitted = table[table["fitted"]]
    for series in sorted(set(fitted["series"])):
        part = fitted[fitted["series"] == series].sort_values("year")
        names = [f"residual {what}, {series}" for what in ("mean", "trend", "autocorrelation")]
        if len(part) < FEWEST_RESIDUALS:
            rows += [unchecked(n, np.nan, f"only {len(part)} observations") for n in names]
        elif not has_spread(part):
            why = "the predictions have no spread (a single draw)"
            rows += [unchecked(n, np.nan, why) for n in names]
        else:
            rows += [_mean(names[0], part), _trend(names[1], part)]
            if _remembers(part):
                why = "the error model of the series is correlated in time"
                rows.append(unchecked(names[2], np.nan, why))
            else:
                rows.append(_persistence(names[2], part))
    return rows


def _remembers(part: pd.DataFrame) -> bool:
    """Whether errors of a series are modelled as correlated in time."""
    if "error_model" not in part:
        return False
    return bool(part["error_model"].str.contains(OrnsteinUhlenbeck.words, regex=False).any())


def _mean(name: str, part: pd.DataFrame) -> Row:
    value = float(standardised(part).mean())
    limit = CHANCE / np.sqrt(len(part))
    side = "above" if value > 0 else "below"
    meaning = (
        "Observed and predicted agree on average."
        if abs(value) <= limit
        else f"The observations lie {side} the prediction on average: something that acts on the "
        "whole series is missing or wrong."
    )
    return check(name, value, limit, abs(value) <= limit, meaning)


def _trend(name: str, part: pd.DataFrame) -> Row:
    """Drift of the residuals from the first to the last year, in standard deviations."""
    years = part["year"].to_numpy(float)
    away = years - years.mean()
    span = float(np.ptp(years))
    if span == 0:
        return unchecked(name, np.nan, "all observations are of one year")
    value = float(away @ standardised(part).to_numpy() / (away @ away)) * span
    limit = CHANCE * span / float(np.sqrt(away @ away))
    way = "too slowly" if value > 0 else "too fast"
    meaning = (
        "The residuals do not drift over the years."
        if abs(value) <= limit
        else f"The residuals drift: the prediction rises {way} (or falls "
        f"{'too fast' if value > 0 else 'too slowly'}) over {int(span)} years."
    )
    return check(name, value, limit, abs(value) <= limit, meaning)


def _persistence(name: str, part: pd.DataFrame) -> Row:
    """Correlation of residuals with the next one of the same treatment."""
    centred = part.assign(e=standardised(part) - standardised(part).mean())
    pairs = []
    for _, group in centred.groupby(["site", "treatment", "variable", "upper_cm", "lower_cm"]):
        e = group.sort_values("year")["e"].to_numpy()
        pairs += list(itertools.pairwise(e))
    variance = float((centred["e"] ** 2).mean())
    if len(pairs) < FEWEST_RESIDUALS - 1 or variance == 0:
        return unchecked(name, np.nan, "too few neighbours in time")
    value = float(np.mean([a * b for a, b in pairs])) / variance
    limit = CHANCE / np.sqrt(len(pairs))
    if abs(value) <= limit:
        meaning = "One residual does not tell the next one of its treatment."
    elif value > 0:
        meaning = (
            "Residuals of a treatment stay on one side for decades: the model misses a slow change "
            "or an offset, and the limits of the parameters are too narrow for that."
        )
    else:
        meaning = "Residuals of a treatment jump from side to side more than chance would do."
    return check(name, value, limit, abs(value) <= limit, meaning)


def one_sided(found: pd.DataFrame) -> list[Row]:
    """Whether the measurements of a treatment lie on one side of their predictions.

    Args:
        found: from :func:`calibration.treatments.sides`.
    """
    rows = []
    for _, row in found.iterrows():
        several = (found["treatment"] == row["treatment"]) & (found["fitted"] == row["fitted"])
        name = f"residuals on one side, {row['treatment']}"
        name += f", {row['variable']}" if several.sum() > 1 else ""
        name += "" if row["fitted"] else " (kept out)"
        value, limit, said = row["probability"], treatments.RARE, treatments.meaning(row)
        known = np.isfinite(value)
        rows.append(
            check(name, value, limit, value >= limit, f"{said}.")
            if known
            else unchecked(name, limit, said)
        )
    return rows
