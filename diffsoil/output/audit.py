"""Whether a run stayed finite; if not, what shows it first, where and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from diffsoil.process import Process
from diffsoil.quantities import YEARLY
from diffsoil.variables import VARIABLES


def first_loss(
    processes: Sequence[Process],
    by_step: Mapping[str, np.ndarray],
    by_year: Mapping[str, np.ndarray],
    years_per_step: int,
) -> tuple[int, int, str] | None:
    """What is not finite first, in time and then in the order in which processes act.

    Args:
        processes: of the column.
        by_step: variables of slow steps, [member, step, ...]; one entry may stand for all.
        by_year: quantities of :data:`diffsoil.quantities.YEARLY`, [member, year, ...].
        years_per_step: length of a slow step.

    Returns:
        The member, the year (from 0) and words on process, variable and layer; None where all
        is finite.
    """
    owners = {name: p.name for p in reversed(processes) for name in p.provides}
    in_order = [name for p in processes for name in p.provides if name in by_step]
    of_case = [name for name in by_step if name not in owners]
    first: tuple[int, str, np.ndarray] | None = None
    for name in dict.fromkeys([*of_case, *in_order, *by_year]):
        values, length = (by_year[name], 1) if name in by_year else (by_step[name], years_per_step)
        broken = ~np.isfinite(values)
        if not broken.any():
            continue
        entry = int(broken.any(axis=(0, *range(2, broken.ndim))).argmax())
        if first is None or entry * length < first[0]:
            first = entry * length, name, np.argwhere(broken[:, entry])[0]
    if first is None:
        return None
    year, name, (member, *place) = first
    if name in by_year:
        field = YEARLY[name].field
        changing = [p.name for p in processes if field in p.changes]
        what = f"{field} (process {', '.join(map(repr, changing))})" if changing else field
        by_layer = YEARLY[name].by_layer
    else:
        what = f"{name} (process {owners[name]!r})" if name in owners else name
        by_layer = name in VARIABLES and VARIABLES[name].dims[-1:] == ("layer",)
    where = f" in layer {place[-1] + 1} from the top" if by_layer else ""
    return int(member), year, f"{what} is not finite{where}"
