"""Prune the column of the three loess cases, and see what a calibration with it would give.

    python scripts/prune_column.py -o PRUNED
    python scripts/prune_column.py -o PRUNED --target soc_stock_0_100@12000 --tolerance 0.05

writes the pruned cases and the report of the pruning: errors on 200 unseen draws and on a case
that had no part in the choice, what each process and each two are worth in each case, and
posteriors of a few parameters, found with the full and with the pruned column from the same
synthetic observations. A second call with --resume goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diffsoil import _runtime
from diffsoil.options import Existing, Workers
from sensitivity.options import PruneOptions
from sensitivity.pruning.workflow import prune_cases

CASES = ("loess_wet_forest", "loess_dry_steppe", "loess_dry_agriculture")
FREE = ("carbon.k_hum", "carbon.k_rpm", "protection.b3a", "fauna.rate")
"""Parameters that are calibrated."""


def main() -> None:
    """Prune, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    parser.add_argument("--case", action="append", help="default: the three loess cases")
    parser.add_argument("--check", action="append", help="case that it is not chosen on")
    parser.add_argument("--tolerance", type=float, default=0.01)
    parser.add_argument("--target", action="append", help="default: soc_stock_0_100")
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--unseen", type=int, default=200)
    parser.add_argument("--ablation", type=int, default=16, help="base points of total indices")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--processes-only", action="store_true")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--resume", action="store_true")
    chosen = parser.parse_args()
    _runtime.use_device("cpu")
    chosen.output.mkdir(parents=True, exist_ok=True)
    options = PruneOptions(
        target=tuple(chosen.target or ["soc_stock_0_100"]),
        tolerance=chosen.tolerance,
        draws=chosen.draws,
        unseen=chosen.unseen,
        seed=chosen.seed,
        processes_only=chosen.processes_only,
        check=tuple(chosen.check or ()),
        ablation=chosen.ablation,
        calibrate=FREE,
    )
    prune_cases(
        chosen.case or CASES,
        chosen.output / "PRUNED.toml",
        options,
        Existing(chosen.overwrite, chosen.resume),
        Workers(chosen.workers),
    )


if __name__ == "__main__":
    main()
