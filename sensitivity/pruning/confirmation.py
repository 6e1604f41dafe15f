"""What a pruned column is like where it was not chosen on, and what it costs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from diffsoil.cases import Case
from diffsoil.cases.fingerprint import fingerprint
from diffsoil.forward import Forward
from diffsoil.work.pool import collect
from diffsoil.work.progress import Say
from sensitivity.pruning.ablation import of_case
from sensitivity.pruning.alternatives import alternatives, edited
from sensitivity.pruning.cost import Cost, measure
from sensitivity.pruning.elimination import Decision, Search
from sensitivity.pruning.measurements import Measurements

CHOSEN = ("case", "chosen", "unseen")
CHECKED = ("other case", "", "other case, draws")
"""Samples of errors: parameters of a case, draws it was chosen on, draws it was not."""


def judge(
    search: Search, bare: Sequence[Case], unseen: int, samples: tuple[str, str, str] = CHOSEN
) -> tuple[pd.DataFrame, int]:
    """Errors of pruned cases on all that they were chosen on, and on other draws.

    Args:
        search: of the full cases, prepared.
        bare: the pruned ones.
        unseen: other draws of the parameters, independent ones of a fresh seed.
        samples: names of the three kinds of rows.

    Returns:
        A row for each sample, case, target and draw, and how many draws failed in the full
        column.
    """
    names = [samples[0], *[samples[1]] * search.rule.draws, *[samples[2]] * unseen]
    draws = [-1, *range(search.rule.draws), *range(unseen)]
    new = search.draws(unseen, search.rule.seed + 1, "random")
    runs = search.static(bare)
    rows, failed = [], 0
    for place, case in enumerate(search.cases):
        error, years = search.measurements.once(
            ["judged", fingerprint(case), bare[place].text, unseen, search.rule.draws],
            partial(_errors, search, runs, place, new[place]),
        )
        failed += int(np.isnan(error).any(axis=1).sum())
        for i, text in enumerate(search.texts):
            columns = (names, draws, error[:, i], years[:, i])
            rows += [
                (name, case.name, text, draw, e, year)
                for name, draw, e, year in zip(*columns, strict=True)
            ]
    table = pd.DataFrame(rows, columns=["sample", "case", "target", "draw", "error", "year"])
    for name in ("draw", "year"):
        table[name] = table[name].astype("Int64")
    table["draw"] = table["draw"].mask(table["draw"] < 0)
    return table, failed


def _errors(
    search: Search, runs: Sequence[Forward], place: int, new: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Errors of a pruned case and the years of the largest, [run, target] both."""
    at_new = np.empty((0, search.at_cases[place].size))
    if len(new):
        (at_new,) = search.compute(search.full, [search.asked(place, new, ())])
    x = np.concatenate([search.points[place][None], search.drawn[place], new])
    (found,) = search.compute(runs, [search.of_static(runs[place], place, x)])
    full = np.concatenate([search.at_cases[place][None], search.at_draws[place], at_new])
    return search.by_target(place, found, full), search.worst_years(place, found, full)


def check(
    search: Search,
    cases: Sequence[Case],
    gone: Sequence[str],
    changes: dict[str, Any],
    unseen: int,
) -> tuple[pd.DataFrame, int]:
    """As :func:`judge`, of cases that had no part in the choice.

    Raises:
        diffsoil.io.InputError: a case that cannot be pruned in this way.
    """
    rule = dataclasses.replace(search.rule, draws=0)
    other = Search(cases, search.texts, rule, search.pool, search.say, search.measurements, ())
    other.prepare()
    return judge(other, edited(cases, gone, changes), unseen, CHECKED)


def _seconds(runs: Forward, repeats: int) -> float:
    """Seconds of a run of a column that is compiled as it is, the least of some."""
    nothing = jnp.zeros(0)
    compiled = jax.jit(Forward.values).lower(runs, nothing).compile()
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(compiled(runs, nothing))
        times.append(time.perf_counter() - began)
    return min(times[1:])


def path(
    search: Search,
    order: Sequence[Decision],
    taken: Sequence[Decision],
    beyond: Sequence[Decision],
) -> pd.DataFrame:
    """Error and time of a run of the first case after each removal, and beyond the tolerance.

    Args:
        search: of the full cases.
        order: removals, in order.
        taken: decisions on cheaper alternatives.
        beyond: removals that would come next.
    """
    case = search.cases[0]
    gone = [decision.name for decision in order]
    changes: dict[str, Any] = {}
    stages: list[tuple[str, float, float, bool, Case]] = [("full", 0.0, 0.0, True, case)]

    def add(decision: Decision, names: Sequence[str], within: bool) -> None:
        (now,) = edited([case], names, changes)
        stages.append((decision.name, decision.error, decision.quantile, within, now))

    for i, decision in enumerate(order):
        add(decision, gone[: i + 1], True)
    for i, decision in enumerate(beyond):
        add(decision, [*gone, *(d.name for d in beyond[: i + 1])], False)
    by_name = {a.name: a for group in alternatives(search.cases, gone) for a in group}
    for decision in taken:
        if decision.decision == "taken":
            changes |= dict(by_name[decision.name].changes)
            add(decision, gone, True)

    def seconds() -> list[np.ndarray]:
        built = [of_case(stage[-1], search.texts, switches=(), drawn=False) for stage in stages]
        return [np.array(collect(partial(_seconds, repeats=5), built, search.pool))]

    (times,) = search.measurements.once(["path", [stage[-1].text for stage in stages]], seconds)
    names = ("step", "error", "quantile", "within")
    rows = [
        dict(zip(names, stage, strict=False)) | {"run_s": s, "case": case.name}
        for stage, s in zip(stages, times, strict=True)
    ]
    return pd.DataFrame(rows)


def _cost(case: Case, targets: Sequence[str]) -> list[np.ndarray]:
    return [np.array(measure(case.path, case.text, list(targets)))]


def costs(
    full: Sequence[Case],
    pruned: Sequence[Case],
    targets: Sequence[str],
    measurements: Measurements,
    say: Say,
) -> pd.DataFrame:
    """Compile time, run time and memory of each case before and after, each in a process."""
    rows = []
    for case, other in zip(full, pruned, strict=True):
        say(f"prune: cost of {case.name}")
        for version, of in (("full", case), ("pruned", other)):
            (cost,) = measurements.once(
                ["cost", case.name, of.text],
                partial(_cost, of, targets),
            )
            rows.append({"case": case.name, "version": version, **Cost(*cost)._asdict()})
    return pd.DataFrame(rows)
