"""Tables of a case about what grows: land uses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from diffsoil.cases.kinds import Amount, Fraction, Monthly, Name, Strict

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


class LandUse(Strict):
    """What grows, when, and what is done to the soil each year."""

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
    """Share of the plant carbon that falls on the surface; the rest comes from roots."""
    root_beta: Annotated[float, Field(ge=0.5, le=0.999)]
    """Depth of roots: 1 - root_beta^z of them lie above z cm (Jackson et al. 1996)."""
    litter_layer: bool = False
    """Whether what falls on the surface stays in a litter layer above the mineral soil."""
    plough_depth_m: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Depth that the plough mixes each year, m; 0 for no plough."""
    input_group: Name
    """Group of land uses whose plant carbon has one factor, vegetation.input_factor.GROUP."""
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

    @model_validator(mode="after")
    def _consistent(self) -> LandUse:
        for name in ("plant_input_months", "manure_months"):
            total = sum(getattr(self, name))
            if abs(total - 1) > 1e-6:
                raise ValueError(f"{name} sums to {total:g}, not to 1")
        if self.npp is not None and self.plant_carbon_t_ha is not None:
            raise ValueError("give npp or plant_carbon_t_ha, not both")
        return self
