"""What matters in the loess cases, by several methods laid side by side.

    python scripts/sensitivity_study.py FOLDER              DGSM, active subspaces, local: an hour
    python scripts/sensitivity_study.py FOLDER --sobol      and Sobol indices (N = 1024): a night
    python scripts/sensitivity_study.py FOLDER --study RUNS also drivers of `diffsoil study run`

writes a study into FOLDER (indices.csv, pictures, report.html) of a wet and a dry loess, one
under forest and one that is farmed and left again, for the stocks of topsoil and subsoil early
and late in nature, after agriculture and in recovery. Inputs are the thirty parameters that a
screening by exact local derivatives finds largest, over all outputs and cases; the screening is
in FOLDER/screening. With --sobol it is told how many of the first eight inputs by Sobol DGSM
finds, and how many times fewer runs (each of the time of one forward run) that took. A second
call goes on where the first was stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

from diffsoil import _runtime
from sensitivity.plots import PRIMARY
from sensitivity.report import at, outputs_of, ranking, read_table
from sensitivity.workflow import COLUMNS_OF, run_sensitivity, say

CASES = ("loess_wet_forest", "loess_dry_agriculture")

INPUTS = 30

GRADIENTS, TRAJECTORIES, BASE_POINTS = 64, 20, 1024

FIRST = 8
"""Inputs that both methods should name."""


def screened(folder: Path, case: str) -> list[str]:
    """Parameters with the largest local effects on any output, relative to their priors."""
    run_sensitivity([case], folder, methods=["local"], resume=True)
    table = read_table(folder, "indices", COLUMNS_OF["indices"])
    own = table[(table["case"] == case) & (table["index"] == PRIMARY["local"])]
    size = own.assign(size=own["value"].abs()).groupby("parameter")["size"].max()
    return [str(n) for n in size.sort_values(ascending=False, kind="stable").index[:INPUTS]]


def compared(folder: Path) -> pd.DataFrame:
    """The first inputs of each output by Sobol and by DGSM."""
    indices = read_table(folder, "indices", COLUMNS_OF["indices"])
    rows = []
    for case, output, year, own in outputs_of(indices):
        first = {m: list(ranking(own, m)["parameter"][:FIRST]) for m in ("sobol", "dgsm")}
        if first["sobol"] and first["dgsm"]:
            both = len(set(first["sobol"]) & set(first["dgsm"]))
            missed = ", ".join(n for n in first["sobol"] if n not in first["dgsm"])
            rows.append({"case": case, "output": at(output, year), "both": both, "missed": missed})
    return pd.DataFrame(rows, columns=["case", "output", "both", "missed"])


def main(folder: Path, sobol: bool, study: Path | None) -> None:
    """Do all of it."""
    _runtime.use_device("cpu")
    for case in CASES:
        names = screened(folder / "screening", case)
        gradients = ["local", "dgsm", "active-subspace"]
        run_sensitivity([case], folder, gradients, parameters=names, samples=GRADIENTS, resume=True)
        run_sensitivity([case], folder, ["morris"], samples=TRAJECTORIES, resume=True)
        if sobol:
            run_sensitivity([case], folder, ["sobol"], samples=BASE_POINTS, resume=True)
    if study is not None:
        run_sensitivity([], folder, [], study=study)
    if sobol:
        table = compared(folder)
        table.to_csv(folder / "first_inputs.csv", index=False)
        print(table.to_string(index=False))
        costs = read_table(folder, "costs", COLUMNS_OF["costs"])
        cost = costs.pivot_table(index="case", columns="store", values="equivalents")
        for case, row in cost.iterrows():
            say(
                f"{case}: Sobol took {row['sobol']:.0f} forward runs' time, "
                f"DGSM {row['gradients']:.0f}: {row['sobol'] / row['gradients']:.0f} times fewer"
            )


if __name__ == "__main__":
    words = sys.argv[1:]
    runs = None
    if "--study" in words:
        place = words.index("--study")
        runs = Path(words[place + 1]) if place + 1 < len(words) else None
        del words[place : place + 2]
    folders = [word for word in words if not word.startswith("-")]
    if len(folders) != 1 or set(words) - {*folders, "--sobol"}:
        sys.exit(__doc__)
    main(Path(folders[0]), "--sobol" in words, runs)
