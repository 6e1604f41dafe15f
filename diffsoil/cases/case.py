"""A case that has been read, and the column that it asks for."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path
from typing import Any

import pandas as pd

from diffsoil import parameters
from diffsoil.cases.schema import CaseFile
from diffsoil.column import ADDED, CHOICES, COLUMNS, Column, needed_by
from diffsoil.io import (
    InputError,
    data_path,
    nearest,
    reason,
    shown,
)
from diffsoil.processes.protection import MECHANISMS, MINIMA, Protection


@dataclasses.dataclass(frozen=True)
class Case:
    """A case that has been read and checked.

    ``path`` and ``text`` are the file; ``file`` its content; ``climate`` maps a climate's name
    to its table (normals: 12 rows; monthly: rows by year and month); ``management`` has one
    row for each treatment and year; ``atmosphere`` the 14C of the air by year, in order, where
    the case follows it.
    """

    path: Path
    text: str
    file: CaseFile
    climate: dict[str, pd.DataFrame]
    management: pd.DataFrame | None
    atmosphere: pd.DataFrame | None = None

    @property
    def name(self) -> str:
        """Short name."""
        return self.file.name

    @property
    def sites(self) -> list[str]:
        """Names of the sites."""
        return list(self.file.site)

    @property
    def whole_soil(self) -> bool:
        """Whether the mineral soil develops, instead of being prescribed."""
        return self.file.whole_soil

    @property
    def input_groups(self) -> list[str]:
        """Groups of plant input, sorted; each has a factor ``vegetation.input_factor.GROUP``."""
        uses = self.file.land_use.values()
        named = {g for use in uses for g in (use.input_group, use.yield_group) if g}
        return sorted(named.union(*(t.input_groups.values() for t in self.file.treatment)))

    @property
    def end_year(self) -> int:
        """Last calendar year simulated."""
        if self.file.experiment:
            return self.file.experiment.until
        return self.file.history[-1].until

    def priors(self) -> dict[str, parameters.Prior | None]:
        """The parameters that the case frees, with its own priors where it has them."""
        return {
            name: parameters.Prior(**free.prior.model_dump()) if free.prior else None
            for name, free in self.file.free.items()
        }

    def medians_taken(self) -> list[str]:
        """What to say where each parameter has one value: a line for each that differs by field."""
        return [
            f"{self.name}: {name} differs by {free.by} in the case; here it has the range of its "
            "median"
            for name, free in self.file.free.items()
            if free.by is not None
        ]

    def resolve(self, name: str) -> Path:
        """A file named in the case: beside the case, or else among the shipped data."""
        return resolve(self.path, name)

    def column(self) -> Column:
        """The column that the case asks for, with its choices and parameter values."""
        minimum = MINIMA[self.file.minimum]()
        protection = Protection(mechanisms=tuple(self.file.protection), minimum=minimum)
        column = _without(self, self._processes().replaced(protection))
        return set_parameters(column, self.file.set, self.path, "set")

    def _processes(self) -> Column:
        column = COLUMNS[self.file.column](self.input_groups)
        choices = {
            key: slot[getattr(self.file, key)].get(self.file.column)
            for key, slot in CHOICES.items()
        }
        dissolved = choices.pop("dissolved_carbon")  # part of a model that may be from outside
        for make in choices.values():
            column = column.with_choice(make()) if make else column
        for name in self.file.processes:
            try:
                column = column.with_added(ADDED[name]())
            except ValueError as error:
                raise InputError(f"{self.path}: processes: {error}") from error
        try:
            return column.with_choice(dissolved()) if dissolved else column
        except ValueError as error:
            raise InputError(f"{self.path}: dissolved_carbon: {error}") from error


def _without(case: Case, column: Column) -> Column:
    """The column without the processes that a case does not want; see :func:`needed_by`."""
    known = [process.name for process in column.processes]
    where = f"{case.path}: without"
    for name in case.file.without:
        if name.startswith("protection."):
            raise InputError(f"{where}: {name!r} is taken out of the list protection instead")
        if name not in known:
            raise InputError(f"{where}: no process {name!r}{nearest(name, known)}")
        if why := needed_by(column, name):
            raise InputError(f"{where}: {name!r} cannot be removed: {why}")
    for name in dict.fromkeys(case.file.without):
        column = column.without(name)
    table = column.parameters()
    for what, names in (("set", case.file.set), ("free", case.file.free)):
        for parameter in names:
            process = parameter.split(".")[0]
            if parameter not in table and process in case.file.without:
                raise InputError(
                    f"{case.path}: {what}: {parameter} belongs to {process!r}, which the case is "
                    "without"
                )
    return column


SHIPPED = {"north": "atmosphere/north.csv", "south": "atmosphere/south.csv"}
"""Shipped records of the 14C of the air, by the name that a case gives them."""


def resolve(case: Path, name: str) -> Path:
    """A file named in a case: beside the case, or else among the shipped data."""
    for found in (case.parent / name, data_path(SHIPPED.get(name, name))):
        try:
            if stat.S_ISREG(found.stat().st_mode):
                return found
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise InputError(f"{case}: file {shown(name)} cannot be read: {why}") from error
    raise InputError(f"{case}: file {name!r} is neither beside the case nor among shipped data")


def set_parameters(column: Column, values: dict[str, float], source: object, where: str) -> Column:
    """Set parameters by full name, checked against the table.

    Args:
        column: the column.
        values: full name -> value.
        source, where: named in error messages, e.g. a file and its table.
    """
    table = column.parameters()
    for name, value in values.items():
        if name not in table:
            raise InputError(f"{source}: {where}: no parameter {name!r}{nearest(name, table)}")
        declared = table[name]
        if not declared.lower <= value <= declared.upper:
            raise InputError(
                f"{source}: {where}: {name} = {value:g} is outside its bounds "
                f"{declared.lower:g} to {declared.upper:g} {declared.unit}"
            )
    return column.with_parameters(values)


def parameter_table(column: Column | None = None) -> pd.DataFrame:
    """The parameter table: one row for each declared parameter of a column, or of all there are.

    Columns: name, default, unit, lower, upper, prior, transform, source, description.
    """
    columns = [column] if column else [make(["GROUP"]) for make in COLUMNS.values()]
    if not column:  # and what may be chosen for them, or added to them
        columns += [
            COLUMNS[name](["GROUP"]).with_choice(make())
            for slot in CHOICES.values()
            for by in slot.values()
            for name, make in by.items()
        ]
        columns += [Column((Protection(tuple(MECHANISMS)), *(p() for p in ADDED.values())))]
    declared: dict[str, parameters.Parameter] = {}
    for each in columns:
        declared = each.parameters() | declared  # what is declared first holds
    places = dict.fromkeys(name for each in columns for name in each.parameters())
    return pd.DataFrame([_row(declared[name]) for name in places])


def _row(p: parameters.Parameter) -> dict[str, Any]:
    row = dataclasses.asdict(p) | {"prior": str(p.prior), "transform": p.transform}
    order = ("name", "default", "unit", "lower", "upper", "prior", "transform", "source")
    return {key: row[key] for key in (*order, "description")}
