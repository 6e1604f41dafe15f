"""Priors and the map between a bounded parameter and the whole real line."""

from __future__ import annotations

import math
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float
from scipy import special

from diffsoil.parameters import Parameter, Prior

TINY, EPS = np.finfo(float).tiny, np.finfo(float).eps
"""The least normal number, and the distance of 1 to the next."""


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
        self._flat = np.array([p.prior.kind == "uniform" for p in parameters], dtype=bool)
        normals = np.array([_normal(p.prior) for p in parameters], dtype=float).reshape(-1, 2)
        self._middle, self._scale = normals.T
        bounds = np.array([(p.lower, p.upper) for p in parameters], dtype=float).reshape(-1, 2).T
        with np.errstate(divide="ignore"):
            logarithms = np.log(np.where(self._of_logarithm, bounds, 1.0))
        self._bounds = np.where(self._of_logarithm, logarithms, bounds)
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
        u = _uniform(jax.random.split(key, len(self._given)), draws)
        # in NumPy: with JAX each size of a sample would be compiled for seconds
        return jnp.asarray(self._quantile(np.asarray(u).T))

    def _quantile(
        self, u: Float[np.ndarray, "draw parameter"]
    ) -> Float[np.ndarray, "draw parameter"]:
        """Values that the priors are below with given probabilities, in (0, 1)."""
        low, high = self._bounds
        # from the tail that is nearer: there probabilities keep their digits
        side = np.where(low > self._middle, -1.0, 1.0)
        below, above = (side * (b - self._middle) / self._scale for b in (low, high))
        p = (1 - u) * special.ndtr(below) + u * special.ndtr(above)
        normal = self._middle + side * self._scale * special.ndtri(np.clip(p, TINY, 1 - EPS))
        with np.errstate(invalid="ignore"):  # a flat prior has two finite bounds, others may not
            value = np.where(self._flat, low + u * (high - low), normal)
        return np.where(self._of_logarithm, np.exp(value * self._of_logarithm), value)


@partial(jax.jit, static_argnums=1)
def _uniform(keys: Array, draws: int) -> Float[Array, "parameter draw"]:
    """Random numbers in (0, 1), of one key for each parameter."""
    return jax.vmap(lambda key: jax.random.uniform(key, (draws,), minval=TINY))(keys)
