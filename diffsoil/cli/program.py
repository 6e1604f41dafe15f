"""The command line as a program: streams, signals, errors, exit codes."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import platform
import shlex
import signal
import sys
import threading
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from importlib import metadata
from types import FrameType

from cyclopts import CycloptsError

from diffsoil import _runtime
from diffsoil.cli.options import UsageError, app

# Errors.

LONGEST_LINE = 400
"""Characters; the middle of a longer line is left out."""


AGAIN_SECONDS = 0.05
"""After which an interrupt that was swallowed comes again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and turn what goes wrong into a message and an exit code.

    Args:
        arguments: words after ``diffsoil``; those of the process when not given.

    Returns:
        0; 1 for a failed check or a bug; 2 when the user can mend it; 128 and the number of the
        signal when interrupted (130 for Ctrl-C, 143 for SIGTERM) or when the reader of the
        output has left (141).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    if arguments is None:
        _runtime.keep_programs()
        if not sys.warnoptions:
            _silence_libraries()
    with _interruptible() as signals:
        try:
            result = app(
                words, result_action="return_value", exit_on_error=False, print_error=False
            )
            sys.stdout.flush()
        except KeyboardInterrupt as interrupt:
            _say("; ".join(["interrupted", *map(str, interrupt.args)]))
            return 128 + (signals[0] if signals else signal.SIGINT)
        except BrokenPipeError:
            _discard_output()
            return 128 + signal.SIGPIPE
        except Exception as error:
            _discard_output()
            lines = _what_to_mend(error)
            if not lines:
                _report(words)
                return 1
            for line in lines:
                _say(f"error: {line}")
            return 2
    return result if isinstance(result, int) else 0


def _open_streams() -> None:
    """Make sure that there is a place for messages, and that it takes every character."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would take its number
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence_libraries() -> None:
    """Hide the warnings of libraries; what matters to a user is an error or a result."""
    # of compilations that take minutes XLA makes an alarm, and asks for a report of a fault
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.simplefilter("ignore")
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.ERROR)


@contextlib.contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Let SIGTERM, and a terminal that goes away, interrupt as Ctrl-C does, once.

    Yields:
        The signals that came.
    """
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:  # later ones would break off what the first lets end well
            raise KeyboardInterrupt

    def again(swallowed: sys.UnraisableHookArgs) -> None:
        """An interrupt that came inside a callback of a library, which can raise nothing."""
        if issubclass(swallowed.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            usual_hook(swallowed)

    usual_hook, sys.unraisablehook = sys.unraisablehook, again
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    taken = [n for n, usual in before.items() if usual == signal.SIG_DFL]  # nohup ignores one
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield came
    finally:
        sys.unraisablehook = usual_hook
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _discard_output() -> None:
    """Drop what could not be printed: Python would try, and complain, once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens
        print(f"diffsoil: {line}", file=sys.stderr, flush=True)


def _what_to_mend(error: Exception) -> list[str]:
    """Lines on what a user can mend: a word, a file, a disk, a number; none of a bug of ours."""
    # Not imported here: who raises InputError has loaded it, and --help need not.
    files = sys.modules.get("diffsoil.io")
    if files is not None and isinstance(error, files.InputError):
        return [_shortened(line) for line in str(error).splitlines()]
    text = str(error)
    if isinstance(error, OSError):  # no such folder, no permission, disk full
        reason = error.strerror or text or type(error).__name__
        text = reason if error.filename is None else f"{error.filename}: {reason}"
    elif isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        text = f"not enough memory: {text}" if text else "not enough memory"
    elif isinstance(error, UnicodeError | EOFError | zipfile.BadZipFile | zlib.error):
        text = f"a file is damaged or of another kind: {text}"
    elif not isinstance(error, CycloptsError | UsageError):
        return []
    return [_shortened(text)]


def _shortened(text: str) -> str:
    line, half = " ".join(text.split()), LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


def _report(words: Sequence[str]) -> None:
    """Say what somebody who mends a bug needs to know."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("diffsoil", "jax"))
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    with contextlib.suppress(OSError):
        traceback.print_exc()
    command = _shortened(shlex.join(["diffsoil", *words]))
    _say(f"internal error; please report the lines above, and: {command} ({versions}, {system})")
