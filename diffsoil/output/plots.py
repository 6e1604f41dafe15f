"""Pictures of a run: the soil through time, what protects its carbon, its stocks and profiles.

Depths are real ones: the layers are put where their thickness puts them in each year. What a run
does not hold is left out of a picture.
"""

from __future__ import annotations

import dataclasses
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from diffsoil.cases.formats import upgrade
from diffsoil.column import erodes_in_events
from diffsoil.io import InputError, nearest
from diffsoil.processes.protection import MECHANISMS, modifier
from diffsoil.report.pictures import (
    BLUE,
    GREEN,
    GREY,
    LEMON,
    ORANGE,
    PINK,
    SKY,
    YELLOW,
    Figure,
    save,
)
from diffsoil.units import MG_PER_HA_M
from diffsoil.work.files import reading_netcdf
from diffsoil.work.folder import Kind, OutputFolder

DPI = 110
"""A run has many pictures, which are to stay small."""

ROWS, COLUMNS = 200, 480
"""Pixels of a depth-time map."""

CALCAREOUS = 0.5
"""Mass % of calcite above which a layer counts as calcareous."""

TOPSOIL, SUBSOIL = (0.0, 0.2), (0.6, 1.0)
"""Depths, m, that shapes of profiles are compared with."""

FIRST = 20
"""Output years at the start that do not set a colour scale: the soil finds its balance."""


@dataclasses.dataclass(frozen=True)
class Quantity:
    """A result by layer and how it is shown; ``least`` is the smallest range of a scale."""

    name: str
    title: str
    unit: str
    colours: str
    factor: float = 1.0
    log: bool = False
    least: float = 0.0
    limits: tuple[float, float] | None = None

    @property
    def label(self) -> str:
        """Title with the unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


SOIL = (
    Quantity("calcite", "calcite", "mass %", "YlGnBu", 100.0, least=1.0),
    Quantity("base_saturation", "base saturation", "%", "cividis", limits=(0.0, 100.0)),
    Quantity("ph", "pH", "", "viridis", least=2.0),
    Quantity("clay", "clay (< 2 µm)", "mass %", "YlOrBr", least=4.0),
    Quantity("one_to_one_share", "1:1 of 1:1 and 2:1 clay minerals", "share", "BuPu", least=0.1),
    Quantity("organic_carbon", "organic carbon", "mass %", "Greys", log=True),
    Quantity("bulk_density", "bulk density", "g/cm³", "PuBuGn", least=0.2),
    Quantity("pco2", "CO₂ of the soil air", "volume %", "Oranges", 100.0, least=0.1),
    Quantity("percolation", "percolation", "mm/a", "Blues", least=10.0),
)
"""What is shown of the soil through time."""

BY_NAME = {quantity.name: quantity for quantity in SOIL}

PROFILE = ("clay", "calcite", "ph", "base_saturation", "organic_carbon")
"""Quantities shown as profiles."""


class Look(NamedTuple):
    """How a mechanism of protection is shown."""

    words: str
    colour: str


def look(mechanism: str) -> Look:
    """Words and colour of a mechanism, of ``none``, or of ``overall``."""
    if mechanism in MECHANISMS:
        return Look(MECHANISMS[mechanism].words, MECHANISMS[mechanism].colour)
    words = {"none": "no protection", "overall": "all: the strongest"}
    return Look(words.get(mechanism, mechanism), "#EEEEEE" if mechanism == "none" else GREY)


MINERAL_GROUPS: dict[str, tuple[tuple[str, ...], str]] = {
    "quartz": (("quartz",), "#DDDDDD"),
    "feldspars": (("k_feldspar", "albite", "anorthite"), ORANGE),
    "mica and illite": (("muscovite", "illite"), YELLOW),
    "chlorite": (("chlorite",), GREEN),
    "montmorillonite": (("montmorillonite",), SKY),
    "kaolinite": (("kaolinite",), PINK),
    "Al and Fe oxides": (("gibbsite", "goethite"), "#000000"),
    "volcanic glass": (("volcanic_glass",), LEMON),
    "calcite": (("calcite",), BLUE),
}

STOCKS = {
    "soc_stock_0_100": ("0-100 cm, with litter", "black"),
    "soc_stock_0_25": ("0-25 cm", BLUE),
    "soc_stock_25_100": ("25-100 cm", ORANGE),
    "litter_stock": ("litter layer", GREEN),
}


# Files.


def read_run(path: str | Path) -> xr.Dataset:
    """Read a file that ``diffsoil simulate`` wrote.

    Raises:
        InputError: it is not there, cannot be read, or is something else.
    """
    with (
        reading_netcdf(path, "is not a netCDF file, or damaged"),
        xr.open_dataset(path, engine="h5netcdf") as run,
    ):
        found = run.load()
    missing = {"treatment", "year", "output_year", "depth_m"} - set(found.coords)
    if missing or not str(found.attrs.get("source", "")).startswith("diffsoil"):
        raise InputError(f"{path}: is no run of diffsoil simulate")
    return _in_calendar_years(found)


def _in_calendar_years(run: xr.Dataset) -> xr.Dataset:
    """The run with calendar years along both axes of time, as files of older programs have beside.

    In those ``year`` counts the years of the run from 1, and ``calendar_year`` belongs to it.
    """
    beside = {"year": "calendar_year", "output_year": "output_calendar_year"}
    if not set(beside.values()) <= set(run.coords):
        return run
    counted = {f"{name}_of_run": (name, run[name].to_numpy()) for name in beside}
    calendar = {name: run[old].to_numpy() for name, old in beside.items()}
    return run.drop_vars(beside.values()).assign_coords(counted | calendar)


def plot_file(run: str | Path, output: str | Path, overwrite: bool = False) -> dict[str, Path]:
    """Draw all pictures of a run into a folder, which appears whole or not at all.

    Args:
        run: file that ``diffsoil simulate`` wrote.
        output: folder to make.
        overwrite: replace a folder of pictures.

    Returns:
        File of each picture by name.

    Raises:
        InputError: no run, or a folder that is there and may not be replaced.
    """
    place = OutputFolder(output, KIND, overwrite=overwrite, inputs=[run])
    results = read_run(run)
    with place:
        place.add([f"{name}.png" for name in picture_names(results)])
        names = list(draw(results, place.work))
    return {name: place.path / f"{name}.png" for name in names}


def _older(path: Path) -> list[str] | None:
    """Whether a folder holds the pictures of a run only, as before folders had markers."""
    patterns = [f"{name}{end}" for name in PICTURES for end in (".png", "_*.png")]
    names = [p.name for p in path.iterdir()]
    ours = all(any(fnmatchcase(name, pattern) for pattern in patterns) for name in names)
    return names if ours else None


PICTURES = ("soil", "protection", "stocks", "profiles")
KIND = Kind("pictures", "pictures of a run", (), older=_older)


def picture_names(run: xr.Dataset) -> list[str]:
    """Names of all pictures that a run may have, without ``.png``; of the treatments in turn."""
    members = [str(name) for name in run["treatment"].to_numpy()]
    ends = [f"_{member}" if len(members) > 1 else "" for member in members]
    return [f"{word}{end}" for end in ends for word in PICTURES]


def draw(run: xr.Dataset, folder: Path, prefix: str = "") -> dict[str, Path]:
    """Draw all pictures of all treatments into a folder that is there.

    Args:
        run: what ``diffsoil simulate`` wrote.
        folder: where the PNG files go.
        prefix: before the name of each file.

    Returns:
        File of each picture by name; with several treatments the name ends with the treatment's.
    """
    makers = (soil_through_time, protection_through_time, stocks_through_time, profiles)
    pictures = dict(zip(PICTURES, makers, strict=True))
    written = {}
    members = [str(name) for name in run["treatment"].to_numpy()]
    for member in members:
        for word, make in pictures.items():
            figure = make(run, member)
            if figure is None:
                continue
            name = f"{prefix}{word}" + (f"_{member}" if len(members) > 1 else "")
            written[name] = folder / f"{name}.png"
            save(figure, written[name], dpi=DPI)
    return written


# What is shown.


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of the run and the events of erosion in it.

    It begins with the end of the calendar year ``start``, and ends with that of ``end``;
    ``interval`` is the number of years from one removed layer to the next, 1 for none.
    """

    start: float
    end: float
    label: str
    interval: int = 1


def phases(run: xr.Dataset) -> list[Phase]:
    """Phases of a run as its case tells them; none where it holds no case."""
    case = {"format": 1} | tomllib.loads(run.attrs.get("case", ""))
    upgrade(case)
    last = float(run["year"][-1])
    found: list[Phase] = []
    start, before = _begin(run), case.get("start_year", 0) - 1
    for phase in case.get("history", []):
        end = min(start + phase["until"] - before, last)
        rate = phase.get("erosion_mm_a", 0)
        use = phase.get("land_use")
        words = [use.replace("_", " ") if isinstance(use, str) else "history"]
        interval = 1
        if isinstance(rate, int | float) and rate > 0:
            words.append(f"erosion {rate:g} mm/a")
            if "grid" in case and erodes_in_events(case.get("erosion", "events")):
                interval = max(1, round(1000.0 * case["grid"]["thickness_m"] / rate))
        found.append(Phase(start, end, ", ".join(words), interval))
        start, before = end, phase["until"]
    if start < last and found:
        found.append(Phase(start, last, "experiment"))
    return found


def _begin(run: xr.Dataset) -> float:
    """The calendar year with the end of which the run begins."""
    return float(run["year"][0]) - 1.0


def _member(run: xr.Dataset, treatment: str) -> xr.Dataset:
    names = [str(name) for name in run["treatment"].to_numpy()]
    if treatment not in names:
        raise InputError(f"no treatment {treatment!r}{nearest(treatment, names)}")
    return run.isel(treatment=names.index(treatment))


def _thickness(member: xr.Dataset) -> np.ndarray:
    """Thickness of the layers, m, [output_year, layer]."""
    if "thickness" in member:
        return np.asarray(member["thickness"].to_numpy(), float)
    as_laid_down = np.full(member.sizes["depth_m"], 2.0 * float(member["depth_m"][0]))
    return np.broadcast_to(as_laid_down, (member.sizes["output_year"], as_laid_down.size))


def _values(member: xr.Dataset, quantity: Quantity) -> np.ndarray | None:
    """A quantity in its unit, [output_year, layer]; None if the run does not hold it."""
    if quantity.name == "organic_carbon":
        if not {"soc", "bulk_density"} <= set(member):
            return None
        mass = member["bulk_density"].to_numpy() * _thickness(member) * MG_PER_HA_M
        return np.asarray(100.0 * member["soc"].to_numpy() / mass, float)
    if quantity.name not in member:
        return None
    return np.asarray(quantity.factor * member[quantity.name].to_numpy(), float)


# Depth-time maps.


@dataclasses.dataclass(frozen=True)
class Pixels:
    """Which output year and which layer each pixel of a map shows.

    Attributes:
        year: index of the output year, [column].
        layer: index of the layer, [row, column].
        below: whether the pixel lies below the column, [row, column].
        extent: the years that the run begins and ends with, largest depth (m) and 0, as
            matplotlib takes them.
    """

    year: np.ndarray
    layer: np.ndarray
    below: np.ndarray
    extent: tuple[float, float, float, float]

    def take(self, values: np.ndarray) -> np.ndarray:
        """A quantity [output_year, layer] as a picture; NaN below the column."""
        picture = values[self.year[None, :], self.layer].astype(float)
        return np.where(self.below, np.nan, picture)


def pixels(member: xr.Dataset, rows: int = ROWS, columns: int = COLUMNS) -> Pixels:
    """Lay a grid over depth and time; values by layer stand for the years that they end."""
    ends = member["output_year"].to_numpy().astype(float)
    bottom = np.cumsum(_thickness(member), axis=1)
    depth = float(bottom.max())
    begin = _begin(member)
    time = begin + (np.arange(columns) + 0.5) / columns * (ends[-1] - begin)
    year = np.minimum(np.searchsorted(ends, time), ends.size - 1)
    middle = (np.arange(rows) + 0.5) / rows * depth
    layer = np.sum(bottom[year][None, :, :] <= middle[:, None, None], axis=-1)
    last = bottom.shape[1] - 1
    extent = (begin, float(ends[-1]), depth, 0.0)
    return Pixels(year, np.minimum(layer, last), layer > last, extent)


def _grid(panels: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels; size in inches."""
    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for ax in axes:
        ax.tick_params(labelsize=8)
    return figure, axes


def _title(ax: Axes, text: str) -> None:
    ax.set_title(text, fontsize=9, loc="left")


def _norm(values: np.ndarray, quantity: Quantity) -> tuple[Normalize, str]:
    """Scale of the colours, and at which ends something lies beyond it."""
    # the first years of a soil must not take all the colours
    later = values[FIRST:] if len(values) > 2 * FIRST else values
    low, high = quantity.limits or (float(np.nanmin(later)), float(np.nanmax(later)))
    norm: Normalize
    if quantity.log:
        high = max(high, 1e-6)
        low = max(low, high / 300.0)
        norm = LogNorm(min(low, high / 2.0), high)
    else:
        norm = Normalize(min(low, high - quantity.least), high)
    assert norm.vmin is not None
    margin = 1e-6 * (high - norm.vmin)
    under = bool(np.nanmin(values) < norm.vmin - margin)
    over = bool(np.nanmax(values) > high + margin)
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    return norm, ends.get((under, over), "both")


def _map(
    ax: Axes, grid: Pixels, values: np.ndarray, quantity: Quantity, norm: tuple[Normalize, str]
) -> None:
    image = ax.imshow(
        grid.take(values),
        extent=grid.extent,
        aspect="auto",
        interpolation="nearest",
        norm=norm[0],
        cmap=quantity.colours,
    )
    bar = ax.figure.colorbar(image, ax=ax, pad=0.02, aspect=18, extend=norm[1])
    bar.ax.tick_params(labelsize=7)
    if quantity.log:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    bar.set_label(quantity.unit or quantity.title, fontsize=8)
    _title(ax, quantity.title)


def _dress(figure: Figure, axes: list[Axes], member: xr.Dataset, columns: int, what: str) -> None:
    """Axes of maps that share years and depths."""
    borders = [p.start for p in phases(member)][1:]
    for i, ax in enumerate(axes):
        for year in borders:
            ax.axvline(year, color="black", lw=0.7, ls=":")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        if i % columns == 0:
            ax.set_ylabel("depth (m)", fontsize=8)
        if i >= len(axes) - columns:
            ax.set_xlabel("calendar year", fontsize=8)
    figure.suptitle(f"{_headline(member)}: {what}", fontsize=10, x=0.01, ha="left")


def _headline(member: xr.Dataset) -> str:
    title = str(member.attrs.get("title", "")) or "run"
    names = [str(member[name].item()) for name in ("label",) if name in member.coords]
    one = not names or names[0] in ("", str(member["site"].item()))
    return title if one else f"{title}, {names[0]}"


def soil_through_time(run: xr.Dataset, treatment: str) -> Figure | None:
    """Depth-time maps of what the soil is made of; a line marks the calcite front.

    Args:
        run: what ``diffsoil simulate`` wrote.
        treatment: name of the treatment, or of the site.

    Returns:
        None for a run that holds nothing of it.
    """
    member = _member(run, treatment)
    shown = [(q, v) for q in SOIL if (v := _values(member, q)) is not None and _varies(q, v)]
    if not shown:
        return None
    grid = pixels(member)
    figure, axes = _grid(len(shown), 3, 4.0, 2.5)
    for ax, (quantity, values) in zip(axes, shown, strict=True):
        _map(ax, grid, values, quantity, _norm(values, quantity))
    calcite = _values(member, BY_NAME["calcite"])
    # a prescribed profile has no front
    if calcite is not None and ((calcite[0] > CALCAREOUS) != (calcite[-1] > CALCAREOUS)).any():
        for ax in axes:
            _front(ax, grid, calcite)
        _note(figure, f"line with white rims: calcite {CALCAREOUS:g} mass %, the front of its loss")
    _dress(figure, axes, member, 3, "the soil through time")
    return figure


def _varies(quantity: Quantity, values: np.ndarray) -> bool:
    """Whether there is a number to show; prescribed profiles count, empty ones do not."""
    return bool(np.isfinite(values).any()) and (not quantity.log or float(values.max()) > 0.0)


def _front(ax: Axes, grid: Pixels, calcite: np.ndarray) -> None:
    first, last, depth, top = grid.extent
    picture = grid.take(calcite)
    rows, columns = picture.shape
    x = first + (np.arange(columns) + 0.5) / columns * (last - first)
    y = top + (np.arange(rows) + 0.5) / rows * (depth - top)
    for colour, width in (("white", 1.8), ("black", 0.7)):
        ax.contour(x, y, picture, levels=[CALCAREOUS], colors=colour, linewidths=width)


def _note(figure: Figure, text: str) -> None:
    figure.supxlabel(text, fontsize=8, color="#444444")


def protection_through_time(run: xr.Dataset, treatment: str) -> Figure | None:
    """Depth-time maps of the rate modifiers, and of the mechanism that protects most.

    Args:
        run: what ``diffsoil simulate`` wrote.
        treatment: name of the treatment, or of the site.

    Returns:
        None for a run without protection.
    """
    member = _member(run, treatment)
    modifiers = {}
    prefix = modifier("")
    there = [str(n).removeprefix(prefix) for n in run if str(n).startswith(prefix)]
    for word in sorted(there, key=lambda word: (word == "overall", word not in MECHANISMS)):
        quantity = Quantity(modifier(word), look(word).words, "1", "viridis")
        values = _values(member, quantity)
        if values is not None:
            modifiers[word] = (dataclasses.replace(quantity, unit="rate modifier"), values)
    if not modifiers:
        return None
    lowest = min(float(np.nanmin(values)) for _, values in modifiers.values())
    norm = (Normalize(min(lowest, 0.95), 1.0), "neither")
    grid = pixels(member)
    mechanisms = [word for word in modifiers if word != "overall"]
    figure, axes = _grid(len(modifiers) + bool(mechanisms), 3, 4.0, 2.6)
    for ax, (quantity, values) in zip(axes, modifiers.values(), strict=False):
        _map(ax, grid, values, quantity, norm)
    if mechanisms:
        _limiting(axes[-1], grid, {word: modifiers[word][1] for word in mechanisms})
    _dress(figure, axes, member, 3, "protection of organic carbon (1: none)")
    return figure


def limiting(modifiers: Mapping[str, np.ndarray]) -> np.ndarray:
    """Index of the mechanism with the lowest modifier, counted from 1; 0 where none protects."""
    values = np.stack(list(modifiers.values()))
    return np.where(values.min(axis=0) < 1.0 - 1e-6, values.argmin(axis=0) + 1, 0)


def _limiting(ax: Axes, grid: Pixels, modifiers: dict[str, np.ndarray]) -> None:
    picture = grid.take(limiting(modifiers))
    words, colours = zip(*(look(word) for word in ("none", *modifiers)), strict=True)
    ax.imshow(
        picture,
        extent=grid.extent,
        aspect="auto",
        interpolation="nearest",
        cmap=ListedColormap(list(colours)),
        vmin=-0.5,
        vmax=len(colours) - 0.5,
    )
    seen = [i for i in range(len(colours)) if (picture == i).any()]
    ax.legend(
        handles=[Patch(color=colours[i], label=words[i]) for i in seen],
        loc="lower right",
        fontsize=8,
        framealpha=0.9,
    )
    _title(ax, "which mechanism protects most")


# Stocks.


def trailing_mean(values: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Mean of each value and those before it; linear in the values, so it serves for tangents too.

    Args:
        values: one a year, [..., year]; all after a NaN is NaN.
        windows: number of years of each mean, >= 1, [year] or [run, year]; partial at the start.

    Returns:
        In the shape of the values.
    """
    values = np.asarray(values, float)
    end = np.arange(1, values.shape[-1] + 1)
    start = np.maximum(end - windows, 0)
    total = np.concatenate([np.zeros((*values.shape[:-1], 1)), np.cumsum(values, axis=-1)], axis=-1)
    places = start.reshape((1,) * (values.ndim - start.ndim) + start.shape)
    return (total[..., 1:] - np.take_along_axis(total, places, axis=-1)) / (end - start)


def stocks_through_time(run: xr.Dataset, treatment: str) -> Figure | None:
    """Yearly stocks of organic carbon; where erosion takes layers, also without its saw-tooth.

    Args:
        run: what ``diffsoil simulate`` wrote.
        treatment: name of the treatment, or of the site.

    Returns:
        None for a run without organic carbon.
    """
    member = _member(run, treatment)
    shown = [name for name in STOCKS if name in member]
    if not shown:
        return None
    years = member["year"].to_numpy().astype(float)
    stretches = phases(member)
    windows = np.ones(years.size, int)
    for phase in stretches:
        windows[(years > phase.start) & (years <= phase.end)] = phase.interval
    smooth = bool((windows > 1).any())
    figure, (ax,) = _grid(1, 1, 9.0, 4.2)
    for name in shown:
        words, colour = STOCKS[name]
        raw = member[name].to_numpy().astype(float)
        if not raw.any():
            continue
        if smooth:
            ax.plot(years, raw, color=colour, lw=0.5, alpha=0.5)
            ax.plot(years, trailing_mean(raw, windows), color=colour, lw=2.0, label=words)
        else:
            ax.plot(years, raw, color=colour, lw=1.6, label=words)
    handles = list(ax.get_legend_handles_labels()[0])
    if smooth:
        handles.append(Line2D([], [], color=GREY, lw=0.5, label="each year; bold: mean of the\n"
                              "years between two removed layers"))  # fmt: skip
    handles += _shade(ax, stretches)
    ax.set(xlim=(_begin(member), years[-1]), ylim=(0, None))
    ax.set_xlabel("calendar year", fontsize=8)
    ax.set_ylabel("organic carbon (Mg C/ha)", fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, frameon=False
    )
    figure.suptitle(_headline(member), fontsize=10, x=0.01, ha="left")
    return figure


def _shade(ax: Axes, stretches: list[Phase]) -> list[Patch]:
    """Shade the phases where there are several; handles for the legend."""
    if len(stretches) < 2:
        return []
    colours = colormaps["Pastel2"](np.arange(len(stretches)) % 8)
    handles = []
    for phase, colour in zip(stretches, colours, strict=True):
        ax.axvspan(phase.start, phase.end, color=colour, alpha=0.7, lw=0)
        label = f"{phase.start:.0f} to {phase.end:.0f}: {phase.label}"
        handles.append(Patch(color=colour, alpha=0.7, label=label))
    return handles


# Profiles.


AGES = (0, 1000, 3000, 6000, 12000)
"""Years since the run began, at which profiles are shown."""


def profiles(run: xr.Dataset, treatment: str, years: Sequence[int] | None = None) -> Figure | None:
    """Depth profiles at some years, and the minerals at the end.

    Args:
        run: what ``diffsoil simulate`` wrote.
        treatment: name of the treatment, or of the site.
        years: calendar years, by default at :data:`AGES`; the next output year is shown, the
            last one always.

    Returns:
        None for a run that holds nothing of it.
    """
    member = _member(run, treatment)
    quantities = [BY_NAME[name] for name in PROFILE]
    shown = [(q, v) for q in quantities if (v := _values(member, q)) is not None]
    minerals = _minerals(member)
    panels = len(shown) + (minerals is not None)
    if not panels:
        return None
    ends = member["output_year"].to_numpy()
    wanted = [_begin(member) + age for age in AGES] if years is None else years
    chosen = [int(np.searchsorted(ends, year)) for year in wanted if year < ends[-1]]
    chosen = list(dict.fromkeys([*chosen, ends.size - 1]))
    colours = colormaps["viridis"](np.linspace(0.92, 0.0, len(chosen)))
    bottom = np.cumsum(_thickness(member), axis=1)
    figure, axes = _grid(panels, 3, 3.3, 3.4)
    for ax, (quantity, values) in zip(axes, shown, strict=False):
        for i, colour in zip(chosen, colours, strict=True):
            ax.stairs(values[i], np.concatenate([[0.0], bottom[i]]), orientation="horizontal",
                      baseline=None, color=colour, lw=1.6, label=f"year {ends[i]}")  # fmt: skip
        ax.set_xlabel(quantity.label, fontsize=8)
        _at_least(ax, quantity)
    if shown:
        axes[0].legend(fontsize=7, frameon=False, loc="best")
    if minerals is not None:
        _stack(axes[-1], minerals, bottom[-1])
    for i, ax in enumerate(axes):
        ax.set_ylim(bottom.max(), 0)
        ax.spines[["top", "right"]].set_visible(False)
        if i % 3 == 0:
            ax.set_ylabel("depth (m)", fontsize=8)
    figure.suptitle(f"{_headline(member)}: profiles", fontsize=10, x=0.01, ha="left")
    return figure


def _at_least(ax: Axes, quantity: Quantity) -> None:
    """Limits of the horizontal axis: noise must not fill it."""
    low, high = quantity.limits or ax.get_xlim()
    if quantity.name in ("calcite", "organic_carbon"):
        low = 0.0
    missing = max(quantity.least - (high - low), 0.0)
    ax.set_xlim(low - missing, high + 0.02 * (high - low))


def _minerals(member: xr.Dataset) -> dict[str, np.ndarray] | None:
    """Groups of minerals at the end, mass %, [layer]; only what is there."""
    if "mineral_percent" not in member:
        return None
    last = member["mineral_percent"].isel(output_year=-1)
    by_name = {str(m): last.sel(mineral=m).to_numpy() for m in last["mineral"].to_numpy()}
    if "calcite" in member:
        by_name["calcite"] = 100.0 * member["calcite"].isel(output_year=-1).to_numpy()
    groups = {}
    for group, (names, _) in MINERAL_GROUPS.items():
        total = np.sum([by_name[n] for n in names if n in by_name], axis=0)
        if np.max(total) > 0.05:
            groups[group] = np.asarray(total, float)
    return groups


def _stack(ax: Axes, groups: dict[str, np.ndarray], bottom: np.ndarray) -> None:
    edges = np.concatenate([[0.0], bottom])
    left = np.zeros(bottom.size)
    for group, percent in groups.items():
        right = left + percent
        ax.fill_betweenx(
            np.repeat(edges, 2)[1:-1],
            np.repeat(left, 2),
            np.repeat(right, 2),
            color=MINERAL_GROUPS[group][1],
            lw=0,
            label=group,
        )
        left = right
    ax.set_xlim(0, 100)
    ax.set_xlabel("minerals at the end (mass %)", fontsize=8)
    ax.legend(fontsize=7, loc="lower left", framealpha=0.85)


# Beside real profiles.


@dataclasses.dataclass(frozen=True)
class Shape:
    """A property of profiles, its label, and the depths that it is taken relative to."""

    name: str
    label: str
    divided_by: tuple[float, float] | None = None
    less: tuple[float, float] | None = None

    def of(self, profile: np.ndarray) -> np.ndarray:
        """The shape of values by cm."""
        if self.divided_by is not None:
            return profile / _mean(profile, self.divided_by)
        if self.less is not None:
            return profile - _mean(profile, self.less)
        return profile


SHAPES = (
    Shape("clay", "clay / clay of 0-20 cm (1)", divided_by=TOPSOIL),
    Shape("ph", "pH less pH of 60-100 cm (1)", less=SUBSOIL),
    Shape("base_saturation", "base saturation (%)"),
    Shape("organic_carbon", "organic C / organic C of 0-20 cm (1)", divided_by=TOPSOIL),
    Shape("calcite", "calcite (mass %)"),
)
"""Shapes by depth that can be compared where the soils themselves differ."""


def _mean(profile: np.ndarray, interval: tuple[float, float]) -> float:
    part = profile[round(100 * interval[0]) : round(100 * interval[1])]
    known = part[np.isfinite(part)]
    # half of the interval must be known
    enough = 2 * known.size >= round(100 * (interval[1] - interval[0]))
    return float(known.mean()) if enough else np.nan


def by_centimetre(
    upper: np.ndarray, lower: np.ndarray, values: np.ndarray, depth_cm: int
) -> np.ndarray:
    """Values of horizons at each cm, NaN where there are none; depths in cm."""
    middle = np.arange(depth_cm) + 0.5
    inside = (upper[:, None] <= middle) & (middle < lower[:, None])
    found = np.full(depth_cm, np.nan)
    which, where = np.nonzero(inside)
    found[where] = values[which]
    return found


def beside_profiles(
    runs: Mapping[str, xr.Dataset],
    observed: Mapping[str, pd.DataFrame],
    title: str,
    depth_cm: int = 120,
) -> Figure:
    """Shapes by depth of runs at their end beside those of real profiles.

    Args:
        runs: label -> run; its first treatment is shown.
        observed: label of a group -> table with ``profile``, ``upper_cm``, ``lower_cm`` and any of
            ``clay`` (%), ``ph``, ``base_saturation`` (%), ``organic_carbon``, ``calcite`` (mass %).
        title: what is compared, and with which reservations.
        depth_cm: how deep to look.
    """
    shapes = [s for s in SHAPES if any(s.name in table for table in observed.values())]
    figure, axes = _grid(len(shapes), len(shapes), 2.5, 4.3)
    middle = (np.arange(depth_cm) + 0.5) / 100.0
    handles = []
    for (label, table), colour in zip(observed.items(), (ORANGE, GREY, PINK), strict=False):
        count = table["profile"].nunique()
        handles.append(Line2D([], [], color=colour, lw=2, label=f"{label} (n = {count}), median"))
        for ax, shape in zip(axes, shapes, strict=True):
            found = _observed(table, shape, depth_cm)
            for profile in found:
                ax.plot(profile, middle, color=colour, lw=0.5, alpha=0.4)
            ax.plot(_median(found), middle, color=colour, lw=2)
    for (label, run), style in zip(runs.items(), ("-", "--", ":"), strict=False):
        handles.append(Line2D([], [], color=BLUE, lw=2, ls=style, label=label))
        member = run.isel(treatment=0, output_year=[-1])
        bottom = 100.0 * np.cumsum(_thickness(member)[0])
        for ax, shape in zip(axes, shapes, strict=True):
            values = _values(member, BY_NAME[shape.name])
            if values is not None:
                upper = np.concatenate([[0.0], bottom[:-1]])
                profile = shape.of(by_centimetre(upper, bottom, values[0], depth_cm))
                ax.plot(profile, middle, color=BLUE, lw=2, ls=style)
    for ax, shape in zip(axes, shapes, strict=True):
        ax.set_ylim(depth_cm / 100.0, 0)
        if shape.divided_by is not None or shape.name == "calcite":
            ax.set_xlim(left=0)
        if shape.name == "base_saturation":
            ax.set_xlim(0, 102)
        ax.set_xlabel(shape.label, fontsize=8)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("depth (m)", fontsize=8)
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left")
    return figure


def _observed(table: pd.DataFrame, shape: Shape, depth_cm: int) -> np.ndarray:
    """Shapes of all profiles of a table by cm, [profile, cm]."""
    if shape.name not in table:
        return np.full((1, depth_cm), np.nan)
    found = []
    for _, own in table.groupby("profile", sort=True):
        upper, lower, values = (
            own[name].to_numpy(float) for name in ("upper_cm", "lower_cm", shape.name)
        )
        found.append(shape.of(by_centimetre(upper, lower, values, depth_cm)))
    return np.stack(found)


def _median(found: np.ndarray) -> np.ndarray:
    """Median by cm where half of the profiles reach."""
    known = np.isfinite(found).mean(axis=0) >= 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # depths that no profile reaches
        middle: Any = np.nanmedian(found, axis=0)
    return np.where(known, middle, np.nan)
