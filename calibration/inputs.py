"""Carbon inputs of a case on a page: by treatment and stretch of land use, t C/ha/a."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from diffsoil.cases.overview import Overview
from diffsoil.report import html

FACTORS = ("vegetation.input_factor.", "manure.factor")
"""What parameters that multiply inputs begin with."""


def table(found: Overview) -> pd.DataFrame:
    """A row for each stretch of land use: years, slow step, where, and carbon inputs."""
    steps = found.time_line.set_index(["from", "site"])
    sites = {t.name: t.site for t in found.case.file.treatment}
    rows = []
    for row in found.inputs.to_dict("records"):
        begin, of = row["from"], row["of"]
        key = (begin, of)
        phase = steps.loc[key] if key in steps.index else None
        rows.append(
            {
                "years": f"{begin} to {row['until']}",
                "step": 1 if phase is None else int(phase["step_years"]),
                "site or treatment": of if phase is not None else f"{of} ({sites.get(of, of)})",
                "land use": row["land_use"],
                "plants": _range(row, "plants"),
                "manure": _range(row, "manure"),
            }
        )
    return pd.DataFrame(rows)


def _range(row: dict, kind: str) -> str:
    mean, least, most = row[kind], row[f"{kind}_least"], row[f"{kind}_most"]
    if most == 0:
        return "-"
    return f"{mean:.2f}" if most - least < 5e-3 else f"{mean:.2f} ({least:.2f} to {most:.2f})"


def section(
    found: Overview, pictures: Mapping[str, Path], factors: pd.DataFrame | None = None
) -> str:
    """What enters each treatment, in a picture by year and in a table by stretch of land use.

    Args:
        found: of the case.
        pictures: one of them is ``inputs``, where there is an experiment.
        factors: parameters by name with columns ``mean`` and ``sd``, of which those that multiply
            inputs are listed.
    """
    own = pd.DataFrame() if factors is None else factors[_multiplies(factors.index)]
    said = "Carbon as the case has it, mean of the years (least to most)"
    said += ", before it is multiplied by the factors below." if len(own) else "."
    parts = [
        html.paragraph(said),
        html.figure(pictures.get("inputs"), "Carbon that enters in each year, t C/ha."),
        html.table(table(found)),
    ]
    if len(own):
        shown = pd.DataFrame(
            {"factor": own.index, "mean": own["mean"].to_numpy(), "sd": own["sd"].to_numpy()}
        )
        parts += [html.heading("What the inputs are multiplied by"), html.table(shown)]
    return html.section("Carbon inputs, t C/ha/a", *parts)


def _multiplies(names: pd.Index) -> list[bool]:
    return [str(name).startswith(FACTORS) for name in names]
