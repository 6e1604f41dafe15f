"""The study in miniature: the same runs of a shallow soil in five centuries."""

from __future__ import annotations

import dataclasses
from functools import cache

from diffsoil.cases import read_case
from diffsoil.studies.vandermeij2026.scenarios import Study, load_study

UNTIL = [200, 300, 400]
RECOVERY_UNTIL = 500


@cache
def tiny_study() -> Study:
    """Ten layers, and phases of 200, 100, 100 and 100 years."""
    study = load_study("loess_study")
    text = study.base.text.replace("layers = 40", "layers = 10").replace(
        "until = 8000", "until = 200"
    )
    description = study.description.model_copy(
        update={"until": UNTIL, "recovery_until": RECOVERY_UNTIL}
    )
    return dataclasses.replace(
        study, description=description, base=read_case(study.base.path, text)
    )
