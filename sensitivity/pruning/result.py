"""What a pruning found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from diffsoil.cases import Case


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
        ablation: of the processes, in the form of ``indices.csv``; empty if not asked for.
        posteriors: with the full and the pruned columns; empty if not asked for.
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
    ablation: pd.DataFrame
    posteriors: pd.DataFrame
    static_difference: float
    failed: int
    runs: int
    minutes: float
