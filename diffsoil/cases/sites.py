"""Sites out of a table: a row says what differs between them, one case says all else.

Horizons stand in columns of depth intervals (``clay_percent_0_30``), or in a table of profiles.
Whatever is wrong with a row is said of that row, and the other rows are sites all the same.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from pydantic import ValidationError

from diffsoil.cases import plausible
from diffsoil.cases.case import Case
from diffsoil.cases.check import faults_of
from diffsoil.cases.drivers import read_climate
from diffsoil.cases.kinds import named, names_of
from diffsoil.cases.land_use import LandUse
from diffsoil.cases.profile_table import COLUMNS as OF_HORIZONS
from diffsoil.cases.profile_table import horizons_of
from diffsoil.cases.profiles import Horizon, Soil
from diffsoil.cases.schema import CaseFile, Climate
from diffsoil.cases.seasons import Seasons, normals
from diffsoil.io import Faults, InputError, hint, nearest
from diffsoil.tables import Column, Meant, read_rows

NORTHERN, SOUTHERN = 7.2, 1.2
"""Time of the warmest day where a row does not say it, north and south of the equator: assumption,
a week or so off (6.8 to 7.6 at places of the north; 7.0 is the middle of July)."""
DAILY_RANGE = 12.0
"""Temperature of the day above that of the night where a row does not say it, C: assumption, 9 near
the sea to 15 in dry basins. Potential evapotranspiration goes with its root."""

_OPTIONAL: dict[str, Any] = {"required": False, "allow_missing": True}
_TIME = Column("float", 0.5, 12.5, **_OPTIONAL)

YEARLY = {
    "mean_temperature_c": Column("float", -30, 40, unit="C", hint="in kelvin?", **_OPTIONAL),
    "temperature_amplitude_c": Column("float", 0, 35, unit="C", **_OPTIONAL),
    "yearly_precipitation_mm": Column(
        "float", 0, 12000, unit="mm", hint="is this in 0.1 mm?", **_OPTIONAL
    ),
    "yearly_pet_mm": Column("float", 0, 6000, unit="mm", **_OPTIONAL),
    "warmest_month": _TIME,
    "precipitation_amplitude": Column("float", 0, 1, **_OPTIONAL),
    "wettest_month": _TIME,
    "daily_range_c": Column("float", 1, 30, unit="C", **_OPTIONAL),
}
"""A climate by values of a year."""
NEEDED = ("mean_temperature_c", "temperature_amplitude_c", "yearly_precipitation_mm")
"""Those of them without which there is no climate."""

COLUMNS = {
    "site": Column("str"),
    "latitude": Column("float", -90, 90, unit="degrees north", **_OPTIONAL),
    "longitude": Column("float", -180, 360, unit="degrees east", **_OPTIONAL),
    "land_use": Column("str", **_OPTIONAL),
    "first_land_use": Column("str", **_OPTIONAL),
    "plant_carbon_t_ha": Column("float", 0, 50, unit="t/ha", **_OPTIONAL),
    "climate": Column("str", **_OPTIONAL),
    **YEARLY,
}
"""Columns of a table of sites, besides those of horizons."""

OF_DEPTHS = {
    k: of for k, of in OF_HORIZONS.items() if k in Horizon.model_fields and k[-3:] != "_cm"
}
"""What a column of a depth interval can be of."""
BY_DEPTH = re.compile(r"(\w+?)_(\d+(?:\.\d+)?)_(\d+(?:\.\d+)?)")
"""Name of such a column: what it is of, upper and lower end in cm."""

MOST_NAMED = 3
"""Lines that are named where a site is in several."""

type Interval = tuple[float, float]


class Yearly(NamedTuple):
    """A climate by values of a year, see :func:`diffsoil.cases.seasons.normals`."""

    mean_c: float
    rain_mm: float
    pet_mm: float | None
    latitude: float
    seasons: Seasons

    def normals(self) -> pd.DataFrame:
        """Its twelve normals; a yearly potential evapotranspiration that is given is kept."""
        table = normals(self.mean_c, self.rain_mm, self.latitude, self.seasons)
        total = table["pet_mm"].sum()
        if self.pet_mm is not None and total > 0:
            table["pet_mm"] *= self.pet_mm / total
        return table


class Site(NamedTuple):
    """What a row says.

    Attributes:
        name, line: of the site, and of its row.
        latitude, longitude: degrees; NaN where they are not given.
        horizons: from the surface down, by the keys of a horizon.
        climate: a file of normals, values of a year, or None for that of the case.
        land_use, first_land_use: of the last and of the first phase; empty for those of the case.
        plant_carbon: of the last phase, t C/ha in a year; None for that of its land use.
    """

    name: str
    line: int
    latitude: float
    longitude: float
    horizons: tuple[Mapping[str, Any], ...]
    climate: str | Yearly | None
    land_use: str
    first_land_use: str
    plant_carbon: float | None


class Refused(NamedTuple):
    """A row that is no site: its line, its name as far as it has one, and why."""

    line: int
    site: str
    reason: str


type Climates = Mapping[str, pd.DataFrame]
"""Normals by the file that rows name."""


class Table(NamedTuple):
    """What a table of sites holds.

    Attributes:
        path: the file.
        sites: in the order of the rows.
        refused: rows that are none.
        climates: normals that sites name.
    """

    path: Path
    sites: list[Site]
    refused: list[Refused]
    climates: Climates


# The case that says all else.


@dataclasses.dataclass(frozen=True)
class Template:
    """A case in the place of whose sites others are put.

    Its grid, land uses, phases, parameters and choices hold for all of them; its soils, climates,
    observations and free parameters are not used, but its climate where a table gives none.

    Attributes:
        case: the case.

    Raises:
        InputError: it has what cannot be the same at all sites.
    """

    case: Case

    def __post_init__(self) -> None:
        """Refuse what a row cannot have a part in."""
        path, file = self.case.path, self.case.file
        faults = Faults()
        if file.experiment:
            faults.add(
                f"{path}: experiment: sites of a table have a history alone; say its years as a "
                "phase of [[history]]"
            )
        for number, phase in enumerate(file.history):
            for what, given in (("land_use", phase.land_use), ("climate", phase.climate)):
                if len(names_of(given)) > 1:
                    faults.add(
                        f"{path}: history.{number}.{what}: differs between sites; the case of a "
                        "table has one for all of them"
                    )
            if any(amendment.sites for amendment in phase.amendments):
                faults.add(f"{path}: history.{number}.amendments: sites: are those of the table")
        if isinstance(file.measured.stock_t_ha, dict):
            faults.add(f"{path}: measured.stock_t_ha: differs between sites")
        faults.refuse()

    def case_of(self, sites: Sequence[Site], climates: Climates, where: Path | None = None) -> Case:
        """The case of some sites of a table.

        Args:
            sites: with names of their own.
            climates: that they name.
            where: named in messages; the case itself if not given.

        Raises:
            InputError: what a row says is not possible.
        """
        where, file = where or self.case.path, self.case.file
        uses, by_phase = self._land_uses(sites, where)
        named_climates, tables, of_site = self._climates(sites, climates)
        phases = []
        for phase, own in zip(file.history, by_phase, strict=True):
            usual = names_of(phase.climate)[0]
            climate = {site.name: of_site.get(site.name, usual) for site in sites}
            phases.append(phase.model_copy(update={"land_use": own, "climate": climate}))
        changed = {
            "soil": {site.name: _soil(site, file) for site in sites},
            "site": {site.name: site.name for site in sites},
            "climate": named_climates,
            "land_use": uses,
            "history": phases,
            "observations": None,
            "free": {},
            "success": {},
        }
        return dataclasses.replace(
            self.case, path=where, file=file.model_copy(update=changed), climate=tables
        )

    def _land_uses(
        self, sites: Sequence[Site], where: Path
    ) -> tuple[dict[str, LandUse], list[dict[str, str]]]:
        """All land uses, and the one of each site in each phase."""
        file = self.case.file
        uses = dict(file.land_use)
        by_phase = [
            dict.fromkeys((site.name for site in sites), names_of(phase.land_use)[0])
            for phase in file.history
        ]
        for site in sites:
            for of_phase, own in (
                (by_phase[0], site.first_land_use),
                (by_phase[-1], site.land_use),
            ):
                if own and own not in file.land_use:
                    raise InputError(f"{where}: no land use {own!r}{nearest(own, file.land_use)}")
                of_phase[site.name] = own or of_phase[site.name]
            if site.plant_carbon is not None:
                last = by_phase[-1][site.name]
                amount = {"plant_carbon_t_ha": site.plant_carbon, "npp": None}
                uses[f"{last} of {site.name}"] = uses[last].model_copy(update=amount)
                by_phase[-1][site.name] = f"{last} of {site.name}"
        return uses, by_phase

    def _climates(
        self, sites: Sequence[Site], climates: Climates
    ) -> tuple[dict[str, Climate], dict[str, pd.DataFrame], dict[str, str]]:
        """All climates, their normals, and the one of each site that has its own."""
        file, of_site, tables = self.case.file, {}, {}
        for site in sites:
            if isinstance(site.climate, Yearly):
                of_site[site.name] = f"year of {site.name}"
                tables[of_site[site.name]] = site.climate.normals()
            elif site.climate is not None:
                of_site[site.name] = site.climate
                tables[site.climate] = climates[site.climate]
        if not of_site:  # either all have their own, or none
            return dict(file.climate), dict(self.case.climate), {}
        return {name: Climate(normals=name) for name in tables}, tables, of_site

    def faults(self, site: Site, climates: Climates, table: Path) -> list[str]:
        """All that is wrong with a row, besides its cells.

        Args:
            site: of the row.
            climates: those that rows name.
            table: file of the row.
        """
        where = Path(f"{table}: line {site.line}")
        try:
            named(site.name)
        except ValueError as error:
            return [f"column 'site': {error}"]
        try:
            case = self.case_of([site], climates, where)
            found = faults_of(where, case.file)
            if isinstance(site.climate, Yearly):  # a file has been asked about
                meant = Meant(case.file.plausible)
                (weather,) = case.climate.values()
                for name, doubt in plausible.of_climate(weather):
                    if question := meant.question(name, doubt):
                        found.add(f"{where}: climate: {question}")
            found.refuse()
        except InputError as error:
            lines = [fault.removeprefix(f"{where}: ") for fault in error.faults]
            return [_of_depth(line, site) for line in lines]
        return []


def _soil(site: Site, file: CaseFile) -> Soil:
    """The soil of a site; horizons without a mineralogy have that of the case, where it has one."""
    known = list(file.mineralogy)
    horizons = []
    for given in site.horizons:
        horizon = Horizon.model_validate(dict(given))
        if file.whole_soil and horizon.mineralogy is None and len(known) == 1:
            horizon.mineralogy = known[0]
        horizons.append(horizon)
    return Soil(horizons=horizons)


def _of_depth(fault: str, site: Site) -> str:
    """A fault of a horizon by its depth, and not by its number."""
    fault = fault.removeprefix(f"soil.{site.name}.").removeprefix(f"soil.{site.name}: ")
    found = re.match(r"horizons\.(\d+)\.", fault)
    if not found:
        return fault
    horizon = site.horizons[int(found[1])]
    where = f"{horizon['upper_cm']:g} to {horizon['lower_cm']:g} cm, "
    return where + fault[found.end() :]


# The table.


def read_sites(path: Path, template: Template, profiles: Path | None = None) -> Table:
    """The sites of a table, and the rows that are none.

    Args:
        path: CSV file with the columns of :data:`COLUMNS` and, without ``profiles``, columns by
            depth. Files of normals lie beside it, or among the shipped data.
        template: the case that says all else; the sites are checked as those of a case are.
        profiles: CSV file of horizons, in whose column ``soil`` are the sites.

    Raises:
        InputError: what is wrong with a whole file, such as its header; or no row is a site.
    """
    meant = Meant(template.case.file.plausible)
    keys: dict[Interval, list[str]] = {}

    def expected(header: list[str]) -> dict[str, Column]:
        keys.update(_intervals(path, header, profiles))
        by_depth = {
            column(key, of): dataclasses.replace(OF_DEPTHS[key], **_OPTIONAL)
            for of in keys
            for key in keys[of]
        }
        return COLUMNS | by_depth

    table, wrong = read_rows(path, expected, meant)
    of_profiles = _read_profiles(profiles, meant) if profiles else {}
    for line, names in _twice(table["site"]):
        wrong.setdefault(line, []).append(names)
    climates: dict[str, pd.DataFrame] = {}
    no_climates: dict[str, list[str]] = {}
    sites, refused = [], []
    for cells in table.reset_index().to_dict("records"):
        row = {str(key): value for key, value in cells.items()}
        line, name = int(row["line"]), str(row["site"])
        faults = wrong.pop(line, [])
        site = None if faults else _site(row, keys, of_profiles, faults)
        if site and isinstance(site.climate, str):
            faults += _read_normals(path, site.climate, meant, climates, no_climates)
        if site and not faults:
            faults += template.faults(site, climates, path)
        if site and not faults:
            sites.append(site)
        else:
            refused.append(Refused(line, name, "; ".join(dict.fromkeys(faults))))
    refused += [Refused(line, "", "; ".join(faults)) for line, faults in wrong.items()]
    refused.sort()
    if not sites:
        told = [f"{path}: line {row.line}: {row.site}: {row.reason}" for row in refused]
        raise InputError([f"{path}: no row is a site: all {len(refused)} are refused", *told])
    return Table(path, sites, refused, climates)


def _twice(names: pd.Series) -> Iterator[tuple[int, str]]:
    """Lines whose name other lines have too, and what to say of them; none of them is right."""
    lines: dict[str, list[int]] = {}
    for line, name in names.items():
        lines.setdefault(str(name), []).append(_whole(line))
    for name, found in lines.items():
        if not name or len(found) == 1:
            continue
        for line in found:
            others = [str(other) for other in found[: MOST_NAMED + 1] if other != line]
            more = ", ..." if len(found) > MOST_NAMED + 1 else ""
            where = ", ".join(others[:MOST_NAMED]) + more
            yield line, f"column 'site': {name!r} is in line {where} too"


def _read_normals(
    table: Path,
    name: str,
    meant: Meant,
    climates: dict[str, pd.DataFrame],
    wrong: dict[str, list[str]],
) -> list[str]:
    """Read a file of normals that a row names, once; what is wrong with it."""
    if name not in climates and name not in wrong:
        try:
            climates[name] = read_climate(table, Climate(normals=name), meant)
        except InputError as error:
            wrong[name] = list(error.faults)
    return wrong.get(name, [])


def column(key: str, interval: Interval) -> str:
    """Name of the column of a depth interval (cm)."""
    return f"{key}_{interval[0]:g}_{interval[1]:g}"


def _whole(line: object) -> int:
    return int(str(line))


def _intervals(path: Path, header: list[str], profiles: Path | None) -> dict[Interval, list[str]]:
    """The depth intervals of a table, and what there is of each of them."""
    found: dict[Interval, list[str]] = {}
    faults = Faults()
    for name in header:
        match = BY_DEPTH.fullmatch(name)
        if not match or name in COLUMNS or name.startswith("note"):
            continue
        key, upper, lower = match[1], float(match[2]), float(match[3])
        if key not in OF_DEPTHS:
            faults.add(
                f"{path}: column {name!r}: no property {key!r} of a horizon"
                f"{nearest(key, OF_DEPTHS)}"
            )
        elif lower <= upper:
            faults.add(f"{path}: column {name!r}: the interval is upside down")
        elif name != column(key, (upper, lower)):
            faults.add(f"{path}: column {name!r}: is written {column(key, (upper, lower))!r}")
        else:
            found.setdefault((upper, lower), []).append(key)
    if profiles and found:
        faults.add(f"{path}: columns by depth: --profiles has the horizons, give one of them")
    for interval, keys in found.items():
        for key, of in OF_DEPTHS.items():
            if of.required and key not in keys:
                faults.add(f"{path}: column {column(key, interval)!r} is missing")
    if not profiles and not found:
        faults.add(
            f"{path}: there are no columns by depth such as 'clay_percent_0_30', and no --profiles"
        )
    if found and min(found)[0] > 0:
        faults.add(f"{path}: columns by depth begin at {min(found)[0]:g} cm, not at 0")
    for (_, above), (below, _) in zip(sorted(found), sorted(found)[1:], strict=False):
        if above != below:
            what = "overlap" if above > below else "leave a gap"
            faults.add(f"{path}: columns by depth {what} at {min(above, below):g} cm")
    faults.refuse()
    return dict(sorted(found.items()))


def _site(
    row: Mapping[str, Any],
    intervals: Mapping[Interval, Sequence[str]],
    profiles: Mapping[str, tuple[Mapping[str, Any], ...] | str],
    faults: list[str],
) -> Site | None:
    """The site of a row; what is wrong with it is added to the faults."""
    name = str(row["site"])
    if intervals:
        horizons: Any = tuple(_horizons(row, intervals, faults))
    else:
        horizons = profiles.get(name, f"no profile of this name{nearest(name, profiles)}")
        if isinstance(horizons, str):
            faults.append(horizons)
            return None

    def number(key: str) -> float | None:
        value = row.get(key)
        return None if value is None or pd.isna(value) else float(value)

    return Site(
        name=name,
        line=int(row["line"]),
        latitude=_or(number("latitude"), float("nan")),
        longitude=_or(number("longitude"), float("nan")),
        horizons=horizons,
        climate=_climate({key: number(key) for key in ("latitude", *YEARLY)}, row, faults),
        land_use=row.get("land_use", ""),
        first_land_use=row.get("first_land_use", ""),
        plant_carbon=number("plant_carbon_t_ha"),
    )


def _or(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


def _horizons(
    row: Mapping[str, Any], intervals: Mapping[Interval, Sequence[str]], faults: list[str]
) -> Iterator[dict[str, Any]]:
    """The horizons of a row; what nothing is said of ends the profile."""
    ended: Interval | None = None
    for interval, keys in intervals.items():
        given = {key: row[column(key, interval)] for key in keys}
        given = {k: v for k, v in given.items() if not pd.isna(v) and v != ""}
        if not given:
            ended = ended or interval
            continue
        if ended:
            faults.append(f"nothing is given between {ended[0]:g} and {interval[0]:g} cm")
            return
        for key in keys:
            if OF_DEPTHS[key].required and key not in given:
                faults.append(f"column {column(key, interval)!r}: the value is missing")
        horizon = {"upper_cm": interval[0], "lower_cm": interval[1], **given}
        faults += _faults_of(horizon)
        yield horizon
    if ended and ended == next(iter(intervals)):
        faults.append("no horizon is given")


def _faults_of(horizon: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with a horizon as a whole."""
    try:
        Horizon.model_validate(dict(horizon))
    except ValidationError as error:
        for of in error.errors():
            if of["type"] != "missing":
                words = str(of["msg"]).removeprefix("Value error, ")
                yield f"{horizon['upper_cm']:g} to {horizon['lower_cm']:g} cm: {words}"


def _climate(
    values: Mapping[str, float | None], row: Mapping[str, Any], faults: list[str]
) -> str | Yearly | None:
    """The climate of a row: a file, values of a year, or that of the case."""
    file = str(row.get("climate", ""))
    given = [key for key in YEARLY if values[key] is not None]
    if file:
        if given:
            faults.append(f"column {given[0]!r}: the climate is that of {file!r} already")
        return file
    if not any(key in row for key in ("climate", *YEARLY)):
        return None
    lacking = [key for key in (*NEEDED, "latitude") if values[key] is None]
    if lacking:
        faults.extend(f"column {key!r}: the value is missing" for key in lacking)
        return None
    wet, wettest = _or(values["precipitation_amplitude"], 0.0), values["wettest_month"]
    if wet > 0 and wettest is None:
        faults.append("column 'wettest_month': is missing beside precipitation_amplitude")
    latitude = _or(values["latitude"], 0.0)
    usual = NORTHERN if latitude >= 0 else SOUTHERN
    seasons = Seasons(
        amplitude=_or(values["temperature_amplitude_c"], 0.0),
        warmest=_or(values["warmest_month"], usual),
        rain_amplitude=wet,
        wettest=_or(wettest, usual),
        daily_range=_or(values["daily_range_c"], DAILY_RANGE),
    )
    return Yearly(
        _or(values["mean_temperature_c"], 0.0),
        _or(values["yearly_precipitation_mm"], 0.0),
        values["yearly_pet_mm"],
        latitude,
        seasons,
    )


def _read_profiles(path: Path, meant: Meant) -> dict[str, tuple[Mapping[str, Any], ...] | str]:
    """The horizons of each soil of a table of profiles, or what is wrong with them."""
    needed = OF_HORIZONS | {"soil": Column("str")}
    table, wrong = read_rows(path, lambda header: needed, meant)
    found: dict[str, tuple[Mapping[str, Any], ...] | str] = {}
    told: list[str] = []
    for name, rows in table.groupby("soil", sort=False):
        lines = [line for line in map(_whole, rows.index) if line in wrong]
        faults = [f"{path}: line {line}: {fault}" for line in lines for fault in wrong[line]]
        if not faults:
            try:
                horizons = horizons_of(path, rows, told.append)
            except InputError as error:
                faults = list(error.faults)
            else:
                found[str(name)] = tuple(h.model_dump(exclude_unset=True) for h in horizons)
                continue
        found[str(name)] = "; ".join(faults)
    if told:
        hint(f"{told[0]}; so are those of {len(told) - 1} other sites")
    return found
