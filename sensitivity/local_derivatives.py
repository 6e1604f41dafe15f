"""Local sensitivity: exact derivatives and elasticities at the values that a case has."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from diffsoil.forward import Forward
from diffsoil.work.pool import Pool, cluster, collect
from sensitivity.distributions import Distribution, distribution
from sensitivity.indices import Result
from sensitivity.outputs import Output, ages, parse
from sensitivity.problem import Problem, gradients, with_outputs

COURSE, COURSE_YEARS = "soc_stock_0_100", 48
"""Stock whose elasticities are followed through time, and in how many years."""

DEPTHS_CM = (0, 5, 10, 15, 20, 30, 40, 50, 60, 80, 100)
"""Borders of the layers whose elasticities are shown by depth."""


@dataclasses.dataclass(frozen=True, eq=False)
class Local:
    """Local sensitivity of a problem.

    Attributes:
        indices: of the outputs of the problem: ``derivative`` (unit of the output / unit of the
            input), ``elasticity`` (relative change of the output per relative change of the
            input; none where the input or the output is 0), ``relative_to_sd`` (relative change
            of the output by one standard deviation of the input's distribution), and the
            elasticity with the other minimum of the protection modifiers, ``elasticity_soft`` or
            ``elasticity_hard``.
        course: elasticities of a stock through time, and of carbon by depth.
    """

    indices: pd.DataFrame
    course: pd.DataFrame


def local(
    problem: Problem,
    pool: Pool | None = None,
    distributions: Sequence[Distribution] | None = None,
    courses: bool = True,
) -> Local:
    """Derivatives of all outputs by all inputs at the values that the case has.

    Args:
        problem: what is differentiated.
        pool: who computes; this process if not given.
        distributions: of the inputs; their priors if not given.
        courses: also follow elasticities through time and depth.
    """
    distributions = distributions or [distribution(of.parameter) for of in problem.inputs]
    more = _courses(problem) if courses else []
    outputs = (*problem.outputs, *more)
    models = {"": with_outputs(problem.model, outputs)}
    if other := problem.other_minimum():
        name, model = other
        models[f"_{name}"] = with_outputs(model, outputs)
    arguments = [(model, problem.defaults) for model in models.values()]
    if pool is None:
        with cluster(1, device="cpu") as alone:
            found = collect(_at, arguments, alone)
    else:
        found = collect(_at, arguments, pool)
    own = len(problem.outputs)
    tables: list[pd.DataFrame] = []
    courses_found: list[pd.DataFrame] = []
    for suffix, (y, slope) in zip(models, found, strict=True):
        for i, output in enumerate(outputs):
            measures = _measures(y[i], slope[i], problem.defaults, distributions)
            chosen = measures if not suffix and i < own else {"elasticity": measures["elasticity"]}
            into = tables if i < own else courses_found
            result = Result.exact("local", {k + suffix: v for k, v in chosen.items()}, 1)
            into.append(result.table(output.name, problem.name, output.year, problem.names))
    empty = tables[0].iloc[:0]
    return Local(
        pd.concat(tables, ignore_index=True), pd.concat([empty, *courses_found], ignore_index=True)
    )


def _at(argument: tuple[Forward, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Outputs [output] and their derivatives [output, input] at one point."""
    model, x = argument
    found = gradients(model, x[None])
    return found["value"][0], found["gradient"][0]


def _measures(
    y: float, slope: np.ndarray, x: np.ndarray, distributions: Sequence[Distribution]
) -> dict[str, np.ndarray]:
    sd = np.array([of.sd for of in distributions])
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = slope / y if y != 0.0 else np.full_like(slope, np.nan)
        elasticity = np.where(x == 0.0, np.nan, relative * x)
    return {"derivative": slope, "elasticity": elasticity, "relative_to_sd": relative * sd}


def _courses(problem: Problem) -> list[Output]:
    """Outputs whose elasticities are followed."""
    site = problem.model.plan.sites[0]
    when = ages(problem.case, site)
    found = parse([COURSE], problem.case, site, COURSE_YEARS, "")
    years = [y for y in (when.early, when.late, when.agriculture, when.recovery) if y is not None]
    borders = pairwise(DEPTHS_CM)
    texts = [f"soc[{a}-{b}]@{year}" for a, b in borders for year in dict.fromkeys(years)]
    return [*found, *parse(texts, problem.case, site, 1, "")]
