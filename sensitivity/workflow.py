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

from diffsoil._runtime import Device
from diffsoil.cases import Case, find_case, load_case
from diffsoil.cases.inputs import load_inputs
from diffsoil.io import InputError
from diffsoil.work import ensemble
from diffsoil.work.files import reading_netcdf
from sensitivity import derivative, report, shapley, variance
from sensitivity.distributions import Posterior, law
from sensitivity.folder import Folder, Method
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
    identity,
    say,
    say_costs,
)
from sensitivity.local import local
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
    independent = None if draws.posterior is not None else draws.laws
    if method == "dgsm":
        return derivative.dgsm(x, slope, y, independent, seed=draws.seed), {}
    if method == "shapley":
        if draws.posterior is not None:
            copula = shapley.Copula.of_draws(draws.posterior)
        else:
            copula = shapley.Copula.of_laws(draws.laws)
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
    with ensemble.cluster(workers, device="cpu") as pool:
        parts = ensemble.collect(compute, [batch.argument for batch in batches], pool)
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
    laws = [law(of.parameter, prior) for of in problem.inputs]
    chosen = None if posterior is None else posterior.choose(problem.names)
    return Draws(laws, chosen, samples, seed, second)


# A study in a folder.


def run_sensitivity(
    cases: Sequence[str | Path],
    output: Path,
    methods: Sequence[Method] = ("local",),
    outputs: Sequence[str] = (),
    parameters: Sequence[str] = (),
    inputs: Path | None = None,
    prior: Kind | None = None,
    posterior: Path | None = None,
    samples: int | None = None,
    seed: int = 0,
    years: int = 12,
    second: bool = False,
    treatment: str | None = None,
    study: Companion | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    device: Device = "auto",
) -> None:
    """Find out what matters in some cases, by one or more methods, into a folder.

    Args:
        cases: names or paths.
        output: folder; made if it is not there. Results of other methods in it stay.
        methods: what indices are found with.
        outputs: texts of :mod:`sensitivity.outputs`; those of the study that is in the folder,
            or else those that suit each case, if empty.
        parameters: names of inputs; those of the study in the folder, or else all with a finite
            range, if empty.
        inputs: file of inputs (:func:`.inputs.load_inputs`) instead of ``parameters``.
        prior: laws of the inputs: their priors, or uniform between their bounds.
        posterior: ``posterior.nc`` of a fit; its joint draws are used instead of laws.
        samples: draws of each method (trajectories, base points); its own default if None.
        seed: of the random numbers.
        years: how many, of an output without a year.
        second: also second-order Sobol indices.
        treatment: which, of a case with several.
        study: drivers of runs that were made elsewhere, to be set beside the indices.
        workers, scheduler, device: see :func:`diffsoil.work.ensemble.cluster`.
        overwrite: compute anew what is there.
        resume: go on with runs that were stopped.

    Raises:
        diffsoil.io.InputError: anything that the user can mend, in one line.
    """
    if not cases and study is None:
        raise InputError("CASE: name at least one case, or a --study")
    if parameters and inputs:
        raise InputError("--parameter: not together with --inputs")
    for method in methods:
        _check_method(method, posterior is not None)
    paths = [find_case(name) for name in cases]
    sources = (*paths, inputs, posterior, study and study.source)
    folder = Folder(output, [path for path in sources if path])
    file_inputs = load_inputs(inputs) if inputs else None
    joint = _read_posterior(posterior) if posterior else None
    problems, all_draws, told = [], [], {}
    for name in paths:
        case = load_case(name)
        label = case.name if treatment is None else f"{case.name}/{treatment}"
        before = {} if overwrite else folder.told.get(label, {})
        names = list(parameters) or _names(case, joint, before if not inputs else {})
        problem = Problem(
            case, list(outputs) or before.get("outputs", []), names, file_inputs, treatment, years
        )
        kind = prior or before.get("prior") or "prior"
        draws = _draws(problem, kind, joint, samples, seed, second)
        content = description(problem, kind, draws, posterior)
        if before and identity(before) != identity(content):
            raise InputError(
                f"{output}: holds another study of {label}: {difference(before, content)}; "
                "choose another folder, or --overwrite"
            )
        if problem.name in told:
            raise InputError(f"CASE {name}: is named twice")
        problems.append(problem)
        all_draws.append(draws)
        told[problem.name] = content
    changed = [
        n for n, c in told.items() if n in folder.told and identity(folder.told[n]) != identity(c)
    ]
    jobs = [
        Job(folder, problem, draws, store, overwrite, resume)
        for problem, draws in zip(problems, all_draws, strict=True)
        for store in dict.fromkeys(STORES[m] for m in methods if m != "local")
    ]
    seconds = say_costs(problems, jobs, methods, workers)
    with folder.place, ensemble.cluster(workers, scheduler, device) as pool:
        folder.open(told, drop=changed)
        for problem, draws in zip(problems, all_draws, strict=True):
            if "local" in methods:
                say(f"{problem.name}: local derivatives")
                found = local(problem, pool, draws.laws)
                folder.add({"indices": found.indices, "elasticities": found.course})
            for job in (job for job in jobs if job.problem is problem):
                job.run(pool, seconds.get(problem.name), workers)
                job.note()
                for method in methods:
                    if STORES.get(method) == job.store_name:
                        runs = job.rows()
                        tables = analyse(method, problem, draws, runs, job.design).tables
                        folder.add(tables)
        if study is not None:
            say("drivers of the study against parameters")
            study.write(output, overwrite=True)
        say("drawing pictures and writing the report")
        report.write(output)
    say(f"done: open {output / 'report.html'}")


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
