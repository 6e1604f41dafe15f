"""Pictures of a fit: what was observed and predicted, and what is known of each parameter."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from scipy.stats import gaussian_kde

from calibration import checks
from calibration.likelihood import METHOD
from calibration.observations import topsoil_cm, treatment_of
from calibration.problem import Problem
from calibration.quantities import QUANTITIES
from calibration.units import in_unit
from diffsoil.cases import Case
from diffsoil.parameters import Parameter
from diffsoil.report.pictures import BLUE, CYCLE, GREY, ORANGE, Figure, save, save_all

MARKERS = "osD^vP*X"

OUTER, INNER = 0.15, 0.35
"""Opacity of the 90 and 50 % bands."""

MOST_PAIRS = 6

FEW = 6
"""Treatments of the small picture, where the case does not choose them."""

SIGNED = ("delta14c", "respired_delta14c", "soil_temperature")
"""Variables whose axis need not begin at zero."""

Labels = dict[str, str]
Style = dict[str, Any]


def all_figures(
    folder: Path, tree: xr.DataTree, problem: Problem, table: pd.DataFrame
) -> dict[str, Path]:
    """Draw all pictures of a fit into its folder.

    Args:
        folder: where the PNG files go.
        tree: as :func:`calibration.results.write` leaves it.
        problem: what was fitted.
        table: observations with their predictive distribution.

    Returns:
        File of each picture by name. A picture that has nothing to show is not made:
        ``kept_out`` without such observations, ``ranks`` with one chain, ``pairs`` and
        ``residuals`` without spread.
    """
    chosen = [t.name for t in problem.case.file.treatment if t.overview]
    labels = labels_of(problem.case)
    return draw(folder, tree, problem.parameters, table, labels, chosen)


def labels_of(case: Case) -> Labels:
    """What treatments are called in pictures, by name."""
    return {t.name: t.label or t.name for t in case.file.treatment}


def draw(
    folder: Path,
    tree: xr.DataTree,
    parameters: list[Parameter],
    table: pd.DataFrame,
    labels: Labels,
    chosen: Sequence[str] = (),
) -> dict[str, Path]:
    """As :func:`all_figures`, from the parts of a problem; ``chosen`` are in the overview."""
    pictures = {
        "fit": fit(tree, table, labels),
        "overview": overview(tree, table, labels, chosen),
        "kept_out": kept_out(table, labels),
        "priors": priors(tree, parameters),
        "pairs": pairs(tree),
        "ranks": ranks(tree),
        "residuals": residuals(table, labels),
    }
    return save_all(folder, pictures)


def _grid(
    panels: int, columns: int, width: float, height: float, legend: float = 0.5
) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels (size in inches) with a strip for the legend below."""
    columns = min(columns, panels)
    rows = -(-panels // columns)
    size = (columns * width, rows * height + legend)
    figure = Figure(figsize=size, layout="constrained")
    figure.get_layout_engine().set(rect=(0, legend / size[1], 1, 1 - legend / size[1]))  # type: ignore[union-attr, call-arg]
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return figure, axes


def _legend(figure: Figure, handles: Sequence[Line2D | Patch], columns: int = 6) -> None:
    figure.legend(
        handles=list(handles), loc="lower center", ncols=columns, fontsize=8, frameon=False
    )


def _title(ax: Axes, text: str, width: int = 40) -> None:
    ax.set_title("\n".join(textwrap.wrap(text, width)), fontsize=8.5, loc="left")


def simulated(folder: Path, ranks: np.ndarray, names: Sequence[str], most: int) -> Path:
    """Draw the ranks of simulation-based calibration into ``sbc.png``.

    Each line is the share of ranks up to a value, less what uniform ranks would have; 95 % of
    lines of uniform ranks stay inside the band (Kolmogorov-Smirnov).
    """
    figure, axes = _grid(1, 1, 6.5, 4.0, legend=0.5 + 0.2 * -(-len(names) // 2))
    ax, count = axes[0], len(ranks)
    at = np.arange(most + 2) / (most + 1)
    for number, name in enumerate(names):
        share = np.array([np.mean(ranks[:, number] < value) for value in range(most + 2)])
        style = ("-", "--", ":")[number // len(CYCLE) % 3]
        ax.plot(at, share - at, style, color=CYCLE[number % len(CYCLE)], lw=1.3, label=name)
    band = 1.358 / np.sqrt(count)
    ax.fill_between([0, 1], -band, band, color=GREY, alpha=OUTER, lw=0, label="95 % of chance")
    ax.axhline(0, color="black", lw=0.6)
    ax.set_xlabel("rank of the true value among posterior draws, as a share", fontsize=8)
    ax.set_ylabel("share of ranks below, less uniform", fontsize=8)
    _title(ax, f"Simulation-based calibration, {count} data sets", 70)
    handles: Any = ax.get_legend_handles_labels()[0]
    _legend(figure, handles, columns=2)
    path = folder / "sbc.png"
    save(figure, path)
    return path


# Observed and predicted through time.


@dataclasses.dataclass(frozen=True)
class Panel:
    """One treatment, and what was measured there in one depth."""

    treatment: str
    variable: str
    upper_cm: float
    lower_cm: float
    rows: pd.DataFrame
    topsoil_cm: float

    @property
    def is_topsoil(self) -> bool:
        """Whether the yearly topsoil stock is what was measured."""
        depth = (self.upper_cm, self.lower_cm)
        return self.variable == "soc_stock" and depth == (0, self.topsoil_cm)

    @property
    def label(self) -> str:
        """What the axis shows."""
        about = QUANTITIES[self.variable]
        words = f"{about.name} {self.upper_cm:g}-{self.lower_cm:g} cm"
        return in_unit(words, about.unit, ", ")


def _by_treatment(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), own) for name, own in table.groupby(treatment_of(table), sort=False)]


def _quantities(treatment: str, own: pd.DataFrame, depth: float) -> list[Panel]:
    """One panel for each quantity and depth that was measured in a treatment."""
    panels = []
    for _, rows in own.groupby(["variable", "upper_cm", "lower_cm"], sort=False):
        ordered = rows.sort_values("year")
        variable, upper, lower = ordered[["variable", "upper_cm", "lower_cm"]].iloc[0]
        panels.append(Panel(treatment, str(variable), float(upper), float(lower), ordered, depth))
    return panels


def _panels(tree: xr.DataTree, table: pd.DataFrame) -> list[Panel]:
    """The panels of all treatments, in the order of the case."""
    found = dict(_by_treatment(table.assign(place=np.arange(len(table)))))
    depth = topsoil_cm(table)
    panels = []
    for name in tree["posterior_predictive"]["treatment"].to_numpy():
        if name in found:
            panels += _quantities(str(name), found[name], depth)
        else:
            panels.append(Panel(str(name), "soc_stock", 0.0, depth, table.iloc[:0], depth))
    return panels


def _band(ax: Axes, years: np.ndarray, draws: np.ndarray) -> None:
    """Median, 50 and 90 % bands of draws with axes draw and year."""
    q05, q25, q50, q75, q95 = np.quantile(draws, list(checks.QUANTILES.values()), axis=0)
    ax.fill_between(years, q05, q95, color=BLUE, alpha=OUTER, lw=0)
    ax.fill_between(years, q25, q75, color=BLUE, alpha=INNER, lw=0)
    ax.plot(years, q50, color=BLUE, lw=1.2)


def _predicted(tree: xr.DataTree, panel: Panel) -> tuple[np.ndarray, np.ndarray]:
    """Years, and draws of what is in the soil in them."""
    group = tree["posterior_predictive"]
    if panel.is_topsoil:
        chosen = group["topsoil"].sel(treatment=panel.treatment)
        values = chosen.transpose("chain", "draw", "year").to_numpy()
        return chosen["year"].to_numpy(), values.reshape(-1, values.shape[-1])
    latent = group["latent"].isel(obs=panel.rows["place"].to_numpy()).to_numpy()
    return panel.rows["year"].to_numpy(), latent.reshape(-1, latent.shape[-1])


def _means(tree: xr.DataTree, prefix: str) -> dict[str, float]:
    """Posterior means of the parameters that begin with a prefix, by the rest of the name."""
    draws = checks.draws_of(tree)
    return {
        n.removeprefix(prefix): float(d.mean()) for n, d in draws.items() if n.startswith(prefix)
    }


def measured(tree: xr.DataTree, rows: pd.DataFrame) -> pd.DataFrame:
    """Observations on the scale of the soil, with their error.

    ``value`` is divided by the fitted factor of its laboratory method, so that it is comparable
    with what is in the soil, and so is ``error``, the error that the likelihood gives them.
    """
    factor = rows["method"].map(_means(tree, METHOD)).astype(float).fillna(1.0)
    return rows.assign(value=rows["value"] / factor, error=rows["error_sd"] / factor)


def _points(ax: Axes, measured: pd.DataFrame) -> None:
    """Fitted points filled, kept-out ones as open diamonds, estimates grey and hollow."""
    out = checks.kept_out(measured)
    kinds: tuple[tuple[pd.Series, Style], ...] = (
        (measured["fitted"], {"fmt": "o", "color": "black", "ms": 3.5}),
        (out, {"fmt": "D", "color": ORANGE, "ms": 4.5, "mfc": "white"}),
        (measured["estimated"] == 1, {"fmt": "o", "color": GREY, "ms": 4, "mfc": "white"}),
    )
    for chosen, style in kinds:
        rows = measured[chosen]
        if len(rows):
            error = None if style["color"] == GREY else rows["error"]
            ax.errorbar(rows["year"], rows["value"], yerr=error, elinewidth=0.8, ls="none", **style)


def _draw_panel(ax: Axes, tree: xr.DataTree, panel: Panel, labels: Labels) -> None:
    years, draws = _predicted(tree, panel)
    _band(ax, years, draws)
    if len(panel.rows):
        _points(ax, measured(tree, panel.rows))
    _title(ax, labels.get(panel.treatment, panel.treatment))
    ax.set_ylabel(panel.label, fontsize=8)
    ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if panel.variable not in (*SIGNED, "ph", "bulk_density"):
        ax.set_ylim(0, max(ax.get_ylim()[1], 1e-3) * 1.05)


def _fit_legend(figure: Figure, tree: xr.DataTree, panels: list[Panel], columns: int) -> None:
    rows = pd.concat([p.rows for p in panels])
    bands = [
        Patch(color=BLUE, alpha=OUTER + INNER, label="50 % of the posterior"),
        Patch(color=BLUE, alpha=OUTER, label="90 %"),
    ]
    spread = _has_spread(tree)
    handles: list[Line2D | Patch] = [
        Line2D(
            [], [], color=BLUE, lw=1.5, label=f"predicted, {'median' if spread else 'best fit'}"
        ),
        *(bands if spread else []),
        Line2D(
            [], [], marker="o", color="black", ms=4, ls="none", label="fitted, ± 1 sd of its error"
        ),
    ]
    if checks.kept_out(rows).any():
        handles.append(_mark("D", ORANGE, "kept out of the fit, ± 1 sd of its error"))
    if (rows["estimated"] == 1).any():
        handles.append(_mark("o", GREY, "estimated by the source, not used"))
    for method, factor in _means(tree, METHOD).items():
        if (rows["method"] == method).any():
            text = f"values by {method} are divided by their fitted factor {factor:.2f}"
            handles.append(Line2D([], [], ls="none", label=text))
    _legend(figure, handles, columns)


def _has_spread(tree: xr.DataTree) -> bool:
    sizes = tree["posterior"].sizes
    return bool(sizes["chain"] * sizes["draw"] > 1)


def _mark(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], marker=marker, color=colour, mfc="white", ms=5, ls="none", label=label)


def fit(tree: xr.DataTree, table: pd.DataFrame, labels: Labels) -> Figure:
    """What is in the soil of every treatment through time, and what was measured."""
    panels = _panels(tree, table)
    return _through_time(tree, panels, labels, columns=4)


def overview(
    tree: xr.DataTree, table: pd.DataFrame, labels: Labels, chosen: Sequence[str]
) -> Figure:
    """Some treatments on one small picture, the first few if none are chosen."""
    by_name = {p.treatment: p for p in reversed(_panels(tree, table))}
    names = chosen or tuple(reversed(by_name))[:FEW]
    return _through_time(tree, [by_name[n] for n in names], labels, columns=3)


def _through_time(tree: xr.DataTree, panels: list[Panel], labels: Labels, columns: int) -> Figure:
    figure, axes = _grid(len(panels), columns, 3.1, 2.3, legend=2.4 / columns)
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, tree, panel, labels)
    for ax in axes[-columns:]:
        ax.set_xlabel("year", fontsize=8)
    _fit_legend(figure, tree, panels, min(columns, len(panels)))
    return figure


def kept_out(table: pd.DataFrame, labels: Labels) -> Figure | None:
    """Observations that the fit has never seen, beside what was predicted for them."""
    rows = table[checks.kept_out(table)]
    return None if rows.empty else beside_observations(rows, labels, topsoil_cm(table))


def beside_observations(rows: pd.DataFrame, labels: Labels, depth: float) -> Figure:
    """Observations beside what was predicted for them, a panel for each treatment and quantity.

    Args:
        rows: of a table of predictions (:func:`calibration.prediction.table`).
        labels: of the treatments.
        depth: of the topsoil, cm.
    """
    panels = [p for name, own in _by_treatment(rows) for p in _quantities(name, own, depth)]
    figure, axes = _grid(len(panels), 3, 4.8, 3.2)
    for ax, panel in zip(axes, panels, strict=True):
        _intervals(ax, panel.rows)
        _title(ax, labels.get(panel.treatment, panel.treatment), 50)
        ax.set_ylabel(panel.label, fontsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.margins(x=0.08)
        ax.set_xlabel("year", fontsize=8)
        if panel.variable not in (*SIGNED, "ph", "bulk_density"):
            ax.set_ylim(0, None)
    spread = checks.has_spread(rows)
    handles = [
        Line2D([], [], marker="_", mew=2, ms=8, color=BLUE, lw=1 if spread else 0,
               label=f"predicted, {'median and 90 %' if spread else 'best fit'}"),
        _mark("D", ORANGE, f"measured{'' if spread else ', ± 1 sd of its error'}"),
    ]  # fmt: skip
    if spread:
        handles.insert(1, Line2D([], [], color=BLUE, lw=5, alpha=0.5, label="50 %"))
    _legend(figure, handles, 3)
    return figure


def _intervals(ax: Axes, part: pd.DataFrame) -> None:
    """Predictive intervals with measurement error, the measured values a little to the right.

    A single draw has no interval: what is in the soil is shown alone, and the measured value has
    the error that is in the interval otherwise.
    """
    years = part["year"].to_numpy(float)
    spread = checks.has_spread(part)
    if spread:
        ax.vlines(years, part["q05"], part["q95"], color=BLUE, lw=1.2)
        ax.vlines(years, part["q25"], part["q75"], color=BLUE, lw=5, alpha=0.5)
    ax.plot(years, part["q50" if spread else "latent_mean"], "_", color=BLUE, ms=10, mew=2)
    aside = 0.015 * max(float(np.ptp(years)), 20.0)
    error = None if spread else part["error_sd"]
    style: Style = {"fmt": "D", "color": ORANGE, "ms": 5, "mfc": "white", "elinewidth": 1.0}
    ax.errorbar(years + aside, part["value"], yerr=error, ls="none", **style)


# Residuals.


def residuals(table: pd.DataFrame, labels: Labels) -> Figure | None:
    """Standardised residuals of each series against year."""
    rows = table[(table["estimated"] == 0) & (table["sd"] > 0)]
    if rows.empty:
        return None
    rows = rows.assign(e=checks.standardised(rows), member=treatment_of(rows))
    series = sorted(set(rows["series"]))
    figure, axes = _grid(len(series), 1, 8.5, 1.9, legend=0.0)
    reach = max(3.2, float(rows["e"].abs().max()) * 1.1)
    years = (rows["year"].min() - 4, rows["year"].max() + 4)
    for ax, name in zip(axes, series, strict=True):
        part = rows[rows["series"] == name]
        ax.axhspan(-2, 2, color=GREY, alpha=0.12, lw=0)
        ax.axhline(0, color=GREY, lw=0.8)
        for i, (member, own) in enumerate(part.groupby("member", sort=False)):
            style: Style = {"marker": MARKERS[i % len(MARKERS)], "color": CYCLE[i % len(CYCLE)]}
            label = "\n".join(textwrap.wrap(labels.get(str(member), str(member)), 34))
            ordered = own.sort_values("year")
            ax.plot(ordered["year"], ordered["e"], lw=0.5, ms=4, label=label, **style)
        ax.set(ylim=(-reach, reach), xlim=years)
        ax.set_ylabel("(observed - predicted)\n/ predictive sd", fontsize=8)
        _title(ax, name if part["fitted"].any() else f"{name} (kept out)", 60)
        ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=7, frameon=False)
    axes[-1].set_xlabel("year (grey: within 2 sd)", fontsize=8)
    return figure


# Parameters.


def _axis_name(parameter: Parameter) -> str:
    return "" if parameter.unit in ("", "1") else parameter.unit


def _density(draws: np.ndarray, grid: np.ndarray, parameter: Parameter) -> np.ndarray:
    """Density of draws, mirrored at the bounds, with its highest point at 1."""
    estimate = gaussian_kde(draws)
    density = estimate(grid) + estimate(2 * parameter.lower - grid)
    if np.isfinite(parameter.upper):
        density = density + estimate(2 * parameter.upper - grid)
    return density / density.max()


def priors(tree: xr.DataTree, parameters: list[Parameter]) -> Figure:
    """Prior and posterior of every parameter."""
    before, after = checks.draws_of(tree, "prior"), checks.draws_of(tree)
    figure, axes = _grid(len(parameters), 5, 2.3, 1.7)
    for ax, parameter in zip(axes, parameters, strict=True):
        _draw_prior(ax, parameter, before[parameter.name].ravel(), after[parameter.name].ravel())
    handles: list[Line2D | Patch] = [
        Patch(color=GREY, alpha=0.35, label="prior"),
        Patch(color=BLUE, alpha=0.5, label="posterior (each scaled to its highest point)")
        if _has_spread(tree)
        else Line2D([], [], color=BLUE, lw=2, label="best fit"),
        Line2D([], [], color="black", ls=":", lw=1, label="default value"),
    ]
    _legend(figure, handles, 3)
    return figure


def _draw_prior(ax: Axes, parameter: Parameter, prior: np.ndarray, posterior: np.ndarray) -> None:
    ends = [prior.min(), np.quantile(prior, 0.99), posterior.min(), posterior.max()]
    grid = np.linspace(min(ends), max(ends), 200)
    ax.fill_between(grid, _density(prior, grid, parameter), color=GREY, alpha=0.35, lw=0)
    if posterior.size >= checks.ENOUGH_DRAWS and posterior.std() > 0:
        ax.fill_between(grid, _density(posterior, grid, parameter), color=BLUE, alpha=0.5, lw=0)
    else:
        ax.axvline(posterior.mean(), color=BLUE, lw=2)
    ax.axvline(parameter.default, color="black", ls=":", lw=1)
    ax.set(ylim=(0, 1.08), yticks=[])
    ax.spines["left"].set_visible(False)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.set_title(_short(parameter.name), fontsize=8, loc="left")
    ax.set_xlabel(_axis_name(parameter), fontsize=7, labelpad=1)


def _short(name: str) -> str:
    """A parameter's name on two lines where it is long."""
    if len(name) <= 26:
        return name
    head, _, tail = name.rpartition(".")
    return f"{head}.\n{tail}"


def chosen_pairs(tree: xr.DataTree, most: int = MOST_PAIRS) -> list[str]:
    """Model parameters with the strongest correlations, at most some."""
    table = checks.correlations(tree)
    model = ~(table["first"].str.startswith("observation.")
              | table["second"].str.startswith("observation."))  # fmt: skip
    names: list[str] = []
    for _, row in table[model].iterrows():
        names += [n for n in (row["first"], row["second"]) if n not in names]
        if len(names) >= most:
            break
    names = names[:most]
    return [n for n in checks.draws_of(tree) if n in names]


def pairs(tree: xr.DataTree) -> Figure | None:
    """The most strongly correlated model parameters against each other."""
    names = chosen_pairs(tree)
    if len(names) < 2:
        return None
    every = checks.draws_of(tree)
    draws = np.array([every[n].ravel() for n in names])
    lost = diverging(tree)
    step = max(1, draws.shape[1] // 1500)
    size = len(names)
    figure = Figure(figsize=(1.75 * size, 1.75 * size), layout="constrained")
    axes = figure.subplots(size, size, squeeze=False)
    for i in range(size):
        for j in range(size):
            ax = axes[i, j]
            if i == j:
                ax.hist(draws[i], bins=30, color=BLUE, alpha=0.6)
                ax.set_yticks([])
            elif j < i:
                ax.plot(draws[j, ::step], draws[i, ::step], ".", ms=2, color=BLUE, alpha=0.4)
                ax.plot(draws[j, lost], draws[i, lost], "x", ms=5, color=ORANGE)
            else:
                _correlation_text(ax, float(np.corrcoef(draws[i], draws[j])[0, 1]))
            _pair_labels(ax, names, i, j)
    return figure


def _correlation_text(ax: Axes, r: float) -> None:
    ax.text(0.5, 0.5, f"{r:+.2f}", ha="center", va="center", fontsize=8 + 8 * abs(r),
            transform=ax.transAxes)  # fmt: skip
    ax.set_axis_off()


def _pair_labels(ax: Axes, names: list[str], i: int, j: int) -> None:
    """Names and numbers on the left and at the bottom only."""
    ax.tick_params(labelsize=7)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    if i == j:
        ax.spines[["top", "right", "left"]].set_visible(False)
    else:
        ax.yaxis.set_major_locator(MaxNLocator(3))
    if i == len(names) - 1:
        ax.set_xlabel(_stacked(names[j]), fontsize=7)
    else:
        ax.set_xticklabels([])
    if j == 0:
        ax.set_ylabel(_stacked(names[i]), fontsize=7)
    else:
        ax.set_yticklabels([])


def _stacked(name: str) -> str:
    return name.replace(".", ".\n") if len(name) > 16 else name


def diverging(tree: xr.DataTree) -> np.ndarray:
    """Which draws diverged; of none it is known where they are resampled or no sampler's."""
    sizes = tree["posterior"].sizes
    # resampled draws have lost which of them diverged, and of thinned ones it is of transitions
    of_draws = "sample_stats" in tree.children and "sampled" not in tree.children
    if not of_draws or tree["sample_stats"].sizes["draw"] != sizes["draw"]:
        return np.zeros(sizes["chain"] * sizes["draw"], bool)
    return np.asarray(tree["sample_stats"]["diverging"].to_numpy(), bool).ravel()


def ranks(tree: xr.DataTree) -> Figure | None:
    """How often each chain takes each rank among all draws; flat lines are good."""
    draws = checks.draws_of(tree)
    chains, length = next(iter(draws.values())).shape
    if chains < 2 or length < checks.ENOUGH_DRAWS:
        return None
    bins = min(15, max(5, length // 15))  # fewer draws, wider bars
    figure, axes = _grid(len(draws), 5, 2.3, 1.6)
    figure.supylabel("share of a chain's draws / equal share", fontsize=8)
    for ax, (name, values) in zip(axes, draws.items(), strict=True):
        order = values.ravel().argsort().argsort().reshape(chains, length)
        for chain in range(chains):
            counts, edges = np.histogram(order[chain], bins=bins, range=(0, values.size))
            colour = CYCLE[chain % len(CYCLE)]
            ax.stairs(
                counts * bins / length, edges / values.size, color=colour, lw=1.1, baseline=None
            )
        ax.axhline(1, color=GREY, lw=0.8, ls=":")
        ax.set(ylim=(0, None), xlim=(0, 1), xticks=[0, 0.5, 1])
        ax.set_title(_short(name), fontsize=8, loc="left")
    for ax in axes[(len(axes) - 1) // 5 * 5 :]:
        ax.set_xlabel("rank (0 lowest, 1 highest)", fontsize=8)
    handles = [
        Line2D([], [], color=CYCLE[c % len(CYCLE)], lw=1.5, label=f"chain {c + 1}")
        for c in range(chains)
    ]
    handles.append(Line2D([], [], color=GREY, ls=":", label="equal shares"))
    _legend(figure, handles)
    return figure
