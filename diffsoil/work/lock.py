"""One writer at a time: a lock that the system lets go when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from types import TracebackType

from diffsoil.io import InputError

UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}
"""What file systems answer that know no locks; work goes on there without one."""


class Lock:
    """A lock on an output, held from :meth:`acquire` to :meth:`release`, or as a context.

    Args:
        path: file of the lock; it is gone when the lock is released.
        output: what it is for, named in messages.

    Raises:
        InputError: (on acquiring) another run holds it, or the file cannot be made.
    """

    def __init__(self, path: Path, output: Path) -> None:
        self.path, self.output = path, output
        self._file: int | None = None

    def acquire(self) -> None:
        """Take the lock, or raise at once."""
        while self._file is None:
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise InputError(f"{self.output}: cannot be written: {error.strerror}") from error
            if not self._taken(file):
                # Its last holder may have removed the file between our opening and locking it.
                os.close(file)
                continue
            self._file = file
            with contextlib.suppress(OSError):  # only for the message; a full disk shows later
                os.truncate(file, 0)
                os.write(file, f"{os.getpid()}\n".encode())

    def _taken(self, file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                return True
            holder = os.pread(file, 32, 0).decode(errors="replace").strip()
            os.close(file)
            by = f" (process {holder})" if holder else ""
            raise InputError(
                f"{self.output}: another run of diffsoil is writing there{by}; wait for it, or "
                "choose another output"
            ) from None
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let go; a second call does nothing."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
        os.close(self._file)
        self._file = None

    def __enter__(self) -> Lock:
        """Take it."""
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let go."""
        self.release()
