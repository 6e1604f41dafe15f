"""Sensitivity studies: from cases and methods to one folder of indices, pictures and a report.

A study is a folder. ``study.json`` says what was asked; runs lie in one resumable store for each
case and design, ``CASE/gradients.zarr`` (which DGSM, active subspaces and Shapley effects share),
``CASE/morris.zarr`` and ``CASE/sobol.zarr``; tables hold what was found with all methods, so
that a further method adds its rows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import xarray as xr

from diffsoil import ensemble
from diffsoil._runtime import Device
from diffsoil.cases import Case, load_case
from diffsoil.inputs import load_inputs
from diffsoil.io import InputError, replacing
from sensitivity import derivative, report, shapley, variance
from sensitivity.indices import COLUMNS, Result
from sensitivity.laws import Law, Posterior, law, sample
from sensitivity.local import local
from sensitivity.problem import (
    COMPARTMENTS,
    FORWARD_BATCH,
    GRADIENT_BATCH,
    RULERS,
    WINDOWS,
    Problem,
    evaluate,
    gradients,
    known_inputs,
)

Method = Literal["local", "dgsm", "active-subspace", "shapley", "morris", "sobol"]
METHODS: tuple[Method, ...] = get_args(Method)

Kind = Literal["prior", "uniform"]

STORES: dict[Method, str] = {
    "dgsm": "gradients",
    "active-subspace": "gradients",
    "shapley": "gradients",
    "morris": "morris",
    "sobol": "sobol",
}
"""Store that holds the runs of a method."""

SAMPLES = {"gradients": 256, "morris": 50, "sobol": 1024}
"""Draws, trajectories or base points when none are given."""

BATCHED_SHARE = 0.6
"""Time of a run among others in a batch over that of a run on its own, about."""

TABLES = {
    "indices": ["method", "case", "output", "year"],
    "elasticities": ["case"],
    "notes": ["method", "case", "output", "year"],
    "costs": ["case", "store"],
    "failed": ["case", "store"],
    "ruling": ["case", "store"],
    "eigenvalues": ["case", "output", "year"],
    "active_variables": ["case", "output", "year"],
}
"""Tables of a study, and what new rows take the place of."""

COLUMNS_OF = {
    "indices": list(COLUMNS),
    "elasticities": list(COLUMNS),
    "notes": ["method", "case", "output", "year", "n_runs", "dropped", "censored", "note"],
    "costs": ["case", "store", "rows", "seconds", "workers", "run_seconds", "equivalents"],
    "failed": ["case", "store", "row", "what", "parameter", "value"],
    "ruling": ["case", "store", "depth", "year", "ruler", "share", "low", "high", "n_runs"],
    "eigenvalues": ["case", "output", "year", "number", "value", "low", "high", "error", "gap"],
    "active_variables": ["case", "output", "year", "first", "second", "value"],
}


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """What the inputs of a problem are drawn from, and how many times.

    Attributes:
        laws: of each input, independent of each other; those of the marginals' bounds and priors
            where there is a posterior.
        posterior: joint draws, used instead of laws; None if there are none.
        samples: draws, trajectories or base points; None for those of :data:`SAMPLES`.
        seed: of the random numbers.
        second: whether Sobol indices of second order are wanted.
    """

    laws: list[Law]
    posterior: Posterior | None = None
    samples: int | None = None
    seed: int = 0
    second: bool = False

    def points(self, store: str) -> tuple[np.ndarray, variance.Design | None]:
        """Points of a store, [row, input], and the design that they belong to if it has one."""
        n = self.samples or SAMPLES[store]
        if store == "gradients":
            if self.posterior is not None:
                return self.posterior.sample(n, self.seed), None
            return sample(self.laws, n, self.seed), None
        if store == "morris":
            design = variance.morris_design(self.laws, n, self.seed)
        else:
            design = variance.sobol_design(self.laws, n, self.seed, self.second)
        return design.x, design

    @property
    def centre(self) -> np.ndarray:
        """Mean of each input."""
        if self.posterior is not None:
            return self.posterior.mean
        return np.array([of.mean for of in self.laws])

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each input."""
        if self.posterior is not None:
            return self.posterior.sd
        return np.array([of.sd for of in self.laws])


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What a method found for a problem: tables by their names in :data:`TABLES`."""

    tables: dict[str, pd.DataFrame]


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
    batches = _batches(x, STORES[method])
    compute = partial(_compute(STORES[method]), problem.model)
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


def _compute(store: str) -> Callable[..., dict[str, np.ndarray]]:
    return gradients if store == "gradients" else evaluate


def _batches(x: np.ndarray, store: str) -> list[ensemble.Batch]:
    """Rows of a store that are computed together, whoever computes them."""
    size = GRADIENT_BATCH if store == "gradients" else FORWARD_BATCH
    starts = range(0, len(x), size)
    places = [tuple(range(start, min(start + size, len(x)))) for start in starts]
    return [ensemble.Batch(rows, x[list(rows)]) for rows in places]


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
    study: Path | None = None,
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
        inputs: file of inputs (:func:`diffsoil.inputs.load_inputs`) instead of ``parameters``.
        prior: laws of the inputs: their priors, or uniform between their bounds.
        posterior: ``posterior.nc`` of a fit; its joint draws are used instead of laws.
        samples: draws of each method (trajectories, base points); its own default if None.
        seed: of the random numbers.
        years: how many, of an output without a year.
        second: also second-order Sobol indices.
        treatment: which, of a case with several.
        study: folder that ``diffsoil study run`` wrote, for drivers against parameters.
        workers, scheduler, device: see :func:`diffsoil.ensemble.cluster`.
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
    folder = Folder(output)
    file_inputs = load_inputs(inputs) if inputs else None
    joint = _read_posterior(posterior) if posterior else None
    problems, all_draws, told = [], [], {}
    for name in cases:
        case = load_case(name)
        label = case.name if treatment is None else f"{case.name}/{treatment}"
        before = {} if overwrite else folder.told.get(label, {})
        names = list(parameters) or _names(case, joint, before if not inputs else {})
        problem = Problem(
            case, list(outputs) or before.get("outputs", []), names, file_inputs, treatment, years
        )
        kind = prior or before.get("prior") or "prior"
        draws = _draws(problem, kind, joint, samples, seed, second)
        content = _told(problem, kind, draws, posterior)
        if before and _key(before) != _key(content):
            raise InputError(
                f"{output}: holds a study of {label} with other {_difference(before, content)}; "
                "choose another folder, or --overwrite"
            )
        if problem.name in told:
            raise InputError(f"CASE {name}: is named twice")
        problems.append(problem)
        all_draws.append(draws)
        told[problem.name] = content
    changed = [n for n, c in told.items() if n in folder.told and _key(folder.told[n]) != _key(c)]
    jobs = [
        Job(folder, problem, draws, store, overwrite, resume)
        for problem, draws in zip(problems, all_draws, strict=True)
        for store in dict.fromkeys(STORES[m] for m in methods if m != "local")
    ]
    if study is not None:
        from sensitivity import drivers

        drivers.read(study)  # what is wrong with it shows before anything is computed
    folder.open(told, drop=changed)
    seconds = _say_costs(problems, jobs, methods, workers)
    with ensemble.cluster(workers, scheduler, device) as pool:
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
        drivers.write(study, output, overwrite=True)
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


def _told(problem: Problem, kind: Kind, draws: Draws, posterior: Path | None) -> dict[str, Any]:
    """What is asked of a case, as it is written down."""
    laws = [str(dataclasses.asdict(of)) for of in draws.laws]
    if draws.posterior is not None:
        laws = [hashlib.sha256(np.ascontiguousarray(draws.posterior.draws).tobytes()).hexdigest()]
    return {
        "case": str(problem.case.path),
        "title": problem.case.file.title,
        "content": _content(problem.case),
        "end": _end(problem),
        "outputs": [of.text for of in problem.outputs],
        "units": [of.quantity.unit for of in problem.outputs],
        "inputs": [
            {
                "name": of.name,
                "keys": list(of.keys),
                "value": of.parameter.default,
                "unit": of.parameter.unit,
                "lower": of.parameter.lower,
                "upper": of.parameter.upper,
                "prior": str(of.parameter.prior) if kind == "prior" else "uniform",
                "description": of.parameter.description,
                "source": of.parameter.source,
            }
            for of in problem.inputs
        ],
        "prior": kind,
        "posterior": None if posterior is None else str(posterior),
        "laws": laws,
        "mechanisms": list(problem.case.file.protection),
        "minimum": problem.case.file.minimum,
    }


def _end(problem: Problem) -> int:
    plan = problem.model.plan
    phases = [*plan.history, *([plan.experiment] if plan.experiment else [])]
    return sum(phase.years for phase in phases)


def _content(case: Case) -> str:
    """Checksum of all that a case is made of."""
    parts = [case.text, *(f"{k}\n{t.to_csv()}" for k, t in sorted(case.climate.items()))]
    if case.management is not None:
        parts.append(case.management.to_csv())
    if case.file.radiocarbon_atmosphere:
        parts.append(case.resolve(case.file.radiocarbon_atmosphere).read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


_KEYS = ("content", "outputs", "inputs", "prior", "laws")


def _key(content: dict[str, Any]) -> list[Any]:
    return [content.get(name) for name in _KEYS]


def _difference(before: dict[str, Any], content: dict[str, Any]) -> str:
    words = {"content": "files of the case", "laws": "laws of the inputs", "prior": "priors"}
    different = [words.get(n, n) for n in _KEYS if before.get(n) != content.get(n)]
    return different[0]


def _read_posterior(path: Path) -> Posterior:
    """Joint draws of all scalar parameters of a fit."""
    if not path.is_file():
        raise InputError(f"--posterior {path}: no such file")
    try:
        with xr.open_dataset(path, group="posterior", engine="h5netcdf") as group:
            draws = {
                str(name): np.asarray(variable.to_numpy(), float).ravel()
                for name, variable in group.data_vars.items()
                if set(variable.dims) == {"chain", "draw"}
            }
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"--posterior {path}: has no group posterior of a fit") from error
    if not draws:
        raise InputError(f"--posterior {path}: has no draws of scalar parameters")
    varying = {name: values for name, values in draws.items() if np.ptp(values) > 0.0}
    return Posterior(tuple(varying), np.stack(list(varying.values()), axis=1))


# The folder.


class Folder:
    """The folder of a study: what was asked, and the tables.

    Args:
        path: made by :meth:`open` if it is not there.

    Attributes:
        told: what was asked of each case, by its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise InputError(f"{path}: is a file, a folder is needed")
        self.told: dict[str, Any] = {}
        file = path / "study.json"
        if file.is_file():
            try:
                self.told = json.loads(file.read_text(encoding="utf-8"))["cases"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{file}: is damaged; choose another folder") from error
        elif path.is_dir() and any(path.iterdir()):
            raise InputError(f"{path}: is not empty and no study of sensitivity; choose another")

    def open(self, told: dict[str, Any], drop: Iterable[str]) -> None:
        """Make the folder, write down what is asked, and forget tables of changed cases."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be made: {error.strerror}") from error
        self.told |= told
        content = {"format": 1, "version": metadata.version("diffsoil"), "cases": self.told}
        with replacing(self.path / "study.json", overwrite=True) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        gone = set(drop)
        for name in TABLES if gone else ():
            table = self.table(name)
            self._write(name, table[~table["case"].isin(gone)])

    def table(self, name: str) -> pd.DataFrame:
        """A table as it is now; empty if it is not there."""
        return report.read_table(self.path, name, COLUMNS_OF[name])

    def add(self, tables: dict[str, pd.DataFrame]) -> None:
        """Put rows in the place of those that are of the same."""
        for name, new in tables.items():
            keys = TABLES[name]
            new = new[COLUMNS_OF[name]]
            old = self.table(name)
            same = pd.MultiIndex.from_frame(_words(new[keys]))
            new = new.astype(old.dtypes)
            kept = old[~pd.MultiIndex.from_frame(_words(old[keys])).isin(same)]
            parts = [part for part in (kept, new) if len(part)]
            self._write(name, pd.concat(parts, ignore_index=True) if parts else new)

    def forget(self, name: str, **labels: object) -> None:
        """Drop the rows that have all of some labels; of several values any will do."""
        table = self.table(name)
        rows = pd.Series(True, index=table.index)
        for column, value in labels.items():
            rows &= table[column].isin(value if isinstance(value, list) else [value])
        if rows.any():
            self._write(name, table[~rows])

    def _write(self, name: str, table: pd.DataFrame) -> None:
        order = {method: i for i, method in enumerate(METHODS)}
        cases = {case: i for i, case in enumerate(self.told)}
        table = table.assign(_case=table["case"].map(cases))
        by = ["_case"]
        if "method" in table:
            table = table.assign(_method=table["method"].map(order))
            by = ["_method", "_case"]
        table = table.sort_values(by, kind="stable")[COLUMNS_OF[name]]
        with replacing(self.path / f"{name}.csv", overwrite=True) as unfinished:
            table.to_csv(unfinished, index=False)


def _words(keys: pd.DataFrame) -> pd.DataFrame:
    """Keys as text, so that a year that is missing equals another."""
    return keys.astype(object).where(keys.notna(), "").astype(str)


# The runs.


class Job:
    """The runs of one design for one problem, in their store.

    Args:
        folder: of the study.
        problem: what is run.
        draws: which points.
        store: ``gradients``, ``morris`` or ``sobol``.
        overwrite, resume: what to do with runs that are there.
    """

    def __init__(
        self,
        folder: Folder,
        problem: Problem,
        draws: Draws,
        store: str,
        overwrite: bool,
        resume: bool,
    ) -> None:
        self.folder = folder
        self.problem = problem
        self.draws = draws
        self.store_name = store
        self.x, self.design = draws.points(store)
        self.path = folder.path / problem.name / f"{store}.zarr"
        self.overwrite = overwrite
        self.resume = resume
        self.fingerprint = self._fingerprint()
        self.left = self._left()

    def _fingerprint(self) -> str:
        """Tells whether two stores have the same runs, apart from how many."""
        told = _told(self.problem, "prior", self.draws, None)
        key = [told[name] for name in ("content", "outputs", "laws")]
        key += [[of["keys"] for of in told["inputs"]], self.draws.seed, self.draws.second]
        key += [FORWARD_BATCH, GRADIENT_BATCH, metadata.version("diffsoil")]
        if self.store_name != "gradients":
            key.append(len(self.x))  # of such a design a part is of no use
        return hashlib.sha256(json.dumps(key).encode()).hexdigest()

    def _left(self) -> int:
        """Rows to compute; what cannot be gone on with is refused before anything is computed."""
        if self.overwrite or not self.path.exists():
            return len(self.x)
        store = ensemble.Store(self.path)
        with store.dataset() as there:
            same = there.attrs["fingerprint"] == self.fingerprint
        if not same:
            raise InputError(
                f"{self.path}: holds runs of other inputs, another seed or number of samples, or "
                "another version; choose another folder, or --overwrite"
            )
        left = len(self.x) - int(store.done[: len(self.x)].sum())
        interrupted = not store.done.all()
        if left and interrupted and not self.resume:
            raise InputError(
                f"{self.path}: exists already, with {store.progress()}; "
                "use --resume to go on or --overwrite to begin anew"
            )
        return left

    def run(self, pool: ensemble.Pool, run_seconds: float | None, workers: int | None) -> None:
        """Compute what is missing."""
        name = f"{self.problem.name}: {self.store_name}"
        store = self._open()
        if not self.left:
            say(f"{name}: all {len(self.x)} rows are there already")
            return
        self._forget()
        compute = partial(_compute(self.store_name), self.problem.model)
        batches = _batches(self.x, self.store_name)
        start, there = time.monotonic(), int(store.done.sum())
        try:
            ensemble.run(compute, batches, store, pool, lambda text: say(f"{name}: {text}"))
        finally:  # what an interrupted run took counts too
            seconds, computed = time.monotonic() - start, int(store.done.sum()) - there
            self._note_cost(store, computed, seconds, run_seconds, workers)

    def note(self) -> None:
        """Write down which runs failed, and which modifiers ruled."""
        runs = self.rows()
        label = {"case": self.problem.name, "store": self.store_name}
        for name in ("failed", "ruling"):
            self.folder.forget(name, **label)
        failed, shares = self._failed(runs, label), self._ruling(runs["ruling"], label)
        self.folder.add({"failed": failed, "ruling": shares})

    def _forget(self) -> None:
        """Drop what was found with fewer runs, or with others."""
        methods = [method for method, store in STORES.items() if store == self.store_name]
        for name in ("indices", "notes"):
            self.folder.forget(name, case=self.problem.name, method=methods)
        if self.store_name == "gradients":
            for name in ("eigenvalues", "active_variables"):
                self.folder.forget(name, case=self.problem.name)
        if self.overwrite:
            self.folder.forget("costs", case=self.problem.name, store=self.store_name)

    def _open(self) -> ensemble.Store:
        """The store, made or made larger; rows that are there are kept."""
        template = self._template()
        if self.overwrite or not self.path.exists():
            return ensemble.Store.open(
                self.path, template, self.fingerprint, overwrite=self.overwrite
            )
        store = ensemble.Store.open(self.path, template, self.fingerprint, resume=True)
        if store.done.size >= len(self.x):
            return store
        rows = np.flatnonzero(store.done)
        with store.dataset() as there:
            names = list(template.data_vars)
            kept = {str(name): there[name].to_numpy()[rows] for name in names}
        larger = ensemble.Store.open(self.path, template, self.fingerprint, overwrite=True)
        larger.write(rows.tolist(), kept)
        return larger

    def _template(self) -> xr.Dataset:
        """What the store holds: names and coordinates; no values yet."""
        names = list(self.problem.names)
        texts = [of.text for of in self.problem.outputs]
        units = ", ".join(f"{of.text} {of.quantity.unit}" for of in self.problem.outputs)
        size = {"row": len(self.x), "input": len(names), "output": len(texts)}
        size |= {"depth": len(COMPARTMENTS), "window": WINDOWS, "ruler": len(RULERS)}
        dims: dict[str, tuple[str, ...]] = {"x": ("row", "input"), "value": ("row", "output")}
        dims |= {"ruling": ("row", "depth", "window", "ruler"), "seconds": ("row",)}
        if self.store_name == "gradients":
            dims["gradient"] = ("row", "output", "input")
        told = {"x": "value of each input", "value": f"outputs: {units}",
                "ruling": "share of soil and time in which a modifier is the lowest",
                "seconds": "time of the row, s, without compiling",
                "gradient": "derivative of each output by each input"}  # fmt: skip
        end = _end(self.problem)
        coordinates = {
            "row": np.arange(len(self.x)),
            "input": names,
            "output": texts,
            "depth": list(COMPARTMENTS),
            "window": np.linspace(0, end, WINDOWS + 1)[1:],
            "ruler": list(RULERS),
        }
        variables = {
            name: (d, np.broadcast_to(np.nan, [size[k] for k in d]), {"long_name": told[name]})
            for name, d in dims.items()
        }
        case = {"case": self.problem.case.text, "seed": self.draws.seed}
        return xr.Dataset(variables, coordinates, case)

    def rows(self) -> dict[str, np.ndarray]:
        """All rows of the design, computed before."""
        with ensemble.Store.read(self.path).dataset() as there:
            found = {str(k): v.to_numpy()[: len(self.x)] for k, v in there.data_vars.items()}
        return {name: values for name, values in found.items() if name != ensemble.DONE}

    def _note_cost(
        self,
        store: ensemble.Store,
        computed: int,
        seconds: float,
        run_seconds: float | None,
        workers: int | None,
    ) -> None:
        """Write down what rows took, together with those that were computed before.

        Equivalents are the times of all rows over that of one run; compiling is not in them.
        """
        label = {"case": self.problem.name, "store": self.store_name}
        used = workers or ensemble._cores()
        before = self.folder.table("costs")
        before = before[(before["case"] == label["case"]) & (before["store"] == label["store"])]
        rows = computed + int(before["rows"].sum())
        seconds += float(before["seconds"].sum())
        one = run_seconds or float("nan")
        with store.dataset() as there:
            equivalents = float(np.nansum(there["seconds"].to_numpy())) / one
        cost = {"rows": rows, "seconds": seconds, "workers": used, "run_seconds": one}
        say(
            f"{label['case']}: {label['store']}: {rows} rows took {seconds / 60:.1f} min on "
            f"{used} workers, {equivalents:.0f} times one run of {one:.2f} s"
        )
        self.folder.add({"costs": pd.DataFrame([{**label, **cost, "equivalents": equivalents}])})

    def _failed(self, runs: dict[str, np.ndarray], label: dict[str, str]) -> pd.DataFrame:
        """Draws with a value or a derivative that is not finite, with their inputs."""
        bad_value = ~np.isfinite(runs["value"])
        bad_slope = np.zeros_like(bad_value)
        if "gradient" in runs:
            bad_slope = ~np.isfinite(runs["gradient"]).all(axis=2)
        tables = []
        for row in np.flatnonzero((bad_value | bad_slope).any(axis=1)):
            kinds = {"value": bad_value[row], "derivative": bad_slope[row]}
            words = [
                f"{kind} of {output.text}"
                for kind, bad in kinds.items()
                for output, is_bad in zip(self.problem.outputs, bad, strict=True)
                if is_bad
            ]
            inputs = {"parameter": list(self.problem.names), "value": runs["x"][row]}
            tables.append(pd.DataFrame({**label, "row": row, "what": "; ".join(words), **inputs}))
        if not tables:
            return pd.DataFrame(columns=COLUMNS_OF["failed"])
        return pd.concat(tables, ignore_index=True)

    def _ruling(self, shares: np.ndarray, label: dict[str, str]) -> pd.DataFrame:
        """Mean share over the draws in which each modifier rules, with 95 % of the draws."""
        known = np.isfinite(shares).all(axis=(1, 2, 3))
        if not known.any():
            return pd.DataFrame(columns=COLUMNS_OF["ruling"])
        shares = shares[known]
        low, high = np.quantile(shares, [0.025, 0.975], axis=0)
        end = _end(self.problem)
        years = np.linspace(0, end, WINDOWS + 1)[1:]
        index = pd.MultiIndex.from_product(
            [list(COMPARTMENTS), years, RULERS], names=["depth", "year", "ruler"]
        )
        values = {"share": shares.mean(axis=0), "low": low, "high": high}
        table = pd.DataFrame({k: v.ravel() for k, v in values.items()}, index=index).reset_index()
        return table.assign(case=label["case"], store=label["store"], n_runs=int(known.sum()))


def _say_costs(
    problems: Sequence[Problem], jobs: Sequence[Job], methods: Sequence[Method],
    workers: int | None,
) -> dict[str, float]:  # fmt: skip
    """Say what the study will cost, from one timed run of each case; seconds of a run by case."""
    used = workers or ensemble._cores()
    seconds: dict[str, float] = {}
    for problem in problems:
        own = [job for job in jobs if job.problem is problem]
        about = f"{len(problem.outputs)} outputs, {len(problem.inputs)} inputs"
        if not any(job.left for job in own) and "local" not in methods:
            say(f"{problem.name}: {about}; nothing to compute")
            continue
        seconds[problem.name] = one = time_of_run(problem)
        of_gradient = _gradient_runs(problem)
        say(f"{problem.name}: {about}; one run takes {one:.2f} s")
        if "local" in methods:
            minutes = (2 * of_gradient * one) / 60
            say(f"{problem.name}: local: 2 gradients, about {minutes:.1f} min and compiling")
        for job in own:
            each = of_gradient if job.store_name == "gradients" else BATCHED_SHARE
            minutes = job.left * each * one / used / 60
            kind = "gradients" if job.store_name == "gradients" else "runs"
            say(
                f"{problem.name}: {job.store_name}: {job.left} of {len(job.x)} {kind} to compute, "
                f"about {minutes:.1f} min on {used} workers, and compiling"
            )
    return seconds


def _gradient_runs(problem: Problem) -> float:
    """Runs that a gradient of all outputs costs, about."""
    if problem.model.forward_mode:
        return 1.0 + 0.6 * len(problem.inputs)
    return 5.0 * len(problem.outputs)


def time_of_run(problem: Problem) -> float:
    """Seconds of one run on its own, compiled before."""
    import jax
    import jax.numpy as jnp

    from sensitivity.problem import _values

    x = jnp.asarray(problem.defaults)[None]
    jax.block_until_ready(_values(problem.model, x))
    times = []
    for _ in range(2):
        start = time.monotonic()
        jax.block_until_ready(_values(problem.model, x))
        times.append(time.monotonic() - start)
    return min(times)


def say(text: str) -> None:
    """A line of progress."""
    print(f"diffsoil: {text}", file=sys.stderr, flush=True)
