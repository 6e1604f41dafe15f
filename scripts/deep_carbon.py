"""Carbon by depth of the shipped NEON profiles, and its age, with nothing fitted.

Each way of the column runs at the defaults of its parameters. By depth and area: median of
predicted over measured organic carbon, and median of the predicted Delta 14C, of which these
profiles have no measurement.

    python scripts/deep_carbon.py [--output FILE.csv]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from diffsoil import _runtime

_runtime.use_device("cpu", cpu_devices=1)

import jax.numpy as jnp  # noqa: E402

from calibration.problem import Problem  # noqa: E402
from diffsoil.cases import Case, find_case, read_case  # noqa: E402
from diffsoil.output.simulation import simulate  # noqa: E402
from diffsoil.units import CM_PER_M  # noqa: E402

AREAS = ("kansas", "blan", "dela", "ornl", "unde")
DEPTHS = (0, 15, 30, 60, 100)
"""cm; a horizon belongs to where its middle is."""

LOWEST = 90
"""cm; from here to 1 m is what reviews call the 14C at one metre."""

PASSIVE = 'carbon = "rothc_passive"', {"carbon.iom_factor": 0.0}
WAYS: dict[str, tuple[str, dict[str, float]]] = {
    "RothC, fauna in a block": ("", {}),
    "passive pool": PASSIVE,
    "passive pool, burial, diffusion": (
        f'{PASSIVE[0]}\nmixing = "diffusion"',
        {**PASSIVE[1], "burial.depth": 0.08},
    ),
}
"""Choices of a case, and parameters that it sets."""


def changed(area: str, choices: str, parameters: dict[str, float]) -> Case:
    """The case of an area with other choices, and with 14C."""
    path = find_case(f"neon_{area}")
    settings = "".join(f'"{name}" = {value}\n' for name, value in parameters.items())
    text = f'radiocarbon_atmosphere = "north"\n{choices}\n{path.read_text()}\n[set]\n{settings}'
    return read_case(path, text)


def predicted(case: Case) -> pd.DataFrame:
    """Organic carbon of the horizons, measured and predicted."""
    problem = Problem(case, free={})
    defaults = jnp.asarray([p.default for p in problem.parameters])
    table = problem.table.assign(predicted=problem.likelihood.predict(defaults).latent)
    return table[table["variable"] == "soc_percent"]


def dated(case: Case) -> pd.DataFrame:
    """Delta 14C of the layers of all profiles in the last year."""
    run = simulate(case).to_xarray()["delta14c"].isel(output_year=-1)
    table = run.to_dataframe().reset_index()
    return table.assign(middle_cm=CM_PER_M * table["depth_m"])


def by_depth(table: pd.DataFrame, middle: pd.Series, value: str) -> pd.DataFrame:
    """Medians by way and depth, of each area and of all."""
    table = table.assign(depth=pd.cut(middle, DEPTHS))
    wanted = {"observed": True, "sort": False}
    found = table.pivot_table(value, ["way", "depth"], "area", aggfunc="median", **wanted)
    return found.assign(all=table.groupby(["way", "depth"], **wanted)[value].median())


def main(output: Path | None) -> None:
    """Print the medians, and write them."""
    stocks, ages = [], []
    for name, way in WAYS.items():
        for area in AREAS:
            case = changed(area, *way)
            stocks.append(predicted(case).assign(way=name, area=area))
            ages.append(dated(case).assign(way=name, area=area))
            print(f"{name}: {area}", flush=True)
    every, age = pd.concat(stocks), pd.concat(ages)
    every["ratio"] = every["predicted"] / every["value"]
    ratio = by_depth(every, 0.5 * (every["upper_cm"] + every["lower_cm"]), "ratio")
    activity = by_depth(age, age["middle_cm"], "delta14c")
    print(f"organic carbon, predicted / measured\n{ratio.round(2).to_string()}")
    print(f"Delta 14C, permil\n{activity.round(0).to_string()}")
    lowest = age[age["middle_cm"] > LOWEST].groupby("way", sort=False)["delta14c"].median()
    print(f"Delta 14C below {LOWEST} cm, permil\n{lowest.round(0).to_string()}")
    if output is not None:
        ratio.join(activity.add_suffix(" delta14c")).to_csv(output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=Path, help="table of the medians")
    sys.exit(main(parser.parse_args().output))
