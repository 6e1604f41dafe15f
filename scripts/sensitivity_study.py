"""What matters in the loess cases, by several methods laid side by side.

    python scripts/sensitivity_study.py -o FOLDER
    python scripts/sensitivity_study.py -o FOLDER --sobol --slow-step 50 --case loess_wet_forest
    python scripts/sensitivity_study.py -o FOLDER --study RUNS

writes a study into FOLDER/study (tables, pictures, report.html) of some cases, a wet loess under
forest and a dry one that is farmed and left again if none are named: stocks of topsoil and
subsoil early and late in nature, after agriculture and in recovery. Inputs are the thirty
parameters that a screening by exact local derivatives finds largest, over all outputs; the
screening is in FOLDER/screening. With --sobol (N = 1024) it is told how many of the first eight
inputs by Sobol DGSM finds, and how many times fewer runs (each of the time of one forward run)
that took; in slow steps of 50 years, where a case allows them, that is a quarter of an hour a
case on two cores. With --study the drivers of `diffsoil study run` stand beside. A second call
goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
import tomlkit

from diffsoil import _runtime
from diffsoil.cases import load_case
from diffsoil.io import replacing
from sensitivity.plots import PRIMARY
from sensitivity.report import at, outputs_of, ranking, read_table
from sensitivity.workflow import COLUMNS_OF, run_sensitivity, say

CASES = ("loess_wet_forest", "loess_dry_agriculture")

INPUTS = 30

GRADIENTS, TRAJECTORIES, BASE_POINTS = 40, 20, 1024

FIRST = 8
"""Inputs that both methods should name."""


def screened(folder: Path, case: str) -> list[str]:
    """Parameters with the largest local effects on any output, relative to their priors."""
    run_sensitivity([case], folder, methods=["local"], resume=True)
    table = read_table(folder, "indices", COLUMNS_OF["indices"])
    of_case = table["case"] == load_case(case).name
    own = table[of_case & (table["index"] == PRIMARY["local"])]
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
    parser.add_argument("--study", type=Path, help="folder of `diffsoil study run`")
    chosen = parser.parse_args()
    _runtime.use_device("cpu")
    folder: Path = chosen.output / "study"
    for name in chosen.case or CASES:
        case = slower(name, chosen.slow_step, chosen.output / "cases") if chosen.slow_step else name
        names = screened(chosen.output / "screening", case)
        gradients = ["local", "dgsm", "active-subspace"]
        run_sensitivity([case], folder, gradients, parameters=names, samples=GRADIENTS, resume=True)
        run_sensitivity([case], folder, ["morris"], samples=TRAJECTORIES, resume=True)
        if chosen.sobol:
            run_sensitivity([case], folder, ["sobol"], samples=BASE_POINTS, resume=True)
    if chosen.study is not None:
        run_sensitivity([], folder, [], study=chosen.study)
    if chosen.sobol:
        table = compared(folder)
        with replacing(folder / "first_inputs.csv", overwrite=True) as part:
            table.to_csv(part, index=False)
        print(table.to_string(index=False))
        costs = read_table(folder, "costs", COLUMNS_OF["costs"])
        cost = costs.pivot_table(index="case", columns="store", values="equivalents")
        for case, row in cost.iterrows():
            say(
                f"{case}: Sobol took {row['sobol']:.0f} forward runs' time, "
                f"DGSM {row['gradients']:.0f}: {row['sobol'] / row['gradients']:.0f} times fewer"
            )


if __name__ == "__main__":
    main()
