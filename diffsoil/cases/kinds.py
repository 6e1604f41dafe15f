"""Kinds of values in the files of a user: names, years, shares, choices, and tables of them."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
)
from pydantic_core import core_schema

from diffsoil.registry import Registry


@dataclasses.dataclass(frozen=True)
class ChoiceOf:
    """A text that names a choice of a registry."""

    registry: Registry[Any]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.registry.known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.registry)}


@dataclasses.dataclass(frozen=True)
class OrFile:
    """A list that may stand in a file instead, which is read before the case is judged."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [handler(schema), {"type": "string", "minLength": 1}]}


Percent = Annotated[float, Field(ge=0, le=100)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0, le=100)]
Erosion = Annotated[float, Field(ge=0, le=100)]
Monthly = Annotated[list[Fraction], Field(min_length=12, max_length=12)]
Year = Annotated[int, Field(ge=-60000, le=60000)]
FileName = Annotated[str, Field(min_length=1)]
UpperDepth = Annotated[float, Field(ge=0, le=1000)]
LowerDepth = Annotated[float, Field(gt=0, le=1000)]

NAME = re.compile(r"\w([\w .+-]{0,62}[\w+-])?")


def named(text: str) -> str:
    """A name that may become part of the name of a file, a variable or a parameter.

    Raises:
        ValueError: it may not; the text says what a name is.
    """
    if not NAME.fullmatch(text):
        raise ValueError(
            "a name begins with a letter or digit and goes on with letters, digits, '_', '-', "
            "'+', '.' and spaces, at most 64; a label may be any text"
        )
    return text


def whole(value: object) -> object:
    """A value that may be a whole number, and is no ``true`` or 1.0 instead."""
    if isinstance(value, bool | float):
        raise ValueError("Input should be a whole number")
    return value


Name = Annotated[str, AfterValidator(named)]
STEM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def file_stem(text: str) -> str:
    """A name that may be that of a file, anywhere.

    Raises:
        ValueError: it may not; the text says what such a name is.
    """
    if not STEM.fullmatch(text):
        raise ValueError(
            "the name of a case begins with a letter or digit and goes on with letters (a to z), "
            "digits, '_', '-' and '.', at most 64; its title may be any text"
        )
    return text


FileStem = Annotated[str, AfterValidator(file_stem)]


class Strict(BaseModel):
    """A table of a file; a key that it does not know is an error, and so is text for a number.

    What stands below a field describes it, with its unit; its range is added from its type.
    """

    model_config = ConfigDict(
        extra="forbid", allow_inf_nan=False, strict=True, use_attribute_docstrings=True
    )


BySite = str | dict[str, str]
"""A name for all sites, or one for each."""


def at_site(given: BySite, site: str) -> str:
    """The name that holds for a site."""
    return given if isinstance(given, str) else given[site]


def names_of(given: BySite) -> tuple[str, ...]:
    """All names that are given, each once."""
    return (given,) if isinstance(given, str) else tuple(dict.fromkeys(given.values()))
