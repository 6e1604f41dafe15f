"""What all models of carbon have in common: pools, inert carbon beside them, and the state."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.state import ORGANIC, State

TOPSOIL_DEPTH = 0.25
"""m; above it decomposition is not slowed with depth."""

AERATED = 0.25
"""m; how far below its upper face the middle of a layer may lie to count as it is.

Assumption, after Clymo (1984): peat decays most in its aerated upper 0.1 to 0.5 m.
"""
BEYOND = 0.10
"""m; how much deeper than :data:`AERATED` it counts at most (assumption, 0.05 to 0.25)."""

RADIOCARBON_MEAN_LIFE = 8267.0
"""Years; physical (Cambridge) half-life 5730 a. The RothC program keeps 5568 a."""


def subsoil_factor(
    depth: Float[Array, " layer"], slowing: Float[Array, ""]
) -> Float[Array, " layer"]:
    """Factor on decomposition in the subsoil, 1 down to 0.25 m and falling exponentially below.

    Less input of fresh matter, less oxygen and a sparser biomass slow decomposition in subsoils
    beyond what temperature and moisture explain (Jenkinson & Coleman 2008 needed such a factor).

    Args:
        depth: of the layers, m; see :func:`depth_of_decay`.
        slowing: relative fall per metre, 1/m, >= 0.
    """
    return jnp.exp(-slowing * jnp.maximum(depth - TOPSOIL_DEPTH, 0.0))


def depth_of_decay(
    depth_top: Float[Array, " layer"], thickness: Float[Array, " layer"]
) -> Float[Array, " layer"]:
    """Depth that a layer decomposes at, m: its middle, but near its face if it is peat.

    A layer that swells into peat gets its litter at the top and decays there. If its middle
    counted, wherever that came to be, the slower turnover of subsoils would make it swell ever
    more. Layers of up to 0.5 m count by their middle exactly; the rest is smooth.

    Args:
        depth_top, thickness: of the layers, m.
    """
    half = 0.5 * thickness
    beyond = jnp.maximum(half - AERATED, 0.0)
    return depth_top + (half - beyond + BEYOND * jnp.tanh(beyond / BEYOND))


class CarbonModel(Process):
    """Turnover of pools in the litter layer and in every mineral layer, by whatever law.

    Attributes:
        pools: that decompose. Inert carbon is kept beside them.
    """

    pools: ClassVar[tuple[str, ...]]

    name: ClassVar[str] = "carbon"
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

    def respiring_rates(
        self, modifier: Float[Array, "... layer"]
    ) -> Float[Array, "... pool layer"]:
        """How fast the pools give CO2 in a jar, each relative to the others.

        Args:
            modifier: rate modifier by protection, 0 to 1.
        """
        raise NotImplementedError

    def tracers(self, state: State) -> list[Float[Array, "pool place"]]:
        """Carbon of the active pools by place, Mg C/ha, and its 14C where that is followed."""
        size = len(self.pools)
        found = [jnp.concatenate([state.litter[:, None], state.carbon[:size]], axis=1)]
        if state.radiocarbon is not None and state.litter_radiocarbon is not None:
            above = state.litter_radiocarbon[:, None]
            found.append(jnp.concatenate([above, state.radiocarbon[:size]], axis=1))
        return found

    def slowing(self, environment: Environment) -> Float[Array, " layer"]:
        """Factor on decomposition by depth; see :func:`subsoil_factor`."""
        depth = depth_of_decay(environment["depth_top"], environment["thickness"])
        return subsoil_factor(depth, self.subsoil_slowing)

    @staticmethod
    def updated(
        state: State,
        after: Float[Array, "tracer pool place"],
        added: Float[Array, ""],
        co2: Float[Array, " place"],
    ) -> State:
        """The state at the end of a year.

        Args:
            state: at its start.
            after: active pools at its end, and their 14C where that is followed, Mg C/ha.
            added: carbon that entered, Mg C/ha.
            co2: that left, Mg C/ha.
        """
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
        inert = state.radiocarbon[-1:] * monthly_decay() ** 12
        return dataclasses.replace(
            new,
            radiocarbon=jnp.concatenate([after[1, :, 1:], inert]),
            litter_radiocarbon=after[1, :, 0],
        )


def monthly_decay() -> Array:
    """Share of 14C that is left after a month."""
    return jnp.exp(-1.0 / (12.0 * RADIOCARBON_MEAN_LIFE) * jnp.ones(()))
