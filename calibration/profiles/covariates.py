"""Turnover that follows what is measured of a soil: a regression on covariates of its horizons.

The logarithm of the rate at which carbon turns over in a layer gets a term more, of the covariates
of the horizon that the layer lies in: linear, or a small network with one hidden layer. It acts
beside depth and protection, on all pools. Covariates are standardised over the layers, so that a
coefficient is the change of the logarithm by one standard deviation. Their priors keep it small:
what the profiles do not tell is no effect.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from diffsoil.io import InputError
from diffsoil.parameters import Parameter, normal
from diffsoil.tables import MISSING, read_texts
from diffsoil.work.progress import Say

PREFIX = "covariate."
WIDTH = 0.2
"""Prior standard deviation of a coefficient: a fifth faster or slower for one of a covariate."""
UNITS = 3
"""Hidden units of the network."""
LARGEST = 6.0
"""Bounds of coefficients and weights, in standard deviations of their prior."""


class Regression(eqx.Module):
    """What the covariates add to the logarithm of the turnover of every layer.

    Attributes:
        covariates: standardised values of every layer.
        names: of the covariates.
    """

    covariates: Float[Array, "profile layer covariate"]
    names: tuple[str, ...] = eqx.field(static=True)

    def parameters(self) -> list[Parameter]:
        """The parameters of the regression, with their priors."""
        raise NotImplementedError

    def __call__(self, values: Mapping[str, Array]) -> Float[Array, "profile layer"]:
        """What is added.

        Args:
            values: of its parameters, by name.
        """
        raise NotImplementedError

    def part(self, profiles: Sequence[int]) -> Self:
        """The regression of some of the profiles."""
        return dataclasses.replace(self, covariates=self.covariates[jnp.asarray(profiles)])


class Linear(Regression):
    """One coefficient for each covariate."""

    def parameters(self) -> list[Parameter]:
        """See :class:`Regression`."""
        about = "change of the log turnover with one standard deviation of {}"
        return [_free(name, WIDTH, about.format(name)) for name in self.names]

    def __call__(self, values: Mapping[str, Array]) -> Float[Array, "profile layer"]:
        """See :class:`Regression`."""
        found: Array = self.covariates @ jnp.stack([values[PREFIX + name] for name in self.names])
        return found


class Network(Regression):
    """A multilayer perceptron with :data:`UNITS` hidden units.

    Its weights have standard normal priors; they are divided by the square root of what comes in,
    and the outcome is multiplied by :data:`WIDTH` times the square root of the number of
    covariates. So its prior is about as wide as that of :class:`Linear`.
    """

    def _made(self) -> eqx.nn.MLP:
        return eqx.nn.MLP(
            len(self.names),
            "scalar",
            width_size=UNITS,
            depth=1,
            activation=jnp.tanh,
            use_final_bias=False,
            key=jax.random.key(0),
        )

    def parameters(self) -> list[Parameter]:
        """See :class:`Regression`."""
        count = ravel_pytree(eqx.filter(self._made(), eqx.is_array))[0].size
        return [_free(f"weight_{i}", 1.0, "weight of the network") for i in range(count)]

    def __call__(self, values: Mapping[str, Array]) -> Float[Array, "profile layer"]:
        """See :class:`Regression`."""
        arrays, static = eqx.partition(self._made(), eqx.is_array)
        flat, unravelled = ravel_pytree(arrays)
        weights = jnp.stack([values[f"{PREFIX}weight_{i}"] for i in range(flat.size)])
        network = jax.vmap(jax.vmap(eqx.combine(unravelled(weights), static)))
        outcome = network(self.covariates / np.sqrt(len(self.names))) / np.sqrt(UNITS)
        found: Array = WIDTH * np.sqrt(len(self.names)) * outcome
        return found


REGRESSIONS = {"linear": Linear, "network": Network}


def _free(name: str, width: float, about: str) -> Parameter:
    source = "assumption: no effect unless the profiles tell one"
    far = LARGEST * width
    return Parameter(PREFIX + name, 0.0, "1", -far, far, normal(0.0, width), source, about)


def of_layers(
    path: Path,
    columns: Sequence[str],
    profiles: Sequence[str],
    depth: Float[np.ndarray, " layer"],
    say: Say,
) -> Float[np.ndarray, "profile layer covariate"]:
    """Standardised covariates of every layer, from a table of horizons.

    A layer has the values of the horizon that its middle lies in, or of the nearest one that has
    a value. A profile without any value has the mean of the others, and is named.

    Args:
        path: a table with ``profile_id``, ``upper_cm``, ``lower_cm`` and the covariates.
        columns: the covariates.
        profiles: names of the profiles.
        depth: middle of the layers, m.
        say: called with a line for each covariate that some profiles do not have.

    Raises:
        diffsoil.io.InputError: names table, column and profile.
    """
    table = read_texts(path, ("profile_id", "upper_cm", "lower_cm", *columns))
    for column in ("upper_cm", "lower_cm", *columns):
        numbers = pd.to_numeric(table[column], errors="coerce")
        for line in table.index[numbers.isna() & ~table[column].str.lower().isin(MISSING)]:
            value = table.loc[line, column]
            raise InputError(f"{path}: line {line}, column {column!r}: {value!r} is not a number")
        table[column] = numbers
    for line in table.index[table[["upper_cm", "lower_cm"]].isna().any(axis=1)]:
        raise InputError(f"{path}: line {line}: upper_cm or lower_cm is missing")
    found = np.full((len(profiles), depth.size, len(columns)), np.nan)
    horizons = dict(list(table.groupby("profile_id")))
    for place, profile in enumerate(profiles):
        if profile not in horizons:
            raise InputError(f"{path}: no horizon of profile {profile!r}")
        for number, column in enumerate(columns):
            known = horizons[profile].dropna(subset=[column])
            if len(known):
                found[place, :, number] = _nearest_horizon(known, column, depth)
    for number, column in enumerate(columns):
        unknown = np.isnan(found[:, 0, number])
        if unknown.all() or not np.nanstd(found[..., number]) > 0:
            raise InputError(f"{path}: column {column!r}: the same value in all layers, or none")
        if unknown.any():
            names = ", ".join(np.array(profiles)[unknown])
            say(f"{column}: the mean of the others for {names}, which has no value")
    middle, spread = np.nanmean(found, axis=(0, 1)), np.nanstd(found, axis=(0, 1))
    return np.nan_to_num((found - middle) / spread)


def _nearest_horizon(
    horizons: pd.DataFrame, column: str, depth: Float[np.ndarray, " layer"]
) -> Float[np.ndarray, " layer"]:
    upper, lower = (horizons[edge].to_numpy(float) / 100.0 for edge in ("upper_cm", "lower_cm"))
    away = np.maximum(np.maximum(upper - depth[:, None], depth[:, None] - lower), 0.0)
    values: np.ndarray = horizons[column].to_numpy(float)[away.argmin(axis=1)]
    return values
