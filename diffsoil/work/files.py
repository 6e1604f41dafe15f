"""Files that appear whole or not at all, and the reading of those that were written so."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffsoil.io import InputError, reason

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


def write_text(path: Path, text: str) -> None:
    """Write a text whole, in the place of what is there."""
    with replacing(path, overwrite=True) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """As :func:`write_text`, of JSON."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_copy(path: Path, source: Path) -> None:
    """As :func:`write_text`, of a file; its folder is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, overwrite=True) as part:
        shutil.copyfile(source, part)


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


def write_netcdf(path: Path, content: xr.Dataset | bytes) -> None:
    """Write a netCDF file.

    It is made in memory: HDF5 that meets a full disk leaves broken objects behind, which end the
    process later.

    Args:
        path: file, as :func:`replacing` yields it.
        content: a dataset, or the bytes of a file.
    """
    if not isinstance(content, bytes):
        image = BytesIO()
        content.to_netcdf(image, engine="h5netcdf")
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
