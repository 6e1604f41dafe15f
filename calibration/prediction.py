"""Prediction from posterior draws: what is in the soil, and what would be measured."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from calibration.likelihood import SMALLEST_SD
from calibration.posterior import Prediction
from calibration.problem import Problem
from diffsoil.work.arrays import DamagedError
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.50, "q75": 0.75, "q95": 0.95}

ERROR_DRAWS = 1000
"""Draws of the measurement error where there is one set of parameters only."""

PREDICTED_DRAWS = 600
"""Draws that are carried into predictions; enough for 5 and 95 % quantiles."""

BATCH = 20
"""Draws that one call of the compiled program works off on each device."""

NAME = "predicted"
"""Folder of the stored predictions."""

OF = "of"
"""What a stored batch has besides: the draws that it predicts."""
SAME = 1e-9
"""Relative difference of a parameter by which draws are still the same."""

AT_ONCE = 4_000_000
"""Numbers of a table of predictions that are in memory together."""


def evenly(count: int, most: int) -> Int[np.ndarray, " some"]:
    """Places of at most so many draws of a count, spread evenly over all."""
    return np.linspace(0, count - 1, min(most, count)).astype(int)


def batches(
    run: Callable[[Float[Array, "device draw parameter"], Bool[Array, "device draw"]], Any],
    x: Float[np.ndarray, "draw parameter"],
    report: Say = print,
    done: int = 0,
) -> Iterator[Any]:
    """Results of a compiled program batch by batch, on all devices; the last may be shorter.

    Args:
        run: the program, of draws and of which are wanted: a short batch is filled up. Its
            results have leading axes device and draw.
        x: bounded parameter values.
        report: progress lines.
        done: draws to leave out at the start.
    """
    lanes = jax.local_device_count()
    size = BATCH * lanes
    for number, start in enumerate(range(done, len(x), size), start=1):
        some = x[start : start + size]
        count = len(some)
        padded = np.concatenate([some, np.repeat(some[-1:], size - count, axis=0)])
        shape = (BATCH, lanes)  # one after the other to all devices, so that none is idle
        wanted = (np.arange(size) < count).reshape(shape).T
        by_device = padded.reshape(*shape, -1).swapaxes(0, 1)
        result = jax.tree.map(np.asarray, run(jnp.asarray(by_device), jnp.asarray(wanted)))
        yield jax.tree.map(
            lambda a, n=count: a.swapaxes(0, 1).reshape(size, *a.shape[2:])[:n], result
        )
        if number % 10 == 0:
            report(f"  predicted {start + len(some)} of {len(x)} draws")


def predict_draws(
    problem: Problem, x: Float[np.ndarray, "draw parameter"], report: Say = print
) -> Prediction:
    """Predictions of many draws, with a leading axis of draws.

    All of them are returned; :func:`stream` leaves them on disk.

    Args:
        problem: what the parameters belong to.
        x: bounded parameter values, in the order of ``problem.names``.
        report: progress lines.
    """
    return jax.tree.map(lambda *a: np.concatenate(a), *_predicted(problem, x, report))


def _predicted(
    problem: Problem, x: Float[np.ndarray, "draw parameter"], report: Say, done: int = 0
) -> Iterator[Prediction]:
    """Predictions batch by batch; see :func:`batches`."""
    return batches(problem.predict_many, x, report, done)


@dataclasses.dataclass(frozen=True)
class Predicted:
    """Predictions of many draws, in memory or in a file for each batch.

    ``of`` tells which prediction belongs to each draw; repeated draws share one.
    """

    source: Prediction | Checkpoints
    of: Int[np.ndarray, " draw"]

    def __len__(self) -> int:
        return len(self.of)

    def blocks(
        self, *names: str
    ) -> Iterator[tuple[Int[np.ndarray, " some"], dict[str, np.ndarray]]]:
        """Places of some draws, and fields of their predictions; one block in memory at a time."""
        if isinstance(self.source, Prediction):
            own = {name: np.asarray(getattr(self.source, name))[self.of] for name in names}
            yield np.arange(len(self.of)), own
            return
        start = 0
        for part in self.source.each(names):
            stop = start + len(part[names[0]])
            places = np.flatnonzero((self.of >= start) & (self.of < stop))
            inside = self.of[places] - start
            yield places, {name: values[inside] for name, values in part.items()}
            start = stop

    def rows(self, name: str, columns: slice = slice(None)) -> np.ndarray:
        """One field of all draws, or some of its columns."""
        found: np.ndarray | None = None
        for places, part in self.blocks(name):
            values = part[name][:, columns]
            if found is None:
                found = np.empty((len(self), *values.shape[1:]))
            found[places] = values
        assert found is not None
        return found

    def taken(self, chosen: Int[np.ndarray, " draw"]) -> Predicted:
        """Some of the draws, perhaps repeated."""
        return dataclasses.replace(self, of=self.of[chosen])


def in_memory(prediction: Prediction) -> Predicted:
    """Predictions that are there already."""
    return Predicted(prediction, np.arange(len(np.asarray(prediction.latent))))


def stream(
    problem: Problem,
    x: Float[np.ndarray, "draw parameter"],
    checkpoints: Checkpoints,
    report: Say = print,
) -> Predicted:
    """Predictions of many draws, a file for each batch; memory does not grow with their number.

    Args:
        problem: what the parameters belong to.
        x: bounded parameter values, in the order of ``problem.names``.
        checkpoints: keep the batches.
        report: progress lines.
    """
    parts, done = _alike(checkpoints, x)
    if parts < checkpoints.done:
        report("kept predictions are of other draws than those that come out now: once more")
        checkpoints.shorten(parts)
    for batch in _predicted(problem, x, report, done):
        of = x[done : done + len(batch.latent)]
        checkpoints.append({**batch._asdict(), OF: of}, ())
        done += len(of)
    return Predicted(checkpoints, np.arange(len(x)))


def _alike(checkpoints: Checkpoints, x: Float[np.ndarray, "draw parameter"]) -> tuple[int, int]:
    """How many batches that are kept may stay, and of how many of these draws they are.

    Draws are made anew in a run that is resumed. On other cores, or by a program that has changed,
    they are others. Batches of more draws than these stay too.
    """
    parts = done = 0
    with contextlib.suppress(DamagedError):  # of a version that did not keep what they are of
        for kept in checkpoints.each((OF,)):
            if done == len(x):
                return checkpoints.done, done
            here = x[done : done + len(kept[OF])]
            if not np.allclose(here, kept[OF][: len(here)], rtol=SAME, atol=0.0):
                break
            parts, done = parts + 1, done + len(here)
    return parts, done


def table(problem: Problem, prediction: Prediction | Predicted, seed: int) -> pd.DataFrame:
    """The observations with their predictive distribution.

    Adds mean, sd and quantiles of what would be measured, mean and sd of what is in the soil
    (``latent_``), the mean measurement error ``error_sd`` and the ``error_model`` in words to the
    columns of the observation file.
    """
    draws = _spread(prediction if isinstance(prediction, Predicted) else in_memory(prediction))
    count = len(problem.table)
    width = max(1, AT_ONCE // len(draws))
    if width >= count:
        parts = [_described(problem, draws, slice(0, count), seed)]
    else:
        parts = [
            _described(problem, draws, slice(i, min(i + width, count)), seed)
            for i in range(0, count, width)
        ]
    columns = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    observed = problem.table.drop(columns=["line", "file", "member"])
    observed = observed.rename(columns={"sd": "observed_sd"})
    observed["error_model"] = list(problem.errors.texts)
    return pd.concat([observed, pd.DataFrame(columns, index=observed.index)], axis=1)


def _spread(draws: Predicted) -> Predicted:
    """The same draws; a best fit alone many times, for its measurement error still spreads."""
    return draws.taken(np.zeros(ERROR_DRAWS, int)) if len(draws) == 1 else draws


def errors(problem: Problem, predicted: Predicted, seed: int) -> Float[np.ndarray, "draw obs"]:
    """Draws of how far a measurement lies from its prediction.

    What was fitted has its error of measurement alone, for the parameters have been fitted to it;
    what was not has the spread of the parameters besides.
    """
    draws = _spread(predicted)
    measured = measured_columns(problem, draws, slice(0, len(problem.table)), seed)
    known = problem.table["fitted"].to_numpy()
    return measured - np.where(known, draws.rows("expected"), measured.mean(axis=0))


def _described(
    problem: Problem, draws: Predicted, columns: slice, seed: int
) -> dict[str, np.ndarray]:
    """Mean, sd and quantiles of some observations."""
    latent = draws.rows("latent", columns)
    values = measured_columns(problem, draws, columns, seed)
    found = {"mean": values.mean(axis=0), "sd": values.std(axis=0)}
    found |= {name: np.quantile(values, q, axis=0) for name, q in QUANTILES.items()}
    found["error_sd"] = draws.rows("sd", columns).mean(axis=0)
    return found | {"latent_mean": latent.mean(axis=0), "latent_sd": latent.std(axis=0)}


def measured_columns(
    problem: Problem, draws: Predicted, columns: slice, seed: int
) -> Float[np.ndarray, "draw some"]:
    """Draws of what would be measured at some observations, with the errors of the likelihood.

    An observation has the same random numbers whatever is drawn together with it.
    """
    expected, sd = draws.rows("expected", columns), draws.rows("sd", columns)
    found = np.empty_like(expected)
    errors = problem.errors
    chosen = range(len(problem.table))[columns]
    correlated = dict(
        errors.correlation.draw(
            lambda row: draws.rows("memory", slice(row, row + 1))[:, 0], chosen, seed
        )
    )
    for place, column in enumerate(chosen):
        rng = np.random.default_rng([seed, column])
        middle, width = expected[:, place], sd[:, place]
        noise, size = errors.noise[column], len(middle)
        error = noise.draw(rng, size) * width
        if column in correlated:
            alone = float(errors.sd[column] ** 2) + SMALLEST_SD**2
            scatter = np.sqrt(np.maximum(width**2 - alone, 0.0))
            error = scatter * correlated[column] + np.sqrt(alone) * rng.standard_normal(size)
        value = jnp.asarray(middle)
        found[:, place] = noise.measured(noise.symmetric(value) + error / noise.stretch(value))
    return found
