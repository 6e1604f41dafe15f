"""CO2 in the soil air: production by roots and decomposers, diffusion to the surface.

Diffusion evens out within days, so each slow step takes the steady state: through every depth
goes what is produced below it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.carbonate import ZERO_CELSIUS
from diffsoil.state import State
from diffsoil.units import MOL_PER_MG_HA, SECONDS_PER_YEAR
from diffsoil.variables import LAYER, Variable

GAS_CONSTANT = 8.205737e-5
"""m3 atm / (mol K)."""

LEAST_AIR = 0.02
"""Air-filled porosity below which diffusion slows no further: cracks and root channels stay
open in a soil whose mean water content fills its pores (assumption)."""

OXYGEN = 0.21
"""Rise of CO2 over the atmosphere, atm, at which the respiring soil has used up its oxygen."""


def diffusivity_in_air(temperature: Float[Array, "..."]) -> Float[Array, "..."]:
    """Diffusivity of CO2 in free air, m2/s, at degrees C: ``0.1369 (T / 273.15)^1.958`` cm2/s.

    Source: as in the soil carbonate model soilCCModern.
    """
    return 0.1369e-4 * ((temperature + ZERO_CELSIUS) / ZERO_CELSIUS) ** 1.958


def co2_profile(
    production: Float[Array, " layer"],
    thickness: Float[Array, " layer"],
    air_porosity: Float[Array, " layer"],
    temperature: Float[Array, " layer"],
    atmosphere: Float[Array, ""],
    tortuosity: Float[Array, ""],
) -> Float[Array, " layer"]:
    """Partial pressure of CO2 in the middle of each layer, atm.

    Steady diffusion through the air-filled pores, ``D = D_air * tortuosity * air_porosity``
    (Penman 1940), exact for production that is uniform within each layer; nothing passes the
    bottom. No more than the oxygen of the air allows.

    Args:
        production: of CO2, Mg C/ha/a, >= 0.
        thickness: m.
        air_porosity: air-filled share of the volume; taken as at least ``LEAST_AIR``.
        temperature: yearly mean, degrees C.
        atmosphere: partial pressure in the atmosphere, atm.
        tortuosity: diffusion in soil for each unit of air-filled pores, share of free air.
    """
    source = production * (MOL_PER_MG_HA / SECONDS_PER_YEAR)  # mol/m2/s
    flux = jnp.cumsum(source[::-1])[::-1]  # through the upper face
    diffusivity = (
        diffusivity_in_air(temperature) * tortuosity * jnp.maximum(air_porosity, LEAST_AIR)
    )
    resistance = GAS_CONSTANT * (temperature + ZERO_CELSIUS) * thickness / diffusivity
    rise = resistance * (flux - 0.5 * source)  # from the upper to the lower face
    to_middle = 0.5 * resistance * (flux - 0.25 * source)
    return atmosphere + jnp.minimum(jnp.cumsum(rise) - rise + to_middle, OXYGEN)


class ConstantSoilGas(Process):
    """One partial pressure of CO2 at all depths and times: stands in for :class:`SoilGas`."""

    name: ClassVar[str] = "soil_gas"
    needs: ClassVar[tuple[str, ...]] = ("thickness",)
    provides: ClassVar[tuple[str, ...]] = ("pco2",)

    pco2: Float[Array, ""] = parameter(
        5.0e-3,
        unit="atm",
        lower=3.0e-4,
        upper=1.0e-1,
        prior=lognormal(5.0e-3, 0.7),
        source="Brook et al. (1983), at an actual evapotranspiration of 470 mm/a",
        description="partial pressure of CO2 in soil air",
    )

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        return state, {"pco2": jnp.ones_like(environment["thickness"]) * self.pco2}


class SoilGas(Process):
    """CO2 of the soil air from last year's decomposition and this year's roots.

    What decomposes in the litter layer leaves to the atmosphere at once.
    """

    name: ClassVar[str] = "soil_gas"
    variables: ClassVar[Mapping[str, Variable]] = {
        "pco2": Variable(LAYER, "atm", "partial pressure of CO2 in soil air", output=True),
    }
    needs: ClassVar[tuple[str, ...]] = (
        "plant_carbon",
        "soil_temperature",
        "water_content",
        "porosity",
        "thickness",
    )
    provides: ClassVar[tuple[str, ...]] = ("pco2",)
    reads: ClassVar[tuple[str, ...]] = ("ground",)

    root_respiration: Float[Array, ""] = parameter(
        1.0,
        unit="1",
        lower=0.0,
        upper=3.0,
        prior=normal(1.0, 0.5),
        source="assumption: about half of the respiration of a soil is that of roots",
        description="CO2 of roots, as ratio to the plant carbon that enters the soil",
    )
    atmosphere: Float[Array, ""] = parameter(
        3.8e-4,
        unit="atm",
        lower=1.5e-4,
        upper=1.2e-3,
        prior=normal(3.8e-4, 5.0e-5),
        source="air of the year 2005; the Holocene had 2.6e-4 to 2.8e-4 (ice cores)",
        description="partial pressure of CO2 in the atmosphere",
    )
    tortuosity: Float[Array, ""] = parameter(
        0.66,
        unit="1",
        lower=0.2,
        upper=1.0,
        prior=normal(0.66, 0.1),
        source="Penman 1940; 0.6 is in use too",
        description="diffusivity in soil over that in air, for each unit of air-filled pores",
    )

    def stand_in(self) -> Process:
        """See :class:`diffsoil.process.Process`."""
        return ConstantSoilGas()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        assert state.ground is not None
        into_soil = jnp.sum(environment["plant_carbon"], axis=(0, 1))[1:]
        production = state.ground.respiration + self.root_respiration * into_soil
        pco2 = co2_profile(
            jnp.maximum(production, 0.0),
            environment["thickness"],
            environment["porosity"] - jnp.mean(environment["water_content"], axis=0),
            jnp.mean(environment["soil_temperature"], axis=0),
            self.atmosphere,
            self.tortuosity,
        )
        return state, {"pco2": pco2}
