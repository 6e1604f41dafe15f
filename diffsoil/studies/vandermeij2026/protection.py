"""Posterior of the four strengths of protection, given Table 3 and Figure 1 of the study."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
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
from diffsoil.cases.inputs import Input, value, with_values
from diffsoil.parameters import places
from diffsoil.processes.protection import MECHANISMS, Protection
from diffsoil.report.pictures import Figure, save
from diffsoil.studies.vandermeij2026 import analysis
from diffsoil.studies.vandermeij2026.fit import TARGETS, Runs
from diffsoil.studies.vandermeij2026.scenarios import Study
from diffsoil.work.progress import Say

PROTECTION = tuple(f"protection.{m.strength}" for m in MECHANISMS.own.values())
"""The strength of each mechanism."""


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


class Evaluations:
    """Targets of the study with other strengths of protection, told as they are computed."""

    def __init__(self, study: Study, runs: Runs, say: Say) -> None:
        self.study, self.runs, self.say = study, runs, say
        declared = study.base.column().parameters()
        self.inputs = {
            name: Input(what=declared[name].description, keys=[name], lower=declared[name].lower,
                        upper=declared[name].upper) for name in PROTECTION
        }  # fmt: skip
        self.bounds = np.array([[of.lower, of.upper] for of in self.inputs.values()])
        self.fitted = np.array([value(study.base, of) for of in self.inputs.values()])

    def __call__(self, x: np.ndarray, what: str) -> np.ndarray:
        """Targets of parameters, [point, target]."""
        found = []
        for i, row in enumerate(x):
            if i % 8 == 0:
                self.say(f"{what}: {i} of {len(x)}")
            values = dict(zip(PROTECTION, map(float, row), strict=True))
            base = with_values(self.study.base, self.inputs, values)
            targets = self.runs.targets(dataclasses.replace(self.study, base=base))
            found.append([targets[name] for name in TARGETS])
        return np.array(found)


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
    evaluate = Evaluations(study, runs, say)
    # the box: all of B2, which hardly acts, and of the others far more than the posterior is wide
    reach = np.array([0.12, np.inf, 0.12, 0.12])
    lower, upper = (
        np.clip(evaluate.fitted + shift, *evaluate.bounds.T) for shift in (-reach, reach)
    )
    sobol = qmc.Sobol(len(PROTECTION), seed=seed).random(_power_of_two(points + checked))
    x = lower + (upper - lower) * sobol[: points + checked]
    y = evaluate(x, "runs for the polynomials")
    paper = analysis.paper().set_index("id").loc[list(TARGETS)]
    printed, tolerance = paper["paper"].to_numpy(), paper["tolerance"].to_numpy()
    surrogate = _surrogate(x, y, lower, upper, points, tolerance)

    def potential(x: Float[Array, " parameter"]) -> Float[Array, ""]:
        misses = (surrogate(x) - printed) / tolerance
        return 0.5 * misses @ misses

    say("NUTS on the polynomials")
    by_chain = _sampled(potential, lower, upper, seed)
    draws = by_chain.reshape(-1, len(PROTECTION))
    some = draws[np.linspace(0, len(draws) - 1, corrected).astype(int)]
    exact = evaluate(some, "runs of draws")
    near = np.stack([np.asarray(surrogate(jnp.asarray(row))) for row in some])
    misfit = [0.5 * (((found - printed) / tolerance) ** 2).sum(axis=1) for found in (exact, near)]
    corrected_by = importance.weights(-misfit[0], -misfit[1])
    mean = corrected_by.weight @ some
    hessian = np.asarray(jax.hessian(potential)(jnp.asarray(draws.mean(axis=0))))
    summary = _summary(by_chain).assign(
        fitted=evaluate.fitted,
        prior_lower=evaluate.bounds[:, 0],
        prior_upper=evaluate.bounds[:, 1],
        laplace_sd=_sd(hessian),
        corrected_mean=mean,
        corrected_sd=np.sqrt(corrected_by.weight @ (some - mean) ** 2),
    )
    return ProtectionPosterior(draws, summary, surrogate, float(corrected_by.k))


def _sampled(
    potential: Callable[[Array], Array], lower: np.ndarray, upper: np.ndarray, seed: int
) -> np.ndarray:
    """Draws of NUTS inside a box, [chain, draw, parameter]."""

    def unbounded(u: Float[Array, " parameter"]) -> Float[Array, ""]:
        inside = jax.nn.sigmoid(u)
        volume = jnp.sum(jnp.log(inside) + jnp.log1p(-inside))
        return potential(lower + (upper - lower) * inside) - volume

    sampler = MCMC(
        NUTS(potential_fn=unbounded, target_accept_prob=0.95),
        num_warmup=1000, num_samples=1000, num_chains=4, chain_method="vectorized",
        progress_bar=False,
    )  # fmt: skip
    starts = jnp.asarray(np.random.default_rng(seed).normal(0.0, 0.5, (4, len(PROTECTION))))
    sampler.run(jax.random.PRNGKey(seed), init_params=starts)
    chains = np.asarray(sampler.get_samples(group_by_chain=True))
    return lower + (upper - lower) / (1.0 + np.exp(-chains))


def _summary(by_chain: np.ndarray) -> pd.DataFrame:
    """A row for each parameter: mean, sd, quantiles, and how well they are known."""
    draws = by_chain.reshape(-1, by_chain.shape[-1])
    each = [by_chain[..., i] for i in range(by_chain.shape[-1])]
    return pd.DataFrame(
        {
            "parameter": PROTECTION,
            "mean": draws.mean(axis=0),
            "sd": draws.std(axis=0),
            "q05": np.quantile(draws, 0.05, axis=0),
            "q95": np.quantile(draws, 0.95, axis=0),
            "r_hat": [float(diagnostics.split_gelman_rubin(x)) for x in each],
            "effective_draws": [float(diagnostics.effective_sample_size(x)) for x in each],
        }
    )


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
