"""The page on the simulated sites of a table: stocks by land use, by depth and on the map."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from diffsoil.cases.sites import Refused
from diffsoil.report import folder as pages
from diffsoil.report import html
from diffsoil.report.folder import Pictures
from diffsoil.report.pictures import CYCLE, Figure

STOCKS = ("soc_stock_0_25", "soc_stock_25_100", "soc_stock_0_100", "litter_stock")
"""Stocks in the table, Mg C/ha."""

MOST_REFUSED = 50
"""Refused rows on the page; all are in the file."""


def by_land_use(summary: pd.DataFrame) -> pd.DataFrame:
    """Stocks of the sites of each land use, and of all: number, median, quartiles, Mg C/ha.

    Args:
        summary: a row for each site, with ``land_use`` and :data:`STOCKS`.

    Returns:
        land_use, stock, sites, lower_quartile, median, upper_quartile.
    """
    groups = [(str(use), own) for use, own in summary.groupby("land_use")]
    groups += [("all", summary)] if len(groups) > 1 else []
    rows = []
    for use, own in groups:
        for name in STOCKS:
            lower, middle, upper = np.quantile(own[name], (0.25, 0.5, 0.75))
            rows.append((use, name, len(own), lower, middle, upper))
    columns = ["land_use", "stock", "sites", "lower_quartile", "median", "upper_quartile"]
    return pd.DataFrame(rows, columns=columns)


def picture(sites: xr.Dataset) -> Figure:
    """Carbon by depth, stock and temperature, and the map, of the simulated sites."""
    uses = sites["land_use"].to_numpy().astype(str)
    colours = {use: CYCLE[i % len(CYCLE)] for i, use in enumerate(sorted(set(uses)))}
    figure = Figure(figsize=(12.0, 4.2), layout="constrained")
    by_depth, by_warmth, on_map = figure.subplots(1, 3)
    layer_cm = 100 * np.diff(sites["depth_bounds"].to_numpy(), axis=1)[:, 0]
    carbon = sites["soc"].to_numpy() / layer_cm
    depth = 100 * sites["depth_m"].to_numpy()
    stock, warmth = (sites[n].to_numpy() for n in ("soc_stock_0_100", "mean_temperature"))
    stock = stock[:, -1]
    for use, colour in colours.items():
        own = uses == use
        lower, middle, upper = np.quantile(carbon[own], (0.25, 0.5, 0.75), axis=0)
        by_depth.plot(middle, depth, color=colour, label=f"{use} ({own.sum()})")
        by_depth.fill_betweenx(depth, lower, upper, color=colour, alpha=0.2, linewidth=0)
        by_warmth.scatter(warmth[own], stock[own], s=9, color=colour, alpha=0.6, linewidths=0)
    by_depth.invert_yaxis()
    by_depth.set(xlabel="organic carbon, Mg/ha per cm", ylabel="depth, cm")
    by_depth.legend(fontsize=8, frameon=False, title="land use (sites)", title_fontsize=8)
    by_warmth.set(xlabel="mean temperature, °C", ylabel="organic carbon to 1 m, Mg/ha")
    places = [sites[name].to_numpy() for name in ("longitude", "latitude")]
    if np.isfinite(np.stack(places)).all(axis=0).any():
        dots = on_map.scatter(*places, c=stock, s=14, cmap="viridis")
        figure.colorbar(dots, ax=on_map, label="organic carbon to 1 m, Mg/ha")
        on_map.set(xlabel="longitude, °", ylabel="latitude, °")
    else:
        on_map.set_axis_off()
    for ax in (by_depth, by_warmth, on_map):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def write_report(
    folder: Path, title: str, sites: xr.Dataset, summary: pd.DataFrame, refused: Sequence[Refused]
) -> None:
    """Write ``stocks.png`` and ``report.html``.

    Args:
        folder: that is there.
        title: of the page.
        sites: simulated sites of the store, one or more.
        summary: of the same sites.
        refused: rows of the table that have no result.
    """
    span = sites["year"].to_numpy()

    def sections(pictures: Pictures) -> Iterator[str]:
        total = len(summary) + len(refused)
        yield html.section(
            "What was simulated",
            html.paragraph(
                f"{len(summary)} of {total} rows of the table; {len(refused)} are refused. "
                f"Stocks (Mg C/ha) are those at the end of {span[-1]}: median, and the quartiles "
                "between sites. Nothing was fitted: they are what the case and the rows say."
            ),
            html.figure(
                pictures["stocks"],
                "Carbon by depth (line: median of a land use, band: half of its sites), stock "
                "against temperature, and on the map.",
            ),
            html.table(by_land_use(summary)),
        )
        if refused:
            shown = pd.DataFrame(refused[:MOST_REFUSED], columns=Refused._fields)
            more = len(refused) - len(shown)
            rest = f"{more} more are in refused.csv." if more else ""
            yield html.section(
                "Rows that were refused", html.table(shown), html.paragraph(rest) if rest else ""
            )

    pages.write(folder, title, {}, {"stocks": picture(sites)}, sections)
