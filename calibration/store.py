"""The folder of a fit: what was asked, how far it got, and the posterior."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import xarray as xr

from diffsoil.io import InputError, replacing

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """What determines the result of a calibration; a run is resumed with the same only."""

    case: str
    case_sha256: str
    method: str
    quick: bool
    chains: int
    warmup: int
    draws: int
    starts: int
    tree_depth: int
    acceptance: float
    seed: int
    set: dict[str, float]
    free: list[str]
    version: str = dataclasses.field(default_factory=lambda: metadata.version("diffsoil"))
    format: int = FORMAT


def checksum(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def choose_folder(path: Path, settings: Settings, overwrite: bool, resume: bool) -> Path:
    """The folder to work in; nothing is written yet.

    A new fit is made in its own folder. One that replaces another is made beside it
    (``NAME.part``) and takes its place when done (:func:`close_folder`), so that nothing is lost
    by an interruption.

    Raises:
        InputError: the folder holds something and neither ``overwrite`` nor ``resume`` is said,
            or the interrupted run had other settings.
    """
    beside = path.with_name(path.name + ".part")
    if path.is_file():
        raise InputError(f"{path}: is a file, a folder is needed")
    taken = path.is_dir() and any(path.iterdir())
    if resume:
        work = beside if beside.is_dir() else path
        if not (work / "fit.json").is_file():
            raise InputError(f"{path}: nothing to resume there")
        _same_settings(work / "fit.json", settings)
        return work
    if taken and not overwrite:
        raise InputError(f"{path}: exists already; use --overwrite, --resume or another folder")
    return beside if taken else path


def open_folder(work: Path, settings: Settings, case_text: str, resume: bool) -> None:
    """Make the folder and write down what is asked; a resumed one is left as it is."""
    if resume:
        return
    try:
        if work.is_dir():  # left by a run that was interrupted and not resumed, or empty
            shutil.rmtree(work)
        work.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{work}: cannot be made: {error.strerror}") from error
    write_json(work / "fit.json", dataclasses.asdict(settings) | {"complete": False})
    with replacing(work / "case.toml", overwrite=True) as part:
        part.write_text(case_text, encoding="utf-8")


def close_folder(work: Path, path: Path) -> None:
    """Mark a fit as complete and put it in its place."""
    content = json.loads((work / "fit.json").read_text())
    write_json(work / "fit.json", content | {"complete": True})
    if work == path:
        return
    old = path.with_name(path.name + ".old")
    path.rename(old)
    work.rename(path)
    shutil.rmtree(old)


def _same_settings(file: Path, settings: Settings) -> None:
    before = json.loads(file.read_text())
    for name, value in dataclasses.asdict(settings).items():
        if before.get(name) != value:
            shown = (
                "the case file has changed"
                if name == "case_sha256"
                else (f"{name} was {before.get(name)!r}, is {value!r}")
            )
            raise InputError(f"{file}: cannot resume: {shown}")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a small JSON file whole."""
    with replacing(path, overwrite=True) as part:
        part.write_text(json.dumps(content, indent=2) + "\n")


def write_posterior(path: Path, groups: dict[str, dict[str, np.ndarray]], **kwargs: Any) -> None:
    """Write an ArviZ DataTree.

    Args:
        path: netCDF file.
        groups: group -> variable -> array with leading axes chain and draw (constant and
            observed data without).
        kwargs: ``dims`` and ``coords`` as :func:`arviz.from_dict` takes them.
    """
    tree = az.from_dict(groups, **kwargs)
    tree.attrs["creation_library"] = "diffsoil"
    tree.attrs["creation_library_version"] = metadata.version("diffsoil")
    with replacing(path, overwrite=True) as part:
        tree.to_netcdf(part, engine="h5netcdf")


def read_posterior(folder: Path) -> xr.DataTree:
    """The posterior of a fit, read into memory.

    Raises:
        InputError: there is none.
    """
    path = folder / "posterior.nc"
    if not path.is_file():
        raise InputError(f"{folder}: no posterior.nc there; is it a folder of diffsoil calibrate?")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with xr.open_datatree(path, engine="h5netcdf") as tree:
                return tree.load()
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from error


def parameter_draws(tree: xr.DataTree) -> tuple[list[str], np.ndarray]:
    """Names of the parameters and their draws, chains one after another."""
    posterior = tree["posterior"].to_dataset()
    names = [str(name) for name in posterior.data_vars]
    columns = [posterior[name].transpose("chain", "draw").to_numpy().ravel() for name in names]
    return names, np.stack(columns, axis=1)
