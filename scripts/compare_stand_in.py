"""How far the posterior of the surrogate is from that of a long run of NUTS on the column.

The surrogate samples a case with several seeds; NUTS samples the column itself, from the moments of
the first of them. By parameter: error of mean and of the limits of 5 and 95 % in posterior standard
deviations, and the ratio of the widths. What is done is kept: a second call goes on with it.

    python scripts/compare_stand_in.py rothamsted FOLDER [--draws 1000] [--seeds 1 2 3]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

from diffsoil import _runtime

_runtime.use_device("cpu", cpu_devices=4)

from compare_methods import LIMITS, corrected, two_plots  # noqa: E402

from calibration import checks  # noqa: E402
from calibration.methods import NUTS, Surrogate, mode  # noqa: E402
from calibration.problem import Problem  # noqa: E402
from diffsoil.work.checkpoints import Checkpoints  # noqa: E402

OWN_CASE = "two_plots"


def compared(names: tuple[str, ...], flat: np.ndarray, long: np.ndarray) -> pd.DataFrame:
    """One row a parameter: draws of unbounded parameters against chains of NUTS."""
    truth = long.reshape(-1, long.shape[-1])
    sd = truth.std(axis=0)
    limits = (np.quantile(flat, LIMITS, axis=0) - np.quantile(truth, LIMITS, axis=0)) / sd
    halves = np.quantile(long[:2], LIMITS, axis=(0, 1)) - np.quantile(long[2:], LIMITS, axis=(0, 1))
    accuracy = [checks.accuracy(long[:, :, i]) for i in range(len(names))]
    return pd.DataFrame(
        {
            "mean": (flat.mean(axis=0) - truth.mean(axis=0)) / sd,
            "width": flat.std(axis=0) / sd,
            "q05": limits[0],
            "q95": limits[1],
            "nuts_q05_pairs": halves[0] / sd,
            "nuts_q95_pairs": halves[1] / sd,
            "nuts_ess": [a["ess_bulk"] for a in accuracy],
            "nuts_rhat": [a["r_hat"] for a in accuracy],
        },
        index=pd.Index(names, name="parameter"),
    )


def main(case: str, folder: Path, draws: int, warmup: int, seeds: list[int]) -> None:
    """Sample, compare, and write ``stand_in.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    problem = Problem(two_plots(folder) if case == OWN_CASE else case)
    found = []
    for seed in seeds:
        method, own = Surrogate(), folder / f"seed_{seed}"
        began = time.monotonic()
        start = mode.start(problem, method, seed, own, print, resume=True).normal
        drawn = method.draw(problem, start, seed, Checkpoints(own / "draws", True, print), print)
        flat, weights = corrected(problem, drawn)
        print(
            f"seed {seed}: k {weights.k:.2f}, {weights.effective:.0f} of {len(flat)} draws, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
        np.save(own / "z.npy", flat)
        found.append(flat)
    nuts = NUTS(chains=4, warmup=warmup, draws=draws)
    kept = Checkpoints(folder / "nuts", True, print)
    long = nuts.draw(problem, mode.moments(found[0], 1e-9), 0, kept, print).z
    np.save(folder / "nuts.npy", long)
    tables = {s: compared(problem.names, z, long) for s, z in zip(seeds, found, strict=True)}
    table = pd.concat(tables, names=["seed"])
    table.to_csv(folder / "stand_in.csv")
    print(table.round(2).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("case", help=f"a shipped case, or {OWN_CASE} of Broadbalk")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=1000, help="of each of 4 chains of NUTS")
    parser.add_argument("--warmup", type=int, default=100, help="of each of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the surrogate")
    chosen = parser.parse_args()
    sys.exit(main(chosen.case, chosen.folder, chosen.draws, chosen.warmup, chosen.seeds))
