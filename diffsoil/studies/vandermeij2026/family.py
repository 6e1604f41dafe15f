"""Families of runs: a tree of histories that lives through a common past once."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffsoil.cases.arrays import Plan, initial_state
from diffsoil.column import Column
from diffsoil.io import InputError
from diffsoil.output.audit import first_loss
from diffsoil.processes.protection import MECHANISMS, modifier
from diffsoil.quantities import STOCKS, results
from diffsoil.state import State
from diffsoil.time import Phase, Record, advance

OUTPUT_INTERVAL = 100
"""Years between two profiles that are kept."""

YEARLY = tuple(STOCKS)
"""Stocks kept of every year."""

PROFILES = (
    "thickness",
    "clay",
    "one_to_one_share",
    "calcite",
    "base_saturation",
    "ph",
    "dissolved_al_fe",
    *map(modifier, (*MECHANISMS.own, "overall")),
)
"""Profiles kept besides that of the carbon, of the slow step that ends with the output year."""


class Generation(eqx.Module):
    """A stretch of time of several nodes, each of which stands for one run or more.

    ``parent`` is the node of the generation before, or the site, that each node goes on from;
    the arrays of ``phase`` have a leading axis of nodes.
    """

    parent: tuple[int, ...] = eqx.field(static=True)
    phase: Phase


class Family(eqx.Module):
    """Runs with one set of parameters, as a tree: what they have in common is lived once.

    ``roots`` has the soils at the start; ``path`` names the node of each generation that each
    run goes through; ``years`` is how long the longest run could be.
    """

    column: Column
    roots: Plan
    generations: tuple[Generation, ...]
    path: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    years: int = eqx.field(static=True)


def family(column: Column, plans: Sequence[Plan], borders: Sequence[int]) -> Family:
    """Find what runs have in common.

    Args:
        column: of all of them.
        plans: of each run, with one site and one stretch of history each, in equal slow steps.
        borders: years at which runs may part; each plan ends with one of them. The last one is
            how long values are.
    """
    phases = [plan.history[0] for plan in plans]
    series = sorted({name for phase in phases for name in phase.series})
    paths: list[list[int]] = [[] for _ in plans]
    generations: list[Generation] = []
    roots: list[int] = []
    begin = 0
    for border in borders:
        alive = [run for run, phase in enumerate(phases) if phase.years >= border]
        if not alive:
            break
        nodes: dict[bytes, int] = {}
        parts: list[Phase] = []
        parents: list[int] = []
        for run in alive:
            part = _part(phases[run], series, begin, border)
            # the first generation goes on from a soil of its own
            before = paths[run][-1] if begin else len(parts)
            start = before if begin else (plans[run].ground, plans[run].iom)
            key = _digest((part, start))
            if key not in nodes:
                nodes[key] = len(parts)
                parts.append(part)
                parents.append(before)
                roots += [run] if begin == 0 else []
            paths[run].append(nodes[key])
        together = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
        generations.append(Generation(tuple(parents), together))
        begin = border
    first = jax.tree.map(lambda *x: jnp.concatenate(x), *[_soil(plans[run]) for run in roots])
    return Family(column, first, tuple(generations), tuple(map(tuple, paths)), borders[-1])


def _part(phase: Phase, series: Sequence[str], begin: int, end: int) -> Phase:
    """Some years of a phase, with the same variables in its series as the other runs have."""
    steps = slice(begin // phase.years_per_step, end // phase.years_per_step)
    length = steps.stop - steps.start

    def cut(name: str) -> Array:
        if name in phase.series:
            return jnp.asarray(np.asarray(phase.series[name])[:, steps])
        value = np.asarray(phase.constant[name])
        if name in series:
            value = np.broadcast_to(value[:, None], (len(value), length, *value.shape[1:]))
        return jnp.asarray(value)

    return Phase(
        steps=length,
        years_per_step=phase.years_per_step,
        constant={k: cut(k) for k in phase.constant if k not in series},
        series={name: cut(name) for name in series},
        yearly={},
    )


def _soil(plan: Plan) -> Plan:
    """The plan without its history, so that those of several runs can be put together."""
    return dataclasses.replace(plan, members=(), sites=(), site_of=(), history=(), experiment=None)


def _digest(tree: object) -> bytes:
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        found.update(np.ascontiguousarray(leaf).tobytes())
    return found.digest()


def live(of: Family, profiles: bool = True) -> list[dict[str, Array]]:
    """Run a family; pure JAX, so that it can be differentiated.

    Returns:
        Of each generation the yearly stocks [node, year], Mg/ha, and, if asked for, the
        profiles [node, output_year, layer].
    """
    states = _start(of.column, of.roots)
    kept = []
    for generation in of.generations:
        index = jnp.asarray(generation.parent)
        states = jax.tree.map(lambda x, i=index: x[i], states)
        states, results = _generation(of.column, generation.phase, states, profiles)
        kept.append(results)
    return kept


@jax.jit
def _start(column: Column, roots: Plan) -> State:
    return initial_state(column, roots)


@partial(jax.jit, static_argnames=("profiles", "together"))
def _generation(
    column: Column, phase: Phase, states: State, profiles: bool, together: bool = True
) -> tuple[State, dict[str, Float[Array, "node ..."]]]:
    """A generation, its nodes side by side or one after the other."""
    provided = {name for process in column.processes for name in process.provides}
    about = results()
    variables = {r: about[r].variable for r in PROFILES}
    variables = {r: v for r, v in variables.items() if profiles and v in provided}
    yearly = (*YEARLY, *(("soc",) if profiles else ()))
    record = Record(yearly, tuple(variables.values()))
    every = OUTPUT_INTERVAL // phase.years_per_step

    def one(phase: Phase, state: State) -> tuple[State, dict[str, Array]]:
        state, kept = advance(column, phase, state, record)
        values = {name: kept[name] for name in YEARLY}
        if profiles:
            values["soc"] = kept["soc"][OUTPUT_INTERVAL - 1 :: OUTPUT_INTERVAL]
        return state, values | {r: kept[v][every - 1 :: every] for r, v in variables.items()}

    result: tuple[State, dict[str, Array]]
    if together:
        result = jax.vmap(one)(phase, states)
    else:
        result = jax.lax.map(lambda node: one(*node), (phase, states))
    return result


def whole(of: Family) -> dict[str, np.ndarray]:
    """Run a family and put its runs together; values by run, NaN after its end."""
    pieces = live(of)
    _refuse_not_finite(of, pieces)
    return {name: _by_run(of, [piece[name] for piece in pieces]) for name in pieces[0]}


def stocks(of: Family) -> dict[str, np.ndarray]:
    """Yearly stocks of a family to 1 m with litter, Mg/ha, ``stock`` [run, year]."""
    pieces = live(of, profiles=False)
    _refuse_not_finite(of, pieces)
    return {"stock": _by_run(of, [piece["soc_stock_0_100"] for piece in pieces])}


def _refuse_not_finite(of: Family, pieces: Sequence[dict[str, Array]]) -> None:
    begin = 0
    for generation, piece in zip(of.generations, pieces, strict=True):
        values = {name: np.asarray(value) for name, value in piece.items()}
        years = generation.phase.years
        yearly = {name: value for name, value in values.items() if value.shape[1] == years}
        others = {name: value for name, value in values.items() if name not in yearly}
        loss = first_loss(of.column.processes, {}, yearly, 1)
        # profiles are of the ends of their intervals
        if loss := loss or first_loss(of.column.processes, others, {}, OUTPUT_INTERVAL):
            raise InputError(f"{loss[2]}, from year {begin + loss[1] + 1} of the run on")
        begin += years


class Slopes(NamedTuple):
    """How what a family is made of depends on some inputs.

    ``places`` are those of the ``inputs`` inputs that have an effect on it, in what follows just
    input, and ``begin`` the generation from which each of them has one. ``parameters`` has the
    derivative of each parameter of the column by each input, [input]; ``leaves`` that of the
    arrays of ``(roots, generations)``, by their place among the leaves of that tree,
    [input, ...]. What is in neither does not depend on any input.
    """

    places: tuple[int, ...]
    begin: tuple[int, ...]
    inputs: int
    parameters: dict[str, Float[np.ndarray, " input"]]
    leaves: dict[int, Float[np.ndarray, "input ..."]]


def stocks_and_slopes(
    argument: tuple[Family, Slopes],
) -> dict[str, np.ndarray]:
    """Yearly stocks of a family, and their exact derivatives by some inputs.

    Args:
        argument: the family, and how it depends on the inputs.

    Returns:
        ``stock`` [run, year], Mg/ha to 1 m with litter, and ``slope`` [run, year, input] by all
        inputs.
    """
    of, slopes = argument
    derivative, stock = _slopes(of, slopes.parameters, slopes.leaves, slopes.begin)
    found = _by_run(of, derivative)
    slope = np.zeros((*found.shape[:2], slopes.inputs))
    slope[..., list(slopes.places)] = found
    return {"stock": _by_run(of, stock), "slope": slope}


@partial(jax.jit, static_argnames="begin")
def _slopes(
    of: Family, by_parameter: dict[str, Array], by_leaf: dict[int, Array], begin: tuple[int, ...]
) -> tuple[list[Array], list[Array]]:
    """Derivatives [node, year, input] and values [node, year] of the stocks of each generation."""
    leaves, structure = jax.tree.flatten((of.roots, of.generations))
    values = of.column.values()
    here = jnp.zeros(len(begin))

    def moved(x: Float[Array, " input"]) -> Family:
        parameters = {name: values[name] + x @ slope for name, slope in by_parameter.items()}
        arrays = dict(enumerate(leaves))
        arrays |= {i: leaves[i] + jnp.tensordot(x, slope, 1) for i, slope in by_leaf.items()}
        roots, generations = jax.tree.unflatten(structure, [arrays[i] for i in range(len(leaves))])
        column = of.column.with_parameters(parameters)
        return Family(column, roots, generations, of.path, of.years)

    def born(x: Float[Array, " input"]) -> State:
        family = moved(x)
        start: State = _start(family.column, family.roots)
        return start

    def live_on(
        place: int, x: Float[Array, " input"], before: State
    ) -> tuple[State, Float[Array, "node year"]]:
        family = moved(x)
        generation = family.generations[place]
        index = jnp.asarray(generation.parent)
        before = jax.tree.map(lambda leaf: leaf[index], before)
        # with all derivatives at its side one node fills the cache of a CPU
        after, results = _generation(
            family.column, generation.phase, before, profiles=False, together=False
        )
        return after, results["soc_stock_0_100"]

    every = jnp.eye(len(begin))
    push = partial(jax.vmap, out_axes=(None, 0))
    states, changes = push(lambda way: jax.jvp(born, (here,), (way,)))(every)
    slopes, stocks = [], []
    for place in range(len(of.generations)):
        # an input that acts later would double the work of what comes before for nothing
        acting = jnp.asarray([i for i, first in enumerate(begin) if first <= place])

        def along(way: Array, change: State, place: int = place, now: State = states) -> tuple:
            found: tuple = jax.jvp(partial(live_on, place), (here, now), (way, change))
            return found

        own = jax.tree.map(lambda leaf, i=acting: leaf[i], changes)
        (states, stock), moving = push(along)(every[acting], own)
        changes, slope = jax.tree.map(
            lambda leaf, i=acting: jnp.zeros((len(begin), *leaf.shape[1:])).at[i].set(leaf), moving
        )
        slopes.append(jnp.moveaxis(slope, 0, -1))
        stocks.append(stock)
    return slopes, stocks


def _by_run(of: Family, pieces: Sequence[Array]) -> np.ndarray:
    """Values of each generation by node, one after the other by run; NaN after its end."""
    parts = [np.asarray(piece) for piece in pieces]
    ends = np.cumsum([part.shape[1] for part in parts])
    lived = sum(generation.phase.years for generation in of.generations)
    values = np.full((len(of.path), of.years * ends[-1] // lived, *parts[0].shape[2:]), np.nan)
    for run, path in enumerate(of.path):
        for part, node, end in zip(parts, path, ends, strict=False):
            values[run, end - part.shape[1] : end] = part[node]
    return values
