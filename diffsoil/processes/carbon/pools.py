"""The pools of RothC-26.3: what a month makes of them, and what enters which.

One month: every pool loses ``1 - exp(-k m / 12)`` of itself, m being the product of all rate
modifiers; of the loss a part leaves as CO2 and the rest becomes BIO and HUM in fixed shares;
fresh input arrives at the end of the month (Coleman & Jenkinson 1996; order of the official
code).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

BIO_SHARE = 0.46
"""Share of BIO in the decomposed carbon that stays in the soil; the rest is HUM."""

MANURE_DPM, MANURE_RPM, MANURE_HUM = 0.49, 0.49, 0.02
"""Pools that farmyard manure enters."""


def co2_ratio(clay_percent: Float[Array, "..."]) -> Float[Array, "..."]:
    """Ratio x of CO2 to (BIO + HUM) in decomposition products; 5.76 without clay.

    Args:
        clay_percent: clay (< 2 um), mass %, 0 to 100.

    Source: RothC-26.3.
    """
    return 1.67 * (1.85 + 1.60 * jnp.exp(-0.0786 * clay_percent))


def plant_shares(dpm_rpm_ratio: Float[Array, "..."]) -> tuple[Array, Array]:
    """Shares of plant input that enter DPM and RPM, from their ratio (>= 0)."""
    return dpm_rpm_ratio / (1.0 + dpm_rpm_ratio), 1.0 / (1.0 + dpm_rpm_ratio)


def decompose(
    pools: Float[Array, "4 ..."],
    modifier: Float[Array, "..."],
    rates: Float[Array, "4"],
    ratio: Float[Array, "..."],
    months: float = 1.0,
) -> tuple[Float[Array, "4 ..."], Float[Array, "..."]]:
    """One month of decomposition, before fresh input.

    Args:
        pools: DPM, RPM, BIO, HUM; any amount unit, or the amount of a tracer in them.
        modifier: product of the rate modifiers, >= 0, dimensionless.
        rates: decomposition rates of the four pools, 1/a.
        ratio: CO2 / (BIO + HUM) of the products (:func:`co2_ratio`).
        months: length of the step.

    Returns:
        Pools after the step, and what left as CO2; together they equal what was there.
    """
    years = months / 12.0
    lost = -jnp.expm1(-jnp.multiply.outer(rates, modifier) * years) * pools
    total = jnp.sum(lost, axis=0)
    stays = total / (1.0 + ratio)
    gain = jnp.stack([jnp.zeros_like(stays)] * 2 + [BIO_SHARE * stays, (1 - BIO_SHARE) * stays])
    return pools - lost + gain, total - stays
