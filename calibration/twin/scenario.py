"""Management options: a file of what may be done from today on, and the case that lives it.

The options extend the experiment of a case: its weather and its management go on beyond the last
year of the record, one treatment for each option and each treatment that it is tried on. So the
model of a forecast is that of the fit, year by year.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from pydantic import BeforeValidator, Field, model_validator

from calibration import observations
from calibration.twin import atmosphere
from diffsoil.cases import Case
from diffsoil.cases.arrays import Plan, additions, build, select
from diffsoil.cases.drivers import NORMALS, weather_of_years
from diffsoil.cases.kinds import Amount, Erosion, FileStem, Strict, Year, names_of, whole
from diffsoil.cases.land_use import LandUse, LandUses
from diffsoil.cases.management import OF_WHOLE_SOIL
from diffsoil.cases.plausible import of_depth
from diffsoil.cases.schema import Amendment, Plausible
from diffsoil.cases.validation import validated
from diffsoil.io import Faults, InputError, data_path, nearest, parse_toml, read_text
from diffsoil.tables import Meant
from diffsoil.units import MM_PER_M

AS_NOW = "as_now"

Interval = Annotated[tuple[float, float], Field(strict=False)]
"""Upper and lower depth, cm; TOML has lists for both."""

AMOUNTS = (
    "plant_carbon_base_t_ha",
    "plant_carbon_yield_t_ha",
    "manure_carbon_t_ha",
    "fallow_share",
    *OF_WHOLE_SOIL,
)
"""Columns of a management table that are amounts."""

IN_SCENARIO = 'plausible = ["{}"] in this file says that it is meant'

MOST_YEARS = 500

LARGEST_MEMBERS = 200
"""Options times treatments; more is a design of an ensemble, not a choice between options."""


class Warming(Strict):
    """Warming of the air by ``k``, reached in the year ``by`` in a straight line, then kept."""

    k: Annotated[float, Field(ge=-10, le=10)]
    """Warming that is reached, K."""
    by: Year
    """Year in which it is reached; before it rises in a straight line."""


class Weather(Strict):
    """Weather of the years to come: years of the record again, or their monthly means."""

    repeat_years: Annotated[int, Field(ge=1)] | None = None
    """Last years of the record that are repeated, in their order; this or mean_years."""
    mean_years: Annotated[int, Field(ge=1)] | None = None
    """Last years of the record whose monthly means hold in every year; this or repeat_years."""
    warming: Warming | None = None
    """Warming of all options."""
    precipitation_percent: Annotated[float, Field(ge=-90, le=200)] = 0.0
    """Change of rain, % of the record."""
    pet_percent: Annotated[float, Field(ge=-90, le=200)] = 0.0
    """Change of potential evapotranspiration, % of the record."""

    @model_validator(mode="after")
    def _one(self) -> Weather:
        if (self.repeat_years is None) == (self.mean_years is None):
            raise ValueError("give either repeat_years or mean_years")
        return self

    @property
    def years(self) -> int:
        """Years of the record that stand for the future."""
        return self.repeat_years or self.mean_years or 1


class Option(Strict):
    """One way to go on; what is not said stays as it is now."""

    name: FileStem
    """Name of the option: letters (a to z), digits, _, - and ."""
    label: str | None = None
    """What it is called in pictures; any text."""
    start: Year | None = None
    """First year of the option; the first after the record if left out."""
    land_use: str | None = None
    """Name of a land use of the case or of this file."""
    plant_carbon_t_ha: Amount | None = None
    """Plant carbon that enters the soil, t C/ha in a year."""
    plant_carbon_change_percent: Annotated[float, Field(ge=-100, le=300)] = 0.0
    """Change of the plant carbon, %."""
    manure_carbon_t_ha: Annotated[float, Field(ge=0, le=50)] | None = None
    """Carbon of manure, t C/ha in a year."""
    tillage: Literal["as_now", "none"] = "as_now"
    """Tillage: as it is now, or none."""
    plough_depth_m: Annotated[float, Field(ge=0, le=1)] | None = None
    """Depth that the plough mixes each year, m."""
    warming: Warming | None = None
    """Warming of this option, besides that of all."""
    erosion_mm_a: Erosion | None = None
    """Erosion, mm in a year. Of a whole soil only."""
    amendments: list[Amendment] = Field(default=[])
    """What is added to the soil. Of a whole soil only."""

    @model_validator(mode="after")
    def _consistent(self) -> Option:
        if self.tillage == "none" and self.plough_depth_m is not None:
            raise ValueError('give tillage = "none" or plough_depth_m, not both')
        for amendment in self.amendments:
            if amendment.material == "manure":
                raise ValueError("amendments: manure is given as manure_carbon_t_ha")
        return self

    @property
    def title(self) -> str:
        """What it is called in pictures."""
        return self.label or self.name.replace("_", " ")


class ScenarioFile(Strict):
    """A file of options as written."""

    format: Annotated[Literal[1], BeforeValidator(whole)]
    """Format of the file; the present one is 1."""
    title: str = "Management options"
    """Title in reports; any text."""
    until: Year
    """Last year of the forecast."""
    treatments: list[str] = Field(default=[])
    """Treatments that each option is tried on; all if left out."""
    depths_cm: list[Interval] = Field(default=[], min_length=1)
    """Depths that stocks are reported for, upper and lower end, cm; the topsoil if left out."""
    years: list[Year] = Field(default=[])
    """Years for which options are compared; every tenth year and the last one if left out."""
    baseline: str | None = None
    """Option that the others are compared with; the first if left out."""
    draw_from_prior: list[str] = Field(default=[])
    """Parameters that the fit does not know and that are drawn from their priors."""
    plausible: Plausible = Field(default=[])
    weather: Weather
    """Weather of the years to come."""
    radiocarbon: atmosphere.Radiocarbon | None = None
    """14C of the air after the record of the case; needed where the case follows 14C."""
    land_use: LandUses = Field(default={})
    """Land uses by name, besides those of the case."""
    option: Annotated[list[Option], Field(min_length=1)]
    """Options."""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """Options that have been read and checked against a case.

    ``today`` is the last year of the record; ``years`` those that differences are told for.
    """

    path: Path
    text: str
    file: ScenarioFile
    case: Case
    treatments: tuple[str, ...]
    years: tuple[int, ...]

    @property
    def today(self) -> int:
        """Last year of the record."""
        return self.case.end_year

    @property
    def options(self) -> list[Option]:
        """The options; the baseline comes first."""
        name = self.file.baseline or self.file.option[0].name
        return sorted(self.file.option, key=lambda o: o.name != name)

    @property
    def future(self) -> np.ndarray:
        """The years to come."""
        return np.arange(self.today + 1, self.file.until + 1)

    @functools.cached_property
    def depths_cm(self) -> list[Interval]:
        """Depths of the stocks; the topsoil of the fitted case if none are given."""
        if self.file.depths_cm:
            return self.file.depths_cm
        return [(0.0, observations.topsoil_cm(observations.read(self.case, build(self.case))))]

    @property
    def litter(self) -> bool:
        """Whether any option has a litter layer."""
        pairs = [(o, t) for t in self.treatments for o in self.options]
        return any(self.land_uses[self.use_of(*pair)].litter_layer for pair in pairs)

    @property
    def land_uses(self) -> dict[str, LandUse]:
        """Land uses of the case and of the scenario."""
        return self.case.file.land_use | self.file.land_use

    def use_of(self, option: Option, treatment: str) -> str:
        """Land use of an option."""
        return option.land_use or last_use(self.case, treatment)


def find(scenario: str | Path) -> Path:
    """The file of a scenario: a path, or the name of a shipped one."""
    path = Path(scenario)
    if path.is_file():
        return path
    shipped = data_path("scenarios", f"{scenario}.toml")
    if path.suffix == "" and shipped.is_file():
        return shipped
    names = sorted(p.stem for p in data_path("scenarios").glob("*.toml"))
    raise InputError(
        f"{scenario}: no such file, and no shipped scenario of that name (shipped: "
        f"{', '.join(names) or 'none'})"
    )


def read(path: Path, case: Case) -> Scenario:
    """Read options and check them against a case, before anything is computed.

    Raises:
        InputError: all that is wrong, one line each with file, field and value.
    """
    text = read_text(path)
    file = validated(path, ScenarioFile, parse_toml(path, text))
    if case.file.experiment is None or case.management is None:
        raise InputError(
            f"{case.path}: experiment: the case has no years with yearly drivers to go on from"
        )
    treatments = file.treatments or [t.name for t in case.file.treatment]
    faults = Faults()
    known = [t.name for t in case.file.treatment]
    for name in treatments:
        if name not in known:
            faults.add(f"{path}: treatments: no treatment {name!r}{nearest(name, known)}")
    _check_years(path, file, case.end_year, faults)
    _check_depths(path, file, case, faults)
    meant = Meant(file.plausible, IN_SCENARIO)
    for line in atmosphere.faults_of(path, file.radiocarbon, case, file.until, meant):
        faults.add(line)
    for name in names_of(case.file.experiment.climate):
        if "year" not in case.climate[name]:
            continue  # normals hold in any year
        recorded = case.end_year - int(case.climate[name]["year"].min()) + 1
        if file.weather.years > recorded:
            faults.add(
                f"{path}: weather: {file.weather.years} years are asked for, the record has "
                f"{recorded}"
            )
    names = [o.name for o in file.option]
    for twice in dict.fromkeys(n for n in names if names.count(n) > 1):
        faults.add(f"{path}: option: two options have the name {twice!r}")
    if file.baseline is not None and file.baseline not in names:
        faults.add(f"{path}: baseline: no option {file.baseline!r}{nearest(file.baseline, names)}")
    if len(treatments) * len(names) > LARGEST_MEMBERS:
        faults.add(
            f"{path}: option: {len(names)} options of {len(treatments)} treatments, at most "
            f"{LARGEST_MEMBERS} together"
        )
    faults.refuse()  # options are lived by the treatments, up to the last year
    steps = [y for y in range(case.end_year + 1, file.until) if y % 10 == 0]
    years = tuple(sorted({*(file.years or steps), file.until}))
    found = Scenario(path, text, file, case, tuple(dict.fromkeys(treatments)), years)
    for option in file.option:
        _check_option(found, option, faults)
    faults.refuse()
    return found


def _check_years(path: Path, file: ScenarioFile, today: int, faults: Faults) -> None:
    if not today < file.until <= today + MOST_YEARS:
        faults.add(
            f"{path}: until: {file.until} is outside {today + 1} to {today + MOST_YEARS}; the "
            f"record of the case ends in {today}"
        )
        return  # what lies within it is judged once it is known
    for year in file.years:
        if not today < year <= file.until:
            faults.add(f"{path}: years: {year} is outside {today + 1} to {file.until}")


def _check_depths(path: Path, file: ScenarioFile, case: Case, faults: Faults) -> None:
    deepest = case.file.grid.layers * case.file.grid.thickness_m * 100
    for upper, lower in file.depths_cm:
        if not 0 <= upper < lower <= deepest + 1e-6:
            faults.add(
                f"{path}: depths_cm: {upper:g}-{lower:g} is not an interval within the column of "
                f"the case, 0 to {deepest:g} cm"
            )
            continue
        doubt = of_depth(upper, lower)
        if doubt and (question := Meant(file.plausible, IN_SCENARIO).question("lower_cm", doubt)):
            faults.add(f"{path}: depths_cm: {upper:g}-{lower:g} {question}")


def _check_option(scenario: Scenario, option: Option, faults: Faults) -> None:
    case, path = scenario.case, scenario.path
    where = f"{path}: option {option.name}"
    uses = scenario.land_uses
    use = option.land_use
    known = use is None or use in uses
    if use is not None and not known:
        faults.add(f"{where}.land_use: no land use {use!r}{nearest(use, uses)}")
    for name, of in scenario.file.land_use.items():
        for group in filter(None, (of.input_group, of.yield_group)):
            if group not in case.input_groups:
                faults.add(
                    f"{path}: land_use.{name}.input_group: the fit has no input group {group!r}"
                    f"{nearest(group, case.input_groups)}"
                )
    if option.start is not None and not scenario.today < option.start <= scenario.file.until:
        faults.add(
            f"{where}.start: {option.start} is outside {scenario.today + 1} to "
            f"{scenario.file.until}"
        )
    for named, warming in (("weather", scenario.file.weather.warming), (None, option.warming)):
        if warming is not None and warming.by <= scenario.today:
            place = f"{path}: {named}" if named else where
            faults.add(
                f"{place}.warming.by: {warming.by} is not after {scenario.today}, the last year "
                "of the record"
            )
    if not case.whole_soil:
        for key, what, given in (
            ("amendments", "ground rock and lime", bool(option.amendments)),
            ("erosion_mm_a", "erosion", option.erosion_mm_a is not None),
        ):
            if given:
                faults.add(
                    f'{where}.{key}: {what} need a fit of a case with column = "whole_soil", the '
                    f'case {case.name} has column = "{case.file.column}"'
                )
    deepest = case.file.grid.layers * case.file.grid.thickness_m
    for number, amendment in enumerate(option.amendments):
        if amendment.depth_m > deepest:
            faults.add(
                f"{where}.amendments.{number}.depth_m: {amendment.depth_m:g} is below the column "
                f"of {deepest:g} m"
            )
        if amendment.year is not None and not (
            scenario.today < amendment.year <= scenario.file.until
        ):
            faults.add(
                f"{where}.amendments.{number}.year: {amendment.year} is outside "
                f"{scenario.today + 1} to {scenario.file.until}"
            )
    if len({a.depth_m for a in option.amendments}) > 1:
        faults.add(f"{where}.amendments: depth_m: one depth for all additions is possible")
    if case.whole_soil and option.erosion_mm_a and case.file.erodes_in_events:
        with faults.gathered():
            _interval(scenario, option)
    for treatment in scenario.treatments if known else ():
        with faults.gathered():
            amounts(scenario, option, treatment)


def last_use(case: Case, treatment: str) -> str:
    """Land use of a treatment in the last year of the record."""
    rows = _rows(case, treatment)
    return str(rows.loc[case.end_year, "land_use"])


def _rows(case: Case, treatment: str) -> pd.DataFrame:
    assert case.management is not None
    table = case.management
    own = (table["treatment"] == treatment) & (table["year"] <= case.end_year)
    return table[own].set_index("year").sort_index()


def now(case: Case, treatment: str, years: int) -> dict[str, float]:
    """Yearly amounts of a treatment now.

    Means of the last years of the record as far as they have the land use of the last one.
    """
    rows = _rows(case, treatment).tail(years)
    other = rows["land_use"] != rows["land_use"].iloc[-1]
    if other.any():
        rows = rows.loc[int(other[other].index.max()) + 1 :]
    return {name: float(rows[name].mean()) for name in AMOUNTS}


def amounts(scenario: Scenario, option: Option, treatment: str) -> dict[str, float]:
    """Yearly amounts of an option.

    Plant carbon of another land use is that of the land use itself, or else the mean of the years
    in which the same site, or else any, had it.

    Raises:
        InputError: nothing tells how much carbon the new land use brings.
    """
    case = scenario.case
    values = now(case, treatment, scenario.file.weather.years)
    name = scenario.use_of(option, treatment)
    use = scenario.land_uses[name]
    base, by_yield = "plant_carbon_base_t_ha", "plant_carbon_yield_t_ha"
    if option.plant_carbon_t_ha is not None:
        values |= {base: option.plant_carbon_t_ha, by_yield: 0.0}
    elif name != last_use(case, treatment):
        values |= _input_of(scenario, option, treatment, name, use)
        values["fallow_share"] = 0.0
    factor = 1 + option.plant_carbon_change_percent / 100
    values |= {base: values[base] * factor, by_yield: values[by_yield] * factor}
    if option.manure_carbon_t_ha is not None:
        values["manure_carbon_t_ha"] = option.manure_carbon_t_ha
    return values


def _input_of(
    scenario: Scenario, option: Option, treatment: str, name: str, use: LandUse
) -> dict[str, float]:
    base, by_yield = "plant_carbon_base_t_ha", "plant_carbon_yield_t_ha"
    if use.npp is not None:
        # which model, and its number, is for the plan to say; it is not read from a table
        if option.plant_carbon_change_percent:
            raise InputError(
                f"{scenario.path}: option {option.name}.plant_carbon_change_percent: land use "
                f"{name} takes its carbon from npp; give plant_carbon_t_ha"
            )
        return {base: 0.0, by_yield: 0.0}
    if use.plant_carbon_t_ha is not None:
        return {base: use.plant_carbon_t_ha, by_yield: 0.0}
    case = scenario.case
    assert case.management is not None
    site = {t.name: t.site for t in case.file.treatment}
    rows = case.management[case.management["land_use"] == name]
    rows = rows[rows["year"] <= scenario.today]
    here = rows[rows["treatment"].map(site) == site[treatment]]
    rows = here if len(here) else rows
    if rows.empty:
        raise InputError(
            f"{scenario.path}: option {option.name}.plant_carbon_t_ha: needed, for land use "
            f"{name!r} has none of its own and the record has no year of it"
        )
    return {base: float(rows[base].mean()), by_yield: float(rows[by_yield].mean())}


# The case that lives the options.


def member(treatment: str, option: Option) -> str:
    """Name of the treatment that lives an option."""
    return f"{treatment}:{option.name}"


def members(scenario: Scenario) -> list[str]:
    """Names of all that is forecast, by treatment and option."""
    return [member(t, o) for t in scenario.treatments for o in scenario.options]


def lived(scenario: Scenario) -> Plan:
    """The plan of the history, the record and the options, one member for each of these."""
    case = scenario.case
    file = case.file
    assert file.experiment is not None
    uses = dict(scenario.land_uses)
    rows: list[pd.DataFrame] = []
    treatments = []
    by_name = {t.name: t for t in file.treatment}
    for name in by_name:
        rows.append(_rows(case, name).reset_index())
        rows.append(_continued(scenario, name, Option(name=AS_NOW), name, uses))
    for name in scenario.treatments:
        for option in scenario.options:
            own = _rows(case, name).reset_index().assign(treatment=member(name, option))
            rows += [own, _continued(scenario, name, option, member(name, option), uses)]
            treatments.append(by_name[name].model_copy(update={"name": member(name, option)}))
    climate = dict(case.climate)
    by_year = {}
    for name in names_of(file.experiment.climate):
        # the history goes on to have the normals
        by_year[name] = name if "year" in climate[name] else f"{name}, by year"
        climate[by_year[name]] = _weather(scenario, climate[name])
    given = file.experiment.climate
    if isinstance(given, str):
        given = by_year[given]
    else:
        given = {site: by_year[name] for site, name in given.items()}
    longer = file.model_copy(
        update={
            "land_use": uses,
            "treatment": [*file.treatment, *treatments],
            "experiment": file.experiment.model_copy(
                update={"until": scenario.file.until, "climate": given}
            ),
        }
    )
    extended = dataclasses.replace(
        case,
        file=longer,
        climate=climate,
        management=pd.concat(rows, ignore_index=True),
        atmosphere=atmosphere.continued(case.atmosphere, scenario.file.radiocarbon),
    )
    plan = select(build(extended), members(scenario), scenario.path)
    return _driven(scenario, plan)


def _continued(
    scenario: Scenario, treatment: str, option: Option, name: str, uses: dict[str, LandUse]
) -> pd.DataFrame:
    """Management of the years to come; land uses with another tillage are added to ``uses``."""
    years = scenario.future
    start = option.start or scenario.today + 1
    before = Option(name=AS_NOW)
    parts = []
    for which, own in ((before, years[years < start]), (option, years[years >= start])):
        use = scenario.use_of(which, treatment)
        depth = 0.0 if which.tillage == "none" else which.plough_depth_m
        if depth is not None and depth != uses[use].plough_depth_m:
            tilled = f"{use}, ploughed {depth:g} m"
            uses[tilled] = uses[use].model_copy(update={"plough_depth_m": depth})
            use = tilled
        values = amounts(scenario, which, treatment)
        if which.plant_carbon_t_ha is not None and uses[use].npp is not None:
            given = f"{use}, {which.plant_carbon_t_ha:g} t/ha"
            uses[given] = uses[use].model_copy(update={"npp": None})
            use = given
        parts.append(pd.DataFrame({"treatment": name, "year": own, "land_use": use} | values))
    return pd.concat(parts, ignore_index=True)


def _weather(scenario: Scenario, table: pd.DataFrame) -> pd.DataFrame:
    """The record with the weather of the years to come below it, without warming."""
    told = scenario.file.weather
    last = scenario.today
    first = last - told.years + 1
    begin = min(first, scenario.case.file.history[-1].until + 1)
    table = weather_of_years(table, np.arange(begin, last + 1))
    source = table[table["year"] >= first]
    columns = [c for c in NORMALS if c in table and c != "month"]  # where it is from has no mean
    future = []
    means = source.groupby("month")[columns].mean().reset_index()
    for year in scenario.future:
        if told.mean_years:
            months = means.assign(year=year)
        else:
            again = first + (year - last - 1) % told.years
            months = source.loc[source["year"] == again, ["month", *columns]].assign(year=year)
        future.append(months)
    added = pd.concat(future, ignore_index=True)
    added["precipitation_mm"] *= 1 + told.precipitation_percent / 100
    for name in ("pet_mm", "evaporation_mm"):
        if name in added:
            added[name] *= 1 + told.pet_percent / 100
    return pd.concat([table, added[[c for c in table if c in added]]], ignore_index=True)


def _driven(scenario: Scenario, plan: Plan) -> Plan:
    """Add what a table of management cannot say: warming, amendments, erosion of an option."""
    phase = plan.experiment
    assert phase is not None
    years = np.arange(plan.experiment_year, scenario.file.until + 1)
    names = ["air_temperature"]
    if scenario.case.whole_soil:
        empty = additions([], years, 1)
        names += [*(n for n in empty if n != "manure_input"), "removed_layers", "erosion_rate"]
    series = {name: _by_year(phase.series, phase.constant, name, len(years)) for name in names}
    place = 0
    for _ in scenario.treatments:
        for option in scenario.options:
            warmer = warming_of(scenario, option, years)
            series["air_temperature"][place] += warmer[:, None]
            if scenario.case.whole_soil:
                _amend(scenario, option, years, {n: v[place] for n, v in series.items()})
            place += 1
    constant = {k: v for k, v in phase.constant.items() if k not in series}
    ready = {name: jnp.asarray(value) for name, value in series.items()}
    experiment = dataclasses.replace(phase, constant=constant, series=phase.series | ready)
    # a year of water stands for itself alone, whatever the record allowed
    return dataclasses.replace(plan, experiment=dataclasses.replace(experiment, reuse=1))


def _by_year(
    series: Mapping[str, jax.Array], constant: Mapping[str, jax.Array], name: str, years: int
) -> np.ndarray:
    """A variable by member and year, to be changed in place."""
    if name in series:
        return np.array(series[name])
    value = np.asarray(constant[name])
    return np.repeat(value[:, None], years, axis=1)


def warming_of(scenario: Scenario, option: Option, years: np.ndarray) -> np.ndarray:
    """Warming by year, K: that of all options and the option's own."""
    total = np.zeros(len(years))
    for warming in (scenario.file.weather.warming, option.warming):
        if warming is not None:
            total += np.interp(years, [scenario.today, warming.by], [0.0, warming.k])
    return total


def _amend(
    scenario: Scenario, option: Option, years: np.ndarray, own: dict[str, np.ndarray]
) -> None:
    """Amendments and erosion of an option, into its own series."""
    begin = option.start or scenario.today + 1
    future = years >= begin
    if option.amendments:
        new = additions(option.amendments, years[future], 1)
        for name in new:
            if name == "manure_input":
                continue
            if name == "amendment_depth":
                own[name][future] = new[name]
            else:
                own[name][future] += new[name]
    if option.erosion_mm_a is None:
        return
    if not scenario.case.file.erodes_in_events:
        own["erosion_rate"][future] = option.erosion_mm_a / MM_PER_M
        return
    own["removed_layers"][future] = 0.0
    if option.erosion_mm_a > 0:
        interval = _interval(scenario, option)
        own["removed_layers"][future & ((years - begin) % interval == 0) & (years > begin)] = 1.0


def _interval(scenario: Scenario, option: Option) -> int:
    """Years between two layers that erosion takes."""
    layer, rate = scenario.case.file.grid.thickness_m * 1000, option.erosion_mm_a
    assert rate
    interval = round(layer / rate)
    if abs(interval * rate - layer) > 1e-6 * layer:
        raise InputError(
            f"{scenario.path}: option {option.name}.erosion_mm_a: {rate:g} takes a layer of "
            f"{layer:g} mm every {layer / rate:g} years, which is no whole number"
        )
    return interval


def described(scenario: Scenario) -> pd.DataFrame:
    """What each option is made of, one row for each treatment and option."""
    rows = []
    case = scenario.case
    for treatment in scenario.treatments:
        for option in scenario.options:
            values = amounts(scenario, option, treatment)
            use = scenario.land_uses[scenario.use_of(option, treatment)]
            npp = use.npp is not None and option.plant_carbon_t_ha is None
            depth = 0.0 if option.tillage == "none" else option.plough_depth_m
            rows.append(
                {
                    "treatment": treatment,
                    "option": option.name,
                    "label": option.title,
                    "from": option.start or scenario.today + 1,
                    "land use": scenario.use_of(option, treatment),
                    "plant carbon, Mg C/ha/a": f"from npp ({use.npp})"
                    if npp
                    else f"{sum(values[n] for n in AMOUNTS[:2]):.2f}",
                    "manure, Mg C/ha/a": f"{values['manure_carbon_t_ha']:.2f}",
                    "ploughed to, m": f"{use.plough_depth_m if depth is None else depth:g}",
                    "warming, K": _warmed(scenario, option),
                    "amendments": _amended(option),
                    "erosion, mm/a": _eroded(case, option),
                }
            )
    return pd.DataFrame(rows)


def _eroded(case: Case, option: Option) -> str:
    if not case.whole_soil:
        return "none: prescribed soil"
    assert case.file.experiment is not None
    rate = option.erosion_mm_a
    return f"{case.file.experiment.erosion_mm_a if rate is None else rate:g}"


def _warmed(scenario: Scenario, option: Option) -> str:
    every = [w for w in (scenario.file.weather.warming, option.warming) if w is not None]
    return ", ".join(f"{w.k:+g} by {w.by}" for w in every) or "none"


def _amended(option: Option) -> str:
    def one(a: Amendment) -> str:
        amount = f"{a.kg_m2:g} kg/m2" if a.kg_m2 is not None else f"{a.mol_m2:g} mol/m2"
        when = f"every {a.every_years} years" if a.every_years else f"in {a.year}"
        return f"{a.material} {amount} {when}"

    return ", ".join(one(a) for a in option.amendments) or "none"


def weather_told(scenario: Scenario) -> str:
    """What the weather of the years to come is, in words."""
    told, today = scenario.file.weather, scenario.today
    first = today - told.years + 1
    if told.repeat_years:
        text = f"the weather of {first} to {today} again and again, in that order"
    else:
        text = f"the monthly means of {first} to {today} in every year"
    for name, change in (
        ("rain", told.precipitation_percent),
        ("potential evapotranspiration", told.pet_percent),
    ):
        text += f"; {name} {change:+g} %" if change else f"; {name} unchanged"
    if told.warming:
        text += f"; warming of {told.warming.k:+g} K by {told.warming.by} for all options"
    return text
