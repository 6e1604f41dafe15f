"""Rate modifiers of decomposition by climate: temperature (a), moisture (b), cover (c).

The functions are those of RothC-26.3 (Coleman & Jenkinson 1996; Coleman, Prout & Milne 2025).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.state import State
from diffsoil.variables import MONTH, MONTH_LAYER, Variable

PLANT_COVER = 0.6
"""Modifier of a soil under plants (RothC description, section on plant retainment)."""

DEFICIT_WITHOUT_EFFECT = 0.444
"""Share of the largest deficit up to which moisture does not slow decomposition."""

BARE_SOIL_LIMIT = 0.556
"""Share of the largest deficit that a bare soil can reach (official code; the text has 1/1.8)."""


def temperature_factor(temperature: Float[Array, "..."]) -> Float[Array, "..."]:
    """Rate modifier a for a monthly mean temperature.

    Args:
        temperature: degrees C, any; air temperature in RothC, soil temperature in the column.

    Returns:
        Dimensionless, 0 below -5 C, 1 near 9.3 C.

    Source: RothC-26.3, with the constants of the official code (47.91, 106.06, 18.27).
    """
    active = temperature >= -5.0
    safe = jnp.where(active, temperature, 0.0)
    return jnp.where(active, 47.91 / (jnp.exp(106.06 / (safe + 18.27)) + 1.0), 0.0)


def moisture_factor(
    deficit: Float[Array, "..."],
    largest_deficit: Float[Array, "..."],
    minimum: Float[Array, "..."],
    without_effect: Float[Array, "..."],
) -> Float[Array, "..."]:
    """Rate modifier b: 1 in moist soil, falling in a straight line to a minimum in dry soil.

    Args:
        deficit: soil moisture deficit, mm, 0 at field capacity and positive when drier.
        largest_deficit: deficit at which the minimum is reached, mm, > without_effect >= 0.
        minimum: value at the largest deficit, 0 to 1.
        without_effect: deficit up to which b is 1, mm.

    Source: RothC-26.3.
    """
    span = jnp.maximum(largest_deficit - without_effect, 1e-12)
    dryness = jnp.clip((deficit - without_effect) / span, 0.0, 1.0)
    return 1.0 - (1.0 - minimum) * dryness


def cover_factor(cover: Float[Array, "..."]) -> Float[Array, "..."]:
    """Rate modifier c: 0.6 under plants, 1 on bare soil; cover is the covered share, 0 to 1."""
    return 1.0 - (1.0 - PLANT_COVER) * cover


class RateModifiers(Process):
    """Modifiers a, b and c of every layer, from simulated soil temperature and moisture.

    The litter layer has the temperature of the air and the moisture of the uppermost layer.
    """

    name: ClassVar[str] = "rate_modifiers"
    variables: ClassVar[Mapping[str, Variable]] = {
        "climate_modifier": Variable(
            MONTH_LAYER, "1", "rate modifiers a, b and c multiplied", neutral=1.0
        ),
        "litter_modifier": Variable(
            MONTH, "1", "rate modifiers of the litter layer multiplied", neutral=1.0
        ),
    }
    needs: ClassVar[tuple[str, ...]] = (
        "air_temperature",
        "soil_temperature",
        "moisture_deficit",
        "cover",
    )
    provides: ClassVar[tuple[str, ...]] = ("climate_modifier", "litter_modifier")

    minimum_moisture: Float[Array, ""] = parameter(
        0.2,
        unit="1",
        lower=0.05,
        upper=0.5,
        prior=normal(0.2, 0.05),
        source="RothC-26.3; Farina et al. 2013 test 0.1 and 0.15",
        description="moisture modifier of a soil at its largest deficit",
    )

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        b = moisture_factor(
            environment["moisture_deficit"],
            jnp.ones(()),
            self.minimum_moisture,
            jnp.asarray(DEFICIT_WITHOUT_EFFECT),
        )
        c = cover_factor(environment["cover"])
        a = temperature_factor(environment["soil_temperature"])
        litter = temperature_factor(environment["air_temperature"]) * b[:, 0] * c
        return state, {"climate_modifier": a * b * c[:, None], "litter_modifier": litter}
