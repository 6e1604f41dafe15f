"""Prune a column: find the processes that some outputs can do without, with a measured loss.

Ordered elimination. Every candidate (a process, or a mechanism of protection) is switched off by
its strength, so one compiled program per case serves the whole search. In each round all that are
left are measured again, given what is gone already; the one that costs least goes if the loss is
within the tolerance on all cases and over random draws of the parameters. Cheaper alternatives
follow: layers twice as thick, longer slow steps, the bucket, continuous erosion. The result is a
case file, in which what was removed is not compiled.

The error of a run is the largest, over targets and years, of ``|pruned - full| / |full|``; where
``|full|`` is below a hundredth of its largest value in the run, that hundredth divides.
"""

from __future__ import annotations

import dataclasses
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import tomlkit
from scipy import stats

from diffsoil import ensemble, strength
from diffsoil._runtime import Device
from diffsoil.cases import Case, load_case, read_case
from diffsoil.io import InputError, data_path, refuse_existing, replacing
from diffsoil.parameters import Parameter
from sensitivity import laws
from sensitivity.cost import Cost, measure
from sensitivity.worth import (
    BATCH,
    Runs,
    compute,
    computed,
    defaults,
    of_case,
    switched_off,
)

FLOOR = 0.01
"""Share of the largest value of a run below which errors are no longer relative to the value."""

CONFIDENCE = 0.95
"""That the quantile of all draws there could be is below the limit that is found from some.

By order statistics (Wilks 1941): 59 draws, all of them within the tolerance, for a quantile of
0.95; with fewer it is the largest that counts, and the confidence is less.
"""

FIRST = 16
"""Draws that are looked at first: what fails on them needs no more."""

EQUAL = 1e-8
"""Relative difference that the compiled column may have from the one of strength 0."""

SLOW_STEPS = (20, 50, 100)
"""Years of longer slow steps."""

FEWEST_LAYERS = 8

BEYOND = 8
"""Removals beyond the tolerance that are shown too."""

REPORT = "_report"


@dataclasses.dataclass(frozen=True)
class Rule:
    """When something may go: on all cases, and at a quantile of draws of each, within tolerance.

    Of the quantile it is the upper 95 % limit that counts, see :data:`CONFIDENCE`.

    Attributes:
        tolerance: largest error.
        draws: of the parameters, for each case.
        quantile: of the errors of the draws of a case.
        seed: of the draws.
    """

    tolerance: float
    draws: int = 64
    quantile: float = 0.95
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Loss:
    """Errors of a column against the full one.

    Attributes:
        cases: [case, target], at the parameters of the case.
        draws: of each case [draw, target]; NaN where the full column failed.
    """

    cases: np.ndarray
    draws: tuple[np.ndarray, ...]

    @property
    def worst(self) -> float:
        """Of the cases."""
        return float(self.cases.max())

    def quantile(self, q: float) -> float:
        """Of the draws, its upper 95 % limit, in the worst case; 0 without draws."""
        found = [_quantile(own.max(axis=1), q) for own in self.draws if own.size]
        return max(found, default=0.0)

    @property
    def worst_draw(self) -> float:
        """Of all draws; 0 without draws."""
        return self.quantile(1.0)

    def reached(self, rule: Rule) -> float:
        """What the tolerance is compared with."""
        return max(self.worst, self.quantile(rule.quantile))


def _quantile(found: np.ndarray, q: float) -> float:
    """Upper confidence limit of a quantile, from an order statistic; NaN are left out."""
    kept = np.sort(found[~np.isnan(found)])
    if not kept.size:
        return float("inf")
    return float(kept[_place(kept.size, q)])


def _place(n: int, q: float) -> int:
    """Which of n sorted draws is the limit; the largest where there are too few."""
    return min(int(stats.binom.ppf(CONFIDENCE, n, q)), n - 1)


def errors(pruned: np.ndarray, full: np.ndarray) -> np.ndarray:
    """Errors of all values of runs, [run, value] of both.

    NaN in a run whose full values are not all finite, infinite where only the pruned one is not.
    """
    size = np.abs(full)
    scale = np.maximum(size, FLOOR * size.max(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.where(pruned == full, 0.0, np.abs(pruned - full) / scale)
    error = np.where(np.isfinite(error), error, np.inf)
    return np.where(np.isfinite(full).all(axis=1, keepdims=True), error, np.nan)


def relative(pruned: np.ndarray, full: np.ndarray) -> np.ndarray:
    """The largest of :func:`errors` of each run, [run]."""
    return np.asarray(errors(pruned, full).max(axis=1))


# Cases as text.


def without_text(
    case: Case,
    names: Iterable[str],
    note: str = "",
    folder: Path | None = None,
    **changes: Any,
) -> str:
    """The text of a case without some candidates; comments stay.

    Args:
        case: the case.
        names: of :func:`diffsoil.strength.candidates`.
        note: what is written among the notes of the case.
        folder: where the text will be, if elsewhere: files beside the case stay where they are.
        changes: ``erosion`` and ``water`` of the case; ``layers``, a divisor of the number of
            layers there are; ``step``, the slow step of all phases that may have one so long.
    """
    document = tomlkit.parse(case.text)
    names = list(names)
    gone = {name.removeprefix(strength.PREFIX) for name in names if strength.PREFIX in name}
    if gone:
        left = [mechanism for mechanism in case.file.protection if mechanism not in gone]
        document["protection"] = left
    processes = [name for name in names if strength.PREFIX not in name]
    if processes:
        document["without"] = list(dict.fromkeys([*case.file.without, *processes]))
    for key in ("water", "erosion"):
        if key in changes:
            document[key] = changes[key]
    if "layers" in changes:
        grid: Any = document["grid"]
        thickness = grid["thickness_m"] * grid["layers"] / changes["layers"]
        grid["layers"], grid["thickness_m"] = changes["layers"], round(thickness, 9)
    if folder is not None:
        _relocate(document, case, folder)
    if note:
        document.setdefault("notes", tomlkit.table())["pruned"] = note
    _drop_unknown(document, case, names, changes)
    if "step" in changes:
        _lengthen(document, case, changes["step"])
    return tomlkit.dumps(document)


def _drop_unknown(
    document: tomlkit.TOMLDocument, case: Case, names: list[str], changes: Mapping[str, Any]
) -> None:
    """Values and freedoms of parameters that the case does not have any more."""
    bare = tomlkit.parse(tomlkit.dumps(document))
    for key in ("set", "free"):
        bare.pop(key, None)
    known = read_case(case.path, tomlkit.dumps(bare)).column().parameters()
    for key in ("set", "free"):
        own: Any = document.get(key, {})
        for name in [n for n in own if n not in known and not n.startswith("observation.")]:
            del own[name]


def _relocate(document: tomlkit.TOMLDocument, case: Case, folder: Path) -> None:
    """Name files that are beside the case as they are seen from another folder."""
    here = case.path.resolve().parent

    def moved(name: str) -> str:
        beside = here / name
        if here == folder.resolve() or not beside.is_file() or data_path(name) == beside:
            return name
        return os.path.relpath(beside, folder.resolve())

    def move(table: Any, key: str) -> None:
        if key in table:
            table[key] = moved(table[key])

    for climate in document.get("climate", {}).values():
        move(climate, "normals")
        move(climate, "monthly")
    move(document.get("experiment", {}), "management")
    move(document, "radiocarbon_atmosphere")
    observed: Any = document.get("observations", {})
    if "files" in observed:
        observed["files"] = [moved(name) for name in observed["files"]]


def _lengthen(document: tomlkit.TOMLDocument, case: Case, step: int) -> None:
    """Give each phase of history the longer step, as far as the case may have it."""
    phases: Any = document["history"]
    for phase in phases:
        before = phase["step_years"]
        if before < step:
            phase["step_years"] = step
            if _refused(case.path, tomlkit.dumps(document)):
                phase["step_years"] = before


def _refused(path: Path, text: str) -> bool:
    try:
        read_case(path, text)
    except InputError:
        return True
    return False


# The search.


@dataclasses.dataclass
class Decision:
    """What became of one candidate.

    ``worth`` is the error without it alone; ``error`` (on the cases), ``quantile`` and ``worst``
    (of the draws) are those with all that had been removed before; NaN where not measured.
    """

    name: str
    worth: float
    worst_case: str
    decision: str
    reason: str
    error: float = float("nan")
    quantile: float = float("nan")
    worst: float = float("nan")
    order: int = 0


class Search:
    """The full columns of some cases, and errors against them.

    Args:
        cases: the cases.
        texts: of the targets.
        rule: when something may go.
        pool: who computes.
        say: told what is done.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        texts: Sequence[str],
        rule: Rule,
        pool: ensemble.Pool,
        say: Callable[[str], None],
    ) -> None:
        self.cases, self.texts, self.rule, self.pool, self.say = cases, texts, rule, pool, say
        self.full = [of_case(case, texts) for case in cases]
        self.table = _parameters(self.full, cases)
        self.points = [defaults(runs) for runs in self.full]
        self.drawn = self.draws(rule.draws, rule.seed)
        self.runs = 0
        self.names = self._candidates()

    def draws(self, n: int, seed: int, kind: Any = "sobol") -> list[np.ndarray]:
        """Draws of the parameters of every case, [draw, parameter]; equal ones for all cases."""
        if n == 0:
            return [np.empty((0, len(point))) for point in self.points]
        found = laws.sample([laws.law(p) for p in self.table.values()], n, seed, kind)
        by_name = dict(zip(self.table, found.T, strict=True))
        return [np.stack([by_name[n] for n in runs.parameters], axis=1) for runs in self.full]

    def _candidates(self) -> tuple[str, ...]:
        """Those of all cases whose removal leaves what the targets read."""
        found: dict[str, None] = {}
        refused: set[str] = set()
        for runs in self.full:
            for name in runs.switches:
                left = computed(strength.without(runs.column, [name]), runs.plan)
                if any(target.steps - left for target in runs.targets):
                    refused.add(name)
                found[name] = None
        return tuple(name for name in found if name not in refused)

    def asked(self, place: int, x: np.ndarray, names: Iterable[str]) -> tuple:
        """Runs of a case without some candidates."""
        s = switched_off(self.full[place].switches, names)
        return place, x, np.repeat(s[None], len(x), axis=0)

    def compute(self, runs: Sequence[Runs], asked: Sequence[tuple]) -> list[np.ndarray]:
        """See :func:`sensitivity.worth.compute`; counts."""
        self.runs += sum(len(x) for _, x, _ in asked)
        return compute(runs, asked, self.pool)

    def prepare(self) -> float:
        """Run the full columns; seconds of a run.

        Raises:
            diffsoil.io.InputError: a case whose targets are not finite.
        """
        places = range(len(self.cases))
        self.at_cases = [
            values[0]
            for values in self.compute(
                self.full, [self.asked(p, self.points[p][None], ()) for p in places]
            )
        ]
        for case, values in zip(self.cases, self.at_cases, strict=True):
            if not np.isfinite(values).all():
                raise InputError(f"{case.path}: the full column gives no finite targets")
        self.at_draws = [np.empty((0, len(values))) for values in self.at_cases]
        if self.rule.draws:
            asked = [self.asked(p, self.drawn[p], ()) for p in places]
            self.at_draws = self.compute(self.full, asked)
        again = [self.asked(p, np.repeat(self.points[p][None], BATCH, axis=0), ()) for p in places]
        began = time.monotonic()  # by now all is compiled
        self.compute(self.full, again)
        return (time.monotonic() - began) / (BATCH * len(self.cases))

    def split(self, place: int, values: np.ndarray) -> list[list[np.ndarray]]:
        """Values of runs of a case, [run, value], by target and member."""
        sizes = [len(target.years) for target in self.full[place].targets]
        members = len(self.full[place].plan.members)
        parts = np.split(values, np.cumsum(sizes * members)[:-1], axis=1)
        return [parts[target :: len(sizes)] for target in range(len(sizes))]

    def by_target(self, place: int, values: np.ndarray, full: np.ndarray) -> np.ndarray:
        """Errors of runs of a case, [run, target]."""
        found = [
            np.max([relative(a, b) for a, b in zip(own, of_full, strict=True)], axis=0)
            for own, of_full in zip(self.split(place, values), self.split(place, full), strict=True)
        ]
        return np.stack(found, axis=1)

    def worst_years(self, place: int, values: np.ndarray, full: np.ndarray) -> np.ndarray:
        """Year of the largest error of runs of a case, [run, target]; 0 where it has none."""
        found = []
        targets = self.full[place].targets
        both = zip(targets, self.split(place, values), self.split(place, full), strict=True)
        for target, own, of_full in both:
            of_members = [errors(a, b) for a, b in zip(own, of_full, strict=True)]
            worst = np.nan_to_num(np.max(of_members, axis=0)).argmax(axis=1)
            found.append(np.array(target.years)[worst])
        return np.stack(found, axis=1)

    def at_defaults(self, sets: Sequence[Iterable[str]]) -> list[np.ndarray]:
        """Errors of columns without sets of candidates, [case, target] each."""
        places = range(len(self.cases))
        asked = [self.asked(p, self.points[p][None], names) for names in sets for p in places]
        found = iter(self.compute(self.full, asked))
        return [
            np.concatenate([self.by_target(p, next(found), self.at_cases[p][None]) for p in places])
            for _ in sets
        ]

    def over_draws(self, names: Iterable[str]) -> tuple[np.ndarray, ...]:
        """Errors of the column without some candidates, [draw, target] of each case.

        Only those of the first draws where too many of them are beyond the tolerance.
        """
        names, n = list(names), self.rule.draws
        places = range(len(self.cases))
        found: list[np.ndarray] = []
        for part in (slice(0, FIRST), slice(FIRST, n)):
            if not n or part.start >= n:
                break
            asked = [self.asked(p, self.drawn[p][part], names) for p in places]
            values = self.compute(self.full, asked)
            own = [self.by_target(p, values[p], self.at_draws[p][part]) for p in places]
            found = [np.concatenate(e) for e in zip(found, own, strict=True)] if found else own
            beyond = [(e.max(axis=1) > self.rule.tolerance).sum() for e in found]
            if max(beyond) > n - 1 - _place(n, self.rule.quantile):
                break
        return tuple(found)

    def eliminate(self) -> tuple[list[Decision], list[Decision]]:
        """Remove candidates, the least valuable first.

        Returns:
            Decisions in the order of what the candidates are worth, and those of removed ones
            in the order of removal.

        Raises:
            diffsoil.io.InputError: nothing at all can be removed.
        """
        rule = self.rule
        alone = dict(zip(self.names, self.at_defaults([[n] for n in self.names]), strict=True))
        decisions = {
            name: Decision(
                name, float(e.max()), self.cases[int(e.max(axis=1).argmax())].name, "", ""
            )
            for name, e in alone.items()
        }
        gone: list[str] = []
        now, open_names = alone, list(self.names)
        nearest: tuple[float, str] = (float("inf"), "")
        while open_names:
            name = min(open_names, key=lambda n: float(now[n].max()))
            decision, error = decisions[name], now[name]
            decision.error = float(error.max())
            if decision.error > rule.tolerance:
                nearest = min(nearest, (decision.error, name))
                for other in open_names:
                    decisions[other].error = float(now[other].max())
                    decisions[other].decision = "kept"
                    decisions[
                        other
                    ].reason = (
                        f"error {decisions[other].error:.2g} without it is above the tolerance"
                    )
                break
            found = Loss(error, self.over_draws([*gone, name]))
            decision.quantile = found.quantile(rule.quantile)
            decision.worst = found.worst_draw
            open_names.remove(name)
            if found.reached(rule) > rule.tolerance:
                nearest = min(nearest, (found.reached(rule), name))
                decision.decision = "kept"
                decision.reason = (
                    f"error {decision.error:.2g} on the cases, but {decision.quantile:.2g} at the "
                    f"{rule.quantile:g} quantile of draws"
                )
                self.say(f"prune: {name} stays: {decision.reason}")
                continue
            gone.append(name)
            decision.decision, decision.order = "removed", len(gone)
            decision.reason = "error within the tolerance"
            if decision.error == 0.0 and decision.worth == 0.0:
                decision.reason = "does nothing in these cases"
            self.say(
                f"prune: {name} goes: error {decision.error:.2g}, {decision.quantile:.2g} over "
                f"draws; {len(open_names)} candidates left"
            )
            if open_names and not (decision.error == decision.worth == 0.0 and len(gone) > 1):
                sets = [[*gone, n] for n in open_names]
                now = dict(zip(open_names, self.at_defaults(sets), strict=True))
        if not gone:
            raise InputError(
                f"--tolerance {rule.tolerance:g}: nothing can be removed; the least error that "
                f"can be reached is {nearest[0]:.3g}, without {nearest[1]!r}"
            )
        ordered = sorted(decisions.values(), key=lambda d: -d.worth)
        return ordered, sorted((d for d in ordered if d.order), key=lambda d: d.order)

    def beyond(self, gone: Sequence[str], decisions: Sequence[Decision]) -> list[Decision]:
        """What would go next if the tolerance were larger, the least valuable first.

        Measured on the cases only, not again after each removal.
        """
        left = sorted((d for d in decisions if not d.order), key=lambda d: d.error)[:BEYOND]
        sets = [[*gone, *(d.name for d in left[: i + 1])] for i in range(len(left))]
        found = self.at_defaults(sets)
        return [
            dataclasses.replace(d, error=float(e.max()), quantile=float("nan"))
            for d, e in zip(left, found, strict=True)
        ]

    # Columns that are compiled as they are.

    def static(self, cases: Sequence[Case]) -> list[Runs]:
        """Other versions of the cases, as functions of their parameters."""
        return [of_case(case, self.texts, switches=()) for case in cases]

    def of_static(self, runs: Runs, place: int, x: np.ndarray) -> tuple:
        """Runs of another version of a case at parameters of the full one."""
        known = {name: i for i, name in enumerate(self.full[place].parameters)}
        own = np.repeat(defaults(runs)[None], len(x), axis=0)
        for i, name in enumerate(runs.parameters):
            if name in known:
                own[:, i] = x[:, known[name]]
        return place, own, np.empty((len(x), 0))

    def static_loss(self, runs: Sequence[Runs]) -> Loss:
        """Errors of other versions of the cases."""
        places = range(len(self.cases))
        asked = [
            self.of_static(runs[p], p, np.concatenate([self.points[p][None], self.drawn[p]]))
            for p in places
        ]
        found = self.compute(runs, asked)
        at_cases = [self.by_target(p, found[p][:1], self.at_cases[p][None]) for p in places]
        at_draws = [self.by_target(p, found[p][1:], self.at_draws[p]) for p in places]
        return Loss(np.concatenate(at_cases), tuple(at_draws))

    def check_static(self, runs: Sequence[Runs], gone: Sequence[str]) -> float:
        """Largest relative difference of the compiled column from that of strength 0.

        Raises:
            RuntimeError: they differ by more than rounding.
        """
        places = range(len(self.cases))
        expected = self.compute(
            self.full, [self.asked(p, self.points[p][None], gone) for p in places]
        )
        found = self.compute(
            runs, [self.of_static(runs[p], p, self.points[p][None]) for p in places]
        )
        difference = max(float(relative(a, b).max()) for a, b in zip(found, expected, strict=True))
        if not difference <= EQUAL:
            raise RuntimeError(
                f"the column without {', '.join(gone)} differs by {difference:.2g} from that of "
                "strength 0"
            )
        return difference


def _parameters(full: Sequence[Runs], cases: Sequence[Case]) -> dict[str, Parameter]:
    """All parameters of all cases, with the priors of the first case that has its own."""
    table: dict[str, Parameter] = {}
    for runs, case in zip(full, cases, strict=True):
        own = case.priors()
        for name, parameter in runs.column.parameters().items():
            prior = own.get(name) or parameter.prior
            table.setdefault(name, dataclasses.replace(parameter, prior=prior))
    return table


@dataclasses.dataclass(frozen=True)
class Alternative:
    """A cheaper way to compute the same, as a change of the case."""

    name: str
    changes: Mapping[str, Any]


def alternatives(cases: Sequence[Case], gone: Sequence[str]) -> list[list[Alternative]]:
    """Cheaper ways that some of the cases may take, in groups of growing reach.

    Once one of a group fails, those after it are not tried.
    """
    groups: list[list[Alternative]] = []
    if any(case.file.water == "richards" for case in cases):
        groups.append([Alternative("bucket instead of Richards' equation", {"water": "bucket"})])
    layers = {case.file.grid.layers for case in cases}
    if len(layers) == 1 and (n := layers.pop()) % 2 == 0:
        halves = [n // 2**k for k in (1, 2) if n % 2**k == 0 and n // 2**k >= FEWEST_LAYERS]
        groups.append([Alternative(f"{half} layers", {"layers": half}) for half in halves])
    groups.append([Alternative(f"slow steps of {s} years", {"step": s}) for s in SLOW_STEPS])
    erodes = any(
        phase.erosion_mm_a > 0 and case.file.erosion == "events"
        for case in cases
        for phase in case.file.history
    )
    if erodes and "erosion" not in gone and all(case.whole_soil for case in cases):
        groups.append(
            [
                Alternative(
                    f"continuous erosion, slow steps of {s} years",
                    {"erosion": "continuous", "step": s},
                )
                for s in SLOW_STEPS
            ]
        )
    return [group for group in groups if group]


def _edited(cases: Sequence[Case], gone: Sequence[str], changes: Mapping[str, Any]) -> list[Case]:
    """The cases without what is gone, and with changes."""
    found = []
    for case in cases:
        own = [name for name in gone if name in strength.candidates(case.column())]
        try:
            found.append(read_case(case.path, without_text(case, own, **changes)))
        except InputError as error:
            raise InputError(f"{case.name}: {error}") from error
    return found


def cheapen(
    search: Search, gone: Sequence[str]
) -> tuple[dict[str, Any], list[Decision], list[Case]]:
    """Take cheaper alternatives as far as the tolerance allows.

    Returns:
        Changes of the cases, what became of each alternative, and the cases.
    """
    changes: dict[str, Any] = {}
    decisions = []
    cases = _edited(search.cases, gone, changes)
    order = len(gone)
    for group in alternatives(search.cases, gone):
        for alternative in group:
            new = changes | dict(alternative.changes)
            if new.get("step", 0) <= changes.get("step", 0) and "step" in alternative.changes:
                continue  # a longer step is there already
            decision = Decision(alternative.name, float("nan"), "", "kept", "")
            decision.reason = "not taken: "
            try:
                edited = _edited(search.cases, gone, new)
            except InputError as error:
                decision.reason += f"not possible: {error}"
                decisions.append(decision)
                break
            if [c.text for c in edited] == [c.text for c in cases]:
                continue
            found = search.static_loss(search.static(edited))
            decision.error, decision.quantile = found.worst, found.quantile(search.rule.quantile)
            decision.worst = found.worst_draw
            decision.worst_case = search.cases[int(found.cases.max(axis=1).argmax())].name
            decisions.append(decision)
            if found.reached(search.rule) > search.rule.tolerance:
                decision.reason += f"error {decision.error:.2g}, {decision.quantile:.2g} over draws"
                search.say(f"prune: {alternative.name}: {decision.reason}")
                break
            changes, cases, order = new, edited, order + 1
            decision.decision, decision.order = "taken", order
            decision.reason = "error within the tolerance"
            search.say(
                f"prune: {alternative.name}: error {decision.error:.2g}, {decision.quantile:.2g} "
                "over draws"
            )
    return changes, decisions, cases


# The command.


@dataclasses.dataclass(frozen=True)
class Pruned:
    """What a pruning found.

    Attributes:
        cases: pruned, in the order of those given.
        texts: of their files.
        removed: candidates that are gone, in the order in which they went.
        changes: cheaper alternatives that were taken.
        decisions: a row for each candidate and alternative (``prune.csv``).
        errors: of the pruned cases, a row for each case, target and draw (``errors.csv``).
        cost: of full and pruned cases (``cost.csv``).
        path: error and run time after each removal, and of some that are beyond the tolerance.
        static_difference: of the compiled column from that of strength 0, relative.
        failed: draws whose full run was not finite.
        runs: that it took.
        minutes: that it took.
    """

    cases: tuple[Case, ...]
    texts: tuple[str, ...]
    removed: tuple[str, ...]
    changes: Mapping[str, Any]
    decisions: pd.DataFrame
    errors: pd.DataFrame
    cost: pd.DataFrame
    path: pd.DataFrame
    static_difference: float
    failed: int
    runs: int
    minutes: float


def prune(
    cases: Sequence[Case | str | Path],
    targets: Sequence[str],
    tolerance: float = 0.01,
    *,
    draws: int = 64,
    unseen: int = 200,
    quantile: float = 0.95,
    seed: int = 0,
    cheaper: bool = True,
    workers: int | None = None,
    scheduler: str | None = None,
    device: Device = "cpu",
    folder: Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Pruned:
    """Find the smallest column whose targets stay within a tolerance; nothing is written.

    Args:
        cases: what it has to hold in.
        targets: outputs (:mod:`sensitivity.outputs`); a stock without a year counts every year.
        tolerance: largest error, see :mod:`sensitivity.prune`.
        draws: of the parameters from their priors, for each case, that it has to hold on.
        unseen: other draws, on which the result is judged.
        quantile: of the draws that has to be within the tolerance.
        seed: of the draws.
        cheaper: whether layers, slow steps, water and erosion may be coarser too.
        workers, scheduler, device: see :func:`diffsoil.ensemble.cluster`.
        folder: where the files of the cases will be.
        say: told what is done.

    Raises:
        diffsoil.io.InputError: bad input, or a tolerance that nothing meets.
    """
    say = say or (lambda text: None)
    _check(tolerance, draws, unseen, quantile, targets, cases)
    read = [case if isinstance(case, Case) else load_case(case) for case in cases]
    if len({case.name for case in read}) < len(read):
        raise InputError("two cases have the same name")
    began = time.monotonic()
    rule = Rule(tolerance, draws, quantile, seed)
    with ensemble.cluster(workers, scheduler, device) as pool:
        search = Search(read, targets, rule, pool, say)
        say(_announced(search, unseen))
        each = search.prepare()
        say(f"prune: {each:.2f} s for a run; about {_minutes(search, unseen, each):.0f} min to go")
        decisions, order = search.eliminate()
        gone = [decision.name for decision in order]
        bare = _edited(read, gone, {})
        say(f"prune: compile the column without {', '.join(gone)}")
        difference = search.check_static(search.static(bare), gone)
        changes: dict[str, Any] = {}
        taken: list[Decision] = []
        if cheaper:
            changes, taken, bare = cheapen(search, gone)
        say(f"prune: {unseen} draws that it was not chosen on")
        errors, failed = _judge(search, bare, unseen)
        say("prune: time and memory of each step")
        path = _path(search, order, taken, search.beyond(gone, decisions))
    cost = _costs(read, bare, targets, say)
    note = _note(rule, targets, gone, taken)
    texts = [without_text(case, _own(case, gone), note, folder, **changes) for case in read]
    return Pruned(
        cases=tuple(bare),
        texts=tuple(texts),
        removed=tuple(gone),
        changes=changes,
        decisions=pd.DataFrame([dataclasses.asdict(d) for d in (*decisions, *taken)]),
        errors=errors,
        cost=cost,
        path=path,
        static_difference=difference,
        failed=failed,
        runs=search.runs,
        minutes=(time.monotonic() - began) / 60.0,
    )


def _own(case: Case, gone: Sequence[str]) -> list[str]:
    known = strength.candidates(case.column())
    return [name for name in gone if name in known]


def _check(
    tolerance: float, draws: int, unseen: int, quantile: float, targets: Sequence, cases: Sequence
) -> None:
    if not 0.0 < tolerance < 1.0:
        raise InputError(f"--tolerance {tolerance:g}: has to be above 0 and below 1")
    if not 0.0 < quantile <= 1.0:
        raise InputError(f"--quantile {quantile:g}: has to be above 0, and 1 at most")
    for option, value in (("--draws", draws), ("--unseen", unseen)):
        if value < 0:
            raise InputError(f"{option} {value}: has to be 0 or more")
    if not targets:
        raise InputError("--target: there is none, e.g. --target soc_stock_0_100")
    if not cases:
        raise InputError("there is no case")


def _expected(search: Search, unseen: int) -> int:
    """Runs that a search takes when about half of the candidates go."""
    count, cases = len(search.names), len(search.cases)
    rounds = 3 * count * count // 8
    return cases * (rounds + (count + 1) * search.rule.draws + 2 * unseen)


def _announced(search: Search, unseen: int) -> str:
    return (
        f"prune: {len(search.names)} candidates, {len(search.cases)} cases, {search.rule.draws} "
        f"draws: about {_expected(search, unseen)} runs; compiling first"
    )


def _minutes(search: Search, unseen: int, each: float) -> float:
    return _expected(search, unseen) * each / 60.0


def _note(
    rule: Rule, targets: Sequence[str], gone: Sequence[str], taken: Sequence[Decision]
) -> str:
    ways = [d.name for d in taken if d.decision == "taken"]
    return (
        f"without {', '.join([*gone, *ways])}: {', '.join(targets)} within {100 * rule.tolerance:g}"
        f" % of the full column on the cases and at the {rule.quantile:g} quantile of draws"
    )


def _judge(search: Search, bare: Sequence[Case], unseen: int) -> tuple[pd.DataFrame, int]:
    """Errors of the pruned cases, a row for each; how many draws failed in the full column."""
    places = range(len(search.cases))
    new = search.draws(unseen, search.rule.seed + 1, "random")
    at_new = [np.empty((0, len(values))) for values in search.at_cases]
    if unseen:
        at_new = search.compute(search.full, [search.asked(p, new[p], ()) for p in places])
    x = [np.concatenate([search.points[p][None], search.drawn[p], new[p]]) for p in places]
    runs = search.static(bare)
    found = search.compute(runs, [search.of_static(runs[p], p, x[p]) for p in places])
    samples = ["case", *["chosen"] * search.rule.draws, *["unseen"] * unseen]
    draws = [-1, *range(search.rule.draws), *range(unseen)]
    rows = []
    failed = 0
    for p, case in enumerate(search.cases):
        full = np.concatenate([search.at_cases[p][None], search.at_draws[p], at_new[p]])
        error = search.by_target(p, found[p], full)
        years = search.worst_years(p, found[p], full)
        failed += int(np.isnan(error).any(axis=1).sum())
        for i, text in enumerate(search.texts):
            rows += [
                (sample, case.name, text, draw, e, year)
                for sample, draw, e, year in zip(
                    samples, draws, error[:, i], years[:, i], strict=True
                )
            ]
    table = pd.DataFrame(rows, columns=["sample", "case", "target", "draw", "error", "year"])
    for name in ("draw", "year"):
        table[name] = table[name].astype("Int64")
    table["draw"] = table["draw"].mask(table["draw"] < 0)
    table["year"] = table["year"].mask(table["year"] == 0)
    return table, failed


def _seconds(runs: Runs, repeats: int) -> float:
    """Seconds of a run of a column that is compiled as it is, the least of some."""
    nothing = jnp.zeros(0)
    compiled = jax.jit(Runs.values).lower(runs, nothing, nothing).compile()
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(compiled(runs, nothing, nothing))
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _path(
    search: Search,
    order: Sequence[Decision],
    taken: Sequence[Decision],
    beyond: Sequence[Decision],
) -> pd.DataFrame:
    """Error and time of a run of the first case after each removal, and beyond the tolerance."""
    case = search.cases[0]
    gone = [decision.name for decision in order]
    changes: dict[str, Any] = {}
    stages: list[tuple[str, float, float, bool, Case]] = [("full", 0.0, 0.0, True, case)]

    def add(decision: Decision, names: Sequence[str], within: bool) -> None:
        (edited,) = _edited([case], names, changes)
        stages.append((decision.name, decision.error, decision.quantile, within, edited))

    for i, decision in enumerate(order):
        add(decision, gone[: i + 1], True)
    for i, decision in enumerate(beyond):
        add(decision, [*gone, *(d.name for d in beyond[: i + 1])], False)
    by_name = {a.name: a for group in alternatives(search.cases, gone) for a in group}
    for decision in taken:
        if decision.decision == "taken":
            changes |= dict(by_name[decision.name].changes)
            add(decision, gone, True)
    built = [of_case(stage[-1], search.texts, switches=(), drawn=False) for stage in stages]
    seconds = ensemble.collect(partial(_seconds, repeats=5), built, search.pool)
    names = ("step", "error", "quantile", "within")
    rows = [
        dict(zip(names, stage, strict=False)) | {"run_s": s, "case": case.name}
        for stage, s in zip(stages, seconds, strict=True)
    ]
    return pd.DataFrame(rows)


def _costs(
    full: Sequence[Case], pruned: Sequence[Case], targets: Sequence[str], say: Callable[[str], None]
) -> pd.DataFrame:
    """Compile time, run time and memory of each case before and after, each in a process."""
    rows = []
    for case, other in zip(full, pruned, strict=True):
        say(f"prune: cost of {case.name}")
        for version, of in (("full", case), ("pruned", other)):
            cost: Cost = measure(of.path, of.text, list(targets))
            rows.append({"case": case.name, "version": version, **cost._asdict()})
    return pd.DataFrame(rows)


def prune_cases(
    cases: Sequence[str | Path],
    output: Path,
    targets: Sequence[str],
    tolerance: float,
    overwrite: bool = False,
    **settings: Any,
) -> None:
    """Prune cases into files, see :func:`prune`.

    The pruned first case goes to ``output``, the others beside it, ``OUTPUT_CASE.toml``, and
    tables, picture and report into the folder ``OUTPUT_report``. Nothing is written before all is
    found.

    Args:
        cases: names or paths.
        output: file of the first case.
        targets, tolerance, settings: as in :func:`prune`.
        overwrite: replace what is there.

    Raises:
        diffsoil.io.InputError: as :func:`prune`, or a file that is there.
    """
    from sensitivity.prune_report import write_report

    read = [load_case(case) for case in cases]
    paths = [output, *(output.with_name(f"{output.stem}_{c.name}.toml") for c in read[1:])]
    if output.suffix != ".toml":
        raise InputError(f"{output}: has to end in .toml")
    folder = output.with_name(f"{output.stem}{REPORT}")
    for path in paths:
        refuse_existing(path, overwrite)
    if folder.exists() and not overwrite:
        raise InputError(f"{folder}: exists already; use --overwrite to replace it")
    if folder.exists() and not (folder / "prune.csv").is_file():
        raise InputError(f"{folder}: exists already and is no report of a pruning")
    found = prune(read, targets, tolerance, folder=output.parent, say=say, **settings)
    unfinished = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        unfinished.mkdir()
        write_report(found, targets, tolerance, settings, unfinished)
        for path, text in zip(paths, found.texts, strict=True):
            with replacing(path, overwrite) as part:
                part.write_text(text, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    say(f"prune: {', '.join(map(str, paths))}; report in {folder}")


def say(text: str) -> None:
    """A line of progress."""
    print(f"diffsoil: {text}", file=sys.stderr, flush=True)
