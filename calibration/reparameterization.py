"""Coordinates in which the posterior is easy to search and to sample.

Stocks tell input divided by decomposition, far better than either: the posterior is a thin sheet
that bends wherever another protection mechanism takes over. So decomposition rates and inputs are
moved along with the protection that the present parameters give at each site. A rate k is
searched as k times the mean protection modifier. An input I is searched as the stock it would
hold, I times the turnover time of its carbon at those rates (RothC's steady state), divided by
the modifier at its sites relative to the mean. This is a shear: it shifts unbounded coordinates
by a function of other coordinates, so volumes, and with them the posterior, stay what they are.
"""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.priors import Transform
from diffsoil.cases.arrays import Plan, initial_state, run
from diffsoil.column import Column
from diffsoil.parameters import Parameter
from diffsoil.process import Environment
from diffsoil.processes.carbon import BIO_SHARE, co2_ratio, plant_shares
from diffsoil.processes.geometry import Geometry
from diffsoil.processes.pores import PrescribedPores
from diffsoil.processes.protection import Protection
from diffsoil.state import State
from diffsoil.time import Record

INPUT = "vegetation.input_factor."
MANURE = "manure.factor"
CROP_DPM_RPM = 1.44
LOAM_CLAY = 23.4
"""Typical values: the coordinates need not be exact, only straight enough."""
RATES = ("carbon.k_rpm", "carbon.k_bio", "carbon.k_hum")


class Coordinates:
    """Unbounded coordinates of the free parameters.

    Args:
        parameters: the free parameters, in the order of every vector here.
        column: the column they belong to.
        plan: the plan of the case, before :func:`diffsoil.cases.arrays.prepare_plan`.
    """

    def __init__(self, parameters: list[Parameter], column: Column, plan: Plan) -> None:
        self.names = [p.name for p in parameters]
        self.transform = Transform(parameters)
        protection = [p for p in column.processes if isinstance(p, Protection)]
        moving = [n for n in self.names if n.startswith("protection.")]
        self._protection = protection[0] if protection and moving else None
        if self._protection is None or plan.experiment is None:
            self._protection = None
            return
        declared = column.parameters()
        self._groups = sorted(n.removeprefix(INPUT) for n in declared if n.startswith(INPUT))
        self._state = jax.tree.map(lambda leaf: leaf[0], initial_state(column, plan))
        self._column, self._plan = column, plan
        values = column.values()
        self._fixed = {name: values[name] for name in RATES}
        defaults = jnp.asarray([p.default for p in parameters])
        self._default_turnover = jnp.log(self._turnover_time(defaults))
        along, of_member = self._directions(parameters, plan)
        self._along = jnp.asarray(along)
        self._of_member = jnp.asarray(of_member)

    @functools.cached_property
    def _surface(self) -> dict[str, Float[Array, "member layer"]]:
        """What protection needs to know: only those who search or sample ask for it."""
        assert self._protection is not None
        with jax.ensure_compile_time_eval():  # they may be in the midst of being compiled
            return _surface(self._column, self._plan, self._state, self._protection.needs)

    def bounded(self, z: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Parameter values within their bounds."""
        return self.transform.forward(self._sheared(z))

    def unbounded(self, x: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Coordinates of parameter values; inverse of :meth:`bounded`."""
        # rates are searched as rate times protection: bring them there before the inputs follow
        searched = self.transform.forward(self.transform.inverse(x) - self._rate_shift(x))
        return self.transform.inverse(x) - self._shift(searched)

    def log_jacobian(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Logarithm of the determinant of d bounded / d unbounded."""
        return self.transform.log_jacobian(self._sheared(z))

    def _sheared(self, z: Array) -> Array:
        # protection parameters are not shifted, and what is read of the rates is their searched
        # value, so the shift can be found from the coordinates themselves
        return z + self._shift(self.transform.forward(z))

    def _shift(self, searched: Array) -> Array:
        """Shift of every coordinate, from values whose rates are rates times protection."""
        if self._protection is None:
            return jnp.zeros_like(searched)
        modifiers = self._modifiers(searched)
        relative = jnp.log(self._of_member @ modifiers) - jnp.log(jnp.mean(modifiers))
        turnover = jnp.log(self._turnover_time(searched)) - self._default_turnover
        return self._rate_shift(searched) + self._along[1] * (relative - turnover)

    def _rate_shift(self, x: Array) -> Array:
        if self._protection is None:
            return jnp.zeros_like(x)
        return -self._along[0] * jnp.log(jnp.mean(self._modifiers(x)))

    def _modifiers(self, x: Array) -> Array:
        """Protection modifier of the surface by member."""
        values = {n: x[i] for i, n in enumerate(self.names) if n.startswith("protection.")}
        column = Column((self._protection,)).with_parameters(values)  # type: ignore[arg-type]

        def overall(environment: Environment) -> Array:
            _, provided = column.processes[0].slow(self._state, environment, 1)
            return provided["modifier_overall"][0]

        return jax.vmap(overall)(self._surface)

    def _turnover_time(self, x: Array) -> Array:
        """Carbon held per carbon of plant input and year, RothC's steady state at these rates."""
        rate = {n: x[self.names.index(n)] if n in self.names else self._fixed[n] for n in RATES}
        _, rpm = plant_shares(jnp.asarray(CROP_DPM_RPM))
        rpm_time = rpm / rate["carbon.k_rpm"]
        stabilised = BIO_SHARE / rate["carbon.k_bio"] + (1.0 - BIO_SHARE) / rate["carbon.k_hum"]
        return rpm_time + stabilised / co2_ratio(jnp.asarray(LOAM_CLAY))

    def _directions(self, parameters: list[Parameter], plan: Plan) -> tuple[np.ndarray, np.ndarray]:
        """How far each coordinate moves per unit of the two logarithms, and the sites of inputs."""
        experiment = plan.experiment
        assert experiment is not None
        members = len(plan.members)
        groups = self._groups
        used = _total(experiment.series, experiment.constant, "plant_input")
        manured = _total(experiment.series, experiment.constant, "manure_input")
        along = np.zeros((2, len(parameters)))
        of_member = np.full((len(parameters), members), 1.0 / members)
        for i, p in enumerate(parameters):
            # d log(value) / d coordinate at the default
            span = 1.0 if np.isinf(p.upper) else (p.upper - p.default) / (p.upper - p.lower)
            slope = (p.default - p.lower) * span / p.default if p.default > 0 else 1.0
            weight = None
            if p.name in RATES:
                along[0, i] = 1.0 / slope
            elif p.name.startswith(INPUT):
                weight = used[:, groups.index(p.name.removeprefix(INPUT))]
            elif p.name == MANURE:
                weight = manured
            if weight is not None and weight.sum() > 0:
                along[1, i] = 1.0 / slope
                of_member[i] = weight / weight.sum()
        return along, of_member


def _total(series: Environment, constant: Environment, name: str) -> np.ndarray:
    """Sum over the years of an experiment, by member."""
    return np.asarray(series[name]).sum(axis=1) if name in series else np.asarray(constant[name])


def _surface(
    column: Column, plan: Plan, state: State, needs: tuple[str, ...]
) -> dict[str, Float[Array, "member layer"]]:
    """What protection needs to know, by member, in the first year of the experiment."""
    experiment = plan.experiment
    assert experiment is not None
    if plan.ground is not None:  # the soil has developed by then, here with default parameters
        record = eqx.filter_jit(run)(column, plan, in_experiment=Record(steps=needs))[2]
        return {name: value[:, 0] for name, value in record.items()}
    given = experiment.constant | {k: v[:, 0] for k, v in experiment.series.items()}

    def one(environment: Environment) -> Environment:
        for process in (Geometry(), PrescribedPores()):
            environment = environment | process.slow(state, environment, 1)[1]
        return environment

    return eqx.filter_jit(jax.vmap(one))(given)
