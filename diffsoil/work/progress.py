"""Lines of progress: who says them, and how long the rest will take."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable

Say = Callable[[str], None]
"""Takes a line of progress."""

SAY_SECONDS = 2.0


def say(text: str) -> None:
    """A line of progress, on standard error."""
    print(f"diffsoil: {text}", file=sys.stderr, flush=True)


class Clock:
    """Prints lines with the time since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print a line of progress."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {line}", flush=True)


class Countdown:
    """Says every few seconds how far work on equal parts is, and how long the rest will take.

    Args:
        say: given the lines.
        left: number of parts to do.
    """

    def __init__(self, say: Say, left: int) -> None:
        self._say, self._left, self._done = say, left, 0
        self._start = self._said = time.monotonic()

    def tick(self, parts: int, state: str) -> None:
        """Count finished parts; ``state`` says what there is by now."""
        self._done += parts
        self._left -= parts
        now = time.monotonic()
        if now - self._said < SAY_SECONDS:
            return
        self._said = now
        elapsed = now - self._start
        rest = elapsed / self._done * self._left
        self._say(f"{state}, {duration(elapsed)}, about {duration(rest)} left")


def paced(say: Say, seconds: float = 30.0) -> Say:
    """Says at most one line in so many seconds, and none of what takes no longer."""
    said = time.monotonic()

    def line(text: str) -> None:
        nonlocal said
        if time.monotonic() - said >= seconds:
            said = time.monotonic()
            say(text)

    return line


def duration(seconds: float) -> str:
    """A duration as ``0:35``, or ``1:02:10``."""
    text = str(datetime.timedelta(seconds=round(seconds)))
    return text.removeprefix("0:").removeprefix("0")
