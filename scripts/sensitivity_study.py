"""What matters in the loess cases, by several methods laid side by side.

    python scripts/sensitivity_study.py -o FOLDER
    python scripts/sensitivity_study.py -o FOLDER --sobol --slow-step 50 --case loess_wet_forest
    python scripts/sensitivity_study.py -o FOLDER --study RUNS

writes a study into FOLDER/study (tables, pictures, report.html) of some cases, a wet loess under
forest and a dry one that is farmed and left again if none are named: stocks of topsoil and
subsoil early and late in nature, after agriculture and in recovery. Inputs are the thirty
parameters that a screening by exact local derivatives finds largest, over all outputs; the
screening is in FOLDER/screening. With --sobol (N = 1024) it is told how many of the first eight
inputs by Sobol DGSM finds with how many gradients, and how many times fewer runs (each of the time
of one forward run) that took; in slow steps of 50 years, where a case allows them, that is a
quarter of an hour a case on two cores. With --study the drivers of `diffsoil study run` stand
beside. A second call goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import tomlkit

from diffsoil import _runtime
from diffsoil.cases import load_case
from diffsoil.options import Existing, Workers
from diffsoil.studies.vandermeij2026.drivers import drivers
from diffsoil.work.files import replacing
from diffsoil.work.progress import say
from diffsoil.work.store import Store
from sensitivity import derivative, variance
from sensitivity.distributions import distribution
from sensitivity.folder import COLUMNS_OF, Folder, read_table
from sensitivity.indices import outlying
from sensitivity.jobs import Draws
from sensitivity.options import StudyOptions
from sensitivity.plots import PRIMARY
from sensitivity.problem import Problem
from sensitivity.workflow import run_sensitivity

CASES = ("loess_wet_forest", "loess_dry_agriculture")

INPUTS = 30

GRADIENTS, TRAJECTORIES, BASE_POINTS = 64, 20, 1024

GO_ON = Existing(resume=True)

SIZES = (16, 24, 32, 48, 64)
"""Numbers of gradients, of which it is told whether they were enough."""

FIRST = 8
"""Inputs that both methods should name."""


def screened(folder: Path, case: str, workers: int | None) -> list[str]:
    """Parameters with the largest local effects on any output, relative to their priors."""
    run_sensitivity([case], folder, StudyOptions(), GO_ON, Workers(workers))
    table = read_table(folder, "indices", COLUMNS_OF["indices"])
    of_case = table["case"] == load_case(case).name
    own = table[of_case & (table["index"] == PRIMARY["local"])]
    size = own.assign(size=own["value"].abs()).groupby("parameter")["size"].max()
    return [str(n) for n in size.sort_values(ascending=False, kind="stable").index[:INPUTS]]


def agreement(folder: Path, name: str) -> pd.DataFrame:
    """How many of the first inputs by DGSM are the first by Sobol, for numbers of gradients.

    ``same`` counts those that are; ``within`` also those whose total index has an interval that
    meets the one of the last of the first by Sobol, which is then no worse a choice. Both are
    told of all runs, and without base points that have an outlying run.
    """
    told = Folder(folder).told[name]
    problem = Problem(told["case"], told["outputs"], [of["name"] for of in told["inputs"]])
    draws = Draws([distribution(of.parameter) for of in problem.inputs], samples=BASE_POINTS)
    design = draws.points("sobol")[1]
    assert design is not None
    stores = {}
    for store in ("sobol", "gradients"):
        with Store.read(folder / name / f"{store}.zarr").dataset() as there:
            stores[store] = {str(k): v.to_numpy() for k, v in there.data_vars.items()}
    y, slopes = stores["sobol"]["value"], stores["gradients"]
    far = np.any([outlying(values) for values in y.T], axis=0)
    groups = far.reshape(design.groups, design.size).any(axis=1)
    kept = np.where(np.repeat(groups, design.size)[:, None], np.nan, y)
    say(f"{name}: {far.sum()} outlying runs, in {groups.sum()} of {design.groups} base points")
    rows = []
    for (words, of_runs), (place, output) in product(
        {"all": y, "without outlying": kept}.items(), enumerate(problem.outputs)
    ):
        total = variance.sobol(design, of_runs[:, place]).estimates["ST"]
        order = np.argsort(-total.value)[:FIRST]
        close = np.flatnonzero(total.high >= total.low[order[-1]])
        for n in (n for n in SIZES if n <= len(slopes["x"])):
            found = derivative.dgsm(
                slopes["x"][:n], slopes["gradient"][:n, place], slopes["value"][:n, place],
                draws.distributions, resamples=2,
            )  # fmt: skip
            first = np.argsort(-found.estimates["mu_star"].value)[:FIRST]
            missed = [problem.names[i] for i in order if i not in first]
            rows.append(
                {"case": name, "output": output.text, "runs": words, "gradients": n,
                 "same": len(set(order) & set(first)), "within": len(set(close) & set(first)),
                 "close": len(close), "missed": ", ".join(missed)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def told_agreement(table: pd.DataFrame, costs: pd.DataFrame) -> None:
    """Print the agreement, and how many times fewer runs each number of gradients took."""
    table = table.assign(
        both=[f"{a}/{b}" for a, b in table[["same", "within"]].itertuples(index=False)]
    )
    print(f"of the first {FIRST} inputs: the same / within the interval of the last one")
    wide = table.pivot_table(
        index=["runs", "case", "output"], columns="gradients", values="both", aggfunc="first"
    )
    print(wide.to_string())
    for case, own in costs[costs["case"].isin(table["case"])].groupby("case"):
        by = own.set_index("store")
        sobol = by["equivalents"]["sobol"]
        each = by["equivalents"]["gradients"] / by["rows"]["gradients"]
        say(f"{case}: Sobol took the time of {sobol:.0f} forward runs, a gradient {each:.1f}")
        for n in sorted(set(table["gradients"])):
            say(f"{case}: {n} gradients: {n * each:.0f}, {sobol / (n * each):.0f} times fewer")


def slower(case: str, years: int, folder: Path) -> str:
    """A copy of a case in longer slow steps."""
    document = tomlkit.parse(load_case(case).text)
    document["name"] = f"{case}_{years}"
    for phase in document["history"]:
        phase["step_years"] = years
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{document['name']}.toml"
    with replacing(path, overwrite=True) as part:
        part.write_text(tomlkit.dumps(document), encoding="utf-8")
    return str(path)


def main() -> None:
    """Do all of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder")
    parser.add_argument("--case", action="append", help="name or file; may be repeated")
    parser.add_argument("--slow-step", type=int, help="years, instead of those of the case")
    parser.add_argument("--sobol", action="store_true", help="Sobol indices as well")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--study", type=Path, help="folder of `diffsoil study run`")
    chosen = parser.parse_args()
    _runtime.use_device("cpu")
    folder: Path = chosen.output / "study"
    workers = chosen.workers
    compared = []
    for name in chosen.case or CASES:
        case = slower(name, chosen.slow_step, chosen.output / "cases") if chosen.slow_step else name
        names = screened(chosen.output / "screening", case, workers)
        gradients = StudyOptions(
            ("local", "dgsm", "active-subspace"), parameter=tuple(names), samples=GRADIENTS
        )
        asked = [gradients, StudyOptions(("morris",), samples=TRAJECTORIES)]
        if chosen.sobol:
            asked.append(StudyOptions(("sobol",), samples=BASE_POINTS))
        for options in asked:
            run_sensitivity([case], folder, options, GO_ON, Workers(workers))
        if chosen.sobol:
            compared.append(load_case(case).name)
    if chosen.study is not None:
        run_sensitivity([], folder, StudyOptions(()), beside=drivers(chosen.study))
    if chosen.sobol:
        table = pd.concat([agreement(folder, name) for name in compared], ignore_index=True)
        with replacing(folder / "first_inputs.csv", overwrite=True) as part:
            table.to_csv(part, index=False)
        told_agreement(table, read_table(folder, "costs", COLUMNS_OF["costs"]))


if __name__ == "__main__":
    main()
