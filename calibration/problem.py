"""A calibration problem: a case, its observations, and the parameters that may change."""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from calibration import pooling
from calibration.likelihood import ErrorModel, error_model, observation_parameters
from calibration.observations import Known, read, topsoil_cm
from calibration.operator import LAYERS, first_observed, operator, recorded, refuse_unmoved
from calibration.posterior import Likelihood, Posterior, Prediction
from calibration.priors import Priors
from calibration.reparameterization import Reparameterization, reparameterization
from calibration.scores import refuse_meaningless
from diffsoil.cases import Case, load_case
from diffsoil.cases.arrays import Plan, build, check
from diffsoil.column import Column
from diffsoil.forward import Forward, Pooled
from diffsoil.io import Faults, InputError, nearest
from diffsoil.parameters import Parameter, Prior
from diffsoil.time import NOTHING
from diffsoil.units import CM_PER_M


def by_row(
    function: Callable[..., Array], rows: Float[np.ndarray, "row column"], *same: Any
) -> np.ndarray:
    """A compiled function of one row, row after row; any number of rows compiles once.

    Args:
        function: of a row and of what is the same for all.
        rows: its first argument, one after the other.
        same: its other arguments.
    """
    return np.array([np.asarray(function(row, *same)) for row in rows])


_bounded = jax.jit(lambda z, of: of.bounded(z))
_unbounded = jax.jit(lambda x, of: of.unbounded(x))


# Programs belong to no problem, so that a problem of the same case finds them compiled.


def _negative(z: Array, posterior: Posterior, value: Array) -> Array:
    return -posterior(z, value)


_descent = jax.jit(jax.value_and_grad(_negative))


@functools.cache
def _on_devices(count: int) -> Callable:
    """A program that predicts draws on so many devices, one after the other on each."""

    def some(x: Array, wanted: Array, likelihood: Likelihood) -> Prediction:
        def run(one: Array) -> Prediction:
            return likelihood.predict(one)

        def leave(one: Array) -> Prediction:
            shapes = jax.eval_shape(run, one)
            return jax.tree.map(lambda of: jnp.zeros(of.shape, of.dtype), shapes)

        return jax.lax.map(lambda row: jax.lax.cond(row[1], run, leave, row[0]), (x, wanted))

    return jax.pmap(some, in_axes=(0, 0, None), devices=jax.local_devices()[:count])


class Problem:
    """Everything a calibration needs, computed once.

    Args:
        case: a case or the name or path of one.
        column: the column to calibrate; the case's own if not given.
        free: full names of the parameters to calibrate; the case's own list if not given.
            Error parameters of the fitted series are always free.
        pooled: what differs between the sites or the treatments; what the case states if not
            given.
        before: what another fit knows of measurements; its error parameters stand in the place
            of those that the observations of this case would have, and only what it was fitted to
            is marked as fitted.

    Attributes:
        names: free parameters, in the order of every parameter vector here.
        of_case: whether the case alone says what is free and what is fitted.
        table: observations, see :func:`calibration.observations.read`.
        likelihood: what bounded parameters predict, and how likely what was measured is then.
        centred: places of deviations whose own values are searched; none unless
            :meth:`recentred`.

    Raises:
        diffsoil.io.InputError: an unknown parameter, a bad observation, a default out of bounds.
    """

    def __init__(
        self,
        case: Case | str | Path,
        column: Column | None = None,
        free: Mapping[str, Prior | None] | None = None,
        before: Known | None = None,
        pooled: pooling.Pooling | None = None,
    ) -> None:
        self.case = case if isinstance(case, Case) else load_case(case)
        self.column = column or self.case.column()
        self.of_case = free is None and before is None
        self.pooling = pooling.pooling(self.case) if pooled is None else pooled
        self._given: Plan = build(self.case)
        check(self._given, self.column, self.case)
        self.table = read(self.case, self._given)
        refuse_meaningless(self.case, self.table)
        methods = self._methods()
        found = None
        if before is not None:
            self.table["fitted"] = before.fitted(self.table)
            found = before.errors
            there = [m for m in before.methods if m in set(self.table["method"])]
            methods = tuple(dict.fromkeys((*methods, *there)))
        self.parameters = self._free_parameters(free, methods, found and found.parameters)
        self.names = tuple(p.name for p in self.parameters)
        self.priors = Priors(self.parameters)
        self.centred: frozenset[int] = frozenset()
        self.errors: ErrorModel = error_model(self.table, methods, self.case, found)
        self.likelihood = self._likelihood()

    def _likelihood(self) -> Likelihood:
        plan, table, first_year = self._given, self.table, first_observed(self.table, self._given)
        record = recorded(table, self.column, plan, self.case)
        in_history = record if first_year < plan.experiment_year else NOTHING
        keys = tuple(() if pooling.sets_nothing(n) else (n,) for n in self.names)
        forward = Forward(
            self.column,
            plan,
            keys,
            in_history=in_history,
            in_experiment=record,
            pooled=pooling.places(self.names, self.pooling, self.case, self.column.parameters()),
        ).prepared(LAYERS)
        refuse_unmoved(table, plan, forward.plan, first_year)
        return Likelihood(
            forward=forward,
            operator=operator(table, self.case, forward.plan, first_year),
            errors=self.errors,
            fitted=jnp.asarray(table["fitted"].to_numpy()),
            names=self.names,
            first_year=first_year,
            topsoil_year=plan.experiment_year if plan.experiment else first_year,
            topsoil_m=topsoil_cm(table) / CM_PER_M,
        )

    def _methods(self) -> tuple[str, ...]:
        """Laboratory methods that have a factor in the case."""
        listed = self.case.file.observations
        known = set(self.table["method"])
        for method in listed.method_factors if listed else ():
            if method not in known:
                raise InputError(
                    f"{self.case.path}: observations.method_factors: no observation has the "
                    f"method {method!r}{nearest(method, known)}"
                )
        return tuple(listed.method_factors) if listed else ()

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
            if name in self.pooling:
                added = pooling.parameters(name, self.case, *self.pooling[name])
                chosen |= {parameter.name: parameter for parameter in added}
        faults.refuse()
        return list({**chosen, **{n: p for n, p in of_errors.items() if n not in chosen}}.values())

    @functools.cached_property
    def reparameterization(self) -> Reparameterization:
        """Unbounded coordinates of the free parameters: only a search or a sampler needs them."""
        with jax.ensure_compile_time_eval():  # it may be in the midst of being compiled
            centred = tuple(
                # the sites of a group share a deviation, which is one coordinate
                of._replace(deviations=tuple(sorted({*of.deviations} & self.centred)))
                for of in self.pooled
            )
            return reparameterization(self.parameters, self.column, self._given, centred)

    def recentred(self, deviations: frozenset[int]) -> Self:
        """The same problem, with own values searched in the place of some deviations."""
        if deviations == self.centred:
            return self
        other = copy.copy(self)
        other.centred = deviations
        for name in ("reparameterization", "posterior"):
            other.__dict__.pop(name, None)
        return other

    @functools.cached_property
    def posterior(self) -> Posterior:
        """Density of unbounded parameters."""
        return Posterior(self.likelihood, self.reparameterization, self.priors)

    @property
    def pooled(self) -> tuple[Pooled, ...]:
        """Parameters that differ between sites or treatments."""
        return self.likelihood.forward.pooled

    @property
    def members(self) -> tuple[str, ...]:
        """Names of the treatments, or of the sites where there are none."""
        return self._given.members

    @property
    def site_of(self) -> tuple[int, ...]:
        """Site of each of them."""
        return self._given.site_of

    @property
    def topsoil_years(self) -> np.ndarray:
        """Calendar years of the topsoil stocks."""
        return np.arange(self.likelihood.topsoil_year, self.case.end_year + 1)

    @property
    def defaults(self) -> Float[Array, " parameter"]:
        """Values of the free parameters before any calibration."""
        return jnp.asarray([p.default for p in self.parameters])

    def bounded(self, z: Float[np.ndarray, "... parameter"]) -> Float[np.ndarray, "... parameter"]:
        """Parameter values of unbounded parameters, with any leading axes."""
        return by_row(_bounded, z.reshape(-1, z.shape[-1]), self.reparameterization).reshape(
            z.shape
        )

    def unbounded(
        self, x: Float[np.ndarray, "... parameter"]
    ) -> Float[np.ndarray, "... parameter"]:
        """Unbounded parameters of parameter values; inverse of :meth:`bounded`."""
        flat = by_row(_unbounded, x.reshape(-1, x.shape[-1]), self.reparameterization)
        return flat.reshape(x.shape)

    def predict_many(
        self, x: Float[Array, "device draw parameter"], wanted: Bool[Array, "device draw"]
    ) -> Prediction:
        """Predictions on all devices, draw after draw on each; they are compiled once.

        Where a draw is not wanted nothing is run, and what is returned there is zero.
        """
        found: Prediction = _on_devices(jax.local_device_count())(x, wanted, self.likelihood)
        return found

    def value_and_gradient(
        self, value: Float[Array, " obs"] | None = None
    ) -> Callable[
        [Float[Array, " parameter"]], tuple[Float[Array, ""], Float[Array, " parameter"]]
    ]:
        """Compiled negative log posterior and its gradient.

        Args:
            value: what was measured, an argument of the program; that of the table if not given.
        """
        measured = self.errors.value if value is None else value
        return lambda z: _descent(z, self.posterior, measured)
