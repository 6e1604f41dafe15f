"""A calibration problem: a case, its observations, and the parameters that may change."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from calibration.likelihood import (
    ERROR,
    MEMORY,
    METHOD,
    ErrorModel,
    Spread,
    error_model,
    observation_parameters,
)
from calibration.observations import Known, read
from calibration.operator import (
    LAYERS,
    Operator,
    decomposition_rates,
    geometry_of,
    operator,
    recorded,
    refuse_unmoved,
)
from calibration.priors import Priors
from calibration.reparameterization import Coordinates
from diffsoil.cases import Case, load_case
from diffsoil.cases.arrays import Plan, build, check, prepare_plan, run
from diffsoil.column import Column
from diffsoil.io import Faults, InputError, nearest
from diffsoil.parameters import Parameter, Prior
from diffsoil.process import Environment
from diffsoil.time import NOTHING, Phase

TOPSOIL_CM = 23.0
"""Depth of the topsoil stocks that are drawn through time."""


class Prediction(NamedTuple):
    """What one set of parameters predicts.

    ``latent`` is what is in the soil at each observation, ``expected`` the mean (median, where
    the error is log-normal) of a measurement of it, ``sd`` its error; ``topsoil`` the stock of
    the uppermost 23 cm by member and year, Mg C/ha. ``log_likelihood`` of each observation sums
    up to the joint one, ``left_out`` is that of each given all others of its repeated plot.
    ``memory`` is the time over which errors of a plot are correlated, years, 0 where they are not.
    """

    latent: Float[Array, " obs"]
    expected: Float[Array, " obs"]
    sd: Float[Array, " obs"]
    topsoil: Float[Array, "member year"]
    log_likelihood: Float[Array, " obs"]
    left_out: Float[Array, " obs"]
    memory: Float[Array, " obs"]


class Problem:
    """Everything a calibration needs, computed once.

    Args:
        case: a case or the name or path of one.
        column: the column to calibrate; the case's own if not given.
        free: full names of the parameters to calibrate; the case's own list if not given.
            Error parameters of the fitted series are always free.
        before: what another fit knows of measurements; its error parameters stand in the place
            of those that the observations of this case would have, and only what it was fitted to
            is marked as fitted.

    Attributes:
        names: free parameters, in the order of every parameter vector here.
        of_case: whether the case alone says what is free and what is fitted.
        table: observations, see :func:`calibration.observations.read`.

    Raises:
        diffsoil.io.InputError: an unknown parameter, a bad observation, a default out of bounds.
    """

    def __init__(
        self,
        case: Case | str | Path,
        column: Column | None = None,
        free: Mapping[str, Prior | None] | None = None,
        before: Known | None = None,
    ) -> None:
        self.case = case if isinstance(case, Case) else load_case(case)
        self.column = column or self.case.column()
        self.of_case = free is None and before is None
        plan = build(self.case)
        check(plan, self.column, self.case)
        self.table = read(self.case, plan)
        listed = self.case.file.observations
        methods = tuple(listed.method_factors) if listed else ()
        self._check_methods(methods)
        found = None
        if before is not None:
            self.table["fitted"] = before.fitted(self.table)
            found = before.errors
            there = [m for m in before.methods if m in set(self.table["method"])]
            methods = tuple(dict.fromkeys((*methods, *there)))
        self.parameters = self._free_parameters(free, methods, found and found.parameters)
        self.names = tuple(p.name for p in self.parameters)
        self.coordinates = Coordinates(self.parameters, self.column, plan)
        self.priors = Priors(self.parameters)
        self._first_phase, self.first_year = _first_observed(plan, self.table)
        self.topsoil_year = plan.experiment_year if plan.experiment else self.first_year
        self._record = recorded(self.table, self.column, plan, self.case)
        model = [n for n in self.names if not n.startswith("observation.")]
        keep = {*LAYERS, *self._record.steps}
        self.plan: Plan = prepare_plan(self.column, plan, model, keep=tuple(keep))
        observed = _phases(self.plan)[self._first_phase :]
        refuse_unmoved(self.table, self.case, _phases(plan), observed)
        geometry = {} if self.case.whole_soil else self._geometry(observed)
        self.operator: Operator = operator(self.table, self.case, plan, geometry, self.first_year)
        self.errors: ErrorModel = error_model(self.table, methods, self.case, found)
        self._fitted = jnp.asarray(self.table["fitted"].to_numpy())
        self._topsoil: Array | None = None
        if geometry:
            skipped = self.topsoil_year - self.first_year
            later = {name: value[:, skipped:] for name, value in geometry.items()}
            self._topsoil = jnp.asarray(_share_of_topsoil(later["depth_top"], later["thickness"]))

    def _geometry(self, observed: list[Phase]) -> dict[str, np.ndarray]:
        """Where the layers of a prescribed soil lie, by member, year and layer."""
        parts = [geometry_of(phase) for phase in observed]
        gathered = [
            part if phase is self.plan.experiment else _of_members(part, self.plan)
            for part, phase in zip(parts, observed, strict=True)
        ]
        return {n: np.concatenate([p[n] for p in gathered], axis=1) for n in gathered[0]}

    def _check_methods(self, methods: tuple[str, ...]) -> None:
        known = set(self.table["method"])
        for method in methods:
            if method not in known:
                raise InputError(
                    f"{self.case.path}: observations.method_factors: no observation has the "
                    f"method {method!r}{nearest(method, known)}"
                )

    def _free_parameters(
        self,
        free: Mapping[str, Prior | None] | None,
        methods: tuple[str, ...],
        errors: dict[str, Parameter] | None,
    ) -> list[Parameter]:
        declared = self.column.parameters()
        of_errors = observation_parameters(self.table, methods, self.case, errors)
        listed = dict(free) if free is not None else self.case.priors()
        values = self.column.values()
        known = declared | of_errors
        chosen = {}
        faults = Faults()
        for name, prior in listed.items():
            if name not in known:
                faults.add(f"{self.case.path}: free: no parameter {name!r}{nearest(name, known)}")
                continue
            of = prior or known[name].prior
            if complaint := of.objection(known[name].lower, known[name].upper):
                faults.add(f"{self.case.path}: free.{name}.prior: {complaint} {known[name].unit}")
            default = float(values[name]) if name in values else known[name].default
            chosen[name] = dataclasses.replace(known[name], default=default, prior=of)
        faults.refuse()
        return list({**chosen, **{n: p for n, p in of_errors.items() if n not in chosen}}.values())

    @property
    def topsoil_years(self) -> np.ndarray:
        """Calendar years of the topsoil stocks."""
        return np.arange(self.topsoil_year, self.case.end_year + 1)

    @property
    def defaults(self) -> Float[Array, " parameter"]:
        """Values of the free parameters before any calibration."""
        return jnp.asarray([p.default for p in self.parameters])

    def bounded(self, z: Float[np.ndarray, "... parameter"]) -> Float[np.ndarray, "... parameter"]:
        """Parameter values of unbounded parameters, with any leading axes."""
        flat = jax.vmap(self.coordinates.bounded)(jnp.asarray(z.reshape(-1, z.shape[-1])))
        return np.asarray(flat).reshape(z.shape)

    def simulate(self, x: Float[Array, " parameter"], plan: Plan) -> Environment:
        """Carbon and whatever else is observed, by member, year and layer.

        Years count from :attr:`first_year`: that of the experiment, or of the phase of history
        with the earliest observation.

        Args:
            x: bounded parameter values.
            plan: the prepared plan.
        """
        return self._simulate(self._column(x), plan)

    def _column(self, x: Array) -> Column:
        values = {n: x[i] for i, n in enumerate(self.names) if not n.startswith("observation.")}
        return self.column.with_parameters(values)

    def _simulate(self, column: Column, plan: Plan) -> Environment:
        from_history = self._first_phase < len(plan.history)
        in_history = self._record if from_history else NOTHING
        _, kept, record = run(column, plan, in_history=in_history, in_experiment=self._record)
        if not from_history:
            return record
        parts = []
        observed = slice(self._first_phase, None)
        for phase, part in zip(plan.history[observed], kept[observed], strict=True):
            yearly = {name: part[name] for name in self._record.yearly}
            by_step = {
                name: jnp.repeat(part[name], phase.years_per_step, axis=1)
                for name in self._record.steps
            }
            parts.append(_of_members(yearly | by_step, plan))
        if plan.experiment is not None:
            parts.append(record)
        return {name: jnp.concatenate([p[name] for p in parts], axis=1) for name in parts[0]}

    def predict(
        self,
        x: Float[Array, " parameter"],
        plan: Plan,
        value: Float[Array, " obs"] | None = None,
    ) -> Prediction:
        """Prediction of every observation, fitted or not, for bounded parameter values.

        Args:
            x: bounded parameter values.
            plan: the prepared plan.
            value: what was measured; that of the table if not given.
        """
        column = self._column(x)
        record = self._simulate(column, plan)
        latent = self.operator(record, decomposition_rates(column))
        return self.compare(x, latent, self._topsoil_stock(record), value)

    @functools.cached_property
    def predict_many(
        self,
    ) -> Callable[[Float[Array, "device draw parameter"], Plan], Prediction]:
        """:meth:`predict` on all devices, draw after draw on each; it is compiled once."""

        def some(x: Array, plan: Plan) -> Prediction:
            return jax.lax.map(lambda one: self.predict(one, plan), x)

        return jax.pmap(some, in_axes=(0, None), devices=jax.local_devices())

    def compare(
        self,
        x: Float[Array, " parameter"],
        latent: Float[Array, " obs"],
        topsoil: Float[Array, "member year"],
        value: Float[Array, " obs"] | None = None,
    ) -> Prediction:
        """Compare what is in the soil with what was measured; no model runs.

        Args:
            x: bounded parameter values; only those of the errors matter.
            latent, topsoil: see :class:`Prediction`.
            value: what was measured; that of the table if not given.
        """
        by_name = {name: x[i] for i, name in enumerate(self.names)}
        factors = jnp.asarray([by_name.get(METHOD + m, 1.0) for m in self.errors.methods])
        expected = self.errors.mean(latent, factors)
        spread = self.spread(x, expected)
        terms, left_out = self.errors.log_density(expected, spread, value)
        return Prediction(
            latent=latent,
            expected=expected,
            sd=spread.total,
            topsoil=topsoil,
            log_likelihood=terms,
            left_out=left_out,
            memory=spread.memory,
        )

    def spread(self, x: Float[Array, " parameter"], expected: Float[Array, " obs"]) -> Spread:
        """Errors of measurements around their expected values."""
        by_name = {name: x[i] for i, name in enumerate(self.names)}
        fitted = jnp.asarray([by_name[ERROR + s] for s in self.errors.series])
        memory = jnp.asarray([by_name[MEMORY + s] for s in self.errors.memories])
        return self.errors.spread(fitted, expected, memory)

    def _topsoil_stock(self, record: Environment) -> Array:
        skipped = self.topsoil_year - self.first_year
        soc = record["soc"][:, skipped:]
        share = self._topsoil
        if share is None:
            top, thickness = record["depth_top"][:, skipped:], record["thickness"][:, skipped:]
            share = _share_of_topsoil(top, thickness)
        return jnp.sum(soc * share, axis=-1)

    def log_likelihood(self, prediction: Prediction) -> Float[Array, " obs"]:
        """Logarithm of the likelihood of each observation; the sum is the joint one."""
        return prediction.log_likelihood

    def simulate_values(self, key: Array, x: Array, plan: Plan) -> Float[Array, " obs"]:
        """What might be measured if parameters were these; see :meth:`predict`."""
        expected = self.predict(x, plan).expected
        return self.errors.draw(key, expected, self.spread(x, expected))

    def log_posterior(
        self,
        z: Float[Array, " parameter"],
        plan: Plan,
        value: Float[Array, " obs"] | None = None,
    ) -> Float[Array, ""]:
        """Logarithm of prior times likelihood in unbounded parameters, normalised both.

        Its integral is the evidence. Only fitted observations count.

        Args:
            z: unbounded parameters.
            plan: the prepared plan.
            value: what was measured; that of the table if not given.
        """
        x = self.coordinates.bounded(z)
        terms = self.predict(x, plan, value).log_likelihood
        return self.log_prior(z) + self.fitted_likelihood(terms)

    def log_prior(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Logarithm of the prior density of unbounded parameters."""
        x = self.coordinates.bounded(z)
        return self.priors.log_density(x) + self.coordinates.log_jacobian(z)

    def fitted_likelihood(self, terms: Float[Array, " obs"]) -> Float[Array, ""]:
        """Logarithm of the likelihood of what is fitted, from that of all observations."""
        return jnp.sum(jnp.where(self._fitted, terms, 0.0))

    @functools.cached_property
    def _compiled(self) -> Callable:
        return jax.jit(
            jax.value_and_grad(lambda z, plan, value: -self.log_posterior(z, plan, value))
        )

    def value_and_gradient(
        self, value: Float[Array, " obs"] | None = None
    ) -> Callable[
        [Float[Array, " parameter"]], tuple[Float[Array, ""], Float[Array, " parameter"]]
    ]:
        """Compiled negative log posterior and its gradient.

        The prepared plan and the measured values are arguments of the compiled program, not
        constants inside it; it is compiled once.
        """
        measured = self.errors.value if value is None else value
        return lambda z: self._compiled(z, self.plan, measured)


def _phases(plan: Plan) -> list[Phase]:
    return [*plan.history, *([plan.experiment] if plan.experiment is not None else [])]


def _of_members(by_site: Mapping, plan: Plan) -> dict:
    """Values of sites for the members that part from them."""
    of = np.array(plan.site_of)
    return {name: value[of] for name, value in by_site.items()}


def _first_observed(plan: Plan, table: pd.DataFrame) -> tuple[int, int]:
    """The phase that the earliest observation lies in, at the latest the experiment; its year."""
    earliest = int(table["year"].min())
    phases = _phases(plan)
    start = plan.start_year
    for number, phase in enumerate(phases):
        if earliest < start + phase.years or number == len(phases) - 1:
            return number, start
        start += phase.years
    raise AssertionError("a plan has phases")


def _share_of_topsoil(top: Any, thickness: Any) -> Any:
    """Share of each layer that lies in the topsoil."""
    numbers = jnp if isinstance(top, jax.Array) else np
    inside = numbers.minimum(top + thickness, TOPSOIL_CM / 100) - top
    return numbers.clip(inside / thickness, 0, 1)
