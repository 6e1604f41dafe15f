"""Sensitivity studies: from cases and methods to one folder of indices, pictures and a report.

A study is a folder. ``study.json`` says what was asked; runs lie in one resumable store for each
case and design, ``CASE/gradients.zarr`` (which DGSM, active subspaces and Shapley effects share),
``CASE/morris.zarr`` and ``CASE/sobol.zarr``; tables hold what was found with all methods, so
that a further method adds its rows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import xarray as xr

from diffsoil.cases import Case, find_case, load_case
from diffsoil.cases.inputs import load_inputs
from diffsoil.io import InputError
from diffsoil.options import Existing, Workers
from diffsoil.work.files import reading_netcdf
from diffsoil.work.pool import cluster, collect
from diffsoil.work.progress import say
from sensitivity import derivative, report, shapley, variance
from sensitivity.distributions import Posterior, distribution
from sensitivity.folder import Folder
from sensitivity.indices import Result
from sensitivity.jobs import (
    SAMPLES,
    STORES,
    Draws,
    Job,
    Kind,
    batches_of,
    computation,
    description,
    difference,
    say_costs,
)
from sensitivity.local_derivatives import local
from sensitivity.options import Method, StudyOptions
from sensitivity.problem import Problem, known_inputs


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What a method found for a problem: tables by their names in :data:`TABLES`."""

    tables: dict[str, pd.DataFrame]


@runtime_checkable
class Companion(Protocol):
    """An analysis of other runs, whose tables and picture join those of a folder."""

    @property
    def source(self) -> Path:
        """Where those runs lie."""

    def write(self, output: Path, overwrite: bool = False) -> None:
        """Write the files that the report shows (``drivers.*``)."""


# One method.


def analyse(
    method: Method,
    problem: Problem,
    draws: Draws,
    runs: dict[str, np.ndarray],
    design: variance.Design | None,
) -> Found:
    """Indices of all outputs from the runs of a design.

    Args:
        method: any but ``local``.
        problem: what was run.
        draws: what the runs were drawn from.
        runs: ``x`` [row, input], ``value`` [row, output] and, for methods that need it,
            ``gradient`` [row, output, input].
        design: of the points, as :meth:`Draws.points` gives it.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for place, output in enumerate(problem.outputs):
        y = runs["value"][:, place]
        about = {"case": problem.name, "output": output.name, "year": output.year}
        if method in ("morris", "sobol"):
            assert design is not None
            of_values = variance.morris if method == "morris" else variance.sobol
            result: Result = of_values(design, y, seed=draws.seed)
        else:
            slope = runs["gradient"][:, place]
            result, more = _by_gradient(method, draws, runs["x"], slope, y, problem.names, about)
            for name, table in more.items():
                tables.setdefault(name, []).append(table)
        indices = result.table(output.name, problem.name, output.year, problem.names)
        tables.setdefault("indices", []).append(indices)
        censored = int(np.sum(y >= output.limit)) if np.isfinite(output.limit) else 0
        note = {"n_runs": result.n_runs, "dropped": result.dropped, "censored": censored}
        tables.setdefault("notes", []).append(
            pd.DataFrame([{"method": method, **about, **note, "note": result.note}])
        )
    return Found({name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()})


def _by_gradient(
    method: Method,
    draws: Draws,
    x: np.ndarray,
    slope: np.ndarray,
    y: np.ndarray,
    names: Sequence[str],
    about: dict[str, Any],
) -> tuple[Result, dict[str, pd.DataFrame]]:
    """Indices of one output from its derivatives, and tables for pictures."""
    independent = None if draws.posterior is not None else draws.distributions
    if method == "dgsm":
        return derivative.dgsm(x, slope, y, independent, seed=draws.seed), {}
    if method == "shapley":
        if draws.posterior is not None:
            copula = shapley.Copula.of_draws(draws.posterior)
        else:
            copula = shapley.Copula.of_distributions(draws.distributions)
        effects = shapley.shapley(copula, x, y, slope, seed=draws.seed)
        return effects.result, {}
    found = derivative.active_subspace(x, slope, y, draws.centre, draws.spread, seed=draws.seed)
    numbers = np.arange(1, len(names) + 1)
    error = np.full(len(names), np.nan)
    error[: len(found.error.value)] = found.error.value[: len(names)]
    gap = np.where(numbers == found.dimension, "clear" if found.clear else "unclear", "")
    values = found.eigenvalues
    columns = {"number": numbers, "value": values.value, "low": values.low, "high": values.high}
    spectrum = pd.DataFrame({**about, **columns, "error": error, "gap": gap})
    active = np.full((len(found.y), 2), np.nan)
    active[:, : found.active.shape[1]] = found.active
    seen = pd.DataFrame({**about, "first": active[:, 0], "second": active[:, 1], "value": found.y})
    return found.result, {"eigenvalues": spectrum, "active_variables": seen}


def _run(
    method: Method,
    problem: Problem,
    samples: int | None,
    seed: int,
    prior: Kind,
    posterior: Posterior | None,
    second: bool = False,
    workers: int = 1,
) -> pd.DataFrame:
    """Indices of a method without a folder."""
    draws = _draws(problem, prior, posterior, samples, seed, second)
    _check_method(method, posterior is not None)
    x, design = draws.points(STORES[method])
    batches = batches_of(x, STORES[method])
    compute = partial(computation(STORES[method]), problem.model)
    with cluster(workers, device="cpu") as pool:
        parts = collect(compute, [batch.argument for batch in batches], pool)
    runs = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return analyse(method, problem, draws, runs, design).tables["indices"]


def dgsm(
    problem: Problem,
    samples: int = SAMPLES["gradients"],
    seed: int = 0,
    prior: Kind = "prior",
    posterior: Posterior | None = None,
    workers: int = 1,
) -> pd.DataFrame:
    """Derivative-based global indices (:func:`sensitivity.derivative.dgsm`) of all outputs."""
    return _run("dgsm", problem, samples, seed, prior, posterior, workers=workers)


def active_subspace(
    problem: Problem,
    samples: int = SAMPLES["gradients"],
    seed: int = 0,
    prior: Kind = "prior",
    posterior: Posterior | None = None,
    workers: int = 1,
) -> pd.DataFrame:
    """Activity scores (:func:`sensitivity.derivative.active_subspace`) of all outputs."""
    return _run("active-subspace", problem, samples, seed, prior, posterior, workers=workers)


def morris(
    problem: Problem,
    samples: int = SAMPLES["morris"],
    seed: int = 0,
    prior: Kind = "prior",
    workers: int = 1,
) -> pd.DataFrame:
    """Elementary effects (:func:`sensitivity.variance.morris`) of all outputs."""
    return _run("morris", problem, samples, seed, prior, None, workers=workers)


def sobol(
    problem: Problem,
    samples: int = SAMPLES["sobol"],
    seed: int = 0,
    prior: Kind = "prior",
    second: bool = False,
    workers: int = 1,
) -> pd.DataFrame:
    """Sobol indices (:func:`sensitivity.variance.sobol`) of all outputs."""
    return _run("sobol", problem, samples, seed, prior, None, second, workers=workers)


def _check_method(method: Method, correlated: bool) -> None:
    if correlated and STORES.get(method) in ("morris", "sobol"):
        raise InputError(
            f"--method {method}: the inputs of a posterior depend on each other; "
            "take shapley, dgsm or active-subspace"
        )


def _draws(
    problem: Problem,
    prior: Kind,
    posterior: Posterior | None,
    samples: int | None,
    seed: int,
    second: bool,
) -> Draws:
    if samples is not None and samples < 2:
        raise InputError(f"--samples {samples}: at least 2 are needed")
    distributions = [distribution(of.parameter, prior) for of in problem.inputs]
    chosen = None if posterior is None else posterior.choose(problem.names)
    return Draws(distributions, chosen, samples, seed, second)


# A study in a folder.


def run_sensitivity(
    cases: Sequence[str | Path],
    output: Path,
    options: StudyOptions = StudyOptions(),
    existing: Existing = Existing(),
    workers: Workers = Workers(),
    beside: Companion | None = None,
) -> None:
    """Find out what matters in some cases, by one or more methods, into a folder.

    Args:
        cases: names or paths.
        output: folder; made if it is not there. Results of other methods in it stay.
        options: what is asked.
        existing: compute anew what is there, or go on with runs that were stopped.
        workers: who computes.
        beside: an analysis of other runs that joins the report.

    Raises:
        diffsoil.io.InputError: anything that the user can mend, in one line.
    """
    if not cases and beside is None:
        raise InputError("CASE: name at least one case, or a --study")
    if options.parameter and options.inputs:
        raise InputError("--parameter: not together with --inputs")
    for method in options.method:
        _check_method(method, options.posterior is not None)
    paths = [find_case(name) for name in cases]
    sources = (*paths, options.inputs, options.posterior, beside and beside.source)
    folder = Folder(output, [path for path in sources if path])
    asked = _asked(paths, folder, options, existing)
    stores = dict.fromkeys(STORES[m] for m in options.method if m != "local")
    jobs = [
        Job(folder, of.problem, of.draws, store, existing.overwrite, existing.resume)
        for of in asked
        for store in stores
    ]
    problems = [of.problem for of in asked]
    for problem in problems:
        for line in problem.case.medians_taken():
            say(line)
    seconds = say_costs(problems, jobs, options.method, workers.workers)
    with folder.place, cluster(*dataclasses.astuple(workers)) as pool:
        folder.open({of.problem.name: of.content for of in asked}, _changed(folder, asked))
        for of in asked:
            if "local" in options.method:
                say(f"{of.problem.name}: local derivatives")
                exact = local(of.problem, pool, of.draws.distributions)
                folder.add({"indices": exact.indices, "elasticities": exact.course})
            for job in (job for job in jobs if job.problem is of.problem):
                job.run(pool, seconds.get(of.problem.name), workers.workers)
                job.note()
                for method in options.method:
                    if STORES.get(method) == job.store_name:
                        found = analyse(method, of.problem, of.draws, job.rows(), job.design)
                        folder.add(found.tables)
        if beside is not None:
            say("drivers of the study against parameters")
            beside.write(output, overwrite=True)
        say("drawing pictures and writing the report")
        report.write(output)
    say(f"done: open {output / 'report.html'}")


@dataclasses.dataclass(frozen=True, eq=False)
class _Asked:
    """What is asked of one case: the problem, its draws, and both as ``study.json`` tells them."""

    problem: Problem
    draws: Draws
    content: dict[str, Any]


def _asked(
    paths: Sequence[Path], folder: Folder, options: StudyOptions, existing: Existing
) -> list[_Asked]:
    """What is asked of each case; of one that the folder holds, the same as before."""
    inputs = load_inputs(options.inputs) if options.inputs else None
    joint = _read_posterior(options.posterior) if options.posterior else None
    found: dict[str, _Asked] = {}
    for path in paths:
        case = load_case(path)
        label = case.name if options.treatment is None else f"{case.name}/{options.treatment}"
        before = {} if existing.overwrite else folder.told.get(label, {})
        names = list(options.parameter) or _names(case, joint, {} if inputs else before)
        outputs = list(options.target) or before.get("outputs", [])
        problem = Problem(case, outputs, names, inputs, options.treatment, options.years)
        kind = options.prior or before.get("prior") or "prior"
        draws = _draws(problem, kind, joint, options.samples, options.seed, options.second)
        content = description(problem, kind, draws, options.posterior)
        if before and (other := difference(before, content)):
            raise InputError(
                f"{folder.path}: holds another study of {label}: {other}; choose another folder, "
                "or --overwrite"
            )
        if problem.name in found:
            raise InputError(f"CASE {path}: is named twice")
        found[problem.name] = _Asked(problem, draws, content)
    return list(found.values())


def _changed(folder: Folder, asked: Sequence[_Asked]) -> list[str]:
    """Cases that the folder holds with another question."""
    own = {of.problem.name: of.content for of in asked}
    return [
        name
        for name, content in own.items()
        if name in folder.told and difference(folder.told[name], content)
    ]


def _names(case: Case, joint: Posterior | None, before: dict[str, Any]) -> list[str]:
    """Inputs of a case when none are named."""
    if before:
        return [of["name"] for of in before["inputs"]]
    if joint is None:
        return []
    known = known_inputs(case, case.column())
    shared = [name for name in joint.names if name in known]
    if not shared:
        raise InputError(f"--posterior: it has draws of no input of {case.name}")
    return shared


def _read_posterior(path: Path) -> Posterior:
    """Joint draws of all scalar parameters of a fit."""
    with (
        reading_netcdf(path, "is no posterior of a fit: has no group posterior"),
        xr.open_dataset(path, group="posterior", engine="h5netcdf") as group,
    ):
        draws = {
            str(name): np.asarray(variable.to_numpy(), float).ravel()
            for name, variable in group.data_vars.items()
            if set(variable.dims) == {"chain", "draw"}
        }
    for name, values in draws.items():
        if not np.all(np.isfinite(values)):
            raise InputError(f"--posterior {path}: draws of {name} are not finite")
    if not draws:
        raise InputError(f"--posterior {path}: has no draws of scalar parameters")
    varying = {name: values for name, values in draws.items() if np.ptp(values) > 0.0}
    return Posterior(tuple(varying), np.stack(list(varying.values()), axis=1))
