"""What a result depends on, as checksums by name: kept work goes on only with the same.

One fingerprint of a case serves calibration, many sites, sensitivity, study and twin: of its
text, and of the content of every file that it names.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffsoil.cases.case import Case
from diffsoil.io import InputError, reason

FORMAT = 1
"""Changes with what a fingerprint is made of, so that old ones do not seem equal."""

Fingerprint = Mapping[str, Any] | str
"""Checksums, or other JSON, by the name of what they are of; or one text for all."""


def checksum(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def checksum_of(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error


def files_of(document: Any) -> list[tuple[Any, Any]]:
    """Where the TOML of a case names files: table, or list, and key."""
    found: list[tuple[Any, Any]] = []
    for climate in document.get("climate", {}).values():
        found += [(climate, key) for key in ("normals", "monthly") if key in climate]
    soils = document.get("soil", {}).values()
    found += [(soil, "horizons") for soil in soils if isinstance(soil.get("horizons"), str)]
    experiment = document.get("experiment", {})
    tables = experiment.get("management", [])
    if isinstance(tables, str):
        found.append((experiment, "management"))
    else:
        found += [(tables, i) for i in range(len(tables))]
    if "radiocarbon_atmosphere" in document:
        found.append((document, "radiocarbon_atmosphere"))
    listed = document.get("observations", {}).get("files", [])
    return found + [(listed, i) for i in range(len(listed))]


def case_files(case: Case) -> list[Path]:
    """The file of a case, and all files that it names."""
    return [case.path, *(case.resolve(name) for name in fingerprint(case)["files"])]


def fingerprint(case: Case) -> dict[str, Any]:
    """Checksums of the text of a case, as ``case``, and of all ``files`` by their names in it.

    ``tables`` are those that the case holds, which a script may have changed.

    Raises:
        InputError: a file is gone.
    """
    document = tomllib.loads(case.text)
    names = {str(table[key]) for table, key in files_of(document)}
    files = {name: checksum_of(case.resolve(name)) for name in sorted(names)}
    tables = dict(sorted(case.climate.items()))
    if case.management is not None:
        tables["management"] = case.management
    if case.atmosphere is not None:
        tables["atmosphere"] = case.atmosphere
    held = {name: checksum(table.to_csv()) for name, table in tables.items()}
    # what the library, which another version may have changed, has filled
    uses = case.file.land_use.items()
    filled = {n: use.model_dump(mode="json") for n, use in uses if use.like or use.crop}
    if filled:
        held["land_use"] = digest(filled)
    return {"format": FORMAT, "case": checksum(case.text), "files": files, "tables": held}


def digest(fingerprint: Fingerprint) -> str:
    """One checksum of a fingerprint."""
    return checksum(json.dumps(fingerprint, sort_keys=True))


def difference(before: object, now: Fingerprint) -> str:
    """What differs between two fingerprints, in words that follow 'cannot resume:', or nothing.

    Args:
        before: as read back from JSON; may be of another program version, or damaged.
        now: of what is asked for.
    """
    if not isinstance(now, Mapping):
        return "" if before == now else "its inputs have changed"
    if not isinstance(before, Mapping):
        return "it was begun by another version of diffsoil"
    if before.get("format") != now.get("format"):
        return "it was begun by another version of diffsoil"
    for name, value in now.items():
        old = before.get(name)
        for one, own in _cases_in(old, value):
            if found := difference(one, own):
                return found
        if name == "files":
            if found := _other_file(old if isinstance(old, Mapping) else {}, value):
                return found
        elif json.dumps(old, sort_keys=True) != json.dumps(value, sort_keys=True):
            if name == "case":
                return "the case file has changed"
            plain = isinstance(value, int | float | str) and len(str(value)) < 40
            return f"{name} was {old!r}, is {value!r}" if plain else f"{name} has changed"
    return ""


def check_same(place: Path, before: object, now: Fingerprint) -> None:
    """Refuse to resume work that was begun with something else.

    Args:
        place: file or folder that keeps it.
        before: see :func:`difference`; the fingerprints of cases may be in it under any name, one
            or a list.
        now: of what is asked for.

    Raises:
        InputError: with the first difference.
    """
    if words := difference(before, now):
        raise InputError(f"{place}: cannot resume: {words}")


def _cases_in(before: object, now: object) -> list[tuple[object, Mapping[str, Any]]]:
    """Pairs of fingerprints of cases in two values that have the same name."""
    pairs = [(before, now)]
    if isinstance(now, list | tuple) and isinstance(before, list) and len(before) == len(now):
        pairs = list(zip(before, now, strict=True))
    return [(a, b) for a, b in pairs if isinstance(b, Mapping) and "files" in b]


def _other_file(before: Mapping[str, Any], now: Mapping[str, str]) -> str:
    for name, content in now.items():
        if name not in before:
            return f"file {name!r} is new"
        if before[name] != content:
            return f"file {name!r} has changed"
    gone = sorted(set(before) - set(now))
    return f"file {gone[0]!r} is no longer named" if gone else ""
