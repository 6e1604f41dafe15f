"""What a machine with a GPU makes of diffsoil: one file, at most eight minutes, one table.

    python scripts/gpu_check.py [TABLE.csv] [--columns 1 100 1000 10000] [--years 1000]
        [--minutes 8] [--device auto|cpu|gpu]

Whole soils of forty layers side by side, each with a rate of its own: time of a run and of its
gradient, columns in a second, and the largest relative difference from the CPU. Then the posterior
of a fit with its gradient, and NUTS, for several chains at once. What would take longer than what
is left is left out, and the table says so. A machine without a GPU measures its CPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from diffsoil import _runtime

AGREES = 1e-9
"""Relative difference from the CPU that is none."""
REPEATS = 3
CHAINS = (1, 4, 16)
FIELDS = (
    "what", "columns", "compile_s", "run_s", "columns_per_s", "differs_from_cpu", "remark"
)  # fmt: skip


class Budget:
    """The time that is left."""

    def __init__(self, minutes: float) -> None:
        self._end = time.perf_counter() + 60.0 * minutes

    def lacks(self, seconds: float) -> str:
        """Why something that takes so long is left out; nothing where there is time for it."""
        left = self._end - time.perf_counter()
        return "" if seconds < left else f"left out: {max(left, 0):.0f} s were left"


def row(what: str, columns: int, remark: str = "", **values: float) -> dict[str, Any]:
    """One row of the table."""
    return {"what": what, "columns": columns, **values, "remark": remark}


def measured(what: str, columns: int, function: Callable[[], Any]) -> dict[str, Any]:
    """Time of the first call, which compiles, and of later ones."""
    import jax

    began = time.perf_counter()
    jax.block_until_ready(function())
    first, times = time.perf_counter() - began, []
    while len(times) < REPEATS and sum(times) < 0.5 * first:
        began = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - began)
    run = statistics.median(times)
    return row(what, columns, compile_s=first - run, run_s=run, columns_per_s=columns / run)


def batches(budget: Budget, counts: list[int], years: int) -> Iterator[dict[str, Any]]:
    """Columns side by side, forward and with their gradient."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from diffsoil import benchmark
    from diffsoil.cases import load_case
    from diffsoil.cases.arrays import build

    case = load_case(benchmark.WHOLE_SOIL)
    column, plan = case.column(), build(case)
    phase = benchmark.first_steps(plan.history[0], max(1, years // plan.history[0].years_per_step))
    plan = dataclasses.replace(plan, history=(phase,))
    values = {name: jnp.asarray(value) for name, value in column.values().items()}

    def stock(rate, values, column, plan):  # type: ignore[no-untyped-def]
        return benchmark.yearly_stocks(values | {"carbon.k_hum": rate}, column, plan)[0, -1]

    forward = jax.jit(jax.vmap(stock, in_axes=(0, None, None, None)))
    gradient = jax.jit(jax.vmap(jax.grad(stock), in_axes=(0, None, None, None)))
    first = jnp.full(1, 0.01)  # of all batches
    for name, function in (("forward", forward), ("gradient by a rate", gradient)):
        with jax.default_device(jax.devices("cpu")[0]):
            there = float(function(*jax.device_put((first, values, column, plan)))[0])
        last = None
        for count in counts:
            what = f"{name}, {phase.years} years"
            needed = (last["compile_s"] + 3.0 * count / last["columns_per_s"]) if last else 0.0
            if why := budget.lacks(needed):
                yield row(what, count, why)
                continue
            rates = jnp.linspace(first[0], 0.03, count)
            try:
                last = measured(what, count, lambda r=rates, f=function: f(r, values, column, plan))
            except jax.errors.JaxRuntimeError as error:  # out of memory
                yield row(what, count, f"failed: {str(error).splitlines()[0][:80]}")
                continue
            off = abs(float(np.asarray(function(rates, values, column, plan))[0]) / there - 1.0)
            yield last | {"differs_from_cpu": off, "remark": "" if off <= AGREES else "DIFFERS"}


def posteriors(budget: Budget, case: str) -> Iterator[dict[str, Any]]:
    """The posterior of a fit and its gradient, and NUTS, for several chains at once."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from calibration.methods import NUTS, nuts
    from calibration.methods.mode import wide
    from calibration.problem import Problem
    from diffsoil.work.checkpoints import Checkpoints

    problem = Problem(case)
    z = problem.reparameterization.unbounded(problem.defaults)

    def density(z, posterior):  # type: ignore[no-untyped-def]
        return posterior(z)

    many = jax.jit(jax.vmap(jax.value_and_grad(density), in_axes=(0, None)))
    needed = 0.0
    for chains in CHAINS:
        what = f"posterior of {case} and its gradient"
        if why := budget.lacks(needed):
            yield row(what, chains, why)
            continue
        points = jnp.tile(z, (chains, 1))
        found = measured(what, chains, lambda p=points: many(p, problem.posterior))
        needed = found["compile_s"] + 3.0 * found["run_s"]
        yield found
    chains = CHAINS[1]
    size = len(problem.names)
    settings = NUTS(quick=True, chains=chains, warmup=2, draws=2, tree_depth=1)
    if why := budget.lacks(2.0 * needed):
        yield row("NUTS, 2 + 2 transitions", chains, why)
        return
    near = wide(np.asarray(z))._replace(covariance=1e-4 * np.eye(size))
    sampler = nuts.Sampler(problem.posterior, near, settings, seed=0)

    def run():  # type: ignore[no-untyped-def]
        return sampler.run(Checkpoints(None), lambda line: None)["z"]

    yield measured("NUTS, 2 + 2 transitions", chains, run)


def main() -> int:
    """Measure, print, and write the table after each row."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("table", type=Path, nargs="?", default=Path("gpu_check.csv"))
    parser.add_argument("--columns", type=int, nargs="+", default=[1, 100, 1000, 10000])
    parser.add_argument("--years", type=int, default=1000, help="of each column")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto")
    parser.add_argument("--case", default="rothamsted", help="whose posterior is measured")
    options = parser.parse_args()
    budget = Budget(options.minutes)
    _runtime.use_device(options.device, cpu_devices=CHAINS[1])

    import jax
    import jax.numpy as jnp
    import pandas as pd

    third = jnp.ones(1) / 3
    exact = float(third[0]) == 1 / 3 and third.dtype == jnp.float64
    device = jax.devices()[0]
    print(
        f"{device.platform} {device.device_kind}, float64 {'holds' if exact else 'DOES NOT HOLD'}"
    )
    found: list[dict[str, Any]] = []
    for part in (
        batches(budget, sorted(options.columns), options.years),
        posteriors(budget, options.case),
    ):
        for one in part:
            found.append(one)
            table = pd.DataFrame(found, columns=list(FIELDS)).assign(
                device=f"{device.platform} {device.device_kind}", float64=exact
            )
            table.to_csv(options.table, index=False, float_format="%.6g")
            print("  ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{v}"
                            for k, v in one.items() if v != ""), flush=True)  # fmt: skip
    wrong = [one for one in found if one["remark"] and not one["remark"].startswith("left out")]
    print(f"{len(found)} rows in {options.table}; {len(wrong)} of them failed or differ")
    return 1 if wrong or not exact else 0


if __name__ == "__main__":
    sys.exit(main())
