"""Millennial V2: five pools that can be measured, and microbes that take up what they live on.

Particulate organic matter (POM), low-molecular-weight carbon (LMWC), aggregates (AGG), microbial
biomass (MIC) and carbon on minerals (MAOM); Abramoff et al. (2022), Soil Biology and Biochemistry
164, 108466. Amounts are g C/m2 of a soil of one metre, as there, that is g C/m3. The equations are
those of the published program, and so are their numbers (eq. 1).

Its output decides. The matric potential slows uptake, ``exp(-lambda matpot)`` in eq. 4; a version
of the program has the other sign. The constant of desorption is a factor of adsorption too, so
it changes how fast the two are and not which prevails. Other than in the program

- carbon adsorbs to minerals that have none yet (the program waits until there is some);
- what minerals have beyond their capacity leaves them by the same equation 10, with MAOM as its
  donor;
- the efficiency of microbes stays between 0 and 1 (the program leaves it above 30.8 and below
  -52.5 degrees C);
- water beyond the porosity counts as saturation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from diffsoil.numerics import elimination, safe
from diffsoil.numerics.newton import root
from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment
from diffsoil.processes.carbon.model import CarbonModel, monthly_decay
from diffsoil.state import State
from diffsoil.units import MG_PER_KG_M2
from diffsoil.variables import QUALITIES

POOLS = ("POM", "LMWC", "AGG", "MIC", "MAOM")
POM, LMWC, AGG, MIC, MAOM = range(5)
CO2, LEACHED = 5, 6
"""Where carbon goes that leaves the pools."""

GAS_CONSTANT = 8.31446
"""J/(mol K), as in the program."""

KELVIN = 273.15

DAYS = 365.0
"""Of a year, as in the program."""

STEPS_PER_MONTH = 3
"""Implicit steps of a month in a column."""

PERCOLATION = 250.0
"""mm/a through a soil of one metre with which carbon leaches at the published rate; an
assumption, the program does not ask how much water there is."""

INOCULUM = 1e-3
"""Share of the LMWC of plant input that are microbes; an assumption, without which a soil that
begins without any would stay so."""

LEAST_CAPACITY = 1.0
"""g C/m3; of a litter layer, and of a soil without clay and silt."""

LEAST_POROSITY = 0.05

PARTICLE_DENSITY = 2.65
"""g/cm3."""

G_PER_M2_IN_MG_PER_HA = 100.0
"""g/m2 in a Mg/ha."""

MATRIC_POTENTIAL = 15.0
"""kPa; the program has no other."""

UNCHANGED = 1e-8
"""Relative change of a pool in a year up to which it is steady."""

type Flows = Mapping[tuple[int, int], Float[Array, "..."]]
"""Share of a pool that goes elsewhere in a day (1/d), by donor and recipient."""


class Soil(NamedTuple):
    """What surrounds the pools of one or more places."""

    temperature: Float[Array, "..."]
    """Degrees C."""
    water: Float[Array, "..."]
    """Water content, m3/m3."""
    porosity: Float[Array, "..."]
    """m3/m3, > 0; a soil with more water than that is saturated."""
    capacity: Float[Array, "..."]
    """Most carbon that minerals can hold (eq. 12), g C/m3, > 0."""
    leaching: Float[Array, "..."]
    """Factor on leaching; 1 in the program."""
    decomposing: Float[Array, "..."]
    """Factor on what microbes decompose and take up; 1 in the program."""
    aggregating: Float[Array, "..."]
    """Factor on the building of aggregates; 1 in the program."""


FITTED = "Abramoff et al. (2022), soilpara_in_fit of the published program"


class Millennial(eqx.Module):
    """The equations and their parameters, with the program's names."""

    param_pi: Float[Array, ""] = parameter(
        0.66, unit="1", lower=0.05, upper=0.99, prior=normal(0.66, 0.15),
        source=FITTED, description="share of plant input that is POM, the rest is LMWC",
    )  # fmt: skip
    param_pa: Float[Array, ""] = parameter(
        0.33, unit="1", lower=0.01, upper=0.99, prior=normal(0.33, 0.1),
        source=FITTED, description="share of broken aggregates that is POM, the rest is MAOM",
    )  # fmt: skip
    kaff_pl: Float[Array, ""] = parameter(
        6443.0, unit="g m-3", lower=50.0, upper=1e5, prior=lognormal(6443.0, 0.5),
        source=FITTED, description="microbial biomass at half the fastest decomposition of POM",
    )  # fmt: skip
    alpha_pl: Float[Array, ""] = parameter(
        1.8e12, unit="d-1", lower=1e11, upper=5e13, prior=lognormal(1.8e12, 0.3),
        source=FITTED, description="Arrhenius factor of the decomposition of POM",
    )  # fmt: skip
    eact_pl: Float[Array, ""] = parameter(
        63909.0, unit="J mol-1", lower=4e4, upper=9e4, prior=normal(63909.0, 2000.0),
        source=FITTED, description="activation energy of the decomposition of POM",
    )  # fmt: skip
    rate_pa: Float[Array, ""] = parameter(
        0.018, unit="d-1", lower=1e-4, upper=0.2, prior=lognormal(0.018, 0.4),
        source=FITTED, description="rate at which POM is built into aggregates",
    )  # fmt: skip
    rate_break: Float[Array, ""] = parameter(
        0.02, unit="d-1", lower=1e-4, upper=0.2, prior=lognormal(0.02, 0.4),
        source=FITTED, description="rate at which aggregates break",
    )  # fmt: skip
    rate_leach: Float[Array, ""] = parameter(
        0.0015, unit="d-1", lower=1e-5, upper=0.1, prior=lognormal(0.0015, 0.7),
        source=FITTED, description="rate at which LMWC leaches",
    )  # fmt: skip
    kaff_des: Float[Array, ""] = parameter(
        1.0, unit="d-1", lower=0.01, upper=100.0, prior=lognormal(1.0, 0.7),
        source=FITTED, description="constant of desorption, in adsorption too",
    )  # fmt: skip
    param_p1: Float[Array, ""] = parameter(
        0.12, unit="1", lower=0.01, upper=0.6, prior=normal(0.12, 0.05),
        source=f"{FITTED}; Mayes et al. (2012): 0.186",
        description="how adsorption falls with pH",
    )  # fmt: skip
    param_p2: Float[Array, ""] = parameter(
        0.216, unit="1", lower=0.0, upper=2.0, prior=normal(0.216, 0.1),
        source=f"{FITTED}; Mayes et al. (2012)", description="adsorption at pH 0, its logarithm",
    )  # fmt: skip
    param_ph: Float[Array, ""] = parameter(
        7.0, unit="1", lower=3.0, upper=9.0, prior=normal(7.0, 1.0),
        source="published program", description="pH on which adsorption depends",
    )  # fmt: skip
    param_c1: Float[Array, ""] = parameter(
        0.86, unit="g kg-1", lower=0.1, upper=2.0, prior=lognormal(0.86, 0.3),
        source="published program; Georgiou et al. (2022)",
        description="most carbon on minerals of a soil, for each per cent of clay and silt",
    )  # fmt: skip
    kaff_lb: Float[Array, ""] = parameter(
        774.6, unit="g m-3", lower=10.0, upper=1e4, prior=lognormal(774.6, 0.5),
        source=FITTED, description="LMWC at half the fastest uptake by microbes",
    )  # fmt: skip
    alpha_lb: Float[Array, ""] = parameter(
        2.3e12, unit="d-1", lower=1e11, upper=5e13, prior=lognormal(2.3e12, 0.3),
        source=FITTED, description="Arrhenius factor of uptake by microbes",
    )  # fmt: skip
    eact_lb: Float[Array, ""] = parameter(
        57865.0, unit="J mol-1", lower=4e4, upper=9e4, prior=normal(57865.0, 2000.0),
        source=FITTED, description="activation energy of uptake by microbes",
    )  # fmt: skip
    rate_bd: Float[Array, ""] = parameter(
        0.0045, unit="m3 g-1 d-1", lower=1e-5, upper=0.1, prior=lognormal(0.0045, 0.5),
        source=FITTED, description="rate of microbial death, for each g/m3 of biomass",
    )  # fmt: skip
    rate_ma: Float[Array, ""] = parameter(
        0.0048, unit="d-1", lower=1e-5, upper=0.1, prior=lognormal(0.0048, 0.4),
        source=FITTED, description="rate at which MAOM is built into aggregates",
    )  # fmt: skip
    cue_ref: Float[Array, ""] = parameter(
        0.19, unit="1", lower=0.02, upper=0.8, prior=normal(0.19, 0.08),
        source=FITTED, description="carbon use efficiency of microbes at tae_ref",
    )  # fmt: skip
    cue_t: Float[Array, ""] = parameter(
        0.012, unit="degC-1", lower=0.0, upper=0.03, prior=normal(0.012, 0.004),
        source=FITTED, description="fall of the carbon use efficiency with temperature",
    )  # fmt: skip
    tae_ref: Float[Array, ""] = parameter(
        15.0, unit="degC", lower=5.0, upper=25.0, prior=normal(15.0, 2.0),
        source=FITTED, description="temperature of cue_ref",
    )  # fmt: skip
    lambda_matpot: Float[Array, ""] = parameter(
        2.1e-4, unit="kPa-1", lower=0.0, upper=0.01, prior=lognormal(2.1e-4, 0.5),
        source=FITTED, description="how the matric potential slows uptake by microbes",
    )  # fmt: skip
    kamin: Float[Array, ""] = parameter(
        0.2, unit="1", lower=0.0, upper=1.0, prior=normal(0.2, 0.1),
        source=FITTED, description="uptake by microbes in a saturated soil, relative",
    )  # fmt: skip
    param_pb: Float[Array, ""] = parameter(
        0.5, unit="1", lower=0.01, upper=0.99, prior=normal(0.5, 0.15),
        source=FITTED, description="share of dead microbes that adsorbs, the rest is LMWC",
    )  # fmt: skip

    def capacity(self, fines: Float[Array, "..."], mass: Float[Array, "..."]) -> Array:
        """Most carbon on minerals (eq. 12), in g C for each unit of volume of the mass.

        Args:
            fines: clay and silt, mass %.
            mass: of the soil in a unit of volume, kg.
        """
        return self.param_c1 * fines * mass

    def flows(self, pools: Float[Array, "5 ..."], soil: Soil) -> Flows:
        """What goes where; a flux is its share times the pool that it leaves (its donor).

        CO2 comes of what microbes have just taken up, that is from LMWC.

        Args:
            pools: g C/m3, >= 0.
            soil: around them.
        """
        filled = jnp.clip(soil.water / soil.porosity, 0.0, 1.0)
        wet = safe.root(filled)  # (eq. 5)
        airy = self.kamin + (1.0 - self.kamin) * safe.root(1.0 - filled)
        breathing = jnp.exp(-self.lambda_matpot * MATRIC_POTENTIAL) * airy * wet  # (eq. 4)
        thermal = 1.0 / (GAS_CONSTANT * (soil.temperature + KELVIN))
        fastest_pl = self.alpha_pl * jnp.exp(-self.eact_pl * thermal)  # (eq. 3)
        fastest_lb = self.alpha_lb * jnp.exp(-self.eact_lb * thermal)  # (eq. 15)
        efficiency = self.cue_ref - self.cue_t * (soil.temperature - self.tae_ref)
        efficiency = jnp.clip(efficiency, 0.0, 1.0)
        microbes, held = pools[MIC], pools[MAOM]

        fastest_pl = fastest_pl * soil.decomposing
        fastest_lb = fastest_lb * soil.decomposing
        decomposed = fastest_pl * wet * microbes / (self.kaff_pl + microbes)  # (eq. 2)
        taken_up = fastest_lb * breathing * microbes / (self.kaff_lb + pools[LMWC])  # (eq. 14)
        broken = self.rate_break * wet  # (eq. 7)
        dying = self.rate_bd * microbes  # (eq. 16)
        adsorbing = self.kaff_des * jnp.exp(-self.param_p1 * self.param_ph - self.param_p2) * wet
        free = 1.0 - held / soil.capacity  # (eq. 10)
        beyond = jnp.maximum(-free, 0.0) * safe.divide(pools[LMWC], held)
        return {
            (POM, LMWC): decomposed,
            (POM, AGG): self.rate_pa * wet * soil.aggregating,  # (eq. 6)
            (AGG, POM): broken * self.param_pa,
            (AGG, MAOM): broken * (1.0 - self.param_pa),
            (LMWC, MAOM): adsorbing * jnp.maximum(free, 0.0),
            (MAOM, LMWC): self.kaff_des / soil.capacity + adsorbing * beyond,  # (eq. 13)
            (MAOM, AGG): self.rate_ma * wet * soil.aggregating,  # (eq. 18)
            (MIC, LMWC): dying * (1.0 - self.param_pb),
            (MIC, MAOM): dying * self.param_pb,
            (LMWC, MIC): taken_up * efficiency,
            (LMWC, CO2): taken_up * (1.0 - efficiency),  # (eq. 21)
            (LMWC, LEACHED): self.rate_leach * wet * soil.leaching,  # (eq. 9)
        }

    def entering(self, plants: Float[Array, "..."]) -> Float[Array, "5 ..."]:
        """What plant input adds to each pool, in its unit."""
        nothing = jnp.zeros_like(plants)
        pom = self.param_pi * plants
        return jnp.stack([pom, plants - pom, nothing, nothing, nothing])

    def day(
        self, pools: Float[Array, "5 ..."], plants: Float[Array, "..."], soil: Soil
    ) -> Float[Array, "5 ..."]:
        """Pools after a day, by the explicit step of the program.

        Args:
            pools: before, g C/m3.
            plants: their input, g C/m3/d.
            soil: around them.
        """
        return pools + rates_of_change(pools, self.flows(pools, soil)) + self.entering(plants)


def rates_of_change(pools: Float[Array, "5 ..."], flows: Flows) -> Float[Array, "5 ..."]:
    """What flows make of the pools in a day, in their unit; no input."""
    change = jnp.zeros_like(pools)
    for (donor, recipient), share in flows.items():
        flux = share * pools[donor]
        change = change.at[donor].add(-flux)
        if recipient < len(POOLS):
            change = change.at[recipient].add(flux)
    return change


def implicit_step(
    tracers: Float[Array, "tracer 5 place"],
    entering: Float[Array, "tracer 5 place"],
    flows: Flows,
    days: float,
) -> tuple[Float[Array, "tracer 5 place"], Float[Array, "tracer place"], Float[Array, " tracer"]]:
    """Pools after some days of flows whose shares stay as they are, by the implicit Euler method.

    Every flux takes its share of its donor at the end of the step. So no pool falls below zero
    however long the step is, nothing is lost, pools that days leave as they are stay so, and a
    tracer follows each flux with the activity of the donor. What a place leaches enters the
    LMWC of the next one.

    Args:
        tracers: amounts of carbon, 14C, ... from the top down, in any unit.
        entering: what is added to them in the step.
        flows: shares, 1/d; see :meth:`Millennial.flows`.
        days: length of the step.

    Returns:
        Amounts after the step, what left each place as CO2, and what the last one leached.
    """
    places = tracers.shape[-1]
    matrix = [[jnp.zeros(places) for _ in POOLS] for _ in POOLS]
    for pool in range(len(POOLS)):
        matrix[pool][pool] = jnp.ones(places)
    for (donor, recipient), share in flows.items():
        matrix[donor][donor] = matrix[donor][donor] + days * share
        if recipient < len(POOLS):
            matrix[recipient][donor] = matrix[recipient][donor] - days * share
    inflow = jnp.zeros((len(POOLS), 1, places)).at[LMWC].set(1.0)
    known = jnp.concatenate([jnp.moveaxis(tracers + entering, 0, 1), inflow], axis=1)
    solved = elimination.solve(jnp.stack([jnp.stack(row) for row in matrix]), known)
    alone, of_inflow = jnp.moveaxis(solved[:, :-1], 1, 0), solved[:, -1]
    leaches = days * flows[LMWC, LEACHED]

    def downwards(above: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
        own, passed_on = x
        return own + passed_on * above, above

    own, passed_on = leaches[None] * alone[:, LMWC], leaches * of_inflow[LMWC]
    below, came = lax.scan(downwards, jnp.zeros(len(tracers)), (own.T, passed_on))
    after = alone + of_inflow[None] * came.T[:, None]
    return after, days * flows[LMWC, CO2][None] * after[:, LMWC], below


def steady(
    year: Callable[[Float[Array, "5"]], Float[Array, "5"]], guess: Float[Array, "5"]
) -> Float[Array, "5"]:
    """Pools that a year leaves as they are, with the derivative of the implicit function.

    Of the two states without change that is the one with microbes: what is sought is the logarithm
    of the pools, whose change does not vanish without them.

    Args:
        year: pools after a year of those at its start, in any unit; what it closes over is
            differentiated.
        guess: where the search begins, > 0; explicit days from it must not overshoot.

    Returns:
        Pools at the start of the year; NaN where none were found.
    """

    def change(log_pools: Float[Array, "5"]) -> Float[Array, "5"]:
        return jnp.log(year(jnp.exp(log_pools))) - log_pools

    log_pools = root(change, jnp.log(guess))
    kept = jnp.max(jnp.abs(change(log_pools))) < UNCHANGED
    return jnp.where(kept, jnp.exp(log_pools), jnp.nan)


class Millennial2(CarbonModel):
    """Millennial V2 in the litter layer and in every mineral layer.

    Carbon that leaches from a layer enters the next one, and leaves the column below the last.
    Clay and silt hold carbon as the equations say, so the column's protection does not act on it.
    The litter layer has no minerals, and no aggregates.

    The months of a year are not one map, as those of linear pools: each year of a slow step is
    stepped.

    Attributes:
        steps_per_month: implicit steps.
    """

    pools: ClassVar[tuple[str, ...]] = POOLS
    yearly_needs: ClassVar[tuple[str, ...]] = (
        "soil_temperature",
        "air_temperature",
        "water_content",
        "percolation",
        "clay_percent",
        "silt_percent",
        "bulk_density",
        "mineral_mass",
        "depth_top",
        "thickness",
        "plant_carbon",
        "manure_carbon",
        "atmosphere_14c",
    )
    changes: ClassVar[tuple[str, ...]] = (*CarbonModel.changes, "leached")

    equations: Millennial = eqx.field(default_factory=Millennial)
    steps_per_month: int = eqx.field(static=True, default=STEPS_PER_MONTH)
    litter_thickness: Float[Array, ""] = parameter(
        0.05, unit="m", lower=0.005, upper=0.5, prior=lognormal(0.05, 0.5),
        source="assumption: some centimetres", description="thickness of a litter layer",
    )  # fmt: skip

    @property
    def parts(self) -> tuple[eqx.Module, ...]:
        """The equations."""
        return (self.equations,)

    def respiring_rates(
        self, modifier: Float[Array, "... layer"]
    ) -> Float[Array, "... pool layer"]:
        """See :meth:`.model.CarbonModel.respiring_rates`: microbes respire LMWC."""
        nothing = jnp.zeros_like(modifier)
        rates = [jnp.ones_like(modifier) if pool == LMWC else nothing for pool in range(len(POOLS))]
        return jnp.stack(rates, axis=-2)

    def year(self, state: State, environment: Environment) -> State:
        """See :class:`diffsoil.process.Process`."""
        tracers = self.tracers(state)
        dated = len(tracers) == 2
        activity = [jnp.ones(()), environment["atmosphere_14c"]] if dated else [jnp.ones(())]
        decay = [jnp.ones(()), monthly_decay()] if dated else [jnp.ones(())]
        steps = self.steps_per_month
        survival = (jnp.stack(decay) ** (1.0 / steps))[:, None, None]
        source = jnp.stack(activity)[:, None, None]
        soil, inputs = self.soil(environment), self.inputs(environment)
        room = self.room(environment)

        # compiling the reverse mode takes less than half the time than without
        @partial(jax.checkpoint, prevent_cse=False)
        def step(carry: tuple[Array, ...], x: tuple[Soil, Array]) -> tuple[tuple, None]:
            now, gone, lost = carry
            around, entering = x
            flows = self.equations.flows(now[0] / room[None], around)
            enters = source * entering[None] / steps
            after, co2, below = implicit_step(now * survival, enters, flows, DAYS / 12 / steps)
            return (after, gone + co2[0], lost + below[0]), None

        def month(carry: tuple[Array, ...], x: tuple[Soil, Array]) -> tuple[tuple, None]:
            return lax.scan(lambda now, _: step(now, x), carry, length=steps)

        amounts = jnp.stack(tracers)
        start = (amounts, jnp.zeros(amounts.shape[-1]), jnp.zeros(()))
        (after, co2, leached), _ = lax.scan(month, start, (soil, inputs))
        new = self.updated(state, after, jnp.sum(inputs), co2)
        return dataclasses.replace(new, leached=new.leached + leached)

    def room(self, environment: Environment) -> Float[Array, " place"]:
        """Mg C/ha of a place at 1 g C/m3."""
        thickness = jnp.append(self.litter_thickness, environment["thickness"])
        return thickness / G_PER_M2_IN_MG_PER_HA

    def soil(self, environment: Environment) -> Soil:
        """What surrounds the pools, by month and place."""
        thickness = environment["thickness"]
        fines = environment["clay_percent"] + environment["silt_percent"]
        mass = environment["mineral_mass"] / MG_PER_KG_M2 / thickness
        minerals = jnp.maximum(self.equations.capacity(fines, mass), LEAST_CAPACITY)
        porosity = 1.0 - environment["bulk_density"] / PARTICLE_DENSITY
        percolation = jnp.maximum(environment["percolation"], 0.0)
        slowing = self.slowing(environment)
        place = {
            "porosity": _with_litter(jnp.maximum(porosity, LEAST_POROSITY)),
            "capacity": jnp.append(LEAST_CAPACITY, minerals),
            "decomposing": jnp.append(1.0, slowing),
            "aggregating": jnp.append(0.0, jnp.ones_like(slowing)),
        }
        water = _with_litter(environment["water_content"])
        relative = 12.0 * _with_litter(percolation) / PERCOLATION
        return Soil(
            temperature=jnp.concatenate(
                [environment["air_temperature"][:, None], environment["soil_temperature"]], axis=1
            ),
            water=water,
            leaching=relative / jnp.append(self.litter_thickness, thickness)[None],
            **{name: jnp.broadcast_to(value[None], water.shape) for name, value in place.items()},
        )

    def inputs(self, environment: Environment) -> Float[Array, "12 pool place"]:
        """Carbon that enters each pool, Mg C/ha, by month and place.

        Plant material of all qualities is POM and LMWC by the same shares, what is humified is
        MAOM. A little of the LMWC comes as microbes: nothing that falls on a soil is sterile.
        """
        arriving = environment["plant_carbon"] + environment["manure_carbon"]
        of = dict(zip(QUALITIES, jnp.moveaxis(arriving, 1, 0), strict=True))
        enters = self.equations.entering(of["decomposable"] + of["resistant"])
        microbes = INOCULUM * enters[LMWC]
        enters = enters.at[LMWC].add(-microbes).at[MIC].add(microbes)
        return jnp.moveaxis(enters.at[MAOM].add(of["humified"]), 0, 1)


def _with_litter(layers: Float[Array, "... layer"]) -> Float[Array, "... place"]:
    """The litter layer is like the uppermost layer."""
    return jnp.concatenate([layers[..., :1], layers], axis=-1)
