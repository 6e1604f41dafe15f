"""The life of a column as arrays, and as a file: names, units and owners of all results.

A file has two time axes, both in calendar years of the case. ``year`` has every simulated year,
and the state of year y is that at its end. ``output_year`` is a part of those years, at which
values by layer are kept: in history the ends of slow steps, thinned to be at least
:data:`OUTPUT_INTERVAL` years apart; in the experiment every year. ``year_of_run`` and
``output_year_of_run`` count the same years from 1. What is derived (temperature, water,
modifiers) belongs to the slow step that ends with the output year. What no process of the column
computes is not in the file.
"""

from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from typing import TYPE_CHECKING, Literal

import numpy as np

from diffsoil.cases import Case
from diffsoil.column import Column
from diffsoil.state import CATIONS, DECLARED, LAYER, MINERALS, MONTH_LAYER, POOLS, VARIABLES

if TYPE_CHECKING:
    import xarray as xr

OUTPUT_INTERVAL = 10
"""Years that lie at least between two output years of the history."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a result is: dimensions besides the treatment, unit, name, and who computes it.

    ``variable`` is the variable of the column it is made of; ``process`` the owner where
    no variable tells it; ``months`` what is done with monthly values.
    """

    dims: tuple[str, ...]
    unit: str
    long_name: str
    variable: str = ""
    process: str = ""
    months: Literal["", "mean", "sum"] = ""


def _stock(depth: str, extra: str = "") -> Result:
    name = f"organic carbon stock, {depth}{extra}, at the end of the year"
    return Result(("year",), "Mg ha-1", name, process="carbon")


def _layer(variable: str, months: Literal["", "mean", "sum"] = "", also: str = "") -> Result:
    about = VARIABLES[variable]
    name = about.long_name.replace("at the end of the month", "at the ends of the months")
    name = name.replace(" in the month", "")
    name += {"": "", "mean": ", mean of the year", "sum": ", sum of the year"}[months]
    dims = ("output_year", also, "depth_m") if also else ("output_year", "depth_m")
    return Result(dims, about.unit, name, variable=variable, months=months)


RESULTS: dict[str, Result] = {
    "soc_stock_0_25": _stock("0-25 cm"),
    "soc_stock_25_75": _stock("25-75 cm, to the bottom of a shallower column"),
    "soc_stock_25_100": _stock("25-100 cm, to the bottom of a shallower column"),
    "soc_stock_0_100": _stock("0-100 cm, to the bottom of a shallower column", ", with litter"),
    "litter_stock": _stock("litter layer"),
    "carbon_input": Result(
        ("year",), "Mg ha-1", "organic carbon added in the year", process="vegetation manure"
    ),
    "co2_respired": Result(
        ("year",), "Mg ha-1", "carbon respired as CO2 in the year", process="carbon"
    ),
    "carbon_eroded": Result(
        ("year",), "Mg ha-1", "organic carbon carried away in the year", process="erosion"
    ),
    "soc": Result(
        ("output_year", "depth_m"),
        "Mg ha-1",
        "organic carbon of the layer, at the end of the year",
        process="carbon",
    ),
    "soc_pool": Result(
        ("output_year", "pool", "depth_m"),
        "Mg ha-1",
        "organic carbon of the layer by pool, at the end of the year",
        process="carbon",
    ),
    "delta14c": Result(
        ("output_year", "depth_m"),
        "1e-3",
        "Delta 14C of the layer's organic carbon, per mille, at the end of the year",
        process="carbon",
    ),
    "thickness": _layer("thickness"),
    "bulk_density": _layer("bulk_density"),
    "clay": _layer("clay_percent"),
    "silt": _layer("silt_percent"),
    "mineral_percent": _layer("mineral_percent", also="mineral"),
    "one_to_one_share": _layer("one_to_one_share"),
    "calcite": _layer("calcite_fraction"),
    "cec": _layer("cec"),
    "base_saturation": _layer("base_saturation"),
    "exchangeable_bases": _layer("exchangeable_bases", also="cation"),
    "exchangeable_aluminium": _layer("exchangeable_aluminium"),
    "ph": _layer("ph"),
    "pco2": _layer("pco2"),
    "dissolved_al_fe": _layer("dissolved_al_fe"),
    "temperature": _layer("soil_temperature", "mean"),
    "water_content": _layer("water_content", "mean"),
    "percolation": _layer("percolation", "sum"),
    "modifier_overall": _layer("modifier_overall"),
    "precipitation": Result(
        ("output_year",), "mm", "precipitation, sum of the year", "precipitation"
    ),
    "evapotranspiration": Result(
        ("output_year",),
        "mm",
        "rain that met the demand directly, and water drawn from the soil, sum of the year",
        "evapotranspiration",
    ),
    "water_adjustment": Result(
        ("output_year",),
        "mm",
        "water gained (+) or lost (-) at the start of the year because a prescribed change of "
        "the bulk density changed the pores",
        "water_content",
    ),
    "water_residual": Result(
        ("output_year",),
        "mm",
        "largest residual of Richards' equation of a layer and day since the output year before; "
        "water is conserved, but the fluxes of a day with more than 0.001 mm are approximate",
        "water_residual",
    ),
}
"""Results by name, besides those of what was declared beside a choice; see :func:`results`."""


def results() -> dict[str, Result]:
    """Every result that a file may hold, by name.

    Mechanisms of protection, and processes added from outside, have those of their variables
    that are values by layer, of months their mean.
    """
    by_layer = {n: _layer(n) for n, about in DECLARED.items() if about.dims == LAYER}
    by_month = {n: _layer(n, "mean") for n, about in DECLARED.items() if about.dims == MONTH_LAYER}
    return RESULTS | by_layer | by_month


def layer_results() -> dict[str, Result]:
    """Results that are variables of the column by layer."""
    return {k: r for k, r in results().items() if r.variable and "depth_m" in r.dims}


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """All results of a run.

    Attributes:
        case, column: what was simulated, and with which parameters.
        members: names of the treatments, or of the sites of a case without treatments.
        sites: the site of each member.
        year: calendar years of the run, [year].
        output_year: the calendar years with values by layer, [output_year].
        values: results by name, [member, *dims], see :func:`results`.
        balances: largest relative closure error of all members and years, by what is kept:
            carbon and water, and where the whole soil develops calcium, solids and elements.
    """

    case: Case
    column: Column
    members: tuple[str, ...]
    sites: tuple[str, ...]
    year: np.ndarray
    output_year: np.ndarray
    values: dict[str, np.ndarray]
    balances: dict[str, float]

    def to_xarray(self) -> xr.Dataset:
        """All results with coordinates, units, owners and the balances (CF conventions)."""
        import xarray as xr

        about = results()
        variables = {
            name: (("treatment", *about[name].dims), value, self._attributes(about[name]))
            for name, value in self.values.items()
        }
        return xr.Dataset(variables, coords=self._coordinates(), attrs=self._global_attributes())

    def _attributes(self, about: Result) -> dict[str, str]:
        owner = about.process or _owner(self.column, about.variable)
        return {"units": about.unit, "long_name": about.long_name, "process": owner}

    def _coordinates(self) -> dict[str, tuple]:
        grid = self.case.file.grid
        middle = (np.arange(grid.layers) + 0.5) * grid.thickness_m
        labels = {t.name: t.label or t.name for t in self.case.file.treatment}
        before = self.case.file.start_year - 1
        counted = {"units": "year", "long_name": "year of the run, from 1"}
        return {
            "treatment": ("treatment", list(self.members), {"long_name": "treatment, or site"}),
            "site": ("treatment", list(self.sites), {"long_name": "site"}),
            "label": (
                "treatment",
                [labels.get(m, m) for m in self.members],
                {"long_name": "treatment in words"},
            ),
            "year": ("year", self.year, {"units": "year", "long_name": "calendar year"}),
            "year_of_run": ("year", self.year - before, counted),
            "output_year": (
                "output_year",
                self.output_year,
                {"units": "year", "long_name": "calendar year with values by layer"},
            ),
            "output_year_of_run": ("output_year", self.output_year - before, counted),
            "depth_m": (
                "depth_m",
                middle,
                {
                    "units": "m",
                    "long_name": "depth of the middle of the layer as laid down",
                    "standard_name": "depth",
                    "positive": "down",
                    "axis": "Z",
                },
            ),
            "pool": ("pool", list(POOLS), {"long_name": "pool of organic carbon (RothC)"}),
            "mineral": ("mineral", list(MINERALS), {"long_name": "mineral besides calcite"}),
            "cation": ("cation", list(CATIONS), {"long_name": "exchangeable base"}),
        }

    def _global_attributes(self) -> dict[str, str | float]:
        values = {name: float(value) for name, value in self.column.values().items()}
        return {
            "Conventions": "CF-1.11",
            "title": self.case.file.title,
            "source": f"diffsoil {metadata.version('diffsoil')}",
            "version": metadata.version("diffsoil"),
            "processes": " ".join(process.name for process in self.column.processes),
            "parameters": json.dumps(values, sort_keys=True),
            "case": self.case.text,
            **{f"balance_{name}": error for name, error in self.balances.items()},
            "comment": "Balances are the largest relative closure error of any treatment: carbon "
            "added - respired - eroded - change of storage, by all carbon so far; infiltration - "
            "uptake - drainage - change of storage of a simulated year, by its rain and its water; "
            "gained - lost - change of storage of each element (and of the mass of solids), by "
            "all of it so far.",
        }


def _owner(column: Column, variable: str) -> str:
    """The process that provides a variable, or ``case`` where the case does."""
    for process in column.processes:
        if variable in process.provides:
            return process.name
    return "case" if VARIABLES[variable].neutral is None else "none (neutral value)"
