"""Prediction from posterior draws: what is in the soil, and what would be measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from calibration.problem import Prediction, Problem

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.50, "q75": 0.75, "q95": 0.95}

ERROR_DRAWS = 1000
"""Draws of the measurement error where there is one set of parameters only."""

BATCH = 20
"""Draws that one call of the compiled program works off on each device."""


def predict_draws(
    problem: Problem,
    x: Float[np.ndarray, "draw parameter"],
    report: Callable[[str], None] = print,
) -> Prediction:
    """Predictions of many draws, with a leading axis of draws.

    Draws are worked off in batches on all devices, so memory does not grow with their number
    but for what is returned.

    Args:
        problem: what the parameters belong to.
        x: bounded parameter values, in the order of ``problem.names``.
        report: progress lines.
    """
    devices = jax.local_devices()
    lanes = len(devices)

    def some(x: Array, plan: Any) -> Prediction:
        return jax.lax.map(lambda one: problem.predict(one, plan), x)

    run = jax.pmap(some, in_axes=(0, None), devices=devices)
    size = BATCH * lanes
    padded = np.concatenate([x, np.repeat(x[-1:], -len(x) % size, axis=0)])
    parts = []
    for start in range(0, len(padded), size):
        batch = jnp.asarray(padded[start : start + size].reshape(lanes, BATCH, -1))
        result = jax.tree.map(np.asarray, run(batch, problem.plan))
        parts.append(jax.tree.map(lambda a: a.reshape(size, *a.shape[2:]), result))
        if start // size % 10 == 9:
            report(f"  predicted {min(start + size, len(x))} of {len(x)} draws")
    return jax.tree.map(lambda *a: np.concatenate(a)[: len(x)], *parts)


def measured(prediction: Prediction, seed: int) -> Float[np.ndarray, "draw obs"]:
    """Draws of what would be measured: the prediction with its measurement error."""
    noise = np.random.default_rng(seed).standard_normal(np.shape(prediction.expected))
    return np.asarray(prediction.expected) + noise * np.asarray(prediction.sd)


def table(problem: Problem, prediction: Prediction, seed: int) -> pd.DataFrame:
    """The observations with their predictive distribution.

    Adds mean, sd and quantiles of what would be measured, and mean and sd of what is in the
    soil (``latent_``), to the columns of the observation file.
    """
    if len(prediction.latent) == 1:  # a best fit alone: its measurement error still spreads
        prediction = jax.tree.map(lambda a: np.repeat(a, ERROR_DRAWS, axis=0), prediction)
    draws = measured(prediction, seed)
    latent = np.asarray(prediction.latent)
    columns = {"mean": draws.mean(axis=0), "sd": draws.std(axis=0)}
    columns |= {name: np.quantile(draws, q, axis=0) for name, q in QUANTILES.items()}
    columns |= {"latent_mean": latent.mean(axis=0), "latent_sd": latent.std(axis=0)}
    observed = problem.table.drop(columns=["line", "file", "member"])
    observed = observed.rename(columns={"sd": "observed_sd"})
    return pd.concat([observed, pd.DataFrame(columns, index=observed.index)], axis=1)
