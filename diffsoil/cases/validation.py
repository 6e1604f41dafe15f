"""The content of a TOML file as a model: all that is wrong with it is named at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from diffsoil.io import InputError, nearest, shown

type Place = tuple[str | int, ...]
"""Keys and indices that lead to a value in the content of a file."""


def validated[M: BaseModel](path: str | Path, model: type[M], content: Any) -> M:
    """A model out of the content of a file.

    Args:
        path: file, named in errors.
        model: what the content has to be.
        content: as read.

    Raises:
        InputError: all that is wrong, one line each, with key and value.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = _lines(_by_place(error.errors(), content), model)
        raise InputError(f"{path}: {line}" for line in lines) from error
    except RecursionError:
        raise InputError(f"{path}: is nested too deeply") from None


def _by_place(errors: list[ErrorDetails], content: Any) -> dict[Place, list[ErrorDetails]]:
    """Errors by where they are; a value that is none of several types has one of each."""
    found: dict[Place, list[ErrorDetails]] = {}
    for error in errors:
        if error["type"] == "default_factory_not_called":
            continue  # what is left out follows from what is wrong
        place = _place(error["loc"], content, error["type"] == "missing")
        found.setdefault(place, []).append(error)
    return found


def _lines(errors: dict[Place, list[ErrorDetails]], model: type[BaseModel]) -> Iterator[str]:
    """A line for each place with something wrong."""
    missing = [place for place, of in errors.items() if of[0]["type"] == "missing"]
    misspelt = set()
    for place, of in errors.items():
        if of[0]["type"] == "extra_forbidden":
            # what it was meant to be is rather a key that is missing beside it
            beside = [str(other[-1]) for other in missing if other[:-1] == place[:-1]]
            near = nearest(str(place[-1]), beside)
            misspelt |= {(*place[:-1], name) for name in beside if repr(name) in near}
            near = near or nearest(str(place[-1]), _keys(model, place[:-1]))
            yield f"unknown key {_dotted(place)!r}{near}"
    for place, of in errors.items():
        kinds = {error["type"] for error in of}
        deeper = any(other[: len(place)] == place != other for other in errors)
        if "missing" in kinds and place not in misspelt:
            yield f"key {_dotted(place)!r} is missing"
        # where one of several types fits but for what is in it, that is what is wrong
        elif not (
            kinds & {"missing", "extra_forbidden"}
            or (deeper and all(kind.endswith("_type") for kind in kinds))
        ):
            messages = dict.fromkeys(error["msg"].removeprefix("Value error, ") for error in of)
            value = of[0]["input"]
            got = "" if isinstance(value, dict | list) else f" (got {shown(value)})"
            if isinstance(value, dict) and all(kind.endswith("_type") for kind in kinds):
                got = " (got a table; a name with points is written in quotation marks)"
            yield f"{_dotted(place)}: {', or '.join(messages)}{got}".removeprefix(": ")


def _dotted(place: Place) -> str:
    return ".".join(str(part) for part in place)


def _place(loc: Place, content: Any, missing: bool) -> Place:
    """Keys and indices that lead to an error, without what names a choice of types."""
    place: list[str | int] = []
    for number, part in enumerate(loc):
        if isinstance(content, list) and isinstance(part, int):
            inside = part < len(content)
        else:
            inside = isinstance(content, dict) and part in content
        if inside:
            content = content[part]
        if inside or (missing and number == len(loc) - 1):
            place.append(part)
    return tuple(place)


def _keys(model: type[BaseModel], place: Place) -> list[str]:
    """Keys that the table at a place may have."""
    for part in place:
        if part in model.model_fields:
            inner = next(_models(model.model_fields[str(part)].annotation), None)
            model = inner or model
    return [field.alias or name for name, field in model.model_fields.items()]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
