"""What is possible, but looks like another unit, a fraction or a code: questions to the user.

Each question belongs to a column or key. A case that lists its name under ``plausible`` has
answered it; ``diffsoil rothc`` has an option for that.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

HYPER_ARID, ARID = 0.05, 0.2
"""Rain over potential evapotranspiration of a year (UNEP 1997, World Atlas of Desertification)."""

DESERT_PET = 1400.0
"""mm/a; warm deserts evaporate more. An arid climate with less is cold and rare, and a humid one
with its rain in cm looks the same."""

NAMES = {
    "temperature_c": "temperatures in kelvin or Fahrenheit",
    "precipitation_mm": "rain in m, cm, inches or mm/day beside evaporation",
    "pet_mm": "potential evapotranspiration in m, cm or mm/day beside temperature",
    "evaporation_mm": "open-pan evaporation in m, cm or mm/day beside temperature",
    "lower_cm": "depths in m",
    "soc_percent": "organic carbon as a fraction or in g/kg",
    "clay_percent": "clay as a fraction",
    "silt_percent": "silt as a fraction",
    "base_saturation": "base saturation as a fraction",
    "calcite_percent": "more calcite than there is silt to hold it",
    "soc_stock": "stocks in kg/m2, g/m2 or kg/ha",
    "delta14c": "codes for missing values",
    "respired_delta14c": "codes for missing values",
    "soil_temperature": "codes for missing values",
    "soil_mass_Mg_ha": "codes for missing values",
    "lime_mol_m2": "codes for missing values",
    "manure_carbon_t_ha": "fresh weight of manure",
    "activity": "14C of the air as a deviation, or without the peak of the bomb tests",
    "sd": "a standard deviation above the value, such as a percentage",
}
"""Columns and keys that are asked about, and what their values may look like."""


def of_climate(weather: pd.DataFrame, evaporation: str = "pet_mm") -> Iterator[tuple[str, str]]:
    """Doubts about a climate: column and what it looks like.

    Args:
        weather: ``temperature_c``, ``precipitation_mm`` and ``pet_mm`` of whole years by month;
            ``year`` and ``month`` where it has several.
        evaporation: column that the potential evapotranspiration was written in.
    """
    by_month = weather.groupby("month")[["temperature_c", "precipitation_mm", "pet_mm"]].mean()
    warmth = by_month["temperature_c"]
    mean, rain, pet = warmth.mean(), by_month["precipitation_mm"].sum(), by_month["pet_mm"].sum()
    # the hottest places have means of 30 to 34 C, and months of 39 to 42 C
    if mean > 31 or warmth.max() > 42:
        yield (
            "temperature_c",
            f"a mean of {mean:.3g} C in the year and {warmth.max():.3g} C in the warmest month: "
            "is this in Fahrenheit?",
        )
    dry = rain < HYPER_ARID * pet or (rain < ARID * pet and pet < DESERT_PET)
    if dry:
        yield (
            "precipitation_mm",
            f"{rain:.3g} mm of rain in a year beside {pet:.3g} mm of potential "
            "evapotranspiration is a desert: is this in m, cm, inches or mm/day?",
        )
    # a few places on mountains have more, up to 12 000 mm
    if rain > 6000:
        yield "precipitation_mm", f"{rain:.4g} mm of rain in a year: is this in 0.1 mm?"
    # places with a mean above freezing have 300 mm and more, warm ones 1000 mm
    if pet < 100 + 10 * max(mean, 0.0) and mean > 0:
        yield (
            evaporation,
            f"{pet:.3g} mm of potential evapotranspiration in a year of {mean:.3g} C: "
            "is this in m, cm, inches or mm/day?",
        )
    # deserts have up to 3000 mm
    if pet > 4000:
        yield evaporation, f"{pet:.4g} mm of potential evapotranspiration in a year: is it yearly?"
    if "year" in weather and not dry:
        for words in _uneven_years(weather, "precipitation_mm", "rain", MOST_UNEVEN_RAIN):
            yield "precipitation_mm", words
    if "year" in weather and pet > 100:
        what = "potential evapotranspiration"
        for words in _uneven_years(weather, "pet_mm", what, MOST_UNEVEN_PET):
            yield evaporation, words
    yield from _odd_months(weather)


MOST_UNEVEN_RAIN, MOST_UNEVEN_PET = 8.0, 4.0
"""Most that a year differs from the median year, as a factor; outside of deserts it is less."""


def _uneven_years(weather: pd.DataFrame, column: str, what: str, most: float) -> Iterator[str]:
    """Single years in another unit than the rest."""
    totals = weather.groupby("year")[column].sum()
    odd = totals[(totals < totals.median() / most) | (totals > totals.median() * most)]
    if len(odd):
        yield (
            f"{odd.iloc[0]:.3g} mm of {what} in {odd.index[0]}, where the median year has "
            f"{totals.median():.3g} mm ({len(odd)} such years): is this in another unit?"
        )


def _odd_months(weather: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """A temperature of exactly -9 far from those around it is a code.

    What is around is the same month of other years, or where there is none the neighbours.
    """
    warmth = weather["temperature_c"].to_numpy(float)
    if not (warmth == -9.0).any():
        return
    others = weather.assign(temperature_c=np.where(warmth == -9.0, np.nan, warmth))
    usual = others.groupby("month")["temperature_c"].mean().reindex(range(1, 13))
    thrice = pd.concat([usual] * 3, ignore_index=True).interpolate(limit_direction="both")
    around = thrice.iloc[11 + weather["month"].to_numpy(int)].to_numpy(float)
    code = (warmth == -9.0) & (around > 3.0)
    if code.any():
        yield (
            "temperature_c",
            f"-9 C in line {weather.index[code][0]} in a month of usually {around[code][0]:.3g} C "
            f"({code.sum()} such months): is it a code for a missing value?",
        )


BOMBS = (1955, 2000)
"""Years in which a straight line over a decade misses what tests of bombs did to 14C."""


def of_atmosphere(record: pd.DataFrame, first: int, last: int) -> Iterator[str]:
    """Doubts about a record of 14C.

    Args:
        record: ``year`` and ``activity``, in order.
        first, last: years that are simulated.
    """
    # 16 000 years ago it was 1.5; it has not been below 0.9 in the last 50 000
    if record["activity"].min() < 0.5:
        yield f"{record['activity'].min():g}: is this a deviation, or an old sample's?"
    years = record["year"].to_numpy()
    for before, after in pairwise(years):
        missed = max(before, BOMBS[0], first) < min(after, BOMBS[1], last)
        if after - before > 10 and missed:
            yield f"no year between {before} and {after}: the peak of the bomb tests is missed"


MOST_MANURE = 12.0
"""Carbon of manure that is brought year by year, t/ha; 35 t/ha of fresh manure have 3."""


def of_manure(mean: float) -> str:
    """What the carbon of manure of a manured year (t/ha, mean) looks like, or an empty text."""
    if mean > MOST_MANURE:
        return f"{mean:.3g} t C/ha of manure in a mean year: is this fresh weight?"
    return ""


TOPSOIL_CM = 20.0


def of_soil(variable: str, value: float, upper_cm: float) -> str:
    """What the value of a soil property looks like, or an empty text.

    Args:
        variable: its name; others than those of :data:`NAMES` are never in doubt.
        value: %.
        upper_cm: upper end of its horizon or sample.
    """
    # deserts have 0.1 to 0.3 % in the topsoil, raw loess and sand some 0.03 % below
    least = {"clay_percent": 1.0, "silt_percent": 1.0, "base_saturation": 1.0}
    least["soc_percent"] = 0.1 if upper_cm < TOPSOIL_CM else 0.02
    if 0 < value < least.get(variable, 0.0):
        return "is less than there is in soils: are these fractions?"
    # organic soil material begins at 12 to 18 % (FAO 2006)
    if variable == "soc_percent" and value > 12:
        return "is that of an organic soil: is this in g/kg?"
    return ""


TYPICAL_DENSITY = 1.4
"""Bulk density of a mineral soil, g/cm3, for judging stocks."""


def of_stock(stock: float, upper_cm: float, lower_cm: float) -> str:
    """What a stock of organic carbon (Mg/ha) looks like, or an empty text."""
    percent = stock / (TYPICAL_DENSITY * (lower_cm - upper_cm))
    if stock > 0 and percent < (0.15 if upper_cm < TOPSOIL_CM else 0.03):
        return "is less than there is in soils: is this in kg/m2?"
    if percent > 20:
        return "is that of an organic soil: is this in g/m2 or kg/ha?"
    return ""


def of_depth(upper_cm: float, lower_cm: float) -> str:
    """What an interval of depth looks like, or an empty text."""
    if lower_cm < 3 or lower_cm - upper_cm < 0.5:
        return "is very shallow or thin: is this in m?"
    return ""
