"""Commands that find what matters, and leave out what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from diffsoil.cli.options import (
    Case,
    ExistingFlags,
    WorkerFlags,
    app,
    case_file,
    flags,
    use_device,
)
from sensitivity.options import PruneOptions, StudyOptions

StudyFlags, PruneFlags = flags(StudyOptions), flags(PruneOptions)


@app.command
def sensitivity(
    *cases: Case,
    output: Annotated[
        Path, Parameter(name=["-o", "--output"], help="Folder of indices and report.")
    ],
    options: StudyFlags = StudyFlags(),
    study: Annotated[
        Path | None,
        Parameter(
            show_default=False,
            help="Folder of `diffsoil study run`: its drivers beside the model's total effects.",
        ),
    ] = None,
    existing: ExistingFlags = ExistingFlags(),
    workers: WorkerFlags = WorkerFlags(),
) -> None:
    """Find out which inputs matter for which outputs, when; says what it costs before it starts."""
    paths = [case_file(case) for case in cases]
    use_device("cpu")  # GPUs are for the workers
    from diffsoil.studies.vandermeij2026.drivers import drivers
    from sensitivity.workflow import run_sensitivity

    beside = drivers(study) if study else None
    run_sensitivity(paths, output, options, existing, workers, beside)


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
    options: PruneFlags = PruneFlags(),
    existing: ExistingFlags = ExistingFlags(),
    workers: WorkerFlags = WorkerFlags(),
) -> None:
    """Find the processes that some outputs of some cases can do without."""
    paths = [case_file(case) for case in cases]
    use_device("cpu")  # GPUs are for the workers
    from sensitivity.pruning.workflow import prune_cases

    prune_cases(paths, output, options, existing, workers)
