"""The JSON schema of a file of a user, for editors and for reference, generated from the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(model: type[BaseModel]) -> dict[str, Any]:
    """JSON schema of a file; the description of each key ends with its range and its default.

    Args:
        model: what the file is read as.
    """
    schema = model.model_json_schema()
    for _, key in keys(schema):
        _without_null(key)
        key.pop("title", None)  # says what the name of the key says
        ends = [text for text in (_range(key), _default(key)) if text]
        key["description"] = " ".join(" ".join([key.get("description", ""), *ends]).split())
    return {"$schema": DRAFT, **schema}


def _without_null(key: dict[str, Any]) -> None:
    """Take out null and nan, which stand for a key that is left out."""
    if key.get("default", 0) in (None, "") or key.get("default") != key.get("default"):
        del key["default"]
    choices = [of for of in key.pop("anyOf", []) if of != {"type": "null"}]
    if len(choices) == 1:
        key |= choices[0] | {name: key[name] for name in ("description",) if name in key}
    elif choices:
        key["anyOf"] = choices


def is_schema(path: Path) -> bool:
    """Whether a file is a JSON schema, which a new one may replace."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["$schema"] == DRAFT
    except (OSError, ValueError, LookupError, TypeError):
        return False


def keys(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The keys of all tables of a schema: ``Table.key`` and what is said of it."""
    tables = {schema["title"]: schema, **schema.get("$defs", {})}
    for table, of in tables.items():
        for name, key in of.get("properties", {}).items():
            yield f"{table}.{name}", key


def _range(key: dict[str, Any]) -> str:
    """The range of a number, or of the numbers of a list."""
    for of in (key, *key.get("anyOf", [])):
        values = of.get("items", of)
        upper = values.get("maximum")
        lower = values.get("minimum", values.get("exclusiveMinimum"))
        if lower is None or isinstance(values.get("$ref"), str):
            continue
        more = "above " if "exclusiveMinimum" in values else ""
        if upper is None:
            return f"Range: {more}{lower:g}{'' if more else ' and more'}."
        return f"Range: {more}{lower:g} to {upper:g}."
    return ""


def _default(key: dict[str, Any]) -> str:
    """The value that holds where a key is left out, if it is one value."""
    value = key.get("default")
    if value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return f"Default: {str(value).lower()}."
    return f"Default: {value:g}." if isinstance(value, float) else f"Default: {value}."
