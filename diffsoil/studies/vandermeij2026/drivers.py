"""Drivers of the study: its regression and ANOVA beside the exact decomposition of the same runs.

The runs of the study are a factorial design without chance: all combinations of some factors,
each computed once. So the variance over them can be taken apart exactly, with all interactions,
and it can be seen what an additive model with an ANOVA makes of it.
"""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from diffsoil.io import InputError
from diffsoil.report.pictures import BLUE, GREEN, GREY, ORANGE, PINK, Figure, save
from diffsoil.studies.vandermeij2026 import analysis
from diffsoil.studies.vandermeij2026.analysis import BORDERS, END, LABELS
from diffsoil.studies.vandermeij2026.suite import read_runs
from diffsoil.work.files import check_output, replacing
from sensitivity.shapley import from_subsets

FACTORS = ("bioclimate", "protection", "land_use", "erosion")

STOCK = "soc_stock_0_100"

YEARS = BORDERS
"""Years that are reported: ends of the natural, the extensive and the intensive phase."""

INTERVAL = 100
"""Years from one point of the courses to the next, a tenth of it in the intensive phase."""

POOLED = "all years"

DESIGNS = {
    "crossed": "land use × the two erosion histories that both have",
    "farmed": "farmed from year 8000, all erosion histories",
    "all": "all runs, where land use and erosion are not independent",
    POOLED: "all runs and years, coded as the study's regression codes them",
}

NOTABLE = 0.05
"""Share of the variance from which on an interaction, or a difference of ranks, is named."""

WORDS = {
    "bioclimate": "bioclimate",
    "protection": "protection",
    "land_use": "land use",
    "erosion": "erosion",
    "year": "year",
}
COLOURS = {
    "bioclimate": BLUE,
    "protection": ORANGE,
    "land_use": GREEN,
    "erosion": PINK,
    "year": GREY,
}

FILES = ("drivers.csv", "drivers_terms.csv", "drivers_course.csv", "drivers.png", "drivers.txt")


@dataclasses.dataclass(frozen=True, eq=False)
class Drivers:
    """What was found.

    Attributes:
        source: folder of the runs.
        factors: a row for each design, year and factor; see :func:`decompose`. ``year`` is
            missing where all years are taken together.
        terms: share of the variance of each interaction in the balanced designs: design, year,
            term (factors joined by ``:``), order, share; adds up to 1.
        course: S1 and ST of the balanced designs through time: design, year, factor, S1, ST,
            sd (of the runs, Mg C/ha).
        words: where the additive model misleads, a sentence each.
    """

    source: Path
    factors: pd.DataFrame
    terms: pd.DataFrame
    course: pd.DataFrame
    words: tuple[str, ...]

    def write(self, output: Path, overwrite: bool = False) -> None:
        """Write ``FILES`` into a folder.

        Args:
            output: made if it is not there.
            overwrite: replace files that are there.

        Raises:
            diffsoil.io.InputError: a file is there and may not be replaced.
        """
        if output.exists() and not output.is_dir():
            raise InputError(f"{output}: is a file, a folder is needed")
        output.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            check_output(output / name, overwrite)
        tables = dict(zip(FILES[:3], (self.factors, self.terms, self.course), strict=True))
        for name, table in tables.items():
            with replacing(output / name, overwrite) as part:
                table.to_csv(part, index=False, float_format="%.6g")
        save(draw(self), output / FILES[3], overwrite)
        with replacing(output / FILES[4], overwrite) as part:
            part.write_text("".join(f"{words}\n" for words in self.words), encoding="utf-8")


def drivers(runs_folder: Path) -> Drivers:
    """Analyse the suite in a folder that ``diffsoil study run`` wrote.

    Raises:
        diffsoil.io.InputError: there is no suite, or some of its runs are missing.
    """
    return analyse(read(runs_folder), runs_folder)


def read(runs_folder: Path) -> xr.Dataset:
    """The ten-thousand-year runs of a suite: their labels and stocks, in memory.

    Raises:
        diffsoil.io.InputError: there is no suite, or some of these runs are missing.
    """

    def chosen(dataset: xr.Dataset) -> np.ndarray:
        return analysis.find(analysis.histories(dataset), recovery="")

    return read_runs(runs_folder, [STOCK, *LABELS], chosen).isel(year=slice(END))


def analyse(suite: xr.Dataset, source: Path) -> Drivers:
    """Take the variance of stocks to 1 m apart.

    Single years and courses have the stocks as they are. The trailing means of the study, which
    look back over one interval between erosion events (a year to a thousand), still hold much of
    the time before farming where events are rare, and nothing of it where there are none, which
    looks like an effect of erosion. What they would give is in the columns ``S1_smoothed`` and
    ``ST_smoothed``. All years together have them, as the regression of the study has.

    Args:
        suite: the ten-thousand-year runs, see :func:`read`.
        source: folder that they are from.
    """
    runs = analysis.histories(suite)
    smoothed = analysis.smoothed_stocks(suite, np.arange(len(runs)))
    stock = suite[STOCK].transpose("scenario", "year").to_numpy().astype(float)
    chosen = {name: _design(runs, name) for name in DESIGNS if name != POOLED}
    factors, terms, courses = [], [], []
    for name, places in chosen.items():
        table = runs.iloc[places]
        own = [f for f in FACTORS if len(table[f].unique()) > 1]
        for year in YEARS:
            y = stock[places, year - 1]
            mean = decompose(table[own], smoothed[places, year - 1])
            columns = {f"{index}_smoothed": mean[index] for index in ("S1", "ST")}
            found = decompose(table[own], y).assign(design=name, year=year, **columns)
            factors.append(found)
            if _balanced(table[own]):
                terms.append(_terms(table[own], y).assign(design=name, year=year))
        if _balanced(table[own]):
            courses.append(_course(table[own], stock[places]).assign(design=name))
    factors.append(_pooled(suite).assign(design=POOLED))
    first = ["design", "year"]
    by_factor = pd.concat(factors, ignore_index=True)
    by_factor["year"] = by_factor["year"].astype("Int64")
    by_term, course = (pd.concat(t, ignore_index=True) for t in (terms, courses))
    by_factor, by_term, course = (
        table[[*first, *(c for c in table if c not in first)]]
        for table in (by_factor, by_term, course)
    )
    words = tuple(sentences(by_factor, by_term))
    return Drivers(source, by_factor, by_term, course, words)


def _design(runs: pd.DataFrame, name: str) -> np.ndarray:
    """Places of the runs of a design."""
    farmed = runs["land_use"] == "agricultural"
    both = set(runs["erosion"][farmed]) & set(runs["erosion"][~farmed])
    chosen = {"crossed": runs["erosion"].isin(both), "farmed": farmed}
    return np.flatnonzero(chosen[name]) if name in chosen else np.arange(len(runs))


def _balanced(labels: pd.DataFrame) -> bool:
    """Whether there is one run for each combination of the levels."""
    combinations = int(np.prod(labels.nunique()))
    return combinations == len(labels) == len(labels.drop_duplicates())


def explained(codes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Variance of the mean of the runs that agree in a set of factors, for all sets.

    Args:
        codes: level of each factor as a whole number from 0, [run, factor].
        y: what varies, [run], each run with the same weight.

    Returns:
        [2^factor]; factor i is in set number s if bit i of s is set. The last one is the
        variance if no two runs have the same levels.
    """
    k = codes.shape[1]
    sizes = codes.max(axis=0) + 1
    centred = y - y.mean()
    values = np.zeros(2**k)
    for subset in range(1, 2**k):
        label = np.zeros(len(y), dtype=np.int64)
        for i in range(k):
            if subset >> i & 1:
                label = label * sizes[i] + codes[:, i]
        count = np.bincount(label)
        total = np.bincount(label, weights=centred)
        values[subset] = (total**2 / np.maximum(count, 1)).sum() / len(y)
    return values


def decompose(labels: pd.DataFrame, y: np.ndarray) -> pd.DataFrame:
    """Exact indices of discrete factors, and what an additive model makes of the same runs.

    Args:
        labels: a column of levels for each factor, [run].
        y: what varies, [run].

    Returns:
        A row for each factor. ``S1`` share of the variance of the mean given its level; ``ST``
        share that is left when all others are known; ``interaction``: ST - S1 (may be negative
        if factors are not independent); ``shapley``: shares that add up to 1 in any design.
        ``eta2``, ``p_value``: type-II ANOVA of the additive model (share of the sum of its
        lines, as the study has it), ``residual`` its last line. ``swing_*``: highest less
        lowest level where the other factors are held, least, mean and greatest of all such
        places, in the unit of y, ``swing_linear`` of the additive model. ``reversal``: largest
        share of places in which two levels (``reversal_levels``) come in the less frequent
        order, by more than 1 % of the mean of y. ``rank_eta2``, ``rank_ST`` from 1. ``n_runs``.
        All NaN if y is constant.
    """
    names = [str(name) for name in labels]
    codes = np.stack([pd.factorize(labels[f], sort=True)[0] for f in names], axis=1)
    exact = _exact(codes, y)
    eta2, p_value, swing_linear = _additive(labels, y)
    swings = np.array([_swing(codes, y, i) for i in range(len(names))])
    reversals = [_reversal(codes, y, i) for i in range(len(names))]
    table = pd.DataFrame({"factor": names, "S1": exact[0], "ST": exact[1]})
    table["interaction"] = table["ST"] - table["S1"]
    table["shapley"] = exact[2]
    table["eta2"], table["p_value"], table["residual"] = eta2[:-1], p_value, eta2[-1]
    for place, name in enumerate(("swing_low", "swing_mean", "swing_high")):
        table[name] = swings[:, place]
    table["swing_linear"] = swing_linear
    table["reversal"] = [share for share, _ in reversals]
    table["reversal_levels"] = [
        "/".join(str(sorted(labels[f].unique())[i]) for i in pair)
        for f, (_, pair) in zip(names, reversals, strict=True)
    ]
    return _ranked(table, len(y))


def _ranked(table: pd.DataFrame, n: int) -> pd.DataFrame:
    for name in ("eta2", "ST"):
        # what differs by rounding only has one rank
        order = table[name].round(9).rank(ascending=False, method="min")
        table[f"rank_{name}"] = order.astype("Int64")
    return table.assign(n_runs=n)


def _exact(codes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """S1, ST and Shapley effects, [3, factor]."""
    k = codes.shape[1]
    if np.ptp(y) <= 1e-12 * np.abs(y).max():
        return np.full((3, k), np.nan)
    known, whole = explained(codes, y), y.var()
    each = 1 << np.arange(k)
    first = known[each] / whole
    total = 1.0 - known[known.size - 1 - each] / whole
    return np.stack([first, total, from_subsets(known) / known[-1]])


def _additive(labels: pd.DataFrame, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Type-II ANOVA without interactions: eta2 [factor + residual], p values, swings [factor]."""
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    names = [str(name) for name in labels]
    if np.ptp(y) <= 1e-12 * np.abs(y).max():
        return np.full(len(names) + 1, np.nan), *np.full((2, len(names)), np.nan)
    fit = ols("y ~ " + " + ".join(names), labels.assign(y=y)).fit()
    with np.errstate(all="ignore"):
        lines = anova_lm(fit, typ=2)
    squares = lines["sum_sq"].to_numpy()
    swings = []
    for name in names:
        own = [v for key, v in fit.params.items() if str(key).startswith(f"{name}[")]
        swings.append(np.ptp([0.0, *own]))
    return squares / squares.sum(), lines["PR(>F)"].to_numpy()[:-1], np.array(swings)


def _by_place(codes: np.ndarray, y: np.ndarray, factor: int) -> np.ndarray:
    """Values by combination of the other factors and level of one, [place, level], or NaN."""
    others = np.delete(codes, factor, axis=1)
    _, place = np.unique(others, axis=0, return_inverse=True)
    values = np.full((place.max() + 1, codes[:, factor].max() + 1), np.nan)
    values[place.ravel(), codes[:, factor]] = y
    return values


def _swing(codes: np.ndarray, y: np.ndarray, factor: int) -> tuple[float, float, float]:
    """Least, mean and greatest swing of a factor with the others held."""
    values = _by_place(codes, y, factor)
    values = values[np.isfinite(values).sum(axis=1) > 1]
    if not len(values):
        return (np.nan,) * 3
    swing = np.nanmax(values, axis=1) - np.nanmin(values, axis=1)
    return float(swing.min()), float(swing.mean()), float(swing.max())


def _reversal(codes: np.ndarray, y: np.ndarray, factor: int) -> tuple[float, tuple[int, ...]]:
    """Share of places where two levels of a factor change their order, and which two."""
    values, least = _by_place(codes, y, factor), 0.01 * abs(float(y.mean()))
    found: tuple[float, tuple[int, ...]] = (0.0, ())
    for a, b in itertools.combinations(range(values.shape[1]), 2):
        difference = values[:, a] - values[:, b]
        both = int(np.isfinite(difference).sum())
        fewer = min((difference > least).sum(), (difference < -least).sum())
        share = float(fewer / both) if both else 0.0
        found = max(found, (share, (a, b)))
    return found if found[0] > 0.0 else (0.0, ())


def _terms(labels: pd.DataFrame, y: np.ndarray) -> pd.DataFrame:
    """Share of each term of the functional ANOVA of a balanced design."""
    names = [str(name) for name in labels]
    codes = np.stack([pd.factorize(labels[f], sort=True)[0] for f in names], axis=1)
    part = explained(codes, y)
    subsets = np.arange(len(part))
    for i in range(len(names)):  # what a set explains less what its subsets do
        inside = subsets[(subsets >> i) & 1 == 1]
        part[inside] -= part[inside ^ (1 << i)]
    rows = []
    for subset in range(1, len(part)):
        own = [name for i, name in enumerate(names) if subset >> i & 1]
        share = part[subset] / y.var() if y.var() > 0.0 else np.nan
        rows.append({"term": ":".join(own), "order": len(own), "share": share})
    return pd.DataFrame(rows).sort_values(["order", "share"], ascending=[True, False])


def _course(labels: pd.DataFrame, stock: np.ndarray) -> pd.DataFrame:
    """S1 and ST through time, of stocks [run, year]."""
    names = [str(name) for name in labels]
    codes = np.stack([pd.factorize(labels[f], sort=True)[0] for f in names], axis=1)
    tables = []
    last = stock.shape[1]
    years = {*range(INTERVAL, last + 1, INTERVAL), *range(BORDERS[1], last + 1, INTERVAL // 10)}
    for year in sorted(years):
        y = stock[:, year - 1]
        first, total, _ = _exact(codes, y)
        columns = {"year": year, "factor": names, "S1": first, "ST": total, "sd": y.std()}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


def _pooled(suite: xr.Dataset) -> pd.DataFrame:
    """All runs and years together, as the study's regression has them."""
    table = analysis.regression_table(suite)
    y = table[STOCK].to_numpy()
    names = list(analysis.VARIABLES)
    codes = np.stack(
        [(table[v] - 1 if v == "year" else table[v].cat.codes).to_numpy() for v in names], axis=1
    ).astype(np.int64)
    first, total, shapley = _exact(codes, y)
    runs = analysis.histories(suite)
    found = analysis.coefficients(y.reshape(len(runs), -1), analysis.design(runs))
    eta2 = np.array([found[f"T3-eta2-{name}"] for name in names]) / 100.0
    linear = []
    for name in names:
        levels = analysis.LEVELS.get(name, ())[1:]
        own = [0.0, *(found[f"T3-{level}"] for level in levels)]
        linear.append(np.ptp(own) if levels else abs(found["T3-year"]) * (END - 1))
    result = pd.DataFrame(
        {
            "year": pd.NA,
            "factor": ["bioclimate" if name == "climate" else name for name in names],
            "S1": first,
            "ST": total,
            "interaction": total - first,
            "shapley": shapley,
            "eta2": eta2,
            "residual": 1.0 - eta2.sum(),
            "swing_linear": linear,
        }
    )
    return _ranked(result, len(runs))


# In words.


def sentences(factors: pd.DataFrame, terms: pd.DataFrame) -> list[str]:
    """Where the additive model misleads, a sentence each.

    Args:
        factors, terms: as in :class:`Drivers`.
    """
    told = [
        "The runs hold no chance: what the ANOVA calls residual is interaction (or, over all "
        "years, a course that is no straight line), and its p values say nothing."
    ]
    for (design, year), table in factors.groupby(["design", "year"], sort=False, dropna=False):
        own = terms[(terms["design"] == design) & (terms["year"] == year)]
        told += _of_design(str(design), year, table.set_index("factor"), own)
    return told


def _of_design(design: str, year: object, table: pd.DataFrame, terms: pd.DataFrame) -> list[str]:
    when = DESIGNS[design] + ("" if year is pd.NA else f", year {year}")
    if table["ST"].isna().all():
        return [f"{when}: the stock is the same in all runs."]
    told = [_additivity(when, table, terms), *_rank_words(when, table)]
    together = table[table["interaction"] < -NOTABLE]
    if len(together):
        names = " and ".join(WORDS[str(f)] for f in together.index)
        shares = ", ".join(f"{WORDS[str(f)]} {_percent(v)}" for f, v in table["shapley"].items())
        told.append(
            f"{when}: {names} go together in these runs (S1 above ST), so that neither has a share "
            f"of its own; shared out evenly (Shapley): {shares}."
        )
    if "ST_smoothed" in table and design in ("crossed", "farmed"):
        moved = table[(table["ST_smoothed"] - table["ST"]).abs() > NOTABLE]
        told += [
            f"{when}: the trailing mean of the study would make it {_percent(row['ST_smoothed'])} "
            f"for {WORDS[str(factor)]} instead of {_percent(row['ST'])}, since it looks back into "
            "another time where events are rare."
            for factor, row in moved.iterrows()
        ]
        for factor, row in table[table["ST"] > 0.01].iterrows():
            told += _place_words(when, WORDS[str(factor)], row)
    return told


def _additivity(when: str, table: pd.DataFrame, terms: pd.DataFrame) -> str:
    residual = _percent(float(table["residual"].iloc[0]))
    hidden = table[table["interaction"] > NOTABLE].sort_values("ST", ascending=False)
    text = f"{when}: the ANOVA leaves {residual} unexplained"
    crossed = terms[terms["order"] > 1].sort_values("share", ascending=False)
    if len(crossed) and crossed["share"].iloc[0] > 0.5 * NOTABLE:
        names = " × ".join(WORDS[f] for f in crossed["term"].iloc[0].split(":"))
        text += f", most of it {names} ({_percent(crossed['share'].iloc[0])})"
    if len(hidden):
        listed = ", ".join(
            f"{WORDS[str(f)]} ({_percent(row['S1'])} alone, {_percent(row['ST'])} in all)"
            for f, row in hidden.iterrows()
        )
        text += f"; what acts through other factors as well: {listed}"
    elif float(table["residual"].iloc[0]) < NOTABLE:
        text += "; the additive model does the runs justice"
    return text + "."


def _place_words(when: str, name: str, row: pd.Series) -> list[str]:
    """Where one estimate for all combinations of the other factors says too little."""
    told = []
    if row["reversal"] > NOTABLE:
        told.append(
            f"{when}: {name} {row['reversal_levels'].replace('/', ' and ')} change their order in "
            f"{_percent(row['reversal'])} of the combinations of the other factors, which one "
            "estimate for all hides."
        )
    if row["ST"] > NOTABLE and row["swing_high"] - row["swing_low"] > row["swing_mean"]:
        told.append(
            f"{when}: {name} makes {row['swing_low']:.0f} to {row['swing_high']:.0f} Mg C/ha, "
            f"depending on the other factors, where the additive model says "
            f"{row['swing_linear']:.0f} everywhere."
        )
    return told


def _rank_words(when: str, table: pd.DataFrame) -> list[str]:
    """Pairs of factors that the ANOVA puts the other way round, by a margin that counts."""
    told = []
    for a, b in itertools.combinations(table.index, 2):
        by_eta2, by_total = (table.loc[a, c] - table.loc[b, c] for c in ("eta2", "ST"))
        if by_eta2 * by_total < 0.0 and abs(by_total) > 0.5 * NOTABLE:
            more, less = (a, b) if by_eta2 > 0.0 else (b, a)
            told.append(
                f"{when}: the ANOVA ranks {WORDS[str(more)]} ({_percent(table.loc[more, 'eta2'])}) "
                f"before {WORDS[str(less)]} ({_percent(table.loc[less, 'eta2'])}); by total effect "
                f"{WORDS[str(less)]} ({_percent(table.loc[less, 'ST'])}) comes before "
                f"{WORDS[str(more)]} ({_percent(table.loc[more, 'ST'])})."
            )
    return told


def _percent(share: float) -> str:
    percent = 100.0 * share
    return f"{percent:.0f} %" if abs(percent) >= 9.5 else f"{percent:.1f} %"


# The picture.


def draw(found: Drivers) -> Figure:
    """Courses of the exact indices, and the exact indices beside those of the ANOVA."""
    figure = Figure(figsize=(10.0, 7.6), layout="constrained")
    axes = figure.subplots(2, 2)
    for ax, design, letter in zip(axes[0], ("crossed", "farmed"), "ab", strict=True):
        _draw_course(ax, found.course[found.course["design"] == design])
        ax.set_title(f"{letter}: {DESIGNS[design]}", loc="left", fontsize=9)
    _draw_bars(axes[1, 0], found.factors, "farmed", END)
    axes[1, 0].set_title(f"c: farmed, all erosion histories, year {END}", loc="left", fontsize=9)
    _draw_bars(axes[1, 1], found.factors, POOLED, None)
    axes[1, 1].set_title("d: all runs and years, as in the regression", loc="left", fontsize=9)
    axes[0, 0].set_ylabel("share of the variance")
    axes[1, 0].set_ylabel("share of the variance")
    factors = dict.fromkeys(found.factors["factor"])
    colours = [Patch(color=COLOURS[f], label=WORDS[f]) for f in factors]
    lines = [
        Line2D([], [], color="black", label="a, b: in all (ST)"),
        Line2D([], [], color="black", ls="--", lw=1.0, label="a, b: alone (S1)"),
        Patch(facecolor="0.35", label="c, d: alone (S1)"),
        Patch(facecolor="0.8", label="c, d: with others (ST)"),
        Line2D([], [], color="black", marker="D", ls="", ms=5, label="c, d: linear ANOVA (η²)"),
    ]
    figure.legend(
        handles=[*colours, *lines], loc="outside lower center", ncols=5, frameon=False, fontsize=9
    )
    return figure


def _draw_course(ax: Axes, course: pd.DataFrame) -> None:
    for factor, table in course.groupby("factor", sort=False):
        colour = COLOURS[str(factor)]
        x = _place(table["year"].to_numpy())
        ax.plot(x, table["ST"], color=colour, lw=1.8)
        ax.plot(x, table["S1"], color=colour, lw=1.0, ls="--")
    ticks = [0, 4000, 8000, 9000, 9900, 10000]
    ax.set_xticks(_place(np.array(ticks)), [f"{t:,}".replace(",", " ") for t in ticks])
    for border in BORDERS[:2]:
        ax.axvline(float(_place(np.array(border))), color="0.8", lw=0.8, zorder=0)
    ax.set_xlim(0.0, 3.0)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel("year (phases drawn equally wide)")
    ax.spines[["top", "right"]].set_visible(False)


def _place(year: np.ndarray) -> np.ndarray:
    """Where a year is drawn: the three phases are equally wide."""
    return np.asarray(np.interp(year, [0, *BORDERS], [0.0, 1.0, 2.0, 3.0]))


def _draw_bars(ax: Axes, factors: pd.DataFrame, design: str, year: int | None) -> None:
    own = factors["year"].isna() if year is None else factors["year"] == year
    table = factors[(factors["design"] == design) & own]
    places = np.arange(len(table))
    colours = [COLOURS[f] for f in table["factor"]]
    ax.bar(places, table["ST"], 0.62, color=colours, alpha=0.35)
    ax.bar(places, table["S1"], 0.36, color=colours)
    ax.plot(places, table["eta2"], "D", color="black", ms=5)
    ax.set_xticks(places, [WORDS[f] for f in table["factor"]])
    ax.set_ylim(0.0, 1.02)
    ax.spines[["top", "right"]].set_visible(False)
