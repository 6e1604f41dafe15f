"""Cases: one TOML file that says what a site is, what happened there, and what was observed."""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel

from diffsoil import parameters
from diffsoil.cases import plausible
from diffsoil.cases.formats import upgrade
from diffsoil.cases.profile import KG_M3, check_room
from diffsoil.cases.schema import (
    BySite,
    CaseFile,
    Change,
    Climate,
    Grid,
    Horizon,
    LandUse,
    Mineralogy,
    Soil,
    names_of,
)
from diffsoil.cases.validation import validated
from diffsoil.column import ADDED, CHOICES, COLUMNS, Column, needed_by
from diffsoil.io import (
    Faults,
    InputError,
    data_path,
    nearest,
    parse_toml,
    read_text,
    reason,
    shown,
)
from diffsoil.processes import npp
from diffsoil.processes.minerals import CALCITE_MASS, MOLAR_MASS
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON
from diffsoil.processes.protection import MECHANISMS, MINIMA, Protection
from diffsoil.processes.texture import Texture
from diffsoil.state import MINERALS
from diffsoil.tables import Column as Table
from diffsoil.tables import Meant, read_table

PAN_TO_PET = 0.75
"""Potential evapotranspiration per open-pan evaporation (RothC description)."""

MOST_YEARS = 100_000
"""Years of a case: more than any soil of the last glaciation needs."""
MOST_VALUES = 2e8
"""Years times members times layers, of which each recorded variable takes 8 bytes."""

HORIZON_VARIABLES = (
    "clay_percent",
    "silt_percent",
    "bulk_density",
    "soc_percent",
    "iom_percent",
    "one_to_one_share",
    "calcite_percent",
    "base_saturation",
    "dissolved_al_fe",
)

NORMALS = {
    "month": Table("int", 1, 12),
    "temperature_c": Table("float", -80, 60, unit="C", hint="is this in kelvin or Fahrenheit?"),
    "precipitation_mm": Table("float", 0, 10000, unit="mm in the month"),
    "evaporation_mm": Table("float", 0, 600, unit="mm in the month", required=False),
    "pet_mm": Table("float", 0, 600, unit="mm in the month", required=False),
}
ORIGIN = Table("str", required=False, allow_missing=True)
MONTHS = {
    "year": Table("int", -50000, 3000),
    **NORMALS,
    "temperature_origin": ORIGIN,
    "precipitation_origin": ORIGIN,
}
"""Weather by month; where a value is from may be said, and is not used."""
MANAGEMENT = {
    "treatment": Table("str"),
    "year": Table("int", -50000, 3000),
    "land_use": Table("str"),
    "plant_carbon_base_t_ha": Table(
        "float", 0, 50, allow_missing=True, unit="Mg C/ha", hint="is this in kg/ha?"
    ),
    "plant_carbon_yield_t_ha": Table(
        "float", 0, 50, required=False, allow_missing=True, unit="Mg C/ha", hint="is this in kg/ha?"
    ),
    "manure_carbon_t_ha": Table(
        "float",
        0,
        50,
        required=False,
        allow_missing=True,
        unit="Mg C/ha",
        hint="is this fresh weight?",
    ),
    "fallow_share": Table(
        "float", 0, 1, required=False, allow_missing=True, hint="is this in percent?"
    ),
    "lime_mol_m2": Table(
        "float", 0, 1000, required=False, allow_missing=True, unit="mol/m2 of calcite"
    ),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A case that has been read and checked.

    ``path`` and ``text`` are the file; ``file`` its content; ``climate`` maps a climate's name
    to its table (normals: 12 rows; monthly: rows by year and month); ``management`` has one
    row for each treatment and year.
    """

    path: Path
    text: str
    file: CaseFile
    climate: dict[str, pd.DataFrame]
    management: pd.DataFrame | None

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
        for key, slot in CHOICES.items():
            if make := slot[getattr(self.file, key)].get(self.file.column):
                column = column.replaced(make())
        for name in self.file.processes:
            try:
                column = column.with_added(ADDED[name]())
            except ValueError as error:
                raise InputError(f"{self.path}: processes: {error}") from error
        return column


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


def resolve(case: Path, name: str) -> Path:
    """A file named in a case: beside the case, or else among the shipped data."""
    for found in (case.parent / name, data_path(name)):
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


def find_case(case: str | Path) -> Path:
    """The file of a case: a path, or the name of a shipped case."""
    path = Path(case)
    shipped = data_path("cases", f"{case}.toml")
    if path.is_file():
        return path
    if path.suffix == "" and shipped.is_file():
        return shipped
    names = sorted(p.stem for p in data_path("cases").glob("*.toml"))
    suggestion = nearest(str(case), names) or f" (shipped: {', '.join(names)})"
    raise InputError(f"{case}: no such file, and no shipped case of that name{suggestion}")


def load_case(case: str | Path) -> Case:
    """Read and check a case.

    Args:
        case: path of a TOML file, or the name of a shipped case.

    Raises:
        InputError: all that is wrong with its files, one line each with file, field and value.
    """
    path = find_case(case)
    return read_case(path, read_text(path))


def read_case(path: Path, text: str) -> Case:
    """Check the text of a case; see :func:`load_case`.

    Args:
        path: the file that it is from: named in messages, and its folder is where files named
            in the case are looked for first.
        text: TOML.
    """
    content = parse_toml(path, text)
    written = upgrade(content)
    try:
        return _checked(path, text, content)
    except InputError as error:
        raise InputError(_as_written(line, written) for line in error.faults) from error


def _as_written(fault: str, written: Mapping[str, object]) -> str:
    """A fault that names the value that stands in the file, where that has an older format."""
    for where, value in written.items():
        if f": {where}:" in fault:
            return f"{fault} (written as {value} in an older format)"
    return fault


def _checked(path: Path, text: str, content: dict[str, Any]) -> Case:
    file = validated(path, CaseFile, content)
    faults = Faults()
    for check in (_check_names, _check_times, _check_inputs):
        check(path, file, faults)
    if file.whole_soil:
        _check_ground(path, file, faults)
        with faults.gathered():
            declared = float(Texture().organic_density)
            light = file.set.get("texture.organic_density", declared)
            check_room(light, file.soil, path)
        with faults.gathered():
            erosion_events(path, file)
        for number in range(len(file.history)):
            _check_amendments(path, file, number, faults)
    else:
        for where in _ground_keys(file):
            faults.add(
                f'{path}: {where}: needs column = "whole_soil", the case has column = "carbon"'
            )
    _check_soils(path, file, faults)
    faults.refuse()  # what the tables have to hold follows from the case
    climate, management = {}, None
    for name, of in file.climate.items():
        with faults.gathered():
            climate[name] = _read_climate(path, of, Meant(file.plausible))
    with faults.gathered():
        management = _read_management(path, file)
    for name in names_of(file.experiment.climate) if file.experiment else ():
        with faults.gathered():
            _check_covered(path, file, name, climate.get(name))
    read = Case(path=path, text=text, file=file, climate=climate, management=management)
    with faults.gathered():
        if file.radiocarbon_atmosphere:
            of_air = read.resolve(file.radiocarbon_atmosphere)
            read_atmosphere(of_air, file.start_year, read.end_year, Meant(file.plausible))
    with faults.gathered():
        _check_parameters(read)
    faults.refuse()
    return read


def _check_names(path: Path, file: CaseFile, faults: Faults) -> None:
    """Every name used is a name given."""

    def known(what: str, name: str, given: Iterable[str], where: str) -> None:
        given = list(given)
        if name not in given:
            faults.add(f"{path}: {where}: no {what} {name!r}{nearest(name, given)}")

    def of_sites(what: str, given: BySite, choices: Iterable[str], where: str) -> None:
        for site in given if isinstance(given, dict) else ():
            known("site", site, file.site, where)
        for site in file.site if isinstance(given, dict) else ():
            if site not in given:
                faults.add(f"{path}: {where}: nothing for site {site!r}")
        for name in names_of(given):
            known(what, name, choices, where)

    for site, soil in file.site.items():
        known("soil", soil, file.soil, f"site.{site}")
    for number, phase in enumerate(file.history):
        where = f"history.{number}"
        of_sites("climate", phase.climate, file.climate, f"{where}.climate")
        of_sites("land use", phase.land_use, file.land_use, f"{where}.land_use")
        for name in names_of(phase.climate):
            if name in file.climate and file.climate[name].normals is None:
                faults.add(f"{path}: {where}.climate: history needs a climate of normals")
    of_uses = file.land_use.values()
    groups = {g for use in of_uses for g in (use.input_group, use.yield_group) if g}
    for number, treatment in enumerate(file.treatment):
        known("site", treatment.site, file.site, f"treatment.{number}.site")
        for group in treatment.input_groups:
            known("input group", group, groups, f"treatment.{number}.input_groups")
    if len({t.name for t in file.treatment}) < len(file.treatment):
        faults.add(f"{path}: treatment: two treatments have the same name")
    if bool(file.treatment) != bool(file.experiment):
        faults.add(f"{path}: experiment and treatment belong together; one is missing")
    if file.experiment:
        of_sites("climate", file.experiment.climate, file.climate, "experiment.climate")
        for name in names_of(file.experiment.climate):
            if name in file.climate and file.climate[name].monthly is None:
                faults.add(f"{path}: experiment.climate: an experiment needs monthly weather")


def _check_times(path: Path, file: CaseFile, faults: Faults) -> None:
    """Phases follow one another, and slow steps fill them."""
    for number, (phase, (first, last)) in enumerate(zip(file.history, file.spans(), strict=True)):
        if last < first:
            faults.add(
                f"{path}: history.{number}.until: {last} is before {first}, where the phase begins"
            )
        elif (last - first + 1) % phase.step_years:
            faults.add(
                f"{path}: history.{number}.step_years: {phase.step_years} does not divide the "
                f"{last - first + 1} years of the phase, {first} to {last}"
            )
    start = file.history[-1].until + 1
    if file.experiment and file.experiment.until < start:
        faults.add(
            f"{path}: experiment.until: {file.experiment.until} is before {start}, "
            "where the experiment begins"
        )
    end = file.experiment.until + 1 if file.experiment else start
    years, members = end - file.start_year, max(len(file.site), len(file.treatment))
    if years > MOST_YEARS or years * members * file.grid.layers > MOST_VALUES:
        faults.add(
            f"{path}: until: {years} years of {members} sites or treatments with "
            f"{file.grid.layers} layers are too many: at most {MOST_YEARS} years, and "
            f"{MOST_VALUES:g} years times members times layers"
        )
    depth = file.grid.layers * file.grid.thickness_m * 100
    for name, soil in file.soil.items():
        if soil.horizons[-1].lower_cm < depth - 1e-6:
            faults.add(
                f"{path}: soil.{name}: horizons end at {soil.horizons[-1].lower_cm:g} cm, the "
                f"layers of the grid at {depth:g} cm"
            )


def _check_inputs(path: Path, file: CaseFile, faults: Faults) -> None:
    """A land use of the history says what it brings to the soil, be it nothing."""
    for number, phase in enumerate(file.history):
        for name in names_of(phase.land_use):
            use = file.land_use.get(name)
            if use and use.npp is None and use.plant_carbon_t_ha is None:
                faults.add(
                    f"{path}: land_use.{name}: neither npp nor plant_carbon_t_ha, which "
                    f"history.{number} needs; plant_carbon_t_ha = 0 says that nothing grows"
                )


def _check_soils(path: Path, file: CaseFile, faults: Faults) -> None:
    """Ask about values of the initial profiles that look like another unit."""
    meant = Meant(file.plausible)

    wrong = faults.lines

    def ask(where: str, name: str, value: float, doubt: str) -> None:
        place = f"{path}: {where}.{name}: "
        known = any(line.startswith(place) for line in wrong)
        if doubt and not known and (question := meant.question(name, doubt)):
            faults.add(f"{place}{value:g} {question}")

    for soil_name, soil in file.soil.items():
        for number, horizon in enumerate(soil.horizons):
            where = f"soil.{soil_name}.horizons.{number}"
            for name in HORIZON_VARIABLES:
                value = getattr(horizon, name)
                ask(where, name, value, plausible.of_soil(name, value, horizon.upper_cm))
            upper, lower = horizon.upper_cm, horizon.lower_cm
            ask(where, "lower_cm", lower, plausible.of_depth(upper, lower))
            if not file.whole_soil and horizon.calcite_percent > horizon.silt_percent:
                ask(
                    where,
                    "calcite_percent",
                    horizon.calcite_percent,
                    "is more than silt_percent "
                    f"{horizon.silt_percent:g}, of which calcite is a part",
                )


def _ground_keys(file: CaseFile) -> Iterator[str]:
    """Keys of the case that mean something only where the whole soil develops."""

    def given(of: BaseModel, where: str, *keys: str) -> Iterator[str]:
        yield from (f"{where}{key}" for key in keys if key in of.model_fields_set)

    yield from given(file, "", "mineralogy", "deposition", "erosion", "dissolved_iron")
    for name, soil in file.soil.items():
        for number, horizon in enumerate(soil.horizons):
            where = f"soil.{name}.horizons.{number}."
            yield from given(horizon, where, "mineralogy", "cec_mmol_kg", "exchange")
    for name, use in file.land_use.items():
        yield from given(use, f"land_use.{name}.", "litter_cations_g_kg")
    for number, phase in enumerate(file.history):
        yield from given(phase, f"history.{number}.", "erosion_mm_a", "amendments")
    if file.experiment:
        yield from given(file.experiment, "experiment.", "erosion_mm_a")


def _check_ground(path: Path, file: CaseFile, faults: Faults) -> None:
    """A soil that develops has minerals, and prescribes nothing that follows from them."""

    def known(name: str, where: str) -> None:
        if name not in file.mineralogy:
            suggestion = nearest(name, file.mineralogy)
            faults.add(f"{path}: {where}: no mineralogy {name!r}{suggestion}")

    changes = [(f"soil.{name}", soil.changes) for name, soil in file.soil.items()]
    changes += [(f"treatment.{n}", treatment.changes) for n, treatment in enumerate(file.treatment)]
    for where, given in changes:
        for change in given:
            faults.add(
                f"{path}: {where}.changes: {change.variable} is computed in a case with "
                'column = "whole_soil" and cannot be prescribed'
            )
    for name, soil in file.soil.items():
        for number, horizon in enumerate(soil.horizons):
            where = f"soil.{name}.horizons.{number}"
            for key in ("one_to_one_share", "dissolved_al_fe"):
                if key in horizon.model_fields_set:
                    faults.add(
                        f"{path}: {where}.{key}: is computed in a case with "
                        f'column = "whole_soil", not given (got {getattr(horizon, key):g})'
                    )
            if horizon.mineralogy is None:
                faults.add(
                    f'{path}: {where}.mineralogy: missing, a case with column = "whole_soil" '
                    "needs the minerals of every horizon"
                )
            else:
                known(horizon.mineralogy, f"{where}.mineralogy")
            if "base_saturation" not in horizon.model_fields_set:
                faults.add(
                    f'{path}: {where}.base_saturation: missing, a case with column = "whole_soil" '
                    "starts from it; 0 is a soil without any base"
                )
            if horizon.calcite_percent > horizon.silt_percent:
                faults.add(
                    f"{path}: {where}.calcite_percent: {horizon.calcite_percent:g} is more than "
                    f"silt_percent {horizon.silt_percent:g}, of which calcite is a part"
                )
    if file.deposition.dust_mineralogy is not None:
        known(file.deposition.dust_mineralogy, "deposition.dust_mineralogy")


def erosion_events(path: Path, file: CaseFile) -> list[int]:
    """Years at whose start erosion takes the uppermost layer away.

    That is each time that erosion at one rate has eaten a layer as thick as laid down, counted
    from the year in which the rate began. One that is full as a rate ends goes in the first
    slow step of the next; one that is full at the very end is still there.

    Raises:
        InputError: events that are not at the start of a slow step.
    """
    if not file.erodes_in_events:
        return []
    phases = [
        (f"history.{number}", phase.until + 1, phase.step_years, phase.erosion_mm_a)
        for number, phase in enumerate(file.history)
    ]
    if file.experiment:
        phases.append(("experiment", file.experiment.until + 1, 1, file.experiment.erosion_mm_a))
    layer = file.grid.thickness_m * 1000
    events: list[int] = []
    start = began = file.start_year
    before = 0.0
    faults = Faults()
    for where, end, step, rate in phases:
        if rate != before:
            began, before = start, rate
        if rate > 0:
            interval = round(layer / rate)
            if abs(interval * rate - layer) > 1e-6 * layer or interval % step:
                faults.add(
                    f"{path}: {where}.erosion_mm_a: {rate:g} takes a layer of {layer:g} mm every "
                    f"{layer / rate:g} years, which is not a multiple of step_years {step}"
                )
                start = end
                continue
            first = began + interval * ((start - began) // interval + 1)
            here = range(first, end + 1, interval)
            if here and (here[0] - start) % step:
                faults.add(
                    f"{path}: {where}.erosion_mm_a: the layer of {layer:g} mm that {rate:g} has "
                    f"taken by {here[0]} goes within a slow step of step_years {step}"
                )
            events += here
        start = end
    faults.refuse()
    return [year for year in events if year < start]


def _check_amendments(path: Path, file: CaseFile, number: int, faults: Faults) -> None:
    """What is added fits the slow steps, and goes to one depth in each of them."""
    phase = file.history[number]
    start, last = file.spans()[number]
    depths: dict[int | None, float] = {}
    for place, amendment in enumerate(phase.amendments):
        where = f"{path}: history.{number}.amendments.{place}"
        for site in amendment.sites:
            if site not in file.site:
                faults.add(f"{where}.sites: no site {site!r}{nearest(site, file.site)}")
        every, year, step = amendment.every_years, amendment.year, phase.step_years
        if every is not None and every % step and step % every:
            faults.add(
                f"{where}.every_years: {every} is neither a multiple nor a divisor of "
                f"step_years {step}"
            )
        if year is not None and not start <= year <= last:
            faults.add(f"{where}.year: {year} is outside the phase, {start} to {last}")
        elif year is not None and (year - start) % step:
            faults.add(
                f"{where}.year: {year} is not the start of a slow step, {start} + a multiple of "
                f"step_years {step}"
            )
        deepest = file.grid.layers * file.grid.thickness_m
        if amendment.depth_m > deepest:
            faults.add(
                f"{where}.depth_m: {amendment.depth_m:g} is below the column of {deepest:g} m"
            )
        if amendment.material == "manure":
            continue  # it goes where the plough takes it
        # None stands for every slow step of the phase
        together = depths if year is None else {None, year} & depths.keys()
        for other in together:
            if depths[other] != amendment.depth_m:
                faults.add(
                    f"{where}.depth_m: {amendment.depth_m:g}, but another addition in the same "
                    f"slow step goes to {depths[other]:g}"
                )
        depths[year] = amendment.depth_m


def _read_climate(path: Path, climate: Climate, meant: Meant) -> pd.DataFrame:
    name = climate.normals or climate.monthly
    assert name is not None
    file = resolve(path, name)
    table = read_table(file, NORMALS if climate.normals else MONTHS, meant)
    if ("pet_mm" in table) == ("evaporation_mm" in table):
        raise InputError(f"{file}: one of the columns evaporation_mm (open pan), pet_mm is needed")
    if "pet_mm" not in table:
        table["pet_mm"] = PAN_TO_PET * table["evaporation_mm"]
    if climate.monthly:
        _check_months(file, table)
    elif table["month"].tolist() != list(range(1, 13)):
        raise InputError(f"{file}: column 'month': the months 1 to 12 are needed, in order")
    evaporation = "pet_mm" if "evaporation_mm" not in table else "evaporation_mm"
    questions = [
        (name, meant.question(name, doubt))
        for name, doubt in plausible.of_climate(table, evaporation)
    ]
    lines = [f"{file}: column {name!r}: {question}" for name, question in questions if question]
    if lines:
        raise InputError(lines)
    return table


ATMOSPHERE = {
    "year": Table("int", -60000, 3000),
    "activity": Table("float", 0, 3, hint="modern is 1, is this in percent?"),
}


def read_atmosphere(path: Path, first: int, last: int, meant: Meant | None = None) -> pd.DataFrame:
    """14C activity of the atmosphere by year, in order; straight lines lie between its years.

    Args:
        path: file.
        first, last: years that it has to cover.
        meant: what the user has confirmed; nothing is asked about if not given.

    Raises:
        InputError: the file is wrong, holds a year twice, or does not cover the years asked for.
    """
    table = read_table(path, ATMOSPHERE)
    faults = Faults()
    for line, year in table.loc[table["year"].duplicated(), "year"].items():
        faults.cell(path, line, "year", year, "is there already")
    begin, end = table["year"].min(), table["year"].max()
    if first < begin or last > end:
        faults.add(
            f"{path}: column 'year': the record covers {begin} to {end}, not all years of the "
            f"case, {first} to {last}; it is not extrapolated"
        )
    table = table.sort_values("year")
    if meant is not None:
        for doubt in plausible.of_atmosphere(table, first, last):
            if question := meant.question("activity", doubt):
                faults.add(f"{path}: column 'activity': {question}")
    faults.refuse()
    return table


def _check_months(file: Path, table: pd.DataFrame) -> None:
    number = (table["year"] * 12 + table["month"] - 1).tolist()
    faults = Faults()
    before, behind = number[0], False
    for line, now in zip(table.index[1:], number[1:], strict=True):
        if now <= before and not behind:
            again = "appears twice" if now == before else f"comes after {_month(before)}"
            faults.cell(file, line, "", f"month {_month(now)}", again)
        elif now > before + 1:
            faults.cell(file, line, "", f"month {_month(before + 1)}", "is missing")
        behind = now < before  # what follows it is, too
        before = max(before, now)
    faults.refuse()


def _month(number: int) -> str:
    return f"{number // 12}-{number % 12 + 1:02d}"


def _check_covered(path: Path, file: CaseFile, name: str, weather: pd.DataFrame | None) -> None:
    """The weather of an experiment reaches over all of its years."""
    if weather is None or file.experiment is None:  # it could not be read
        return
    first, last = file.history[-1].until + 1, file.experiment.until
    for year in dict.fromkeys((first, last)):
        if (weather["year"] == year).sum() != 12:
            raise InputError(
                f"{resolve(path, file.climate[name].monthly or '')}: the twelve months of "
                f"{year} are needed: the experiment runs {first} to {last}"
            )


def _read_management(path: Path, file: CaseFile) -> pd.DataFrame | None:
    if not file.experiment:
        return None
    source = resolve(path, file.experiment.management)
    table = read_table(source, MANAGEMENT, Meant(file.plausible))
    faults = Faults()
    if "lime_mol_m2" in table and not file.whole_soil:
        faults.add(
            f"{source}: column 'lime_mol_m2': needs column = \"whole_soil\", the case has "
            f'column = "{file.column}"'
        )
    optional = ("plant_carbon_yield_t_ha", "manure_carbon_t_ha", "fallow_share", "lime_mol_m2")
    for name in optional:  # an empty cell is as if the column were not there
        table[name] = table[name].fillna(0.0) if name in table else 0.0
    manured = table.loc[table["manure_carbon_t_ha"] > 0, "manure_carbon_t_ha"]
    doubt = plausible.of_manure(float(manured.mean())) if len(manured) else ""
    if doubt and (question := Meant(file.plausible).question("manure_carbon_t_ha", doubt)):
        faults.add(f"{source}: column 'manure_carbon_t_ha': {question}")
    base = "plant_carbon_base_t_ha"
    for line, name, given in zip(table.index, table["land_use"], table[base], strict=True):
        use = file.land_use.get(name)
        if use is None:
            near = f"the case has no land use {name!r}{nearest(name, file.land_use)}"
            faults.cell(source, line, "land_use", "", near)
        elif use.npp is None and np.isnan(given):
            faults.cell(source, line, base, "", "the value is missing")
        elif use.npp is not None and given > 0:
            unused = f"is not used, as land use {name!r} has npp; leave the cell empty"
            faults.cell(source, line, base, f"{given:g}", unused)
    _check_rows(source, table, file, faults)
    faults.refuse()
    table[base] = table[base].fillna(0.0)
    return table


def _check_rows(source: Path, table: pd.DataFrame, file: CaseFile, faults: Faults) -> None:
    """Each treatment has each year of the experiment once."""
    assert file.experiment is not None
    first, last = file.history[-1].until + 1, file.experiment.until
    for line, row in table[table.duplicated(["treatment", "year"])].iterrows():
        what = f"year {row['year']} of treatment {row['treatment']!r}"
        faults.cell(source, line, "", what, "appears twice")
    for treatment in file.treatment:
        rows = table[table["treatment"] == treatment.name]
        if rows.empty:
            near = nearest(treatment.name, table["treatment"].unique())
            faults.add(f"{source}: no row for treatment {treatment.name!r}{near}")
            continue
        missing = sorted(set(range(first, last + 1)) - set(rows["year"]))
        if missing:
            more = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            faults.add(
                f"{source}: treatment {treatment.name!r}: year {missing[0]}{more} missing; the "
                f"experiment runs {first} to {last}"
            )


def _check_parameters(case: Case) -> None:
    table = case.column().parameters()
    faults = Faults()
    for name in case.file.free:
        if name not in table and not name.startswith("observation."):
            faults.add(f"{case.path}: free: no parameter {name!r}{nearest(name, table)}")
    for name, prior in case.priors().items():
        of = table.get(name)
        if prior and of and (complaint := prior.objection(of.lower, of.upper)):
            faults.add(f"{case.path}: free.{name}.prior: {complaint} {of.unit}")
    faults.refuse()


def parameter_table(column: Column | None = None) -> pd.DataFrame:
    """The parameter table: one row for each declared parameter of a column, or of all columns.

    Columns: name, default, unit, lower, upper, prior, transform, source, description.
    """
    columns = [column] if column else [make(["GROUP"]) for make in COLUMNS.values()]
    if not column:  # and what may be added to them
        columns += [Column((Protection(tuple(MECHANISMS)), *(p() for p in ADDED.values())))]
    declared = {name: p for c in columns for name, p in c.parameters().items()}
    return pd.DataFrame([_row(p) for p in declared.values()])


def _row(p: parameters.Parameter) -> dict[str, Any]:
    row = dataclasses.asdict(p) | {"prior": str(p.prior), "transform": p.transform}
    order = ("name", "default", "unit", "lower", "upper", "prior", "transform", "source")
    return {key: row[key] for key in (*order, "description")}


def remap(soil: Soil, grid: Grid) -> dict[str, np.ndarray]:
    """Horizon values on the layers of the grid, conserving mass.

    Bulk density is averaged by volume, everything else by soil mass.
    """
    share = layer_shares(soil, grid)
    density = np.array([h.bulk_density for h in soil.horizons])
    mass = share * density[:, None]
    values = {"bulk_density": mass.sum(axis=0)}
    for name in HORIZON_VARIABLES:
        if name != "bulk_density":
            of_horizon = np.array([getattr(h, name) for h in soil.horizons])
            values[name] = (mass * of_horizon[:, None]).sum(axis=0) / mass.sum(axis=0)
    return values


def layer_shares(soil: Soil, grid: Grid) -> np.ndarray:
    """Share of each layer of the grid in each horizon, [horizon, layer]."""
    edges = np.arange(grid.layers + 1) * grid.thickness_m * 100
    return np.stack([_share(edges, h.upper_cm, h.lower_cm) for h in soil.horizons])


def _share(edges: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """Share of each layer between two depths (cm)."""
    inside = np.minimum(edges[1:], lower) - np.maximum(edges[:-1], upper)
    return np.clip(inside / np.diff(edges), 0.0, 1.0)


def prescribed(
    case: Case, site: str, changes: list[Change], years: np.ndarray
) -> dict[str, np.ndarray]:
    """Soil properties by year and layer, [year, layer], for a site with changes in time."""
    grid = case.file.grid
    soil = case.file.soil[case.file.site[site]]
    values = remap(soil, grid)
    edges = np.arange(grid.layers + 1) * grid.thickness_m * 100
    series = {k: np.broadcast_to(v, (len(years), grid.layers)).copy() for k, v in values.items()}
    for change in (*soil.changes, *changes):
        share = _share(edges, change.upper_cm, change.lower_cm)
        level = np.interp(years, change.years, change.values)
        old = series[change.variable]
        series[change.variable] = old + share[None, :] * (level[:, None] - old)
    # the mass is that of the first profile: a layer is material, its density may change
    first = values["bulk_density"] * grid.thickness_m * 1e4
    organic = ORGANIC_MATTER_IN_CARBON * values["soc_percent"]
    series["soil_mass"] = np.broadcast_to(first, series["bulk_density"].shape)
    series["mineral_mass"] = np.broadcast_to(
        first * (1 - organic / 100), series["bulk_density"].shape
    )
    series["reference_organic_matter"] = np.broadcast_to(organic, series["bulk_density"].shape)
    series["calcite_fraction"] = series.pop("calcite_percent") / 100.0
    del series["soc_percent"]
    return series


def composition(
    clay_percent: float, silt_percent: float, calcite_percent: float, minerals: Mineralogy
) -> tuple[np.ndarray, float]:
    """What a kg of fine earth without humus is made of.

    Args:
        clay_percent, silt_percent: of all fine earth; the rest is sand.
        calcite_percent: part of the silt.
        minerals: shares of the minerals besides calcite.

    Returns:
        Minerals by size class, [mineral, size], and calcite, mol/kg.
    """
    sand = 100 - clay_percent - silt_percent
    percent = (clay_percent, silt_percent - calcite_percent, sand)
    shares = (minerals.clay, minerals.silt, minerals.sand)
    of_size = np.array([[share.get(name, 0.0) for share in shares] for name in MINERALS])
    amounts = of_size * np.array(percent) / 100 / MOLAR_MASS[:, None]
    return amounts, calcite_percent / 100 / CALCITE_MASS


def laid_down(case: Case, horizon: Horizon) -> dict[str, np.ndarray]:
    """A layer of one horizon, as thick as the layers of the grid, before any humus.

    Keys: ``minerals`` [mineral, size] and ``calcite`` as in :class:`diffsoil.state.Ground`. What
    depends on parameters besides is in :mod:`diffsoil.cases.profile`.
    """
    assert horizon.mineralogy is not None  # the case has been checked
    organic = ORGANIC_MATTER_IN_CARBON * horizon.soc_percent / 100
    mass = horizon.bulk_density * (1 - organic) * KG_M3 * case.file.grid.thickness_m
    minerals, calcite = composition(
        horizon.clay_percent,
        horizon.silt_percent,
        horizon.calcite_percent,
        case.file.mineralogy[horizon.mineralogy],
    )
    return {"minerals": mass * minerals, "calcite": np.asarray(mass * calcite)}


def initial_ground(case: Case, site: str) -> dict[str, np.ndarray]:
    """The soil of a site on the layers of the grid, as :func:`laid_down`, conserving mass.

    The layer is the last axis of everything.
    """
    soil = case.file.soil[case.file.site[site]]
    share = layer_shares(soil, case.file.grid)
    each = [laid_down(case, horizon) for horizon in soil.horizons]
    return {
        name: sum(of[name][..., None] * part for of, part in zip(each, share, strict=True))
        for name in each[0]
    }


def yearly_npp(use: LandUse, weather: pd.DataFrame) -> float:
    """Carbon input (Mg/ha/a) of a land use that is given by NPP or by its own number."""
    if use.npp is None:
        return use.plant_carbon_t_ha or 0.0
    if isinstance(use.npp, str):
        years = len(weather) / 12
        dry = float(
            npp.MODELS[use.npp](
                float(weather["temperature_c"].mean()),
                float(weather["precipitation_mm"].sum() / years),
            )
        )
    else:
        dry = use.npp
    return float(npp.carbon_input(dry)) * (1 - use.harvest_share)
