"""Pictures of a sensitivity study, from its tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from diffsoil.output.plots import look
from diffsoil.report.pictures import BLUE, GREEN, GREY, ORANGE, PINK, SKY, YELLOW, Figure

LINES = (BLUE, ORANGE, GREEN, PINK, SKY, YELLOW, "#000000", "#8C6D31")
"""Colours of inputs that are named; the rest is grey."""

MOST_INPUTS = 12
"""Inputs in a picture of bars."""

PRIMARY = {
    "local": "relative_to_sd",
    "morris": "mu_star",
    "dgsm": "mu_scaled",
    "active-subspace": "activity",
    "sobol": "ST",
    "shapley": "shapley",
}
"""Index by which a method ranks inputs, and the order of the methods in pictures."""

SHARES = ("dgsm", "active-subspace", "sobol", "shapley")
"""Methods whose indices are shares of the variance."""

BESIDE = {"sobol": "S1", "dgsm": "nu_scaled"}
"""Index that is drawn as a circle beside the primary one."""

LARGEST_SHARE = 1.1
"""Where the axis of a share ends; intervals from few draws go on."""

WORDS = {
    "local": "local: change of the output\nby 1 sd of the input (relative)",
    "morris": "Morris: mean elementary\neffect μ*",
    "dgsm": "DGSM: scaled mean slope μ*²\n(○ mean square ν, | bound on ST)",
    "active-subspace": "active subspace:\nactivity score",
    "sobol": "Sobol: total index\n(○ first-order index)",
    "shapley": "Shapley effect:\nshare of the variance",
}

COLOUR = {
    "local": GREY,
    "morris": YELLOW,
    "dgsm": BLUE,
    "active-subspace": SKY,
    "sobol": ORANGE,
    "shapley": GREEN,
}


def order(own: pd.DataFrame) -> list[str]:
    """Inputs of one output, the most important first: mean of the shares by all methods.

    Each method counts alike; local derivatives only where there is nothing else.
    """
    shares = {}
    for method, index in PRIMARY.items():
        rows = own[(own["method"] == method) & (own["index"] == index)].set_index("parameter")
        size = rows["value"].abs()
        if len(size) and np.isfinite(size).any() and size.max() > 0:
            shares[method] = size / size.max()
    if len(shares) > 1:
        shares.pop("local", None)
    if not shares:
        return []
    mean = pd.DataFrame(shares).mean(axis=1)
    return [str(name) for name in mean.sort_values(ascending=False, kind="stable").index]


def bars(own: pd.DataFrame, title: str) -> Figure | None:
    """Indices of one output by all methods, side by side, with their intervals.

    Args:
        own: rows of ``indices.csv`` of one case, output and year.
        title: of the picture.
    """
    names = order(own)[:MOST_INPUTS]
    methods = [m for m, i in PRIMARY.items() if _usable(own, m, i)]
    if not names or not methods:
        return None
    figure = Figure(figsize=(2.4 + 2.3 * len(methods), 1.5 + 0.27 * len(names)),
                    layout="constrained")  # fmt: skip
    axes = figure.subplots(1, len(methods), sharey=True, squeeze=False)[0]
    place = np.arange(len(names))
    for ax, method in zip(axes, methods, strict=True):
        rows = _rows(own, method, PRIMARY[method], names)
        value = rows["value"].abs() if method == "local" else rows["value"]
        ax.barh(place, value, color=COLOUR[method], height=0.65, zorder=2)
        if method != "local":
            low, high = rows["low"].to_numpy(), rows["high"].to_numpy()
            ax.hlines(place, low, high, color="black", lw=1.0, zorder=4)
        if method == "dgsm" and _usable(own, method, "ST_bound"):
            bound = _rows(own, method, "ST_bound", names)
            shown = np.minimum(bound["value"], 1.0)
            ax.plot(shown, place, "|", color="black", ms=9, mew=1.6, zorder=5)
        if method in BESIDE:
            beside = _rows(own, method, BESIDE[method], names)["value"]
            shown = np.where(beside > 1.0, np.nan, beside)
            ax.plot(shown, place, "o", color="black", mfc="white", ms=4.5, zorder=5)
        ax.set_title(WORDS[method], fontsize=8)
        left, right = ax.get_xlim()
        ax.set_xlim(min(0.0, left), min(right, LARGEST_SHARE) if method in SHARES else right)
        ax.axvline(0.0, color="black", lw=0.6)
        ax.grid(axis="x", color="#DDDDDD", lw=0.6, zorder=0)
        ax.tick_params(labelsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(place, names)
    axes[0].invert_yaxis()
    figure.suptitle(title, fontsize=10)
    return figure


def _usable(own: pd.DataFrame, method: str, index: str) -> bool:
    rows = own[(own["method"] == method) & (own["index"] == index)]
    return bool(len(rows)) and bool(np.isfinite(rows["value"]).any())


def _rows(own: pd.DataFrame, method: str, index: str, names: Sequence[str]) -> pd.DataFrame:
    chosen = own[(own["method"] == method) & (own["index"] == index)]
    return chosen.set_index("parameter")[["value", "low", "high"]].reindex(list(names))


# Elasticities.


def elasticity_course(own: pd.DataFrame, title: str) -> Figure | None:
    """Elasticity of a stock through time, a line for each input; the largest are named.

    Args:
        own: rows of ``elasticities.csv`` of one case and stock with the case's own minimum.
        title: of the picture.
    """
    table = own.pivot_table(index="year", columns="parameter", values="value")
    if table.empty or len(table) < 2:
        return None
    named = _largest(table.abs().max())
    figure = Figure(figsize=(9.5, 5.2), layout="constrained")
    ax = figure.subplots()
    years = table.index.to_numpy(float)
    for name in table.columns.difference(named):
        ax.plot(years, table[name], color="#C8C8C8", lw=0.7, zorder=1)
    ends = []
    for name, colour in zip(named, LINES, strict=False):
        ax.plot(years, table[name], color=colour, lw=1.8, zorder=3)
        ends.append((float(table[name].iloc[-1]), name, colour))
    ax.axhline(0.0, color="black", lw=0.7, zorder=2)
    ax.margins(x=0.0)
    _label_ends(ax, ends, years[-1])
    ax.set_xlabel("calendar year")
    ax.set_ylabel("elasticity (% of the stock per % of the input)")
    ax.set_title(title, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    if len(table.columns) > len(named):
        rest = Line2D([], [], color="#C8C8C8", label=f"{len(table.columns) - len(named)} others")
        ax.legend(handles=[rest], loc="best", fontsize=8, frameon=False)
    return figure


def _largest(size: pd.Series) -> list[str]:
    size = size[np.isfinite(size) & (size > 1e-4)]
    return [str(n) for n in size.sort_values(ascending=False, kind="stable").index[: len(LINES)]]


def _label_ends(ax: Axes, ends: list[tuple[float, str, str]], x: float) -> None:
    """Names beside the ends of lines, moved apart where they would overlap."""
    if not ends:
        return
    low, high = ax.get_ylim()
    step = (high - low) * 0.042
    ends = sorted(ends)
    places = np.array([end[0] for end in ends])
    for _ in range(200):
        close = np.diff(places) < step
        if not close.any():
            break
        for i in np.flatnonzero(close):
            push = 0.5 * (step - (places[i + 1] - places[i])) + 1e-9
            places[i] -= push
            places[i + 1] += push
    shift = max(0.0, places[-1] - high) - max(0.0, low - places[0])
    for place, (value, name, colour) in zip(places - shift, ends, strict=True):
        ax.annotate(
            name,
            (x, value),
            xytext=(1.03, (place - low) / (high - low)),
            textcoords="axes fraction",
            color=colour,
            fontsize=8.5,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "lw": 0.6,
                "relpos": (0.0, 0.5),
                "shrinkA": 0,
                "shrinkB": 0,
            },
            annotation_clip=False,
        )


def elasticity_depth(own: pd.DataFrame, title: str) -> Figure | None:
    """Elasticity of the carbon of layers by depth, a panel for each year.

    Args:
        own: rows of ``elasticities.csv`` of one case with outputs ``soc[a-b]``.
        title: of the picture.
    """
    inside = own["output"].str.extract(r"^soc\[([\d.]+)-([\d.]+)\]$").astype(float)
    own = own.assign(upper=inside[0], lower=inside[1]).dropna(subset=["upper"])
    if own.empty:
        return None
    size = own.assign(size=own["value"].abs()).groupby("parameter")["size"].max()
    named = _largest(size)
    years = sorted(own["year"].unique())
    figure = Figure(figsize=(2.0 + 2.6 * len(years), 5.0), layout="constrained")
    axes = figure.subplots(1, len(years), sharex=True, sharey=True, squeeze=False)[0]
    for ax, year in zip(axes, years, strict=True):
        at = own[own["year"] == year]
        for name, rows in at.groupby("parameter"):
            rows = rows.sort_values("upper")
            colour = LINES[named.index(str(name))] if name in named else "#C8C8C8"
            depth = 0.5 * (rows["upper"] + rows["lower"])
            ax.plot(rows["value"], depth, color=colour, lw=1.7 if name in named else 0.6,
                    zorder=3 if name in named else 1)  # fmt: skip
        ax.axvline(0.0, color="black", lw=0.7, zorder=2)
        ax.set_title(f"year {year}", fontsize=9)
        ax.set_xlabel("elasticity", fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("depth (cm)")
    axes[0].invert_yaxis()
    handles = [Line2D([], [], color=c, lw=2, label=n) for n, c in zip(named, LINES, strict=False)]
    figure.legend(handles=handles, loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    return figure


# Indices through time.


def indices_course(own: pd.DataFrame, method: str, title: str) -> Figure | None:
    """An index of an output through time, with bands; the largest inputs are named.

    Args:
        own: rows of ``indices.csv`` of one case and output, of several years.
        method: whose :data:`PRIMARY` index is drawn.
        title: of the picture.
    """
    rows = own[(own["method"] == method) & (own["index"] == PRIMARY[method])]
    rows = rows[np.isfinite(rows["value"])]
    if rows["year"].nunique() < 3:
        return None
    named = _largest(rows.groupby("parameter")["value"].max())
    figure = Figure(figsize=(9.5, 4.8), layout="constrained")
    ax = figure.subplots()
    ends = []
    for name, colour in zip(named, LINES, strict=False):
        line = rows[rows["parameter"] == name].sort_values("year")
        years = line["year"].to_numpy(float)
        low, high = line["low"].to_numpy(), line["high"].to_numpy()
        ax.fill_between(years, low, high, color=colour, alpha=0.18, lw=0)
        ax.plot(years, line["value"], color=colour, lw=1.8, marker="o", ms=3)
        ends.append((float(line["value"].iloc[-1]), name, colour))
    ax.margins(x=0.0)
    _label_ends(ax, ends, float(rows["year"].max()))
    ax.set_xlabel("calendar year")
    ax.set_ylabel(WORDS[method].split("\n(")[0].replace("\n", " "))
    ax.set_title(title, fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    return figure


# Active subspaces.


def subspace(spectrum: pd.DataFrame, seen: pd.DataFrame, title: str, unit: str) -> Figure | None:
    """Eigenvalues with their intervals, and the output against the first active variable.

    Args:
        spectrum: rows of ``eigenvalues.csv`` of one output.
        seen: rows of ``active_variables.csv`` of it.
        title: of the picture.
        unit: of the output.
    """
    spectrum = spectrum[np.isfinite(spectrum["value"])].sort_values("number")[:10]
    if spectrum.empty or spectrum["value"].max() <= 0.0:
        return None
    figure = Figure(figsize=(8.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    number = spectrum["number"].to_numpy()
    floor = 1e-12 * spectrum["value"].max()
    low, high, value = (np.maximum(spectrum[c], floor) for c in ("low", "high", "value"))
    left.fill_between(number, low, high, color=BLUE, alpha=0.2, lw=0)
    left.semilogy(number, value, "o-", color=BLUE, ms=4)
    gap = spectrum[spectrum["gap"].isin(["clear", "unclear"])]
    for _, row in gap.iterrows():
        sure = "clear" if row["gap"] == "clear" else "not clear"
        left.axvline(row["number"] + 0.5, color=GREY, ls="--", lw=1.0)
        left.set_title(f"widest gap after {int(row['number'])} ({sure})", fontsize=9)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_xlabel("number of the eigenvalue")
    left.set_ylabel(f"eigenvalue (({unit})²)" if unit not in ("", "1") else "eigenvalue")
    right.scatter(seen["first"], seen["value"], c=seen["second"], cmap="cividis", s=14, lw=0)
    right.set_xlabel("first active variable (1; colour: the second)")
    right.set_ylabel(f"output ({unit})")
    right.set_title(f"{len(seen)} runs", fontsize=9)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=10)
    return figure


# Which modifier limits.


def limiting(own: pd.DataFrame, title: str) -> Figure | None:
    """Share of the soil in which each modifier limits, through time, mean over the draws.

    Args:
        own: rows of ``ruling.csv`` of one case and store.
        title: of the picture.
    """
    if own.empty:
        return None
    depths = list(dict.fromkeys(own["depth"]))
    figure = Figure(figsize=(9.0, 1.3 + 2.0 * len(depths)), layout="constrained")
    axes = figure.subplots(len(depths), 1, sharex=True, squeeze=False)[:, 0]
    limits = list(dict.fromkeys(own.loc[own["share"] > 0, "ruler"]))
    words, colours = zip(*(look(name) for name in limits), strict=True)
    for ax, depth in zip(axes, depths, strict=True):
        table = own[own["depth"] == depth].pivot_table(
            index="year", columns="ruler", values="share"
        )[limits]
        ends = table.index.to_numpy(float)
        years = np.concatenate([[2.0 * ends[0] - ends[1]], ends])  # the windows are equally long
        steps = np.concatenate([table.to_numpy()[:1], table.to_numpy()])
        ax.stackplot(years, steps.T, colors=colours, step="pre", lw=0)
        ax.set_title(depth, fontsize=9)
        ax.set_ylabel("share")
        ax.set_ylim(0.0, 1.0)
        ax.margins(x=0.0)
    axes[-1].set_xlabel("calendar year")
    handles = [Patch(color=c, label=w) for w, c in zip(words, colours, strict=True)]
    figure.legend(handles=handles, loc="outside right center", fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    return figure
