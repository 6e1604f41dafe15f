"""A calibration problem: a case, its observations, and the parameters that may change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from calibration.coordinates import Coordinates
from calibration.observations import ErrorModel, Operator, error_model, geometry_of, operator, read
from calibration.priors import Priors
from diffsoil.cases import Case, load_case
from diffsoil.column import Column
from diffsoil.io import InputError, nearest
from diffsoil.parameters import Parameter, Prior, lognormal
from diffsoil.plan import Plan, build, check, prepare_plan, run
from diffsoil.process import Environment
from diffsoil.time import Record

ERROR = "observation.error."
METHOD = "observation.method_factor."

TOPSOIL_CM = 23.0
"""Depth of the topsoil stocks that are drawn through time."""


class Prediction(NamedTuple):
    """What one set of parameters predicts.

    ``latent`` is what is in the soil at each observation, ``expected`` the mean of a
    measurement of it, ``sd`` its error; ``topsoil`` the stock of the uppermost 23 cm by member
    and year, Mg C/ha.
    """

    latent: Float[Array, " obs"]
    expected: Float[Array, " obs"]
    sd: Float[Array, " obs"]
    topsoil: Float[Array, "member year"]


def observation_parameters(table: pd.DataFrame, methods: tuple[str, ...]) -> dict[str, Parameter]:
    """Parameters of the error model: a relative error by series, a factor by method."""
    found = {}
    for series in sorted(set(table.loc[table["fitted"], "series"])):
        found[ERROR + series] = Parameter(
            name=ERROR + series,
            default=0.05,
            unit="1",
            lower=0.001,
            upper=0.6,
            prior=lognormal(0.05, 0.5),
            source="assumption: 5 % of a stock is a fair working value",
            description=f"relative standard deviation of {series} beyond the measured one",
        )
    for method in methods:
        found[METHOD + method] = Parameter(
            name=METHOD + method,
            default=1.0,
            unit="1",
            lower=0.7,
            upper=1.3,
            prior=lognormal(1.0, 0.04),
            source="assumption: laboratory methods agree to some percent",
            description=f"measured over true value of the method {method}",
        )
    return found


class Problem:
    """Everything a calibration needs, computed once.

    Args:
        case: a case or the name or path of one.
        column: the column to calibrate; the case's own if not given.
        free: full names of the parameters to calibrate; the case's own list if not given.
            Error parameters of the fitted series are always free.

    Attributes:
        names: free parameters, in the order of every parameter vector here.
        table: observations, see :func:`calibration.observations.read`.

    Raises:
        diffsoil.io.InputError: an unknown parameter, a bad observation, a default out of bounds.
    """

    def __init__(
        self,
        case: Case | str | Path,
        column: Column | None = None,
        free: Mapping[str, Prior | None] | None = None,
    ) -> None:
        self.case = case if isinstance(case, Case) else load_case(case)
        self.column = column or self.case.column()
        plan = build(self.case)
        check(plan, self.column, self.case)
        self.table = read(self.case, plan)
        listed = self.case.file.observations
        methods = tuple(listed.method_factors) if listed else ()
        self._check_methods(methods)
        self.parameters = self._free_parameters(free, methods)
        self.names = tuple(p.name for p in self.parameters)
        self.coordinates = Coordinates(self.parameters, self.column, plan)
        self.priors = Priors(self.parameters)
        model = [n for n in self.names if not n.startswith("observation.")]
        self.plan: Plan = prepare_plan(self.column, plan, model, keep=("thickness", "depth_top"))
        assert self.plan.experiment is not None
        geometry = geometry_of(self.plan.experiment)
        self.operator: Operator = operator(self.table, self.case, plan, geometry)
        self.errors: ErrorModel = error_model(self.table, methods)
        self._fitted = jnp.asarray(self.table["fitted"].to_numpy())
        bottom = geometry["depth_top"] + geometry["thickness"]
        inside = np.minimum(bottom, TOPSOIL_CM / 100) - geometry["depth_top"]
        self._topsoil = jnp.asarray(np.clip(inside / geometry["thickness"], 0, 1))

    def _check_methods(self, methods: tuple[str, ...]) -> None:
        known = set(self.table["method"])
        for method in methods:
            if method not in known:
                raise InputError(
                    f"{self.case.path}: observations.method_factors: no observation has the "
                    f"method {method!r}{nearest(method, known)}"
                )

    def _free_parameters(
        self, free: Mapping[str, Prior | None] | None, methods: tuple[str, ...]
    ) -> list[Parameter]:
        declared = self.column.parameters()
        of_errors = observation_parameters(self.table, methods)
        listed = dict(free) if free is not None else self.case.priors()
        values = self.column.values()
        chosen = {}
        for name, prior in listed.items():
            known = declared | of_errors
            if name not in known:
                raise InputError(
                    f"{self.case.path}: free: no parameter {name!r}{nearest(name, known)}"
                )
            default = float(values[name]) if name in values else known[name].default
            chosen[name] = dataclasses.replace(
                known[name], default=default, prior=prior or known[name].prior
            )
        return list({**chosen, **{n: p for n, p in of_errors.items() if n not in chosen}}.values())

    @property
    def defaults(self) -> Float[Array, " parameter"]:
        """Values of the free parameters before any calibration."""
        return jnp.asarray([p.default for p in self.parameters])

    def simulate(self, x: Float[Array, " parameter"], plan: Plan) -> Environment:
        """Carbon by member, year and layer for bounded parameter values."""
        values = {n: x[i] for i, n in enumerate(self.names) if not n.startswith("observation.")}
        yearly = ("soc", "radiocarbon") if self.operator.needs_radiocarbon else ("soc",)
        _, _, record = run(
            self.column.with_parameters(values), plan, in_experiment=Record(yearly=yearly)
        )
        return record

    def predict(self, x: Float[Array, " parameter"], plan: Plan) -> Prediction:
        """Prediction of every observation, fitted or not, for bounded parameter values."""
        record = self.simulate(x, plan)
        latent = self.operator(record)
        by_name = {name: x[i] for i, name in enumerate(self.names)}
        factors = jnp.asarray([by_name.get(METHOD + m, 1.0) for m in self.errors.methods])
        relative = jnp.asarray([by_name[ERROR + s] for s in self.errors.series])
        expected = self.errors.mean(latent, factors)
        return Prediction(
            latent=latent,
            expected=expected,
            sd=self.errors.total_sd(relative, expected),
            topsoil=jnp.sum(record["soc"] * self._topsoil, axis=-1),
        )

    def log_likelihood(self, prediction: Prediction) -> Float[Array, " obs"]:
        """Logarithm of the likelihood of each observation."""
        residual = (self.errors.value - prediction.expected) / prediction.sd
        return -0.5 * residual**2 - jnp.log(prediction.sd) - 0.5 * jnp.log(2 * jnp.pi)

    def log_posterior(self, z: Float[Array, " parameter"], plan: Plan) -> Float[Array, ""]:
        """Logarithm of the posterior density of unbounded parameters, up to a constant.

        Only fitted observations count.
        """
        x = self.coordinates.bounded(z)
        terms = self.log_likelihood(self.predict(x, plan))
        likelihood = jnp.sum(jnp.where(self._fitted, terms, 0.0))
        return likelihood + self.priors.log_density(x) + self.coordinates.log_jacobian(z)

    def value_and_gradient(
        self,
    ) -> Callable[
        [Float[Array, " parameter"]], tuple[Float[Array, ""], Float[Array, " parameter"]]
    ]:
        """Compiled negative log posterior and its gradient.

        The prepared plan is an argument of the compiled program, not a constant inside it.
        """
        compiled = jax.jit(jax.value_and_grad(lambda z, plan: -self.log_posterior(z, plan)))
        return lambda z: compiled(z, self.plan)
