"""One style of all pictures, and how they become files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imsave
from matplotlib.text import Text
from matplotlib.ticker import AutoLocator, LogFormatterMathtext, MaxNLocator

from diffsoil.work.files import replacing

# Okabe and Ito (2008): told apart with any kind of colour vision.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
PINK, YELLOW, SKY, LEMON = "#CC79A7", "#E69F00", "#56B4E9", "#F0E442"
CYCLE = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, "#000000")
"""Colours of lines, in order."""

DPI = 150

FEWEST_YEARS = 3.0
"""On an axis, so that a single year is one."""


class Figure(matplotlib.figure.Figure):
    """A figure in which a text is a text: a ``$`` in the name of a plot starts no mathematics.

    Only the numbers of logarithmic axes, which matplotlib writes as powers, are typeset. An axis
    of years has no parts of years.
    """

    def draw(self, renderer: Any) -> None:
        """Draw it, as matplotlib asks for."""
        powers: set[Text] = set()
        for ax in self.axes:
            of_years = ax.get_xlabel().startswith(("year", "calendar year"))
            if of_years and isinstance(ax.xaxis.get_major_locator(), AutoLocator):
                ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
                ax.ticklabel_format(axis="x", useOffset=False)
                left, right = ax.get_xlim()
                if right - left < FEWEST_YEARS:
                    middle = 0.5 * (left + right)
                    ax.set_xlim(middle - 0.5 * FEWEST_YEARS, middle + 0.5 * FEWEST_YEARS)
            for axis in (ax.xaxis, ax.yaxis):
                if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
                    powers |= set(axis.findobj(Text)) - {axis.label}
        for text in set(self.findobj(Text)) - powers:
            text.set_parse_math(False)
        super().draw(renderer)


def save(figure: Figure, path: Path, overwrite: bool = True, dpi: int = DPI) -> Path:
    """Write a figure as PNG, whole or not at all; the same figure gives the same bytes."""
    with replacing(path, overwrite) as part:
        write(figure, part, dpi)
    return path


def write(figure: Figure, path: Path, dpi: int) -> None:
    """Draw a figure once, which lays it out too; its own ``savefig`` draws it twice."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    unsigned: Any = {"Software": None}
    imsave(path, canvas.buffer_rgba(), format="png", dpi=dpi, metadata=unsigned)


def save_all(folder: Path, figures: Mapping[str, Figure | None]) -> dict[str, Path]:
    """Write figures as ``NAME.png`` into a folder, and give the files; None is left out."""
    return {n: save(f, folder / f"{n}.png") for n, f in figures.items() if f is not None}
