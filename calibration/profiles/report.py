"""Pictures and report of a fit of many profiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.stats import gaussian_kde

from calibration.profiles.hierarchy import PROTECTION, Draws, Hierarchy
from calibration.profiles.sites import Sites
from diffsoil.processes.protection import MECHANISMS, Mechanism
from diffsoil.report import html
from diffsoil.report.pictures import BLUE, GREEN, GREY, ORANGE, Figure, save
from diffsoil.tables import read_written
from diffsoil.work.files import write_text

COLUMNS = 7

STRONG = 3.0
"""A log Bayes factor of this size (odds of 20) is called strong (Kass & Raftery 1995)."""


def _plain(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)


def profiles_figure(table: pd.DataFrame, cover: dict[str, str]) -> Figure:
    """SOC by depth of every profile, as measured and as predicted.

    Args:
        table: as :meth:`calibration.profiles.workflow.Study.predicted` makes it.
        cover: land use of each profile.
    """
    names = list(dict.fromkeys(table["site"]))
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(1.75 * columns, 2.15 * rows + 0.7), layout="constrained")
    strip = 0.5 / (2.15 * rows + 0.7)
    figure.get_layout_engine().set(rect=(0, strip, 1, 1 - strip))  # type: ignore[union-attr, call-arg]
    shared = None
    for number, name in enumerate(names):
        ax = figure.add_subplot(rows, columns, number + 1, sharex=shared, sharey=shared)
        shared = shared or ax
        _plain(ax)
        own = table[table["site"] == name]
        for row in own.itertuples():
            depth = [row.upper_cm, row.lower_cm]
            ax.fill_betweenx(depth, row.q05, row.q95, color=BLUE, alpha=0.25, lw=0)
            ax.plot([row.q50, row.q50], depth, color=BLUE, lw=1.2)
            ax.plot([row.value, row.value], depth, color=ORANGE, lw=2.2)
        ax.set_title(f"{name.replace('_', ' ')}, {cover[name]}", fontsize=8, loc="left")
        ax.set_xscale("log")
        if number % columns:
            ax.tick_params(labelleft=False)
        else:
            ax.set_ylabel("depth, cm", fontsize=8)
        if number + columns < len(names):
            ax.tick_params(labelbottom=False)
        else:
            ax.set_xlabel("SOC, %", fontsize=8)
    assert shared is not None
    shared.set_ylim(100, 0)
    shared.set_xlim(0.05, 10)
    shared.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    handles = [
        Line2D([], [], color=ORANGE, lw=2.2, label="measured"),
        Line2D([], [], color=BLUE, lw=1.2, label="predicted, median"),
        Patch(color=BLUE, alpha=0.25, lw=0, label="90 % of predicted measurements"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def symbol(mechanism: type[Mechanism]) -> str:
    """Symbol of its strength in the published table."""
    return mechanism.strength.capitalize()


def protection_figure(model: Hierarchy, draws: dict[str, Draws]) -> Figure:
    """Prior and posterior of the parameter of each mechanism."""
    figure = Figure(figsize=(9.0, 6.0), layout="constrained")
    figure.get_layout_engine().set(rect=(0, 0.07, 1, 0.93))  # type: ignore[union-attr, call-arg]
    styles = (("alone", GREEN, "--"), ("all", BLUE, "-"))
    for number, (mechanism, name) in enumerate(PROTECTION.items()):
        ax = figure.add_subplot(-(-len(PROTECTION) // 2), 2, number + 1)
        _plain(ax)
        parameter = model.parameters[model.names.index(name)]
        drawn = False
        for label, colour, line in styles:
            variant = mechanism if label == "alone" else "all"
            if variant not in draws:
                continue
            x = draws[variant].x[:, :, model.names.index(name)].ravel()
            upper = min(parameter.upper, 20.0)
            at = np.linspace(parameter.lower, upper, 300)
            if not drawn:
                prior = parameter.prior
                density = _prior_density(at, prior.kind, prior.location, prior.scale)
                ax.fill_between(at, density, color=GREY, alpha=0.25, lw=0)
                drawn = True
            ax.plot(at, gaussian_kde(x)(at), line, color=colour, lw=1.6)
        of, unit = MECHANISMS[mechanism], parameter.unit.removeprefix("1")
        ax.set_title(f"{symbol(of)}: {of.words}", fontsize=9, loc="left")
        ax.set_xlabel(", ".join(filter(None, (symbol(of), unit))), fontsize=8)
        ax.set_ylabel("density", fontsize=8)
        ax.set_ylim(bottom=0)
    handles: list[Line2D | Patch] = [Patch(color=GREY, alpha=0.25, lw=0, label="prior")]
    shown = {"alone": any(m in draws for m in PROTECTION), "all": "all" in draws}
    text = {"alone": "this mechanism alone", "all": "all"}
    handles += [
        Line2D([], [], color=colour, ls=line, lw=1.6, label=f"posterior, {text[label]}")
        for label, colour, line in styles
        if shown[label]
    ]
    figure.legend(handles=handles, loc="lower center", ncols=3, fontsize=8, frameon=False)
    return figure


def _prior_density(at: np.ndarray, kind: str, location: float, scale: float) -> np.ndarray:
    """Prior density between its bounds, normalised there."""
    if kind == "uniform":
        density = np.ones_like(at)
    elif kind == "normal":
        density = np.exp(-0.5 * ((at - location) / scale) ** 2)
    else:
        positive = np.maximum(at, 1e-9)
        density = np.exp(-0.5 * (np.log(positive / location) / scale) ** 2) / positive
    return density / np.trapezoid(density, at)


def variants_figure(comparison: pd.DataFrame) -> Figure:
    """Evidence and predictive skill of every variant beside plain RothC."""
    figure = Figure(figsize=(9.0, 0.42 * len(comparison) + 1.3), layout="constrained")
    at = np.arange(len(comparison))[::-1]
    panels = (
        ("log_bayes_factor", "error", "log evidence above RothC without protection", 1.0),
        ("elpd_gain", "elpd_gain_se", "leave-one-profile-out elpd above RothC", 1.0),
    )
    for number, (value, error, label, width) in enumerate(panels):
        ax = figure.add_subplot(1, 2, number + 1)
        _plain(ax)
        ax.axvline(0, color="black", lw=0.6)
        if value == "log_bayes_factor":
            ax.axvspan(-STRONG, STRONG, color=GREY, alpha=0.12, lw=0)
            ax.set_title("grey: odds below 20, not strong", fontsize=8, loc="left")
        else:
            ax.set_title("bars: one standard error over profiles", fontsize=8, loc="left")
        bar = width * comparison[error]
        ax.errorbar(comparison[value], at, xerr=bar, fmt="o", ms=5, color=BLUE, capsize=3, lw=1.3)
        ax.set_yticks(at, comparison.index if number == 0 else [""] * len(at))
        ax.set_xlabel(label, fontsize=8)
    return figure


def withheld_figure(table: pd.DataFrame) -> Figure:
    """Measured SOC of withheld profiles against its prediction."""
    chosen = list(dict.fromkeys(table["variant"]))
    figure = Figure(figsize=(4.3 * len(chosen), 4.4), layout="constrained")
    labels = {"none": "RothC without protection", "all": "all four mechanisms"}
    for number, variant in enumerate(chosen):
        ax = figure.add_subplot(1, len(chosen), number + 1)
        _plain(ax)
        rows = table[table["variant"] == variant]
        for series, colour, marker in (("topsoil", BLUE, "o"), ("subsoil", ORANGE, "s")):
            own = rows[rows["series"] == series]
            low, high = own["q50"] - own["q05"], own["q95"] - own["q50"]
            ax.errorbar(own["value"], own["q50"], yerr=[low, high], fmt="none", ecolor=colour,
                        elinewidth=0.5, alpha=0.5)  # fmt: skip
            ax.plot(own["value"], own["q50"], marker, ms=4, color=colour, label=series)
        ends = [0.05, 10]
        ax.plot(ends, ends, color="black", lw=0.7)
        ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        ticks = [0.1, 0.3, 1, 3, 10]
        ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
        ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
        ax.set_title(labels.get(variant, variant), fontsize=9, loc="left")
        ax.set_xlabel("measured SOC, %", fontsize=8)
        ax.set_ylabel("predicted without this profile, median and 90 %, SOC %", fontsize=8)
        ax.legend(fontsize=8, frameon=False, loc="upper left")
    return figure


def verdicts(comparison: pd.DataFrame, draws: dict[str, Draws], model: Hierarchy) -> list[str]:
    """One sentence for each mechanism: what the data say about it."""
    said = []
    for mechanism, name in PROTECTION.items():
        if mechanism not in comparison.index or "none" not in comparison.index:
            continue
        row = comparison.loc[mechanism]
        place = model.names.index(name)
        x = draws[mechanism].x[:, :, place].ravel()
        prior = np.asarray(model.priors.sample(jax.random.key(0), 4000))[:, place]
        contraction = 1 - x.var() / prior.var()
        of = MECHANISMS[mechanism]
        factor, gain, se = row["log_bayes_factor"], row["elpd_gain"], row["elpd_gain_se"]
        if factor > STRONG and gain > 2 * se:
            verdict = "the data support it"
        elif factor < -STRONG and gain < -2 * se:
            verdict = "the data speak against it"
        else:
            verdict = "the data cannot tell"
        said.append(
            f"{symbol(of)}, {of.words}: {verdict}. Log Bayes factor against "
            f"RothC without protection {factor:+.2f} (Monte Carlo error {row['error']:.2f}), "
            f"gain of elpd {gain:+.2f} (standard error {se:.2f}); posterior "
            f"{x.mean():.2f} ± {x.std():.2f}, prior {prior.mean():.2f} ± {prior.std():.2f}, "
            f"contraction {100 * contraction:.0f} %."
        )
    return said


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a fit of many profiles found.

    ``draws`` are those of each variant and ``comparison`` has one row a variant; ``variant`` is
    the one whose predictions are drawn. Profiles were withheld in ``folds`` parts; ``withheld``,
    ``scores`` and ``direct`` are empty where nothing was withheld or sampled on the column itself.
    """

    sites: Sites
    model: Hierarchy
    variant: str
    draws: dict[str, Draws]
    comparison: pd.DataFrame
    withheld: pd.DataFrame
    scores: pd.DataFrame
    folds: int
    direct: pd.DataFrame


def write(folder: Path, found: Findings) -> None:
    """Draw all pictures and write ``report.html`` beside the tables of ``folder``."""
    sites, comparison = found.sites, found.comparison
    predictions = read_written(folder / "predictions.csv", ("site", "value", "q05", "q50", "q95"))
    cover = dict(zip(sites.names, sites.cover, strict=True))
    pictures = {
        "profiles": save(profiles_figure(predictions, cover), folder / "profiles.png"),
        "protection": save(protection_figure(found.model, found.draws), folder / "protection.png"),
        "variants": save(variants_figure(comparison), folder / "variants.png"),
    }
    if len(found.withheld):
        by_profile = found.withheld[found.withheld["left_out"] == "profiles"]
        pictures["withheld"] = save(withheld_figure(by_profile), folder / "withheld.png")
    corrections = read_written(folder / "corrections.csv", ("variant",))
    summary = read_written(folder / "summary.csv", ())
    text = [
        html.section(
            "What protects the carbon?",
            html.paragraph(
                f"{len(sites.names)} profiles, {len(sites.table)} horizons. Each variant is the "
                "same hierarchical model with other protection mechanisms switched on; 'none' is "
                "RothC with fitted rates and slower subsoils." + _followed(found.model)
            ),
            *[html.paragraph(line) for line in verdicts(comparison, found.draws, found.model)],
            html.figure(pictures["variants"], "Evidence and predictive skill of the variants."),
            html.table(comparison.reset_index()),
            html.figure(pictures["protection"], "Prior and posterior of the four parameters."),
        ),
        html.section(
            "Observed and predicted",
            html.figure(
                pictures["profiles"], f"SOC of the fitted profiles, variant '{found.variant}'."
            ),
        ),
        _withheld_section(pictures.get("withheld"), found.scores, found.folds),
        html.section(
            "Can it be trusted?",
            html.paragraph(
                "The column itself was run at draws of every posterior: Pareto k of the ratio of "
                "its likelihood to that of the emulator, to be below 0.7."
            ),
            html.table(corrections),
            _direct_part(found.direct),
        ),
        html.section("Parameters", html.table(summary)),
        html.section("Assumptions", *_notes(sites)),
    ]
    page = html.page(f"Many sites: {', '.join(c.file.title for c in sites.cases)}", text)
    write_text(folder / "report.html", page)


def _followed(model: Hierarchy) -> str:
    """What the turnover follows in all variants, if anything."""
    if model.regression is None:
        return ""
    kind = type(model.regression).__name__.lower()
    return (
        f" In all of them the turnover of a layer follows {', '.join(model.regression.names)} of "
        f"its horizon as well ({kind})."
    )


def _withheld_section(picture: Path | None, scores: pd.DataFrame, folds: int) -> str:
    if not len(scores):
        return ""
    return html.section(
        "Profiles that were withheld",
        html.paragraph(
            f"Profiles were left out in {folds} parts, one after another, and predicted from "
            "soil, climate and land cover alone; their plant input is drawn from the distribution "
            "over profiles. Where several cases were fitted, all profiles of a case were left out "
            "as well. RothC in layers has its own rates and the inputs of the cases."
        ),
        html.table(scores),
        html.figure(picture, "Withheld profiles."),
    )


def _direct_part(direct: pd.DataFrame) -> str:
    if not len(direct):
        return ""
    about = "NUTS on the column itself for a few profiles, beside NUTS on their emulator."
    return html.paragraph(about) + html.table(direct)


def _notes(sites: Sites) -> Sequence[str]:
    notes = sites.cases[0].file.notes
    return [html.paragraph(f"{name}: {text}") for name, text in notes.items()]
