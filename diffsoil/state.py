"""What a soil column remembers (state) and the names of all it computes (variables)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

POOLS = ("DPM", "RPM", "BIO", "HUM", "IOM")
"""Decomposable and resistant plant material, biomass, humus, inert organic matter."""

ACTIVE = 4
"""The first four pools decompose; IOM does not."""


MINERALS = (
    "quartz",
    "k_feldspar",
    "albite",
    "anorthite",
    "muscovite",
    "chlorite",
    "illite",
    "montmorillonite",
    "kaolinite",
    "gibbsite",
    "goethite",
    "volcanic_glass",
)
"""Minerals besides calcite, which is kept apart because it dissolves within a slow step."""

SIZES = ("clay", "silt", "sand")
"""Size classes of the fine earth: < 2, 2-50, 50-2000 um. Calcite counts as silt."""

CATIONS = ("calcium", "magnesium", "potassium", "sodium")
"""Exchangeable bases."""

SOLUTES = (*CATIONS, "silicon", "anions")
"""What moves with water: the bases and the anions of strong acids in mol_c, silicon in mol."""

CHARGE = (2.0, 2.0, 1.0, 1.0, 1.0, 1.0)
"""mol_c in a mol of each solute (for silicon mol in a mol)."""

ELEMENTS = (*SOLUTES, "aluminium", "iron")
"""Elements whose amounts are audited, mol/m2."""

BUDGET = (*ELEMENTS, "solids")
"""What is audited in the ground: elements in mol/m2, solids in kg/m2."""


class Ground(eqx.Module):
    """The mineral soil of one column. Amounts are per m2 of soil surface."""

    minerals: Float[Array, "mineral size layer"]
    """Minerals by size class, mol/m2."""
    calcite: Float[Array, " layer"]
    """Calcite, mol/m2."""
    labile: Float[Array, "solute layer"]
    """Exchangeable and dissolved bases and dissolved anions, mol_c/m2; silicon, mol/m2."""
    ph: Float[Array, " layer"]
    """pH of the soil solution in the last slow step."""
    respiration: Float[Array, " layer"]
    """CO2 from the decomposition of organic carbon in the last year, Mg C/ha/a."""
    gained: Float[Array, " budget"]
    """What has entered since the start, by :data:`BUDGET`."""
    lost: Float[Array, " budget"]
    """What has left since the start, by :data:`BUDGET`."""


class State(eqx.Module):
    """Prognostic state of one column. Amounts are per hectare of soil surface."""

    carbon: Float[Array, "5 layer"]
    """Organic carbon by pool and layer, Mg C/ha."""
    litter: Float[Array, "4"]
    """Organic carbon of the litter layer by pool, Mg C/ha."""
    water: Float[Array, " layer"]
    """Water in each layer, mm."""
    radiocarbon: Float[Array, "5 layer"] | None
    """Carbon times its 14C activity (1 = modern), Mg C/ha; None when 14C is not followed."""
    litter_radiocarbon: Float[Array, "4"] | None
    """The same for the litter layer."""
    added: Float[Array, ""]
    """Organic carbon that has entered since the start, Mg C/ha."""
    respired: Float[Array, ""]
    """Carbon that has left as CO2 since the start, Mg C/ha."""
    eroded: Float[Array, ""]
    """Organic carbon carried away by erosion, less that of material from below, Mg C/ha."""
    ground: Ground | None
    """The mineral soil; None when the case prescribes it."""

    def stock(self) -> Float[Array, ""]:
        """All organic carbon of the column and its litter layer, Mg C/ha."""
        return jnp.sum(self.carbon) + jnp.sum(self.litter)


ORGANIC = ("carbon", "litter", "radiocarbon", "litter_radiocarbon")
"""Fields of the state that what moves organic matter moves together."""


def empty_state(
    layers: int,
    iom: Float[Array, " layer"],
    radiocarbon: bool = False,
    ground: Ground | None = None,
) -> State:
    """A column of parent material: dry, and with no organic carbon but inert one.

    Args:
        layers: number of layers.
        iom: inert organic carbon by layer, Mg C/ha; it carries no 14C.
        radiocarbon: follow 14C.
        ground: the mineral soil, when it is to develop.
    """
    carbon = jnp.zeros((len(POOLS), layers)).at[-1].set(iom)
    litter = jnp.zeros(ACTIVE)
    return State(
        carbon=carbon,
        litter=litter,
        water=jnp.zeros(layers),
        radiocarbon=jnp.zeros_like(carbon) if radiocarbon else None,
        litter_radiocarbon=jnp.zeros_like(litter) if radiocarbon else None,
        added=jnp.zeros(()),
        respired=jnp.zeros(()),
        eroded=jnp.zeros(()),
        ground=ground,
    )


@dataclasses.dataclass(frozen=True)
class Variable:
    """A named quantity of the environment of a column.

    ``neutral`` stands in for what a removed process would have provided, or a case that has
    nothing to say of it; without one the process needs a stand-in of its own
    (:meth:`diffsoil.process.Process.stand_in`), or else cannot be removed where another process
    needs the variable.
    """

    dims: tuple[str, ...]
    unit: str
    long_name: str
    neutral: float | None = None


LAYER = ("layer",)
MONTH = ("month",)
MONTH_LAYER = ("month", "layer")
MONTH_POOL_PLACE = ("month", "active_pool", "place")

VARIABLES: dict[str, Variable] = {
    # given by the case
    "clay_percent": Variable(LAYER, "%", "clay (< 2 um)"),
    "silt_percent": Variable(LAYER, "%", "silt (2-50 um)"),
    "bulk_density": Variable(LAYER, "g cm-3", "dry bulk density"),
    "soil_mass": Variable(LAYER, "Mg ha-1", "dry soil mass of the layer when laid down"),
    "mineral_mass": Variable(LAYER, "Mg ha-1", "mineral mass of the layer"),
    "reference_organic_matter": Variable(LAYER, "%", "organic matter for water retention"),
    "one_to_one_share": Variable(LAYER, "1", "1:1 share of the 1:1 and 2:1 clay minerals"),
    "calcite_fraction": Variable(LAYER, "kg kg-1", "calcite"),
    "base_saturation": Variable(LAYER, "%", "base saturation of the exchanger"),
    "dissolved_al_fe": Variable(LAYER, "mmol dm-3", "dissolved Al3+, Fe3+ and Fe2+"),
    "air_temperature": Variable(MONTH, "degC", "air temperature"),
    "precipitation": Variable(MONTH, "mm", "precipitation in the month"),
    "potential_evapotranspiration": Variable(MONTH, "mm", "potential evapotranspiration"),
    "cover": Variable(MONTH, "1", "share of the ground under plants"),
    "plant_input": Variable(
        ("group",), "Mg ha-1", "carbon of plants in a year, by input group (sorted)"
    ),
    "plant_input_months": Variable(MONTH, "1", "share of the yearly plant input in each month"),
    "leaf_share": Variable((), "1", "share of the plant input that arrives at the surface"),
    "root_beta": Variable((), "1", "root distribution coefficient"),
    "litter_layer": Variable((), "1", "1 where leaves make a litter layer, 0 elsewhere"),
    "dpm_rpm_ratio": Variable((), "1", "ratio of DPM to RPM in the plant input"),
    "manure_input": Variable((), "Mg ha-1", "carbon of farmyard manure in a year"),
    "manure_months": Variable(MONTH, "1", "share of the yearly manure in each month"),
    "plough_depth": Variable((), "m", "depth that is ploughed each year, 0 for none"),
    "atmosphere_14c": Variable(
        (), "1", "14C activity of fresh plant carbon (1 = modern)", neutral=1.0
    ),
    # given by the case where the whole soil develops
    "mineral_bulk_density": Variable(LAYER, "g cm-3", "bulk density of the soil without humus"),
    "cec_offset": Variable(LAYER, "mmol kg-1", "CEC beyond that of clay and organic carbon"),
    "parent_minerals": Variable(("mineral", "size"), "mol m-2", "minerals of a layer laid down"),
    "parent_calcite": Variable((), "mol m-2", "calcite of a layer laid down"),
    "parent_labile": Variable(("solute",), "mol m-2", "labile bases of a layer laid down"),
    "dust_minerals": Variable(("mineral", "size"), "mol m-2", "minerals of the dust of a year"),
    "dust_calcite": Variable((), "mol m-2", "calcite of the dust of a year"),
    "deposited_solutes": Variable(("solute",), "mol m-2", "solutes (mol_c) in the rain of a year"),
    "added_minerals": Variable(("mineral", "size"), "mol m-2", "minerals added in the slow step"),
    "added_calcite": Variable((), "mol m-2", "calcite added in the slow step"),
    "added_solutes": Variable(("solute",), "mol m-2", "bases (mol_c) added in the slow step"),
    "amendment_depth": Variable((), "m", "depth over which additions are spread, 0: on the top"),
    "removed_layers": Variable((), "1", "1 if the uppermost layer goes as the slow step begins"),
    "erosion_rate": Variable((), "m a-1", "continuous erosion"),
    "litter_cations": Variable(("solute",), "mol kg-1", "bases (mol_c) in plant dry matter"),
    "harvest_share": Variable((), "1", "share of the plants that is taken away"),
    # computed
    "thickness": Variable(LAYER, "m", "thickness of the layer"),
    "depth_top": Variable(LAYER, "m", "depth of the upper face of the layer"),
    "soil_temperature": Variable(MONTH_LAYER, "degC", "soil temperature"),
    "field_capacity": Variable(LAYER, "m3 m-3", "water content at field capacity"),
    "wilting_point": Variable(LAYER, "m3 m-3", "water content at the wilting point"),
    "water_content": Variable(MONTH_LAYER, "m3 m-3", "water content at the end of the month"),
    "moisture_deficit": Variable(MONTH_LAYER, "1", "deficit as share of the largest one"),
    "percolation": Variable(MONTH_LAYER, "mm", "water leaving the layer downwards in the month"),
    "evapotranspiration": Variable(MONTH_LAYER, "mm", "water taken from the layer in the month"),
    "interception": Variable(MONTH, "mm", "rain that evaporates before it enters the soil"),
    "runoff": Variable(MONTH, "mm", "rain that runs off the surface"),
    "initial_water": Variable(LAYER, "mm", "water at the start of the simulated year"),
    "water_residual": Variable((), "mm", "largest residual of Richards' equation in the year"),
    "climate_modifier": Variable(
        MONTH_LAYER, "1", "rate modifiers a, b and c multiplied", neutral=1.0
    ),
    "litter_modifier": Variable(
        MONTH, "1", "rate modifiers of the litter layer multiplied", neutral=1.0
    ),
    "mineral_percent": Variable(("mineral", "layer"), "%", "minerals in the mineral soil"),
    "exchangeable_bases": Variable(("cation", "layer"), "%", "bases, share of the exchanger"),
    "exchangeable_aluminium": Variable(LAYER, "%", "aluminium, share of the exchanger"),
    "organic_matter": Variable(LAYER, "%", "organic matter"),
    "porosity": Variable(LAYER, "m3 m-3", "pore volume"),
    "pco2": Variable(LAYER, "atm", "partial pressure of CO2 in soil air"),
    "ph": Variable(LAYER, "1", "pH of the soil solution"),
    "cec": Variable(LAYER, "mmol kg-1", "cation exchange capacity (mol_c)"),
    "dissolved_bases": Variable(LAYER, "mol m-3", "bases in the soil solution (mol_c)"),
    "silicon_space": Variable(LAYER, "m", "water that would hold the dissolved and sorbed Si"),
    "drainage": Variable(LAYER, "m", "water leaving the layer downwards in the slow step"),
    "mean_temperature": Variable(LAYER, "degC", "soil temperature, mean of the year"),
    "mesopores": Variable(LAYER, "m3 m-3", "pores drained between 20 and 600 hPa"),
    "micropores": Variable(LAYER, "m3 m-3", "pores still full at 600 hPa"),
    "modifier_overall": Variable(LAYER, "1", "rate modifier by protection", neutral=1.0),
    "plant_carbon": Variable(MONTH_POOL_PLACE, "Mg ha-1", "plant carbon by month, pool and place"),
    "manure_carbon": Variable(
        MONTH_POOL_PLACE, "Mg ha-1", "manure carbon by month, pool and place", neutral=0.0
    ),
    "plough_fraction": Variable(LAYER, "1", "share of the layer that is ploughed", neutral=0.0),
    "fauna_fraction": Variable(LAYER, "1", "share of the layer mixed by fauna in a year"),
    "fauna_share": Variable(LAYER, "1", "share of the mixed material that returns to the layer"),
    "annual_map": Variable(
        ("source", "active_pool", "place"), "1", "one year of decomposition as a linear map"
    ),
    "annual_co2": Variable(("source", "place"), "1", "CO2 of one year as a linear map"),
    "annual_input": Variable((), "Mg ha-1", "carbon added in a year"),
}
"""Every name a process may need or provide. ``place`` is the litter layer, then the layers.

Those of what can be chosen or added from outside are declared beside it (:func:`declare`).
"""

DECLARED: dict[str, Variable] = {}
"""Those that were."""


def declare(variables: Mapping[str, Variable]) -> None:
    """Add variables to :data:`VARIABLES`, once.

    Raises:
        ValueError: a name is there already and means something else.
    """
    for name, variable in variables.items():
        if VARIABLES.get(name, variable) != variable:
            raise ValueError(f"there is a variable {name!r} already: {VARIABLES[name].long_name}")
    new = {name: of for name, of in variables.items() if name not in VARIABLES}
    VARIABLES.update(new)
    DECLARED.update(new)
