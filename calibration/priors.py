"""Priors and the map between a bounded parameter and the whole real line."""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float

from diffsoil.parameters import Parameter, Prior


class Transform(eqx.Module):
    """Bounded values of a list of parameters, from unbounded ones and back.

    A parameter with two bounds goes through a scaled logistic, one with an infinite upper bound
    through an exponential.
    """

    lower: Float[Array, " parameter"]
    upper: Float[Array, " parameter"]
    open: Bool[Array, " parameter"]

    def __init__(self, parameters: list[Parameter]) -> None:
        self.lower = jnp.asarray([p.lower for p in parameters], dtype=float)
        self.upper = jnp.asarray([p.upper for p in parameters], dtype=float)
        self.open = jnp.isinf(self.upper)

    @property
    def _width(self) -> Float[Array, " parameter"]:
        return jnp.where(self.open, 1.0, self.upper - self.lower)

    def forward(self, z: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Bounded values."""
        bounded = self.lower + self._width * jax.nn.sigmoid(z)
        return jnp.where(self.open, self.lower + jnp.exp(jnp.where(self.open, z, 0.0)), bounded)

    def inverse(self, x: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Unbounded values; a value at a bound is taken a hair inside."""
        share = jnp.clip((x - self.lower) / self._width, 1e-9, 1 - 1e-9)
        above = jnp.log(jnp.maximum(x - self.lower, 1e-12))
        return jnp.where(self.open, above, jnp.log(share) - jnp.log1p(-share))

    def log_jacobian(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Logarithm of the determinant of d bounded / d unbounded."""
        logistic = jnp.log(self._width) - jax.nn.softplus(z) - jax.nn.softplus(-z)
        return jnp.sum(jnp.where(self.open, z, logistic))


def distribution(parameter: Parameter) -> dist.Distribution:
    """The prior of a parameter, truncated to its bounds; lognormal: of the logarithm."""
    prior = parameter.prior
    match prior.kind:
        case "uniform":
            return dist.Uniform(parameter.lower, parameter.upper)
        case "normal":
            return dist.TruncatedNormal(
                prior.location, prior.scale, low=parameter.lower, high=parameter.upper
            )
        case "lognormal":
            with np.errstate(divide="ignore"):
                low, high = np.log(parameter.lower), np.log(parameter.upper)
            # a bound at infinity is no bound, and numpyro wants it left out
            bounds = {
                name: float(value)
                for name, value in (("low", low), ("high", high))
                if np.isfinite(value)
            }
            middle = float(np.log(prior.location))
            if not bounds:
                return dist.Normal(middle, prior.scale)
            return dist.TruncatedNormal(middle, prior.scale, **bounds)


def _normal(prior: Prior) -> tuple[float, float]:
    """Mean and sd of a prior without bounds, of the logarithm where it is lognormal."""
    match prior.kind:
        case "uniform":
            return 0.0, 1.0
        case "normal":
            return prior.location, prior.scale
        case "lognormal":
            return math.log(prior.location), prior.scale


class Priors:
    """Independent priors of a list of parameters; those within the same bounds are equal."""

    def __init__(self, parameters: list[Parameter]) -> None:
        self._given = tuple((p.prior, p.lower, p.upper) for p in parameters)
        self._of_logarithm = np.array([p.prior.kind == "lognormal" for p in parameters], dtype=bool)
        self._distributions = [distribution(p) for p in parameters]
        self._flat = np.array([p.prior.kind == "uniform" for p in parameters], dtype=bool)
        normals = np.array([_normal(p.prior) for p in parameters], dtype=float).reshape(-1, 2)
        self._middle, self._scale = normals.T
        # what bounds add is the same everywhere
        self._added = -sum(
            math.log(p.upper - p.lower if flat else p.prior.within(p.lower, p.upper))
            for p, flat in zip(parameters, self._flat, strict=True)
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Priors) and self._given == other._given

    def __hash__(self) -> int:
        return hash(self._given)

    def log_density(self, x: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Logarithm of the prior density of values within their bounds."""
        # of all parameters at once: a sum over distributions takes seconds to compile
        logarithm = jnp.log(jnp.where(self._of_logarithm, x, 1.0))
        y = jnp.where(self._of_logarithm, logarithm, x)
        return jnp.sum(self._untruncated(y) - logarithm) + self._added

    def _untruncated(self, y: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Logarithm of the density without bounds, of logarithms where the prior is lognormal."""
        normal = dist.Normal(jnp.asarray(self._middle), jnp.asarray(self._scale)).log_prob(y)
        return jnp.where(self._flat, 0.0, normal)

    def sample(self, key: Array, draws: int) -> Float[Array, "draw parameter"]:
        """Draws from the priors."""
        keys = jax.random.split(key, len(self._distributions))
        columns = []
        for k, log, d in zip(keys, self._of_logarithm, self._distributions, strict=True):
            value = d.sample(k, (draws,))
            columns.append(jnp.exp(value) if log else value)
        return jnp.stack(columns, axis=1)
