"""Lines of progress with the time since the start."""

from __future__ import annotations

import time
from collections.abc import Callable

Say = Callable[[str], None]


class Clock:
    """Prints lines with the time since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print a line of progress."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {line}", flush=True)
