"""The folder of a fit: what was asked, how far it got, the posterior, and how it came about.

``fit.json`` says what was asked, with the version of the format and of the program, and in
``history`` which data entered when. All that a case names lies beside ``case.toml`` in the folder,
so that a fit can be carried elsewhere and kept up to date there; :mod:`calibration.saved_fit` reads
it.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

import arviz as az
import numpy as np
import tomlkit
import xarray as xr

from calibration.methods import METHODS
from calibration.methods.method import Method
from calibration.methods.reweighting import Reweighting
from diffsoil.cases import Case
from diffsoil.cases.fingerprint import check_same, checksum, checksum_of, files_of, fingerprint
from diffsoil.io import InputError
from diffsoil.options import Existing
from diffsoil.work.files import (
    read_json,
    reading_netcdf,
    replacing,
    write_copy,
    write_json,
    write_netcdf,
    write_text,
)
from diffsoil.work.folder import Kind, OutputFolder

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


CHECKPOINTS = 3
"""Format of the checkpoints; of another one a fit is not resumed.

2 names folders by methods, 3 has the profile in predictions.
"""

SURROGATE = ("design", *(f"round_{number}" for number in range(1, 10)), "nuts")
"""Stages of a surrogate."""

TRANSIENT = ("predicted", "predicted_fine", "surrogate", "fine/surrogate")
"""Folders of runs that are in ``posterior.nc`` in the end, and removed then."""

FOLDERS = (
    *METHODS,
    *(f"surrogate/{stage}" for stage in SURROGATE),
    *("chains", "particles", "variational", "sbc", "predicted", "predicted_fine"),
)
"""Folders of a fit in which methods and predictions keep checkpoints; some of format 1."""

KIND = Kind(
    "fit",
    "a fit",
    (
        *(f"{name}.json" for name in ("fit", "facts")),
        *(
            f"{name}.csv"
            for name in ("summary", "predictions", "checks", "fisher", "sbc", "profile")
        ),
        *(f"{name}.png" for name in ("fit", "overview", "kept_out", "priors", "pairs")),
        *(f"{name}.png" for name in ("ranks", "residuals", "sbc", "inputs", "profile")),
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

    A file whose name leads out of the folder of the case, or is that of a result, gets a name in
    ``inputs``; ``case.toml`` then says so. ``fit.json``, which is written last, has the SHA-256 of
    all of them as ``files``.

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
    """A name for a file in the folder of a fit: inside it, no result's and no other file's."""
    plain = Path(os.path.normpath(name))
    if plain.is_absolute() or ".." in plain.parts or KIND.writes(plain.as_posix()):
        plain = Path("inputs", source.name)
    kept, number = plain, 1
    while taken.get(kept.as_posix(), source) != source:
        number += 1
        kept = plain.with_stem(f"{plain.stem}_{number}")
    return kept.as_posix()


def posterior_image(
    groups: dict[str, dict[str, np.ndarray]],
    about: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    **kwargs: Any,
) -> BytesIO:
    """The bytes of a netCDF file with an ArviZ DataTree.

    Args:
        groups: group -> variable -> array with leading axes chain and draw (constant and
            observed data without).
        about: attributes of variables, such as their units, by name.
        kwargs: ``dims``, ``coords`` and ``attrs`` as :func:`arviz.from_dict` takes them.
    """
    tree = az.from_dict(groups, **kwargs)
    for group in tree.children.values():
        for name in set(about) & set(group.data_vars):
            group[name].attrs.update(about[str(name)])
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
