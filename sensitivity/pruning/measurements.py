"""Measurements of a pruning: each is made once, also by a pruning that was stopped and resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from diffsoil.work.checkpoints import Checkpoints


class Measurements:
    """Measurements, kept as checkpoints, and what they took.

    Args:
        checkpoints: keeps them; nothing is kept if not given.

    Attributes:
        runs, seconds: that all measurements took, those before a stop included.
    """

    def __init__(self, checkpoints: Checkpoints | None = None) -> None:
        self._checkpoints = checkpoints or Checkpoints(None)
        self.runs, self.seconds = 0, 0.0

    def once(
        self, key: Sequence[Any], measure: Callable[[], Sequence[np.ndarray]]
    ) -> list[np.ndarray]:
        """Arrays that were measured before, or are now.

        Args:
            key: tells measurements apart; JSON.
            measure: called if the result is not there; adds its runs to :attr:`runs`.
        """
        before = self.runs

        def timed() -> Mapping[str, Any]:
            began = time.monotonic()
            found = {f"a{i}": array for i, array in enumerate(measure())}
            return found | {"took": [self.runs - before, time.monotonic() - began]}

        part = self._checkpoints.once(key, timed)
        runs, seconds = part.pop("took")
        self.runs, self.seconds = before + int(runs), self.seconds + float(seconds)
        return [part[f"a{i}"] for i in range(len(part))]
