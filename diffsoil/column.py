"""The soil column: which processes it has, in the order in which they act."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from diffsoil import parameters
from diffsoil.process import Process
from diffsoil.processes.additions import Additions
from diffsoil.processes.biocycling import Biocycling, SolutionBiocycling
from diffsoil.processes.burial import Burial
from diffsoil.processes.carbon import (
    ICBM,
    Carbon,
    CarbonModel,
    CTool,
    Dissolved,
    Millennial2,
    RothC,
    RothCPassive,
)
from diffsoil.processes.erosion import ContinuousErosion, Erosion
from diffsoil.processes.exchange import Exchange, ExchangeCapacity
from diffsoil.processes.fauna_diffusion import FaunaDiffusion
from diffsoil.processes.geometry import Geometry
from diffsoil.processes.heat import Heat
from diffsoil.processes.manure import Manure
from diffsoil.processes.migration import Migration
from diffsoil.processes.mixing import Fauna, Plough, PloughZone
from diffsoil.processes.oxides import KineticIron, Oxides
from diffsoil.processes.physical_weathering import PhysicalWeathering
from diffsoil.processes.pores import Retention, SimulatedPores, SimulatedRetention
from diffsoil.processes.protection import Protection
from diffsoil.processes.rate_modifiers import RateModifiers
from diffsoil.processes.richards import Richards, SimulatedRichards
from diffsoil.processes.soil_gas import SoilGas
from diffsoil.processes.texture import Texture
from diffsoil.processes.vegetation import Vegetation
from diffsoil.processes.water import Water
from diffsoil.processes.weather_years import WeatherYears
from diffsoil.processes.weathering import TransportWeathering, Weathering
from diffsoil.registry import Registry
from diffsoil.state import INERT
from diffsoil.variables import VARIABLES

PROCESSES: tuple[type[Process], ...] = (
    Geometry,
    PloughZone,
    Burial,
    Retention,
    Water,
    Heat,
    RateModifiers,
    SimulatedPores,
    Protection,
    Vegetation,
    Manure,
    RothC,
    Fauna,
    Plough,
)
"""The standard column, from the ground up. A new process is one file and one line here."""


WHOLE_SOIL: tuple[type[Process], ...] = (
    Erosion,
    Texture,
    Geometry,
    ExchangeCapacity,
    PloughZone,
    Burial,
    SimulatedRetention,
    Water,
    Heat,
    Vegetation,
    Manure,
    SoilGas,
    Additions,
    Biocycling,
    PhysicalWeathering,
    Weathering,
    Exchange,
    Oxides,
    Migration,
    RateModifiers,
    Protection,
    RothC,
    Fauna,
    Plough,
)
"""The column whose minerals, exchanger and texture develop."""


class Column(eqx.Module):
    """A list of processes; one slow step lets each act in turn."""

    processes: tuple[Process, ...]

    def process(self, name: str) -> Process:
        """The process of a name; ``KeyError`` if the column has none."""
        for process in self.processes:
            if process.name == name:
                return process
        raise KeyError(name)

    @property
    def carbon(self) -> CarbonModel:
        """The process that turns carbon over."""
        process = self.process("carbon")
        assert isinstance(process, CarbonModel)
        return process

    @property
    def pools(self) -> tuple[str, ...]:
        """Names of the pools of organic carbon, the inert one last."""
        return (*self.carbon.pools, INERT)

    def without(self, name: str) -> Column:
        """The column with a process removed: not traced, not compiled, not run.

        Its stand-in takes its place where it has one, neutral values where it has none; a column
        that lacks something with neither is refused by :func:`missing_needs` before anything
        runs, and :func:`needed_by` tells beforehand.
        """
        removed = self.process(name)
        stand_in = removed.stand_in()
        if stand_in is not None:
            return self.replaced(stand_in)
        return Column(tuple(p for p in self.processes if p is not removed))

    def replaced(self, process: Process) -> Column:
        """The column with another object in the place of the process of the same name."""
        old = self.process(process.name)
        return Column(tuple(process if p is old else p for p in self.processes))

    def with_choice(self, chosen: Process | Dissolved) -> Column:
        """The column with an alternative in its place.

        A process takes the place of that of the same name, and what is dissolved is a part of
        the model of carbon.

        Raises:
            ValueError: the model of carbon has no linear pools.
        """
        if isinstance(chosen, Process):
            return self.replaced(chosen)
        if not isinstance(self.carbon, Carbon):
            raise ValueError("needs linear pools, which the model of carbon does not have")
        return self.replaced(dataclasses.replace(self.carbon, dissolved=chosen))

    def with_added(self, process: Process) -> Column:
        """The column with one more process, at the place that it names.

        One of the same name makes way for it.

        Raises:
            ValueError: the column has no process of the name after which it acts.
        """
        names = [p.name for p in self.processes]
        if process.name in names:
            return self.replaced(process)
        if process.after not in names:
            raise ValueError(
                f"process {process.name!r} acts after {process.after!r}, which the column does "
                "not have"
            )
        place = names.index(process.after) + 1
        return Column((*self.processes[:place], process, *self.processes[place:]))

    def parameters(self) -> dict[str, parameters.Parameter]:
        """Parameters of all processes by full name."""
        return {
            name: place.parameter
            for process in self.processes
            for name, place in parameters.places(process).items()
        }

    def values(self) -> dict[str, Any]:
        """Present values of the parameters by full name."""
        return {
            name: place.value(process)
            for process in self.processes
            for name, place in parameters.places(process).items()
        }

    def with_parameters(self, values: Mapping[str, Any]) -> Column:
        """The column with new parameter values by full name; ``KeyError`` for unknown ones."""
        return Column(parameters.with_values(self.processes, values))


def standard_column(input_groups: Iterable[str] = ("plants",)) -> Column:
    """The standard column with default parameters.

    Args:
        input_groups: names of the groups of plant input, each with a factor of its own.
    """
    vegetation = Vegetation({group: jnp.ones(()) for group in input_groups})
    return Column(tuple(vegetation if p is Vegetation else p() for p in PROCESSES))


def _long_bucket() -> Water:
    # the climate stays and the steps are many: water comes to its cycle by itself
    return Water(spin_up_years=1)


def whole_soil_column(input_groups: Iterable[str] = ("plants",)) -> Column:
    """The column of the whole soil with default parameters; see :func:`standard_column`."""
    own: dict[type[Process], Process] = {
        Vegetation: Vegetation({group: jnp.ones(()) for group in input_groups}),
        Water: _long_bucket(),
    }
    return Column(tuple(own.get(p) or p() for p in WHOLE_SOIL))


def _years_of_long_bucket() -> WeatherYears:
    return WeatherYears(spin_up_years=1)


COLUMNS: Registry[Callable[[Iterable[str]], Column]] = Registry(
    "column", {"carbon": standard_column, "whole_soil": whole_soil_column}
)
"""What a case may choose as its column."""

type ByColumn = Mapping[str, Callable[[], Process]]
"""What makes a process, by the column that it is for; other columns do not have it."""

CARBON: Registry[Mapping[str, type[CarbonModel]]] = Registry(
    "model of carbon",
    {
        "rothc": {"carbon": RothC, "whole_soil": RothC},
        "rothc_passive": {"carbon": RothCPassive, "whole_soil": RothCPassive},
        "icbm": {"carbon": ICBM, "whole_soil": ICBM},
        "ctool": {"carbon": CTool, "whole_soil": CTool},
        "millennial2": {"carbon": Millennial2, "whole_soil": Millennial2},
    },
)
DISSOLVED_CARBON: Registry[Mapping[str, Callable[[], Dissolved]]] = Registry(
    "way of dissolved carbon",
    {"none": {}, "percolation": {"carbon": Dissolved, "whole_soil": Dissolved}},
)
MIXING: Registry[Mapping[str, type[Fauna | FaunaDiffusion]]] = Registry(
    "mixing by soil fauna",
    {
        "block": {"carbon": Fauna, "whole_soil": Fauna},
        "diffusion": {"carbon": FaunaDiffusion, "whole_soil": FaunaDiffusion},
    },
)
WATER: Registry[ByColumn] = Registry(
    "model of soil water",
    {
        "bucket": {"carbon": Water, "whole_soil": _long_bucket},
        "bucket_years": {"carbon": WeatherYears, "whole_soil": _years_of_long_bucket},
        "richards": {"carbon": Richards, "whole_soil": SimulatedRichards},
    },
)
EROSION: Registry[Mapping[str, type[Erosion | ContinuousErosion]]] = Registry(
    "erosion", {"events": {"whole_soil": Erosion}, "continuous": {"whole_soil": ContinuousErosion}}
)
DISSOLVED_IRON: Registry[ByColumn] = Registry(
    "dissolved iron",
    {
        "equilibrium": {"whole_soil": Oxides},
        "kinetic": {"whole_soil": lambda: Oxides(iron=KineticIron())},
    },
)
WEATHERING: Registry[ByColumn] = Registry(
    "weathering",
    {"kinetic": {"whole_soil": Weathering}, "transport": {"whole_soil": TransportWeathering}},
)
BIOCYCLING: Registry[ByColumn] = Registry(
    "cycling of bases by plants",
    {
        "base_saturation": {"whole_soil": Biocycling},
        "solution": {"whole_soil": SolutionBiocycling},
    },
)
CHOICES: Mapping[str, Registry[Any]] = {
    "carbon": CARBON,
    "dissolved_carbon": DISSOLVED_CARBON,
    "mixing": MIXING,
    "water": WATER,
    "erosion": EROSION,
    "dissolved_iron": DISSOLVED_IRON,
    "biocycling": BIOCYCLING,
    "weathering": WEATHERING,
}
"""Alternatives that a case may choose from, by the key with which it does."""


def erodes_in_events(erosion: object) -> bool:
    """Whether a choice of erosion takes whole layers at a time."""
    choice = EROSION.get(str(erosion))
    return bool(choice and choice["whole_soil"].events)


ADDED: Registry[type[Process]] = Registry("process", {}, "diffsoil.processes", Process)
"""Processes from outside, which a case may have besides those of its column."""


def missing_needs(column: Column, given: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs (process, variable) that nothing provides and that have no neutral value.

    Args:
        column: the column.
        given: variables that the case provides.
    """
    available = set(given) | {name for name, v in VARIABLES.items() if v.neutral is not None}
    missing = []
    for process in column.processes:
        missing += [(process.name, need) for need in process.needs if need not in available]
        available |= set(process.provides)
        late = [need for need in process.yearly_needs if need not in available]
        missing += [(process.name, need) for need in late]
    return missing


def needed_by(column: Column, name: str) -> str:
    """Why a column cannot be without one of its processes; empty if it can.

    What no process of the column provides is taken to come from the case.
    """
    process = column.process(name)
    if process.indispensable:
        return process.indispensable
    provided = {variable for p in column.processes for variable in p.provides}
    lacking = missing_needs(column.without(name), VARIABLES.keys() - provided)
    by_process = dict(reversed(lacking))
    said = [f"{other!r} needs {variable!r}" for other, variable in reversed(by_process.items())]
    return ", ".join(said[:3]) + (f" and {len(said) - 3} more need it" if len(said) > 3 else "")


def removable(column: Column) -> tuple[str, ...]:
    """Names of the processes that a column can be without, in any combination."""
    return tuple(p.name for p in column.processes if not needed_by(column, p.name))
