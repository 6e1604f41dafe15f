"""A fit that is read back from its folder, checked: :func:`load` is the one way to do so."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
import tomllib
import weakref
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from calibration import checks as checking
from calibration import methods
from calibration.methods import METHODS
from calibration.methods.method import Method
from calibration.methods.reweighting import Reweighting
from calibration.pooling import BETWEEN
from calibration.store import (
    FORMAT,
    KIND,
    Entry,
    Settings,
    folder_of,
    parameter_draws,
    read_posterior,
)
from diffsoil.cases import Case, read_case, set_parameters
from diffsoil.cases.fingerprint import checksum, checksum_of
from diffsoil.column import Column
from diffsoil.io import InputError, data_path
from diffsoil.options import Existing
from diffsoil.tables import read_written
from diffsoil.work.files import (
    read_json,
    write_copy,
)
from diffsoil.work.folder import settle


class Scratch:
    """A temporary folder that lasts as long as somebody holds this."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="diffsoil_"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclasses.dataclass(frozen=True)
class Fit:
    """A fit that has been read and checked; see :func:`load`.

    ``draws`` are bounded values of all parameters ``names``, chains one after another.
    ``written_with`` is the version of the program that made it. ``scratch`` is held where the
    folder is a temporary one.
    """

    folder: Path
    settings: Settings
    text: str
    tree: xr.DataTree
    names: list[str]
    draws: np.ndarray
    scratch: Scratch | None = None

    @property
    def summary(self) -> pd.DataFrame:
        """The posterior by parameter; see :func:`calibration.checks.summary`."""
        return read_written(self.folder / "summary.csv", ["parameter"]).set_index("parameter")

    @property
    def checks(self) -> pd.DataFrame:
        """The checks of the fit; see :func:`calibration.checks.checks`."""
        return checking.read(self.folder)

    def save(self, folder: Path | str, overwrite: bool = False) -> None:
        """Copy the fit to a folder of its own, report and all; :func:`load` reads it there.

        Raises:
            InputError: the folder holds something already, or is not one of a fit.
        """
        with folder_of(Path(folder), Existing(overwrite=overwrite), [self.folder]) as place:
            place.add(list(read_json(self.file).get("files", {})))
            for source in self.folder.rglob("*"):
                if source.is_file() and not source.name.startswith(".diffsoil"):
                    write_copy(place.work / source.relative_to(self.folder), source)

    @property
    def predicted(self) -> np.ndarray:
        """Those of ``draws`` that were carried into predictions, in the order of these."""
        kept = self.tree["posterior_predictive"].to_dataset()["draw"].to_numpy()
        by_chain = self.draws.reshape(self.tree["posterior"].sizes["chain"], -1, len(self.names))
        return by_chain[:, kept].reshape(-1, len(self.names))

    @property
    def file(self) -> Path:
        """What messages about it name."""
        return self.folder / "fit.json"

    @property
    def written_with(self) -> str:
        """Version of the program that made the fit."""
        return self.settings.version

    @property
    def history(self) -> list[Entry]:
        """Which data entered, in order; the first entry is the calibration."""
        return self.settings.history

    def case(self) -> Case:
        """The case that was fitted, with the files in the folder of the fit.

        Raises:
            InputError: a file that it names is gone.
        """
        return read_case(self.folder / "case.toml", self.text)

    def column(self, case: Case) -> Column:
        """The column that was fitted.

        Raises:
            InputError: the fit has parameters that the column of this program has not, or values
                that it does not allow.
        """
        column = set_parameters(case.column(), self.settings.set, self.file, "set")
        self.check_parameters(column)
        return column

    def refuse_differing(self, what: str) -> None:
        """Refuse a fit in which a parameter differs between fields, where medians would be taken.

        Args:
            what: cannot be done with it.
        """
        for name in self.names:
            if name.startswith(BETWEEN):
                raise InputError(
                    f"{self.file}: {name.removeprefix(BETWEEN)} differs between fields or "
                    f"treatments (by); {what} knows one value for all"
                )

    def check_parameters(self, column: Column) -> None:
        """Refuse a fit whose parameters are not those of a column; others are not looked at."""
        table = column.parameters()
        for i, name in enumerate(self.names):
            if name not in table:
                continue
            low, high = float(self.draws[:, i].min()), float(self.draws[:, i].max())
            allowed = table[name]
            if low < allowed.lower or high > allowed.upper:
                raise InputError(
                    f"{self.folder / 'posterior.nc'}: {name}: the fit (diffsoil "
                    f"{self.written_with}) has values from {low:g} to {high:g}, this program "
                    f"(diffsoil {metadata.version('diffsoil')}) allows {allowed.lower:g} to "
                    f"{allowed.upper:g}"
                )


def load(folder: Path | str) -> Fit:
    """Read a fit for use; the one way to do so.

    A fit of an older format is read as one of today; the history of one of format 1 is its
    calibration. Whether another
    version of the program computes the same is not known here:
    :func:`calibration.compatibility.check_same_model` finds out.

    Raises:
        InputError: there is none, it is not complete, has another format, its files have been
            changed, or they cannot be read.
    """
    folder = Path(folder)
    settle(folder, KIND)
    file = folder / "fit.json"
    if not file.is_file():
        raise InputError(f"{folder}: no fit.json there; is it a folder of diffsoil calibrate?")
    content = read_json(file)
    version = content.get("format")
    if not isinstance(version, int) or not 1 <= version <= FORMAT:
        raise InputError(
            f"{file}: format: is {version!r}, written by diffsoil {content.get('version', '?')}; "
            f"this program (diffsoil {metadata.version('diffsoil')}) reads 1 to {FORMAT}"
        )
    if content.get("complete") is not True:
        raise InputError(
            f"{file}: complete: is {str(content.get('complete')).lower()}, true is needed: the "
            "run was interrupted; go on with --resume"
        )
    for name, known in content.get("files", {}).items():
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: is missing, fit.json lists it among its files")
        found = checksum_of(folder / name)
        if found != known:
            raise InputError(
                f"{folder / name}: has been changed since the fit: SHA-256 was {known[:12]}, "
                f"is {found[:12]}"
            )
    settings = settings_in(file, content)
    text = _case_text(folder, settings, "files" in content)
    tree = read_posterior(folder)
    try:
        names, draws = parameter_draws(tree)
    except (KeyError, ValueError) as error:
        raise InputError(f"{folder / 'posterior.nc'}: no posterior in it: {error}") from error
    _check_draws(folder, settings, names, draws)
    if not settings.history:
        settings = dataclasses.replace(settings, history=[_first_entry(folder, settings, text)])
    return Fit(folder, settings, text, tree, names, draws)


def settings_in(file: Path, content: Mapping[str, Any]) -> Settings:
    """Settings as a ``fit.json`` holds them, also one of an older format.

    Raises:
        InputError: one is missing, or the method is not known.
    """
    known: dict[str, Any] = {"method": _method(file, content)}
    for field in dataclasses.fields(Settings):
        if field.name == "method":
            continue
        if field.name in content:
            known[field.name] = content[field.name]
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise InputError(f"{file}: {field.name}: is missing")
        elif field.name == "version":
            raise InputError(f"{file}: version: is missing")
    return Settings(**(known | {"format": FORMAT}))


SIZES = ("chains", "warmup", "draws")
"""What formats 1 and 2 have for every method, used by it or not."""


def _method(file: Path, content: Mapping[str, Any]) -> Method:
    """The method that drew last, with its settings."""
    name, options = content.get("method"), content.get("options")
    if name == Reweighting.name:  # until format 2
        name = next((e["method"] for e in reversed(content["history"]) if e["method"] != name), "")
    try:
        kind = methods.METHODS[str(name)]
    except KeyError:
        known = ", ".join(METHODS)
        raise InputError(f"{file}: method: is {name!r}, known are {known}") from None
    if options is None:
        names = {f.name for f in dataclasses.fields(kind)}.difference(SIZES) | {*kind.options}
        options = {n: content[n] for n in names if n in content}
    try:
        return kind(**options)
    except TypeError as error:
        raise InputError(f"{file}: options: {error}") from error


def _case_text(folder: Path, settings: Settings, checked: bool) -> str:
    path = folder / "case.toml"
    if not path.is_file():
        raise InputError(f"{path}: is missing; the case of a fit belongs to it")
    text = path.read_text(encoding="utf-8")
    if not checked and checksum(text) != settings.case_sha256:
        raise InputError(
            f"{path}: is not the case of the fit: SHA-256 was {settings.case_sha256[:12]} "
            f"(fit.json), is {checksum(text)[:12]}"
        )
    return text


def _check_draws(folder: Path, settings: Settings, names: Sequence[str], draws: np.ndarray) -> None:
    path = folder / "posterior.nc"
    missing = [name for name in settings.free if name not in names]
    if missing:
        raise InputError(
            f"{path}: no draws of {missing[0]!r}, which fit.json lists as free; it has "
            f"{', '.join(names)}"
        )
    if draws.size == 0:
        raise InputError(f"{path}: no draws in it")
    bad = ~np.isfinite(draws).all(axis=0)
    if bad.any():
        raise InputError(f"{path}: {names[int(np.argmax(bad))]}: draws that are not finite numbers")


def _first_entry(folder: Path, settings: Settings, text: str) -> Entry:
    """The calibration, for a fit that has no history yet."""
    listed = tomllib.loads(text).get("observations", {}).get("files", [])
    data = []
    for name in listed:
        beside = folder / name
        path = beside if beside.is_file() else data_path(name)
        data.append({"file": name, "sha256": checksum_of(path) if path.is_file() else ""})
    return {"step": 0, "method": settings.method.name, "data": data, "version": settings.version}
