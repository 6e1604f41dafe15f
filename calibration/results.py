"""What a fit leaves in its folder: the posterior, tables, figures and the report."""

from __future__ import annotations

import dataclasses
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5netcdf
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from calibration import (
    checks,
    depth,
    identifiability,
    plots,
    prediction,
    report,
    store,
    success,
    treatments,
)
from calibration.problem import Problem
from diffsoil.cases.overview import overview
from diffsoil.output import case_pictures
from diffsoil.output.attributes import discovery
from diffsoil.report.pictures import save_all
from diffsoil.work.files import replacing, write_json, write_netcdf, write_table
from diffsoil.work.progress import Say

Facts = dict[str, Any]
"""What there is to say of a fit besides its draws: costs, weights, evidence."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Draws with their predictions, and what there is to say of them.

    Attributes:
        x: bounded parameter values by chain and draw.
        predicted: predictions of those draws that are carried into them.
        shape: chains and draws of ``predicted``.
        facts: written to ``facts.json``.
        statistics: of the sampler, by chain and draw, where there was one.
        checks: of the weights and the evidence, put first.
        raw: the draws as the sampler made them, where ``x`` are resampled ones.
    """

    x: Float[np.ndarray, "chain draw parameter"]
    predicted: prediction.Predicted
    shape: tuple[int, int]
    facts: Facts
    statistics: Mapping[str, np.ndarray] = MappingProxyType({})
    checks: Sequence[checks.Row] = ()
    raw: Float[np.ndarray, "chain draw parameter"] | None = None


def kept(by_chain: np.ndarray) -> np.ndarray:
    """The draws, with leading axes chain and draw, that are carried into predictions."""
    chains, draws = by_chain.shape[:2]
    return by_chain[:, :: max(1, -(-chains * draws // prediction.PREDICTED_DRAWS))]


def write(
    problem: Problem, wanted: store.Settings, folder: Path, outcome: Outcome, say: Say
) -> None:
    """Write everything that a fit's folder holds, from draws and their predictions.

    Args:
        problem, wanted, folder: what was fitted, how, and where it goes.
        outcome: what has come of it.
        say: progress lines.
    """
    _write_posterior(problem, folder / "posterior.nc", outcome, wanted)
    table = prediction.table(problem, outcome.predicted, wanted.seed)
    write_table(folder / "predictions.csv", table)
    say("checks, figures and report")
    mean = outcome.x.reshape(-1, outcome.x.shape[-1]).mean(axis=0)
    directions = identifiability.spectrum(problem, mean)
    write_table(folder / "fisher.csv", directions)
    write_json(folder / "facts.json", outcome.facts)
    looked, profile = overview(problem.case), depth.table(problem, outcome.predicted)
    write_table(folder / "profile.csv", profile)
    sides = treatments.sides(table, prediction.errors(problem, outcome.predicted, wanted.seed))
    with _opened(folder / "posterior.nc") as tree:
        summary = checks.summary(tree, problem.parameters, outcome.facts.get("effective"))
        write_table(folder / "summary.csv", summary, index=True)
        rows = [*success.rows(problem.case, table), *outcome.checks]
        rows += [checks.identified(directions), *checks.one_sided(sides)]
        results = checks.checks(tree, problem.parameters, table, wanted.reported, summary, rows)
        write_table(folder / "checks.csv", results)
        more = {
            "inputs": case_pictures.inputs(looked),
            "profile": depth.figure(profile, plots.labels_of(problem.case)),
        }
        figures = plots.all_figures(folder, tree, problem, table) | save_all(folder, more)
        contents = report.Contents(
            tree, table, summary, results, sides, looked, figures, directions, outcome.facts
        )
        report.write(folder, problem.case, wanted, contents)
    for name in store.TRANSIENT:
        shutil.rmtree(folder / name, ignore_errors=True)  # all of it is in the files above now


@contextmanager
def _opened(path: Path) -> Iterator[xr.DataTree]:
    """A posterior whose arrays are read when they are asked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with xr.open_datatree(path, engine="h5netcdf") as tree:
            yield tree


def named(problem: Problem, x: np.ndarray) -> dict[str, np.ndarray]:
    """Values of parameters by name."""
    return {name: x[..., i] for i, name in enumerate(problem.names)}


def _write_posterior(
    problem: Problem, path: Path, outcome: Outcome, wanted: store.Settings
) -> None:
    """Write ``posterior.nc``.

    Groups: posterior, prior, posterior_predictive (``observation`` with measurement error,
    ``latent``, ``topsoil``, ``profile``), log_likelihood (fitted observations only, each given
    the others of its repeated plot), joint (``log_likelihood`` and ``log_prior`` of the draws
    that are predicted), sample_stats, observed_data, constant_data; ``sampled`` with the draws as
    they were made, where those of the posterior are resampled. ``fitted_observation`` of three
    groups is of the observations that were fitted, for what ArviZ leaves out one by one; ``obs``
    and ``fitted_obs`` count rows of the table.
    """
    x, table = outcome.x, problem.table
    prior = np.asarray(problem.priors.sample(jax.random.key(wanted.seed + 1), 2000))
    value, fitted = table["value"].to_numpy(), np.flatnonzero(table["fitted"])
    rows = _of_rows(table)
    groups: dict[str, dict[str, np.ndarray]] = {
        "posterior": named(problem, x),
        "prior": named(problem, prior[None]),
        "observed_data": {"observation": value, "fitted_observation": value[fitted]},
        "constant_data": rows,
    }
    if outcome.raw is not None:
        groups["sampled"] = named(problem, outcome.raw)
    if outcome.statistics:
        groups["sample_stats"] = dict(outcome.statistics)
    dims = {name: ["obs"] for name in ("observation", *rows)}
    dims["fitted_observation"] = ["fitted_obs"]
    every = np.arange(x.shape[1])
    if x.shape[1] != outcome.shape[1]:
        every = kept(np.broadcast_to(every, x.shape[:2]))[0]
    image = store.posterior_image(
        groups,
        {p.name: {"units": p.unit, "long_name": p.description} for p in problem.parameters},
        dims=dims,
        coords={"obs": np.arange(len(table)), "fitted_obs": fitted},
        attrs={"/": discovery(problem.case, f"calibrate ({wanted.reported.name})")},
    )
    with h5netcdf.File(image, "a") as file:
        _write_predictions(file, problem, outcome, every, wanted.seed)
    with replacing(path, overwrite=True) as part:
        write_netcdf(part, image.getvalue())


def _of_rows(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """What there is to know of each observation besides its value."""
    words = ("site", "treatment", "series", "variable", "unit", "method")
    return {
        "fitted": table["fitted"].to_numpy(),
        "estimated": table["estimated"].to_numpy() == 1,
        "observation_year": table["year"].to_numpy(),
        "upper_cm": table["upper_cm"].to_numpy(float),
        "lower_cm": table["lower_cm"].to_numpy(float),
        **{name: np.array(table[name], dtype=str) for name in words},
    }


def _write_predictions(
    file: h5netcdf.File, problem: Problem, outcome: Outcome, draws: np.ndarray, seed: int
) -> None:
    """Add the groups that grow with observations and draws, block by block."""
    predicted, shape = outcome.predicted, outcome.shape
    fitted = np.flatnonzero(problem.table["fitted"])
    observations, years = len(problem.table), problem.topsoil_years
    members = list(problem.members)
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

    wide = {"obs": observations, "fitted_obs": len(fitted), "treatment": len(members)}
    layers = problem.case.file.grid.layers
    predictive = group("posterior_predictive", **wide, year=len(years), layer=layers)
    predictive.create_variable("obs", ("obs",), data=np.arange(observations))
    predictive.create_variable("fitted_obs", ("fitted_obs",), data=fitted)
    predictive.create_variable("year", ("year",), data=years)
    names = np.array(members, dtype=h5py.string_dtype())
    predictive.create_variable("treatment", ("treatment",), dtype=h5py.string_dtype())[:] = names
    latent = variable(predictive, "latent", "obs")
    topsoil = variable(predictive, "topsoil", "treatment", "year")
    profile = variable(predictive, "profile", "treatment", "layer")
    terms = group("log_likelihood", fitted_obs=len(fitted))
    terms.create_variable("fitted_obs", ("fitted_obs",), data=fitted)
    left_out = variable(terms, "fitted_observation", "fitted_obs")
    joint = group("joint")
    likelihood, prior = np.empty(shape), np.empty(shape)
    fields = ("latent", "topsoil", "profile", "left_out", "log_likelihood")
    for places, part in predicted.blocks(*fields):
        for of_chain in np.unique(chain[places]):
            own = chain[places] == of_chain
            if not own.any():
                continue
            at = draw[places][own]
            order = np.argsort(at)  # HDF5 wants ascending places
            rows = np.flatnonzero(own)[order]
            at = at[order]
            latent[of_chain, at] = part["latent"][rows]
            topsoil[of_chain, at] = part["topsoil"][rows]
            profile[of_chain, at] = part["profile"][rows].sum(axis=2)
            left_out[of_chain, at] = part["left_out"][rows][:, fitted]
            likelihood[of_chain, at] = part["log_likelihood"][rows][:, fitted].sum(axis=1)
    log_prior = jax.jit(jax.vmap(problem.priors.log_density))
    for number, own in enumerate(outcome.x[:, draws]):
        prior[number] = np.asarray(log_prior(jnp.asarray(own)))
    variable(joint, "log_likelihood")[:] = likelihood
    variable(joint, "log_prior")[:] = prior
    measured = variable(predictive, "observation", "obs")
    of_fitted = variable(predictive, "fitted_observation", "fitted_obs")
    _write_measured(problem, predicted, seed, measured, of_fitted)


def _write_measured(
    problem: Problem,
    predicted: prediction.Predicted,
    seed: int,
    all_of_them: h5netcdf.Variable,
    of_fitted: h5netcdf.Variable,
) -> None:
    """What would be measured at all observations, and at the fitted ones once more."""
    fitted, observations = np.flatnonzero(problem.table["fitted"]), len(problem.table)
    shape = all_of_them.shape[:2]
    width = max(1, prediction.AT_ONCE // len(predicted))
    for start in range(0, observations, width):
        columns = slice(start, min(start + width, observations))
        values = prediction.measured_columns(problem, predicted, columns, seed)
        all_of_them[:, :, columns] = values.reshape(*shape, -1)
        first, last = np.searchsorted(fitted, (columns.start, columns.stop))
        some = values[:, fitted[first:last] - columns.start]
        of_fitted[:, :, first:last] = some.reshape(*shape, last - first)
