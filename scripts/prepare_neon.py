"""Make the cases of the NEON profiles from the table of their horizons.

    python scripts/prepare_neon.py            rewrites cases, climates, management, observations
    python scripts/prepare_neon.py --check    exits 1 where a file on disk differs

Reads data/observations/neon_silty/layers.csv. One case for each climate: ``neon_kansas`` (KONA
and KONZ, ten kilometres apart) and ``neon_blan``, ``neon_dela``, ``neon_ornl``, ``neon_unde``.
Some of the profiles are the example of a table of sites, data/sites/sites.csv.
All that is assumed is said in docs/explanation/many_sites.md and in the notes of the cases.
"""

import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from diffsoil.cases import seasons, sites
from diffsoil.cases.seasons import Seasons
from diffsoil.io import InputError
from diffsoil.processes.oxides import aluminium_in_solution
from diffsoil.tables import Column, read_table
from diffsoil.work.files import replacing

jax.config.update("jax_enable_x64", True)

DATA = Path(__file__).resolve().parents[1] / "data"
LAYERS = DATA / "observations" / "neon_silty" / "layers.csv"
FOLDER = "observations/neon_silty"

START, SETTLED, FIRST, LAST = -8137, 1863, 2013, 2018
"""Begin of the history, of the present land use, first and last year with yearly drivers."""

DEPTH_CM = 100
LAYER_CM = 5

# --- climate ------------------------------------------------------------------------


SEASONS = {
    "ABBY": Seasons(8.0, 7.5, 0.70, 12.2, 11.0),
    "BLAN": Seasons(12.2, 7.2, 0.12, 6.0, 12.0),
    "DELA": Seasons(9.8, 7.2, 0.15, 2.0, 12.5),
    "GUAN": Seasons(1.7, 8.2, 0.50, 9.5, 9.0),
    "KONA": Seasons(14.0, 7.2, 0.70, 6.3, 12.5),
    "KONZ": Seasons(14.0, 7.2, 0.70, 6.3, 12.5),
    "LENO": Seasons(9.5, 7.2, 0.12, 2.0, 12.5),
    "OAES": Seasons(12.2, 7.3, 0.55, 6.0, 13.5),
    "ONAQ": Seasons(13.3, 7.3, 0.25, 4.0, 14.5),
    "ORNL": Seasons(11.2, 7.2, 0.12, 2.0, 12.0),
    "SERC": Seasons(12.0, 7.3, 0.08, 7.0, 10.5),
    "UNDE": Seasons(14.8, 7.2, 0.45, 7.3, 11.5),
}
"""Assumption, after the climate of the regions: amplitude good to 1 C, phase to a week, rain
amplitude to 0.15 and its phase to a month, daily range to 2 C."""


def normals(mat_c: float, map_mm: float, latitude_deg: float, of: Seasons) -> pd.DataFrame:
    """Twelve normals as they are written, see :func:`diffsoil.cases.seasons.normals`."""
    return seasons.normals(mat_c, map_mm, latitude_deg, of).round(4)


# --- soil ---------------------------------------------------------------------------

TABLE = {
    "profile_id": Column("str"),
    "site_id": Column("str"),
    "latitude_deg": Column("float", -90, 90),
    "land_cover": Column("str", allow_missing=True),
    "mat_c": Column("float", -30, 40, unit="C"),
    "map_mm": Column("float", 0, 12000, unit="mm"),
    "collect_date": Column("str"),
    "horizon": Column("str", allow_missing=True),
    "upper_cm": Column("float", 0, 1000),
    "lower_cm": Column("float", 0, 1000),
    "sand_pct": Column("float", 0, 100, allow_missing=True),
    "silt_pct": Column("float", 0, 100, allow_missing=True),
    "clay_pct": Column("float", 0, 100, allow_missing=True),
    "coarse_2_5mm_g_kg": Column("float", 0, 1000, allow_missing=True),
    "coarse_5_20mm_g_kg": Column("float", 0, 1000, allow_missing=True),
    "soc_g_kg": Column("float", 0, 600, allow_missing=True),
    "soc_from_total_c_g_kg": Column("float", 0, 600, allow_missing=True),
    "caco3_g_kg": Column("float", 0, 1000, allow_missing=True),
    "ph_h2o": Column("float", 2, 11, allow_missing=True),
    "ph_cacl2": Column("float", 2, 11, allow_missing=True),
    "cec_nh4oac_cmolc_kg": Column("float", 0, 300, allow_missing=True),
    "base_saturation_nh4oac_pct": Column("float", 0, 100, allow_missing=True),
    "bd_ovendry_g_cm3": Column("float", 0, 3, allow_missing=True),
    "bd_method": Column("str", allow_missing=True),
    "bd_field_g_cm3": Column("float", 0, 3, allow_missing=True),
}

UNUSED = dict.fromkeys(
    (
        *("longitude_deg", "elevation_m", "soil_series", "soil_subgroup", "soil_order"),
        *("carbonate_clay_pct", "total_c_g_kg", "total_n_g_kg", "base_sum_cmolc_kg"),
        *("ecec_cmolc_kg", "al_kcl_cmolc_kg", "ca_nh4oac_cmolc_kg", "fe_dithionite_g_kg"),
        *("al_dithionite_g_kg", "fe_oxalate_g_kg", "al_oxalate_g_kg", "si_oxalate_g_kg"),
    ),
    Column("str", allow_missing=True),
)
"""Columns that no case is made of."""

ORGANIC_SOC = 120.0
"""g/kg; a surface horizon with more is litter, and the mineral soil begins below it."""

FIELD_CORE = (0.7, 1.9)
"""Range of a core's density that is believed, g/cm3."""
CLOD_SHRINKAGE = 0.15
"""An oven-dry clod is denser than the soil by this, g/cm3 (README of the observations)."""
MEASURED_DENSITY_ERROR, SHRUNKEN_DENSITY_ERROR = 0.05, 0.08

ROUNDED, FINE = 1.0, 0.1
"""Steps to which laboratory SOC and total C are rounded, g/kg."""

CEC_OF_CARBON = 0.30
"""cmolc per g of organic carbon: assumption, 0.2 to 0.4."""
ACTIVITY = (10.0, 50.0)
"""CEC of 1:1 and of 2:1 clay minerals, cmolc/kg: assumption; ranges 5-15 and 40-70."""

STONE_DENSITY = 2.65


def read_layers(path: Path = LAYERS) -> pd.DataFrame:
    """The table of horizons, checked.

    Raises:
        InputError: a value out of its range, or a texture that does not sum to 100 %.
    """
    table = read_table(path, TABLE | UNUSED)
    total = table["sand_pct"] + table["silt_pct"] + table["clay_pct"]
    wrong = table[(total - 100).abs() > 1.0]
    if len(wrong):
        line = wrong.index[0]
        raise InputError(
            f"{path}: line {line}, columns sand_pct, silt_pct, clay_pct: they sum to "
            f"{total[line]:g} %, not to 100 %"
        )
    table.attrs["path"] = str(path)
    return table


class Densities:
    """A pedotransfer function for bulk density, fitted to the profiles that have field values.

    ``density = a + b ln(SOC) + c ln(depth) + d clay``; ``error`` is its relative residual sd.
    """

    def __init__(self, table: pd.DataFrame) -> None:
        known = table.dropna(subset=["bd_field_g_cm3", "soc_g_kg", "clay_pct"])
        X, y = self._terms(known), known["bd_field_g_cm3"].to_numpy()
        self.coefficients = np.linalg.lstsq(X, y, rcond=None)[0]
        residual = y - X @ self.coefficients
        self.error = float(np.sqrt(np.sum(residual**2) / (len(y) - 4)) / y.mean())

    @staticmethod
    def _terms(rows: pd.DataFrame) -> np.ndarray:
        middle = 0.5 * (rows["upper_cm"] + rows["lower_cm"])
        carbon = np.log(np.maximum(rows["soc_g_kg"], 0.5))
        return np.stack([np.ones(len(rows)), carbon, np.log(middle), rows["clay_pct"]], axis=1)

    def __call__(self, rows: pd.DataFrame) -> np.ndarray:
        """Bulk density, g/cm3, by horizon."""
        return np.clip(self._terms(rows) @ self.coefficients, 0.9, 1.8)


def fill_density(profile: pd.DataFrame, estimate: Densities) -> pd.DataFrame:
    """Bulk density of the soil at field moisture and its relative error, by horizon.

    The field value; else a core; else an oven-dry clod less its shrinkage; else the
    pedotransfer function, with its larger error.
    """
    core = profile["bd_ovendry_g_cm3"].where(profile["bd_method"] == "Regular")
    core = core.where(core.between(*FIELD_CORE))
    clod = profile["bd_ovendry_g_cm3"].where(profile["bd_method"] == "clod") - CLOD_SHRINKAGE
    density = profile["bd_field_g_cm3"].fillna(core)
    error = density.notna() * MEASURED_DENSITY_ERROR
    error = error.where(density.notna() | clod.isna(), SHRUNKEN_DENSITY_ERROR)
    density = density.fillna(clod)
    error = error.where(density.notna(), estimate.error)
    guess = pd.Series(estimate(profile), index=profile.index)
    return profile.assign(density=density.fillna(guess), density_error=error)


def fine_earth_density(profile: pd.DataFrame) -> pd.Series:
    """Mass of fine earth in a volume of soil with stones, g/cm3."""
    coarse = profile[["coarse_2_5mm_g_kg", "coarse_5_20mm_g_kg"]].fillna(0.0).sum(axis=1) / 1000
    stones = coarse / STONE_DENSITY
    return profile["density"] * (1 - stones / (stones + (1 - coarse) / profile["density"]))


def profile_of(table: pd.DataFrame, name: str, estimate: Densities) -> pd.DataFrame:
    """The mineral horizons of a profile down to 1 m, with all that a case needs of them.

    Raises:
        InputError: horizons with gaps, or without texture or base saturation.
    """
    rows = table[table["profile_id"] == name].sort_values("upper_cm")
    where = f"{table.attrs['path']}: profile {name}"
    if rows.empty:
        raise InputError(f"{where}: no such profile")
    while rows["clay_pct"].isna().iloc[-1] and len(rows) > 1:
        rows = rows.iloc[:-1]  # rock or what was not analysed
    litter = rows["soc_g_kg"].iloc[0] > ORGANIC_SOC
    if litter:
        rows = rows.iloc[1:]
    top = float(rows["upper_cm"].iloc[0])
    rows = rows.assign(upper_cm=rows["upper_cm"] - top, lower_cm=rows["lower_cm"] - top)
    rows = rows[rows["upper_cm"] < DEPTH_CM]
    for column in ("sand_pct", "silt_pct", "clay_pct", "base_saturation_nh4oac_pct"):
        missing = rows[rows[column].isna()]
        if len(missing):
            raise InputError(
                f"{where}: line {missing.index[0]}, column {column!r}: the value is missing"
            )
    if (rows["upper_cm"].to_numpy()[1:] != rows["lower_cm"].to_numpy()[:-1]).any():
        raise InputError(f"{where}: its horizons leave gaps or overlap")
    rows = fill_density(rows, estimate)
    activity = rows["cec_nh4oac_cmolc_kg"] - CEC_OF_CARBON * rows["soc_g_kg"].fillna(0)
    activity = 100 * (activity / rows["clay_pct"]).median()
    one_to_one = np.clip((ACTIVITY[1] - activity) / (ACTIVITY[1] - ACTIVITY[0]), 0.0, 0.95)
    acidity = rows["ph_cacl2"].fillna(rows["ph_h2o"] - 0.5).fillna(7.0).to_numpy()
    temperature = jnp.asarray(rows["mat_c"].to_numpy())
    dissolved, _ = aluminium_in_solution(jnp.asarray(acidity), temperature)
    coarse_reading = rows["soc_from_total_c_g_kg"].isna()
    carbon = rows["soc_from_total_c_g_kg"].fillna(rows["soc_g_kg"])
    step = np.where(coarse_reading, ROUNDED, FINE) / np.sqrt(12)
    return rows.assign(
        fine_earth=fine_earth_density(rows),
        one_to_one=float(one_to_one),
        dissolved=np.asarray(dissolved).clip(0, 100),
        carbon=carbon,
        rounding=step,
        calcite=rows["caco3_g_kg"].fillna(0.0) / 10,
        litter=litter,
    )


def typical_carbon(table: pd.DataFrame) -> pd.DataFrame:
    """Median SOC (%) of all profiles by depth: stands for the unknown in what depends on it."""
    edges = np.array([0, 10, 20, 30, 45, 60, 80, 100])
    middle = 0.5 * (table["upper_cm"] + table["lower_cm"])
    mineral = table[(table["soc_g_kg"] <= ORGANIC_SOC) & (middle < DEPTH_CM)]
    of = np.digitize(0.5 * (mineral["upper_cm"] + mineral["lower_cm"]), edges) - 1
    median = (mineral["soc_g_kg"] / 10).groupby(of).median()
    return pd.DataFrame({"middle_cm": 0.5 * (edges[1:] + edges[:-1])[median.index], "soc": median})


def inert_percent(soc_percent: float, density: float) -> float:
    """Inert carbon, ``0.049 TOC^1.139`` (Falloon et al. 1998) with TOC in t/ha of 23 cm."""
    whole = soc_percent * density * 23
    return soc_percent * 0.049 * whole**0.139


# --- land use -----------------------------------------------------------------------

COVERS = {
    "cultivatedCrops": "crop",
    "pastureHay": "pasture",
    "grasslandHerbaceous": "prairie",
    "shrubScrub": "shrub",
    "deciduousForest": "forest",
    "evergreenForest": "forest",
    "woodyWetlands": "forest",
}
MEGAPITS = {
    "KONA": "cultivatedCrops",
    "KONZ": "grasslandHerbaceous",
    "DELA": "woodyWetlands",
    "UNDE": "deciduousForest",
}
"""Land cover around the megapits, which the table does not give (NEON site pages)."""
NATURAL = {"KONA": "prairie", "KONZ": "prairie"}
"""Vegetation before settlement; elsewhere forest."""

ALWAYS = "cover = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"
IN_SUMMER = "[0.02, 0.02, 0.04, 0.08, 0.12, 0.14, 0.14, 0.12, 0.12, 0.10, 0.06, 0.04]"
IN_AUTUMN = "[0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 0.10, 0.25, 0.20, 0.05]"
AT_HARVEST = "[0, 0, 0.05, 0.10, 0.15, 0.15, 0.15, 0.15, 0.15, 0.10, 0, 0]"
LAND_USES = {
    "prairie": f"{ALWAYS}, plant_input_months = {IN_SUMMER}, dpm_rpm_ratio = 0.67, "
    "leaf_share = 0.3, root_beta = 0.943, plant_carbon_t_ha = 4.0",
    "pasture": f"{ALWAYS}, plant_input_months = {IN_SUMMER}, dpm_rpm_ratio = 1.44, "
    "leaf_share = 0.35, root_beta = 0.943, plant_carbon_t_ha = 3.5",
    "shrub": f"{ALWAYS}, plant_input_months = {IN_AUTUMN}, dpm_rpm_ratio = 0.67, "
    "leaf_share = 0.4, root_beta = 0.964, plant_carbon_t_ha = 3.5",
    "forest": f"{ALWAYS}, plant_input_months = {IN_AUTUMN}, dpm_rpm_ratio = 0.25, "
    'leaf_share = 0.5, root_beta = 0.966, npp = "miami", harvest_share = 0.5',
    "crop": f"cover = [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0], plant_input_months = {AT_HARVEST}, "
    "dpm_rpm_ratio = 1.44, leaf_share = 0.35, root_beta = 0.961, plough_depth_m = 0.20, "
    "plant_carbon_t_ha = 2.5",
}
YEARLY_CARBON = {"prairie": 4.0, "pasture": 3.5, "shrub": 3.5, "forest": 0.0, "crop": 2.5}
"""Plant carbon of the yearly drivers, t C/ha; of a forest it follows from its NPP."""

# --- cases --------------------------------------------------------------------------

CASES = {
    "kansas": ("KONA", "KONZ"),
    "blan": ("BLAN",),
    "dela": ("DELA",),
    "ornl": ("ORNL",),
    "unde": ("UNDE",),
}
PLACES = {
    "kansas": "Kansas: loess and loess-influenced, tallgrass prairie and crops (KONA, KONZ)",
    "blan": "Blandy, Virginia: forest, pasture and crops (BLAN)",
    "dela": "Dead Lake, Alabama: silty alluvium under forest (DELA)",
    "ornl": "Oak Ridge, Tennessee: forest and pasture on old soils (ORNL)",
    "unde": "Notre Dame, Michigan: northern forest (UNDE)",
}

NOTES = {
    "history": "natural vegetation ({natural}) from {start}, present land cover from {settled}: "
    "assumption, no record is given with the profiles",
    "climate": "monthly values from mean annual ones: first harmonics with the amplitudes and "
    "phases of scripts/prepare_neon.py, evapotranspiration after Hargreaves (FAO-56)",
    "carbon": "soc_percent and iom_percent are those of the median profile of all 66, not of "
    "the profile itself, whose carbon is to be predicted",
    "clay_minerals": "share of 1:1 minerals from the CEC of the clay (10 for 1:1, 50 cmolc/kg for "
    "2:1 minerals, 0.3 cmolc per g of organic C): assumption",
    "aluminium": "dissolved Al in equilibrium with gibbsite at the measured pH in CaCl2 and the "
    "mean annual temperature: assumption; pH in water would give a thirtieth",
    "base_saturation": "by NH4OAc at pH 7, 100 where calcareous",
    "density": "field density, fine earth only; core, clod less 0.15 or a pedotransfer function "
    "where it is missing, the error of which is part of the sd of the observations",
    "input": "plant carbon is not measured; round magnitudes, with a factor for each profile",
}

HEAD = """format = 2
name = "neon_{name}"
title = "NEON silty profiles, {place}"
start_year = {start}

# Made by scripts/prepare_neon.py from {folder}/layers.csv; change the script, not this file.

minimum = "soft"
{plausible}
[notes]
{notes}

[grid]
layers = {layers}
thickness_m = {thickness}

[climate.normals]
normals = "climate/neon_{name}_normals.csv"

[climate.weather]
monthly = "climate/neon_{name}_monthly.csv"
"""

PLAUSIBLE = """
# clay, silt and sand were measured without the carbonates, which can be more than the silt
plausible = ["calcite_percent"]
"""

FREE = """
[observations]
files = ["{folder}/{name}.csv"]

[free."carbon.k_rpm"]
reason = "RothC's rate, good to a third"

[free."carbon.k_hum"]
reason = "the most sensitive rate of SoilGen's carbon cycle (Yu et al. 2013)"

[free."carbon.subsoil_slowing"]
prior = {{ kind = "lognormal", location = 1.0, scale = 0.7 }}
reason = "subsoils turn over more slowly"

[free."carbon.iom_factor"]
reason = "inert carbon is from the median profile"

[free."protection.b1"]
prior = {{ kind = "normal", location = 0.8, scale = 0.1 }}
reason = "van der Meij & Finke (2026): a first guess"

[free."protection.b2"]
prior = {{ kind = "lognormal", location = 5.0, scale = 0.7 }}
reason = "van der Meij & Finke (2026): a first guess"

[free."protection.b3a"]
prior = {{ kind = "normal", location = 0.2, scale = 0.1 }}
reason = "van der Meij & Finke (2026): a first guess"

[free."protection.b4"]
prior = {{ kind = "normal", location = 0.8, scale = 0.1 }}
reason = "van der Meij & Finke (2026): a first guess"
"""


def case_files(name: str, table: pd.DataFrame) -> dict[str, str]:
    """The files of one case: path below data -> text."""
    places = CASES[name]
    estimate = Densities(table)
    typical = typical_carbon(table)
    ids = sorted(table.loc[table["site_id"].isin(places), "profile_id"].unique())
    profiles = {i: profile_of(table, i, estimate) for i in ids}
    use = {i: _present(rows) for i, rows in profiles.items()}
    natural = {
        i: NATURAL.get(str(rows["site_id"].iloc[0]), "forest") for i, rows in profiles.items()
    }
    climate = _climate_of(table, places)
    calcareous = any((rows["calcite"] > rows["silt_pct"]).any() for rows in profiles.values())
    text = [
        HEAD.format(
            notes="\n".join(f'{key} = "{value}"' for key, value in NOTES.items()).format(
                natural=", ".join(sorted(set(natural.values()))), start=START, settled=SETTLED
            ),
            name=name,
            plausible=PLAUSIBLE if calcareous else "",
            place=PLACES[name],
            folder=FOLDER,
            start=START,
            layers=DEPTH_CM // LAYER_CM,
            thickness=LAYER_CM / 100,
        ),
        "[site]",
        *[f'{i} = "{i}"' for i in ids],
        "",
        *[_soil(i, rows, typical) for i, rows in profiles.items()],
        "# every profile has an input factor of its own",
        "[land_use]",
    ]
    for i in ids:
        for kind in dict.fromkeys((natural[i], use[i])):
            text.append(f'{i}_{kind} = {{ input_group = "{i}", {LAND_USES[kind]} }}')
    for until, of in ((SETTLED, natural), (FIRST, use)):
        text += [
            "",
            "[[history]]",
            f"until = {until - 1}",
            "step_years = 50",
            'climate = "normals"',
        ]
        text += ["[history.land_use]", *[f'{i} = "{i}_{of[i]}"' for i in ids]]
    management = f"{FOLDER}/{name}_management.csv"
    text += ["", "[experiment]", f"until = {LAST}", 'climate = "weather"']
    text += [f'management = "{management}"']
    for i in ids:
        label = f"{i.replace('_', ' ')}, {use[i]}"
        text += ["", "[[treatment]]", f'name = "{i}"', f'site = "{i}"', f'label = "{label}"']
    text.append(FREE.format(folder=FOLDER, name=name))
    for i in ids:
        text += [f'[free."vegetation.input_factor.{i}"]', 'reason = "not measured"', ""]
    years = range(FIRST, LAST + 1)
    driven = [(i, y, f"{i}_{use[i]}", YEARLY_CARBON[use[i]]) for i in ids for y in years]
    monthly = pd.concat([climate.assign(year=y) for y in years])
    monthly = monthly[["year", *climate.columns]]
    header = ["treatment", "year", "land_use", "plant_carbon_base_t_ha"]
    return {
        f"cases/neon_{name}.toml": "\n".join(text).rstrip() + "\n",
        f"climate/neon_{name}_normals.csv": climate.to_csv(index=False),
        f"climate/neon_{name}_monthly.csv": monthly.to_csv(index=False),
        management: pd.DataFrame(driven, columns=header).to_csv(index=False),
        f"{FOLDER}/{name}.csv": _observations(profiles).to_csv(index=False),
    }


CHOSEN = (
    *("BLAN_005", "BLAN_020", "BLAN_031", "DELA_003", "KONA_002", "KONA_mp", "KONZ_006"),
    *("KONZ_025", "ORNL_007", "UNDE_mp"),
)
"""Profiles of the example of a table of sites: each area, each land cover."""
INTERVALS = ((0, 15), (15, 30), (30, 60), (60, 100))
"""Depths of its columns, cm."""


def sites_table(table: pd.DataFrame) -> str:
    """Some of the profiles as a table of sites, for ``diffsoil simulate-sites``."""
    estimate = Densities(table)
    rows = []
    for name in CHOSEN:
        profile = profile_of(table, name, estimate)
        first = profile.iloc[0]
        place, of = str(first["site_id"]), SEASONS[str(first["site_id"])]
        position = table.loc[table["profile_id"] == name, ["latitude_deg", "longitude_deg"]].iloc[0]
        values = {
            "site": name,
            "latitude": round(float(position["latitude_deg"]), 4),
            "longitude": round(float(position["longitude_deg"]), 4),
            "first_land_use": NATURAL.get(place, "forest"),
            "land_use": _present(profile),
            "mean_temperature_c": first["mat_c"],
            "temperature_amplitude_c": of.amplitude,
            "warmest_month": of.warmest,
            "yearly_precipitation_mm": first["map_mm"],
            "precipitation_amplitude": of.rain_amplitude,
            "wettest_month": of.wettest,
            "daily_range_c": of.daily_range,
        }
        for interval in INTERVALS:
            of_interval = _mean(profile, *interval)
            values |= {sites.column(key, interval): v for key, v in of_interval.items()}
        rows.append(values)
    return pd.DataFrame(rows).to_csv(index=False)


def _mean(profile: pd.DataFrame, upper: float, lower: float) -> dict[str, float]:
    """What is between two depths of a profile; its lowest horizon goes on below."""
    ends = profile["lower_cm"].to_numpy(float).copy()
    ends[-1] = max(ends[-1], DEPTH_CM)
    inside = np.minimum(ends, lower) - np.maximum(profile["upper_cm"].to_numpy(float), upper)
    mass = profile["fine_earth"].to_numpy(float) * np.clip(inside, 0, None)

    def mean(values: pd.Series) -> float:
        return float(np.average(values.to_numpy(float), weights=mass))

    total = profile["sand_pct"] + profile["silt_pct"] + profile["clay_pct"]
    carbon = profile["carbon"].interpolate(limit_direction="both") / 10
    return {
        "clay_percent": round(mean(100 * profile["clay_pct"] / total), 1),
        "silt_percent": round(mean(100 * profile["silt_pct"] / total), 1),
        "bulk_density": round(float(mass.sum() / (lower - upper)), 2),
        "soc_percent": round(mean(carbon), 2),
        "base_saturation": round(mean(profile["base_saturation_nh4oac_pct"]), 0),
        "calcite_percent": round(mean(profile["calcite"]), 1),
        "one_to_one_share": round(mean(profile["one_to_one"]), 2),
    }


def _present(rows: pd.DataFrame) -> str:
    cover = str(rows["land_cover"].iloc[0]) or MEGAPITS[str(rows["site_id"].iloc[0])]
    return COVERS[cover]


def _climate_of(table: pd.DataFrame, places: tuple[str, ...]) -> pd.DataFrame:
    rows = table[table["site_id"].isin(places)]
    by_site = rows.groupby("site_id")[["mat_c", "map_mm", "latitude_deg"]].mean().mean()
    return normals(by_site["mat_c"], by_site["map_mm"], by_site["latitude_deg"], SEASONS[places[0]])


def _soil(name: str, rows: pd.DataFrame, typical: pd.DataFrame) -> str:
    lines = [f"[soil.{name}]", "horizons = ["]
    last = rows.index[-1]
    for index, row in rows.iterrows():
        lower = max(row["lower_cm"], DEPTH_CM) if index == last else row["lower_cm"]
        middle = 0.5 * (row["upper_cm"] + min(row["lower_cm"], DEPTH_CM))
        carbon = float(np.interp(middle, typical["middle_cm"], typical["soc"]))
        total = row["sand_pct"] + row["silt_pct"] + row["clay_pct"]
        clay = round(100 * row["clay_pct"] / total, 2)
        values = {
            "upper_cm": row["upper_cm"],
            "lower_cm": lower,
            "clay_percent": clay,
            "silt_percent": round(min(100 * row["silt_pct"] / total, 100 - clay), 2),
            "bulk_density": round(row["fine_earth"], 3),
            "soc_percent": round(carbon, 3),
            "iom_percent": round(inert_percent(carbon, row["fine_earth"]), 4),
            "one_to_one_share": round(row["one_to_one"], 3),
            "calcite_percent": row["calcite"],
            "base_saturation": row["base_saturation_nh4oac_pct"],
            "dissolved_al_fe": round(row["dissolved"], 6),
        }
        pairs = ", ".join(f"{key} = {value:.7g}" for key, value in values.items())
        lines.append(f"    {{ {pairs} }},")
    return "\n".join([*lines, "]", ""])


def _observations(profiles: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """SOC in percent of horizons that lie above 1 m for the most part.

    Rounding and the error of the density make its sd.
    The model knows stocks; a wrong density makes a wrong concentration of a right stock.
    """
    rows = []
    for name, profile in profiles.items():
        for _, row in profile.iterrows():
            lower = min(row["lower_cm"], DEPTH_CM)
            if not row["carbon"] > 0 or row["upper_cm"] + row["lower_cm"] > 2 * DEPTH_CM:
                continue
            sd = np.hypot(row["rounding"], row["density_error"] * row["carbon"]) / 10
            rows.append(
                {
                    "site": name,
                    "treatment": name,
                    "year": int(row["collect_date"][:4]),
                    "variable": "soc_percent",
                    "upper_cm": row["upper_cm"],
                    "lower_cm": lower,
                    "value": round(row["carbon"] / 10, 4),
                    "sd": round(sd, 5),
                    "unit": "%",
                    "series": "topsoil" if row["upper_cm"] + lower < 60 else "subsoil",
                    "source": "NEON soil characterisation",
                }
            )
    return pd.DataFrame(rows)


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or compare them with those on disk."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, report differences")
    given = parser.parse_args(arguments)
    table = read_layers()
    different = []
    texts = {"sites/sites.csv": sites_table(table)}
    for name in CASES:
        texts |= case_files(name, table)
    for path, text in texts.items():
        file = DATA / path
        if given.check:
            if not file.is_file() or file.read_text(encoding="utf-8") != text:
                different.append(path)
            continue
        with replacing(file, overwrite=True) as part:
            part.write_text(text, encoding="utf-8")
        print(f"wrote data/{path}")
    for path in different:
        print(f"differs: data/{path}", file=sys.stderr)
    return 1 if different else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"error: {error}")
