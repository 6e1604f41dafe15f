"""Cheaper ways to compute the same: layers, slow steps, water and erosion."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from diffsoil import strength
from diffsoil.cases import Case, read_case
from diffsoil.io import InputError
from sensitivity.pruning.case_text import without_text
from sensitivity.pruning.elimination import Decision, Search

SLOW_STEPS = (20, 50, 100)
"""Years of longer slow steps."""

FEWEST_LAYERS = 8


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
        phase.erosion_mm_a > 0 and case.file.erodes_in_events
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


def known(case: Case, gone: Sequence[str]) -> list[str]:
    """Those of some candidates that a case has."""
    there = strength.candidates(case.column())
    return [name for name in gone if name in there]


def edited(cases: Sequence[Case], gone: Sequence[str], changes: Mapping[str, Any]) -> list[Case]:
    """The cases without what is gone, and with changes."""
    found = []
    for case in cases:
        own = known(case, gone)
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
    cases = edited(search.cases, gone, changes)
    order = len(gone)
    for group in alternatives(search.cases, gone):
        for alternative in group:
            new = changes | dict(alternative.changes)
            if new.get("step", 0) <= changes.get("step", 0) and "step" in alternative.changes:
                continue  # a longer step is there already
            decision = Decision(alternative.name, float("nan"), "", "kept", "")
            decision.reason = "not taken: "
            try:
                tried = edited(search.cases, gone, new)
            except InputError as error:
                decision.reason += f"not possible: {error}"
                decisions.append(decision)
                break
            if [c.text for c in tried] == [c.text for c in cases]:
                continue
            found = search.static_loss(tried)
            decision.error = found.worst
            if found.draws:
                decision.quantile = found.quantile(search.rule.quantile)
                decision.worst = found.worst_draw
            decision.worst_case = search.cases[int(found.cases.max(axis=1).argmax())].name
            decisions.append(decision)
            if found.reached(search.rule) > search.rule.tolerance:
                decision.reason += f"error {decision.error:.2g} on the cases"
                if found.draws:
                    decision.reason += f", {decision.quantile:.2g} over draws"
                search.say(f"prune: {alternative.name}: {decision.reason}")
                break
            changes, cases, order = new, tried, order + 1
            decision.decision, decision.order = "taken", order
            decision.reason = "error within the tolerance"
            search.say(
                f"prune: {alternative.name}: error {decision.error:.2g}, {decision.quantile:.2g} "
                "over draws"
            )
    return changes, decisions, cases
