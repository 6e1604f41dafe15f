"""What lies beside the runs of a suite: fitted inputs, and what the study could not ask.

Each table is optional. What is said of it follows from its numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from diffsoil.report import html
from diffsoil.report.html import heading, paragraph, section
from diffsoil.studies.vandermeij2026 import analysis
from diffsoil.studies.vandermeij2026.findings import Results, g, listed
from diffsoil.tables import Column, read_table

PINNED, HARDLY = 0.3, 0.8
"""Posterior over prior spread below which results pin a number down, and above which they hardly
say anything of it; as the fit has them."""

PARETO_K = 0.7
"""Shape of importance weights above which they cannot be trusted (Vehtari et al. 2024)."""

CHOICES = {
    "step_5": "slow step of 5 years",
    "step_2": "slow step of 2 years",
    "continuous": "erosion all the time instead of events",
    "layers_100_mm": "layers of 100 mm",
    "layers_25_mm": "layers of 25 mm",
    "kinetic_iron": "iron released without a cap",
    "soft_minimum": "smooth minimum of the mechanisms",
}
"""Other choices of the model, which are columns of a table, in words."""

YES, NO = ("True", "true", "1"), ("False", "false", "0")
YES_OR_NO = Column("str", choices=YES + NO)
VERDICTS = ("pinned", "partly", "hardly")
"""Whether results settle an input."""


# Fitted inputs.


def read_inputs(path: Path) -> pd.DataFrame | None:
    """What a fit says of the inputs; None if there is no file."""
    if not path.exists():
        return None
    columns = {
        **dict.fromkeys(("input", "what", "partner"), Column("str")),
        **dict.fromkeys(("value", "prior", "lower", "upper"), Column()),
        **dict.fromkeys(("posterior_over_prior", "correlation"), Column()),
        **dict.fromkeys(("prior_sd", "posterior_sd"), Column(required=False)),
        **dict.fromkeys(("keys", "logarithm"), Column("str", required=False)),
        "at_bound": YES_OR_NO,
        "verdict": Column("str", choices=VERDICTS),
    }
    table = read_table(path, columns)
    return table.assign(at_bound=table["at_bound"].isin(YES))


def fitted_inputs(table: pd.DataFrame) -> str:
    """Section on the inputs that the study does not give, from :func:`read_inputs`."""
    what = dict(zip(table["input"], table["what"], strict=True))
    pairs = zip(table["partner"], table["correlation"], strict=True)
    shown = pd.DataFrame(
        {
            "what": table["what"],
            "value": table["value"],
            "prior": table["prior"],
            "range": _spans(table["lower"], table["upper"]),
            "posterior over prior spread": table["posterior_over_prior"],
            "partner (correlation)": [f"{what.get(name, name)} ({g(r)})" for name, r in pairs],
            "verdict": table["verdict"],
        }
    )
    counts = [f"{(table['verdict'] == verdict).sum()} {verdict}" for verdict in VERDICTS]
    at_bound = table.loc[table["at_bound"], "what"].tolist()
    ends = f"at a bound: {listed(at_bound)}" if at_bound else "none is at a bound"
    told = (
        f"{len(table)} inputs that the study does not give were fitted to its results, with one "
        f"value for all runs: the results leave {listed(counts)} (pinned: the posterior is less "
        f"than {PINNED} times as wide as the prior; hardly: more than {HARDLY} times); {ends}."
    )
    return section(
        "What the study does not tell, fitted", paragraph(told), html.table(shown, write=g)
    )


def _spans(lower: pd.Series, upper: pd.Series) -> list[str]:
    return [f"{g(low)} to {g(high)}" for low, high in zip(lower, upper, strict=True)]


def _words(column: str) -> str:
    return column.replace("_", " ")


# What the study could not ask.


def answers(folder: Path, results: Results) -> str:
    """Section on what the study could not ask, of those answers that are there."""
    parts = []
    for name, (columns, tell) in ANSWERS.items():
        if (folder / name).exists():
            parts.append(tell(read_table(folder / name, columns), results))
    picture = folder / "protection.png"
    if picture.exists():
        caption = "Posterior of the strengths of protection (blue), prior and value of the study."
        parts.append(html.figure(picture, caption))
    return section("Beyond the study", *parts) if parts else ""


def _choices(table: pd.DataFrame, results: Results) -> str:
    """What other choices of the model change, in tolerances and in verdicts."""
    table = table.set_index("id")
    estimates = [f"T3-{predictor}" for _, predictor in analysis.PREDICTORS]
    own = table[table.index.isin(estimates)]
    rows = []
    for name in [name for name in CHOICES if name in table]:
        change = ((own[name] - own["ours"]) / own["tolerance"]).abs()
        before, after = (
            [analysis.verdict(*row) for row in table[["paper", column, "tolerance"]].to_numpy()]
            for column in ("ours", name)
        )
        verdicts = zip(table.index, before, after, strict=True)
        turned = [f"{target}: {old} → {new}" for target, old, new in verdicts if old != new]
        rows.append((CHOICES[name], change.max(), change.idxmax(), "; ".join(turned) or "none"))
    columns = ["choice", "largest change (tolerances)", "of", "verdicts that change"]
    shown = pd.DataFrame(rows, columns=columns)
    small, same = (shown[columns[1]] <= 1.0).sum(), (shown[columns[3]] == "none").sum()
    told = (
        f"{small} of {len(shown)} other choices change no estimate of Table 3 by more than its "
        f"tolerance, and {same} change no verdict on any number of the paper."
    )
    return (
        heading("Other choices of the model")
        + paragraph(told)
        + html.table(shown, write=g)
        + html.table(table.reset_index().rename(columns=_words), write=g)
    )


def _mooh(table: pd.DataFrame, results: Results) -> str:
    """How strong MOOH would have to be."""
    pores = results.ours("T3-p")
    marks = {"1 Mg C/ha": 1.0, f"what pores add ({g(pores)} Mg C/ha)": pores}
    told = [f"{words} {_reached(table, effect)}" for words, effect in marks.items()]
    text = (
        f"MOOH alone adds, on average over runs and years, {'; '.join(told)}. The study has B2 = 5."
    )
    shown = table.rename(
        columns={"b2": "B2 (dm³/mmol)", "effect_Mg_C_ha": "mean effect (Mg C/ha)",
                 "largest_Mg_C_ha": "largest (Mg C/ha)"}
    )  # fmt: skip
    return heading("When MOOH would matter") + paragraph(text) + html.table(shown, write=g)


def _reached(table: pd.DataFrame, effect: float) -> str:
    """At which B2 an effect is reached first, interpolated in its logarithm."""
    b2, gain = (table.sort_values("b2")[c].to_numpy() for c in ("b2", "effect_Mg_C_ha"))
    above = np.flatnonzero(gain >= effect)
    if not above.size:
        return f"not even at B2 = {g(b2[-1])}"
    i = int(above[0])
    if i == 0:
        return f"already at B2 = {g(b2[0])}"
    share = (effect - gain[i - 1]) / (gain[i] - gain[i - 1])
    return f"at B2 = {g(float(b2[i - 1] * (b2[i] / b2[i - 1]) ** share))}"


def _strengths(table: pd.DataFrame, results: Results) -> str:
    """Which strengths of protection the results pin down against a uniform prior."""
    prior_sd = (table["prior_upper"] - table["prior_lower"]) / np.sqrt(12.0)
    share = table["sd"] / prior_sd
    judged = np.select([share < PINNED, share > HARDLY], ["pinned", "hardly"], "partly")
    told = [
        f"{words}: {listed(table['parameter'][judged == verdict].tolist())}"
        for verdict, words in zip(
            VERDICTS, ("pinned down", "partly told", "hardly told"), strict=True
        )
        if (judged == verdict).any()
    ]
    k, error = table["pareto_k"].max(), table["polynomial_error"].max()
    text = (
        f"By Table 3 and Figure 1, against uniform priors, are {'; '.join(told)}. R-hat is at most "
        f"{table['r_hat'].max():.3f}. The polynomials that stand for the runs err by {g(error)} "
        f"tolerances at most; weighing draws by the runs themselves (Pareto k {g(k)}, "
        + ("good" if k < PARETO_K else "too large to be trusted")
        + ") gives the corrected means."
    )
    shown = pd.DataFrame(
        {
            **table[["parameter", "fitted", "mean", "sd"]],
            "5 to 95 %": _spans(table["q05"], table["q95"]),
            "prior": _spans(table["prior_lower"], table["prior_upper"]),
            "sd over prior": share,
            **table[["laplace_sd", "r_hat", "corrected_mean", "corrected_sd"]],
            "verdict": judged,
        }
    ).rename(columns=_words)
    return heading("How strong protection is") + paragraph(text) + html.table(shown, write=g)


NUMBER = Column(allow_missing=True)
ANSWERS: dict[str, tuple[dict[str, Column], Callable[[pd.DataFrame, Results], str]]] = {
    "choices.csv": (
        {"id": Column("str"), **dict.fromkeys(("paper", "tolerance"), Column()), "ours": NUMBER}
        | dict.fromkeys(CHOICES, Column(required=False, allow_missing=True)),
        _choices,
    ),
    "mooh.csv": (
        dict.fromkeys(("b2", "effect_Mg_C_ha", "largest_Mg_C_ha"), Column()),
        _mooh,
    ),
    "protection.csv": (
        {"parameter": Column("str")}
        | dict.fromkeys(("fitted", "mean", "sd", "q05", "q95"), Column())
        | dict.fromkeys(("prior_lower", "prior_upper"), Column())
        | dict.fromkeys(("laplace_sd", "r_hat", "effective_draws"), NUMBER)
        | dict.fromkeys(("corrected_mean", "corrected_sd"), NUMBER)
        | dict.fromkeys(("pareto_k", "polynomial_error"), NUMBER),
        _strengths,
    ),
}
"""Tables of what the study could not ask: their columns, and who makes text of them."""
