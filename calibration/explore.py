"""One page of a fit on which a parameter is moved along its posterior, in a browser, offline.

The page holds draws that are there already; nothing is simulated. Its script (``explore.js`` of
:mod:`diffsoil.report`) weights them with a normal kernel around the value that is chosen, which
gives the posterior under that value.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int

from calibration import checks, depth, plots, saved_fit
from calibration.observations import topsoil_cm, treatment_of
from calibration.prediction import evenly
from calibration.twin import result
from diffsoil.io import InputError
from diffsoil.report import html
from diffsoil.report.pictures import CYCLE
from diffsoil.tables import read_written
from diffsoil.work.output_file import OutputFile, page_by

MAKER = "diffsoil explore"

MOST_DRAWS = 300
"""Draws in a page."""

MOST_NUMBERS = 4_000_000
"""Numbers in a page, 5 bytes each; a case of many treatments and years has fewer draws."""

KERNEL = 0.25
"""Standard deviation of the kernel in those of the posterior. A normal posterior of 300 draws is
worth some 100 of them in its middle and 15 two standard deviations aside."""

FEW = 20
"""Effective draws below which a page warns of its bands."""

SHOWN = 2
"""Treatments that are shown at first."""

MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def explore_fit(
    fit: Path, output: Path, forecasts: Sequence[Path] = (), overwrite: bool = False
) -> None:
    """Write the page of a fit.

    Args:
        fit: folder of a fit.
        output: the page; its name ends in ``.html``.
        forecasts: folders of forecasts with this fit, whose stocks go on after the last year.
        overwrite: replace a page of this function that is there.

    Raises:
        InputError: something else is there; there is no fit; it has one draw or none that differ;
            a forecast is of another fit, or has no stocks of the topsoil.
    """
    target = OutputFile(
        output, overwrite, suffix=".html", like=page_by(MAKER), inputs=[fit, *forecasts]
    )
    found = saved_fit.load(fit)
    found.refuse_differing("the page to explore")
    if len(np.unique(found.predicted, axis=0)) < 2:
        raise InputError(
            f"{fit}: has one draw ({found.settings.method.name}), and nothing to move along; "
            "calibrate with a method that gives a posterior"
        )
    title = f"{found.case().file.title}: move along the posterior"
    text = html.page(title, [html.scripted("explore", data=contents(found, forecasts))], MAKER)
    with target, target.writing() as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def contents(found: saved_fit.Fit, forecasts: Sequence[Path] = ()) -> dict[str, Any]:
    """What the script of a page reads; arrays are packed by :func:`packed`, draws last.

    Args:
        found: the fit.
        forecasts: folders of forecasts with it.

    Raises:
        InputError: as :func:`explore_fit`, of forecasts.
    """
    predictive = found.tree["posterior_predictive"].to_dataset()
    topsoil = _by_draw(predictive["topsoil"])
    names = [str(name) for name in predictive["treatment"].to_numpy()]
    every = found.predicted
    per_draw = topsoil[0].size + len(found.names)
    chosen = evenly(len(every), max(FEW, min(MOST_DRAWS, MOST_NUMBERS // per_draw)))
    places, draws = _distinct(every[chosen])
    rows = chosen[places]
    observed = _observed(found)
    cm = topsoil_cm(observed)
    treatments = _treatments(found, names, observed, cm)
    options, ahead = _forecasts(found, names, forecasts, cm)
    seen = [i for i, of in enumerate(treatments) if of["observations"]]
    return {
        "kernel": KERNEL,
        "few": FEW,
        "draws": len(rows),
        "depth": f"0-{cm:g} cm",
        "last": int(predictive["year"].max()),
        "years": predictive["year"].to_numpy().tolist(),
        "parameters": _parameters(found, every[rows]),
        "posterior": draws,
        "stocks": packed(topsoil[rows]),
        "profile": _profile(found, predictive, names, rows),
        "treatments": treatments,
        "shown": (seen or [0])[:SHOWN],
        "options": options,
        "forecasts": ahead,
    }


def packed(values: Float[np.ndarray, "draw ..."]) -> str:
    """Numbers as text: Float32, little-endian, base64; the draws of each place together."""
    flat = np.moveaxis(values, 0, -1).astype("<f4")
    return base64.b64encode(flat.tobytes()).decode("ascii")


def _by_draw(values: xr.DataArray) -> np.ndarray:
    """Predictions with chains and draws as one axis, in the order of ``Fit.predicted``."""
    ordered = values.transpose("chain", "draw", ...).to_numpy()
    return ordered.reshape(-1, *ordered.shape[2:])


def _distinct(x: Float[np.ndarray, "draw parameter"]) -> tuple[Int[np.ndarray, " some"], Any]:
    """Places of the draws that differ, and these: values, and how often each is there.

    Resampled draws repeat themselves, and a repeated draw tells nothing more.
    """
    different, places, count = np.unique(x, axis=0, return_index=True, return_counts=True)
    return places, {"weight": count.tolist(), "x": packed(different)}


def _parameters(found: saved_fit.Fit, x: Float[np.ndarray, "draw parameter"]) -> list[Any]:
    about = found.summary
    low, high = np.quantile(x, [0.025, 0.975], axis=0)
    return [
        {
            "name": name,
            "unit": _text(about, name, "unit"),
            "description": _text(about, name, "description"),
            "low": float(low[i]),
            "high": float(high[i]),
        }
        for i, name in enumerate(found.names)
    ]


def _text(about: pd.DataFrame, name: str, column: str) -> str:
    value = about[column].get(name, "") if column in about else ""
    return value if isinstance(value, str) else ""


def _observed(found: saved_fit.Fit) -> pd.DataFrame:
    """Observations with their errors, on the scale of the soil."""
    needed = ["site", "treatment", "year", "variable", "value", "error_sd", "method", "fitted"]
    table = read_written(found.folder / "predictions.csv", needed)
    for word in ("site", "treatment", "method"):
        table[word] = table[word].astype(object).where(table[word].notna(), "")  # blank if unused
    return plots.measured(found.tree, table)


def _treatments(
    found: saved_fit.Fit, names: Sequence[str], observed: pd.DataFrame, cm: float
) -> list[dict[str, Any]]:
    """Treatments with the stocks of the topsoil that were measured in them."""
    labels = plots.labels_of(found.case())
    stock = (observed["variable"] == "soc_stock") & (observed["upper_cm"] == 0)
    own = observed[stock & (observed["lower_cm"] == cm)]
    by_name = dict(tuple(own.groupby(treatment_of(own))))
    return [
        {
            "name": name,
            "label": labels.get(name, name),
            "colour": CYCLE[i % len(CYCLE)],
            "observations": _points(by_name[name]) if name in by_name else [],
        }
        for i, name in enumerate(names)
    ]


def _points(rows: pd.DataFrame) -> list[dict[str, Any]]:
    kinds = np.where(rows["fitted"], "fitted", "kept out")
    kinds = np.where(rows["fitted"] | checks.kept_out(rows), kinds, "estimated")
    return [
        {
            "year": int(year),
            "value": float(value),
            "error": None if kind == "estimated" or not np.isfinite(error) else float(error),
            "kind": str(kind),
        }
        for year, value, error, kind in zip(
            rows["year"], rows["value"], rows["error"], kinds, strict=True
        )
    ]


def _profile(
    found: saved_fit.Fit,
    predictive: xr.Dataset,
    names: Sequence[str],
    rows: Int[np.ndarray, " draw"],
) -> dict[str, Any] | None:
    """Carbon by depth at the end, Mg C/ha per cm; None if the fit does not keep it by draw."""
    if "profile" not in predictive:
        return None
    table = read_written(found.folder / "profile.csv", ["treatment", "pool", "lower_cm"])
    table = table[table["pool"] == depth.ALL]
    lower = np.stack([table.loc[table["treatment"] == name, "lower_cm"] for name in names])
    edges = np.concatenate([np.zeros((len(names), 1)), lower], axis=1)
    thickness = np.maximum(np.diff(edges, axis=1), 1e-9)
    values = _by_draw(predictive["profile"])[rows] / thickness
    return {"edges": edges.tolist(), "values": packed(values)}


def _forecasts(
    found: saved_fit.Fit, names: Sequence[str], folders: Sequence[Path], cm: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Options of all forecasts, and their stocks of the topsoil from the last year of record on."""
    options: list[dict[str, Any]] = []
    ahead = []
    for folder in folders:
        content = result.read(folder, found)
        soil = (content["variable"] == "soc_stock") & (content["upper_cm"] == 0)
        place = np.flatnonzero(soil & (content["lower_cm"] == cm))
        if not len(place):
            raise InputError(
                f"{folder}: has no stocks of 0-{cm:g} cm, the topsoil of the fit; put that among "
                "depths_cm of the scenario"
            )
        kept = content["year"] >= content.attrs["last_year"]
        stocks = content["value"].isel(quantity=place[0], year=np.flatnonzero(kept))
        some = evenly(len(stocks), MOST_DRAWS)
        places, draws = _distinct(found.draws[content["draw"].to_numpy()[some]])
        own = dict(zip(content["option"].to_numpy(), content["label"].to_numpy(), strict=True))
        first = {name: len(options) + i for i, name in enumerate(own)}
        options += [{"label": f"{folder.name}: {label}"} for label in own.values()]
        members = zip(content["treatment"].to_numpy(), content["option"].to_numpy(), strict=True)
        ahead.append(
            {
                "years": stocks["year"].to_numpy().tolist(),
                "draws": draws,
                "stocks": packed(stocks.to_numpy()[some][places]),
                "members": [{"treatment": names.index(t), "option": first[o]} for t, o in members],
            }
        )
    for i, option in enumerate(options):
        option |= {"mark": _mark(i), "colour": CYCLE[::-1][i % len(CYCLE)]}
    return options, ahead


def _mark(number: int) -> str:
    """A, B, ... Z, A2, B2, ..."""
    again, letter = divmod(number, len(MARKS))
    return MARKS[letter] + (str(again + 1) if again else "")
