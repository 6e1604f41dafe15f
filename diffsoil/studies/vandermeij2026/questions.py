"""What the study could not ask: posterior of protection, other numerics, and when MOOH matters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pandas as pd

from diffsoil.cases import read_case
from diffsoil.column import Column
from diffsoil.studies.vandermeij2026 import analysis
from diffsoil.studies.vandermeij2026.family import stocks
from diffsoil.studies.vandermeij2026.fit import Runs
from diffsoil.studies.vandermeij2026.scenarios import Study
from diffsoil.studies.vandermeij2026.suite import families
from diffsoil.work.pool import collect
from diffsoil.work.progress import Say


def variants(study: Study) -> Iterator[tuple[str, str, Study]]:
    """The study with one choice of the model made otherwise: name, what it is, study."""
    text = study.base.text
    events, hard = 'erosion = "events"', 'minimum = "hard"'
    grid = f"layers = {study.base.file.grid.layers}\n"
    grid += f"thickness_m = {study.base.file.grid.thickness_m:g}"
    for part in (events, hard, grid):
        if part not in text:
            raise ValueError(f"the case of the study has no {part!r}")

    def other(old: str, new: str, step: int | None = None) -> Study:
        base = read_case(study.base.path, text.replace(old, new))
        description = study.description
        if step is not None:
            description = description.model_copy(update={"step_years": step})
        return dataclasses.replace(study, base=base, description=description)

    yield "step_5", "slow step of 5 years", other("", "", 5)
    yield "step_2", "slow step of 2 years", other("", "", 2)
    yield "continuous", "erosion all the time, no events", other(events, 'erosion = "continuous"')
    thick, thin = "layers = 20\nthickness_m = 0.1", "layers = 80\nthickness_m = 0.025"
    yield "layers_100_mm", "layers and erosion events of 100 mm", other(grid, thick)
    yield "layers_25_mm", "layers and erosion events of 25 mm, step 5", other(grid, thin, 5)
    kinetic = f'{hard}\ndissolved_iron = "kinetic"'
    yield "kinetic_iron", "iron released without a cap", other(hard, kinetic)
    yield "soft_minimum", "smooth minimum of the mechanisms", other(hard, 'minimum = "soft"')


def convergence(study: Study, runs: Runs, say: Say) -> pd.DataFrame:
    """Every number of the paper under other choices.

    Returns:
        A row for each number: id, tolerance, ours, and a column for each of :func:`variants`.
    """
    table = analysis.paper()[["id", "paper", "tolerance"]]
    found = {"ours": runs.targets(study)}
    for name, what, other in variants(study):
        say(what)
        found[name] = runs.targets(other)
    for name, targets in found.items():
        table[name] = table["id"].map(targets)
    return table


def strength_of_mooh(
    study: Study, runs: Runs, strengths: tuple[float, ...], say: Say
) -> pd.DataFrame:
    """The effect of MOOH alone as its strength B2 grows beyond its bounds.

    The design is balanced: the estimate of m in Table 3 is the mean stock of the runs with MOOH
    alone less that of the runs without protection.

    Args:
        study, runs: what to run.
        strengths: values of B2, dm3/mmol.
        say: told what is done.

    Returns:
        b2, effect_Mg_C_ha, and the largest effect in any run and year.
    """
    chosen = [s for s in runs.scenarios if s.protection in ("n", "m")]
    batches = {chosen[batch.rows[0]].protection: batch for batch in families(study, chosen)}
    windows = analysis.windows(
        ["-".join(chosen[row].erosion) for row in batches["n"].rows], analysis.END
    )

    def smoothed(stock: np.ndarray) -> np.ndarray:
        return analysis.smoothed(stock[:, : analysis.END], windows)

    of = batches["m"].argument
    arguments = [batches["n"].argument]
    for b2 in strengths:
        column: Column = of.column.with_parameters({"protection.b2": b2})
        arguments.append(dataclasses.replace(of, column=column))
    say(f"MOOH at {len(strengths)} strengths")
    none, *strong = collect(stocks, arguments, runs.pool)
    without = smoothed(none["stock"])
    gains = [smoothed(found["stock"]) - without for found in strong]
    return pd.DataFrame(
        {
            "b2": strengths,
            "effect_Mg_C_ha": [float(gain.mean()) for gain in gains],
            "largest_Mg_C_ha": [float(gain.max()) for gain in gains],
        }
    )
