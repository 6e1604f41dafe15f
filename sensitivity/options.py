"""Options of sensitivity studies and of pruning."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, get_args

from diffsoil.options import SEED, SEVERAL, SHARE, WHOLE, Options, Within, option

Method = Literal["local", "dgsm", "active-subspace", "shapley", "morris", "sobol"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclasses.dataclass(frozen=True)
class StudyOptions(Options):
    """What is asked of some cases.

    Where the folder holds a study already, its own outputs, inputs and kind of prior stand for
    those that are not given.
    """

    method: tuple[Method, ...] = option(
        ("local",),
        "local: exact derivatives at the values of the case; dgsm, active-subspace: global, from "
        "exact derivatives; morris, sobol: global, without; shapley: global, for correlated "
        "inputs. May be repeated, at once or later into the same folder.",
    )
    target: tuple[str, ...] = option(
        (),
        "QUANTITY[@YEAR], such as soc_stock_0_100@8000, ph[0-25]@12000, calcite_depth, "
        "recovery_years[topsoil]; YEAR is a calendar year of the case. May be repeated. "
        "Default: what suits the case.",
    )
    parameter: tuple[str, ...] = option(
        (),
        "process.parameter, or forcing.NAME, initial.NAME, strength.PROCESS; may be repeated. "
        "Default: all parameters of the case that have a range.",
    )
    inputs: Path | None = option(None, "Inputs with their ranges and priors, TOML.")
    prior: Literal["prior", "uniform"] | None = option(
        None, "Inputs follow their priors (default), or are uniform."
    )
    posterior: Path | None = option(None, "posterior.nc of a fit, whose joint draws are used.")
    samples: int | None = option(
        None,
        "Draws (default 256), trajectories (morris, 50) or base points (sobol, 1024).",
        SEVERAL,
    )
    second: bool = option(False, "Second-order Sobol indices as well.")
    years: int = option(
        12, "How many years of an output that is given without one.", Within(1, 10**5)
    )
    treatment: str | None = option(None, "Which, of a case with several.")
    seed: int = option(0, "Seed of the random numbers; the same seed repeats a run.", SEED)


@dataclasses.dataclass(frozen=True)
class PruneOptions(Options):
    """What a pruned column has to hold, and what is measured besides."""

    target: tuple[str, ...] = option(
        (),
        "Output that has to stay, e.g. soc_stock_0_100 (in every year) or soc_stock_0_100@1990 "
        "(at the end of that calendar year); may be repeated.",
    )
    tolerance: float = option(
        0.01, "Largest relative error of a target.", Within(0.0, 0.999, whole=False, above=True)
    )
    draws: int = option(
        64, "Draws of all parameters that the error has to hold on, for each case.", WHOLE
    )
    unseen: int = option(200, "Other draws, on which the result is judged.", WHOLE)
    quantile: float = option(
        0.95, "Quantile of the draws that has to be within the tolerance.", SHARE
    )
    processes_only: bool = option(False, "Leave layers, slow steps, water and erosion alone.")
    check: tuple[str, ...] = option(
        (), "Another case, on which the result is judged and not chosen; may be repeated."
    )
    ablation: int = option(
        0,
        "Also measure what each process and each two are worth, with total indices from so many "
        "base points, e.g. 16; 0 for nothing of it.",
        WHOLE,
        old="worth",
    )
    calibrate: tuple[str, ...] = option(
        (),
        "Parameter whose posterior from synthetic observations of the targets is compared between "
        "the full and the pruned column; may be repeated.",
    )
    seed: int = option(0, "Seed of the random numbers; the same seed repeats a run.", SEED)
