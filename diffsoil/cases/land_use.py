"""Tables of a case about what grows: land uses, and the library of them."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ModelWrapValidatorHandler, model_validator

from diffsoil.cases.crops import CropName, crops
from diffsoil.cases.kinds import Amount, Fraction, Monthly, Name, Strict
from diffsoil.cases.validation import validated
from diffsoil.io import data_path, nearest, read_toml

Content = Annotated[float, Field(ge=0, le=200)]


class LitterCations(Strict):
    """Elements in plant dry matter."""

    calcium: Content = 0.0
    """Calcium in the dry matter of litter, g/kg."""
    magnesium: Content = 0.0
    """Magnesium in the dry matter of litter, g/kg."""
    potassium: Content = 0.0
    """Potassium in the dry matter of litter, g/kg."""
    sodium: Content = 0.0
    """Sodium in the dry matter of litter, g/kg."""
    silicon: Content = 0.0
    """Silicon in the dry matter of litter, g/kg."""


class Sourced(Strict):
    """A value of the library."""

    value: Any
    """The value, as a land use of a case would have it."""
    source: Annotated[str, Field(min_length=1)]
    """Where it is from, or that it is an assumption."""
    range: tuple[float, float] | None = Field(default=None, strict=False)
    """Where else it could be: lower and upper end of an assumption."""


class LibraryEntry(Strict):
    """A land use of the library."""

    title: str
    """What it is, in words."""
    values: dict[str, Sourced]
    """Values by the keys of a land use."""


class LibraryFile(Strict):
    """The library as written."""

    land_use: Annotated[dict[Name, LibraryEntry], Field(min_length=1)]
    """Land uses by name."""


@lru_cache(maxsize=1)
def library() -> dict[str, LibraryEntry]:
    """Land uses that a case can take over with ``like``, by name; data/land_uses.toml."""
    path = data_path("land_uses.toml")
    return validated(path, LibraryFile, {"land_use": read_toml(path)}).land_use


def _choices(schema: dict[str, Any]) -> None:
    """The names of the library, in the JSON schema."""
    schema["enum"] = list(library())
    titles = "; ".join(f"{name}: {entry.title}" for name, entry in library().items())
    schema["description"] += f" {titles[0].upper()}{titles[1:]}."


def _needed(schema: dict[str, Any]) -> None:
    """Keys that are needed, in the JSON schema: none where another land use fills them."""
    needed = [name for name in schema.pop("required") if name != "leaf_share"]
    schema["anyOf"] = [{"required": ["like"]}, {"required": needed}]


def _of_library(like: Any) -> dict[str, Any]:
    """Values of a land use of the library; none for what is no name."""
    if not isinstance(like, str):
        return {}
    if like not in library():
        raise ValueError(f"like: no land use {like!r} in the library{nearest(like, library())}")
    return {name: of.value for name, of in library()[like].values.items()}


def _leaf_share(crop: Any, left: Any) -> float:
    """That of a crop; 0 where what the case says of it is wrong, and is refused."""
    fits = left is None or (isinstance(left, int | float) and 0 <= left <= 1)
    return crops()[crop].leaf_share(left) if crop in list(crops()) and fits else 0.0


AMOUNTS = ("plant_carbon_t_ha", "npp")
"""Keys of which a land use has one at most."""


class LandUse(Strict, json_schema_extra=_needed):
    """What grows, when, and what is done to the soil each year."""

    like: str | None = Field(default=None, json_schema_extra=_choices)
    """Land use of the library that fills the keys that are left out."""
    cover: Monthly
    """Share of the ground that living plants cover, January to December."""
    plant_input_months: Monthly
    """Share of the yearly plant carbon that reaches the soil in each month, January to December;
    they sum to 1."""
    manure_months: Monthly = Field(default=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0])
    """Share of the yearly manure that is brought in each month, January to December; they sum to
    1."""
    dpm_rpm_ratio: Annotated[float, Field(ge=0, le=20)]
    """Decomposable over resistant plant carbon of what enters the soil; in RothC 1.44 for crops and
    improved grass, 0.67 for unimproved grass and scrub, 0.25 for forest."""
    leaf_share: Fraction
    """Share of the plant carbon that falls on the surface; the rest comes from roots. That of the
    crop if left out."""
    root_beta: Annotated[float, Field(ge=0.5, le=0.999)]
    """Depth of roots: 1 - root_beta^z of them lie above z cm (Jackson et al. 1996)."""
    litter_layer: bool = False
    """Whether what falls on the surface stays in a litter layer above the mineral soil."""
    plough_depth_m: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Depth that the plough mixes each year, m; 0 for no plough."""
    input_group: Name = ""
    """Group of land uses whose plant carbon has one factor, vegetation.input_factor.GROUP; the name
    of the land use if left out."""
    crop: CropName | None = None
    """Crop whose yields in the management make plant carbon."""
    residues_left_share: Fraction | None = None
    """Share of the straw or leaves of the crop that stays on the field; if left out, that of the
    crop: 0.15 of cereals, 1 of most others."""
    yield_group: Name | None = None
    """Group of the part of the plant carbon that follows the yield; that of input_group if left
    out."""
    plant_carbon_t_ha: Amount | None = None
    """Plant carbon that enters the soil, t C/ha in a year; in the history, and in an experiment
    where management does not say another amount."""
    npp: Literal["miami", "schuur", "nceas"] | Annotated[float, Field(ge=0, le=6000)] | None = None
    """Net primary production that becomes plant carbon: a model of climate, or g dry matter/m2 in
    a year; in place of plant_carbon_t_ha."""
    harvest_share: Fraction = 0.0
    """Share of the net primary production (npp) that is carried away or stays in wood."""
    manure_carbon_t_ha: Amount = 0.0
    """Carbon of manure, t C/ha in a year, in the history."""
    litter_cations_g_kg: LitterCations = LitterCations()
    """Elements that litter returns to the soil, g/kg of dry matter. Of a whole soil only."""
    uptake_shallowness_factor: Annotated[float, Field(ge=0.25, le=2)] = 1.0
    """Factor on biocycling.shallowness for this vegetation: above 1 it takes up bases from
    shallower soil than others with such roots, below 1 from deeper. Of a whole soil only."""

    @model_validator(mode="wrap")
    @classmethod
    def _filled(cls, content: Any, handler: ModelWrapValidatorHandler[LandUse]) -> LandUse:
        """What the case says, and of the library what it does not say."""
        if not isinstance(content, dict):
            return handler(content)
        values = _of_library(content.get("like"))
        if any(name in content for name in AMOUNTS):
            values = {name: value for name, value in values.items() if name not in AMOUNTS}
        crop = content.get("crop", values.get("crop"))
        if crop is not None:
            values = {"leaf_share": _leaf_share(crop, content.get("residues_left_share"))} | values
        added = {name: value for name, value in values.items() if name not in content}
        use = handler(content | added)
        use.model_fields_set.difference_update(added)
        return use

    @model_validator(mode="after")
    def _consistent(self) -> LandUse:
        for name in ("plant_input_months", "manure_months"):
            total = sum(getattr(self, name))
            if abs(total - 1) > 1e-6:
                raise ValueError(f"{name} sums to {total:g}, not to 1")
        if self.npp is not None and self.plant_carbon_t_ha is not None:
            raise ValueError("give npp or plant_carbon_t_ha, not both")
        return self


def _grouped(uses: Any) -> Any:
    """Land uses whose input group is their own name, where they do not say another."""
    if not isinstance(uses, dict):
        return uses
    return {
        name: {"input_group": name} | use if isinstance(use, dict) else use
        for name, use in uses.items()
    }


LandUses = Annotated[dict[Name, LandUse], BeforeValidator(_grouped)]
"""Land uses by name."""
