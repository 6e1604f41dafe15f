"""What the report of a fit says first: what was fitted, does it fit, what is known, what not.

Each sentence is made of the numbers that it speaks of, so that no two of them contradict each
other.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from calibration import checks, treatments
from calibration.methods.method import Method
from calibration.observations import treatment_of
from calibration.quantities import QUANTITIES
from calibration.units import in_unit

SETTLED = 0.5
"""Contraction from which on the data are said to settle a parameter."""

MOST_NAMED = 5
"""Failed checks of one kind that are named."""

OBSERVATION = "observation."
"""What parameters of the errors begin with."""


def of_model(summary: pd.DataFrame) -> pd.DataFrame:
    """The parameters that are not those of the errors."""
    return summary[[not str(name).startswith(OBSERVATION) for name in summary.index]]


def fitted(table: pd.DataFrame, summary: pd.DataFrame, method: Method) -> str:
    """What was fitted to what, and how."""
    used, out = table[table["fitted"]], table[checks.kept_out(table)]
    model = len(of_model(summary))
    said = f"By the method {method.name} {_count(model, 'parameter')} of the model"
    if len(summary) > model:
        said += f" and {len(summary) - model} of the errors"
    said += f" were fitted to {_count(len(used), 'measurement')}"
    if len(used):
        what = [QUANTITIES[v].name for v in used["variable"]]
        places = treatment_of(used).nunique()
        said += (
            f" ({checks.listed(dict.fromkeys(what))}; {_years(used)}; "
            f"{_count(places, 'treatment')})"
        )
    said += f"; {len(out)} more were kept out and predicted" if len(out) else "; none was kept out"
    estimates = int((table["estimated"] == 1).sum())
    if estimates:
        said += f", and {_count(estimates, 'estimate')} of the source not used"
    return f"{said}."


def _count(number: int, of: str) -> str:
    return f"{number} {of}" if number == 1 else f"{number} {of}s"


def _years(table: pd.DataFrame) -> str:
    first, last = int(table["year"].min()), int(table["year"].max())
    return str(first) if first == last else f"{first}–{last}"


def fits(table: pd.DataFrame, sides: pd.DataFrame, draws: int) -> str:
    """Whether the predictions meet what was measured.

    Args:
        table: observations with their predictive distribution.
        sides: from :func:`calibration.treatments.sides`.
        draws: of the posterior.
    """
    said = []
    for of, chosen in (("fitted", table["fitted"]), ("kept-out", checks.kept_out(table))):
        part = table[chosen]
        if part.empty:
            continue
        text = f"{of.capitalize()} values are missed by {_misses(part)} (root mean square)"
        if draws > 1 and checks.has_spread(part):
            held = int(checks.inside(part).sum())
            text += (
                f", and the 90 % bands hold {held} of {len(part)} ({100 * held / len(part):.0f} %)"
            )
        said.append(f"{text}.")
    if draws == 1:
        said.append("One set of parameters has no bands.")
    said += treatments.told(sides)
    return " ".join(said) or "Nothing was measured, so nothing says whether it fits."


def _misses(part: pd.DataFrame) -> str:
    """Root mean square of measured less predicted, by quantity."""
    said = []
    for variable, own in part.groupby("variable", sort=False):
        error = np.sqrt(((own["value"] - own["mean"]) ** 2).mean())
        said.append(in_unit(f"{error:.3g}", QUANTITIES[str(variable)].unit))
    return " and ".join(said)


def known(summary: pd.DataFrame, directions: pd.DataFrame | None) -> str:
    """What the data settle, of single parameters and of combinations of them."""
    model = of_model(summary)
    spread = model["contraction"].notna()
    said = []
    if spread.any():
        settled = [str(n) for n in model.index[model["contraction"] >= SETTLED]]
        names = f": {checks.listed(settled)}" if settled else ""
        said.append(
            f"The data settle {len(settled)} of {_count(len(model), 'parameter')} of the model "
            f"(contraction from {SETTLED:g} on){names}."
        )
    said.append(checks.learnt(model))
    if directions is not None and len(directions):
        told = int((directions["eigenvalue"] > 1.0).sum())
        said.append(
            f"They tell {told} of {len(directions)} directions, which are combinations of "
            "parameters, better than the priors do."
        )
    return " ".join(said)


def doubts(found: pd.DataFrame) -> Iterator[str]:
    """Every failed check with what it means: what not to believe.

    Of many that differ in what they are of (``residuals on one side, TREATMENT``) only the first.
    """
    failed = found[~found["passed"]]
    kind = failed["check"].map(lambda name: name.partition(", ")[0])
    for name, rows in failed.groupby(kind, sort=False):
        for _, row in rows.head(MOST_NAMED).iterrows():
            yield f"{row['check']}: {row['meaning']}"
        if (rest := len(rows) - MOST_NAMED) > 0:
            yield f"{name}: {_count(rest, 'more check')} of this failed, see Checks."


def verdict(found: pd.DataFrame) -> str:
    """How many checks failed, passed, and could not be made."""
    failed = int((~found["passed"]).sum())
    unknown = int((found["value"].isna() & found["passed"]).sum())
    made = len(found) - unknown
    said = f"{failed} of {_count(made, 'check')} failed" if failed else (
        f"None of {_count(made, 'check')} failed" if made else "No check could be made"
    )  # fmt: skip
    if unknown and made:
        said += f"; {unknown} more could not be made"
    return f"{said}."
