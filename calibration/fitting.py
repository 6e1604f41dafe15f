"""The verb of calibration: a case or a problem, a method, and a fit that is kept in a folder."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array

from calibration import checks, prediction, results, saved_fit, store
from calibration.methods import importance, mode
from calibration.methods.method import Method
from calibration.methods.posterior import Draws, side_by_side
from calibration.methods.surrogate import Surrogate
from calibration.posterior import Posterior
from calibration.problem import Problem
from calibration.results import Facts, Outcome
from calibration.slow_step import coarser
from diffsoil.cases import Case, load_case, set_parameters
from diffsoil.cases.fingerprint import case_files
from diffsoil.column import Column
from diffsoil.io import InputError
from diffsoil.options import Existing
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.folder import OutputFolder
from diffsoil.work.progress import Clock, Say


def fit(
    case: Problem | Case | Path | str,
    method: Method | None = None,
    folder: Path | str | None = None,
    *,
    seed: int = 0,
    settings: dict[str, float] | None = None,
    slow_step: int | None = None,
    existing: Existing = Existing(),
) -> saved_fit.Fit:
    """Calibrate, and return what has come of it.

    Args:
        case, method, seed, settings, slow_step, existing: see :func:`calibrate_case`;
            a surrogate with its full settings if no method is given.
        folder: where work is kept and results go; a temporary one, which lasts as long as the
            fit is held, if not given. :meth:`calibration.saved_fit.Fit.save` copies it.

    Raises:
        InputError: as :func:`calibrate_case`.
    """
    scratch = saved_fit.Scratch() if folder is None else None
    place = scratch.path / "fit" if scratch else Path(folder or "")
    calibrate_case(
        case,
        place,
        Surrogate() if method is None else method,
        seed=seed,
        settings=settings,
        slow_step=slow_step,
        existing=existing,
    )
    return dataclasses.replace(saved_fit.load(place), scratch=scratch)


def calibrate_case(
    case: Problem | Case | Path | str,
    output: Path,
    method: Method,
    *,
    seed: int = 0,
    settings: dict[str, float] | None = None,
    slow_step: int | None = None,
    existing: Existing = Existing(),
) -> pd.DataFrame:
    """Calibrate a case and write posterior, tables, figures and a report to a folder.

    Args:
        case: a case, its name or path, or a problem that was made of one.
        output: folder; made if it is not there.
        method: how the posterior is found, with its settings.
        seed: same seed, same result.
        settings: parameter values to fix differently from the case; a problem has its own.
        slow_step: sample with slow steps of up to so many years, and correct by weights to those
            of the case; sampled again with those where the weights fail.
        existing: what to do with a folder that holds something already.

    Returns:
        The checks of the fit; see :func:`calibration.checks.checks`.

    Raises:
        InputError: the case or the folder cannot be used, or a problem frees or computes something
            else than its case, so that the fit could not be read again.
    """
    say = Clock()
    read, column, fixed = _asked(case, settings or {})
    place = store.folder_of(output, existing, case_files(read))
    if slow_step is not None:
        if not method.has_density:
            raise InputError(
                f"--slow-step {slow_step}: --method {method.name} has no density to weigh by"
            )
        coarser(read, slow_step)  # or an error, before anything is computed
    wanted = store.Settings.of(read, method, seed, fixed, slow_step or 0)
    with place:
        begun = store.go_on(place, wanted)
        if not place.finished:
            say(f"{read.file.title}")
            problem = case if isinstance(case, Problem) else Problem(read, column)
            say(_size(problem))
            if not begun:
                store.begin(place, wanted, read)
            draw(problem, wanted, place, say, begun)
    found = checks.read(place.path)
    failed, unknown = int((~found["passed"]).sum()), int(found["value"].isna().sum())
    say(
        f"{len(found) - failed - unknown} checks passed, {failed} failed, {unknown} do not "
        f"apply: {place.path / 'checks.csv'}"
    )
    say(f"done: open {place.path / 'report.html'}")
    return found


def _asked(
    case: Problem | Case | Path | str, fixed: dict[str, float]
) -> tuple[Case, Column, dict[str, float]]:
    """The case, its column, and the values that are fixed differently from it."""
    if not isinstance(case, Problem):
        read = case if isinstance(case, Case) else load_case(case)
        return read, set_parameters(read.column(), fixed, "--set", "calibrate"), fixed
    declared = case.case.column()
    alike = jax.tree.structure(case.column) == jax.tree.structure(declared)  # type: ignore[operator]
    if fixed or not (case.of_case and alike):
        raise InputError(
            f"{case.case.path}: the problem has other processes, free parameters or fixed values "
            "than its case, with which the fit could not be read again; say so in the case"
        )
    before = declared.values()
    own = {name: float(value) for name, value in case.column.values().items()}
    return case.case, case.column, {n: v for n, v in own.items() if v != float(before[n])}


def _size(problem: Problem) -> str:
    """What there is to fit, in a line."""
    fitted, case = int(problem.table["fitted"].sum()), problem.case
    return (
        f"{fitted} observations to fit, {len(problem.table) - fitted} kept out, "
        f"{len(problem.names)} free parameters, {len(problem.members)} treatments, "
        f"years {case.file.start_year} to {case.end_year}"
    )


def draw(
    problem: Problem, wanted: store.Settings, place: OutputFolder, say: Say, resume: bool
) -> None:
    """Draw, predict, check and report, in a folder of a fit that has been begun.

    Args:
        problem, wanted, place: what is fitted, how, and where it goes.
        say: progress lines.
        resume: go on with what is there; a start of the method is taken as it is.
    """
    coarse = None
    if wanted.slow_step:
        coarse = Problem(coarser(problem.case, wanted.slow_step), problem.column)
        steps = ", ".join(str(phase.step_years) for phase in coarse.case.file.history)
        say(f"sampling with slow steps of {steps} years")
    began = time.monotonic()
    try:
        start = started(coarse or problem, wanted, place.work, say, resume)
        # from here on in the coordinates in which this posterior is best sampled
        first, normal = mode.recentred(coarse or problem, start.normal)
        problem, coarse = problem.recentred(first.centred), coarse and first
        start = start._replace(normal=normal)
        drawn, predicted, weights, facts = sampled(
            problem, coarse, start, wanted, place.work, say, resume
        )
    except KeyboardInterrupt:
        _keep_finished(problem, wanted.method, place.work)
        raise KeyboardInterrupt(
            f"finished work is kept in {place.given}; go on with --resume"
        ) from None
    facts["seconds"] = time.monotonic() - began
    outcome = _weighted(problem, wanted, drawn, predicted, weights, facts)
    results.write(problem, wanted, place.work, outcome, say)
    store.complete(place)


def started(
    problem: Problem, wanted: store.Settings, folder: Path, say: Say, resume: bool
) -> mode.Start:
    """Where the method begins: at the best fit, if it searches for one."""
    if wanted.method.searches:
        return mode.start(problem, wanted.method, wanted.seed, folder, say, resume)
    return mode.Start(mode.wide(np.asarray(problem.reparameterization.unbounded(problem.defaults))))


def sampled(
    problem: Problem,
    coarse: Problem | None,
    start: mode.Start,
    wanted: store.Settings,
    folder: Path,
    say: Say,
    resume: bool,
) -> tuple[Draws, prediction.Predicted, importance.Weights | None, Facts]:
    """Draws, their predictions, and how they are to be weighted.

    With a coarse problem that one is sampled; where weights cannot correct its draws, the
    problem itself is, from there.
    """

    def kept(name: str) -> Checkpoints:
        return Checkpoints(folder / name, resume, say)

    method = wanted.method
    drawn = method.draw(coarse or problem, start.normal, wanted.seed, kept(method.name), say)
    facts: Facts = {"method": method.name}
    if len(start.worse):
        facts |= {"searches": len(start.worse) + 1, "elsewhere": start.elsewhere}
    facts |= {"gradients": drawn.gradients, "runs": drawn.runs + float(start.runs), **drawn.facts}
    if drawn.log_evidence is not None:
        facts["log_evidence"] = [float(v) for v in drawn.log_evidence]
    if coarse is not None:
        drawn = drawn._replace(predicted=None)  # of the coarse slow steps
    if coarse is not None and drawn.log_proposal is None:
        drawn = drawn._replace(log_proposal=_densities(coarse.posterior, drawn.z))
    predicted, weights = predictions(problem, drawn, kept(prediction.NAME), say)
    if coarse is not None and weights is not None and not weights.trusted:
        say("the coarse slow step cannot be corrected by weights: sampling with the case's own")
        facts["coarse_k"] = weights.k
        warm = mode.moments(drawn.z, 1e-9)
        drawn = method.draw(problem, warm, wanted.seed, kept(f"fine/{method.name}"), say)
        facts["gradients"] += drawn.gradients
        predicted, weights = predictions(problem, drawn, kept("predicted_fine"), say)
    if weights is not None:
        facts |= {"pareto_k": weights.k, "effective": weights.effective}
    return drawn, predicted, weights, facts


def _densities(posterior: Posterior, z: np.ndarray) -> np.ndarray:
    """Logarithm of the posterior density at draws by chain."""

    def some(z: Array, posterior: Posterior) -> Array:
        return jax.lax.map(lambda one: posterior(one), z)

    return np.asarray(side_by_side(some, len(z), 1)(jnp.asarray(z), posterior))


def predictions(
    problem: Problem, drawn: Draws, checkpoints: Checkpoints, say: Say
) -> tuple[prediction.Predicted, importance.Weights | None]:
    """Predictions of the draws that are carried into them, and their weights if they have any."""
    z = _carried(drawn, drawn.z)
    flat = z.reshape(-1, z.shape[-1])
    predicted = drawn.predicted
    if predicted is None:
        say(f"predicting with {len(flat)} draws")
        predicted = prediction.stream(problem, problem.bounded(flat), checkpoints, say)
    if drawn.log_proposal is None:
        return predicted, None
    likelihood = predicted.rows("log_likelihood")[:, problem.table["fitted"].to_numpy()]
    prior = np.asarray(jax.jit(jax.vmap(problem.posterior.log_prior))(jnp.asarray(flat)))
    target = likelihood.sum(axis=1) + prior
    proposal = _carried(drawn, drawn.log_proposal).ravel()
    weights = importance.weights(target, proposal)
    say(f"importance weights: Pareto k {weights.k:.2f}, worth {weights.effective:.0f} draws")
    return predicted, weights


def _carried(drawn: Draws, by_chain: np.ndarray) -> np.ndarray:
    """Those that are carried into predictions; all where the method has predicted with all."""
    return results.kept(by_chain) if drawn.predicted is None else by_chain


def _keep_finished(problem: Problem, method: Method, folder: Path) -> None:
    """Make a posterior of the draws that an interrupted run has finished."""
    finished = method.finished(Checkpoints(folder / method.name, resume=True))
    if finished is not None:
        groups = {"posterior": results.named(problem, problem.bounded(finished))}
        store.write_posterior(folder / "posterior.nc", groups)


def _weighted(
    problem: Problem,
    wanted: store.Settings,
    drawn: Draws,
    predicted: prediction.Predicted,
    weights: importance.Weights | None,
    facts: Facts,
) -> Outcome:
    """Draws that stand for the posterior, weighted where they have to be, with their checks."""
    more: list[checks.Row] = []
    x = problem.bounded(drawn.z)
    shape = _carried(drawn, drawn.z).shape[:2]
    raw = None
    if weights is not None:
        step = 0 if "coarse_k" in facts else wanted.slow_step  # sampled again with the case's own
        more.append(checks.importance_row(weights, wanted.method, step))
        if weights.trusted:
            more.append(checks.effective_row(weights, "sample with nuts"))
            chosen = importance.resampled(weights.weight, shape[0] * shape[1], wanted.seed)
            raw, some = x, _carried(drawn, x)
            x = some.reshape(-1, x.shape[-1])[chosen].reshape(some.shape)
            predicted = predicted.taken(chosen)
    if "searches" in facts:
        more.append(checks.summits_row(facts["elsewhere"], facts["searches"]))
    if "log_evidence" in facts:
        more.append(checks.evidence_row(np.array(facts["log_evidence"])))
    return Outcome(x, predicted, shape, facts, drawn.statistics, more, raw)
