"""Plant carbon of crops from their yields."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from diffsoil.cases.kinds import Fraction, Name, Strict
from diffsoil.cases.validation import validated
from diffsoil.io import data_path, nearest, read_toml

CARBON_OF_DRY_MATTER = 0.45
"""Carbon in the dry matter of crops (Bolinder et al. 2007)."""

ROUNDING = 0.005
"""How far rounded shares may be from 1 in sum."""


class Crop(Strict):
    """Where the carbon that a crop fixes in a year goes, as shares; data/crops.toml."""

    title: str
    """What it is, in words."""
    product: Annotated[float, Field(gt=0, le=1)]
    """Share in the harvested product."""
    residues: Fraction
    """Share in straw or leaves."""
    roots: Fraction
    """Share in roots."""
    extra_roots: Fraction
    """Share that roots exude and shed while they grow."""
    product_left: Fraction = 0.0
    """Share of the product that stays on the field."""
    residues_left: Fraction
    """Share of straw or leaves that stays on the field."""
    source: Annotated[str, Field(min_length=1)]
    """Where it is from."""

    @model_validator(mode="after")
    def _whole(self) -> Crop:
        total = self.product + self.residues + self.roots + self.extra_roots
        if abs(total - 1) > ROUNDING:
            raise ValueError(f"the shares sum to {total:g}, not to 1")
        return self

    def carbon(self, yield_t_ha: float, residues_left: float | None = None) -> float:
        """Carbon that a year of the crop brings into the soil, Mg C/ha.

        Args:
            yield_t_ha: harvested product, t dry matter/ha.
            residues_left: share of straw or leaves that stays; that of the crop if not given.

        Source: Bolinder et al. (2007).
        """
        above, below = self._returned(residues_left)
        return CARBON_OF_DRY_MATTER * yield_t_ha * (above + below) / self.product

    def leaf_share(self, residues_left: float | None = None) -> float:
        """Share of that carbon that falls on the surface."""
        above, below = self._returned(residues_left)
        return above / (above + below)

    def _returned(self, residues_left: float | None) -> tuple[float, float]:
        left = self.residues_left if residues_left is None else residues_left
        above = self.product_left * self.product + left * self.residues
        return above, self.roots + self.extra_roots


class CropsFile(Strict):
    """The crops as written."""

    crop: Annotated[dict[Name, Crop], Field(min_length=1)]
    """Crops by name."""


@lru_cache(maxsize=1)
def crops() -> dict[str, Crop]:
    """Crops whose carbon follows from the yield, by name."""
    path = data_path("crops.toml")
    return validated(path, CropsFile, {"crop": read_toml(path)}).crop


def known_crop(name: str) -> str:
    """The name of a crop.

    Raises:
        ValueError: there is none; the text names the nearest.
    """
    if name not in crops():
        near = nearest(name, crops()) or f" ({', '.join(crops())})"
        raise ValueError(f"no crop {name!r}{near}")
    return name


def _choices(schema: dict[str, Any]) -> None:
    schema["enum"] = list(crops())


CropName = Annotated[str, AfterValidator(known_crop), Field(json_schema_extra=_choices)]
"""The name of a crop of data/crops.toml."""
