"""What will be done with a case: read whole, told in a page of text, before anything is computed.

``diffsoil check`` prints it. As a page it has pictures too, and what the priors alone predict of
every observation, beside what was measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pandas as pd

from calibration import inputs, plots, prediction
from calibration.observations import topsoil_cm
from calibration.problem import Problem
from calibration.quantities import QUANTITIES
from diffsoil.cases import Case, load_case
from diffsoil.cases.fingerprint import case_files
from diffsoil.cases.keeping import keeping
from diffsoil.cases.overview import Overview, overview
from diffsoil.output import case_pictures
from diffsoil.report import folder as pages
from diffsoil.report import html
from diffsoil.report.folder import Pictures
from diffsoil.work.folder import OutputFolder

PICTURES = ("time_line", "climate", "inputs", "priors")
TABLES = ("inputs", "climate", "defaults", "prior_predictions")
KIND = pages.kind("check", "the check of a case", TABLES, PICTURES)

AIR = {
    "north": "IntCal20, then the bomb curve of zone NH1, to 2019. Zone 1 lies north of some 40 "
    "degrees, and a case does not say its latitude: south of it the peak was up to some 10 % lower "
    "from 1963 to 1967",
    "south": "SHCal20, to 1950",
}
"""What shipped records are, and what they cannot know."""

DRAWS = 200
"""Of the priors, for what they predict."""

SECONDS = {True: 6.5e-6, False: 6.5e-7}
"""Of a layer in a slow step on a core of 2024, of a whole soil and of carbon alone; to be read as
an order of magnitude."""
GRADIENT = 4.0
"""Time of a gradient in runs."""
STAND_IN_RUNS = 4600
"""Of a fit with the full settings of a stand-in for the column, where one round will do."""
STAND_IN_SECONDS = 75.0
"""For compiling, sampling the stand-in and the report."""
NUTS_GRADIENTS = 30_000
"""That chains of NUTS take one after the other, with its full settings."""


def check_case(
    case: Path | str,
    output: Path | None = None,
    overwrite: bool = False,
    keep_stock: bool = False,
) -> str:
    """Read a case with all its files, and say what will be done with it.

    Args:
        case: a case file, or the name of one.
        output: folder for a page with pictures and prior predictions; none if not given.
        overwrite: replace such a folder.
        keep_stock: say as well which constant plant carbon keeps the measured stock.

    Returns:
        The text.

    Raises:
        diffsoil.io.InputError: all that is wrong with the case.
    """
    read = load_case(case)
    place = None
    if output is not None:
        place = OutputFolder(output, KIND, overwrite=overwrite, inputs=case_files(read))
    found = overview(read)
    problem = Problem(read) if read.file.observations else None
    text = "\n".join([*lines(found, problem), *(_kept(read) if keep_stock else ())])
    if place is not None:
        with place:
            write(found, problem, place.work)
    return text


def lines(found: Overview, problem: Problem | None) -> Iterator[str]:
    """The text, line by line.

    Args:
        found: of the case.
        problem: of its calibration; None for a case without observations.
    """
    case = found.case
    yield f"{case.name}: {case.file.title}"
    yield f"{case.path}, format {case.file.format}; no fault in its {_files(case)}"
    yield ""
    yield from _column(case)
    yield ""
    yield "Years, both included, land use, and carbon inputs (t C/ha/a)"
    yield _table(inputs.table(found))
    if not found.start.empty:
        yield ""
        yield "Start: pools in balance with the measured stock (t C/ha; plants t C/ha/a)"
        yield _table(found.start.round(3))
    yield ""
    yield "Climate"
    yield _table(found.climate.round(1))
    if problem is not None:
        yield ""
        yield "Observations"
        yield _table(observed(problem))
        if len(named := procedures(problem)):
            yield ""
            yield "How it was measured"
            yield _table(named)
        yield ""
        yield f"Free parameters ({len(problem.parameters)})"
        yield _table(free(problem))
    yield ""
    yield "Left out of the case; what holds instead"
    yield _table(defaults(found))
    yield ""
    yield from _costs(found, problem)


def _kept(case: Case) -> Iterator[str]:
    """Which constant plant carbon keeps the measured stock, of each site and treatment."""
    table = keeping(case)
    yield ""
    yield (
        f"Plant carbon that keeps the measured stock down to {case.file.measured.lower_cm:g} cm "
        "for ever (needed; stock in t C/ha, the rest in t C/ha/a)"
    )
    shown = table.drop(columns=["lower_cm", "why"]).round(3)
    shown["needed"] = ["none" if why else f"{v:g}" for v, why in zip(
        shown["needed"], table["why"], strict=True)]  # fmt: skip
    yield _table(shown)
    for of, why in zip(table["of"], table["why"], strict=True):
        if why:
            yield f"  {of}: {why}"


def _files(case: Case) -> str:
    others = len(case_files(case)) - 1
    return f"{others} tables" if others != 1 else "table"


def _column(case: Case) -> Iterator[str]:
    file = case.file
    depth = file.grid.layers * file.grid.thickness_m
    kind = "the whole soil develops" if case.whole_soil else "the mineral soil is prescribed"
    yield f"Column: {kind}; {file.grid.layers} layers of {100 * file.grid.thickness_m:g} cm, " + (
        f"{depth:g} m; water: {file.water}"
    )
    yield f"Protection: {', '.join(file.protection) or 'none'} ({file.minimum} minimum)"
    if file.processes:
        yield f"Processes from outside: {', '.join(file.processes)}"
    if file.without:
        yield f"Without: {', '.join(file.without)}"
    if file.radiocarbon_atmosphere:
        yield f"14C of the air: {AIR.get(file.radiocarbon_atmosphere, file.radiocarbon_atmosphere)}"
    fixed = [f"{name} = {value:g}" for name, value in file.set.items()]
    if fixed:
        yield f"Set: {', '.join(fixed)}"


def observed(problem: Problem) -> pd.DataFrame:
    """A row for each series and variable: how many, when, what is fitted and what is kept out."""
    rows = []
    for (series, variable), own in problem.table.groupby(["series", "variable"], sort=False):
        out = own.loc[~own["fitted"], "withheld"].replace("", "estimated")
        reasons = ", ".join(dict.fromkeys(out))
        rows.append(
            {
                "series": series,
                "variable": variable,
                "years": f"{own['year'].min()} to {own['year'].max()}",
                "fitted": int(own["fitted"].sum()),
                "kept out": f"{len(out)} ({reasons})" if len(out) else "0",
            }
        )
    return pd.DataFrame(rows)


def procedures(problem: Problem) -> pd.DataFrame:
    """A row for each procedure of the observations, where it decides what was measured."""
    rows = []
    for (variable, method), own in problem.table.groupby(["variable", "method"], sort=False):
        quantity = QUANTITIES[str(variable)]
        about = quantity.procedures.get(str(method))
        if about is None:
            continue
        words = about.words
        words += f"; adds an sd of {about.sd:g}" if about.sd else ""
        words += "; meant where the table names none" if method == quantity.unnamed else ""
        rows.append({"variable": variable, "method": method, "rows": len(own), "what it is": words})
    return pd.DataFrame(rows)


def free(problem: Problem) -> pd.DataFrame:
    """A row for each free parameter: its value in the case, prior, bounds and unit."""
    return pd.DataFrame(
        {
            "parameter": p.name,
            "value": f"{p.default:g}",
            "prior": str(p.prior),
            "bounds": f"{p.lower:g} to {p.upper:g}",
            "unit": p.unit,
        }
        for p in problem.parameters
    )


TABLES_OF_NAMES = ("climate", "errors", "free", "land_use", "mineralogy", "soil")
"""Tables of a case whose keys are names that the user gives."""


def defaults(found: Overview) -> pd.DataFrame:
    """A row for each default: names and numbers of places that have the same are put together."""
    table = found.defaults

    def general(key: str) -> str:
        parts = key.split(".")
        named = [False, *(before in TABLES_OF_NAMES for before in parts)]
        return ".".join(
            "*" if part.isdigit() or name else part
            for part, name in zip(parts, named, strict=False)
        )

    keys = table["key"].map(general)
    grouped = table.assign(key=keys).groupby(["key", "value"], sort=False).size()
    counted = grouped.rename("places").reset_index()
    counted["key"] = [re.sub(r"\.\*$", "", key) for key in counted["key"]]
    return counted[["key", "value", "places"]]


def _costs(found: Overview, problem: Problem | None) -> Iterator[str]:
    run = found.layer_steps * SECONDS[found.case.whole_soil]
    yield (
        f"One run takes some {_time(run)} on one core, a gradient some {_time(GRADIENT * run)}; "
        "compilation before the first run half a minute to two minutes, once"
    )
    if problem is not None:
        stand_in = STAND_IN_SECONDS + STAND_IN_RUNS * run / 2
        nuts = NUTS_GRADIENTS * GRADIENT * run
        yield (
            f"A calibration takes some {_time(stand_in)} on two cores with its full settings, by "
            f"NUTS on the column some {_time(nuts)}"
        )


def _time(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms" if seconds >= 2e-3 else "1 ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _table(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "  none"
    numbers = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame]
    rows = [[f"{v:g}" if n else str(v) for v, n in zip(row, numbers, strict=True)]
            for row in frame.itertuples(index=False)]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(frame.columns, *rows, strict=True)]
    aligned = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numbers, strict=True)
        )
        for row in [list(frame.columns), *rows]
    ]
    return "\n".join(f"  {line}".rstrip() for line in aligned)


# As a page.


def prior_predictions(problem: Problem, seed: int = 0) -> pd.DataFrame:
    """What the priors alone predict of every observation, see :func:`.prediction.table`."""
    x = np.asarray(problem.priors.sample(jax.random.key(seed), DRAWS))
    predicted = prediction.in_memory(prediction.predict_draws(problem, x))
    return prediction.table(problem, predicted, seed)


def write(found: Overview, problem: Problem | None, folder: Path) -> None:
    """Write ``report.html`` and its tables and pictures.

    Args:
        found, problem: as for :func:`lines`.
        folder: that is there.
    """
    figures = {
        "time_line": case_pictures.time_line(found),
        "climate": case_pictures.climates(found),
        "inputs": case_pictures.inputs(found),
    }
    tables = {"inputs": found.inputs, "climate": found.climate, "defaults": found.defaults}
    if problem is not None:
        table = prior_predictions(problem)
        labels = plots.labels_of(found.case)
        figures["priors"] = plots.beside_observations(table, labels, topsoil_cm(table))
        tables["prior_predictions"] = table

    def sections(pictures: Pictures) -> Iterator[str]:
        yield html.section(
            "Land use",
            html.figure(
                pictures["time_line"],
                "Land use of each site through history, and of each treatment in the experiment.",
            ),
        )
        yield inputs.section(found, pictures)
        yield html.section(
            "Climate",
            html.figure(pictures["climate"], "Mean year of each climate."),
            html.table(found.climate),
        )
        if problem is not None:
            yield _priors(problem, pictures)
            yield html.section("Free parameters", html.table(free(problem)))
        yield html.section("Defaults that hold", html.table(defaults(found)))

    title = f"{found.case.file.title}: what will be done"
    pages.write(folder, title, tables, figures, sections)


def _priors(problem: Problem, pictures: Pictures) -> str:
    return html.section(
        "What the priors say before any fit",
        html.paragraph(
            f"Bands of {DRAWS} draws of the priors with the errors of measurement: 50 and 90 %. A "
            "measurement far outside of its band says that a prior, an input or a unit is wrong; "
            "a band that holds everything says that the fit will decide."
        ),
        html.figure(pictures["priors"], "Measured, and predicted by the priors."),
        html.table(observed(problem)),
        *([html.table(named)] if len(named := procedures(problem)) else []),
    )
