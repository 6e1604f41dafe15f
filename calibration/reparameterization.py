"""Coordinates in which the posterior is easy to search and to sample.

Stocks tell input divided by decomposition, far better than either: the posterior is a thin sheet
that bends wherever another protection mechanism takes over. So decomposition rates and inputs are
moved along with the protection that the present parameters give at each site. A rate k is
searched as k times the mean protection modifier. An input I is searched as the stock it would
hold, I times the turnover time of its carbon at those rates (in balance), divided by
the modifier at its sites relative to the mean. This is a shear: it shifts unbounded coordinates
by a function of other coordinates, so volumes, and with them the posterior, stay what they are.

Where the data of a field tell its own value of a pooled parameter, that value is sampled, and not
its deviation: for each spread another deviation would give it, and the posterior would be thin and
bent. Where they do not, the deviation is: its own value could be anything that the spread allows,
and the posterior would be a funnel. Which ones they tell the normal approximation at the best fit
says, see :func:`calibration.methods.mode.told`.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from calibration.priors import Transform
from diffsoil.cases.arrays import Plan, initial_state
from diffsoil.column import Column
from diffsoil.forward import Forward, Pooled
from diffsoil.parameters import Parameter
from diffsoil.process import Environment
from diffsoil.processes.carbon import Carbon, plant_shares
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
RATE = "carbon.k_"


class Reparameterization(eqx.Module):
    """Unbounded coordinates of the free parameters."""

    transform: Transform
    shear: Shear | None
    centring: Centring | None = None

    def bounded(self, z: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Parameter values within their bounds."""
        z = self._sheared(z)
        return self.transform.forward(z if self.centring is None else self.centring(z))

    def unbounded(self, x: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Coordinates of parameter values; inverse of :meth:`bounded`."""
        z = self.transform.inverse(x)
        if self.centring is not None:
            z = self.centring.undone(z)
        return z if self.shear is None else self._searched(z, self.shear.of_members(x))

    def of_fields(
        self, x: Float[Array, " parameter"], own: Float[Array, "field parameter"]
    ) -> Float[Array, "field parameter"]:
        """Coordinates that the values of single fields would have, were they those of all.

        Args:
            x: bounded values.
            own: those of each field, with the same protection.
        """
        z = jax.vmap(self.transform.inverse)(own)
        if self.shear is None:
            return z
        return jax.vmap(self._searched, in_axes=(0, None))(z, self.shear.of_members(x))

    def log_jacobian(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Logarithm of the determinant of d bounded / d unbounded."""
        z = self._sheared(z)
        if self.centring is None:
            return self.transform.log_jacobian(z)
        return self.transform.log_jacobian(self.centring(z)) + self.centring.log_jacobian(z)

    def protection(self, z: Float[Array, " parameter"]) -> Float[Array, " place"]:
        """Logarithms of the protection modifiers of all members and layers; of none without shear.

        The soil is that of the first year of the experiment, where it follows its carbon that of
        the defaults.
        """
        if self.shear is None:
            return jnp.zeros(0)
        return jnp.log(self.shear.modifiers(self.transform.forward(z))).ravel()

    def _searched(self, z: Array, modifiers: Array) -> Array:
        """The inverse of :meth:`_sheared`, where protection is known."""
        assert self.shear is not None
        # rates are searched as rate times protection: bring them there before the inputs follow
        rates = self.transform.forward(z - self.shear.of_rates(modifiers))
        return z - self.shear(rates, modifiers)

    def _sheared(self, z: Array) -> Array:
        # protection parameters are not shifted, and what is read of the rates is their searched
        # value, so the shift can be found from the coordinates themselves
        if self.shear is None:
            return z
        searched = self.transform.forward(z)
        return z + self.shear(searched, self.shear.of_members(searched))


class Centring(eqx.Module):
    """Own values of pooled parameters, in the place of deviations from a median that moves.

    Attributes:
        transform: of the parameters.
        pooled: with the deviations of the sites and treatments whose own values they are.
        defaults: values of the parameters around which nothing is moved.
    """

    transform: Transform
    pooled: tuple[Pooled, ...] = eqx.field(static=True)
    defaults: Float[Array, " parameter"]

    def __call__(self, z: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """Coordinates of deviations, out of those of own values."""
        for places, scale, shift in self._moves(z):
            z = z.at[places].set((z[places] - shift) / scale)
        return z

    def undone(self, z: Float[Array, " parameter"]) -> Float[Array, " parameter"]:
        """The inverse."""
        for places, scale, shift in self._moves(z):
            z = z.at[places].set(scale * z[places] + shift)
        return z

    def log_jacobian(self, z: Float[Array, " parameter"]) -> Float[Array, ""]:
        """Logarithm of the determinant of d deviations / d own values."""
        moves = self._moves(z)
        return -sum((len(places) * jnp.log(scale) for places, scale, _ in moves), jnp.zeros(()))

    def _moves(self, z: Float[Array, " parameter"]) -> list[tuple[Array, Array, Array]]:
        """Places of deviations, what a spread multiplies them by, and how far a median is off."""
        x, moves = self.transform.forward(z), []
        for of in self.pooled:
            usual = self.defaults[of.spread]
            off = jnp.log(x[of.median]) - jnp.log(self.defaults[of.median])
            # a deviation is the logistic of its coordinate, whose slope in the middle is this
            slope = 0.25 * (self.transform.upper - self.transform.lower)[of.deviations[0]]
            places = jnp.asarray(of.deviations)
            moves.append((places, x[of.spread] / usual, off / (usual * slope)))
        return moves


class Shear(eqx.Module):
    """How far every coordinate is shifted, from the values of parameters.

    Attributes:
        names: of the parameters.
        protection: the process.
        soil: what protection needs to know, by member.
        state: at the start; protection reads nothing of it.
        carbon: the process, with the values of the case.
        along: how far a coordinate moves per unit of the logarithms of protection and of the stock.
        of_member: which members an input is used in, as weights.
        default_turnover: logarithm of the turnover time at the default parameters.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    protection: Protection
    soil: dict[str, Float[Array, "member layer"]]
    state: State
    carbon: Carbon
    along: Float[Array, "2 parameter"]
    of_member: Float[Array, "parameter member"]
    default_turnover: Float[Array, ""]

    def __call__(
        self, searched: Float[Array, " parameter"], modifiers: Float[Array, " member"]
    ) -> Float[Array, " parameter"]:
        """Shifts, from values whose rates are rates times protection."""
        relative = jnp.log(self.of_member @ modifiers) - jnp.log(jnp.mean(modifiers))
        turnover = jnp.log(_turnover_time(self.names, self.carbon, searched))
        moved = self.along[1] * (relative - (turnover - self.default_turnover))
        return self.of_rates(modifiers) + moved

    def of_rates(self, modifiers: Float[Array, " member"]) -> Float[Array, " parameter"]:
        """Shifts of the rates alone."""
        return -self.along[0] * jnp.log(jnp.mean(modifiers))

    def of_members(self, x: Float[Array, " parameter"]) -> Float[Array, " member"]:
        """Protection modifier of the surface by member."""
        return self.modifiers(x)[:, 0]

    def modifiers(self, x: Float[Array, " parameter"]) -> Float[Array, "member layer"]:
        """Protection modifier of every layer."""
        values = {n: x[i] for i, n in enumerate(self.names) if n.startswith("protection.")}
        process = Column((self.protection,)).with_parameters(values).processes[0]

        def overall(environment: Environment) -> Array:
            _, provided = process.slow(self.state, environment, 1)
            return provided["modifier_overall"]

        modifiers: Array = jax.vmap(overall)(self.soil)
        return modifiers


def reparameterization(
    parameters: list[Parameter], column: Column, plan: Plan, pooled: tuple[Pooled, ...] = ()
) -> Reparameterization:
    """Coordinates of some free parameters.

    A developed soil is simulated here, with the default parameters.

    Args:
        parameters: the free parameters, in the order of every vector of them.
        column: the column they belong to.
        plan: the plan of the case, before :func:`diffsoil.cases.arrays.prepare_plan`.
        pooled: what differs between sites or treatments, with the deviations whose own values are
            searched.
    """
    transform = Transform(parameters)
    defaults = jnp.asarray([p.default for p in parameters])
    centred = tuple(of for of in pooled if of.deviations)
    centring = Centring(transform, centred, defaults) if centred else None
    names = tuple(p.name for p in parameters)
    protection = [p for p in column.processes if isinstance(p, Protection)]
    moving = any(name.startswith("protection.") for name in names)
    carbon = column.carbon
    # rates of other models do not multiply protection
    if not (protection and moving and isinstance(carbon, Carbon)) or plan.experiment is None:
        return Reparameterization(transform, None, centring)
    state = jax.tree.map(lambda leaf: leaf[0], initial_state(column, plan))
    along, of_member = _directions(parameters, column, plan)
    shear = Shear(
        names=names,
        protection=protection[0],
        soil=_soil(column, plan, state, protection[0].needs),
        state=state,
        carbon=carbon,
        along=jnp.asarray(along),
        of_member=jnp.asarray(of_member),
        default_turnover=jnp.log(_turnover_time(names, carbon, defaults)),
    )
    return Reparameterization(transform, shear, centring)


def _turnover_time(
    names: tuple[str, ...], carbon: Carbon, x: Float[Array, " parameter"]
) -> Float[Array, ""]:
    """Carbon held in balance per carbon of plant input and year, at these rates."""
    values = {n: x[i] for i, n in enumerate(names) if n.startswith(RATE)}
    decomposable, resistant = plant_shares(jnp.asarray(CROP_DPM_RPM))
    of_values = Column((carbon,)).with_parameters(values).carbon
    assert isinstance(of_values, Carbon)
    return of_values.turnover_time(
        jnp.asarray(LOAM_CLAY), jnp.stack([decomposable, resistant, jnp.zeros(())])
    )


def _directions(
    parameters: list[Parameter], column: Column, plan: Plan
) -> tuple[np.ndarray, np.ndarray]:
    """How far each coordinate moves per unit of the two logarithms, and the sites of inputs."""
    experiment = plan.experiment
    assert experiment is not None
    members = len(plan.members)
    declared = column.parameters()
    groups = sorted(n.removeprefix(INPUT) for n in declared if n.startswith(INPUT))
    used = _total(experiment.series, experiment.constant, "plant_input")
    manured = _total(experiment.series, experiment.constant, "manure_input")
    along = np.zeros((2, len(parameters)))
    of_member = np.full((len(parameters), members), 1.0 / members)
    for i, p in enumerate(parameters):
        # d log(value) / d coordinate at the default
        span = 1.0 if np.isinf(p.upper) else (p.upper - p.default) / (p.upper - p.lower)
        slope = (p.default - p.lower) * span / p.default if p.default > 0 else 1.0
        weight = None
        if p.name.startswith(RATE):
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


def _soil(
    column: Column, plan: Plan, state: State, needs: tuple[str, ...]
) -> dict[str, Float[Array, "member layer"]]:
    """What protection needs to know, by member, in the first year of the experiment."""
    experiment = plan.experiment
    assert experiment is not None
    if plan.ground is not None:  # the soil has developed by then, here with default parameters
        forward = Forward(column, plan, (), in_experiment=Record(steps=needs), ahead=True)
        record = eqx.filter_jit(lambda of: of.run(jnp.zeros(0)).experiment)(forward)
        return {name: value[:, 0] for name, value in record.items()}
    given = experiment.constant | {k: v[:, 0] for k, v in experiment.series.items()}

    def one(environment: Environment) -> Environment:
        for process in (Geometry(), PrescribedPores()):
            environment = environment | process.slow(state, environment, 1)[1]
        return environment

    return eqx.filter_jit(jax.vmap(one))(given)
