"""Carbon by depth and pool at the end of a run: table, picture and section of a page."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from calibration.prediction import Predicted
from calibration.problem import Problem
from diffsoil.report import html
from diffsoil.report.pictures import CYCLE, GREY, Figure
from diffsoil.state import INERT
from diffsoil.units import CM_PER_M

ALL = "all"
"""Stands for the sum of the pools."""

COLUMNS = 4
"""Treatments side by side."""


def table(problem: Problem, predicted: Predicted) -> pd.DataFrame:
    """Carbon of each layer in the last year of a case, by treatment and pool.

    Returns:
        Columns ``treatment``, ``pool`` (:data:`ALL` for their sum), ``upper_cm``, ``lower_cm``
        (means of the draws, where the soil develops), and ``mean``, ``q05``, ``q50``, ``q95`` of
        the draws, Mg C/ha in the layer.
    """
    carbon = predicted.rows("profile")
    bottom = np.round(predicted.rows("bottom").mean(axis=0) * CM_PER_M, 6)
    every = np.concatenate([carbon, carbon.sum(axis=2, keepdims=True)], axis=2)
    described = {"mean": every.mean(axis=0)}
    described |= {f"q{q:02d}": np.quantile(every, q / 100, axis=0) for q in (5, 50, 95)}
    shape = described["mean"].shape
    upper = np.concatenate([np.zeros((len(bottom), 1)), bottom[:, :-1]], axis=1)
    keys = pd.MultiIndex.from_product(
        [list(problem.members), [*problem.column.pools, ALL], range(shape[2])],
        names=["treatment", "pool", "layer"],
    )
    found = keys.to_frame(index=False).drop(columns="layer")
    for name, ends in (("upper_cm", upper), ("lower_cm", bottom)):
        found[name] = np.broadcast_to(ends[:, None, :], shape).ravel()
    return found.assign(**{name: values.ravel() for name, values in described.items()})


def figure(found: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Pools stacked over depth, and the spread of their sum.

    Args:
        found: from :func:`table`.
        labels: of the treatments.
    """
    names = list(dict.fromkeys(found["treatment"]))
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    picture = Figure(figsize=(2.6 * columns, 2.9 * rows + 0.6), layout="constrained")
    axes = picture.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, name in zip(axes, names, strict=False):
        _panel(ax, found[found["treatment"] == name])
        title = "\n".join(textwrap.wrap(labels.get(name, name), 30))
        ax.set_title(title, fontsize=8.5, loc="left")
    for ax in axes[len(names) :]:
        ax.remove()
    for i, ax in enumerate(axes[: len(names)]):
        ax.tick_params(labelsize=7, labelbottom=i + columns >= len(names))
        ax.spines[["top", "right"]].set_visible(False)
        if i + columns >= len(names):
            ax.set_xlabel("organic C (Mg C/ha per cm)", fontsize=8)
        if i % columns == 0:
            ax.set_ylabel("depth (cm)", fontsize=8)
    axes[0].set_ylim(found["lower_cm"].max(), 0)
    axes[0].set_xlim(0, None)
    handles, said = axes[0].get_legend_handles_labels()
    picture.legend(handles, said, loc="outside lower center", ncols=min(len(said), 2 * columns),
                   fontsize=8, frameon=False)  # fmt: skip
    return picture


def _panel(ax: Axes, own: pd.DataFrame) -> None:
    every = own[own["pool"] == ALL]
    edges = np.concatenate([every["upper_cm"].to_numpy()[:1], every["lower_cm"].to_numpy()])
    thickness = np.maximum(np.diff(edges), 1e-9)
    below = np.zeros(len(thickness))
    pools = [pool for pool in dict.fromkeys(own["pool"]) if pool != ALL]
    for place, pool in enumerate(pools[::-1]):
        share = own.loc[own["pool"] == pool, "mean"].to_numpy() / thickness
        colour = GREY if pool == INERT else CYCLE[place % len(CYCLE)]
        ax.stairs(below + share, edges, baseline=below, orientation="horizontal", fill=True,
                  color=colour, alpha=0.75, lw=0, label=pool)  # fmt: skip
        below = below + share
    if (every["q95"] > every["q05"]).any():
        for name in ("q05", "q95"):
            ax.stairs(every[name].to_numpy() / thickness, edges, baseline=None, lw=0.9,
                      orientation="horizontal", color="black", ls=":",
                      label="5 and 95 % of their sum" if name == "q05" else None)  # fmt: skip


def section(year: int, picture: Path | None) -> str:
    """The picture as a section of a page; ``year`` is the last one of the case."""
    return html.section(
        "Pools and profile",
        html.figure(
            picture,
            f"Organic carbon of the mineral soil by depth and pool at the end of {year}, without "
            "litter: IOM is inert, HUM humus, BIO biomass, RPM and DPM resistant and decomposable "
            "plant material.",
        ),
    )
