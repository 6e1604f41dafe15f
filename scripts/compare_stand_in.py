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

from compare_methods import LIMITS, effective, two_plots  # noqa: E402

from calibration import checks  # noqa: E402
from calibration.methods import NUTS, Surrogate, importance, mode  # noqa: E402
from calibration.methods.posterior import Draws  # noqa: E402
from calibration.methods.stand_in import exact_density  # noqa: E402
from calibration.problem import Problem  # noqa: E402
from diffsoil.work.checkpoints import Checkpoints  # noqa: E402

OWN_CASE = "two_plots"


def ratios(problem: Problem, drawn: Draws) -> np.ndarray:
    """Logarithm of the exact density over that of the stand-in, by chain and draw."""
    assert drawn.log_proposal is not None
    assert drawn.predicted is not None
    rows = zip(drawn.z.reshape(-1, drawn.z.shape[-1]), drawn.predicted.rows("latent"), strict=True)
    exact = np.array([float(exact_density(problem.posterior, *row, None)) for row in rows])
    return exact.reshape(drawn.log_proposal.shape) - drawn.log_proposal


def delayed_acceptance(z: np.ndarray, ratio: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Chains that have the exact density, of proposals by the stand-in, and the share accepted.

    A proposal is taken with the probability of its ratio over that of the present draw.
    """
    uniform = np.log(np.random.default_rng(seed).uniform(size=ratio.shape))
    found, accepted = z.copy(), 0
    for chain, of in enumerate(ratio):
        at = 0
        for draw in range(1, len(of)):
            if uniform[chain, draw] < of[draw] - of[at]:
                at, accepted = draw, accepted + 1
            found[chain, draw] = z[chain, at]
    return found, accepted / (ratio.size - len(ratio))


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
            "nuts_rhat": [a["rhat"] for a in accuracy],
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
        seconds, ratio = time.monotonic() - began, ratios(problem, drawn)
        weights = importance.weights(ratio.ravel(), np.zeros(ratio.size))
        flat = drawn.z.reshape(-1, drawn.z.shape[-1])
        chosen = importance.resampled(weights.weight, len(flat), 0)
        chains, accepted = delayed_acceptance(drawn.z, ratio, seed)
        print(
            f"seed {seed}: k {weights.k:.2f}, {weights.effective:.0f} of {len(flat)} draws by "
            f"weights; {effective(drawn.z):.0f} by chains on the stand-in, {effective(chains):.0f} "
            f"by delayed acceptance, which takes {accepted:.0%}; {seconds:.0f} s",
            flush=True,
        )
        flat = flat[chosen]
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
