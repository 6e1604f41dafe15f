"""A prediction as a folder: report, pictures, scores, inputs, and where parameters are from."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from calibration import checks, plots
from calibration.observations import topsoil_cm
from calibration.quantities import QUANTITIES
from diffsoil.cases import Case
from diffsoil.cases.overview import overview
from diffsoil.output import case_pictures
from diffsoil.report import html
from diffsoil.report.pictures import save
from diffsoil.work.folder import Kind

TABLES = ("predictions", "scores", "parameters", "inputs")
PICTURES = ("predictions", "inputs")
KIND = Kind(
    "prediction",
    "a prediction",
    ("report.html", *(f"{t}.csv" for t in TABLES), *(f"{p}.png" for p in PICTURES)),
)

FEW = 8
"""Measurements from which on a coverage says something."""


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
    name = real["treatment"].where(real["treatment"] != "", real["site"])
    rows = [
        _score(str(treatment), str(variable), own)
        for (treatment, variable), own in real.groupby([name, real["variable"]], sort=False)
    ]
    if len(rows) > 1:
        rows += [
            _score("all", str(variable), own)
            for variable, own in real.groupby("variable", sort=False)
        ]
    return pd.DataFrame(rows)


def _score(treatment: str, variable: str, own: pd.DataFrame) -> dict[str, object]:
    error = (own["mean"] - own["value"]).to_numpy(float)

    def inside(low: str, high: str) -> float:
        if not checks.has_spread(own):
            return float("nan")
        return float(((own[low] <= own["value"]) & (own["value"] <= own[high])).mean())

    return {
        "treatment": treatment,
        "variable": variable,
        "unit": QUANTITIES[variable].unit,
        "n": len(own),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "bias": float(error.mean()),
        "coverage_50": inside("q25", "q75"),
        "coverage_90": inside("q05", "q95"),
        "log_density": float(own["log_density"].mean()),
    }


def conclusion(table: pd.DataFrame) -> str:
    """What a reader has to know first, from the numbers alone."""
    found = scores(table)
    real = table[table["estimated"] == 0]
    seen = int(real["fitted"].sum())
    words = [f"{len(real)} measurements are predicted"]
    words.append(
        "the fit has seen none of them" if not seen else f"the fit has seen {seen} of them"
    )
    text = "; ".join(words) + ". "
    if not checks.has_spread(real):
        return text + "The fit has one set of parameters: there are no intervals to judge."
    inside = int(checks.inside(real).sum())
    text += f"The 90 % intervals hold {inside} of them ({100 * inside / len(real):.0f} %). "
    unseen = real[~real["fitted"]]
    if seen and len(unseen):
        held = int(checks.inside(unseen).sum())
        text += f"Of the {len(unseen)} that the fit has not seen they hold {held}. "
    each = found[found["treatment"] != "all"]
    judged = each[each["n"] >= FEW]
    aside = judged[judged["coverage_90"] < 0.6]
    if len(aside):
        text += f"Do not believe them for {', '.join(dict.fromkeys(aside['treatment']))}. "
    elif len(real) < FEW:
        text += "That is too few to judge intervals by. "
    worst = max(each.to_dict("records"), key=lambda row: abs(row["bias"]) / max(row["rmse"], 1e-12))
    if abs(worst["bias"]) > 0.8 * worst["rmse"] and worst["n"] > 2:
        side = "above" if worst["bias"] > 0 else "below"
        text += (
            f"Predictions for {worst['treatment']} lie {side} what was measured nearly "
            f"throughout, by {abs(worst['bias']):.3g} {worst['unit']} in the mean."
        )
    return text.strip()


def write(
    case: Case, table: pd.DataFrame, parameters: pd.DataFrame, notes: Sequence[str], folder: Path
) -> None:
    """Write report, tables and pictures.

    Args:
        case: what was predicted.
        table: of predictions.
        parameters: where each is from.
        notes: where the case differs from that of the fit.
        folder: that is there.
    """
    found, looked = scores(table), overview(case)
    labels = {t.name: t.label or t.name for t in case.file.treatment}
    figures = {
        "predictions": plots.beside_observations(table, labels, topsoil_cm(table)),
        "inputs": case_pictures.inputs(looked),
    }
    written = {n: save(f, folder / f"{n}.png") for n, f in figures.items() if f is not None}
    tables = (table, found, parameters, looked.inputs)
    for name, of in zip(TABLES, tables, strict=True):
        of.to_csv(folder / f"{name}.csv", index=False)
    differences = [html.paragraph(note) for note in notes] or [html.paragraph("Nowhere.")]
    sections = [
        html.section("In short", html.paragraph(conclusion(table))),
        html.section(
            "Measured and predicted",
            html.figure(written["predictions"], "Bars: 50 and 90 % of the predicted "
                        "measurements, error of measurement included"),
            html.table(found),
            html.paragraph("rmse and bias (predicted less measured) are in the unit of the "
                           "quantity; coverage is the share of measurements inside of the "
                           "intervals, which ought to be 0.5 and 0.9; log_density is the mean "
                           "logarithm of the predictive density, the higher the better.", "note"),
        ),
        html.section("Carbon inputs, t C/ha/a", html.figure(written.get("inputs"),
                     "Carbon that enters in each year, before its fitted factor"),
                     html.table(looked.inputs)),
        html.section("Where each parameter is from", html.table(parameters)),
        html.section("Where the case differs from that of the fit", *differences),
        html.paragraph(f"{case.path}; diffsoil {metadata.version('diffsoil')}", "note"),
    ]  # fmt: skip
    page = html.page(f"{case.file.title}: prediction", sections)
    (folder / "report.html").write_text(page, encoding="utf-8")
