"""Carbon by depth of the shipped NEON profiles, with priors alone, beside what was measured.

Each way of the column runs at the defaults of its parameters; nothing is fitted. By depth and area:
median of predicted over measured organic carbon.

    python scripts/deep_carbon.py [--output FILE.csv]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import pandas as pd

from diffsoil import _runtime

_runtime.use_device("cpu", cpu_devices=1)

import jax.numpy as jnp  # noqa: E402

from calibration.problem import Problem  # noqa: E402
from diffsoil.cases import Case, load_case  # noqa: E402

AREAS = ("kansas", "blan", "dela", "ornl", "unde")
DEPTHS = (0, 15, 30, 60, 100)
"""cm; a horizon belongs to where its middle is."""

DEEP = {"carbon.iom_factor": 0.0, "carbon.subsoil_slowing": 3.3, "burial.depth": 0.08}
WAYS = {
    "RothC, fauna in a block": {},
    "passive pool": {"carbon": "rothc_passive", "set": {"carbon.iom_factor": 0.0}},
    "passive pool, slower subsoil, burial, diffusion": {
        "carbon": "rothc_passive",
        "mixing": "diffusion",
        "set": DEEP,
    },
}


def changed(case: Case, way: dict) -> Case:
    """A case with other choices, in which nothing is fitted."""
    file = case.file.model_copy(update={**way, "free": {}})
    return dataclasses.replace(case, file=file)


def predicted(case: Case) -> pd.DataFrame:
    """Organic carbon of the horizons, measured and predicted."""
    problem = Problem(case, free={})
    defaults = jnp.asarray([p.default for p in problem.parameters])
    table = problem.table.assign(predicted=problem.likelihood.predict(defaults).latent)
    return table[table["variable"] == "soc_percent"]


def main(output: Path | None) -> None:
    """Print the medians, and write them."""
    found = []
    for name, way in WAYS.items():
        for area in AREAS:
            table = predicted(changed(load_case(f"neon_{area}"), way))
            found.append(table.assign(way=name, area=area))
            print(f"{name}: {area}", flush=True)
    every = pd.concat(found)
    every["ratio"] = every["predicted"] / every["value"]
    every["depth"] = pd.cut(0.5 * (every["upper_cm"] + every["lower_cm"]), DEPTHS)
    by_area = every.pivot_table(
        "ratio", ["way", "depth"], "area", aggfunc="median", observed=True, sort=False
    )
    by_area["all"] = every.groupby(["way", "depth"], observed=True, sort=False)["ratio"].median()
    print(by_area.round(2).to_string())
    if output is not None:
        by_area.to_csv(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, help="table of the medians")
    sys.exit(main(parser.parse_args().output))
