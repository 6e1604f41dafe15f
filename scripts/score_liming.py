"""Scores of the liming experiment at Rothamsted: parameters as they are, and a fit.

RMSE, bias and share within the 90 % interval of the mean of a level at a date and depth, by level;
with and without 1974 to 1980, when season and laboratory moved pH at all levels alike.

    python scripts/score_liming.py [--fit FOLDER] [--picture FILE.png]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from diffsoil import _runtime

_runtime.use_device("cpu", cpu_devices=1)

import jax.numpy as jnp  # noqa: E402

from calibration.problem import Problem  # noqa: E402
from diffsoil.cases import load_case  # noqa: E402
from diffsoil.report.pictures import CYCLE, Figure, save  # noqa: E402

CASE = "rothamsted_liming"
OF_LABORATORY = range(1974, 1981)
WITHHELD = ("lime_l", "lime_h")
LEVELS = {
    "lime_0": "no chalk (fitted)",
    "lime_l": "15 t/ha (withheld)",
    "lime_m": "24.5 t/ha (fitted)",
    "lime_h": "52.5 t/ha (withheld)",
}
SHOWN = {"ph": "pH, topsoil", "exchangeable_calcium": "exchangeable Ca, mmol_c/kg"}


def as_they_are() -> pd.DataFrame:
    """Measured and predicted with the default of every parameter."""
    case = load_case(CASE)
    file = case.file.model_copy(update={"free": {}, "set": {}})
    problem = Problem(dataclasses.replace(case, file=file), free={})
    defaults = jnp.asarray([p.default for p in problem.parameters])
    return problem.table.assign(q50=np.asarray(problem.likelihood.predict(defaults).latent))


def score(rows: pd.DataFrame) -> pd.Series:
    """Of some observations."""
    off = rows["value"] - rows["q50"]
    found = {"n": len(rows), "bias": off.mean(), "rmse": np.sqrt((off**2).mean())}
    found["bias_percent"] = 100 * off.sum() / rows["value"].sum()
    if "q05" in rows:
        found["within"] = rows["value"].between(rows["q05"], rows["q95"]).mean()
    return pd.Series(found)


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """By variable and level, of pH also by what is left out."""
    by_level = table.groupby(["variable", "treatment"])[list(table)].apply(score)
    ph = table[table["variable"].eq("ph") & table["treatment"].isin(WITHHELD)]
    usual = ph[~ph["year"].isin(OF_LABORATORY)]
    more = {
        ("ph, withheld", "all"): ph,
        ("ph, withheld", "without 1974-1980"): usual,
        ("ph, withheld", "topsoil, without 1974-1980"): usual[usual["upper_cm"] == 0],
    }
    rest = pd.DataFrame({name: score(rows) for name, rows in more.items()}).T
    return pd.concat([by_level, rest])


def picture(table: pd.DataFrame) -> Figure:
    """PH and exchangeable calcium of the topsoil, measured and predicted."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    topsoil = table[table["upper_cm"] == 0].sort_values("year")
    for ax, (variable, label) in zip(axes, SHOWN.items(), strict=True):
        for (level, words), colour in zip(LEVELS.items(), CYCLE, strict=False):
            own = topsoil[topsoil["variable"].eq(variable) & topsoil["treatment"].eq(level)]
            ax.plot(own["year"], own["q50"], color=colour, label=f"{words}, predicted")
            ax.fill_between(own["year"], own["q05"], own["q95"], color=colour, alpha=0.15, lw=0)
            face = "none" if level in WITHHELD else colour
            ax.plot(own["year"], own["value"], "o", ms=4, mec=colour, mfc=face)
        ax.set_xlabel("year")
        ax.set_ylabel(label)
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=2, frameon=False)
    return figure


def main(fit: Path | None, drawn: Path | None) -> None:
    """Print the scores, and draw."""
    print(scores(as_they_are()).round(2).to_string())
    if fit is not None:
        table = pd.read_csv(fit / "predictions.csv")
        print(scores(table).round(2).to_string())
        if drawn is not None:
            save(picture(table), drawn)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--fit", type=Path, help="folder of a fit of the case")
    parser.add_argument("--picture", type=Path, help="PNG file of the topsoil by that fit")
    chosen = parser.parse_args()
    sys.exit(main(chosen.fit, chosen.picture))
