"""A suite of the study made by hand, with the labels of its 112 runs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from diffsoil.studies.vandermeij2026 import analysis

YEARS, LAYERS = 12000, 4
FARMED = ("E0-E0-E0", "E1-E1-E1", "E1-E2-E2", "E1-E2-E3")
ROCKS = ("volcanic_glass", "anorthite", "calcite", "montmorillonite", "goethite")


def scenarios() -> pd.DataFrame:
    """Labels of the 112 runs."""
    kinds = [("agricultural", h) for h in FARMED] + [("natural", h) for h in FARMED[:2]]
    rows: list[tuple[str, ...]] = [
        (climate, p, use, erosion, "", "none")
        for climate, p, (use, erosion) in itertools.product(("dry", "wet"), "nacmpx", kinds)
    ]
    for climate in ("dry", "wet"):
        rows += [(climate, "x", "natural", h, "natural", "none") for h in FARMED[:2]]
        for then in ("natural", "agriculture"):
            rows += [(climate, "x", "agricultural", h, then, "none") for h in FARMED]
            rows += [(climate, "x", "agricultural", FARMED[0], then, rock) for rock in ROCKS]
    return pd.DataFrame(rows, columns=list(analysis.LABELS))


def suite() -> xr.Dataset:
    """Stocks that go their own way in each run, with the saw-tooth of erosion on top."""
    runs = scenarios()
    until = np.where(runs["recovery"] == "", 10000, 12000)
    year = np.arange(1, YEARS + 1)
    window = analysis.windows(runs["erosion"], YEARS)
    random = np.random.default_rng(7)
    level = random.uniform(40.0, 120.0, (len(runs), 1))
    farmed = (runs["land_use"] == "agricultural").to_numpy()[:, None] & (year > 8000)
    stock = level * -np.expm1(-year / random.uniform(100.0, 400.0, (len(runs), 1)))
    stock = stock * np.where(farmed, 0.8, 1.0) - 5.0 * ((year - 1) % window) / window
    stock[year > until[:, None]] = np.nan
    shares = {"soc_stock_0_100": 1.0, "soc_stock_0_25": 0.5, "soc_stock_25_75": 0.3}
    data: dict[str, Any] = {k: (("scenario", "year"), v * stock) for k, v in shares.items()}
    dims = ("scenario", "output_year", "depth_m")
    output = np.arange(1000, YEARS + 1, 1000)
    ones = np.ones((len(runs), len(output), LAYERS))
    ones[output > until[:, None]] = np.nan
    for number, mechanism in enumerate(analysis.MECHANISMS):
        data[f"modifier_{mechanism}"] = (dims, ones - 0.01 * number)
    data["thickness"] = (dims, 0.4 * ones)
    labels = {name: ("scenario", runs[name].to_numpy()) for name in runs}
    names = ["-".join(row).replace("--", "-") for row in runs.to_numpy()]
    coordinates = labels | {"until": ("scenario", until), "year": year, "output_year": output}
    return xr.Dataset(data, coordinates | {"scenario": names, "depth_m": np.arange(LAYERS)})
