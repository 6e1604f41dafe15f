"""The strongest of several mechanisms, with and without a kink."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.registry import Registry


class HardMinimum(eqx.Module):
    """The strongest mechanism alone counts; the gradient jumps where two change places."""

    def __call__(
        self, modifiers: Float[Array, "mechanism ..."], weights: Array | None = None
    ) -> Array:
        """Minimum along the first axis, whatever the weights."""
        return safe.minimum_hard(modifiers)


class SoftMinimum(eqx.Module):
    """A smooth minimum, below the hard one by at most ``width * log(number of mechanisms)``."""

    width: float = eqx.field(static=True, default=0.01)

    def __call__(
        self, modifiers: Float[Array, "mechanism ..."], weights: Array | None = None
    ) -> Array:
        """Smooth minimum along the first axis.

        Args:
            modifiers: at most 1.
            weights: how much each counts, 0 (as if it were not there) to 1; all count if not
                given. Where none counts the minimum is 1.
        """
        if weights is None:
            return safe.minimum_soft(modifiers, self.width)
        every = jnp.concatenate([modifiers, jnp.ones_like(modifiers[:1])])
        counts = jnp.concatenate([weights, jnp.prod(1.0 - weights)[None]])
        least = lax.stop_gradient(jnp.min(every, axis=0))
        powers = jnp.exp((least[None] - every) / self.width)
        return least - self.width * jnp.log(jnp.tensordot(counts, powers, 1))


MINIMA: Registry[type[HardMinimum] | type[SoftMinimum]] = Registry(
    "minimum", {"hard": HardMinimum, "soft": SoftMinimum}
)
"""What a case may choose as ``minimum``."""
