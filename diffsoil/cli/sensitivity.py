"""Commands that find what matters, and leave out what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from diffsoil.cli.options import (
    Case,
    Device,
    Overwrite,
    Resume,
    Scheduler,
    Seed,
    Several,
    Share,
    Whole,
    Workers,
    Years,
    app,
    case_file,
    use_device,
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
    paths = [case_file(case) for case in cases]
    use_device("cpu")  # GPUs are for the workers
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
    paths = [case_file(case) for case in cases]
    use_device("cpu")  # GPUs are for the workers
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
        check=[case_file(case) for case in check],
        base_points=worth,
        calibrate=calibrate,
        seed=seed,
        workers=workers,
        scheduler=scheduler,
        device=device,
    )
