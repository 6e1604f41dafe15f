"""Prune the column of the three loess cases, and see what a calibration with it would give.

    python scripts/prune_column.py -o PRUNED
    python scripts/prune_column.py -o PRUNED --tolerance 0.05 --calibrate

writes the pruned cases and the report of the pruning, what each process is worth in each case
(``worth.csv``), and with ``--calibrate`` posteriors of a few parameters, found with the full and
with the pruned column from the same synthetic observations (``posterior_CASE.csv``).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from diffsoil import _runtime, ensemble
from diffsoil.cases import Case, load_case
from diffsoil.io import replacing
from sensitivity import worth
from sensitivity.laplace import compared, posterior
from sensitivity.prune import prune_cases, say

CASES = ("loess_dry_steppe", "loess_wet_forest", "loess_dry_agriculture")
YEARS = (1000, 4000, 8000, 10000, 12000)
OBSERVED = tuple(f"{s}@{y}" for s in ("soc_stock_0_25", "soc_stock_25_100") for y in YEARS)
"""What the synthetic observations are of."""
FREE = ("carbon.k_hum", "carbon.k_rpm", "protection.b3a", "fauna.rate")
"""Parameters that are calibrated."""
ERROR = 0.05
"""Relative error of an observation."""


def worth_table(cases: list[Case], target: str, pairs: bool) -> pd.DataFrame:
    """What the processes of all cases are worth for a target, at some years."""
    tables = []
    with ensemble.cluster() as pool:
        for case in cases:
            say(f"worth of the processes of {case.name}")
            runs = worth.of_case(case, [f"{target}@{year}" for year in YEARS], drawn=False)
            found = worth.worth(runs, pool, pairs=pairs)
            say(f"{case.name}: the integrated gradients miss {found.incomplete.max():.2g}")
            tables.append(worth.table(found, runs, case.name, range(len(YEARS))))
    return pd.concat(tables, ignore_index=True)


def posteriors(full: Case, pruned: Case, seed: int) -> pd.DataFrame:
    """Posteriors with the full and the pruned column, from observations of the full one."""
    runs = [worth.of_case(case, OBSERVED, switches=(), drawn=False) for case in (full, pruned)]
    free = [name for name in FREE if name in runs[1].column.parameters()]
    truth = worth.evaluate(runs, (0, np.empty((1, 0)), np.empty((1, 0))))[0]
    error = ERROR * truth
    observed = truth + error * np.random.default_rng(seed).standard_normal(truth.size)
    return compared(*(posterior(r, free, observed, error) for r in runs))


def main() -> None:
    """Prune, then judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--target", action="append", help="default: soc_stock_0_100")
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--unseen", type=int, default=200)
    parser.add_argument("--pairs", action="store_true", help="interactions of all pairs as well")
    parser.add_argument("--calibrate", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overwrite", action="store_true")
    chosen = parser.parse_args()
    _runtime.use_device("cpu")
    chosen.output.mkdir(parents=True, exist_ok=True)
    first = chosen.output / "PRUNED.toml"
    targets = chosen.target or ["soc_stock_0_100"]
    prune_cases(
        CASES, first, targets, chosen.tolerance,
        overwrite=chosen.overwrite, draws=chosen.draws, unseen=chosen.unseen, seed=chosen.seed,
    )  # fmt: skip
    cases = [load_case(name) for name in CASES]
    with replacing(chosen.output / "worth.csv", chosen.overwrite) as part:
        table = worth_table(cases, targets[0].partition("@")[0], chosen.pairs)
        table.to_csv(part, index=False, float_format="%.6g")
    if not chosen.calibrate:
        return
    files = [first, *(first.with_name(f"PRUNED_{name}.toml") for name in CASES[1:])]
    for case, file in zip(cases, files, strict=True):
        say(f"posteriors of {case.name}")
        table = posteriors(case, load_case(file), chosen.seed)
        print(table.to_string(index=False, float_format=lambda v: f"{v:.3g}"))
        with replacing(chosen.output / f"posterior_{case.name}.csv", chosen.overwrite) as part:
            table.to_csv(part, index=False, float_format="%.6g")


if __name__ == "__main__":
    main()
