"""The process: turnover of linear pools in the litter layer and in every mineral layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import UNIFORM, parameter
from diffsoil.process import Environment
from diffsoil.processes.carbon.dissolved import Dissolved
from diffsoil.processes.carbon.linear import (
    Transfers,
    compose_year,
    lost_share,
    twelve_months,
)
from diffsoil.processes.carbon.model import CarbonModel, monthly_decay
from diffsoil.state import State
from diffsoil.variables import QUALITIES, Variable


def protected(pools: tuple[str, ...]) -> Any:
    """Declare the parameter of how much of the protection each pool feels."""
    return parameter(
        1.0, unit="1", lower=0.0, upper=1.0, prior=UNIFORM, labels=tuple(map(str.lower, pools)),
        source="1 in van der Meij & Finke (2026); assumption: between none and all of it",
        description="share of the protection of a layer that a pool feels",
    )  # fmt: skip


NEEDS = (
    "clay_percent",
    "climate_modifier",
    "litter_modifier",
    "modifier_overall",
    "depth_top",
    "thickness",
    "plant_carbon",
    "manure_carbon",
)
PROVIDES = ("annual_map", "annual_co2", "annual_input")


class _Protected(eqx.Module):
    """What comes before the other parameters of a linear model."""

    protected: eqx.AbstractVar[dict[str, Float[Array, ""]]]


class Carbon(CarbonModel, _Protected):
    """Turnover of linear pools in the litter layer and in every mineral layer.

    A linear model of carbon is a class of this one: names of its pools, their rates, what becomes
    of what they lose, and what enters them. Nothing protects the litter layer, and it has no clay.

    Attributes:
        pools: that decompose; those that nothing feeds but input come first. Inert carbon is kept
            beside them.
        entered: pool that input of each quality enters, see
            :data:`diffsoil.variables.QUALITIES`.
        protected: share of the protection of a layer that each pool feels, 0 to 1; by its name
            in small letters.
        dissolved: what becomes dissolved and moves with water; None where nothing does.
    """

    entered: ClassVar[Mapping[str, str]]
    dissolved: Dissolved | None = None

    variables: ClassVar[Mapping[str, Variable]] = {
        "annual_map": Variable(
            ("source", "active_pool", "place"), "1", "one year of decomposition as a linear map"
        ),
        "annual_co2": Variable(("source", "place"), "1", "CO2 of one year as a linear map"),
        "annual_input": Variable((), "Mg ha-1", "carbon added in a year"),
        "annual_dissolved": Variable(
            ("place", "sink"), "1", "share of the CO2 of one year that is dissolved instead"
        ),
    }
    reads: ClassVar[tuple[str, ...]] = ("radiocarbon",)

    @property
    def parts(self) -> tuple[eqx.Module, ...]:
        """What is dissolved, where anything is."""
        return () if self.dissolved is None else (self.dissolved,)

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Variables that :meth:`slow` must find."""
        own = self.dissolved.needs if self.dissolved else ()
        return tuple(dict.fromkeys((*NEEDS, *own)))

    @property
    def provides(self) -> tuple[str, ...]:  # type: ignore[override]
        """Variables that :meth:`slow` returns."""
        return (*PROVIDES, "annual_dissolved") if self.dissolved else PROVIDES

    @property
    def yearly_needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Variables that :meth:`year` must find."""
        return (*self.needs, *self.provides, "atmosphere_14c")

    @property
    def changes(self) -> tuple[str, ...]:  # type: ignore[override]
        """Fields of the state that :meth:`year` reads or changes."""
        always = CarbonModel.changes
        return (*always, "leached") if self.dissolved else always

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
        given = modifier[..., None, :]
        by_pool = (1,) * (given.ndim - 2) + (-1, 1)
        felt = jnp.stack([self.protected[name.lower()] for name in self.pools]).reshape(by_pool)
        return self.rates().reshape(by_pool) * (1.0 - felt * (1.0 - given))

    def respiring_rates(
        self, modifier: Float[Array, "... layer"]
    ) -> Float[Array, "... pool layer"]:
        """See :meth:`.model.CarbonModel.respiring_rates`."""
        return self.protected_rates(modifier)

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """Compose the year's months into one linear map, when it will be used many times.

        See :func:`compose_year`.
        """
        if years == 1:
            return state, {}
        carbon = self._inputs(environment)
        # after the pools come the year's input of carbon, and of 14C where it is followed
        decay = [jnp.ones(())] if state.radiocarbon is None else [jnp.ones(()), monthly_decay()]
        inputs = jnp.stack([carbon] * len(decay))
        year, co2 = compose_year(inputs, *self._turnover(environment), jnp.stack(decay))
        found = {"annual_map": year, "annual_co2": co2, "annual_input": jnp.sum(carbon)}
        if self.dissolved is not None:
            found["annual_dissolved"] = self.dissolved.moved(environment)
        return state, found

    def year(self, state: State, environment: Environment) -> State:
        """See :class:`diffsoil.process.Process`."""
        size = len(self.pools)
        tracers = self.tracers(state)
        amounts = jnp.stack(tracers)
        activity = [jnp.ones(())]
        decay = [jnp.ones(())]
        if len(tracers) == 2:
            activity.append(environment["atmosphere_14c"])
            decay.append(monthly_decay())
        if "annual_map" in environment:
            year, co2_map = environment["annual_map"], environment["annual_co2"]
            offset = jnp.stack(activity)[:, None, None] * year[size : size + len(tracers)]
            survival = (jnp.stack(decay) ** 12)[:, None, None]
            product = year[None, :size] * amounts[:, :, None]
            after = survival * jnp.sum(product, axis=1) + offset
            # of what is respired the 14C counts only where some of it is dissolved instead
            count = len(tracers) if self.dissolved else 1
            gone = jnp.stack(
                [
                    jnp.sum(co2_map[:size] * amounts[i], axis=0) + activity[i] * co2_map[size + i]
                    for i in range(count)
                ]
            )
            added = environment["annual_input"]
        else:
            carbon = self._inputs(environment)
            added = jnp.sum(carbon)
            inputs = jnp.stack(activity)[:, None, None, None] * carbon[None]
            after, gone = twelve_months(
                amounts, inputs, *self._turnover(environment), jnp.stack(decay)
            )
        if self.dissolved is None:
            return self.updated(state, after, added, gone[0])
        if "annual_dissolved" in environment:
            moved = environment["annual_dissolved"]
        else:
            moved = self.dissolved.moved(environment)
        ends = gone[:, :, None] * moved[None]
        sorbed = jnp.sum(ends[:, :, :-1], axis=1)
        humified = [float(pool == self.entered["humified"]) for pool in self.pools]
        gain = jnp.concatenate([jnp.zeros_like(sorbed[:, :1]), sorbed], axis=1)
        after = after + jnp.asarray(humified)[None, :, None] * gain[:, None]
        new = self.updated(state, after, added, gone[0] - jnp.sum(ends[0], axis=1))
        return dataclasses.replace(new, leached=new.leached + jnp.sum(ends[0, :, -1]))

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
        soil = (
            self.protected_rates(environment["modifier_overall"]) * self.slowing(environment)[None]
        )
        rates = jnp.concatenate([self.rates()[:, None], soil], axis=1)
        above = environment["litter_modifier"][:, None]
        modifier = jnp.concatenate([above, environment["climate_modifier"]], axis=1)
        clay = jnp.concatenate([jnp.zeros(1), environment["clay_percent"]])
        return lost_share(rates, modifier), self.transfers(clay)
