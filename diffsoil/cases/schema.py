"""The format of a case file: what may be written, and what must hold within one table."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import core_schema

from diffsoil.cases.plausible import NAMES
from diffsoil.column import ADDED, CHOICES, COLUMNS, erodes_in_events, whole_soil_column
from diffsoil.io import nearest
from diffsoil.processes.protection import MECHANISMS, MINIMA
from diffsoil.registry import Registry
from diffsoil.state import CATIONS, MINERALS


@dataclasses.dataclass(frozen=True)
class ChoiceOf:
    """A text that names a choice of a registry."""

    registry: Registry[Any]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.registry.known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.registry)}


Percent = Annotated[float, Field(ge=0, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=100)]
Content = Annotated[float, Field(ge=0, le=200)]
Deposited = Annotated[float, Field(ge=0, le=10000)]
Erosion = Annotated[float, Field(ge=0, le=100)]
Monthly = Annotated[list[Fraction], Field(min_length=12, max_length=12)]
Year = Annotated[int, Field(ge=-60000, le=60000)]
FileName = Annotated[str, Field(min_length=1)]

NAME = re.compile(r"\w([\w .+-]{0,62}[\w+-])?")


def named(text: str) -> str:
    """A name that may become part of the name of a file, a variable or a parameter.

    Raises:
        ValueError: it may not; the text says what a name is.
    """
    if not NAME.fullmatch(text):
        raise ValueError(
            "a name begins with a letter or digit and goes on with letters, digits, '_', '-', "
            "'+', '.' and spaces, at most 64; a label may be any text"
        )
    return text


def whole(value: object) -> object:
    """A value that may be a whole number, and is no ``true`` or 1.0 instead."""
    if isinstance(value, bool | float):
        raise ValueError("Input should be a whole number")
    return value


Name = Annotated[str, AfterValidator(named)]
STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def file_stem(text: str) -> str:
    """A name that may be that of a file, anywhere.

    Raises:
        ValueError: it may not; the text says what such a name is.
    """
    if not STEM.fullmatch(text):
        raise ValueError(
            "the name of a case begins with a letter or digit and goes on with letters (a to z), "
            "digits, '_', '-' and '.', at most 64; its title may be any text"
        )
    return text


FileStem = Annotated[str, AfterValidator(file_stem)]


def _shares_of_minerals(shares: dict[str, float]) -> dict[str, float]:
    """Mass shares that are of known minerals and sum to one."""
    for name in shares:
        if name == "calcite":
            raise ValueError("calcite is apart: give calcite_percent of the horizon or the dust")
        if name not in MINERALS:
            raise ValueError(f"no mineral {name!r}{nearest(name, MINERALS)}")
    total = sum(shares.values())
    if abs(total - 1) > 1e-6:
        raise ValueError(f"the shares sum to {total:g}, not to 1")
    return shares


Shares = Annotated[dict[str, Fraction], AfterValidator(_shares_of_minerals)]


class Strict(BaseModel):
    """A table of a file; a key that it does not know is an error, and so is text for a number."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, strict=True)


class Mineralogy(Strict):
    """Mass shares of the minerals, calcite apart, in each size class of a material."""

    clay: Shares
    silt: Shares
    sand: Shares


class Exchange(Strict):
    """Shares of the bases in what they occupy of the exchanger."""

    calcium: Fraction = 0.0
    magnesium: Fraction = 0.0
    potassium: Fraction = 0.0
    sodium: Fraction = 0.0

    @model_validator(mode="after")
    def _whole(self) -> Exchange:
        total = self.calcium + self.magnesium + self.potassium + self.sodium
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares sum to {total:g}, not to 1")
        return self


class LitterCations(Strict):
    """Elements in plant dry matter, g/kg."""

    calcium: Content = 0.0
    magnesium: Content = 0.0
    potassium: Content = 0.0
    sodium: Content = 0.0
    silicon: Content = 0.0


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
    mineralogy: str | None = None
    cec_mmol_kg: Annotated[float, Field(ge=0, le=3000)] | None = None
    exchange: Exchange = Exchange(calcium=0.85, magnesium=0.10, potassium=0.04, sodium=0.01)

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
    upper_cm: Annotated[float, Field(ge=0, le=1000)]
    lower_cm: Annotated[float, Field(gt=0, le=1000)]
    years: Annotated[list[Year], Field(min_length=1)]
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
    input_group: Name
    yield_group: Name | None = None
    plant_carbon_t_ha: Amount | None = None
    npp: Literal["miami", "schuur", "nceas"] | Annotated[float, Field(ge=0, le=6000)] | None = None
    harvest_share: Fraction = 0.0
    manure_carbon_t_ha: Amount = 0.0
    litter_cations_g_kg: LitterCations = LitterCations()

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

    normals: FileName | None = None
    monthly: FileName | None = None

    @model_validator(mode="after")
    def _one(self) -> Climate:
        if (self.normals is None) == (self.monthly is None):
            raise ValueError("give either normals or monthly")
        return self


class Deposition(Strict):
    """What falls from the air in every year; anions are those of strong acids."""

    dust_g_m2_a: Annotated[float, Field(ge=0, le=5000)] = 0.0
    dust_mineralogy: str | None = None
    dust_clay_percent: Percent = 0.0
    dust_silt_percent: Percent = 0.0
    dust_calcite_percent: Percent = 0.0
    calcium_mmolc_m2_a: Deposited = 0.0
    magnesium_mmolc_m2_a: Deposited = 0.0
    potassium_mmolc_m2_a: Deposited = 0.0
    sodium_mmolc_m2_a: Deposited = 0.0
    silicon_mmol_m2_a: Deposited = 0.0
    anions_mmolc_m2_a: Deposited = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Deposition:
        total = self.dust_clay_percent + self.dust_silt_percent
        if total > 100:
            raise ValueError(f"dust_clay_percent + dust_silt_percent = {total:g}, more than 100 %")
        if self.dust_calcite_percent > self.dust_silt_percent:
            raise ValueError(
                f"dust_calcite_percent {self.dust_calcite_percent:g} is more than "
                f"dust_silt_percent {self.dust_silt_percent:g}, of which it is a part"
            )
        if self.dust_g_m2_a > 0 and self.dust_mineralogy is None:
            raise ValueError(f"dust_g_m2_a {self.dust_g_m2_a:g} needs dust_mineralogy")
        return self


def _material(name: str) -> str:
    known = ("calcite", *MINERALS, *CATIONS, "manure")
    if name not in known:
        raise ValueError(f"no material {name!r}{nearest(name, known)}")
    return name


class Amendment(Strict):
    """Lime, ground rock, fertiliser (a base as a salt) or manure (kg_m2 of carbon).

    Added once or again and again.

    What is added every ``every_years`` reaches the soil evenly over the slow steps, so that
    its chemistry sees the mean and not the moment after an addition.
    """

    material: Annotated[str, AfterValidator(_material)]
    mol_m2: Annotated[float, Field(gt=0, le=1000)] | None = None
    kg_m2: Annotated[float, Field(gt=0, le=100)] | None = None
    every_years: Annotated[int, Field(ge=1)] | None = None
    year: Year | None = None
    depth_m: Annotated[float, Field(ge=0, le=10)] = 0.0
    size: Literal["clay", "silt", "sand"] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Amendment:
        for one, other in (("mol_m2", "kg_m2"), ("every_years", "year")):
            if (getattr(self, one) is None) == (getattr(self, other) is None):
                raise ValueError(f"give either {one} or {other}")
        if self.material == "manure" and (self.mol_m2 is not None or self.depth_m > 0):
            raise ValueError(
                "manure is given in kg_m2 of carbon, and lies where the land use ploughs it in"
            )
        if self.size is not None and self.material not in MINERALS:
            raise ValueError(f"size {self.size!r}: {self.material} has no size class to choose")
        return self


class HistoryAmendment(Amendment):
    """An amendment of all sites, or of some."""

    sites: list[str] = []


BySite = str | dict[str, str]
"""A name for all sites, or one for each."""


def at_site(given: BySite, site: str) -> str:
    """The name that holds for a site."""
    return given if isinstance(given, str) else given[site]


def names_of(given: BySite) -> tuple[str, ...]:
    """All names that are given, each once."""
    return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given.values()))


class HistoryPhase(Strict):
    """A stretch of history under constant climate, up to and including ``until``."""

    until: Year
    step_years: Annotated[int, Field(ge=1, le=1000)]
    climate: BySite
    land_use: BySite
    erosion_mm_a: Erosion = 0.0
    amendments: list[HistoryAmendment] = []


class Experiment(Strict):
    """The years with yearly drivers: from the end of history up to and including ``until``."""

    until: Year
    climate: BySite
    management: FileName
    erosion_mm_a: Erosion = 0.0


class Treatment(Strict):
    """One treatment of an experiment. Its rows in the management file drive it."""

    name: Name
    site: Name
    label: str | None = None
    overview: bool = Field(default=False, description="whether it is in the small picture of a fit")
    input_groups: dict[Name, Name] = Field(default={}, description="group -> its own group here")
    changes: list[Change] = []


class PriorText(Strict):
    """Prior as written in a case; see :class:`diffsoil.parameters.Prior`."""

    kind: Literal["uniform", "normal", "lognormal"] = "uniform"
    location: float = float("nan")
    scale: Annotated[float, Field(gt=0)] = float("nan")

    @model_validator(mode="after")
    def _consistent(self) -> PriorText:
        for name in ("location", "scale"):
            given = name in self.model_fields_set
            if self.kind == "uniform" and given:
                raise ValueError(
                    f"a uniform prior has no {name} (got {getattr(self, name):g}): it has the "
                    "bounds of the parameter"
                )
            if self.kind != "uniform" and not given:
                raise ValueError(f"a {self.kind} prior needs {name}")
        if self.kind == "lognormal" and self.location <= 0:
            raise ValueError(f"location {self.location:g} of a lognormal prior is not above 0")
        return self


class Free(Strict):
    """A parameter that a calibration may change, with the prior of this site if it has one."""

    prior: PriorText | None = None
    reason: str = ""


class ErrorText(Strict):
    """How far measurements of a variable, or of a series, lie from what is in the soil.

    The measured sd of a row is joined by a part that the fit finds: relative to the value, or
    absolute in its unit. ``typical`` is the median of its prior (0.05 of a relative part if not
    given), ``spread`` the standard deviation of its logarithm. With ``autocorrelation`` the
    fitted part of one plot is correlated in time, over ``memory_years`` to begin with.
    """

    distribution: str = Field(default="normal", description="a name of calibration.noise")
    dof: Annotated[float, Field(gt=1, le=200)] | None = None
    options: dict[str, float] = Field(default={}, description="numbers of a distribution")
    fitted: Literal["relative", "absolute", "none"] = "relative"
    typical: Annotated[float, Field(gt=0)] = 0.05
    spread: Annotated[float, Field(gt=0, le=3)] = 0.5
    autocorrelation: bool = False
    memory_years: Annotated[float, Field(gt=0, le=1000)] = 10.0

    @model_validator(mode="after")
    def _consistent(self) -> ErrorText:
        if self.fitted == "absolute" and "typical" not in self.model_fields_set:
            raise ValueError('fitted = "absolute" needs typical, in the unit of the variable')
        if self.autocorrelation and self.fitted == "none":
            raise ValueError("autocorrelation is of the fitted part, and there is none")
        return self


class Observations(Strict):
    """Observation files, and what of them is predicted but never fitted."""

    files: list[FileName]
    keep_out: list[str] = Field(default=[], description="series")
    keep_out_treatments: list[str] = []
    keep_out_sites: list[str] = []
    keep_out_years: list[Year] = []
    method_factors: list[str] = []
    errors: dict[str, ErrorText] = Field(default={}, description="variable or series -> its error")


class Grid(Strict):
    """Layers of equal thickness when laid down."""

    layers: Annotated[int, Field(ge=1, le=400)]
    thickness_m: Annotated[float, Field(ge=0.005, le=1)]


def _asked_about(names: list[str]) -> list[str]:
    for name in names:
        if name not in NAMES:
            raise ValueError(f"{name!r} is never in doubt{nearest(name, NAMES)}")
    return names


Plausible = Annotated[
    list[str],
    AfterValidator(_asked_about),
    Field(
        description="columns and keys whose unlikely values are meant: "
        + "; ".join(f"{name}: {what}" for name, what in NAMES.items())
    ),
]


class CaseFile(Strict):
    """A case as written."""

    format: Annotated[Literal[2], BeforeValidator(whole)]
    name: FileStem
    title: str
    start_year: Year
    column: Annotated[str, ChoiceOf(COLUMNS)] = "carbon"
    grid: Grid
    climate: dict[Name, Climate]
    mineralogy: dict[Name, Mineralogy] = {}
    soil: dict[Name, Soil]
    site: dict[Name, str] = Field(description="site name -> soil name")
    land_use: dict[Name, LandUse]
    deposition: Deposition = Deposition()
    erosion: Annotated[str, ChoiceOf(CHOICES["erosion"])] = "events"
    dissolved_iron: Annotated[str, ChoiceOf(CHOICES["dissolved_iron"])] = "equilibrium"
    water: Annotated[str, ChoiceOf(CHOICES["water"])] = "bucket"
    water_reuse_years: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=50, description="years that a year of Richards' equation stands for, at most"
    )
    history: Annotated[list[HistoryPhase], Field(min_length=1)]
    experiment: Experiment | None = None
    treatment: list[Treatment] = []
    protection: list[Annotated[str, ChoiceOf(MECHANISMS)]] = list(MECHANISMS.own)
    minimum: Annotated[str, ChoiceOf(MINIMA)] = "hard"
    processes: list[Annotated[str, ChoiceOf(ADDED)]] = Field(
        default=[], description="processes from outside that the column has besides its own"
    )
    without: list[str] = Field(default=[], description="processes that the column does not have")
    radiocarbon_atmosphere: FileName | None = None
    set: dict[str, float] = {}
    free: dict[str, Free] = {}
    observations: Observations | None = None
    plausible: Plausible = []
    notes: dict[str, str] = {}

    @property
    def whole_soil(self) -> bool:
        """Whether the mineral soil develops, instead of being prescribed."""
        return COLUMNS[self.column] is whole_soil_column

    @property
    def erodes_in_events(self) -> bool:
        """Whether erosion takes whole layers at a time."""
        return erodes_in_events(self.erosion)

    def spans(self) -> list[tuple[int, int]]:
        """First and last calendar year of each phase of history."""
        lasts = [phase.until for phase in self.history]
        firsts = [self.start_year, *(last + 1 for last in lasts[:-1])]
        return list(zip(firsts, lasts, strict=True))
