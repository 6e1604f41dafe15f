"""Lay carbon models side by side on one case: what is kept out, evidence, leave-one-out, stacking.

Each model, with protection acting on all pools or on humified and microbial carbon alone, is
calibrated as the case says, with its own rates in the place of those of RothC. The evidence is by
bridge sampling (Meng & Wong 1996) between draws of the posterior and a normal distribution around
them, all exact runs of the column. What is done is kept: a second call goes on with it.

    python scripts/compare_carbon_models.py FOLDER [--case NAME] [--models NAME ...] [--full]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from diffsoil import _runtime

_runtime.use_device("cpu", cpu_devices=4)

import arviz as az  # noqa: E402
import jax  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tomlkit  # noqa: E402
from carbon_variants import RATES, with_carbon  # noqa: E402
from scipy import stats  # noqa: E402
from scipy.special import expit, logsumexp  # noqa: E402

from calibration import saved_fit, store  # noqa: E402
from calibration.checks.predictive import leave_one_out  # noqa: E402
from calibration.checks.rows import quiet  # noqa: E402
from calibration.fitting import calibrate_case  # noqa: E402
from calibration.methods import Surrogate  # noqa: E402
from calibration.problem import Problem, by_row  # noqa: E402
from calibration.scores import score  # noqa: E402
from diffsoil.cases import find_case, read_case  # noqa: E402
from diffsoil.cases.case import Case  # noqa: E402
from diffsoil.options import Existing  # noqa: E402

FRESH = {
    "rothc": ("dpm", "rpm"),
    "rothc_passive": ("dpm", "rpm"),
    "icbm": ("young",),
    "ctool": ("fom",),
}
"""Pools of plant material, which nothing protects in the second form of each model."""
HUMUS = ", humus protected"

BRIDGE = 400
"""Draws of the posterior, and as many of the normal distribution, that the evidence is made of."""
TURNS = 50

_log_density = jax.jit(lambda z, posterior: posterior(z))


def variant(path: Path, name: str) -> Case:
    """The case with another model of carbon."""
    model = name.removesuffix(HUMUS)
    document = tomlkit.parse(path.read_text(encoding="utf-8")).unwrap()
    with_carbon(document, model)
    if name.endswith(HUMUS):
        document["set"] |= {f"carbon.protected.{pool}": 0.0 for pool in FRESH[model]}
    return read_case(path, tomlkit.dumps(document))


def log_evidence(problem: Problem, draws: np.ndarray, seed: int) -> tuple[float, float]:
    """Logarithm of the evidence, and its Monte Carlo error.

    Args:
        problem: what was fitted.
        draws: of its bounded parameters.
        seed: of the draws of the normal distribution.
    """
    rng = np.random.default_rng(seed)
    z = problem.unbounded(draws[rng.permutation(len(draws))])
    half = len(z) // 2  # one half tells the normal, the other one is compared with it
    normal = stats.multivariate_normal(z[:half].mean(axis=0), np.cov(z[:half].T))
    samples = z[half : half + BRIDGE], normal.rvs(BRIDGE, random_state=rng)
    ratios = [by_row(_log_density, one, problem.posterior) - normal.logpdf(one) for one in samples]
    found = float(np.median(ratios[0]))
    balance = np.log(len(ratios[0]) / len(ratios[1]))
    for _ in range(TURNS):
        above = logsumexp(ratios[1] - np.logaddexp(balance + ratios[1] - found, 0.0))
        below = logsumexp(-np.logaddexp(balance + ratios[0] - found, 0.0))
        found = float(above - below + balance)
    shares = [expit(ratios[1] - found), expit(found - ratios[0])]
    errors = [np.var(of) / (len(of) * np.mean(of) ** 2) for of in shares]
    return found, float(np.sqrt(sum(errors)))


def main(folder: Path, name: str, models: list[str], full: bool) -> None:
    """Fit what is not there yet, and print the table."""
    path = find_case(name)
    method = Surrogate() if full else Surrogate.sized(quick=True)
    trees, rows = {}, {}
    for model in models:
        place = folder / model.replace(", ", "_").replace(" ", "_")
        case = variant(path, model)
        if not (place / "checks.csv").exists():
            calibrate_case(case, place, method, existing=Existing(resume=place.exists()))
        trees[model] = store.read_posterior(place)
        fit, facts = saved_fit.load(place), store.read_json(place / "facts.json")
        loo = leave_one_out(trees[model])
        evidence, error = log_evidence(Problem(case), fit.draws, seed=0)
        table = pd.read_csv(place / "predictions.csv")
        measured = table[table["estimated"] == 0]
        found = {
            "k": facts["pareto_k"],
            "effective": facts["effective"],
            "log_evidence": evidence,
            "error": error,
            "elpd": loo.elpd,
            "elpd_se": loo.se,
        }
        for what, chosen in (("fitted", measured["fitted"]), ("kept_out", ~measured["fitted"])):
            of = score(measured[chosen])
            keys = ("bias_percent", "rmse_percent", "coverage_90")
            found |= {f"{what}_{key}": of[key] for key in keys}
        rows[model] = found
    table = pd.DataFrame(rows).T
    with quiet():  # what leave-one-out thinks of single observations is a check of each fit
        table["stacking"] = az.compare(trees, round_to="none")["weight"]
    table.to_csv(folder / "carbon_models.csv")
    print(table.round(2).T.to_string())


if __name__ == "__main__":
    every = [name + of for name in RATES for of in ("", HUMUS)]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the fits; those that are done are kept")
    parser.add_argument("--case", default="rothamsted")
    parser.add_argument("--models", nargs="+", choices=every, default=every, metavar="NAME")
    parser.add_argument("--full", action="store_true", help="the full setting, not the quick one")
    options = parser.parse_args()
    sys.exit(main(options.folder, options.case, options.models, options.full))
