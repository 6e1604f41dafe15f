"""The text of a new case, from its template."""

from __future__ import annotations

from typing import Any

import jinja2
import tomlkit

from diffsoil.starter.answers import Answers
from diffsoil.starter.own_tables import SITE


def case_text(title: str, answers: Answers, **more: Any) -> str:
    """The text of a case; ``more`` takes the place of what the example has."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("diffsoil.starter", "."),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,  # TOML, whose texts the filter quotes
    )
    environment.filters["toml"] = lambda text: tomlkit.string(text).as_string()
    environment.filters["key"] = lambda text: tomlkit.key(text).as_string()
    values: dict[str, Any] = {
        "title": answers.title or title,
        "native": answers.native,
        "crop": answers.crop,
        "since": answers.since,
        "first": answers.first,
        "last": answers.last,
        "passive_pool": True,
        "inert": False,
        "whole_soil": answers.column == "whole_soil",
        "start_year": answers.since - 6000,
        "site": SITE,
        "treatments": [],
        "old_carbon": 2.5,
        "native_more": [],
        "old_more": [],
        "crop_more": [],
        "other_uses": {},
        "examples": [],
        "weather": False,
        "management": False,
        "observations": False,
    }
    return environment.get_template("case.toml.j2").render(values | more)
