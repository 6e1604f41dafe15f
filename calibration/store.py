"""The folder of a fit: what was asked, how far it got, the posterior, and how it came about.

``fit.json`` says what was asked, with the version of the format and of the program, and in
``history`` which data entered when. All that a case names lies beside ``case.toml`` in the folder,
so that a fit can be carried elsewhere and kept up to date there. :func:`load` is the one way to
read a fit; it refuses what does not belong together.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
import tomllib
import warnings
import weakref
from collections.abc import Mapping, Sequence
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import tomlkit
import xarray as xr

from calibration import checks as checking
from calibration import methods
from calibration.methods import METHODS
from calibration.methods.method import Method
from calibration.methods.reweighting import Reweighting
from diffsoil.cases import Case, read_case, set_parameters
from diffsoil.cases.fingerprint import check_same, checksum, checksum_of, files_of, fingerprint
from diffsoil.column import Column
from diffsoil.io import InputError, data_path
from diffsoil.options import Existing
from diffsoil.tables import read_written
from diffsoil.work.files import (
    read_json,
    reading_netcdf,
    replacing,
    write_copy,
    write_json,
    write_netcdf,
    write_text,
)
from diffsoil.work.folder import Kind, OutputFolder, settle

FORMAT = 3
"""Format of ``fit.json``.

2 brought ``history`` and the files of the case in the folder, 3 the ``options`` of the method,
where every method had the sizes of all of them before.
"""

Entry = dict[str, Any]
"""One entry of a history: data that entered a fit together, and how."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What determines the result of a calibration; a run is resumed with the same only.

    ``method`` is the one that drew last, ``inputs`` the fingerprint of the case
    (:func:`diffsoil.cases.fingerprint.fingerprint`).
    """

    case: str
    case_sha256: str
    method: Method
    seed: int
    set: dict[str, float]
    free: list[str]
    slow_step: int = 0
    inputs: dict[str, Any] = dataclasses.field(default_factory=dict)
    history: list[Entry] = dataclasses.field(default_factory=list)
    version: str = dataclasses.field(default_factory=lambda: metadata.version("diffsoil"))
    format: int = FORMAT

    @classmethod
    def of(
        cls, case: Case, method: Method, seed: int, fixed: dict[str, float], slow_step: int = 0
    ) -> Settings:
        """Settings of a calibration of a case.

        Args:
            case: what is fitted.
            method: how.
            seed: same seed, same result.
            fixed: parameter values that are fixed differently from the case.
            slow_step: slow steps of up to so many years to sample with; 0 for those of the case.
        """
        return cls(
            case=case.name,
            case_sha256=checksum(case.text),
            method=method,
            seed=seed,
            set=fixed,
            free=sorted(case.file.free),
            slow_step=slow_step,
            inputs=fingerprint(case),
        )

    @property
    def weighted(self) -> bool:
        """Whether what the method had drawn was weighted since, with new data."""
        return bool(self.history) and self.history[-1]["method"] == Reweighting.name

    @property
    def reported(self) -> Method:
        """What the draws came from at last: the method, or weights of what it had drawn."""
        return Reweighting(quick=self.method.quick) if self.weighted else self.method

    def content(self) -> dict[str, Any]:
        """What ``fit.json`` holds of it."""
        options = dataclasses.asdict(self.method)
        known = {"checkpoints": CHECKPOINTS} | dataclasses.asdict(self)
        return known | {"method": self.method.name, "options": options}


def _older(path: Path) -> list[str] | None:
    """Files of the case in a folder of a fit that was made before folders had markers."""
    try:
        content = read_json(path / "fit.json")
    except InputError:
        return None
    return list(content.get("files", {})) if "case_sha256" in content else None


CHECKPOINTS = 2
"""Format of the checkpoints; of another one a fit is not resumed. 2 names folders by methods."""

FOLDERS = (*METHODS, "chains", "particles", "variational", "sbc", "predicted", "predicted_fine")
"""Folders of a fit in which methods and predictions keep checkpoints; some of format 1."""

KIND = Kind(
    "fit",
    "a fit",
    (
        *(f"{name}.json" for name in ("fit", "facts")),
        *(f"{name}.csv" for name in ("summary", "predictions", "checks", "fisher", "sbc")),
        *(f"{name}.png" for name in ("fit", "overview", "kept_out", "priors", "pairs")),
        *(f"{name}.png" for name in ("ranks", "residuals", "sbc")),
        "case.toml",
        "posterior.nc",
        "report.html",
        "laplace.npz",
        "weights.npz",
        *(f"{name}/{'[0-9]' * 6}.npz" for of in FOLDERS for name in (of, f"fine/{of}")),
    ),
    older=_older,
    resumable=True,
)
"""Folders of a fit; the files of its case are there besides."""


def folder_of(path: Path, existing: Existing, inputs: Sequence[Path | str]) -> OutputFolder:
    """The output folder of a fit; see :class:`diffsoil.work.folder.OutputFolder`."""
    return OutputFolder(path, KIND, **dataclasses.asdict(existing), inputs=inputs)


def begin(folder: OutputFolder, settings: Settings, case: Case) -> None:
    """Keep what is asked for and all that a case names in a folder; from then on it can be resumed.

    A file whose name leads out of the folder of the case gets a name in ``inputs``; ``case.toml``
    then says so. ``fit.json``, which is written last, has the SHA-256 of all of them as ``files``.

    Args:
        folder: opened.
        settings: what determines the result.
        case: what is fitted.
    """
    work = folder.work
    document = tomlkit.parse(case.text)
    taken: dict[str, Path] = {}
    for table, key in files_of(document):
        source = case.resolve(str(table[key])).resolve()
        kept = _name_inside(str(table[key]), source, taken)
        if kept != str(table[key]):
            table[key] = kept
        taken[kept] = source
    folder.add(list(taken))
    for kept, source in taken.items():
        write_copy(work / kept, source)
    write_text(work / "case.toml", tomlkit.dumps(document))
    files = {name: checksum_of(work / name) for name in ("case.toml", *taken)}
    write_json(work / "fit.json", settings.content() | {"complete": False, "files": files})
    folder.keep()


def go_on(folder: OutputFolder, settings: Settings) -> bool:
    """Whether a folder holds an interrupted run of the same to go on with; else it begins anew.

    Raises:
        InputError: the interrupted run had other settings, another case or other files.
    """
    file = folder.work / "fit.json"
    if not folder.resumed or not file.is_file():
        return False
    before, now = read_json(file), settings.content()
    inputs, options = now.pop("inputs"), now.pop("options")
    check_same(file, before | before.get("options", {}), {"inputs": inputs} | now | options)
    return True


def complete(folder: OutputFolder) -> None:
    """Mark a fit as complete."""
    content = read_json(folder.work / "fit.json")
    write_json(folder.work / "fit.json", content | {"complete": True})


def _name_inside(name: str, source: Path, taken: Mapping[str, Path]) -> str:
    """A name for a file in the folder of a fit, no other file's, and none that leads out of it."""
    plain = Path(os.path.normpath(name))
    own = {"case.toml", "fit.json", "posterior.nc", "summary.csv", "predictions.csv", "checks.csv"}
    if plain.is_absolute() or ".." in plain.parts or str(plain) in own:
        plain = Path("inputs", source.name)
    kept, number = plain, 1
    while taken.get(kept.as_posix(), source) != source:
        number += 1
        kept = plain.with_stem(f"{plain.stem}_{number}")
    return kept.as_posix()


def posterior_image(groups: dict[str, dict[str, np.ndarray]], **kwargs: Any) -> BytesIO:
    """The bytes of a netCDF file with an ArviZ DataTree.

    Args:
        groups: group -> variable -> array with leading axes chain and draw (constant and
            observed data without).
        kwargs: ``dims`` and ``coords`` as :func:`arviz.from_dict` takes them.
    """
    tree = az.from_dict(groups, **kwargs)
    tree.attrs["creation_library"] = "diffsoil"
    tree.attrs["creation_library_version"] = metadata.version("diffsoil")
    image = BytesIO()
    tree.to_netcdf(image, engine="h5netcdf")
    return image


def write_posterior(path: Path, groups: dict[str, dict[str, np.ndarray]], **kwargs: Any) -> None:
    """Write an ArviZ DataTree to a file; see :func:`posterior_image`."""
    with replacing(path, overwrite=True) as part:
        write_netcdf(part, posterior_image(groups, **kwargs).getvalue())


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
        with (
            reading_netcdf(path, "cannot be read, is it half written?"),
            xr.open_datatree(path, engine="h5netcdf") as tree,
        ):
            return tree.load()


def parameter_draws(tree: xr.DataTree) -> tuple[list[str], np.ndarray]:
    """Names of the parameters and their draws, chains one after another."""
    posterior = tree["posterior"].to_dataset()
    names = [str(name) for name in posterior.data_vars]
    columns = [posterior[name].transpose("chain", "draw").to_numpy().ravel() for name in names]
    return names, np.stack(columns, axis=1)


# Reading a fit.


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
