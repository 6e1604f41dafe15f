"""The report of a fit: one HTML file that can be read, printed and passed on as it is."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from calibration import checks as checking
from calibration import conclusion, depth, inputs, plots, treatments
from calibration.methods.reweighting import Reweighting
from calibration.observations import topsoil_cm
from calibration.quantities import QUANTITIES
from calibration.store import Settings
from calibration.units import in_unit
from diffsoil.cases import Case
from diffsoil.cases.overview import Overview
from diffsoil.report import html
from diffsoil.report.html import heading, number, paragraph, section
from diffsoil.work.files import write_text


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a report is made of.

    Attributes:
        tree: the posterior with its predictions.
        table: observations with their predictive distribution.
        summary: from :func:`calibration.checks.summary`.
        checks: from :func:`calibration.checks.checks`.
        sides: from :func:`calibration.treatments.sides`.
        looked: overview of the case.
        figures: PNG files by name; missing ones are left out.
        directions: from :func:`calibration.identifiability.spectrum`.
        facts: what else there is to say of the fit: costs, weights, evidence.
    """

    tree: xr.DataTree
    table: pd.DataFrame
    summary: pd.DataFrame
    checks: pd.DataFrame
    sides: pd.DataFrame
    looked: Overview
    figures: Mapping[str, Path]
    directions: pd.DataFrame | None = None
    facts: Mapping[str, Any] = MappingProxyType({})

    @property
    def draws(self) -> int:
        """Draws of the posterior."""
        sizes = self.tree["posterior"].sizes
        return int(sizes["chain"] * sizes["draw"])

    def figure(self, name: str, caption: str) -> str:
        """A picture with its caption; nothing where it was not drawn."""
        return html.figure(self.figures.get(name), caption)


def write(folder: Path, case: Case, settings: Settings, of: Contents) -> Path:
    """Write ``report.html``.

    Args:
        folder: where the report goes.
        case: what was calibrated.
        settings: how the fit was made.
        of: what has come of it.

    Returns:
        The file. Its pictures are inside it; it refers to nothing outside.
    """
    sections = [
        _short(of, case, settings),
        _checks(of.checks, settings),
        _fit(of),
        _prediction(of),
        _residuals(of),
        _learned(of),
        _told(of.directions),
        _errors(of.summary, of.table),
        inputs.section(of.looked, of.figures, of.summary),
        depth.section(case.end_year, of.figures.get("profile")),
        _done(of, settings),
        _data(case, of.table),
        _history(settings),
        _repeat(case, settings),
    ]
    path = folder / "report.html"
    write_text(path, html.page(case.file.title, sections))
    return path


# Sections.


def _short(of: Contents, case: Case, settings: Settings) -> str:
    """The conclusion: what was fitted, does it fit, what is known, what not to believe."""
    doubts = list(conclusion.doubts(of.checks))
    verdict = conclusion.verdict(of.checks)
    shown = sum(t.overview for t in case.file.treatment) or plots.FEW
    some = shown < of.tree["posterior_predictive"].sizes["treatment"]
    part = " A part of the treatments; all are under Fit." if some else ""
    return section(
        "In short",
        paragraph(conclusion.fitted(of.table, of.summary, settings.reported)),
        paragraph(conclusion.fits(of.table, of.sides, of.draws)),
        paragraph(conclusion.known(of.summary, of.directions)),
        of.figure("overview", f"{_drawn(of)}{part}"),
        paragraph(f"{verdict} What not to believe:" if doubts else verdict),
        html.listing(doubts),
    )


def _drawn(of: Contents) -> str:
    """What the lines and bands of pictures through time are."""
    if of.draws == 1:
        return "What is in the soil by the best set of parameters, without measurement error."
    return (
        "What is in the soil: median, 50 and 90 % bands of the posterior, without measurement "
        "error."
    )


def _done(of: Contents, settings: Settings) -> str:
    """How the fit was made, and of what."""
    method, sizes = settings.reported, of.tree["posterior"].sizes
    rows = {
        "case": f"{settings.case} (SHA-256 {settings.case_sha256[:12]})",
        "method": f"{method.name}: {method.description}",
        "posterior": f"{sizes['chain']} chain(s) of {sizes['draw']} draw(s)",
        **method.told(),
        "seed": str(settings.seed),
        "set by hand": ", ".join(f"{k} = {v:g}" for k, v in settings.set.items()) or "nothing",
        "version": f"diffsoil {settings.version}",
    } | _costs(of.facts, settings)
    shown = pd.DataFrame({"what": list(rows), "how": list(rows.values())})
    return section("How it was done", html.table(shown), _observed(of.table))


def _costs(facts: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """What a fit cost, how far its draws were weighted, and the evidence."""
    rows = {}
    if settings.slow_step:
        again = "coarse_k" in facts
        rows["slow step"] = f"up to {settings.slow_step} years, " + (
            f"given up (Pareto k {facts['coarse_k']:.2f}) and sampled again with the case's own"
            if again
            else "draws weighted to the case's own"
        )
    if facts.get("gradients") or facts.get("runs"):
        rows["evaluations"] = (
            f"{facts.get('gradients', 0):.0f} gradients and {facts.get('runs', 0):.0f} runs in "
            f"{facts.get('seconds', 0) / 60:.1f} minutes, best fit and predictions apart"
        )
    if "pareto_k" in facts:
        rows["importance weights"] = (
            f"Pareto k {facts['pareto_k']:.2f}, worth {facts['effective']:.0f} draws"
        )
    if "evidence_bound" in facts:
        bounds = ", ".join(f"{value:.2f}" for value in facts["evidence_bound"])
        rows["lower bound of the log evidence"] = f"{bounds} (by run)"
    if "log_evidence" in facts:
        runs = facts["log_evidence"]
        rows["log evidence"] = ", ".join(f"{value:.2f}" for value in runs) + " (by run)"
    return rows


def _observed(table: pd.DataFrame) -> str:
    rows = []
    for name, part in table.groupby("series", sort=True):
        rows.append(
            {
                "series": name,
                "what": ", ".join(sorted({QUANTITIES[v].title for v in part["variable"]})),
                "years": f"{part['year'].min()}–{part['year'].max()}",
                "fitted": str(int(part["fitted"].sum())),
                "kept out": str(int(checking.kept_out(part).sum())),
                "estimated": str(int((part["estimated"] == 1).sum())),
            }
        )
    return heading("Observations") + html.table(pd.DataFrame(rows))


def _checks(checks: pd.DataFrame, settings: Settings) -> str:
    unknown = checks["value"].isna() & checks["passed"]
    state = np.where(~checks["passed"], "FAILED", np.where(unknown, "not checked", "passed"))
    kinds = np.where(~checks["passed"], "failed", np.where(unknown, "unchecked", ""))
    head = conclusion.verdict(checks)
    if settings.reported.unchecked:
        head += f" {settings.reported.unchecked}"
    shown = checks[["check", "value", "threshold", "meaning"]].copy()
    shown.insert(1, "result", state)
    return section("Checks", paragraph(head), html.table(shown, [str(k) for k in kinds]))


def _fit(of: Contents) -> str:
    table, topsoil = of.table, f"0-{topsoil_cm(of.table):g} cm"
    caption = (
        f"{_drawn(of)} Where the topsoil stock was measured the line is the yearly stock of "
        f"{topsoil}; elsewhere it joins the predictions for the years of measurement, in the unit "
        "and depth of the measurement. Bars: one sd of the error of a measurement, as the fit "
        "takes it."
    )
    if (table["basis"] == "equivalent_mass").any():
        caption += (
            " Some stocks were measured in an equivalent soil mass, which the likelihood follows; "
            f"the yearly line counts {topsoil}, which can differ from it by about one percent."
        )
    return section("Fit", of.figure("fit", caption))


def _learned(of: Contents) -> str:
    summary = of.summary.sort_values("contraction", ascending=False)
    columns = {"mean": "mean", "sd": "sd", "q05": "5 %", "q95": "95 %", "prior_mean": "prior mean",
               "prior_sd": "prior sd", "contraction": "contraction"}  # fmt: skip
    shown = summary[[*columns, "unit"]].rename(columns=columns)
    shown["unit"] = shown["unit"].replace("1", "")
    shown.insert(0, "parameter", shown.index)
    silent = set(checking.unlearned(summary))
    kinds = ["unchecked" if n in silent else "" for n in shown["parameter"]]
    words = pd.DataFrame({"parameter": summary.index, "what it is": summary["description"]})
    pairs = (
        "The model parameters that the data can tell apart least: narrow ridges mean that only a "
        "combination is known. Numbers are correlations"
    )
    lost = int(plots.diverging(of.tree).sum())
    pairs += f", orange crosses the {lost} divergences." if lost else "."
    return section(
        "What the data say, and what they do not",
        paragraph(
            "Contraction is 1 - (posterior variance / prior variance): near 1 the data settle a "
            "parameter, near 0 they leave it as it was assumed, below 0 they know less after than "
            "before."
        ),
        html.table(shown, kinds),
        paragraph(checking.learnt(summary)),
        heading("What the parameters are"),
        html.table(words),
        _accuracy(summary),
        _together(of.tree),
        of.figure("priors", "What was assumed (grey) and what the data leave of it (blue)."),
        of.figure("pairs", pairs),
        of.figure(
            "ranks",
            "Share of each chain's draws by their rank among all draws. Level lines mean that "
            "the chains agree.",
        ),
    )


def _accuracy(summary: pd.DataFrame) -> str:
    """How well the draws describe each posterior, where a method has that."""
    names = {"rhat": "R-hat", "ess_bulk": "ESS bulk", "ess_tail": "ESS tail"}
    there = [column for column in names if summary[column].notna().any()]
    if not there:
        return ""
    shown = summary[there].rename(columns=names)
    shown.insert(0, "parameter", shown.index)
    return heading("Accuracy of the draws") + html.table(shown)


def _told(directions: pd.DataFrame | None) -> str:
    """Combinations of parameters that the observations tell, and those they do not."""
    if directions is None or directions.empty:
        return ""
    shown = directions[["eigenvalue", "contraction", "combination"]].rename(
        columns={"combination": "direction (loadings of parameters in widths of their priors)"}
    )
    kinds = ["" if value > 1.0 else "unchecked" for value in directions["eigenvalue"]]
    return section(
        "Which combinations the observations tell",
        paragraph(
            "Spectrum of the Fisher information at the posterior mean. An eigenvalue above 1 "
            "means that the observations know more along the direction than the prior did; "
            "1 - contraction of the prior variance is left. Errors are taken as known."
        ),
        html.table(shown, kinds),
    )


def _together(tree: xr.DataTree, most: int = 8) -> str:
    pairs = checking.correlations(tree).head(most)
    if pairs.empty:
        return ""
    shown = pairs.rename(columns={"first": "parameter", "second": "and", "r": "correlation"})
    return heading("Strongest correlations") + html.table(shown)


def _prediction(of: Contents) -> str:
    table = of.table
    title = "Prediction of what was kept out"
    rows = table[checking.kept_out(table)].sort_values(["series", "treatment", "year"])
    if rows.empty:
        return section(title, paragraph("Nothing was kept out of this fit."))
    spread = checking.has_spread(rows)
    within = checking.inside(rows)
    shown = pd.DataFrame(
        {
            "series": rows["series"],
            "treatment": rows["treatment"].where(rows["treatment"] != "", rows["site"]),
            "year": rows["year"].astype(str),
            "unit": [QUANTITIES[v].unit for v in rows["variable"]],
            "observed": rows["value"].astype(float),
            "sd of its error": rows["error_sd"].astype(float),
            "predicted mean": rows["mean" if spread else "latent_mean"],
            "5 %": rows["q05"] if spread else np.nan,
            "95 %": rows["q95"] if spread else np.nan,
            "inside 5-95 %": np.where(within, "yes", "NO") if spread else "not known",
        }
    )
    kinds = ["" if w or not spread else "failed" for w in within]
    return section(
        title,
        paragraph(_verdict(rows, within, spread)),
        html.table(shown, kinds),
        of.figure(
            "kept_out",
            "Predictions with measurement error beside what was measured (drawn a little to the "
            "right).",
        ),
    )


def _verdict(rows: pd.DataFrame, within: pd.Series, spread: bool) -> str:
    """Whether the truth lies inside, misses in plain words."""
    if not spread:
        return "A single set of parameters gives no interval, so nothing is said about misses."
    hits = f"{int(within.sum())} of {len(rows)}"
    said = [f"{hits} kept-out measurements lie inside their 5-95 % interval."]
    for _, row in rows[~within].iterrows():
        low = row["value"] < row["q05"]
        edge = row["q05"] if low else row["q95"]
        said.append(
            f"Missed: {row['treatment'] or row['site']} {row['year']}, measured "
            f"{in_unit(number(row['value']), QUANTITIES[row['variable']].unit)}, "
            f"{'below' if low else 'above'} the limit of {number(edge)}."
        )
    return " ".join(said)


def _errors(summary: pd.DataFrame, table: pd.DataFrame) -> str:
    """The error of each series as fit, predictions, checks and pictures have it."""
    real, rows = table[table["estimated"] == 0], []
    for (series, variable, words), own in real.groupby(["series", "variable", "error_model"]):
        rows.append(
            {
                "series": series,
                "quantity": QUANTITIES[str(variable)].title,
                "error model": words,
                "fitted": str(int(own["fitted"].sum())),
                "kept out": str(int((~own["fitted"]).sum())),
                "measured sd": float(own["observed_sd"].mean()),
                "sd of the error": float(own["error_sd"].mean()),
            }
        )
    parts = [
        paragraph(
            "The error of a measurement joins the sd that its table gives and a part that the fit "
            "finds, which holds everything that the model does not explain, not the laboratory "
            "alone. Means over the measurements; a dash where no sd was measured."
        ),
        html.table(pd.DataFrame(rows)),
    ]
    chosen = summary[[str(n).startswith(conclusion.OBSERVATION) for n in summary.index]]
    if len(chosen):
        shown = chosen[["mean", "q05", "q95", "prior_mean", "description"]].rename(
            columns={"q05": "5 %", "q95": "95 %", "prior_mean": "prior mean"}
        )
        names = [str(n).removeprefix(conclusion.OBSERVATION) for n in shown.index]
        shown.insert(0, "parameter", names)
        parts += [
            heading("What the fit finds of errors"),
            paragraph("A relative part of 0.05 is 5 %."),
            html.table(shown),
        ]
    return section("Errors of measurement", *parts)


def _residuals(of: Contents) -> str:
    found = checking.leave_one_out(of.tree)
    if found.failure:
        text = f"Leave-one-out was not estimated: {found.failure}."
    else:
        text = (
            f"Leave-one-out (PSIS-LOO, fitted observations only): expected log predictive density "
            f"{found.elpd:.1f} ± {found.se:.1f} for {found.k.size} observations, "
            f"{found.effective_parameters:.1f} effective parameters; "
            f"{int((found.k > checking.PARETO_K).sum())} with Pareto k above {checking.PARETO_K}. "
            "It serves to compare fits to the same observations; the higher one predicts better."
        )
    caption = "Residuals in units of the predictive sd; those of a good fit scatter around zero."
    return section(
        "Residuals and influence",
        heading("By treatment"),
        treatments.page_table(of.sides),
        of.figure("residuals", caption),
        paragraph(text),
    )


def _data(case: Case, table: pd.DataFrame) -> str:
    traps = [("estimated values", _estimated(table)), ("kept out", _kept_out(case))]
    traps += [("soil mass", _mass(table)), ("laboratory methods", _methods(case, table))]
    missing = int(table.loc[table["fitted"], "observed_sd"].isna().sum())
    traps.append(("missing errors", f"{missing} fitted values have no published sd; the fitted "
                  "error of their series stands for it."))  # fmt: skip
    traps += list(case.file.notes.items())
    shown = pd.DataFrame(traps, columns=["matter", "how it was handled"])
    return section("How the traps in the data were handled", html.table(shown), _reasons(case))


def _estimated(table: pd.DataFrame) -> str:
    count = int((table["estimated"] == 1).sum())
    return f"{count} rows are flagged as estimated; none is in the likelihood."


def _kept_out(case: Case) -> str:
    listed = case.file.observations
    names = ""
    if listed:
        out = [*listed.keep_out, *listed.keep_out_treatments, *listed.keep_out_sites]
        names = ", ".join([*out, *(str(year) for year in listed.keep_out_years)])
    return f"{names}: predicted, never fitted." if names else "nothing"


def _mass(table: pd.DataFrame) -> str:
    equal = int((table["basis"] == "equivalent_mass").sum())
    massed = int(table["soil_mass_Mg_ha"].notna().sum()) - equal
    rest = len(table) - equal - massed
    return (
        f"{equal} values belong to an equivalent soil mass, {massed} to a fixed depth with a known "
        f"mass; the column is followed down to that mass. {rest} have a depth only."
    )


def _methods(case: Case, table: pd.DataFrame) -> str:
    counts = table.loc[table["method"] != "", "method"].value_counts()
    used = ", ".join(f"{name} ({count})" for name, count in counts.items())
    listed = case.file.observations
    factors = ", ".join(listed.method_factors) if listed else ""
    ending = f"a factor is fitted for {factors}" if factors else "no factor is fitted"
    return f"{used or 'not given'}; {ending}."


def _reasons(case: Case) -> str:
    rows = [(name, free.reason) for name, free in case.file.free.items() if free.reason]
    if not rows:
        return ""
    shown = pd.DataFrame(rows, columns=["free parameter", "why, and where its prior comes from"])
    return heading("Why these parameters are free") + html.table(shown)


def _history(settings: Settings) -> str:
    """Which data entered when, for a fit that has been kept up to date."""
    if len(settings.history) < 2:
        return ""
    rows = []
    for entry in settings.history:
        rows.append(
            {
                "step": str(entry["step"]),
                "date": entry.get("date", ""),
                "data, drivers (SHA-256)": ", ".join(
                    f"{d['file']} ({d['sha256'][:12]})"
                    for d in (*entry["data"], *entry.get("drivers", ()))
                ),
                "rows, fitted": f"{entry.get('rows', '')}, {entry.get('fitted', '')}",
                "years": entry.get("years", ""),
                "method": entry["method"],
                "Pareto k": entry.get("k", np.nan),
                "effective draws": entry.get("ess", np.nan),
                "remark": entry.get("remark", ""),
            }
        )
    shown = pd.DataFrame(rows).astype({"Pareto k": float, "effective draws": float})
    return section(
        "Which data entered when",
        paragraph(
            "Each line is one step: the calibration, then what was assimilated. By weights, the "
            "draws of the last calibration or refit are weighted with all data since; Pareto k "
            "above its limit or too few effective draws lead to a refit to all data, old and new."
        ),
        html.table(shown),
    )


def command(settings: Settings) -> str:
    """The command line that repeats a fit, whose folder is FIT and holds all that is needed."""
    if len(settings.history) > 1:
        last, weights = settings.history[-1], Reweighting.name
        words = ["diffsoil", "assimilate", "BEFORE", "--observations"]
        words.append(f"FIT/{last['data'][0]['file']}")
        if "drivers" in last:
            words += ["--drivers", "CASE"]
        words += ["-o", "AGAIN", "--method", weights if last["method"] == weights else "refit"]
        return shlex.join([*words, "--seed", str(settings.seed)])
    method = settings.method
    words = ["diffsoil", "calibrate", "FIT/case.toml", "-o", "AGAIN", "--method", method.name]
    if method.quick:
        words.append("--quick")
    for name in method.options:
        words += [f"--{name}", str(getattr(method, name))]
    if settings.slow_step:
        words += ["--slow-step", str(settings.slow_step)]
    words += ["--seed", str(settings.seed)]
    for name, value in settings.set.items():
        words += ["--set", f"{name}={value!r}"]
    return shlex.join(words)


def _repeat(case: Case, settings: Settings) -> str:
    starts, searches = settings.method.starts, settings.method.searches
    searched = f"; {starts} start(s) of the search for the best fit" if searches else ""
    places = "FIT is the folder of this report, which holds the case with all that it names"
    if len(settings.history) > 1:
        places += ", and BEFORE that of the fit before the last data"
        if "drivers" in settings.history[-1]:
            places += "; CASE has the longer weather and management"
    return section(
        "How to repeat it",
        html.code(command(settings)),
        paragraph(
            f"{places}. With diffsoil {settings.version}, the case below (SHA-256 "
            f"{settings.case_sha256}) and seed {settings.seed}{searched}."
        ),
        html.folded("The case file", case.text),
    )
