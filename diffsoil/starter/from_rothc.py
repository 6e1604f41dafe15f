"""A new case from files of RothC: its climate, its inputs by year and its depth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from diffsoil.io import InputError, hint, read_text
from diffsoil.rothc import read_inputs, read_official, read_site
from diffsoil.rothc.model import Site
from diffsoil.rothc.official import is_official
from diffsoil.starter.answers import Answers, OwnTables
from diffsoil.starter.case_text import case_text
from diffsoil.starter.own_tables import described

MOST_BARE = 0.5
"""Share of the years in which a month has plants from which on it counts as covered."""


def is_rothc(path: Path | str) -> bool:
    """Whether a file is an input of RothC, the official program's or ours."""
    if not Path(path).is_file():
        return False
    if Path(path).suffix == ".csv":
        return "dpm_rpm" in read_text(path).split("\n", 1)[0].lower()
    return is_official(path)


def of_rothc(
    name: str, source: Path | str, site: Path | str | None, answers: Answers, tables: OwnTables
) -> dict[str, Any]:
    """A column of the depth of a RothC run, with its climate and its inputs by year."""
    if is_official(source):
        of_site, table, _ = read_official(source)
    elif site is None:
        raise InputError(f"{source}: needs the site as well, --site SITE.json")
    else:
        of_site, table = read_site(site), read_inputs(source)
    before, months = table.iloc[:12], table.iloc[12:]
    counted = months.groupby("year")["month"].count()
    whole = months[months["year"].isin(counted.index[counted == 12])]
    if whole.empty:
        raise InputError(f"{source}: column 'month': there is no year with twelve months")
    first, last = int(whole["year"].min()), int(whole["year"].max())
    of = described(answers.over(first, last, source), tables)
    if of.treatments:
        raise InputError(
            f"{tables.observations}: column 'treatment': {', '.join(of.treatments)[:80]}: a run of "
            "RothC has one, of the name of the site"
        )
    carbon = float(before["c_inp_tC_ha"].sum())
    if dew := int((table["evap_mm"] < 0).sum()):
        hint(f"{source}: {dew} months have negative evaporation (dew), which is 0 in the column")
    text = case_text(
        name,
        of.answers,
        site=of.site,
        passive_pool=False,  # the column is to be that of RothC
        weather=True,
        management=True,
        observations=tables.observations is not None,
        old_carbon=f"{carbon:g}",
        native_more=[f"plant_carbon_t_ha = {carbon:g}    # that of the spin-up of RothC"],
        old_more=_use(before),
        crop_more=_use(whole),
    )
    return {
        "case.toml": text,
        "normals.csv": _weather(before).drop(columns="year"),
        "weather.csv": _weather(whole),
        "profile.csv": _profile(of_site),
        "management.csv": _management(whole, of.site),
    }


def _weather(table: pd.DataFrame) -> pd.DataFrame:
    names = {
        "year": "year",
        "month": "month",
        "tmp_c": "temperature_c",
        "rain_mm": "precipitation_mm",
        "evap_mm": "evaporation_mm",
    }
    found = table[list(names)].rename(columns=names)
    return found.assign(evaporation_mm=found["evaporation_mm"].clip(lower=0.0))


def _use(table: pd.DataFrame) -> list[str]:
    """Cover, input by month and quality of plants, as RothC has them."""
    by_month = table.groupby("month")
    cover = (by_month["pc"].mean() >= MOST_BARE).astype(int).tolist()
    input_ = by_month["c_inp_tC_ha"].mean()
    lines = [f"cover = {cover}"]
    if input_.sum() > 0:
        shares = np.round((input_ / input_.sum()).to_numpy(), 4)
        shares[shares.argmax()] += 1.0 - shares.sum()  # they have to sum to 1
        lines.append(f"plant_input_months = [{', '.join(f'{s:.4g}' for s in shares)}]")
    ratio = table["dpm_rpm"]
    same = ratio.min() == ratio.max()
    told = "" if same else f"  # {ratio.min():g} to {ratio.max():g} in RothC"
    return [*lines, f"dpm_rpm_ratio = {ratio.mean():g}{told}"]


def _profile(site: Site) -> pd.DataFrame:
    """One horizon of the depth of RothC; what RothC does not know is assumed, and marked so."""
    clay, depth = float(site.clay_pct), float(site.depth_cm)
    assumed = []

    def known(name: str, value: Any, otherwise: float) -> float:
        if value is None:
            assumed.append(name)
        return otherwise if value is None else float(value)

    silt = known("silt_percent", site.silt_pct, round(0.5 * (100.0 - clay), 1))
    density = known("bulk_density", site.bulk_density_g_cm3, 1.3)
    mass = density * depth * 100.0  # Mg/ha
    inert = 100.0 * float(site.iom_tC_ha) / mass
    carbon = known("soc_percent", site.oc_pct, round(max(1.0, 2.0 * inert), 2))
    return pd.DataFrame(
        {
            "horizon": ["Ap"],
            "upper_cm": [0],
            "lower_cm": [depth],
            "clay_percent": [clay],
            "silt_percent": [silt],
            "bulk_density": [density],
            "soc_percent": [carbon],
            "iom_percent": [inert],
            "note": [f"assumed: {', '.join(assumed)}" if assumed else ""],
        }
    )


def _management(table: pd.DataFrame, site: str) -> pd.DataFrame:
    """Carbon of plants and of manure by year."""
    sums: Mapping[str, str] = {
        "c_inp_tC_ha": "plant_carbon_base_t_ha",
        "fym_tC_ha": "manure_carbon_t_ha",
    }
    yearly = table.groupby("year")[list(sums)].sum().rename(columns=sums).reset_index()
    yearly.insert(0, "treatment", site)
    yearly.insert(2, "land_use", "crop")
    return yearly
