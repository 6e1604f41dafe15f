"""The stock of organic carbon that a case says was measured as it starts."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from diffsoil.balance import Balance, Measured
from diffsoil.cases.horizons import remap
from diffsoil.cases.profiles import Soil
from diffsoil.cases.schema import CaseFile
from diffsoil.column import CARBON
from diffsoil.processes.carbon import Carbon
from diffsoil.state import State
from diffsoil.time import Phase
from diffsoil.units import CM_PER_M, MG_PER_HA_M

MOST_PLANT_CARBON = 50.0
"""t C/ha in a year; the most that a case may say of a land use, and more than plants make."""


def profile_stock(soil: Soil, lower_cm: float) -> float:
    """Organic carbon of the horizons down to a depth, t/ha."""
    return sum(
        h.soc_percent / 100 * h.fine_earth_density * MG_PER_HA_M / CM_PER_M * inside
        for h in soil.horizons
        if (inside := min(h.lower_cm, lower_cm) - h.upper_cm) > 0
    )


def stock_of(file: CaseFile, site: str) -> float:
    """The measured stock of a site, t C/ha."""
    given = file.measured.stock_t_ha
    if given is None:
        return profile_stock(file.soil[file.site[site]], file.measured.lower_cm)
    return given[site] if isinstance(given, dict) else given


def measured_stocks(file: CaseFile, sites: Sequence[str], solve: str = "") -> Measured:
    """Measured stocks with a leading axis of sites.

    Args:
        file: the case.
        sites: names; one may be there more than once.
        solve: what is sought; what the case says if not given.
    """
    profiles = []
    for site in sites:
        soil = remap(file.soil[file.site[site]], file.grid)
        mass = soil["bulk_density"] * MG_PER_HA_M * file.grid.thickness_m
        profiles.append(soil["soc_percent"] / 100 * mass)
    return Measured(
        stock=jnp.asarray([stock_of(file, site) for site in sites]),
        profile=jnp.asarray(np.stack(profiles)),
        lower=file.measured.lower_cm / CM_PER_M,
        solve=solve or file.measured.solve,
    )


def first_plant_carbon(phase: Phase) -> np.ndarray:
    """Plant carbon of the first year of a phase, t C/ha, by site."""
    if "plant_input" in phase.series:
        return np.asarray(phase.series["plant_input"][:, 0].sum(axis=-1))
    return np.asarray(phase.constant["plant_input"].sum(axis=-1))


NEVER_IN_BALANCE = (
    'needs column = "carbon": in a whole soil minerals, pH and erosion change under the carbon, '
    "which is never in balance"
)
"""Why a measured stock is of a prescribed soil only."""


def no_balance(file: CaseFile) -> str:
    """Why a case cannot be in balance with a measured stock; empty if it can."""
    if file.whole_soil:
        return NEVER_IN_BALANCE
    if not issubclass(CARBON[file.carbon]["carbon"], Carbon):
        return (
            f"needs linear pools: with {file.carbon!r} a year may leave a stock as it is, and the "
            "next ones lead away from it"
        )
    return ""


MET = 1e-8
"""Relative difference of a simulated stock from the measured one that it meets."""


LEAST_PLANT_CARBON = 1e-6
"""t C/ha in a year. What is kept by less does not decompose: 50 t/ha would be as many million years
old, and whether such a balance is finite is a matter of rounding."""


def why_unmet(sites: Sequence[str], measured: Measured, found: Balance) -> dict[str, str]:
    """Sites whose measured stock has no balance, and why.

    Args:
        sites: names.
        measured, found: with a leading axis of sites.
    """
    reasons = {}
    depth = f"t C/ha down to {CM_PER_M * measured.lower:g} cm"
    without = "inert carbon" if measured.solve == "inert" else "plant carbon"
    numbers = zip(*map(np.asarray, (measured.stock, found.stock)), strict=True)
    for site, (wanted, stock), plants in zip(
        sites, numbers, first_plant_carbon(found.phase), strict=True
    ):
        met_by_nothing = measured.solve == "input" and plants < LEAST_PLANT_CARBON
        met_by_nothing &= bool(stock <= wanted * (1 + MET))
        if not np.isfinite(stock) or met_by_nothing:
            reasons[site] = "no balance: nothing grows, or nothing decomposes (always frozen?)"
        elif stock > wanted * (1 + MET):
            reasons[site] = (
                f"{stock:.4g} {depth} are in balance without any {without}, but {wanted:.4g} were "
                "measured"
            )
        elif stock < wanted * (1 - MET):
            reasons[site] = f"no balance with {wanted:.4g} {depth} was found"
        elif plants > MOST_PLANT_CARBON:
            reasons[site] = f"{wanted:.4g} {depth} need {plants:.4g} t C/ha of plants in a year"
    return reasons


def told(sites: Sequence[str], measured: Measured, phase: Phase, states: State) -> list[str]:
    """What each site starts with, in words.

    Args:
        sites: names.
        measured, phase, states: with a leading axis of sites, as a run begins.
    """
    stocks, plants = np.asarray(measured.stock), first_plant_carbon(phase)
    inert = np.asarray(states.carbon[:, -1].sum(axis=-1))
    return [
        f"{site} starts in balance with {stocks[n]:.4g} t C/ha down to "
        f"{CM_PER_M * measured.lower:g} cm, with {plants[n]:.4g} t C/ha of plants in a year and "
        f"{inert[n]:.3g} t C/ha of inert carbon in the column"
        for n, site in enumerate(sites)
    ]
