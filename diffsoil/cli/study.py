"""Commands of the repeated study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from diffsoil.cli.options import (
    ExistingFlags,
    Overwrite,
    Positive,
    WorkerFlags,
    app,
    use_device,
)

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
    existing: ExistingFlags = ExistingFlags(),
    workers: WorkerFlags = WorkerFlags(),
) -> None:
    """Run the study: 72 runs of 10 000 years, and 40 on to 12 000."""
    use_device("cpu")  # GPUs are for the workers
    from diffsoil.studies.vandermeij2026.suite import run_study

    run_study(output, scenario, case, existing, workers)


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
    case: Annotated[
        str, Parameter(name="--case", help="Case whose inputs are fitted.")
    ] = "loess_study",
    begin: Annotated[
        str | None,
        Parameter(
            show_default=False,
            help="Case whose inputs the search begins from, as an earlier fit. Default: --case.",
        ),
    ] = None,
    steps: Annotated[Positive, Parameter(help="Steps of the search at most.")] = 12,
    existing: ExistingFlags = ExistingFlags(),
    workers: WorkerFlags = WorkerFlags(),
) -> None:
    """Fit what the study does not tell to its results, with one value for all runs."""
    use_device("cpu")  # GPUs are for the workers
    from diffsoil.studies.vandermeij2026.fit import fit_study

    fit_study(output, case, steps, existing, workers, begin)
