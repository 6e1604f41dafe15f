"""The life of a column as arrays, and as a file.

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
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from diffsoil.cases import Case
from diffsoil.column import Column
from diffsoil.output.attributes import CONVENTIONS, DEPTH, discovery, extent, of_variable
from diffsoil.quantities import Result, results
from diffsoil.state import CATIONS, MINERALS
from diffsoil.variables import VARIABLES

if TYPE_CHECKING:
    import xarray as xr

OUTPUT_INTERVAL = 10
"""Years that lie at least between two output years of the history."""

type Variable = tuple[tuple[str, ...], np.ndarray, dict[str, str]]
"""Dimensions, values and attributes."""


@dataclasses.dataclass(frozen=True)
class Trajectory:
    """All results of a run.

    Attributes:
        case, column: what was simulated, and with which parameters.
        members: names of the treatments, or of the sites of a case without treatments.
        sites: the site of each member.
        year: calendar years of the run, [year].
        output_year: the calendar years with values by layer, [output_year].
        values: results by name, ``[member, *dims]``, see :func:`diffsoil.quantities.results`.
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
        """All results with coordinates, units, owners and the balances (CF and ACDD)."""
        import xarray as xr

        complete = {"_FillValue": None}  # CF: nothing may be missing in a coordinate
        coordinates = {
            name: (*variable, complete if variable[1].dtype.kind == "f" else {})
            for name, variable in self._coordinates().items()
        }
        return xr.Dataset(self._results(), coords=coordinates, attrs=self._global_attributes())

    def to_netcdf(self) -> bytes:
        """The netCDF file that xarray would write of :meth:`to_xarray`, with values compressed.

        Writing it with xarray loads dask and what dask needs, which takes longer than a run.
        """
        import h5netcdf
        import h5py

        results, coordinates = self._results(), self._coordinates()
        image = BytesIO()
        with h5netcdf.File(image, "w") as file:
            for name, (dims, values, attributes) in (results | coordinates).items():
                for dim, size in zip(dims, values.shape, strict=True):
                    if dim not in file.dimensions:
                        file.dimensions[dim] = size
                how: dict[str, Any] = {"dtype": values.dtype}
                if values.dtype.kind == "U":
                    values, how = values.astype(object), {"dtype": h5py.string_dtype()}
                if name in results:
                    how |= {"compression": "gzip", "compression_opts": 4, "fillvalue": np.nan}
                    attributes = attributes | {"coordinates": _describing(dims, coordinates)}
                variable = file.create_variable(name, dims, **how)
                variable.attrs.update(attributes)
                variable[...] = values
            file.attrs.update(self._global_attributes() | {"coordinates": "depth_bounds"})
        return image.getvalue()

    def _results(self) -> dict[str, Variable]:
        about = results()
        return {
            name: (("treatment", *about[name].dims), value, self._attributes(name, about[name]))
            for name, value in self.values.items()
        }

    def _attributes(self, name: str, about: Result) -> dict[str, str]:
        owner = about.process or _owner(self.column, about.variable)
        return of_variable(name, about) | {"process": owner}

    def _coordinates(self) -> dict[str, Variable]:
        grid = self.case.file.grid
        edges = np.arange(grid.layers + 1) * grid.thickness_m
        labels = {t.name: t.label or t.name for t in self.case.file.treatment}
        before = self.case.file.start_year - 1
        counted = {"units": "year", "long_name": "year of the run, from 1"}
        return {
            "treatment": (
                ("treatment",),
                np.array(self.members),
                {"long_name": "treatment, or site"},
            ),
            "site": (("treatment",), np.array(self.sites), {"long_name": "site"}),
            "label": (
                ("treatment",),
                np.array([labels.get(m, m) for m in self.members]),
                {"long_name": "treatment in words"},
            ),
            "year": (("year",), self.year, {"units": "year", "long_name": "calendar year"}),
            "year_of_run": (("year",), self.year - before, counted),
            "output_year": (
                ("output_year",),
                self.output_year,
                {"units": "year", "long_name": "calendar year with values by layer"},
            ),
            "output_year_of_run": (("output_year",), self.output_year - before, counted),
            "depth_m": (
                ("depth_m",),
                0.5 * (edges[:-1] + edges[1:]),
                DEPTH,
            ),
            # CF: what they are, and their unit, is said by what they bound
            "depth_bounds": (
                ("depth_m", "bound"),
                np.stack([edges[:-1], edges[1:]], axis=1),
                {},
            ),
            "pool": (
                ("pool",),
                np.array(self.column.pools),
                {"long_name": "pool of organic carbon"},
            ),
            "mineral": (
                ("mineral",),
                np.array(MINERALS),
                {"long_name": "mineral besides calcite"},
            ),
            "cation": (("cation",), np.array(CATIONS), {"long_name": "exchangeable base"}),
        }

    def _global_attributes(self) -> dict[str, str | float]:
        values = {name: float(value) for name, value in self.column.values().items()}
        return {
            "Conventions": CONVENTIONS,
            **discovery(self.case, "simulate"),
            **extent(self.case),
            "version": metadata.version("diffsoil"),
            "processes": " ".join(process.name for process in self.column.processes),
            "parameters": json.dumps(values, sort_keys=True),
            "case": self.case.text,
            **{f"balance_{name}": error for name, error in self.balances.items()},
            "comment": "Balances are the largest relative closure error of any treatment: carbon "
            "added - respired - eroded - leached - change of storage, by all carbon so far; "
            "infiltration - uptake - drainage - change of storage of a simulated year, by its rain "
            "and its water; gained - lost - change of storage of each element (and of the mass of "
            "solids), by all of it so far.",
        }


def _describing(dims: tuple[str, ...], coordinates: dict[str, Variable]) -> str:
    """Coordinates of the dimensions of a variable, besides those with the name of one (CF)."""
    found = [name for name, of in coordinates.items() if name not in of[0] and {*of[0]} <= {*dims}]
    return " ".join(sorted(found))


def _owner(column: Column, variable: str) -> str:
    """The process that provides a variable, or ``case`` where the case does."""
    for process in column.processes:
        if variable in process.provides:
            return process.name
    return "case" if VARIABLES[variable].neutral is None else "none (neutral value)"
