"""Tables, picture and page of a pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffsoil.report import html
from diffsoil.report.pictures import BLUE, GREEN, GREY, ORANGE, Figure, save
from diffsoil.work.files import write_table, write_text
from sensitivity.options import PruneOptions
from sensitivity.pruning.result import Pruned

LEAST = 1e-6
"""Errors below are drawn there: a logarithmic axis has no zero."""

SAMPLES = {
    "case": "parameters of the case",
    "chosen": "draws it was chosen on",
    "unseen": "unseen draws",
    "other case": "another case",
    "other case, draws": "another case, unseen draws",
}

MOST_PROCESSES = 14
"""Processes in a picture of their worth."""

MOST_PAIRS = 10
"""Interactions in a table."""


def write_report(
    found: Pruned,
    options: PruneOptions,
    folder: Path,
) -> None:
    """Write the tables, the pictures and the page.

    Tables are ``prune.csv``, ``errors.csv``, ``cost.csv`` and ``path.csv``, and, where they were
    asked for, ``worth.csv`` and ``posteriors.csv``.

    Args:
        found: what the pruning found.
        options: what was asked for.
        folder: is there.
    """
    tables = {
        "prune": found.decisions,
        "errors": found.errors,
        "cost": found.cost,
        "path": found.path,
    }
    asked_for = {"worth": found.ablation, "posteriors": found.posteriors}
    tables |= {name: table for name, table in asked_for.items() if len(table)}
    for name, table in tables.items():
        write_table(folder / f"{name}.csv", table, float_format="%.6g")
    figures = {"pareto": pareto(found.path, options.tolerance)}
    for case, own in found.ablation.groupby("case", sort=False):
        figures[f"worth_{case}"] = ablation_bars(own, f"{case}: what its processes are worth")
    for name, figure in figures.items():
        save(figure, folder / f"{name}.png")
    write_text(folder / "report.html", page(found, options, folder))


def pareto(path: pd.DataFrame, tolerance: float) -> Figure:
    """Error against the time of a run, after each removal and beyond the tolerance.

    Args:
        path: step, error, quantile, within and run_s, in order, the full column first.
        tolerance: drawn as a line.
    """
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    ax = figure.subplots()
    gone, beyond = path[path["within"]], path[~path["within"]]
    for column, colour, mark, label in (
        ("quantile", ORANGE, "s", "taken: quantile of the draws"),
        ("error", BLUE, "o", "taken: worst of the cases"),
    ):
        error = np.maximum(gone[column], LEAST)
        ax.plot(gone["run_s"], error, color=colour, marker=mark, ms=4, lw=1, label=label)
    if len(beyond):
        ax.plot(
            beyond["run_s"], np.maximum(beyond["error"], LEAST), color=GREY, marker="o", ms=5,
            mfc="white", lw=1, ls=":", label="not taken, one more each: worst of the cases",
        )  # fmt: skip
    top = _label(ax, path)
    ax.hlines(tolerance, 0.0, 1.01 * float(path["run_s"].max()), color=GREY, lw=1, ls="--")
    ax.annotate(
        f"tolerance {tolerance:g}", (0.005, tolerance), xycoords=("axes fraction", "data"),
        ha="left", va="bottom", fontsize=8, color=GREY,
    )  # fmt: skip
    ax.set_yscale("log")
    most = float(np.nanmax(path[["error", "quantile"]].to_numpy()))
    ax.set_ylim(0.5 * LEAST, max(3.0 * max(tolerance, most), 1.5 * top))
    ax.set_xlim(0, 1.25 * float(path["run_s"].max()))
    ax.set_xlabel(f"time of a run (s), {path['case'].iloc[0]}")
    ax.set_ylabel("largest relative error (1)")
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    words = "Each point is one removal more; 1e-6 stands for all that is less"
    ax.set_title(words, fontsize=9, loc="left")
    return figure


def _label(ax: Any, path: pd.DataFrame) -> float:
    """Name the steps beside their points, each at a height of its own; the largest of these."""
    heights: list[float] = []
    least, most = np.log10(LEAST), max(0.0, np.log10(path["error"].max() + LEAST))
    apart = 0.03 * (most - least + 1.0)
    # of equal errors the slower first, so that no line crosses another
    order = np.lexsort((-path["run_s"], np.maximum(path["error"], LEAST)))
    for i in order:
        row = path.iloc[int(i)]
        height = float(np.log10(max(row["error"], LEAST)))
        place = max(height, heights[-1] + apart) if heights else height
        heights.append(place)
        ax.annotate(
            "full" if i == 0 else f"– {row['step']}",
            (row["run_s"], 10.0**height),
            xytext=(1.03 * float(path["run_s"].max()), 10.0**place),
            textcoords="data", fontsize=7, color="#333333", va="center",
            arrowprops={"arrowstyle": "-", "color": "#CCCCCC", "lw": 0.5},
        )  # fmt: skip
    return float(10.0 ** heights[-1])


def page(found: Pruned, options: PruneOptions, folder: Path) -> str:
    """The report; its pictures are in the folder."""
    quantile, tolerance = options.quantile, options.tolerance
    caption = "Error after each removal against the time of a run."
    return html.page(
        "A pruned soil column",
        [
            _in_short(found, options),
            html.section(
                "Errors of the pruned column", html.table(summary(found, quantile, tolerance))
            ),
            html.section("Cost before and after", html.table(savings(found.cost))),
            html.section("Error against cost", html.figure(folder / "pareto.png", caption)),
            _candidates(found.decisions, quantile),
            _ablation_section(found.ablation, folder),
            _posterior_section(found.posteriors),
        ],
    )


def _in_short(found: Pruned, options: PruneOptions) -> str:
    left = len(found.decisions) - len(found.removed)
    ways = found.decisions["name"][found.decisions["decision"] == "taken"]
    return html.section(
        "In short",
        html.paragraph(
            f"Gone: {', '.join(found.removed)}"
            + (f"; cheaper ways are taken: {', '.join(ways)}" if len(ways) else "")
            + f". {left} others were kept or not taken. Targets: "
            f"{', '.join(options.target)}; tolerance {options.tolerance:g}."
        ),
        html.paragraph(
            "The error of a run is the largest, over targets and years, of |pruned - full| "
            "/ |full|; where |full| is below 1 % of its largest value in the run, that "
            "1 % divides. A candidate goes if the error is within the tolerance on every "
            f"case, and so is the {options.quantile:g} quantile (its upper 95 % limit, from order "
            "statistics) of random draws of all parameters from their priors, for each "
            "case.",
            "note",
        ),
        html.paragraph(
            f"The compiled column equals the one of strength 0 to "
            f"{found.static_difference:.1g}. {found.failed} draws failed in the full "
            f"column and are not counted. {found.runs} runs, {found.minutes:.1f} minutes.",
            "note",
        ),
    )


def _candidates(decisions: pd.DataFrame, quantile: float) -> str:
    kinds = ["reproduced" if d in ("removed", "taken") else "" for d in decisions["decision"]]
    shown = decisions.rename(
        columns={
            "name": "candidate",
            "worth": "error without it alone",
            "worst_case": "worst case",
            "error": "error with all before",
            "quantile": f"{quantile:g} quantile of draws",
            "worst": "worst draw",
        }
    )
    shown["order"] = [str(o) if o else "" for o in shown["order"]]
    return html.section("Every candidate", html.table(shown, kinds))


def _ablation_section(worth: pd.DataFrame, folder: Path) -> str:
    if worth.empty:
        return ""
    parts = [
        html.paragraph(
            "At the parameters of the cases. Ablation: the target less that of the exact run "
            "without the process. Integrated gradient: its part of the difference between all "
            "processes and none, along equal strengths; the parts add up to it. Total index: share "
            "of the variance if the strengths of all processes were uniform between 0 and 1, with "
            "95 % intervals.",
            "note",
        )
    ]
    for case, own in worth.groupby("case", sort=False):
        caption = f"{case}: the {MOST_PROCESSES} processes that are worth most."
        parts.append(html.figure(folder / f"worth_{case}.png", caption))
        pairs = own[own["index"] == "interaction"].rename(columns={"parameter": "processes"})
        pairs = pairs.assign(size=pairs["value"].abs()).sort_values("size", ascending=False)
        pairs = pairs[["output", "year", "processes", "value"]][:MOST_PAIRS]
        parts.append(html.heading(f"{case}: the largest interactions of two"))
        parts.append(html.table(pairs.assign(year=[_year(y) for y in pairs["year"]])))
    parts.append(
        html.paragraph(
            "Interaction: what two are worth together less what each is worth alone.", "note"
        )
    )
    return html.section("What each process is worth", *parts)


def _year(year: Any) -> str:
    return "" if pd.isna(year) else str(int(year))


def _posterior_section(posteriors: pd.DataFrame) -> str:
    if posteriors.empty:
        return ""
    return html.section(
        "Calibrating with the pruned column",
        html.paragraph(
            "Posteriors (normal approximation around the mode) from the same synthetic "
            "observations of the targets, made by the full column with errors of 5 %. Shift: "
            "distance of the modes over the standard deviation of the full posterior; spread: "
            "ratio of the standard deviations.",
            "note",
        ),
        html.table(posteriors),
    )


def ablation_bars(own: pd.DataFrame, title: str) -> Figure:
    """Ablation and integrated gradients of processes above their total indices, by output.

    Args:
        own: rows of ``worth.csv`` of one case.
        title: of the picture.
    """
    outputs = list(own[["output", "year"]].drop_duplicates().itertuples(index=False))
    exact = own[own["index"] == "worth"]
    scale = exact.groupby(["output", "year"], dropna=False)["value"].transform(
        lambda v: v.abs().max()
    )
    size = (exact["value"].abs() / scale).groupby(exact["parameter"]).max()
    names = list(size.sort_values(ascending=False, kind="stable").index[:MOST_PROCESSES])
    figure = Figure(
        figsize=(2.6 + 2.4 * len(outputs), 1.8 + 0.42 * len(names)), layout="constrained"
    )
    axes = figure.subplots(2, len(outputs), sharey=True, squeeze=False)
    place = np.arange(len(names))
    for column, (output, year) in enumerate(outputs):
        same = own["year"].isna() if pd.isna(year) else own["year"] == year
        rows = own[(own["output"] == output) & same.fillna(False)]

        def of(index: str, rows: pd.DataFrame = rows) -> pd.DataFrame:
            return rows[rows["index"] == index].set_index("parameter").reindex(names)

        above, below = axes[:, column]
        for shift, index, colour, label in (
            (-0.2, "worth", BLUE, "worth: loss without it alone"),
            (0.2, "integrated_gradient", ORANGE, "integrated gradient"),
        ):
            above.barh(place + shift, of(index)["value"], 0.38, color=colour, zorder=2,
                       label=label if column == 0 else None)  # fmt: skip
        total = of("ST")
        below.barh(place, total["value"], 0.6, color=GREEN, zorder=2,
                   label="total index of its strength" if column == 0 else None)  # fmt: skip
        below.hlines(place, total["low"], total["high"], color="black", lw=1.0, zorder=3)
        above.set_title(f"{output}{'' if pd.isna(year) else f', year {int(year)}'}", fontsize=8)
        above.set_xlabel("in the unit of the output", fontsize=8)
        below.set_xlabel("share of the variance", fontsize=8)
        below.set_xlim(min(0.0, below.get_xlim()[0]), min(1.1, below.get_xlim()[1]))
        for ax in (above, below):
            ax.axvline(0.0, color="black", lw=0.6)
            ax.grid(axis="x", color="#DDDDDD", lw=0.6, zorder=0)
            ax.tick_params(labelsize=8)
            ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_yticks(place, names)
    axes[0, 0].invert_yaxis()
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


def summary(found: Pruned, quantile: float, tolerance: float) -> pd.DataFrame:
    """Errors by sample, case and target."""
    rows = []
    for key, own in found.errors.groupby(["sample", "case", "target"], sort=False):
        errors = own["error"].dropna().to_numpy(float)
        sample, case, target = key
        rows.append(
            {
                "sample": SAMPLES[str(sample)],
                "case": case,
                "target": target,
                "runs": str(len(errors)),
                f"{quantile:g} quantile": float(np.quantile(np.minimum(errors, 1e300), quantile)),
                "worst": float(errors.max()),
                "within the tolerance, %": 100.0 * float(np.mean(errors <= tolerance)),
            }
        )
    return pd.DataFrame(rows)


def savings(cost: pd.DataFrame) -> pd.DataFrame:
    """Cost of each case, and how many times less it is."""
    rows = []
    for case, own in cost.groupby("case", sort=False):
        full, pruned = (own[own["version"] == v].iloc[0] for v in ("full", "pruned"))
        for name, words in (
            ("run_s", "run, s"),
            ("compile_s", "compile, s"),
            ("memory_mb", "memory of the process, MB"),
        ):
            rows.append(
                {
                    "case": case,
                    "what": words,
                    "full": float(full[name]),
                    "pruned": float(pruned[name]),
                    "times less": float(full[name] / pruned[name]),
                }
            )
    return pd.DataFrame(rows)
