"""Erosion: what leaves at the surface, and the parent material that takes its place below.

As events, whole layers go at once with the litter layer on them (van der Meij & Finke 2026); or
continuously, with every layer giving its upper part to the one above: differentiable in the rate.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.texture import element_totals, mineral_masses
from diffsoil.state import ORGANIC, Ground, State

PARENT = ("parent_minerals", "parent_calcite", "parent_labile")


def _upwards(
    values: Float[Array, "... layer"], below: Float[Array, "..."], share: Float[Array, " layer"]
) -> Float[Array, "... layer"]:
    """Each layer loses a share of itself upwards and gets the same share of the next lower one.

    Args:
        values: amounts by layer.
        below: amount of a layer of parent material.
        share: lost by each layer, 0 to 1; the last one gets its own share of ``below``.
    """
    rises = values * jnp.broadcast_to(share, values.shape)
    from_below = jnp.broadcast_to(below[..., None] * share[-1], (*values.shape[:-1], 1))
    return values - rises + jnp.concatenate([rises[..., 1:], from_below], axis=-1)


def eroded(
    state: State, environment: Environment, share: Float[Array, " layer"], litter: Array
) -> State:
    """The column after a share of each layer has moved up and that of the first has gone.

    Args:
        state: before.
        environment: with the parent material.
        share: share of each layer that moves up.
        litter: share of the litter layer that goes.
    """
    ground = state.ground
    assert ground is not None
    parent = {name.removeprefix("parent_"): environment[name] for name in PARENT}
    as_before = ground.ph[-1]
    carbon = _upwards(state.carbon, jnp.zeros(state.carbon.shape[0]), share)
    gone = jnp.sum(state.carbon[:, 0]) * share[0] + jnp.sum(state.litter) * litter
    moved = dataclasses.replace(
        ground,
        minerals=_upwards(ground.minerals, parent["minerals"], share),
        calcite=_upwards(ground.calcite, parent["calcite"], share),
        labile=_upwards(ground.labile, parent["labile"], share),
        ph=_upwards(ground.ph, as_before, share),
        respiration=_upwards(ground.respiration, jnp.zeros(()), share),
    )
    first = dataclasses.replace(
        ground,
        minerals=ground.minerals[..., :1],
        calcite=ground.calcite[:1],
        labile=ground.labile[:, :1],
        ph=ground.ph[:1],
        respiration=ground.respiration[:1],
    )
    lost = _budget(first) * share[0]
    new = Ground(
        minerals=parent["minerals"][..., None],
        calcite=parent["calcite"][None],
        labile=parent["labile"][:, None],
        ph=as_before[None],
        respiration=jnp.zeros(1),
        gained=ground.gained,
        lost=ground.lost,
    )
    gained = _budget(new) * share[-1]
    moved = dataclasses.replace(moved, gained=ground.gained + gained, lost=ground.lost + lost)
    state = dataclasses.replace(
        state,
        carbon=carbon,
        litter=state.litter * (1.0 - litter),
        eroded=state.eroded + gone,
        ground=moved,
    )
    if state.radiocarbon is None or state.litter_radiocarbon is None:
        return state
    return dataclasses.replace(
        state,
        radiocarbon=_upwards(state.radiocarbon, jnp.zeros(carbon.shape[0]), share),
        litter_radiocarbon=state.litter_radiocarbon * (1.0 - litter),
    )


def _budget(ground: Ground) -> Float[Array, " budget"]:
    """What the first layer holds."""
    return jnp.concatenate([element_totals(ground)[:, 0], mineral_masses(ground)[:1]])


class Erosion(Process):
    """Erosion as events: the uppermost layer goes, a layer of parent material comes below."""

    name: ClassVar[str] = "erosion"
    events: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("removed_layers", *PARENT)
    reads: ClassVar[tuple[str, ...]] = ("ground", *ORGANIC, "eroded")

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        removed = environment["removed_layers"]
        share = jnp.ones_like(state.carbon[0]) * removed
        return eroded(state, environment, share, removed), {}


class ContinuousErosion(Process):
    """Erosion at a steady rate; a layer of litter goes as often as a layer of soil would."""

    name: ClassVar[str] = "erosion"
    events: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("erosion_rate", "mineral_bulk_density", *PARENT)
    reads: ClassVar[tuple[str, ...]] = ("ground", *ORGANIC, "eroded")

    factor: Float[Array, ""] = parameter(
        1.0, unit="1", lower=0.0, upper=5.0, prior=lognormal(1.0, 0.4),
        source="assumption: erosion rates are known to about half",
        description="factor on the erosion rate",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        assert state.ground is not None
        density = environment["mineral_bulk_density"]
        thickness = jnp.maximum(mineral_masses(state.ground) / (density * 1000.0), 1e-6)
        depth = self.factor * environment["erosion_rate"] * years
        share = jnp.clip(depth / thickness, 0.0, 1.0)
        return eroded(state, environment, share, share[0]), {}
