"""The report of a suite: tables, figures, and for each finding of the study whether it is ours too.

What else lies beside the runs is in it: inputs that were fitted, and answers to what the study
could not ask.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from diffsoil.io import InputError
from diffsoil.processes.protection import MECHANISMS, modifier
from diffsoil.report import html
from diffsoil.report.html import heading, paragraph, section
from diffsoil.studies.vandermeij2026 import analysis, figures
from diffsoil.studies.vandermeij2026.analysis import BORDERS, END
from diffsoil.studies.vandermeij2026.beyond import (
    YES,
    YES_OR_NO,
    answers,
    fitted_inputs,
    read_inputs,
)
from diffsoil.studies.vandermeij2026.findings import (
    OWN,
    PARTS,
    Results,
    evaluate,
    findings,
    g,
    recovery_notes,
)
from diffsoil.studies.vandermeij2026.suite import read_runs
from diffsoil.tables import Column, read_table
from diffsoil.work.files import write_table, write_text
from diffsoil.work.folder import Kind, OutputFolder
from diffsoil.work.progress import say

TARGETS = "targets.csv"
"""What a fit writes beside its runs: the numbers before it, and which it was made to meet."""

INPUTS = "inputs.csv"
"""What it writes of the inputs: their values, and whether the study pins them down."""

NEEDED = (
    *(*PARTS.values(), "soc_stock_25_75"),
    *("soc", "thickness", "base_saturation"),
    *map(modifier, MECHANISMS.own),
)

PICTURES = (
    *(f"figure_{n}" for n in ("1", "2", "3", "4", "5", "A1", "A2")),
    "figure_ruling",
)
TABLES: dict[str, list[str]] = {
    "table3": [],
    "smoothing": ["what"],
    "recovery": [],
    "recovery_fit": ["intercept_a", "n"],
    "rocks": [],
    "protection": [],
    "comparison": ["what"],
}
"""Tables that are written, and columns that are not."""

FILES = (
    *(f"{name}.csv" for name in TABLES),
    *(f"{name}.{kind}" for name in PICTURES for kind in ("png", "pdf")),
    "report.html",
)


def write_report(runs: Path, output: Path, overwrite: bool = False) -> None:
    """Write the tables, figures and verdicts of a suite into a folder, whole or not at all.

    Args:
        runs: folder with ``runs.zarr``; ``targets.csv`` and ``inputs.csv`` if inputs were fitted;
            and in ``questions``, any of ``choices.csv``, ``mooh.csv`` and ``protection.csv``.
        output: folder to make.
        overwrite: replace a report that is there.

    Raises:
        diffsoil.io.InputError: runs are missing, a table beside them is wrong, or the folder is
            there and may not be replaced.
    """
    runs = Path(runs)
    place = OutputFolder(output, KIND, overwrite=overwrite, inputs=[runs])
    start = time.monotonic()
    suite = read_runs(runs, (*NEEDED, *analysis.LABELS))
    before, fitted = read_targets(runs / TARGETS)
    inputs = read_inputs(runs / INPUTS)
    say(f"report: {suite.sizes['scenario']} runs read; regression and comparison")
    results = evaluate(suite, before, fitted)
    first = "" if inputs is None else fitted_inputs(inputs)
    last = answers(runs / "questions", results)
    with place:
        part = place.work
        for name, inside in TABLES.items():
            table: pd.DataFrame = getattr(results, name).drop(columns=inside)
            write_table(part / f"{name}.csv", table, float_format="%.7g")
        if inputs is not None:
            shutil.copy(runs / INPUTS, part / INPUTS)
        pictures = figures.draw(
            suite,
            results.rocks,
            results.recovery,
            results.recovery_fit,
            results.shares,
            part,
            lambda text: say(f"report: {text}"),
        )
        text = page(results, pictures, suite, first, last)
        write_text(part / "report.html", text)
    say(f"report: {place.path / 'report.html'} ({time.monotonic() - start:.0f} s)")


def _older(path: Path) -> list[str] | None:
    """Whether a folder holds a report and nothing else, as before folders had markers."""
    return [] if all(p.name in (*FILES, INPUTS) for p in path.iterdir()) else None


KIND = Kind("study report", "a report of the study", (*FILES, INPUTS), older=_older)


def read_targets(path: Path) -> tuple[dict[str, float], list[str]]:
    """Numbers before a fit, and the ids that it was made to meet; nothing if there is no file."""
    if not path.exists():
        return {}, []
    columns = {
        "id": Column("str"),
        **dict.fromkeys(("paper", "tolerance"), Column(required=False, allow_missing=True)),
        "before": Column(allow_missing=True),
        "after": Column(required=False, allow_missing=True),
        "used_in_fit": YES_OR_NO,
    }
    table = read_table(path, columns)
    known = set(analysis.paper()["id"])
    for line, name in table["id"].items():
        if name not in known:
            raise InputError(f"{path}: line {line}, column 'id': {name!r} is no target")
    used = table["used_in_fit"].isin(YES)
    before = dict(zip(table["id"], table["before"], strict=True))
    return before, table["id"][used].tolist()


# The page.

CAPTIONS = {
    "figure_1": "Figure 1. Stocks of organic carbon through time by protection, dry bioclimate, "
    "farmed from year 8000: (a) without erosion, (b) with erosion of 0.05 mm/a. Thin: each year; "
    "bold: trailing mean over the interval between two erosion events. Lines that may lie on "
    "others are dashed.",
    "figure_2": "Figure 2. Stocks by history of erosion (columns: natural, extensive and "
    "intensive phase), bioclimate (colour) and land use, with all protections, and what follows "
    "after year 10 000: farming goes on (solid), the field is left to nature (dashed), or it was "
    "never farmed (dotted). Bold lines break where the window of the mean changes.",
    "figure_3": "Figure 3. Yearly stocks of the intensive phase, farmed, all protections: median, "
    "quartiles and range. Diamond: mean of the smoothed stock, which under E1 and E2 looks back "
    "into the extensive phase.",
    "figure_4": "Figure 4. Years until a field that is left to nature lacks no more than "
    f"{100.0 * analysis.RECOVERED:g} % of the carbon of the soil never farmed for good, against "
    "what it lacked, and topsoil against subsoil. Open, with an arrow: not recovered when the "
    "runs end. Black edge (in c by the topsoil): recovered in the years after an erosion event.",
    "figure_5": "Figure 5. Stocks after 2.5 kg/m² of ground rock in year 10 000, without erosion, "
    "and their difference to the same land use without rock.",
    "figure_A1": "Figure A1. As Figure 2 for each protection (rows), up to year 10 000: only runs "
    "with all protections go on.",
    "figure_A2": "Figure A2. As Figure 2 for the whole profile, the topsoil and the subsoil.",
    "figure_ruling": "Which mechanism protects most, by depth and time, with all protections, and "
    "the share of the carbon of the first metre (without litter) that it limits.",
}

INTRODUCTION = (
    "This report repeats the study of van der Meij & Finke (2026) with another model of the soil "
    "and sets its numbers beside theirs. A number is reproduced if it differs from the paper's by "
    "no more than a tolerance, partly if by no more than two, and otherwise not. A finding is "
    "reproduced if its direction or order and all its numbers are, partly if the direction, or "
    "part of the order, is and something is not. Where the numbers of the paper do not tell, only "
    "what the runs say is given."
)

ETA2 = {
    "mean": "the sum of squares about the mean",
    "anova": "the sum of all lines of the table of the analysis of variance",
}[analysis.ETA2_TOTAL]

METHOD = (
    "Stocks are those of the first metre with the litter layer. The smoothed stock is the mean of "
    "a year and those before it, over the interval between two erosion events of its phase (1000, "
    "100 and 10 years under E1, E2 and E3); it looks back across borders of phases. The "
    "regression takes all smoothed yearly stocks of the 72 runs up to year 10 000; eta² is the "
    f"type-II sum of squares over {ETA2}. Recovery compares yearly stocks as they are, from year "
    "10 000 on. The axis of years is stretched: each phase has its own scale."
)


def page(
    results: Results,
    pictures: Mapping[str, Path],
    suite: xr.Dataset,
    first: str = "",
    last: str = "",
) -> str:
    """The report as HTML; its pictures are inside it, it refers to nothing outside.

    Args:
        results: what the suite says.
        pictures: PNG files by name.
        suite: the runs.
        first, last: sections to begin and to end with.
    """
    about = f"{suite.attrs.get('title', '')} ({suite.attrs.get('source', '')}; " + (
        f"{suite.sizes['scenario']} runs, up to year {suite.sizes['year']})"
    )
    drawn = {name: html.figure(pictures[name], CAPTIONS[name]) for name in PICTURES}
    limiting = drawn.pop("figure_ruling")
    sections = [
        paragraph(INTRODUCTION) + paragraph(about, "note"),
        first,
        section("How much of it is reproduced", _counts(results)),
        section("Findings", _findings(results)),
        section("Every number beside the paper's", _comparison(results.comparison)),
        section("Table 3", _table3(results)),
        section("Figures", *drawn.values()),
        section("Which mechanism limits decomposition", limiting),
        section("Recovery", _recovery(results)),
        section("Rock additions", _rocks(results.rocks)),
        section("What each protection adds", _protection(results.protection)),
        last,
        section("How it was computed", paragraph(METHOD)),
    ]
    title = "The study repeated: soil organic carbon in 10 000 years of loess"
    return html.page(title, [part for part in sections if part])


def _table(frame: pd.DataFrame, kinds: Sequence[str] = ()) -> str:
    return html.table(frame, kinds, g)


def _counts(results: Results) -> str:
    """How many numbers and findings have which verdict; fitted and not fitted apart."""
    words = ("reproduced", "partly", "not")
    table = results.comparison
    rows = []
    fitted = table["used_in_fit"].astype(bool)
    for label, chosen in (("numbers that were fitted", fitted), ("numbers not fitted", ~fitted)):
        verdicts = table["verdict"][chosen]
        if not len(verdicts):
            continue
        rows.append([label, *(str((verdicts == w).sum()) for w in words), str(len(verdicts))])
    found = [f.verdict for f in findings(results) if f.verdict != OWN]
    rows.append(["findings", *(str(found.count(w)) for w in words), str(len(found))])
    text = (
        f"{int(fitted.sum())} of the {len(table)} numbers were used to fit inputs that the study "
        "does not give; that they are met is no evidence by itself. The others were predicted."
        if fitted.any()
        else "No input was fitted to the study's results for these runs."
    )
    return paragraph(text) + _table(pd.DataFrame(rows, columns=["", *words, "all"]))


def _findings(results: Results) -> str:
    found = findings(results)
    used = set(results.comparison.loc[results.comparison["used_in_fit"].astype(bool), "id"])
    judged = [f for f in found if f.verdict != OWN]
    shown = pd.DataFrame(
        {
            "finding": [f.claim for f in judged],
            "verdict": [f.verdict for f in judged],
            "why": [f.reason for f in judged],
            "fitted to": [f"{len(used & set(f.ids))} of {len(f.ids)}" for f in judged],
        }
    )
    if not used:
        del shown["fitted to"]
    own = [f for f in found if f.verdict == OWN]
    rest = pd.DataFrame(
        {"question": [f.claim for f in own], "what the runs say": [f.reason for f in own]}
    )
    return (
        _table(shown, [f.verdict for f in judged])
        + heading("Without numbers of the paper to judge by")
        + _table(rest)
    )


def _comparison(table: pd.DataFrame) -> str:
    parts = []
    fitted = table["used_in_fit"].astype(bool)
    for label, chosen in (("Fitted", fitted), ("Not fitted", ~fitted)):
        own = table[chosen].drop(columns="used_in_fit").rename(columns={"before_fit": "before fit"})
        if own["before fit"].isna().all():
            own = own.drop(columns="before fit")
        if len(own):
            parts.append(heading(label) + _table(own, own["verdict"].tolist()))
    return html.joined(parts)


def _table3(results: Results) -> str:
    table = results.table3
    first = ~table["variable"].duplicated()
    shown = pd.DataFrame(
        {
            "variable": table["variable"].where(first, ""),
            "predictor": table["predictor"],
            "estimate": table["estimate_Mg_C_ha"],
            "paper": table["paper_estimate"],
            "p": ["< 0.001" if p < 0.001 else f"{p:.3f}" for p in table["p_value"]],
            "eta² (%)": table["eta2_percent"].where(first),
            "paper eta² (%)": table["paper_eta2"].where(first),
        }
    )  # fmt: skip
    note = (
        f"Estimates in Mg C/ha (year: Mg C/ha/a). Adjusted R² {results.ours('T3-r2'):.3f}, paper "
        f"{results.paper('T3-r2'):.2f}. The years of a run are not independent of each other, so "
        "the p values, computed as in the study, are far too small."
    )
    return _table(shown) + paragraph(note, "note") + _smoothing(results.smoothing)


def _smoothing(table: pd.DataFrame) -> str:
    """Numbers that change by a tenth of their tolerance or more with the way of smoothing."""
    change = (table["restarted"] - table["looking_back"]).abs() / table["tolerance"]
    columns = ["what", "paper", "looking_back", "restarted", "tolerance"]
    shown = table.loc[~(change < 0.1), columns].rename(columns={"looking_back": "looking back"})
    note = (
        "The paper does not say whether the trailing average looks back across the borders of "
        "phases, as it does here, or begins anew with each phase. Numbers that differ by a tenth "
        "of their tolerance or more:"
    )
    return heading("The other way of smoothing") + paragraph(note, "note") + _table(shown)


def _recovery(results: Results) -> str:
    names = {"deficit_Mg_C_ha": "deficit (Mg C/ha)", "recovery_years": "recovery (a)"}
    table = results.recovery.rename(columns=names)
    table["recovered"] = np.where(table["recovered"], "yes", "not in 2000 years")
    table = table.rename(columns={"years_to_stock_of_10000": "to the stock of year 10 000 (a)"})
    fit = results.recovery_fit.rename(
        columns={"slope_a_per_Mg": "slope (a per Mg C/ha)", "p_value": "p", "r2": "R²",
                 "intercept_a": "intercept (a)"}
    )  # fmt: skip
    return (
        _table(table)
        + heading("Regression of recovery time on deficit")
        + _table(fit)
        + paragraph(recovery_notes(results), "note")
    )


def _rocks(table: pd.DataFrame) -> str:
    last = int(table["year"].max())
    chosen = table[table["year"].isin([END + 100, END + 500, END + 1000, last])]
    wide = chosen.pivot_table(
        index=["bioclimate", "land_use", "rock"], columns="year", values="difference_to_none",
        sort=False,
    ).reset_index()  # fmt: skip
    wide.columns = [c if isinstance(c, str) else f"year {c}" for c in wide.columns]
    wide = wide[wide["rock"] != "none"].rename(columns={"land_use": "land use"})
    wide["rock"] = [figures.ROCKS[r][0] for r in wide["rock"]]
    return paragraph("Difference to no addition, Mg C/ha.", "note") + _table(wide)


def _protection(table: pd.DataFrame) -> str:
    chosen = table[table["year"].isin([1000, *BORDERS])]
    wide = chosen.pivot_table(
        index=["bioclimate", "land_use", "erosion", "year"], columns="protection",
        values="percent_over_none", sort=False,
    ).reset_index()  # fmt: skip
    wide["year"] = wide["year"].astype(str)
    words = {p: label for p, (label, _, _) in figures.PROTECTIONS.items()}
    note = "Per cent over the same history without protection, smoothed stocks."
    return paragraph(note, "note") + _table(wide.rename(columns=words | {"land_use": "land use"}))
