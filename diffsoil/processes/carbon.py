"""Turnover of soil organic carbon in the four active pools of RothC-26.3.

One month: every pool loses ``1 - exp(-k m / 12)`` of itself, m being the product of all rate
modifiers; of the loss a part leaves as CO2 and the rest becomes BIO and HUM in fixed shares;
fresh input arrives at the end of the month (Coleman & Jenkinson 1996; order of the official
code).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.state import ACTIVE, ORGANIC, State
from diffsoil.variables import Variable

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


TOPSOIL_DEPTH = 0.25
"""m; above it decomposition is not slowed with depth."""

RADIOCARBON_MEAN_LIFE = 8267.0
"""Years; physical (Cambridge) half-life 5730 a. The RothC program keeps 5568 a."""


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


def subsoil_factor(
    depth: Float[Array, " layer"], slowing: Float[Array, ""]
) -> Float[Array, " layer"]:
    """Factor on decomposition in the subsoil, 1 down to 0.25 m and falling exponentially below.

    Less input of fresh matter, less oxygen and a sparser biomass slow decomposition in subsoils
    beyond what temperature and moisture explain (Jenkinson & Coleman 2008 needed such a factor).

    Args:
        depth: middle of the layers, m.
        slowing: relative fall per metre, 1/m, >= 0.
    """
    return jnp.exp(-slowing * jnp.maximum(depth - TOPSOIL_DEPTH, 0.0))


class Carbon(Process):
    """Turnover of DPM, RPM, BIO and HUM in the litter layer and in every mineral layer.

    The litter layer has no clay, hence no stabilisation by it, and no protection.
    """

    name: ClassVar[str] = "carbon"
    variables: ClassVar[Mapping[str, Variable]] = {
        "annual_map": Variable(
            ("source", "active_pool", "place"), "1", "one year of decomposition as a linear map"
        ),
        "annual_co2": Variable(("source", "place"), "1", "CO2 of one year as a linear map"),
        "annual_input": Variable((), "Mg ha-1", "carbon added in a year"),
    }
    needs: ClassVar[tuple[str, ...]] = (
        "clay_percent",
        "climate_modifier",
        "litter_modifier",
        "modifier_overall",
        "depth_top",
        "thickness",
        "plant_carbon",
        "manure_carbon",
    )
    provides: ClassVar[tuple[str, ...]] = ("annual_map", "annual_co2", "annual_input")
    yearly_needs: ClassVar[tuple[str, ...]] = (*needs, *provides, "atmosphere_14c")
    reads: ClassVar[tuple[str, ...]] = ("radiocarbon",)
    changes: ClassVar[tuple[str, ...]] = (*ORGANIC, "added", "respired", "ground")
    indispensable: ClassVar[str] = "all results are about its carbon"

    k_dpm: Float[Array, ""] = parameter(
        10.0, unit="a-1", lower=2.0, upper=30.0, prior=lognormal(10.0, 0.3),
        source="RothC-26.3", description="decomposition rate of DPM",
    )  # fmt: skip
    k_rpm: Float[Array, ""] = parameter(
        0.3, unit="a-1", lower=0.05, upper=1.0, prior=lognormal(0.3, 0.3),
        source="RothC-26.3; SoilGen calibrations 0.1 to 0.4",
        description="decomposition rate of RPM",
    )  # fmt: skip
    k_bio: Float[Array, ""] = parameter(
        0.66, unit="a-1", lower=0.1, upper=2.0, prior=lognormal(0.66, 0.3),
        source="RothC-26.3", description="decomposition rate of BIO",
    )  # fmt: skip
    k_hum: Float[Array, ""] = parameter(
        0.02, unit="a-1", lower=0.002, upper=0.1, prior=lognormal(0.02, 0.35),
        source="RothC-26.3; SoilGen calibrations 0.005 to 0.03",
        description="decomposition rate of HUM",
    )  # fmt: skip
    co2_factor: Float[Array, ""] = parameter(
        1.0, unit="1", lower=0.3, upper=3.0, prior=lognormal(1.0, 0.2),
        source="RothC-26.3 at 1; the ratio was calibrated in SoilGen (Ranathunga et al. 2022)",
        description="factor on the ratio CO2 / (BIO + HUM)",
    )  # fmt: skip
    subsoil_slowing: Float[Array, ""] = parameter(
        0.0, unit="m-1", lower=0.0, upper=8.0, prior=normal(0.0, 1.5),
        source="0 in RothC and SoilGen; Jenkinson & Coleman (2008) slow RothC with depth",
        description="relative fall of the decomposition rate per metre below 0.25 m",
    )  # fmt: skip
    iom_factor: Float[Array, ""] = parameter(
        1.0, unit="1", lower=0.0, upper=6.0, prior=lognormal(1.0, 0.4),
        source="assumption: inert carbon of a profile is known to about half",
        description="factor on the inert organic carbon of the case's profile",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """Compose the year's months into one linear map, when it will be used many times.

        See :func:`compose_year`.
        """
        if years == 1:
            return state, {}
        carbon = self._inputs(environment)
        # after the pools come the year's input of carbon, and of 14C where it is followed
        decay = [jnp.ones(())] if state.radiocarbon is None else [jnp.ones(()), _monthly_decay()]
        inputs = jnp.stack([carbon] * len(decay))
        year, co2 = compose_year(inputs, *self._rates(environment), jnp.stack(decay))
        return state, {
            "annual_map": year,
            "annual_co2": co2,
            "annual_input": jnp.sum(carbon),
        }

    def year(self, state: State, environment: Environment) -> State:
        """See :class:`diffsoil.process.Process`."""
        pools = jnp.concatenate([state.litter[:, None], state.carbon[:ACTIVE]], axis=1)
        tracers = [pools]
        if state.radiocarbon is not None and state.litter_radiocarbon is not None:
            above = state.litter_radiocarbon[:, None]
            tracers.append(jnp.concatenate([above, state.radiocarbon[:ACTIVE]], axis=1))
        amounts = jnp.stack(tracers)
        activity = [jnp.ones(())]
        decay = [jnp.ones(())]
        if len(tracers) == 2:
            activity.append(environment["atmosphere_14c"])
            decay.append(_monthly_decay())
        if "annual_map" in environment:
            year, co2_map = environment["annual_map"], environment["annual_co2"]
            offset = jnp.stack(activity)[:, None, None] * year[ACTIVE : ACTIVE + len(tracers)]
            survival = (jnp.stack(decay) ** 12)[:, None, None]
            product = year[None, :ACTIVE] * amounts[:, :, None]
            after = survival * jnp.sum(product, axis=1) + offset
            co2 = jnp.sum(co2_map[:ACTIVE] * amounts[0], axis=0) + co2_map[ACTIVE]
            added = environment["annual_input"]
        else:
            carbon = self._inputs(environment)
            added = jnp.sum(carbon)
            inputs = jnp.stack(activity)[:, None, None, None] * carbon[None]
            after, gone = twelve_months(
                amounts, inputs, *self._rates(environment), jnp.stack(decay)
            )
            co2 = gone[0]
        return self._updated(state, after, added, co2)

    def _inputs(self, environment: Environment) -> Array:
        return environment["plant_carbon"] + environment["manure_carbon"]

    def _rates(self, environment: Environment) -> tuple[Array, Array, Array]:
        """Modifier by month and place, rates, and CO2 / (BIO + HUM) by place."""
        rates = jnp.stack([self.k_dpm, self.k_rpm, self.k_bio, self.k_hum])
        slowing = subsoil_factor(
            environment["depth_top"] + 0.5 * environment["thickness"], self.subsoil_slowing
        )
        in_place = environment["modifier_overall"] * slowing
        soil = environment["climate_modifier"] * in_place[None]
        modifier = jnp.concatenate([environment["litter_modifier"][:, None], soil], axis=1)
        clay = jnp.concatenate([jnp.zeros(1), environment["clay_percent"]])
        return modifier, rates, co2_ratio(clay) * self.co2_factor

    @staticmethod
    def _updated(state: State, after: Array, added: Array, co2: Array) -> State:
        new = dataclasses.replace(
            state,
            carbon=jnp.concatenate([after[0, :, 1:], state.carbon[ACTIVE:]]),
            litter=after[0, :, 0],
            added=state.added + added,
            respired=state.respired + jnp.sum(co2),
        )
        if state.ground is not None:
            ground = dataclasses.replace(state.ground, respiration=co2[1:])
            new = dataclasses.replace(new, ground=ground)
        if state.radiocarbon is None:
            return new
        inert = state.radiocarbon[ACTIVE:] * _monthly_decay() ** 12
        return dataclasses.replace(
            new,
            radiocarbon=jnp.concatenate([after[1, :, 1:], inert]),
            litter_radiocarbon=after[1, :, 0],
        )


def _monthly_decay() -> Array:
    return jnp.exp(-1.0 / (12.0 * RADIOCARBON_MEAN_LIFE) * jnp.ones(()))
