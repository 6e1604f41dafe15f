"""Observations: the table that a user writes.

A row is one measured value in a depth interval. Three ways of meeting the column
(:mod:`calibration.operator`):

* a fixed depth without soil mass: layers are weighted by their overlap with the interval;
* a fixed depth with the soil mass that was sampled: the column is followed down to that mass,
  which moves when the soil loosens or settles;
* an equivalent mass: the column is followed down to that mass of the soil as laid down (where
  the whole soil develops: of the soil as it is).

A value belongs to the end of its year; what is derived (density, pH, temperature) to the slow step
that its year lies in.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from calibration.likelihood import FoundErrors
from calibration.quantities import MEASURED, QUANTITIES, kinds
from diffsoil.cases import Case
from diffsoil.cases.arrays import Plan
from diffsoil.cases.kinds import named
from diffsoil.cases.plausible import of_depth, of_soil, of_stock
from diffsoil.io import Faults, InputError, nearest, shown
from diffsoil.tables import CODE, MISSING_CODES, SURE_CODES, Meant, read_table
from diffsoil.tables import Column as Table
from diffsoil.units import CM_PER_M

AFTER = "longer weather and management are needed; assimilate takes them with --drivers"

SAME = 1e-9
"""Relative difference of two values that are one value written twice."""

COLUMNS = {
    "site": Table("str"),
    "treatment": Table("str", required=False, allow_missing=True),
    "year": Table("int", -60000, 60000),
    "variable": Table("str"),  # of all that can be observed when it is read
    "upper_cm": Table("float", 0, 1000, unit="cm"),
    "lower_cm": Table("float", 0, 1000, unit="cm", hint="is this in mm?"),
    "value": Table("float"),
    "sd": Table("float", 0, required=False, allow_missing=True),
    "unit": Table("str"),
    "estimated": Table("int", 0, 1, required=False),
    "basis": Table("str", choices=("fixed_depth", "equivalent_mass"), required=False),
    "soil_mass_Mg_ha": Table(
        "float",
        1,
        60000,
        unit="Mg/ha",
        required=False,
        allow_missing=True,
        hint="is this in million kg/ha or kg/m2?",
    ),
    "source": Table("str", required=False, allow_missing=True),
    "series": Table("str", required=False, allow_missing=True),
    "method": Table("str", required=False, allow_missing=True),
    "month": Table("int", 1, 12, required=False, allow_missing=True),
}

DEFAULTS: dict[str, str | float] = {
    "treatment": "",
    "sd": np.nan,
    "estimated": 0,
    "basis": "fixed_depth",
    "soil_mass_Mg_ha": np.nan,
    "source": "",
    "series": "",
    "method": "",
    "month": np.nan,
}

TOPSOIL_CM = 30.0
"""Depth of a topsoil in which no carbon was measured; that of inventories (IPCC 2006)."""

THE_SAME = ["site", "treatment", "year", "month", "kind", "upper_cm", "lower_cm", "series"]
"""What two observations of one thing have in common; see :func:`calibration.quantities.kind`."""


def read(case: Case, plan: Plan) -> pd.DataFrame:
    """The observations of a case, checked against its treatments, years and depth.

    Returns:
        One row for each observation, with columns ``file``, ``line``, ``member`` (index of the
        treatment or site in the plan), ``fitted`` (False for estimated and kept-out rows) and
        ``withheld`` (why a measured row is not fitted: series, treatment, site, year) besides
        those of the file. Values are in the units in which they are compared, ``method`` names the
        procedure of a variable that has some (:mod:`calibration.procedures`).
    """
    listed = case.file.observations
    if listed is None or not listed.files:
        raise InputError(f"{case.path}: observations: the case lists no observation files")
    tables = [_read_one(case, plan, case.resolve(name)) for name in listed.files]
    table = pd.concat(tables, ignore_index=True)
    _refuse_repeated(table)
    table["withheld"] = _withheld(table, case)
    table["fitted"] = (table["estimated"] == 0) & (table["withheld"] == "")
    return table


def treatment_of(table: pd.DataFrame) -> pd.Series:
    """The treatment of each row; the site where there is none."""
    return table["treatment"].where(table["treatment"] != "", table["site"])


def _withheld(table: pd.DataFrame, case: Case) -> pd.Series:
    """Why each measured row is not fitted, or an empty text."""
    listed = case.file.observations
    assert listed is not None
    found = pd.Series("", index=table.index)
    asked = (
        ("keep_out", "series", listed.keep_out),
        ("keep_out_treatments", "treatment", listed.keep_out_treatments),
        ("keep_out_sites", "site", listed.keep_out_sites),
        ("keep_out_years", "year", listed.keep_out_years),
    )
    for key, column, names in asked:
        known = set(table[column])
        for name in names:
            if name not in known:
                near = nearest(str(name), [str(k) for k in known])
                given = name if column == "year" else repr(name)
                raise InputError(
                    f"{case.path}: observations.{key}: no {column} {given} among the observations"
                    f"{near}"
                    if column != "series"
                    else f"{case.path}: observations.{key}: no series {name!r}{near}"
                )
        chosen = table[column].isin(names) & (found == "") & (table["estimated"] == 0)
        found[chosen] = column
    return found


def _read_one(case: Case, plan: Plan, path: Path) -> pd.DataFrame:
    table = read_table(path, COLUMNS | {"variable": Table("str", choices=tuple(QUANTITIES))})
    for name, value in DEFAULTS.items():
        if name not in table:
            table[name] = value
    table["line"] = table.index
    table["file"] = str(path)
    empty = table["series"] == ""
    table.loc[empty, "series"] = table.loc[empty, "site"]
    rows = Rows(path, case, plan, Faults())
    found = [rows.judged(line, row) for line, row in table.iterrows()]
    rows.faults.refuse()
    table["member"] = [member for member, _ in found]
    factors = np.array([factor for _, factor in found])
    table["value"] = table["value"] * factors
    table["sd"] = table["sd"] * factors
    table["unit"] = [QUANTITIES[v].unit for v in table["variable"]]
    named_by = zip(table["variable"], table["method"], strict=True)
    table["method"] = [QUANTITIES[v].procedure(method) for v, method in named_by]
    return table


@dataclasses.dataclass
class Rows:
    """Rows of one observation file, judged against the case; what is wrong is gathered."""

    path: Path
    case: Case
    plan: Plan
    faults: Faults

    def judged(self, line: object, row: pd.Series) -> tuple[int, float]:
        """Index of the treatment or site of a row, and its unit in that of the variable.

        Neither means anything where a fault was found.
        """
        found: list[tuple[str, object, str]] = []

        def fault(column: str, value: object, what: str) -> None:
            found.append((column, value, what))

        for column in ("series", "method"):
            try:
                named(row[column] or "none")
            except ValueError as error:
                fault(column, shown(row[column]), f"is no name: {error}")
        factor = self._value(row, fault)
        self._place(row, fault)
        first, last = self.case.file.start_year, self.case.end_year
        if not first <= row["year"] <= last:
            why = "the observation is older than the history" if row["year"] < first else AFTER
            outside = f"is outside the years of the case, {first} to {last} ({why})"
            fault("year", row["year"], outside)
        member = self._member(row, fault)
        for name, column, given, doubt in () if found else list(_doubts(row, factor)):
            if doubt and (question := Meant(self.case.file.plausible).question(name, doubt)):
                fault(column, given, question)
        for one in found:
            self.faults.cell(self.path, line, *one)
        return member, factor

    def _value(self, row: pd.Series, fault: Fault) -> float:
        """What one unit of a row is in the unit of its variable, if the value is possible."""
        variable, value = row["variable"], row["value"]
        quantity = QUANTITIES[variable]
        factor = quantity.factor(row["unit"])
        if factor is None:
            expected = " or ".join(repr(u) for u in quantity.units)
            fault("unit", shown(row["unit"]), f"for {variable}, {expected} is expected")
            return 1.0
        if not quantity.lower <= value * factor <= quantity.upper:
            low, high = quantity.lower / factor, quantity.upper / factor
            likely = CODE if value in MISSING_CODES else quantity.likely(value)
            fault("value", f"{value:g}", f"is outside {low:g} to {high:g} {row['unit']} ({likely})")
        elif variable not in MEASURED and value in SURE_CODES:
            fault("value", f"{value:g}", f"is {CODE}")
        if row["sd"] == 0:
            fault("sd", 0, "is not possible; leave it empty if unknown")
        try:
            quantity.procedure(row["method"])
        except ValueError as error:
            fault("method", shown(row["method"]) if row["method"] else "", str(error))
        if np.isfinite(row["month"]) and variable != "soil_temperature":
            fault("month", "", f"only soil_temperature has a month, not {variable}")
        return factor

    def _place(self, row: pd.Series, fault: Fault) -> None:
        """An interval that is one, and that the column reaches."""
        upper, lower = row["upper_cm"], row["lower_cm"]
        depth = self.case.file.grid.layers * self.case.file.grid.thickness_m * CM_PER_M
        if lower <= upper:
            where = f"upper_cm {upper:g} is not above lower_cm {lower:g}:"
            fault("", where, "is the depth interval upside down?")
        if lower > depth + 1e-6:
            ends = f"cm is below the column of the case, which ends at {depth:g} cm"
            fault("lower_cm", f"{lower:g}", ends)
        massed = np.isfinite(row["soil_mass_Mg_ha"])
        if massed and upper > 0:
            surface = "a mass counts from the surface, but upper_cm is above 0"
            fault("soil_mass_Mg_ha", f"{row['soil_mass_Mg_ha']:g}", surface)
        if row["basis"] == "equivalent_mass" and not massed:
            fault("soil_mass_Mg_ha", "", "equivalent_mass needs a mass")

    def _member(self, row: pd.Series, fault: Fault) -> int:
        site, name = row["site"], row["treatment"] or row["site"]
        plan = self.plan
        if site not in plan.sites:
            fault("site", "", f"the case has no site {site!r}{nearest(site, plan.sites)}")
            return 0
        if name not in plan.members:
            near = nearest(name, plan.members)
            fault("treatment", "", f"the case has no treatment {name!r}{near}")
            return 0
        member = plan.members.index(name)
        if (at := plan.sites[plan.site_of[member]]) != site:
            fault("site", f"{site!r}, but", f"treatment {name!r} is at {at!r}")
        return member


type Fault = Callable[[str, object, str], None]


def _doubts(row: pd.Series, factor: float) -> Iterator[tuple[str, str, str, str]]:
    """What a row without faults looks like: name to confirm, column, its value and the doubt."""
    variable, value, sd = row["variable"], row["value"], row["sd"]
    upper, lower, mass = row["upper_cm"], row["lower_cm"], row["soil_mass_Mg_ha"]
    given = f"{variable} {value:g} {row['unit']}"
    if doubt := of_depth(upper, lower):
        yield "lower_cm", "lower_cm", f"{lower:g}", doubt
    elif value in SURE_CODES:
        yield variable, "value", given, f"is possible, but is it {CODE}"
    elif variable == "soc_stock":
        yield variable, "value", given, of_stock(value * factor, upper, lower)
    else:
        yield variable, "value", given, of_soil(variable, value * factor, upper)
    if mass in SURE_CODES:
        yield "soil_mass_Mg_ha", "soil_mass_Mg_ha", f"{mass:g}", f"is possible, but is it {CODE}"
    if QUANTITIES[variable].lower >= 0 and sd > abs(value):
        yield "sd", "sd", f"{sd:g}", "is more than the value itself: is this a percentage?"


def _refuse_repeated(table: pd.DataFrame) -> None:
    """One thing is observed once in all files; an estimate may stand beside a measurement."""
    key = [*THE_SAME, "estimated"]
    faults = Faults()
    for _, group in table.assign(kind=kinds(table)).groupby(key, sort=False, dropna=False):
        if len(group) > 1:
            faults.add(_repeated(group.iloc[0], group.iloc[1]))
    faults.refuse()


def _repeated(first: pd.Series, row: pd.Series) -> str:
    where = f"{row['file']}: line {row['line']}"
    before = f"line {first['line']}"
    if first["file"] != row["file"]:
        before += f" of {first['file']}"
    what = f"{row['variable']} of {row['treatment'] or row['site']} in {row['year']}"
    if abs(first["value"] - row["value"]) <= SAME * abs(row["value"]):
        return (
            f"{where}: a second {what}, the same as {before}: remove one "
            "(average replicates before use)"
        )
    return (
        f"{where}: a second {what}: {row['value']:g} here, {first['value']:g} in {before}; "
        "average replicates before use, or give laboratories series of their own"
    )


def topsoil_cm(table: pd.DataFrame) -> float:
    """Depth of the topsoil of a case, cm.

    That to which most stocks were measured from the surface, or else most contents of carbon;
    :data:`TOPSOIL_CM` where there are neither.
    """
    for variable in ("soc_stock", "soc_percent"):
        own = table[(table["variable"] == variable) & (table["upper_cm"] == 0)]
        if len(own):
            return float(own["lower_cm"].mode().iloc[0])
    return TOPSOIL_CM


@dataclasses.dataclass(frozen=True)
class Known:
    """What a fit knows of measurements.

    ``table`` has its observations, ``errors`` the parts of their errors that it found, and
    ``methods`` names the laboratory methods that have a factor in it.
    """

    table: pd.DataFrame
    errors: FoundErrors
    methods: tuple[str, ...]

    def fitted(self, table: pd.DataFrame) -> pd.Series:
        """Which observations of another table the fit was fitted to."""
        own = self.table[self.table["fitted"]]
        return _labels(table).isin(set(_labels(own)))


def _labels(table: pd.DataFrame) -> pd.Series:
    """What tells an observation from all others, as one text."""
    rows = table.assign(kind=kinds(table))[[*THE_SAME, "value"]].itertuples(index=False)
    return pd.Series(["|".join(map(str, row)) for row in rows], index=table.index, dtype=str)
