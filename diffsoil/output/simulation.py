"""Simulate a case: from a file to a trajectory, and to a file of results."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import jax
import numpy as np
from jaxtyping import Array

from diffsoil.cases import Case, load_case, set_parameters
from diffsoil.cases.arrays import Plan, begin, build, check, gather, prepare_plan, select
from diffsoil.cases.fingerprint import case_files
from diffsoil.cases.measured import told
from diffsoil.column import Column
from diffsoil.io import InputError
from diffsoil.output.audit import first_loss
from diffsoil.output.trajectory import OUTPUT_INTERVAL, Trajectory
from diffsoil.process import Environment
from diffsoil.processes.richards import LINEAR
from diffsoil.processes.texture import ground_totals
from diffsoil.programs import kept_program
from diffsoil.quantities import STOCKS, layer_results
from diffsoil.state import BUDGET, ELEMENTS, State
from diffsoil.time import Phase, Record, advance
from diffsoil.units import MM_PER_CM, MM_PER_M
from diffsoil.work.files import write_netcdf
from diffsoil.work.output_file import OutputFile, netcdf_with
from diffsoil.work.progress import say

WATER = (
    "precipitation",
    "evapotranspiration",
    "percolation",
    "water_content",
    "initial_water",
    "interception",
    "runoff",
    "water_residual",
)
"""Variables that the water balance is made of, besides the thickness of the layers."""

LARGE_RESIDUAL = MM_PER_CM * LINEAR
"""mm; a simulation whose water has a larger one says so."""

IS_RUN = netcdf_with("processes", "balance_carbon")
"""Whether a file is a run that :func:`simulate_file` wrote."""

SILENT_SECONDS = 2.0
"""A run that takes longer says what it is doing."""


class Progress:
    """Lines on what is being done, from two seconds after the start on."""

    def __init__(self) -> None:
        self._now = ""
        self._late = False
        self._lock = threading.Lock()
        self._timer = threading.Timer(SILENT_SECONDS, self._begin)
        self._timer.daemon = True

    def __enter__(self) -> Progress:
        """Start the clock."""
        self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the clock."""
        self._timer.cancel()

    def say(self, text: str) -> None:
        """What begins now."""
        with self._lock:
            self._now = text
            if self._late:
                self._print()

    def warn(self, text: str) -> None:
        """What the user has to know, however short the run."""
        with self._lock:
            say(text)

    def _begin(self) -> None:
        with self._lock:
            self._late = True
            self._print()

    def _print(self) -> None:
        if self._now:
            say(self._now)


def simulate(
    case: Case | str | Path,
    column: Column | None = None,
    treatments: Collection[str] | None = None,
) -> Trajectory:
    """Run a case through its whole history.

    Args:
        case: a case, or the name or path of one.
        column: the column to use; the case's own if not given.
        treatments: names of the treatments (or of the sites of a case without treatments) to
            simulate; all if not given.

    Raises:
        diffsoil.io.InputError: bad case, unknown treatment, or a column that does not fit it.
    """
    case = case if isinstance(case, Case) else load_case(case)
    column = column or case.column()
    plan = _checked_plan(case, column, treatments)
    with Progress() as progress:
        return _simulated(case, column, plan, progress)


def simulate_file(
    case: str | Path,
    settings: Mapping[str, float],
    output: str | Path,
    overwrite: bool = False,
    treatments: Collection[str] = (),
) -> None:
    """Simulate a case into a netCDF file; everything is checked before anything is computed.

    Args:
        case: name or path of a case.
        settings: full parameter name -> value, over those of the case.
        output: file to write, whole or not at all.
        overwrite: replace it if it is there.
        treatments: names of the treatments to simulate; all if empty.

    Raises:
        diffsoil.io.InputError: as :func:`simulate`, an unknown parameter, a value outside its
            bounds, or an output that is there already.
    """
    read = load_case(case)
    target = OutputFile(output, overwrite, like=IS_RUN, inputs=case_files(read))
    column = set_parameters(read.column(), dict(settings), read.path, "--set")
    plan = _checked_plan(read, column, treatments or None)
    with target, Progress() as progress:
        trajectory = _simulated(read, column, plan, progress)
        progress.say(f"writing {output}")
        with target.writing() as unfinished:
            write_netcdf(unfinished, trajectory.to_netcdf())


def _checked_plan(case: Case, column: Column, treatments: Collection[str] | None) -> Plan:
    plan = build(case)
    check(plan, column, case)
    return plan if treatments is None else select(plan, treatments, case.path)


@kept_program
def _advance(
    column: Column, phase: Phase, states: State, record: Record
) -> tuple[State, Environment]:
    result: tuple[State, Environment] = jax.vmap(lambda p, s: advance(column, p, s, record))(
        phase, states
    )
    return result


@kept_program
def _stock_of_all(states: State) -> Array:
    return jax.vmap(State.stock)(states)


def _simulated(case: Case, column: Column, plan: Plan, progress: Progress) -> Trajectory:
    progress.say(f"{case.name}: climate and water of {len(plan.members)} treatments")
    by_step = _by_step()
    ready, states = begin(column, prepare_plan(column, plan, keep=by_step))
    if ready.measured is not None:
        for line in told(ready.sites, ready.measured, ready.history[0], states):
            progress.warn(f"{case.path}: {line}")
    member = np.array(plan.site_of)
    pieces = _Pieces(case, column, plan.members, states, member)
    provided = {name for process in column.processes for name in process.provides}
    phases = [*ready.history, *([ready.experiment] if ready.experiment else [])]
    for number, phase in enumerate(phases):
        experiment = number == len(ready.history)
        if experiment:
            states = gather(states, plan.site_of)
        progress.say(
            f"{case.name}: {'experiment' if experiment else f'history, phase {number + 1}'}, "
            f"{phase.years} years in steps of {phase.years_per_step}"
        )
        given = {*phase.constant, *phase.series}
        record = Record(
            yearly=_yearly(plan), steps=tuple(n for n in by_step if n in provided - given)
        )
        states, kept = _advance(column, phase, states, record)
        index = np.arange(len(member)) if experiment else member
        pieces.add(phase, kept, index, 1 if experiment else OUTPUT_INTERVAL)
    if pieces.unsolved:
        progress.warn(f"{case.path}: {pieces.unsolved}")
    return Trajectory(
        case=case,
        column=column,
        members=plan.members,
        sites=tuple(plan.sites[i] for i in plan.site_of),
        year=plan.start_year + np.arange(pieces.years),
        output_year=plan.start_year - 1 + np.concatenate(pieces.output_year),
        values={name: np.concatenate(parts, axis=1) for name, parts in pieces.values.items()},
        balances=pieces.balances,
    )


def _by_step() -> tuple[str, ...]:
    """Variables of the slow steps that results are made of."""
    return tuple(dict.fromkeys([*(r.variable for r in layer_results().values()), *WATER]))


def _yearly(plan: Plan) -> tuple[str, ...]:
    """What is recorded in every year."""
    names = [*STOCKS, "pools", "added", "respired", "eroded", "leached"]
    if plan.radiocarbon:
        names.append("radiocarbon")
    if plan.ground is not None:
        names += ["ground_budget", "ground_gained"]
    return tuple(names)


class _Pieces:
    """Results of one phase after the other, by member; the audit goes along."""

    def __init__(
        self,
        case: Case,
        column: Column,
        members: Sequence[str],
        states: State,
        member: np.ndarray,
    ) -> None:
        stock = _array(_stock_of_all(states))[member]
        self._case = case
        self._column = column
        self._members = members
        self.years = 0
        self.unsolved = ""
        self.output_year: list[np.ndarray] = []
        self.values: dict[str, list[np.ndarray]] = {}
        self.balances = {"carbon": 0.0, "water": 0.0}
        self._stock = stock
        self._before = dict.fromkeys(
            ("added", "respired", "eroded", "leached"), np.zeros_like(stock)
        )
        self._water: np.ndarray | None = None
        if states.ground is not None:
            self._ground = _array(jax.vmap(ground_totals)(states.ground))[member]
            self.balances |= {"calcium": 0.0, "solids": 0.0, "elements": 0.0}

    def add(self, phase: Phase, kept: Environment, member: np.ndarray, interval: int) -> None:
        """Take in a phase.

        Args:
            phase: as prepared, with a leading axis of sites or members.
            kept: what was recorded of it.
            member: index of each member along that axis.
            interval: years that lie at least between two output years.

        Raises:
            diffsoil.io.InputError: something is not finite; where and when that begins.
        """
        # one entry of a step stands for all where nothing changes
        by_step = {k: _array(v)[member][:, None] for k, v in phase.constant.items()}
        by_step |= {k: _array(v)[member] for k, v in phase.series.items()}
        of_steps = _by_step()
        by_step |= {k: _array(v)[member] for k, v in kept.items() if k in of_steps}
        by_year = {k: _array(v)[member] for k, v in kept.items() if k not in of_steps}
        self._refuse_not_finite(phase, by_step, by_year)
        spacing = -(-interval // phase.years_per_step)
        steps = np.arange(phase.steps)[::-1][::spacing][::-1]
        last = (steps + 1) * phase.years_per_step - 1
        parts = self._carbon(by_year)
        parts |= _by_layer(phase, by_year, by_step, steps, last)
        parts |= self._water_balance(phase, by_step, steps)
        if "water_residual" in by_step:
            parts["water_residual"] = self._water_residual(phase, by_step["water_residual"], steps)
        if "ground_budget" in by_year:
            self._ground_balance(by_year)
        for name, part in parts.items():
            self.values.setdefault(name, []).append(part)
        self.output_year.append(self.years + last + 1)
        self.years += phase.years

    def _refuse_not_finite(
        self, phase: Phase, by_step: dict[str, np.ndarray], by_year: dict[str, np.ndarray]
    ) -> None:
        processes = self._column.processes
        if loss := first_loss(processes, by_step, by_year, phase.years_per_step):
            member, year, what = loss
            year += self.years
            raise InputError(
                f"{self._case.path}: {self._members[member]}: {what}, from the year "
                f"{self._case.file.start_year + year} (year {year + 1} of the run) on; this soil, "
                "weather or parameter is beyond what the process can compute"
            )

    def _carbon(self, by_year: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Yearly stocks and fluxes, Mg C/ha, [member, year], and their balance."""
        added, respired = by_year["added"], by_year["respired"]
        storage = by_year["pools"].sum(axis=(2, 3)) + by_year["litter_stock"]
        present = self._stock[:, None] + added
        error = np.abs(present - respired - by_year["eroded"] - by_year["leached"] - storage)
        relative = np.divide(error, present, out=error, where=present > 0)
        self._worst("carbon", relative)
        results = {"carbon_input": "added", "co2_respired": "respired"}
        if "ground_budget" in by_year:
            results["carbon_eroded"] = "eroded"
        if "leached" in self._column.carbon.changes:
            results["carbon_leached"] = "leached"
        changes = {
            result: np.diff(by_year[name], axis=1, prepend=self._before[name][:, None])
            for result, name in results.items()
        }
        self._before = {name: by_year[name][:, -1] for name in self._before}
        return {name: by_year[name] for name in STOCKS} | changes

    def _water_balance(
        self, phase: Phase, by_step: dict[str, np.ndarray], steps: np.ndarray
    ) -> dict[str, np.ndarray]:
        """Yearly water of the output steps, mm, [member, output_year], and its balance."""
        rain, met = by_step["precipitation"], by_step["interception"]
        taken = by_step["evapotranspiration"].sum(axis=-1)
        infiltration = rain - met - by_step["runoff"]
        mm = by_step["thickness"][:, :, None] * MM_PER_M
        water = by_step["water_content"] * mm
        start = by_step["initial_water"]
        before = np.concatenate([start.sum(axis=-1)[:, :, None], water.sum(axis=-1)[:, :, :-1]], 2)
        flux = infiltration - taken - by_step["percolation"][..., -1]
        error = np.abs(np.cumsum(water.sum(axis=-1) - before - flux, axis=-1)).max(axis=-1)
        scale = rain.sum(axis=-1) + water.sum(axis=-1).max(axis=-1)
        self._worst("water", error / scale)
        end = water[:, :, -1]
        # one year that stands for many has no year before it
        left = start
        if phase.years_per_step == 1 and end.shape[1] > 1:
            first = start[:, 0] if self._water is None else self._water
            left = np.concatenate([first[:, None], end[:, :-1]], axis=1)
        self._water = end[:, -1]
        values = {
            "precipitation": rain.sum(axis=-1),
            "evapotranspiration": (taken + met).sum(axis=-1),
            "water_adjustment": (start - left).sum(axis=-1),
        }
        return {name: _at(value, phase, steps) for name, value in values.items()}

    def _water_residual(self, phase: Phase, residual: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The largest residual since the output step before; the first large one is put down."""
        every = np.broadcast_to(residual, (len(residual), phase.steps))
        large = every > LARGE_RESIDUAL
        if large.any() and not self.unsolved:
            step = int(large.any(axis=0).argmax())
            member = int(every[:, step].argmax())
            self.unsolved = (
                f"{self._members[member]}: Richards' equation (process 'water') did not converge "
                f"on single days, first in the year "
                f"{self._case.file.start_year + self.years + step * phase.years_per_step} with a "
                f"residual of {every[member, step]:.2g} mm; water is conserved, but the fluxes of "
                "such days are approximate (water_residual in the results)"
            )
        return np.maximum.reduceat(every, np.concatenate([[0], steps[:-1] + 1]), axis=1)

    def _ground_balance(self, by_year: dict[str, np.ndarray]) -> None:
        """Elements and solids: what is there less gains and plus losses must stay."""
        error = np.abs(by_year["ground_budget"] - self._ground[:, None])
        present = self._ground[:, None] + by_year["ground_gained"]
        relative = np.divide(error, present, out=error, where=present > 0)
        self._worst("calcium", relative[..., BUDGET.index("calcium")])
        self._worst("solids", relative[..., BUDGET.index("solids")])
        self._worst("elements", relative[..., : len(ELEMENTS)])

    def _worst(self, what: str, relative: np.ndarray) -> None:
        # of NumPy, which keeps what is not a number
        self.balances[what] = float(np.maximum(self.balances[what], relative.max()))


def _by_layer(
    phase: Phase,
    by_year: dict[str, np.ndarray],
    by_step: dict[str, np.ndarray],
    steps: np.ndarray,
    last: np.ndarray,
) -> dict[str, np.ndarray]:
    """Results by layer at the output years, [member, output_year, ..., layer]."""
    pools = by_year["pools"][:, last]
    soc = pools.sum(axis=2)
    values = {"soc": soc, "soc_pool": pools}
    if "radiocarbon" in by_year:
        empty = np.full_like(soc, np.nan)
        activity = np.divide(by_year["radiocarbon"][:, last], soc, out=empty, where=soc > 0)
        values["delta14c"] = 1000.0 * (activity - 1.0)
    for name, about in layer_results().items():
        if about.variable not in by_step:
            continue
        value = by_step[about.variable]
        if about.months == "mean":
            value = value.mean(axis=2)
        elif about.months == "sum":
            value = value.sum(axis=2)
        values[name] = _at(value, phase, steps)
    return values


def _at(value: np.ndarray, phase: Phase, steps: np.ndarray) -> np.ndarray:
    """Values of some steps, [member, step, ...]; a constant is the same at all of them."""
    shape = (value.shape[0], phase.steps, *value.shape[2:])
    return np.broadcast_to(value, shape)[:, steps]


def _array(values: Array) -> np.ndarray:
    return np.asarray(values)
