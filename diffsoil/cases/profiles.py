"""Tables of a case about soils as they are at the start: minerals, horizons, changes in time."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from diffsoil.cases.kinds import (
    Fraction,
    LowerDepth,
    OrFile,
    Percent,
    Strict,
    UpperDepth,
    Year,
)
from diffsoil.io import nearest
from diffsoil.state import MINERALS


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


Shares = Annotated[
    dict[str, Fraction],
    AfterValidator(_shares_of_minerals),
    Field(json_schema_extra={"propertyNames": {"enum": list(MINERALS)}}),
]


class Mineralogy(Strict):
    """Mass shares of the minerals, calcite apart, in each size class of a material."""

    clay: Shares
    """Minerals of the clay (below 2 um): name and mass share; they sum to 1."""
    silt: Shares
    """Minerals of the silt (2 to 50 um): name and mass share; they sum to 1."""
    sand: Shares
    """Minerals of the sand (50 to 2000 um): name and mass share; they sum to 1."""


class Exchange(Strict):
    """Shares of the bases in what they occupy of the exchanger; they sum to 1."""

    calcium: Fraction = 0.0
    """Share of calcium in the charge of the exchangeable bases."""
    magnesium: Fraction = 0.0
    """Share of magnesium in the charge of the exchangeable bases."""
    potassium: Fraction = 0.0
    """Share of potassium in the charge of the exchangeable bases."""
    sodium: Fraction = 0.0
    """Share of sodium in the charge of the exchangeable bases."""

    @model_validator(mode="after")
    def _whole(self) -> Exchange:
        total = self.calcium + self.magnesium + self.potassium + self.sodium
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares sum to {total:g}, not to 1")
        return self


class Horizon(Strict):
    """One horizon of an initial profile; properties are those of the fine earth (< 2 mm)."""

    upper_cm: UpperDepth
    """Upper end, cm below the surface of the mineral soil."""
    lower_cm: LowerDepth
    """Lower end, cm below the surface of the mineral soil."""
    clay_percent: Percent
    """Clay (< 2 um), mass % of the fine earth."""
    silt_percent: Percent
    """Silt (2 to 50 um), mass % of the fine earth; the rest is sand."""
    bulk_density: Annotated[float, Field(ge=0.1, le=2.65)]
    """Bulk density of the fine earth with its humus, dry, g/cm3."""
    stones_percent: Annotated[float, Field(ge=0, le=95)] = 0.0
    """Stones and gravel (> 2 mm), volume % of the soil. They hold neither carbon nor anything else:
    the mass of fine earth in a layer is less by them, and that by volume is its bulk density."""
    soc_percent: Annotated[float, Field(ge=0, le=40)]
    """Organic carbon, mass % of the fine earth. It sets the mass and the pores, not the start: the
    carbon of the model is what the history leaves."""
    iom_percent: Annotated[float, Field(ge=0, le=5)] = 0.0
    """Inert organic carbon, mass % of the fine earth; part of soc_percent."""
    one_to_one_share: Fraction = 0.0
    """Share of 1:1 clay minerals (kaolinite) in the clay, mass; computed in a whole soil."""
    calcite_percent: Percent = 0.0
    """Calcite, mass % of the fine earth; part of the silt."""
    base_saturation: Percent = 0.0
    """Base saturation of the exchanger, %."""
    dissolved_al_fe: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Dissolved aluminium and iron, mmol/dm3; computed in a whole soil."""
    mineralogy: str | None = None
    """Name of a [mineralogy.NAME]; may be left out where there is one. Of a whole soil only."""
    cec_mmol_kg: Annotated[float, Field(ge=0, le=3000)] | None = None
    """Cation exchange capacity with the humus, mmol_c/kg of fine earth; from clay and carbon if
    left out. Of a whole soil only."""
    exchange: Exchange = Exchange(calcium=0.85, magnesium=0.10, potassium=0.04, sodium=0.01)
    """What the bases on the exchanger are. Of a whole soil only."""

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

    @property
    def fine_earth_density(self) -> float:
        """Mass of fine earth by volume of the soil with its stones, g/cm3."""
        return self.bulk_density * (1 - self.stones_percent / 100)


class Change(Strict):
    """A prescribed soil property that changes in time, in straight lines between years."""

    variable: Literal[
        "bulk_density",
        "one_to_one_share",
        "calcite_percent",
        "base_saturation",
        "dissolved_al_fe",
    ]
    """Property of a horizon that changes."""
    upper_cm: UpperDepth
    """Upper end of where it changes, cm."""
    lower_cm: LowerDepth
    """Lower end of where it changes, cm."""
    years: Annotated[list[Year], Field(min_length=1)]
    """Years with a known value, ascending; the first and last value hold before and after."""
    values: Annotated[list[float], Field(min_length=1)]
    """Values in these years, in the unit and the range of the property."""

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

    horizons: Annotated[list[Horizon], Field(min_length=1), OrFile()]
    """Horizons from the surface down, without gaps; or a CSV beside the case, with the keys of a
    horizon as columns."""
    changes: list[Change] = Field(default=[])
    """Properties that are prescribed to change in time, at all sites of this soil."""

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
