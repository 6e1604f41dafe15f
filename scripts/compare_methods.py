"""What each method costs on the same posterior, and how far it is off.

Two plots of Broadbalk, calibrated by all methods and compared with a long run of NUTS:
evaluations and seconds for each effective draw, error of the means in posterior standard
deviations, and ratios of the widths. Copy and change it for a case of your own.

    python scripts/compare_methods.py FOLDER [--reference 1000] [--draws 200]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import tomlkit

from diffsoil import _runtime

_runtime.use_device("cpu", cpu_devices=2)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from calibration import checks  # noqa: E402
from calibration.methods import (  # noqa: E402
    NUTS,
    SMC,
    SVI,
    EnsembleSmoother,
    Flow,
    Laplace,
    Surrogate,
    importance,
    mode,
)
from calibration.methods.posterior import Draws  # noqa: E402
from calibration.problem import Problem  # noqa: E402
from diffsoil.cases import load_case  # noqa: E402
from diffsoil.work.checkpoints import Checkpoints  # noqa: E402

TREATMENTS = ("broadbalk_nil", "broadbalk_fym_1843")
LIMITS = (0.05, 0.95)
SEEDS = (1, 2, 3)
"""Of the surrogate; the others are run once."""
FREE = (
    "carbon.k_hum",
    "protection.b1",
    "manure.factor",
    "vegetation.input_factor.old_arable",
    "vegetation.input_factor.wheat_base",
)


def two_plots(folder: Path) -> Path:
    """A case of two plots of Broadbalk, cut out of the one of Rothamsted."""
    whole = load_case("rothamsted")
    case = tomlkit.parse(whole.text)
    case["name"], case["title"] = "two_plots", "Broadbalk: nothing, and manure since 1843"
    case["site"] = {"broadbalk": "calcareous"}
    case["treatment"] = [t for t in case["treatment"] if t["name"] in TREATMENTS]
    for phase in case["history"]:
        if not isinstance(phase["land_use"], str):
            phase["land_use"] = phase["land_use"]["broadbalk"]
    case["free"] = {name: case["free"][name] for name in FREE}
    rows = pd.read_csv(whole.resolve(case["observations"]["files"][0]))
    rows = rows[rows["treatment"].isin(TREATMENTS)]
    rows.to_csv(folder / "observations.csv", index=False)
    case["observations"] = {"files": ["observations.csv"]}
    path = folder / "two_plots.toml"
    path.write_text(tomlkit.dumps(case))
    return path


def effective(z: np.ndarray) -> float:
    """Smallest bulk effective sample size of any parameter."""
    return min(checks.accuracy(z[:, :, i])["ess_bulk"] for i in range(z.shape[-1]))


def corrected(problem: Problem, found: Draws) -> tuple[np.ndarray, importance.Weights]:
    """Draws of an approximation, weighted where the weights hold."""
    assert found.log_proposal is not None
    flat = found.z.reshape(-1, found.z.shape[-1])
    density = jax.jit(lambda z, of: jax.lax.map(lambda one: of(one), z))
    weights = importance.weights(
        np.asarray(density(jnp.asarray(flat), problem.posterior)), found.log_proposal.ravel()
    )
    if weights.trusted:
        flat = flat[importance.resampled(weights.weight, len(flat), 0)]
    return flat, weights


def main(folder: Path, reference: int, draws: int) -> None:
    """Compare all methods and write ``methods.csv``."""
    folder.mkdir(parents=True, exist_ok=True)
    problem = Problem(two_plots(folder))
    print(f"{problem.table['fitted'].sum()} observations, {len(problem.names)} parameters")
    began = time.monotonic()
    start = mode.by_gradients(problem, mode.starting(problem, 1, 0), print).normal
    shared = time.monotonic() - began
    print(f"best fit and curvature: {shared:.0f} s with compilation", flush=True)

    methods = (
        *(Surrogate(chains=2, draws=500, runs=500) for _ in SEEDS),
        Laplace(),
        NUTS(chains=2, warmup=100, draws=draws),
        SVI(chains=2, warmup=40, draws=draws),
        Flow(chains=2, warmup=80, draws=draws),
        SMC(chains=2, draws=draws // 2),
        EnsembleSmoother(chains=2, draws=draws // 2),
    )
    long_run = NUTS(chains=2, warmup=250, draws=reference)
    long = long_run.draw(problem, start, 0, Checkpoints(folder / "long", True, print), print).z
    truth = long.reshape(-1, long.shape[-1])
    mean, sd = truth.mean(axis=0), truth.std(axis=0)
    rows = []
    seeds = [*SEEDS, *[1] * len(methods)]
    for method, seed in zip(methods, seeds, strict=False):
        began = time.monotonic()
        shutil.rmtree(folder / method.name, ignore_errors=True)
        found = method.draw(problem, start, seed, Checkpoints(folder / method.name), print)
        seconds = time.monotonic() - began
        flat, k, worth = found.z.reshape(-1, found.z.shape[-1]), np.nan, np.nan
        if found.log_proposal is not None:
            flat, weights = corrected(problem, found)
            k, worth = weights.k, weights.effective
        elif found.log_evidence is None and method.exact:
            worth = effective(found.z)
        else:
            worth = len(flat)
        # the normal approximation costs what its curvature costs
        gradients = found.gradients or 4 * len(sd) * method.searches
        off = (flat.mean(axis=0) - mean) / sd
        limits = np.quantile(flat, LIMITS, axis=0) - np.quantile(truth, LIMITS, axis=0)
        row = {
            "method": method.name,
            "seed": seed,
            "gradients": gradients,
            "runs": found.runs + (len(flat) if found.log_proposal is not None else 0),
            "seconds": seconds,
            "effective draws": worth,
            "gradients per effective draw": gradients / worth,
            "runs per effective draw": found.runs / worth,
            "Pareto k": k,
            "error of means, sd (rms)": float(np.sqrt(np.mean(off**2))),
            "error of means, sd (largest)": float(np.abs(off).max()),
            "error of the 5 and 95 % limits, sd (largest)": float(np.abs(limits / sd).max()),
            "width ratio, smallest": float((flat.std(axis=0) / sd).min()),
            "width ratio, largest": float((flat.std(axis=0) / sd).max()),
            "log evidence": ""
            if found.log_evidence is None
            else ", ".join(f"{v:.2f}" for v in found.log_evidence),
        }
        rows.append(row)
        print(pd.Series(row).to_string(), flush=True)
        pd.DataFrame(rows).to_csv(folder / "methods.csv", index=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reference", type=int, default=1000, help="draws of each long chain")
    parser.add_argument("--draws", type=int, default=200, help="draws of each chain of a method")
    chosen = parser.parse_args()
    sys.exit(main(chosen.folder, chosen.reference, chosen.draws))
