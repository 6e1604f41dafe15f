"""Run the study: families of runs that live through their common past once."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from diffsoil.cases import set_parameters
from diffsoil.cases.arrays import Plan, build, check, initial_state
from diffsoil.cases.fingerprint import case_files, checksum
from diffsoil.cases.fingerprint import fingerprint as of_case
from diffsoil.column import Column
from diffsoil.io import InputError
from diffsoil.options import Existing, Workers
from diffsoil.output.audit import first_loss
from diffsoil.processes.protection import MECHANISMS, modifier
from diffsoil.quantities import STOCKS, results
from diffsoil.state import State
from diffsoil.studies.vandermeij2026.scenarios import Scenario, Study, load_study
from diffsoil.time import Phase, Record, advance
from diffsoil.work import ensemble
from diffsoil.work.ensemble import Batch
from diffsoil.work.files import write_copy
from diffsoil.work.folder import Kind, OutputFolder, having, some
from diffsoil.work.pool import Pool, cluster
from diffsoil.work.progress import say
from diffsoil.work.store import Store

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

STORE = "runs.zarr"


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


def families(study: Study, scenarios: Sequence[Scenario]) -> list[Batch]:
    """Build all that runs need, a family for each setting of protection; nothing is computed yet.

    Args:
        study: the study.
        scenarios: runs; the rows of a batch are their places in this sequence.

    Raises:
        diffsoil.io.InputError: the case lacks something that the runs need.
    """
    description = study.description
    borders = (description.until[0], description.until[-1], description.recovery_until)
    plans = _plans(study, scenarios)
    batches = []
    for protection in description.protection:
        rows = tuple(i for i, s in enumerate(scenarios) if s.protection == protection)
        own = [plans[_history(study, scenarios[i])] for i in rows]
        if rows:
            batches.append(Batch(rows, family(column(study, protection), own, borders)))
    return batches


def _history(study: Study, scenario: Scenario) -> Scenario:
    """How much is protected is a matter of parameters; all else is the same."""
    return dataclasses.replace(scenario, protection=study.description.recovery.protection)


def _plans(study: Study, scenarios: Sequence[Scenario]) -> dict[Scenario, Plan]:
    """The arrays of each history, built once for all settings of protection."""
    column = study.base.column()
    plans = {}
    for history in dict.fromkeys(_history(study, s) for s in scenarios):
        case = study.case(history)
        plans[history] = build(case)
        check(plans[history], column, case)
    return plans


def column(study: Study, protection: str) -> Column:
    """The column of a setting of protection."""
    settings = study.settings(protection)
    where = f"protection {protection}"
    return set_parameters(study.base.column(), settings, study.base.path, where)


def template(study: Study, scenarios: Sequence[Scenario]) -> xr.Dataset:
    """What the store of some runs holds: names, units, coordinates; no values yet."""
    years = study.description.recovery_until
    grid = study.base.file.grid
    size = {"scenario": len(scenarios), "year": years, "depth_m": grid.layers}
    size["output_year"] = years // OUTPUT_INTERVAL
    about = {name: results()[name] for name in (*YEARLY, "soc", *PROFILES)}
    variables = {}
    for name, result in about.items():
        dims = ("scenario", *result.dims)
        nothing = np.broadcast_to(np.nan, [size[d] for d in dims])
        variables[name] = (dims, nothing, {"units": result.unit, "long_name": result.long_name})
    of_year = {"units": "year", "long_name": "calendar year, from 1"}
    coordinates = {
        "scenario": [s.name for s in scenarios],
        **{
            name: ("scenario", [getattr(s, name) for s in scenarios])
            for name in ("bioclimate", "protection", "land_use", "recovery", "rock")
        },
        "erosion": ("scenario", ["-".join(s.erosion) for s in scenarios]),
        "until": ("scenario", [study.until(s) for s in scenarios], of_year),
        "year": ("year", np.arange(1, years + 1), of_year),
        "output_year": (
            "output_year",
            np.arange(OUTPUT_INTERVAL, years + 1, OUTPUT_INTERVAL),
            {"units": "year", "long_name": "calendar year with profiles"},
        ),
        "depth_m": (
            "depth_m",
            (np.arange(grid.layers) + 0.5) * grid.thickness_m,
            {"units": "m", "long_name": "depth of the middle of the layer as laid down"},
        ),
    }
    attributes = {
        "title": study.base.file.title,
        "source": f"diffsoil {metadata.version('diffsoil')}",
        "case": study.base.text,
    }
    return xr.Dataset(variables, coordinates, attributes)


def fingerprint(study: Study) -> dict[str, Any]:
    """Tells whether two stores come from the same inputs and program."""
    return {
        **of_case(study.base),
        "description": checksum(study.description.model_dump_json()),
        "version": metadata.version("diffsoil"),
    }


KIND = Kind("study runs", "runs of the study", (), older=having(STORE), resumable=True, grows=True)


def run_study(
    output: Path,
    scenarios: Collection[str] = (),
    case: str | Path | None = None,
    existing: Existing = Existing(),
    workers: Workers = Workers(),
) -> None:
    """Run the study, or some of its runs, into ``output/runs.zarr``.

    Args:
        output: folder; made if it is not there.
        scenarios: names of runs; all if empty.
        case: what all runs have in common; the description's own if not given.
        existing: begin anew where there is a store, or go on with it; runs that are done are
            left as they are.
        workers: who computes.

    Raises:
        diffsoil.io.InputError: bad case, unknown run, or a store that is in the way or has other
            inputs.
    """
    study = load_study(case)
    chosen = study.chosen(scenarios)
    _plans(study, chosen)  # what is wrong with a run shows before a store is made or replaced
    place = OutputFolder(output, KIND, inputs=case_files(study.base))
    store = partial(
        Store.open,
        place.path / STORE,
        template(study, study.scenarios),
        fingerprint(study),
        resume=existing.resume,
    )
    with place, contextlib.ExitStack() as stack:
        made = None if existing.overwrite else store()
        pool = None
        if made is None or _left(study, made, chosen):
            # before anything is replaced: there may be no such workers
            pool = stack.enter_context(cluster(*dataclasses.astuple(workers)))
        made = made or store(overwrite=True)
        place.keep()
        _copy_fit(study, place.path)
        _compute(study, made, chosen, pool)
    say(f"study: {made.progress()} in {output / STORE}")


def read_runs(
    folder: Path,
    names: Sequence[str],
    chosen: Callable[[xr.Dataset], np.ndarray] | None = None,
) -> xr.Dataset:
    """Results of the runs in a folder, in memory.

    Args:
        folder: that :func:`run_study` wrote.
        names: variables and labels that are needed.
        chosen: tells the numbers of the runs that are needed; all if not given.

    Raises:
        diffsoil.io.InputError: there are none, or some of them are missing.
    """
    path, again = folder / STORE, f"diffsoil study run -o {folder}"
    if not path.exists():
        raise InputError(f"{path}: does not exist; make it with: {again}")
    store = Store(path)
    with store.dataset() as dataset:
        lacking = [n for n in names if n not in dataset.variables]
        if lacking:
            raise InputError(f"{path}: is no suite of the study, it has no {lacking[0]}")
        wanted = np.arange(store.done.size) if chosen is None else chosen(dataset)
        missing = [store.rows[row] for row in wanted if not store.done[row]]
        if missing:
            raise InputError(
                f"{path}: {len(missing)} of {wanted.size} runs are missing ({some(missing)}); "
                f"go on with: {again} --resume"
            )
        return dataset[list(names)].isel(scenario=wanted).load()


def _left(study: Study, store: Store, chosen: Sequence[Scenario]) -> list[Scenario]:
    """The runs that are not there yet."""
    left = [s for s, done in zip(study.scenarios, store.done, strict=True) if not done]
    return [s for s in left if s in chosen]


def _compute(study: Study, store: Store, chosen: Sequence[Scenario], pool: Pool | None) -> None:
    """Compute what is not there yet."""
    for file in store.damaged:
        say(f"study: {file} is damaged; its runs are computed again")
    left = _left(study, store, chosen)
    say(f"study: {len(left)} of {len(chosen)} runs to compute")
    if not left or pool is None:
        return
    place = {scenario: row for row, scenario in enumerate(study.scenarios)}
    batches = [
        Batch(tuple(place[left[row]] for row in batch.rows), batch.argument)
        for batch in families(study, left)
    ]
    ensemble.run(whole, batches, store, pool, lambda text: say(f"study: {text}"))


def _copy_fit(study: Study, output: Path) -> None:
    """Tables that a fit left beside its case go where the report looks for them."""
    for name in ("targets.csv", "inputs.csv"):
        beside = study.base.path.with_name(f"{study.base.path.stem}_{name}")
        if beside.is_file():
            write_copy(output / name, beside)
