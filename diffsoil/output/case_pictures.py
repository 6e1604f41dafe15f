"""Pictures of a case before anything is simulated: time line, climate, carbon inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.patches import Patch

from diffsoil.cases.overview import Overview, yearly_inputs
from diffsoil.report.pictures import BLUE, CYCLE, GREY, ORANGE, Figure

MONTHS = "JFMAMJJASOND"


def time_line(found: Overview) -> Figure:
    """Land use of every site and treatment through the years of the case.

    History is drawn to its own scale, on the left; on the right the years of the experiment.
    """
    rows = found.inputs
    names = list(dict.fromkeys(rows["of"]))
    uses = list(dict.fromkeys(rows["land_use"]))
    colour = {use: CYCLE[i % len(CYCLE)] for i, use in enumerate(uses)}
    split = found.plan.experiment_year
    parts = [rows[rows["until"] < split], rows[rows["from"] >= split]]
    parts = [part for part in parts if len(part)]
    most = max(part["of"].nunique() for part in parts)
    figure = Figure(figsize=(9.0, 1.3 + 0.28 * most), layout="constrained")
    for ax, part in zip(np.atleast_1d(figure.subplots(1, len(parts))), parts, strict=True):
        shown = [name for name in names if name in set(part["of"])]
        for row in part.to_dict("records"):
            place, width = shown.index(row["of"]), row["until"] + 1 - row["from"]
            ax.barh(place, width, left=row["from"], height=0.7, color=colour[row["land_use"]],
                    alpha=0.75)  # fmt: skip
        ax.set_yticks(range(len(shown)), shown, fontsize=8)
        ax.set_ylim(most - 0.4, -0.6)
        ax.set_xlabel("calendar year", fontsize=8)
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=colour[use], alpha=0.75, label=use) for use in uses]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(6, len(uses)), fontsize=8,
        frameon=False,
    )  # fmt: skip
    return figure


def climates(found: Overview) -> Figure:
    """Temperature, rain and potential evapotranspiration of the mean year of each climate."""
    names = list(found.case.climate)
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.1 * columns, 2.5 * rows + 0.4), layout="constrained")
    month = np.arange(12)
    axes = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    for ax, name in zip(axes, names, strict=False):
        mean = found.case.climate[name].groupby("month").mean(numeric_only=True)
        ax.bar(month, mean["precipitation_mm"], color=BLUE, alpha=0.6, label="precipitation")
        ax.step(month, mean["pet_mm"], where="mid", color=GREY,
                label="potential evapotranspiration")  # fmt: skip
        ax.set_title(name, fontsize=9, loc="left")
        ax.set_ylabel("mm in the month", fontsize=8)
        ax.set_xticks(month, MONTHS, fontsize=7)
        ax.tick_params(labelsize=7)
        warmth = ax.twinx()
        warmth.plot(month, mean["temperature_c"], color=ORANGE, label="temperature")
        warmth.set_ylabel("temperature (°C)", fontsize=8, color=ORANGE)
        warmth.tick_params(labelsize=7)
        handles = [*ax.get_legend_handles_labels()[0], *warmth.get_legend_handles_labels()[0]]
    for ax in axes[len(names) :]:
        ax.remove()
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3 if columns > 1 else 1, fontsize=8,
        frameon=False,
    )  # fmt: skip
    return figure


def inputs(found: Overview) -> Figure | None:
    """Carbon of plants and of manure in every year of the experiment; None without one."""
    table = yearly_inputs(found.plan)
    if table.empty:
        return None
    names: Sequence[str] = list(dict.fromkeys(table["treatment"]))
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.1 * columns, 0.5 + 1.7 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for ax, name in zip(axes, names, strict=False):
        own: pd.DataFrame = table[table["treatment"] == name]
        ax.stackplot(own["year"], own["plants"], own["manure"], colors=(BLUE, ORANGE), alpha=0.7,
                     step="mid", labels=("plants", "manure"))  # fmt: skip
        ax.set_title(name, fontsize=8, loc="left")
        ax.tick_params(labelsize=7)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[len(names) :]:
        ax.remove()
    for ax in axes[::columns]:
        ax.set_ylabel("carbon (t C/ha/a)", fontsize=8)
    for ax in axes[max(0, len(names) - columns) : len(names)]:
        ax.tick_params(labelbottom=True)
        ax.set_xlabel("calendar year", fontsize=8)
    handles = axes[0].get_legend_handles_labels()[0]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    return figure
