"""Simulate the sites of a table: batches of columns side by side, into one store.

Beside the store, which has the whole result, lie ``summary.csv`` with the stocks of each site in
the last year, ``refused.csv`` with the rows of the table that have none, and why, and a report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Array

from diffsoil.cases import Case, load_case
from diffsoil.cases.arrays import Plan, balance, build, check, initial_state, prepare_plan
from diffsoil.cases.fingerprint import case_files, checksum_of, digest
from diffsoil.cases.fingerprint import fingerprint as of_case
from diffsoil.cases.kinds import at_site, names_of
from diffsoil.cases.measured import why_unmet
from diffsoil.cases.sites import Climates, Refused, Site, Table, Template, read_sites
from diffsoil.column import Column
from diffsoil.forward import computed
from diffsoil.options import Existing, ManySites, Workers
from diffsoil.output.attributes import CONVENTIONS, DEPTH, discovery, extent, of_variable
from diffsoil.output.simulation import Progress
from diffsoil.process import Environment
from diffsoil.processes.protection import MECHANISMS, modifier
from diffsoil.programs import kept_program
from diffsoil.quantities import STOCKS, results
from diffsoil.state import State
from diffsoil.time import Phase, Record, advance
from diffsoil.work import ensemble
from diffsoil.work.ensemble import Batch
from diffsoil.work.files import write_table
from diffsoil.work.folder import Kind, OutputFolder, having
from diffsoil.work.pool import cluster
from diffsoil.work.progress import say
from diffsoil.work.store import Store

STORE, SUMMARY, REFUSED = "sites.zarr", "summary.csv", "refused.csv"
LAST = (SUMMARY, "report.html", "stocks.png")
"""What is written when all sites are there."""

KIND = Kind("sites", "simulated sites", (), older=having(STORE), resumable=True, grows=True)

PROFILES = (
    "thickness",
    "bulk_density",
    "clay",
    "one_to_one_share",
    "calcite",
    "base_saturation",
    "ph",
    "dissolved_al_fe",
    *map(modifier, (*MECHANISMS.own, "overall")),
)
"""Profiles that are kept of the last year besides that of the carbon."""

OF_SITES = {
    "carbon_input": ("Mg ha-1", "organic carbon added in a year, mean of the last phase"),
    "mean_temperature": ("degC", "air temperature, mean of the year, of the last phase"),
    "precipitation": ("mm", "precipitation, sum of the year, of the last phase"),
    "balance_carbon": (
        "1",
        "carbon added - respired - eroded - leached - change of storage, relative to all carbon",
    ),
}
"""Numbers that are kept of each site: unit and meaning."""

LOCATION = ("latitude", "longitude", "land_use")

WORDS = ("table of sites", "table of profiles")
"""What inputs are called where they have changed."""

FAULT = "fault"
NOT_FINITE, NO_BALANCE = 1, 2
FAULTS = {
    0: ("simulated", ""),
    NOT_FINITE: ("not_finite", "the run is not finite: this soil or weather is beyond the model"),
    NO_BALANCE: ("no_balance", "the measured stock has no balance with this land use and climate"),
}
"""What may become of a run: a word, and what is said of it."""


def simulate_sites(
    table: Path,
    case: str | Path,
    output: Path,
    profiles: Path | None = None,
    kept: ManySites = ManySites(),
    existing: Existing = Existing(),
    workers: Workers = Workers(),
) -> None:
    """Simulate the sites of a table into a folder; rows that are wrong are left out and listed.

    Args:
        table: CSV file with a row for each site, see :mod:`diffsoil.cases.sites`.
        case: name or path of the case that says all else.
        output: folder; made if it is not there.
        profiles: CSV file of horizons, where the table has none.
        kept: size of batches, and years that are kept.
        existing: begin anew where there is a store, or go on with it.
        workers: who computes.

    Raises:
        diffsoil.io.InputError: a bad case or header, no row that is a site, or a folder that is
            in the way or has other inputs.
    """
    template = Template(load_case(case))
    inputs = [path for path in (table, profiles) if path is not None]
    place = OutputFolder(output, KIND, inputs=[*inputs, *case_files(template.case)])
    with Progress() as progress:
        progress.say(f"{table}: checking its rows")
        read = read_sites(table, template, profiles)
    if read.refused:
        total = len(read.refused) + len(read.sites)
        say(f"{table}: {len(read.refused)} of {total} rows are refused: {output / REFUSED}")
    runs = Runs(template, kept.every, profiles_of(template, read))
    fingerprint = {
        **of_case(template.case),
        **{f"the {word}": checksum_of(path) for word, path in zip(WORDS, inputs, strict=False)},
        "a climate": digest({name: of.to_csv() for name, of in sorted(read.climates.items())}),
        "version": metadata.version("diffsoil"),
        **{f"--{key}": value for key, value in dataclasses.asdict(kept).items()},
    }
    store = functools.partial(
        Store.open,
        place.path / STORE,
        _template(template.case, read, runs.profiles, kept.every),
        fingerprint,
        resume=existing.resume,
    )
    with place, contextlib.ExitStack() as stack:
        made = None if existing.overwrite else store()
        pool = None
        if made is None or not made.done.all():
            # before anything is replaced: there may be no such workers
            pool = stack.enter_context(cluster(*dataclasses.astuple(workers)))
        made = made or store(overwrite=True)
        place.keep()
        _write_refused(place.path, read.refused)
        for name in LAST:  # of an earlier run
            (place.path / name).unlink(missing_ok=True)
        for file in made.damaged:
            say(f"{file} is damaged; its sites are computed again")
        if pool is not None:
            ensemble.run(runs, _batches(read, kept.batch), made, pool, say)
        failed = _write_tables(place.path, template.case.file.title, made, read)
    refused = sorted([*read.refused, *failed])
    total = len(read.sites) + len(read.refused)
    say(f"{table}: {total - len(refused)} of {total} rows are simulated: {output / SUMMARY}")
    if refused:
        line, name, reason = refused[0]
        where = f"such as line {line}, {name or 'without a name'}: {reason}"
        say(f"{table}: {len(refused)} of {total} rows are refused: {output / REFUSED}; {where}")


ROUNDED = 8
"""Sites in the batch of a small table are filled up to a multiple of this."""


def _batches(table: Table, size: int) -> list[Batch]:
    """The sites in batches, in their order."""
    batches = []
    for begin_at in range(0, len(table.sites), size):
        sites = table.sites[begin_at : begin_at + size]
        named = {site.climate for site in sites if isinstance(site.climate, str)}
        climates = {name: table.climates[name] for name in sorted(named)}
        # a batch of another length would be a program of its own
        length = min(size, -(-len(table.sites) // ROUNDED) * ROUNDED)
        rows = tuple(range(begin_at, begin_at + len(sites)))
        batches.append(Batch(rows, Together(tuple(sites), climates, length)))
    return batches


class Together(NamedTuple):
    """Sites that are computed side by side; the last one fills the batch up."""

    sites: tuple[Site, ...]
    climates: Climates
    length: int


def profiles_of(template: Template, table: Table) -> tuple[str, ...]:
    """Profiles that there are, of the first site; what all sites lack is refused.

    Raises:
        diffsoil.io.InputError: a process needs what the case does not give.
    """
    case = template.case_of(table.sites[:1], table.climates)
    plan, column = build(case), case.column()
    check(dataclasses.replace(plan, measured=None), column, case)
    there, about = computed(column, plan), results()
    return tuple(name for name in PROFILES if about[name].variable in there)


@dataclasses.dataclass(frozen=True)
class Runs:
    """Runs sites side by side; what workers are given.

    Attributes:
        template: what is the same at all sites.
        every: years between the stocks that are kept.
        profiles: names of those that are kept.
    """

    template: Template
    every: int
    profiles: tuple[str, ...]

    @functools.cached_property
    def _column(self) -> Column:
        return self.template.case.column()

    def __call__(self, of: Together) -> dict[str, np.ndarray]:
        """Results of some sites, by name, [site, ...]; NaN where there is a fault."""
        case = self.template.case_of(of.sites, of.climates)
        names = [site.name for site in of.sites]
        places = np.minimum(np.arange(of.length), len(names) - 1)
        plan = jax.tree.map(lambda leaf: leaf[places], build(case))
        each = tuple(map(str, range(of.length)))
        plan = dataclasses.replace(plan, members=each, sites=each, site_of=tuple(range(of.length)))
        lived, unmet = self._lived(plan)
        values = {name: np.asarray(value)[: len(names)] for name, value in lived.items()}
        values |= _weather(case, names)
        fault = np.zeros(len(names))
        for value in values.values():
            fault[~np.isfinite(value).reshape(len(names), -1).all(axis=1)] = NOT_FINITE
        fault[unmet[unmet < len(names)]] = NO_BALANCE
        for name, value in values.items():
            values[name] = np.where(fault.reshape(-1, *[1] * (value.ndim - 1)) == 0, value, np.nan)
        return values | {FAULT: fault}

    def _lived(self, plan: Plan) -> tuple[dict[str, Array], np.ndarray]:
        """What is kept of the runs of a plan, [site, ...], and the sites without a balance."""
        about = results()
        variables = {name: about[name].variable for name in self.profiles}
        column, unmet = self._column, np.zeros(0, dtype=int)
        plan = prepare_plan(column, plan, keep=tuple(variables.values()))
        if plan.measured is None:
            states = initial_state(column, plan)
        else:
            found = balance(column, plan)
            unmet = np.array([*map(int, why_unmet(plan.sites, plan.measured, found))], dtype=int)
            plan = dataclasses.replace(plan, history=(found.phase, *plan.history[1:]))
            states = found.state
        begun = states
        stocks: list[dict[str, Array]] = []
        for phase in plan.history:
            before = states
            there = {*phase.constant, *phase.series}
            last = phase is plan.history[-1]
            steps = tuple(v for v in variables.values() if last and v not in there)
            record = Record(yearly=tuple(STOCKS), steps=steps)
            states, kept, at_end = _advance(column, phase, states, record, self.every)
            stocks.append(kept)
        values = {name: jnp.concatenate([of[name] for of in stocks], axis=1) for name in STOCKS}
        given = phase.constant | {k: v[:, -1] for k, v in phase.series.items()} | at_end
        values |= {name: given[variable] for name, variable in variables.items()}
        values["soc"] = states.carbon.sum(axis=1)
        values["carbon_input"] = (states.added - before.added) / phase.years
        values["balance_carbon"] = _closure(begun, states)
        return values, unmet


@kept_program
def _advance(
    column: Column, phase: Phase, states: State, record: Record, every: int
) -> tuple[State, Environment, Environment]:
    """A phase of all sites: their states, stocks of some years, and variables of the last step."""

    def one(phase: Phase, state: State) -> tuple[State, Environment, Environment]:
        state, kept = advance(column, phase, state, record)
        first = (phase.years - 1) % every
        stocks = {name: kept[name][first::every] for name in record.yearly}
        return state, stocks, {name: kept[name][-1] for name in record.steps}

    result: tuple[State, Environment, Environment] = jax.vmap(one)(phase, states)
    return result


def _closure(begun: State, ended: State) -> Array:
    """Carbon that is not accounted for, by all of it, of each site."""
    present = jax.vmap(State.stock)(begun) + ended.added
    left = jax.vmap(State.stock)(ended) + ended.respired + ended.eroded + ended.leached
    return jnp.abs(present - left) / jnp.where(present > 0, present, 1.0)


def _weather(case: Case, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Temperature and rain of each site in the last phase."""
    tables = [case.climate[at_site(case.file.history[-1].climate, name)] for name in names]
    return {
        "mean_temperature": np.array([table["temperature_c"].mean() for table in tables]),
        "precipitation": np.array([table["precipitation_mm"].sum() for table in tables]),
    }


# What is written.


def _template(case: Case, table: Table, profiles: Sequence[str], every: int) -> xr.Dataset:
    """What the store holds: names, units, coordinates; no values yet."""
    sites, grid = table.sites, case.file.grid
    years = np.concatenate(
        [
            first + np.arange((last - first) % every, last - first + 1, every)
            for first, last in case.file.spans()
        ]
    )
    edges = np.arange(grid.layers + 1) * grid.thickness_m
    size = {"site": len(sites), "year": years.size, "depth_m": grid.layers}
    about = results()
    variables: dict[str, Any] = {}

    def add(name: str, dims: tuple[str, ...], attributes: dict[str, Any]) -> None:
        nothing = np.broadcast_to(np.nan, [size[dim] for dim in dims])
        variables[name] = (dims, nothing, attributes)

    for name in STOCKS:
        add(name, ("site", "year"), of_variable(name, about[name]))
    for name in ("soc", *profiles):
        add(name, ("site", "depth_m"), of_variable(name, about[name]))
    for name, (unit, meaning) in OF_SITES.items():
        add(name, ("site",), {"units": unit, "long_name": meaning})
    flags = {
        "long_name": "what became of the run",
        "flag_values": [float(code) for code in FAULTS],
        "flag_meanings": " ".join(word for word, _ in FAULTS.values()),
    }
    add(FAULT, ("site",), flags)
    of_last = names_of(case.file.history[-1].land_use)[0]
    coordinates = {
        "site": ("site", [site.name for site in sites], {"cf_role": "timeseries_id"}),
        "line": ("site", [site.line for site in sites], {"long_name": "line of the table"}),
        "land_use": ("site", [site.land_use or of_last for site in sites], {}),
        "latitude": (
            "site",
            [site.latitude for site in sites],
            {"units": "degrees_north", "standard_name": "latitude"},
        ),
        "longitude": (
            "site",
            [site.longitude for site in sites],
            {"units": "degrees_east", "standard_name": "longitude"},
        ),
        "year": ("year", years, {"units": "year", "long_name": "calendar year"}),
        "depth_m": (
            "depth_m",
            0.5 * (edges[:-1] + edges[1:]),
            DEPTH,
        ),
        "depth_bounds": (("depth_m", "bound"), np.stack([edges[:-1], edges[1:]], axis=1), {}),
    }
    attributes = {
        "Conventions": CONVENTIONS,
        **discovery(case, f"simulate-sites of {table.path.name}"),
        **extent(case),
        "case": case.text,
        "comment": "Stocks are those at the end of the year, profiles those of the last year.",
    }
    return xr.Dataset(variables, coordinates, attributes)


def _write_refused(folder: Path, refused: Sequence[Refused]) -> None:
    write_table(folder / REFUSED, pd.DataFrame(refused, columns=Refused._fields))


def _write_tables(folder: Path, title: str, store: Store, table: Table) -> list[Refused]:
    """Write what is read first; the sites of which nothing came are refused."""
    with store.dataset() as of:
        faults = of[FAULT].to_numpy().astype(int)
        failed = [
            Refused(site.line, site.name, FAULTS[fault][1])
            for site, fault in zip(table.sites, faults, strict=True)
            if fault
        ]
        refused = sorted([*table.refused, *failed])
        _write_refused(folder, refused)
        sites = of.isel(site=faults == 0)
        summary = pd.DataFrame({name: sites[name].to_numpy() for name in ("site", *LOCATION)})
        summary["year"] = int(of["year"][-1])
        for name in OF_SITES:
            summary[name] = sites[name].to_numpy()
        for name in STOCKS:
            summary[name] = sites[name].isel(year=-1).to_numpy()
        write_table(folder / SUMMARY, summary, float_format="%.6g")
        if len(summary):
            from diffsoil.output.sites_report import write_report  # which workers need not load

            write_report(folder, title, sites, summary, refused)
    return failed
