"""What a forecast found, draw by draw, and the file that keeps it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float

from calibration import saved_fit
from calibration.prediction import evenly
from calibration.twin.scenario import Scenario
from diffsoil.cases.fingerprint import checksum_of
from diffsoil.io import InputError
from diffsoil.output.attributes import discovery
from diffsoil.work.files import reading_netcdf, replacing, write_netcdf

FILE = "forecast.nc"

UNITS = {"soc_stock": "Mg C/ha", "delta14c": "permil", "litter_stock": "Mg C/ha"}
"""Unit of each quantity that a forecast can have."""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Stocks by draw, and the 14C of a case that follows it.

    Attributes:
        members: treatment and option of each member.
        quantities: name, and depths in cm or None, of each quantity, in the unit of
            :data:`UNITS`.
        years: calendar years, from some decades before the last of the record.
        draws: what is there.
    """

    members: list[tuple[str, str]]
    quantities: list[tuple[str, tuple[float, float] | None]]
    years: np.ndarray
    draws: Float[np.ndarray, "draw member quantity year"]


def save(folder: Path, found: saved_fit.Fit, asked: Scenario, forecast: Forecast) -> None:
    """Write ``forecast.nc``: each quantity, in its unit, by draw, member and year.

    ``draw`` is the place of a draw among all of the fit, chains one after another;
    ``fit_sha256`` is that of the fit's ``posterior.nc``, ``last_year`` that of the record.
    """
    titles = {option.name: option.title for option in asked.options}
    depths = [depth or (np.nan, np.nan) for _, depth in forecast.quantities]
    treatment, option = zip(*forecast.members, strict=True)
    about = {"long_name": "what variable and the depths name, in unit"}
    content = xr.Dataset(
        {"value": (("draw", "member", "quantity", "year"), forecast.draws, about)},
        coords={
            "draw": evenly(len(found.draws), len(forecast.draws)),
            "treatment": ("member", list(treatment)),
            "option": ("member", list(option)),
            "label": ("member", [titles[name] for name in option]),
            "variable": ("quantity", [name for name, _ in forecast.quantities]),
            "unit": ("quantity", [UNITS[name] for name, _ in forecast.quantities]),
            "upper_cm": ("quantity", [upper for upper, _ in depths]),
            "lower_cm": ("quantity", [lower for _, lower in depths]),
            "year": forecast.years,
        },
        attrs=discovery(asked.case, "forecast")
        | {"fit_sha256": checksum_of(found.folder / "posterior.nc"), "last_year": asked.today},
    )
    with replacing(folder / FILE, overwrite=True) as part:
        write_netcdf(part, content)


def read(folder: Path, found: saved_fit.Fit) -> xr.Dataset:
    """Read what :func:`save` wrote for a fit.

    Raises:
        InputError: there is none, it cannot be read, or it is a forecast with another fit.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f"{folder}: no {FILE} there; is it a folder of diffsoil forecast? One of an older "
            "version has to be made again"
        )
    with (
        reading_netcdf(path, "cannot be read, is it half written?"),
        xr.open_dataset(path, engine="h5netcdf") as opened,
    ):
        content = opened.load()
    if content.attrs.get("fit_sha256") != checksum_of(found.folder / "posterior.nc"):
        raise InputError(f"{path}: is a forecast with another fit than {found.folder}")
    return content
