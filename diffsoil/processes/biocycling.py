"""Plants take up bases and silicon with their roots and return them with their litter.

Vegetation is taken to be at a steady state over a slow step: what it takes up, less the harvest,
returns in the same step where its carbon goes, from roots in place and from leaves to the
surface. So plants lift bases from the depth of their roots to the surface.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.npp import CARBON_IN_DRY_MATTER
from diffsoil.processes.vegetation import root_distribution
from diffsoil.state import CATIONS, CHARGE, SOLUTES, State
from diffsoil.units import MG_PER_KG_M2


class Biocycling(Process):
    """Uptake and return of bases and silicon, and their export with the harvest.

    Plants on a poor soil contain less: uptake from a layer follows its base saturation.
    """

    name: ClassVar[str] = "biocycling"
    needs: ClassVar[tuple[str, ...]] = (
        "plant_carbon",
        "litter_cations",
        "harvest_share",
        "root_beta",
        "thickness",
        "depth_top",
        "cec",
        "mineral_mass",
    )
    reads: ClassVar[tuple[str, ...]] = ("ground",)

    factor: Float[Array, ""] = parameter(
        1.0, unit="1", lower=0.0, upper=4.0, prior=lognormal(1.0, 0.4),
        source="assumption: contents of litter are known to about half",
        description="factor on the bases in plant dry matter",
    )  # fmt: skip

    shallowness: Float[Array, ""] = parameter(
        2.0, unit="1", lower=1.0, upper=4.0, prior=normal(2.0, 0.5),
        source="assumption: nutrients come from shallower soil than the roots reach",
        description="power of the root density that uptake follows",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None
        by_place = jnp.sum(environment["plant_carbon"], axis=(0, 1))
        returned = jnp.sum(by_place)
        harvest = environment["harvest_share"]
        dry = returned / jnp.maximum(1.0 - harvest, 0.01) / CARBON_IN_DRY_MATTER / MG_PER_KG_M2
        demand = self.factor * environment["litter_cations"] * dry * years
        roots = root_distribution(
            environment["depth_top"], environment["thickness"], environment["root_beta"]
        )
        capacity = environment["cec"] * environment["mineral_mass"] / (1000.0 * MG_PER_KG_M2)
        bases = jnp.sum(ground.labile[: len(CATIONS)], axis=0)
        richness = jnp.clip(bases / capacity, 0.0, 1.0)
        active = roots**self.shallowness
        active = active / jnp.sum(active)
        wanted = demand[:, None] * (active * richness)[None]
        # never more than there is, and less easily when little is left
        there = jnp.maximum(ground.labile, 0.0)
        taken = there * -jnp.expm1(-safe.divide(wanted, there))
        total = jnp.sum(taken, axis=1)
        in_soil = by_place[1:].at[0].add(by_place[0])
        where = safe.divide(in_soil, jnp.broadcast_to(returned, in_soil.shape))
        # without plants nothing was wanted, and nothing returns
        back = total[:, None] * (1.0 - harvest) * where[None]
        exported = total * harvest / jnp.asarray(CHARGE)
        ground = dataclasses.replace(
            ground,
            labile=ground.labile - taken + back,
            lost=ground.lost.at[: len(SOLUTES)].add(exported),
        )
        return eqx.tree_at(lambda s: s.ground, state, ground), {}
