"""Reading files: tables and texts that are checked when read."""

from __future__ import annotations

import csv
import dataclasses
import difflib
import importlib.resources
import math
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import pandas as pd


class InputError(ValueError):
    """Bad user input; the text is one line that names the file, the field and the value."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


@dataclasses.dataclass(frozen=True)
class Column:
    """What the values of one column, or of one key, have to be.

    Args:
        kind: ``float``, ``int`` (a whole number, 3.0 is one) or ``str``.
        lower, upper: inclusive range of numbers.
        choices: allowed words of a ``str``; any when empty.
        required: whether the column has to be there.
        allow_missing: whether a cell may be empty or NaN.
        unit: unit, for messages; ``1`` or empty for none.
        hint: question added to a range error, e.g. ``is this in kelvin?``.
    """

    kind: Literal["float", "int", "str"] = "float"
    lower: float = -math.inf
    upper: float = math.inf
    choices: tuple[str, ...] = ()
    required: bool = True
    allow_missing: bool = False
    unit: str = ""
    hint: str = ""

    def objection(self, value: float | str) -> str:
        """Why a value is not acceptable, or an empty text. Missing values are not judged here."""
        if isinstance(value, str):
            if self.choices and value not in self.choices:
                return f"{value!r} is not one of {', '.join(self.choices)}"
            return ""
        if not math.isfinite(value):
            return f"{value} is not a finite number"
        if self.kind == "int" and value != int(value):
            return f"{value:g} is not a whole number"
        if self.lower <= value <= self.upper:
            return ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{value:.12g} is outside {self._range()}{hint}"

    def _range(self) -> str:
        unit = "" if self.unit in ("", "1") else f" {self.unit}"
        return f"{self.lower:g} to {self.upper:g}{unit}"


def nearest(name: str, names: Iterable[str]) -> str:
    """A suggestion for a name that was not found: ``, did you mean ...?`` or an empty text."""
    by_lower = {known.lower(): known for known in names}
    close = difflib.get_close_matches(name.lower(), list(by_lower), n=1, cutoff=0.5)
    return f", did you mean {by_lower[close[0]]!r}?" if close else ""


def read_text(path: str | Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        InputError: it is not there, may not be read, or is not text.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not a text file in UTF-8 ({error})") from error


def read_table(
    path: str | Path,
    columns: Mapping[str, Column],
    extra: Literal["error", "ignore"] = "error",
) -> pd.DataFrame:
    """Read and check a CSV file with a header line.

    Args:
        path: CSV file, UTF-8, comma separated.
        columns: what is expected, by column name.
        extra: what to do with a column that is not expected.

    Returns:
        The expected columns that the file has, in the order of ``columns``; the index is the
        line in the file (the header is line 1). Missing values are NaN, or empty text in a
        ``str`` column; an ``int`` column that may have missing values is float.

    Raises:
        InputError: the first thing that is wrong with the file.
    """
    header, lines, rows = _cells(path)
    _check_header(path, header, columns, extra)
    data = {}
    for name, column in columns.items():
        if name in header:
            place = header.index(name)
            cells = [row[place].strip() for row in rows]
            data[name] = _parse(path, name, column, lines, cells)
    return pd.DataFrame(data, index=pd.Index(lines, name="line"))


def _cells(path: str | Path) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, line numbers and rows of a CSV file, blank lines left out."""
    reader = csv.reader(StringIO(read_text(path)))
    try:
        # a quoted cell can span lines; the row is named by its last one
        rows = [(reader.line_num, row) for row in reader if any(c.strip() for c in row)]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: is not CSV ({error})") from error
    if not rows:
        raise InputError(f"{path}: the file is empty")
    header = [name.strip() for name in rows[0][1]]
    if len(rows) == 1:
        raise InputError(f"{path}: there is a header and nothing below it")
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise InputError(
                f"{path}: line {line}: {len(row)} cells where the header has {len(header)}"
            )
    return header, [line for line, _ in rows[1:]], [row for _, row in rows[1:]]


def _check_header(
    path: str | Path, header: list[str], columns: Mapping[str, Column], extra: str
) -> None:
    unknown = [name for name in header if name not in columns]
    for name, column in columns.items():
        if header.count(name) > 1:
            raise InputError(f"{path}: column {name!r} appears {header.count(name)} times")
        if column.required and name not in header:
            raise InputError(f"{path}: column {name!r} is missing{nearest(name, unknown)}")
    if unknown and extra == "error":
        absent = [name for name in columns if name not in header]
        raise InputError(f"{path}: unknown column {unknown[0]!r}{nearest(unknown[0], absent)}")


def _parse(
    path: str | Path, name: str, column: Column, lines: list[int], cells: list[str]
) -> pd.Series:
    """One column of text as what it should be."""
    values: list[float | str] = []
    for line, cell in zip(lines, cells, strict=True):
        where = f"{path}: line {line}, column {name!r}"
        missing = cell == "" or (column.kind != "str" and cell.lower() in ("nan", "na"))
        if missing and not column.allow_missing:
            raise InputError(f"{where}: the value is missing{f' ({cell})' if cell else ''}")
        if missing:
            values.append("" if column.kind == "str" else math.nan)
            continue
        value = cell if column.kind == "str" else _number(where, cell)
        if complaint := column.objection(value):
            raise InputError(f"{where}: {complaint}")
        values.append(value)
    whole = column.kind == "int" and not column.allow_missing
    dtype: Any = "str" if column.kind == "str" else "int64" if whole else "float64"
    return pd.Series(values, index=pd.Index(lines, name="line")).astype(dtype)


def _number(where: str, cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        raise InputError(f"{where}: {cell!r} is not a number") from None


def reason(error: OSError) -> str:
    """What the operating system said, in small letters."""
    return (error.strerror or type(error).__name__).lower()


def data_path(*parts: str) -> Path:
    """A file or folder of the shipped data, e.g. ``data_path("reference", "rothc")``.

    In an installed package the data lie inside it, in a clone beside it.
    """
    package = Path(str(importlib.resources.files("diffsoil")))
    inside = package / "data"
    return (inside if inside.is_dir() else package.parent / "data").joinpath(*parts)
