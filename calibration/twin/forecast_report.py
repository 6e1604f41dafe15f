"""Pictures and the report of a forecast."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from calibration import saved_fit
from calibration.twin import atmosphere, scenario
from calibration.twin.result import UNITS, Forecast
from calibration.twin.scenario import Scenario
from diffsoil.report import html
from diffsoil.report.html import figure, heading, paragraph, section
from diffsoil.report.pictures import CYCLE, GREY, Figure, save
from diffsoil.work.files import write_text


def write(
    folder: Path,
    found: saved_fit.Fit,
    asked: Scenario,
    result: Forecast,
    by_year: pd.DataFrame,
    apart: pd.DataFrame,
) -> None:
    """Draw the pictures and write ``report.html``.

    Args:
        folder: where they go.
        found: the fit.
        asked: the options.
        result: what is in the soil, by draw.
        by_year, apart: tables of stocks and of differences.
    """
    pictures: dict[str, Path] = {}
    for name, drawn in (("forecast", fans(asked, by_year)), ("differences", bars(asked, apart))):
        if drawn is not None:
            pictures[name] = save(drawn, folder / f"{name}.png")
    sections = [
        _asked(found, asked, len(result.draws)),
        _stocks(asked, by_year, pictures),
        _differences(asked, apart, pictures),
        _beware(found, asked),
        _repeat(asked),
    ]
    write_text(folder / "report.html", html.page(asked.file.title, sections))


def _panels(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    """Treatment, axis label and rows of each panel."""
    found = []
    keys = ["treatment", "variable", "upper_cm", "lower_cm"]
    for (treatment, *_), rows in table.groupby(keys, sort=False, dropna=False):
        found.append((str(treatment), _what(rows.head(1))[0], rows))
    return found


WORDS = {"soc_stock": "organic C", "delta14c": "Δ14C", "litter_stock": "litter C"}


def _what(rows: pd.DataFrame) -> list[str]:
    """The quantity of each row, with its depth and unit."""

    def one(variable: str, upper: float, lower: float) -> str:
        depth = "" if np.isnan(upper) else f" {upper:g}-{lower:g} cm"
        return f"{WORDS[variable]}{depth}, {UNITS[variable]}"

    return list(map(one, rows["variable"], rows["upper_cm"], rows["lower_cm"]))


def _labels(asked: Scenario) -> dict[str, str]:
    return {t.name: t.label or t.name for t in asked.case.file.treatment}


def fans(asked: Scenario, by_year: pd.DataFrame) -> Figure:
    """Median and 5 to 95 % of every option through time, one panel for each option's band."""
    panels = _panels(by_year)
    options = asked.options
    picture = Figure(figsize=(3.3 * len(options), 2.5 * len(panels) + 0.7), layout="constrained")
    axes = picture.subplots(len(panels), len(options), squeeze=False, sharex=True, sharey="row")
    for row, (treatment, label, rows) in zip(axes, panels, strict=True):
        base = rows[rows["option"] == options[0].name]
        for i, (ax, option) in enumerate(zip(row, options, strict=True)):
            own = rows[rows["option"] == option.name]
            colour = CYCLE[i % len(CYCLE)]
            ax.axvline(asked.today + 0.5, color=GREY, lw=0.8, ls=":")
            if i:
                ax.plot(base["year"], base["q50"], color=CYCLE[0], lw=1, ls="--")
            ax.fill_between(own["year"], own["q05"], own["q95"], color=colour, alpha=0.18, lw=0)
            ax.fill_between(own["year"], own["q25"], own["q75"], color=colour, alpha=0.35, lw=0)
            ax.plot(own["year"], own["q50"], color=colour, lw=1.4)
            ax.spines[["top", "right"]].set_visible(False)
            ax.tick_params(labelsize=8)
            if ax in axes[0]:
                ax.set_title(option.title, fontsize=9, loc="left")
        row[0].set_ylabel(f"{_labels(asked)[treatment]}\n{label}", fontsize=8)
    for ax in axes[-1]:
        ax.set_xlabel("year", fontsize=8)
    handles = [
        Line2D([], [], color="black", lw=1.4, label="median"),
        Patch(color="black", alpha=0.45, label="50 % of the posterior"),
        Patch(color="black", alpha=0.18, label="90 %"),
        Line2D([], [], color=CYCLE[0], lw=1, ls="--", label=f"median of: {options[0].title}"),
        Line2D([], [], color=GREY, lw=0.8, ls=":", label="end of the record"),
    ]
    picture.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    return picture


def bars(asked: Scenario, apart: pd.DataFrame) -> Figure | None:
    """What each option holds more than the baseline, in the years asked for."""
    if apart.empty:
        return None
    base = asked.options[0]
    chosen = apart[(apart["versus"] == base.name) & apart["year"].isin(asked.years)]
    panels = _panels(chosen)
    others = asked.options[1:]
    years = [asked.years[0], asked.years[len(asked.years) // 2], asked.years[-1]]
    years = sorted(set(years))
    height = 0.28 * len(others) * len(years) + 1.2
    picture = Figure(figsize=(8.6, height * len(panels) + 0.5), layout="constrained")
    axes = picture.subplots(len(panels), 1, squeeze=False)[:, 0]
    for ax, (treatment, label, rows) in zip(axes, panels, strict=True):
        ax.axvline(0, color=GREY, lw=0.8)
        ticks = []
        for i, option in enumerate(others):
            for j, year in enumerate(years):
                row = rows[(rows["option"] == option.name) & (rows["year"] == year)].iloc[0]
                y = i * (len(years) + 0.8) + j
                colour = CYCLE[(i + 1) % len(CYCLE)]
                ax.plot([row["q05"], row["q95"]], [y, y], color=colour, lw=1.4)
                ax.plot([row["q25"], row["q75"]], [y, y], color=colour, lw=4.5, alpha=0.6)
                ax.plot(row["q50"], y, "o", color=colour, ms=4, mfc="white")
                text = f"P(more) {row['probability_more']:.2f}"
                ax.text(1.01, y, text, transform=ax.get_yaxis_transform(), fontsize=7, va="center")
                ticks.append((y, f"{option.title}, {year}" if j == 0 else str(year)))
        ax.set_yticks([t[0] for t in ticks], [t[1] for t in ticks], fontsize=8)
        ax.invert_yaxis()
        ax.tick_params(labelsize=8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_title(_labels(asked)[treatment], fontsize=9, loc="left")
        ax.set_xlabel(f"{label}: more than with “{base.title}”", fontsize=8)
    handles = [
        Line2D([], [], marker="o", mfc="white", color="black", ls="none", ms=4, label="median"),
        Line2D([], [], color="black", lw=4.5, alpha=0.6, label="50 % of the posterior"),
        Line2D([], [], color="black", lw=1.4, label="90 %"),
    ]
    picture.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return picture


def _asked(found: saved_fit.Fit, asked: Scenario, draws: int) -> str:
    last, method = found.history[-1], found.settings.method.name
    air = atmosphere.words(asked.file.radiocarbon)
    rows = {
        "fit": f"{found.settings.case}, {method}, {len(found.history) - 1} later "
        f"assimilations; last data: {last.get('years', 'those of the calibration')}",
        "record until": str(asked.today),
        "forecast until": str(asked.file.until),
        "draws": str(draws),
        "weather to come": scenario.weather_told(asked),
        **({"14C of the air to come": air} if air else {}),
        "drawn from priors, not known to the fit": ", ".join(asked.file.draw_from_prior)
        or "nothing",
        "version": f"diffsoil {found.written_with}",
    }
    facts = pd.DataFrame({"what": list(rows), "how": list(rows.values())})
    return section(
        "What was asked",
        html.table(facts),
        heading("The options"),
        html.table(scenario.described(asked)),
        paragraph(
            "What an option does not say stays as it is now: land use of the last year of the "
            "record, amounts the mean of its last years under that land use."
        ),
    )


def _stocks(asked: Scenario, by_year: pd.DataFrame, pictures: dict[str, Path]) -> str:
    chosen = by_year[by_year["year"].isin([asked.today, *asked.years])]
    shown = pd.DataFrame(
        {
            "treatment": chosen["treatment"],
            "option": chosen["option"],
            "what": _what(chosen),
            "year": chosen["year"].astype(str),
            "median": chosen["q50"],
            "5 %": chosen["q05"],
            "95 %": chosen["q95"],
        }
    )
    caption = (
        "What is in the soil under each option: median, 50 and 90 % of the posterior, without "
        "error of measurement. Dashed: the median of the baseline."
    )
    return section("Carbon to come", figure(pictures.get("forecast"), caption), html.table(shown))


def _differences(asked: Scenario, apart: pd.DataFrame, pictures: dict[str, Path]) -> str:
    if apart.empty:
        return section("Differences", paragraph("There is one option only."))
    chosen = apart[apart["year"].isin(asked.years)]
    shown = pd.DataFrame(
        {
            "treatment": chosen["treatment"],
            "option": chosen["option"],
            "against": chosen["versus"],
            "what": _what(chosen),
            "year": chosen["year"].astype(str),
            "median difference": chosen["q50"],
            "5 %": chosen["q05"],
            "95 %": chosen["q95"],
            "P(more)": chosen["probability_more"],
            "P(less)": chosen["probability_less"],
        }
    )
    text = (
        "Differences are taken draw by draw, so what two options have in common cancels. P(more) "
        "is the share of draws in which the option holds more; equal options have P 0 both ways."
    )
    return section(
        "Differences between options",
        paragraph(text),
        figure(pictures.get("differences"), "Differences from the baseline, and P(more)."),
        html.table(shown),
    )


def _beware(found: saved_fit.Fit, asked: Scenario) -> str:
    texts = [
        "The spread is that of the parameters in one model and one weather: it holds neither "
        "another model, nor other weather, nor that an option is done differently than planned.",
        "Soil properties that the case prescribes (bulk density, base saturation) stay as in the "
        "last year of the record.",
    ]
    if asked.file.weather.pet_percent == 0 and any(
        w is not None for w in [asked.file.weather.warming, *(o.warming for o in asked.options)]
    ):
        texts.append(
            "Warming moves the temperature alone; potential evapotranspiration and rain are as "
            "written under weather (unchanged here)."
        )
    return section("What the spread does not hold", *[paragraph(t) for t in texts])


def _repeat(asked: Scenario) -> str:
    words = ["diffsoil", "forecast", "FIT", "--scenario", asked.path.name, "-o", "FORECAST"]
    return section(
        "How to repeat it",
        html.code(shlex.join(words)),
        html.folded("The options", asked.text),
    )
