"""Scores of the ley-arable experiment at Woburn, of a fit or of a prediction by another fit.

Of the median in percent C: bias and RMSE, and the share of measurements within the 50 and 90 %
intervals; by what was fitted, by rotation and manure, and by block.

    python scripts/score_woburn.py PREDICTIONS.csv [--picture FILE.png]

PREDICTIONS.csv is that of a fit of the case `woburn`, or what `diffsoil predict woburn` wrote.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from calibration.scores import score
from diffsoil.cases import load_case
from diffsoil.report.pictures import CYCLE, Figure, save

ROTATIONS = {
    "ab": "arable (ab)",
    "af": "arable with roots or fallow (af), withheld",
    "lc3": "3 years of ley with legumes (lc3)",
    "ln3": "3 years of grass ley (ln3)",
    "lc8": "5, later 8 years of ley with legumes (lc8)",
    "ln8": "5, later 8 years of ley, later of grass (ln8)",
}
MANURES = {"no manure": CYCLE[0], "manured 1941-67": CYCLE[1]}


def described(table: pd.DataFrame) -> pd.DataFrame:
    """With the rotation and manure of each plot, and what became of each measurement."""
    kept = load_case("woburn").file.observations
    assert kept is not None
    name = table["treatment"].str.extract(r"b(\d)_([a-z]+\d?)[ab]?(_fym)?$")
    is_af = table["treatment"].isin(kept.keep_out_treatments)
    last = table["year"].isin(kept.keep_out_years)
    return table.assign(
        rotation=np.where(is_af, "af", name[1].replace("a", "ab")),
        manure=np.where(name[2].isna(), *MANURES),
        part=np.select([is_af, last], ["withheld: af", "withheld: last samples"], "fitted"),
    )


def scores(rows: pd.DataFrame) -> pd.Series:
    """Of the median, for some measurements; with the width of their 90 % intervals."""
    width = 100 * (rows["q95"] - rows["q05"]).mean() / rows["value"].mean()
    more = {"n": len(rows), "measured": rows["value"].mean(), "width_percent": width}
    return pd.Series(more | score(rows, "q50"))


def picture(table: pd.DataFrame) -> Figure:
    """Means of five years over the blocks, measured and predicted, by rotation and manure."""
    rounds = table[table["series"] == "woburn"].assign(year=lambda t: 5 * (t["year"] // 5) + 2)
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    axes = figure.subplots(2, 3, sharex=True, sharey=True)
    for ax, (rotation, label) in zip(axes.flat, ROTATIONS.items(), strict=True):
        for manure, colour in MANURES.items():
            own = rounds[rounds["rotation"].eq(rotation) & rounds["manure"].eq(manure)]
            mean = own.groupby("year")[["value", "q05", "q50", "q95"]].mean()
            spread = own.groupby("year")["value"].sem()
            ax.fill_between(mean.index, mean["q05"], mean["q95"], color=colour, alpha=0.15, lw=0)
            ax.plot(mean.index, mean["q50"], color=colour, label=f"{manure}, predicted")
            fitted = own.groupby("year")["part"].first().eq("fitted")
            for chosen, face in ((fitted, colour), (~fitted, "white")):
                ax.errorbar(
                    mean.index[chosen],
                    mean["value"][chosen],
                    spread[chosen],
                    fmt="o",
                    ms=4,
                    color=colour,
                    mfc=face,
                )
        ax.set_title(label, fontsize=9)
    for ax in axes[:, 0]:
        ax.set_ylabel("organic carbon 0-25 cm, %")
    for ax in axes[1]:
        ax.set_xlabel("year")
    figure.legend(
        *axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    return figure


def main(predictions: Path, drawn: Path | None) -> None:
    """Print the scores, and draw."""
    table = described(pd.read_csv(predictions))
    for by in (["part"], ["part", "rotation", "manure"], ["part", "site"], ["method"]):
        found = table.groupby(by)[list(table)].apply(scores)
        print(found.round(3).to_string(), end="\n\n")
    print(pd.DataFrame({"all": scores(table)}).T.round(3).to_string())
    if drawn is not None:
        save(picture(table), drawn)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("predictions", type=Path, help="CSV with observed and predicted values")
    parser.add_argument("--picture", type=Path, help="PNG file of means over the blocks")
    chosen = parser.parse_args()
    sys.exit(main(chosen.predictions, chosen.picture))
