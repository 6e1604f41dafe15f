"""The posterior in coordinates in which it is about a standard normal.

All methods but the ensemble work there: what they need is one log density of a vector, and runs
side by side on the devices that there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.methods.mode import Normal
from calibration.prediction import Predicted


class Density(Protocol):
    """What a sampler needs: a pytree, an argument of compiled programs."""

    def __call__(self, z: Array, value: Array | None = None) -> Array:
        """Logarithm of the posterior density of unbounded parameters."""


class Draws(NamedTuple):
    """What every method ends with.

    ``z`` are unbounded parameters by chain and draw; chains are runs that know nothing of each
    other. ``log_proposal`` is the logarithm of the density that the draws come from, where that
    is an approximation whose draws can be weighted; up to a constant, None elsewhere.
    ``log_evidence`` has one estimate a chain, where the method has one. ``statistics`` are of
    the sampler, by chain and draw, with the names that ArviZ has for them; ``facts`` is what else
    the report says. ``gradients`` and ``runs`` count evaluations of the model with and without its
    gradient, of all chains. ``predicted`` is what every draw predicts, chain after chain, where the
    method has run the model at all of them.
    """

    z: Float[np.ndarray, "chain draw parameter"]
    statistics: Mapping[str, np.ndarray] = MappingProxyType({})
    log_proposal: Float[np.ndarray, "chain draw"] | None = None
    log_evidence: Float[np.ndarray, " chain"] | None = None
    gradients: float = 0.0
    runs: float = 0.0
    facts: Mapping[str, Any] = MappingProxyType({})
    predicted: Predicted | None = None


class StandardPosterior(eqx.Module):
    """A posterior in standard coordinates of a normal approximation.

    Attributes:
        density: of unbounded parameters.
        mean, factor: of the approximation.
        value: measured values in the place of the table's own, for simulated data.
    """

    density: Density
    mean: Float[Array, " parameter"]
    factor: Float[Array, "parameter parameter"]
    value: Array | None

    def __init__(self, density: Density, start: Normal, value: Array | None = None) -> None:
        self.density, self.value = density, value
        self.mean, self.factor = jnp.asarray(start.mean), jnp.asarray(start.factor)

    @property
    def size(self) -> int:
        """Number of parameters."""
        return self.mean.size

    @property
    def log_volume(self) -> Float[Array, ""]:
        """Logarithm of the determinant of d unbounded / d whitened."""
        return jnp.sum(jnp.log(jnp.diag(self.factor)))

    def unbounded(self, u: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Unbounded parameters from whitened ones."""
        return self.mean + self.factor @ u

    def __call__(self, u: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Logarithm of the posterior density in standard coordinates; integrates to the evidence.

        A point where the model has no answer has a density of zero.
        """
        density = self.density(self.unbounded(u), self.value) + self.log_volume
        return jnp.where(jnp.isfinite(density), density, NOWHERE)


NOWHERE = -1e10


def stacked(states: Sequence[Any]) -> Any:
    """States of single chains as one of all, with a leading axis of chains."""
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *states)


def side_by_side(function: Callable, chains: int, fixed: int) -> Callable:
    """A function of one chain for all of them: on a CPU each on a device of its own.

    Args:
        function: its first ``fixed`` arguments belong to a chain, one more to all.
        chains: how many.
        fixed: see there.

    Raises:
        RuntimeError: fewer CPU devices than chains, so that they could not run side by side.
    """
    axes = (0,) * fixed + (None,)
    if jax.default_backend() != "cpu":
        return jax.jit(jax.vmap(function, in_axes=axes))
    if jax.local_device_count() < chains:
        raise RuntimeError(
            f"{chains} chains need {chains} CPU devices to run side by side, JAX has "
            f"{jax.local_device_count()}"
        )
    return jax.pmap(function, in_axes=axes, devices=jax.local_devices()[:chains])
