"""Soil water where years differ: a monthly bucket, run through wet and dry years of a climate.

What percolates is a convex function of the rain, so a climate of equal years lets too little
through: in a dry one nothing but what runs by. One year of normals stands for many, so here it is
run many times, with the yearly rain spread around it, and the water of all of them is averaged.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from diffsoil.parameters import normal, parameter
from diffsoil.processes.water import Water

SEQUENCES, LENGTH = 5, 4
"""Years run side by side and one after the other: a wet one wets the soil of the next."""


def rain_factors(variation: Float[Array, ""], years: int) -> Float[Array, " year"]:
    """Factors on the rain of so many years: quantiles of a lognormal distribution, of mean 1.

    Args:
        variation: coefficient of variation of the yearly rain, >= 0.
        years: number of years, at least 1.
    """
    shares = (np.arange(years) + 0.5) / years
    places = jnp.asarray([NormalDist().inv_cdf(share) for share in shares])
    factors = jnp.exp(jnp.sqrt(jnp.log1p(variation**2) + math.ulp(1.0)) * places)
    return factors / jnp.mean(factors)


class WeatherYears(Water):
    """The bucket of :class:`diffsoil.processes.water.Water`, for years that differ in their rain.

    Sequences of some years begin as wet as the year of the normals does. Years of the record of a
    case, in slow steps of one year, are taken as they are.
    """

    rain_variation: Float[Array, ""] = parameter(
        0.17, unit="1", lower=0.0, upper=0.6, prior=normal(0.17, 0.05),
        source="assumption: 0.15 to 0.2 in humid temperate climates, more in dry ones",
        description="coefficient of variation of the yearly rain",
    )  # fmt: skip

    def many_years(
        self, run: Callable, start: Float[Array, " layer"], weather: tuple[Array, Array, Array]
    ) -> tuple:
        """See :meth:`diffsoil.processes.water.Water.many_years`."""
        rain, demand, cover = weather
        count = SEQUENCES * LENGTH
        mixed = np.random.default_rng(0).permutation(count).reshape(SEQUENCES, LENGTH)

        def year(water: Array, factor: Array) -> tuple[Array, tuple]:
            end, monthly = run(water, (factor * rain, demand, cover))
            return end, (water, end, monthly)

        def sequence(factors: Array) -> tuple:
            years: tuple = lax.scan(year, start, factors)[1]
            return years

        every = jax.vmap(sequence)(rain_factors(self.rain_variation, count)[mixed])
        mean: tuple = jax.tree.map(lambda values: jnp.mean(values, axis=(0, 1)), every)
        return mean
