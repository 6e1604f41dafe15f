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
from calibration.likelihood import ERROR, MEMORY, METHOD
from calibration.methods.reweighting import Reweighting
from calibration.observations import topsoil_cm
from calibration.quantities import QUANTITIES
from calibration.store import Settings
from diffsoil.cases import Case
from diffsoil.report import html
from diffsoil.report.html import figure, heading, number, paragraph, section
from diffsoil.work.files import write_text


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a report is made of.

    Attributes:
        tree: the posterior with its predictions.
        table: observations with their predictive distribution.
        summary: from :func:`calibration.checks.summary`.
        checks: from :func:`calibration.checks.checks`.
        figures: PNG files by name; missing ones are left out.
        directions: from :func:`calibration.identifiability.spectrum`.
        facts: what else there is to say of the fit: costs, weights, evidence.
    """

    tree: xr.DataTree
    table: pd.DataFrame
    summary: pd.DataFrame
    checks: pd.DataFrame
    figures: Mapping[str, Path]
    directions: pd.DataFrame | None = None
    facts: Mapping[str, Any] = MappingProxyType({})


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
        _done(case, of.table, of.tree, settings, of.facts),
        _checks(of.checks, settings),
        _history(settings),
        _fit(of.table, of.figures),
        _learned(of.tree, of.summary, of.figures),
        _told(of.directions),
        _prediction(of.table, of.figures),
        _errors(of.summary, of.table),
        _residuals(of.tree, of.figures),
        _data(case, of.table),
        _repeat(case, settings),
    ]
    path = folder / "report.html"
    write_text(path, html.page(case.file.title, sections))
    return path


# Sections.


def _done(
    case: Case,
    table: pd.DataFrame,
    tree: xr.DataTree,
    settings: Settings,
    facts: Mapping[str, Any],
) -> str:
    fitted, out = int(table["fitted"].sum()), int(checking.kept_out(table).sum())
    estimated = int((table["estimated"] == 1).sum())
    posterior = tree["posterior"]
    chains, draws = posterior.sizes["chain"], posterior.sizes["draw"]
    free = len(posterior.data_vars)
    told = (
        f"The soil column of the case {settings.case} was run from year {case.file.start_year} "
        f"through its whole history, and {free} parameters were adjusted until its organic carbon "
        f"met {fitted} measurements, each within its error and without leaving what was known of "
        f"the parameters before. {out} further measurements were kept out and predicted."
    )
    if estimated:
        told += f" {estimated} values that their source calls estimated were not used at all."
    method = settings.reported
    rows = {
        "case": f"{settings.case} (SHA-256 {settings.case_sha256[:12]})",
        "method": f"{method.name}: {method.description}",
        "posterior": f"{chains} chain(s) of {draws} draw(s)",
        **method.told(),
        "seed": str(settings.seed),
        "set by hand": ", ".join(f"{k} = {v:g}" for k, v in settings.set.items()) or "nothing",
        "version": f"diffsoil {settings.version}",
    } | _costs(facts, settings)
    shown = pd.DataFrame({"what": list(rows), "how": list(rows.values())})
    return section("What was done", paragraph(told), html.table(shown), _observed(table))


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
                "what": ", ".join(sorted({QUANTITIES[v].unit for v in part["variable"]})),
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
    failed = [str(name) for name in checks["check"][~checks["passed"]]]
    if failed:
        head = (
            f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}. Read what they "
            "mean before using anything below."
        )
    else:
        head = f"None of {len(checks)} checks failed."
    if settings.reported.unchecked:
        head += f" {settings.reported.unchecked}"
    shown = checks[["check", "value", "threshold", "meaning"]].copy()
    shown.insert(1, "result", state)
    return section("Checks", paragraph(head), html.table(shown, [str(k) for k in kinds]))


def _fit(table: pd.DataFrame, figures: Mapping[str, Path]) -> str:
    topsoil = f"0-{topsoil_cm(table):g} cm"
    caption = (
        "What is in the soil: median, 50 and 90 % bands of the posterior, without measurement "
        f"error. Where the topsoil stock was measured the line is the yearly stock of {topsoil}; "
        "elsewhere it joins the predictions for the years of measurement, in the unit and depth "
        "of the measurement. Bars: measured sd and the fitted error of the series together."
    )
    if (table["basis"] == "equivalent_mass").any():
        caption += (
            " Some stocks were measured in an equivalent soil mass, which the likelihood follows; "
            f"the yearly line counts {topsoil}, which can differ from it by about one percent."
        )
    return section("Fit", figure(figures.get("fit"), caption))


def _learned(tree: xr.DataTree, summary: pd.DataFrame, figures: Mapping[str, Path]) -> str:
    columns = ["mean", "sd", "q05", "q95", "prior_mean", "prior_sd", "contraction"]
    accuracy = [c for c in ("rhat", "ess_bulk", "ess_tail") if summary[c].notna().any()]
    shown = summary.sort_values("contraction", ascending=False)[
        [*columns, *accuracy, "unit", "description"]
    ].rename(columns={"q05": "5 %", "q95": "95 %", "prior_mean": "prior mean",
                      "prior_sd": "prior sd", "rhat": "R-hat", "ess_bulk": "ESS bulk",
                      "ess_tail": "ESS tail"})  # fmt: skip
    shown.insert(0, "parameter", shown.index)
    silent = set(checking.unlearned(summary))
    kinds = ["unchecked" if n in silent else "" for n in shown["parameter"]]
    return section(
        "What the data say, and what they do not",
        paragraph(
            "Contraction is 1 - (posterior variance / prior variance): near 1 the data settle a "
            "parameter, near 0 they leave it as it was assumed."
        ),
        html.table(shown, kinds),
        paragraph(_silence(summary)),
        _together(tree),
        figure(
            figures.get("priors"), "What was assumed (grey) and what the data leave of it (blue)."
        ),
        figure(
            figures.get("pairs"),
            "The model parameters that the data can tell apart least: narrow ridges mean that "
            "only a combination is known. Numbers are correlations, orange crosses divergences.",
        ),
        figure(
            figures.get("ranks"),
            "Share of each chain's draws by their rank among all draws. Level lines mean that "
            "the chains agree.",
        ),
    )


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


def _silence(summary: pd.DataFrame) -> str:
    """Which parameters the data leave open, said as a result."""
    if summary["contraction"].isna().all():
        return "A single set of parameters has no spread, so it cannot say what the data settle."
    silent = checking.unlearned(summary)
    if not silent:
        return "The data say something about every parameter."
    text = (
        f"The data do not say: {', '.join(silent)}. That is a result: what is reported for them is "
        "the assumption that went in, and predictions that hang on them are as good as it."
    )
    wider = [str(n) for n in summary.index[summary["contraction"] < -checking.LITTLE_LEARNED]]
    if wider:
        text += (
            f" Wider than before (contraction below zero): {', '.join(wider)}. There the data "
            "disagree with the prior, or a normal approximation does not fit."
        )
    return text


def _together(tree: xr.DataTree, most: int = 8) -> str:
    pairs = checking.correlations(tree).head(most)
    if pairs.empty:
        return ""
    shown = pairs.rename(columns={"first": "parameter", "second": "and", "r": "correlation"})
    return heading("Strongest correlations") + html.table(shown)


def _prediction(table: pd.DataFrame, figures: Mapping[str, Path]) -> str:
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
            "sd of it": rows["observed_sd"].astype(float),
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
        figure(
            figures.get("kept_out"),
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
            f"{number(row['value'])} {QUANTITIES[row['variable']].unit}, "
            f"{'below' if low else 'above'} the limit of {number(edge)}."
        )
    return " ".join(said)


def _errors(summary: pd.DataFrame, table: pd.DataFrame) -> str:
    chosen = summary[[str(n).startswith("observation.") for n in summary.index]]
    if chosen.empty:
        return ""
    shown = chosen[["mean", "q05", "q95", "prior_mean", "description"]].rename(
        columns={"q05": "5 %", "q95": "95 %", "prior_mean": "prior mean"}
    )
    names = [
        str(n).removeprefix(ERROR).removeprefix(METHOD).removeprefix(MEMORY) for n in shown.index
    ]
    shown.insert(0, "series or method", names)
    without = sorted(set(table["series"][checking.kept_out(table)]) - set(names))
    text = (
        "The error of a measurement is the published sd, where there is one, and a part that the "
        "fit finds for each series. It holds everything that the model does not explain, not the "
        "laboratory alone. A relative part of 0.05 is 5 %."
    )
    if without:
        text += f" {', '.join(without)}: kept out, so the published sd alone."
    parts = [paragraph(text), html.table(shown)]
    if "error_model" in table:
        kinds = table[["series", "variable", "error_model"]].drop_duplicates()
        parts.append(heading("Error models") + html.table(kinds.reset_index(drop=True)))
    return section("Observation error by series", *parts)


def _residuals(tree: xr.DataTree, figures: Mapping[str, Path]) -> str:
    found = checking.leave_one_out(tree)
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
        "Residuals and influence", figure(figures.get("residuals"), caption), paragraph(text)
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
    """The command line that repeats a fit."""
    if len(settings.history) > 1:
        last, weights = settings.history[-1], Reweighting.name
        words = ["diffsoil", "assimilate", "FIT", "--observations", last["data"][0]["file"]]
        if "drivers" in last:
            words += ["--drivers", "CASE"]
        words += ["-o", "FIT2", "--method", weights if last["method"] == weights else "refit"]
        return shlex.join([*words, "--seed", str(settings.seed)])
    method = settings.method
    words = ["diffsoil", "calibrate", settings.case, "-o", "FIT", "--method", method.name]
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
    starts, searches = settings.method.starts, settings.method.needs_gradients
    searched = f"; {starts} start(s) of the search for the best fit" if searches else ""
    return section(
        "How to repeat it",
        html.code(command(settings)),
        paragraph(
            f"With diffsoil {settings.version}, the case below (SHA-256 {settings.case_sha256}) "
            f"and seed {settings.seed}{searched}."
        ),
        html.folded("The case file", case.text),
    )
