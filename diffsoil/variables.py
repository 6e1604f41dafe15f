"""Variables: what a column computes with, by name; those of a case here, others by their process.

A variable that has an :attr:`Variable.output` is in files of results, can be a target of
sensitivity studies and can be observed; no other file lists it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Variable:
    """A named quantity of the environment of a column.

    Attributes:
        dims: its dimensions.
        unit: in UDUNITS notation, ``1`` for none.
        long_name: what it is, in words.
        neutral: what stands in for it where the process that provides it is removed, or where a
            case has nothing to say of it. Without one the process needs a stand-in of its own
            (:meth:`diffsoil.process.Process.stand_in`), or else cannot be removed where another
            process needs the variable.
        output: whether results have it, or the name that it has there.
        months: what results have of monthly values, the mean or the sum of a year.
        share_of: what a sample of several layers has to be weighted by: the volume of the layers,
            the mass of their soil or of their minerals, or their exchange capacity; ``itself``
            where no sample has it, as the thickness of a layer or what leaves it downwards.
    """

    dims: tuple[str, ...]
    unit: str
    long_name: str
    neutral: float | None = None
    output: str | bool = False
    months: Literal["", "mean", "sum"] = ""
    share_of: Literal["volume", "soil", "minerals", "exchanger", "itself"] = "volume"

    def named(self, name: str) -> str:
        """What a variable of this name is called in results; empty if they do not have it."""
        return name if self.output is True else self.output or ""


LAYER = ("layer",)
MONTH = ("month",)
MONTH_LAYER = ("month", "layer")
QUALITIES = ("decomposable", "resistant", "humified")
"""Of carbon that enters the soil: what each of them is to a model of carbon, that model says."""

MONTH_QUALITY_PLACE = ("month", "quality", "place")
"""``place`` is the litter layer, then the layers."""

VARIABLES: dict[str, Variable] = {}
"""Every variable that a process may need or provide, by name."""


def declare(variables: Mapping[str, Variable]) -> None:
    """Add variables to :data:`VARIABLES`, once.

    Raises:
        ValueError: a name is there already and means something else, or the name of an output is
            that of another variable's.
    """
    outputs = {about.named(name): name for name, about in VARIABLES.items()}
    for name, about in variables.items():
        if VARIABLES.get(name, about) != about:
            raise ValueError(f"there is a variable {name!r} already: {VARIABLES[name].long_name}")
        output = about.named(name)
        if output and "layer" not in about.dims:
            raise ValueError(f"variable {name!r} has no layers, and cannot be an output")
        if output and outputs.get(output, name) != name:
            raise ValueError(f"variable {name!r}: {outputs[output]!r} has the output {output!r}")
    VARIABLES.update(variables)


declare(
    {
        "clay_percent": Variable(LAYER, "%", "clay (< 2 um)", output="clay", share_of="minerals"),
        "silt_percent": Variable(LAYER, "%", "silt (2-50 um)", output="silt", share_of="minerals"),
        "bulk_density": Variable(LAYER, "g cm-3", "dry bulk density", output=True),
        "soil_mass": Variable(LAYER, "Mg ha-1", "dry soil mass of the layer when laid down"),
        "mineral_mass": Variable(LAYER, "Mg ha-1", "mineral mass of the layer"),
        "reference_organic_matter": Variable(LAYER, "%", "organic matter for water retention"),
        "one_to_one_share": Variable(
            LAYER,
            "1",
            "1:1 share of the 1:1 and 2:1 clay minerals",
            output=True,
            share_of="minerals",
        ),
        "calcite_fraction": Variable(
            LAYER, "kg kg-1", "calcite", output="calcite", share_of="minerals"
        ),
        "base_saturation": Variable(
            LAYER,
            "%",
            "base saturation of the exchanger",
            output=True,
            share_of="exchanger",
        ),
        "dissolved_al_fe": Variable(
            LAYER, "mmol dm-3", "dissolved Al3+, Fe3+ and Fe2+", output=True
        ),
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
        # where the whole soil develops
        "mineral_bulk_density": Variable(LAYER, "g cm-3", "bulk density of the soil without humus"),
        "cec_offset": Variable(LAYER, "mmol kg-1", "CEC beyond that of clay and organic carbon"),
        "parent_minerals": Variable(
            ("mineral", "size"), "mol m-2", "minerals of a layer laid down"
        ),
        "parent_calcite": Variable((), "mol m-2", "calcite of a layer laid down"),
        "parent_labile": Variable(("solute",), "mol m-2", "labile bases of a layer laid down"),
        "dust_minerals": Variable(("mineral", "size"), "mol m-2", "minerals of the dust of a year"),
        "dust_calcite": Variable((), "mol m-2", "calcite of the dust of a year"),
        "deposited_solutes": Variable(
            ("solute",), "mol m-2", "solutes (mol_c) in the rain of a year"
        ),
        "added_minerals": Variable(
            ("mineral", "size"), "mol m-2", "minerals added in the slow step"
        ),
        "added_calcite": Variable((), "mol m-2", "calcite added in the slow step"),
        "added_solutes": Variable(("solute",), "mol m-2", "bases (mol_c) added in the slow step"),
        "added_nitrogen": Variable(
            (), "mol m-2", "nitrogen of ammonium fertiliser spread in the slow step"
        ),
        "amendment_depth": Variable(
            (), "m", "depth over which additions are spread, 0: on the top"
        ),
        "removed_layers": Variable(
            (), "1", "1 if the uppermost layer goes as the slow step begins"
        ),
        "erosion_rate": Variable((), "m a-1", "continuous erosion"),
        "litter_cations": Variable(("solute",), "mol kg-1", "bases (mol_c) in plant dry matter"),
        "harvest_share": Variable((), "1", "share of the plants that is taken away"),
        "uptake_shallowness_factor": Variable(
            (), "1", "factor of the vegetation on how shallow its uptake of bases is", neutral=1.0
        ),
    }
)
