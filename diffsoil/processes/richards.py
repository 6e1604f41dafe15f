"""Soil water: Richards' equation, day by day.

The costly alternative to the monthly bucket of ``water.py``, with the same name and the same
outputs. Rain falls on wet days; it meets the canopy, then enters the soil at the rate that the
soil can take, and moves by gravity and suction. Roots take water where it is easily taken.

Steps are fully implicit, one a day unless told otherwise, and conserve mass to rounding: Newton's
method solves the mixed form (Celia et al. 1990), and what a layer holds after a step is what it
held before plus its fluxes, converged or not. A day that has no solution otherwise is taken in
shorter steps; a year in which they have none is not a number, and whoever runs the column refuses
it. Gradients do not pass through the iterations but through one last linearised step at the
solution, which is the implicit function theorem. So their number need not be fixed, and forward
and reverse mode cost one linear solve per step. What the soil gives to roots and evaporation is
settled at the start of a step.

Lengths are cm and times days, as in the hydraulic functions; process variables are mm and months.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from diffsoil.numerics import safe, tridiagonal
from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.pedotransfer import HydraulicParameters
from diffsoil.processes.pores import WILTING_POINT_HEAD, _hydraulics
from diffsoil.processes.rate_modifiers import BARE_SOIL_LIMIT
from diffsoil.processes.vegetation import root_distribution
from diffsoil.processes.water import evaporation_distribution
from diffsoil.state import State
from diffsoil.units import CM_PER_M, MM_PER_CM
from diffsoil.variables import Variable

DAYS = 30
"""Days of a month, all of one length."""
DAY_LENGTH = 365.25 / 12 / DAYS
"""d."""

NEAR_SATURATION = 10.0
"""cm; at smaller suctions conductivity is a straight line in the head. For n < 2 the slope of the
Mualem curve is infinite at saturation, and in a clay it falls a hundredfold within centimetres:
macropores that the curve does not describe (Schaap & van Genuchten 2006) and that no solver
survives. Below some cm/d, loess never gets there."""
SMALLEST_N = 1.02
"""Nearer to 1 the retention curve has no water to give."""
STEEPEST_L = 1.0
"""Bound of -l m. Above 2 a drier soil would conduct better; up to 1 the conductivity falls with
suction as suction^-n at least."""
LARGEST_L = 10.0
"""The bound of the pedotransfer function itself."""
STORATIVITY = 1e-6
"""1/cm; water that a saturated layer takes up by pressure, so that a saturated column with no
free boundary still has one solution."""
TINY_SUCTION = 1e-6
"""cm; below it a layer counts as saturated."""
LARGEST_LOG_SUCTION = float(np.log(1e9))
"""Of cm; a suction that no flux can reach, so that a residual water content has a head."""

TOLERANCE = 1e-11
"""cm of water; largest residual of a layer at which the iteration stops."""
PLAIN = 14
"""Newton's iterations with the whole change; four are enough for most days."""
SEARCHED = 16
"""Further iterations that take the share of the change that leaves least residual: where Newton's
method runs in a circle, across the bend of the conductivity near saturation, a shorter step leads
out of it."""
SHARES = np.array([1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.02, 0.01])
SHORTER = 4.0
"""A step that finds no solution is taken anew in so many, down to :data:`SHORTEST` of a step."""
SHORTEST = 1.0 / 16.0
UNSOLVED = 1e-2
"""cm of water; a year with a larger residual has no solution, and is not a number."""
LINEAR = 1e-4
"""cm of water; residual below which the last, linearised step is taken."""
SETTLED = 0.01
"""cm of water that the layers gain or lose in a year, all together, in a column that has come to
its cycle."""


class Curve(NamedTuple):
    """Retention and conductivity at a head, with their derivatives by the head."""

    water: Float[Array, " layer"]
    """cm3/cm3."""
    capacity: Float[Array, " layer"]
    """Derivative of water, 1/cm, > 0."""
    conductivity: Float[Array, " layer"]
    """cm/d."""
    slope: Float[Array, " layer"]
    """Derivative of conductivity, 1/d, >= 0."""


@runtime_checkable
class Hydraulics(Protocol):
    """Hydraulic functions of the layers of one column."""

    def curve(self, head: Array) -> Curve:
        """Everything at a head (cm, negative when not saturated)."""

    def head(self, water: Array) -> Array:
        """Head (cm, <= 0) of a water content."""

    def saturated(self) -> tuple[Array, Array]:
        """Water content (cm3/cm3) and conductivity (cm/d) of the saturated soil."""


class VanGenuchten(eqx.Module):
    """Van Genuchten's retention and Mualem's conductivity, safe from saturated to air-dry.

    Both are written in ``y = n ln(alpha suction)``, where neither cancels nor overflows.

    Source: van Genuchten 1980, eqs. 8 and 21.
    """

    theta_r: Float[Array, " layer"]
    theta_s: Float[Array, " layer"]
    alpha: Float[Array, " layer"]
    """1/cm."""
    n: Float[Array, " layer"]
    ks: Float[Array, " layer"]
    """cm/d."""
    l: Float[Array, " layer"]  # noqa: E741 - the published symbol

    @classmethod
    def of(cls, parameters: HydraulicParameters, factor: Array) -> VanGenuchten:
        """From pedotransfer parameters, within their bounds.

        Args:
            parameters: by layer.
            factor: on the saturated conductivity, 1.
        """
        n = jnp.maximum(parameters.n, SMALLEST_N)
        smallest = -STEEPEST_L / (1.0 - 1.0 / n)
        l = jnp.clip(parameters.l, smallest, LARGEST_L)  # noqa: E741
        ks = parameters.ks_cm_d * factor
        return cls(parameters.theta_r, parameters.theta_s, parameters.alpha_1_cm, n, ks, l)

    def saturated(self) -> tuple[Array, Array]:
        """See :class:`Hydraulics`."""
        return self.theta_s, self.ks

    def _mualem(self, suction: Array) -> tuple[Array, Array]:
        """Relative conductivity, and its derivative by the suction (1/cm, <= 0)."""
        m = 1.0 - 1.0 / self.n
        y = self.n * (jnp.log(self.alpha) + jnp.log(suction))
        filled = m * jax.nn.softplus(-y)
        relative = jnp.exp(-self.l * m * jax.nn.softplus(y)) * jnp.expm1(-filled) ** 2
        # d ln K / dy; sigmoid(-y) / expm1(filled) -> 1 / m in dry soil, where both vanish
        dry = filled < 1e-9
        ratio = jax.nn.sigmoid(-y) / jnp.expm1(jnp.where(dry, 1.0, filled))
        by_y = -self.l * m * jax.nn.sigmoid(y) - 2.0 * m * jnp.where(dry, 1.0 / m, ratio)
        return relative, relative * by_y * self.n / suction

    def curve(self, head: Array) -> Curve:
        """See :class:`Hydraulics`."""
        m = 1.0 - 1.0 / self.n
        wet = head >= -TINY_SUCTION
        suction = jnp.where(wet, 1.0, -head)
        y = self.n * (jnp.log(self.alpha) + jnp.log(suction))
        mobile = (self.theta_s - self.theta_r) * jnp.exp(-m * jax.nn.softplus(y))
        water = jnp.where(
            wet, self.theta_s + STORATIVITY * jnp.maximum(head, 0.0), self.theta_r + mobile
        )
        capacity = jnp.where(
            wet, STORATIVITY, mobile * (self.n - 1.0) * jax.nn.sigmoid(y) / suction
        )
        entry, _ = self._mualem(jnp.full_like(head, NEAR_SATURATION))
        near = head > -NEAR_SATURATION
        relative, by_suction = self._mualem(jnp.where(near, NEAR_SATURATION, -head))
        line = 1.0 + (1.0 - entry) * jnp.minimum(head, 0.0) / NEAR_SATURATION
        line_slope = jnp.where(head < 0.0, (1.0 - entry) / NEAR_SATURATION, 0.0)
        return Curve(
            water,
            capacity,
            self.ks * jnp.where(near, line, relative),
            self.ks * jnp.where(near, line_slope, -by_suction),
        )

    def head(self, water: Array) -> Array:
        """See :class:`Hydraulics`."""
        m = 1.0 - 1.0 / self.n
        saturation = (water - self.theta_r) / (self.theta_s - self.theta_r)
        wet = saturation >= 1.0 - 1e-12
        x = -jnp.log(jnp.where(wet, 0.5, jnp.maximum(saturation, 1e-12))) / m
        log_suction = (x + jnp.log(-jnp.expm1(-x))) / self.n - jnp.log(self.alpha)
        return jnp.where(wet, 0.0, -jnp.exp(jnp.minimum(log_suction, LARGEST_LOG_SUCTION)))


class _Balance(NamedTuple):
    """Water balance of every layer at a trial head, and its derivatives."""

    residual: Array
    top: Array
    down: Array
    curve: Curve
    by_own: Array
    by_next: Array
    top_by_head: Array
    matrix: tuple[Array, Array, Array]


def _balance(
    soil: Hydraulics,
    thickness: Array,
    head: Array,
    before: Array,
    rain: Array,
    sink: Array,
    step_days: Array,
) -> _Balance:
    """Residual (cm) of a backward step, fluxes (cm/d, downwards) and their derivatives."""
    curve = soil.curve(head)
    k = curve.conductivity
    distance = 0.5 * (thickness[:-1] + thickness[1:])
    between = 0.5 * (k[:-1] + k[1:])
    gradient = (head[:-1] - head[1:]) / distance + 1.0
    own = between / distance + 0.5 * curve.slope[:-1] * gradient
    following = -between / distance + 0.5 * curve.slope[1:] * gradient
    # free drainage: gravity alone below the last layer
    down = jnp.concatenate([between * gradient, k[-1:]])
    by_own = jnp.concatenate([own, curve.slope[-1:]])
    by_next = jnp.concatenate([following, jnp.zeros(1)])
    # the surface takes what falls, at most what a saturated one with no ponding takes; from a
    # saturated column below a rising water table the same formula lets water out
    _, ks = soil.saturated()
    half = 0.5 * thickness[0]
    most = ks[0] * (1.0 - head[0] / half)
    top = jnp.minimum(rain, most)
    top_by_head = jnp.where(rain <= most, 0.0, -ks[0] / half)
    up = jnp.concatenate([top[None], down[:-1]])
    residual = thickness * (curve.water - before) - step_days * (up - down - sink)
    up_by_own = jnp.concatenate([top_by_head[None], by_next[:-1]])
    up_by_previous = jnp.concatenate([jnp.zeros(1), by_own[:-1]])
    diagonal = thickness * curve.capacity + step_days * (by_own - up_by_own)
    matrix = (-step_days * up_by_previous, diagonal, step_days * by_next)
    return _Balance(residual, top, down, curve, by_own, by_next, top_by_head, matrix)


def _newton(found: _Balance) -> Array:
    """Newton's change of the head, cm."""
    lower, diagonal, upper = found.matrix
    return tridiagonal.solve(lower, diagonal, upper, -found.residual)


def _update(soil: Hydraulics, head: Array, curve: Curve, change: Array) -> Array:
    """The next trial head: by water content in unsaturated layers, by head in saturated ones.

    In dry soil the head is a wild function of water and in saturated soil water knows nothing
    of the head; each layer moves in the variable that behaves (Diersch & Perrochet 1999). No
    layer loses most of its water in one iteration, and none jumps into or out of saturation.
    """
    full, _ = soil.saturated()
    target = jnp.clip(curve.water + curve.capacity * change, 0.3 * curve.water, 0.99 * full)
    lowest = jnp.where(head > 0.0, -1.0, 2.0 * head - 1.0)
    highest = jnp.where(head < -0.5, 0.25 * head, 0.5 + 4.0 * jnp.maximum(head, 0.0))
    by_head = jnp.clip(head + change, lowest, highest)
    return jnp.where(curve.water < 0.98 * full, soil.head(target), by_head)


class Step(NamedTuple):
    """What one time step gives."""

    water: Float[Array, " layer"]
    """Water content after the step, cm3/cm3; its change is that of the fluxes, to rounding."""
    head: Float[Array, " layer"]
    """Head after the step, cm; a first guess for the next step, without gradient."""
    infiltration: Float[Array, ""]
    """Into the surface, cm/d; negative where a saturated soil gives water off."""
    percolation: Float[Array, " layer"]
    """Out of the lower face of each layer, cm/d, negative upwards."""
    iterations: Int[Array, ""]
    """Of Newton's method."""
    residual: Float[Array, ""]
    """Largest residual of a layer at the best trial head, cm."""


def step(
    soil: Hydraulics,
    thickness: Float[Array, " layer"],
    water: Float[Array, " layer"],
    head: Float[Array, " layer"],
    rain: Float[Array, ""],
    sink: Float[Array, " layer"],
    step_days: Float[Array, ""],
) -> Step:
    """One backward Euler step of Richards' equation in mixed form, free drainage below.

    Args:
        soil: hydraulic functions of the layers.
        thickness: cm, > 0.
        water: water content before the step, cm3/cm3.
        head: cm, first guess.
        rain: at the soil surface, cm/d, >= 0.
        sink: taken from each layer, cm/d, >= 0.
        step_days: d.

    Source: Celia, Bouloutas & Zarba 1990, with Newton's method in place of Picard's.
    """
    here = (soil, thickness, water, rain, sink, step_days)
    soil_, *fixed = jax.tree.map(lax.stop_gradient, (*here, head))
    solved = _solve(soil_, *fixed)
    solution, residual = solved.head, solved.residual

    # one step that can be differentiated, with the derivatives themselves held
    final = _balance(soil, thickness, solution, water, rain, sink, step_days)
    held = jax.tree.map(lax.stop_gradient, final)
    change = _newton(held._replace(residual=final.residual))
    # a straight line from elsewhere leads anywhere; without it mass closes all the same
    change = jnp.where(solved.whole & (residual < LINEAR), change, 0.0)
    following = jnp.concatenate([change[1:], jnp.zeros(1)])
    percolation = final.down + held.by_own * change + held.by_next * following
    infiltration = final.top + held.top_by_head * change[0]
    # of shorter steps the fluxes are their mean, and the derivatives those at their end
    percolation, infiltration = jax.tree.map(
        lambda mean, end: jnp.where(solved.whole, end, mean + end - lax.stop_gradient(end)),
        (solved.down, solved.top),
        (percolation, infiltration),
    )
    up = jnp.concatenate([infiltration[None], percolation[:-1]])
    after = water + step_days * (up - percolation - sink) / thickness
    return Step(after, solution, infiltration, percolation, solved.iterations, residual)


class _Solution(NamedTuple):
    """Of a step that is taken whole, or in shorter ones where it has no solution otherwise."""

    head: Array
    residual: Array
    iterations: Array
    whole: Array
    top: Array
    down: Array


def _solve(
    soil: Hydraulics,
    thickness: Array,
    water: Array,
    rain: Array,
    sink: Array,
    step_days: Array,
    head: Array,
) -> _Solution:
    """Head at the end of a step, and mean fluxes over it; nothing to differentiate."""

    def unfinished(carry: tuple) -> Array:
        done, *_ = carry
        return done < 1.0 - 0.5 * SHORTEST

    def advance(carry: tuple) -> tuple:
        done, share, (now, trial), (top, down), worst, count = carry
        days = share * step_days
        found, residual, iterations = _iterate(soil, thickness, now, trial, rain, sink, days)
        take = (residual <= TOLERANCE) | (share < 1.5 * SHORTEST)
        balance = _balance(soil, thickness, found, now, rain, sink, days)
        up = jnp.concatenate([balance.top[None], balance.down[:-1]])
        after = now + days * (up - balance.down - sink) / thickness
        taken = (
            done + share,
            share,
            (after, found),
            (top + share * balance.top, down + share * balance.down),
            jnp.maximum(worst, residual),
        )
        again = (done, share / SHORTER, (now, soil.head(now)), (top, down), worst)
        kept = jax.tree.map(lambda a, b: jnp.where(take, a, b), taken, again)
        return *kept, count + iterations

    zero, nothing = jnp.zeros_like(step_days), jnp.zeros(head.shape)
    start = (zero, zero + 1.0, (water, head), (zero, nothing), zero, jnp.zeros((), dtype=int))
    _, share, (_, end), (top, down), worst, count = lax.while_loop(unfinished, advance, start)
    return _Solution(end, worst, count, share == 1.0, top, down)


def _iterate(
    soil: Hydraulics,
    thickness: Array,
    water: Array,
    head: Array,
    rain: Array,
    sink: Array,
    days: Array,
) -> tuple[Array, Array, Array]:
    """The best head that Newton's method finds for a step, its residual (cm), and iterations."""

    def at(trial: Array) -> tuple[_Balance, Array]:
        found = _balance(soil, thickness, trial, water, rain, sink, days)
        return found, jnp.max(jnp.abs(found.residual))

    def unfinished(most: int, carry: tuple) -> Array:
        _, _, (_, smallest), count = carry
        return (count < most) & (smallest > TOLERANCE)

    def to(carry: tuple, trial: Array, found: _Balance, worst: Array) -> tuple:
        _, _, (best, smallest), count = carry
        best = jnp.where(worst < smallest, trial, best)
        return trial, found, (best, jnp.fmin(smallest, worst)), count + 1

    def plain(carry: tuple) -> tuple:
        trial, found, *_ = carry
        trial = _update(soil, trial, found.curve, _newton(found))
        return to(carry, trial, *at(trial))

    def searched(carry: tuple) -> tuple:
        trial, found, *_ = carry
        change = _newton(found)

        def part(share: Array) -> tuple:
            tried = _update(soil, trial, found.curve, share * change)
            return tried, *at(tried)

        tries = jax.vmap(part)(jnp.asarray(SHARES))
        place = jnp.nanargmin(tries[-1])
        return to(carry, *jax.tree.map(lambda leaf: leaf[place], tries))

    found, worst = at(head)
    carry = (head, found, (head, worst), jnp.zeros((), dtype=int))
    carry = lax.while_loop(partial(unfinished, PLAIN), plain, carry)
    _, _, (best, smallest), count = carry
    carry = (best, at(best)[0], (best, smallest), count)
    carry = lax.while_loop(partial(unfinished, PLAIN + SEARCHED), searched, carry)
    _, _, (best, smallest), count = carry
    return best, smallest, count


def wet_days(days: int, spread: Float[Array, ""]) -> Float[Array, "30"]:
    """Share of a month's rain on each of its 30 days.

    Wet days are equally spaced. Their amounts are the quantiles of a Weibull distribution, in
    an order that mixes large and small (multiples of the golden ratio).

    Args:
        days: wet days of a month, 1 to 30.
        spread: 0 for equal amounts, 1 for those of an exponential distribution.
    """
    place = ((np.arange(days) + 0.5) * DAYS / days).astype(int)
    order = np.argsort(np.argsort(np.arange(1, days + 1) * 0.6180339887498949 % 1.0))
    log_quantile = np.log(-np.log1p(-(order + 0.5) / days))
    amount = jnp.exp(spread * jnp.asarray(log_quantile))
    return jnp.zeros(DAYS).at[jnp.asarray(place)].set(amount / jnp.sum(amount))


class YearOfWater(NamedTuple):
    """Twelve months of water; amounts in mm."""

    water: Float[Array, "12 layer"]
    """At the end of the month."""
    deficit: Float[Array, "12 layer"]
    """Mean of the month, as share of the largest one."""
    percolation: Float[Array, "12 layer"]
    """Net, out of the lower face of the layer; capillary rise is negative."""
    evapotranspiration: Float[Array, "12 layer"]
    """Taken from the layer by roots and evaporation."""
    interception: Float[Array, "12"]
    """Evaporated from the canopy."""
    runoff: Float[Array, "12"]
    """Rain that the soil could not take, and water that a saturated soil gave off."""
    iterations: Float[Array, "12"]
    """Newton's iterations, mean of the steps."""
    residual: Float[Array, "12"]
    """Largest residual of a step, cm."""
    start: Float[Array, " layer"]
    """Water at the start of the year."""


NEEDS = (
    "precipitation",
    "potential_evapotranspiration",
    "cover",
    "root_beta",
    "thickness",
    "depth_top",
    "clay_percent",
    "silt_percent",
    "bulk_density",
    "field_capacity",
    "wilting_point",
)


class Richards(Process):
    """Richards' equation in place of the monthly bucket.

    Unlike the bucket's, water can rise (percolation of a month may be negative; of a periodic
    year it is not), a layer can hold more than at field capacity, and rain that the canopy does
    not hold enters the soil before roots take it: a year closes as
    ``rain - interception - runoff - evapotranspiration - percolation of the last layer``.
    The moisture deficit is the mean of the month, water content that at its end.
    """

    name: ClassVar[str] = "water"
    variables: ClassVar[Mapping[str, Variable]] = {
        "water_residual": Variable((), "mm", "largest residual of Richards' equation in the year"),
    }
    organic_matter: ClassVar[str] = "reference_organic_matter"
    """Variable that the hydraulic functions take it from."""
    needs: ClassVar[tuple[str, ...]] = (*NEEDS, "reference_organic_matter")
    provides: ClassVar[tuple[str, ...]] = (
        "water_content",
        "moisture_deficit",
        "percolation",
        "evapotranspiration",
        "initial_water",
        "interception",
        "runoff",
        "water_residual",
    )
    reads: ClassVar[tuple[str, ...]] = ("water",)

    conductivity_factor: Float[Array, ""] = parameter(
        1.0,
        unit="1",
        lower=0.02,
        upper=50.0,
        prior=lognormal(1.0, 1.0),
        source="Wosten et al. 1999 explain 19 % of the variance of ln Ks",
        description="factor on the saturated conductivity of the pedotransfer function",
    )
    stress_head: Float[Array, ""] = parameter(
        600.0,
        unit="cm",
        lower=100.0,
        upper=5000.0,
        prior=lognormal(600.0, 0.5),
        source="Feddes et al. 1978; Wesseling 1991: 200 to 1000 cm for grass and cereals",
        description="suction above which roots take up less than they want",
    )
    compensation: Float[Array, ""] = parameter(
        0.5,
        unit="1",
        lower=0.2,
        upper=1.0,
        prior=normal(0.5, 0.2),
        source="Jarvis 1989; Simunek & Hopmans 2009",
        description="root-weighted stress down to which moist layers make up for dry ones",
    )
    interception: Float[Array, ""] = parameter(
        1.0,
        unit="mm",
        lower=0.0,
        upper=4.0,
        prior=lognormal(1.0, 0.5),
        source="assumption: 0.5 to 2 mm for grass, cereals and deciduous trees",
        description="rain that a full canopy holds on a wet day",
    )
    rain_spread: Float[Array, ""] = parameter(
        1.0,
        unit="1",
        lower=0.0,
        upper=1.5,
        prior=normal(1.0, 0.2),
        source="Richardson 1981: daily amounts are about exponential",
        description="unevenness of the rain of wet days, 0 equal, 1 exponential",
    )
    evaporation_depth: Float[Array, ""] = parameter(
        0.05,
        unit="m",
        lower=0.02,
        upper=0.5,
        prior=lognormal(0.05, 0.5),
        source="assumption: suction brings deeper water up",
        description="e-folding depth of evaporation from bare soil",
    )
    rain_days: int = eqx.field(static=True, default=10)
    """Wet days of a month, 1 to 30."""
    steps_per_day: int = eqx.field(static=True, default=1)
    """Time steps of a day."""
    spin_up_years: int = eqx.field(static=True, default=3)
    """Years of the same weather before the one that stands for many, through which derivatives
    go. Before them come as many, without, as the water takes to settle: one at least, and not
    more than the year stands for."""

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        spin_up = self.spin_up_years if years > 1 else 0
        settling = max(years - spin_up - 1, 1) if years > 1 else 0
        end, found = self.simulate(state.water, environment, spin_up, settling)
        thickness = environment["thickness"] * CM_PER_M * MM_PER_CM
        return dataclasses.replace(state, water=end), {
            "water_content": found.water / thickness[None],
            "moisture_deficit": found.deficit,
            "percolation": found.percolation,
            "evapotranspiration": found.evapotranspiration,
            "initial_water": found.start,
            "interception": found.interception,
            "runoff": found.runoff,
            "water_residual": MM_PER_CM * jnp.max(found.residual),
        }

    def simulate(
        self,
        start: Float[Array, " layer"],
        environment: Environment,
        spin_up: int,
        settling: int = 0,
    ) -> tuple[Float[Array, " layer"], YearOfWater]:
        """One year after some of the same weather.

        Args:
            start: water, mm; taken as at the wilting point where less.
            environment: see :attr:`needs`.
            spin_up: years before the recorded one.
            settling: years before those, at most; they end when the column has come to its
                cycle (:data:`SETTLED`), and the derivatives of the water pass them by.

        Returns:
            Water at the end, mm, and the last year.
        """
        thickness = environment["thickness"] * CM_PER_M
        begin = jnp.maximum(start / MM_PER_CM / thickness, environment["wilting_point"])
        if settling > 0:
            met = {name: environment[name] for name in self.needs}
            held, fixed, water = jax.tree.map(lax.stop_gradient, (self, met, begin))
            begin = begin + (held._settled(water, fixed, settling) - water)
        soil, year = self._year(environment)

        def recorded(carry: tuple, _: None) -> tuple[tuple, tuple]:
            after, months = year(carry)
            return after, (carry[0], months)

        carry = (begin, soil.head(begin))
        _, years = lax.scan(recorded, carry, None, length=spin_up + 1)
        first, months = jax.tree.map(lambda of_years: of_years[-1], years)
        water, deficit, (percolation, taken, runoff), count, residual = months
        water = jnp.where(jnp.max(residual) < UNSOLVED, water, jnp.nan)
        first = MM_PER_CM * thickness * first
        canopy = self._interception(environment)[0].sum(axis=1)
        fluxes = (percolation, taken, canopy, runoff)
        return water[-1], YearOfWater(water, deficit, *fluxes, count, residual, first)

    def _settled(self, water: Array, environment: Environment, most: int) -> Array:
        """Water content after as many years as it takes to come to its cycle, at most some."""
        soil, year = self._year(environment)
        thickness = environment["thickness"] * CM_PER_M

        def unsettled(carry: tuple) -> Array:
            _, moved, count = carry
            return (count < most) & (moved > SETTLED)

        def another(carry: tuple) -> tuple:
            before, _, count = carry
            after, _ = year(before)
            return after, jnp.sum(thickness * jnp.abs(after[0] - before[0])), count + 1

        start = (water, soil.head(water))
        none = jnp.zeros((), dtype=int)
        (water, _), *_ = lax.while_loop(unsettled, another, (start, jnp.asarray(jnp.inf), none))
        return water

    def _year(self, environment: Environment) -> tuple[VanGenuchten, Callable[[tuple], tuple]]:
        """The soil, and a year of it: water and head before it, and after it with its months."""
        hydraulics = _hydraulics(environment, environment[self.organic_matter])
        soil = VanGenuchten.of(hydraulics, self.conductivity_factor)
        thickness = environment["thickness"] * CM_PER_M
        dry = environment["wilting_point"]
        room = environment["field_capacity"] - dry
        top = environment["depth_top"]
        roots = root_distribution(top, environment["thickness"], environment["root_beta"])
        bare = evaporation_distribution(top, environment["thickness"], self.evaporation_depth)
        length = jnp.asarray(DAY_LENGTH / self.steps_per_day)
        weather = self._weather(environment)

        def one_step(carry: tuple[Array, Array], x: tuple[Array, Array, Array]) -> tuple:
            water, head = carry
            rain, transpiration, evaporation = x
            available = jnp.maximum(water - dry, 0.0) * thickness
            suction = -soil.head(water)
            ease = (WILTING_POINT_HEAD - suction) / (WILTING_POINT_HEAD - self.stress_head)
            willing = roots * jnp.clip(ease, 0.0, 1.0)
            sink = transpiration * willing / jnp.maximum(jnp.sum(willing), self.compensation)
            # a bare soil does not dry beyond a share of its largest deficit
            bound = (1.0 - BARE_SOIL_LIMIT) * room
            easy = safe.divide(water - dry - bound, BARE_SOIL_LIMIT * room)
            sink = sink + evaporation * bare * jnp.clip(2.0 * easy, 0.0, 1.0)
            sink = jnp.minimum(sink, available / length)
            found = step(soil, thickness, water, head, rain, sink, length)
            deficit = 1.0 - jnp.clip(safe.divide(found.water - dry, room), 0.0, 1.0)
            count = found.iterations.astype(float)
            fluxes = (found.percolation, sink, rain - found.infiltration)
            return (found.water, found.head), (deficit, fluxes, count, found.residual)

        def month(carry: tuple, x: tuple) -> tuple:
            scanned: tuple = lax.scan(one_step, carry, x)
            carry, (deficit, fluxes, count, residual) = scanned
            total = jax.tree.map(lambda flux: MM_PER_CM * length * jnp.sum(flux, axis=0), fluxes)
            water = MM_PER_CM * thickness * carry[0]
            mean = jnp.mean(deficit, axis=0)
            return carry, (water, mean, total, jnp.mean(count), jnp.max(residual))

        # what a step leaves behind for the reverse mode is kept for one month only
        month = jax.checkpoint(month)

        return soil, lambda carry: lax.scan(month, carry, weather)

    def _interception(self, environment: Environment) -> tuple[Array, Array, Array]:
        """Interception, rain and demand of each day of each month, mm, [month, day]."""
        share = wet_days(self.rain_days, self.rain_spread)
        rain = environment["precipitation"][:, None] * share[None]
        demand = jnp.maximum(environment["potential_evapotranspiration"], 0.0)[:, None] / DAYS
        demand = jnp.broadcast_to(demand, rain.shape)
        canopy = self.interception * environment["cover"][:, None]
        canopy = jnp.broadcast_to(canopy, rain.shape)
        return jnp.minimum(jnp.minimum(canopy, rain), demand), rain, demand

    def _weather(self, environment: Environment) -> tuple[Array, Array, Array]:
        """Rain on the soil, transpiration and evaporation asked for, cm/d, [month, step]."""
        held, rain, demand = self._interception(environment)
        cover = environment["cover"][:, None]
        left = demand - held  # what the canopy evaporates, roots need not
        amounts = (rain - held, left * cover, left * (1.0 - cover))
        rate = 1.0 / (MM_PER_CM * DAY_LENGTH)
        return tuple(jnp.repeat(x * rate, self.steps_per_day, axis=1) for x in amounts)  # type: ignore[return-value]


class SimulatedRichards(Richards):
    """The same where the simulated organic matter shapes the pores, as ``SimulatedRetention``."""

    costly: ClassVar[bool] = True
    organic_matter: ClassVar[str] = "organic_matter"
    needs: ClassVar[tuple[str, ...]] = (*NEEDS, "organic_matter")

    def reused(self, provided: Environment, then: Environment, now: Environment) -> Environment:
        """The same water; where a layer is thicker it is spread over more soil."""
        ratio = safe.divide(then["thickness"], now["thickness"])
        return provided | {"water_content": provided["water_content"] * ratio[None]}
