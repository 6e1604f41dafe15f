"""Net primary production from climate, for vegetation whose input is not known.

All functions return g dry matter per m2 and year; :func:`carbon_input` makes Mg C/ha of it.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

CARBON_IN_DRY_MATTER = 0.475
"""Carbon content of plant dry matter; published values 0.45 to 0.50."""

Climate = Float[Array, ""] | float


def miami(temperature: Climate, precipitation: Climate) -> Array:
    """Miami model (Lieth 1973): the lower of a temperature and a precipitation limit.

    Args:
        temperature: yearly mean, degrees C.
        precipitation: mm/a, >= 0.
    """
    warm = 3000.0 / (1.0 + jnp.exp(1.315 - 0.119 * temperature))
    wet = 3000.0 * (1.0 - jnp.exp(-0.000664 * precipitation))
    return jnp.minimum(warm, wet)


def schuur(temperature: Climate, precipitation: Climate) -> Array:
    """Schuur (2003), arguments as in :func:`miami`; declines in very wet climates."""
    wet = 0.005215 * precipitation**1.12363 / jnp.exp(0.000459532 * precipitation)
    warm = 17.6243 / (1.0 + jnp.exp(1.3496 - 0.071514 * temperature))
    return 200.0 * jnp.minimum(warm, wet)


def nceas(temperature: Climate, precipitation: Climate) -> Array:
    """NCEAS model for non-tree vegetation (Del Grosso et al. 2008), arguments as in Miami."""
    wet = 0.551 * precipitation**1.055 / jnp.exp(0.000306 * precipitation)
    warm = 2540.0 / (1.0 + jnp.exp(1.584 - 0.0622 * temperature))
    return 2.0 * jnp.minimum(warm, wet)


MODELS = {"miami": miami, "schuur": schuur, "nceas": nceas}
"""The models by the names a case uses."""


def carbon_input(dry_matter: Climate) -> Climate:
    """Mg C/ha/a from g dry matter/m2/a."""
    return dry_matter * CARBON_IN_DRY_MATTER / 100.0
