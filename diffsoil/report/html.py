"""Pages of HTML that refer to nothing outside: text, tables and pictures in one file."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

STYLE = """
body { font: 16px/1.5 Georgia, serif; color: #222; max-width: 62rem; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; line-height: 1.25; } h2 { font-size: 1.25rem; margin-top: 2.2rem;
     border-bottom: 1px solid #bbb; } h3 { font-size: 1.05rem; }
table { border-collapse: collapse; font: 13px/1.4 sans-serif; margin: 0.8rem 0; }
th, td { padding: 0.25rem 0.6rem; border-bottom: 1px solid #ddd; text-align: left;
         vertical-align: top; }
th { border-bottom: 2px solid #888; } td.number, th.number { text-align: right;
     font-variant-numeric: tabular-nums; white-space: nowrap; }
td.mark { font-weight: bold; white-space: nowrap; }
tr.failed td { background: #fbe3d6; } tr.unchecked td { color: #777; }
tr.reproduced td { background: #eef7f3; } tr.reproduced td.mark { color: #00684d; }
tr.partly td.mark { color: #8a5a00; }
tr.not td { background: #fdf1ea; } tr.not td.mark { color: #9c3d00; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
figcaption, .note { font-size: 0.9rem; color: #444; }
pre { font-size: 12px; overflow-x: auto; background: #f5f5f5; padding: 0.8rem; }
.wide { overflow-x: auto; }
@media print { body { font-size: 11pt; margin: 0; max-width: none; } table { font-size: 8pt; }
  h2 { break-after: avoid; } figure, tr { break-inside: avoid; } pre { white-space: pre-wrap; } }
"""
"""Look of a page; classes of the rows of a table colour them."""


def page(title: str, sections: Sequence[str]) -> str:
    """A whole page of sections."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and what follows; empty parts are left out."""
    return (
        f"<section>\n<h2>{escape(title)}</h2>\n" + "\n".join(p for p in parts if p) + "\n</section>"
    )


def heading(text: str) -> str:
    """A heading inside a section."""
    return f"<h3>{escape(text)}</h3>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph, of class ``note`` if it is an aside."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def number(value: Any) -> str:
    """A number with three digits; a dash where there is none."""
    if not np.isfinite(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(
    frame: pd.DataFrame, kinds: Sequence[str] = (), write: Callable[[Any], str] = number
) -> str:
    """A table; columns of floats to the right, a column ``verdict`` bold.

    Args:
        frame: the table without its index.
        kinds: class of each row; none if empty.
        write: how a float is written.
    """
    numeric = [pd.api.types.is_float_dtype(frame[c]) for c in frame]
    classes = [
        'class="number"' if n else 'class="mark"' if c == "verdict" else ""
        for c, n in zip(frame, numeric, strict=True)
    ]
    head = "".join(f"<th {k}>{escape(str(c))}</th>" for c, k in zip(frame, classes, strict=True))
    rows = []
    for i, row in enumerate(frame.itertuples(index=False)):
        cells = "".join(
            f"<td {k}>{escape(write(v) if n else str(v))}</td>"
            for v, n, k in zip(row, numeric, classes, strict=True)
        )
        rows.append(f'<tr class="{kinds[i] if kinds else ""}">{cells}</tr>')
    body = "\n".join(rows)
    content = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="wide"><table>\n{content}</table></div>'


def figure(path: Path | None, caption: str) -> str:
    """A PNG inside the page, or nothing when there is none."""
    if path is None:
        return ""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )
