"""Speed, memory and compile time of the program on the machine it runs on."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
import io
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tomlkit
from jaxtyping import Array, Float

from diffsoil import _runtime, rothc
from diffsoil.cases import Case, load_case, read_case
from diffsoil.cases.arrays import Plan, build, prepare_plan, select
from diffsoil.cases.arrays import run as live
from diffsoil.column import Column
from diffsoil.io import data_path
from diffsoil.output.simulation import Progress
from diffsoil.processes import carbon
from diffsoil.time import Phase, Record
from diffsoil.work.output_file import OutputFile, table_with

CASE = "rothamsted"
HISTORY_YEARS = 12_000
SLOW_STEPS = (1, 10, 50)
WHOLE_SOIL = "loess_dry_agriculture"
JACOBIAN_OF = (
    "carbon.k_hum", "carbon.k_rpm", "protection.b1", "protection.b3a", "protection.b4",
    "exchange.log_k_calcium", "exchange.organic_anions", "weathering.field_factor",
    "water.bypass", "fauna.rate", "biocycling.factor", "soil_gas.root_respiration",
)  # fmt: skip
DEEP: dict[str, Any] = {
    "carbon": "rothc_passive",
    "mixing": "diffusion",
    "set": {"burial.depth": 0.08},
}
CHOSEN: dict[str, dict[str, Any]] = {
    "with passive pool, diffusion, buried litter": DEEP,
    "and bases by solution, weathering by transport": DEEP
    | {"biocycling": "solution", "weathering": "transport"},
    "with wet and dry years": {"water": "bucket_years"},
}
"""Choices of a case whose price is measured, each beside the case as it is."""
STUDY_RUNS, STUDY_STEPS = 72, 1000
"""As many runs, and as many slow steps of ten years, as the study of van der Meij & Finke."""
MEMBERS = 8
"""Parameter sets that are run side by side."""
YARDSTICK_LAYERS, YARDSTICK_YEARS = 40, 1000
"""Of RothC alone, by whose time for a month of a layer all others are divided."""
REPEATS = 7
ENOUGH_SECONDS = 10.0
"""A measurement that has taken longer is not repeated any more."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One row of the table; a ratio is to the time of another row of the same run.

    ``compile_s`` is with an empty cache, ``run_s`` the median of ``repeats`` runs after that;
    ``peak_mb`` is the largest memory of the program so far. ``layer_months`` counts the months of
    all layers that a run simulates, NaN where that says nothing.
    """

    what: str
    compile_s: float
    run_s: float
    repeats: int
    ratio: float
    ratio_to: str
    peak_mb: float
    layer_months: float = float("nan")


def run(
    output: Path | None = None, overwrite: bool = False, history: Path | None = None
) -> pd.DataFrame:
    """Measure, and show the table.

    Args:
        output: CSV file for the table, with the device and versions in every row.
        overwrite: replace it if it is there.
        history: CSV file that each run adds its rows to; the table then also has the times by the
            yardstick of the run before.

    Raises:
        diffsoil.io.InputError: a file that is there is not what would be written.
    """
    first = [field.name for field in dataclasses.fields(Measurement)][:2]
    target = None if output is None else OutputFile(output, overwrite, like=table_with(*first))
    kept = None if history is None else History(history)
    with target or contextlib.nullcontext(), kept or contextlib.nullcontext():
        with Progress() as progress, _runtime.without_cache():
            found = pd.DataFrame([dataclasses.asdict(m) for m in measurements(progress)])
        table = found.assign(to_rothc=to_rothc(found))
        if kept is not None:
            table["to_rothc_before"] = [kept.last().get(what, np.nan) for what in table["what"]]
        _show(table)
        if target is not None:
            with target.writing() as unfinished:
                table.assign(**machine()).to_csv(unfinished, index=False, float_format="%.6g")
        if kept is not None:
            kept.append(table)
    return table


def to_rothc(table: pd.DataFrame) -> pd.Series:
    """Times of a table as multiples of what RothC alone takes for as many months of layers.

    It is the first row; the multiples move less from machine to machine than seconds do.
    """
    yardstick = table["run_s"].iloc[0] / table["layer_months"].iloc[0]
    return table["run_s"] / (table["layer_months"] * yardstick)


HISTORY = ("date", "version", "machine", "quantity", "seconds", "to_rothc")
"""Columns of a history."""


class History:
    """A table that grows by the times of each run; what it holds is never changed.

    As a context it holds the lock of the file.

    Raises:
        diffsoil.io.InputError: a file that is there has other columns.
    """

    def __init__(self, path: Path) -> None:
        self._file = OutputFile(path, overwrite=True, like=_is_history)

    def __enter__(self) -> History:
        """Take the lock."""
        self._file.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Let it go."""
        self._file.__exit__(*error)

    def last(self) -> dict[str, float]:
        """The last time of each quantity, as a multiple of that of RothC alone."""
        rows = csv.DictReader(io.StringIO(self._text()))
        return {row["quantity"]: float(row["to_rothc"]) for row in rows if row["to_rothc"]}

    def append(self, table: pd.DataFrame) -> None:
        """Add a row for each time that has been measured."""
        about = machine()
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        before = self._text()
        if not before:
            writer.writerow(HISTORY)
        for row in table[table["repeats"] > 0].to_dict("records"):
            by_rothc = f"{row['to_rothc']:.6g}" if np.isfinite(row["to_rothc"]) else ""
            fixed = (now, about["diffsoil"], about["device"])
            writer.writerow([*fixed, row["what"], f"{row['run_s']:.6g}", by_rothc])
        gap = "" if not before or before.endswith("\n") else "\n"
        with self._file.writing() as unfinished:
            unfinished.write_text(before + gap + text.getvalue(), encoding="utf-8")

    def _text(self) -> str:
        path = self._file.path
        return path.read_text(encoding="utf-8") if path.exists() else ""


def _is_history(path: Path) -> bool:
    """Whether a file has the columns of a history and numbers where they should be."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        return tuple(header) == HISTORY and all(
            len(row) == len(HISTORY) and np.isfinite(float(row[-1] or 0)) for row in rows if row
        )
    except (OSError, ValueError, csv.Error):
        return False


def machine() -> dict[str, str]:
    """Device and versions."""
    device = jax.devices()[0]
    return {
        "device": f"{device.platform} {device.device_kind}, {os.cpu_count()} CPU cores",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("diffsoil", "jax", "jaxlib", "equinox")},
    }


def measurements(progress: Progress) -> Iterator[Measurement]:
    """All measurements, one after the other."""
    progress.say("benchmark: RothC alone, the yardstick")
    yield rothc_alone(YARDSTICK_LAYERS, YARDSTICK_YEARS)
    case = load_case(CASE)
    column, plan = case.column(), build(case)
    progress.say("benchmark: climate and water of the Rothamsted case")
    began = time.perf_counter()
    ready = jax.block_until_ready(prepare_plan(column, plan))
    yield _measurement("climate and water ahead (12 treatments)", time.perf_counter() - began)

    record = Record(yearly=("soc",))
    progress.say("benchmark: forward run")
    months = layer_months(plan)
    what = "forward run (12 treatments)"
    forward = _measure(what, _stocks, column, ready, record, months=months)
    yield forward

    progress.say("benchmark: gradient")
    free = tuple(n for n in case.priors() if not n.startswith("observation."))
    values = {name: jnp.asarray(column.values()[name]) for name in free}
    free_plan = prepare_plan(column, plan, free)
    gradient = jax.grad(lambda v, c, p, r: _stocks(c.with_parameters(v), p, r).mean())
    what = f"gradient, {len(free)} parameters"
    yield _measure(what, gradient, values, column, free_plan, record, of=forward, months=months)

    yield from _whole_soil(progress)

    progress.say("benchmark: RothC")
    yield _measure("RothC, spin-up and 100 years", rothc.run, *_rothc_inputs())

    reference = None
    for step in SLOW_STEPS:
        progress.say(f"benchmark: {HISTORY_YEARS} years in slow steps of {step}")
        history = _history(column, plan, step)
        what = f"{HISTORY_YEARS} years, slow step {step}"
        months = layer_months(history)
        measured = _measure(what, _final_stock, column, history, of=reference, months=months)
        reference = reference or measured
        yield measured
        if step == 10:
            progress.say(f"benchmark: {MEMBERS} parameter sets")
            rates = jnp.linspace(0.01, 0.03, MEMBERS)
            many = jax.vmap(_final_stock_of_rate, in_axes=(0, None, None))
            what, months = f"{MEMBERS} of them side by side", MEMBERS * months
            yield _measure(what, many, rates, column, history, of=measured, months=months)


def _whole_soil(progress: Progress) -> Iterator[Measurement]:
    """The whole soil over twelve thousand years, 40 layers, slow step 10."""
    case = load_case(WHOLE_SOIL)
    column, plan = case.column(), build(case)
    values = {name: jnp.asarray(value) for name, value in column.values().items()}
    progress.say("benchmark: whole soil")
    months = layer_months(plan)
    what = "whole soil, 12000 years"
    forward = _measure(what, yearly_stocks, values, column, plan, months=months)
    yield forward
    for choice, of in CHOSEN.items():
        progress.say(f"benchmark: it {choice}")
        other = _choosing(case, of)
        own, chosen = other.column(), build(other)
        parameters = {name: jnp.asarray(value) for name, value in own.values().items()}
        yield _measure(choice, yearly_stocks, parameters, own, chosen, of=forward, months=months)
    progress.say("benchmark: its gradient")
    gradient = jax.grad(lambda v, c, p: yearly_stocks(v, c, p).mean())
    what = f"gradient, all {len(values)} parameters"
    yield _measure(what, gradient, values, column, plan, of=forward, months=months)
    progress.say("benchmark: its Jacobian")
    few = {name: values[name] for name in JACOBIAN_OF}
    jacobian = jax.jacfwd(lambda w, v, c, p: yearly_stocks(v | w, c, p))
    what = f"all yearly stocks by {len(few)} parameters"
    yield _measure(what, jacobian, few, values, column, plan, of=forward, months=months)
    progress.say(f"benchmark: {STUDY_RUNS} runs of the whole soil")
    shorter = dataclasses.replace(plan, history=(first_steps(plan.history[0], STUDY_STEPS),))
    rates = jnp.linspace(0.015, 0.025, STUDY_RUNS)

    def of_rate(k_hum: Array, v: dict[str, Array], c: Column, p: Plan) -> Array:
        return yearly_stocks(v | {"carbon.k_hum": k_hum}, c, p)

    many = jax.vmap(of_rate, in_axes=(0, None, None, None))
    what = f"{STUDY_RUNS} whole soils, 10000 years"
    months = STUDY_RUNS * layer_months(shorter)
    yield _measure(what, many, rates, values, column, shorter, of=forward, months=months)


def _choosing(case: Case, of: Mapping[str, Any]) -> Case:
    """A case with other choices, and more values in its ``[set]``."""
    document = tomlkit.parse(case.text)
    for name, value in of.items():
        if isinstance(value, Mapping):
            document.setdefault(name, {}).update(value)
        else:
            document[name] = value
    return read_case(case.path, tomlkit.dumps(document))


def rothc_alone(layers: int, years: int) -> Measurement:
    """RothC alone, month by month: no soil, no water, no weather to compute."""
    modifiers = jnp.linspace(0.2, 2.0, 12 * years * layers).reshape(12 * years, layers)
    clay = jnp.linspace(10.0, 40.0, layers)
    fresh = jnp.asarray([0.1, 0.1, 0.0, 0.0])[:, None]
    rates = jnp.asarray(rothc.RATES)
    what = f"RothC alone, {layers} layers, {years} years"
    start = jnp.ones((4, layers))
    ratio = carbon.co2_ratio(clay)
    months = 12.0 * years * layers
    return _measure(what, _turn_over, start, modifiers, fresh, rates, ratio, months=months)


def _turn_over(
    pools: Float[Array, "4 layer"],
    modifiers: Float[Array, "month layer"],
    fresh: Float[Array, "4 1"],
    rates: Float[Array, "4"],
    ratio: Float[Array, " layer"],
) -> Float[Array, "4 layer"]:
    def month(pools: Array, modifier: Array) -> tuple[Array, None]:
        return carbon.decompose(pools, modifier, rates, ratio)[0] + fresh, None

    end: Array = jax.lax.scan(month, pools, modifiers)[0]
    return end


def layer_months(plan: Plan) -> float:
    """Months of layers that a plan simulates."""
    columns = sum(len(plan.sites) * phase.years for phase in plan.history)
    if plan.experiment is not None:
        columns += len(plan.members) * plan.experiment.years
    return 12.0 * columns * plan.layers


def yearly_stocks(
    values: dict[str, Array], column: Column, plan: Plan
) -> Float[Array, "site year"]:
    """Organic carbon of the first metre at the end of each year of history, Mg C/ha."""
    record = Record(yearly=("soc_stock_0_25", "soc_stock_25_100"))
    (stocks,) = live(column.with_parameters(values), plan, in_history=record)[1]
    return sum(stocks.values(), jnp.zeros(()))


def first_steps(phase: Phase, steps: int) -> Phase:
    """The beginning of a phase; arrays have a leading axis of sites."""
    series, yearly = jax.tree.map(lambda x: x[:, :steps], (phase.series, phase.yearly))
    return dataclasses.replace(phase, steps=steps, series=series, yearly=yearly)


def _stocks(column: Column, plan: Plan, record: Record) -> Float[Array, "member year layer"]:
    soc: Array = live(column, plan, in_experiment=record)[2]["soc"]
    return soc


def _final_stock(column: Column, plan: Plan) -> Float[Array, " member"]:
    states, _, _ = live(column, plan)
    return states.carbon.sum(axis=(1, 2))


def _final_stock_of_rate(k_hum: Array, column: Column, plan: Plan) -> Float[Array, " member"]:
    return _final_stock(column.with_parameters({"carbon.k_hum": k_hum}), plan)


def _history(column: Column, plan: Plan, step: int) -> Plan:
    """The first site under its first climate for a long time, computed ahead."""
    first = dataclasses.replace(plan.history[0], steps=HISTORY_YEARS // step, years_per_step=step)
    alone = dataclasses.replace(
        plan, members=plan.sites, site_of=tuple(range(len(plan.sites))), history=(first,),
        experiment=None,
    )  # fmt: skip
    return prepare_plan(column, select(alone, plan.sites[:1], CASE))


def _rothc_inputs() -> tuple[rothc.Site, rothc.Forcing, rothc.Forcing]:
    folder = data_path("reference", "rothc")
    table = rothc.read_inputs(folder / "inputs.csv")
    columns = [field.name for field in dataclasses.fields(rothc.Forcing)]
    first, rest = (
        rothc.Forcing(**{name: jnp.asarray(part[name].to_numpy(dtype=float)) for name in columns})
        for part in (table.iloc[:12], table.iloc[12:])
    )
    return rothc.read_site(folder / "site.json"), first, rest


def _measure(
    what: str,
    function: Callable,
    *arguments: Any,
    of: Measurement | None = None,
    months: float = float("nan"),
) -> Measurement:
    """Compile a function, then run it several times."""
    began = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_s = time.perf_counter() - began
    times: list[float] = []
    jax.block_until_ready(compiled(*arguments))  # the first run also reserves memory
    while len(times) < REPEATS and sum(times) < ENOUGH_SECONDS:
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - began)
    return dataclasses.replace(_measurement(what, compile_s, times, of), layer_months=months)


def _measurement(
    what: str, compile_s: float, times: list[float] | None = None, of: Measurement | None = None
) -> Measurement:
    run_s = statistics.median(times) if times else float("nan")
    return Measurement(
        what=what,
        compile_s=compile_s,
        run_s=run_s,
        repeats=len(times or []),
        ratio=run_s / of.run_s if of else float("nan"),
        ratio_to=of.what if of else "",
        peak_mb=_peak_mb(),
    )


def _peak_mb() -> float:
    kilobytes = 1024.0 if sys.platform == "darwin" else 1.0  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / kilobytes / 1024.0


def _show(table: pd.DataFrame) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("what")
    for name in ("compile, s", "run, s", "repeats", "ratio"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("to")
    by_rothc = {"to_rothc": "by RothC", "to_rothc_before": "before"}
    by_rothc = {name: title for name, title in by_rothc.items() if name in table}
    for title in (*by_rothc.values(), "peak, MB"):
        shown.add_column(title, justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        shown.add_row(
            row["what"],
            f"{row['compile_s']:.2f}",
            f"{row['run_s']:.4f}" if row["repeats"] else "",
            str(row["repeats"]) if row["repeats"] else "",
            f"{row['ratio']:.2f}" if row["ratio_to"] else "",
            row["ratio_to"],
            *(f"{row[name]:.3g}" if np.isfinite(row[name]) else "" for name in by_rothc),
            f"{row['peak_mb']:.0f}",
        )
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False)
    console.print(shown)
    console.print("; ".join(f"{key}: {value}" for key, value in machine().items()))
