"""The text of a case with less in it: what a pruning writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomlkit

from diffsoil import strength
from diffsoil.cases import Case, read_case
from diffsoil.cases.fingerprint import files_of
from diffsoil.io import InputError, data_path


def without_text(
    case: Case,
    names: Iterable[str],
    note: str = "",
    folder: Path | None = None,
    **changes: Any,
) -> str:
    """The text of a case without some candidates; comments stay.

    Args:
        case: the case.
        names: of :func:`diffsoil.strength.candidates`.
        note: what is written among the notes of the case.
        folder: where the text will be, if elsewhere: files beside the case stay where they are.
        changes: ``erosion`` and ``water`` of the case; ``layers``, a divisor of the number of
            layers there are; ``step``, the slow step of all phases that may have one so long.
    """
    document = tomlkit.parse(case.text)
    names = list(names)
    gone = {name.removeprefix(strength.PREFIX) for name in names if strength.PREFIX in name}
    if gone:
        left = [mechanism for mechanism in case.file.protection if mechanism not in gone]
        document["protection"] = left
    processes = [name for name in names if strength.PREFIX not in name]
    if processes:
        document["without"] = list(dict.fromkeys([*case.file.without, *processes]))
    for key in ("water", "erosion"):
        if key in changes:
            document[key] = changes[key]
    if "layers" in changes:
        grid: Any = document["grid"]
        thickness = grid["thickness_m"] * grid["layers"] / changes["layers"]
        grid["layers"], grid["thickness_m"] = changes["layers"], round(thickness, 9)
    if folder is not None:
        _relocate(document, case, folder)
    if note:
        document.setdefault("notes", tomlkit.table())["pruned"] = note
    _drop_unknown(document, case, names, changes)
    if "step" in changes:
        _lengthen(document, case, changes["step"])
    return tomlkit.dumps(document)


def _drop_unknown(
    document: tomlkit.TOMLDocument, case: Case, names: list[str], changes: Mapping[str, Any]
) -> None:
    """Values and freedoms of parameters that the case does not have any more."""
    bare = tomlkit.parse(tomlkit.dumps(document))
    for key in ("set", "free"):
        bare.pop(key, None)
    known = read_case(case.path, tomlkit.dumps(bare)).column().parameters()
    for key in ("set", "free"):
        own: Any = document.get(key, {})
        for name in [n for n in own if n not in known and not n.startswith("observation.")]:
            del own[name]


def _relocate(document: tomlkit.TOMLDocument, case: Case, folder: Path) -> None:
    """Name files that are beside the case as they are seen from another folder."""
    here = case.path.resolve().parent

    def moved(name: str) -> str:
        beside = here / name
        if here == folder.resolve() or not beside.is_file() or data_path(name) == beside:
            return name
        return os.path.relpath(beside, folder.resolve())

    for table, key in files_of(document):
        table[key] = moved(table[key])


def _lengthen(document: tomlkit.TOMLDocument, case: Case, step: int) -> None:
    """Give each phase of history the longer step, as far as the case may have it."""
    phases: Any = document["history"]
    for phase, read in zip(phases, case.file.history, strict=True):
        before = read.step_years
        if before < step:
            phase["step_years"] = step
            if _refused(case.path, tomlkit.dumps(document)):
                phase["step_years"] = before


def _refused(path: Path, text: str) -> bool:
    try:
        read_case(path, text)
    except InputError:
        return True
    return False
