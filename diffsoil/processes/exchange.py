"""Cation exchange, acidity and calcite of every layer, and what percolates out of it.

``exchange_layer.py`` has the equations of a layer, ``exchange_column.py`` solves those of all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import UNIFORM, lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes import exchange_column
from diffsoil.processes.carbonate import (
    calcite_front,
    calcite_saturation,
    log_k1,
    log_k2,
    log_k_henry,
    log_k_water,
)
from diffsoil.processes.exchange_layer import LITRES, Bases, Layers, bases_at
from diffsoil.processes.minerals import CALCITE_MASS
from diffsoil.processes.oxides import GIBBSITE, log_solubility
from diffsoil.processes.pores import ORGANIC_MATTER_IN_CARBON
from diffsoil.processes.weathering import DRIEST
from diffsoil.processes.weathering import GIBBSITE as GIBBSITE_ROW
from diffsoil.state import CATIONS, CHARGE, SOLUTES, Ground, State
from diffsoil.units import MG_PER_KG_M2
from diffsoil.variables import LAYER, Variable

MM = 1000.0
"""mm in a m."""


ALUMINIUM_OF_ACIDITY = 2.0 / 3.0
"""Share of aluminium in the acidity of the exchanger, where it is not solved for (assumption)."""


class ConstantCapacity(Process):
    """One cation exchange capacity for all layers: stands in for :class:`ExchangeCapacity`."""

    name: ClassVar[str] = "cec"
    needs: ClassVar[tuple[str, ...]] = ("clay_percent",)
    provides: ClassVar[tuple[str, ...]] = ("cec",)

    capacity: Float[Array, ""] = parameter(
        100.0, unit="mmol kg-1", lower=10.0, upper=600.0, prior=lognormal(100.0, 0.4),
        source="Foth & Ellis (1996), as in Finke (2012), for 16 % clay and 1 % organic carbon",
        description="CEC of any layer",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        return state, {"cec": jnp.ones_like(environment["clay_percent"]) * self.capacity}


class ExchangeCapacity(Process):
    """Cation exchange capacity, from clay and organic carbon."""

    name: ClassVar[str] = "cec"
    variables: ClassVar[Mapping[str, Variable]] = {
        "cec": Variable(
            LAYER,
            "mmol kg-1",
            "cation exchange capacity (mol_c)",
            output=True,
            share_of="minerals",
        ),
    }
    needs: ClassVar[tuple[str, ...]] = ("clay_percent", "organic_matter", "cec_offset")
    provides: ClassVar[tuple[str, ...]] = ("cec",)

    mineral: Float[Array, ""] = parameter(
        32.0, unit="mmol kg-1", lower=0.0, upper=100.0, prior=normal(32.0, 10.0),
        source="Foth & Ellis (1996), as in Finke (2012)", description="CEC of any mineral soil",
    )  # fmt: skip
    carbon: Float[Array, ""] = parameter(
        3670.0, unit="mmol kg-1", lower=500.0, upper=6000.0, prior=normal(3670.0, 600.0),
        source="Foth & Ellis (1996), as in Finke (2012)", description="CEC of organic carbon",
    )  # fmt: skip
    clay: Float[Array, ""] = parameter(
        196.0, unit="mmol kg-1", lower=20.0, upper=900.0, prior=normal(196.0, 60.0),
        source="Foth & Ellis (1996), as in Finke (2012)", description="CEC of clay",
    )  # fmt: skip

    def stand_in(self) -> Process:
        """See :class:`diffsoil.process.Process`."""
        return ConstantCapacity()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        carbon = environment["organic_matter"] / (100.0 * ORGANIC_MATTER_IN_CARBON)
        of_soil = self.mineral + environment["cec_offset"] + self.carbon * carbon
        cec = of_soil + self.clay * environment["clay_percent"] / 100.0
        return state, {"cec": jnp.maximum(cec, 1.0)}


class CalciteFront(Process):
    """Calcite alone is leached: stands in for :class:`Exchange`.

    Water is saturated with calcite where there is any (:func:`carbonate.calcite_front`). The
    exchanger gives no bases away; what it cannot hold moves down, anions and silicon go with the
    water, and pH follows calcite and base saturation.
    """

    name: ClassVar[str] = "exchange"
    needs: ClassVar[tuple[str, ...]] = (
        "cec",
        "mineral_mass",
        "thickness",
        "soil_temperature",
        "water_content",
        "percolation",
        "pco2",
        "silicon_space",
    )
    provides: ClassVar[tuple[str, ...]] = (
        "base_saturation",
        "exchangeable_bases",
        "exchangeable_aluminium",
        "ph",
        "dissolved_bases",
        "drainage",
        "mean_temperature",
    )
    reads: ClassVar[tuple[str, ...]] = ("ground",)

    ph_calcareous: Float[Array, ""] = parameter(
        7.8, unit="1", lower=7.0, upper=8.5, prior=normal(7.8, 0.2),
        source="calcite and soil air of 0.5 % CO2 at equilibrium", description="pH over calcite",
    )  # fmt: skip
    ph_saturated: Float[Array, ""] = parameter(
        6.8, unit="1", lower=5.5, upper=7.5, prior=normal(6.8, 0.3),
        source="assumption: of soils without calcite 6.5 to 7",
        description="pH of a soil without calcite at a base saturation of 100 %",
    )  # fmt: skip
    ph_acid: Float[Array, ""] = parameter(
        4.0, unit="1", lower=3.0, upper=5.0, prior=normal(4.0, 0.3),
        source="assumption: aluminium buffers at pH 3.8 to 4.2",
        description="pH of a soil without bases",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None
        temperature = jnp.mean(environment["soil_temperature"], axis=0)
        drainage = jnp.maximum(jnp.sum(environment["percolation"], axis=0), 0.0) * (years / MM)
        saturation = calcite_saturation(temperature, environment["pco2"])
        calcite, carried = calcite_front(ground.calcite, saturation, drainage * MM)
        capacity = environment["cec"] * (environment["mineral_mass"] / MG_PER_KG_M2) / LITRES
        wet = jnp.maximum(jnp.mean(environment["water_content"], axis=0), DRIEST)
        # share of the anions, and of the silicon, that leaves with the water
        mobile = jnp.stack([wet * environment["thickness"], environment["silicon_space"]])
        share = drainage[None] / (drainage[None] + mobile)

        def one(inflow: Array, x: tuple[Array, Array, Array]) -> tuple[Array, tuple[Array, Array]]:
            labile, capacity, share = x
            here = labile + inflow
            bases = jnp.sum(here[: len(CATIONS)])
            over = 1.0 - jnp.minimum(safe.divide(capacity, bases, otherwise=1.0), 1.0)
            leaves = here * jnp.concatenate([jnp.full(len(CATIONS), 1.0) * over, share[::-1]])
            return leaves, (here - leaves, here[: len(CATIONS)] * (1.0 - over))

        leached, (labile, held) = lax.scan(
            one, jnp.zeros(len(SOLUTES)), (ground.labile.T, capacity, share.T)
        )
        lost = ground.lost.at[: len(SOLUTES)].add(leached / jnp.asarray(CHARGE))
        lost = lost.at[0].add(carried[-1])
        solid = CALCITE_MASS * jnp.sum(ground.calcite - calcite)
        shares = 100.0 * jnp.maximum(held.T / capacity[None], 0.0)
        base_saturation = jnp.minimum(jnp.sum(shares, axis=0), 100.0)
        limed = calcite > 0.0
        leached_ph = self.ph_acid + (self.ph_saturated - self.ph_acid) * base_saturation / 100.0
        ph = jnp.where(limed, self.ph_calcareous, leached_ph)
        ground = dataclasses.replace(
            ground, labile=labile.T, calcite=calcite, ph=ph, lost=lost.at[-1].add(solid)
        )
        return eqx.tree_at(lambda s: s.ground, state, ground), {
            "base_saturation": base_saturation,
            "exchangeable_bases": shares,
            "exchangeable_aluminium": (100.0 - base_saturation) * ALUMINIUM_OF_ACIDITY,
            "ph": ph,
            "dissolved_bases": jnp.where(limed, 2.0 * saturation, 0.0),
            "drainage": drainage,
            "mean_temperature": temperature,
        }


def _carried(
    there: Float[Array, "kind layer"], share: Float[Array, "kind layer"]
) -> tuple[Float[Array, "kind layer"], Float[Array, "kind layer"]]:
    """What leaves layers, and what stays, where a share of all that is met leaves."""

    def down(inflow: Array, layer: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        there, share = layer
        met = there + inflow
        return met * share, (met * share, met * (1.0 - share))

    leaves, stays = lax.scan(down, jnp.zeros_like(share[:, 0]), (there.T, share.T))[1]
    return leaves.T, stays.T


def _calcite_left(layers: Layers, found: Bases) -> Float[Array, " layer"]:
    """Calcite that Ca at saturation leaves or makes, mol/m2."""
    there = layers.bases[0] + 2.0 * layers.calcite
    rest = there - found.exchangeable[0] - LITRES * layers.water * found.dissolved[0]
    return jnp.where(found.saturated, jnp.maximum(0.5 * rest, 0.0), 0.0)


class Exchange(Process):
    """Base saturation, pH, calcite and leaching."""

    name: ClassVar[str] = "exchange"
    variables: ClassVar[Mapping[str, Variable]] = {
        "exchangeable_bases": Variable(
            ("cation", "layer"),
            "%",
            "bases, share of the exchanger",
            output=True,
            share_of="exchanger",
        ),
        "exchangeable_aluminium": Variable(
            LAYER,
            "%",
            "aluminium, share of the exchanger",
            output=True,
            share_of="exchanger",
        ),
        "ph": Variable(LAYER, "1", "pH of the soil solution", output=True, share_of="soil"),
        "dissolved_bases": Variable(LAYER, "mol m-3", "bases in the soil solution (mol_c)"),
        "drainage": Variable(LAYER, "m", "water leaving the layer downwards in the slow step"),
        "mean_temperature": Variable(LAYER, "degC", "soil temperature, mean of the year"),
    }
    needs: ClassVar[tuple[str, ...]] = (
        "cec",
        "mineral_mass",
        "thickness",
        "depth_top",
        "soil_temperature",
        "water_content",
        "percolation",
        "pco2",
        "silicon_space",
    )
    provides: ClassVar[tuple[str, ...]] = (
        "base_saturation",
        "exchangeable_bases",
        "exchangeable_aluminium",
        "ph",
        "dissolved_bases",
        "drainage",
        "mean_temperature",
    )
    reads: ClassVar[tuple[str, ...]] = ("ground",)

    log_k_calcium: Float[Array, ""] = parameter(
        3.55, unit="log10 (mol L-1)^-1/2", lower=2.0, upper=5.0, prior=normal(3.55, 0.3),
        source="assumption: gives pH 5.5 at a base saturation of 60 % with 0.2 mmol/L Ca",
        description="Gapon coefficient of Ca against exchangeable acidity",
    )  # fmt: skip
    log_k_magnesium: Float[Array, ""] = parameter(
        3.45, unit="log10 (mol L-1)^-1/2", lower=2.0, upper=5.0, prior=normal(3.45, 0.3),
        source="assumption: Mg is a little less preferred than Ca in the solution's favour",
        description="Gapon coefficient of Mg against exchangeable acidity",
    )  # fmt: skip
    log_k_potassium: Float[Array, ""] = parameter(
        1.0, unit="1", lower=-0.5, upper=2.5, prior=normal(1.0, 0.3),
        source="assumption: K is held firmly", description="Gapon coefficient of K",
    )  # fmt: skip
    log_k_sodium: Float[Array, ""] = parameter(
        2.0, unit="1", lower=0.0, upper=3.5, prior=normal(2.0, 0.3),
        source="assumption: Na is the most easily replaced", description="Gapon coefficient of Na",
    )  # fmt: skip
    log_k_aluminium: Float[Array, ""] = parameter(
        2.6, unit="log10 (mol L-1)^-2/3", lower=1.5, upper=4.0, prior=normal(2.6, 0.3),
        source="assumption: Al is some two thirds of the acidity where it is not short",
        description="Gapon coefficient of Al against exchangeable H",
    )  # fmt: skip
    acid_exponent: Float[Array, ""] = parameter(
        1.0, unit="1", lower=0.3, upper=1.0, prior=UNIFORM,
        source="1: one kind of site; below it weak acids of many strengths, as in the modified "
        "equation of Henderson and Hasselbalch (Bloom & Grigal 1985); the range is an assumption",
        description="power of [H+] with which the exchanger takes acidity up",
    )  # fmt: skip
    organic_anions: Float[Array, ""] = parameter(
        0.1, unit="mol m-3", lower=0.0, upper=1.0, prior=lognormal(0.1, 0.6),
        source="assumption: 10 to 50 mg/L dissolved organic carbon in a topsoil, of 5 mol_c/kg",
        description="organic acid anions (mol_c) in the soil solution at the surface",
    )  # fmt: skip
    organic_depth: Float[Array, ""] = parameter(
        0.5, unit="m", lower=0.05, upper=3.0, prior=lognormal(0.5, 0.4),
        source="assumption: dissolved organic matter is held back and decomposed on its way",
        description="depth over which organic acid anions decline (e-folding)",
    )  # fmt: skip
    saturation_factor: Float[Array, ""] = parameter(
        1.0, unit="1", lower=0.1, upper=1.5, prior=lognormal(1.0, 0.3),
        source="assumption: percolating water is at equilibrium; the dissolution constant is "
        "calibrated in SoilGen (Ranathunga et al. 2022)",
        description="Ca in drainage of calcareous layers over calcite saturation",
    )  # fmt: skip

    def stand_in(self) -> Process:
        """See :class:`diffsoil.process.Process`."""
        return CalciteFront()

    def selectivity(self) -> Float[Array, " cation"]:
        """Gapon coefficients, not as logarithms."""
        logs = (
            self.log_k_calcium, self.log_k_magnesium, self.log_k_potassium, self.log_k_sodium
        )  # fmt: skip
        return 10.0 ** jnp.stack(logs)

    def _layers(
        self, ground: Ground, environment: Environment, temperature: Array, drainage: Array
    ) -> Layers:
        """What exchange depends on, but for anions of strong acids."""
        mass = environment["mineral_mass"] / MG_PER_KG_M2
        wet = jnp.maximum(jnp.mean(environment["water_content"], axis=0), DRIEST)
        pores = wet * environment["thickness"]
        pco2 = environment["pco2"]
        depth = environment["depth_top"] + 0.5 * environment["thickness"]
        k1_kh = log_k1(temperature) + log_k_henry(temperature) + jnp.log10(pco2)
        saturation = self.saturation_factor * 2.0 / LITRES * calcite_saturation(temperature, pco2)
        return Layers(
            bases=ground.labile[: len(CATIONS)],
            calcite=ground.calcite,
            capacity=environment["cec"] * mass / LITRES,
            water=drainage + pores,
            saturation=saturation,
            bicarbonate=10.0**k1_kh,
            k2=10.0 ** log_k2(temperature),
            k_water=10.0 ** log_k_water(temperature),
            aluminium=10.0 ** log_solubility(GIBBSITE, temperature),
            anions=self.organic_anions / LITRES * jnp.exp(-depth / self.organic_depth),
            acid_exponent=jnp.ones_like(mass) * self.acid_exponent,
        )

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None
        temperature = jnp.mean(environment["soil_temperature"], axis=0)
        # water that rises over the year, where it can, brings nothing up
        drainage = jnp.maximum(jnp.sum(environment["percolation"], axis=0), 0.0) * (years / MM)
        layers = self._layers(ground, environment, temperature, drainage)
        # silicon and strong anions go with the water that holds them, whatever the bases do
        holding = jnp.stack([drainage + environment["silicon_space"], layers.water])
        others, stay = _carried(ground.labile[len(CATIONS) :], drainage[None] / holding)
        strong = (others[1] + stay[1]) / (LITRES * layers.water)
        layers = layers._replace(anions=layers.anions + strong)
        soil = exchange_column.Soil(layers, drainage, self.selectivity())
        solved = exchange_column.solve(exchange_column.guess(ground.ph, soil), soil)
        layers = exchange_column.met(soil, solved.leaves)
        found = bases_at(solved.log_g, layers, soil.k)
        calcite = _calcite_left(layers, found)
        dissolved = ground.calcite - calcite
        bases = (layers.bases - solved.leaves).at[0].add(2.0 * dissolved)
        leached = jnp.concatenate([solved.leaves[:, -1], others[:, -1]]) / jnp.asarray(CHARGE)
        lost = ground.lost.at[: len(SOLUTES)].add(leached)
        ph = -solved.log_h / np.log(10.0)
        ground = dataclasses.replace(
            ground,
            labile=jnp.concatenate([bases, stay]),
            calcite=calcite,
            ph=ph,
            lost=lost.at[-1].add(CALCITE_MASS * jnp.sum(dissolved)),
        )
        return eqx.tree_at(lambda s: s.ground, state, ground), {
            **self._on_exchanger(found, layers, ground),
            "ph": ph,
            "dissolved_bases": jnp.sum(found.dissolved, axis=0) * LITRES,
            "drainage": drainage,
            "mean_temperature": temperature,
        }

    def _on_exchanger(self, found: Bases, layers: Layers, ground: Ground) -> Environment:
        """Shares of the exchanger, %."""
        shares = 100.0 * found.exchangeable / layers.capacity[None]
        # a solution that is not quite solved for must not overfill the exchanger
        shares = shares / jnp.maximum(jnp.sum(shares, axis=0) / 100.0, 1.0)[None]
        base_saturation = jnp.sum(shares, axis=0)
        # with Al3+ over gibbsite in proportion to H+^3, Al and H share acidity in a fixed ratio
        ratio = jnp.cbrt(layers.aluminium) / 10.0**self.log_k_aluminium
        there = 300.0 * jnp.sum(ground.minerals[GIBBSITE_ROW], axis=0) / layers.capacity
        acidity = jnp.maximum(100.0 - base_saturation, 0.0)
        return {
            "exchangeable_aluminium": jnp.minimum(acidity * ratio / (1.0 + ratio), there),
            "base_saturation": base_saturation,
            "exchangeable_bases": shares,
        }
