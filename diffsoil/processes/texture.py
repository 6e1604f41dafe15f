"""Texture, mass and bulk density of layers whose minerals change.

What a layer is made of follows from its minerals: texture is the mass in each size class, bulk
density that of the mineral soil, loosened by organic matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.minerals import (
    CALCITE_MASS,
    MOLAR_MASS,
    ONE_TO_ONE,
    STOICHIOMETRY,
    TWO_TO_ONE,
)
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON
from diffsoil.state import CHARGE, SOLUTES, Ground, State
from diffsoil.units import MG_PER_KG_M2
from diffsoil.variables import LAYER, Variable

LEAST_MASS = 1e-3
"""kg/m2; a layer of pure lime may dissolve, but a share of nothing has no meaning."""

_KINDS = np.stack([MOLAR_MASS * ONE_TO_ONE, MOLAR_MASS * TWO_TO_ONE])


def size_masses(ground: Ground) -> Float[Array, "size layer"]:
    """Mass of each size class in each layer, kg/m2; calcite counts as silt."""
    minerals = jnp.einsum("m,msl->sl", jnp.asarray(MOLAR_MASS), ground.minerals)
    return minerals.at[1].add(CALCITE_MASS * ground.calcite)


def mineral_masses(ground: Ground) -> Float[Array, " layer"]:
    """Mass of all minerals of each layer, kg/m2."""
    return jnp.sum(size_masses(ground), axis=0)


def element_totals(ground: Ground) -> Float[Array, "element layer"]:
    """All there is of each element of :data:`diffsoil.state.ELEMENTS`, mol/m2."""
    in_minerals = jnp.einsum("me,msl->el", STOICHIOMETRY, ground.minerals)
    labile = ground.labile / jnp.asarray(CHARGE)[:, None]
    return in_minerals.at[: len(SOLUTES)].add(labile).at[0].add(ground.calcite)


def ground_totals(ground: Ground) -> Float[Array, " budget"]:
    """All there is in the column by :data:`diffsoil.state.BUDGET`."""
    elements = jnp.sum(element_totals(ground), axis=1)
    return jnp.concatenate([elements, jnp.sum(mineral_masses(ground))[None]])


def mixed_bulk_density(
    organic_percent: Float[Array, "..."],
    mineral_density: Float[Array, "..."],
    organic_density: Float[Array, ""],
) -> Float[Array, "..."]:
    """Bulk density of a soil in which mineral and organic matter fill space side by side.

    Args:
        organic_percent: organic matter, mass %, 0 to 100.
        mineral_density: bulk density of the soil without organic matter, g/cm3, > 0.
        organic_density: bulk density of organic matter, g/cm3, > 0.

    Source: Adams (1973).
    """
    organic = organic_percent / 100.0
    return 1.0 / (organic / organic_density + (1.0 - organic) / mineral_density)


class Texture(Process):
    """Texture, masses, bulk density and the kinds of clay minerals, from the minerals."""

    name: ClassVar[str] = "texture"
    variables: ClassVar[Mapping[str, Variable]] = {
        "mineral_percent": Variable(
            ("mineral", "layer"),
            "%",
            "minerals in the mineral soil",
            output=True,
            share_of="minerals",
        ),
        "organic_matter": Variable(LAYER, "%", "organic matter"),
    }
    needs: ClassVar[tuple[str, ...]] = ("mineral_bulk_density",)
    provides: ClassVar[tuple[str, ...]] = (
        "clay_percent",
        "silt_percent",
        "organic_matter",
        "bulk_density",
        "soil_mass",
        "mineral_mass",
        "calcite_fraction",
        "one_to_one_share",
        "mineral_percent",
    )
    reads: ClassVar[tuple[str, ...]] = ("ground", "carbon")

    organic_density: Float[Array, ""] = parameter(
        0.244,
        unit="g cm-3",
        lower=0.1,
        upper=0.5,
        prior=normal(0.244, 0.03),
        source="Adams (1973); Rawls (1983) 0.224",
        description="bulk density of organic matter",
    )

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None  # the plan gives a whole soil its minerals
        masses = size_masses(ground)
        mineral = jnp.maximum(jnp.sum(masses, axis=0), LEAST_MASS)
        organic = ORGANIC_MATTER_IN_CARBON / MG_PER_KG_M2 * jnp.sum(state.carbon, axis=0)
        percent = 100.0 * organic / (mineral + organic)
        fine = ground.minerals[:, 0]
        kilograms = jnp.asarray(100.0 * MOLAR_MASS)[:, None]
        one_to_one, two_to_one = jnp.asarray(_KINDS) @ fine
        return state, {
            "clay_percent": 100.0 * masses[0] / mineral,
            "silt_percent": 100.0 * masses[1] / mineral,
            "organic_matter": percent,
            "bulk_density": mixed_bulk_density(
                percent, environment["mineral_bulk_density"], self.organic_density
            ),
            "soil_mass": (mineral + organic) * MG_PER_KG_M2,
            "mineral_mass": mineral * MG_PER_KG_M2,
            "calcite_fraction": CALCITE_MASS * ground.calcite / mineral,
            "mineral_percent": jnp.sum(ground.minerals, axis=1) * kilograms / mineral[None],
            "one_to_one_share": safe.divide(one_to_one, one_to_one + two_to_one),
        }
