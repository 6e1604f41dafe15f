"""What the study makes of its runs: smoothing, regression, recovery, and the paper beside it.

A suite is a dataset of runs with dimensions scenario, year, output_year and depth_m. Year y is
the state at the end of year y, so that years a + 1 to b are ``[a:b]``. Stocks are in Mg C/ha.
Source of what is computed: van der Meij & Finke (2026), sections 2.5 and 3.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jax.typing import ArrayLike

from diffsoil.io import InputError, data_path
from diffsoil.output import plots
from diffsoil.processes.protection import MECHANISMS, modifier
from diffsoil.tables import Column, read_table

EROSION_INTERVAL = {"E0": 1, "E1": 1000, "E2": 100, "E3": 10}
"""Years between two erosion events, which take 50 mm each; no smoothing without erosion."""

BORDERS = (8000, 9900, 10000)
"""Last years of the natural, the extensive and the intensive phase; recovery follows."""

NATURAL, EXTENSIVE, END = BORDERS

EARLY = slice(500, 2000)
"""Years 501 to 2000: the soil is filled for the larger part and still rich in bases."""

SETTLED = slice(2000, NATURAL)
"""Years of the natural phase in which stocks no longer depend on their start."""

LATE = slice(NATURAL - 500, NATURAL)
"""Last 500 years of the natural phase."""

LEVELS = {
    "protection": ("n", "a", "c", "m", "p", "x"),
    "climate": ("dry", "wet"),
    "erosion": ("E0", "E1", "E2", "E3"),
    "land_use": ("natural", "agricultural"),
}
"""Categorical variables of the regression; the first level is the reference."""

VARIABLES = (*LEVELS, "year")
PREDICTORS = (
    ("intercept", "intercept"),
    *((variable, level) for variable, levels in LEVELS.items() for level in levels[1:]),
    ("year", "year"),
)
"""Variable and predictor of each row of Table 3."""

Total = Literal["mean", "anova"]
"""What 100 % of eta2 is: the sum of squares about the mean, or that of all lines of the ANOVA
table. Lines of type II do not add up to the former in an unbalanced design like this one."""

ETA2_TOTAL: Total = "anova"
# The paper means this one: its estimates and its R2 give, in our design and with a slope of
# 0.00145 a year, eta2 of 4.1, 63.8, 3.8, 4.9 and 2.6 % so, which is what it prints, and of 3.7,
# 58.3, 3.4, 4.5 and 2.4 % about the mean.

TOLERANCES = {
    "T3-intercept": 3.0,
    "T3-a": 1.5,
    "T3-c": 1.0,
    "T3-m": 0.5,
    "T3-p": 1.5,
    "T3-x": 1.5,
    "T3-wet": 3.0,
    "T3-E1": 1.5,
    "T3-E2": 3.0,
    "T3-E3": 5.0,
    "T3-agricultural": 3.0,
    "T3-year": 0.0005,  # half of the last digit that is printed
    "T3-r2": 0.05,
    "F1-n-equilibrium": 300.0,
    "F1-n-extensive": 0.03,
    "F1-m": 1.5,
    "F1-p": 1.5,
    "F1-c": 1.5,
    "F1-a-early": 1.5,
    "F1-a-late": 1.5,
    "F1-x-switch": 700.0,
    "F1-a-liming": 0.25,  # yes or no: neither is half right
}
"""Differences from the paper that count as reproduced, in the unit of each."""

ETA2_TOLERANCE = (1.5, 0.25)
"""Tolerance of eta2: percentage points, or a share of the value if that is more."""

COMPARTMENTS = {"top": "soc_stock_0_25", "sub": "soc_stock_25_75"}
"""Stocks whose recovery is followed."""

RECOVERED = 0.01
"""Share of the stock of the soil never farmed that may lack once a field has recovered."""
# Not zero: the stocks approach each other without end. And they have to stay so close for good,
# since an erosion event can take more from the soil never farmed than the field lacks, which
# closes the gap for some years only.

LABELS = ("bioclimate", "protection", "land_use", "erosion", "recovery", "rock")


# Runs and their phases.


def histories(dataset: xr.Dataset) -> pd.DataFrame:
    """Labels of each run, a row each: bioclimate, protection, land use, erosion, recovery, rock."""
    # a Zarr store gives strings of a type that neither pandas nor NumPy turns into its own
    words = {name: [str(word) for word in dataset[name].to_numpy()] for name in LABELS}
    names = [str(name) for name in dataset["scenario"].to_numpy()]
    return pd.DataFrame(words, index=pd.Index(names, name="scenario"))


def find(runs: pd.DataFrame, **labels: str) -> np.ndarray:
    """Places of the runs that have some labels.

    Args:
        runs: from :func:`histories`.
        labels: name of a column and the value wanted.

    Raises:
        diffsoil.io.InputError: there is none.
    """
    wanted = np.logical_and.reduce([runs[name] == value for name, value in labels.items()])
    if not wanted.any():
        raise InputError(
            "the suite has no run with "
            + ", ".join(f"{name} {value or 'none'}" for name, value in labels.items())
        )
    return np.flatnonzero(wanted)


def phases(years: int) -> np.ndarray:
    """Phase of each year: 0 natural, 1 extensive, 2 intensive, 3 recovery, [year]."""
    return np.searchsorted(BORDERS, np.arange(1, years + 1), side="left")


def erosion_classes(erosion: Iterable[str], years: int) -> np.ndarray:
    """Erosion class of each run and year as its place in ``LEVELS["erosion"]``, [run, year].

    Args:
        erosion: class of each phase before recovery, like ``E1-E2-E3``; in recovery the first
            one comes back.
        years: number of years.
    """
    by_phase = [(*history.split("-"), history.split("-")[0]) for history in erosion]
    codes = np.array([[LEVELS["erosion"].index(name) for name in row] for row in by_phase])
    return codes[:, phases(years)]


def windows(erosion: Iterable[str], years: int, restart: bool = False) -> np.ndarray:
    """Years that :func:`smoothed` takes together, [run, year].

    Args:
        erosion, years: see :func:`erosion_classes`.
        restart: begin anew with each phase, in the place of looking back into the one before.
    """
    interval = np.array([EROSION_INTERVAL[name] for name in LEVELS["erosion"]])
    chosen = interval[erosion_classes(erosion, years)]
    begun = np.array([0, *BORDERS])[phases(years)]
    return np.minimum(chosen, np.arange(1, years + 1) - begun) if restart else chosen


def smoothed(stock: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Trailing moving average, which takes out the saw-tooth of erosion events.

    It is linear in the stock, so that it serves for tangents too.

    Args:
        stock: any yearly quantity, [..., year]; all after a NaN is NaN.
        window: years of each mean, the year itself and those before it, >= 1, [year] or
            [run, year]. It looks back across borders of phases and is partial at the start.

    Returns:
        In the shape of the stock.
    """
    return plots.trailing_mean(stock, window)


def smoothed_stocks(
    dataset: xr.Dataset, places: np.ndarray, name: str = "soc_stock_0_100", years: int = END
) -> np.ndarray:
    """Smoothed stocks of some runs, Mg C/ha, [run, year].

    Raises:
        diffsoil.io.InputError: a run has not been computed to the last year wanted.
    """
    return smoothed(
        _stocks(dataset, places, name, years),
        windows(dataset["erosion"].to_numpy()[places], years),
    )


def _stocks(dataset: xr.Dataset, places: np.ndarray, name: str, years: int) -> np.ndarray:
    values = dataset[name].isel(scenario=places, year=slice(years)).to_numpy().astype(float)
    missing = ~np.isfinite(values).all(axis=1)
    if missing.any():
        run = dataset["scenario"].to_numpy()[places][missing][0]
        raise InputError(
            f"{name} of {missing.sum()} of the runs, such as {run}, is not there up to "
            f"year {years}; compute the missing runs first"
        )
    return values


def _loaded(dataset: xr.Dataset, *names: str, **labels: str) -> xr.Dataset:
    """Some variables of the runs with some labels, read into memory at once."""
    return dataset.isel(scenario=find(histories(dataset), **labels))[list(names)].load()


# The regression of Table 3.


def _codes(runs: pd.DataFrame, years: int) -> dict[str, np.ndarray]:
    """Level of each categorical variable as its place in LEVELS, [run, year]."""

    def each(name: str, variable: str) -> np.ndarray:
        levels = LEVELS[variable]
        return np.array([levels.index(value) for value in runs[name]])[:, None]

    every = np.ones((1, years), int)
    return {
        "protection": each("protection", "protection") * every,
        "climate": each("bioclimate", "climate") * every,
        "erosion": erosion_classes(runs["erosion"], years),
        "land_use": each("land_use", "land_use") * (phases(years) > 0),
    }


def regression_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Data of the regression: a row for each ten-thousand-year run and year, run by run.

    Returns:
        ``soc_stock_0_100``, smoothed, Mg C/ha; protection, climate, erosion and land_use
        (the latter two of the year), categorical with the reference first; year from 1.
    """
    runs = histories(dataset)
    places = find(runs, recovery="")
    stock = smoothed_stocks(dataset, places)
    columns = {
        name: pd.Categorical.from_codes(codes.ravel(), categories=pd.Index(LEVELS[name]))
        for name, codes in _codes(runs.iloc[places], END).items()
    }
    year = np.tile(np.arange(1, END + 1), len(places))
    return pd.DataFrame({"soc_stock_0_100": stock.ravel(), **columns, "year": year})


def table3(dataset: xr.Dataset, total: Total = ETA2_TOTAL) -> tuple[pd.DataFrame, float]:
    """Regression of the stocks and its type-II ANOVA, beside Table 3 of the paper.

    Args:
        dataset: a suite with the ten-thousand-year runs.
        total: what 100 % of eta2 is.

    Returns:
        The table, in the order of the paper, and the adjusted R2.
    """
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    formula = "soc_stock_0_100 ~ " + " + ".join(VARIABLES)
    fit = ols(formula, regression_table(dataset)).fit()
    squares = anova_lm(fit, typ=2)["sum_sq"]
    whole = fit.centered_tss if total == "mean" else squares.sum()
    names = ["Intercept", *(f"{v}[T.{p}]" for v, p in PREDICTORS[1:-1]), "year"]
    paper = _paper_table3()
    table = pd.DataFrame(PREDICTORS, columns=["variable", "predictor"])
    table["estimate_Mg_C_ha"] = fit.params[names].to_numpy()
    table["p_value"] = fit.pvalues[names].to_numpy()
    table["eta2_percent"] = 100.0 * squares.reindex(table["variable"]).to_numpy() / whole
    table["paper_estimate"] = paper["estimate_Mg_C_ha"].to_numpy()
    table["paper_eta2"] = paper["eta2_percent"].to_numpy()
    return table, float(fit.rsquared_adj)


@dataclasses.dataclass(frozen=True)
class Design:
    """The regression as linear algebra.

    Attributes:
        matrix: predictors in the order of ``PREDICTORS``, [row, predictor]; the rows are those
            of stocks [run, year], run by run.
    """

    matrix: np.ndarray

    @cached_property
    def inverse(self) -> np.ndarray:
        """``(X'X)^-1``, [predictor, predictor]."""
        # years up to 10 000 beside ones: columns of one size are inverted without loss
        size = np.abs(self.matrix).max(axis=0)
        gram = self.matrix.T @ self.matrix / np.outer(size, size)
        return np.linalg.inv(gram) / np.outer(size, size)


def design(runs: pd.DataFrame, years: int = END) -> Design:
    """Design of the regression for stocks [run, year].

    Args:
        runs: bioclimate, protection, land_use and erosion of each run, see :func:`histories`.
        years: number of years.
    """
    codes = _codes(runs, years)
    columns = [codes[variable] == LEVELS[variable].index(p) for variable, p in PREDICTORS[1:-1]]
    shape = (len(runs), years)
    year = np.broadcast_to(np.arange(1.0, years + 1.0), shape)
    parts = [np.ones(shape), *columns, year]
    return Design(np.stack([np.ravel(part) for part in parts], axis=1, dtype=float))


def coefficients(y: np.ndarray, design: Design, total: Total = ETA2_TOTAL) -> dict[str, float]:
    """Estimates, eta2 and adjusted R2, as :func:`table3` has them, by plain linear algebra.

    Args:
        y: smoothed stocks, Mg C/ha, [run, year] in the order of the design.
        design: from :func:`design`.
        total: what 100 % of eta2 is.

    Returns:
        ``T3-a`` and so on for the estimates, Mg C/ha (``T3-year``: Mg C/ha/a); ``T3-eta2-climate``
        and so on, %; ``T3-r2``.
    """
    return _regress(y, np.zeros((0, y.size)), design, total)[0]


def d_coefficients(
    y: np.ndarray, dy: np.ndarray, design: Design, total: Total = ETA2_TOTAL
) -> dict[str, np.ndarray]:
    """Exact derivatives of :func:`coefficients` along tangents of the stocks.

    Args:
        y, design, total: as there.
        dy: tangents, smoothed as the stocks are, [tangent, run, year].

    Returns:
        Derivatives under the same names, [tangent].
    """
    return _regress(y, dy, design, total)[1]


def _regress(
    y: np.ndarray, dy: np.ndarray, design: Design, total: Total
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Values and derivatives; the sum of squares of a variable is what leaving it out costs."""
    x, inverse = design.matrix, design.inverse
    y, dy = y.ravel(), dy.reshape(len(dy), y.size)
    estimate, d_estimate = inverse @ (x.T @ y), dy @ x @ inverse
    value = {f"T3-{predictor}": float(estimate[i]) for i, (_, predictor) in enumerate(PREDICTORS)}
    slope = {f"T3-{predictor}": d_estimate[:, i] for i, (_, predictor) in enumerate(PREDICTORS)}

    residual, centred = y - x @ estimate, y - y.mean()
    left, d_left = residual @ residual, 2.0 * (dy @ residual)
    about_mean, d_about_mean = centred @ centred, 2.0 * (dy @ centred)
    squares, d_squares = {}, {}
    for variable in VARIABLES:
        own = [i for i, (name, _) in enumerate(PREDICTORS) if name == variable]
        weighted = np.linalg.solve(inverse[np.ix_(own, own)], estimate[own])
        squares[variable] = estimate[own] @ weighted
        d_squares[variable] = 2.0 * d_estimate[:, own] @ weighted
    if total == "mean":
        whole, d_whole = about_mean, d_about_mean
    else:
        whole, d_whole = left + sum(squares.values()), d_left + sum(d_squares.values())
    for variable, own_squares in squares.items():
        share = own_squares / whole
        value[f"T3-eta2-{variable}"] = float(100.0 * share)
        slope[f"T3-eta2-{variable}"] = 100.0 * (d_squares[variable] - share * d_whole) / whole

    rows, predictors = x.shape
    unexplained = left / about_mean
    freedom = (rows - 1) / (rows - predictors)
    value["T3-r2"] = float(1.0 - freedom * unexplained)
    slope["T3-r2"] = -freedom * (d_left - unexplained * d_about_mean) / about_mean
    return value, slope


def smoothing(dataset: xr.Dataset) -> pd.DataFrame:
    """Every number of the paper by how stocks are smoothed, which the paper leaves open.

    Returns:
        id, what, paper, tolerance, looking_back (the average looks back across borders of phases,
        as everywhere else) and restarted (it begins anew with each phase).
    """
    runs = histories(dataset)
    places = find(runs, recovery="")
    stock, of = _stocks(dataset, places, "soc_stock_0_100", END), runs.iloc[places]
    table = paper()
    for column, restart in (("looking_back", False), ("restarted", True)):
        smooth = smoothed(stock, windows(of["erosion"], END, restart))
        table[column] = table["id"].map(numbers(smooth, design(of), figure1_runs(of)))
    return table


# Statements on Figure 1.


def first_rise(values: jax.Array) -> jax.Array:
    """Where values first rise from below zero to zero or more, counted in places from 0.

    In between it is interpolated, so that it has a derivative; NaN if they never do.

    Args:
        values: [year].
    """
    rises = (values[:-1] < 0.0) & (values[1:] >= 0.0)
    i = jnp.argmax(rises)
    step = jnp.where(rises[i], values[i + 1] - values[i], 1.0)
    return jnp.where(rises[i], i.astype(values.dtype) - values[i] / step, jnp.nan)


def figure1(stocks: Mapping[str, ArrayLike]) -> dict[str, jax.Array]:
    """Statements on Figure 1a as numbers; JAX can differentiate them.

    - ``F1-n-equilibrium``: year from which the stock without protection rises by less than 1 %
      in the 500 years that follow. Unlike the way to its final level this hardly changes when
      the stock creeps or sinks for millennia afterwards; of an exponential approach it is about
      the time to 99 %.
    - ``F1-n-extensive``: its mean of the last 100 years of the extensive phase over that of the
      last 100 years of the natural phase.
    - ``F1-m``, ``F1-p``, ``F1-c``: per cent above the stock without protection, means of the
      settled part of the natural phase, years 2001 to 8000.
    - ``F1-a-early``, ``F1-a-late``: the same in years 501 to 2000 and 7501 to 8000.
    - ``F1-x-switch``: first year after 500 in the natural phase in which clay overtakes
      aggregation, each alone; NaN if it does not.
    - ``F1-a-liming``: 1 if aggregation is above clay in the last 100 years of the extensive
      phase, otherwise 0.

    Args:
        stocks: smoothed stocks of the dry, agricultural run without erosion for each of the
            protections n, a, c, m, p; Mg C/ha, [year], 10 000 years or more.
    """
    stock = {name: jnp.asarray(values) for name, values in stocks.items()}
    none, ahead = stock["n"], stock["c"] - stock["a"]

    def percent(protection: str, years: slice) -> jax.Array:
        return 100.0 * (jnp.mean(stock[protection][years]) / jnp.mean(none[years]) - 1.0)

    def end(values: jax.Array, year: int) -> jax.Array:
        return jnp.mean(values[year - 100 : year])

    natural = none[:NATURAL]
    return {
        "F1-n-equilibrium": 1.0 + first_rise(1.01 * natural[:-500] - natural[500:]),
        "F1-n-extensive": end(none, EXTENSIVE) / end(none, NATURAL),
        "F1-m": percent("m", SETTLED),
        "F1-p": percent("p", SETTLED),
        "F1-c": percent("c", SETTLED),
        "F1-a-early": percent("a", EARLY),
        "F1-a-late": percent("a", LATE),
        "F1-x-switch": EARLY.start + 1.0 + first_rise(ahead[EARLY.start : NATURAL]),
        "F1-a-liming": jnp.where(end(ahead, EXTENSIVE) < 0.0, 1.0, 0.0),
    }


def d_figure1(
    stocks: Mapping[str, np.ndarray], tangents: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Derivatives of :func:`figure1` along tangents of the stocks.

    Args:
        stocks: as there.
        tangents: smoothed as the stocks are, under the same names, [tangent, year].

    Returns:
        [tangent] each; 0 for yes or no, and for a year that is NaN.
    """
    point = {name: jnp.asarray(stocks[name]) for name in tangents}
    along = {name: jnp.asarray(values) for name, values in tangents.items()}
    return {name: np.asarray(values) for name, values in _push_figure1(point, along).items()}


@jax.jit
def _push_figure1(point: dict[str, jax.Array], along: dict[str, jax.Array]) -> dict[str, jax.Array]:
    _, push = jax.linearize(figure1, point)
    return jax.vmap(push)(along)


def figure1_runs(runs: pd.DataFrame) -> dict[str, int]:
    """Place of the run that :func:`figure1` takes for each protection."""
    labels = {"bioclimate": "dry", "land_use": "agricultural", "erosion": "E0-E0-E0"}
    return {p: int(find(runs, protection=p, recovery="", **labels)[0]) for p in "nacmp"}


def statements(dataset: xr.Dataset) -> dict[str, float]:
    """The paper's statements as numbers, by their id; see :func:`figure1`, :func:`table3`."""
    values = targets(dataset)
    return {name: values[name] for name in _paper_statements()["id"]}


def targets(dataset: xr.Dataset) -> dict[str, float]:
    """All numbers that the paper gives: :func:`coefficients` and :func:`figure1`, by id."""
    runs = histories(dataset)
    places = find(runs, recovery="")
    stock = smoothed_stocks(dataset, places)
    return numbers(stock, design(runs.iloc[places]), figure1_runs(runs.iloc[places]))


def numbers(stock: np.ndarray, design: Design, places: Mapping[str, int]) -> dict[str, float]:
    """:func:`targets` of smoothed stocks, Mg C/ha, [run, year].

    Args:
        stock: in the order of the design.
        design: from :func:`design`.
        places: from :func:`figure1_runs`.
    """
    read = figure1({name: stock[place] for name, place in places.items()})
    return coefficients(stock, design) | {name: float(value) for name, value in read.items()}


# Recovery after year 10 000.


def recovery(dataset: xr.Dataset) -> pd.DataFrame:
    """Time until the stock of a field left to nature is back at that of the soil never farmed.

    The latter has the same bioclimate and natural erosion. In recovery both lose their layers
    in the same years and the last year before is the last of an interval for all, so the
    stocks are compared as they are, year by year: the saw-tooth is the same in both. The
    average of the study would look back for a thousand years into agriculture.

    Args:
        dataset: a suite with the runs that go on to year 12 000.

    Returns:
        A row for each bioclimate, erosion history and compartment (top 0-25 cm, sub 25-75 cm):
        deficit_Mg_C_ha, natural minus farmed at the end of year 10 000; recovery_years from
        there until the stock is back for good (:func:`time_to_stay`), NaN if it is not at the
        end of the runs, after 2000 years; recovered; years_to_stock_of_10000, until it is
        first within as much of the natural stock of year 10 000, in the place of that of each
        year: under events of erosion no stock is there for good.
    """
    dataset = _loaded(
        dataset, *COMPARTMENTS.values(), protection="x", recovery="natural", rock="none"
    )
    runs, end = histories(dataset), dataset.sizes["year"]
    rows = []
    for place in find(runs, land_use="agricultural"):
        bioclimate, erosion = runs.iloc[place][["bioclimate", "erosion"]]
        steady = "-".join([erosion.split("-")[0]] * len(BORDERS))
        reference = find(runs, bioclimate=bioclimate, erosion=steady, land_use="natural")[0]
        for compartment, name in COMPARTMENTS.items():
            ours, natural = _stocks(dataset, np.array([place, reference]), name, end)[:, END - 1 :]
            years = time_to_stay((1.0 - RECOVERED) * natural - ours)
            fixed = time_to_reach((1.0 - RECOVERED) * natural[0] - ours)
            rows.append(
                {
                    "bioclimate": bioclimate,
                    "erosion": erosion,
                    "compartment": compartment,
                    "deficit_Mg_C_ha": natural[0] - ours[0],
                    "recovery_years": years,
                    "recovered": bool(np.isfinite(years)),
                    "years_to_stock_of_10000": fixed,
                }
            )
    return pd.DataFrame(rows)


def time_to_stay(lack: np.ndarray) -> float:
    """Years from the first value until nothing is lacking any more for good, interpolated.

    Args:
        lack: yearly; nothing is lacking at zero and below, [year].

    Returns:
        0 if nothing ever lacks, NaN if something does in the last year.
    """
    lacking = np.flatnonzero(lack > 0.0)
    if not lacking.size:
        return 0.0
    last = int(lacking[-1])
    if last == len(lack) - 1:
        return float("nan")
    return last + float(lack[last] / (lack[last] - lack[last + 1]))


def time_to_reach(lack: np.ndarray) -> float:
    """Years from the first value until nothing is lacking for the first time, interpolated.

    Args:
        lack: yearly; nothing is lacking at zero and below, [year].

    Returns:
        0 if nothing lacks at first, NaN if something does throughout.
    """
    there = np.flatnonzero(lack <= 0.0)
    if not there.size:
        return float("nan")
    first = int(there[0])
    before = max(first - 1, 0)
    return before + float(lack[before] / (lack[before] - lack[first])) if first else 0.0


def recovery_fit(recovery: pd.DataFrame) -> pd.DataFrame:
    """Regression of recovery time on deficit for each compartment.

    Args:
        recovery: from :func:`recovery`. Runs that have not recovered in time, and those that
            had nothing to recover from, are left out.

    Returns:
        compartment, slope_a_per_Mg, p_value (of the slope), r2, intercept_a, n; all but n NaN
        for fewer than three different deficits.
    """
    rows = []
    for compartment in COMPARTMENTS:
        chosen = recovery[
            (recovery["compartment"] == compartment)
            & recovery["recovered"]
            & (recovery["recovery_years"] > 0.0)
        ]
        x, y = chosen["deficit_Mg_C_ha"].to_numpy(), chosen["recovery_years"].to_numpy()
        names = ("slope_a_per_Mg", "p_value", "r2", "intercept_a")
        values = _line(x, y) if np.unique(x.round(6)).size >= 3 else (np.nan,) * len(names)
        rows.append({"compartment": compartment, **dict(zip(names, values, strict=True)),
                     "n": len(x)})  # fmt: skip
    return pd.DataFrame(rows)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float, float]:
    """Slope, its p value, R2 and intercept of a straight line."""
    from statsmodels.api import OLS, add_constant

    fit = OLS(y, add_constant(x)).fit()
    with np.errstate(divide="ignore", invalid="ignore"):  # all times the same
        r2, p_value = float(fit.rsquared), float(fit.pvalues[1])
    return float(fit.params[1]), p_value, r2, float(fit.params[0])


def rocks(dataset: xr.Dataset, interval: int = 10) -> pd.DataFrame:
    """Stocks after an addition of ground rock, without erosion.

    Args:
        dataset: a suite with the runs that go on to year 12 000.
        interval: years from one row to the next.

    Returns:
        bioclimate, land_use (after year 10 000: natural or agriculture), rock (or none), year
        from 10 000 on, soc_stock_0_100 and difference_to_none, Mg C/ha.
    """
    name = "soc_stock_0_100"
    labels = {"land_use": "agricultural", "protection": "x", "erosion": "E0-E0-E0"}
    dataset = _loaded(dataset, name, **labels)
    runs, end = histories(dataset), dataset.sizes["year"]
    tables = []
    for place in np.flatnonzero(runs["recovery"] != ""):
        bioclimate, land_use, rock = runs.iloc[place][["bioclimate", "recovery", "rock"]]
        none = find(runs, bioclimate=bioclimate, recovery=land_use, rock="none")[0]
        years = np.arange(END, end + 1, interval)
        stock, reference = _stocks(dataset, np.array([place, none]), name, end)[:, years - 1]
        columns = {"bioclimate": bioclimate, "land_use": land_use, "rock": rock, "year": years}
        columns |= {name: stock, "difference_to_none": stock - reference}
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables, ignore_index=True)


# Protection.


def protection(dataset: xr.Dataset, interval: int = 100) -> pd.DataFrame:
    """What each protection adds to the smoothed stock of the same history without protection.

    Args:
        dataset: a suite with the ten-thousand-year runs.
        interval: years from one row to the next.

    Returns:
        bioclimate, erosion, land_use (of years 8000 to 10 000), year, protection,
        percent_over_none.
    """
    dataset = _loaded(dataset, "soc_stock_0_100", recovery="")
    runs = histories(dataset)
    history = ("bioclimate", "erosion", "land_use")
    years = np.arange(interval, END + 1, interval)
    stocks = smoothed_stocks(dataset, np.arange(len(runs)))[:, years - 1]
    tables = []
    for place in np.flatnonzero(runs["protection"] != "n"):
        labels = {name: str(runs[name].iloc[place]) for name in history}
        none = find(runs, protection="n", **labels)[0]
        percent = 100.0 * (stocks[place] / stocks[none] - 1.0)
        columns = {"year": years, "protection": runs["protection"].iloc[place]}
        columns |= {"percent_over_none": percent}
        tables.append(pd.DataFrame(labels | columns))
    return pd.concat(tables, ignore_index=True)


def limiting(dataset: xr.Dataset, depth_m: float = 1.0) -> xr.Dataset:
    """Which mechanism limits decomposition by protecting most, in the runs that have all of them.

    Args:
        dataset: a suite.
        depth_m: depth of the soil that the shares are of.

    Returns:
        ``limiting`` [scenario, output_year, depth_m]: 0 none protects, 1 and so on the place in
        ``MECHANISMS.own`` (of equal ones the first), -1 after the end of a run; ``share``
        [scenario, output_year, mechanism] of the thickness down to the depth, with ``none``
        as the first mechanism, adding up to 1; NaN after the end of a run.
    """
    chosen = dataset.isel(scenario=find(histories(dataset), protection="x"))
    dims = ("scenario", "output_year", "depth_m")
    modifiers: dict[str, np.ndarray] = {
        m: chosen[modifier(m)].transpose(*dims).to_numpy() for m in MECHANISMS.own
    }
    thickness = chosen["thickness"].transpose(*dims).to_numpy()
    known = np.logical_and.reduce([np.isfinite(values) for values in modifiers.values()])
    limit = np.where(known, plots.limiting(modifiers), -1)

    bottom = np.minimum(np.cumsum(thickness, axis=-1), depth_m)
    inside = np.diff(bottom, axis=-1, prepend=0.0)
    parts = [np.where(limit == i, inside, 0.0).sum(axis=-1) for i in range(len(modifiers) + 1)]
    share = np.stack(parts, axis=-1) / inside.sum(axis=-1)[..., None]
    share[~known.all(axis=-1)] = np.nan
    return xr.Dataset(
        {"limiting": (dims, limit), "share": ((*dims[:2], "mechanism"), share)},
        {**chosen[list(dims)].coords, "mechanism": ["none", *modifiers]},
    )


# The paper beside it.


def _paper_table3() -> pd.DataFrame:
    number = Column(allow_missing=True)
    columns = {
        "variable": Column("str"),
        "predictor": Column("str"),
        "estimate_Mg_C_ha": number,
        "p_value": Column("str"),
        "eta2_percent": number,
    }
    return read_table(data_path("reference", "study", "table3.csv"), columns)


def _paper_statements() -> pd.DataFrame:
    columns = {name: Column("str") for name in ("id", "figure", "statement", "unit")}
    path = data_path("reference", "study", "statements.csv")
    return read_table(path, columns | {"value": Column()})


def paper() -> pd.DataFrame:
    """All numbers that the paper gives: id, what, paper, tolerance."""
    printed, stated = _paper_table3(), _paper_statements()
    rows: list[tuple[str, str, float]] = []
    for variable, predictor, estimate in zip(
        printed["variable"], printed["predictor"], printed["estimate_Mg_C_ha"], strict=True
    ):
        what = variable if variable == predictor else f"{variable} {predictor}"
        unit = "Mg C/ha/a" if variable == "year" else "Mg C/ha"
        rows.append((f"T3-{predictor}", f"regression: {what}, {unit}", estimate))
    eta2 = printed.dropna(subset="eta2_percent").drop_duplicates("variable")
    for variable, value in zip(eta2["variable"], eta2["eta2_percent"], strict=True):
        rows.append((f"T3-eta2-{variable}", f"eta2 of {variable}, %", value))
    units = stated["unit"].map(lambda unit: "" if unit in ("1", "true") else f", {unit}")
    rows += zip(stated["id"], stated["statement"] + units, stated["value"], strict=True)
    table = pd.DataFrame(rows, columns=["id", "what", "paper"])
    table["tolerance"] = [_tolerance(*row) for row in zip(table["id"], table["paper"], strict=True)]
    return table


def _tolerance(name: str, value: float) -> float:
    points, share = ETA2_TOLERANCE
    return TOLERANCES[name] if name in TOLERANCES else max(points, share * abs(value))


def verdict(paper: float, ours: float, tolerance: float) -> str:
    """``reproduced`` within one tolerance, ``partly`` within two, otherwise ``not``.

    What is only partly reproduced has the sign of the paper as well, unless the paper's number
    does not differ from zero by more than the tolerance.
    """
    difference = abs(ours - paper)
    if difference <= tolerance:
        return "reproduced"
    same_sign = ours * paper > 0.0 or abs(paper) <= tolerance
    return "partly" if difference <= 2.0 * tolerance and same_sign else "not"


def comparison(
    dataset: xr.Dataset,
    before: Mapping[str, float] | None = None,
    fitted_targets: Collection[str] = (),
) -> pd.DataFrame:
    """Every number that the paper gives beside ours.

    Args:
        dataset: a suite with the ten-thousand-year runs.
        before: :func:`targets` of the suite before inputs were fitted.
        fitted_targets: ids that inputs were fitted to.

    Returns:
        id, what, paper, before_fit, ours, difference (ours minus paper), tolerance,
        used_in_fit, verdict (see :func:`verdict`).
    """
    ours, earlier = targets(dataset), before or {}
    table = paper()
    table["ours"] = table["id"].map(ours)
    table["before_fit"] = [earlier.get(name, np.nan) for name in table["id"]]
    table["difference"] = table["ours"] - table["paper"]
    table["used_in_fit"] = table["id"].isin(list(fitted_targets))
    table["verdict"] = list(
        itertools.starmap(verdict, table[["paper", "ours", "tolerance"]].to_numpy())
    )
    order = ("id", "what", "paper", "before_fit", "ours", "difference", "tolerance")
    return table[[*order, "used_in_fit", "verdict"]]
