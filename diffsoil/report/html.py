"""Pages of HTML that refer to nothing outside: text, tables and pictures in one file.

The tags are in ``templates/``. A part of a page is :class:`markupsafe.Markup`; any other text is
escaped where it becomes part of one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Environment(
    loader=PackageLoader("diffsoil.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)

LONG_WORD = 22
"""Letters from which on a word of a table may be broken, after a sign within a name."""


def breakable(text: str) -> Markup:
    """A text whose long words, such as names of parameters, may be broken into lines."""
    words = re.split(r"(\s+)", text)
    return Markup().join(
        Markup("<wbr>").join(re.split(r"(?<=[._/,=])(?=\w)", word))
        if len(word) > LONG_WORD
        else word
        for word in words
    )


TEMPLATES.filters["breakable"] = breakable


def _filled(template: str, **values: Any) -> Markup:
    return Markup(TEMPLATES.get_template(f"{template}.html").render(values))


def page(title: str, sections: Sequence[str], maker: str = "diffsoil") -> str:
    """A whole page of sections; ``maker`` is the command that may replace it."""
    return f"{_filled('page', title=title, sections=sections, maker=maker)}\n"


def section(title: str, *parts: str) -> Markup:
    """A heading and what follows; empty parts are left out."""
    return _filled("section", title=title, parts=parts)


def joined(parts: Iterable[str]) -> Markup:
    """Parts one after another, as one."""
    return Markup("\n").join(parts)


def heading(text: str) -> Markup:
    """A heading inside a section."""
    return _filled("text", kind="heading", text=text)


def paragraph(text: str, kind: str = "") -> Markup:
    """A paragraph, of class ``note`` if it is an aside."""
    return _filled("text", kind=kind, text=text)


def listing(items: Sequence[str]) -> Markup:
    """A list of points; nothing if there are none."""
    return _filled("text", kind="list", items=items) if items else Markup()


def code(text: str) -> Markup:
    """Lines as they are."""
    return _filled("text", kind="code", text=text)


def folded(title: str, text: str) -> Markup:
    """Lines as they are, of which only the title is seen at first."""
    return _filled("text", kind="folded", title=title, text=text)


def number(value: Any) -> str:
    """A number with three digits; a dash where there is none."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def table(
    frame: pd.DataFrame, kinds: Sequence[str] = (), write: Callable[[Any], str] = number
) -> Markup:
    """A table; columns of floats to the right, a column ``verdict`` bold.

    Args:
        frame: the table without its index.
        kinds: class of each row; none if empty.
        write: how a float is written.
    """
    numeric = [pd.api.types.is_float_dtype(frame[c]) for c in frame]
    of_column = ["number" if n else "mark" if c == "verdict" else ""
                 for c, n in zip(frame, numeric, strict=True)]  # fmt: skip
    columns = list(zip(map(str, frame), of_column, strict=True))
    rows = [
        [write(v) if n else str(v) for v, n in zip(row, numeric, strict=True)]
        for row in frame.itertuples(index=False)
    ]
    cells = [list(zip(row, columns, strict=True)) for row in rows]
    return _filled(
        "table", columns=columns, rows=list(zip(kinds or [""] * len(rows), cells, strict=True))
    )


def scripted(name: str, data: Mapping[str, Any]) -> Markup:
    """A part of a page that a script in it draws, and that answers the reader.

    Args:
        name: of the template, which includes its style and its script.
        data: what the script reads, of what JSON knows.
    """
    return _filled(name, data=data)


def figure(path: Path | None, caption: str) -> Markup:
    """A PNG inside the page, or nothing when there is none."""
    if path is None:
        return Markup()
    png = base64.b64encode(path.read_bytes()).decode("ascii")
    return _filled("figure", png=png, caption=caption)
