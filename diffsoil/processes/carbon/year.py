"""A year of decomposition and input: month after month, or composed into one linear map."""

from __future__ import annotations

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from diffsoil.processes.carbon.pools import BIO_SHARE, decompose
from diffsoil.state import ACTIVE


def twelve_months(
    pools: Float[Array, "tracer 4 place"],
    inputs: Float[Array, "tracer 12 4 place"],
    modifier: Float[Array, "12 place"],
    rates: Float[Array, "4"],
    ratio: Float[Array, " place"],
    monthly_decay: Float[Array, " tracer"],
) -> tuple[Float[Array, "tracer 4 place"], Float[Array, "tracer place"]]:
    """One year of decomposition and input.

    Args:
        pools: amounts of several tracers (carbon, 14C, ...) in the active pools.
        inputs: arriving at the end of each month.
        modifier: product of all rate modifiers.
        rates: decomposition rates, 1/a.
        ratio: CO2 / (BIO + HUM) of the products.
        monthly_decay: share of each tracer that survives a month of radioactive decay.

    Returns:
        Pools at the end of the year, and what left as CO2.
    """
    survival = monthly_decay[:, None, None]

    def month(carry: tuple[Array, Array], x: tuple[Array, Array]) -> tuple[tuple, None]:
        now, gone = carry
        slowing, arriving = x
        after, co2 = decompose(jnp.moveaxis(now, 1, 0), slowing[None], rates, ratio[None])
        after = jnp.moveaxis(after, 0, 1) * survival + arriving
        return (after, gone + co2), None

    start = (pools, jnp.zeros_like(pools[:, 0]))
    (end, gone), _ = lax.scan(month, start, (modifier, jnp.moveaxis(inputs, 1, 0)))
    return end, gone


def compose_year(
    inputs: Float[Array, "tracer 12 4 place"],
    modifier: Float[Array, "12 place"],
    rates: Float[Array, "4"],
    ratio: Float[Array, " place"],
    monthly_decay: Float[Array, " tracer"],
) -> tuple[Float[Array, "source 4 place"], Float[Array, "source place"]]:
    """What a year makes of one unit in each pool, and of nothing but the inputs.

    The same as :func:`twelve_months` of unit amounts, in half the work: nothing ever becomes DPM
    or RPM, and a unit of BIO or HUM has none.

    Args:
        inputs, modifier, rates, ratio: as there.
        monthly_decay: share of each tracer that survives a month of radioactive decay. It acts
            on the inputs only; on the units it is the same power for all.

    Returns:
        Pools at the end of the year, and what left as CO2, of each source: a unit of DPM, RPM,
        BIO and HUM, then the inputs of each tracer.
    """
    places, tracers = modifier.shape[1], inputs.shape[0]
    lost = -jnp.expm1(-modifier[:, None, :] * rates[None, :, None] / 12.0)
    staying = 1.0 / (1.0 + ratio)
    shares = jnp.array([BIO_SHARE, 1.0 - BIO_SHARE])[:, None, None]
    survival = monthly_decay[:, None]
    no_plant = jnp.zeros((2, places))
    decay = jnp.concatenate([jnp.ones((ACTIVE, 1)), survival])[None]

    # DPM and RPM: what is left of a unit of each, and of the inputs; BIO and HUM: of all sources
    def month(carry: tuple[Array, ...], x: tuple[Array, Array]) -> tuple[tuple, None]:
        unit, fresh, humus, gone = carry
        loses, arriving = x
        of_unit = loses[:2] * unit
        of_fresh = loses[:2, None] * fresh
        of_humus = loses[2:, None] * humus
        of_plant = jnp.concatenate([of_unit, no_plant, jnp.sum(of_fresh, axis=0)])
        total = of_plant + jnp.sum(of_humus, axis=0)
        stays = total * staying[None]
        humus = (humus - of_humus + shares * stays[None]) * decay
        arrived = jnp.concatenate([jnp.zeros((2, ACTIVE, places)), arriving[2:]], axis=1)
        fresh = (fresh - of_fresh) * survival[None] + arriving[:2]
        return (unit - of_unit, fresh, humus + arrived, gone + total - stays), None

    of_bio = jnp.zeros((ACTIVE + tracers, places)).at[2].set(1.0)
    of_hum = jnp.zeros((ACTIVE + tracers, places)).at[3].set(1.0)
    start = (
        jnp.ones((2, places)),
        jnp.zeros((2, tracers, places)),
        jnp.stack([of_bio, of_hum]),
        jnp.zeros((ACTIVE + tracers, places)),
    )
    arriving = jnp.moveaxis(inputs, (1, 2), (0, 1))
    (unit, fresh, humus, gone), _ = lax.scan(month, start, (lost, arriving))
    apart = jnp.eye(2, ACTIVE)[:, :, None] * unit[:, None]
    pools = jnp.concatenate([jnp.concatenate([apart, fresh], axis=1), humus])
    return jnp.moveaxis(pools, 0, 1), gone
