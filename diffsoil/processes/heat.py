"""Soil temperature by depth: the yearly wave of the air, damped and delayed.

The twelve monthly means of a year are taken as one period. Each of their harmonics k travels
down as the exact solution of the heat equation, damped by ``exp(-z sqrt(k) / D)`` and delayed
by the same phase, with ``D = sqrt(2 kappa / omega)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffsoil.parameters import normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.state import State
from diffsoil.units import SECONDS_PER_YEAR
from diffsoil.variables import MONTH_LAYER, Variable


def damping_depth(diffusivity: Float[Array, ""]) -> Float[Array, ""]:
    """Depth (m) at which the yearly wave has 1/e of its surface amplitude.

    Args:
        diffusivity: thermal diffusivity of the soil, m2/s, > 0.
    """
    return jnp.sqrt(2.0 * diffusivity * SECONDS_PER_YEAR / (2.0 * jnp.pi))


def damped_wave(
    surface: Float[Array, "12"], depth: Float[Array, " layer"], damping: Float[Array, ""]
) -> Float[Array, "12 layer"]:
    """Temperature by month and depth below a surface whose monthly means repeat each year.

    Args:
        surface: monthly means at the surface, degrees C.
        depth: m, >= 0.
        damping: damping depth of the yearly wave, m, > 0.
    """
    harmonic = np.arange(1, 7)
    angle = 2.0 * np.pi / 12.0 * harmonic[None, :] * np.arange(12)[:, None]
    weight = np.where(harmonic == 6, 1.0, 2.0) / 12.0
    cosine = surface @ (np.cos(angle) * weight)
    sine = surface @ (np.sin(angle) * weight)
    steps = jnp.multiply.outer(np.sqrt(harmonic), depth / damping)
    damped, turned = jnp.exp(-steps), (jnp.cos(steps), jnp.sin(steps))
    # cos(k w t - steps) of the cosine part, sin(k w t - steps) of the sine part
    in_phase = damped * (cosine[:, None] * turned[0] - sine[:, None] * turned[1])
    behind = damped * (cosine[:, None] * turned[1] + sine[:, None] * turned[0])
    return jnp.mean(surface) + np.cos(angle) @ in_phase + np.sin(angle) @ behind


class AirTemperature(Process):
    """Soil as warm as the air above it at every depth: stands in for :class:`Heat`."""

    name: ClassVar[str] = "heat"
    needs: ClassVar[tuple[str, ...]] = ("air_temperature", "thickness")
    provides: ClassVar[tuple[str, ...]] = ("soil_temperature",)

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        air, layers = environment["air_temperature"], environment["thickness"].size
        return state, {"soil_temperature": jnp.repeat(air[:, None], layers, axis=1)}


class Heat(Process):
    """Soil temperature from air temperature; a soil is warmer than the air over the year."""

    name: ClassVar[str] = "heat"
    variables: ClassVar[Mapping[str, Variable]] = {
        "soil_temperature": Variable(
            MONTH_LAYER, "degC", "soil temperature", output="temperature", months="mean"
        ),
    }
    needs: ClassVar[tuple[str, ...]] = ("air_temperature", "thickness", "depth_top")
    provides: ClassVar[tuple[str, ...]] = ("soil_temperature",)

    offset: Float[Array, ""] = parameter(
        0.7,
        unit="degC",
        lower=-2.0,
        upper=4.0,
        prior=normal(0.8, 0.3),
        source="Rothamsted normals 1961-2020: soil at 30 and 100 cm less air, yearly mean",
        description="soil temperature less air temperature, yearly mean",
    )
    amplitude_ratio: Float[Array, ""] = parameter(
        1.05,
        unit="1",
        lower=0.3,
        upper=1.5,
        prior=normal(1.0, 0.1),
        source="Rothamsted normals 1961-2020, extrapolated from 30 and 100 cm to the surface",
        description="yearly amplitude of the soil surface over that of the air",
    )
    diffusivity: Float[Array, ""] = parameter(
        5.0e-7,
        unit="m2 s-1",
        lower=1.0e-7,
        upper=1.2e-6,
        prior=normal(5.0e-7, 1.0e-7),
        source="moist silt loam, textbook range 3.5e-7 to 6.5e-7",
        description="thermal diffusivity",
    )

    def stand_in(self) -> Process:
        """See :class:`diffsoil.process.Process`."""
        return AirTemperature()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        air = environment["air_temperature"]
        mean = jnp.mean(air)
        surface = mean + self.offset + self.amplitude_ratio * (air - mean)
        middle = environment["depth_top"] + 0.5 * environment["thickness"]
        return state, {
            "soil_temperature": damped_wave(surface, middle, damping_depth(self.diffusivity))
        }
