"""The runs of one design for one problem: which, where they are kept, and what they cost."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from diffsoil.cases.fingerprint import difference as changed
from diffsoil.cases.fingerprint import fingerprint
from diffsoil.io import InputError
from diffsoil.output.simulation import simulate
from diffsoil.work import ensemble
from diffsoil.work.ensemble import Batch
from diffsoil.work.pool import Pool, cores
from diffsoil.work.progress import say
from diffsoil.work.store import DONE, Store
from sensitivity import variance
from sensitivity.distributions import Distribution, Posterior, sample
from sensitivity.folder import COLUMNS_OF, Folder
from sensitivity.options import Method
from sensitivity.problem import (
    BATCHED,
    COMPARTMENTS,
    FORWARD,
    FORWARD_BATCH,
    GRADIENT_BATCH,
    WINDOWS,
    Problem,
    evaluate,
    gradient_runs,
    gradients,
)

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


@dataclasses.dataclass(frozen=True, eq=False)
class Draws:
    """What the inputs of a problem are drawn from, and how many times.

    Attributes:
        distributions: of each input, independent of each other; those of the marginals' bounds and
            priors where there is a posterior.
        posterior: joint draws, used instead of distributions; None if there are none.
        samples: draws, trajectories or base points; None for those of :data:`SAMPLES`.
        seed: of the random numbers.
        second: whether Sobol indices of second order are wanted.
    """

    distributions: list[Distribution]
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
            return sample(self.distributions, n, self.seed), None
        if store == "morris":
            design = variance.morris_design(self.distributions, n, self.seed)
        else:
            design = variance.sobol_design(self.distributions, n, self.seed, self.second)
        return design.x, design

    @property
    def centre(self) -> np.ndarray:
        """Mean of each input."""
        if self.posterior is not None:
            return self.posterior.mean
        return np.array([of.mean for of in self.distributions])

    @property
    def spread(self) -> np.ndarray:
        """Standard deviation of each input."""
        if self.posterior is not None:
            return self.posterior.sd
        return np.array([of.sd for of in self.distributions])


def computation(store: str) -> Callable[..., dict[str, np.ndarray]]:
    """What computes a batch of a store."""
    return gradients if store == "gradients" else evaluate


def batches_of(x: np.ndarray, store: str) -> list[Batch]:
    """Rows of a store that are computed together, whoever computes them."""
    size = GRADIENT_BATCH if store == "gradients" else FORWARD_BATCH
    starts = range(0, len(x), size)
    places = [tuple(range(start, min(start + size, len(x)))) for start in starts]
    return [Batch(rows, x[list(rows)]) for rows in places]


def description(
    problem: Problem, kind: Kind, draws: Draws, posterior: Path | None
) -> dict[str, Any]:
    """What is asked of a case, as it is written down."""
    distributions = [str(dataclasses.asdict(of)) for of in draws.distributions]
    if draws.posterior is not None:
        distributions = [
            hashlib.sha256(np.ascontiguousarray(draws.posterior.draws).tobytes()).hexdigest()
        ]
    return {
        "case": str(problem.case.path),
        "title": problem.case.file.title,
        "content": fingerprint(problem.case),
        "end": problem.case.end_year,
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
        "laws": distributions,
        "mechanisms": list(problem.case.file.protection),
        "minimum": problem.case.file.minimum,
    }


def _windows(problem: Problem) -> np.ndarray:
    """Calendar years with which the windows of time end."""
    before, end = problem.case.file.start_year - 1, problem.case.end_year
    return np.linspace(before, end, WINDOWS + 1)[1:]


def difference(before: dict[str, Any], content: dict[str, Any]) -> str:
    """In what two studies of a case differ that cannot go together, in words, or nothing."""
    keys = ("content", "outputs", "inputs", "prior", "laws")
    return changed(*({key: of.get(key) for key in keys} for of in (before, content)))


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

    def _fingerprint(self) -> dict[str, Any]:
        """Tells whether two stores have the same runs, apart from how many."""
        told = description(self.problem, "prior", self.draws, None)
        key = told["content"] | {
            "outputs": told["outputs"],
            "distributions": told["laws"],
            "inputs": [of["keys"] for of in told["inputs"]],
            "seed": self.draws.seed,
            "second": self.draws.second,
            "batches": [FORWARD_BATCH, GRADIENT_BATCH],
            "version": metadata.version("diffsoil"),
        }
        if self.store_name != "gradients":
            key["samples"] = len(self.x)  # of such a design a part is of no use
        return key

    def _left(self) -> int:
        """Rows to compute; what cannot be gone on with is refused before anything is computed."""
        if self.overwrite or not self.path.exists():
            return len(self.x)
        store = Store(self.path)
        if other := store.difference(self.fingerprint):
            raise InputError(
                f"{self.path}: holds other runs: {other}; choose another folder, or --overwrite"
            )
        left = len(self.x) - int(store.done[: len(self.x)].sum())
        interrupted = not store.done.all()
        if left and interrupted and not self.resume:
            raise InputError(
                f"{self.path}: exists already, with {store.progress()}; "
                "use --resume to go on or --overwrite to begin anew"
            )
        return left

    def run(self, pool: Pool, run_seconds: float | None, workers: int | None) -> None:
        """Compute what is missing."""
        name = f"{self.problem.name}: {self.store_name}"
        how = {"overwrite": True} if self.overwrite else {"resume": True}
        store = Store.open(self.path, self._template(), self.fingerprint, **how)
        for file in store.damaged:
            say(f"{name}: {file} is damaged; its runs are computed again")
        if store.damaged:
            self.left = len(self.x) - int(store.done[: len(self.x)].sum())
        if not self.left:
            say(f"{name}: all {len(self.x)} rows are there already")
            return
        self._forget()
        compute = partial(computation(self.store_name), self.problem.model)
        batches = batches_of(self.x, self.store_name)
        start, there = time.monotonic(), int(store.done.sum())
        try:
            ensemble.run(compute, batches, store, pool, lambda text: say(f"{name}: {text}"))
        finally:  # what an interrupted run took counts too
            seconds, computed = time.monotonic() - start, int(store.done.sum()) - there
            self._note_cost(store, computed, seconds, run_seconds, workers)

    def note(self) -> None:
        """Write down which runs failed, and which modifiers limited decomposition."""
        runs = self.rows()
        label = {"case": self.problem.name, "store": self.store_name}
        for name in ("failed", "ruling"):
            self.folder.forget(name, **label)
        failed, shares = self._failed(runs, label), self._limiting(runs["ruling"], label)
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

    def _template(self) -> xr.Dataset:
        """What the store holds: names and coordinates; no values yet."""
        names = list(self.problem.names)
        texts = [of.text for of in self.problem.outputs]
        units = ", ".join(f"{of.text} {of.quantity.unit}" for of in self.problem.outputs)
        size = {"row": len(self.x), "input": len(names), "output": len(texts)}
        size |= {"depth": len(COMPARTMENTS), "window": WINDOWS, "ruler": len(self._limits)}
        dims: dict[str, tuple[str, ...]] = {"x": ("row", "input"), "value": ("row", "output")}
        dims |= {"ruling": ("row", "depth", "window", "ruler"), "seconds": ("row",)}
        if self.store_name == "gradients":
            dims["gradient"] = ("row", "output", "input")
        told = {"x": "value of each input", "value": f"outputs: {units}",
                "ruling": "share of soil and time in which a modifier is the lowest",
                "seconds": "time of the row, s, without compiling",
                "gradient": "derivative of each output by each input"}  # fmt: skip
        coordinates = {
            "row": np.arange(len(self.x)),
            "input": names,
            "output": texts,
            "depth": list(COMPARTMENTS),
            "window": _windows(self.problem),
            "ruler": self._limits,
        }
        variables = {
            name: (d, np.broadcast_to(np.nan, [size[k] for k in d]), {"long_name": told[name]})
            for name, d in dims.items()
        }
        case = {"case": self.problem.case.text, "seed": self.draws.seed}
        return xr.Dataset(variables, coordinates, case)

    def rows(self) -> dict[str, np.ndarray]:
        """All rows of the design, computed before."""
        with Store.read(self.path).dataset() as there:
            found = {str(k): v.to_numpy()[: len(self.x)] for k, v in there.data_vars.items()}
        return {name: values for name, values in found.items() if name != DONE}

    def _note_cost(
        self,
        store: Store,
        computed: int,
        seconds: float,
        run_seconds: float | None,
        workers: int | None,
    ) -> None:
        """Write down what rows took, together with those that were computed before.

        Equivalents are the times of all rows over that of one run; compiling is not in them.
        """
        label = {"case": self.problem.name, "store": self.store_name}
        used = workers or cores()
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

    @property
    def _limits(self) -> list[str]:
        """What may limit decomposition."""
        return ["none", *self.problem.mechanisms]

    def _limiting(self, shares: np.ndarray, label: dict[str, str]) -> pd.DataFrame:
        """Mean share over the draws in which each modifier limits, with 95 % of the draws."""
        known = np.isfinite(shares).all(axis=(1, 2, 3))
        if not known.any():
            return pd.DataFrame(columns=COLUMNS_OF["ruling"])
        shares = shares[known]
        low, high = np.quantile(shares, [0.025, 0.975], axis=0)
        years = _windows(self.problem)
        index = pd.MultiIndex.from_product(
            [list(COMPARTMENTS), years, self._limits], names=["depth", "year", "ruler"]
        )
        values = {"share": shares.mean(axis=0), "low": low, "high": high}
        table = pd.DataFrame({k: v.ravel() for k, v in values.items()}, index=index).reset_index()
        return table.assign(case=label["case"], store=label["store"], n_runs=int(known.sum()))


def say_costs(
    problems: Sequence[Problem], jobs: Sequence[Job], methods: Sequence[Method],
    workers: int | None,
) -> dict[str, float]:  # fmt: skip
    """Say what the study will cost, from one timed run of each case; seconds of a run by case."""
    used = workers or cores()
    seconds: dict[str, float] = {}
    for problem in problems:
        own = [job for job in jobs if job.problem is problem]
        about = f"{len(problem.outputs)} outputs, {len(problem.inputs)} inputs"
        if not any(job.left for job in own) and "local" not in methods:
            say(f"{problem.name}: {about}; nothing to compute")
            continue
        seconds[problem.name] = one = time_of_run(problem)
        of_gradient = gradient_runs(problem.model)
        say(f"{problem.name}: {about}; one run takes {one:.2f} s")
        if "local" in methods:
            # of many outputs, so that derivatives go along with the run
            low, high = (2 * (1.0 + x * len(problem.inputs)) * one / 60 for x in FORWARD)
            say(f"{problem.name}: local: 2 gradients, {low:.1f} to {high:.1f} min, and compiling")
        for job in own:
            gradient = job.store_name == "gradients"
            low, high = (
                job.left * each * one / used / 60 for each in (of_gradient if gradient else BATCHED)
            )
            say(
                f"{problem.name}: {job.store_name}: {job.left} of {len(job.x)} "
                f"{'gradients' if gradient else 'runs'} to compute, {low:.1f} to {high:.1f} min on "
                f"{used} workers, and compiling"
            )
    return seconds


def time_of_run(problem: Problem) -> float:
    """Seconds of one run on its own, compiled before."""
    import jax
    import jax.numpy as jnp

    from sensitivity.problem import _values

    x = jnp.asarray(problem.defaults)[None]
    if not jnp.isfinite(_values(problem.model, x)[0]).all():
        # an output may have no value; a column that has none is refused, with the place
        simulate(problem.case, treatments=problem.treatment and [problem.treatment])
    times = []
    for _ in range(2):
        start = time.monotonic()
        jax.block_until_ready(_values(problem.model, x))
        times.append(time.monotonic() - start)
    return min(times)
