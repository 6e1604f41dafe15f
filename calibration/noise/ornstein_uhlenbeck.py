"""Errors of a plot that is measured again and again: the later ones remember the earlier."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int

from calibration.noise.normal import LOG_2PI
from diffsoil.parameters import Parameter, lognormal

SHORTEST = 1e-3
"""Memory in years, below which errors are not correlated."""


def memory_parameter(name: str, of: str, years: float) -> Parameter:
    """The memory of the errors of a series, in years.

    Args:
        name: of the parameter.
        of: the series.
        years: median of its prior.
    """
    return Parameter(
        name=name,
        default=years,
        unit="a",
        lower=0.05 * years,
        upper=20.0 * years,
        prior=lognormal(years, 0.7),
        source="the case",
        description=f"years after which errors of {of} are correlated by 1/e",
    )


class OrnsteinUhlenbeck(eqx.Module):
    """One multivariate normal for each plot, with a correlation of exp(-years / memory).

    That is AR(1) where years are equally far apart. Only the fitted part of an error has the
    memory, the measured part never does; both are on the scale on which errors are symmetric.

    Attributes:
        blocks: rows of each plot by year, filled up with -1, [plot, row].
        year: calendar year of every row.
    """

    blocks: Int[np.ndarray, "plot row"]
    year: Float[np.ndarray, " obs"]

    words = ", correlated in time"

    def __bool__(self) -> bool:
        return bool(self.blocks.size)

    def covariance(
        self, scatter: Float[Array, " obs"], alone: Float[Array, " obs"], memory: Array
    ) -> Float[Array, "plot row row"]:
        """Covariance of the errors of each plot; where nothing is, that of a standard normal.

        Args:
            scatter: sd of the part with the memory.
            alone: sd of the part without.
            memory: years, by row.
        """
        year = jnp.asarray(self.year)

        def one(row: Array, known: Array) -> Array:
            away = jnp.abs(year[row][:, None] - year[row][None, :])
            kept = jnp.exp(-away / jnp.maximum(memory[row], SHORTEST)[:, None])
            together = scatter[row][:, None] * scatter[row][None, :] * kept
            full = together + jnp.diag(alone[row] ** 2)
            return jnp.where(known[:, None] & known[None, :], full, jnp.eye(row.size))

        return jax.vmap(one)(*self._rows)

    def log_density(
        self, covariance: Float[Array, "plot row row"], residual: Float[Array, " obs"]
    ) -> tuple[Float[Array, "plot row"], Float[Array, "plot row"]]:
        """Logarithm of the density of each error given the earlier ones, and given all others."""
        rows, there = self._rows

        def one(full: Array, e: Array) -> tuple[Array, Array]:
            lower = jnp.linalg.cholesky(full)
            white = solve_triangular(lower, e, lower=True)
            earlier = -0.5 * white**2 - jnp.log(jnp.diag(lower)) - 0.5 * LOG_2PI
            inverse = solve_triangular(lower, jnp.eye(e.size), lower=True)
            precision = inverse.T @ inverse
            width = jnp.diag(precision)
            left = precision @ e
            return earlier, 0.5 * (jnp.log(width) - left**2 / width - LOG_2PI)

        return jax.vmap(one)(covariance, jnp.where(there, residual[rows], 0.0))

    def sample(
        self, covariance: Float[Array, "plot row row"], standard: Float[Array, " obs"]
    ) -> Float[Array, "plot row"]:
        """Errors out of standard normal ones."""
        rows, there = self._rows
        independent = jnp.where(there, standard[rows], 0.0)
        return jnp.einsum("bij,bj->bi", jnp.linalg.cholesky(covariance), independent)

    def put(self, values: Float[Array, "plot row"], into: Float[Array, " obs"]) -> Array:
        """Values of the plots in the place of others."""
        rows = jnp.where(self._rows[1], self.blocks, into.size)  # what fills up falls off the end
        return into.at[rows].set(values, mode="drop")

    def draw(
        self, memory: Callable[[int], Float[np.ndarray, " draw"]], chosen: range, seed: int
    ) -> Iterator[tuple[int, Float[np.ndarray, " draw"]]]:
        """Standard normal errors of some rows, each going on from the year before.

        Args:
            memory: years, by draw, of a row.
            chosen: the rows.
            seed: of the random numbers, which a row has whatever is drawn together with it.
        """
        for block in self.blocks:
            rows = block[block >= 0]
            if not any(row in chosen for row in rows):
                continue
            years = np.maximum(memory(int(rows[0])), SHORTEST)
            now, before = np.zeros(len(years)), -np.inf
            for row in rows:  # by year
                kept = np.exp(-(self.year[row] - before) / years)
                fresh = np.random.default_rng([seed, row]).standard_normal(len(years))
                now = kept * now + np.sqrt(1.0 - kept**2) * fresh
                before = self.year[row]
                if row in chosen:
                    yield int(row), now

    @property
    def _rows(self) -> tuple[Array, Array]:
        """Rows of the plots, and whether they are there."""
        blocks = jnp.asarray(self.blocks)
        return jnp.maximum(blocks, 0), blocks >= 0
