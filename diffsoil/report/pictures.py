"""Figures of every picture that diffsoil draws."""

from __future__ import annotations

from typing import Any

import matplotlib.figure
from matplotlib.text import Text
from matplotlib.ticker import LogFormatterMathtext


class Figure(matplotlib.figure.Figure):
    """A figure in which a text is a text: a ``$`` in the name of a plot starts no mathematics.

    Only the numbers of logarithmic axes, which matplotlib writes as powers, are typeset.
    """

    def draw(self, renderer: Any) -> None:
        """Draw it, as matplotlib asks for."""
        powers: set[Text] = set()
        for ax in self.axes:
            for axis in (ax.xaxis, ax.yaxis):
                if isinstance(axis.get_major_formatter(), LogFormatterMathtext):
                    powers |= set(axis.findobj(Text)) - {axis.label}
        for text in set(self.findobj(Text)) - powers:
            text.set_parse_math(False)
        super().draw(renderer)
