"""Cases and tables with one thing changed: refused in plain words, or read as what they say.

Every mutant of a shipped case is either refused by an :class:`InputError`, or reads as the very
same case, or is accepted for a reason that is stated here.
"""

from __future__ import annotations

import copy
import csv
import dataclasses
import re
import shutil
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import tomlkit

from calibration.observations import read as read_observations
from diffsoil.cases import Case, load_case
from diffsoil.cases.arrays import build
from diffsoil.cases.fingerprint import files_of
from diffsoil.io import MOST_LINES, InputError
from diffsoil.output.simulation import simulate

CASES = (
    "loess_wet_forest",
    "loess_dry_agriculture",
    "rothamsted",
    "rothamsted_whole_soil",
    "neon_dela",
    "neon_kansas",
)

SAME = "the same"
REFUSED = "refused"


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A change of one file.

    Args:
        name: of the kind of change.
        allowed: what may become of it: :data:`SAME`, :data:`REFUSED`, or a reason why a case that
            means something else is accepted.
        file: which file of the case.
        content: of that file.
    """

    name: str
    allowed: frozenset[str]
    file: str
    content: bytes


def spread(name: str, folder: Path) -> tuple[Path, dict[str, Path]]:
    """A shipped case with all its files beside it, by their names in the case."""
    case = load_case(name)
    document = tomlkit.parse(case.text)
    files = {}
    for number, (table, key) in enumerate(files_of(document)):
        source = case.resolve(str(table[key]))
        table[key] = f"{number}_{source.name}"
        files[str(table[key])] = folder / str(table[key])
        shutil.copyfile(source, folder / str(table[key]))
    path = folder / "case.toml"
    path.write_text(tomlkit.dumps(document), encoding="utf-8")
    return path, files


def everything(path: Path) -> tuple:
    """All that a case means, comparable."""
    case = load_case(path)
    tables = {name: table.to_csv(index=False) for name, table in case.climate.items()}
    management = observed = ""
    if case.management is not None:
        rows = case.management.sort_values(["treatment", "year"])
        management = rows.to_csv(index=False)
    if case.file.observations is not None:
        rows = read_observations(case, build(case))
        rows = rows.drop(columns=["line", "file"])
        observed = rows.sort_values(list(rows.columns)).to_csv(index=False)
    return case.file.model_dump_json(), tables, management, observed


# How a case file may be changed.


def places(table: dict, path: tuple = ()) -> Iterator[tuple]:
    """Where every value of a TOML document stands."""
    items = enumerate(table) if isinstance(table, list) else table.items()
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def at(table: dict, path: tuple) -> object:
    for key in path:
        table = table[key]
    return table


def wrong_type(rng: np.random.Generator, document: dict) -> tuple[str, frozenset[str]]:
    """A number as text, as true, as nothing or as a list; text as a number."""
    where = chosen(rng, document, lambda v: isinstance(v, int | float) and not isinstance(v, bool))
    value = at(document, where)
    put(document, where, [str(value), True, [value], {"a": value}][rng.integers(4)])
    return f"type of {dotted(where)}", frozenset({REFUSED})


def not_a_number(rng: np.random.Generator, document: dict) -> tuple[str, frozenset[str]]:
    where = chosen(rng, document, lambda v: isinstance(v, float))
    put(document, where, [float("nan"), float("inf"), -float("inf"), 1e300][rng.integers(4)])
    allowed = {REFUSED}
    if where[0] == "free" and where[1].startswith("observation."):
        allowed.add("the prior of an error is judged where it is fitted")
    return f"no number at {dotted(where)}", frozenset(allowed)


NAMED = {"site", "climate", "soil", "land_use", "mineralogy", "errors"}
"""Tables whose keys are names that the user gives."""


def misspelt_key(rng: np.random.Generator, document: dict) -> tuple[str, frozenset[str]]:
    """A key in other letters; one that others refer to by name leaves them without it."""
    where = chosen(rng, document, lambda v: True, lambda p: isinstance(p[-1], str))
    *parents, key = where
    table = at(document, tuple(parents))
    other = [key.upper(), key + "s", key[:-1], key.replace("_", "-") + "-x"][rng.integers(4)]
    if other == key or other in table or other == "":
        other = key + "_"
    table[other] = table.pop(key)
    allowed = {REFUSED}
    if parents and parents[0] == "notes":
        allowed.add("notes have any keys")
    if not parents or parents[-1] in {
        "site",
        "climate",
        "soil",
        "land_use",
        "mineralogy",
        "errors",
    }:
        allowed.add("a name of the user's own that nothing refers to")
    return f"key {dotted(where)} as {other}", frozenset(allowed)


def lost_key(rng: np.random.Generator, document: dict) -> tuple[str, frozenset[str]]:
    where = chosen(rng, document, lambda v: True, lambda p: isinstance(p[-1], str))
    *parents, key = where
    del at(document, tuple(parents))[key]
    return f"without {dotted(where)}", frozenset({REFUSED, SAME, "an optional key has a default"})


def other_number(rng: np.random.Generator, document: dict) -> tuple[str, frozenset[str]]:
    """A number that is far too large, too small, or of the other sign."""
    where = chosen(
        rng, document, lambda v: isinstance(v, int | float) and v not in (True, False, 0)
    )
    value = at(document, where)
    factor = [1e6, -1, 1e9, -1e6][rng.integers(4)]
    put(document, where, type(value)(value * factor))
    allowed = {REFUSED}
    if where[-1] in {"start_year", "year", "location", "mean"} or "set" in where or "free" in where:
        allowed.add("a year or a location may have any sign")
    return f"{dotted(where)} times {factor:g}", frozenset(allowed)


def unknown_name(rng: np.random.Generator, document: dict) -> tuple[str, frozenset[str]]:
    """A reference to something that is not there."""
    references = {"climate", "land_use", "mineralogy", "site", "management", "normals", "monthly"}
    where = chosen(
        rng,
        document,
        lambda v: isinstance(v, str),
        lambda p: p[0] != "notes" and (p[-1] in references or (len(p) == 2 and p[0] == "site")),
    )
    put(document, where, str(at(document, where)) + "x")
    return f"unknown {dotted(where)}", frozenset({REFUSED})


def chosen(
    rng: np.random.Generator,
    document: dict,
    value: Callable[[object], bool],
    path: Callable[[tuple], bool] = lambda p: True,
) -> tuple:
    """A place whose value and path are of a kind."""
    found = [p for p in places(document) if value(at(document, p)) and path(p)]
    if not found:
        raise LookupError
    return found[rng.integers(len(found))]


def put(document: dict, where: tuple, value: object) -> None:
    *parents, key = where
    at(document, tuple(parents))[key] = value


def dotted(path: tuple) -> str:
    return ".".join(map(str, path))


OF_CASES = (wrong_type, not_a_number, misspelt_key, lost_key, other_number, unknown_name)


def of_case(rng: np.random.Generator, path: Path) -> Mutant:
    """A mutant of a case file."""
    while True:
        document = copy.deepcopy(tomllib.loads(path.read_text(encoding="utf-8")))
        change = OF_CASES[rng.integers(len(OF_CASES))]
        try:
            name, allowed = change(rng, document)
        except LookupError:
            continue
        return Mutant(name, allowed, path.name, tomlkit.dumps(document).encode())


# How any file may be written.


def as_written(rng: np.random.Generator, path: Path) -> Mutant:
    """The same text with another encoding, other ends of lines, or cut off."""
    raw = path.read_bytes()
    kind = int(rng.integers(7))
    table = path.suffix == ".csv"
    if kind == 0:
        return Mutant("byte order mark", frozenset({SAME}), path.name, b"\xef\xbb\xbf" + raw)
    if kind == 1:
        content = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return Mutant("CRLF", frozenset({SAME}), path.name, content)
    if kind == 2:
        return Mutant("blank lines at the end", frozenset({SAME}), path.name, raw + b"\n \n\n")
    if kind == 3:
        return Mutant("UTF-16", frozenset({REFUSED}), path.name, raw.decode().encode("utf-16"))
    if kind == 4:
        content = raw.replace(b"\n", b" \xe4\n", 2)
        return Mutant("Latin-1", frozenset({REFUSED}), path.name, content)
    if kind == 5:
        return Mutant("empty", frozenset({REFUSED}), path.name, b"")
    cut = int(rng.integers(1, len(raw)))
    allowed = {REFUSED, SAME, "a text that ends early may be a whole one"}
    return Mutant("cut off" + (" table" if table else ""), frozenset(allowed), path.name, raw[:cut])


# How a table may be changed.


def of_table(rng: np.random.Generator, path: Path) -> Mutant:
    """A mutant of a CSV file."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        header, *body = [row for row in csv.reader(file) if row]
    kind = TABLE_CHANGES[rng.integers(len(TABLE_CHANGES))]
    column = int(rng.integers(len(header)))
    row = int(rng.integers(len(body)))
    name, allowed = f"{kind}: {header[column]}", {REFUSED}
    join = ","
    if kind == "header in capitals":
        header[column] = header[column].upper()
    elif kind == "header misspelt":
        header[column] = header[column][:-1] + "_x"
    elif kind == "unknown column":
        header.append("colour")
        body = [[*r, "1"] for r in body]
    elif kind == "note column":
        header.append("note_of_mine")
        body = [[*r, "1"] for r in body]
        allowed = {SAME}
    elif kind == "column twice":
        header.append(header[column])
        body = [[*r, r[column]] for r in body]
    elif kind == "columns in another order":
        order = rng.permutation(len(header))
        header = [header[i] for i in order]
        body = [[r[i] for i in order] for r in body]
        allowed = {SAME}
    elif kind == "semicolons":
        join = ";"
    elif kind == "tabs":
        join = "\t"
    elif kind == "row twice":
        body.insert(row, list(body[row]))
    elif kind == "row lost":
        del body[row]
        allowed = {REFUSED, "an observation, or a year of the record, less"}
    elif kind == "odd cell":
        cell = ODD[rng.integers(len(ODD))]
        name += f" = {cell!r}"
        text = not re.fullmatch(r"[-+.\deE]*", body[row][column])
        body[row][column] = cell
        allowed = {REFUSED}
        if text or header[column] in ("source", "method", "series", "label"):
            allowed.add("a text may be any")
    elif kind == "cell emptied":
        body[row][column] = ""
        allowed = {REFUSED, SAME, "an optional value left out"}
    elif kind in SCALES:
        names = [n for n in header if n in UNITS]
        if not names:
            return of_table(rng, path)
        column = header.index(names[rng.integers(len(names))])
        kind = UNITS[header[column]][rng.integers(len(UNITS[header[column]]))]
        change = SCALES[kind]
        name = f"{header[column]} in {kind}"
        for r in body:
            if r[column]:
                r[column] = f"{change(float(r[column])):.6g}"
    text = StringIO()
    csv.writer(text, delimiter=join, lineterminator="\n").writerows([header, *body])
    return Mutant(name, frozenset(allowed), path.name, text.getvalue().encode())


SCALES: dict[str, Callable[[float], float]] = {
    "m": lambda v: v / 1000,
    "cm": lambda v: v / 10,
    "mm a day": lambda v: v / 30.4,
    "kelvin": lambda v: v + 273.15,
    "Fahrenheit": lambda v: v * 1.8 + 32,
}
UNITS = {
    "precipitation_mm": ("m", "cm", "mm a day"),
    "temperature_c": ("kelvin", "Fahrenheit"),
    "pet_mm": ("m",),
    "evaporation_mm": ("m",),
}
TABLE_CHANGES = (
    "header in capitals",
    "header misspelt",
    "unknown column",
    "note column",
    "column twice",
    "columns in another order",
    "semicolons",
    "tabs",
    "row twice",
    "row lost",
    "odd cell",
    "odd cell",
    "cell emptied",
    "m",
    "m",
)
ODD = ("abc", "1_6", "12 mm", "-999", "-9999", "1e20", "inf", "1,5", "１２", "--", "#N/A", "nan")


def mutant(rng: np.random.Generator, path: Path, files: dict[str, Path]) -> Mutant:
    """Any mutant of a case."""
    what = rng.random()
    tables = list(files.values())
    if what < 0.4:
        return of_case(rng, path)
    if what < 0.85:
        return of_table(rng, tables[rng.integers(len(tables))])
    every = [path, *tables]
    return as_written(rng, every[rng.integers(len(every))])


# What has to hold.


@dataclasses.dataclass
class Judged:
    """What became of some mutants."""

    outcome: Counter
    wrong: list[str]
    accepted: list[tuple[str, Path, dict[str, bytes]]]


def judge(cases: tuple[str, ...], count: int, seed: int, folder: Path, runs: int) -> Judged:
    """Read mutants of some cases, and run some that are accepted."""
    judged = Judged(Counter(), [], [])
    for number, name in enumerate(cases):
        here = folder / name
        here.mkdir()
        path, files = spread(name, here)
        meaning = everything(path)
        rng = np.random.default_rng([seed, number])
        to_run = runs // len(cases)
        for _ in range(count // len(cases)):
            one = mutant(rng, path, files)
            target = here / one.file
            before = target.read_bytes()
            target.write_bytes(one.content)
            try:
                outcome = judge_one(path, one, meaning, judged)
                if outcome not in (REFUSED, "wrong") and to_run > 0:
                    to_run -= 1
                    run(path, f"{name}: {one.name}", judged)
            finally:
                target.write_bytes(before)
            judged.outcome[outcome] += 1
    return judged


def judge_one(path: Path, one: Mutant, meaning: tuple, judged: Judged) -> str:
    where = f"{path.parent.name}, {one.file}, {one.name}"
    try:
        found = everything(path)
    except InputError as error:
        lines = str(error).splitlines()
        if REFUSED not in one.allowed:
            judged.wrong.append(f"{where}: refused: {lines[0]}")
            return "wrong"
        if len(lines) > MOST_LINES + 1 or max(map(len, lines)) > 600 or not lines[0]:
            judged.wrong.append(f"{where}: the message is unreadable: {lines[0][:200]}")
            return "wrong"
        return REFUSED
    except Exception as error:
        judged.wrong.append(f"{where}: {type(error).__name__}: {error}")
        return "wrong"
    if found == meaning:
        return SAME  # whatever was changed has no meaning
    reasons = one.allowed - {SAME, REFUSED}
    if not reasons:
        judged.wrong.append(f"{where}: accepted, and means something else")
        return "wrong"
    return next(iter(sorted(reasons)))


def run(path: Path, what: str, judged: Judged) -> None:
    """Simulate one treatment or site; only a plain refusal may come of it."""
    case: Case = load_case(path)
    names = [t.name for t in case.file.treatment] or case.sites
    try:
        simulate(case, treatments=names[:1])
    except InputError:
        judged.outcome["refused when run"] += 1
    except Exception as error:
        judged.wrong.append(f"{what}: run: {type(error).__name__}: {error}")


def test_mutants_of_shipped_cases_are_refused_or_mean_what_they_say(tmp_path):
    judged = judge(("loess_wet_forest", "neon_dela"), 90, 1, tmp_path, runs=0)
    assert not judged.wrong, "\n".join(judged.wrong)
    assert judged.outcome[REFUSED] > 50
    assert judged.outcome[SAME] > 5


@pytest.mark.slow
def test_two_thousand_mutants_of_shipped_cases(tmp_path):
    judged = judge(CASES, 2004, 2, tmp_path, runs=102)
    print(dict(judged.outcome))
    assert not judged.wrong, "\n".join(judged.wrong)
