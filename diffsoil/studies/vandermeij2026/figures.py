"""Pictures of the study, in the layout of its own figures.

Years are drawn on a stretched axis, since the 8000 years before farming say less than the 100
years of intensive agriculture. A suite is the dataset of :mod:`.vandermeij2026.analysis`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from diffsoil.output.plots import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    SKY,
    YELLOW,
    look,
)
from diffsoil.processes.protection import MECHANISMS
from diffsoil.report.pictures import Figure
from diffsoil.studies.vandermeij2026 import analysis
from diffsoil.studies.vandermeij2026.analysis import BORDERS, END, EXTENSIVE, LEVELS, NATURAL
from diffsoil.work.progress import Say

DPI = 200
WIDTH = 17.5 / 2.54
"""Width of a measurements page, inches."""

STYLE: dict[Any, Any] = {
    "font.size": 7.5,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7.5,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
    "figure.titlesize": 8.0,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
}

FARMED = ("E0-E0-E0", "E1-E1-E1", "E1-E2-E2", "E1-E2-E3")
"""Erosion histories under agriculture, the columns of several figures."""

CLIMATES = {"dry": ORANGE, "wet": BLUE}
PROTECTIONS = {
    "n": ("none", "black", "-"),
    "a": ("aggregation", look("aggregation").colour, "-"),
    "c": ("clay", look("clay").colour, "-"),
    "m": ("MOOH", look("mooh").colour, (0, (4, 3))),
    "p": ("pores", look("pores").colour, "-"),
    "x": ("all", ORANGE, (0, (2, 1.5))),
}
ROCKS = {
    "none": ("none", "black", "-"),
    "volcanic_glass": ("volcanic ash", ORANGE, "-"),
    "anorthite": ("anorthite", BLUE, "-"),
    "calcite": ("calcite", SKY, "-"),
    "montmorillonite": ("montmorillonite", GREEN, "-"),
    "goethite": ("goethite", YELLOW, (0, (3, 2))),
}
"""Label, colour and line of each setting of protection, and of each rock."""

COMPARTMENTS = {
    "soc_stock_0_100": "0–100 cm and litter",
    "soc_stock_0_25": "topsoil 0–25 cm",
    "soc_stock_25_100": "subsoil 25–100 cm",
}
MARKERS = dict(zip(FARMED, "osD^", strict=True))

PHASES = (
    (NATURAL, EXTENSIVE, "#F1E9D2", "extensive agriculture"),
    (EXTENSIVE, END, "#DFC9A0", "intensive agriculture"),
    (END, 12000, "#E6F0E4", "recovery"),
)

DEPTHS = {"top": "topsoil 0–25 cm", "sub": "subsoil 25–75 cm"}

AFTER_EVENT = 20
"""Years after an erosion event in which recovery is put down to the event."""

STOCK = "organic carbon (Mg C/ha)"

KNOTS = (-8000.0, 0.0, *(float(b) for b in BORDERS), 12000.0, 20000.0)
PLACES = (-2.0, 0.0, 2.6, 4.9, 6.4, 9.6, 22.4)
"""Years, and where they are drawn; straight in between."""


def draw(
    suite: xr.Dataset,
    rocks: pd.DataFrame,
    recovery: pd.DataFrame,
    recovery_fit: pd.DataFrame,
    shares: pd.DataFrame,
    folder: Path,
    say: Say,
) -> dict[str, Path]:
    """Draw all figures into a folder that is there, each as PNG and PDF.

    Args:
        suite: the runs.
        rocks, recovery, recovery_fit: as :mod:`.vandermeij2026.analysis` makes them.
        shares: from :func:`limiting_shares`.
        folder: where the files go.
        say: is told what is being done.

    Returns:
        PNG file of each figure by name.
    """
    pictures: dict[str, Callable[[], Figure]] = {
        "figure_1": lambda: protections(suite),
        "figure_2": lambda: histories(suite),
        "figure_3": lambda: intensive(suite),
        "figure_4": lambda: recovering(recovery, recovery_fit),
        "figure_5": lambda: rock_additions(rocks),
        "figure_A1": lambda: histories_by_protection(suite),
        "figure_A2": lambda: histories_by_depth(suite),
        "figure_ruling": lambda: limiting(suite, shares),
    }
    written = {}
    with mpl.rc_context(STYLE):
        for name, make in pictures.items():
            say(f"drawing {name}")
            written[name] = save(make(), folder / name)
    return written


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG and PDF, and say where the PNG is; the path has no suffix."""
    png, pdf = path.with_name(path.name + ".png"), path.with_name(path.name + ".pdf")
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # placed once for both
    figure.savefig(png, dpi=DPI, metadata={"Software": None})
    figure.savefig(pdf, dpi=DPI, metadata={"CreationDate": None, "Producer": None})
    return png


# Panels and axes.


def _panels(rows: int, columns: int, height: float, **kwargs: Any) -> tuple[Figure, np.ndarray]:
    """A figure as wide as a page with panels of some height (inches)."""
    figure = Figure(figsize=(WIDTH, rows * height + 0.6), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.4,
    )


def _letters(axes: Sequence[Axes], titles: Sequence[str]) -> None:
    for ax, letter, title in zip(axes, "abcdefgh", titles, strict=False):
        ax.set_title(f"{letter}: {title}", loc="left")


def _years(ax: Axes, last: int, narrow: bool = False) -> None:
    """The stretched axis of years, with its phases shaded."""
    ax.set_xscale(
        "function",
        functions=(
            lambda year: np.interp(year, KNOTS, PLACES),
            lambda place: np.interp(place, PLACES, KNOTS),
        ),
    )
    ax.set_xlim(0, last)
    ticks = [0, 8000, 9900, 10000] if narrow else [0, 2000, 4000, 6000, 8000, 9000, 9900, 10000]
    ticks += [t for t in ((11000, 12000) if not narrow else (12000,)) if t <= last]
    ax.set_xticks(ticks, [f"{t / 1000:g}" for t in ticks])
    ax.tick_params(axis="x", which="minor", length=0)
    for start, end, colour, _ in PHASES:
        if start < last:
            ax.axvspan(start, min(end, last), color=colour, lw=0, zorder=-5)


YEAR_LABEL = "year (thousands)"


def _phase_handles(last: int) -> list[Patch]:
    return [Patch(color=colour, label=label) for start, _, colour, label in PHASES if start < last]


# Lines of stocks.


def _thinned(years: int) -> np.ndarray:
    """Years enough to draw any saw-tooth: the last before and the first after each event."""
    year = np.arange(1, years + 1)
    return np.flatnonzero((year % 10 <= 1) | (year <= 50))


def _curve(
    suite: xr.Dataset, name: str, years: int, **labels: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Year, yearly and smoothed stock of a run; no line joins means of different windows."""
    place = analysis.find(analysis.histories(suite), **labels)[:1]
    raw = suite[name].isel(scenario=place[0], year=slice(years)).to_numpy()
    smooth = analysis.smoothed_stocks(suite, place, name, years)[0]
    window = analysis.windows(suite["erosion"].to_numpy()[place], years)[0]
    smooth[1:][np.diff(window) != 0] = np.nan
    chosen = _thinned(years)
    return chosen + 1.0, raw[chosen], smooth[chosen]


def _line(
    ax: Axes,
    curve: tuple[np.ndarray, np.ndarray, np.ndarray],
    first: int,
    last: int,
    colour: str,
    style: Any = "-",
    width: float = 1.3,
    thin: bool = True,
) -> None:
    """Thin yearly and bold smoothed stocks of some years."""
    year, raw, smooth = curve
    part = (year >= first) & (year <= last)
    if thin and not np.array_equal(raw[part], smooth[part]):
        ax.plot(year[part], raw[part], color=colour, lw=0.35, alpha=0.45)
    ax.plot(year[part], smooth[part], color=colour, lw=width, ls=style)


def _history(
    ax: Axes, suite: xr.Dataset, name: str, protection: str, erosion: str, last: int
) -> None:
    """Both bioclimates under one history of erosion, up to some year, with or without recovery."""
    on = last > END
    steady = "-".join([erosion.split("-")[0]] * 3)
    for bioclimate, colour in CLIMATES.items():
        labels = {"bioclimate": bioclimate, "protection": protection, "rock": "none"}

        def curve(
            land_use: str, erosion: str, then: str, labels: dict[str, str] = labels
        ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            recovery = then if on else ""
            return _curve(suite, name, last, land_use=land_use, erosion=erosion,
                          recovery=recovery, **labels)  # fmt: skip

        farmed = curve("agricultural", erosion, "agriculture")
        _line(ax, curve("natural", steady, "natural"), NATURAL, last, colour, (0, (1, 1.2)))
        _line(ax, farmed, 1, last, colour)
        if on:
            left = curve("agricultural", erosion, "natural")
            _line(ax, left, END + 1, last, colour, (0, (4, 1.5)))


def _history_handles(last: int) -> list[Any]:
    handles: list[Any] = [
        Line2D([], [], color=colour, lw=1.5, label=word) for word, colour in CLIMATES.items()
    ]
    handles += [
        Line2D([], [], color=GREY, lw=1.3, label="farmed from year 8000"),
        Line2D([], [], color=GREY, lw=1.3, ls=(0, (1, 1.2)), label="never farmed"),
    ]
    if last > END:
        handles.append(
            Line2D([], [], color=GREY, lw=1.3, ls=(0, (4, 1.5)), label="left to nature at 10 000")
        )
    handles.append(Line2D([], [], color=GREY, lw=0.5, label="each year (bold: smoothed)"))
    return handles + _phase_handles(last)


def _history_grid(
    suite: xr.Dataset, rows: Sequence[tuple[str, str, str]], last: int, height: float
) -> Figure:
    """Columns by history of erosion; each row is a stock, a protection and a label."""
    one_stock = len({name for name, _, _ in rows}) == 1
    figure, axes = _panels(
        len(rows), len(FARMED), height, sharex=True, sharey=True if one_stock else "row"
    )
    for row, (name, protection, label) in zip(axes, rows, strict=True):
        for ax, erosion in zip(row, FARMED, strict=True):
            _history(ax, suite, name, protection, erosion, last)
            _years(ax, last, narrow=True)
        row[0].set_ylabel(label)
    for row in axes:  # when all is drawn that shares the axis
        row[0].set_ylim(bottom=0)
    for ax, erosion in zip(axes[0], FARMED, strict=True):
        ax.set_title(erosion.replace("-", "–"))
    for ax in axes[-1]:
        ax.set_xlabel(YEAR_LABEL)
    _legend(figure, _history_handles(last), 5)
    return figure


# The figures.


def protections(suite: xr.Dataset) -> Figure:
    """Figure 1: stocks by protection; dry, farmed from year 8000, without and with erosion."""
    figure, axes = _panels(1, 2, 2.7, sharey=True)
    for ax, erosion in zip(axes[0], FARMED[:2], strict=True):
        for protection, (_, colour, style) in PROTECTIONS.items():
            curve = _curve(suite, "soc_stock_0_100", END, bioclimate="dry", erosion=erosion,
                           land_use="agricultural", protection=protection, recovery="")  # fmt: skip
            width = 1.5 if protection in "mx" else 1.2
            _line(ax, curve, 1, END, colour, style, width)
        _years(ax, END)
        ax.set_xlabel(YEAR_LABEL)
    axes[0, 0].set_ylim(bottom=0)
    _letters(list(axes[0]), ["dry, no erosion (E0)", "dry, E1 (0.05 mm/a)"])
    axes[0, 0].set_ylabel(STOCK)
    handles: list[Any] = [
        Line2D([], [], color=colour, ls=style, lw=1.5, label=label)
        for label, colour, style in PROTECTIONS.values()
    ]
    handles.append(Line2D([], [], color=GREY, lw=0.5, label="each year (bold: smoothed)"))
    _legend(figure, handles + _phase_handles(END), 5)
    return figure


def histories(suite: xr.Dataset) -> Figure:
    """Figure 2: stocks by history of erosion, bioclimate and land use, all protections."""
    return _history_grid(suite, [("soc_stock_0_100", "x", STOCK)], suite.sizes["year"], 2.6)


def histories_by_protection(suite: xr.Dataset) -> Figure:
    """Figure A1: as Figure 2 for each protection, up to year 10 000."""
    rows = [("soc_stock_0_100", p, f"{PROTECTIONS[p][0]}\n(Mg C/ha)") for p in LEVELS["protection"]]
    return _history_grid(suite, rows, END, 1.35)


def histories_by_depth(suite: xr.Dataset) -> Figure:
    """Figure A2: as Figure 2 for the whole profile, the topsoil and the subsoil."""
    rows = [(name, "x", f"{label}\n(Mg C/ha)") for name, label in COMPARTMENTS.items()]
    return _history_grid(suite, rows, suite.sizes["year"], 1.8)


def intensive(suite: xr.Dataset) -> Figure:
    """Figure 3: distribution of the yearly stocks of the intensive phase, all protections."""
    figure, axes = _panels(1, 1, 2.7)
    ax = axes[0, 0]
    for shift, (bioclimate, colour) in zip((-0.19, 0.19), CLIMATES.items(), strict=True):
        values, means = [], []
        for erosion in FARMED:
            place = analysis.find(
                analysis.histories(suite), bioclimate=bioclimate, erosion=erosion,
                land_use="agricultural", protection="x", recovery="",
            )[:1]  # fmt: skip
            stock = suite["soc_stock_0_100"].isel(scenario=place[0]).to_numpy()
            values.append(stock[EXTENSIVE:END])
            means.append(analysis.smoothed_stocks(suite, place)[0, EXTENSIVE:].mean())
        places = np.arange(len(FARMED)) + shift
        ax.boxplot(
            values,
            positions=places,
            widths=0.3,
            whis=(0, 100),
            patch_artist=True,
            boxprops={"facecolor": colour, "alpha": 0.55, "lw": 0.7},
            medianprops={"color": "black", "lw": 1.2},
            whiskerprops={"lw": 0.7},
            capprops={"lw": 0.7},
        )
        ax.plot(places, means, ls="", marker="D", ms=4, mfc="white", mec="black", mew=0.7, zorder=4)
    labels = [f"{history[-2:]}\n({history.replace('-', '–')})" for history in FARMED]
    ax.set_xticks(range(len(FARMED)), labels)
    ax.set_xlabel("erosion class of years 9900–10 000 (history)")
    ax.set_ylabel(STOCK)
    ax.set_ylim(bottom=0)
    handles: list[Any] = [
        Patch(facecolor=colour, edgecolor="black", lw=0.7, alpha=0.55, label=word)
        for word, colour in CLIMATES.items()
    ]
    handles.append(Line2D([], [], ls="", marker="D", ms=4, mfc="white", mec="black", mew=0.7,
                          label="mean of the smoothed stock"))  # fmt: skip
    _legend(figure, handles, 3)
    return figure


def recovering(recovery: pd.DataFrame, fit: pd.DataFrame, longest: float = 2000.0) -> Figure:
    """Figure 4: recovery time against deficit, and topsoil against subsoil.

    Args:
        recovery: from :func:`analysis.recovery`.
        fit: from :func:`analysis.recovery_fit`.
        longest: years that the runs go on; what has not recovered by then is drawn open, with an
            arrow.
    """
    figure, axes = _panels(1, 3, 2.4)
    titles = []
    for ax, (compartment, title) in zip(axes[0, :2], DEPTHS.items(), strict=True):
        rows = recovery[recovery["compartment"] == compartment]
        for row in rows.to_dict("records"):
            _point(ax, row["deficit_Mg_C_ha"], row["recovery_years"], row, longest)
        titles.append(
            f"{title}\n" + _fitted(ax, rows, fit[fit["compartment"] == compartment].iloc[0])
        )
        deficit = rows["deficit_Mg_C_ha"]
        ax.set_xlim(min(0.0, 1.1 * deficit.min()), max(1.0, 1.1 * deficit.max()))
        ax.set_xlabel("deficit at year 10 000 (Mg C/ha)")
        ax.set_ylabel("recovery time (a)")
    ax = axes[0, 2]
    runs = ["bioclimate", "erosion"]
    for row in recovery[recovery["compartment"] == "top"].to_dict("records"):
        own = (recovery[runs] == [row[name] for name in runs]).all(axis=1)
        below = recovery.loc[own & (recovery["compartment"] == "sub"), "recovery_years"].item()
        _point(ax, below, row["recovery_years"], row, longest)
    ax.plot([0, longest], [0, longest], color=GREY, lw=0.7, ls=":")
    ax.axvline(longest, color=GREY, lw=0.5, ls="--", zorder=0)
    ax.set_xlim(-0.05 * longest, 1.13 * longest)
    ax.set_xticks(np.linspace(0.0, longest, 3))
    ax.set_xlabel("subsoil recovery time (a)")
    ax.set_ylabel("topsoil recovery time (a)")
    titles.append("topsoil against subsoil\ndotted: equally fast\n")
    for ax in axes[0]:
        ax.set_ylim(-0.05 * longest, 1.13 * longest)
        ax.axhline(longest, color=GREY, lw=0.5, ls="--", zorder=0)
    _letters(list(axes[0]), titles)
    handles = [
        Line2D([], [], ls="", marker="o", color=colour, ms=5, label=word)
        for word, colour in CLIMATES.items()
    ]
    handles += [
        Line2D([], [], ls="", marker=marker, color=GREY, ms=5, label=history.replace("-", "–"))
        for history, marker in MARKERS.items()
    ]
    handles += [
        Line2D([], [], ls="", marker="o", mfc="white", mec=GREY, ms=5,
               label=f"arrow: not recovered in {longest:.0f} a"),
        Line2D([], [], ls="", marker="o", mfc=GREY, mec="black", ms=5,
               label=f"black edge: within {AFTER_EVENT} a of an event"),
    ]  # fmt: skip
    _legend(figure, handles, 4)
    return figure


def after_event(erosion: str, years: float) -> bool:
    """Whether recovery falls into the years after an event of the natural erosion.

    Args:
        erosion: history of erosion, whose first class comes back in recovery.
        years: since year 10 000; NaN if it did not recover.
    """
    interval = analysis.EROSION_INTERVAL[erosion[:2]]
    return interval > 1 and bool(years > 0.0) and years % interval <= AFTER_EVENT


def _point(ax: Axes, x: float, y: float, row: Mapping[Any, Any], longest: float) -> None:
    """A run; times that are not known by the end are drawn at the end, open, with an arrow."""
    open_x, open_y = bool(np.isnan(x)), bool(np.isnan(y))
    known = not (open_x or open_y)
    event = known and after_event(row["erosion"], row["recovery_years"])
    x, y = (longest if open_x else x), (longest if open_y else y)
    colour = CLIMATES[row["bioclimate"]]
    ax.plot([x], [y], ls="", marker=MARKERS[row["erosion"]], ms=5, mew=1.1,
            mec="black" if event else colour, mfc=colour if known else "white",
            zorder=3)  # fmt: skip
    if open_x or open_y:
        end = (x + 0.1 * longest * open_x, y + 0.1 * longest * open_y)
        ax.annotate("", end, (x, y), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.0})


def p_value(value: float) -> str:
    """A p value with its sign of comparison."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def _fitted(ax: Axes, rows: pd.DataFrame, line: pd.Series) -> str:
    """Draw the line of a regression where there is one, and say what it is."""
    if not np.isfinite(line["slope_a_per_Mg"]):
        return f"no regression (n = {line['n']:.0f})\n"
    used = rows["deficit_Mg_C_ha"][rows["recovered"] & (rows["recovery_years"] > 0.0)]
    x = np.array([used.min(), used.max()])
    ax.plot(x, line["intercept_a"] + line["slope_a_per_Mg"] * x, color=GREY, lw=1, zorder=1)
    return (
        f"{line['slope_a_per_Mg']:.1f} a per Mg C/ha\n"
        f"{p_value(line['p_value'])}, R² = {line['r2']:.2f}"
    )


def rock_additions(rocks: pd.DataFrame) -> Figure:
    """Figure 5: stocks of the recovery phase by rock addition, and what the rock adds.

    Args:
        rocks: from :func:`analysis.rocks`.
    """
    figure, axes = _panels(2, 4, 1.9, sharex=True)
    panels = [(b, u) for b in CLIMATES for u in ("natural", "agriculture")]
    for column, (bioclimate, land_use) in zip(axes.T, panels, strict=True):
        own = rocks[(rocks["bioclimate"] == bioclimate) & (rocks["land_use"] == land_use)]
        for rock, (_, colour, style) in ROCKS.items():
            rows = own[own["rock"] == rock]
            year = rows["year"] / 1000.0
            column[0].plot(year, rows["soc_stock_0_100"], color=colour, ls=style, lw=1.1)
            column[1].plot(year, rows["difference_to_none"], color=colour, ls=style, lw=1.1)
        column[1].set_xlim(END / 1000.0, own["year"].max() / 1000.0)
        column[1].set_xlabel("year (thousands)")
    words = {"natural": "left to nature", "agriculture": "farmed on"}
    _letters(list(axes[0]), [f"{bioclimate}, {words[land_use]}" for bioclimate, land_use in panels])
    # from zero, or on one scale, the lines would lie on each other
    axes[0, 0].set_ylabel(f"{STOCK}\n(scales differ)")
    axes[1, 0].set_ylabel("difference to none\n(Mg C/ha; scales differ)")
    _legend(figure, [Line2D([], [], color=colour, ls=style, lw=1.5, label=label)
                     for label, colour, style in ROCKS.values()], 6)  # fmt: skip
    return figure


# Which mechanism limits decomposition.


RUNS = (("natural", "E0-E0-E0"), ("agricultural", "E0-E0-E0"),
         ("natural", "E1-E1-E1"), ("agricultural", "E1-E2-E3"))  # fmt: skip
"""Land use and history of erosion of the runs whose limiting mechanism is drawn."""

LIMITS = {name: look(name) for name in ("none", *MECHANISMS.own)}


def limiting_shares(suite: xr.Dataset, depth_m: float = 1.0) -> pd.DataFrame:
    """Share of the carbon that each mechanism protects most, in the runs that have all of them.

    Args:
        suite: the runs; those of ten thousand years are taken.
        depth_m: depth of the mineral soil that the carbon is in.

    Returns:
        bioclimate, land_use, erosion, output_year, mechanism (``none`` first), share (0 to 1).
    """
    short = suite.isel(scenario=analysis.find(analysis.histories(suite), recovery=""))
    short = short.isel(output_year=short["output_year"].to_numpy() <= END)
    limit = analysis.limiting(short, depth_m)["limiting"]
    chosen = short.isel(scenario=analysis.find(analysis.histories(short), protection="x"))
    carbon = carbon_within(chosen, depth_m)
    years = chosen["output_year"].to_numpy()
    tables = []
    for number, mechanism in enumerate(LIMITS):
        share = np.where(limit == number, carbon, 0.0).sum(axis=-1) / carbon.sum(axis=-1)
        for i, row in enumerate(analysis.histories(chosen).itertuples()):
            columns: dict[str, Any] = {"bioclimate": row.bioclimate, "land_use": row.land_use}
            columns |= {"erosion": row.erosion, "output_year": years, "mechanism": mechanism}
            tables.append(pd.DataFrame(columns | {"share": share[i]}))
    return pd.concat(tables, ignore_index=True)


def carbon_within(suite: xr.Dataset, depth_m: float) -> np.ndarray:
    """Organic carbon of each layer above a depth, Mg/ha, [scenario, output_year, layer]."""
    dims = ("scenario", "output_year", "depth_m")
    thickness = suite["thickness"].transpose(*dims).to_numpy()
    bottom = np.minimum(np.cumsum(thickness, axis=-1), depth_m)
    inside = np.diff(bottom, axis=-1, prepend=0.0) / thickness
    return np.asarray(inside * suite["soc"].transpose(*dims).to_numpy(), float)


def limiting(suite: xr.Dataset, shares: pd.DataFrame) -> Figure:
    """Which mechanism protects most, by depth and time, and which share of the carbon it limits.

    Args:
        suite: the runs.
        shares: from :func:`limiting_shares`.
    """
    figure, axes = _panels(4, 4, 1.45, sharex=True, sharey="row")
    runs = [(bioclimate, *run) for run in RUNS for bioclimate in CLIMATES]
    short = suite.isel(
        scenario=analysis.find(analysis.histories(suite), protection="x", recovery="")
    )
    short = short.isel(output_year=short["output_year"].to_numpy() <= END)
    limit = analysis.limiting(short)["limiting"].to_numpy()
    thickness = short["thickness"].transpose("scenario", "output_year", "depth_m").to_numpy()
    years = short["output_year"].to_numpy().astype(float)
    for number, (bioclimate, land_use, erosion) in enumerate(runs):
        labels = {"bioclimate": bioclimate, "land_use": land_use, "erosion": erosion}
        place = int(analysis.find(analysis.histories(short), **labels)[0])
        top, below = axes[2 * (number // 4) : 2 * (number // 4) + 2, number % 4]
        _map(top, years, limit[place], thickness[place])
        own = shares[(shares[list(labels)] == pd.Series(labels)).all(axis=1)]
        _stacked(below, own)
        for ax in (top, below):
            _years(ax, END, narrow=True)
            for border in (NATURAL, EXTENSIVE):
                ax.axvline(border, color="black", lw=0.6, ls=":")
        history = "E0" if erosion == FARMED[0] else erosion.replace("-", "–")
        use = "natural" if land_use == "natural" else "farmed"
        top.set_title(f"{bioclimate}, {use}, {history}", loc="left")
    for row in (0, 2):
        axes[row, 0].set_ylabel("depth (m)")
        axes[row + 1, 0].set_ylabel("carbon 0–1 m (%)")
    for ax in axes[-1]:
        ax.set_xlabel(YEAR_LABEL)
    patches = [Patch(color=of.colour, label=of.words) for of in LIMITS.values()]
    _legend(figure, patches, 5)
    return figure


def _map(ax: Axes, years: np.ndarray, limit: np.ndarray, thickness: np.ndarray) -> None:
    """Limiting mechanism [output_year, layer] by real depth, down to a metre."""
    edges = np.linspace(0.0, 1.0, 101)
    middle = 0.5 * (edges[1:] + edges[:-1])
    bottom = np.cumsum(thickness, axis=1)
    layer = (bottom[:, :, None] <= middle).sum(axis=1)
    picture = np.take_along_axis(limit, np.minimum(layer, limit.shape[1] - 1), axis=1).T
    ax.pcolormesh(
        np.concatenate([[0.0], years]),
        edges,
        np.where((layer < limit.shape[1]).T, picture, np.nan),
        cmap=ListedColormap([of.colour for of in LIMITS.values()]),
        vmin=-0.5,
        vmax=len(LIMITS) - 0.5,
        rasterized=True,
    )
    ax.set_ylim(1.0, 0.0)


def _stacked(ax: Axes, shares: pd.DataFrame) -> None:
    table = shares.pivot_table(index="output_year", columns="mechanism", values="share")
    edges = np.concatenate([[0.0], table.index.to_numpy(float)])
    floor = np.zeros(len(table))
    for mechanism, shown in LIMITS.items():
        ceiling = floor + 100.0 * table[mechanism].to_numpy()
        ax.stairs(ceiling, edges, baseline=floor, fill=True, color=shown.colour, lw=0)
        floor = ceiling
    ax.set_ylim(0, 100)
