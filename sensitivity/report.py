"""The report of a sensitivity study: pictures and plain words from its tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffsoil.io import InputError
from diffsoil.output.plots import look
from diffsoil.report import html
from diffsoil.report.pictures import save
from diffsoil.work.files import write_table, write_text
from sensitivity import plots
from sensitivity.folder import COLUMNS_OF, STUDY, read_study, read_table, write_study
from sensitivity.plots import PRIMARY

GLOBAL = ("sobol", "shapley", "dgsm", "active-subspace", "morris", "local")
"""Methods in the order in which they are believed, where several were used."""

NAMES = {
    "local": "local derivatives",
    "dgsm": "DGSM",
    "active-subspace": "active subspace",
    "shapley": "Shapley effects",
    "morris": "Morris",
    "sobol": "Sobol",
}

TOLD = 5
"""Inputs that are named of each output."""

FEW, MANY = 3, 8
"""One of the first ``FEW`` inputs by one method that is not among the first ``MANY`` by another
is a disagreement."""

ENOUGH = 0.05
"""An input with less than that of the largest index is not held against a method."""

DISAGREEMENTS = ["case", "output", "year", "parameter", "kind", "what"]


def outputs_of(indices: pd.DataFrame) -> Iterator[tuple[str, str, Any, pd.DataFrame]]:
    """Case, output, year and rows of each output."""
    keys = ["case", "output", "year"]
    for (case, output, year), own in indices.groupby(keys, sort=False, dropna=False):
        yield str(case), str(output), year, own


def at(output: str, year: Any) -> str:
    """An output with its year."""
    return output if pd.isna(year) else f"{output}@{int(year)}"


# What is said.


def ranking(own: pd.DataFrame, method: str) -> pd.DataFrame:
    """Inputs of one output by one method, the most important first; empty if it has no say."""
    rows = own[(own["method"] == method) & (own["index"] == PRIMARY[method])]
    rows = rows[np.isfinite(rows["value"])]
    rows = rows.assign(size=rows["value"].abs())
    return rows.sort_values("size", ascending=False, kind="stable")


def judge(own: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """The most believed method that has something to say of an output, and its ranking."""
    for method in GLOBAL:
        rows = ranking(own, method)
        if len(rows) and rows["size"].max() > 0.0:
            return method, rows
    return "", own.iloc[:0]


def disagreements(indices: pd.DataFrame) -> pd.DataFrame:
    """Where methods contradict each other: they are told, none is hidden.

    - ``bound``: a total Sobol index that is above its DGSM bound, with both intervals.
    - ``rank``: an input among the first few by Sobol indices and far down by derivatives, or the
      other way round.

    Derivatives know nothing of jumps, and hardly anything of what happens at kinks that few
    draws are close to; a bound from few draws that missed the steep places is too low.
    """
    found = []
    for case, output, year, own in outputs_of(indices):
        about = {"case": case, "output": output, "year": year}
        total = own[(own["method"] == "sobol") & (own["index"] == "ST")].set_index("parameter")
        bound = own[(own["method"] == "dgsm") & (own["index"] == "ST_bound")].set_index("parameter")
        for name in total.index.intersection(bound.index):
            if total["low"][name] > bound["high"][name]:
                what = (
                    f"total Sobol index {_with(total.loc[name])} is above "
                    f"the DGSM bound {_with(bound.loc[name])}"
                )
                found.append({**about, "parameter": name, "kind": "bound", "what": what})
        for method in ("dgsm", "active-subspace", "morris", "shapley"):
            found += [{**about, **row} for row in _ranks(own, "sobol", method)]
        if not len(total):
            found += [{**about, **row} for row in _ranks(own, "morris", "dgsm")]
    return pd.DataFrame(found, columns=DISAGREEMENTS)


def _with(row: pd.Series) -> str:
    value, low, high = (html.number(row[c]) for c in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _ranks(own: pd.DataFrame, one: str, other: str) -> list[dict[str, str]]:
    """Inputs that matter by one method and not by another."""
    tables = {method: ranking(own, method) for method in (one, other)}
    if any(len(rows) <= MANY for rows in tables.values()):
        return []
    found = []
    for a, b in ((one, other), (other, one)):
        first = tables[a]
        first = first[first["size"] > ENOUGH * first["size"].max()][:FEW]
        places = {name: i + 1 for i, name in enumerate(tables[b]["parameter"])}
        for i, name in enumerate(first["parameter"]):
            if places.get(name, MANY + 1) > MANY:
                what = f"place {i + 1} by {NAMES[a]}, place {places.get(name, '?')} by {NAMES[b]}"
                found.append({"parameter": name, "kind": "rank", "what": what})
    return found


def what_matters(indices: pd.DataFrame) -> pd.DataFrame:
    """The first few inputs of each output, by the most believed method."""
    rows = []
    for case, output, year, own in outputs_of(indices):
        method, ranked = judge(own)
        names = [
            f"{name} {html.number(value)}"
            for name, value in ranked[["parameter", "value"]].to_numpy()[:TOLD]
        ]
        told = ", ".join(names) or "nothing: the output is constant or could not be judged"
        rows.append({"case": case, "output": at(output, year),
                     "by": f"{NAMES[method]} ({PRIMARY[method]})" if method in NAMES else "–",
                     "what matters": told})  # fmt: skip
    return pd.DataFrame(rows)


def sentences(indices: pd.DataFrame) -> list[str]:
    """Which inputs matter for which output, and how that changes in time."""
    said = []
    for (case, output), own in indices.groupby(["case", "output"], sort=False):
        first: dict[Any, list[str]] = {}
        for year, rows in own.groupby("year", sort=True, dropna=False):
            method, ranked = judge(rows)
            if method:
                largest = ranked[ranked["size"] > ENOUGH * ranked["size"].max()]
                first[year] = [str(n) for n in largest["parameter"][:FEW]]
        if not first:
            said.append(f"{case}: no input changes {output}.")
            continue
        years = list(first)
        text = f"{case}: {at(str(output), years[0])} depends most on {_and(first[years[0]])}"
        now = first[years[0]]
        for year in years[1:]:
            if set(first[year]) != set(now):
                now = first[year]
                text += f"; in year {year} on {_and(now)}"
        if len(years) > 1 and now is first[years[0]]:
            text += f", and on the same until year {years[-1]}"
        said.append(text + ".")
    return said


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def minimum_compared(indices: pd.DataFrame, most: int = 8) -> pd.DataFrame:
    """Elasticities with the case's own minimum of the modifiers beside those with the other."""
    tables = []
    for case, output, year, own in outputs_of(indices[indices["method"] == "local"]):
        wide = own.pivot_table(index="parameter", columns="index", values="value")
        others = [c for c in ("elasticity_soft", "elasticity_hard") if c in wide]
        if not others or "elasticity" not in wide:
            continue
        wide = wide.assign(difference=(wide[others[0]] - wide["elasticity"]).abs())
        wide = wide.sort_values("difference", ascending=False)[:most].reset_index()
        tables.append(
            wide[["parameter", "elasticity", others[0]]].assign(case=case, output=at(output, year))
        )
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True)
    first = ["case", "output", "parameter", "elasticity"]
    return table[[*first, *(c for c in table if c not in first)]]


# The page.


def write(folder: Path) -> Path:
    """Draw all pictures of a study and write ``report.html`` and ``disagreements.csv``.

    Raises:
        diffsoil.io.InputError: the folder holds no study.
    """
    tables = {name: read_table(folder, name, columns) for name, columns in COLUMNS_OF.items()}
    told = _told(folder)
    against = disagreements(tables["indices"])
    write_table(folder / "disagreements.csv", against)
    study = read_study(folder)
    for old in study.get("pictures", []):
        (folder / old).unlink(missing_ok=True)
    drawn: list[str] = []
    sections = [
        _summary(tables, against),
        *[_case(folder, name, about, tables, drawn) for name, about in told.items()],
        _disagreement_section(against, tables["indices"]),
        _failures(tables),
        _costs(tables["costs"]),
        _drivers(folder),
        _inputs(told),
    ]
    write_study(folder, study | {"pictures": drawn})
    page = html.page(f"Sensitivity of {_and(list(told) or ['the study'])}", sections)
    path = folder / "report.html"
    write_text(path, page)
    return path


def _told(folder: Path) -> dict[str, Any]:
    if not (folder / STUDY).is_file():
        raise InputError(f"{folder}: holds no study of sensitivity")
    cases: dict[str, Any] = read_study(folder)["cases"]
    return cases


def _summary(tables: dict[str, pd.DataFrame], against: pd.DataFrame) -> str:
    indices = tables["indices"]
    if indices.empty:
        return html.section("What matters", html.paragraph("No indices have been computed yet."))
    used = [NAMES[m] for m in GLOBAL if (indices["method"] == m).any()]
    words = f"Found with {_and(used)}. "
    words += (
        "A local derivative tells of small changes around the values of the case, all other "
        "methods of the whole ranges of the inputs."
    )
    flags = (
        f"{len(against)} disagreements between methods are listed below." if len(against) else ""
    )
    return html.section(
        "What matters",
        html.paragraph(words),
        html.paragraph(flags) if flags else "",
        *[html.paragraph(text) for text in sentences(indices)],
        html.heading("The first inputs of each output"),
        html.table(what_matters(indices)),
        html.paragraph(
            "ST: share of the variance of the output that remains while this input alone is not "
            "known. mu_scaled: that share if the output were a straight line with the mean size "
            "of the slopes that were met; nu_scaled, with the mean square, is ruled by a few "
            "steep places where there are such. relative_to_sd: relative change of the output by "
            "one standard deviation of the input.",
            "note",
        ),
    )


Picture = Callable[[Any, str, str], str]
"""Puts a picture, if there is one, into a file of a name, and gives it with a caption."""


def _case(
    folder: Path,
    name: str,
    about: dict[str, Any],
    tables: dict[str, pd.DataFrame],
    drawn: list[str],
) -> str:
    """Section of a case; files of its pictures are added to ``drawn``."""
    own = {key: table[table["case"] == name] for key, table in tables.items()}
    stem = re.sub(r"[^\w-]+", "_", name)

    def picture(figure: Any, kind: str, caption: str) -> str:
        if figure is None:
            return ""
        drawn.append(f"{kind.format(stem)}.png")
        return html.figure(save(figure, folder / drawn[-1]), caption)

    return html.section(
        f"{name}: {about['title']}",
        *_elasticities(name, own["elasticities"], picture),
        *_indices(name, about, own, picture),
        *_courses(name, own["indices"], picture),
        *_kinks(name, own["ruling"], picture),
        *_minimum(own["indices"], about.get("minimum", "hard")),
    )


def _elasticities(name: str, own: pd.DataFrame, picture: Picture) -> list[str]:
    """Elasticities through time and depth."""
    plain = own[own["index"] == "elasticity"]
    course = plain[~plain["output"].str.startswith("soc[")]
    return [
        picture(
            plots.elasticity_course(course, f"{name}: elasticity of the stock of 0-1 m and litter"),
            "elasticity_{}",
            "Elasticity of the stock through time, at the values of the case. Inputs that are 0 "
            "there have none.",
        ),
        picture(
            plots.elasticity_depth(plain, f"{name}: elasticity of organic carbon by depth"),
            "depth_{}",
            "Elasticity of the organic carbon of layers.",
        ),
    ]


def _indices(
    name: str, about: dict[str, Any], own: dict[str, pd.DataFrame], picture: Picture
) -> Iterator[str]:
    """Indices of each output, and its active subspace."""
    units = dict(zip(about["outputs"], about["units"], strict=True))
    for number, (_, output, year, rows) in enumerate(outputs_of(own["indices"]), start=1):
        text = at(output, year)
        unit = units.get(text, "")
        yield picture(
            plots.bars(rows, f"{name}: {text} ({unit})"),
            f"indices_{{}}_{number}",
            f"Indices of {text} with 95 % intervals, which may go on beyond the end of an "
            "axis. A bound above 1 is drawn at 1, a circle above 1 is left out.",
        )
        spectrum, seen = (
            t[(t["output"] == output) & _same_year(t["year"], year)]
            for t in (own["eigenvalues"], own["active_variables"])
        )
        yield picture(
            plots.subspace(spectrum, seen, f"{name}: active subspace of {text}", unit),
            f"subspace_{{}}_{number}",
            "Left: eigenvalues with 95 % bootstrap intervals. Right: the output against the "
            "direction in which it varies most.",
        )


def _courses(name: str, indices: pd.DataFrame, picture: Picture) -> Iterator[str]:
    """Indices of each output through time, by each method."""
    for number, (quantity, rows) in enumerate(indices.groupby("output", sort=False), start=1):
        for method in GLOBAL:
            figure = plots.indices_course(rows, method, f"{name}: {quantity} through time")
            kind = f"course_{{}}_{number}_{method}"
            yield picture(figure, kind, f"{NAMES[method]} through time, 95 % bands.")


def _minimum(indices: pd.DataFrame, kind: str) -> list[str]:
    """Where elasticities depend on the minimum of the protection modifiers."""
    minimum = minimum_compared(indices)
    if minimum.empty:
        return []
    return [
        html.heading("Hard and soft minimum of the protection modifiers"),
        html.paragraph(
            f"The case has the {kind} minimum. Where elasticities differ between the two, a "
            "local derivative depends on which modifier happens to limit. The largest "
            "differences of each output:"
        ),
        html.table(minimum.drop(columns="case")),
    ]


def _same_year(years: pd.Series, year: Any) -> pd.Series:
    return years.isna() if pd.isna(year) else (years == year).fillna(False).astype(bool)


def _kinks(name: str, table: pd.DataFrame, picture: Picture) -> list[str]:
    """Which modifier limits decomposition, over the draws of the largest store."""
    if table.empty:
        return []
    store = table.sort_values("n_runs")["store"].iloc[-1]
    own = table[table["store"] == store]
    figure = plots.limiting(own, f"{name}: which modifier limits")
    by = own.groupby(["depth", "ruler"], sort=False)[["share"]].mean().reset_index()
    texts = []
    for depth, rows in by.groupby("depth", sort=False):
        shares = [
            f"{look(str(r)).words} {100 * share:.0f} %"
            for r, share in rows[["ruler", "share"]].to_numpy()
            if share >= 0.005
        ]
        texts.append(f"{depth}: {', '.join(shares)}")
    return [
        html.heading("Kinks: which modifier limits decomposition"),
        html.paragraph(
            "Protection is the lowest of the modifiers. Where another one becomes the lowest "
            "the output has a kink, and a derivative tells of one side only. Share of layers "
            f"and time, mean over {int(own['n_runs'].iloc[0])} draws: {'; '.join(texts)}."
        ),
        picture(figure, "ruling_{}", "Share of the soil in which each modifier limits."),
    ]


def _disagreement_section(against: pd.DataFrame, indices: pd.DataFrame) -> str:
    methods = set(indices["method"]) - {"local"}
    if len(methods) < 2:
        words = "Only one global method has been used, so there is nothing to compare."
        return html.section("Where methods disagree", html.paragraph(words))
    if against.empty:
        words = "No total Sobol index is above its DGSM bound, and no method ranks an input among "
        words += f"the first {FEW} that another has beyond place {MANY}."
        return html.section("Where methods disagree", html.paragraph(words))
    shown = against.assign(output=[at(o, y) for o, y in against[["output", "year"]].to_numpy()])
    words = (
        "A total index cannot be above its bound: there the derivatives missed something, jumps "
        "(events, thresholds) or steep places that too few draws met. Believe the method without "
        "derivatives there. Different ranks tell of bent responses and kinks, or of too few draws."
    )
    return html.section(
        "Where methods disagree",
        html.paragraph(words),
        html.table(shown[["case", "output", "parameter", "kind", "what"]],
                   ["failed" if k == "bound" else "" for k in shown["kind"]]),
    )  # fmt: skip


def _failures(tables: dict[str, pd.DataFrame]) -> str:
    failed, notes = tables["failed"], tables["notes"]
    draws = failed[["case", "store", "row", "what"]].drop_duplicates()
    if draws.empty:
        words = "Every run of every draw gave finite values and derivatives."
    else:
        words = f"{len(draws)} draws failed; their inputs are in failed.csv, and what is made of "
        words += "the rest says how many runs it rests on."
    odd = notes[(notes["dropped"] > 0) | (notes["censored"] > 0) | (notes["note"] != "")]
    parts = [html.paragraph(words)]
    if len(draws):
        parts.append(html.table(draws[:30]))
    if len(odd):
        shown = odd.assign(output=[at(o, y) for o, y in odd[["output", "year"]].to_numpy()])
        parts.append(html.heading("Outputs with less than all runs, or with nothing to say"))
        parts.append(
            html.paragraph(
                "Dropped runs failed, or are of no use without one that did. Censored recovery "
                "times were not reached by the end of the run; they count as that long and have "
                "no derivative.",
                "note",
            )
        )
        parts.append(
            html.table(shown[["method", "case", "output", "n_runs", "dropped", "censored", "note"]])
        )
    return html.section("Runs that failed", *parts)


def _costs(costs: pd.DataFrame) -> str:
    if costs.empty:
        return ""
    shown = costs.assign(minutes=costs["seconds"].astype(float) / 60.0)
    for name in ("minutes", "run_seconds", "equivalents"):
        shown[name] = shown[name].astype(float)
    columns = ["case", "store", "rows", "workers", "minutes", "run_seconds", "equivalents"]
    return html.section(
        "What it took",
        html.paragraph(
            "Wall time with compiling, of all rows that were computed, interrupted ones as well. "
            "Equivalents are wall time times workers over the time of one forward run on its "
            "own, measured on the same machine just before."
        ),
        html.table(shown[columns]),
    )


def _drivers(folder: Path) -> str:
    """What the drivers of the repeated study explain, where they have been analysed."""
    told, image = folder / "drivers.txt", folder / "drivers.png"
    if not told.is_file():
        return ""
    words = told.read_text(encoding="utf-8").splitlines()
    caption = "Drivers of the repeated study: additive model and exact decomposition."
    return html.section(
        "Drivers against parameters",
        *[html.paragraph(line) for line in words],
        html.figure(image if image.is_file() else None, caption),
        html.paragraph("Tables: drivers.csv, drivers_terms.csv, drivers_course.csv.", "note"),
    )


def _inputs(told: dict[str, Any]) -> str:
    parts = []
    for name, about in told.items():
        table = pd.DataFrame(about["inputs"])
        for column in ("value", "lower", "upper"):
            table[column] = table[column].astype(float)
        parts.append(html.heading(name))
        if about["posterior"]:
            parts.append(html.paragraph(f"Joint draws of {about['posterior']} instead of priors."))
        columns = ["name", "value", "unit", "lower", "upper", "prior", "description", "source"]
        parts.append(html.table(table[columns], write=lambda v: f"{v:.4g}"))
    return html.section("Inputs and their distributions", *parts)
