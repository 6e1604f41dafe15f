"""Coordinates in which the posterior is easy to search and to sample.

Stocks tell input divided by decomposition, far better than either: the posterior is a thin sheet
that bends wherever another protection mechanism takes over. So decomposition rates and inputs are
moved along with the protection that the present parameters give at each site: rates are searched
as rate times mean protection modifier, inputs as input divided by the modifier at their sites
relative to that mean. This is a shear: it shifts unbounded coordinates by a function of other
coordinates, so volumes, and with them the posterior, stay what they are.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.priors import Transform
from diffsoil.column import Column
from diffsoil.parameters import Parameter
from diffsoil.plan import Plan, initial_state
from diffsoil.process import Environment
from diffsoil.processes.geometry import Geometry
from diffsoil.processes.pores import PrescribedPores
from diffsoil.processes.protection import Protection
from diffsoil.state import State

INPUT = "vegetation.input_factor."
MANURE = "manure.factor"
RATES = ("carbon.k_rpm", "carbon.k_bio", "carbon.k_hum")


class Coordinates:
    """Unbounded coordinates of the free parameters.

    Args:
        parameters: the free parameters, in the order of every vector here.
        column: the column they belong to.
        plan: the plan of the case, before :func:`diffsoil.plan.prepare_plan`.
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
        self._surface = _surface(plan, self._state)
        along, of_member = self._directions(parameters, plan)
        self._along = jnp.asarray(along)
        self._of_member = jnp.asarray(of_member)

    def bounded(self, z: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Parameter values within their bounds."""
        return self.transform.forward(self._sheared(z))

    def unbounded(self, x: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Coordinates of parameter values; inverse of :meth:`bounded`."""
        return self.transform.inverse(x) - self._shift(x)

    def log_jacobian(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Logarithm of the determinant of d bounded / d unbounded."""
        return self.transform.log_jacobian(self._sheared(z))

    def _sheared(self, z: Array) -> Array:
        # protection parameters are not shifted themselves, so their values can be read first
        return z + self._shift(self.transform.forward(z))

    def _shift(self, x: Array) -> Array:
        if self._protection is None:
            return jnp.zeros_like(x)
        values = {n: x[i] for i, n in enumerate(self.names) if n.startswith("protection.")}
        column = Column((self._protection,)).with_parameters(values)

        def overall(environment: Environment) -> Array:
            _, provided = column.processes[0].slow(self._state, environment, 1)
            return provided["modifier_overall"][0]

        by_member = jax.vmap(overall)(self._surface)
        mean = jnp.log(jnp.mean(by_member))
        at_sites = jnp.log(self._of_member @ by_member)
        return self._along[0] * -mean + self._along[1] * (at_sites - mean)

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


def _surface(plan: Plan, state: State) -> Environment:
    """What protection needs to know, by member, in the first year of the experiment."""
    experiment = plan.experiment
    assert experiment is not None
    given = experiment.constant | {k: v[:, 0] for k, v in experiment.series.items()}

    def one(environment: Environment) -> Environment:
        for process in (Geometry(), PrescribedPores()):
            environment = environment | process.slow(state, environment, 1)[1]
        return environment

    return jax.vmap(one)(given)
