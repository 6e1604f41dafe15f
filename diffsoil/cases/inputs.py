"""Numbers of a case as inputs: parameters and any other number, under one name each."""

from __future__ import annotations

import math
import operator
import tomllib
from collections.abc import Mapping
from functools import lru_cache, reduce
from pathlib import Path
from typing import Annotated, Any

import tomlkit
from pydantic import Field, model_validator

from diffsoil.cases.case import Case
from diffsoil.cases.kinds import Name, Strict
from diffsoil.cases.read import read_case
from diffsoil.cases.schema import PriorText
from diffsoil.cases.validation import validated
from diffsoil.io import InputError, nearest, read_toml
from diffsoil.parameters import Prior


class Input(Strict):
    """An input: where it stands in a case, and what is known of it beforehand.

    Attributes:
        what: in words.
        keys: full names of parameters, or places in the case file such as
            ``land_use.forest.leaf_share``; all get the same value.
        balance: places whose numbers lose, in proportion, what the keys gain.
        lower, upper: bounds.
        prior: normal or lognormal; that of the parameter if not given.
    """

    what: str
    keys: Annotated[list[str], Field(min_length=1)]
    balance: Annotated[tuple[str, ...], Field(strict=False)] = ()
    lower: float
    upper: float
    prior: PriorText | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Input:
        if self.lower >= self.upper:
            raise ValueError(f"lower {self.lower:g} is not below upper {self.upper:g}")
        prior = Prior(**self.prior.model_dump()) if self.prior else None
        if prior and (complaint := prior.objection(self.lower, self.upper)):
            raise ValueError(complaint)
        return self


class InputsFile(Strict):
    """A file of inputs as written."""

    input: Annotated[dict[Name, Input], Field(min_length=1)]


def load_inputs(path: str | Path) -> dict[str, Input]:
    """Read the inputs of a file, by name: tables ``[input.NAME]``.

    Raises:
        diffsoil.io.InputError: all that is wrong, one line each.
    """
    return validated(path, InputsFile, read_toml(path)).input


def prior(case: Case, of: Input) -> Prior:
    """What is known of an input beforehand.

    Raises:
        diffsoil.io.InputError: it has no prior and is no parameter.
    """
    if of.prior is not None:
        return Prior(**of.prior.model_dump())
    declared = case.column().parameters().get(of.keys[0])
    if declared is None:
        raise InputError(f"{case.path}: input {of.keys[0]} is no parameter and needs a prior")
    return declared.prior


def value(case: Case, of: Input) -> float:
    """The value that an input has in a case.

    Raises:
        diffsoil.io.InputError: the case has no such number, or the keys have different ones.
    """
    parameters = case.column().values()
    values = [_number(case, key, parameters) for key in of.keys]
    if not all(math.isclose(v, values[0]) for v in values):
        raise InputError(f"{case.path}: {', '.join(of.keys)} have to be equal, not {values}")
    return values[0]


def with_values(case: Case, inputs: Mapping[str, Input], values: Mapping[str, float]) -> Case:
    """A case with other values of some inputs; comments of the file stay.

    Args:
        case: the case.
        inputs: by name.
        values: by name.

    Raises:
        diffsoil.io.InputError: a value that the case may not have.
    """
    parameters = case.column().values()
    document = tomlkit.parse(case.text)
    for name, new in values.items():
        of = inputs[name]
        gain = 0.0
        for key in of.keys:
            gain += new - _number(case, key, parameters)
            if key in parameters:
                document.setdefault("set", {})[key] = float(new)
            else:
                _put(document, key, float(new))
        there = {key: _number(case, key, parameters) for key in of.balance}
        for key, old in there.items():
            _put(document, key, old * (1.0 - gain / sum(there.values())))
    return read_case(case.path, tomlkit.dumps(document))


def _number(case: Case, key: str, parameters: Mapping[str, Any]) -> float:
    if key in parameters:
        return float(parameters[key])
    whole: Any = _tables(case.text)
    read: Any = case.file
    at, last = whole, key.split(".")[-1]
    for part in key.split("."):
        read = read.get(part) if isinstance(read, dict) else getattr(read, part, None)
        if isinstance(at, dict) and part == last and part not in at and read is not None:
            at = read  # the case leaves it out, and has it from a library or by default
            continue
        if not isinstance(at, dict) or part not in at:
            known = at if isinstance(at, dict) else ()
            near = nearest(key, parameters) if at is whole else nearest(part, known)
            raise InputError(f"{case.path}: input {key}: no {part!r}{near}")
        at = at[part]
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise InputError(f"{case.path}: input {key}: {at!r} is not a number")
    return float(at)


@lru_cache(maxsize=4)
def _tables(text: str) -> dict[str, Any]:
    return tomllib.loads(text)


def _put(document: tomlkit.TOMLDocument, key: str, new: float) -> None:
    *tables, last = key.split(".")
    reduce(operator.getitem, tables, document)[last] = new
