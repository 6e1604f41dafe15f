"""Pores: water retention for the water balance, and pore classes for protection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.pedotransfer import (
    HydraulicParameters,
    pore_classes,
    water_content,
    wosten1999,
)
from diffsoil.state import State
from diffsoil.variables import LAYER, Variable

FIELD_CAPACITY_HEAD = 100.0
"""cm; drained loam."""
WILTING_POINT_HEAD = 15000.0
"""cm."""
TOPSOIL_DEPTH = 0.30
"""m; above it the pedotransfer function treats a layer as topsoil."""
ORGANIC_MATTER_IN_CARBON = 1.724
"""Organic matter per organic carbon (van Bemmelen)."""
PEDOTRANSFER_OM = 1.72
"""The same factor as the pedotransfer function was calibrated with."""


def _hydraulics(environment: Environment, organic_matter: Array) -> HydraulicParameters:
    topsoil = jnp.where(environment["depth_top"] < TOPSOIL_DEPTH - 1e-9, 1.0, 0.0)
    return wosten1999(
        environment["clay_percent"],
        environment["silt_percent"],
        organic_matter,
        environment["bulk_density"],
        topsoil,
    )


def soc_percent(
    soc: Float[Array, " layer"], mineral_mass: Float[Array, " layer"]
) -> Float[Array, " layer"]:
    """Organic carbon in % of the dry soil, organic matter being part of the soil.

    Args:
        soc: organic carbon, Mg/ha.
        mineral_mass: Mg/ha, > 0.
    """
    return 100.0 * soc / (mineral_mass + ORGANIC_MATTER_IN_CARBON * soc)


NEEDS = ("clay_percent", "silt_percent", "bulk_density", "depth_top")


SILT_LOAM = "HYPRES (Woesten et al. 1999) for a silt loam: 16 % clay, 67 % silt, 1.22 g/cm3"


class UniformRetention(Process):
    """The same water retention in every layer: stands in for :class:`Retention`."""

    name: ClassVar[str] = "retention"
    needs: ClassVar[tuple[str, ...]] = ("thickness",)
    provides: ClassVar[tuple[str, ...]] = ("field_capacity", "wilting_point")

    wilting_point: Float[Array, ""] = parameter(
        0.137, unit="m3 m-3", lower=0.01, upper=0.4, prior=normal(0.137, 0.03),
        source=SILT_LOAM, description="water content at the wilting point",
    )  # fmt: skip
    available_water: Float[Array, ""] = parameter(
        0.255, unit="m3 m-3", lower=0.01, upper=0.5, prior=normal(0.255, 0.04),
        source=SILT_LOAM, description="water between field capacity and the wilting point",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        every = jnp.ones_like(environment["thickness"])
        return state, {
            "field_capacity": every * (self.wilting_point + self.available_water),
            "wilting_point": every * self.wilting_point,
        }


class UniformPores(Process):
    """The same retention and pores in every layer: stands in for :class:`SimulatedRetention`."""

    name: ClassVar[str] = "retention"
    needs: ClassVar[tuple[str, ...]] = ("thickness",)
    provides: ClassVar[tuple[str, ...]] = (
        "field_capacity",
        "wilting_point",
        "porosity",
        "mesopores",
        "micropores",
    )

    micropores: Float[Array, ""] = parameter(
        0.275, unit="m3 m-3", lower=0.02, upper=0.6, prior=normal(0.275, 0.04),
        source=SILT_LOAM, description="pores still full at 600 hPa",
    )  # fmt: skip
    mesopores: Float[Array, ""] = parameter(
        0.19, unit="m3 m-3", lower=0.01, upper=0.4, prior=normal(0.19, 0.04),
        source=SILT_LOAM, description="pores drained between 20 and 600 hPa",
    )  # fmt: skip
    macropores: Float[Array, ""] = parameter(
        0.025, unit="m3 m-3", lower=0.0, upper=0.2, prior=lognormal(0.025, 0.5),
        source=SILT_LOAM, description="pores drained at 20 hPa",
    )  # fmt: skip
    full_mesopores: Float[Array, ""] = parameter(
        0.61, unit="1", lower=0.0, upper=1.0, prior=normal(0.61, 0.1),
        source=SILT_LOAM, description="share of the mesopores that is full at field capacity",
    )  # fmt: skip
    dead_micropores: Float[Array, ""] = parameter(
        0.5, unit="1", lower=0.05, upper=0.95, prior=normal(0.5, 0.1),
        source=SILT_LOAM, description="share of the micropores that is full at the wilting point",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        every = jnp.ones_like(environment["thickness"])
        return state, {
            "field_capacity": every * (self.micropores + self.full_mesopores * self.mesopores),
            "wilting_point": every * (self.dead_micropores * self.micropores),
            "porosity": every * (self.micropores + self.mesopores + self.macropores),
            "mesopores": every * self.mesopores,
            "micropores": every * self.micropores,
        }


class Retention(Process):
    """Water that a layer holds at field capacity and at the wilting point.

    Organic matter is that of the case's profile, so the water balance does not follow the
    simulated carbon and can be computed ahead.
    """

    name: ClassVar[str] = "retention"
    needs: ClassVar[tuple[str, ...]] = (*NEEDS, "reference_organic_matter")
    provides: ClassVar[tuple[str, ...]] = ("field_capacity", "wilting_point")

    def stand_in(self) -> Process:
        """See :class:`diffsoil.process.Process`."""
        return UniformRetention()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        hydraulics = _hydraulics(environment, environment["reference_organic_matter"])
        return state, {
            "field_capacity": water_content(hydraulics, jnp.asarray(FIELD_CAPACITY_HEAD)),
            "wilting_point": water_content(hydraulics, jnp.asarray(WILTING_POINT_HEAD)),
        }


class SimulatedRetention(Process):
    """Retention and pore classes of a developing soil, anew in every slow step."""

    name: ClassVar[str] = "retention"
    variables: ClassVar[Mapping[str, Variable]] = {
        "field_capacity": Variable(LAYER, "m3 m-3", "water content at field capacity"),
        "wilting_point": Variable(LAYER, "m3 m-3", "water content at the wilting point"),
        "porosity": Variable(LAYER, "m3 m-3", "pore volume"),
        "mesopores": Variable(LAYER, "m3 m-3", "pores drained between 20 and 600 hPa"),
        "micropores": Variable(LAYER, "m3 m-3", "pores still full at 600 hPa"),
    }
    needs: ClassVar[tuple[str, ...]] = (*NEEDS, "organic_matter")
    provides: ClassVar[tuple[str, ...]] = (
        "field_capacity",
        "wilting_point",
        "porosity",
        "mesopores",
        "micropores",
    )

    def stand_in(self) -> Process:
        """See :class:`diffsoil.process.Process`."""
        return UniformPores()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        hydraulics = _hydraulics(environment, environment["organic_matter"])
        meso, micro = pore_classes(hydraulics)
        return state, {
            "field_capacity": water_content(hydraulics, jnp.asarray(FIELD_CAPACITY_HEAD)),
            "wilting_point": water_content(hydraulics, jnp.asarray(WILTING_POINT_HEAD)),
            "porosity": hydraulics.theta_s,
            "mesopores": meso,
            "micropores": micro,
        }


class SimulatedPores(Process):
    """Pore classes that follow the simulated organic matter."""

    name: ClassVar[str] = "pores"
    needs: ClassVar[tuple[str, ...]] = (*NEEDS, "mineral_mass")
    provides: ClassVar[tuple[str, ...]] = ("mesopores", "micropores")
    reads: ClassVar[tuple[str, ...]] = ("carbon",)

    def stand_in(self) -> Process:
        """See :class:`diffsoil.process.Process`."""
        return PrescribedPores()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        carbon = soc_percent(jnp.sum(state.carbon, axis=0), environment["mineral_mass"])
        meso, micro = pore_classes(_hydraulics(environment, PEDOTRANSFER_OM * carbon))
        return state, {"mesopores": meso, "micropores": micro}


class PrescribedPores(Process):
    """Pore classes from the organic matter of the case's profile: cheaper, no feedback."""

    name: ClassVar[str] = "pores"
    needs: ClassVar[tuple[str, ...]] = (*NEEDS, "reference_organic_matter")
    provides: ClassVar[tuple[str, ...]] = ("mesopores", "micropores")

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        organic = environment["reference_organic_matter"]
        meso, micro = pore_classes(_hydraulics(environment, organic))
        return state, {"mesopores": meso, "micropores": micro}
