"""The two jobs of the command line: calibrate a case, and predict a case with a fit."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr

from calibration import (
    checks,
    compatibility,
    identifiability,
    plots,
    prediction,
    report,
    simulation_based,
    store,
)
from calibration.methods import importance, mode
from calibration.methods.method import Method
from calibration.methods.posterior import Draws, Whitened, side_by_side
from calibration.problem import Problem
from calibration.slow_step import coarser
from calibration.transfer import transfer
from diffsoil.cases import Case, load_case, set_parameters
from diffsoil.cases.fingerprint import case_files
from diffsoil.column import Column
from diffsoil.io import InputError
from diffsoil.work.files import OutputFile, replacing, table_with, write_netcdf
from diffsoil.work.folder import OutputFolder

LEAST_REPLICATES = 5
PREDICTED_DRAWS = 600
"""Draws that are carried into predictions; enough for 5 and 95 % quantiles."""

Say = Callable[[str], None]


class Clock:
    """Prints lines with the time since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        """Print a line of progress."""
        minutes, seconds = divmod(int(time.monotonic() - self._start), 60)
        print(f"[{minutes:2d}:{seconds:02d}] {line}", flush=True)


def calibrate_case(
    case: Path | str,
    output: Path,
    method: Method,
    *,
    seed: int = 0,
    strict: bool = False,
    settings: dict[str, float] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    slow_step: int | None = None,
    sbc: int | None = None,
) -> int:
    """Calibrate a case and write posterior, tables, figures and a report to a folder.

    Args:
        case: name or path.
        output: folder; made if it is not there.
        method: how the posterior is found, with its settings.
        seed: same seed, same result.
        strict: return 1 if a check fails.
        settings: parameter values to fix differently from the case.
        overwrite, resume: what to do with a folder that holds something already.
        slow_step: sample with slow steps of up to so many years, and correct by weights to those
            of the case; sampled again with those where the weights fail.
        sbc: calibrate so many simulated data sets instead of the real one, and write how well
            the method gets their parameters back
            (:mod:`calibration.simulation_based`).

    Returns:
        Exit code: 0, or 1 with ``strict`` and a failed check.
    """
    say = Clock()
    read = load_case(case)
    place = store.folder_of(output, overwrite, resume, case_files(read))
    if slow_step is not None and not method.has_density:
        raise InputError(
            f"--slow-step {slow_step}: --method {method.name} has no density to weigh by"
        )
    column = set_parameters(read.column(), settings or {}, "--set", "calibrate")
    wanted = store.Settings.of(read, method, seed, settings or {}, slow_step or 0)
    if sbc is not None:
        return _simulated(read, column, wanted, place, sbc, strict, say)
    coarse_case = coarser(read, slow_step) if slow_step else None
    with place:
        begun = store.go_on(place, wanted)
        if not place.finished:
            _calibrated(read, column, coarse_case, wanted, place, begun, say)
    return _concluded(place.path, strict, say)


def _concluded(folder: Path, strict: bool, say: Say) -> int:
    """Say how a fit in its place stands; the exit code of its command."""
    results = checks.read(folder)
    failed = int((~results["passed"]).sum())
    unknown = int(results["value"].isna().sum())
    say(
        f"{len(results) - failed - unknown} checks passed, {failed} failed, {unknown} do not "
        f"apply: {folder / 'checks.csv'}"
    )
    say(f"done: open {folder / 'report.html'}")
    return 1 if strict and failed else 0


def _calibrated(
    read: Case,
    column: Column,
    coarse_case: Case | None,
    wanted: store.Settings,
    place: OutputFolder,
    begun: bool,
    say: Say,
) -> None:
    """Fit a case into an opened folder."""
    say(f"{read.file.title}")
    problem = Problem(read, column)
    fitted = int(problem.table["fitted"].sum())
    say(
        f"{fitted} observations to fit, {len(problem.table) - fitted} kept out, "
        f"{len(problem.names)} free parameters, {len(problem.plan.members)} treatments, "
        f"years {read.file.start_year} to {read.end_year}"
    )
    if not begun:
        store.begin(place, wanted, read)
    coarse = None
    if coarse_case is not None:
        steps = ", ".join(str(phase.step_years) for phase in coarse_case.file.history)
        say(f"sampling with slow steps of {steps} years")
        coarse = Problem(coarse_case, column)
    try:
        drawn, predicted, weights, facts = _fit(problem, coarse, wanted, place.work, say, begun)
    except KeyboardInterrupt:
        _keep_finished(problem, wanted.method, place.work)
        raise KeyboardInterrupt(
            f"finished work is kept in {place.given}; go on with --resume"
        ) from None
    _conclude(problem, wanted, place.work, drawn, predicted, weights, facts, say)
    store.complete(place)


def _simulated(
    read: Case,
    column: Column,
    wanted: store.Settings,
    place: OutputFolder,
    count: int,
    strict: bool,
    say: Say,
) -> int:
    """Simulation-based calibration of a case, into a folder."""
    if count < LEAST_REPLICATES:
        raise InputError(f"--sbc {count}: at least {LEAST_REPLICATES} data sets are needed")
    with place:
        begun = store.go_on(place, wanted)
        if not place.finished:
            _ranked(read, column, wanted, place, count, begun, say)
    results = checks.read(place.path)
    for row in results.to_dict("records"):
        say(f"{'passed' if row['passed'] else 'FAILED'}: {row['check']}: {row['meaning']}")
    return 1 if strict and not results["passed"].all() else 0


def _ranked(
    read: Case,
    column: Column,
    wanted: store.Settings,
    place: OutputFolder,
    count: int,
    begun: bool,
    say: Say,
) -> None:
    """Ranks of the true parameters of simulated data sets, into an opened folder."""
    problem = Problem(read, column)
    if not begun:
        store.begin(place, wanted, read)
    folder = place.work
    say(f"{count} data sets simulated from the prior, {len(problem.names)} parameters each")
    replicates = simulation_based.Replicates(problem, wanted.method, wanted.seed)
    ranks = replicates.ranks(count, folder, say, begun)
    table = simulation_based.described(ranks, problem.names)
    results = pd.DataFrame(simulation_based.verdict(table), columns=checks.COLUMNS)
    for name, content in (("sbc.csv", table), ("checks.csv", results.set_index("check"))):
        with replacing(folder / name, overwrite=True) as part:
            content.to_csv(part)
    plots.simulated(folder, ranks, problem.names, simulation_based.RANKED)
    store.complete(place)


def _fit(
    problem: Problem,
    coarse: Problem | None,
    wanted: store.Settings,
    folder: Path,
    say: Say,
    resume: bool,
) -> tuple[Draws, prediction.Predicted, importance.Weights | None, Facts]:
    """Draws, their predictions, and how they are to be weighted.

    With a coarse problem that one is sampled; where weights cannot correct its draws, the
    problem itself is, from there.
    """
    began = time.monotonic()
    method, sampled = wanted.method, coarse or problem
    start = (
        mode.start(sampled, method.starts, wanted.seed, folder, say, resume)
        if method.needs_gradients
        else mode.wide(np.asarray(sampled.coordinates.unbounded(sampled.defaults)))
    )
    drawn = method.draw(sampled, start, wanted.seed, folder, say, resume)
    facts: Facts = {"method": method.name, "seconds": time.monotonic() - began}
    facts |= {"gradients": drawn.gradients, "runs": drawn.runs, **drawn.facts}
    if drawn.log_evidence is not None:
        facts["log_evidence"] = [float(v) for v in drawn.log_evidence]
    if coarse is not None and drawn.log_proposal is None:
        drawn = drawn._replace(log_proposal=_densities(coarse, start, drawn.z))
    predicted, weights = _weighted(problem, drawn, folder, say, resume, prediction.NAME)
    if coarse is not None and weights is not None and not weights.trusted:
        say("the coarse slow step cannot be corrected by weights: sampling with the case's own")
        facts["coarse_k"] = weights.k
        warm = mode.moments(drawn.z, 1e-9)
        drawn = method.draw(problem, warm, wanted.seed, folder / "fine", say, resume)
        facts["gradients"] += drawn.gradients
        facts["seconds"] = time.monotonic() - began
        predicted, weights = _weighted(problem, drawn, folder, say, resume, "predicted_fine")
    if weights is not None:
        facts |= {"pareto_k": weights.k, "effective": weights.effective}
    return drawn, predicted, weights, facts


Facts = dict[str, Any]
"""What there is to say of a fit besides its draws: costs, weights, evidence."""


def _densities(problem: Problem, start: mode.Normal, z: np.ndarray) -> np.ndarray:
    """Logarithm of the posterior density at draws by chain."""
    target = Whitened(problem, start)

    def some(z: Any, arguments: Any) -> Any:
        plan, _, _, _ = arguments
        return jax.lax.map(lambda one: problem.log_posterior(one, plan), z)

    return np.asarray(side_by_side(some, len(z), 1)(jnp.asarray(z), target.arguments))


def _weighted(
    problem: Problem, drawn: Draws, folder: Path, say: Say, resume: bool, name: str
) -> tuple[prediction.Predicted, importance.Weights | None]:
    """Predictions of the draws that are carried into them, and their weights if they have any."""
    z = _kept(drawn.z)
    flat = z.reshape(-1, z.shape[-1])
    say(f"predicting with {len(flat)} draws")
    x = _bounded(problem, flat[None])[0]
    predicted = prediction.stream(problem, x, folder, say, resume, name)
    if drawn.log_proposal is None:
        return predicted, None
    likelihood = predicted.rows("log_likelihood")[:, problem.table["fitted"].to_numpy()]
    prior = np.asarray(jax.jit(jax.vmap(problem.log_prior))(jnp.asarray(flat)))
    target = likelihood.sum(axis=1) + prior
    proposal = _kept(drawn.log_proposal).ravel()
    weights = importance.weights(target, proposal)
    say(f"importance weights: Pareto k {weights.k:.2f}, worth {weights.effective:.0f} draws")
    return predicted, weights


def _kept(by_chain: np.ndarray) -> np.ndarray:
    """The draws, with leading axes chain and draw, that are carried into predictions."""
    chains, draws = by_chain.shape[:2]
    return by_chain[:, :: max(1, -(-chains * draws // PREDICTED_DRAWS))]


def _keep_finished(problem: Problem, method: Method, folder: Path) -> None:
    """Make a posterior of the draws that an interrupted run has finished."""
    finished = method.finished(folder)
    if finished is not None:
        groups = {"posterior": _named(problem, _bounded(problem, finished))}
        store.write_posterior(folder / "posterior.nc", groups)


def _bounded(problem: Problem, z: np.ndarray) -> np.ndarray:
    flat = jax.vmap(problem.coordinates.bounded)(jnp.asarray(z.reshape(-1, z.shape[-1])))
    return np.asarray(flat).reshape(z.shape)


def _named(problem: Problem, x: np.ndarray) -> dict[str, np.ndarray]:
    return {name: x[..., i] for i, name in enumerate(problem.names)}


def draw(problem: Problem, wanted: store.Settings, folder: Path, say: Say, resume: bool) -> None:
    """Draw, predict, check and report, in a folder of a fit that has been opened.

    Args:
        problem, wanted, folder: what is fitted, how, and where it goes. With ``resume`` a start
            in ``laplace.npz`` is taken as it is.
        say: progress lines.
        resume: go on with what is there.
    """
    coarse = None
    if wanted.slow_step:
        coarse = Problem(coarser(problem.case, wanted.slow_step), problem.column)
    try:
        drawn, predicted, weights, facts = _fit(problem, coarse, wanted, folder, say, resume)
    except KeyboardInterrupt:
        _keep_finished(problem, wanted.method, folder)
        raise
    _conclude(problem, wanted, folder, drawn, predicted, weights, facts, say)


def _conclude(
    problem: Problem,
    wanted: store.Settings,
    folder: Path,
    drawn: Draws,
    predicted: prediction.Predicted,
    weights: importance.Weights | None,
    facts: Facts,
    say: Say,
) -> None:
    """Weight draws where they have to be, and write everything."""
    more: list[checks.Row] = []
    x = _bounded(problem, drawn.z)
    shape = _kept(drawn.z).shape[:2]
    raw = None
    if weights is not None:
        step = 0 if "coarse_k" in facts else wanted.slow_step  # sampled again with the case's own
        more.append(checks.importance_row(weights, wanted.method, step))
        if weights.trusted:
            more.append(checks.effective_row(weights, "sample with nuts"))
            chosen = importance.resampled(weights.weight, shape[0] * shape[1], wanted.seed)
            raw, kept = x, _kept(x)
            x = kept.reshape(-1, x.shape[-1])[chosen].reshape(kept.shape)
            predicted = predicted.taken(chosen)
    if "log_evidence" in facts:
        more.append(checks.evidence_row(np.array(facts["log_evidence"])))
    write_results(
        problem, wanted, folder, drawn.statistics, x, predicted, shape, say, more, raw, facts
    )


def write_results(
    problem: Problem,
    wanted: store.Settings,
    folder: Path,
    drawn: Mapping[str, np.ndarray],
    x: np.ndarray,
    flat: prediction.Prediction | prediction.Predicted,
    shape: tuple[int, int],
    say: Say,
    more_checks: Sequence[checks.Row] = (),
    raw: np.ndarray | None = None,
    facts: Facts | None = None,
) -> None:
    """Write everything that a fit's folder holds, from draws and their predictions.

    Args:
        problem, wanted, folder: what was fitted, how, and where it goes.
        drawn: statistics of the sampler, where there was one.
        x: bounded parameter values by chain and draw.
        flat: predictions of those draws that are carried into predictions.
        shape: chains and draws of ``flat``.
        say: progress lines.
        more_checks: checks of the method, put first.
        raw: the draws as the sampler made them, where ``x`` are resampled ones.
        facts: what there is to say of the fit besides; written to ``facts.json``.
    """
    facts = facts or {"method": wanted.reported.name}
    predicted = flat if isinstance(flat, prediction.Predicted) else prediction.in_memory(flat)
    prior = np.asarray(problem.priors.sample(jax.random.key(wanted.seed + 1), 2000))
    path = folder / "posterior.nc"
    _write_posterior(problem, path, drawn, x, prior, predicted, shape, wanted.seed, raw)
    table = prediction.table(problem, predicted, wanted.seed)
    with replacing(folder / "predictions.csv", overwrite=True) as part:
        table.to_csv(part, index=False)
    say("checks, figures and report")
    directions = identifiability.spectrum(problem, x.reshape(-1, x.shape[-1]).mean(axis=0))
    with replacing(folder / "fisher.csv", overwrite=True) as part:
        directions.to_csv(part, index=False)
    store.write_json(folder / "facts.json", facts)
    with _opened(path) as tree:
        summary = checks.summary(tree, problem.parameters, facts.get("effective"))
        with replacing(folder / "summary.csv", overwrite=True) as part:
            summary.to_csv(part)
        results = checks.checks(
            tree,
            problem.parameters,
            table,
            wanted.reported,
            described=summary,
            more=[*more_checks, checks.identified(directions)],
        )
        with replacing(folder / "checks.csv", overwrite=True) as part:
            results.to_csv(part, index=False)
        figures = plots.all_figures(folder, tree, problem, table)
        report.write(
            folder,
            problem.case,
            tree,
            table,
            summary,
            results,
            figures,
            wanted,
            directions=directions,
            facts=facts,
        )
    for name in (prediction.NAME, "predicted_fine"):
        shutil.rmtree(folder / name, ignore_errors=True)  # all of it is in posterior.nc now


@contextmanager
def _opened(path: Path) -> Iterator[xr.DataTree]:
    """A posterior whose arrays are read when they are asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            yield tree


def _write_posterior(
    problem: Problem,
    path: Path,
    drawn: Mapping[str, np.ndarray],
    x: np.ndarray,
    prior: np.ndarray,
    predicted: prediction.Predicted,
    shape: tuple[int, int],
    seed: int,
    raw: np.ndarray | None,
) -> None:
    """Write ``posterior.nc``.

    Groups: posterior, prior, posterior_predictive (``observation`` with measurement error,
    ``latent``, ``topsoil``), log_likelihood (fitted observations only, each given the others of
    its repeated plot), joint (``log_likelihood`` and ``log_prior`` of the draws that are
    predicted), sample_stats, observed_data, constant_data; ``sampled`` with the draws as they
    were made, where those of the posterior are resampled.
    """
    fitted = problem.table["fitted"].to_numpy()
    groups: dict[str, dict[str, np.ndarray]] = {
        "posterior": _named(problem, x),
        "prior": _named(problem, prior[None]),
        "observed_data": {"observation": problem.table["value"].to_numpy()},
        "constant_data": {
            "fitted": fitted,
            "estimated": problem.table["estimated"].to_numpy() == 1,
            "observation_year": problem.table["year"].to_numpy(),
        },
    }
    if raw is not None:
        groups["sampled"] = _named(problem, raw)
    if drawn:
        groups["sample_stats"] = dict(drawn)
    dims = {"observation": ["obs"], "fitted": ["obs"]}
    dims |= {"estimated": ["obs"], "observation_year": ["obs"]}
    every = np.arange(x.shape[1])
    if x.shape[1] != shape[1]:
        every = _kept(np.broadcast_to(every, x.shape[:2]))[0]
    image = store.posterior_image(groups, dims=dims)
    with h5netcdf.File(image, "a") as file:
        _write_predictions(file, problem, predicted, shape, every, seed, x[:, every])
    with replacing(path, overwrite=True) as part:
        write_netcdf(part, image.getvalue())


def _write_predictions(
    file: h5netcdf.File,
    problem: Problem,
    predicted: prediction.Predicted,
    shape: tuple[int, int],
    draws: np.ndarray,
    seed: int,
    x: np.ndarray,
) -> None:
    """Add the groups that grow with observations and draws, block by block."""
    fitted = problem.table["fitted"].to_numpy()
    observations, years = len(fitted), problem.topsoil_years
    members = list(problem.plan.members)
    sizes = {"chain": shape[0], "draw": shape[1]}
    chain, draw = np.divmod(np.arange(len(predicted)), shape[1])

    def group(name: str, **dims: int) -> h5netcdf.Group:
        found = file.create_group(name)
        found.dimensions = sizes | dims
        found.create_variable("chain", ("chain",), data=np.arange(shape[0]))
        found.create_variable("draw", ("draw",), data=draws)
        return found

    def variable(of: h5netcdf.Group, name: str, *dims: str) -> h5netcdf.Variable:
        return of.create_variable(name, ("chain", "draw", *dims), dtype="f8")

    predictive = group(
        "posterior_predictive", obs=observations, treatment=len(members), year=len(years)
    )
    predictive.create_variable("obs", ("obs",), data=np.arange(observations))
    predictive.create_variable("year", ("year",), data=years)
    names = np.array(members, dtype=h5py.string_dtype())
    predictive.create_variable("treatment", ("treatment",), dtype=h5py.string_dtype())[:] = names
    latent = variable(predictive, "latent", "obs")
    topsoil = variable(predictive, "topsoil", "treatment", "year")
    observation = variable(predictive, "observation", "obs")
    terms = group("log_likelihood", fitted_obs=int(fitted.sum()))
    terms.create_variable("fitted_obs", ("fitted_obs",), data=np.arange(int(fitted.sum())))
    left_out = variable(terms, "fitted_observation", "fitted_obs")
    joint = group("joint")
    likelihood, prior = np.empty(shape), np.empty(shape)
    for places, part in predicted.blocks():
        for of_chain in np.unique(chain[places]):
            own = chain[places] == of_chain
            if not own.any():
                continue
            at = draw[places][own]
            order = np.argsort(at)  # HDF5 wants ascending places
            rows = np.flatnonzero(own)[order]
            at = at[order]
            latent[of_chain, at] = part.latent[rows]
            topsoil[of_chain, at] = part.topsoil[rows]
            left_out[of_chain, at] = part.left_out[rows][:, fitted]
            likelihood[of_chain, at] = part.log_likelihood[rows][:, fitted].sum(axis=1)
    width = max(1, prediction.AT_ONCE // len(predicted))
    for start in range(0, observations, width):
        columns = slice(start, min(start + width, observations))
        values = prediction.measured_columns(problem, predicted, columns, seed)
        observation[:, :, columns] = values.reshape(*shape, -1)
    for number, own in enumerate(x):
        prior[number] = np.asarray(jax.vmap(problem.priors.log_density)(jnp.asarray(own)))
    variable(joint, "log_likelihood")[:] = likelihood
    variable(joint, "log_prior")[:] = prior


def predict_case(
    case: Path | str,
    fit: Path,
    output: Path,
    draws: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Predict the observations of a case with the posterior of a fit, and write a CSV.

    See :func:`calibration.transfer.transfer` for what of the fit holds in the case. A parameter
    that the fit does not know (the input of a new site) is drawn from its prior. The column
    ``fitted`` says which observations the fit was fitted to.
    """
    say = Clock()
    read = load_case(case)
    inputs = [*case_files(read), fit]
    target = OutputFile(
        output, overwrite, like=table_with("latent_mean", "latent_sd"), inputs=inputs
    )
    found = store.load(fit)
    names, values = found.names, found.draws
    carried = transfer(found, read)
    for note in carried.notes:
        say(note)
    compatibility.check_same_model(found)
    problem = Problem(read, carried.column, free=carried.free, before=carried.known)
    wanted = min(draws or PREDICTED_DRAWS, len(values))
    chosen = values[np.linspace(0, len(values) - 1, wanted).astype(int)]
    prior = np.asarray(problem.priors.sample(jax.random.key(seed), wanted))
    columns, new = [], []
    for i, name in enumerate(problem.names):
        known = name in names
        columns.append(chosen[:, names.index(name)] if known else prior[:, i])
        new += [] if known else [name]
    if new:
        say(f"not in the fit, drawn from their priors: {', '.join(new)}")
    say(f"predicting {len(problem.table)} observations with {wanted} draws")
    with target:
        predicted = prediction.predict_draws(problem, np.stack(columns, axis=1), say)
        if lost := int((~np.isfinite(predicted.expected)).any(axis=1).sum()):
            raise InputError(f"{case}: predictions of {lost} of {wanted} draws are not finite")
        with target.writing() as part:
            prediction.table(problem, predicted, seed).to_csv(part, index=False)
    say(f"done: {output}")
