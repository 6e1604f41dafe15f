"""Cases: one TOML file that says what a site is, what happened there, and what was observed."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from diffsoil import parameters
from diffsoil.column import Column, standard_column
from diffsoil.io import Column as Table
from diffsoil.io import InputError, data_path, nearest, read_table
from diffsoil.processes import npp
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON

PAN_TO_PET = 0.75
"""Potential evapotranspiration per open-pan evaporation (RothC description)."""

Percent = Annotated[float, Field(ge=0, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=100)]
Monthly = Annotated[list[Fraction], Field(min_length=12, max_length=12)]
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


class Strict(BaseModel):
    """A table of the case file; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Horizon(Strict):
    """One horizon of an initial profile."""

    upper_cm: Annotated[float, Field(ge=0, le=1000)]
    lower_cm: Annotated[float, Field(gt=0, le=1000)]
    clay_percent: Percent
    silt_percent: Percent
    bulk_density: Annotated[float, Field(ge=0.1, le=2.65)]
    soc_percent: Annotated[float, Field(ge=0, le=40)]
    iom_percent: Annotated[float, Field(ge=0, le=5)] = 0.0
    one_to_one_share: Fraction = 0.0
    calcite_percent: Percent = 0.0
    base_saturation: Percent = 0.0
    dissolved_al_fe: Annotated[float, Field(ge=0, le=100)] = 0.0

    @model_validator(mode="after")
    def _in_order(self) -> Horizon:
        if self.lower_cm <= self.upper_cm:
            raise ValueError(
                f"upper_cm {self.upper_cm:g} is not above lower_cm {self.lower_cm:g}: "
                "is the depth interval upside down?"
            )
        if self.clay_percent + self.silt_percent > 100:
            total = self.clay_percent + self.silt_percent
            raise ValueError(f"clay_percent + silt_percent = {total:g}, more than 100 %")
        if self.iom_percent > self.soc_percent:
            raise ValueError(
                f"iom_percent {self.iom_percent:g} is more than soc_percent {self.soc_percent:g}"
            )
        return self


class Change(Strict):
    """A prescribed soil property that changes in time, in straight lines between years."""

    variable: Literal[
        "bulk_density",
        "one_to_one_share",
        "calcite_percent",
        "base_saturation",
        "dissolved_al_fe",
    ]
    upper_cm: Annotated[float, Field(ge=0)]
    lower_cm: Annotated[float, Field(gt=0)]
    years: Annotated[list[int], Field(min_length=1)]
    values: Annotated[list[float], Field(min_length=1)]

    @model_validator(mode="after")
    def _match(self) -> Change:
        if len(self.years) != len(self.values):
            raise ValueError(f"{len(self.years)} years and {len(self.values)} values")
        if any(b <= a for a, b in zip(self.years, self.years[1:], strict=False)):
            raise ValueError(f"years {self.years} do not ascend")
        if self.lower_cm <= self.upper_cm:
            raise ValueError(
                f"upper_cm {self.upper_cm:g} is not above lower_cm {self.lower_cm:g}: "
                "is the depth interval upside down?"
            )
        self._check_range()
        return self

    def _check_range(self) -> None:
        """A value has to be one that a horizon could have."""
        allowed = TypeAdapter(Horizon.model_fields[self.variable].rebuild_annotation())
        for value in self.values:
            try:
                allowed.validate_python(value)
            except ValidationError as error:
                message = error.errors()[0]["msg"]
                raise ValueError(f"{self.variable}: {message} (got {value:g})") from None


class Soil(Strict):
    """Initial profile of a soil, from the surface down without gaps."""

    horizons: Annotated[list[Horizon], Field(min_length=1)]
    changes: list[Change] = []

    @model_validator(mode="after")
    def _contiguous(self) -> Soil:
        expected = 0.0
        for horizon in self.horizons:
            if horizon.upper_cm != expected:
                raise ValueError(
                    f"a horizon starts at {horizon.upper_cm:g} cm where {expected:g} cm is expected"
                )
            expected = horizon.lower_cm
        return self


class LandUse(Strict):
    """What grows, when, and what is done to the soil each year."""

    cover: Monthly
    plant_input_months: Monthly
    manure_months: Monthly = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]
    dpm_rpm_ratio: Annotated[float, Field(ge=0, le=20)]
    leaf_share: Fraction
    root_beta: Annotated[float, Field(ge=0.5, le=0.999)]
    litter_layer: bool = False
    plough_depth_m: Annotated[float, Field(ge=0, le=1)] = 0.0
    input_group: str
    yield_group: str | None = None
    plant_carbon_t_ha: Amount | None = None
    npp: Literal["miami", "schuur", "nceas"] | Annotated[float, Field(ge=0, le=6000)] | None = None
    harvest_share: Fraction = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> LandUse:
        for name in ("plant_input_months", "manure_months"):
            total = sum(getattr(self, name))
            if abs(total - 1) > 1e-6:
                raise ValueError(f"{name} sums to {total:g}, not to 1")
        if self.npp is not None and self.plant_carbon_t_ha is not None:
            raise ValueError("give npp or plant_carbon_t_ha, not both")
        return self


class Climate(Strict):
    """A climate: a file of twelve normals, or a file of months."""

    normals: str | None = None
    monthly: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Climate:
        if (self.normals is None) == (self.monthly is None):
            raise ValueError("give either normals or monthly")
        return self


class HistoryPhase(Strict):
    """A stretch of history under constant climate that ends with the year before ``until``."""

    until: int
    step_years: Annotated[int, Field(ge=1, le=1000)]
    climate: str
    land_use: str | dict[str, str]


class Experiment(Strict):
    """The years with yearly drivers: from the end of history up to and including ``until``."""

    until: int
    climate: str
    management: str


class Treatment(Strict):
    """One treatment of an experiment. Its rows in the management file drive it."""

    name: str
    site: str
    label: str | None = None
    input_groups: dict[str, str] = Field(default={}, description="group -> its own group here")
    changes: list[Change] = []


class PriorText(Strict):
    """Prior as written in a case."""

    kind: Literal["uniform", "normal", "lognormal"] = "uniform"
    location: float = float("nan")
    scale: float = float("nan")

    model_config = ConfigDict(extra="forbid", allow_inf_nan=True)


class Free(Strict):
    """A parameter that a calibration may change, with the prior of this site if it has one."""

    prior: PriorText | None = None
    reason: str = ""


class Observations(Strict):
    """Observation files, and series that are predicted but never fitted."""

    files: list[str]
    keep_out: list[str] = []
    method_factors: list[str] = []


class Grid(Strict):
    """Layers of equal thickness when laid down."""

    layers: Annotated[int, Field(ge=1, le=400)]
    thickness_m: Annotated[float, Field(ge=0.005, le=1)]


class CaseFile(Strict):
    """A case as written."""

    format: Literal[1]
    name: str
    title: str
    start_year: int
    grid: Grid
    climate: dict[str, Climate]
    soil: dict[str, Soil]
    site: dict[str, str] = Field(description="site name -> soil name")
    land_use: dict[str, LandUse]
    history: Annotated[list[HistoryPhase], Field(min_length=1)]
    experiment: Experiment | None = None
    treatment: list[Treatment] = []
    protection: list[Literal["clay", "mooh", "aggregation", "pores"]] = [
        "clay",
        "mooh",
        "aggregation",
        "pores",
    ]
    minimum: Literal["hard", "soft"] = "hard"
    radiocarbon_atmosphere: str | None = None
    set: dict[str, float] = {}
    free: dict[str, Free] = {}
    observations: Observations | None = None
    notes: dict[str, str] = {}


NORMALS = {
    "month": Table("int", 1, 12),
    "temperature_c": Table("float", -60, 60, unit="C", hint="is this in kelvin or Fahrenheit?"),
    "precipitation_mm": Table("float", 0, 2000, unit="mm in the month"),
    "evaporation_mm": Table("float", 0, 600, unit="mm in the month", required=False),
    "pet_mm": Table("float", 0, 600, unit="mm in the month", required=False),
}
MONTHS = {"year": Table("int", -50000, 3000), **NORMALS}
MANAGEMENT = {
    "treatment": Table("str"),
    "year": Table("int", -50000, 3000),
    "land_use": Table("str"),
    "plant_carbon_base_t_ha": Table("float", 0, 50, unit="Mg C/ha", hint="is this in kg/ha?"),
    "plant_carbon_yield_t_ha": Table(
        "float", 0, 50, required=False, unit="Mg C/ha", hint="is this in kg/ha?"
    ),
    "manure_carbon_t_ha": Table(
        "float", 0, 50, required=False, unit="Mg C/ha", hint="is this fresh weight?"
    ),
    "fallow_share": Table("float", 0, 1, required=False, hint="is this in percent?"),
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
        return self.file.history[-1].until - 1

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
        """The standard column with the choices and parameter values of the case."""
        from diffsoil.processes.protection import HardMinimum, Protection, SoftMinimum

        minimum = HardMinimum() if self.file.minimum == "hard" else SoftMinimum()
        protection = Protection(mechanisms=tuple(self.file.protection), minimum=minimum)
        column = standard_column(self.input_groups).replaced(protection)
        return set_parameters(column, self.file.set, self.path, "set")


def resolve(case: Path, name: str) -> Path:
    """A file named in a case: beside the case, or else among the shipped data."""
    beside = case.parent / name
    shipped = data_path(name)
    found = beside if beside.exists() else shipped
    if not found.is_file():
        raise InputError(f"{case}: file {name!r} is neither beside the case nor among shipped data")
    return found


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
        InputError: the first thing wrong, in one line with file, field and value.
    """
    path = find_case(case)
    text = path.read_text(encoding="utf-8")
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    try:
        file = CaseFile.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: {_first_problem(error)}") from error
    _check_names(path, file)
    _check_times(path, file)
    climate = {name: _read_climate(path, c) for name, c in file.climate.items()}
    management = _read_management(path, file, climate)
    read = Case(path=path, text=text, file=file, climate=climate, management=management)
    _check_parameters(read)
    return read


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {where!r}{nearest(str(first['loc'][-1]), _known_keys())}"
    message = first["msg"].removeprefix("Value error, ")
    value = "" if isinstance(first["input"], dict | list) else f" (got {first['input']!r})"
    return f"{where}: {message}{value}"


def _known_keys() -> set[str]:
    return {key for model in Strict.__subclasses__() for key in model.model_fields}


def _check_names(path: Path, file: CaseFile) -> None:
    """Every name used is a name given."""

    def known(what: str, name: str, names: Iterable[str], where: str) -> None:
        names = list(names)
        if name not in names:
            raise InputError(f"{path}: {where}: no {what} {name!r}{nearest(name, names)}")

    for site, soil in file.site.items():
        known("soil", soil, file.soil, f"site.{site}")
    for number, phase in enumerate(file.history):
        where = f"history.{number}"
        known("climate", phase.climate, file.climate, f"{where}.climate")
        uses = phase.land_use
        for site in file.site:
            if isinstance(uses, dict) and site not in uses:
                raise InputError(f"{path}: {where}.land_use: nothing for site {site!r}")
            known("land use", _use(uses, site), file.land_use, f"{where}.land_use")
        for site in uses if isinstance(uses, dict) else ():
            known("site", site, file.site, f"{where}.land_use")
        if file.climate[phase.climate].normals is None:
            raise InputError(f"{path}: {where}.climate: history needs a climate of normals")
    of_uses = file.land_use.values()
    groups = {g for use in of_uses for g in (use.input_group, use.yield_group) if g}
    for number, treatment in enumerate(file.treatment):
        known("site", treatment.site, file.site, f"treatment.{number}.site")
        for group in treatment.input_groups:
            known("input group", group, groups, f"treatment.{number}.input_groups")
    if len({t.name for t in file.treatment}) < len(file.treatment):
        raise InputError(f"{path}: treatment: two treatments have the same name")
    if bool(file.treatment) != bool(file.experiment):
        raise InputError(f"{path}: experiment and treatment belong together; one is missing")
    if file.experiment:
        known("climate", file.experiment.climate, file.climate, "experiment.climate")
        if file.climate[file.experiment.climate].monthly is None:
            raise InputError(f"{path}: experiment.climate: an experiment needs monthly weather")


def _use(land_use: str | dict[str, str], site: str) -> str:
    return land_use if isinstance(land_use, str) else land_use[site]


def _check_times(path: Path, file: CaseFile) -> None:
    start = file.start_year
    for number, phase in enumerate(file.history):
        length = phase.until - start
        if length <= 0:
            raise InputError(
                f"{path}: history.{number}.until: {phase.until} is not after {start}, "
                "where the phase begins"
            )
        if length % phase.step_years:
            raise InputError(
                f"{path}: history.{number}.step_years: {phase.step_years} does not divide the "
                f"{length} years of the phase"
            )
        start = phase.until
    if file.experiment and file.experiment.until < start:
        raise InputError(
            f"{path}: experiment.until: {file.experiment.until} is before {start}, "
            "where the experiment begins"
        )
    depth = file.grid.layers * file.grid.thickness_m * 100
    for name, soil in file.soil.items():
        if soil.horizons[-1].lower_cm < depth - 1e-6:
            raise InputError(
                f"{path}: soil.{name}: horizons end at {soil.horizons[-1].lower_cm:g} cm, the "
                f"layers of the grid at {depth:g} cm"
            )


def _read_climate(path: Path, climate: Climate) -> pd.DataFrame:
    name = climate.normals or climate.monthly
    assert name is not None
    file = resolve(path, name)
    table = read_table(file, NORMALS if climate.normals else MONTHS, extra="ignore")
    if ("pet_mm" in table) == ("evaporation_mm" in table):
        raise InputError(f"{file}: one of the columns evaporation_mm (open pan), pet_mm is needed")
    if "pet_mm" not in table:
        table["pet_mm"] = PAN_TO_PET * table["evaporation_mm"]
    if climate.normals:
        if table["month"].tolist() != list(range(1, 13)):
            raise InputError(f"{file}: column 'month': the months 1 to 12 are needed, in order")
        return table
    _check_months(file, table)
    return table


def _check_months(file: Path, table: pd.DataFrame) -> None:
    number = table["year"].to_numpy() * 12 + table["month"].to_numpy() - 1
    for line, before, now in zip(table.index[1:], number[:-1], number[1:], strict=True):
        if now == before:
            raise InputError(
                f"{file}: line {line}: month {now // 12}-{now % 12 + 1:02d} appears twice"
            )
        if now != before + 1:
            missing = before + 1
            raise InputError(
                f"{file}: line {line}: month {missing // 12}-{missing % 12 + 1:02d} is missing"
            )


def _read_management(
    path: Path, file: CaseFile, climate: dict[str, pd.DataFrame]
) -> pd.DataFrame | None:
    if not file.experiment:
        return None
    source = resolve(path, file.experiment.management)
    table = read_table(source, MANAGEMENT, extra="ignore")
    first, last = file.history[-1].until, file.experiment.until
    for name in ("plant_carbon_yield_t_ha", "manure_carbon_t_ha", "fallow_share"):
        if name not in table:
            table[name] = 0.0
    for line, use in table["land_use"].items():
        if use not in file.land_use:
            raise InputError(
                f"{source}: line {line}, column 'land_use': the case has no land use {use!r}"
                f"{nearest(use, file.land_use)}"
            )
    _check_rows(source, table, file, first, last)
    weather = climate[file.experiment.climate]
    for year in (first, last):
        if (weather["year"] == year).sum() != 12:
            raise InputError(
                f"{resolve(path, file.climate[file.experiment.climate].monthly or '')}: the "
                f"twelve months of {year} are needed: the experiment runs {first} to {last}"
            )
    return table


def _check_rows(source: Path, table: pd.DataFrame, file: CaseFile, first: int, last: int) -> None:
    twice = table[table.duplicated(["treatment", "year"])]
    if len(twice):
        row = twice.iloc[0]
        raise InputError(
            f"{source}: line {twice.index[0]}: year {row['year']} of treatment "
            f"{row['treatment']!r} appears twice"
        )
    for treatment in file.treatment:
        rows = table[table["treatment"] == treatment.name]
        if rows.empty:
            names = table["treatment"].unique()
            raise InputError(
                f"{source}: no row for treatment {treatment.name!r}{nearest(treatment.name, names)}"
            )
        missing = sorted(set(range(first, last + 1)) - set(rows["year"]))
        if missing:
            raise InputError(
                f"{source}: treatment {treatment.name!r}: year {missing[0]} is missing; the "
                f"experiment runs {first} to {last}"
            )


def _check_parameters(case: Case) -> None:
    table = case.column().parameters()
    for name in case.file.free:
        if name not in table and not name.startswith("observation."):
            raise InputError(f"{case.path}: free: no parameter {name!r}{nearest(name, table)}")


def parameter_table(column: Column | None = None) -> pd.DataFrame:
    """The parameter table: one row for each declared parameter.

    Columns: name, default, unit, lower, upper, prior, transform, source, description.
    """
    declared = (column or standard_column(["GROUP"])).parameters().values()
    return pd.DataFrame([_row(p) for p in declared])


def _row(p: parameters.Parameter) -> dict[str, Any]:
    row = dataclasses.asdict(p) | {"prior": str(p.prior), "transform": p.transform}
    order = ("name", "default", "unit", "lower", "upper", "prior", "transform", "source")
    return {key: row[key] for key in (*order, "description")}


def remap(soil: Soil, grid: Grid) -> dict[str, np.ndarray]:
    """Horizon values on the layers of the grid, conserving mass.

    Bulk density is averaged by volume, everything else by soil mass.
    """
    edges = np.arange(grid.layers + 1) * grid.thickness_m * 100
    share = np.stack([_share(edges, h.upper_cm, h.lower_cm) for h in soil.horizons])
    density = np.array([h.bulk_density for h in soil.horizons])
    mass = share * density[:, None]
    values = {"bulk_density": mass.sum(axis=0)}
    for name in HORIZON_VARIABLES:
        if name != "bulk_density":
            of_horizon = np.array([getattr(h, name) for h in soil.horizons])
            values[name] = (mass * of_horizon[:, None]).sum(axis=0) / mass.sum(axis=0)
    return values


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
