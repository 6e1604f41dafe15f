"""Speed, memory and compile time of the program on the machine it runs on."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pandas as pd
from jaxtyping import Array, Float

from diffsoil import rothc
from diffsoil.cases import load_case
from diffsoil.cases.arrays import Plan, build, prepare_plan, select
from diffsoil.cases.arrays import run as live
from diffsoil.column import Column
from diffsoil.io import data_path
from diffsoil.output.simulation import Progress
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
STUDY_RUNS, STUDY_STEPS = 72, 1000
"""As many runs, and as many slow steps of ten years, as the study of van der Meij & Finke."""
MEMBERS = 8
"""Parameter sets that are run side by side."""
REPEATS = 7
ENOUGH_SECONDS = 10.0
"""A measurement that has taken longer is not repeated any more."""


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One row of the table; a ratio is to the time of another row of the same run.

    ``compile_s`` is with an empty cache, ``run_s`` the median of ``repeats`` runs after that;
    ``peak_mb`` is the largest memory of the program so far.
    """

    what: str
    compile_s: float
    run_s: float
    repeats: int
    ratio: float
    ratio_to: str
    peak_mb: float


def run(output: Path | None = None, overwrite: bool = False) -> pd.DataFrame:
    """Measure, and show the table.

    Args:
        output: CSV file for the table, with the device and versions in every row.
        overwrite: replace it if it is there.
    """
    first = [field.name for field in dataclasses.fields(Measurement)][:2]
    target = None if output is None else OutputFile(output, overwrite, like=table_with(*first))
    with target or contextlib.nullcontext():
        with Progress() as progress, _no_cache():
            table = pd.DataFrame([dataclasses.asdict(m) for m in measurements(progress)])
        _show(table)
        if target is not None:
            with target.writing() as unfinished:
                table.assign(**machine()).to_csv(unfinished, index=False, float_format="%.6g")
    return table


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
    case = load_case(CASE)
    column, plan = case.column(), build(case)
    progress.say("benchmark: climate and water of the Rothamsted case")
    began = time.perf_counter()
    ready = jax.block_until_ready(prepare_plan(column, plan))
    yield _measurement("climate and water ahead (12 treatments)", time.perf_counter() - began)

    record = Record(yearly=("soc",))
    progress.say("benchmark: forward run")
    forward = _measure("forward run (12 treatments)", _stocks, column, ready, record)
    yield forward

    progress.say("benchmark: gradient")
    free = tuple(n for n in case.priors() if not n.startswith("observation."))
    values = {name: jnp.asarray(column.values()[name]) for name in free}
    free_plan = prepare_plan(column, plan, free)
    gradient = jax.grad(lambda v, c, p, r: _stocks(c.with_parameters(v), p, r).mean())
    what = f"gradient, {len(free)} parameters"
    yield _measure(what, gradient, values, column, free_plan, record, of=forward)

    yield from _whole_soil(progress)

    progress.say("benchmark: RothC")
    yield _measure("RothC, spin-up and 100 years", rothc.run, *_rothc_inputs())

    reference = None
    for step in SLOW_STEPS:
        progress.say(f"benchmark: {HISTORY_YEARS} years in slow steps of {step}")
        history = _history(column, plan, step)
        what = f"{HISTORY_YEARS} years, slow step {step}"
        measured = _measure(what, _final_stock, column, history, of=reference)
        reference = reference or measured
        yield measured
        if step == 10:
            progress.say(f"benchmark: {MEMBERS} parameter sets")
            rates = jnp.linspace(0.01, 0.03, MEMBERS)
            many = jax.vmap(_final_stock_of_rate, in_axes=(0, None, None))
            yield _measure(
                f"{MEMBERS} of them side by side", many, rates, column, history, of=measured
            )


def _whole_soil(progress: Progress) -> Iterator[Measurement]:
    """The whole soil over twelve thousand years, 40 layers, slow step 10."""
    case = load_case(WHOLE_SOIL)
    column, plan = case.column(), build(case)
    values = {name: jnp.asarray(value) for name, value in column.values().items()}
    progress.say("benchmark: whole soil")
    forward = _measure("whole soil, 12000 years", _yearly_stocks, values, column, plan)
    yield forward
    progress.say("benchmark: its gradient")
    gradient = jax.grad(lambda v, c, p: _yearly_stocks(v, c, p).mean())
    what = f"gradient, all {len(values)} parameters"
    yield _measure(what, gradient, values, column, plan, of=forward)
    progress.say("benchmark: its Jacobian")
    few = {name: values[name] for name in JACOBIAN_OF}
    jacobian = jax.jacfwd(lambda w, v, c, p: _yearly_stocks(v | w, c, p))
    what = f"all yearly stocks by {len(few)} parameters"
    yield _measure(what, jacobian, few, values, column, plan, of=forward)
    progress.say(f"benchmark: {STUDY_RUNS} runs of the whole soil")
    shorter = dataclasses.replace(plan, history=(_first_steps(plan.history[0], STUDY_STEPS),))
    rates = jnp.linspace(0.015, 0.025, STUDY_RUNS)

    def of_rate(k_hum: Array, v: dict[str, Array], c: Column, p: Plan) -> Array:
        return _yearly_stocks(v | {"carbon.k_hum": k_hum}, c, p)

    many = jax.vmap(of_rate, in_axes=(0, None, None, None))
    what = f"{STUDY_RUNS} whole soils, 10000 years"
    yield _measure(what, many, rates, values, column, shorter, of=forward)


def _yearly_stocks(
    values: dict[str, Array], column: Column, plan: Plan
) -> Float[Array, "site year"]:
    record = Record(yearly=("soc_stock_0_25", "soc_stock_25_100"))
    (stocks,) = live(column.with_parameters(values), plan, in_history=record)[1]
    return sum(stocks.values(), jnp.zeros(()))


def _first_steps(phase: Phase, steps: int) -> Phase:
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
    what: str, function: Callable, *arguments: Any, of: Measurement | None = None
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
    return _measurement(what, compile_s, times, of)


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


@contextlib.contextmanager
def _no_cache() -> Iterator[None]:
    """Compile anew, whatever earlier runs left in the persistent cache."""
    from jax.experimental.compilation_cache import compilation_cache

    before = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def _show(table: pd.DataFrame) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    shown.add_column("what")
    for name in ("compile, s", "run, s", "repeats", "ratio"):
        shown.add_column(name, justify="right", no_wrap=True)
    shown.add_column("to")
    shown.add_column("peak, MB", justify="right", no_wrap=True)
    for row in table.to_dict("records"):
        shown.add_row(
            row["what"],
            f"{row['compile_s']:.2f}",
            f"{row['run_s']:.4f}" if row["repeats"] else "",
            str(row["repeats"]) if row["repeats"] else "",
            f"{row['ratio']:.2f}" if row["ratio_to"] else "",
            row["ratio_to"],
            f"{row['peak_mb']:.0f}",
        )
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False)
    console.print(shown)
    console.print("; ".join(f"{key}: {value}" for key, value in machine().items()))
