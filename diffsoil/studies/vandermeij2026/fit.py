"""Fit what the study of van der Meij & Finke (2026) does not tell to its results.

Plant input, litter, roots, rates, clay minerals, acidity and percolation are not given there.
They are found by least squares on Table 3 and on statements about Figure 1, with weak priors and
one value for all runs, from the exact derivatives of all runs and of the regression on them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd
import tomlkit
from jaxtyping import Float
from scipy.optimize import least_squares

from diffsoil.cases import Case
from diffsoil.cases.fingerprint import case_files
from diffsoil.cases.inputs import Input, load_inputs, prior, value, with_values
from diffsoil.cases.kinds import file_stem
from diffsoil.io import InputError, data_path
from diffsoil.options import Existing, Workers
from diffsoil.studies.vandermeij2026 import analysis
from diffsoil.studies.vandermeij2026.beyond import HARDLY, PINNED
from diffsoil.studies.vandermeij2026.family import Family, Slopes, stocks, stocks_and_slopes
from diffsoil.studies.vandermeij2026.scenarios import Study, load_study
from diffsoil.studies.vandermeij2026.suite import families, fingerprint
from diffsoil.work.checkpoints import Checkpoints, beside, progress_of
from diffsoil.work.ensemble import Batch
from diffsoil.work.files import check_output, write_table
from diffsoil.work.output_file import OutputFile, case_with_note
from diffsoil.work.pool import Pool, cluster, collect
from diffsoil.work.progress import Say, say

TARGETS = (
    *(f"T3-{predictor}" for _, predictor in analysis.PREDICTORS),
    *("F1-n-extensive", "F1-m", "F1-p", "F1-c", "F1-a-early", "F1-a-late"),
)
"""Numbers of the paper that are fitted; its eta2, R2 and years are kept to judge by."""

DEVIATION = {"T3": 0.5, "F1": 1.0}
"""Standard deviation that a number has in the fit, in tolerances: Table 3 is printed with two
digits after the point, so its tolerance counts as two deviations; Figure 1 is told in words."""

DIFFERENCE = 1e-3
"""Step by which the arrays of a case are differentiated, in standard deviations of the prior;
most of them are linear in the input, then any step is exact."""

TARGET, SLOPE = "target ", "slope "
"""Beginnings of the names of arrays in a checkpoint."""

ENOUGH = 1e-3
"""Relative gain of a step, in chi-square and prior, at which the search ends."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What one evaluation found.

    Attributes:
        targets: every number of the paper as the runs give it, by id.
        slopes: derivatives by the coordinate of each input, [input]; empty where not asked for.
    """

    targets: dict[str, float]
    slopes: dict[str, list[float]]


class Runs:
    """The ten-thousand-year runs of a study, and the numbers of the paper as they give them.

    Args:
        study: names the runs; those of another case of the same study may be evaluated too.
        pool: who computes.
    """

    def __init__(self, study: Study, pool: Pool) -> None:
        self.scenarios = tuple(s for s in study.scenarios if not s.recovery)
        self.pool = pool
        labels = ({**dataclasses.asdict(s), "erosion": "-".join(s.erosion)} for s in self.scenarios)
        table = pd.DataFrame(list(labels))
        self._design = analysis.design(table)
        self._windows = analysis.windows(table["erosion"], analysis.END)
        self._figure1 = analysis.figure1_runs(table)

    def targets(self, study: Study) -> dict[str, float]:
        """Every number of the paper by id (:func:`.analysis.targets`)."""
        batches = families(study, self.scenarios)
        found = self._gathered(batches, [batch.argument for batch in batches], stocks)
        return self._targets(self._smoothed(found["stock"]))

    def groups(self, study: Study) -> list[list[Batch]]:
        """Families by bioclimate, in each of which some inputs have no effect."""
        groups = []
        for bioclimate in dict.fromkeys(s.bioclimate for s in self.scenarios):
            places = [i for i, s in enumerate(self.scenarios) if s.bioclimate == bioclimate]
            group = families(study, [self.scenarios[i] for i in places])
            moved = [tuple(places[row] for row in batch.rows) for batch in group]
            groups.append([Batch(r, b.argument) for r, b in zip(moved, group, strict=True)])
        return groups

    def targets_and_slopes(
        self, groups: list[list[Batch]], along: list[Slopes]
    ) -> tuple[dict[str, float], dict[str, Float[np.ndarray, " input"]]]:
        """The same of families that are built already, and the derivatives by some inputs.

        Args:
            groups: from :meth:`groups`.
            along: how the families of each group depend on the inputs.
        """
        batches = [batch for group in groups for batch in group]
        arguments = [(b.argument, of) for of, g in zip(along, groups, strict=True) for b in g]
        found = self._gathered(batches, arguments, stocks_and_slopes)
        stock = self._smoothed(found["stock"])
        tangents = np.stack([self._smoothed(part) for part in np.moveaxis(found["slope"], -1, 0)])
        figure = {name: stock[place] for name, place in self._figure1.items()}
        pushed = {name: tangents[:, place] for name, place in self._figure1.items()}
        slopes = analysis.d_coefficients(stock, tangents, self._design)
        return self._targets(stock), slopes | analysis.d_figure1(figure, pushed)

    def _gathered(
        self, batches: list[Batch], arguments: list[Any], compute: Callable
    ) -> dict[str, np.ndarray]:
        """Results of all batches, in the order of the scenarios."""
        results = collect(compute, arguments, self.pool)
        order = np.argsort(np.concatenate([batch.rows for batch in batches]))
        return {name: np.concatenate([r[name] for r in results])[order] for name in results[0]}

    def _smoothed(self, stock: np.ndarray) -> np.ndarray:
        return analysis.smoothed(stock[:, : analysis.END], self._windows)

    def _targets(self, stock: np.ndarray) -> dict[str, float]:
        return analysis.numbers(stock, self._design, self._figure1)


class Misfit:
    """Distance between the runs of the study and its results, as a function of unstated inputs.

    An input is searched in a coordinate of its own: its logarithm where the prior is lognormal,
    otherwise itself.

    Args:
        study: with the case that the search begins from.
        inputs: what may change, by name.
        pool: who computes.
    """

    def __init__(self, study: Study, inputs: Mapping[str, Input], pool: Pool) -> None:
        self.study = study
        self.inputs = dict(inputs)
        self.runs = Runs(study, pool)
        priors = [prior(study.base, of) for of in self.inputs.values()]
        for name, known in zip(self.inputs, priors, strict=True):
            if known.kind == "uniform":
                raise InputError(f"input {name}: needs a normal or a lognormal prior")
        self.logarithm = np.array([known.kind == "lognormal" for known in priors])
        self.location = self.coordinate([known.location for known in priors])
        self.scale = np.array([known.scale for known in priors])
        self.lower = self.coordinate([of.lower for of in self.inputs.values()])
        self.upper = self.coordinate([of.upper for of in self.inputs.values()])
        self.paper = analysis.paper().set_index("id")
        fitted = self.paper.loc[list(TARGETS)]
        self.targets = fitted["paper"].to_numpy()
        self.deviation = fitted["tolerance"].to_numpy() * [DEVIATION[name[:2]] for name in TARGETS]
        self._known: dict[tuple, Study] = {}

    def coordinate(self, values: Sequence[float] | np.ndarray) -> Float[np.ndarray, " input"]:
        """Coordinates of values of the inputs."""
        x = np.asarray(values, float)
        return np.where(self.logarithm, np.log(np.where(self.logarithm, x, 1.0)), x)

    def values(self, u: Float[np.ndarray, " input"]) -> dict[str, float]:
        """Values of the inputs by name, to eight digits, so that the case can be written."""
        x = np.where(self.logarithm, np.exp(np.where(self.logarithm, u, 0.0)), u)
        return {name: float(f"{v:.8g}") for name, v in zip(self.inputs, x, strict=True)}

    def start(self, base: Case | None = None) -> Float[np.ndarray, " input"]:
        """Coordinates of the values that a case has, moved into the bounds.

        Args:
            base: the case; that of the study if not given.
        """
        base = self.study.base if base is None else base
        values = self.coordinate([value(base, of) for of in self.inputs.values()])
        return np.clip(values, self.lower + 1e-6, self.upper - 1e-6)

    def at(self, u: Float[np.ndarray, " input"]) -> Study:
        """The study at some coordinates."""
        values = self.values(u)
        key = tuple(values.values())
        if key not in self._known:
            # differences of all families are taken at the same places
            if len(self._known) > 2 * len(values) + 1:
                self._known.clear()
            base = with_values(self.study.base, self.inputs, values)
            self._known[key] = dataclasses.replace(self.study, base=base)
        return self._known[key]

    def evaluate(self, u: Float[np.ndarray, " input"], slopes: bool = False) -> Found:
        """Live through all runs.

        Args:
            u: coordinates, [input].
            slopes: also the derivatives.
        """
        if not slopes:
            return Found(self.runs.targets(self.at(u)), {})
        groups = self.runs.groups(self.at(u))
        along = [self.slopes(u, group) for group in groups]
        targets, found = self.runs.targets_and_slopes(groups, along)
        lost = [name for name, values in found.items() if not np.isfinite(values).all()]
        if lost:
            raise FloatingPointError(f"no finite derivative of {', '.join(lost)}")
        return Found(targets, {name: values.tolist() for name, values in found.items()})

    def slopes(self, u: Float[np.ndarray, " input"], batches: list[Batch]) -> Slopes:
        """How families depend on the coordinates; their histories are the same in all."""
        of_all: Family = batches[0].argument
        parameters = of_all.column.parameters().keys()
        of_plants = _first_generations(of_all)
        of_leaves = _generations_of_leaves(of_all)
        by_parameter: dict[str, np.ndarray] = {}
        by_leaf: dict[int, np.ndarray] = {}
        begin = np.full(len(u), len(of_all.generations))
        x = list(self.values(u).values())
        for place, of in enumerate(self.inputs.values()):
            for key in parameters & set(of.keys):
                slope = by_parameter.setdefault(key, np.zeros(len(u)))
                slope[place] = x[place] if self.logarithm[place] else 1.0
                begin[place] = min(begin[place], of_plants.get(key, 0))
            if not set(of.keys) <= parameters:
                for leaf, change in self._differences(u, place, batches[0]).items():
                    into = by_leaf.setdefault(leaf, np.zeros((len(u), *change.shape)))
                    into[place] = change
                    begin[place] = min(begin[place], of_leaves[leaf])
        places = np.flatnonzero(begin < len(of_all.generations))
        return Slopes(
            tuple(places.tolist()),
            tuple(begin[places].tolist()),
            len(u),
            {name: slope[places] for name, slope in by_parameter.items()},
            {leaf: slope[places] for leaf, slope in by_leaf.items()},
        )

    def _differences(self, u: np.ndarray, place: int, here: Batch) -> dict[int, Any]:
        """Derivative of the arrays of a family by one coordinate; only those that change."""
        runs = [self.runs.scenarios[row] for row in here.rows]
        step = np.zeros_like(u)
        step[place] = DIFFERENCE * self.scale[place]
        ends, sides = [], []
        for at in (u - step, u + step):
            at = np.clip(at, self.lower, self.upper)
            moved = families(self.at(at), runs)[0].argument
            sides.append([np.asarray(x) for x in jax.tree.leaves((moved.roots, moved.generations))])
            # the values that the case was given are rounded
            ends.append(self.coordinate(list(self.values(at).values()))[place])
            if moved.path != here.argument.path:
                name = list(self.inputs)[place]
                raise InputError(f"input {name}: changes what runs have in common")
        pairs = enumerate(zip(*sides, strict=True))
        run = ends[1] - ends[0]
        return {i: (b - a) / run for i, (a, b) in pairs if not np.array_equal(a, b)}

    def residuals(self, u: np.ndarray, found: Found) -> Float[np.ndarray, " residual"]:
        """Differences from the paper, then from the priors, in standard deviations."""
        misses = np.array([found.targets[name] for name in TARGETS]) - self.targets
        return np.concatenate([misses / self.deviation, (u - self.location) / self.scale])

    def jacobian(self, found: Found) -> Float[np.ndarray, "residual input"]:
        """Derivatives of :meth:`residuals`."""
        slopes = np.array([found.slopes[name] for name in TARGETS])
        return np.concatenate([slopes / self.deviation[:, None], np.diag(1.0 / self.scale)])


def _first_generations(of: Family) -> dict[str, int]:
    """Generation from which the input factor of each group of plants has an effect."""
    groups = sorted(of.column.process("vegetation").input_factor)  # type: ignore[attr-defined]
    first = np.full(len(groups), len(of.generations))
    for place in reversed(range(len(of.generations))):
        phase = of.generations[place].phase
        given = np.asarray((phase.constant | phase.series)["plant_input"])
        first[given.reshape(-1, len(groups)).any(axis=0)] = place
    return {f"vegetation.input_factor.{g}": int(n) for g, n in zip(groups, first, strict=True)}


def _generations_of_leaves(of: Family) -> list[int]:
    """Generation that each array of a family belongs to; those of the start to the first."""
    counts = [len(jax.tree.leaves(part)) for part in (of.roots, *of.generations)]
    return np.repeat([0, *range(len(of.generations))], counts).tolist()


class Evaluations:
    """Evaluations of a misfit, kept as checkpoints: a search that was stopped repeats none."""

    def __init__(self, misfit: Misfit, checkpoints: Checkpoints) -> None:
        self.misfit, self.checkpoints = misfit, checkpoints

    def at(self, u: Float[np.ndarray, " input"], slopes: bool = False) -> Found:
        """See :meth:`Misfit.evaluate`."""

        def evaluate() -> dict[str, Any]:
            found = self.misfit.evaluate(u, slopes)
            numbers = {f"{TARGET}{name}": value for name, value in found.targets.items()}
            return numbers | {f"{SLOPE}{name}": values for name, values in found.slopes.items()}

        kept = self.checkpoints.once([u.tolist(), slopes], evaluate)
        return Found(
            {n.removeprefix(TARGET): float(v) for n, v in kept.items() if n.startswith(TARGET)},
            {n.removeprefix(SLOPE): v.tolist() for n, v in kept.items() if n.startswith(SLOPE)},
        )


def search(
    evaluations: Evaluations, steps: int, say: Say, start: Float[np.ndarray, " input"]
) -> Float[np.ndarray, " input"]:
    """Least squares within bounds (a trust region with the exact Jacobian).

    Args:
        evaluations: of the misfit that is to be small.
        steps: most evaluations of the runs.
        say: told the misfit of each evaluation.
        start: coordinates to begin from.

    Returns:
        The best coordinates found.
    """
    began, misfit = time.monotonic(), evaluations.misfit

    def function(u: np.ndarray) -> np.ndarray:
        residuals = misfit.residuals(u, evaluations.at(u))
        say(f"misfit {residuals @ residuals:8.1f} after {time.monotonic() - began:.0f} s")
        return residuals

    found = least_squares(
        function,
        start,
        jac=lambda u: misfit.jacobian(evaluations.at(u, slopes=True)),
        bounds=(misfit.lower, misfit.upper),
        x_scale=misfit.scale,
        ftol=ENOUGH,
        max_nfev=steps,
    )
    best: np.ndarray = found.x
    return best


def identifiability(misfit: Misfit, u: np.ndarray, found: Found) -> pd.DataFrame:
    """What the study says of each input, by the Laplace approximation at the fitted values.

    Returns:
        input, what, keys, value, prior (location), lower, upper, prior_sd and posterior_sd (of
        the coordinate: of the logarithm where ``logarithm``), posterior_over_prior, partner (the
        input it is most correlated with) and correlation, at_bound, verdict: pinned, partly,
        hardly.
    """
    jacobian = misfit.jacobian(found)
    covariance = np.linalg.inv(jacobian.T @ jacobian)
    sd = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(sd, sd) - np.eye(len(sd))
    partner = np.abs(correlation).argmax(axis=1)
    names = list(misfit.inputs)
    share = sd / misfit.scale
    near = 0.02 * np.minimum(misfit.scale, misfit.upper - misfit.lower)
    at_bound = (u - misfit.lower < near) | (misfit.upper - u < near)
    at_location = np.where(misfit.logarithm, np.exp(misfit.location), misfit.location)
    values = misfit.values(u)
    return pd.DataFrame(
        {
            "input": names,
            "what": [of.what for of in misfit.inputs.values()],
            "keys": [" ".join(of.keys) for of in misfit.inputs.values()],
            "value": list(values.values()),
            "prior": at_location,
            "lower": [of.lower for of in misfit.inputs.values()],
            "upper": [of.upper for of in misfit.inputs.values()],
            "logarithm": misfit.logarithm,
            "prior_sd": misfit.scale,
            "posterior_sd": sd,
            "posterior_over_prior": share,
            "partner": [names[i] for i in partner],
            "correlation": correlation[np.arange(len(sd)), partner],
            "at_bound": at_bound,
            "verdict": np.select([share < PINNED, share > HARDLY], ["pinned", "hardly"], "partly"),
        }
    )


def targets_table(misfit: Misfit, before: Found, after: Found) -> pd.DataFrame:
    """The paper's numbers before and after the fit.

    Returns:
        id, paper, tolerance, before, after, used_in_fit.
    """
    table = misfit.paper.reset_index()[["id", "paper", "tolerance"]]
    table["before"] = [before.targets[name] for name in table["id"]]
    table["after"] = [after.targets[name] for name in table["id"]]
    table["used_in_fit"] = table["id"].isin(TARGETS)
    return table


def fit_study(
    output: Path,
    case: str | Path = "loess_study",
    steps: int = 12,
    existing: Existing = Existing(),
    workers: Workers = Workers(),
    begin: str | Path | None = None,
) -> None:
    """Fit the unstated inputs of the study, and write the case that comes of it.

    Beside ``NAME.toml`` are written ``NAME_targets.csv`` (:func:`targets_table`),
    ``NAME_inputs.csv`` (:func:`identifiability`) and ``NAME_progress``, the folder of the
    evaluations, from which a search that was stopped, or is to take more steps, goes on.

    Args:
        output: the case to write, ``NAME.toml``.
        case: the case whose inputs are fitted.
        steps: most evaluations of the runs.
        existing: replace what is there, or go on with the search that is there.
        workers: who computes.
        begin: a case whose values of the inputs the search begins from, such as an earlier fit;
            those of ``case`` if not given.

    Raises:
        diffsoil.io.InputError: bad case, or an output that is in the way.
    """
    try:
        file_stem(output.stem)  # it becomes the name of the case
    except ValueError as error:
        raise InputError(f"{output}: {error}") from None
    files = {name: output.with_name(f"{output.stem}_{name}") for name in
             ("targets.csv", "inputs.csv")}  # fmt: skip
    study = load_study(case)
    first = None if begin is None else load_study(begin).base
    again = existing.overwrite or existing.resume
    target = OutputFile(output, again, like=case_with_note("fit"), inputs=case_files(study.base))
    for path in files.values():
        check_output(path, again)
    before = output.with_name(f"{output.stem}_steps.json")
    if existing.resume and before.exists() and not progress_of(output).exists():
        raise InputError(f"{before}: cannot resume: it was begun by another version of diffsoil")
    inputs = load_inputs(data_path("study", "inputs.toml"))
    key = {
        "study": fingerprint(study),
        "inputs": {name: of.model_dump(mode="json") for name, of in inputs.items()},
    }
    with (
        beside(target.path, key, existing, _say, discard=False) as checkpoints,
        target,
        cluster(*dataclasses.astuple(workers)) as pool,
    ):
        misfit = Misfit(study, inputs, pool)
        evaluations = Evaluations(misfit, checkpoints)
        found = search(evaluations, steps, _say, misfit.start(first))
        _write(target, files, evaluations, found)


def _write(
    target: OutputFile,
    files: dict[str, Path],
    evaluations: Evaluations,
    u: Float[np.ndarray, " input"],
) -> None:
    """Write the case at the best coordinates, and its tables."""
    output, misfit = target.path, evaluations.misfit
    before, after = evaluations.at(misfit.start()), evaluations.at(u, slopes=True)
    for path, table in (
        (files["targets.csv"], targets_table(misfit, before, after)),
        (files["inputs.csv"], identifiability(misfit, u, after)),
    ):
        write_table(path, table, float_format="%.8g")
    document = tomlkit.parse(misfit.at(u).base.text)
    document["name"] = output.stem
    document["title"] = f"{misfit.study.base.file.title}, unstated inputs fitted to its results"
    document.setdefault("notes", {})["fit"] = (
        f"the values of {output.stem}_inputs.csv were fitted to {len(TARGETS)} results of the "
        f"study, one set for all runs; misfit in squared standard deviations "
        f"{_misfit(misfit, misfit.start(), before):.0f} before, {_misfit(misfit, u, after):.0f} "
        "after; they stand for what SoilGen's users did not tell, and are no measurements"
    )
    with target.writing() as unfinished:
        unfinished.write_text(tomlkit.dumps(document), encoding="utf-8")
    _say(f"wrote {output}, {files['targets.csv'].name} and {files['inputs.csv'].name}")


def _misfit(misfit: Misfit, u: np.ndarray, found: Found) -> float:
    residuals = misfit.residuals(u, found)
    return float(residuals @ residuals)


def _say(text: str) -> None:
    say(f"study fit: {text}")
