"""The process: turnover of organic carbon in the litter layer and in every mineral layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.carbon.pools import co2_ratio
from diffsoil.processes.carbon.year import compose_year, twelve_months
from diffsoil.state import ACTIVE, ORGANIC, State
from diffsoil.variables import Variable

TOPSOIL_DEPTH = 0.25
"""m; above it decomposition is not slowed with depth."""

RADIOCARBON_MEAN_LIFE = 8267.0
"""Years; physical (Cambridge) half-life 5730 a. The RothC program keeps 5568 a."""


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
