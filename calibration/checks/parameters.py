"""What the posterior says of each parameter: its summary, bounds, what was learned of it."""

from __future__ import annotations

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from calibration.checks.rows import (
    ENOUGH_DRAWS,
    QUANTILES,
    check,
    draws_of,
    listed,
    quiet,
    unchecked,
)
from calibration.checks.sampling import accuracy
from calibration.methods.method import Row
from calibration.pooling import BETWEEN
from calibration.priors import Priors
from diffsoil.parameters import Parameter

NEAR_BOUND = 0.01
"""Share of a parameter's range that counts as near a bound."""

MASS_AT_BOUND = 0.05

LITTLE_LEARNED = 0.1

STRONG_CORRELATION = 0.8

BESIDE = ["mean", "sd", "prior_mean", "prior_sd"]
"""Columns of a summary that tell a posterior beside its prior."""

SENSITIVE = 0.05
"""Power-scaling sensitivity from which a prior or a likelihood matters (Kallioinen et al. 2024)."""


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


def mass_at_bounds(draws: np.ndarray, parameter: Parameter) -> float:
    """Share of draws within 1 % of the range from a bound."""
    if np.isinf(parameter.upper):
        near = draws < parameter.lower + NEAR_BOUND * (parameter.default - parameter.lower)
    else:
        margin = NEAR_BOUND * (parameter.upper - parameter.lower)
        near = (draws < parameter.lower + margin) | (draws > parameter.upper - margin)
    return float(near.mean())


def bounds(tree: xr.DataTree, parameters: list[Parameter]) -> Row:
    """Whether the data push a parameter against a limit of its range."""
    draws = draws_of(tree)
    mass = {p.name: mass_at_bounds(draws[p.name], p) for p in parameters}
    bad = [name for name, share in mass.items() if share > MASS_AT_BOUND]
    meaning = (
        f"The data push {listed(bad)} against a bound: the bound decides, not the data. Is the "
        "range too narrow, or does the parameter make up for something else?"
        if bad
        else "No parameter is pushed against its bounds."
    )
    largest = max(mass.values(), default=0.0)
    return check("parameters at bounds", largest, MASS_AT_BOUND, not bad, meaning)


def unlearned(described: pd.DataFrame) -> list[str]:
    """Parameters about which the data say next to nothing."""
    return [str(n) for n in described.index[described["contraction"] < LITTLE_LEARNED]]


def wider(described: pd.DataFrame) -> list[str]:
    """Parameters whose posterior is wider than their prior."""
    return [str(n) for n in described.index[described["contraction"] < -LITTLE_LEARNED]]


def learnt(described: pd.DataFrame) -> str:
    """What the data say of single parameters, in words."""
    if not np.isfinite(described["contraction"]).any():
        return "A single set of parameters has no spread, so it cannot say what the data settle."
    broad = wider(described)
    same = [name for name in unlearned(described) if name not in broad]
    said = []
    if same:
        said.append(f"The data say next to nothing of {listed(same, len(same))}: what is reported "
                    "for them is the prior that went in.")  # fmt: skip
    if broad:
        names = listed(broad, len(broad))
        said.append(f"The posterior is wider than the prior for {names}: the data disagree with "
                    "the prior, or the approximation does not hold.")  # fmt: skip
    return " ".join(said) or "The data say something about every parameter."


def learned(described: pd.DataFrame) -> Row:
    """Which parameters the data say next to nothing about."""
    name = "contraction (for information)"
    if not np.isfinite(described["contraction"]).any():
        return unchecked(name, LITTLE_LEARNED, "a single draw has no spread")
    least = described["contraction"].min()
    return check(name, least, LITTLE_LEARNED, True, learnt(described))


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
    return check("identifiable directions (for information)", len(known), 1.0, True, meaning)


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
    found = {group: _power_scaled(scaled, group) for group in ("prior", "likelihood")}
    if any(of is None for of in found.values()):
        return empty
    table = pd.DataFrame(found)
    table.index.name = "parameter"
    return table


def _power_scaled(tree: xr.DataTree, group: str) -> dict[str, float] | None:
    """Sensitivity of each variable of a posterior; None where the draws do not tell it."""
    with quiet():
        try:
            found = az.psense(tree, group=group)
        except (ValueError, IndexError, FloatingPointError):
            return None
    return {str(name): float(value) for name, value in found.data_vars.items()}


def power(tree: xr.DataTree) -> list[Row]:
    """Prior against likelihood, for information: an informative prior is no fault."""
    name = "prior sensitivity (for information)"
    table = power_scaling(tree)
    if table.empty or not np.isfinite(table.to_numpy()).any():
        return [unchecked(name, SENSITIVE, "too few draws, or their densities are not kept")]
    strong = table["prior"] >= SENSITIVE
    weak = table["likelihood"] < SENSITIVE
    conflict = [str(n) for n in table.index[strong & ~weak]]
    alone = [str(n) for n in table.index[strong & weak]]
    said = []
    if conflict:
        said.append(f"Prior and data both move {listed(conflict)}: they pull apart, or both are "
                    "needed; a wider prior would change the answer.")  # fmt: skip
    if alone:
        said.append(f"The prior alone decides {listed(alone)}.")
    meaning = " ".join(said) or "No posterior hangs on how strong its prior is."
    return [check(name, float(table["prior"].max()), SENSITIVE, True, meaning)]


def spreads(tree: xr.DataTree, parameters: list[Parameter], described: pd.DataFrame) -> list[Row]:
    """Whether it is the prior of a spread that says how far fields differ, by power scaling it.

    A prediction of another field is as wide as the spreads are.

    Args:
        tree: as :func:`calibration.results.write` leaves it.
        parameters: the free parameters.
        described: from :func:`summary`.
    """
    own = [p for p in parameters if p.name.startswith(BETWEEN)]
    if not own:
        return []
    name, draws = "priors of spreads between fields", draws_of(tree)
    if draws[own[0].name].size < ENOUGH_DRAWS:
        return [unchecked(name, SENSITIVE, "too few draws")]
    found = {p.name: _of_own_prior(draws[p.name], p) for p in own}
    value = float(np.max([*found.values()]))  # NaN where one of them is
    if not np.isfinite(value):
        return [unchecked(name, SENSITIVE, "draws that do not tell it, such as many that are one")]
    moved = []
    for of in [of for of, by in found.items() if by >= SENSITIVE]:
        mean, sd, before, width = described.loc[of, BESIDE].to_numpy(float)
        what = of.removeprefix(BETWEEN)
        moved.append(f"{what} ({mean:.2f} +- {sd:.2f} for a prior of {before:.2f} +- {width:.2f})")
    meaning = (
        f"How far fields differ in {listed(moved, len(moved))} is in part what the prior of the "
        "spread says, and so is the width of what is predicted of another field: state it from "
        "what is known elsewhere, or fit more fields."
        if moved
        else "The data tell how far fields differ: no spread hangs on its prior."
    )
    return [check(name, value, SENSITIVE, not moved, meaning)]


def _of_own_prior(draws: np.ndarray, parameter: Parameter) -> float:
    """Sensitivity of a parameter to how strong its prior is, those of the others as they are."""
    log_density = jax.jit(jax.vmap(Priors([parameter]).log_density))
    own = np.asarray(log_density(jnp.asarray(draws.reshape(-1, 1)))).reshape(draws.shape)
    one = az.from_dict({"posterior": {"spread": draws}, "log_prior": {"own": own}})
    return (_power_scaled(one, "prior") or {"spread": np.nan})["spread"]


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


def entangled(tree: xr.DataTree) -> Row:
    """Which parameters the data tell only together."""
    name = "correlation (for information)"
    pairs = correlations(tree)
    if pairs.empty or not np.isfinite(pairs["r"]).any():
        return unchecked(name, STRONG_CORRELATION, "no pairs of parameters with spread")
    strong = pairs[pairs["r"].abs() > STRONG_CORRELATION]
    most = pairs.iloc[0]
    shown = [f"{p['first']} with {p['second']} ({p['r']:.2f})" for _, p in strong.iterrows()]
    meaning = (
        f"The data tell these only together: {listed(shown, 8)}."
        if shown
        else f"No two parameters are correlated beyond {STRONG_CORRELATION:g}; the most are "
        f"{most['first']} with {most['second']} ({most['r']:.2f}). More than two may still be "
        "known only together."
    )
    return check(name, pairs["r"].abs().max(), STRONG_CORRELATION, True, meaning)
