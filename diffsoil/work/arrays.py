"""Named arrays in a file that is whole or not there, and told from a damaged one."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from diffsoil.io import InputError
from diffsoil.work.files import replacing


class DamagedError(InputError):
    """A file that was not written by this program, or not to its end."""


def save(path: Path, **arrays: Any) -> None:
    """Write arrays by name (NPZ), in the place of what is there."""
    with replacing(path, overwrite=True) as part, open(part, "wb") as file:
        np.savez_compressed(file, **arrays)


def load(path: Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """Read arrays of a file by name; checksums of what is read are verified.

    Args:
        path: of the file.
        names: of the arrays; all if not given.

    Raises:
        DamagedError: it is not there, cut short or changed.
    """
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in (file.files if names is None else names)}
    except (OSError, ValueError, EOFError, KeyError, BadZipFile, zlib.error) as error:
        raise DamagedError(
            f"{path}: is damaged and cannot be read ({type(error).__name__})"
        ) from error
