"""Does protection, or the whole soil, predict Rothamsted better than plain RothC?

    python scripts/compare_rothamsted.py FOLDER [--method laplace] [--models rothc protected ...]

fits four models to the same measurements up to 1999 without the Wilderness: RothC in layers,
with all mechanisms of protection, with all but aggregation (calcite and base saturation), and the
whole soil, whose calcite and base saturation develop. Each then predicts what it has not seen:
the Wilderness, and all measurements from 2000 on. Writes withheld.csv (scores), wilderness.csv
(intervals, and what aggregation contributes), wilderness.png and a fit for each model; a second
call goes on where the first was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from diffsoil import _runtime

_runtime.use_device("auto", cpu_devices=2)  # before the first array

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import tomlkit  # noqa: E402
from scipy.special import logsumexp  # noqa: E402

from calibration import Problem, checks, saved_fit  # noqa: E402
from calibration.fitting import calibrate_case  # noqa: E402
from calibration.methods import named  # noqa: E402
from calibration.prediction import predict_draws, table  # noqa: E402
from diffsoil.cases import load_case  # noqa: E402
from diffsoil.options import Existing  # noqa: E402
from diffsoil.processes.protection import MECHANISMS  # noqa: E402
from diffsoil.report.pictures import Figure, save  # noqa: E402
from diffsoil.work.files import read_json, replacing  # noqa: E402

LAST_FITTED = 1999
AGGREGATION = "aggregation"
MODELS = {
    "rothc": ("rothamsted", ()),
    "no_aggregation": ("rothamsted", tuple(m for m in MECHANISMS.own if m != AGGREGATION)),
    "protected": ("rothamsted", tuple(MECHANISMS.own)),
    "whole_soil": ("rothamsted_whole_soil", tuple(MECHANISMS.own)),
}
"""Case and mechanisms of each model."""

LABELS = {
    "rothc": "RothC in layers",
    "no_aggregation": "all but aggregation",
    "protected": "all mechanisms",
    "whole_soil": "whole soil",
}
COLOURS = {
    "rothc": "#777777",
    "no_aggregation": "#56B4E9",
    "protected": "#0072B2",
    "whole_soil": "#D55E00",
}


def main(folder: Path, method: str, models: list[str], seed: int) -> None:
    """Fit, predict what was withheld, and compare."""
    folder.mkdir(parents=True, exist_ok=True)
    asked = named(method).sized(chains=2, draws=300)
    scores, intervals = [], []
    for name in models:
        case, mechanisms = MODELS[name]
        path = written(folder / f"{name}.toml", case, mechanisms)
        fit = folder / name
        begun = (fit / "fit.json").is_file()
        if not begun or not read_json(fit / "fit.json").get("complete"):
            calibrate_case(path, fit, asked, seed=seed, existing=Existing(resume=begun))
        found = saved_fit.load(fit)
        problem = Problem(path)
        x = drawn(found, problem)
        predicted = predict_draws(problem, x, lambda line: None)
        rows = table(problem, predicted, seed).assign(
            elpd=log_density(np.asarray(predicted.log_likelihood))
        )
        scores.append(scored(rows).assign(model=name, pareto_k=pareto_k(found)))
        own = rows[rows["series"] == "wilderness"].assign(model=name)
        if AGGREGATION in mechanisms:
            less = tuple(m for m in mechanisms if m != AGGREGATION)
            without = Problem(written(folder / f"{name}_less.toml", case, less))
            same = x[:, [problem.names.index(n) for n in without.names]]
            change = np.asarray(predicted.latent) - np.asarray(
                predict_draws(without, same, lambda line: None).latent
            )
            change = change[:, own.index]
            own["aggregation_adds"] = change.mean(axis=0)
            own["aggregation_q05"], own["aggregation_q95"] = np.quantile(
                change, [0.05, 0.95], axis=0
            )
        intervals.append(own)
        write(folder / "withheld.csv", pd.concat(scores, ignore_index=True))
        write(folder / "wilderness.csv", pd.concat(intervals, ignore_index=True))
    print(pd.concat(scores).round(3).to_string(index=False))
    wilderness = pd.concat(intervals, ignore_index=True)
    shown = ["model", "year", "value", "mean", "q05", "q50", "q95", "latent_sd"]
    shown += [c for c in wilderness if c.startswith("aggregation")]
    print(wilderness[shown].round(1).to_string(index=False))
    draw(folder / "wilderness.png", wilderness)


def written(path: Path, case: str, mechanisms: tuple[str, ...]) -> Path:
    """A case with fewer mechanisms, what belongs to them not freed, and later years withheld."""
    listed = load_case(case)
    document = tomlkit.parse(listed.text)
    document["name"] = path.stem
    document["protection"] = list(mechanisms)
    idle = [of for name, of in MECHANISMS.own.items() if name not in mechanisms]
    gone = [f"protection.{field.name}" for of in idle for field in dataclasses.fields(of)]
    document["free"] = {n: f.unwrap() for n, f in document["free"].items() if n not in gone}
    assert listed.file.observations is not None
    rows = pd.concat([pd.read_csv(listed.resolve(f)) for f in listed.file.observations.files])
    later = sorted({int(y) for y in rows["year"] if y > LAST_FITTED})
    document["observations"]["keep_out_years"] = later
    with replacing(path, overwrite=True) as part:
        part.write_text(tomlkit.dumps(document), encoding="utf-8")
    return path


def drawn(found: saved_fit.Fit, problem: Problem) -> np.ndarray:
    """Draws of a fit in the order of a problem, 300 at most."""
    chosen = np.linspace(0, len(found.draws) - 1, min(300, len(found.draws))).astype(int)
    return found.draws[chosen][:, [found.names.index(n) for n in problem.names]]


def pareto_k(found: saved_fit.Fit) -> float:
    """Pareto k of weighted draws; NaN for draws of NUTS."""
    rows = checks.read(found.folder).set_index("check")["value"]
    of_weights = rows[rows.index.str.startswith("importance weights")]
    return float(of_weights.iloc[0]) if len(of_weights) else np.nan


def log_density(terms: np.ndarray) -> np.ndarray:
    """Logarithm of the predictive density of each observation: mean over draws."""
    return logsumexp(terms, axis=0) - np.log(len(terms))


def scored(rows: pd.DataFrame) -> pd.DataFrame:
    """Scores of what was withheld, and of what was fitted, by relative error."""
    wild = rows["series"] == "wilderness"
    late = (rows["year"] > LAST_FITTED) & ~wild
    measured = rows["estimated"] == 0
    sets = {
        "Wilderness": wild & measured,
        f"after {LAST_FITTED}": late & measured,
        "all withheld": (wild | late) & measured,
        "fitted": rows["fitted"],
    }
    found = []
    for name, chosen in sets.items():
        own = rows[chosen]
        off = own["mean"] / own["value"] - 1
        found.append(
            {
                "set": name,
                "rows": len(own),
                "rmse_percent": 100 * float(np.sqrt((off**2).mean())),
                "bias_percent": 100 * float(off.mean()),
                "coverage_90": float(own["value"].between(own["q05"], own["q95"]).mean()),
                "elpd": float(own["elpd"].sum()),
            }
        )
    return pd.DataFrame(found)


def write(path: Path, content: pd.DataFrame) -> None:
    """Write a table whole."""
    with replacing(path, overwrite=True) as part:
        content.to_csv(part, index=False)


def draw(path: Path, rows: pd.DataFrame) -> None:
    """Intervals of the Wilderness by model beside what was measured."""
    figure = Figure(figsize=(8.0, 4.4), layout="constrained")
    ax = figure.subplots()
    years = sorted(set(rows["year"]))
    for shift, name in enumerate(dict.fromkeys(rows["model"])):
        own = rows[rows["model"] == name].set_index("year").loc[years]
        place = np.arange(len(years)) + 0.15 * (shift - 1.5)
        ax.vlines(place, own["q05"], own["q95"], color=COLOURS[name], lw=5, alpha=0.5)
        ax.plot(place, own["q50"], "o", color=COLOURS[name], label=LABELS[name])
    truth = rows.drop_duplicates("year").set_index("year").loc[years]
    ax.errorbar(np.arange(len(years)) + 0.4, truth["value"], truth["observed_sd"], fmt="k_",
                ms=14, label="measured, ± 1 sd")  # fmt: skip
    ax.set_xticks(np.arange(len(years)), [str(y) for y in years])
    ax.set_xlabel("year")
    ax.set_ylabel("organic C 0-69 cm, Mg C/ha")
    ax.set_ylim(bottom=0)
    ax.set_title("Broadbalk Wilderness, never fitted: median and 5-95 %", loc="left", fontsize=10)
    ax.spines[["top", "right"]].set_visible(False)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3,
                  frameon=False, fontsize=9)  # fmt: skip
    save(figure, path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--method", default="laplace", choices=["laplace", "svi", "nuts"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    main(given.folder, given.method, given.models, given.seed)
