"""Pools that decompose at rates of their own: a month, and a year composed into one linear map.

One month: every pool loses ``1 - exp(-k m / 12)`` of itself, m being the product of all rate
modifiers; of the loss fixed shares become other pools, or the same one again, and the rest leaves
as CO2; fresh input arrives at the end of the month (the order of the official code of RothC).
"""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

type Transfers = Mapping[tuple[int, int], Float[Array, "..."]]
"""Share of what a pool loses that another one gains, by donor and recipient; a number, or one for
each place. Pools that nothing feeds come before the others."""


def lost_share(
    rates: Float[Array, "pool place"], modifier: Float[Array, "month place"], months: float = 1.0
) -> Float[Array, "month pool place"]:
    """Share of each pool that decomposes in a month.

    Args:
        rates: decomposition rates, 1/a, with all that slows them down the whole year.
        modifier: product of the rate modifiers of the month, >= 0, dimensionless.
        months: length of a month, in months.
    """
    return -jnp.expm1(-modifier[:, None, :] * rates[None] * (months / 12.0))


def decompose(
    pools: Float[Array, "pool ..."], loses: Float[Array, "pool ..."], transfers: Transfers
) -> tuple[Float[Array, "pool ..."], Float[Array, "..."]]:
    """One month of decomposition, before fresh input.

    Args:
        pools: any amount unit, or the amount of a tracer in them.
        loses: share of each pool that decomposes; see :func:`lost_share`.
        transfers: where it goes.

    Returns:
        Pools after the month, and what left as CO2; together they equal what was there.
    """
    lost = loses * pools
    gained = jnp.stack([_gain(lost, transfers, recipient) for recipient in range(len(pools))])
    return pools - lost + gained, jnp.sum(lost, axis=0) - jnp.sum(gained, axis=0)


def _gain(lost: Float[Array, "pool ..."], transfers: Transfers, recipient: int) -> Array:
    """What a pool gets of what some pools lose."""
    found = jnp.zeros_like(lost[0])
    for donor in range(len(lost)):
        if (share := transfers.get((donor, recipient))) is not None:
            found = found + _times(share, lost[donor])
    return found


def _times(share: Array, amount: Float[Array, "..."]) -> Float[Array, "..."]:
    return share.reshape((1,) * (amount.ndim - share.ndim) + share.shape) * amount


def twelve_months(
    pools: Float[Array, "tracer pool place"],
    inputs: Float[Array, "tracer 12 pool place"],
    loses: Float[Array, "12 pool place"],
    transfers: Transfers,
    monthly_decay: Float[Array, " tracer"],
) -> tuple[Float[Array, "tracer pool place"], Float[Array, "tracer place"]]:
    """One year of decomposition and input.

    Args:
        pools: amounts of several tracers (carbon, 14C, ...).
        inputs: arriving at the end of each month.
        loses: share of each pool that decomposes in each month.
        transfers: where it goes.
        monthly_decay: share of each tracer that survives a month of radioactive decay.

    Returns:
        Pools at the end of the year, and what left as CO2.
    """
    survival = monthly_decay[:, None]

    def month(carry: tuple[Array, Array], x: tuple[Array, Array]) -> tuple[tuple, None]:
        now, gone = carry
        share, arriving = x
        after, co2 = decompose(now, share[:, None], transfers)
        return (after * survival[None] + arriving, gone + co2), None

    by_pool = jnp.moveaxis(pools, 0, 1)
    start = (by_pool, jnp.zeros_like(by_pool[0]))
    arriving = jnp.moveaxis(inputs, (1, 2), (0, 1))
    (end, gone), _ = lax.scan(month, start, (loses, arriving))
    return jnp.moveaxis(end, 0, 1), gone


def compose_year(
    inputs: Float[Array, "tracer 12 pool place"],
    loses: Float[Array, "12 pool place"],
    transfers: Transfers,
    monthly_decay: Float[Array, " tracer"],
) -> tuple[Float[Array, "source pool place"], Float[Array, "source place"]]:
    """What a year makes of one unit in each pool, and of nothing but the inputs.

    The same as :func:`twelve_months` of unit amounts, in less work: a pool that nothing feeds has
    nothing of the others.

    Args:
        inputs, loses, transfers: as there.
        monthly_decay: share of each tracer that survives a month of radioactive decay. It acts
            on the inputs only; on the units it is the same power for all.

    Returns:
        Pools at the end of the year, and what left as CO2, of each source: a unit of each pool,
        then the inputs of each tracer.
    """
    tracers, size, places = inputs.shape[0], loses.shape[1], loses.shape[2]
    first = min(recipient for _, recipient in transfers) if transfers else size
    fed = size - first
    survival = monthly_decay[:, None]
    decay = jnp.concatenate([jnp.ones((size, 1)), survival])
    from_rest = {(d - first, r): share for (d, r), share in transfers.items() if d >= first}
    others = range(first, size)
    nothing = jnp.zeros((fed, places))

    def gain(pool: int, of_unit: Array, of_fresh: Array) -> Array:
        """What a pool gets of those that nothing feeds, by source."""
        shares = [transfers.get((donor, pool), jnp.zeros(())) for donor in range(first)]
        by_unit = jnp.stack([_times(s, of) for s, of in zip(shares, of_unit, strict=True)])
        return jnp.concatenate([by_unit, nothing, _gain(of_fresh, transfers, pool)])

    # of pools that nothing feeds: what is left of a unit, and of the inputs; of others: by source
    def month(carry: tuple[Array, ...], x: tuple[Array, Array]) -> tuple[tuple, None]:
        unit, fresh, rest, gone = carry
        share, arriving = x
        of_unit = share[:first] * unit
        of_fresh = share[:first, None] * fresh
        of_rest = share[first:, None] * rest
        gained = jnp.stack(
            [gain(pool, of_unit, of_fresh) + _gain(of_rest, from_rest, pool) for pool in others]
        )
        lost = jnp.concatenate([of_unit, nothing, jnp.sum(of_fresh, axis=0)])
        lost = lost + jnp.sum(of_rest, axis=0)
        rest = (rest - of_rest + gained) * decay[None]
        arrived = jnp.concatenate([jnp.zeros((fed, size, places)), arriving[first:]], axis=1)
        fresh = (fresh - of_fresh) * survival[None] + arriving[:first]
        co2 = lost - jnp.sum(gained, axis=0)
        return (unit - of_unit, fresh, rest + arrived, gone + co2), None

    units = jnp.eye(size)[first:, :, None] * jnp.ones((1, 1, places))
    start = (
        jnp.ones((first, places)),
        jnp.zeros((first, tracers, places)),
        jnp.concatenate([units, jnp.zeros((fed, tracers, places))], axis=1),
        jnp.zeros((size + tracers, places)),
    )
    arriving = jnp.moveaxis(inputs, (1, 2), (0, 1))
    (unit, fresh, rest, gone), _ = lax.scan(month, start, (loses, arriving))
    apart = jnp.eye(first, size)[:, :, None] * unit[:, None]
    pools = jnp.concatenate([jnp.concatenate([apart, fresh], axis=1), rest])
    return jnp.moveaxis(pools, 0, 1), gone
