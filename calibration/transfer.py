"""A fit carried to another case: what of it holds there, where the two differ, and prediction."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import pandas as pd
from scipy.special import logsumexp

from calibration import (
    compatibility,
    depth,
    pooling,
    prediction,
    prediction_report,
    saved_fit,
    treatments,
)
from calibration.likelihood import found_errors
from calibration.observations import Known, read
from calibration.prediction_report import Predicted
from calibration.problem import Problem
from diffsoil.cases import Case, load_case, set_parameters
from diffsoil.cases.arrays import build
from diffsoil.cases.fingerprint import case_files
from diffsoil.column import CHOICES, Column
from diffsoil.io import InputError
from diffsoil.parameters import Prior
from diffsoil.work.folder import OutputFolder
from diffsoil.work.output_file import OutputFile, table_with
from diffsoil.work.progress import Clock, Say

INPUT_FACTOR = "vegetation.input_factor."

KEYS = ("column", *CHOICES, "processes", "without", "protection", "minimum")
"""Keys of a case that choose processes."""


@dataclasses.dataclass(frozen=True)
class Transfer:
    """A fit and the case that it is carried to.

    Attributes:
        column: of the case, with the values that the fit kept fixed.
        free: what is drawn: parameters of the fit, and those that it does not know, with priors.
        known: what the fit knows of measurements.
        notes: where the case differs from that of the fit, in one line each.
        pooled: what differs between sites or treatments, by the fit or by the case.
    """

    column: Column
    free: Mapping[str, Prior | None]
    known: Known
    notes: tuple[str, ...]
    pooled: pooling.Pooling


def transfer(fit: saved_fit.Fit, case: Case) -> Transfer:
    """Carry a fit to a case, perhaps of another site.

    The values that the fit kept fixed (``[set]`` of its case, ``--set``) are taken over. Its free
    parameters have its draws; an input group that it does not know, and whatever else the case
    frees, has a prior.

    Raises:
        diffsoil.io.InputError: the case sets a parameter to another value than the fit did.
    """
    of_fit = fit.case()
    fixed = {**of_fit.file.set, **fit.settings.set}
    fixed = {name: value for name, value in fixed.items() if name not in fit.names}
    table = case.column().parameters()
    for name, value in case.file.set.items():
        if name in fixed and not math.isclose(value, fixed[name], rel_tol=1e-9):
            raise InputError(
                f"{case.path}: set: {name} = {value:g}, but the fit was made with "
                f"{fixed[name]:g} ({fit.file.parent}); take it out of [set], or calibrate anew"
            )
    fixed = {name: value for name, value in fixed.items() if name in table}
    column = set_parameters(case.column(), fixed, fit.file, "set")
    fit.check_parameters(column)
    own = case.priors()
    new = [INPUT_FACTOR + g for g in case.input_groups if g not in of_fit.input_groups]
    free = {name: prior for name, prior in own.items() if name in table and name not in fixed}
    free |= {name: own.get(name) for name in fit.names if name in table}
    free |= {name: own.get(name) for name in new if name not in case.file.set}
    methods = of_fit.file.observations.method_factors if of_fit.file.observations else []
    observed = read(of_fit, build(of_fit))
    known = Known(observed, found_errors(observed, of_fit), tuple(methods))
    notes = (*_choices(of_fit, case), *_values(fit, of_fit, case, fixed))
    pooled = {**pooling.pooling(case), **pooling.pooling(of_fit)}
    return Transfer(column, free, known, notes, pooled)


def _choices(fit: Case, case: Case) -> list[str]:
    """Choices of processes that are not those of the fit."""
    pairs = [(key, getattr(fit.file, key), getattr(case.file, key)) for key in KEYS]
    return [f"{key}: {here!r} here, {there!r} in the fit" for key, there, here in pairs
            if there != here]  # fmt: skip


def _values(fit: saved_fit.Fit, of_fit: Case, case: Case, fixed: Mapping[str, float]) -> list[str]:
    """Values that one of the two sets and the other does not."""
    taken = [f"{n} = {v:g}" for n, v in fixed.items() if n not in case.file.set]
    freed = [name for name in fixed if name in case.file.free]
    drawn = [name for name in case.file.set if name in fit.names]
    declared = fit.column(of_fit).values()
    apart = [
        f"{name} = {value:g} (the fit: {float(declared[name]):g})"
        for name, value in case.file.set.items()
        if name in declared
        and name not in {*fixed, *drawn}
        and not math.isclose(value, float(declared[name]), rel_tol=1e-9)
    ]
    told: list[tuple[str, list[str]]] = [
        ("taken over from the fit", taken),
        ("free in this case, fixed in the fit", freed),
        ("set in this case, drawn from the fit", drawn),
        ("set in this case alone", apart),
    ]
    return [f"{what}: {', '.join(names)}" for what, names in told if names]


def predict(
    fit: saved_fit.Fit,
    case: Case | Path | str,
    draws: int | None = None,
    seed: int = 0,
    say: Say | None = None,
) -> pd.DataFrame:
    """Predict the observations of a case with the posterior of a fit.

    See :func:`transfer` for what of the fit holds in the case. A parameter that the fit does not
    know (the input of a new site) is drawn from its prior.

    Args:
        fit: the fit.
        case: a case, its name or its path.
        draws: posterior draws to use; enough for the quantiles, or all of a smaller fit, if not
            given.
        seed: of the draws from priors and of the measurement error.
        say: called with lines of progress; they are printed if not given.

    Returns:
        The observations with their predictive distribution, see
        :func:`calibration.prediction.table`; ``fitted`` says which the fit was fitted to.

    Raises:
        InputError: the fit does not hold in the case, or predictions are not finite.
    """
    read = case if isinstance(case, Case) else load_case(case)
    return _predicted(fit, read, draws, seed, say or Clock()).table


def _predicted(fit: saved_fit.Fit, case: Case, draws: int | None, seed: int, say: Say) -> Predicted:
    carried = transfer(fit, case)
    for note in carried.notes:
        say(note)
    compatibility.check_same_model(fit)
    problem = Problem(case, carried.column, carried.free, carried.known, carried.pooled)
    rows = prediction.evenly(len(fit.draws), draws or prediction.PREDICTED_DRAWS)
    chosen, wanted = fit.draws[rows], len(rows)
    x = np.array(problem.priors.sample(jax.random.key(seed), wanted))
    for i, name in enumerate(problem.names):
        if name in fit.names:
            x[:, i] = chosen[:, fit.names.index(name)]
    if new := [name for name in problem.names if name not in fit.names]:
        say(f"not in the fit, drawn from their priors: {', '.join(new)}")
    say(f"predicting {len(problem.table)} observations with {wanted} draws")
    predicted = prediction.predict_draws(problem, x, say)
    if lost := int((~np.isfinite(predicted.expected)).any(axis=1).sum()):
        raise InputError(f"{case.path}: predictions of {lost} of {wanted} draws are not finite")
    table = prediction.table(problem, predicted, seed)
    terms = np.asarray(predicted.log_likelihood)
    table["log_density"] = logsumexp(terms, axis=0) - math.log(len(terms))
    drawn = prediction.in_memory(predicted)
    return Predicted(
        table=table,
        sides=treatments.sides(table, prediction.errors(problem, drawn, seed)),
        profile=depth.table(problem, drawn),
        parameters=_origins(fit, problem, carried, x),
        notes=carried.notes,
    )


def _origins(
    fit: saved_fit.Fit, problem: Problem, carried: Transfer, x: np.ndarray
) -> pd.DataFrame:
    """A row for each parameter that is not simply its default: value, spread, and where from."""
    rows = [
        {
            "parameter": parameter.name,
            "from": "fit" if parameter.name in fit.names else "prior",
            "mean": float(x[:, i].mean()),
            "sd": float(x[:, i].std()),
            "unit": parameter.unit,
        }
        for i, parameter in enumerate(problem.parameters)
    ]
    declared, own = carried.column.parameters(), problem.case.file.set
    for name, value in carried.column.values().items():
        if name in problem.names or float(value) == declared[name].default:
            continue
        rows.append(
            {
                "parameter": name,
                "from": "set in the case" if name in own else "fixed in the fit",
                "mean": float(value),
                "sd": 0.0,
                "unit": declared[name].unit,
            }
        )
    return pd.DataFrame(rows)


def predict_case(
    case: Path | str,
    fit: Path,
    output: Path,
    draws: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Write what :func:`predict` predicts: to a CSV, or to a folder with scores and a report.

    Args:
        case: a case file, or the name of one.
        fit: folder of the fit.
        output: a CSV if its name ends so, or else a folder.
        draws, seed: as for :func:`predict`.
        overwrite: replace an older prediction.

    Raises:
        InputError: as :func:`predict`, or an output that may not be written.
    """
    say = Clock()
    read = load_case(case)
    inputs = [*case_files(read), fit]
    if Path(output).suffix == ".csv":
        like = table_with("latent_mean", "latent_sd")
        target = OutputFile(output, overwrite, like=like, inputs=inputs)
        found = saved_fit.load(fit)
        with target:
            predicted = _predicted(found, read, draws, seed, say)
            with target.writing() as part:
                predicted.table.to_csv(part, index=False)
        say(f"done: {output}")
        return
    place = OutputFolder(output, prediction_report.KIND, overwrite=overwrite, inputs=inputs)
    found = saved_fit.load(fit)
    with place:
        predicted = _predicted(found, read, draws, seed, say)
        say(prediction_report.write(read, predicted, place.work))
    say(f"done: open {place.path / 'report.html'}")
