"""A small column of the whole soil for tests: a metre of loess in ten layers of 0.1 m."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from diffsoil.cases import Case, load_case
from diffsoil.cases.arrays import Plan, build, initial_state
from diffsoil.cases.horizons import composition
from diffsoil.cases.profiles import Mineralogy
from diffsoil.column import Column
from diffsoil.parameters import Parameter
from diffsoil.process import Environment
from diffsoil.processes.texture import ground_totals
from diffsoil.state import BUDGET, CATIONS, MINERALS, SIZES, SOLUTES, Ground, State, empty_state
from diffsoil.time import Phase

LAYERS, THICKNESS = 10, 0.1
STEPS, YEARS = 20, 10
"""Slow steps of a phase, and years in each."""

SERIES = ("added_calcite", "added_minerals", "added_solutes", "added_nitrogen", "removed_layers")
"""What comes and goes at times; everything else stays the same in a phase."""

POOR = {
    "clay": {"kaolinite": 0.7, "gibbsite": 0.1, "goethite": 0.2},
    "silt": {"quartz": 1.0},
    "sand": {"quartz": 1.0},
}
"""Minerals that hold no bases."""


@functools.cache
def forest() -> Case:
    """Calcareous loess under forest, on the small grid."""
    case = load_case("loess_wet_forest")
    grid = case.file.grid.model_copy(update={"layers": LAYERS, "thickness_m": THICKNESS})
    return dataclasses.replace(case, file=case.file.model_copy(update={"grid": grid}))


@functools.cache
def plan() -> Plan:
    """Arrays of the case."""
    return build(forest())


def start(column: Column) -> State:
    """The column of the case before it has lived."""
    return jax.tree.map(lambda x: x[0], initial_state(column, plan()))


def phase(steps: int = STEPS, years: int = YEARS, **changes: object) -> Phase:
    """A phase of the case.

    Args:
        steps: slow steps.
        years: in each.
        changes: values of variables; those of :data:`SERIES` are for each slow step, or one for
            all of them.
    """
    given = {k: v[0] for k, v in plan().history[0].constant.items()}
    constant = {k: v for k, v in given.items() if k not in SERIES}
    series = {k: jnp.zeros((steps, *given[k].shape)) for k in SERIES}
    for name, value in changes.items():
        new = jnp.asarray(value, dtype=float)
        if name in SERIES:
            if new.ndim == given[name].ndim:
                new = jnp.broadcast_to(new, series[name].shape)
            series[name] = jnp.reshape(new, series[name].shape)
        else:
            constant[name] = jnp.broadcast_to(new, constant[name].shape)
    return Phase(steps=steps, years_per_step=years, constant=constant, series=series, yearly={})


def solutes(**amounts: float) -> jnp.ndarray:
    """Amounts by :data:`diffsoil.state.SOLUTES`."""
    return jnp.array([amounts.get(name, 0.0) for name in SOLUTES])


def minerals(size: str, **amounts: float) -> jnp.ndarray:
    """Amounts of minerals of one size class."""
    found = np.zeros((len(MINERALS), len(SIZES)))
    for name, amount in amounts.items():
        found[MINERALS.index(name), SIZES.index(size)] = amount
    return jnp.asarray(found)


def soil_of(
    clay: float,
    silt: float,
    shares: dict[str, dict[str, float]] = POOR,
    calcite: float = 0.0,
    bases: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0),
    ph: float = 4.5,
) -> tuple[State, dict[str, np.ndarray]]:
    """A column of something else, and what is parent material then.

    Args:
        clay, silt, calcite: mass %.
        shares: of the minerals by size class.
        bases: exchangeable, mmol_c/kg.
        ph: at the start.
    """
    mass = 1220.0 * THICKNESS
    per_kg, lime = composition(clay, silt, calcite, Mineralogy(**shares))
    labile = np.zeros(len(SOLUTES))
    labile[: len(CATIONS)] = mass * np.array(bases) / 1000
    parent = {
        "parent_minerals": mass * per_kg,
        "parent_calcite": np.asarray(mass * lime),
        "parent_labile": labile,
    }
    layered = [jnp.repeat(jnp.asarray(v)[..., None], LAYERS, axis=-1) for v in parent.values()]
    ground = Ground(
        *layered,
        ph=jnp.full(LAYERS, ph, float),
        respiration=jnp.zeros(LAYERS),
        gained=jnp.zeros(len(BUDGET)),
        lost=jnp.zeros(len(BUDGET)),
    )
    return empty_state(LAYERS, jnp.zeros(LAYERS), ground=ground), parent


def balance(before: State, after: State) -> np.ndarray:
    """Relative error of each balance of :data:`diffsoil.state.BUDGET` between two states."""
    assert before.ground is not None
    assert after.ground is not None
    came = after.ground.gained - before.ground.gained
    went = after.ground.lost - before.ground.lost
    there, now = ground_totals(before.ground), ground_totals(after.ground)
    scale = there + jnp.abs(came) + jnp.abs(went) + 1e-6
    return np.asarray(jnp.abs(now + went - there - came) / scale)


def carbon_error(before: State, after: State) -> float:
    """Relative error of the balance of organic carbon between two states."""
    came = before.stock() + after.added - before.added
    went = after.respired - before.respired + after.eroded - before.eroded
    went = went + after.leached - before.leached
    return float(jnp.abs(after.stock() + went - came) / (came + 1e-6))


def middle(parameter: Parameter) -> float:
    """A value between the default of a parameter and the middle of its bounds."""
    return 0.8 * parameter.default + 0.1 * (parameter.lower + min(parameter.upper, 1e3))


def exchange_site(
    layers: int,
    percolation: float | np.ndarray,
    pco2: float | np.ndarray = 4e-3,
    cec: float = 90.0,
    temperature: float = 10.0,
    density: float = 1220.0,
    thickness: float = THICKNESS,
) -> Environment:
    """All that exchange needs, of a loess of given drainage (mm/a) and soil air (atm)."""
    yearly = np.broadcast_to(np.asarray(percolation, dtype=float), (layers,))
    return {
        "cec": jnp.full(layers, cec, float),
        "organic_matter": jnp.zeros(layers),
        "mineral_mass": jnp.full(layers, density * thickness * 10.0, float),
        "thickness": jnp.full(layers, thickness, float),
        "depth_top": thickness * jnp.arange(layers, dtype=float),
        "soil_temperature": jnp.full((12, layers), temperature, float),
        "water_content": jnp.full((12, layers), 0.3, float),
        "percolation": jnp.asarray(np.repeat(yearly[None] / 12, 12, axis=0)),
        "pco2": jnp.asarray(np.broadcast_to(np.asarray(pco2, dtype=float), (layers,))),
        "silicon_space": jnp.full(layers, 0.3, float),
    }


def exchange_start(
    layers: int,
    calcite: float | np.ndarray = 0.0,
    base_saturation: float = 100.0,
    cec: float = 90.0,
    density: float = 1220.0,
    thickness: float = THICKNESS,
) -> State:
    """A column for exchange alone: calcite in mol/m3, bases 85 : 10 : 4 : 1."""
    capacity = cec * density * thickness / 1000
    bases = capacity * base_saturation / 100 * np.array([0.85, 0.10, 0.04, 0.01, 0, 0])
    each = np.broadcast_to(np.asarray(calcite, dtype=float) * thickness, (layers,))
    ground = Ground(
        minerals=jnp.zeros((len(MINERALS), len(SIZES), layers)),
        calcite=jnp.asarray(each),
        labile=jnp.asarray(np.repeat(bases[:, None], layers, axis=1)),
        ph=jnp.full(layers, 7.0, float),
        respiration=jnp.zeros(layers),
        gained=jnp.zeros(len(BUDGET)),
        lost=jnp.zeros(len(BUDGET)),
    )
    return empty_state(layers, jnp.zeros(layers), ground=ground)
