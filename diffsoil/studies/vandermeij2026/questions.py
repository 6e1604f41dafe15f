"""What the study could not ask: posterior of protection, other numerics, and when MOOH matters."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float
from numpyro import diagnostics
from numpyro.infer import MCMC, NUTS
from scipy.stats import qmc

from calibration.methods import importance
from diffsoil.cases import read_case
from diffsoil.cases.inputs import Input, value, with_values
from diffsoil.column import Column
from diffsoil.parameters import places
from diffsoil.processes.protection import MECHANISMS, Protection
from diffsoil.studies.vandermeij2026 import analysis
from diffsoil.studies.vandermeij2026.fit import TARGETS, Runs
from diffsoil.studies.vandermeij2026.scenarios import Study
from diffsoil.studies.vandermeij2026.suite import families, stocks
from diffsoil.work import ensemble

PROTECTION = tuple(f"protection.{m.strength}" for m in MECHANISMS.own.values())
"""The strength of each mechanism."""

Say = Callable[[str], None]


# Other numerics and other processes.


def variants(study: Study) -> Iterator[tuple[str, str, Study]]:
    """The study with one choice of the model made otherwise: name, what it is, study."""
    text = study.base.text
    events, hard = 'erosion = "events"', 'minimum = "hard"'
    grid = f"layers = {study.base.file.grid.layers}\n"
    grid += f"thickness_m = {study.base.file.grid.thickness_m:g}"
    for part in (events, hard, grid):
        if part not in text:
            raise ValueError(f"the case of the study has no {part!r}")

    def other(old: str, new: str, step: int | None = None) -> Study:
        base = read_case(study.base.path, text.replace(old, new))
        description = study.description
        if step is not None:
            description = description.model_copy(update={"step_years": step})
        return dataclasses.replace(study, base=base, description=description)

    yield "step_5", "slow step of 5 years", other("", "", 5)
    yield "step_2", "slow step of 2 years", other("", "", 2)
    yield "continuous", "erosion all the time, no events", other(events, 'erosion = "continuous"')
    thick, thin = "layers = 20\nthickness_m = 0.1", "layers = 80\nthickness_m = 0.025"
    yield "layers_100_mm", "layers and erosion events of 100 mm", other(grid, thick)
    yield "layers_25_mm", "layers and erosion events of 25 mm, step 5", other(grid, thin, 5)
    kinetic = f'{hard}\ndissolved_iron = "kinetic"'
    yield "kinetic_iron", "iron released without a cap", other(hard, kinetic)
    yield "soft_minimum", "smooth minimum of the mechanisms", other(hard, 'minimum = "soft"')


def convergence(study: Study, runs: Runs, say: Say) -> pd.DataFrame:
    """Every number of the paper under other choices.

    Returns:
        A row for each number: id, tolerance, ours, and a column for each of :func:`variants`.
    """
    table = analysis.paper()[["id", "paper", "tolerance"]]
    found = {"ours": runs.targets(study)}
    for name, what, other in variants(study):
        say(what)
        found[name] = runs.targets(other)
    for name, targets in found.items():
        table[name] = table["id"].map(targets)
    return table


# When MOOH would matter.


def strength_of_mooh(
    study: Study, runs: Runs, strengths: tuple[float, ...], say: Say
) -> pd.DataFrame:
    """The effect of MOOH alone as its strength B2 grows beyond its bounds.

    The design is balanced: the estimate of m in Table 3 is the mean stock of the runs with MOOH
    alone less that of the runs without protection.

    Args:
        study, runs: what to run.
        strengths: values of B2, dm3/mmol.
        say: told what is done.

    Returns:
        b2, effect_Mg_C_ha, and the largest effect in any run and year.
    """
    chosen = [s for s in runs.scenarios if s.protection in ("n", "m")]
    batches = {chosen[batch.rows[0]].protection: batch for batch in families(study, chosen)}
    windows = analysis.windows(
        ["-".join(chosen[row].erosion) for row in batches["n"].rows], analysis.END
    )

    def smoothed(stock: np.ndarray) -> np.ndarray:
        return analysis.smoothed(stock[:, : analysis.END], windows)

    of = batches["m"].argument
    arguments = [batches["n"].argument]
    for b2 in strengths:
        column: Column = of.column.with_parameters({"protection.b2": b2})
        arguments.append(dataclasses.replace(of, column=column))
    say(f"MOOH at {len(strengths)} strengths")
    none, *strong = ensemble.collect(stocks, arguments, runs.pool)
    without = smoothed(none["stock"])
    gains = [smoothed(found["stock"]) - without for found in strong]
    return pd.DataFrame(
        {
            "b2": strengths,
            "effect_Mg_C_ha": [float(gain.mean()) for gain in gains],
            "largest_Mg_C_ha": [float(gain.max()) for gain in gains],
        }
    )


# The posterior of protection, given the study's results.


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """Targets as polynomials of the protection parameters.

    Attributes:
        lower, upper: the box in which it was made, [parameter].
        powers: of each term, [term, parameter].
        weights: [term, target].
        error: largest error at points that it was not made from, in tolerances, [target].
    """

    lower: np.ndarray
    upper: np.ndarray
    powers: np.ndarray
    weights: np.ndarray
    error: np.ndarray

    def __call__(self, x: Float[Array, " parameter"]) -> Float[Array, " target"]:
        """Targets at parameter values."""
        return _terms((x - self.lower) / (self.upper - self.lower), self.powers) @ self.weights


def _terms(share: Any, powers: np.ndarray) -> Any:
    """Chebyshev terms of shares of the box, [..., term]."""
    y = 2.0 * share - 1.0
    degree = int(powers.max())
    each = [jnp.ones_like(y), y]
    for _ in range(2, degree + 1):
        each.append(2.0 * y * each[-1] - each[-2])
    table = jnp.stack(each[: degree + 1], axis=0)
    factors = [table[powers[:, i], ..., i] for i in range(powers.shape[1])]
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return jnp.moveaxis(product, 0, -1)


@dataclasses.dataclass(frozen=True)
class ProtectionPosterior:
    """Draws of the protection parameters, and how far they can be believed.

    Attributes:
        draws: [draw, parameter] in the order of :data:`PROTECTION`.
        summary: a row for each parameter: mean, sd, 5 and 95 %, prior bounds, Laplace mean and sd,
            R-hat, effective draws, and mean and sd after correction by the runs themselves.
        surrogate: the polynomials that were sampled.
        pareto_k: of the importance weights of the runs against the polynomials.
    """

    draws: np.ndarray
    summary: pd.DataFrame
    surrogate: Surrogate
    pareto_k: float


def protection_posterior(
    study: Study,
    runs: Runs,
    say: Say,
    points: int = 56,
    checked: int = 16,
    corrected: int = 48,
    seed: int = 0,
) -> ProtectionPosterior:
    """Posterior of the four strengths of protection given Table 3 and Figure 1.

    One evaluation takes seconds, too long for a sampler; but its targets are smooth in four
    parameters. Polynomials are made from runs all over a box, checked on other runs, sampled
    with NUTS, and a part of the draws is weighted by what the runs themselves say of them
    (Pareto smoothed importance sampling). Priors are uniform within the bounds of the parameters.

    Args:
        study: at the fitted inputs.
        runs: of it.
        say: told what is done.
        points, checked, corrected: evaluations that the polynomials are made from, are checked
            on, and that weigh draws.
        seed: of points and draws.
    """
    declared = study.base.column().parameters()
    inputs = {
        name: Input(what=declared[name].description, keys=[name], lower=declared[name].lower,
                    upper=declared[name].upper) for name in PROTECTION
    }  # fmt: skip
    bounds = np.array([[of.lower, of.upper] for of in inputs.values()])
    fitted = np.array([value(study.base, of) for of in inputs.values()])
    # the box: all of B2, which hardly acts, and of the others far more than the posterior is wide
    reach = np.array([0.12, np.inf, 0.12, 0.12])
    lower, upper = np.clip(fitted - reach, *bounds.T), np.clip(fitted + reach, *bounds.T)

    def evaluate(x: np.ndarray, what: str) -> np.ndarray:
        found = []
        for i, row in enumerate(x):
            if i % 8 == 0:
                say(f"{what}: {i} of {len(x)}")
            values = dict(zip(PROTECTION, map(float, row), strict=True))
            other = dataclasses.replace(study, base=with_values(study.base, inputs, values))
            targets = runs.targets(other)
            found.append([targets[name] for name in TARGETS])
        return np.array(found)

    sobol = qmc.Sobol(len(PROTECTION), seed=seed).random(_power_of_two(points + checked))
    x = lower + (upper - lower) * sobol[: points + checked]
    y = evaluate(x, "runs for the polynomials")
    paper = analysis.paper().set_index("id").loc[list(TARGETS)]
    tolerance = paper["tolerance"].to_numpy()
    surrogate = _surrogate(x, y, lower, upper, points, tolerance)

    def potential(x: Float[Array, " parameter"]) -> Float[Array, ""]:
        misses = (surrogate(x) - paper["paper"].to_numpy()) / tolerance
        return 0.5 * misses @ misses

    def unbounded(u: Float[Array, " parameter"]) -> Float[Array, ""]:
        inside = jax.nn.sigmoid(u)
        volume = jnp.sum(jnp.log(inside) + jnp.log1p(-inside))
        return potential(lower + (upper - lower) * inside) - volume

    say("NUTS on the polynomials")
    sampler = MCMC(
        NUTS(potential_fn=unbounded, target_accept_prob=0.95),
        num_warmup=1000, num_samples=1000, num_chains=4, chain_method="vectorized",
        progress_bar=False,
    )  # fmt: skip
    starts = jnp.asarray(np.random.default_rng(seed).normal(0.0, 0.5, (4, len(PROTECTION))))
    sampler.run(jax.random.PRNGKey(seed), init_params=starts)
    chains = np.asarray(sampler.get_samples(group_by_chain=True))
    by_chain = lower + (upper - lower) / (1.0 + np.exp(-chains))
    draws = by_chain.reshape(-1, len(PROTECTION))

    some = draws[np.linspace(0, len(draws) - 1, corrected).astype(int)]
    exact = evaluate(some, "runs of draws")
    near = np.stack([np.asarray(surrogate(jnp.asarray(row))) for row in some])

    def misfit(found: np.ndarray) -> np.ndarray:
        return 0.5 * (((found - paper["paper"].to_numpy()) / tolerance) ** 2).sum(axis=1)

    corrected_by = importance.weights(-misfit(exact), -misfit(near))
    weights, pareto_k = corrected_by.weight, corrected_by.k
    mean = weights @ some
    hessian = np.asarray(jax.hessian(potential)(jnp.asarray(draws.mean(axis=0))))
    summary = pd.DataFrame(
        {
            "parameter": PROTECTION,
            "fitted": fitted,
            "mean": draws.mean(axis=0),
            "sd": draws.std(axis=0),
            "q05": np.quantile(draws, 0.05, axis=0),
            "q95": np.quantile(draws, 0.95, axis=0),
            "prior_lower": bounds[:, 0],
            "prior_upper": bounds[:, 1],
            "laplace_sd": _sd(hessian),
            "r_hat": [float(diagnostics.split_gelman_rubin(by_chain[..., i])) for i in range(4)],
            "effective_draws": [
                float(diagnostics.effective_sample_size(by_chain[..., i])) for i in range(4)
            ],
            "corrected_mean": mean,
            "corrected_sd": np.sqrt(weights @ (some - mean) ** 2),
        }
    )
    return ProtectionPosterior(draws, summary, surrogate, float(pareto_k))


def _sd(hessian: np.ndarray) -> np.ndarray:
    """Standard deviations of a Laplace approximation; NaN along what is flat or bends down."""
    variances, axes = np.linalg.eigh(hessian)
    if variances.min() <= 0:
        return np.full(len(hessian), np.nan)
    return np.sqrt(np.diag(axes @ np.diag(1.0 / variances) @ axes.T))


def _surrogate(
    x: np.ndarray,
    y: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    points: int,
    tolerance: np.ndarray,
    degree: int = 3,
) -> Surrogate:
    """Least squares on the first points, checked on the rest."""
    everything = itertools.product(range(degree + 1), repeat=x.shape[1])
    powers = np.array([p for p in everything if sum(p) <= degree])
    terms = np.asarray(_terms((x - lower) / (upper - lower), powers))
    weights = np.linalg.lstsq(terms[:points], y[:points], rcond=None)[0]
    error = np.abs(terms[points:] @ weights - y[points:]).max(axis=0) / tolerance
    return Surrogate(lower, upper, powers, weights, error)


def _power_of_two(n: int) -> int:
    return 1 << (n - 1).bit_length()


def plot_protection(posterior: ProtectionPosterior, path: Path) -> None:
    """Marginal posteriors of the four strengths beside their uniform priors, a PNG."""
    from diffsoil.report.pictures import Figure, save

    figure = Figure(figsize=(6.9, 2.1), layout="constrained")
    axes = figure.subplots(1, len(PROTECTION))
    declared = places(Protection())
    for i, (ax, of) in enumerate(zip(axes, MECHANISMS.own.values(), strict=True)):
        unit = declared[PROTECTION[i]].parameter.unit
        row = posterior.summary.iloc[i]
        ax.hist(posterior.draws[:, i], bins=40, density=True, color="#0072B2", alpha=0.8)
        width = row["prior_upper"] - row["prior_lower"]
        ax.axhline(1.0 / width, color="0.4", linewidth=0.8, label="prior")
        ax.axvline(row["fitted"], color="#D55E00", linewidth=1.0, label="study")
        symbol = of.strength.capitalize() + ("" if unit == "1" else f" ({unit})")
        ax.set_xlabel(f"{symbol}, {of.words}", fontsize=8)
        ax.set_yticks([])
        ax.tick_params(labelsize=7)
    axes[0].set_ylabel("density", fontsize=8)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=7
    )
    save(figure, path, dpi=200)
