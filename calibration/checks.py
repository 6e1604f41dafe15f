"""Checks of a fit, each with a threshold and what it means in plain words."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import xarray as xr

from calibration.methods.importance import LEAST_EFFECTIVE, TRUSTED, Weights
from calibration.methods.method import Method, Row
from calibration.noise import OrnsteinUhlenbeck
from diffsoil.parameters import Parameter
from diffsoil.tables import read_written

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.50, "q75": 0.75, "q95": 0.95}

ENOUGH_DRAWS = 20
"""Fewer draws than this describe no spread, so nothing that needs one is checked."""

FEWEST_FOR_RHAT = 4

DEEPEST_TREE = 10
"""Tree depth at which NUTS stops doubling its path."""

PARETO_K = TRUSTED
BFMI = 0.3
NEAR_BOUND = 0.01
"""Share of a parameter's range that counts as near a bound."""
MASS_AT_BOUND = 0.05
LITTLE_LEARNED = 0.1
STRONG_CORRELATION = 0.8

CHANCE = 2.6
"""Standard errors that pure chance exceeds once in a hundred times."""

FEWEST_RESIDUALS = 5
"""A series with fewer observations shows no structure."""

COVERAGE = 0.9

SENSITIVE = 0.05
"""Power-scaling sensitivity from which a prior or a likelihood matters (Kallioinen et al. 2024)."""

EVIDENCE_SPREAD = 0.5
"""Standard error of a log evidence that comparisons of cases can bear."""

COLUMNS = ["check", "value", "threshold", "passed", "meaning"]


def draws_of(tree: xr.DataTree, group: str = "posterior") -> dict[str, np.ndarray]:
    """Draws of a group by parameter, with axes chain and draw."""
    dataset = tree[group].to_dataset()
    return {str(name): np.asarray(dataset[name].to_numpy(), float) for name in dataset.data_vars}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of ArviZ and of 0/0 off the screen; what is undefined comes out as NaN."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def summary(
    tree: xr.DataTree, parameters: list[Parameter], effective: float | None = None
) -> pd.DataFrame:
    """Posterior of each parameter beside its prior, with the accuracy of the sampling.

    Args:
        tree: groups ``posterior`` and ``prior``.
        parameters: the free parameters.
        effective: how many draws resampled ones are worth, where the posterior has such.

    Returns:
        Index ``parameter``. ``contraction`` is 1 - posterior variance / prior variance: 1 when
        the observations settle a parameter, 0 when they say nothing about it. R-hat, effective
        sample sizes and Monte Carlo error are NaN where one chain or one draw does not define
        them.
    """
    posterior, prior = draws_of(tree), draws_of(tree, "prior")
    rows = {}
    for p in parameters:
        before, after = prior[p.name], posterior[p.name]
        several = after.size >= ENOUGH_DRAWS
        row: Row = {"mean": after.mean(), "sd": after.std() if several else np.nan}
        row |= {name: np.quantile(after, q) for name, q in QUANTILES.items()}
        row |= {"prior_mean": before.mean(), "prior_sd": before.std()}
        row["contraction"] = 1 - row["sd"] ** 2 / max(row["prior_sd"] ** 2, 1e-300)
        row |= accuracy(after) | {"unit": p.unit, "description": p.description}
        rows[p.name] = row
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index.name = "parameter"
    if effective is not None and "sampled" in tree.children:
        table["rhat"] = np.nan  # resampled draws are shuffled; their order says nothing
        for name in ("ess_bulk", "ess_tail"):
            table[name] = np.minimum(table[name], effective)
    return table


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


def checks(
    tree: xr.DataTree,
    parameters: list[Parameter],
    table: pd.DataFrame,
    method: Method,
    described: pd.DataFrame | None = None,
    more: Sequence[Row] = (),
) -> pd.DataFrame:
    """All checks of a fit, parameters at bounds first.

    Args:
        tree: as :func:`calibration.results.write` leaves it.
        parameters: the free parameters.
        table: observations with their predictive distribution.
        method: which has checks of its own.
        described: from :func:`summary`, if there already.
        more: further checks, put after the bounds.

    Returns:
        Columns ``check, value, threshold, passed, meaning``. A value of NaN means that nothing
        could be checked, and ``meaning`` says why.
    """
    described = summary(tree, parameters) if described is None else described
    rows: list[Row] = [_bounds(tree, parameters), *more, *method.checks(tree)]
    rows.append(_influence(tree, table, method))
    rows += _coverages(table)
    rows += _residuals(table)
    rows += [_learned(described), *_power(tree), _entangled(tree)]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"passed": bool})


def read(folder: Path) -> pd.DataFrame:
    """The checks of a finished fit."""
    table = read_written(folder / "checks.csv", COLUMNS)
    table["passed"] = table["passed"].astype(str).str.lower() == "true"
    return table


def _row(check: str, value: float, threshold: float, passed: bool, meaning: str) -> Row:
    cells = (check, float(value), float(threshold), bool(passed), meaning)
    return dict(zip(COLUMNS, cells, strict=True))


def _unchecked(check: str, threshold: float, why: str) -> Row:
    return _row(check, np.nan, threshold, True, f"Not checked: {why}.")


# The sampler.


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
        rows.append(_row(f"effective draws, {part}", value, wanted, passed, meaning))
    return rows


def _agreement(rhat: pd.Series, shape: tuple[int, int], limit: float) -> Row:
    name = "R-hat"
    chains, draws = shape
    if chains < 2 or draws < FEWEST_FOR_RHAT:
        return _row(
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
        meaning = f"A chain did not move at all in {_listed(stuck)}: run with a longer warm-up."
    elif len(bad):
        meaning = f"The chains disagree on {_listed(bad)}: run longer before using the result."
    else:
        meaning = f"The chains tell the same story about every parameter (worst: {rhat.idxmax()})."
    passed = len(stuck) == 0 and len(bad) == 0
    return _row(name, np.nan if len(stuck) else rhat.max(), limit, passed, meaning)


def _sampler(tree: xr.DataTree, quick: bool) -> list[Row]:
    """Checks of how NUTS moved."""
    if "sample_stats" not in tree.children:
        why = "the fit keeps no statistics of the sampler"
        return [
            _row(name, np.nan, limit, False, f"Not checked: {why}.")
            for name, limit in (("divergences", 0), ("tree depth", 0), ("energy (BFMI)", BFMI))
        ]
    stats = tree["sample_stats"].to_dataset()
    diverging = int(stats["diverging"].sum())
    saturated = float((stats["tree_depth"] >= DEEPEST_TREE).mean())
    energy = np.asarray(stats["energy"].to_numpy(), float)
    with quiet():
        bfmi = float(np.min(np.mean(np.diff(energy, axis=1) ** 2, axis=1) / energy.var(axis=1)))
    return [
        _row(
            "divergences",
            diverging,
            0,
            diverging == 0,
            "The sampler never lost its way."
            if diverging == 0
            else "The sampler lost its way in corners of the posterior that it could not follow; "
            "limits of the parameters may be too narrow (crosses in the picture of pairs).",
        ),
        _path(saturated, quick),
        _row(
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
        return _unchecked("tree depth", 0, "a quick run keeps its paths short on purpose")
    meaning = (
        "No step of the sampler was cut short."
        if saturated == 0
        else "Share of steps that were cut short at the longest path: slow, not wrong; a longer "
        "warm-up helps."
    )
    return _row("tree depth", saturated, 0, saturated == 0, meaning)


# Weights and evidence.


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
    return _row("importance weights (Pareto k)", weights.k, TRUSTED, weights.trusted, meaning)


def effective_row(weights: Weights, better: str) -> Row:
    """Whether weighted draws are worth enough; ``better`` is what to do if not."""
    enough = weights.effective >= LEAST_EFFECTIVE
    meaning = f"{weights.effective:.0f} of {weights.weight.size} draws' worth carry the weight."
    meaning += "" if enough else f" Too few for quantiles: {better}."
    name = "importance weights (effective draws)"
    return _row(name, weights.effective, LEAST_EFFECTIVE, enough, meaning)


def evidence_row(log_evidence: np.ndarray) -> Row:
    """Whether independent runs agree on the evidence."""
    name = "log evidence, standard error"
    mean = float(np.mean(log_evidence))
    if log_evidence.size < 2:
        return _unchecked(name, EVIDENCE_SPREAD, f"one run alone ({mean:.2f}) has no spread")
    error = float(np.std(log_evidence, ddof=1) / np.sqrt(log_evidence.size))
    meaning = f"The log evidence is {mean:.2f} ± {error:.2f} from {log_evidence.size} runs."
    if error > EVIDENCE_SPREAD:
        meaning += " Too uncertain to compare cases by: take more particles."
    return _row(name, error, EVIDENCE_SPREAD, error <= EVIDENCE_SPREAD, meaning)


# Single observations.


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


def _influence(tree: xr.DataTree, table: pd.DataFrame, method: Method) -> Row:
    name = "leave-one-out (Pareto k)"
    found = leave_one_out(tree)
    if found.failure:
        return _unchecked(name, PARETO_K, found.failure)
    largest = float(np.max(found.k)) if found.k.size else np.nan
    bad = np.flatnonzero(~(found.k <= PARETO_K))
    if bad.size == 0:
        meaning = "No single fitted observation holds the fit on its own."
    else:
        fitted = table[table["fitted"]]
        order = bad[np.argsort(-found.k[bad])]
        names = [f"{_unit_of(r)} {r['year']}" for _, r in fitted.iloc[order].iterrows()]
        meaning = (
            f"{bad.size} of {found.k.size} fitted observations pull the fit so much that leaving "
            f"them out cannot be imitated: {_listed(names)}. Look at them first."
        )
        if not method.exact:
            meaning += " The draws approximate the posterior, so this is a hint, not a finding."
    return _row(name, largest, PARETO_K, bad.size == 0, meaning)


# Prediction.


def kept_out(table: pd.DataFrame) -> pd.Series:
    """Which rows were measured, and kept out of the fit."""
    return ~table["fitted"] & (table["estimated"] == 0)


def inside(table: pd.DataFrame) -> pd.Series:
    """Which observations lie within their 5 to 95 % predictive interval."""
    return (table["value"] >= table["q05"]) & (table["value"] <= table["q95"])


def has_spread(table: pd.DataFrame) -> bool:
    """Whether a table of predictions says how uncertain they are."""
    return bool(len(table)) and bool((table["sd"] > 0).all())


def _coverages(table: pd.DataFrame) -> list[Row]:
    out = table[kept_out(table)]
    rows = [_coverage("coverage, fitted", table[table["fitted"]])]
    rows.append(_coverage("coverage, kept out", out))
    if "withheld" in table:
        for what in ("treatment", "site", "year"):
            part = out[out["withheld"] == what]
            if len(part):
                rows.append(_coverage(f"coverage of withheld {what}s", part))
    return rows


def _coverage(name: str, part: pd.DataFrame) -> Row:
    """Share of observations in the 90 % band; two standard errors below 90 % fail."""
    if part.empty:
        return _unchecked(name, COVERAGE, "there are no such observations")
    if not has_spread(part):
        return _unchecked(name, COVERAGE, "the predictions have no spread (a single draw)")
    hit = inside(part)
    limit = COVERAGE - 2 * np.sqrt(COVERAGE * (1 - COVERAGE) / len(part))
    passed = bool(hit.mean() >= limit)
    meaning = f"{hit.sum()} of {len(part)} observations lie in their 90 % band"
    if not passed:
        meaning += (
            ": the band is too narrow or lies aside, the prediction claims more than it knows"
        )
    missed = part[~hit]
    if len(missed):
        names = [f"{_unit_of(row)} {row['year']}" for _, row in missed.iterrows()]
        meaning += f". Outside: {_listed(names)}"
    return _row(name, hit.mean(), limit, passed, meaning + ".")


# Residuals.


def standardised(table: pd.DataFrame) -> pd.Series:
    """Observed minus predicted mean, divided by the predictive standard deviation."""
    return (table["value"] - table["mean"]) / table["sd"].where(table["sd"] > 0)


def _residuals(table: pd.DataFrame) -> list[Row]:
    rows = []
    fitted = table[table["fitted"]]
    for series in sorted(set(fitted["series"])):
        part = fitted[fitted["series"] == series].sort_values("year")
        names = [f"residual {what}, {series}" for what in ("mean", "trend", "autocorrelation")]
        if len(part) < FEWEST_RESIDUALS:
            rows += [_unchecked(n, np.nan, f"only {len(part)} observations") for n in names]
        elif not has_spread(part):
            why = "the predictions have no spread (a single draw)"
            rows += [_unchecked(n, np.nan, why) for n in names]
        else:
            rows += [_mean(names[0], part), _trend(names[1], part)]
            if _remembers(part):
                why = "the error model of the series is correlated in time"
                rows.append(_unchecked(names[2], np.nan, why))
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
    return _row(name, value, limit, abs(value) <= limit, meaning)


def _trend(name: str, part: pd.DataFrame) -> Row:
    """Drift of the residuals from the first to the last year, in standard deviations."""
    years = part["year"].to_numpy(float)
    away = years - years.mean()
    span = float(np.ptp(years))
    if span == 0:
        return _unchecked(name, np.nan, "all observations are of one year")
    value = float(away @ standardised(part).to_numpy() / (away @ away)) * span
    limit = CHANCE * span / float(np.sqrt(away @ away))
    way = "too slowly" if value > 0 else "too fast"
    meaning = (
        "The residuals do not drift over the years."
        if abs(value) <= limit
        else f"The residuals drift: the prediction rises {way} (or falls "
        f"{'too fast' if value > 0 else 'too slowly'}) over {int(span)} years."
    )
    return _row(name, value, limit, abs(value) <= limit, meaning)


def _persistence(name: str, part: pd.DataFrame) -> Row:
    """Correlation of residuals with the next one of the same treatment."""
    centred = part.assign(e=standardised(part) - standardised(part).mean())
    pairs = []
    for _, group in centred.groupby(["site", "treatment", "variable", "upper_cm", "lower_cm"]):
        e = group.sort_values("year")["e"].to_numpy()
        pairs += list(itertools.pairwise(e))
    variance = float((centred["e"] ** 2).mean())
    if len(pairs) < FEWEST_RESIDUALS - 1 or variance == 0:
        return _unchecked(name, np.nan, "too few neighbours in time")
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
    return _row(name, value, limit, abs(value) <= limit, meaning)


# Parameters.


def mass_at_bounds(draws: np.ndarray, parameter: Parameter) -> float:
    """Share of draws within 1 % of the range from a bound."""
    if np.isinf(parameter.upper):
        near = draws < parameter.lower + NEAR_BOUND * (parameter.default - parameter.lower)
    else:
        margin = NEAR_BOUND * (parameter.upper - parameter.lower)
        near = (draws < parameter.lower + margin) | (draws > parameter.upper - margin)
    return float(near.mean())


def _bounds(tree: xr.DataTree, parameters: list[Parameter]) -> Row:
    draws = draws_of(tree)
    mass = {p.name: mass_at_bounds(draws[p.name], p) for p in parameters}
    bad = [name for name, share in mass.items() if share > MASS_AT_BOUND]
    meaning = (
        f"The data push {_listed(bad)} against a bound: the bound decides, not the data. Is the "
        "range too narrow, or does the parameter make up for something else?"
        if bad
        else "No parameter is pushed against its bounds."
    )
    largest = max(mass.values(), default=0.0)
    return _row("parameters at bounds", largest, MASS_AT_BOUND, not bad, meaning)


def unlearned(described: pd.DataFrame) -> list[str]:
    """Parameters about which the data say next to nothing."""
    return [str(n) for n in described.index[described["contraction"] < LITTLE_LEARNED]]


def _learned(described: pd.DataFrame) -> Row:
    name = "contraction (for information)"
    if not np.isfinite(described["contraction"]).any():
        return _unchecked(name, LITTLE_LEARNED, "a single draw has no spread")
    few = unlearned(described)
    meaning = (
        f"The data do not say: {_listed(few, len(few))}. Their posterior is as wide as their prior."
        if few
        else "The data say something about every parameter."
    )
    return _row(name, described["contraction"].min(), LITTLE_LEARNED, True, meaning)


def identified(directions: pd.DataFrame) -> Row:
    """How many combinations of parameters the observations tell better than the priors did."""
    known = directions[directions["eigenvalue"] > 1.0]
    said = [f"{r['combination']} ({r['contraction']:.2f})" for _, r in known.head(3).iterrows()]
    meaning = (
        f"The observations tell {len(known)} of {len(directions)} directions better than the "
        "priors do (Fisher information, contraction in brackets): " + "; ".join(said) + "."
        if len(known)
        else "The observations tell no direction better than the priors do."
    )
    return _row("identifiable directions (for information)", len(known), 1.0, True, meaning)


def power_scaling(tree: xr.DataTree) -> pd.DataFrame:
    """Sensitivity of each posterior to its prior and to the likelihood, by power scaling.

    Returns:
        Index ``parameter``, columns ``prior`` and ``likelihood``; empty where the draws are too
        few or their densities are not kept.
    """
    empty = pd.DataFrame(columns=["prior", "likelihood"], dtype=float)
    if "joint" not in tree.children:
        return empty
    joint = tree["joint"].to_dataset()
    if joint.sizes["chain"] * joint.sizes["draw"] < ENOUGH_DRAWS:
        return empty
    kept = joint["draw"].to_numpy()
    draws = {name: values[:, kept] for name, values in draws_of(tree).items()}
    terms = {name: np.asarray(joint[name].to_numpy(), float) for name in joint.data_vars}
    scaled = az.from_dict(
        {
            "posterior": draws,
            "log_prior": {"joint": terms["log_prior"]},
            "log_likelihood": {"joint": terms["log_likelihood"]},
        }
    )
    with quiet():
        try:
            found = {group: az.psense(scaled, group=group) for group in ("prior", "likelihood")}
        except (ValueError, IndexError, FloatingPointError):
            return empty
    table = pd.DataFrame({group: {n: float(of[n]) for n in draws} for group, of in found.items()})
    table.index.name = "parameter"
    return table


def _power(tree: xr.DataTree) -> list[Row]:
    """Prior against likelihood, for information: an informative prior is no fault."""
    name = "prior sensitivity (for information)"
    table = power_scaling(tree)
    if table.empty or not np.isfinite(table.to_numpy()).any():
        return [_unchecked(name, SENSITIVE, "too few draws, or their densities are not kept")]
    strong = table["prior"] >= SENSITIVE
    weak = table["likelihood"] < SENSITIVE
    conflict = [str(n) for n in table.index[strong & ~weak]]
    alone = [str(n) for n in table.index[strong & weak]]
    said = []
    if conflict:
        said.append(f"Prior and data both move {_listed(conflict)}: they pull apart, or both are "
                    "needed; a wider prior would change the answer.")  # fmt: skip
    if alone:
        said.append(f"The prior alone decides {_listed(alone)}.")
    meaning = " ".join(said) or "No posterior hangs on how strong its prior is."
    return [_row(name, float(table["prior"].max()), SENSITIVE, True, meaning)]


def correlations(tree: xr.DataTree) -> pd.DataFrame:
    """Correlations of all pairs of parameters, strongest first: ``first, second, r``."""
    draws = {name: values.ravel() for name, values in draws_of(tree).items()}
    names = list(draws)
    columns = ["first", "second", "r"]
    if not names or draws[names[0]].size < ENOUGH_DRAWS:
        return pd.DataFrame(columns=columns)
    with quiet():
        matrix = np.atleast_2d(np.corrcoef(np.array([draws[n] for n in names])))
    i, j = np.triu_indices(len(names), 1)
    table = pd.DataFrame(
        {"first": np.array(names)[i], "second": np.array(names)[j], "r": matrix[i, j]},
        columns=columns,
    )
    order = table["r"].abs().fillna(0.0).to_numpy().argsort(kind="stable")[::-1]
    return table.iloc[order].reset_index(drop=True)


def _entangled(tree: xr.DataTree) -> Row:
    name = "correlation (for information)"
    pairs = correlations(tree)
    if pairs.empty:
        return _unchecked(name, STRONG_CORRELATION, "no pairs of parameters with spread")
    strong = pairs[pairs["r"].abs() > STRONG_CORRELATION]
    shown = [f"{p['first']} with {p['second']} ({p['r']:.2f})" for _, p in strong.iterrows()]
    meaning = (
        f"The data tell these only together: {_listed(shown, 8)}."
        if shown
        else "Every parameter can be told from every other."
    )
    return _row(name, pairs["r"].abs().max(), STRONG_CORRELATION, True, meaning)


def _unit_of(row: pd.Series) -> str:
    return str(row["treatment"] or row["site"])


def _listed(names: Any, most: int = 6) -> str:
    """Names in one line, the rest counted."""
    every = [str(n) for n in names]
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more
