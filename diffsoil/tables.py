"""Tables that users write: CSV with a header, checked cell by cell when read."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from diffsoil.io import Faults, InputError, nearest, read_text, shown

NOTE = "note"
"""What a column of the user's own begins with; it is not read."""

MISSING = ("", "nan", "na", "n/a", "null")
"""How a missing value is written, in small letters."""

MISSING_CODES = frozenset(
    sign * value
    for value in (9.0, 99.0, 999.0, 9999.0, 99999.0, 99.9, 999.9, 9999.9, 99.99, 999.99, 9999.99)
    for sign in (1, -1)
) | {-32768.0, 32767.0, 1e20, -1e20, 1e30, -1e30, 9.969209968386869e36}
"""Numbers that stand for a missing value in the tables of many instruments and archives."""

SURE_CODES = frozenset(code for code in MISSING_CODES if abs(code) > 99.99 or code == -99)
"""Codes that are hardly ever a measured value, even where one like it is possible."""


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
        fault = self.fault(value)
        given = shown(value) if isinstance(value, str) else f"{value:.12g}"
        return f"{given} {fault}" if fault else ""

    def fault(self, value: float | str) -> str:
        """What is wrong with a value, without the value; an empty text if nothing is."""
        if isinstance(value, str):
            wrong = self.choices and value not in self.choices
            near = nearest(value, self.choices) if len(self.choices) > 3 else ""
            return f"is not one of {', '.join(self.choices)}{near}" if wrong else ""
        if not math.isfinite(value):
            return "is not a finite number"
        if self.kind == "int" and value != int(value):
            return "is not a whole number"
        if self.lower <= value <= self.upper:
            return ""
        if value in MISSING_CODES:
            return f"is outside {self._range()} ({CODE})"
        hint = f" ({self.hint})" if self.hint else ""
        return f"is outside {self._range()}{hint}"

    def _range(self) -> str:
        unit = "" if self.unit in ("", "1") else f" {self.unit}"
        if math.isinf(self.upper):
            return f"what is possible, {self.lower:g}{unit} and more"
        return f"{self.lower:g} to {self.upper:g}{unit}"


CODE = "a code for a missing value?"


@dataclasses.dataclass(frozen=True)
class Meant:
    """What the user has confirmed to be meant, however unlikely it looks.

    Attributes:
        names: columns and keys.
        how: how another one is confirmed; ``{}`` stands for its name.
    """

    names: Collection[str] = ()
    how: str = 'plausible = ["{}"] in the case says that it is meant'

    def question(self, name: str, doubt: str) -> str:
        """A doubt with the way to answer it, or an empty text if it has been answered."""
        return "" if name in self.names else f"{doubt} ({self.how.format(name)})"


def read_table(
    path: str | Path, columns: Mapping[str, Column], meant: Meant | None = None
) -> pd.DataFrame:
    """Read and check a CSV file with a header line.

    Args:
        path: CSV file, UTF-8, comma separated, with decimal points.
        columns: what is expected, by column name.
        meant: what the user has confirmed; numbers that stand for missing values elsewhere are
            asked about if given.

    Returns:
        The expected columns that the file has, in the order of ``columns``; the index is the
        line in the file (the header is line 1). Missing values are NaN, or empty text in a
        ``str`` column; an ``int`` column that may have missing values is float.

    Raises:
        InputError: all that is wrong with the file, one line for each kind of fault and column.
            A column that is not expected is one, unless its name begins with ``note``.
    """
    faults = Faults()
    header, lines, rows = _cells(path, len(columns) > 1, faults)
    return checked_table(path, header, lines, rows, columns, faults, meant)


def read_rows(
    path: str | Path,
    columns: Callable[[list[str]], Mapping[str, Column]],
    meant: Meant | None = None,
) -> tuple[pd.DataFrame, dict[int, list[str]]]:
    """Read a CSV file of which some rows may be wrong.

    Args:
        path: as for :func:`read_table`.
        columns: what is expected, by column name, of the names in the header.
        meant: as for :func:`read_table`.

    Returns:
        The table with the rows that have as many cells as the header, those with faults among
        them; and what is wrong with a row, by its line.

    Raises:
        InputError: what is wrong with the file or its header.
    """
    faults, of_header = Faults(), Faults()
    header, lines, rows = _cells(path, True, faults)
    expected = columns(header)
    _check_header(path, header, expected, of_header)
    of_header.refuse()
    table = _parsed(path, header, lines, rows, expected, faults, meant)
    return table, faults.by_line


def read_texts(
    path: str | Path, names: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Some columns of a CSV file as texts, whatever else it holds.

    Raises:
        InputError: it is no CSV file with these columns.
    """
    faults = Faults()
    header, lines, rows = _cells(path, len(names) > 1, faults)
    faults.refuse()
    for name in names:
        if name not in header:
            raise InputError(f"{path}: column {name!r}: missing{nearest(name, header)}")
    wanted = [name for name in (*names, *optional) if name in header]
    data = {name: [row[header.index(name)].strip() for row in rows] for name in wanted}
    return pd.DataFrame(data, index=pd.Index(lines, name="line"), dtype=str)


def checked_table(
    path: str | Path,
    header: list[str],
    lines: list[int],
    rows: list[list[str]],
    columns: Mapping[str, Column],
    faults: Faults,
    meant: Meant | None = None,
) -> pd.DataFrame:
    """A table out of its cells, as :func:`read_table` returns it.

    Args:
        path: file, named in errors.
        header: names of the columns.
        lines: line in the file of each row.
        rows: cells, as many in each row as there are names.
        columns, meant: as for :func:`read_table`.
        faults: what is wrong with the file already.

    Raises:
        InputError: there are faults, those among them that were there already.
    """
    _check_header(path, header, columns, faults)
    table = _parsed(path, header, lines, rows, columns, faults, meant)
    faults.refuse()
    return table


def _parsed(
    path: str | Path,
    header: list[str],
    lines: list[int],
    rows: list[list[str]],
    columns: Mapping[str, Column],
    faults: Faults,
    meant: Meant | None,
) -> pd.DataFrame:
    """The columns that a table has, whatever is wrong with their cells."""
    data = {}
    for name, column in columns.items():
        if header.count(name) == 1:
            place = header.index(name)
            cells = [row[place].strip() for row in rows]
            data[name] = _parse(path, name, column, lines, cells, meant, faults)
    return pd.DataFrame(data, index=pd.Index(lines, name="line"))


def _cells(
    path: str | Path, several: bool, faults: Faults
) -> tuple[list[str], list[int], list[list[str]]]:
    """Header, line numbers and rows of a CSV file, blank lines left out.

    Args:
        path: the file.
        several: whether it should have more than one column.
        faults: is told of rows of another length.
    """
    reader = csv.reader(StringIO(read_text(path)), strict=True)
    try:
        # a quoted cell can span lines; the row is named by its last one
        rows = [(reader.line_num, row) for row in reader if any(c.strip() for c in row)]
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: is not CSV ({error})") from error
    if not rows:
        raise InputError(f"{path}: the file is empty")
    header = _without_empty_end([name.strip() for name in rows[0][1]])
    _check_separator(path, header, several)
    if len(rows) == 1:
        raise InputError(f"{path}: there is a header and nothing below it")
    whole = []
    for line, row in rows[1:]:
        row = row if len(row) <= len(header) else _without_empty_end(row)
        if len(row) == len(header):
            whole.append((line, row))
            continue
        expected = f"where the header has {len(header)}"
        expected += " (decimal commas?)" if len(row) > len(header) else ""
        faults.cell(path, line, "", f"{len(row)} cells", expected)
    return header, [line for line, _ in whole], [row for _, row in whole]


def _without_empty_end(row: list[str]) -> list[str]:
    """A row without the empty cells that spreadsheets append."""
    filled = [place for place, cell in enumerate(row) if cell.strip()]
    return row[: filled[-1] + 1] if filled else []


SEPARATORS = {";": "semicolons (;)", "\t": "tabs", "|": "bars (|)", " ": "spaces"}


def _check_separator(path: str | Path, header: list[str], several: bool) -> None:
    """Refuse cells that are separated by anything but a comma."""
    for separator, name in SEPARATORS.items():
        if len(header) == 1 and several and separator in header[0]:
            raise InputError(
                f"{path}: line 1: the cells are separated by {name}; commas are needed, and "
                "decimal points"
            )
        mixed = [cell for cell in header if separator in cell and separator in ";\t"]
        if mixed:
            raise InputError(f"{path}: line 1: there are {name} within {shown(mixed[0])}")


def _check_header(
    path: str | Path, header: list[str], columns: Mapping[str, Column], faults: Faults
) -> None:
    unknown = [name for name in header if name not in columns and not name.startswith(NOTE)]
    absent = [name for name in columns if name not in header]
    for name, column in columns.items():
        if header.count(name) > 1:
            faults.add(f"{path}: column {name!r} appears {header.count(name)} times")
        if column.required and name not in header:
            near = nearest(name, unknown)
            unknown = [other for other in unknown if repr(other) not in near]
            faults.add(f"{path}: column {name!r} is missing{near}")
    for name in dict.fromkeys(unknown):
        near = nearest(name, absent) or (
            f"; known are {', '.join(columns)}, and a column of your own begins with {NOTE!r}"
        )
        faults.add(f"{path}: unknown column {shown(name)}{near}")


def _parse(
    path: str | Path,
    name: str,
    column: Column,
    lines: list[int],
    cells: list[str],
    meant: Meant | None,
    faults: Faults,
) -> pd.Series:
    """One column of text as what it should be."""
    values: list[float | str] = []
    for line, cell in zip(lines, cells, strict=True):
        fault, value = _judged(column, cell)
        if not fault and meant and value in SURE_CODES and column.kind == "float":
            fault = meant.question(name, f"is possible, but is it {CODE}")
        if fault:
            given = shown(cell) if isinstance(value, str) else f"{value:.12g}"
            missing = fault.startswith("the value is missing")
            faults.cell(path, line, name, "" if missing else given, fault)
        values.append(math.nan if fault and column.kind != "str" else value)
    faulty = any(isinstance(v, float) and math.isnan(v) for v in values)
    whole = column.kind == "int" and not column.allow_missing and not faulty
    dtype: Any = "str" if column.kind == "str" else "int64" if whole else "float64"
    return pd.Series(values, index=pd.Index(lines, name="line")).astype(dtype)


def _judged(column: Column, cell: str) -> tuple[str, float | str]:
    """What is wrong with a cell, if anything, and its value."""
    missing = cell == "" or (column.kind != "str" and cell.lower() in MISSING)
    if missing and not column.allow_missing:
        return f"the value is missing{f' ({cell})' if cell else ''}", math.nan
    if missing:
        return "", "" if column.kind == "str" else math.nan
    if column.kind == "str":
        return column.fault(cell), cell
    try:
        value = number(cell)
    except ValueError as error:
        return str(error), cell
    return column.fault(value), value


NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

DECIMALS = r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?"

OTHER_NUMBERS = (
    (r"[0-9]*,[0-9]+", "has a comma: decimals have a point, thousands no separator"),
    (r"[0-9]{1,3}([ ,.'\u00a0\u202f\u2019][0-9]{3})+([.,][0-9]*)?", "has separators of thousands"),
    (r"[0-9.]*(_[0-9.]+)+", "has an underscore"),
    (r"[<>\u2264\u2265~].*", "is a limit and not a number"),
    (r"#.*", "is an error of a spreadsheet"),
    (r"[\u2212\u2012-\u2015].*", "has a dash for a minus sign"),
    (r"[\d.]+", "is not written in the digits 0 to 9"),
    (DECIMALS + r"[\s%*?a-zA-Z\u00b0\u00b1(\[].*", "has text after the number"),
)
"""How numbers are written that are none, and what is wrong with them."""


def number(cell: str) -> float:
    """A number as it is written in a table: digits, a decimal point, a sign, an exponent.

    Raises:
        ValueError: it is none; the text says what is wrong with it, without the cell itself.
    """
    if NUMBER.fullmatch(cell) or cell.lstrip("+-").lower() in ("inf", "infinity"):
        return float(cell)
    for pattern, fault in OTHER_NUMBERS:
        if re.fullmatch(f"[+-]?({pattern})", cell, re.IGNORECASE):
            raise ValueError(fault)
    raise ValueError("is not a number")


def read_written(
    path: str | Path,
    columns: Collection[str],
    again: str = "remove it to make it again",
    as_text: bool = False,
) -> pd.DataFrame:
    """Read a table that this program has written.

    Args:
        path: CSV file.
        columns: names that it has to have.
        again: what the user can do where it is damaged.
        as_text: whether cells stay text, to the last digit.

    Raises:
        InputError: it is not there, was cut off or damaged, or lacks a column.
    """
    text = read_text(path)
    try:
        kept: dict[str, Any] = {"dtype": str, "keep_default_na": False} if as_text else {}
        table = pd.read_csv(StringIO(text), **kept)
    except ValueError as error:  # pandas' own errors are
        raise InputError(f"{path}: is damaged ({error}); {again}") from error
    absent = [name for name in columns if name not in table]
    if absent or not text.endswith("\n"):
        why = f"column {absent[0]!r} is missing" if absent else "its end is missing"
        raise InputError(f"{path}: is damaged: {why}; {again}")
    return table
