"""The format of a case file: what may be written, and what must hold within one table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from diffsoil.cases.about import About
from diffsoil.cases.crops import CropName
from diffsoil.cases.kinds import (
    BySite,
    ChoiceOf,
    Erosion,
    FileName,
    FileStem,
    Fraction,
    LowerDepth,
    Name,
    Percent,
    Strict,
    Year,
    whole,
)
from diffsoil.cases.land_use import LandUses
from diffsoil.cases.plausible import NAMES
from diffsoil.cases.profiles import Change, Mineralogy, Soil
from diffsoil.column import ADDED, CHOICES, COLUMNS, erodes_in_events, whole_soil_column
from diffsoil.io import nearest
from diffsoil.processes.protection import MECHANISMS, MINIMA
from diffsoil.state import CATIONS, MINERALS
from diffsoil.units import CM_PER_M

Deposited = Annotated[float, Field(ge=0, le=10000)]


class Climate(Strict):
    """A climate: a file of twelve normals, or a file of months."""

    normals: FileName | None = None
    """File of twelve monthly normals: a CSV beside the case, or among the shipped data."""
    monthly: FileName | None = None
    """File of weather by year and month: a CSV beside the case, or among the shipped data."""

    @model_validator(mode="after")
    def _one(self) -> Climate:
        if (self.normals is None) == (self.monthly is None):
            raise ValueError("give either normals or monthly")
        return self


class Deposition(Strict):
    """What falls from the air in every year; anions are those of strong acids."""

    dust_g_m2_a: Annotated[float, Field(ge=0, le=5000)] = 0.0
    """Dust, g/m2 in a year, the same in every year. In measurements 50 to 500 within 10 km of its
    source, 1 to 50 within 1000 km, below 1 beyond (Lawrence & Neff 2009)."""
    dust_mineralogy: str | None = None
    """Name of the [mineralogy.NAME] of the dust."""
    dust_clay_percent: Percent = 0.0
    """Clay in the dust, mass %."""
    dust_silt_percent: Percent = 0.0
    """Silt in the dust, mass %; the rest is sand."""
    dust_calcite_percent: Percent = 0.0
    """Calcite in the dust, mass %; part of its silt."""
    calcium_mmolc_m2_a: Deposited = 0.0
    """Calcium in rain and dry deposition, mmol_c/m2 in a year."""
    magnesium_mmolc_m2_a: Deposited = 0.0
    """Magnesium in rain and dry deposition, mmol_c/m2 in a year."""
    potassium_mmolc_m2_a: Deposited = 0.0
    """Potassium in rain and dry deposition, mmol_c/m2 in a year."""
    sodium_mmolc_m2_a: Deposited = 0.0
    """Sodium in rain and dry deposition, mmol_c/m2 in a year."""
    silicon_mmol_m2_a: Deposited = 0.0
    """Silicon in rain and dry deposition, mmol/m2 in a year."""
    anions_mmolc_m2_a: Deposited = 0.0
    """Anions of strong acids in rain and dry deposition, mmol_c/m2 in a year."""

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


MATERIALS = ("calcite", *MINERALS, *CATIONS, "manure")
"""What may be added to a soil."""


def _material(name: str) -> str:
    if name not in MATERIALS:
        raise ValueError(f"no material {name!r}{nearest(name, MATERIALS)}")
    return name


Material = Annotated[
    str, AfterValidator(_material), Field(json_schema_extra={"enum": list(MATERIALS)})
]


class Amendment(Strict):
    """Lime, ground rock, fertiliser (a base as a salt) or manure (kg_m2 of carbon).

    Added once or again and again.

    What is added every ``every_years`` reaches the soil evenly over the slow steps, so that
    its chemistry sees the mean and not the moment after an addition.
    """

    material: Material
    """What is added: calcite, a mineral, calcium, magnesium, potassium or sodium as a salt, or
    manure."""
    mol_m2: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Amount of one addition, mol/m2; this or kg_m2."""
    kg_m2: Annotated[float, Field(gt=0, le=100)] | None = None
    """Amount of one addition, kg/m2, of manure kg C/m2; this or mol_m2."""
    every_years: Annotated[int, Field(ge=1)] | None = None
    """Years from one addition to the next; this or year."""
    year: Year | None = None
    """Year of a single addition; this or every_years."""
    depth_m: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Depth to which it is mixed in, m; 0 lays it on the surface."""
    size: Literal["clay", "silt", "sand"] | None = None
    """Size class of a mineral; silt if left out."""

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

    sites: list[str] = Field(default=[])
    """Names of the sites that get it; all if left out."""


class HistoryPhase(Strict):
    """A stretch of history under constant climate, up to and including ``until``."""

    until: Year
    """Last year of the phase."""
    step_years: Annotated[int, Field(ge=1, le=1000)] = Field(default_factory=lambda: 1)
    """Years in a slow step, in which the soil is computed once and the carbon month by month; they
    divide the phase. If left out, the longest up to 10 years that does."""
    climate: BySite = ""
    """Name of a [climate.NAME] of normals, or a table with one for each site; may be left out where
    there is one."""
    land_use: BySite
    """Name of a [land_use.NAME], or a table with one for each site."""
    erosion_mm_a: Erosion = 0.0
    """Erosion, mm in a year. Of a whole soil only."""
    amendments: list[HistoryAmendment] = Field(default=[])
    """What is added to the soil in this phase. Of a whole soil only."""


class Experiment(Strict):
    """The years with yearly drivers: from the end of history up to and including ``until``."""

    until: Year
    """Last year of the experiment."""
    climate: BySite = ""
    """Name of a [climate.NAME], or a table with one for each site; normals hold in each year. May
    be left out where there is one of monthly weather, or none and one of normals."""
    management: FileName | list[FileName] = Field(default=[])
    """File of land use and carbon by treatment and year, or a list of such: a CSV beside the case,
    or among the shipped data. Blocks [[management]] may say the same."""
    erosion_mm_a: Erosion = 0.0
    """Erosion, mm in a year. Of a whole soil only."""

    @property
    def tables(self) -> list[str]:
        """Names of the files of management."""
        return [self.management] if isinstance(self.management, str) else self.management


class Management(Strict):
    """Years of an experiment with one land use, in some treatments."""

    first: Year | None = Field(default=None, alias="from")
    """First year of the block; that of the experiment if left out."""
    until: Year | None = None
    """Last year of the block; that of the experiment if left out."""
    treatment: str | list[str] = Field(default=[])
    """Treatment, or list of treatments, that it is of; all if left out."""
    land_use: str
    """Name of a [land_use.NAME]."""
    plant_carbon_t_ha: Annotated[float, Field(ge=0, le=50)] | None = None
    """Plant carbon that enters the soil, t C/ha in a year; if left out that of the land use, or of
    the yield."""
    yield_t_ha: Annotated[float, Field(ge=0, le=60)] | None = None
    """Yield, t dry matter/ha in a year, which makes plant carbon; besides plant_carbon_t_ha, or in
    place of it."""
    crop: CropName | None = None
    """Crop of the yield; that of the land use if left out."""
    residues_left_share: Fraction | None = None
    """Share of straw or leaves that stays on the field; that of the land use if left out."""
    manure_carbon_t_ha: Annotated[float, Field(ge=0, le=50)] | None = None
    """Carbon of manure, t C/ha in a year; that of the land use if left out."""
    fallow_share: Fraction = 0.0
    """Share of the field that lies fallow, and is not covered."""
    lime_mol_m2: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Lime in each year, mol of calcite/m2 (1 t/ha of pure lime is 1 mol/m2), worked in as deep as
    the land use is ploughed. Of a whole soil only."""
    ammonium_kg_ha: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Nitrogen of fertiliser with ammonium or urea in each year, kg N/ha: it acidifies. Of a whole
    soil only."""


class Treatment(Strict):
    """One treatment of an experiment. Its rows in the management file drive it."""

    name: Name
    """Name of the treatment, as in the tables of management and observations."""
    site: str = ""
    """Name of the site whose history it parts from; may be left out where there is one."""
    label: str | None = None
    """What it is called in pictures and reports; any text."""
    overview: bool = Field(default=False)
    """Whether it is in the small picture of a fit."""
    input_groups: dict[Name, Name] = Field(default={})
    """Groups of plant input that are others in this treatment: group and its own group."""
    changes: list[Change] = Field(default=[])
    """Properties that are prescribed to change in time, in this treatment."""


class PriorText(Strict):
    """Prior as written in a case; see :class:`diffsoil.parameters.Prior`."""

    kind: Literal["uniform", "normal", "lognormal"] = "uniform"
    """Distribution of the prior; a uniform one has the bounds of the parameter."""
    location: float = float("nan")
    """Mean of a normal prior, median of a lognormal one, in the unit of the parameter."""
    scale: Annotated[float, Field(gt=0)] = float("nan")
    """Standard deviation of a normal prior, in the unit of the parameter, or of the logarithm of a
    lognormal one."""

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
    """Prior at this site; that of the parameter table if left out."""
    reason: str = ""
    """Why it is freed, and where the prior is from; any text."""
    by: Literal["site", "group", "treatment"] | None = None
    """What it differs between: each site, each group of sites, or each treatment, has a value of
    its own around a common median, which has the prior; how far they differ is fitted too."""
    between: PriorText | None = None
    """Prior of the standard deviation of its logarithm between those; lognormal, 0.2 with 0.7, if
    left out."""


class Indicator(Strict):
    """What predictions have to reach, settled before anything is fitted."""

    score: Literal["rmse", "rmse_percent", "bias", "bias_percent", "coverage_50", "coverage_90"]
    """rmse or bias (in the unit of the variable; predicted less measured), rmse_percent or
    bias_percent (of the mean of the measurements), coverage_50 or coverage_90 (share of
    measurements within the interval, 0 to 1)."""
    at_least: float | None = None
    """Lowest value that is a success."""
    at_most: float | None = None
    """Highest value that is a success."""
    of: Literal["kept_out", "fitted"] = "kept_out"
    """Which measurements: those kept out of the fit, or those fitted."""
    variable: str | None = None
    """Only of this variable."""
    site: str | None = None
    """Only of this site."""
    treatment: str | None = None
    """Only of this treatment."""
    series: str | None = None
    """Only of this series."""
    reason: str = ""
    """Why this is a success; any text."""

    @model_validator(mode="after")
    def _bounded(self) -> Indicator:
        low, high = self.at_least, self.at_most
        if low is None and high is None:
            raise ValueError("at_least or at_most is missing")
        if low is not None and high is not None and low > high:
            raise ValueError(f"at_least = {low:g} is above at_most = {high:g}")
        return self


class ErrorText(Strict):
    """How far measurements of a variable, or of a series, lie from what is in the soil.

    The measured sd of a row is joined by a part that the fit finds: relative to the value, or
    absolute in its unit. ``typical`` is the median of its prior (0.05 of a relative part if not
    given), ``spread`` the standard deviation of its logarithm. With ``autocorrelation`` the
    fitted part of one plot is correlated in time, over ``memory_years`` to begin with.
    """

    distribution: str = "normal"
    """Distribution of the error: normal, lognormal, student_t or one of your own."""
    dof: Annotated[float, Field(gt=1, le=200)] | None = None
    """Degrees of freedom of a student_t."""
    options: dict[str, float] = Field(default={})
    """Numbers of a distribution of your own, by name."""
    fitted: Literal["relative", "absolute", "none"] = "relative"
    """What of the error the fit finds: a part relative to the value, one in its unit, or none."""
    typical: Annotated[float, Field(gt=0)] = 0.05
    """Median of the prior of the fitted part: relative, or in the unit of the variable."""
    spread: Annotated[float, Field(gt=0, le=3)] = 0.5
    """Standard deviation of the logarithm of that prior."""
    autocorrelation: bool = False
    """Whether the fitted part of one plot is correlated in time."""
    memory_years: Annotated[float, Field(gt=0, le=1000)] = 10.0
    """Prior median of the time over which it is correlated, years."""

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
    """Files of observations: CSV beside the case, or among the shipped data."""
    keep_out: list[str] = Field(default=[])
    """Series that are predicted and never fitted."""
    keep_out_treatments: list[str] = Field(default=[])
    """Treatments that are predicted and never fitted."""
    keep_out_sites: list[str] = Field(default=[])
    """Sites that are predicted and never fitted."""
    keep_out_years: list[Year] = Field(default=[])
    """Years that are predicted and never fitted."""
    method_factors: list[str] = Field(default=[])
    """Methods of measurement that have a factor, which the fit finds."""
    errors: dict[str, ErrorText] = Field(default={})
    """How far measurements lie off: variable or series, and its error."""


StockOfSite = Annotated[float, Field(gt=0, le=5000)]


class Measured(Strict):
    """A stock of organic carbon that was measured as the case starts."""

    stock_t_ha: StockOfSite | dict[Name, StockOfSite] | None = None
    """Organic carbon from the surface of the mineral soil down to lower_cm, without litter, t C/ha;
    or a table with one for each site. That of the horizons (`soc_percent`) if left out."""
    lower_cm: LowerDepth = 30.0
    """Depth down to which it was measured, cm. If left out 30 cm, or the end of the column if it is
    shallower."""
    solve: Literal["input", "inert"] = "input"
    """What is sought so that the stock is met: the plant carbon of the first phase of the history,
    which is a factor on what its land use says, or the share of the measured carbon of the horizons
    that is inert, in place of iom_percent."""


class Grid(Strict):
    """Layers of equal thickness when laid down."""

    layers: Annotated[int, Field(ge=1, le=400)]
    """Number of layers."""
    thickness_m: Annotated[float, Field(ge=0.005, le=1)]
    """Thickness of a layer, m."""


def _asked_about(names: list[str]) -> list[str]:
    for name in names:
        if name not in NAMES:
            raise ValueError(f"{name!r} is never in doubt{nearest(name, NAMES)}")
    return names


Plausible = Annotated[
    list[str],
    AfterValidator(_asked_about),
    Field(
        description="Columns and keys whose unlikely values are meant: "
        + "; ".join(f"{name}: {what}" for name, what in NAMES.items()),
        json_schema_extra={"items": {"enum": list(NAMES)}},
    ),
]


LAYER_CM, DEEPEST_CM = 5.0, 100.0
"""Layers of a case that does not say them."""

LONGEST_STEP = 10
"""Years of a slow step, at most, where a case does not say them."""


def _title(given: dict[str, Any]) -> str:
    return str(given["name"]).replace("_", " ")


def _sites(given: dict[str, Any]) -> dict[str, str]:
    return {name: name for name in given["soil"]}


def _grid(given: dict[str, Any]) -> Grid:
    ends = [soil.horizons[-1].lower_cm for soil in given["soil"].values()]
    depth = min([*ends, DEEPEST_CM])
    layers = max(1, round(depth / LAYER_CM))
    return Grid(layers=layers, thickness_m=depth / layers / CM_PER_M)


def _treatments(given: dict[str, Any]) -> list[Treatment]:
    if given["experiment"] is None:
        return []
    return [Treatment(name=site, site=site) for site in given["site"]]


def _by_default(table: Strict, key: str, value: object) -> None:
    """Set what a table leaves out; it counts as left out still."""
    if key not in table.model_fields_set and value:
        setattr(table, key, value)
        table.model_fields_set.discard(key)


def _named_by_file(schema: dict[str, Any]) -> None:
    """The name of a case may be left out of its file, in the JSON schema."""
    schema["required"].remove("name")


class CaseFile(Strict, json_schema_extra=_named_by_file):
    """A case as written."""

    format: Annotated[Literal[2], BeforeValidator(whole)]
    """Format of the file; the present one is 2."""
    name: FileStem
    """Name of the case: letters (a to z), digits, _, - and .; that of its file, or of its folder
    for a case.toml, if left out."""
    title: str = Field(default_factory=_title)
    """Title in reports; any text. The name if left out."""
    about: About | None = None
    """Who made the results, and their licence."""
    start_year: Year
    """First year of the history; negative before the common era."""
    column: Annotated[str, ChoiceOf(COLUMNS)] = "carbon"
    """What is computed: carbon in a prescribed soil, or a whole soil that develops."""
    climate: dict[Name, Climate]
    """Climates by name."""
    mineralogy: dict[Name, Mineralogy] = Field(default={})
    """Minerals of soils and dust by name. Of a whole soil only."""
    soil: Annotated[dict[Name, Soil], Field(min_length=1)]
    """Soils by name."""
    site: dict[Name, str] = Field(default_factory=_sites)
    """Sites: name and the name of its soil. Each soil is a site of its name if left out."""
    group: dict[Name, list[str]] = Field(default={})
    """Groups of sites, as the blocks of one field: name and list of sites. A site that none has is
    a group of its name."""
    grid: Grid = Field(default_factory=_grid)
    """Layers of the column. If left out, some 5 cm thick down to where the shallowest soil ends,
    and to 1 m at most."""
    land_use: LandUses
    """Land uses by name."""
    deposition: Deposition = Deposition()
    """What falls from the air in every year. Of a whole soil only."""
    erosion: Annotated[str, ChoiceOf(CHOICES["erosion"])] = "events"
    """How erosion takes soil. Of a whole soil only."""
    dissolved_iron: Annotated[str, ChoiceOf(CHOICES["dissolved_iron"])] = "equilibrium"
    """How dissolved iron and aluminium follow from the soil. Of a whole soil only."""
    biocycling: Annotated[str, ChoiceOf(CHOICES["biocycling"])] = "base_saturation"
    """What uptake of bases by plants follows: base saturation, and bases return with the carbon of
    the litter, or the soil solution, and most of them return with leaves. Of a whole soil only."""
    weathering: Annotated[str, ChoiceOf(CHOICES["weathering"])] = "kinetic"
    """What limits how fast silicates of rocks dissolve: their rates, or also how much of them
    percolation carries away before it is in equilibrium with them. Of a whole soil only."""
    carbon: Annotated[str, ChoiceOf(CHOICES["carbon"])] = "rothc"
    """Model of organic carbon: RothC, RothC with a passive pool, or another one."""
    dissolved_carbon: Annotated[str, ChoiceOf(CHOICES["dissolved_carbon"])] = "none"
    """Whether some carbon is dissolved, moves down with percolation, is sorbed on its way or leaves
    below. Of models of linear pools; millennial2 has dissolved carbon of its own."""
    mixing: Annotated[str, ChoiceOf(CHOICES["mixing"])] = "block"
    """How soil fauna mixes the soil: evenly down to a depth, or by diffusion that fades with it."""
    water: Annotated[str, ChoiceOf(CHOICES["water"])] = "bucket"
    """How soil water is computed: a monthly bucket, the same for wet and dry years (where one year
    stands for many), or Richards' equation."""
    water_reuse_years: Annotated[int, Field(ge=1, le=1000)] = 50
    """Years that a year of Richards' equation stands for, at most."""
    initial: Literal["history", "measured"] = "history"
    """What the carbon of the first year is: what the history makes of a soil without any, or the
    measured stock, with pools in balance with the first phase of the history. The latter is of a
    prescribed soil only."""
    measured: Measured = Field(default_factory=Measured)
    """The measured stock, for initial = "measured" and for `diffsoil check --keep-stock`."""
    history: Annotated[list[HistoryPhase], Field(min_length=1)]
    """Phases before the experiment, one after the other, in constant climate."""
    experiment: Experiment | None = None
    """Years with yearly management, after the history."""
    management: list[Management] = Field(default=[])
    """Land use and carbon of the experiment by blocks of years, besides those of its file."""
    treatment: list[Treatment] = Field(default_factory=_treatments)
    """Treatments of the experiment. Each site is one of its name if left out."""
    protection: list[Annotated[str, ChoiceOf(MECHANISMS)]] = Field(default=list(MECHANISMS.own))
    """Mechanisms that protect carbon."""
    minimum: Annotated[str, ChoiceOf(MINIMA)] = "hard"
    """How mechanisms are combined: the strongest alone, or a smooth minimum for samplers."""
    processes: list[Annotated[str, ChoiceOf(ADDED)]] = Field(default=[])
    """Processes from outside that the column has besides its own."""
    without: list[str] = Field(default=[])
    """Processes that the column does not have."""
    radiocarbon_atmosphere: FileName | None = None
    """14C of the air: "north" (IntCal20 and the bomb curve of zone NH1, to 2019), "south" (SHCal20,
    to 1950), or a CSV of activity or delta14c_permil by year; without it no 14C is computed."""
    set: dict[str, float] = Field(default={})
    """Parameters: full name and value, in the unit and the bounds of `diffsoil parameters`."""
    free: dict[str, Free] = Field(default={})
    """Parameters that a calibration may change: full name and its prior."""
    observations: Observations | None = None
    """What was measured."""
    success: dict[str, Indicator] = Field(default={})
    """Success indicators: any name, and what predictions have to reach."""
    plausible: Plausible = Field(default=[])
    notes: dict[str, str] = Field(default={})
    """Notes of your own, by any name; not read."""

    @model_validator(mode="after")
    def _completed(self) -> CaseFile:
        """Say what follows from the rest of the case, where it is left out."""

        def only(names: Iterable[str]) -> str:
            names = list(names)
            return names[0] if len(names) == 1 else ""

        for phase, (first, last) in zip(self.history, self.spans(), strict=True):
            years = max(last - first + 1, 1)
            step = max(n for n in range(1, LONGEST_STEP + 1) if years % n == 0)
            _by_default(phase, "step_years", step)
            normals = [name for name, of in self.climate.items() if of.normals]
            _by_default(phase, "climate", only(normals))
        if self.experiment:
            monthly = [name for name, of in self.climate.items() if of.monthly]
            normals = [name for name, of in self.climate.items() if of.normals]
            _by_default(self.experiment, "climate", only(monthly or normals))
        for treatment in self.treatment:
            _by_default(treatment, "site", only(self.site))
        if self.whole_soil:
            for horizon in (one for soil in self.soil.values() for one in soil.horizons):
                _by_default(horizon, "mineralogy", only(self.mineralogy))
        deepest = self.grid.layers * self.grid.thickness_m * CM_PER_M
        _by_default(self.measured, "lower_cm", min(self.measured.lower_cm, deepest))
        return self

    @property
    def whole_soil(self) -> bool:
        """Whether the mineral soil develops, instead of being prescribed."""
        return COLUMNS[self.column] is whole_soil_column

    @property
    def group_of(self) -> dict[str, str]:
        """The group of each site."""
        return {site: site for site in self.site} | {
            site: name for name, sites in self.group.items() for site in sites
        }

    @property
    def seeks_input(self) -> bool:
        """Whether the plant carbon of the first phase is sought, from a measured stock."""
        return self.initial == "measured" and self.measured.solve == "input"

    @property
    def erodes_in_events(self) -> bool:
        """Whether erosion takes whole layers at a time."""
        return erodes_in_events(self.erosion)

    def spans(self) -> list[tuple[int, int]]:
        """First and last calendar year of each phase of history."""
        lasts = [phase.until for phase in self.history]
        firsts = [self.start_year, *(last + 1 for last in lasts[:-1])]
        return list(zip(firsts, lasts, strict=True))
