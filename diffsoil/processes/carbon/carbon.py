"""The process: turnover of organic carbon in the litter layer and in every mineral layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import UNIFORM, lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.carbon.linear import (
    Transfers,
    compose_year,
    lost_share,
    twelve_months,
)
from diffsoil.state import ORGANIC, State
from diffsoil.variables import QUALITIES, Variable

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


def protected(pools: tuple[str, ...]) -> Any:
    """Declare the parameter of how much of the protection each pool feels."""
    return parameter(
        1.0, unit="1", lower=0.0, upper=1.0, prior=UNIFORM, labels=tuple(map(str.lower, pools)),
        source="1 in van der Meij & Finke (2026); assumption: between none and all of it",
        description="share of the protection of a layer that a pool feels",
    )  # fmt: skip


class Carbon(Process):
    """Turnover of linear pools in the litter layer and in every mineral layer.

    A model of carbon is a class of this one: names of its pools, their rates, what becomes of
    what they lose, and what enters them. Nothing protects the litter layer, and it has no clay.

    Attributes:
        pools: that decompose; those that nothing feeds but input come first. Inert carbon is kept
            beside them.
        entered: pool that input of each quality enters, see
            :data:`diffsoil.variables.QUALITIES`.
        protected: share of the protection of a layer that each pool feels, 0 to 1; by its name
            in small letters.
    """

    pools: ClassVar[tuple[str, ...]]
    entered: ClassVar[Mapping[str, str]]
    protected: eqx.AbstractVar[dict[str, Float[Array, ""]]]

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

    def rates(self) -> Float[Array, " pool"]:
        """Decomposition rates of the pools, 1/a, where nothing slows them down."""
        raise NotImplementedError

    def transfers(self, clay: Float[Array, "..."]) -> Transfers:
        """Where the losses of the pools go, see :data:`.linear.Transfers`.

        Args:
            clay: mass %, 0 to 100.
        """
        raise NotImplementedError

    def turnover_time(
        self, clay: Float[Array, ""], entering: Float[Array, " quality"]
    ) -> Float[Array, ""]:
        """Carbon held by the pools in balance for each unit of input a year, a.

        Args:
            clay: mass %, 0 to 100.
            entering: share of the input by quality, see :data:`diffsoil.variables.QUALITIES`.
        """
        size = len(self.pools)
        kept = jnp.eye(size)
        for (donor, recipient), share in self.transfers(clay).items():
            kept = kept.at[recipient, donor].add(-share)
        into = [self.pools.index(self.entered[name]) for name in QUALITIES]
        through = jnp.linalg.solve(kept, jnp.zeros(size).at[jnp.asarray(into)].add(entering))
        return jnp.sum(through / self.rates())

    def protected_rates(
        self, modifier: Float[Array, "... layer"]
    ) -> Float[Array, "... pool layer"]:
        """Rates, 1/a, under protection.

        Args:
            modifier: rate modifier by protection, 0 to 1.
        """
        felt = jnp.stack([self.protected[name.lower()] for name in self.pools])[:, None]
        rates = self.rates()[:, None]
        given = modifier[..., None, :]
        axes = (1,) * (given.ndim - 2)
        felt, rates = felt.reshape(*axes, -1, 1), rates.reshape(*axes, -1, 1)
        return rates * (1.0 - felt * (1.0 - given))

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
        year, co2 = compose_year(inputs, *self._turnover(environment), jnp.stack(decay))
        return state, {
            "annual_map": year,
            "annual_co2": co2,
            "annual_input": jnp.sum(carbon),
        }

    def year(self, state: State, environment: Environment) -> State:
        """See :class:`diffsoil.process.Process`."""
        size = len(self.pools)
        pools = jnp.concatenate([state.litter[:, None], state.carbon[:size]], axis=1)
        tracers = [pools]
        if state.radiocarbon is not None and state.litter_radiocarbon is not None:
            above = state.litter_radiocarbon[:, None]
            tracers.append(jnp.concatenate([above, state.radiocarbon[:size]], axis=1))
        amounts = jnp.stack(tracers)
        activity = [jnp.ones(())]
        decay = [jnp.ones(())]
        if len(tracers) == 2:
            activity.append(environment["atmosphere_14c"])
            decay.append(_monthly_decay())
        if "annual_map" in environment:
            year, co2_map = environment["annual_map"], environment["annual_co2"]
            offset = jnp.stack(activity)[:, None, None] * year[size : size + len(tracers)]
            survival = (jnp.stack(decay) ** 12)[:, None, None]
            product = year[None, :size] * amounts[:, :, None]
            after = survival * jnp.sum(product, axis=1) + offset
            co2 = jnp.sum(co2_map[:size] * amounts[0], axis=0) + co2_map[size]
            added = environment["annual_input"]
        else:
            carbon = self._inputs(environment)
            added = jnp.sum(carbon)
            inputs = jnp.stack(activity)[:, None, None, None] * carbon[None]
            after, gone = twelve_months(
                amounts, inputs, *self._turnover(environment), jnp.stack(decay)
            )
            co2 = gone[0]
        return self._updated(state, after, added, co2)

    def _inputs(self, environment: Environment) -> Float[Array, "12 pool place"]:
        """Carbon that enters each pool, by month and place."""
        arriving = environment["plant_carbon"] + environment["manure_carbon"]
        enters = [[pool == self.entered[name] for name in QUALITIES] for pool in self.pools]
        return jnp.stack(
            [
                sum(
                    (arriving[:, i] for i in range(len(of)) if of[i]),
                    jnp.zeros_like(arriving[:, 0]),
                )
                for of in enters
            ],
            axis=1,
        )

    def _turnover(self, environment: Environment) -> tuple[Array, Transfers]:
        """Share of each pool that decomposes, by month and place, and where it goes."""
        slowing = subsoil_factor(
            environment["depth_top"] + 0.5 * environment["thickness"], self.subsoil_slowing
        )
        soil = self.protected_rates(environment["modifier_overall"]) * slowing[None]
        rates = jnp.concatenate([self.rates()[:, None], soil], axis=1)
        above = environment["litter_modifier"][:, None]
        modifier = jnp.concatenate([above, environment["climate_modifier"]], axis=1)
        clay = jnp.concatenate([jnp.zeros(1), environment["clay_percent"]])
        return lost_share(rates, modifier), self.transfers(clay)

    @staticmethod
    def _updated(state: State, after: Array, added: Array, co2: Array) -> State:
        new = dataclasses.replace(
            state,
            carbon=jnp.concatenate([after[0, :, 1:], state.carbon[-1:]]),
            litter=after[0, :, 0],
            added=state.added + added,
            respired=state.respired + jnp.sum(co2),
        )
        if state.ground is not None:
            ground = dataclasses.replace(state.ground, respiration=co2[1:])
            new = dataclasses.replace(new, ground=ground)
        if state.radiocarbon is None:
            return new
        inert = state.radiocarbon[-1:] * _monthly_decay() ** 12
        return dataclasses.replace(
            new,
            radiocarbon=jnp.concatenate([after[1, :, 1:], inert]),
            litter_radiocarbon=after[1, :, 0],
        )


def _monthly_decay() -> Array:
    return jnp.exp(-1.0 / (12.0 * RADIOCARBON_MEAN_LIFE) * jnp.ones(()))
