"""A prediction as a folder: report, pictures, scores, inputs, and where parameters are from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from calibration import checks, depth, inputs, plots, success, treatments
from calibration.observations import topsoil_cm, treatment_of
from calibration.quantities import QUANTITIES
from calibration.scores import score
from diffsoil.cases import Case
from diffsoil.cases.overview import overview
from diffsoil.output import case_pictures
from diffsoil.report import folder as pages
from diffsoil.report import html
from diffsoil.report.folder import Pictures

TABLES = ("predictions", "scores", "success", "sides", "parameters", "inputs", "profile")
PICTURES = ("predictions", "inputs", "profile")
KIND = pages.kind("prediction", "a prediction", TABLES, PICTURES)

ALL = "all"
"""Stands for all treatments together."""

SHOWN = ("rmse", "bias", "coverage_50", "coverage_90")
"""Scores in the table."""

FEW = 8
"""Measurements from which on a coverage says something."""

LEAST_COVERAGE = 0.6
"""Share of measurements inside of 90 % intervals, below which those are not to be believed."""


class Predicted(NamedTuple):
    """A prediction of a case by a fit.

    Attributes:
        table: the observations with their predictive distribution.
        sides: residuals by treatment, see :func:`calibration.treatments.sides`.
        profile: carbon by depth and pool, see :func:`calibration.depth.table`.
        parameters: where each is from.
        notes: where the case differs from that of the fit.
    """

    table: pd.DataFrame
    sides: pd.DataFrame
    profile: pd.DataFrame
    parameters: pd.DataFrame
    notes: Sequence[str]


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """How well measurements were predicted: a row for each treatment and quantity, and for all.

    Columns: ``treatment``, ``variable``, ``unit``, ``n``, ``rmse`` and ``bias`` (predicted less
    measured, in the unit), ``coverage_50`` and ``coverage_90`` (share of measurements inside of
    the intervals), ``log_density`` (mean over measurements of the logarithm of the predictive
    density). Estimates and copies in the table do not count.

    Args:
        table: of predictions, with ``log_density`` of each row.
    """
    real = table[table["estimated"] == 0]
    name = treatment_of(real)
    rows = [
        _score(str(treatment), str(variable), own)
        for (treatment, variable), own in real.groupby([name, real["variable"]], sort=False)
    ]
    if len(rows) > 1:
        rows += [
            _score(ALL, str(variable), own)
            for variable, own in real.groupby("variable", sort=False)
        ]
    return pd.DataFrame(rows)


def _score(treatment: str, variable: str, own: pd.DataFrame) -> dict[str, object]:
    found = score(own)
    return {
        "treatment": treatment,
        "variable": variable,
        "unit": QUANTITIES[variable].unit,
        "n": len(own),
        **{name: found[name] for name in SHOWN},
        "log_density": float(own["log_density"].mean()),
    }


def conclusion(of: Predicted, found: pd.DataFrame) -> str:
    """What a reader has to know first, from the numbers alone.

    Args:
        of: what was predicted.
        found: its :func:`scores`.
    """
    real = of.table[of.table["estimated"] == 0]
    if real.empty:
        return "There is no measurement to compare with: all values are estimates of the source."
    seen = int(real["fitted"].sum())
    none = "the fit has seen none of them" if not seen else f"the fit has seen {seen} of them"
    said = [f"{len(real)} measurements are predicted; {none}."]
    if not checks.has_spread(real):
        said.append("The fit has one set of parameters: there are no intervals to judge.")
    else:
        said += _intervals(real, found)
    said += treatments.told(of.sides)
    return " ".join(said)


def _intervals(real: pd.DataFrame, found: pd.DataFrame) -> Iterator[str]:
    """How many measurements the intervals hold, and where they are not to be believed."""
    inside = int(checks.inside(real).sum())
    share = f"{100 * inside / len(real):.0f} %"
    yield f"The 90 % intervals hold {inside} of them ({share})."
    if inside < checks.least_coverage(len(real)) * len(real):
        yield "That is fewer than chance allows: they claim more than the fit knows."
    unseen = real[~real["fitted"]]
    if 0 < len(unseen) < len(real):
        held = int(checks.inside(unseen).sum())
        yield f"Of the {len(unseen)} that the fit has not seen they hold {held}."
    each = found[(found["treatment"] != ALL) & (found["n"] >= FEW)]
    aside = each[each["coverage_90"] < LEAST_COVERAGE]
    if len(aside):
        yield f"Do not believe them for {checks.listed(dict.fromkeys(aside['treatment']))}."
    elif len(real) < FEW:
        yield "That is too few to judge intervals by."


def write(case: Case, of: Predicted, folder: Path) -> str:
    """Write report, tables and pictures, and give the conclusion.

    Args:
        case: what was predicted.
        of: what came of it.
        folder: that is there.
    """
    found, looked = scores(of.table), overview(case)
    indicators = success.judged(case, of.table)
    labels, text = plots.labels_of(case), conclusion(of, found)
    if len(indicators):
        text += " " + _reached(indicators)
    figures = {
        "predictions": plots.beside_observations(of.table, labels, topsoil_cm(of.table)),
        "inputs": case_pictures.inputs(looked),
        "profile": depth.figure(of.profile, labels),
    }
    tables = (
        of.table, found, indicators, of.sides, of.parameters, looked.inputs, of.profile
    )  # fmt: skip
    differences = html.listing(of.notes) or html.paragraph("Nowhere.")

    def sections(pictures: Pictures) -> Iterator[str]:
        yield html.section("In short", html.paragraph(text))
        yield _compared(of.table, found, pictures)
        if len(indicators):
            yield html.section("Success", html.table(indicators.astype({"passed": str})))
        yield html.section("Residuals by treatment", treatments.page_table(of.sides))
        yield inputs.section(looked, pictures)
        yield depth.section(case.end_year, pictures["profile"])
        yield html.section("Where each parameter is from", html.table(of.parameters))
        yield html.section("Where the case differs from that of the fit", differences)
        yield html.paragraph(str(case.path), "note")

    by_name = dict(zip(TABLES, tables, strict=True))
    pages.write(folder, f"{case.file.title}: prediction", by_name, figures, sections)
    return text


def _reached(indicators: pd.DataFrame) -> str:
    """How many of the indicators of the case are met."""
    known = indicators[indicators["value"].notna()]
    failed = known.loc[~known["passed"], "check"].str.removeprefix("success, ")
    met = f"{len(known) - len(failed)} of {len(known)}"
    said = f"Success indicators of the case that are met: {met}"
    return f"{said}; not met: {checks.listed(failed)}." if len(failed) else f"{said}."


def _compared(table: pd.DataFrame, found: pd.DataFrame, pictures: Pictures) -> str:
    bars = "50 and 90 % of the predicted measurements, their error included"
    return html.section(
        "Measured and predicted",
        html.figure(
            pictures["predictions"],
            f"Bars: {bars}." if checks.has_spread(table) else "One set of parameters has no bars.",
        ),
        html.table(found.astype({"n": str})),
        html.paragraph(
            "rmse and bias (predicted less measured) are in the unit of the quantity; coverage is "
            "the share of measurements inside of the intervals, which ought to be 0.5 and 0.9; "
            "log_density is the mean logarithm of the predictive density, the higher the better.",
            "note",
        ),
    )
