"""Compare the monthly water bucket with Richards' equation, and the bucket's possible repairs.

    python scripts/compare_water.py [--picture docs/figures/water.png] [--sensitivity]

prints the tables of docs/explanation/water.md and draws its picture; one minute, three with
--sensitivity.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

from diffsoil import _runtime

_runtime.use_device("cpu")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from jax import Array  # noqa: E402

from diffsoil.io import data_path  # noqa: E402
from diffsoil.processes.pores import Retention  # noqa: E402
from diffsoil.processes.rate_modifiers import DEFICIT_WITHOUT_EFFECT, moisture_factor  # noqa: E402
from diffsoil.processes.richards import Richards  # noqa: E402
from diffsoil.processes.water import Water  # noqa: E402
from diffsoil.state import State, empty_state  # noqa: E402

jax.config.update("jax_enable_compilation_cache", False)  # compile times are measured

LAYERS, THICKNESS = 40, 0.05
DEPTHS_CM = (25, 50, 100, 200)
SPIN_UP = 15
"""Years before the one that is looked at; both models have come to their cycle."""
PAN_TO_PET = 0.75
MINIMUM_MOISTURE = 0.2

Environment = dict[str, Array]


def setting(climate: str, soil: str, beta: float, cover: float) -> Environment:
    """One column under one climate.

    Args:
        climate: file of normals in data/climate, without ``_normals.csv``.
        soil: ``loess`` or ``rothamsted``.
        beta: root distribution coefficient.
        cover: of every month.
    """
    table = pd.read_csv(data_path("climate", f"{climate}_normals.csv"))
    pan = "evaporation_mm" in table
    demand = PAN_TO_PET * table["evaporation_mm"] if pan else table["pet_mm"]
    top = np.arange(LAYERS) * THICKNESS
    if soil == "loess":
        clay, silt, density = (np.full(LAYERS, x) for x in (16.0, 67.0, 1.22))
        organic = 0.4 + 3.0 * np.exp(-(top + 0.5 * THICKNESS) / 0.35)
    else:  # Broadbalk, as in data/cases/rothamsted.toml
        horizon = np.digitize(top + 0.5 * THICKNESS, [0.23, 0.46])
        clay = np.array([23.4, 30.0, 50.0])[horizon]
        silt = np.array([52.0, 48.0, 36.0])[horizon]
        density = np.array([1.252, 1.45, 1.50])[horizon]
        organic = 1.724 * np.array([1.0, 0.6, 0.45])[horizon]
    environment = {
        "precipitation": jnp.asarray(table["precipitation_mm"].to_numpy(float)),
        "potential_evapotranspiration": jnp.asarray(demand.to_numpy(float)),
        "cover": jnp.full(12, cover),
        "root_beta": jnp.asarray(beta),
        "thickness": jnp.full(LAYERS, THICKNESS),
        "depth_top": jnp.asarray(top),
        "clay_percent": jnp.asarray(clay),
        "silt_percent": jnp.asarray(silt),
        "bulk_density": jnp.asarray(density),
        "reference_organic_matter": jnp.asarray(organic),
    }
    return environment | Retention().slow(empty(), environment, 1)[1]


def empty() -> State:
    """The column before the first year."""
    return empty_state(LAYERS, jnp.zeros(LAYERS))


@dataclasses.dataclass
class Result:
    """A year of one model, with what it cost."""

    percolation: np.ndarray
    """mm, [month, layer]."""
    deficit: np.ndarray
    water: np.ndarray
    """m3/m3, [month, layer]."""
    evapotranspiration: float
    """All of it, with interception, mm/a."""
    runoff: float
    milliseconds: float
    """Of a climate year."""
    compile_seconds: float

    @property
    def b(self) -> np.ndarray:
        """Mean moisture modifier of each layer."""
        one, low = jnp.ones(()), jnp.asarray(MINIMUM_MOISTURE)
        limit = jnp.asarray(DEFICIT_WITHOUT_EFFECT)
        factor = moisture_factor(jnp.asarray(self.deficit), one, low, limit)
        return np.asarray(factor).mean(axis=0)


def measured(f: Callable[[Environment], tuple], environment: Environment) -> tuple:
    """What a function gives, milliseconds of a climate year, seconds of compiling."""
    began = time.perf_counter()
    compiled = jax.jit(f).lower(environment).compile()
    compiling = time.perf_counter() - began
    compiled(environment)
    took = []
    for _ in range(3):
        began = time.perf_counter()
        found = jax.block_until_ready(compiled(environment))
        took.append(time.perf_counter() - began)
    return found, 1e3 * min(took) / (SPIN_UP + 1), compiling


def bucket(environment: Environment, **parameters: float) -> Result:
    """The bucket with some parameters."""
    process = Water(**{k: jnp.asarray(v) for k, v in parameters.items()}, spin_up_years=SPIN_UP)
    state = empty()
    (found,), milliseconds, compiling = measured(
        lambda e: (process.slow(state, e, 50)[1],), environment
    )
    values = {k: np.asarray(v) for k, v in found.items()}
    return Result(
        values["percolation"],
        values["moisture_deficit"],
        values["water_content"],
        values["evapotranspiration"].sum() + float(values["interception"].sum()),
        0.0,
        milliseconds,
        compiling,
    )


def richards(environment: Environment, **settings: float) -> Result:
    """Richards' equation with some parameters or static settings."""
    static = {"rain_days", "steps_per_day"}
    process = Richards(
        **{k: v if k in static else jnp.asarray(v) for k, v in settings.items()}  # type: ignore[arg-type]
    )
    start = empty().water
    (_, year), milliseconds, compiling = measured(
        lambda e: process.simulate(start, e, SPIN_UP), environment
    )
    taken = float(year.evapotranspiration.sum() + year.interception.sum())
    return Result(
        np.asarray(year.percolation),
        np.asarray(year.deficit),
        np.asarray(year.water) / (1000 * THICKNESS),
        taken,
        float(year.runoff.sum()),
        milliseconds,
        compiling,
    )


HEAD = (
    "| model | AET | runoff | q 25 | q 50 | q 100 | q 200 | b 0-10 | b 10-30 | b 30-100 "
    "| b 100-200 | water 0-30 | water 30-100 | ms per year | compile s |\n"
    "| --- " + "| --- " * 14 + "|"
)


def row(name: str, result: Result) -> str:
    """One line of the table; q is percolation, mm/a, at a depth in cm."""
    year = result.percolation.sum(axis=0)
    q = [year[round(depth / (100 * THICKNESS)) - 1] for depth in DEPTHS_CM]
    b = [result.b[i:j].mean() for i, j in ((0, 2), (2, 6), (6, 20), (20, 40))]
    water = [result.water[:, i:j].mean() for i, j in ((0, 6), (6, 20))]
    cells = [name, f"{result.evapotranspiration:.0f}", f"{result.runoff:.0f}"]
    cells += [f"{x + 0.0:.0f}" for x in q] + [f"{x:.2f}" for x in b] + [f"{x:.2f}" for x in water]
    cells += [f"{result.milliseconds:.2g}", f"{result.compile_seconds:.1f}"]
    return "| " + " | ".join(cells) + " |"


SETTINGS = {
    "dry (P 600, PET 800), steppe": ("loess_dry", "loess", 0.943, 1.0),
    "wet (P 1000, PET 800), forest": ("loess_wet", "loess", 0.966, 1.0),
    "Rothamsted (P 664, PET 476), covered": ("rothamsted_early", "rothamsted", 0.961, 1.0),
    "Rothamsted, bare": ("rothamsted_early", "rothamsted", 0.961, 0.0),
}

ROTHC = {"direct_evaporation_share": 1.0, "month_end": 1.0}

BUCKETS: dict[str, dict] = {
    "bucket of RothC": ROTHC,
    "bucket of RothC, bypass 0.2": ROTHC | {"bypass": 0.2},
    "bucket, all rain enters first": {"direct_evaporation_share": 0.0, "month_end": 1.0},
    "bucket, 0.3 meets the demand first": {"direct_evaporation_share": 0.3, "month_end": 1.0},
    "bucket, 0.3, deficit 1/2 before uptake": {"direct_evaporation_share": 0.3, "month_end": 0.5},
    "bucket": {},
    "bucket, bypass 0.03": {"bypass": 0.03},
}
"""``bucket`` is the default."""

VARIANTS: dict[str, dict] = {
    "Richards": {},
    "4 steps a day": {"steps_per_day": 4},
    "5 wet days a month": {"rain_days": 5},
    "30 wet days": {"rain_days": 30},
    "equal wet days": {"rain_spread": 0.0},
    "no interception": {"interception": 0.0},
    "interception 2 mm": {"interception": 2.0},
    "no compensation": {"compensation": 1.0},
    "stress from 1500 cm": {"stress_head": 1500.0},
    "conductivity / 5": {"conductivity_factor": 0.2},
    "conductivity x 5": {"conductivity_factor": 5.0},
}


def draw(path: Path, results: dict[str, tuple[Result, Result, Result]], third: str) -> None:
    """Percolation and moisture modifier by depth: Richards, two buckets."""
    figure, axes = plt.subplots(2, len(results), figsize=(3.1 * len(results), 7), sharey=True)
    depth = 100 * THICKNESS * np.arange(LAYERS)
    styles = {"Richards": "C0-", "bucket of RothC": "C1--", third: "C2:"}
    for i, (name, models) in enumerate(results.items()):
        for (label, style), result in zip(styles.items(), models, strict=True):
            lower = depth + 100 * THICKNESS
            axes[0, i].plot(result.percolation.sum(axis=0), lower, style, label=label)
            axes[1, i].plot(result.b, depth + 50 * THICKNESS, style, label=label)
        axes[0, i].set_title(name.replace("), ", "),\n"), fontsize=9)
        axes[0, i].set_xlabel("percolation (mm a$^{-1}$)")
        axes[1, i].set_xlabel("mean moisture modifier b (1)")
        axes[0, i].set_xlim(left=0)
        axes[1, i].set_xlim(0.15, 1.05)
    for axis in axes[:, 0]:
        axis.set_ylabel("depth (cm)")
    axes[0, 0].set_ylim(200, 0)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the tables, draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path, default=Path("docs/figures/water.png"))
    parser.add_argument("--sensitivity", action="store_true", help="vary Richards' settings too")
    arguments = parser.parse_args()
    third = "bucket"
    drawn = {}
    for name, where in SETTINGS.items():
        environment = setting(*where)
        print(f"\n{name}\n\n{HEAD}")
        exact = richards(environment)
        print(row("Richards", exact), flush=True)
        found = {}
        for label, change in BUCKETS.items():
            found[label] = bucket(environment, **change)
            print(row(label, found[label]), flush=True)
        drawn[name] = (exact, found["bucket of RothC"], found[third])
        if where[1] == "rothamsted":
            rain = np.asarray(environment["precipitation"])
            for label, result in (("Richards", exact), *found.items()):
                share = result.percolation[:, 29] / rain  # 150 cm, 60 inches
                total = result.percolation[:, 29].sum() / rain.sum()
                print(
                    f"{label}: share of rain at 150 cm: year {total:.2f}, "
                    f"November to February {share[[0, 1, 10, 11]].mean():.2f}, "
                    f"August {share[7]:.2f}"
                )
    for name in list(SETTINGS)[:2] if arguments.sensitivity else ():
        environment = setting(*SETTINGS[name])
        print(f"\n{name}: Richards varied\n\n{HEAD}")
        for label, change in VARIANTS.items():
            print(row(label, richards(environment, **change)), flush=True)
    draw(arguments.picture, drawn, third)


if __name__ == "__main__":
    main()
