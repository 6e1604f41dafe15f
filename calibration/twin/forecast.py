"""What management options would do to the carbon of a fitted site, with uncertainty.

All options are lived by the same draws of the posterior in the same weather, so a difference
between two of them is as certain as what they do not have in common.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from calibration import compatibility, saved_fit
from calibration.prediction import PREDICTED_DRAWS, QUANTILES, batches, evenly
from calibration.priors import Priors
from calibration.quantities import delta14c
from calibration.twin import atmosphere, forecast_report, scenario
from calibration.twin.result import FILE, UNITS, Forecast, save
from calibration.twin.scenario import Scenario
from diffsoil.cases.arrays import Plan, check, select
from diffsoil.column import Column
from diffsoil.forward import GEOMETRY, Forward
from diffsoil.io import InputError, nearest
from diffsoil.time import Record
from diffsoil.units import CM_PER_M
from diffsoil.work.files import write_table, write_text
from diffsoil.work.folder import Kind, OutputFolder, having
from diffsoil.work.progress import Clock, Say

MOST_DRAWS = PREDICTED_DRAWS

PAST_YEARS = 30
"""Years of the record that are drawn before the forecast."""


def forecast_case(
    fit: Path,
    options: Path | str,
    output: Path,
    draws: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Forecast management options with a fit, and write tables, pictures and a report.

    Args:
        fit: folder of a fit.
        options: file of options, or the name of a shipped one; see :mod:`.twin.scenario`.
        output: folder; made if it is not there.
        draws: posterior draws to use; 600 if not given, or all of a smaller fit.
        seed: of the draws from priors.
        overwrite: replace the folder if it holds something.

    Raises:
        InputError: the fit or the options cannot be used.
    """
    say = Clock()
    asked_of = scenario.find(options)
    place = OutputFolder(output, KIND, overwrite=overwrite, inputs=[fit, asked_of])
    if draws is not None and draws < 1:
        raise InputError(f"--draws {draws}: at least 1 is needed")
    found = saved_fit.load(fit)
    found.refuse_differing("a forecast")
    case = found.case()
    column = found.column(case)
    asked = scenario.read(asked_of, case)
    names, x = parameters(found, column, asked, draws, seed)
    plan = scenario.lived(asked)
    compatibility.check_same_model(found)
    say(
        f"{asked.file.title}: {len(asked.options)} options on {len(asked.treatments)} "
        f"treatment(s), {asked.today + 1} to {asked.file.until}, {len(x)} draws"
    )
    say(f"weather: {scenario.weather_told(asked)}")
    if air := atmosphere.words(asked.file.radiocarbon):
        say(f"14C of the air: {air}")
    with place:
        result = simulate(asked, column, plan, names, x, say)
        by_year = summary(result, asked.today)
        apart = differences(result, asked)
        _write(place.work, found, asked, result, by_year, apart)
    say(f"done: open {place.path / 'report.html'}")


TABLES = ("forecast", "differences", "options")

KIND = Kind(
    "forecast",
    "a forecast",
    (
        *(f"{name}.csv" for name in TABLES),
        *("scenario.toml", "report.html", "forecast.png", "differences.png", FILE),
    ),
    older=having("forecast.csv", "scenario.toml"),
)


def _write(
    work: Path,
    found: saved_fit.Fit,
    asked: Scenario,
    result: Forecast,
    by_year: pd.DataFrame,
    apart: pd.DataFrame,
) -> None:
    save(work, found, asked, result)
    tables = (by_year, apart, scenario.described(asked))
    for name, content in zip(TABLES, tables, strict=True):
        write_table(work / f"{name}.csv", content)
    write_text(work / "scenario.toml", asked.text)
    forecast_report.write(work, found, asked, result, by_year, apart)


def parameters(
    found: saved_fit.Fit, column: Column, asked: Scenario, draws: int | None, seed: int
) -> tuple[list[str], Float[np.ndarray, "draw parameter"]]:
    """Values of the column's parameters by draw: of the fit, and of priors that are asked for.

    Raises:
        InputError: a parameter to draw from its prior is unknown, or the fit has it.
    """
    rows = evenly(len(found.draws), draws or MOST_DRAWS)
    table = column.parameters()
    names = [n for n in found.names if n in table]
    x = found.draws[np.ix_(rows, [found.names.index(n) for n in names])]
    extra = asked.file.draw_from_prior
    for name in extra:
        if name not in table:
            raise InputError(
                f"{asked.path}: draw_from_prior: no parameter {name!r}{nearest(name, table)}"
            )
        if name in names:
            raise InputError(
                f"{asked.path}: draw_from_prior: {name} is in the fit, whose draws count"
            )
    if extra:
        own = asked.case.priors()
        declared = [
            dataclasses.replace(table[n], prior=own.get(n) or table[n].prior) for n in extra
        ]
        prior = np.asarray(Priors(declared).sample(jax.random.key(seed), len(rows)))
        x = np.concatenate([x, prior], axis=1)
    return [*names, *extra], x


def simulate(
    asked: Scenario,
    column: Column,
    plan: Plan,
    names: list[str],
    x: Float[np.ndarray, "draw parameter"],
    report: Say,
) -> Forecast:
    """Live all options with all draws; 14C is read where the case follows it.

    Members that are driven by the same are lived once, so options that are the same are equal.
    """
    check(plan, column, asked.case)
    lived, of = _distinct(plan)
    depths = [(u / CM_PER_M, v / CM_PER_M) for u, v in asked.depths_cm]
    first = max(plan.experiment_year, asked.today - PAST_YEARS + 1)
    dated = plan.radiocarbon
    yearly = ("soc", "litter_stock", *(["radiocarbon"] if dated else []))
    record = Record(yearly=yearly, steps=GEOMETRY)
    keys = tuple((name,) for name in names)
    forward = Forward(column, lived, keys, in_experiment=record).prepared()

    def one(forward: Forward, x: Array) -> Float[Array, "member quantity year"]:
        run = forward.run(x)
        stocks = [run.stock(*depth, first) for depth in depths]
        found = list(stocks)
        if dated:
            modern = [run.stock(*depth, first, of="radiocarbon") for depth in depths]
            found += map(delta14c, modern, stocks)
        return jnp.stack([*found, run.by_year("litter_stock", first)], axis=1)

    devices = jax.local_devices()
    some = jax.pmap(
        lambda forward, x: jax.lax.map(partial(one, forward), x),
        in_axes=(None, 0),
        devices=devices,
    )
    parts = list(batches(lambda batch, _: some(forward, batch), x, report))
    values = np.concatenate(parts)[:, of]
    quantities: list[tuple[str, tuple[float, float] | None]] = [
        (name, depth)
        for name in ("soc_stock", *(["delta14c"] if dated else []))
        for depth in asked.depths_cm
    ]
    if asked.litter:
        quantities.append(("litter_stock", None))
    return Forecast(
        members=[(t, o.name) for t in asked.treatments for o in asked.options],
        quantities=quantities,
        years=np.arange(first, asked.file.until + 1),
        draws=values[:, :, : len(quantities)],
    )


def _distinct(plan: Plan) -> tuple[Plan, np.ndarray]:
    """A plan without members that are driven by the same, and where each member is in it."""
    leaves = [
        np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(plan.experiment, eqx.is_array))
    ]
    seen: dict[str, int] = {}
    of: list[int] = []
    kept: list[str] = []
    for i in range(len(plan.members)):
        mark = hashlib.sha256(str(plan.site_of[i]).encode())
        for leaf in leaves:
            mark.update(np.ascontiguousarray(leaf[i]).tobytes())
        if mark.hexdigest() not in seen:
            seen[mark.hexdigest()] = len(kept)
            kept.append(plan.members[i])
        of.append(seen[mark.hexdigest()])
    return select(plan, kept, "options"), np.array(of)


def _described(values: Float[np.ndarray, "draw year"]) -> dict[str, Any]:
    columns = {"mean": values.mean(axis=0), "sd": values.std(axis=0)}
    return columns | {n: np.quantile(values, q, axis=0) for n, q in QUANTILES.items()}


def _labels(quantity: tuple[str, tuple[float, float] | None]) -> dict[str, Any]:
    name, depth = quantity
    upper, lower = depth or (np.nan, np.nan)
    return {"variable": name, "upper_cm": upper, "lower_cm": lower, "unit": UNITS[name]}


def summary(result: Forecast, today: int) -> pd.DataFrame:
    """Quantiles by treatment, option, quantity and year; ``forecast`` is 0 in years of record."""
    rows = []
    for m, (treatment, option) in enumerate(result.members):
        for q, quantity in enumerate(result.quantities):
            rows.append(
                pd.DataFrame(
                    {"treatment": treatment, "option": option}
                    | _labels(quantity)
                    | {"year": result.years, "forecast": (result.years > today).astype(int)}
                    | _described(result.draws[:, m, q])
                )
            )
    return pd.concat(rows, ignore_index=True)


def differences(result: Forecast, asked: Scenario) -> pd.DataFrame:
    """What one option holds more than another, draw by draw, and how probable that is.

    Against the baseline in every year to come, all other pairs in the years that are asked for.
    ``probability_more`` is the share of draws in which the option holds more than the other; where
    nothing differs both probabilities are 0.
    """
    baseline = asked.options[0].name
    future = result.years > asked.today
    told = np.isin(result.years, asked.years)
    rows = []
    for treatment in asked.treatments:
        place = {o: i for i, (t, o) in enumerate(result.members) if t == treatment}
        for versus, option in itertools.combinations(place, 2):
            when = future if versus == baseline else told
            for q, quantity in enumerate(result.quantities):
                apart = result.draws[:, place[option], q] - result.draws[:, place[versus], q]
                apart = apart[:, when]
                rows.append(
                    pd.DataFrame(
                        {"treatment": treatment, "option": option, "versus": versus}
                        | _labels(quantity)
                        | {"year": result.years[when]}
                        | _described(apart)
                        | {
                            "probability_more": (apart > 0).mean(axis=0),
                            "probability_less": (apart < 0).mean(axis=0),
                        }
                    )
                )
    if not rows:
        return pd.DataFrame(columns=["treatment", "option", "versus", "year"])
    return pd.concat(rows, ignore_index=True)
