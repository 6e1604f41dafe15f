"""Horizons on the layers of the grid: as prescribed, and as laid down before the soil develops."""

from __future__ import annotations

import numpy as np

from diffsoil.cases.case import Case
from diffsoil.cases.profile import KG_M3
from diffsoil.cases.profiles import Change, Horizon, Mineralogy, Soil
from diffsoil.cases.schema import Grid
from diffsoil.processes.minerals import CALCITE_MASS, MOLAR_MASS
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON
from diffsoil.state import MINERALS

HORIZON_VARIABLES = (
    "clay_percent",
    "silt_percent",
    "bulk_density",
    "soc_percent",
    "iom_percent",
    "one_to_one_share",
    "calcite_percent",
    "base_saturation",
    "dissolved_al_fe",
)


def remap(soil: Soil, grid: Grid) -> dict[str, np.ndarray]:
    """Horizon values on the layers of the grid, conserving mass.

    Bulk density is averaged by volume, everything else by soil mass.
    """
    share = layer_shares(soil, grid)
    density = np.array([h.fine_earth_density for h in soil.horizons])
    mass = share * density[:, None]
    values = {"bulk_density": mass.sum(axis=0)}
    for name in HORIZON_VARIABLES:
        if name != "bulk_density":
            of_horizon = np.array([getattr(h, name) for h in soil.horizons])
            values[name] = (mass * of_horizon[:, None]).sum(axis=0) / mass.sum(axis=0)
    return values


def layer_shares(soil: Soil, grid: Grid) -> np.ndarray:
    """Share of each layer of the grid in each horizon, [horizon, layer]."""
    edges = np.arange(grid.layers + 1) * grid.thickness_m * 100
    return np.stack([_share(edges, h.upper_cm, h.lower_cm) for h in soil.horizons])


def _share(edges: np.ndarray, upper: float, lower: float) -> np.ndarray:
    """Share of each layer between two depths (cm)."""
    inside = np.minimum(edges[1:], lower) - np.maximum(edges[:-1], upper)
    return np.clip(inside / np.diff(edges), 0.0, 1.0)


def prescribed(
    case: Case, site: str, changes: list[Change], years: np.ndarray
) -> dict[str, np.ndarray]:
    """Soil properties by year and layer, [year, layer], for a site with changes in time."""
    grid = case.file.grid
    soil = case.file.soil[case.file.site[site]]
    values = remap(soil, grid)
    edges = np.arange(grid.layers + 1) * grid.thickness_m * 100
    series = {k: np.broadcast_to(v, (len(years), grid.layers)).copy() for k, v in values.items()}
    for change in (*soil.changes, *changes):
        share = _share(edges, change.upper_cm, change.lower_cm)
        level = np.interp(years, change.years, change.values)
        old = series[change.variable]
        series[change.variable] = old + share[None, :] * (level[:, None] - old)
    # the mass is that of the first profile: a layer is material, its density may change
    first = values["bulk_density"] * grid.thickness_m * 1e4
    organic = ORGANIC_MATTER_IN_CARBON * values["soc_percent"]
    series["soil_mass"] = np.broadcast_to(first, series["bulk_density"].shape)
    series["mineral_mass"] = np.broadcast_to(
        first * (1 - organic / 100), series["bulk_density"].shape
    )
    series["reference_organic_matter"] = np.broadcast_to(organic, series["bulk_density"].shape)
    series["calcite_fraction"] = series.pop("calcite_percent") / 100.0
    del series["soc_percent"]
    return series


def composition(
    clay_percent: float, silt_percent: float, calcite_percent: float, minerals: Mineralogy
) -> tuple[np.ndarray, float]:
    """What a kg of fine earth without humus is made of.

    Args:
        clay_percent, silt_percent: of all fine earth; the rest is sand.
        calcite_percent: part of the silt.
        minerals: shares of the minerals besides calcite.

    Returns:
        Minerals by size class, [mineral, size], and calcite, mol/kg.
    """
    sand = 100 - clay_percent - silt_percent
    percent = (clay_percent, silt_percent - calcite_percent, sand)
    shares = (minerals.clay, minerals.silt, minerals.sand)
    of_size = np.array([[share.get(name, 0.0) for share in shares] for name in MINERALS])
    amounts = of_size * np.array(percent) / 100 / MOLAR_MASS[:, None]
    return amounts, calcite_percent / 100 / CALCITE_MASS


def laid_down(case: Case, horizon: Horizon) -> dict[str, np.ndarray]:
    """A layer of one horizon, as thick as the layers of the grid, before any humus.

    Keys: ``minerals`` [mineral, size] and ``calcite`` as in :class:`diffsoil.state.Ground`. What
    depends on parameters besides is in :mod:`diffsoil.cases.profile`.
    """
    assert horizon.mineralogy is not None  # the case has been checked
    organic = ORGANIC_MATTER_IN_CARBON * horizon.soc_percent / 100
    mass = horizon.fine_earth_density * (1 - organic) * KG_M3 * case.file.grid.thickness_m
    minerals, calcite = composition(
        horizon.clay_percent,
        horizon.silt_percent,
        horizon.calcite_percent,
        case.file.mineralogy[horizon.mineralogy],
    )
    return {"minerals": mass * minerals, "calcite": np.asarray(mass * calcite)}


def initial_ground(case: Case, site: str) -> dict[str, np.ndarray]:
    """The soil of a site on the layers of the grid, as :func:`laid_down`, conserving mass.

    The layer is the last axis of everything.
    """
    soil = case.file.soil[case.file.site[site]]
    share = layer_shares(soil, case.file.grid)
    each = [laid_down(case, horizon) for horizon in soil.horizons]
    return {
        name: sum(of[name][..., None] * part for of, part in zip(each, share, strict=True))
        for name in each[0]
    }
