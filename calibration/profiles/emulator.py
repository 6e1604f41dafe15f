"""A fast stand-in for the column: the stock of each observed interval as a polynomial.

Linear physics leaves little to learn. The logarithm of a stock is almost a linear function of
the logarithms of the decomposition rates and of what slows decomposition in each layer. The
emulator of an interval is a polynomial of degree three in four coordinates: the two rates, the
mean log modifier of the layers (each weighted by the sensitivity of the stock to it, from one
Jacobian of the column) and the spread of the log modifier around this mean.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from calibration.profiles.sites import Sites
from diffsoil.numerics import polynomial
from diffsoil.work.progress import Say

DEGREE = 3
RIDGE = 1e-8
"""Relative to the number of runs; settles directions that no run explores."""


class Runs(NamedTuple):
    """Runs of the column: inputs as :meth:`.sites.Sites.stocks`, and its stocks."""

    log_rates: Float[np.ndarray, "run 2"]
    log_modifier: Float[np.ndarray, "run profile layer"]
    log_stock: Float[np.ndarray, "run obs"]

    def joined(self, other: Runs) -> Runs:
        """These runs and others."""
        return Runs(*(np.concatenate(pair) for pair in zip(self, other, strict=True)))

    def part(self, chosen: slice | np.ndarray) -> Runs:
        """Some of the runs."""
        return Runs(*(values[chosen] for values in self))


class Emulator(NamedTuple):
    """Polynomials of the log stock of every observation; all its parts are arrays.

    ``of_profile`` is the profile of each observation, ``weights`` the share of each layer in the
    mean modifier (they sum to one), ``middle`` and ``scale`` standardise the four coordinates.
    """

    of_profile: Int[np.ndarray, " obs"]
    weights: Float[np.ndarray, "obs layer"]
    middle: Float[np.ndarray, "obs 4"]
    scale: Float[np.ndarray, "obs 4"]
    coefficients: Float[np.ndarray, "obs term"]

    def __call__(
        self, log_rates: Float[Array, "2"], log_modifier: Float[Array, "profile layer"]
    ) -> Float[Array, " obs"]:
        """Logarithm of the active stock of each observation, as the column would give it."""
        z = (self._coordinates(log_rates, log_modifier) - self.middle) / self.scale
        return jnp.sum(polynomial.terms(z, FACTORS) * self.coefficients, axis=-1)

    def _coordinates(self, log_rates: Array, log_modifier: Array) -> Array:
        mine = jnp.asarray(log_modifier)[jnp.asarray(self.of_profile)]
        mean = jnp.sum(self.weights * mine, axis=1)
        spread = jnp.sum(self.weights * (mine - mean[:, None]) ** 2, axis=1)
        rates = jnp.broadcast_to(jnp.asarray(log_rates), (mean.size, 2))
        return jnp.concatenate([rates, mean[:, None], spread[:, None]], axis=1)


def _factors() -> Int[np.ndarray, "term factor"]:
    """The terms whose degree is at most :data:`DEGREE`; the spread, a second moment, counts two."""
    every = polynomial.products(variables=4, degree=DEGREE, most=4)
    degree = (every < 4).sum(axis=1) + (every == 3).sum(axis=1)
    return every[degree <= DEGREE]


FACTORS = _factors()
"""Of each term of a polynomial, see :func:`diffsoil.numerics.polynomial.products`."""


def simulate(
    sites: Sites,
    log_rates: Float[np.ndarray, "run 2"],
    log_modifier: Float[np.ndarray, "run profile layer"],
    report: Say = print,
    label: str = "runs",
) -> Runs:
    """Run the column at many points.

    Args:
        sites: the profiles.
        log_rates, log_modifier: the points.
        report: called with a line of progress now and then.
        label: what the runs are for.
    """
    stocks = []
    for number, (rates, modifier) in enumerate(zip(log_rates, log_modifier, strict=True), 1):
        stocks.append(np.asarray(sites.stocks(jnp.asarray(rates), jnp.asarray(modifier))))
        if number % 50 == 0:
            report(f"  {label}: {number} of {len(log_rates)}")
    return Runs(np.asarray(log_rates), np.asarray(log_modifier), np.log(np.stack(stocks)))


def layer_weights(sites: Sites, runs: Runs) -> Float[np.ndarray, "obs layer"]:
    """Share of each layer in the sensitivity of each stock, at the middle of some runs."""
    rates = np.median(runs.log_rates, axis=0)
    modifier = np.median(runs.log_modifier, axis=0)
    slope = sites.sensitivity(jnp.asarray(rates), jnp.asarray(modifier))
    return slope / slope.sum(axis=1, keepdims=True)


def fit(
    sites: Sites,
    weights: Float[np.ndarray, "obs layer"],
    runs: Runs,
    importance: Float[np.ndarray, " run"] | None = None,
) -> Emulator:
    """Least squares of the polynomials on runs of the column.

    Args:
        sites: the profiles.
        weights: from :func:`layer_weights`.
        runs: more than the terms of a polynomial.
        importance: weight of each run; equal if not given.

    Raises:
        ValueError: fewer runs than terms.
    """
    count = len(runs.log_rates)
    if count < len(FACTORS):
        raise ValueError(f"{count} runs for {len(FACTORS)} terms of a polynomial")
    of_profile = sites.table["profile"].to_numpy()
    blank = np.zeros((len(of_profile), 4))
    raw = Emulator(of_profile, weights, blank, blank + 1, blank)
    x = np.stack(
        [
            np.asarray(raw._coordinates(jnp.asarray(r), jnp.asarray(m)))
            for r, m in zip(runs.log_rates, runs.log_modifier, strict=True)
        ]
    )
    middle, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    terms = polynomial.values((x - middle) / scale, FACTORS)
    weight = np.ones(count) if importance is None else importance
    coefficients = [
        polynomial.least_squares(terms[:, i], runs.log_stock[:, i, None], weight, (RIDGE,))[0, :, 0]
        for i in range(len(of_profile))
    ]
    return Emulator(of_profile, weights, middle, scale, np.array(coefficients))


def errors(emulator: Emulator, runs: Runs) -> Float[np.ndarray, "run obs"]:
    """Error of the log stock at runs that the emulator has not seen."""
    predicted = [
        np.asarray(emulator(jnp.asarray(r), jnp.asarray(m)))
        for r, m in zip(runs.log_rates, runs.log_modifier, strict=True)
    ]
    return np.stack(predicted) - runs.log_stock
