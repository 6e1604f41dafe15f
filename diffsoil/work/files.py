"""Output files: they appear whole or not at all, and take the place of nothing but their like."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from diffsoil.io import InputError, reason
from diffsoil.work.lock import Lock

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

TEMPORARY = ".diffsoil-*"
"""Names of what is being written; :func:`temporary` makes them."""

REFUSALS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.EMFILE,
}
"""What a file system answers when it cannot, or may not, take something."""


def temporary(path: Path) -> Path:
    """A name beside a file, with its suffix, that nothing else has."""
    return path.with_name(f".diffsoil-{secrets.token_hex(8)}{path.suffix}")


@contextlib.contextmanager
def replacing(path: str | Path, overwrite: bool, part: Path | None = None) -> Iterator[Path]:
    """Write a file whole or not at all.

    Yields a name in the same folder, with the same suffix, to write to. When the block ends
    well that file takes the place of ``path``; when it does not, nothing of it stays behind.
    The name is ``part``, or one that nothing else has.

    Raises:
        InputError: as :func:`check_output`, before the block runs, or when the file has appeared
            meanwhile; or the operating system refuses something, such as a full disk.
    """
    path = check_output(path, overwrite)
    part = part or temporary(path)
    try:
        yield part
        if overwrite:
            os.replace(part, path)
        else:
            _place_new(part, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {reason(error)}") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _place_new(part: Path, path: Path) -> None:
    """Give a file its name, unless another has it by now."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise InputError(
            f"{path}: has appeared while this run was computing, and is left as it is; use "
            "--overwrite to replace it"
        ) from None
    except OSError:  # a file system without hard links
        os.replace(part, path)


def place_of(path: str | Path, what: str) -> Path:
    """The place that the name of an output means, with symbolic links followed.

    Raises:
        InputError: the name is empty, or the file system cannot have such a ``what``.
    """
    text = os.fspath(path)
    if text.strip() == "":
        raise InputError(f"-o: the name of the {what} is empty")
    try:
        place = Path(text).resolve()
        with contextlib.suppress(FileNotFoundError):
            os.lstat(place)
    except (OSError, RuntimeError, ValueError) as error:
        said = reason(error) if isinstance(error, OSError) else str(error)
        raise InputError(f"{text}: cannot be an output {what}: {said}") from error
    if place.is_symlink():
        raise InputError(f"{text}: is a symbolic link that leads nowhere")
    return place


def check_output(path: str | Path, overwrite: bool) -> Path:
    """Find out early whether a file can be written, before anything is computed for it.

    Returns:
        The file, with symbolic links followed.

    Raises:
        InputError: the file is there and may not be overwritten, it is a folder, its name is
            empty or too long, or its folder does not exist or cannot be written to.
    """
    text, place = os.fspath(path), place_of(path, "file")
    if place.is_dir():
        raise InputError(f"{text}: is a folder, a file name is needed")
    if place.exists() and not overwrite:
        raise InputError(f"{text}: exists already; use --overwrite to replace it")
    if place.exists() and not place.is_file():
        raise InputError(f"{text}: is no ordinary file and cannot be replaced")
    if not place.parent.is_dir():
        raise InputError(f"{text}: the folder {Path(text).parent} does not exist")
    if not os.access(place.parent, os.W_OK):
        raise InputError(f"{text}: no permission to write in {Path(text).parent}")
    return place


class OutputFile:
    """A file that a command computes for: checked first, locked meanwhile, written at the end.

    As a context it holds a lock, so that a second run into the same file is refused; within it,
    :meth:`writing` gives the name to write to.

    Args:
        path: the file; a symbolic link is followed.
        overwrite: replace it if it is there and one of its like.
        suffix: that it has to have, such as ``.nc``; any if empty.
        like: whether a file that is there may be replaced, for it is what this run writes.
        inputs: files that are read, which the output may not take the place of.

    Raises:
        InputError: as :func:`check_output`; another suffix; something that diffsoil did not write,
            or an input, would be replaced; another run is writing it.
    """

    def __init__(
        self,
        path: str | Path,
        overwrite: bool = False,
        *,
        suffix: str = "",
        like: Callable[[Path], bool] = lambda path: True,
        inputs: Sequence[str | Path] = (),
    ) -> None:
        self.given, self.overwrite = Path(path), overwrite
        self.path = check_output(path, overwrite)
        if suffix and self.path.suffix.lower() != suffix:
            raise InputError(f"{path}: has to end in {suffix}")
        for given in inputs:
            read = Path(given).resolve()
            if read == self.path:
                raise InputError(f"{path}: is an input of this run; choose another output")
            if read in self.path.parents:
                raise InputError(f"{path}: lies in the input {given}; choose another output")
        if self.path.exists() and self.path.stat().st_size and not like(self.path):
            raise InputError(
                f"{path}: is not a file that this command writes, and is not replaced; choose "
                "another output"
            )
        short = os.fsdecode(os.fsencode(self.path.stem)[:180])
        self._lock = Lock(self.path.with_name(f".{short}.diffsoil.lock"), self.given)
        # The lock makes it ours: what a killed run left there, the next one replaces.
        self._part = self.path.with_name(f".{short}.diffsoil-part{self.path.suffix}")

    def __enter__(self) -> OutputFile:
        """Take the lock, and see that something can be written there."""
        self._lock.acquire()
        try:
            check_output(self.given, self.overwrite)  # again: another run may have ended since
            try:
                self._part.write_bytes(b"\0" * 4096)
            except OSError as error:
                raise InputError(f"{self.given}: cannot be written: {reason(error)}") from error
            finally:
                with contextlib.suppress(OSError):
                    self._part.unlink(missing_ok=True)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the lock go."""
        self._lock.release()

    def writing(self) -> contextlib.AbstractContextManager[Path]:
        """As :func:`replacing`."""
        return replacing(self.path, self.overwrite, self._part)


def write_text(path: Path, text: str) -> None:
    """Write a text whole, in the place of what is there."""
    with replacing(path, overwrite=True) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """As :func:`write_text`, of JSON."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read what :func:`write_json` wrote.

    Raises:
        InputError: it is not there, half written or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read, is it half written? ({error})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object is needed, found {type(content).__name__}")
    return content


def write_table(path: Path, table: pd.DataFrame, index: bool = False, **how: Any) -> None:
    """As :func:`write_text`, of a CSV table; ``how`` as :meth:`pandas.DataFrame.to_csv`."""
    with replacing(path, overwrite=True) as part:
        table.to_csv(part, index=index, **how)


def netcdf_with(*attributes: str) -> Callable[[Path], bool]:
    """What finds out whether a file is a netCDF file with some attributes."""

    def has_attributes(path: Path) -> bool:
        import h5py

        try:
            with h5py.File(path) as file:
                return set(attributes) <= set(file.attrs)
        except OSError:
            return False

    return has_attributes


def table_with(*columns: str) -> Callable[[Path], bool]:
    """What finds out whether a file is a CSV table with some columns."""

    def has_columns(path: Path) -> bool:
        header = _start(path, LONGEST_HEADER).split(b"\n")[0].decode(errors="replace")
        return set(columns) <= set(header.strip().split(","))

    return has_columns


def case_with_note(name: str) -> Callable[[Path], bool]:
    """What finds out whether a file is a case with some note, which the program has put there."""

    def has_note(path: Path) -> bool:
        notes = _toml(path).get("notes", {})
        return isinstance(notes, dict) and name in notes

    return has_note


def is_case(path: Path) -> bool:
    """Whether a file is meant to be a case."""
    return {"format", "history", "soil"} <= _toml(path).keys()


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return {}


LONGEST_HEADER = 10_000
"""Bytes of the first line of a table."""


def _start(path: Path, count: int) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {reason(error)}") from error


def write_netcdf(path: Path, content: xr.Dataset | bytes, **encoding: dict) -> None:
    """Write a netCDF file.

    It is made in memory: HDF5 that meets a full disk leaves broken objects behind, which end the
    process later.

    Args:
        path: file, as :func:`replacing` yields it.
        content: a dataset, or the bytes of a file.
        encoding: of the variables, by name, see :meth:`xarray.Dataset.to_netcdf`.
    """
    if not isinstance(content, bytes):
        image = BytesIO()
        content.to_netcdf(image, engine="h5netcdf", encoding=encoding)
        content = image.getvalue()
    path.write_bytes(content)


DAMAGE = (
    OSError,
    ValueError,
    KeyError,
    RuntimeError,
    TypeError,
    AttributeError,
    IndexError,
    NotImplementedError,
)
"""What HDF5 and its readers answer to a damaged file."""


@contextlib.contextmanager
def reading_netcdf(path: str | Path, otherwise: str) -> Iterator[None]:
    """Open and read a netCDF file inside the block, and do nothing else there.

    Args:
        path: the file.
        otherwise: what is said where it cannot be read.

    Raises:
        InputError: it is not there, or cannot be read.
    """
    import h5py

    try:
        # h5netcdf leaves half-made objects behind where this fails, which complain later
        with h5py.File(path, "r") as file:
            dict(file.attrs)
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise InputError(f"{path}: {otherwise} ({type(error).__name__}: {error})") from error
