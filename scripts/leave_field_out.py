"""Predict each field of a case from a fit of the others: how wide, how far off, and does it hold?

Each field (a site of the case, or a group of sites) is kept out in turn and the rest is calibrated:
the case as it is and, where ``--pooled`` names parameters, one in which these differ between sites
(``by = "site"``), so that the field that was kept out is drawn from how far the others differ.
Beside them RothC in layers with its own rates, without protection and with nothing fitted, at the
inputs of the case; its relative error is that of the other fields. By treatment of the fields kept
out: bias and RMSE relative to what was measured, share of measurements in the 50 and 90 %
intervals, width of the latter relative to the same, and the mean log density of a measurement
under a normal distribution with the mean and the standard deviation of what is predicted.

A group of plant input that differs (``vegetation.input_factor.grass``) is one for all treatments
otherwise: the groups that some have of their own in its place are taken out.

    python scripts/leave_field_out.py FOLDER [--case NAME] [--fields NAME ...]
        [--pooled PARAMETER ...] [--full]
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import tomlkit
from scipy.stats import norm

from diffsoil import _runtime

_runtime.use_device("cpu", cpu_devices=4)

import jax  # noqa: E402

from calibration.fitting import calibrate_case  # noqa: E402
from calibration.likelihood import ERROR  # noqa: E402
from calibration.methods import Surrogate  # noqa: E402
from calibration.observations import read  # noqa: E402
from calibration.prediction import QUANTILES  # noqa: E402
from calibration.problem import Problem  # noqa: E402
from calibration.scores import score  # noqa: E402
from diffsoil.cases import find_case, load_case, read_case  # noqa: E402
from diffsoil.cases.arrays import build  # noqa: E402
from diffsoil.cases.case import Case  # noqa: E402
from diffsoil.options import Existing  # noqa: E402

SPREAD = {"kind": "lognormal", "location": 0.2, "scale": 0.7}
INPUT_FACTOR = "vegetation.input_factor."


def without(path: Path, sites: list[str], pooled: list[str]) -> Case:
    """The case with a field kept out, in which some parameters differ between sites."""
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    document["observations"]["keep_out_sites"] = sites  # type: ignore[index]
    case = load_case(path)
    table = read(case, build(case))
    left = {ERROR + series for series in table.loc[~table["site"].isin(sites), "series"]}
    for name in [n for n in document["free"] if n.startswith(ERROR) and n not in left]:  # type: ignore[union-attr]
        del document["free"][name]  # type: ignore[union-attr]
    for name in pooled:
        if name.startswith(INPUT_FACTOR):
            _shared(document, name.removeprefix(INPUT_FACTOR))
        document["free"][name].update({"by": "site", "between": SPREAD})  # type: ignore[index,union-attr]
    return read_case(path, tomlkit.dumps(document))


def _shared(document: tomlkit.TOMLDocument, group: str) -> None:
    """Let a group of plant input be that of all treatments, where some have one of their own."""
    for treatment in document["treatment"]:  # type: ignore[union-attr]
        own = treatment.get("input_groups", {}).pop(group, None)
        document["free"].pop(f"{INPUT_FACTOR}{own}", None)  # type: ignore[union-attr]


def rothc(path: Path) -> pd.DataFrame:
    """What RothC predicts of every observation of a case, with nothing fitted."""
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    document["protection"] = []
    for name in [n for n in document["free"] if n.startswith("protection.")]:  # type: ignore[union-attr]
        del document["free"][name]  # type: ignore[union-attr]
    problem = Problem(read_case(path, tomlkit.dumps(document)))
    found = jax.jit(lambda x, of: of.predict(x))(problem.defaults, problem.likelihood)
    return problem.table.assign(mean=np.asarray(found.expected))


def of_others(table: pd.DataFrame, sites: list[str]) -> pd.DataFrame:
    """Predictions of some sites without a spread, with the relative error that the others have."""
    own, other = table[table["site"].isin(sites)], table[~table["site"].isin(sites)]
    sd = own["mean"] * np.sqrt(np.mean((other["value"] / other["mean"] - 1.0) ** 2))
    return own.assign(sd=sd, **{q: own["mean"] + norm.ppf(p) * sd for q, p in QUANTILES.items()})


def scores(rows: pd.DataFrame) -> pd.Series:
    """Of some measurements."""
    found = score(rows)
    width = 100 * (rows["q95"] - rows["q05"]).mean() / rows["value"].mean()
    names = ("bias_percent", "rmse_percent", "coverage_50", "coverage_90")
    density = norm.logpdf(rows["value"], rows["mean"], rows["sd"]).mean()
    return pd.Series(
        {"n": len(rows), **{n: found[n] for n in names}, "width_percent": width, "density": density}
    )


def main(folder: Path, name: str, fields: list[str], pooled: list[str], full: bool) -> None:
    """Fit what is not there yet, and print the scores."""
    path = find_case(name)
    method = Surrogate() if full else dataclasses.replace(Surrogate.sized(quick=True), starts=1)
    group_of = load_case(path).file.group_of
    fits = {"as it is": []} | ({"differing": pooled} if pooled else {})
    found, plain = [], rothc(path)
    for field in fields or dict.fromkeys(group_of.values()):
        sites = [site for site, group in group_of.items() if group == field]
        for fit, differing in fits.items():
            place = folder / field / fit.replace(" ", "_")
            if not (place / "checks.csv").exists():
                case = without(path, sites, differing)
                calibrate_case(case, place, method, existing=Existing(resume=place.exists()))
            table = pd.read_csv(place / "predictions.csv")
            kept = table[table["site"].isin(sites) & (table["estimated"] == 0)]
            found.append(kept.assign(fit=fit, field=field))
        of_rothc = of_others(plain[plain["estimated"] == 0], sites)
        found.append(of_rothc.assign(fit="RothC", field=field))
    every = pd.concat(found)
    for of in (["fit", "field", "treatment"], ["fit", "field"], ["fit"]):
        found = every.groupby(of, sort=False).apply(scores, include_groups=False)
        print(found.round(2).to_string())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the fits; those that are done are kept")
    parser.add_argument("--case", default="rothamsted")
    parser.add_argument("--fields", nargs="+", default=[], help="all of the case if not given")
    parser.add_argument("--pooled", nargs="+", default=[], metavar="PARAMETER")
    parser.add_argument("--full", action="store_true", help="full setting, several searches")
    options = parser.parse_args()
    sys.exit(main(options.folder, options.case, options.fields, options.pooled, options.full))
