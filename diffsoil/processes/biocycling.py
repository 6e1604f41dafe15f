"""Plants take up bases and silicon with their roots and return them with their litter.

Vegetation is taken to be at a steady state over a slow step: what it takes up, less the harvest,
returns in the same step, from roots in place and from leaves to the surface. So plants lift bases
from the depth of their roots to the surface.
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
from diffsoil.processes.carbonate import log_k1, log_k_henry
from diffsoil.processes.exchange_layer import LITRES
from diffsoil.processes.npp import CARBON_IN_DRY_MATTER
from diffsoil.processes.vegetation import root_distribution
from diffsoil.state import CATIONS, CHARGE, SOLUTES, Ground, State
from diffsoil.units import MG_PER_KG_M2


class Biocycling(Process):
    """Uptake and return of bases and silicon, and their export with the harvest.

    Plants on a poor soil contain less: uptake from a layer follows its base saturation. What is
    taken up returns where the carbon of the litter goes.
    """

    name: ClassVar[str] = "biocycling"
    needs: ClassVar[tuple[str, ...]] = (
        "plant_carbon",
        "litter_cations",
        "harvest_share",
        "root_beta",
        "uptake_shallowness_factor",
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

    def supplied(
        self, ground: Ground, environment: Environment, active: Float[Array, " layer"]
    ) -> Float[Array, "#solute layer"]:
        """Share of each layer in what roots meet of each solute; here that of active roots."""
        return active[None]

    def returned(
        self, environment: Environment, roots: Float[Array, " layer"]
    ) -> Float[Array, " layer"]:
        """Share of the layers in what litter returns; here that of its carbon, 0 without any."""
        by_place = jnp.sum(environment["plant_carbon"], axis=(0, 1))
        in_soil = by_place[1:].at[0].add(by_place[0])
        return safe.divide(in_soil, jnp.broadcast_to(jnp.sum(by_place), in_soil.shape))

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None
        harvest = environment["harvest_share"]
        carbon = jnp.sum(environment["plant_carbon"])
        dry = carbon / jnp.maximum(1.0 - harvest, 0.01) / CARBON_IN_DRY_MATTER / MG_PER_KG_M2
        demand = self.factor * environment["litter_cations"] * dry * years
        roots = root_distribution(
            environment["depth_top"], environment["thickness"], environment["root_beta"]
        )
        capacity = environment["cec"] * environment["mineral_mass"] / (1000.0 * MG_PER_KG_M2)
        bases = jnp.sum(ground.labile[: len(CATIONS)], axis=0)
        richness = jnp.clip(bases / capacity, 0.0, 1.0)
        active = roots ** (self.shallowness * environment["uptake_shallowness_factor"])
        active = active / jnp.sum(active)
        wanted = demand[:, None] * self.supplied(ground, environment, active) * richness[None]
        # never more than there is, and less easily when little is left
        there = jnp.maximum(ground.labile, 0.0)
        taken = there * -jnp.expm1(-safe.divide(wanted, there))
        total = jnp.sum(taken, axis=1)
        # without plants nothing was wanted, and nothing returns
        back = total[:, None] * (1.0 - harvest) * self.returned(environment, roots)[None]
        exported = total * harvest / jnp.asarray(CHARGE)
        ground = dataclasses.replace(
            ground,
            labile=ground.labile - taken + back,
            lost=ground.lost.at[: len(SOLUTES)].add(exported),
        )
        return eqx.tree_at(lambda s: s.ground, state, ground), {}


def solution_strength(
    ph: Float[Array, " layer"],
    pco2: Float[Array, " layer"],
    temperature: Float[Array, " layer"],
    anions: Float[Array, ""],
) -> Float[Array, " layer"]:
    """Bases in the soil solution, mol_c/m3: as much as bicarbonate and other anions.

    Args:
        ph: of the solution.
        pco2: of the soil air, atm, > 0.
        temperature: degrees C.
        anions: of strong and organic acids, mol_c/m3, >= 0.
    """
    log_bicarbonate = log_k1(temperature) + log_k_henry(temperature) + jnp.log10(pco2) + ph
    return LITRES * 10.0**log_bicarbonate + anions


class SolutionBiocycling(Biocycling):
    """Uptake as the soil solution offers it, and return with leaves as far as bases are in them.

    A base is taken up where roots are active times its concentration, so from limy layers far
    more than from acid ones, and a layer gives less where its exchanger is poor. Leaves, which
    hold more of the bases than of the carbon, return their part to the surface; the rest returns
    with roots. Silicon is taken up where roots are active, as it does not follow pH.

    Source: Jobbagy & Jackson (2001, Biogeochemistry 53, 51-77; 2004, Ecology 85, 2380-2389).
    """

    needs: ClassVar[tuple[str, ...]] = (
        *Biocycling.needs,
        "surface_share",
        "soil_temperature",
        "pco2",
    )

    leaf_bases: Float[Array, ""] = parameter(
        0.7, unit="1", lower=0.0, upper=1.0, prior=normal(0.7, 0.1),
        source="0.6 to 0.8 of Ca and K (Jobbagy & Jackson 2001, 2004)",
        description="share of bases and silicon of the litter that leaves return to the surface",
    )  # fmt: skip
    anions: Float[Array, ""] = parameter(
        0.1, unit="mol m-3", lower=0.01, upper=1.0, prior=lognormal(0.1, 0.6),
        source="assumption: as exchange.organic_anions, which bases balance in acid soil too",
        description="anions (mol_c) besides bicarbonate in the solution that roots take up",
    )  # fmt: skip

    def supplied(
        self, ground: Ground, environment: Environment, active: Float[Array, " layer"]
    ) -> Float[Array, "#solute layer"]:
        """See :class:`Biocycling`."""
        strength = solution_strength(
            ground.ph,
            environment["pco2"],
            jnp.mean(environment["soil_temperature"], axis=0),
            self.anions,
        )
        bases = jnp.maximum(ground.labile[: len(CATIONS)], 0.0)
        total = jnp.broadcast_to(jnp.sum(bases, axis=0), bases.shape)
        offered = safe.divide(bases, total) * (active * strength)[None]
        met = jnp.broadcast_to(jnp.sum(offered, axis=1, keepdims=True), offered.shape)
        others = jnp.broadcast_to(active, ground.labile[len(CATIONS) :].shape)
        return jnp.concatenate([safe.divide(offered, met), others])

    def returned(
        self, environment: Environment, roots: Float[Array, " layer"]
    ) -> Float[Array, " layer"]:
        """See :class:`Biocycling`."""
        with_roots = (1.0 - self.leaf_bases) * roots / jnp.sum(roots)
        return self.leaf_bases * environment["surface_share"] + with_roots
