"""Mixing of organic carbon by soil fauna and by the plough."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import lognormal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.geometry import overlap
from diffsoil.state import ORGANIC, State
from diffsoil.variables import LAYER, Variable


def mix(
    amount: Float[Array, "... layer"],
    fraction: Float[Array, " layer"],
    share: Float[Array, " layer"],
) -> Float[Array, "... layer"]:
    """Take a fraction of every layer, mix it all, and give it back by shares.

    Args:
        amount: what is mixed, per layer.
        fraction: taken from each layer, 0 to 1.
        share: given back to each layer; sums to 1 (or to 0 where nothing is taken).
    """
    taken = amount * jnp.broadcast_to(fraction, amount.shape)
    returned = jnp.broadcast_to(share, amount.shape) * jnp.sum(taken, axis=-1, keepdims=True)
    return amount - taken + returned


def shares(fraction: Float[Array, " layer"], mass: Float[Array, " layer"]) -> Array:
    """Shares by mass of what :func:`mix` takes, so that a uniform profile stays uniform."""
    taken = fraction * mass
    return safe.divide(taken, jnp.broadcast_to(jnp.sum(taken), taken.shape))


def litter_incorporation() -> Any:
    """Declare the parameter of how fast fauna works the litter layer in."""
    return parameter(
        0.15, unit="a-1", lower=0.0, upper=1.0, prior=lognormal(0.15, 0.7),
        source="assumption: litter of a mull or moder lasts years, not decades",
        description="share of the litter layer that fauna carries into the soil in a year",
    )  # fmt: skip


def with_litter_worked_in(
    state: State, into: Float[Array, " layer"], part: Float[Array, ""]
) -> State:
    """Move a part of the litter layer into the mineral soil.

    Args:
        state: before.
        into: share of each layer in what is moved; sums to 1, or to 0 where nothing is.
        part: 0 to 1.
    """

    def move(carbon: Array, above: Array) -> tuple[Array, Array]:
        falls = part * above
        active = carbon[:-1] + falls[:, None] * into[None, :]
        return jnp.concatenate([active, carbon[-1:]]), above - falls

    carbon, above = move(state.carbon, state.litter)
    state = dataclasses.replace(state, carbon=carbon, litter=above)
    if state.radiocarbon is None or state.litter_radiocarbon is None:
        return state
    tracer, above_tracer = move(state.radiocarbon, state.litter_radiocarbon)
    return dataclasses.replace(state, radiocarbon=tracer, litter_radiocarbon=above_tracer)


def _mixed(state: State, fraction: Array, share: Array) -> State:
    """Mix the organic matter of the mineral soil."""
    state = dataclasses.replace(state, carbon=mix(state.carbon, fraction, share))
    if state.radiocarbon is None:
        return state
    return dataclasses.replace(state, radiocarbon=mix(state.radiocarbon, fraction, share))


def _mixed_ground(state: State, fraction: Array, density: Array, years: int) -> State:
    """Mix the mineral soil once for all years of a slow step.

    For a uniform fraction f the mixing of N years is that of one with ``1 - (1 - f)^N``. Layers
    get back mass in proportion to their bulk density, not to their mass, so that one that loses
    calcite or clay does not dwindle away: mixed layers come to be equally thick.
    """
    ground = state.ground
    assert ground is not None
    over_years = 1.0 - jnp.maximum(1.0 - fraction, 0.0) ** years
    share = shares(over_years, density)
    ground = dataclasses.replace(
        ground,
        minerals=mix(ground.minerals, over_years, share),
        calcite=mix(ground.calcite, over_years, share),
        labile=mix(ground.labile, over_years, share),
    )
    return dataclasses.replace(state, ground=ground)


class Fauna(Process):
    """Mixing by soil fauna to a fixed depth, and incorporation of the litter layer."""

    name: ClassVar[str] = "fauna"
    variables: ClassVar[Mapping[str, Variable]] = {
        "fauna_fraction": Variable(LAYER, "1", "share of the layer mixed by fauna in a year"),
        "fauna_share": Variable(
            LAYER, "1", "share of the mixed material that returns to the layer"
        ),
    }
    needs: ClassVar[tuple[str, ...]] = (
        "thickness",
        "depth_top",
        "soil_mass",
        "bulk_density",
    )
    provides: ClassVar[tuple[str, ...]] = ("fauna_fraction", "fauna_share")
    yearly_needs: ClassVar[tuple[str, ...]] = (*provides, "surface_share")
    reads: ClassVar[tuple[str, ...]] = ("ground",)
    changes: ClassVar[tuple[str, ...]] = ORGANIC

    rate: Float[Array, ""] = parameter(
        11.9, unit="Mg ha-1 a-1", lower=0.0, upper=100.0, prior=lognormal(11.9, 0.6),
        source="van der Meij & Finke (2026)", description="soil that fauna mixes in a year",
    )  # fmt: skip
    depth: Float[Array, ""] = parameter(
        0.4, unit="m", lower=0.05, upper=1.5, prior=lognormal(0.4, 0.3),
        source="van der Meij & Finke (2026)", description="depth that fauna mixes",
    )  # fmt: skip
    litter_incorporation: Float[Array, ""] = litter_incorporation()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        mass = environment["soil_mass"]
        zone = overlap(environment["depth_top"], environment["thickness"], 0.0, self.depth)
        fraction = zone * jnp.clip(self.rate / jnp.sum(zone * mass), 0.0, 1.0)
        if state.ground is not None:
            density = environment["bulk_density"]
            state = _mixed_ground(state, fraction, density, years)
            return state, {"fauna_fraction": fraction, "fauna_share": shares(fraction, density)}
        return state, {"fauna_fraction": fraction, "fauna_share": shares(fraction, mass)}

    def year(self, state: State, environment: Environment) -> State:
        """See :class:`diffsoil.process.Process`."""
        fraction, share = environment["fauna_fraction"], environment["fauna_share"]
        into = environment["surface_share"]
        state = with_litter_worked_in(state, into, self.litter_incorporation)
        return _mixed(state, fraction, share)


class PloughZone(Process):
    """Which layers the plough reaches."""

    name: ClassVar[str] = "plough_zone"
    variables: ClassVar[Mapping[str, Variable]] = {
        "plough_fraction": Variable(LAYER, "1", "share of the layer that is ploughed", neutral=0.0),
    }
    needs: ClassVar[tuple[str, ...]] = ("thickness", "depth_top", "plough_depth")
    provides: ClassVar[tuple[str, ...]] = ("plough_fraction",)

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        depth = environment["plough_depth"]
        zone = overlap(environment["depth_top"], environment["thickness"], 0.0, depth)
        return state, {"plough_fraction": zone}


class Plough(Process):
    """Yearly ploughing: the ploughed depth becomes uniform and takes up any litter layer."""

    name: ClassVar[str] = "plough"
    needs: ClassVar[tuple[str, ...]] = ("plough_fraction", "bulk_density")
    yearly_needs: ClassVar[tuple[str, ...]] = (
        "plough_fraction",
        "soil_mass",
        "bulk_density",
        "surface_share",
    )
    reads: ClassVar[tuple[str, ...]] = ("ground",)
    changes: ClassVar[tuple[str, ...]] = (*ORGANIC, "ground")

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        if state.ground is not None:
            fraction, density = environment["plough_fraction"], environment["bulk_density"]
            state = _mixed_ground(state, fraction, density, years)
        return state, {}

    def year(self, state: State, environment: Environment) -> State:
        """See :class:`diffsoil.process.Process`."""
        fraction = environment["plough_fraction"]
        by = environment["soil_mass"] if state.ground is None else environment["bulk_density"]
        share = shares(fraction, by)
        ploughed = jnp.where(jnp.sum(fraction) > 0, 1.0, 0.0)
        state = with_litter_worked_in(state, environment["surface_share"], ploughed)
        return _mixed(state, fraction, share)
