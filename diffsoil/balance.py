"""A column in balance: pools that a year leaves as they are, with a stock that was measured.

What a year makes of the pools is a linear map of all pools in all places, mixed by
fauna and plough. Where the soil around them follows the carbon (pores, and with them protection)
the map itself moves. So the pools and the one number that is sought are solved together by
Newton's method, with the derivative of the year: one step where nothing moves, a few where
something does. The solution has the derivative of the implicit function, in both modes.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.column import Column
from diffsoil.numerics.newton import root
from diffsoil.process import Environment
from diffsoil.processes.geometry import overlap
from diffsoil.state import State
from diffsoil.time import Phase, first_step, one_year

SOLVED = ("input", "inert")
"""What may be sought: the plant carbon, or the inert carbon."""

WET_YEARS = 50
"""Years of the same weather in which water comes to its cycle."""


class Measured(eqx.Module):
    """A measured stock of one column, and what is sought so that a balance has it."""

    stock: Float[Array, "..."]
    """Organic carbon of the mineral soil from the surface down to ``lower``, Mg C/ha, > 0."""
    profile: Float[Array, "... layer"]
    """Organic carbon of the measured profile by layer, Mg C/ha: how inert carbon is spread."""
    lower: float = eqx.field(static=True)
    """Depth down to which the stock was measured, m."""
    solve: str = eqx.field(static=True)
    """One of :data:`SOLVED`."""


class Balance(NamedTuple):
    """A column in balance; see :func:`balanced`."""

    phase: Phase
    """The phase, with the plant carbon that keeps the stock."""
    state: State
    """The column at its start."""
    factor: Float[Array, ""]
    """Of the given plant carbon, or of the measured profile, which part of it is inert; >= 0."""
    stock: Float[Array, ""]
    """Simulated stock at the end of the first year, Mg C/ha."""


def with_settled_water(column: Column, phase: Phase, state: State) -> State:
    """A column whose water is in the cycle of the first year of a phase, as that of an old soil.

    Args:
        column, phase, state: as for :func:`diffsoil.time.advance`, prepared or not.
    """
    after, _ = first_step(column, dataclasses.replace(phase, years_per_step=WET_YEARS), state)
    return dataclasses.replace(state, water=after.water)


def balanced(column: Column, phase: Phase, state: State, measured: Measured) -> Balance:
    """Pools that a year leaves as they are, and that hold the measured stock at its end.

    The inert carbon stays where it is put, but for mixing. A factor that would have to be
    negative is 0, and the stock is then larger than the measured one. 14C is in balance with
    the air of the first year.

    Args:
        column: the column.
        phase: whose first year is kept in balance; prepared, but not what uses plant carbon.
        state: at its start; its active pools do not matter.
        measured: the stock, and what is sought.

    Returns:
        The balance; not finite where nothing decomposes or no plant carbon is given.
    """
    year = _Year(column, phase, state, measured)
    humus = jnp.concatenate([jnp.zeros(1), measured.profile / measured.stock])
    guess = jnp.zeros((state.litter.size, humus.size)).at[-1].set(humus)
    found = root(lambda x: year.residual(x), jnp.append(guess.ravel(), 1.0))
    of_phase, begins = year.start(found)
    begins = _with_steady_radiocarbon(column, of_phase, begins)
    return Balance(of_phase, begins, found[-1], year.end(found)[1])


class _Year(eqx.Module):
    """The first year of a phase, as a function of what is sought.

    That is the active pools by place, relative to the measured stock, and then the factor.
    """

    column: Column
    phase: Phase
    state: State
    measured: Measured

    def start(self, sought: Float[Array, " unknown"]) -> tuple[Phase, State]:
        """The phase, and the column at its start."""
        of, factor = self.measured, sought[-1]
        pools = sought[:-1].reshape(self.state.litter.size, -1) * of.stock
        now = _with_pools(self.state, pools)
        if of.solve == "input":
            return _with_input(self.phase, factor), now
        carbon = jnp.concatenate([now.carbon[:-1], (factor * of.profile)[None]])
        return self.phase, dataclasses.replace(now, carbon=carbon)

    def end(self, sought: Float[Array, " unknown"]) -> tuple[State, Float[Array, ""]]:
        """The column at the end of the year, and its stock."""
        now, environment = first_step(self.column, *self.start(sought))
        then = one_year(self.column, now, environment)
        return then, _stock(then, environment, self.measured.lower)

    def residual(self, sought: Float[Array, " unknown"]) -> Float[Array, " unknown"]:
        """What has to vanish: the change of the pools, and what the stock is short of.

        A factor of 0 is enough where the stock is too large even with that.
        """
        then, stock = self.end(sought)
        change = _pools(then).ravel() / self.measured.stock - sought[:-1]
        excess = stock / self.measured.stock - 1.0
        short = jnp.maximum(sought[-1] - excess, 0.0) - sought[-1]
        return jnp.concatenate([change, short[None]])


def _pools(state: State) -> Float[Array, "pool place"]:
    """Active pools of the litter layer and of all layers."""
    return jnp.concatenate([state.litter[:, None], state.carbon[:-1]], axis=1)


def _with_pools(state: State, pools: Float[Array, "pool place"]) -> State:
    carbon = jnp.concatenate([pools[:, 1:], state.carbon[-1:]])
    return dataclasses.replace(state, carbon=carbon, litter=pools[:, 0])


def _with_input(phase: Phase, factor: Float[Array, ""]) -> Phase:
    def scaled(values: Environment) -> Environment:
        return {k: factor * v if k == "plant_input" else v for k, v in values.items()}

    return dataclasses.replace(phase, constant=scaled(phase.constant), series=scaled(phase.series))


def _stock(state: State, environment: Environment, lower: float) -> Float[Array, ""]:
    share = overlap(environment["depth_top"], environment["thickness"], 0.0, lower)
    return jnp.sum(jnp.sum(state.carbon, axis=0) * share)


def _with_steady_radiocarbon(column: Column, phase: Phase, state: State) -> State:
    """14C that a year leaves as it is; inert carbon has none."""
    if state.radiocarbon is None or state.litter_radiocarbon is None:
        return state
    now, environment = first_step(column, phase, state)
    shape = (state.litter.size, state.radiocarbon.shape[1] + 1)

    def put(into: State, amount: Float[Array, " unknown"]) -> State:
        pools = amount.reshape(shape)
        inert = jnp.zeros((1, shape[1] - 1))
        layers = jnp.concatenate([pools[:, 1:], inert])
        return dataclasses.replace(into, radiocarbon=layers, litter_radiocarbon=pools[:, 0])

    def change(amount: Float[Array, " unknown"]) -> Float[Array, " unknown"]:
        then = one_year(column, put(now, amount), environment)
        assert then.radiocarbon is not None
        assert then.litter_radiocarbon is not None
        above, layers = then.litter_radiocarbon[:, None], then.radiocarbon[:-1]
        return amount - jnp.concatenate([above, layers], axis=1).ravel()

    nothing = jnp.zeros(shape[0] * shape[1])
    return put(state, jnp.linalg.solve(jax.jacfwd(change)(nothing), -change(nothing)))
