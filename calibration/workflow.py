"""The two jobs of the command line: calibrate a case, and predict a case with a fit."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from calibration import checks, maximum, nuts, plots, prediction, report, store
from calibration.problem import Problem
from diffsoil._runtime import release_memory
from diffsoil.cases import Case, load_case, set_parameters
from diffsoil.io import InputError, refuse_existing, replacing
from diffsoil.parameters import Prior

Method = Literal["map", "laplace", "nuts"]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much work a calibration does; see :class:`calibration.nuts.Sampler`."""

    chains: int
    warmup: int
    draws: int
    starts: int
    tree_depth: int
    acceptance: float


# In whitened coordinates seven leapfrog steps (depth 3) go about a quarter of a period, enough
# for nearly independent draws; the full setting lets NUTS decide.
QUICK = Sizes(chains=2, warmup=50, draws=200, starts=1, tree_depth=4, acceptance=0.7)
FULL = Sizes(chains=4, warmup=250, draws=500, starts=3, tree_depth=10, acceptance=0.8)

LAPLACE_DRAWS = 1000
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
    method: Method = "nuts",
    quick: bool = False,
    chains: int | None = None,
    warmup: int | None = None,
    draws: int | None = None,
    seed: int = 0,
    strict: bool = False,
    settings: dict[str, float] | None = None,
    overwrite: bool = False,
    resume: bool = False,
) -> int:
    """Calibrate a case and write posterior, tables, figures and a report to a folder.

    Args:
        case: name or path.
        output: folder; made if it is not there.
        method: ``map`` stops at the best fit, ``laplace`` at the normal approximation.
        quick: a short run, good for a first look.
        chains, warmup, draws: override the choices of quick or full.
        seed: same seed, same result.
        strict: return 1 if a check fails.
        settings: parameter values to fix differently from the case.
        overwrite, resume: what to do with a folder that holds something already.

    Returns:
        Exit code: 0, or 1 with ``strict`` and a failed check.
    """
    say = Clock()
    read = load_case(case)
    given = {"chains": chains, "warmup": warmup, "draws": draws}
    asked = {name: value for name, value in given.items() if value is not None}
    sizes = dataclasses.replace(QUICK if quick else FULL, **asked)
    for name, value in asked.items():
        if value < (0 if name == "warmup" else 1):
            raise InputError(f"--{name} {value}: must be positive")
    column = set_parameters(read.column(), settings or {}, "--set", "calibrate")
    wanted = store.Settings(
        case=read.name,
        case_sha256=store.checksum(read.text),
        method=method,
        quick=quick,
        seed=seed,
        set=settings or {},
        free=sorted(read.file.free),
        **dataclasses.asdict(sizes),
    )
    output = Path(output)
    folder = store.choose_folder(output, wanted, overwrite, resume)
    say(f"{read.file.title}")
    problem = Problem(read, column)
    fitted = int(problem.table["fitted"].sum())
    say(
        f"{fitted} observations to fit, {len(problem.table) - fitted} kept out, "
        f"{len(problem.names)} free parameters, {len(problem.plan.members)} treatments, "
        f"years {read.file.start_year} to {read.end_year}"
    )
    store.open_folder(folder, wanted, read.text, resume)
    try:
        draws_of = _posterior(problem, wanted, folder, say, resume)
    except KeyboardInterrupt:
        _keep_finished(problem, folder)
        raise KeyboardInterrupt(f"finished work is kept in {folder}; go on with --resume") from None
    _finish(problem, wanted, folder, draws_of, say)
    results = checks.read(folder)
    store.close_folder(folder, output)
    failed = int((~results["passed"]).sum())
    unknown = int(results["value"].isna().sum())
    say(
        f"{len(results) - failed - unknown} checks passed, {failed} failed, {unknown} do not "
        f"apply: {output / 'checks.csv'}"
    )
    say(f"done: open {output / 'report.html'}")
    return 1 if strict and failed else 0


def _posterior(
    problem: Problem, wanted: store.Settings, folder: Path, say: Say, resume: bool
) -> dict[str, np.ndarray]:
    """Draws with leading axes chain and draw: ``z`` and statistics of the sampler."""
    start = _start(problem, wanted, folder, say, resume)
    match wanted.method:
        case "map":
            return {"z": start.mean[None, None]}
        case "laplace":
            return {"z": start.sample(LAPLACE_DRAWS, wanted.seed)[None]}
    release_memory()
    say(
        f"NUTS: {wanted.chains} chains, {wanted.warmup} warm-up steps and {wanted.draws} draws each"
    )
    sampler = nuts.Sampler(
        problem,
        start,
        chains=wanted.chains,
        warmup=wanted.warmup,
        draws=wanted.draws,
        seed=wanted.seed,
        tree_depth=wanted.tree_depth,
        acceptance=wanted.acceptance,
    )
    return sampler.run(folder, say, resume)


def _start(
    problem: Problem, wanted: store.Settings, folder: Path, say: Say, resume: bool
) -> maximum.Laplace:
    path = folder / "laplace.npz"
    if resume and path.exists():
        with np.load(path) as file:
            return maximum.Laplace(file["mean"], file["covariance"])
    say("best fit (first call compiles)")
    found = maximum.maximum(problem, wanted.starts, wanted.seed, say)
    say("curvature there")
    start = maximum.laplace(problem, found[0].z)
    with replacing(path, overwrite=True) as part, open(part, "wb") as file:
        np.savez(file, mean=start.mean, covariance=start.covariance)
    return start


def _keep_finished(problem: Problem, folder: Path) -> None:
    """Make a posterior of the draws that an interrupted run has finished."""
    finished = nuts.finished(folder)
    if finished is not None:
        z = finished.pop("z")
        groups = {"posterior": _named(problem, _bounded(problem, z))}
        store.write_posterior(folder / "posterior.nc", groups)


def _bounded(problem: Problem, z: np.ndarray) -> np.ndarray:
    flat = jax.vmap(problem.coordinates.bounded)(jnp.asarray(z.reshape(-1, z.shape[-1])))
    return np.asarray(flat).reshape(z.shape)


def _named(problem: Problem, x: np.ndarray) -> dict[str, np.ndarray]:
    return {name: x[..., i] for i, name in enumerate(problem.names)}


def _finish(
    problem: Problem,
    wanted: store.Settings,
    folder: Path,
    drawn: dict[str, np.ndarray],
    say: Say,
) -> None:
    """Predict, check, draw and report."""
    x = _bounded(problem, drawn["z"])
    chains, draws = x.shape[:2]
    thin = max(1, -(-chains * draws // PREDICTED_DRAWS))
    kept = x[:, ::thin]
    say(f"predicting with {kept.shape[0] * kept.shape[1]} draws")
    flat = prediction.predict_draws(problem, kept.reshape(-1, x.shape[-1]), say)
    prior = np.asarray(problem.priors.sample(jax.random.key(wanted.seed + 1), 2000))
    tree = write_tree(
        problem, folder / "posterior.nc", drawn, x, prior, flat, kept.shape[:2], wanted
    )
    table = prediction.table(problem, flat, wanted.seed)
    with replacing(folder / "predictions.csv", overwrite=True) as part:
        table.to_csv(part, index=False)
    say("checks, figures and report")
    summary = checks.summary(tree, problem.parameters)
    with replacing(folder / "summary.csv", overwrite=True) as part:
        summary.to_csv(part)
    results = checks.checks(tree, problem.parameters, table, wanted.method, quick=wanted.quick)
    with replacing(folder / "checks.csv", overwrite=True) as part:
        results.to_csv(part, index=False)
    figures = plots.all_figures(folder, tree, problem, table)
    report.write(folder, problem.case, tree, table, summary, results, figures, wanted)


def write_tree(
    problem: Problem,
    path: Path,
    drawn: dict[str, np.ndarray],
    x: np.ndarray,
    prior: np.ndarray,
    predicted: prediction.Prediction,
    shape: tuple[int, int],
    wanted: store.Settings,
) -> xr.DataTree:
    """Write ``posterior.nc`` and read it back.

    Groups: posterior, prior, posterior_predictive (``observation`` with measurement error,
    ``latent``, ``topsoil``), log_likelihood (fitted observations only), sample_stats,
    observed_data, constant_data.
    """
    fitted = problem.table["fitted"].to_numpy()
    by_draw = jax.tree.map(lambda a: np.asarray(a).reshape(*shape, *a.shape[1:]), predicted)
    noisy = prediction.measured(predicted, wanted.seed).reshape(*shape, -1)
    residual = (problem.table["value"].to_numpy() - by_draw.expected) / by_draw.sd
    likelihood = -0.5 * residual**2 - np.log(by_draw.sd) - 0.5 * np.log(2 * np.pi)
    groups = {
        "posterior": _named(problem, x),
        "prior": _named(problem, prior[None]),
        "posterior_predictive": {
            "observation": noisy,
            "latent": by_draw.latent,
            "topsoil": by_draw.topsoil,
        },
        "log_likelihood": {"fitted_observation": likelihood[..., fitted]},
        "observed_data": {"observation": problem.table["value"].to_numpy()},
        "constant_data": {
            "fitted": fitted,
            "estimated": problem.table["estimated"].to_numpy() == 1,
            "observation_year": problem.table["year"].to_numpy(),
        },
    }
    if "num_steps" in drawn:
        groups["sample_stats"] = {
            "diverging": drawn["diverging"],
            "n_steps": drawn["num_steps"],
            "tree_depth": np.ceil(np.log2(drawn["num_steps"] + 1)).astype(int),
            "acceptance_rate": drawn["accept_prob"],
            "energy": drawn["energy"],
            "lp": -drawn["potential_energy"],
        }
    first = problem.plan.experiment_year
    store.write_posterior(
        path,
        groups,
        dims={
            "observation": ["obs"],
            "latent": ["obs"],
            "topsoil": ["treatment", "year"],
            "fitted_observation": ["fitted_obs"],
            "fitted": ["obs"],
            "estimated": ["obs"],
            "observation_year": ["obs"],
        },
        coords={
            "treatment": list(problem.plan.members),
            "year": np.arange(first, first + by_draw.topsoil.shape[-1]),
        },
    )
    return store.read_posterior(path.parent)


def predict_case(
    case: Path | str,
    fit: Path,
    output: Path,
    draws: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> None:
    """Predict the observations of a case with the posterior of a fit, and write a CSV.

    A parameter that the case frees and the fit does not know (the input of a new site) is drawn
    from its prior.
    """
    say = Clock()
    refuse_existing(output, overwrite)
    read = load_case(case)
    names, values = store.parameter_draws(store.read_posterior(Path(fit)))
    problem = Problem(read, free=_free_for(read, names))
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
    predicted = prediction.predict_draws(problem, np.stack(columns, axis=1), say)
    with replacing(output, overwrite) as part:
        prediction.table(problem, predicted, seed).to_csv(part, index=False)
    say(f"done: {output}")


def _free_for(case: Case, names: list[str]) -> dict[str, Prior | None]:
    """What is free in a prediction: all that the fit knows here, and what the case frees."""
    known = case.column().parameters()
    own = case.priors()
    return own | {name: own.get(name) for name in names if name in known}
