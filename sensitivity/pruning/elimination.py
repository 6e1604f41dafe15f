"""Ordered elimination of processes whose loss some targets can bear."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from diffsoil import strength
from diffsoil.cases import Case
from diffsoil.cases.fingerprint import fingerprint
from diffsoil.forward import Forward, computed
from diffsoil.io import InputError
from diffsoil.parameters import Parameter
from diffsoil.work.pool import Pool
from diffsoil.work.progress import Say
from sensitivity import distributions
from sensitivity.pruning.ablation import (
    BATCH,
    compute,
    defaults,
    of_case,
    parameters_of,
    switched_off,
    switches_of,
    targets_of,
)
from sensitivity.pruning.loss import Loss, Rule, errors, place_of_limit, relative
from sensitivity.pruning.measurements import Measurements

FIRST = 16
"""Draws that are looked at first: what fails on them needs no more."""

EQUAL = 1e-8
"""Relative difference that the compiled column may have from the one of strength 0."""

BEYOND = 8
"""Removals beyond the tolerance that are shown too."""


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

    def kept(self, reason: str) -> None:
        """Decide that it stays."""
        self.decision, self.reason = "kept", reason


class Search:
    """The full columns of some cases, and errors against them.

    Args:
        cases: the cases.
        texts: of the targets.
        rule: when something may go.
        pool: who computes.
        say: told what is done.
        measurements: keeps what is measured.
        switches: names of the candidates; all there are if not given.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        texts: Sequence[str],
        rule: Rule,
        pool: Pool,
        say: Say,
        measurements: Measurements | None = None,
        switches: Sequence[str] | None = None,
    ) -> None:
        self.cases, self.texts, self.rule, self.pool, self.say = cases, texts, rule, pool, say
        self.measurements = measurements or Measurements()
        self.full = [of_case(case, texts, switches) for case in cases]
        self.table = _parameters(self.full, cases)
        self.points = [defaults(runs) for runs in self.full]
        self.drawn = self.draws(rule.draws, rule.seed)
        self.names = self._candidates()

    def draws(self, n: int, seed: int, kind: Any = "sobol") -> list[np.ndarray]:
        """Draws of the parameters of every case, [draw, parameter]; equal ones for all cases."""
        if n == 0:
            return [np.empty((0, len(point))) for point in self.points]
        found = distributions.sample(
            [distributions.distribution(p) for p in self.table.values()], n, seed, kind
        )
        by_name = dict(zip(self.table, found.T, strict=True))
        return [np.stack([by_name[n] for n in parameters_of(runs)], axis=1) for runs in self.full]

    def _candidates(self) -> tuple[str, ...]:
        """Those of all cases whose removal leaves what the targets read."""
        found: dict[str, None] = {}
        refused: set[str] = set()
        for runs in self.full:
            for name in switches_of(runs):
                left = computed(strength.without(runs.column, [name]), runs.plan)
                if any(set(target.steps) - left for target in targets_of(runs)):
                    refused.add(name)
                found[name] = None
        return tuple(name for name in found if name not in refused)

    def asked(self, place: int, x: np.ndarray, names: Iterable[str]) -> tuple:
        """Forward of a case without some candidates."""
        s = switched_off(switches_of(self.full[place]), names)
        return place, np.concatenate([x, np.repeat(s[None], len(x), axis=0)], axis=1)

    def compute(self, runs: Sequence[Forward], asked: Sequence[tuple]) -> list[np.ndarray]:
        """See :func:`sensitivity.pruning.ablation.compute`; counts."""
        self.measurements.runs += sum(len(x) for _, x in asked)
        return compute(runs, asked, self.pool)

    def prepare(self) -> None:
        """Run the full columns, at the parameters of the cases and of the draws.

        Raises:
            diffsoil.io.InputError: a case whose targets are not finite.
        """
        self.at_cases, self.at_draws = [], []
        for place, case in enumerate(self.cases):
            at_case, at_draws = self.measurements.once(
                ["full", fingerprint(case), self.rule.draws], partial(self._full, place)
            )
            if not np.isfinite(at_case).all():
                raise InputError(f"{case.path}: the full column gives no finite targets")
            self.at_cases.append(at_case)
            self.at_draws.append(at_draws)

    def _full(self, place: int) -> list[np.ndarray]:
        x = np.concatenate([self.points[place][None], self.drawn[place]])
        (values,) = self.compute(self.full, [self.asked(place, x, ())])
        return [values[0], values[1:]]

    def time_of_run(self) -> float:
        """Seconds of a run of the full columns, mean of the cases."""
        (seconds,) = self.measurements.once(
            ["time of a run"], lambda: [np.array(self._time_of_run())]
        )
        return float(seconds)

    def _time_of_run(self) -> float:
        points = [np.repeat(point[None], BATCH, axis=0) for point in self.points]
        asked = [self.asked(place, x, ()) for place, x in enumerate(points)]
        self.compute(self.full, asked)  # compiled by then
        began = time.monotonic()
        self.compute(self.full, asked)
        return (time.monotonic() - began) / (BATCH * len(self.cases))

    def split(self, place: int, values: np.ndarray) -> list[list[np.ndarray]]:
        """Values of runs of a case, [run, value], by target and member."""
        sizes = [len(target.years) for target in targets_of(self.full[place])]
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
        """Year of the largest error of runs of a case, [run, target]; NaN where it has none."""
        found = []
        targets = targets_of(self.full[place])
        both = zip(targets, self.split(place, values), self.split(place, full), strict=True)
        for target, own, of_full in both:
            of_members = [errors(a, b) for a, b in zip(own, of_full, strict=True)]
            worst = np.nan_to_num(np.max(of_members, axis=0)).argmax(axis=1)
            found.append(np.array(target.years, float)[worst])
        return np.stack(found, axis=1)

    def at_defaults(self, sets: Sequence[Iterable[str]]) -> list[np.ndarray]:
        """Errors of columns without sets of candidates, [case, target] each."""
        ordered = [sorted(names) for names in sets]
        return self.measurements.once(["cases", ordered], partial(self._at_defaults, ordered))

    def _at_defaults(self, sets: Sequence[Sequence[str]]) -> list[np.ndarray]:
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
        names = sorted(names)

        def errors_of(part: slice) -> list[np.ndarray]:
            places = range(len(self.cases))
            asked = [self.asked(p, self.drawn[p][part], names) for p in places]
            values = self.compute(self.full, asked)
            return [self.by_target(p, values[p], self.at_draws[p][part]) for p in places]

        return self._in_stages(["draws", names], errors_of)

    def _in_stages(
        self, key: Sequence[Any], errors_of: Callable[[slice], list[np.ndarray]]
    ) -> tuple[np.ndarray, ...]:
        """Errors over draws, of the first ones and then of all if these are good enough."""
        n = self.rule.draws
        found: list[np.ndarray] = []
        for part in (slice(0, min(FIRST, n)), slice(FIRST, n)):
            if part.start >= part.stop:
                break
            own = self.measurements.once([*key, part.start, part.stop], partial(errors_of, part))
            found = [np.concatenate(e) for e in zip(found, own, strict=True)] if found else own
            beyond = [(e.max(axis=1) > self.rule.tolerance).sum() for e in found]
            if max(beyond) > n - 1 - place_of_limit(n, self.rule.quantile):
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
        alone = dict(zip(self.names, self.at_defaults([[n] for n in self.names]), strict=True))
        decisions = {name: self._undecided(name, error) for name, error in alone.items()}
        gone: list[str] = []
        now, open_names = alone, list(self.names)
        nearest: tuple[float, str] = (float("inf"), "")
        while open_names:
            name = min(open_names, key=lambda n: float(now[n].max()))
            decision, error = decisions[name], now[name]
            decision.error = float(error.max())
            if decision.error > self.rule.tolerance:
                nearest = min(nearest, (decision.error, name))
                for other in open_names:
                    decisions[other].error = float(now[other].max())
                    decisions[other].kept(
                        f"error {decisions[other].error:.2g} without it is above the tolerance"
                    )
                break
            found = Loss(error, self.over_draws([*gone, name]))
            open_names.remove(name)
            reached = self._decide(decision, found, len(gone) + 1)
            if reached > self.rule.tolerance:
                nearest = min(nearest, (reached, name))
                self.say(f"prune: {name} stays: {decision.reason}")
                continue
            gone.append(name)
            self.say(
                f"prune: {name} goes: error {decision.error:.2g}, {decision.quantile:.2g} over "
                f"draws; {len(open_names)} candidates left"
            )
            if open_names and not (decision.error == decision.worth == 0.0 and len(gone) > 1):
                sets = [[*gone, n] for n in open_names]
                now = dict(zip(open_names, self.at_defaults(sets), strict=True))
        if not gone:
            raise InputError(
                f"--tolerance {self.rule.tolerance:g}: nothing can be removed; the least error "
                f"that can be reached is {nearest[0]:.3g}, without {nearest[1]!r}"
            )
        ordered = sorted(decisions.values(), key=lambda d: -d.worth)
        return ordered, sorted((d for d in ordered if d.order), key=lambda d: d.order)

    def _undecided(self, name: str, error: np.ndarray) -> Decision:
        """What is known of a candidate from the error without it alone, [draw, target]."""
        case = self.cases[int(error.max(axis=1).argmax())].name
        return Decision(name, float(error.max()), case, "", "")

    def _decide(self, decision: Decision, found: Loss, order: int) -> float:
        """Keep or remove a candidate by its error over draws, which is returned."""
        decision.quantile = found.quantile(self.rule.quantile)
        decision.worst = found.worst_draw
        reached = found.reached(self.rule)
        if reached > self.rule.tolerance:
            decision.kept(
                f"error {decision.error:.2g} on the cases, but {decision.quantile:.2g} at the "
                f"{self.rule.quantile:g} quantile of draws"
            )
            return reached
        nothing = decision.error == 0.0 and decision.worth == 0.0
        decision.decision, decision.order = "removed", order
        decision.reason = "does nothing in these cases" if nothing else "error within the tolerance"
        return reached

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

    def static(self, cases: Sequence[Case]) -> list[Forward]:
        """Other versions of the cases, as functions of their parameters."""
        return [of_case(case, self.texts, switches=()) for case in cases]

    def of_static(self, runs: Forward, place: int, x: np.ndarray) -> tuple:
        """Forward of another version of a case at parameters of the full one."""
        known = {name: i for i, name in enumerate(parameters_of(self.full[place]))}
        own = np.repeat(defaults(runs)[None], len(x), axis=0)
        for i, name in enumerate(parameters_of(runs)):
            if name in known:
                own[:, i] = x[:, known[name]]
        return place, own

    def static_loss(self, cases: Sequence[Case]) -> Loss:
        """Errors of other versions of the cases; without draws if beyond the tolerance anyway."""
        runs, places = self.static(cases), range(len(cases))
        key = ["version", [case.text for case in cases]]

        def at(x: Sequence[np.ndarray], full: Sequence[np.ndarray]) -> list[np.ndarray]:
            found = self.compute(runs, [self.of_static(runs[p], p, x[p]) for p in places])
            return [self.by_target(p, found[p], full[p]) for p in places]

        def errors_of(part: slice) -> list[np.ndarray]:
            return at([x[part] for x in self.drawn], [full[part] for full in self.at_draws])

        points, full = ([a[None] for a in arrays] for arrays in (self.points, self.at_cases))
        at_cases = np.concatenate(self.measurements.once(key, lambda: at(points, full)))
        if not at_cases.max() <= self.rule.tolerance:
            return Loss(at_cases, ())
        return Loss(at_cases, self._in_stages(key, errors_of))

    def check_static(self, cases: Sequence[Case], gone: Sequence[str]) -> float:
        """Largest relative difference of the compiled column from that of strength 0.

        Raises:
            RuntimeError: they differ by more than rounding.
        """
        (found,) = self.measurements.once(
            ["compiled", sorted(gone)], lambda: [self._differences(self.static(cases), gone)]
        )
        difference = float(found.max())
        if not difference <= EQUAL:
            raise RuntimeError(
                f"the column without {', '.join(gone)} differs by {difference:.2g} from that of "
                "strength 0"
            )
        return difference

    def _differences(self, runs: Sequence[Forward], gone: Sequence[str]) -> np.ndarray:
        places = range(len(self.cases))
        points = [point[None] for point in self.points]
        expected = self.compute(self.full, [self.asked(p, points[p], gone) for p in places])
        found = self.compute(runs, [self.of_static(runs[p], p, points[p]) for p in places])
        return np.array([relative(a, b).max() for a, b in zip(found, expected, strict=True)])


def _parameters(full: Sequence[Forward], cases: Sequence[Case]) -> dict[str, Parameter]:
    """All parameters of all cases, with the priors of the first case that has its own."""
    table: dict[str, Parameter] = {}
    for runs, case in zip(full, cases, strict=True):
        own = case.priors()
        for name, parameter in runs.column.parameters().items():
            prior = own.get(name) or parameter.prior
            table.setdefault(name, dataclasses.replace(parameter, prior=prior))
    return table
