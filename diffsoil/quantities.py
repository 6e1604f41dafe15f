"""Quantities: all that can be read from a run, by name, with unit and owner.

Three kinds. What is in the state at the end of each year (:data:`YEARLY`); variables of the slow
steps that have an output (:class:`diffsoil.variables.Variable`); and what results make of both
(:data:`DERIVED`). Files of results, targets of sensitivity studies and observations all ask here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array

import diffsoil.column  # noqa: F401  (its processes declare their variables)
from diffsoil.process import Environment
from diffsoil.processes.geometry import overlap
from diffsoil.processes.texture import ground_totals
from diffsoil.state import State
from diffsoil.variables import VARIABLES

# In the state at the end of a year.


@dataclasses.dataclass(frozen=True)
class Yearly:
    """What can be recorded at the end of each year.

    Attributes:
        of: its value, of the state and the environment of the slow step.
        field: field of the state that it is of.
        long_name: what it is; empty where results do not have it under this name.
        by_layer: whether its last axis is that of the layers.
    """

    of: Callable[[State, Environment], Array]
    field: str
    long_name: str = ""
    by_layer: bool = False


def _radiocarbon(state: State, environment: Environment) -> Array:
    return jnp.sum(_radiocarbon_pools(state, environment), axis=0)


def _radiocarbon_pools(state: State, environment: Environment) -> Array:
    return jnp.zeros_like(state.carbon) if state.radiocarbon is None else state.radiocarbon


def _litter(state: State, environment: Environment) -> Array:
    return jnp.sum(state.litter)


def _budget(state: State, environment: Environment) -> Array:
    """Elements and solids of the ground, less all that came and plus all that went."""
    ground = state.ground
    assert ground is not None
    return ground_totals(ground) - ground.gained + ground.lost


def _gained(state: State, environment: Environment) -> Array:
    assert state.ground is not None
    return state.ground.gained


def _stock(upper: float, lower: float) -> Callable[[State, Environment], Array]:
    """Carbon of the mineral soil between two depths, m."""

    def between(state: State, environment: Environment) -> Array:
        thickness, depth = environment["thickness"], environment["depth_top"]
        return jnp.sum(state.carbon * overlap(depth, thickness, upper, lower)[None])

    return between


_topsoil, _subsoil = _stock(0.0, 0.25), _stock(0.25, 1.0)


def _to_a_metre(state: State, environment: Environment) -> Array:
    mineral = _topsoil(state, environment) + _subsoil(state, environment)
    return mineral + _litter(state, environment)


STOCKS: dict[str, Yearly] = {
    name: Yearly(of, "carbon", f"organic carbon stock, {place}, at the end of the year")
    for name, of, place in (
        ("soc_stock_0_25", _topsoil, "0-25 cm"),
        ("soc_stock_25_75", _stock(0.25, 0.75), "25-75 cm, to the bottom of a shallower column"),
        ("soc_stock_25_100", _subsoil, "25-100 cm, to the bottom of a shallower column"),
        (
            "soc_stock_0_100",
            _to_a_metre,
            "0-100 cm, to the bottom of a shallower column, with litter",
        ),
    )
} | {
    "litter_stock": Yearly(
        _litter, "litter", "organic carbon stock, litter layer, at the end of the year"
    )
}
"""Stocks of organic carbon of every year, Mg C/ha."""

YEARLY: dict[str, Yearly] = STOCKS | {
    "soc": Yearly(lambda state, _: jnp.sum(state.carbon, axis=0), "carbon", by_layer=True),
    "pools": Yearly(lambda state, _: state.carbon, "carbon", by_layer=True),
    "radiocarbon": Yearly(_radiocarbon, "radiocarbon", by_layer=True),
    "radiocarbon_pools": Yearly(_radiocarbon_pools, "radiocarbon", by_layer=True),
    "respired": Yearly(lambda state, _: state.respired, "respired"),
    "added": Yearly(lambda state, _: state.added, "added"),
    "eroded": Yearly(lambda state, _: state.eroded, "eroded"),
    "leached": Yearly(lambda state, _: state.leached, "leached"),
    "ground_budget": Yearly(_budget, "ground"),
    "ground_gained": Yearly(_gained, "ground"),
}
"""What can be recorded at the end of each year; carbon in Mg C/ha."""

# In files of results.


@dataclasses.dataclass(frozen=True)
class Result:
    """What a result is: dimensions besides the treatment, unit, name, and who computes it.

    ``variable`` is the variable of the column it is made of; ``process`` the owner where
    no variable tells it; ``months`` what is done with monthly values.
    """

    dims: tuple[str, ...]
    unit: str
    long_name: str
    variable: str = ""
    process: str = ""
    months: Literal["", "mean", "sum"] = ""

    @property
    def by_layer(self) -> bool:
        """Whether it is one value of each layer."""
        return self.dims == ("output_year", "depth_m")


DERIVED: dict[str, Result] = {
    "carbon_input": Result(
        ("year",), "Mg ha-1", "organic carbon added in the year", process="vegetation manure"
    ),
    "co2_respired": Result(
        ("year",), "Mg ha-1", "carbon respired as CO2 in the year", process="carbon"
    ),
    "carbon_eroded": Result(
        ("year",), "Mg ha-1", "organic carbon carried away in the year", process="erosion"
    ),
    "carbon_leached": Result(
        ("year",),
        "Mg ha-1",
        "dissolved organic carbon that left below in the year",
        process="carbon",
    ),
    "soc": Result(
        ("output_year", "depth_m"),
        "Mg ha-1",
        "organic carbon of the layer, at the end of the year",
        process="carbon",
    ),
    "soc_pool": Result(
        ("output_year", "pool", "depth_m"),
        "Mg ha-1",
        "organic carbon of the layer by pool, at the end of the year",
        process="carbon",
    ),
    "delta14c": Result(
        ("output_year", "depth_m"),
        "1e-3",
        "Delta 14C of the layer's organic carbon, per mille, at the end of the year",
        process="carbon",
    ),
    "precipitation": Result(
        ("output_year",), "mm", "precipitation, sum of the year", "precipitation"
    ),
    "evapotranspiration": Result(
        ("output_year",),
        "mm",
        "rain that met the demand directly, and water drawn from the soil, sum of the year",
        "evapotranspiration",
    ),
    "water_adjustment": Result(
        ("output_year",),
        "mm",
        "water gained (+) or lost (-) at the start of the year because a prescribed change of "
        "the bulk density changed the pores",
        "water_content",
    ),
    "water_residual": Result(
        ("output_year",),
        "mm",
        "largest residual of Richards' equation of a layer and day since the output year before; "
        "water is conserved, but the fluxes of a day with more than 0.001 mm are approximate",
        "water_residual",
    ),
}
"""Results that are more than a variable or a stock, made by :mod:`diffsoil.output.simulation`."""


def results() -> dict[str, Result]:
    """Every result that a file may hold, by name."""
    stocks = {
        name: Result(("year",), "Mg ha-1", about.long_name, process="carbon")
        for name, about in STOCKS.items()
    }
    return stocks | DERIVED | layer_results()


def layer_results() -> dict[str, Result]:
    """Results that are variables of the column by layer, by name."""
    found = {}
    for name, about in VARIABLES.items():
        output = about.named(name)
        if not output:
            continue
        words = about.long_name.replace("at the end of the month", "at the ends of the months")
        words = words.replace(" in the month", "")
        words += f", {about.months} of the year" if about.months else ""
        by = tuple(dim for dim in about.dims if dim not in ("month", "layer"))
        dims = ("output_year", *by, "depth_m")
        found[output] = Result(dims, about.unit, words, variable=name, months=about.months)
    return found
