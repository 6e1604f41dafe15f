"""A case with coarser slow steps: what it costs less, importance weights correct afterwards."""

from __future__ import annotations

import tomlkit

from diffsoil.cases import Case, read_case
from diffsoil.io import InputError


def coarser(case: Case, years: int) -> Case:
    """A case whose phases of history have slow steps of up to so many years.

    Each phase gets the longest step of at most ``years`` that divides its length and its events,
    and never a shorter one than it has. The experiment keeps its yearly steps.

    Args:
        case: the case; the files it names are found beside it.
        years: longest slow step, > 0.

    Raises:
        InputError: no phase can have a longer step than it has.
    """
    document = tomlkit.parse(case.text)
    found = case
    changed = False
    for number, (phase, (first, last)) in enumerate(
        zip(case.file.history, case.file.spans(), strict=True)
    ):
        length = last - first + 1
        steps = [s for s in range(years, phase.step_years, -1) if length % s == 0]
        for step in steps:
            document["history"][number]["step_years"] = step
            try:
                found = read_case(case.path, tomlkit.dumps(document))
            except InputError:  # an event would fall inside a step
                document["history"][number]["step_years"] = phase.step_years
                continue
            changed = True
            break
    if not changed:
        steps_now = ", ".join(str(phase.step_years) for phase in case.file.history)
        raise InputError(
            f"--slow-step {years}: no phase of {case.path} can have so long a step; they have "
            f"{steps_now} years, and a step has to divide the phase and its events"
        )
    return found
