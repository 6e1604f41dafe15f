"""The content of a TOML file as a model: all that is wrong with it is named at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from diffsoil.io import InputError, nearest, shown


def validated[M: BaseModel](path: str | Path, model: type[M], content: Any, table: str = "") -> M:
    """A model out of the content of a file.

    Args:
        path: file, named in errors.
        model: what the content has to be.
        content: as read.
        table: table of the file that the content is; empty for the whole file.

    Raises:
        InputError: all that is wrong, one line each, with key and value.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        within = f"{table}." if table else ""
        lines = _line(error.errors(), model, content, within)
        raise InputError(f"{path}: {line}" for line in lines) from error
    except RecursionError:
        raise InputError(f"{path}: {table or 'the file'} is nested too deeply") from None


type Place = tuple[str | int, ...]


def _line(
    errors: list[ErrorDetails], model: type[BaseModel], content: Any, within: str
) -> Iterator[str]:
    """A line for each place with something wrong."""
    places = [_place(error["loc"], content, error["type"] == "missing") for error in errors]
    of_place: dict[Place, list[ErrorDetails]] = {}
    for place, error in zip(places, errors, strict=True):
        of_place.setdefault(place, []).append(error)
    missing = [place for place, of in of_place.items() if of[0]["type"] == "missing"]
    suggested = set()
    for place, of in of_place.items():
        if of[0]["type"] == "extra_forbidden":
            siblings = [str(p[-1]) for p in missing if p[:-1] == place[:-1]]
            near = nearest(str(place[-1]), siblings)
            suggested |= {(*place[:-1], name) for name in siblings if repr(name) in near}
            near = near or nearest(str(place[-1]), _keys(model, place[:-1]))
            of_place[place] = [of[0] | {"msg": f"unknown key {_text(place, within)!r}{near}"}]
    for place, of in of_place.items():
        kinds = {error["type"] for error in of}
        name = _text(place, within)
        deeper = any(other[: len(place)] == place != other for other in of_place)
        if place in suggested or (deeper and all(kind.endswith("_type") for kind in kinds)):
            continue  # the line of another key says it
        if "extra_forbidden" in kinds:
            yield of[0]["msg"]
        elif "missing" in kinds:
            yield f"key {name!r} is missing"
        else:
            messages = dict.fromkeys(error["msg"].removeprefix("Value error, ") for error in of)
            value = of[0]["input"]
            got = "" if isinstance(value, dict | list) else f" (got {shown(value)})"
            yield f"{name}: {', or '.join(messages)}{got}".removeprefix(": ")


def _text(place: Place, within: str) -> str:
    return (within + ".".join(str(part) for part in place)).removesuffix(".")


def _place(loc: Place, content: Any, missing: bool) -> Place:
    """Keys and indices that lead to an error, without what names a choice of types."""
    place: list[str | int] = []
    for number, part in enumerate(loc):
        inside = (
            part in content
            if isinstance(content, dict)
            else (
                isinstance(content, list | tuple) and isinstance(part, int) and part < len(content)
            )
        )
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
    return list(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
