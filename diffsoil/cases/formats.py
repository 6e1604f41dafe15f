"""Formats of a case file: how one of an older format becomes one of the present format.

A case is converted once, as it is read, so that the rest of the program knows one meaning of
each key. ``diffsoil migrate`` writes the same conversion into a file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tomlkit
import tomlkit.exceptions

from diffsoil.io import InputError
from diffsoil.parameters import RENAMED, current_name

FORMAT = 2
"""The present format."""


def _last_years(content: Any) -> dict[str, object]:
    """1 to 2: a phase of history names its last year, as an experiment always has."""
    phases = content.get("history")
    written: dict[str, object] = {}
    for number, phase in enumerate(phases if isinstance(phases, list) else []):
        until = phase.get("until") if isinstance(phase, dict) else None
        if isinstance(until, int | float) and not isinstance(until, bool):
            written[f"history.{number}.until"] = until
            phase["until"] = until - 1
    return written


STEPS: dict[int, Callable[[Any], dict[str, object]]] = {1: _last_years}
"""What makes the next format of each older one, in place, whatever nonsense the file holds.

It returns the values that it changed, as written, by the name that messages have for them.
"""


def _rename(table: Any) -> None:
    """Give parameters the names that they have today, in place and in order."""
    if not isinstance(table, dict) or not set(table) & set(RENAMED):
        return
    for name in list(table):
        value = table.pop(name)
        table[current_name(name)] = value


def upgrade(content: Any) -> dict[str, object]:
    """Bring the content of a case file to the present format, in place.

    Args:
        content: tables of the file, as ``tomllib`` or ``tomlkit`` reads them. One of the present
            format, of none or of one that is not known stays as it is.

    Returns:
        The values that were changed, as written, by name (``history.0.until``).
    """
    written: dict[str, object] = {}
    for table in ("set", "free"):
        _rename(content.get(table))
    while isinstance(version := content.get("format"), int) and version in STEPS:
        if isinstance(version, bool):
            break
        written = STEPS[version](content) | written
        content["format"] = version + 1
    return written


def migrated(text: str, source: object) -> str:
    """The text of a case in the present format; comments and order stay.

    Args:
        text: TOML.
        source: named in error messages.

    Raises:
        InputError: it is not TOML.
    """
    try:
        document = tomlkit.parse(text)
    except tomlkit.exceptions.TOMLKitError as error:
        raise InputError(f"{source}: not valid TOML: {error}") from error
    upgrade(document)
    return tomlkit.dumps(document)
