"""Aluminium and iron in solution, held by their hydroxides and oxides.

All constants are those of the database phreeqc.dat (Parkhurst & Appelo): log10 at 25 C, and
enthalpies of reaction in kcal/mol for other temperatures (van 't Hoff).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.carbonate import LN10, ZERO_CELSIUS, carried_down
from diffsoil.processes.minerals import MOLAR_MASS
from diffsoil.processes.weathering import AL, FE, dissolution_rate, surface_per_mol
from diffsoil.processes.weathering import (
    GIBBSITE as GIBBSITE_ROW,
)
from diffsoil.processes.weathering import (
    GOETHITE as GOETHITE_ROW,
)
from diffsoil.state import Ground, State
from diffsoil.units import MMOL_PER_MOL, SECONDS_PER_YEAR

GAS_CONSTANT = 1.987204e-3
"""kcal / (mol K)."""

REFERENCE_TEMPERATURE = 298.15
"""Temperature of the constants, K."""


class Reaction(NamedTuple):
    """log10 of the constant at 25 C and the enthalpy, kcal/mol."""

    log_k: float
    enthalpy: float


GIBBSITE = Reaction(8.11, -22.8)
AMORPHOUS_ALUMINIUM = Reaction(10.8, -26.5)
GOETHITE = Reaction(-1.0, -14.48)
FERRIHYDRITE = Reaction(4.891, 0.0)
"""The database gives no enthalpy for ferrihydrite, Fe(OH)3(a)."""

ALUMINIUM_HYDROLYSIS = (
    Reaction(-5.0, 11.49),
    Reaction(-10.1, 26.9),
    Reaction(-16.9, 39.89),
    Reaction(-22.7, 42.3),
)
"""``M+++ + n H2O = M(OH)n + n H+`` for n = 1 to 4."""
IRON_HYDROLYSIS = (
    Reaction(-2.19, 10.4),
    Reaction(-5.67, 17.1),
    Reaction(-12.56, 24.8),
    Reaction(-21.6, 31.9),
)
"""The same of Fe(III)."""


def log_solubility(phase: Reaction, temperature: Float[Array, "..."]) -> Float[Array, "..."]:
    """log10 of ``M+++ / (H+)^3`` over a solid phase at a temperature in degrees C."""
    cold = (1.0 / (temperature + ZERO_CELSIUS) - 1.0 / REFERENCE_TEMPERATURE) / GAS_CONSTANT
    return phase.log_k - phase.enthalpy * cold / LN10


def aluminium_in_solution(
    ph: Float[Array, "..."],
    temperature: Float[Array, "..."],
    log_k: Float[Array, ""] | float = GIBBSITE.log_k,
    enthalpy: Float[Array, ""] | float = GIBBSITE.enthalpy,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Dissolved aluminium in equilibrium with a hydroxide, mmol/L.

    Args:
        ph: of the soil solution.
        temperature: degrees C.
        log_k: log10 of ``Al+++ / (H+)^3`` at 25 C.
        enthalpy: of the dissolution, kcal/mol.

    Returns:
        Free Al+++, and all aluminium with its hydroxo complexes; activities are not corrected.
    """
    return _in_solution(ph, temperature, log_k, enthalpy, ALUMINIUM_HYDROLYSIS)


def iron_in_solution(
    ph: Float[Array, "..."],
    temperature: Float[Array, "..."],
    log_k: Float[Array, ""] | float = GOETHITE.log_k,
    enthalpy: Float[Array, ""] | float = GOETHITE.enthalpy,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Dissolved Fe(III) in equilibrium with an oxide, mmol/L.

    Args:
        ph: of the soil solution.
        temperature: degrees C.
        log_k: log10 of ``Fe+++ / (H+)^3`` at 25 C.
        enthalpy: of the dissolution, kcal/mol.

    Returns:
        Free Fe+++, and all Fe(III) with its hydroxo complexes; activities are not corrected.
    """
    return _in_solution(ph, temperature, log_k, enthalpy, IRON_HYDROLYSIS)


def _in_solution(
    ph: Array,
    temperature: Array,
    log_k: Array | float,
    enthalpy: Array | float,
    hydrolysis: tuple[Reaction, ...],
) -> tuple[Array, Array]:
    cold = (1.0 / (temperature + ZERO_CELSIUS) - 1.0 / REFERENCE_TEMPERATURE) / GAS_CONSTANT
    free = jnp.exp(LN10 * (log_k - 3.0 * ph) - enthalpy * cold + np.log(MMOL_PER_MOL))
    total = jnp.ones_like(free)
    for n, reaction in enumerate(hydrolysis, start=1):
        total = total + jnp.exp(LN10 * (reaction.log_k + n * ph) - reaction.enthalpy * cold)
    return free, free * total


class EquilibriumIron(eqx.Module):
    """Iron in equilibrium with goethite: next to nothing at the pH of soils."""

    def __call__(
        self, ground: Ground, temperature: Array, drainage: Array, water: Array, years: int
    ) -> tuple[Array, Array]:
        """Dissolved Fe that protects, mmol/L, and the most that can be leached, mol/m2."""
        free, total = iron_in_solution(ground.ph, temperature)
        return free, total * drainage


class KineticIron(eqx.Module):
    """Iron released at the rate of goethite dissolution, with no cap by its solubility.

    Equilibrium forbids it, but a model that keeps the iron of added goethite in solution at high
    pH, as the study of van der Meij & Finke (2026) shows it, must behave so.
    """

    field_factor: float = eqx.field(static=True, default=1.0e-5)
    """Rate in the field over that in the laboratory: assumption."""

    def __call__(
        self, ground: Ground, temperature: Array, drainage: Array, water: Array, years: int
    ) -> tuple[Array, Array]:
        """Dissolved Fe that protects, mmol/L, and the most that can be leached, mol/m2."""
        rate = dissolution_rate(ground.ph, temperature)[GOETHITE_ROW] * self.field_factor
        surface = surface_per_mol(GOETHITE_ROW)[:, None]
        lost = ground.minerals[GOETHITE_ROW] * -jnp.expm1(
            -rate[None] * surface * (SECONDS_PER_YEAR * years)
        )
        released = jnp.sum(lost, axis=0)
        return released / (drainage + water), released


class NothingDissolved(Process):
    """No aluminium and iron in solution: stands in for :class:`Oxides`."""

    name: ClassVar[str] = "oxides"
    needs: ClassVar[tuple[str, ...]] = ("thickness",)
    provides: ClassVar[tuple[str, ...]] = ("dissolved_al_fe",)

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        return state, {"dissolved_al_fe": jnp.zeros_like(environment["thickness"])}


class Oxides(Process):
    """Dissolved Al and Fe, as far as they are soluble and there, and their leaching.

    The reactive aluminium of a layer (mineral gibbsite) includes what the exchanger holds. What
    water carries out of a layer is laid down in the next where that can keep less in solution.
    """

    name: ClassVar[str] = "oxides"
    needs: ClassVar[tuple[str, ...]] = (
        "mean_temperature",
        "drainage",
        "water_content",
        "thickness",
    )
    provides: ClassVar[tuple[str, ...]] = ("dissolved_al_fe",)
    reads: ClassVar[tuple[str, ...]] = ("ground",)

    iron: EquilibriumIron | KineticIron = EquilibriumIron()
    log_k_aluminium: Float[Array, ""] = parameter(
        GIBBSITE.log_k, unit="log10 (L2 mol-2)", lower=7.0, upper=11.0, prior=normal(8.11, 0.4),
        source="gibbsite 8.11, amorphous Al(OH)3 10.8 (phreeqc.dat)",
        description="solubility of the reactive aluminium hydroxide at 25 C",
    )  # fmt: skip

    def stand_in(self) -> Process:
        """See :class:`diffsoil.process.Process`."""
        return NothingDissolved()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None
        temperature, drainage = environment["mean_temperature"], environment["drainage"]
        water = jnp.mean(environment["water_content"], axis=0) * environment["thickness"]
        free_al, all_al = aluminium_in_solution(ground.ph, temperature, self.log_k_aluminium)
        free_fe, most_fe = self.iron(ground, temperature, drainage, water, years)
        rows = jnp.asarray([GIBBSITE_ROW, GOETHITE_ROW])
        stock = jnp.sum(ground.minerals[rows], axis=1)
        most = jnp.stack([all_al * drainage, most_fe])

        outflow = jax.vmap(carried_down)(stock, most)
        inflow = jnp.concatenate([jnp.zeros((2, 1)), outflow[:, :-1]], axis=1)
        # what is laid down is of clay size; what dissolves, of all sizes alike
        gain = jnp.maximum(inflow - outflow, 0.0)
        loss = jnp.maximum(outflow - inflow, 0.0)
        left = 1.0 - safe.divide(loss, stock)
        solids = ground.minerals[rows] * left[:, None]
        solids = solids.at[:, 0].add(gain)
        there = safe.divide(stock[0] + inflow[0], most[0], otherwise=1.0)
        shortage = jnp.minimum(there, 1.0)
        mass = jnp.asarray(MOLAR_MASS)[rows]
        lost = ground.lost.at[AL].add(outflow[0, -1]).at[FE].add(outflow[1, -1])
        ground = dataclasses.replace(
            ground,
            minerals=ground.minerals.at[rows].set(solids),
            lost=lost.at[-1].add(jnp.sum(mass * outflow[:, -1])),
        )
        dissolved = free_al * shortage + free_fe
        return eqx.tree_at(lambda s: s.ground, state, ground), {"dissolved_al_fe": dissolved}
