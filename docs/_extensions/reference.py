"""Directive ``reference``: tables of the reference, made of the code when the site is built.

```{reference} parameters
```
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

import diffsoil
from calibration import checks as fit_checks
from calibration import observations, treatments
from calibration.methods import METHODS
from calibration.methods.importance import LEAST_EFFECTIVE
from calibration.noise import NOISE
from calibration.quantities import QUANTITIES
from calibration.twin.scenario import ScenarioFile
from diffsoil.cases import drivers, management, sites
from diffsoil.cases.schema import CaseFile
from diffsoil.column import ADDED, CHOICES, COLUMNS
from diffsoil.io import data_path
from diffsoil.processes.protection import MECHANISMS
from diffsoil.quantities import results
from diffsoil.tables import Column

# Markdown.


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table; bars and line ends within cells would break it."""

    def line(cells: Iterable[object]) -> str:
        clean = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(clean)} |"

    names = list(header)
    return "\n".join([line(names), line("---" for _ in names), *(line(row) for row in rows)]) + "\n"


def code(text: object) -> str:
    """Text as it is written in a file, or nothing."""
    return f"`{text}`" if str(text) else ""


def plain(docstring: str) -> str:
    """A docstring in Markdown: reStructuredText has two back ticks for code, and roles."""
    return re.sub(r":\w+:`[~.]?(?:\w+\.)*([^`]+)`|``([^`]+)``", r"`\1\2`", docstring)


def between(lower: float, upper: float, above: bool = False) -> str:
    """A range in words."""
    if math.isinf(lower) and math.isinf(upper):
        return ""
    start = f"above {lower:g}" if above else f"{lower:g}"
    if math.isinf(upper):
        return start if above else f"{start} or more"
    return f"{start}, up to {upper:g}" if above else f"{start} to {upper:g}"


# Cases and scenarios.


def keys_of(model: Any, top: str) -> str:
    """Every key of a file, by table, from its JSON schema."""
    schema = model.model_json_schema(mode="validation")
    known = schema.pop("$defs")
    parts, done, todo = [_section(top, schema, "##")], set(), _named(schema)
    while todo:
        name = todo.pop(0)
        if name in done or name not in known:
            continue
        done.add(name)
        parts.append(_section(name, known[name], "###"))
        todo += _named(known[name])
    return "\n".join(parts)


def _named(schema: Any) -> list[str]:
    """The tables that a table refers to, in order."""
    return re.findall(r"#/\$defs/(\w+)", str(schema))


def _section(name: str, schema: Mapping[str, Any], level: str) -> str:
    wanted = schema.get("required", [])
    rows = [
        (
            code(key),
            _kind(about),
            "**needed**" if key in wanted else code(_written(about.get("default"))),
            plain(about.get("description", "")),
        )
        for key, about in schema["properties"].items()
    ]
    words = "\n\n".join(plain(schema.get("description", "")).split("\n\n"))
    title = name if level == "##" else _words(name)
    return f"{level} {title}\n\n{words}\n\n{table(('key', 'value', 'default', 'meaning'), rows)}"


def _words(name: str) -> str:
    """The name of a table: of one of our classes, in small letters."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).capitalize()


def _written(default: object) -> str:
    """A default as it is written in TOML; nothing for none."""
    if default is None or (isinstance(default, float) and math.isnan(default)):
        return ""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, str):
        return f'"{default}"' if default else ""
    if isinstance(default, dict):
        inner = ", ".join(f"{k} = {_written(v)}" for k, v in default.items() if v not in (0, None))
        return f"{{ {inner} }}" if inner else ""
    if isinstance(default, list):
        return f"[{', '.join(_written(v) for v in default)}]" if default else ""
    return f"{default:g}"


def _kind(about: Mapping[str, Any]) -> str:
    """What a value has to be, in words."""
    if "$ref" in about:
        name = _words(about["$ref"].rsplit("/", 1)[-1])
        return f"[{name.lower()}](#{name.lower().replace(' ', '-')})"
    for of in ("anyOf", "oneOf", "allOf"):
        if of in about:
            kinds = [_kind(one) for one in about[of] if one.get("type") != "null"]
            return " or ".join(dict.fromkeys(kinds))
    if "enum" in about:
        return " or ".join(code(_written(choice)) for choice in about["enum"])
    if "const" in about:
        return code(_written(about["const"]))
    kind = about.get("type", "")
    if kind == "array":
        return _array(about)
    if kind == "object":
        each = about.get("additionalProperties", {})
        return f"by name: {_kind(each)}" if isinstance(each, dict) and each else "a table"
    if kind in ("number", "integer"):
        return f"{'whole number' if kind == 'integer' else 'number'} {_range(about)}".strip()
    return {"string": "text", "boolean": "`true` or `false`"}.get(kind, kind)


def _array(about: Mapping[str, Any]) -> str:
    items = [*about.get("prefixItems", []), *([about["items"]] if "items" in about else [])]
    kinds = " and ".join(dict.fromkeys(_kind(item) for item in items))
    least, most = about.get("minItems"), about.get("maxItems")
    count = f"{least} of " if least is not None and least == most else "list of "
    return f"{count}{kinds}"


def _range(about: Mapping[str, Any]) -> str:
    above = "exclusiveMinimum" in about
    lower = about.get("exclusiveMinimum", about.get("minimum", -math.inf))
    return between(lower, about.get("maximum", about.get("exclusiveMaximum", math.inf)), above)


# Tables, parameters, results, observations.


WORDS = {
    "month": "1 for January; of an observation the month of the value, empty for the year",
    "year": "calendar year",
    "temperature_c": "mean air temperature",
    "precipitation_mm": "rain and snow",
    "evaporation_mm": "evaporation of an open pan",
    "pet_mm": "potential evapotranspiration",
    "temperature_origin": "where the value is from, not used",
    "precipitation_origin": "where the value is from, not used",
    "treatment": "name of a treatment of the case; of an observation of the history: empty",
    "land_use": "name of a land use of the case",
    "plant_carbon_base_t_ha": "plant carbon that does not follow the yield, scaled by the factor "
    "of `input_group`; empty or 0 where the land use has `npp`",
    "plant_carbon_yield_t_ha": "plant carbon that follows the yield, scaled by the factor of "
    "`yield_group`",
    "manure_carbon_t_ha": "carbon of farmyard manure, not its fresh weight",
    "fallow_share": "share of the plot that lies bare, for the cover of the soil",
    "lime_mol_m2": "lime, of a whole soil; worked in as deep as the land use is ploughed",
    "ammonium_kg_ha": "nitrogen of fertiliser with ammonium or urea, of a whole soil: it acidifies",
    "yield_t_ha": "yield, dry matter: becomes plant carbon that follows the yield",
    "crop": "crop of the yield, of the library; that of the land use if left out",
    "residues_left_share": "share of the straw or leaves that stays; that of the land use if left "
    "out",
    "latitude": "north is positive; needed with values of a year",
    "longitude": "east is positive",
    "first_land_use": "land use of the first phase; that of the case if empty",
    "plant_carbon_t_ha": "plant carbon of the last phase in a year; that of its land use if empty",
    "climate": "file of twelve normals, beside the table or among the shipped data",
    "mean_temperature_c": "mean temperature of the year",
    "temperature_amplitude_c": "half of the difference between the warmest and the coldest month",
    "yearly_precipitation_mm": "rain and snow of the year",
    "yearly_pet_mm": "potential evapotranspiration of the year; Hargreaves' if empty",
    "warmest_month": "time of the warmest day: 7.0 is the middle of July; 7.2 if empty, 1.2 in the "
    "south",
    "precipitation_amplitude": "rain of the wettest month above the mean, relative; 0 if empty",
    "wettest_month": "time of the most rain, as `warmest_month`",
    "daily_range_c": "temperature of the day above that of the night; 12 if empty",
    "activity": "14C activity of the air, 1 is modern; this column or the next",
    "delta14c_permil": "deviation of the 14C of the air from modern",
    "sd_permil": "standard deviation of it, not used",
    "site": "name of a site; in a table of sites its own, elsewhere one of the case",
    "variable": "what was measured, see below",
    "upper_cm": "upper depth of the sample",
    "lower_cm": "lower depth of the sample",
    "value": "the measured value",
    "sd": "standard deviation of the value, measured",
    "unit": "unit of value and sd, see below",
    "estimated": "1 for a value that was not measured: it is never fitted",
    "basis": "how the interval meets the column, see below",
    "soil_mass_Mg_ha": "mass of the sampled soil, see below",
    "source": "where the value is from, not used",
    "series": "values that share an error; the site where none is given",
    "method": "how it was measured: see below for the variables where that decides what was "
    "measured; any name elsewhere",
}
"""What a column is; every column of :data:`MADE` has to be here."""


def columns(of: Mapping[str, Column], defaults: Mapping[str, object] | None = None) -> str:
    """The columns of a table that a user writes."""
    kinds = {"int": "whole number", "float": "number", "str": "text"}
    rows = []
    for name, about in of.items():
        words = " or ".join(code(choice) for choice in about.choices) or kinds[about.kind]
        default = (defaults or {}).get(name, "")
        rows.append(
            (
                code(name),
                WORDS[name],
                f"{words} {between(about.lower, about.upper)}",
                about.unit.removeprefix("1"),
                "yes" if about.required else "no",
                "yes" if about.allow_missing else "no",
                "" if default != default or default == "" else code(default),
            )
        )
    return table(("column", "meaning", "value", "unit", "needed", "may be empty", "default"), rows)


def parameters() -> str:
    """The parameter table, a table for each process."""
    parts = []
    for process, part in _by_process(diffsoil.parameter_table().to_dict("records")).items():
        rows = [
            (
                code(row["name"]),
                row["description"],
                row["unit"],
                f"{row['default']:g}",
                between(row["lower"], row["upper"]),
                row["prior"],
                row["source"],
            )
            for row in part
        ]
        header = ("parameter", "meaning", "unit", "default", "bounds", "prior", "source")
        parts.append(f"## {process}\n\n{table(header, rows)}")
    return "\n".join(parts)


def _by_process(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["name"].split(".")[0], []).append(row)
    return found


def outputs() -> str:
    """Every variable of a file of results."""
    rows = [
        (code(name), about.long_name, about.unit, ", ".join(code(dim) for dim in about.dims))
        for name, about in results().items()
    ]
    return table(("variable", "meaning", "unit", "dimensions besides `treatment`"), rows)


def observed() -> str:
    """Every variable that can be observed."""
    rows = [
        (
            code(name),
            about.name,
            code(about.unit),
            ", ".join(code(unit) for unit in about.also),
            between(about.lower, about.upper),
            "no" if about.error_known else "yes",
        )
        for name, about in QUANTITIES.items()
    ]
    header = ("variable", "what", "unit", "also taken", "range", "needs a stated error")
    return table(header, rows)


def procedures() -> str:
    """How variables are measured, where that decides what was measured."""
    alike: dict[tuple[str, ...], list[str]] = {}
    for variable, quantity in QUANTITIES.items():
        for name, about in quantity.procedures.items():
            words = about.words + ("; meant where none is named" * (name == quantity.unnamed))
            sd = f"{about.sd:g}" if about.sd else ""
            alike.setdefault((code(name), words, about.refused, sd, about.source), []).append(
                variable
            )
    rows = [(", ".join(map(code, of)), *rest) for rest, of in alike.items()]
    header = ("variable", "method", "what it measures", "refused, for", "adds an sd of", "source")
    return table(header, rows)


def choices() -> str:
    """The names that a case or a command may choose from, for each slot."""
    slots: dict[str, Iterable[str]] = {
        "`column`": COLUMNS,
        **{f"`{name}`": slot for name, slot in CHOICES.items()},
        "`protection`": MECHANISMS,
        "`processes`": ADDED,
        "`distribution` of an error": NOISE,
        "`--method` of `calibrate`": METHODS,
    }
    rows = [(name, ", ".join(code(choice) for choice in slot)) for name, slot in slots.items()]
    return table(("slot", "choices"), rows)


def methods() -> str:
    """Methods of calibration in their own words."""
    rows = [(code(name), method.description) for name, method in METHODS.items()]
    return table(("`--method`", "what it does"), rows)


def shipped() -> str:
    """The cases that come with the package."""
    rows = []
    for path in sorted(data_path("cases").glob("*.toml")):
        written = tomllib.loads(path.read_text(encoding="utf-8"))
        rows.append((code(path.stem), written["title"]))
    return table(("case", "title"), rows)


# A fit.

FIT = Path(__file__).parents[1] / "tutorial" / "_run" / "first_fit" / "fit"
"""The fit of the tutorial, made anew before pages are read."""

INPUTS_OF_A_FIT = ("case.toml", "climate", "management.csv", "observations.csv")

FILES = {
    "report.html": "all of the below for a colleague, the conclusion first",
    "checks.csv": "whether the sampler worked, the model fits, and what the data do not say",
    "summary.csv": "each parameter: posterior, prior, contraction, R-hat, effective draws",
    "predictions.csv": "each observation with its predictive distribution",
    "posterior.nc": "all draws, with prior, predictions and log likelihood (ArviZ DataTree)",
    "profile.csv": "carbon of each layer by treatment and pool at the end of the case",
    "fisher.csv": "which combinations of parameters the observations determine",
    "fit.json": "how the fit was made: program version, options, checksums, history",
    "facts.json": "numbers of the method, such as gradients and seconds",
    "laplace.npz": "best fit and curvature, from which `--resume` goes on",
    "overview.png": "observations and predictions of all treatments",
    "fit.png": "observed against predicted, what was fitted",
    "kept_out.png": "observed against predicted, what was kept out",
    "residuals.png": "residuals by year and series",
    "priors.png": "prior and posterior of each parameter",
    "pairs.png": "pairs of parameters",
    "inputs.png": "carbon that enters each treatment by year",
    "profile.png": "carbon by depth and pool of each treatment at the end",
}
"""Files of a fit, besides its case and the files that the case names."""

CHECKS: dict[str, tuple[str, str]] = {
    "parameters at bounds": (
        f"at most {fit_checks.MASS_AT_BOUND:.0%} of the draws near a bound",
        "A bound decides, not the data. Widen it, or ask what the parameter makes up for.",
    ),
    "importance weights (Pareto k)": (
        f"at most {fit_checks.PARETO_K:g}",
        "The draws miss a part of the posterior. Use `--method nuts`.",
    ),
    "importance weights (effective draws)": (
        f"at least {LEAST_EFFECTIVE:g}",
        "Too few draws carry the weight. Quantiles are rough.",
    ),
    "other best fits": (
        "none",
        "Searches ended at different best fits that are about as good. There may be several "
        "summits; a method knows those that it begins at.",
    ),
    "log evidence, standard error": (
        f"at most {fit_checks.EVIDENCE_SPREAD:g}",
        "The evidence is too uncertain to compare cases by. Take more particles.",
    ),
    "identifiable directions (for information)": (
        "never fails",
        "How many combinations of parameters the observations determine better than the priors.",
    ),
    "R-hat": (
        "below 1.01; below 1.05 with `--quick`",
        "Chains disagree. Run longer before you use the result.",
    ),
    "agreement of the runs (R-hat)": (
        "below 1.01; below 1.05 with `--quick`",
        "Independent runs of `svi`, `flow`, `smc` or `ensemble` disagree. Run longer.",
    ),
    "effective draws": (
        "above 400; above 50 with `--quick`",
        "Too few independent draws for the middle (bulk) or the limits (tail) of a posterior.",
    ),
    "divergences": ("none", "NUTS met a place that it could not follow. Take a longer warm-up."),
    "energy": (f"BFMI at least {fit_checks.BFMI:g}", "NUTS explores slowly. Take more draws."),
    "tree depth": (
        f"no path cut at depth {fit_checks.DEEPEST_TREE}",
        "Slow, not wrong. Take a longer warm-up.",
    ),
    "leave-one-out (Pareto k)": (
        f"at most {fit_checks.PARETO_K:g} for each observation",
        "Single observations pull the fit. Look at those that the line names.",
    ),
    "coverage": (
        f"the share inside the {fit_checks.COVERAGE:.0%} band, less two standard errors",
        "The prediction claims more than it knows.",
    ),
    "residual mean": (
        f"within {fit_checks.CHANCE:g} standard errors of 0",
        "Something that acts on the whole series is missing or wrong.",
    ),
    "residual trend": (
        f"within {fit_checks.CHANCE:g} standard errors of 0",
        "The model changes too fast or too slowly.",
    ),
    "residual autocorrelation": (
        f"within {fit_checks.CHANCE:g} standard errors of 0",
        "The model misses a slow change or an offset; limits of parameters are too narrow.",
    ),
    "residuals on one side": (
        f"errors alone do that with a probability of {treatments.RARE:g} or more",
        "A treatment lies above or below its prediction more than errors explain.",
    ),
    "contraction (for information)": (
        f"never fails; names what is below {fit_checks.LITTLE_LEARNED:g}, and apart from that "
        f"what is below -{fit_checks.LITTLE_LEARNED:g}",
        "The data say next to nothing about these parameters, or less is known than before.",
    ),
    "prior sensitivity (for information)": (
        f"never fails; names what is above {fit_checks.SENSITIVE:g}",
        "The posterior would change with a wider prior.",
    ),
    "success": (
        "as the case says in `[success]`",
        "Predictions do not reach what the case has asked of them before the fit.",
    ),
    "priors of spreads between fields": (
        f"a sensitivity below {fit_checks.SENSITIVE:g} to the prior of each spread, that alone "
        "being scaled; only where a parameter differs between sites, groups or treatments",
        "The prior says how far fields differ, and how wide a prediction of another one is.",
    ),
    "correlation (for information)": (
        f"never fails; names what is above {fit_checks.STRONG_CORRELATION:g}",
        "The data determine these parameters only together.",
    ),
}
"""What checks begin with in ``checks.csv`` -> when one passes, and what a failure says."""


def checks() -> str:
    """The checks of a fit.

    Raises:
        ExtensionError: the fit of the tutorial has a check that is not described here.
    """
    there = pd.read_csv(FIT / "checks.csv")["check"]
    absent = [name for name in there if not name.startswith(tuple(CHECKS))]
    if absent:
        raise ExtensionError(f"{__file__}: CHECKS lacks {absent}")
    rows = [(name, *about) for name, about in CHECKS.items()]
    return table(("check", "passes", "what a failure says"), rows)


def files_of_a_fit() -> str:
    """The files of the fit of the tutorial.

    Raises:
        ExtensionError: it has a file that is not described here, or lacks one that is.
    """
    there = {path.name for path in FIT.iterdir() if not path.name.startswith(".")}
    differ = there.difference(INPUTS_OF_A_FIT).symmetric_difference(FILES)
    if differ:
        raise ExtensionError(f"{__file__}: FILES and a fit differ in {sorted(differ)}")
    return table(("file", "what it holds"), ((code(name), what) for name, what in FILES.items()))


MADE: dict[str, Callable[[], str]] = {
    "case": lambda: keys_of(CaseFile, "The whole file"),
    "scenario": lambda: keys_of(ScenarioFile, "The whole file"),
    "normals": lambda: columns(drivers.NORMALS),
    "months": lambda: columns(drivers.MONTHS),
    "management": lambda: columns(management.MANAGEMENT | management.YIELDS),
    "sites": lambda: columns(sites.COLUMNS),
    "atmosphere": lambda: columns(drivers.ATMOSPHERE),
    "observations": lambda: columns(observations.COLUMNS, observations.DEFAULTS),
    "observed": observed,
    "procedures": procedures,
    "parameters": parameters,
    "outputs": outputs,
    "choices": choices,
    "methods": methods,
    "checks": checks,
    "fit": files_of_a_fit,
    "shipped": shipped,
}


class Reference(SphinxDirective):
    """One of :data:`MADE`, in the place of the directive."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of its Markdown."""
        text = MADE[self.arguments[0]]()
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Add the directive."""
    app.add_directive("reference", Reference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
