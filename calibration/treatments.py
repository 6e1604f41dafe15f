"""Residuals of each treatment: how many lie on which side, and how often errors alone do that.

A series pools its treatments, so one of them may lie aside all the time while the others make up
for it. Errors of a treatment need not be independent: the case may say that they remember the year
before, and what was not fitted moves together with the parameters. Draws of the errors have both.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import norm

from calibration.observations import treatment_of
from calibration.quantities import QUANTITIES
from calibration.units import in_unit
from diffsoil.report import html

FEWEST = 3
"""Measurements from which on a treatment has a side."""

FEWEST_DRAWS = 20
"""Draws that tell how errors go together."""

RARE = 0.01
"""Probability below which errors alone are no explanation."""

MOST_TOLD = 5
"""Treatments that are named where a few sentences have to do."""

TRIALS = 4000
"""Random residuals, from which the probability of a side is counted."""

COLUMNS = ["treatment", "variable", "unit", "fitted", "n", "above", "bias", "probability"]


def sides(table: pd.DataFrame, errors: Float[np.ndarray, "draw obs"]) -> pd.DataFrame:
    """On which side of the prediction the measurements of each treatment lie.

    Args:
        table: observations with their predictive distribution.
        errors: draws of how far measurements lie from their predictions, see
            :func:`calibration.prediction.errors`.

    Returns:
        A row for each treatment and variable, fitted and kept-out measurements apart. ``above``
        counts measurements above the predicted median, ``bias`` is the mean of measured less
        predicted in the unit. ``probability`` is that errors, as correlated as the draws
        are, bring so many on one side or so large a mean of standardised residuals; NaN where
        measurements or draws are too few to say.
    """
    real = (table["estimated"] == 0).to_numpy()
    rows = []
    keys = [treatment_of(table), table["variable"], table["fitted"]]
    place = pd.Series(np.arange(len(table)), index=table.index)[real]
    for (name, variable, fitted), own in place.groupby([k[real] for k in keys], sort=False):
        part = table.iloc[own.to_numpy()]
        above = int((part["value"] > part["q50"]).sum())
        known = len(part) >= FEWEST and len(errors) >= FEWEST_DRAWS
        rows.append(
            {
                "treatment": str(name),
                "variable": str(variable),
                "unit": QUANTITIES[str(variable)].unit,
                "fitted": bool(fitted),
                "n": len(part),
                "above": above,
                "bias": float((part["value"] - part["mean"]).mean()),
                "probability": _probability(part, above, errors[:, own]) if known else np.nan,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def _probability(part: pd.DataFrame, above: int, errors: Float[np.ndarray, "draw some"]) -> float:
    """Twice the smaller of the probabilities of the side and of the mean, for two are asked for."""
    count = len(part)
    scale = np.maximum(errors.std(axis=0), 1e-300)
    together = (errors - errors.mean(axis=0)) / scale
    residual = (part["value"] - part["mean"]).to_numpy(float) / scale
    width = np.sqrt(max(np.mean(together.mean(axis=1) ** 2), 1e-12))
    of_mean = 2.0 * norm.sf(abs(residual.mean()) / width)
    mixed = np.random.default_rng(0).standard_normal((TRIALS, len(errors))) @ together
    counted = (mixed > 0).sum(axis=1)
    most = max(above, count - above)
    of_side = (1 + (np.maximum(counted, count - counted) >= most).sum()) / (1 + TRIALS)
    return float(min(1.0, 2.0 * min(of_mean, of_side)))


def side(row: pd.Series) -> str:
    """How many measurements of a treatment lie where, such as ``9 of 9 above``."""
    below = row["n"] - row["above"]
    more, where = (row["above"], "above") if row["above"] >= below else (below, "below")
    return f"{more} of {row['n']} {where}"


def meaning(row: pd.Series) -> str:
    """What a row of :func:`sides` says, in words without a full stop."""
    said = (
        f"{side(row)} the predicted median, measured less predicted "
        f"{in_unit(format(row['bias'], '+.3g'), row['unit'])} in the mean"
    )
    if np.isnan(row["probability"]):
        return f"{said}; too few measurements or draws to say whether errors do that"
    cause = "errors alone do" if row["fitted"] else "errors and the spread of the parameters do"
    often = f"{row['probability']:.2g}" if row["probability"] >= 0.001 else "less than 0.001"
    if row["probability"] >= RARE:
        return f"{said}; {cause} that with a probability of {often}"
    return (
        f"{said}; {cause} that with a probability of {often}: something that acts on this "
        "treatment is missing or wrong, or its errors go together more than the fit takes them to"
    )


def told(found: pd.DataFrame) -> list[str]:
    """Sentences on treatments that lie on one side alone, or more than errors explain.

    Of many only the least probable are named.
    """
    alone = (found["n"] >= FEWEST) & ((found["above"] == 0) | (found["above"] == found["n"]))
    rows = found[alone | (found["probability"] < RARE)]
    first = rows.sort_values("probability", kind="stable").head(MOST_TOLD).sort_index()
    said = [f"{row['treatment']}: {meaning(row)}." for _, row in first.iterrows()]
    rest = rows.drop(first.index)
    if len(rest):
        above = int((2 * rest["above"] > rest["n"]).sum())
        said.append(
            f"{len(rest)} more of {len(found)} treatments and quantities lie on one side alone, or "
            f"more than errors explain, {above} of them above."
        )
    return said


def page_table(found: pd.DataFrame) -> str:
    """:func:`sides` as a table of a page, what lies aside marked, and what it means."""
    shown = pd.DataFrame(
        {
            "treatment": found["treatment"],
            "quantity": [QUANTITIES[v].title for v in found["variable"]],
            "measurements": np.where(found["fitted"], "fitted", "kept out"),
            "above or below": [side(row) for _, row in found.iterrows()],
            "measured less predicted": found["bias"].astype(float),
            "probability": found["probability"].astype(float),
        }
    )
    kinds = np.where(found["probability"] < RARE, "failed", "")
    kinds = np.where(found["probability"].isna(), "unchecked", kinds)
    return html.table(shown, [str(kind) for kind in kinds]) + html.paragraph(
        "Probability: of so many measurements on one side of the predicted median, or so large a "
        "mean of residuals in units of their sd, by errors alone, and for what was kept out by the "
        "spread of the parameters besides; errors go together as the fit takes them to. Marked: "
        f"below {RARE:g}. A dash: fewer than {FEWEST} measurements, or fewer than {FEWEST_DRAWS} "
        "draws.",
        "note",
    )
