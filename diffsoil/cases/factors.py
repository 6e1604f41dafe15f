"""Inputs of a study besides parameters: the weather that comes, the soil that was there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.cases.arrays import Plan
from diffsoil.parameters import UNIFORM, Parameter, Prior, lognormal, normal
from diffsoil.processes.minerals import CALCITE_MASS, MOLAR_MASS
from diffsoil.time import Phase

Change = Callable[[Plan, Float[Array, ""]], Plan]


@dataclasses.dataclass(frozen=True)
class Factor:
    """An input that changes what a case gives.

    Attributes:
        parameter: name, neutral value, range, prior and source, as those of a process.
        change: the plan with another value of it; traced.
        whole_soil: whether only a case whose mineral soil develops has it.
    """

    parameter: Parameter
    change: Change
    whole_soil: bool = False


def _each(*names: str, by: Callable[[Array, Array], Array]) -> Change:
    """Change some variables of all phases, wherever a phase has them."""

    def change(plan: Plan, value: Float[Array, ""]) -> Plan:
        def one(phase: Phase) -> Phase:
            constant = {k: by(v, value) if k in names else v for k, v in phase.constant.items()}
            series = {k: by(v, value) if k in names else v for k, v in phase.series.items()}
            return dataclasses.replace(phase, constant=constant, series=series)

        return plan.changed(one)

    return change


def _times(x: Array, factor: Array) -> Array:
    return x * factor


def _plus(x: Array, offset: Array) -> Array:
    return x + offset


def _material(change: Callable[..., tuple[Array, Array]]) -> Change:
    """Change what the soil is made of at the start, and the parent material below with it.

    Args:
        change: of minerals [..., mineral, size], calcite [...] and a value, gives those anew.
    """

    def of_plan(plan: Plan, value: Float[Array, ""]) -> Plan:
        ground = plan.ground
        assert ground is not None  # of a whole soil
        minerals, calcite = change(jnp.moveaxis(ground.minerals, -1, 1), ground.calcite, value)
        now = (jnp.moveaxis(minerals, 1, -1), calcite)
        new = eqx.tree_at(lambda g: (g.minerals, g.calcite), ground, now)

        def one(phase: Phase) -> Phase:
            names = ("parent_minerals", "parent_calcite")
            parent = change(*[phase.constant[name] for name in names], value)
            constant = phase.constant | dict(zip(names, parent, strict=True))
            return dataclasses.replace(phase, constant=constant)

        return dataclasses.replace(plan, ground=new).changed(one)

    return of_plan


def _calcite(minerals: Array, calcite: Array, factor: Array) -> tuple[Array, Array]:
    """Other minerals make room, so that a layer keeps its mass."""
    others = jnp.einsum("m,...ms->...", jnp.asarray(MOLAR_MASS), minerals)
    scale = 1.0 - (factor - 1.0) * CALCITE_MASS * calcite / others
    return minerals * scale[..., None, None], calcite * factor


def _clay(minerals: Array, calcite: Array, factor: Array) -> tuple[Array, Array]:
    """Silt and sand (without calcite) make room, so that a layer keeps its mass."""
    masses = jnp.einsum("m,...ms->...s", jnp.asarray(MOLAR_MASS), minerals)
    coarse = 1.0 - (factor - 1.0) * masses[..., 0] / (masses[..., 1] + masses[..., 2])
    scale = jnp.stack([jnp.broadcast_to(factor, coarse.shape), coarse, coarse], axis=-1)
    return minerals * scale[..., None, :], calcite


def _base_saturation(plan: Plan, factor: Float[Array, ""]) -> Plan:
    """Exchangeable bases alone; :func:`.arrays.settled` computes them from the horizons."""
    assert plan.horizons is not None  # of a whole soil
    bases = plan.horizons.bases * factor
    return eqx.tree_at(lambda of: of.horizons.bases, plan, bases)


def _factor(
    name: str,
    bounds: tuple[float, float],
    prior: Prior,
    why: str,
    description: str,
    change: Change,
    whole_soil: bool = False,
    neutral: tuple[float, str] = (1.0, "1"),
) -> Factor:
    parameter = Parameter(name, *neutral, *bounds, prior, f"assumption: {why}", description)
    return Factor(parameter, change, whole_soil)


FACTORS: dict[str, Factor] = {
    factor.parameter.name: factor
    for factor in (
        _factor(
            "forcing.precipitation", (0.5, 1.5), normal(1.0, 0.1),
            "means of the Holocene differ from today's by about a tenth",
            "factor on the precipitation of all months",
            _each("precipitation", by=_times),
        ),
        _factor(
            "forcing.pet", (0.5, 1.5), normal(1.0, 0.1),
            "formulas for evapotranspiration differ by about a tenth",
            "factor on the potential evapotranspiration of all months",
            _each("potential_evapotranspiration", by=_times),
        ),
        _factor(
            "forcing.temperature", (-4.0, 4.0), normal(0.0, 1.0),
            "means of the Holocene differ from today's by about 1 K",
            "added to the air temperature of all months",
            _each("air_temperature", by=_plus), neutral=(0.0, "K"),
        ),
        _factor(
            "forcing.plant_input", (0.3, 3.0), lognormal(1.0, 0.4),
            "input estimates are good to about half to double",
            "factor on the plant carbon of all land uses",
            _each("plant_input", by=_times),
        ),
        _factor(
            "forcing.deposition", (0.1, 5.0), lognormal(1.0, 0.5),
            "between remote, coastal and industrial sites",
            "factor on solutes in rain and on dust",
            _each("deposited_solutes", "dust_minerals", "dust_calcite", by=_times), whole_soil=True,
        ),
        _factor(
            "forcing.erosion", (0.0, 5.0), lognormal(1.0, 0.4),
            "erosion rates are known to about half",
            "factor on the rate of continuous erosion",
            _each("erosion_rate", by=_times), whole_soil=True,
        ),
        _factor(
            "forcing.amendments", (0.0, 2.0), normal(1.0, 0.25),
            "records of lime, rock, fertiliser and manure are good to about a quarter",
            "factor on all that is added to the soil by hand",
            _each("added_minerals", "added_calcite", "added_solutes", "added_nitrogen",
                  "manure_input", by=_times),
            whole_soil=True,
        ),
        _factor(
            "initial.calcite", (0.5, 1.5), normal(1.0, 0.15),
            "carbonate of one loess varies by some percent of itself",
            "factor on the calcite at the start and below; other minerals make room",
            _material(_calcite), whole_soil=True,
        ),
        _factor(
            "initial.clay", (0.5, 1.5), normal(1.0, 0.15),
            "clay of one loess varies by some percent of itself",
            "factor on the clay at the start and below; silt and sand make room",
            _material(_clay), whole_soil=True,
        ),
        _factor(
            "initial.base_saturation", (0.2, 1.0), UNIFORM,
            "from leached to what the case says",
            "factor on the exchangeable bases at the start and below",
            _base_saturation, whole_soil=True,
        ),
    )
}  # fmt: skip
"""All inputs that are no parameters of a process, by name."""
