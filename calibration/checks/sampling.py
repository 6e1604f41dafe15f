"""Checks of the sampler: chains that agree, draws enough, weights that can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from calibration.checks.rows import check, draws_of, listed, quiet, unchecked
from calibration.methods.importance import LEAST_EFFECTIVE, TRUSTED, Weights
from calibration.methods.method import Method, Row

FEWEST_FOR_RHAT = 4

DEEPEST_TREE = 10
"""Tree depth at which NUTS stops doubling its path."""

BFMI = 0.3

EVIDENCE_SPREAD = 0.5
"""Standard error of a log evidence that comparisons of cases can bear."""


def accuracy(draws: np.ndarray) -> dict[str, float]:
    """R-hat, effective sample sizes and Monte Carlo error of draws by chain; NaN if undefined."""
    with quiet():
        return {
            "rhat": _or_nan(lambda: az.rhat(draws)),
            "ess_bulk": _or_nan(lambda: az.ess(draws, method="bulk")),
            "ess_tail": _or_nan(lambda: az.ess(draws, method="tail", prob=(0.05, 0.95))),
            "mcse_mean": _or_nan(lambda: az.mcse(draws, method="mean")),
        }


def _or_nan(statistic: Callable[[], Any]) -> float:
    """A statistic, or NaN where the draws are too few for it."""
    try:
        return float(statistic())
    except (ValueError, IndexError, ZeroDivisionError):
        return float("nan")


def _made(tree: xr.DataTree) -> tuple[pd.DataFrame, tuple[int, int]]:
    """Accuracy of the draws as the method made them, and how many they are."""
    group = "sampled" if "sampled" in tree.children else "posterior"
    rows = {name: accuracy(draws) for name, draws in draws_of(tree, group).items()}
    sizes = tree[group].sizes
    return pd.DataFrame.from_dict(rows, orient="index"), (sizes["chain"], sizes["draw"])


def agreement_check(tree: xr.DataTree, quick: bool) -> Row:
    """Agreement of runs that know nothing of each other; a quick run has to meet less."""
    described, shape = _made(tree)
    limit = 1.05 if quick else 1.01
    row = _agreement(described["rhat"], shape, limit)
    return row | {"check": "agreement of the runs (R-hat)"}


def sampler_checks(tree: xr.DataTree, quick: bool) -> list[Row]:
    """Agreement of chains, their effective draws, and how NUTS moved; a quick run meets less."""
    return _chains(tree, quick) + _sampler(tree, quick)


def _chains(tree: xr.DataTree, quick: bool) -> list[Row]:
    """Agreement of the chains, and how many independent draws they are worth."""
    limit, wanted = (1.05, 50) if quick else (1.01, 400)
    described, shape = _made(tree)
    rows = [_agreement(described["rhat"], shape, limit)]
    for part, where in (("bulk", "the middle"), ("tail", "the 5 and 95 % limits")):
        worth = described[f"ess_{part}"]
        value = worth.min() if np.isfinite(worth).any() else np.nan
        worst = worth.idxmin() if np.isfinite(value) else "all parameters"
        passed = bool(value > wanted)
        meaning = (
            f"Enough independent draws to describe {where} of every posterior (fewest: {worst})."
            if passed
            else f"Too few independent draws for {where} of {worst}: run with more draws."
        )
        rows.append(check(f"effective draws, {part}", value, wanted, passed, meaning))
    return rows


def _agreement(rhat: pd.Series, shape: tuple[int, int], limit: float) -> Row:
    name = "R-hat"
    chains, draws = shape
    if chains < 2 or draws < FEWEST_FOR_RHAT:
        return check(
            name,
            np.nan,
            limit,
            False,
            f"Not checked: {chains} chain(s) of {draws} draw(s) cannot be compared. Run at least "
            "two chains.",
        )
    stuck = rhat.index[~np.isfinite(rhat)]
    bad = rhat.index[rhat >= limit]
    if len(stuck):
        meaning = f"A chain did not move at all in {listed(stuck)}: run with a longer warm-up."
    elif len(bad):
        meaning = f"The chains disagree on {listed(bad)}: run longer before using the result."
    else:
        meaning = f"The chains tell the same story about every parameter (worst: {rhat.idxmax()})."
    passed = len(stuck) == 0 and len(bad) == 0
    return check(name, np.nan if len(stuck) else rhat.max(), limit, passed, meaning)


def _sampler(tree: xr.DataTree, quick: bool) -> list[Row]:
    """Checks of how NUTS moved."""
    if "sample_stats" not in tree.children:
        why = "the fit keeps no statistics of the sampler"
        return [
            check(name, np.nan, limit, False, f"Not checked: {why}.")
            for name, limit in (("divergences", 0), ("tree depth", 0), ("energy (BFMI)", BFMI))
        ]
    stats = tree["sample_stats"].to_dataset()
    diverging = int(stats["diverging"].sum())
    saturated = float((stats["tree_depth"] >= DEEPEST_TREE).mean())
    energy = np.asarray(stats["energy"].to_numpy(), float)
    with quiet():
        bfmi = float(np.min(np.mean(np.diff(energy, axis=1) ** 2, axis=1) / energy.var(axis=1)))
    return [
        check(
            "divergences",
            diverging,
            0,
            diverging == 0,
            "The sampler never lost its way."
            if diverging == 0
            else "The sampler lost its way in corners of the posterior that it could not follow; "
            "limits of the parameters may be too narrow.",
        ),
        _path(saturated, quick),
        check(
            "energy (BFMI)",
            bfmi,
            BFMI,
            bfmi > BFMI,
            "The sampler moves freely between likely and less likely parameters."
            if bfmi > BFMI
            else "The sampler hardly reaches the tails: limits of the parameters may be too "
            "narrow.",
        ),
    ]


def _path(saturated: float, quick: bool) -> Row:
    """Whether NUTS could end its paths where it wanted to."""
    if quick:
        return unchecked("tree depth", 0, "a quick run keeps its paths short on purpose")
    meaning = (
        "No step of the sampler was cut short."
        if saturated == 0
        else "Share of steps that were cut short at the longest path: slow, not wrong; a longer "
        "warm-up helps."
    )
    return check("tree depth", saturated, 0, saturated == 0, meaning)


def importance_row(weights: Weights, method: Method, slow_step: int = 0) -> Row:
    """Whether draws of an approximation stand for draws of the posterior."""
    of = f"a slow step of up to {slow_step} years" if slow_step else f"the method {method.name}"
    worth = f"worth {weights.effective:.0f} of {weights.weight.size} draws"
    if weights.trusted:
        meaning = f"Draws of {of} are weighted to those of the posterior, {worth}."
    elif slow_step and method.exact:
        meaning = f"Draws of {of} miss a part of the posterior; weights cannot correct them."
    else:
        meaning = (
            f"Draws of {of} miss a part of the posterior: limits and means can be wrong, and "
            "weights cannot correct them. Sample with nuts."
        )
    return check("importance weights (Pareto k)", weights.k, TRUSTED, weights.trusted, meaning)


def effective_row(weights: Weights, better: str) -> Row:
    """Whether weighted draws are worth enough; ``better`` is what to do if not."""
    enough = weights.effective >= LEAST_EFFECTIVE
    meaning = f"{weights.effective:.0f} of {weights.weight.size} draws' worth carry the weight."
    meaning += "" if enough else f" Too few for quantiles: {better}."
    name = "importance weights (effective draws)"
    return check(name, weights.effective, LEAST_EFFECTIVE, enough, meaning)


def summits_row(elsewhere: int, searches: int) -> Row:
    """Whether searches from different starts ended at the same best fit."""
    meaning = (
        "All searches that count ended at the same best fit."
        if not elsewhere
        else "Searches ended at another best fit that is about as good: the posterior may have "
        "several summits, of which the draws know those they began at. Look at the start values, "
        "and compare fits with other seeds."
    )
    name = f"other best fits, of {searches} searches"
    return check(name, elsewhere, 0, elsewhere == 0, meaning)


def evidence_row(log_evidence: np.ndarray) -> Row:
    """Whether independent runs agree on the evidence."""
    name = "log evidence, standard error"
    mean = float(np.mean(log_evidence))
    if log_evidence.size < 2:
        return unchecked(name, EVIDENCE_SPREAD, f"one run alone ({mean:.2f}) has no spread")
    error = float(np.std(log_evidence, ddof=1) / np.sqrt(log_evidence.size))
    meaning = f"The log evidence is {mean:.2f} ± {error:.2f} from {log_evidence.size} runs."
    if error > EVIDENCE_SPREAD:
        meaning += " Too uncertain to compare cases by: take more particles."
    return check(name, error, EVIDENCE_SPREAD, error <= EVIDENCE_SPREAD, meaning)
