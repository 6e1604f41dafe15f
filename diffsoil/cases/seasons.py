"""Twelve normals of a climate out of values of a year, by first harmonics and Hargreaves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

DAYS = np.array([31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
MONTHS = np.arange(1, 13)
SOLAR_CONSTANT = 0.0820
"""MJ m-2 min-1."""
MM_PER_MJ = 0.408
"""mm of evaporated water per MJ/m2."""


@dataclass(frozen=True)
class Seasons:
    """How mean annual values spread over the year at a site: first harmonics.

    ``amplitude`` (C) is half the difference between the warmest and the coldest month,
    ``warmest`` the time of the warmest day (7.0 is mid-July); the share of a month in the rain
    is ``(1 + rain_amplitude cos(month - wettest)) / 12``; ``daily_range`` (C) between night and
    day enters Hargreaves' equation.
    """

    amplitude: float
    warmest: float
    rain_amplitude: float
    wettest: float
    daily_range: float


def radiation(latitude_deg: float) -> np.ndarray:
    """Extraterrestrial radiation of the middle of each month, MJ/m2/d (FAO-56, equation 21)."""
    day = np.cumsum(DAYS) - DAYS / 2
    latitude = np.radians(latitude_deg)
    distance = 1 + 0.033 * np.cos(2 * np.pi * day / 365)
    declination = 0.409 * np.sin(2 * np.pi * day / 365 - 1.39)
    sunset = np.arccos(np.clip(-np.tan(latitude) * np.tan(declination), -1, 1))
    lit = sunset * np.sin(latitude) * np.sin(declination)
    lit += np.cos(latitude) * np.cos(declination) * np.sin(sunset)
    return 24 * 60 / np.pi * SOLAR_CONSTANT * distance * lit


def normals(mat_c: float, map_mm: float, latitude_deg: float, seasons: Seasons) -> pd.DataFrame:
    """Twelve normals whose mean temperature and yearly rain are the given ones.

    Potential evapotranspiration is Hargreaves' (FAO-56, equation 52).

    Args:
        mat_c: mean annual temperature, C.
        map_mm: mean annual precipitation, mm.
        latitude_deg: -90 to 90, north is positive.
        seasons: of the site.

    Returns:
        month, temperature_c, precipitation_mm and pet_mm (in the month).
    """
    warmth = np.cos(2 * np.pi * (MONTHS - seasons.warmest) / 12)
    temperature = mat_c + seasons.amplitude * (warmth - warmth.mean())
    share = 1 + seasons.rain_amplitude * np.cos(2 * np.pi * (MONTHS - seasons.wettest) / 12)
    light = radiation(latitude_deg) * MM_PER_MJ * DAYS
    demand = 0.0023 * light * np.maximum(temperature + 17.8, 0) * np.sqrt(seasons.daily_range)
    return pd.DataFrame(
        {
            "month": MONTHS,
            "temperature_c": temperature,
            "precipitation_mm": map_mm * share / share.sum(),
            "pet_mm": demand,
        }
    )
