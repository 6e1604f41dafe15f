"""The folder of a study: what was asked of each case, and tables of what was found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import pandas as pd

from diffsoil.io import InputError
from diffsoil.tables import read_written
from diffsoil.work.files import read_json, write_json, write_table
from diffsoil.work.folder import Kind, OutputFolder, having
from sensitivity.indices import COLUMNS
from sensitivity.options import METHODS

TABLES = {
    "indices": ["method", "case", "output", "year"],
    "elasticities": ["case"],
    "notes": ["method", "case", "output", "year"],
    "costs": ["case", "store"],
    "failed": ["case", "store"],
    "ruling": ["case", "store"],
    "eigenvalues": ["case", "output", "year"],
    "active_variables": ["case", "output", "year"],
}
"""Tables of a study, and what new rows take the place of."""

COLUMNS_OF = {
    "indices": list(COLUMNS),
    "elasticities": list(COLUMNS),
    "notes": ["method", "case", "output", "year", "n_runs", "dropped", "censored", "note"],
    "costs": ["case", "store", "rows", "seconds", "workers", "run_seconds", "equivalents"],
    "failed": ["case", "store", "row", "what", "parameter", "value"],
    "ruling": ["case", "store", "depth", "year", "ruler", "share", "low", "high", "n_runs"],
    "eigenvalues": ["case", "output", "year", "number", "value", "low", "high", "error", "gap"],
    "active_variables": ["case", "output", "year", "first", "second", "value"],
}

TEXT = {"method", "case", "output", "parameter", "index", "note", "what", "store", "depth",
        "ruler", "gap"}  # fmt: skip
WHOLE = {"year", "n_runs", "dropped", "censored", "rows", "workers", "row", "number"}
"""Columns of words, and of whole numbers; all else is floating point."""


def read_table(folder: Path, name: str, columns: Sequence[str]) -> pd.DataFrame:
    """A table of a study, with these columns; empty if it is not there.

    Raises:
        diffsoil.io.InputError: it is not what this program wrote.
    """
    path = folder / f"{name}.csv"
    kinds: dict[str, Any] = {
        c: str if c in TEXT else "Int64" if c in WHOLE else float for c in columns
    }
    if name == "ruling":
        kinds["year"] = float  # ends of parts of the run
    if not path.is_file():
        return pd.DataFrame({c: pd.Series(dtype=kind) for c, kind in kinds.items()})
    again = "choose another folder, or --overwrite"
    table = read_written(path, columns, again, as_text=True)[list(columns)]
    try:
        for column, kind in kinds.items():
            if kind is not str:  # the digits that were written, exactly
                numbers = table[column].replace("", "nan").astype(float)
                table[column] = numbers.astype(kind)
        return table
    except ValueError as error:
        raise InputError(f"{path}: is damaged; {again}") from error


STUDY = "study.json"


KIND = Kind(
    "sensitivity", "a study of sensitivity", (), older=having(STUDY), resumable=True, grows=True
)


def read_study(path: Path) -> dict[str, Any]:
    """What was asked of each case, as ``cases``, and the files of the ``pictures`` of a folder.

    Raises:
        diffsoil.io.InputError: the file that says so is damaged.
    """
    file = path / STUDY
    if not file.is_file():
        return {"cases": {}}
    content = read_json(file)
    if not isinstance(content.get("cases"), dict):
        raise InputError(f"{file}: is damaged; choose another folder")
    return content


def write_study(path: Path, content: dict[str, Any]) -> None:
    """Write what :func:`read_study` reads."""
    content = {"format": 1, "version": metadata.version("diffsoil")} | content
    write_json(path / STUDY, content)


class Folder:
    """The folder of a study: what was asked, and the tables.

    Args:
        path: made when :attr:`place` is opened if it is not there.
        inputs: files that are read; none may be in the folder.

    Attributes:
        place: the output folder.
        told: what was asked of each case, by its name.
    """

    def __init__(self, path: Path, inputs: Sequence[Path] = ()) -> None:
        self.place = OutputFolder(path, KIND, inputs=inputs)
        self.path = self.place.path
        self.told = read_study(self.path)["cases"]

    def open(self, told: dict[str, Any], drop: Iterable[str]) -> None:
        """Write down what is asked in the opened :attr:`place`; forget tables of changed cases."""
        self.place.keep()
        self.told |= told
        write_study(self.path, read_study(self.path) | {"cases": self.told})
        gone = set(drop)
        for name in TABLES if gone else ():
            table = self.table(name)
            self._write(name, table[~table["case"].isin(gone)])

    def table(self, name: str) -> pd.DataFrame:
        """A table as it is now; empty if it is not there."""
        return read_table(self.path, name, COLUMNS_OF[name])

    def add(self, tables: dict[str, pd.DataFrame]) -> None:
        """Put rows in the place of those that are of the same."""
        for name, new in tables.items():
            keys = TABLES[name]
            new = new[COLUMNS_OF[name]]
            old = self.table(name)
            same = pd.MultiIndex.from_frame(_words(new[keys]))
            new = new.astype(old.dtypes)
            kept = old[~pd.MultiIndex.from_frame(_words(old[keys])).isin(same)]
            parts = [part for part in (kept, new) if len(part)]
            self._write(name, pd.concat(parts, ignore_index=True) if parts else new)

    def forget(self, name: str, **labels: object) -> None:
        """Drop the rows that have all of some labels; of several values any will do."""
        table = self.table(name)
        rows = pd.Series(True, index=table.index)
        for column, value in labels.items():
            rows &= table[column].isin(value if isinstance(value, list) else [value])
        if rows.any():
            self._write(name, table[~rows])

    def _write(self, name: str, table: pd.DataFrame) -> None:
        order = {method: i for i, method in enumerate(METHODS)}
        cases = {case: i for i, case in enumerate(self.told)}
        table = table.assign(_case=table["case"].map(cases))
        by = ["_case"]
        if "method" in table:
            table = table.assign(_method=table["method"].map(order))
            by = ["_method", "_case"]
        table = table.sort_values(by, kind="stable")[COLUMNS_OF[name]]
        write_table(self.path / f"{name}.csv", table)


def _words(keys: pd.DataFrame) -> pd.DataFrame:
    """Keys as text, so that a year that is missing equals another."""
    return keys.astype(object).where(keys.notna(), "").astype(str)
