"""The command ``diffsoil``. A subcommand's packages are loaded only when it is called."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import os
import platform
import shlex
import signal
import sys
import threading
import tomllib
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, CycloptsError, Parameter, Token

from diffsoil import _runtime

if TYPE_CHECKING:
    import pandas as pd

app = App(
    name="diffsoil",
    help="A differentiable soil column: simulate it, calibrate it, predict with it.",
    version=lambda: metadata.version("diffsoil"),
    default_parameter=Parameter(negative=()),
    suppress_keyboard_interrupt=False,  # main() passes on what it says
)


class UsageError(Exception):
    """What the user asked for cannot be done; the message is one line and says why."""


# Numbers, which are checked before anything is loaded or computed.

MOST_CHAINS = 256
"""JAX gets a device for each on a CPU."""


def _number(
    kind: type[int] | type[float], lower: float, upper: float, above: bool = False
) -> Callable[[Any, Sequence[Token]], float]:
    """Reader of a number between two others; ``above`` leaves the lower one out."""

    def read(of: Any, tokens: Sequence[Token]) -> float:
        (token,) = tokens
        try:
            value = math.nan if "_" in token.value else kind(token.value)
        except ValueError:
            value = math.nan
        if (lower < value if above else lower <= value) and value <= upper:
            return value
        what = "a whole number" if kind is int else "a number"
        bounds = f"above {lower:g} and at most" if above else f"from {lower:g} to"
        raise UsageError(f"{token.keyword} {token.value}: must be {what} {bounds} {upper:.12g}")

    return read


Whole = Annotated[int, Parameter(converter=_number(int, 0, 10**7))]
Positive = Annotated[int, Parameter(converter=_number(int, 1, 10**7))]
Several = Annotated[int, Parameter(converter=_number(int, 2, 10**7))]
Chains = Annotated[int, Parameter(converter=_number(int, 1, MOST_CHAINS))]
Processes = Annotated[int, Parameter(converter=_number(int, 1, 1024))]
Years = Annotated[int, Parameter(converter=_number(int, 1, 10**5))]
Share = Annotated[float, Parameter(converter=_number(float, 0.0, 1.0, above=True))]


# Options that several commands share.

Case = Annotated[str, Parameter(help="A case file, or a name that `diffsoil cases` lists.")]
Overwrite = Annotated[
    bool, Parameter(show_default=False, help="Replace the output if it is there.")
]
Device = Annotated[
    _runtime.Device, Parameter(help="Where to compute; auto takes a GPU where there is one.")
]
Settings = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        show_default=False,
        help="process.parameter=VALUE: fix a parameter at a value; may be repeated.",
    ),
]
Plausible = Annotated[
    tuple[str, ...],
    Parameter(
        show_default=False,
        help="A column or key whose unlikely values are meant; may be repeated.",
    ),
]
Seed = Annotated[
    int,
    Parameter(
        converter=_number(int, 0, 2**32 - 1),
        help="Seed of the random numbers; the same seed repeats a run.",
    ),
]


# Commands.


@app.command
def rothc(
    inputs: Annotated[
        Path,
        Parameter(
            help="Monthly weather and carbon inputs, CSV; or RothC_input.dat of the official "
            "program, version 1 or 2, which holds its site."
        ),
    ],
    /,
    *,
    site: Annotated[
        Path | None, Parameter(show_default=False, help="Site description of a CSV, JSON.")
    ] = None,
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Monthly results, CSV.")],
    plausible: Plausible = (),
    overwrite: Overwrite = False,
    device: Device = "cpu",
) -> None:
    """Run the official single-layer RothC on its own file formats."""
    _use_device(device)
    from diffsoil.rothc import run_files

    run_files(inputs, site, output, overwrite=overwrite, confirmed=plausible)


@app.command
def parameters(
    *,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="Write the table here as CSV.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Show the table of all parameters: default, unit, bounds, prior and source."""
    from diffsoil.cases import parameter_table
    from diffsoil.work.files import OutputFile, table_with

    table = parameter_table()
    if output is None:
        _print_table(table)
        return
    target = OutputFile(output, overwrite, like=table_with(*table.columns[:2]))
    with target, target.writing() as unfinished:
        table.to_csv(unfinished, index=False)


@app.command(name="cases")
def list_cases() -> None:
    """List the cases that come with the package, by name and title."""
    shipped = _shipped_cases()
    width = max(map(len, shipped), default=0)
    for name, path in shipped.items():
        title = tomllib.loads(path.read_text(encoding="utf-8")).get("title", "")
        print(f"{name:{width}}  {title}".rstrip())


@app.command
def migrate(
    case: Case,
    /,
    *,
    output: Annotated[
        Path | None,
        Parameter(name=["-o", "--output"], help="Write the case here instead of printing it."),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Print a case of an older format in the present one; comments stay.

    The file itself stays as it is; to replace it, name it as the output, with --overwrite. Files
    that the case names have to be beside the new one, or among the shipped data.
    """
    from diffsoil.cases import find_case, read_case
    from diffsoil.cases.formats import migrated
    from diffsoil.io import read_text
    from diffsoil.work.files import OutputFile, is_case

    path = find_case(case)
    text = read_text(path)
    file, new = read_case(path, text).file, migrated(text, path)
    if read_case(output or path, new).file != file:  # with the files that it names
        raise RuntimeError(f"{path}: would not mean the same in the present format")
    if output is None:
        print(new, end="")
        return
    target = OutputFile(output, overwrite, like=is_case)
    with target, target.writing() as unfinished:
        unfinished.write_text(new, encoding="utf-8")


@app.command
def simulate(
    case: Case,
    /,
    *,
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Results, netCDF.")],
    settings: Settings = (),
    treatment: Annotated[
        tuple[str, ...],
        Parameter(show_default=False, help="Only this treatment; may be repeated. Default: all."),
    ] = (),
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Run a case through its whole history."""
    path, values = _case_file(case), _values(settings)
    _use_device(device)
    from diffsoil.output.simulation import simulate_file

    simulate_file(
        path, settings=values, output=output, overwrite=overwrite, treatments=list(treatment)
    )


@app.command
def plot(
    run: Annotated[Path, Parameter(help="Results of `diffsoil simulate`, netCDF.")],
    /,
    *,
    output: Annotated[
        Path, Parameter(name=["-o", "--output"], help="Folder of the pictures, PNG.")
    ],
    overwrite: Overwrite = False,
) -> None:
    """Draw the pictures of a run: the soil through time, protection, stocks and profiles."""
    from diffsoil.output.plots import plot_file

    plot_file(run, output, overwrite=overwrite)


@app.command
def calibrate(
    case: Case,
    /,
    *,
    output: Annotated[
        Path, Parameter(name=["-o", "--output"], help="Folder of the posterior, tables and plots.")
    ],
    method: Annotated[
        Literal["map", "laplace", "svi", "flow", "nuts", "smc", "ensemble"],
        Parameter(
            help="map: best fit; laplace: normal approximation around it; svi, flow: nearest "
            "normal, or flow; nuts: full posterior; smc: full posterior with evidence; ensemble: "
            "without gradients."
        ),
    ] = "nuts",
    quick: Annotated[
        bool,
        Parameter(show_default=False, help="A short run that shows how it works; not for papers."),
    ] = False,
    chains: Annotated[
        Chains | None,
        Parameter(
            help="Chains or independent runs; on a CPU they run side by side. Default: 4, 2 with "
            "--quick."
        ),
    ] = None,
    warmup: Annotated[
        Whole | None,
        Parameter(
            help="Steps of each chain that tune the sampler and are dropped; svi and flow take "
            "ten steps of their optimiser for each."
        ),
    ] = None,
    draws: Annotated[
        Positive | None,
        Parameter(
            help="Posterior draws of each chain; particles of smc, members of each ensemble."
        ),
    ] = None,
    slow_step: Annotated[
        Years | None,
        Parameter(
            show_default=False,
            help="Sample with slow steps of up to so many years, and weight the draws to those of "
            "the case; sample again where the weights fail.",
        ),
    ] = None,
    sbc: Annotated[
        Positive | None,
        Parameter(
            name="--sbc",
            show_default=False,
            help="Check the method instead: calibrate so many data sets simulated from the prior, "
            "and see whether their parameters come back (simulation-based calibration).",
        ),
    ] = None,
    seed: Seed = 0,
    strict: Annotated[
        bool, Parameter(show_default=False, help="Exit with 1 when a check of the fit fails.")
    ] = False,
    settings: Settings = (),
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        Parameter(show_default=False, help="Go on with an interrupted run in the output folder."),
    ] = False,
    device: Device = "auto",
) -> int | None:
    """Fit a case's free parameters to its observations."""
    path, values = _case_file(case), _values(settings)
    # chains have a device each, and those are set up before anything is computed
    sampled = method not in ("map", "laplace")
    side_by_side = (2 if quick else 4) if chains is None else chains
    _use_device(device, cpu_devices=side_by_side if sampled else 2)
    from calibration.workflow import calibrate_case

    return calibrate_case(
        path,
        output=output,
        method=method,
        quick=quick,
        chains=chains,
        warmup=warmup,
        draws=draws,
        seed=seed,
        strict=strict,
        settings=values,
        overwrite=overwrite,
        resume=resume,
        slow_step=slow_step,
        sbc=sbc,
    )


@app.command
def predict(
    case: Case,
    /,
    *,
    fit: Annotated[Path, Parameter(help="Folder that `diffsoil calibrate` wrote.")],
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Predictions, CSV.")],
    draws: Annotated[
        Positive | None,
        Parameter(help="Posterior draws to use. Default: enough for the quantiles."),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Predict a case's observations with a fit's posterior; the case may be a new site."""
    path = _case_file(case)
    _use_device(device)
    from calibration.workflow import predict_case

    predict_case(path, fit=fit, output=output, draws=draws, seed=seed, overwrite=overwrite)


Fit = Annotated[
    Path, Parameter(help="Folder that `diffsoil calibrate` or `diffsoil assimilate` wrote.")
]


@app.command
def assimilate(
    fit: Fit,
    /,
    *,
    observations: Annotated[
        Path, Parameter(help="New observations, CSV, in the format of those of the case.")
    ],
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Folder of the updated fit.")],
    drivers: Annotated[
        Path | None,
        Parameter(
            show_default=False,
            help="Case whose weather, management and last year replace those of the fit, for "
            "observations after its last year.",
        ),
    ] = None,
    method: Annotated[
        Literal["auto", "weights", "refit"],
        Parameter(
            help="auto: weight the draws of the fit, and refit to all data where the weights fail."
        ),
    ] = "auto",
    draws: Annotated[
        Several | None, Parameter(help="Draws to weight. Default: 600, or all of a smaller fit.")
    ] = None,
    seed: Seed = 0,
    strict: Annotated[
        bool, Parameter(show_default=False, help="Exit with 1 when a check of the fit fails.")
    ] = False,
    plausible: Plausible = (),
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        Parameter(show_default=False, help="Go on with an interrupted refit in the output folder."),
    ] = False,
    device: Device = "auto",
) -> int | None:
    """Bring new monitoring into a fit; the result is a fit that can be updated again."""
    _use_device(device, cpu_devices=_chains_of(fit))
    from calibration.twin.assimilation import assimilate_case

    return assimilate_case(
        fit,
        observations,
        output,
        method=method,
        draws=draws,
        seed=seed,
        strict=strict,
        overwrite=overwrite,
        resume=resume,
        drivers=drivers,
        confirmed=plausible,
    )


@app.command
def forecast(
    fit: Fit,
    /,
    *,
    scenario: Annotated[
        str,
        Parameter(help="Management options from the last year of the record on, TOML; or a name."),
    ],
    output: Annotated[
        Path, Parameter(name=["-o", "--output"], help="Folder of tables, pictures and report.")
    ],
    draws: Annotated[
        Positive | None,
        Parameter(help="Posterior draws to use. Default: 600, or all of a smaller fit."),
    ] = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Forecast management options with a fit, and how probable their differences are."""
    _use_device(device, cpu_devices=2)
    from calibration.twin.forecast import forecast_case

    forecast_case(fit, scenario, output, draws=draws, seed=seed, overwrite=overwrite)


study = App(name="study", help="Repeat the study of van der Meij & Finke (2026).")
app.command(study)

StudyCase = Annotated[
    str | None,
    Parameter(
        name="--case",
        show_default=False,
        help="Case that all runs have in common. Default: the one fitted to the study.",
    ),
]
Workers = Annotated[
    Processes | None,
    Parameter(
        show_default=False, help="Processes that compute side by side. Default: one for each core."
    ),
]
Scheduler = Annotated[
    str | None,
    Parameter(
        show_default=False,
        help="Address of a dask scheduler, tcp://HOST:PORT, whose workers compute.",
    ),
]
Resume = Annotated[bool, Parameter(show_default=False, help="Go on where a stopped one ended.")]


@study.command(name="list")
def study_list(
    scenario: Annotated[
        str | None, Parameter(show_default=False, help="Print the case file of this run.")
    ] = None,
    /,
    *,
    case: StudyCase = None,
) -> None:
    """List the runs of the study, or print one of them as a case file."""
    from diffsoil.studies.vandermeij2026.scenarios import load_study

    of = load_study(case)
    if scenario is not None:
        print(of.text(of.chosen([scenario])[0]), end="")
        return
    for run in of.scenarios:
        print(f"{run.name:<62} {of.until(run):>6} years")


@study.command(name="run")
def study_run(
    *,
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Folder of the results.")],
    scenario: Annotated[
        tuple[str, ...],
        Parameter(show_default=False, help="Only this run; may be repeated. Default: all."),
    ] = (),
    case: StudyCase = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Run the study: 72 runs of 10 000 years, and 40 on to 12 000."""
    _use_device("cpu")  # GPUs are for the workers
    from diffsoil.studies.vandermeij2026.suite import run_study

    run_study(
        output,
        scenarios=scenario,
        case=case,
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
        resume=resume,
        device=device,
    )


@study.command(name="report")
def study_report(
    runs: Annotated[Path, Parameter(help="Folder that `diffsoil study run` wrote.")],
    /,
    *,
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="Folder of the report.")],
    overwrite: Overwrite = False,
) -> None:
    """Tables, figures and a verdict for every finding of the study."""
    from diffsoil.studies.vandermeij2026.report import write_report

    write_report(runs, output, overwrite=overwrite)


@study.command(name="fit")
def study_fit(
    *,
    output: Annotated[Path, Parameter(name=["-o", "--output"], help="The fitted case, TOML.")],
    case: Annotated[str, Parameter(name="--case", help="Case to begin from.")] = "loess_study",
    steps: Annotated[Positive, Parameter(help="Steps of the search at most.")] = 12,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Fit what the study does not tell to its results, with one value for all runs."""
    _use_device("cpu")  # GPUs are for the workers
    from diffsoil.studies.vandermeij2026.fit import fit_study

    fit_study(
        output,
        case=case,
        steps=steps,
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
        resume=resume,
        device=device,
    )


@app.command
def sensitivity(
    *cases: Case,
    output: Annotated[
        Path, Parameter(name=["-o", "--output"], help="Folder of indices and report.")
    ],
    method: Annotated[
        tuple[Literal["local", "dgsm", "active-subspace", "shapley", "morris", "sobol"], ...],
        Parameter(
            help="local: exact derivatives at the values of the case; dgsm, active-subspace: "
            "global, from exact derivatives; morris, sobol: global, without; shapley: global, "
            "for correlated inputs. May be repeated, at once or later into the same folder."
        ),
    ] = ("local",),
    outputs: Annotated[
        tuple[str, ...],
        Parameter(
            name="--target",
            show_default=False,
            help="QUANTITY[@YEAR], such as soc_stock_0_100@8000, ph[0-25]@12000, calcite_depth, "
            "recovery_years[topsoil]; YEAR is a calendar year of the case. May be repeated. "
            "Default: what suits the case.",
        ),
    ] = (),
    parameter: Annotated[
        tuple[str, ...],
        Parameter(
            show_default=False,
            help="process.parameter, or forcing.NAME, initial.NAME, strength.PROCESS; may be "
            "repeated. Default: all parameters of the case that have a range.",
        ),
    ] = (),
    inputs: Annotated[
        Path | None,
        Parameter(show_default=False, help="Inputs with their ranges and priors, TOML."),
    ] = None,
    prior: Annotated[
        Literal["prior", "uniform"] | None,
        Parameter(show_default=False, help="Inputs follow their priors (default), or are uniform."),
    ] = None,
    posterior: Annotated[
        Path | None,
        Parameter(show_default=False, help="posterior.nc of a fit, whose joint draws are used."),
    ] = None,
    samples: Annotated[
        Several | None,
        Parameter(
            show_default=False,
            help="Draws (default 256), trajectories (morris, 50) or base points (sobol, 1024).",
        ),
    ] = None,
    second: Annotated[
        bool, Parameter(show_default=False, help="Second-order Sobol indices as well.")
    ] = False,
    years: Annotated[
        Years, Parameter(help="How many years of an output that is given without one.")
    ] = 12,
    treatment: Annotated[
        str | None, Parameter(show_default=False, help="Which, of a case with several.")
    ] = None,
    study: Annotated[
        Path | None,
        Parameter(
            show_default=False,
            help="Folder of `diffsoil study run`: its drivers beside the model's total effects.",
        ),
    ] = None,
    seed: Seed = 0,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Find out which inputs matter for which outputs, when; says what it costs before it starts."""
    paths = [_case_file(case) for case in cases]
    _use_device("cpu")  # GPUs are for the workers
    from diffsoil.studies.vandermeij2026.drivers import drivers
    from sensitivity.workflow import run_sensitivity

    run_sensitivity(
        paths,
        output,
        methods=method,
        outputs=outputs,
        parameters=parameter,
        inputs=inputs,
        prior=prior,
        posterior=posterior,
        samples=samples,
        seed=seed,
        years=years,
        second=second,
        treatment=treatment,
        study=drivers(study) if study else None,
        workers=workers,
        scheduler=scheduler,
        overwrite=overwrite,
        resume=resume,
        device=device,
    )


@app.command
def prune(
    cases: Annotated[
        tuple[str, ...],
        Parameter(show_default=False, help="Case files, or names that `diffsoil cases` lists."),
    ],
    /,
    *,
    output: Annotated[
        Path,
        Parameter(
            name=["-o", "--output"],
            help="The pruned first case, TOML; others and the report go beside it.",
        ),
    ],
    target: Annotated[
        tuple[str, ...],
        Parameter(
            help="Output that has to stay, e.g. soc_stock_0_100 (in every year) or "
            "soc_stock_0_100@1990 (at the end of that calendar year); may be repeated."
        ),
    ],
    tolerance: Annotated[Share, Parameter(help="Largest relative error of a target.")] = 0.01,
    draws: Annotated[
        Whole,
        Parameter(help="Draws of all parameters that the error has to hold on, for each case."),
    ] = 64,
    unseen: Annotated[Whole, Parameter(help="Other draws, on which the result is judged.")] = 200,
    quantile: Annotated[
        Share, Parameter(help="Quantile of the draws that has to be within the tolerance.")
    ] = 0.95,
    processes_only: Annotated[
        bool,
        Parameter(show_default=False, help="Leave layers, slow steps, water and erosion alone."),
    ] = False,
    check: Annotated[
        tuple[Case, ...],
        Parameter(
            show_default=False,
            help="Another case, on which the result is judged and not chosen; may be repeated.",
        ),
    ] = (),
    worth: Annotated[
        Whole,
        Parameter(
            help="Also measure what each process and each two are worth, with total indices from "
            "so many base points, e.g. 16; 0 for nothing of it."
        ),
    ] = 0,
    calibrate: Annotated[
        tuple[str, ...],
        Parameter(
            show_default=False,
            help="Parameter whose posterior from synthetic observations of the targets is compared "
            "between the full and the pruned column; may be repeated.",
        ),
    ] = (),
    seed: Seed = 0,
    workers: Workers = None,
    scheduler: Scheduler = None,
    overwrite: Overwrite = False,
    resume: Resume = False,
    device: Device = "auto",
) -> None:
    """Find the processes that some outputs of some cases can do without."""
    paths = [_case_file(case) for case in cases]
    _use_device("cpu")  # GPUs are for the workers
    from sensitivity.pruning.workflow import prune_cases

    prune_cases(
        paths,
        output,
        target,
        tolerance,
        overwrite=overwrite,
        resume=resume,
        draws=draws,
        unseen=unseen,
        quantile=quantile,
        cheaper=not processes_only,
        check=[_case_file(case) for case in check],
        base_points=worth,
        calibrate=calibrate,
        seed=seed,
        workers=workers,
        scheduler=scheduler,
        device=device,
    )


@app.command
def benchmark(
    *,
    output: Annotated[
        Path | None, Parameter(name=["-o", "--output"], help="Also write the table here as CSV.")
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
) -> None:
    """Measure speed, memory and compile time on this machine."""
    _use_device(device)
    from diffsoil.benchmark import run

    run(output, overwrite=overwrite)


# What the commands share.


def _use_device(device: _runtime.Device, cpu_devices: int = 1) -> None:
    try:
        _runtime.use_device(device, cpu_devices)
    except RuntimeError as error:
        raise UsageError(str(error)) from error


def _chains_of(fit: Path) -> int:
    """Chains of a fit, which a refit runs side by side; 2 where it does not say."""
    try:
        chains = json.loads((fit / "fit.json").read_text(encoding="utf-8"))["chains"]
    except (OSError, ValueError, KeyError, TypeError):
        return 2  # what is wrong with the folder is said when it is read
    return chains if isinstance(chains, int) and 1 <= chains <= MOST_CHAINS else 2


def _shipped_cases() -> dict[str, Path]:
    from diffsoil.io import data_path

    return {path.stem: path for path in sorted(data_path("cases").glob("*.toml"))}


def _case_file(case: str) -> Path:
    """Path of a case given by its path or, when there is no such file, by its name."""
    from diffsoil.cases import find_case

    return find_case(case)


def _values(settings: Sequence[str]) -> dict[str, float]:
    """Parameter values out of ``process.parameter=VALUE``."""
    from diffsoil.tables import number

    values = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            value = number(text) if "." in name else math.nan
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UsageError(f"--set {setting}: must be process.parameter=NUMBER")
        if name in values:
            raise UsageError(f"--set {setting}: {name} is set twice")
        values[name] = value
    return values


def _print_table(table: pd.DataFrame) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    numeric = {"default", "lower", "upper"}
    shown = Table(box=box.SIMPLE_HEAD)
    # The transform follows from the bounds; it is in the CSV.
    names = [name for name in table.columns if name != "transform"]
    for name in names:
        shown.add_column(
            name,
            justify="right" if name in numeric else "left",
            overflow="fold",
            no_wrap=name in numeric | {"name", "unit"},
        )
    for row in table[names].to_dict("records"):
        shown.add_row(*(f"{v:g}" if k in numeric else str(v) for k, v in row.items()))
    # A pipe has no width of its own; 80 columns would break every row.
    Console(width=None if sys.stdout.isatty() else 180, markup=False).print(shown)


# Errors.

LONGEST_LINE = 400
"""Characters; the middle of a longer line is left out."""


AGAIN_SECONDS = 0.05
"""After which an interrupt that was swallowed comes again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and turn what goes wrong into a message and an exit code.

    Args:
        arguments: words after ``diffsoil``; those of the process when not given.

    Returns:
        0; 1 for a failed check or a bug; 2 when the user can mend it; 128 and the number of the
        signal when interrupted (130 for Ctrl-C, 143 for SIGTERM) or when the reader of the
        output has left (141).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _open_streams()
    if arguments is None and not sys.warnoptions:
        _silence_libraries()
    with _interruptible() as signals:
        try:
            result = app(
                words, result_action="return_value", exit_on_error=False, print_error=False
            )
            sys.stdout.flush()
        except KeyboardInterrupt as interrupt:
            _say("; ".join(["interrupted", *map(str, interrupt.args)]))
            return 128 + (signals[0] if signals else signal.SIGINT)
        except BrokenPipeError:
            _discard_output()
            return 128 + signal.SIGPIPE
        except Exception as error:
            _discard_output()
            lines = _what_to_mend(error)
            if not lines:
                _report(words)
                return 1
            for line in lines:
                _say(f"error: {line}")
            return 2
    return result if isinstance(result, int) else 0


def _open_streams() -> None:
    """Make sure that there is a place for messages, and that it takes every character."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file to be opened would take its number
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence_libraries() -> None:
    """Hide the warnings of libraries; what matters to a user is an error or a result."""
    warnings.simplefilter("ignore")
    if logging.lastResort is not None:
        logging.lastResort.setLevel(logging.ERROR)


@contextlib.contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Let SIGTERM, and a terminal that goes away, interrupt as Ctrl-C does, once.

    Yields:
        The signals that came.
    """
    came: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:  # later ones would break off what the first lets end well
            raise KeyboardInterrupt

    def again(swallowed: sys.UnraisableHookArgs) -> None:
        """An interrupt that came inside a callback of a library, which can raise nothing."""
        if issubclass(swallowed.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT)).start()
        else:
            usual_hook(swallowed)

    usual_hook, sys.unraisablehook = sys.unraisablehook, again
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)}
    taken = [n for n, usual in before.items() if usual == signal.SIG_DFL]  # nohup ignores one
    for number in taken:
        signal.signal(number, interrupt)
    try:
        yield came
    finally:
        sys.unraisablehook = usual_hook
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _discard_output() -> None:
    """Drop what could not be printed: Python would try, and complain, once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # nobody listens
        print(f"diffsoil: {line}", file=sys.stderr, flush=True)


def _what_to_mend(error: Exception) -> list[str]:
    """Lines on what a user can mend: a word, a file, a disk, a number; none of a bug of ours."""
    # Not imported here: who raises InputError has loaded it, and --help need not.
    files = sys.modules.get("diffsoil.io")
    if files is not None and isinstance(error, files.InputError):
        return [_shortened(line) for line in str(error).splitlines()]
    text = str(error)
    if isinstance(error, OSError):  # no such folder, no permission, disk full
        reason = error.strerror or text or type(error).__name__
        text = reason if error.filename is None else f"{error.filename}: {reason}"
    elif isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text:
        text = f"not enough memory: {text}" if text else "not enough memory"
    elif isinstance(error, UnicodeError | EOFError | zipfile.BadZipFile | zlib.error):
        text = f"a file is damaged or of another kind: {text}"
    elif not isinstance(error, CycloptsError | UsageError):
        return []
    return [_shortened(text)]


def _shortened(text: str) -> str:
    line, half = " ".join(text.split()), LONGEST_LINE // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]} ... {line[-half:]}"


def _report(words: Sequence[str]) -> None:
    """Say what somebody who mends a bug needs to know."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("diffsoil", "jax"))
    system = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    with contextlib.suppress(OSError):
        traceback.print_exc()
    command = _shortened(shlex.join(["diffsoil", *words]))
    _say(f"internal error; please report the lines above, and: {command} ({versions}, {system})")
