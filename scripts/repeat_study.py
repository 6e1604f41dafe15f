"""Repeat the study of van der Meij & Finke (2026) and ask what it could not.

    python scripts/repeat_study.py FOLDER            the shipped fitted case, 15 min on two cores
    python scripts/repeat_study.py FOLDER --fit      fit the unstated inputs first, 10 min more

writes FOLDER/runs.zarr (112 runs), FOLDER/report (tables, figures, report.html) and
FOLDER/questions: what changes with the slow step, the layers, erosion without events and other
choices (`choices.csv`), when MOOH would matter (`mooh.csv`), and what the study's results say of
the strengths of protection (`protection.csv`, `protection.png`). A second call goes on where the
first was stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from diffsoil.options import Existing
from diffsoil.studies.vandermeij2026.fit import Runs, fit_study
from diffsoil.studies.vandermeij2026.protection import plot_protection, protection_posterior
from diffsoil.studies.vandermeij2026.questions import convergence, strength_of_mooh
from diffsoil.studies.vandermeij2026.report import write_report
from diffsoil.studies.vandermeij2026.scenarios import load_study
from diffsoil.studies.vandermeij2026.suite import run_study
from diffsoil.work.pool import cluster
from diffsoil.work.progress import say

GO_ON = Existing(resume=True)

STRENGTHS = (5.0, 20.0, 100.0, 500.0, 2500.0, 12500.0)
"""Values of B2, dm3/mmol; the study has 5."""


def main(folder: Path, fit: bool) -> None:
    """Do all of it."""
    case = None
    if fit:
        case = folder / "fitted.toml"
        fit_study(case, existing=GO_ON)
    run_study(folder, case=case, existing=GO_ON)

    questions = folder / "questions"
    questions.mkdir(exist_ok=True)
    study = load_study(case)
    with cluster() as pool:
        runs = Runs(study, pool)
        if not (questions / "mooh.csv").exists():
            table = strength_of_mooh(study, runs, STRENGTHS, say)
            table.to_csv(questions / "mooh.csv", index=False, float_format="%.4g")
        if not (questions / "choices.csv").exists():
            table = convergence(study, runs, say)
            table.to_csv(questions / "choices.csv", index=False, float_format="%.6g")
        if not (questions / "protection.csv").exists():
            posterior = protection_posterior(study, runs, say)
            plot_protection(posterior, questions / "protection.png")
            posterior.summary.assign(
                pareto_k=posterior.pareto_k, polynomial_error=posterior.surrogate.error.max()
            ).to_csv(questions / "protection.csv", index=False, float_format="%.4g")
    write_report(folder, folder / "report", overwrite=True)
    say(f"done: open {folder / 'report' / 'report.html'}")


if __name__ == "__main__":
    names = [word for word in sys.argv[1:] if not word.startswith("-")]
    if len(names) != 1 or set(sys.argv[1:]) - {*names, "--fit"}:
        sys.exit(__doc__)
    main(Path(names[0]), "--fit" in sys.argv)
