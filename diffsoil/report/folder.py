"""A folder of results that is read: a page, its tables as CSV and its pictures as PNG."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import pandas as pd

from diffsoil.report import html
from diffsoil.report.pictures import Figure, save_all
from diffsoil.work.files import write_text
from diffsoil.work.folder import Kind

Pictures = Mapping[str, Path]


def kind(name: str, words: str, tables: Sequence[str], pictures: Sequence[str]) -> Kind:
    """The kind of such a folder; see :class:`diffsoil.work.folder.Kind`.

    Args:
        name, words: what it is, in its marker and in messages.
        tables, pictures: what it may hold, by name.
    """
    files = (*(f"{table}.csv" for table in tables), *(f"{picture}.png" for picture in pictures))
    return Kind(name, words, ("report.html", *files))


def write(
    folder: Path,
    title: str,
    tables: Mapping[str, pd.DataFrame],
    figures: Mapping[str, Figure | None],
    sections: Callable[[Pictures], Iterable[str]],
) -> None:
    """Write tables, pictures and ``report.html``, which ends with the version of the program.

    Args:
        folder: that is there.
        title: of the page.
        tables, figures: by name; what is None is left out.
        sections: of the page, made of the files of the pictures.
    """
    written = save_all(folder, figures)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    version = html.paragraph(f"diffsoil {metadata.version('diffsoil')}", "note")
    write_text(folder / "report.html", html.page(title, [*sections(written), version]))
