"""Reading files: texts that are checked when read."""

from __future__ import annotations

import difflib
import importlib.resources
import json
import reprlib
import sys
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOST_LINES = 20
"""Faults that are shown of one reading; the rest is counted."""

LONGEST_LINE = 500
"""Characters of a line of an error; what a cell or a key holds may be of any length."""

LARGEST_TEXT = 100_000_000
"""Bytes of a text file; a century of months has some 50 000."""


class InputError(ValueError):
    """Bad user input; each fault has one line that names the file, the field and the value.

    Args:
        faults: one fault, or several in the order in which they are reported.
    """

    def __init__(self, faults: str | Iterable[str]) -> None:
        given = [faults] if isinstance(faults, str) else faults
        self.faults = tuple(dict.fromkeys(_line(fault) for fault in given))
        more = len(self.faults) - MOST_LINES
        shown = [*self.faults[:MOST_LINES], *([f"and {more} more"] if more > 0 else [])]
        super().__init__("\n".join(shown))


def _line(text: str) -> str:
    """Text in one line of readable length; its middle is what can be missed."""
    line = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[:half]} ... {line[-half:]}"


class Faults:
    """Faults as they are met, so that all of them are reported at once.

    Cells of a table that have the same fault in the same column are reported in one line.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._cells: dict[tuple[str, str, str], list[tuple[object, str]]] = {}

    def add(self, line: str) -> None:
        """Add one fault."""
        self._lines.append(line)

    def cell(self, path: str | Path, line: object, column: str, value: object, fault: str) -> None:
        """Add the fault of a cell.

        Args:
            path: file.
            line: line in the file.
            column: name of the column; empty for a whole line.
            value: what stands there, as it is shown.
            fault: what is wrong with it, in words that others with the same fault share.
        """
        self._cells.setdefault((str(path), column, fault), []).append((line, str(value)))

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Take over the faults of a block, which ends at the first that is raised."""
        try:
            yield
        except InputError as error:
            self._lines.extend(error.faults)

    @property
    def lines(self) -> list[str]:
        """All faults, one line each; those of cells come last."""
        lines = list(self._lines)
        for (path, column, fault), cells in self._cells.items():
            line, value = cells[0]
            of = f", column {column!r}" if column else ""
            where = f"line {line}{of}"
            if len(cells) > 1:
                what = "values" if column else "lines"
                where = f"column {column!r}: " if column else ""
                where += f"{len(cells)} {what}, first in line {line}"
            lines.append(f"{path}: {where}: {f'{value} {fault}'.strip()}")
        return lines

    @property
    def by_line(self) -> dict[int, list[str]]:
        """Faults of cells by the line that they are in, without the name of the file."""
        found: dict[int, list[str]] = {}
        for (_, column, fault), cells in self._cells.items():
            of = f"column {column!r}: " if column else ""
            for line, value in cells:
                found.setdefault(int(str(line)), []).append(f"{of}{f'{value} {fault}'.strip()}")
        return found

    def refuse(self) -> None:
        """Raise what has been gathered, if anything.

        Raises:
            InputError: there are faults.
        """
        if lines := self.lines:
            raise InputError(lines)


def shown(value: object) -> str:
    """A value of the user as it stands in an error line, cut when it is long or deep."""
    if isinstance(value, bool):
        return str(value).lower()
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python does not write whole numbers of thousands of digits
        return "a number of thousands of digits"


_SHORT = reprlib.Repr(maxstring=60, maxother=60, maxlong=40, maxlevel=3)


def nearest(name: str, names: Iterable[str]) -> str:
    """A suggestion for a name that was not found: ``, did you mean ...?`` or an empty text."""
    by_lower = {known.lower(): known for known in names}
    # comparing takes the square of the length, and no known name is long
    close = difflib.get_close_matches(name.lower()[:100], list(by_lower), n=1, cutoff=0.5)
    return f", did you mean {by_lower[close[0]]!r}?" if close else ""


def read_text(path: str | Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark, with ends of line of any kind.

    Letters with accents are composed, so that names written on different systems are the same.

    Raises:
        InputError: it is not there, may not be read, is too large, or is not text in UTF-8.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_TEXT + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error
    except ValueError as error:  # a name with a null character
        raise InputError(f"{path}: cannot be read: {error}") from error
    if len(content) > LARGEST_TEXT:
        raise InputError(f"{path}: is larger than {LARGEST_TEXT // 1_000_000} MB")
    for start, what in OTHER_FILES.items():
        if content.startswith(start):
            raise InputError(f"{path}: is not a text file in UTF-8 but {what}")
    if b"\0" in content:
        raise InputError(f"{path}: is not a text file in UTF-8: it has null characters (UTF-16?)")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {_undecoded(content, error)}") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", text)


OTHER_FILES = {
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
    b"PK\x03\x04": "a spreadsheet or another zip file",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet",
    b"\x89HDF": "a netCDF or HDF5 file",
    b"CDF": "a netCDF file",
    b"\x1f\x8b": "compressed",
}
"""Files that are taken for text, by their first bytes."""


def _undecoded(content: bytes, error: UnicodeDecodeError) -> str:
    line = content.count(b"\n", 0, error.start) + 1
    word = next(w for w in content[max(error.start - 20, 0) :].split() if not w.isascii())
    return (
        f"line {line}: is not a text file in UTF-8 (Latin-1, or Windows-1252? then this is "
        f"{word[:40].decode('latin-1')!r}); save it as UTF-8"
    )


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file; see :func:`parse_toml`."""
    return parse_toml(path, read_text(path))


def parse_toml(path: str | Path, text: str) -> dict[str, Any]:
    """Content of a TOML text.

    Args:
        path: named in errors.
        text: the text.

    Raises:
        InputError: it is not TOML, or is nested without end.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    except ValueError:  # what Python says of an integer of 5000 digits
        raise InputError(f"{path}: not valid TOML: a number has thousands of digits") from None
    except RecursionError:
        raise InputError(f"{path}: not valid TOML: nested too deeply") from None


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a JSON object; its numbers are floats, and no key stands twice in one object.

    Raises:
        InputError: it cannot be read, is not JSON, or is no object.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, times in Counter(key for key, _ in pairs).items():
            if times > 1:
                raise InputError(f"{path}: key {shown(key)} appears {times} times")
        return dict(pairs)

    text = read_text(path)
    try:
        # as floats, so that an integer of any length is a number or infinite
        content = json.loads(text, parse_int=float, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is not valid JSON: {error}") from error
    except RecursionError:
        raise InputError(f"{path}: is not valid JSON: nested too deeply") from None
    if not isinstance(content, dict):
        raise InputError(f'{path}: a JSON object is expected, such as {{"key": 1}}')
    return content


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


_HINTED: set[str] = set()


def hint(text: str) -> None:
    """Say once, on standard error, what still works and has a better way."""
    if text not in _HINTED:
        _HINTED.add(text)
        print(f"diffsoil: {text}", file=sys.stderr, flush=True)
