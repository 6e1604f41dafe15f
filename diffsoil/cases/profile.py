"""What of the soil at the start follows from parameters: its exchanger and its bulk density.

A case says what a horizon is like, among it the bulk density of the soil with its humus and often
the CEC. How much of that is due to clay, to carbon and to the room that humus takes is a matter of
parameters, so it is computed from the column that is run, whether its values are those of the
case, set by hand, or free; derivatives with respect to them go through the start as well.
"""

from __future__ import annotations

from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from diffsoil.cases.profiles import Soil
from diffsoil.cases.schema import Grid
from diffsoil.column import Column
from diffsoil.io import Faults
from diffsoil.process import Process
from diffsoil.processes.exchange import ExchangeCapacity
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON
from diffsoil.processes.texture import Texture
from diffsoil.state import CATIONS, SOLUTES
from diffsoil.strength import Blended

MMOL = 1e3
"""mmol in a mol."""
KG_M3 = 1e3
"""kg/m3 in a g/cm3."""
LEAST_ROOM = 0.01
"""Share of the volume that minerals have at least, however light a parameter makes the humus."""


class Horizons(eqx.Module):
    """The horizons of one soil from the lowest one up, or of several soils with a leading axis.

    Of the soil without humus: the history starts without.
    """

    share: Float[Array, "horizon layer"]
    """Part of each layer of the grid."""
    mass: Float[Array, " horizon"]
    """Mass of a layer, kg/m2."""
    volume: Float[Array, " horizon"]
    """Thickness of a layer with its humus, m."""
    density: Float[Array, " horizon"]
    """Bulk density of the soil with its humus, g/cm3."""
    clay: Float[Array, " horizon"]
    carbon: Float[Array, " horizon"]
    inert: Float[Array, " horizon"]
    """Mass shares of clay, organic carbon and inert carbon."""
    measured: Bool[Array, " horizon"]
    """Whether the CEC of the soil with its humus is given, and does not follow from parameters."""
    cec: Float[Array, " horizon"]
    """That CEC, mmol/kg."""
    bases: Float[Array, "horizon cation"]
    """Share of the exchanger that each base has."""


def horizons(soil: Soil, grid: Grid, most: int, share: np.ndarray) -> Horizons:
    """The horizons of a soil, filled up with such that no layer has a part of.

    Args:
        soil, grid: of the case.
        most: number of horizons to fill up to.
        share: of the layers in the horizons from the surface down, [horizon, layer].
    """
    given = list(reversed(soil.horizons))
    given += [given[0]] * (most - len(given))
    filled = np.zeros((most, grid.layers))
    filled[: len(share)] = share[::-1]

    def of(name: str) -> np.ndarray:
        return np.array([getattr(horizon, name) for horizon in given], float)

    carbon, density = of("soc_percent") / 100, of("fine_earth_density")
    mineral = 1 - ORGANIC_MATTER_IN_CARBON * carbon
    cec = [horizon.cec_mmol_kg for horizon in given]
    bases = [[getattr(horizon.exchange, name) for name in CATIONS] for horizon in given]
    saturation = of("base_saturation") / 100
    return Horizons(
        share=jnp.asarray(filled),
        mass=jnp.asarray(density * mineral * KG_M3 * grid.thickness_m),
        volume=jnp.full(most, grid.thickness_m),
        density=jnp.asarray(density),
        clay=jnp.asarray(of("clay_percent") / 100),
        carbon=jnp.asarray(carbon),
        inert=jnp.asarray(of("iom_percent") / 100),
        measured=jnp.asarray([value is not None for value in cec]),
        cec=jnp.asarray([value or 0.0 for value in cec]),
        bases=jnp.asarray(saturation[:, None] * np.array(bases)),
    )


def room_for_minerals(
    density: ArrayLike, carbon: ArrayLike, organic_density: ArrayLike
) -> Float[Array, "..."]:
    """Share of a soil's volume that its humus leaves; 0 or less where the numbers do not fit.

    Args:
        density: bulk density of the soil, g/cm3.
        carbon: mass share of organic carbon.
        organic_density: bulk density of organic matter, g/cm3, > 0.

    Source: Adams (1973).
    """
    organic = jnp.asarray(density) * ORGANIC_MATTER_IN_CARBON * carbon
    return 1 - organic / organic_density


def organic_density(column: Column) -> Float[Array, ""]:
    """Bulk density of organic matter in a column, g/cm3."""
    return _own(column, Texture).organic_density


def check_room(light: float, soils: Mapping[str, Soil], source: object) -> None:
    """Refuse horizons in which the humus leaves no room for minerals.

    Args:
        light: bulk density of organic matter, g/cm3.
        soils: by name.
        source: named in error messages.

    Raises:
        InputError: all such horizons.
    """
    faults = Faults()
    for name, soil in soils.items():
        for number, horizon in enumerate(soil.horizons):
            carbon = horizon.soc_percent / 100
            if room_for_minerals(horizon.bulk_density, carbon, light) <= 0:
                faults.add(
                    f"{source}: soil.{name}.horizons.{number}.soc_percent: "
                    f"{horizon.soc_percent:g} at bulk_density {horizon.bulk_density:g} leaves no "
                    f"room for minerals (texture.organic_density is {light:g})"
                )
    faults.refuse()


class AtStart(eqx.Module):
    """What follows from parameters, as the plan and its phases name it."""

    labile: Float[Array, "solute layer"]
    parent_labile: Float[Array, " solute"]
    cec_offset: Float[Array, " layer"]
    mineral_bulk_density: Float[Array, " layer"]


def at_start(column: Column, of: Horizons) -> AtStart:
    """The exchanger and the density of one soil at the start, with the values of a column.

    A process that the column is without leaves the declared values of its parameters. The CEC of a
    horizon that is given stays what it is, and what clay and carbon do not explain is its offset.
    """
    capacity, texture = _own(column, ExchangeCapacity), _own(column, Texture)
    inert = of.inert * column.carbon.iom_factor
    mineral = capacity.mineral + capacity.clay * of.clay
    offset = jnp.where(of.measured, of.cec - mineral - capacity.carbon * of.carbon, 0.0)
    cec = jnp.maximum(mineral + offset + capacity.carbon * inert, 0.0)
    bases = of.mass[:, None] * (cec / MMOL)[:, None] * of.bases
    labile = jnp.zeros((len(SOLUTES), of.mass.size)).at[: len(CATIONS)].set(bases.T)
    room = room_for_minerals(of.density, of.carbon, texture.organic_density)
    volume = of.volume * jnp.maximum(room, LEAST_ROOM)
    mass = of.mass @ of.share
    return AtStart(
        labile=labile @ of.share,
        parent_labile=labile[:, 0],
        cec_offset=(of.mass * offset) @ of.share / mass,
        mineral_bulk_density=mass / ((volume @ of.share) * KG_M3),
    )


def _own[P: Process](column: Column, kind: type[P]) -> P:
    """The process of a kind that a column has, or one with the declared values."""
    for process in column.processes:
        inner = process.process if isinstance(process, Blended) else process
        if isinstance(inner, kind):
            return inner
    return kind()
