"""Keep a twin of Highfield up to date and watch its forecast: a workflow to copy and change.

    python scripts/twin_highfield.py FOLDER [--carbon MODEL] [--draws N] [--seed S]

fits the three Highfield treatments of the Rothamsted case to what was measured up to 1975, brings
in each later sampling on its own, and predicts after each of them what would be measured in 2014.
Writes FOLDER/narrowing.csv, steps.csv, narrowing.png, and the fit of every step; a
second call goes on where the first was stopped. The measurements of 2014 are never fitted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diffsoil import _runtime

CHAINS = 2
_runtime.use_device("auto", cpu_devices=CHAINS)  # before the first array

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tomlkit  # noqa: E402
from carbon_variants import RATES, with_carbon  # noqa: E402

from calibration import Problem, saved_fit  # noqa: E402
from calibration.compatibility import in_order  # noqa: E402
from calibration.fitting import calibrate_case  # noqa: E402
from calibration.methods import Surrogate  # noqa: E402
from calibration.methods.mode import START  # noqa: E402
from calibration.options import Update  # noqa: E402
from calibration.prediction import predict_draws, table  # noqa: E402
from calibration.twin.assimilation import assimilate_case  # noqa: E402
from diffsoil.io import data_path  # noqa: E402
from diffsoil.options import Existing  # noqa: E402
from diffsoil.report.pictures import BLUE, ORANGE, Figure, save  # noqa: E402
from diffsoil.work.files import read_json, replacing  # noqa: E402

RUNS = 1000
"""Exact runs that each fit learns from."""
FIRST_FIT = 1975
TARGET = 2014
LAND_USES = ("ancient_woodland", "woodland", "grass", "arable", "bare_fallow")
OTHERS = ("manure.", "old_arable", "wheat_", "fosters_", "broadbalk")
"""What a parameter is called that belongs to the other sites."""


def main(folder: Path, carbon: str, draws: int, seed: int) -> None:
    """Fit, assimilate year by year, and show how the forecast narrows."""
    folder.mkdir(parents=True, exist_ok=True)
    later = write_cases(folder, carbon)
    whole = Problem(folder / "all.toml")  # all measurements, those of 2014 too; only predicts
    found = []
    fit = folder / f"fit_{FIRST_FIT}"
    if not complete(fit):
        calibrate_case(
            folder / "case.toml",
            fit,
            Surrogate(chains=CHAINS, draws=draws, runs=RUNS),
            seed=seed,
            existing=Existing(resume=(fit / "fit.json").is_file()),
        )
    found.append(predicted(whole, fit, FIRST_FIT, seed))
    for year in later:
        before, fit = fit, folder / f"fit_{year}"
        if not complete(fit):
            new = folder / f"new_{year}.csv"
            # a step by weights is over in seconds, a refit that was stopped goes on
            stopped = (fit / START).is_file()
            existing = Existing(overwrite=not stopped, resume=stopped)
            assimilate_case(before, new, fit, Update(seed=seed), existing=existing)
        found.append(predicted(whole, fit, year, seed))
    narrowing = pd.concat(found)
    steps = table_of_steps(saved_fit.load(fit))
    for name, content in (("narrowing", narrowing), ("steps", steps)):
        with replacing(folder / f"{name}.csv", overwrite=True) as part:
            content.to_csv(part, index=False)
    print(steps.to_string(index=False))
    shown = narrowing[narrowing["year"] == TARGET]
    print(shown.drop(columns=["unit"]).round(3).to_string(index=False))
    draw(folder / "narrowing.png", narrowing, steps)


def write_cases(folder: Path, carbon: str) -> list[int]:
    """The Highfield part of the Rothamsted case, and its observations by the year they came in.

    Args:
        folder: where to.
        carbon: model of carbon.

    Returns:
        Years of sampling after the first fit and before the target.
    """
    text = data_path("cases", "rothamsted.toml").read_text(encoding="utf-8")
    document = tomlkit.parse(text).unwrap()
    document["name"], document["title"] = "highfield", "Highfield, Rothamsted"
    document["site"] = {"highfield": "old_grass"}
    document["soil"] = {"old_grass": document["soil"]["old_grass"]}
    document["land_use"] = {n: document["land_use"][n] for n in LAND_USES}
    for phase in document["history"]:
        if not isinstance(phase["land_use"], str):
            phase["land_use"] = phase["land_use"]["highfield"]
    document["treatment"] = [t for t in document["treatment"] if t["site"] == "highfield"]
    document["free"] = {
        n: f for n, f in document["free"].items() if not any(o in n for o in OTHERS)
    }
    with_carbon(document, carbon)
    document["notes"] = {}
    management = pd.read_csv(data_path("management", "rothamsted.csv"))
    own = management["treatment"].str.startswith("highfield")
    management[own].to_csv(folder / "management.csv", index=False)
    document["experiment"]["management"] = "management.csv"
    rows = pd.read_csv(data_path("observations", "rothamsted", "observations.csv"))
    rows = rows[rows["site"] == "highfield"]
    rows[rows["year"] <= FIRST_FIT].to_csv(folder / f"until_{FIRST_FIT}.csv", index=False)
    rows.to_csv(folder / "all.csv", index=False)
    years = sorted({int(y) for y in rows["year"] if FIRST_FIT < y < TARGET})
    for year in years:
        rows[rows["year"] == year].to_csv(folder / f"new_{year}.csv", index=False)
    for name, file in (("case", f"until_{FIRST_FIT}.csv"), ("all", "all.csv")):
        document["observations"] = {
            "files": [file],
            "method_factors": ["tinsley"],
        }
        (folder / f"{name}.toml").write_text(tomlkit.dumps(document), encoding="utf-8")
    return years


def complete(fit: Path) -> bool:
    """Whether the fit of a step is there."""
    file = fit / "fit.json"
    return file.is_file() and bool(read_json(file).get("complete"))


def predicted(whole: Problem, fit: Path, year: int, seed: int) -> pd.DataFrame:
    """What a fit says that would be measured in years that it has not seen."""
    found = saved_fit.load(fit)
    chosen = np.linspace(0, len(found.draws) - 1, min(600, len(found.draws))).astype(int)
    x = in_order(found.names, found.draws[chosen], whole.names, found)
    rows = table(whole, predict_draws(whole, x, lambda line: None), seed)
    rows = rows[(rows["year"] > year) & (rows["estimated"] == 0)]
    columns = ["treatment", "year", "unit", "value", "observed_sd", "mean", "sd", "q05", "q50"]
    rows = rows[[*columns, "q95", "latent_mean", "latent_sd"]].assign(data_until=year)
    return rows.assign(inside=(rows["value"] >= rows["q05"]) & (rows["value"] <= rows["q95"]))


def table_of_steps(fit: saved_fit.Fit) -> pd.DataFrame:
    """What each step brought, and how it entered."""
    names = ("years", "rows", "fitted", "method", "k", "ess", "draws", "remark")
    return pd.DataFrame([{n: entry.get(n) for n in names} for entry in fit.history])


def draw(path: Path, narrowing: pd.DataFrame, steps: pd.DataFrame) -> None:
    """The predictive interval of 2014 against the year of the last data, beside what came."""
    rows = narrowing[narrowing["year"] == TARGET]
    names = {
        "highfield_grass": "Highfield, old grass",
        "highfield_bare_fallow": "Highfield, bare fallow since 1959",
    }
    methods = dict(
        zip([FIRST_FIT, *sorted(set(rows["data_until"]) - {FIRST_FIT})], steps["method"],
            strict=True)
    )  # fmt: skip
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    axes = figure.subplots(1, 2)
    for ax, (name, title) in zip(axes, names.items(), strict=True):
        own = rows[rows["treatment"] == name].sort_values("data_until")
        place = np.arange(len(own))
        truth, error = float(own["value"].iloc[0]), float(own["observed_sd"].iloc[0])
        ax.axhspan(truth - error, truth + error, color=ORANGE, alpha=0.2, lw=0,
                   label="± 1 sd of that measurement")  # fmt: skip
        ax.axhline(truth, color=ORANGE, lw=1.5, label=f"measured in {TARGET}")
        ax.vlines(place, own["q05"], own["q95"], color=BLUE, lw=5, alpha=0.45,
                  label="5-95 % of a measurement")  # fmt: skip
        soil = own["latent_mean"], 1.645 * own["latent_sd"]
        ax.vlines(place, soil[0] - soil[1], soil[0] + soil[1], color=BLUE, lw=1.2,
                  label="the soil alone (mean ± 1.645 sd)")  # fmt: skip
        refit = own["data_until"].map(methods) != "weights"
        for chosen, fill, label in ((refit, "white", "calibration or refit"),
                                    (~refit, BLUE, "by weights")):  # fmt: skip
            ax.plot(place[chosen], own["q50"][chosen], "o", color=BLUE, mfc=fill, ms=6, label=label)
        ax.set_xticks(place, [str(y) for y in own["data_until"]])
        ax.set_xlabel("year of the last data in the fit")
        ax.set_ylabel("organic C 0-23 cm, %")
        ax.set_title(title, loc="left", fontsize=10)
        ax.margins(x=0.06, y=0.12)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--carbon", choices=RATES, default="rothc", help="model of carbon")
    parser.add_argument("--draws", type=int, default=300, help="draws of each of two chains")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(given.folder, given.carbon, given.draws, given.seed)
