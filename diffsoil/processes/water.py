"""Soil water: a monthly bucket in layers.

Each month a part of the rain meets potential evapotranspiration before it enters the soil. The
rest cascades down over field capacity; what is left of the demand is drawn from the layers,
where roots are and where water is easy to take.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.rate_modifiers import BARE_SOIL_LIMIT
from diffsoil.processes.vegetation import root_distribution
from diffsoil.state import State
from diffsoil.units import MM_PER_M
from diffsoil.variables import LAYER, MONTH, MONTH_LAYER, Variable

SPIN_UP_YEARS = 6
"""Years of the same weather after which a bucket has forgotten where it began."""


def cascade(
    water: Float[Array, " layer"],
    capacity: Float[Array, " layer"],
    infiltration: Float[Array, ""],
    bypass: Float[Array, ""],
) -> tuple[Float[Array, " layer"], Float[Array, " layer"]]:
    """Let water run down through layers that hold it up to their capacity.

    Args:
        water: before, mm.
        capacity: at field capacity, mm.
        infiltration: at the surface, mm.
        bypass: share of the infiltration that runs through without wetting any layer, 0 to 1.

    Returns:
        Water after, and what leaves each layer downwards (bypass flow with it), mm.
    """
    around = infiltration * bypass

    # q_i = max(0, q_(i-1) + d_i), d being the surplus of a layer, in closed form
    surplus = jnp.cumsum((water - capacity).at[0].add(infiltration - around))
    outflow = surplus - jnp.minimum(lax.cummin(surplus), 0.0)
    inflow = jnp.concatenate([(infiltration - around)[None], outflow[:-1]])
    return water + inflow - outflow, outflow + around


def uptake(
    available: Float[Array, " layer"],
    capacity: Float[Array, " layer"],
    demand: Float[Array, ""],
    roots: Float[Array, " layer"],
) -> Float[Array, " layer"]:
    """Water that a demand draws from each layer, mm.

    A layer gives its root share of the demand while more than half of its available capacity
    is filled, and less below; what it cannot give is asked of rooted layers that still can.

    Args:
        available: water above the wilting point, mm.
        capacity: largest available water, mm.
        demand: mm, >= 0.
        roots: root share of each layer, sums to 1 or less.
    """
    ease = jnp.clip(2.0 * safe.divide(available, capacity), 0.0, 1.0)
    first = jnp.minimum(demand * roots * ease, available)
    left = available - first
    willing = roots * ease * left
    total = jnp.sum(willing)
    unmet = jnp.minimum(demand - jnp.sum(first), jnp.sum(left))
    second = jnp.minimum(unmet * safe.divide(willing, total), left)
    return first + second


def evaporation_distribution(
    depth_top: Float[Array, " layer"],
    thickness: Float[Array, " layer"],
    length: Float[Array, ""],
) -> Float[Array, " layer"]:
    """Share of the evaporation of a bare soil that each layer is asked for; they sum to 1.

    Args:
        depth_top, thickness: of the layers, m; the uppermost may be of any thickness.
        length: over which evaporation falls to 1/e of that at the surface, m, > 0.
    """
    share = jnp.exp(-depth_top / length) * -jnp.expm1(-thickness / length)
    return share / jnp.sum(share)


class Water(Process):
    """Monthly bucket in layers, with percolation at every depth."""

    name: ClassVar[str] = "water"
    variables: ClassVar[Mapping[str, Variable]] = {
        "water_content": Variable(
            MONTH_LAYER,
            "m3 m-3",
            "water content at the end of the month",
            output=True,
            months="mean",
        ),
        "moisture_deficit": Variable(MONTH_LAYER, "1", "deficit as share of the largest one"),
        "percolation": Variable(
            MONTH_LAYER,
            "mm",
            "water leaving the layer downwards in the month",
            output=True,
            months="sum",
            share_of="itself",
        ),
        "evapotranspiration": Variable(
            MONTH_LAYER, "mm", "water taken from the layer in the month"
        ),
        "interception": Variable(MONTH, "mm", "rain that evaporates before it enters the soil"),
        "runoff": Variable(MONTH, "mm", "rain that runs off the surface"),
        "initial_water": Variable(LAYER, "mm", "water at the start of the simulated year"),
    }
    needs: ClassVar[tuple[str, ...]] = (
        "precipitation",
        "potential_evapotranspiration",
        "cover",
        "root_beta",
        "thickness",
        "depth_top",
        "field_capacity",
        "wilting_point",
    )
    provides: ClassVar[tuple[str, ...]] = (
        "water_content",
        "moisture_deficit",
        "percolation",
        "evapotranspiration",
        "initial_water",
        "interception",
        "runoff",
    )
    reads: ClassVar[tuple[str, ...]] = ("water",)

    spin_up_years: int = eqx.field(static=True, default=SPIN_UP_YEARS)
    """Fewer are enough where the slow steps are many and the climate stays."""
    direct_evaporation_share: Float[Array, ""] = parameter(
        0.3,
        unit="1",
        lower=0.0,
        upper=1.0,
        prior=normal(0.3, 0.15),
        source="fits Richards' equation in two loess soils (docs/explanation/water.md); 1 in RothC",
        description="share of the month's rain, as far as there is demand, that never enters",
    )
    month_end: Float[Array, ""] = parameter(
        0.75,
        unit="1",
        lower=0.0,
        upper=1.0,
        prior=normal(0.75, 0.15),
        source="fits Richards' equation in two loess soils (docs/explanation/water.md); 1 in RothC",
        description="weight of the end of the month in its mean moisture, against its beginning",
    )
    bypass: Float[Array, ""] = parameter(
        0.0,
        unit="1",
        lower=0.0,
        upper=0.9,
        prior=normal(0.0, 0.2),
        source="assumption: none, as in the RothC bucket",
        description="share of the infiltration that bypasses the soil matrix",
    )
    evaporation_depth: Float[Array, ""] = parameter(
        0.10,
        unit="m",
        lower=0.02,
        upper=0.5,
        prior=lognormal(0.10, 0.5),
        source="assumption: bare soil dries within the uppermost decimetres",
        description="e-folding depth of evaporation from bare soil",
    )

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        thickness, top = environment["thickness"], environment["depth_top"]
        full = environment["field_capacity"] * thickness * MM_PER_M
        dry = environment["wilting_point"] * thickness * MM_PER_M
        room = full - dry
        roots = root_distribution(top, thickness, environment["root_beta"])
        bare = evaporation_distribution(top, thickness, self.evaporation_depth)
        weather = (
            environment["precipitation"],
            environment["potential_evapotranspiration"],
            environment["cover"],
        )

        # else the reverse mode copies some sixty arrays of all months in each slow step
        @partial(jax.checkpoint, prevent_cse=False)
        def month(available: Array, x: tuple[Array, Array, Array]) -> tuple[Array, tuple]:
            rain, demand, cover = x
            met = self.direct_evaporation_share * jnp.minimum(rain, demand)
            wet, outflow = cascade(available, room, rain - met, self.bypass)
            thirst = demand - met
            by_plants = uptake(wet, room, thirst * cover, roots)
            left = wet - by_plants
            # a bare soil does not dry beyond a share of its largest deficit
            easy = jnp.maximum(left - (1.0 - BARE_SOIL_LIMIT) * room, 0.0)
            by_evaporation = uptake(easy, BARE_SOIL_LIMIT * room, thirst * (1.0 - cover), bare)
            after = left - by_evaporation
            mean = self.month_end * after + (1.0 - self.month_end) * wet
            return after, (after, mean, outflow, by_plants + by_evaporation, met)

        start = jnp.clip(state.water - dry, 0.0, room)
        if years > 1:  # one year stands for many: start from its own periodic state

            def same_year(water: Array, _: None) -> tuple[Array, None]:
                return lax.scan(month, water, weather)[0], None

            start, _ = lax.scan(same_year, start, None, length=self.spin_up_years)
        through = self.many_years if years > 1 else self.one_year
        start, end, monthly = through(partial(lax.scan, month), start, weather)
        available, mean, percolation, taken, met = monthly
        return dataclasses.replace(state, water=end + dry), {
            "water_content": (available + dry[None]) / (thickness[None] * MM_PER_M),
            "moisture_deficit": 1.0 - safe.divide(mean, jnp.broadcast_to(room, taken.shape)),
            "percolation": percolation,
            "initial_water": start + dry,
            "interception": met,
            "runoff": jnp.zeros_like(met),
            "evapotranspiration": taken,
        }

    @staticmethod
    def one_year(
        run: Callable, start: Float[Array, " layer"], weather: tuple[Array, Array, Array]
    ) -> tuple:
        """Run through the months of a year: water before and after, and what each month leaves."""
        end, monthly = run(start, weather)
        return start, end, monthly

    def many_years(
        self, run: Callable, start: Float[Array, " layer"], weather: tuple[Array, Array, Array]
    ) -> tuple:
        """The same for a year of normals that stands for many; here one as all of them.

        Args:
            run: steps water through months.
            start: water above the wilting point, mm.
            weather: rain and demand, mm, and cover, by month.

        Returns:
            Water at the beginning and at the end of a year, and what each month leaves; means.
        """
        return self.one_year(run, start, weather)
