"""Dissolution of silicates, oxides and hydroxides: rate laws and surface areas."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.carbonate import LN10, ZERO_CELSIUS
from diffsoil.processes.minerals import MOLAR_MASS, STOICHIOMETRY
from diffsoil.state import CHARGE, ELEMENTS, MINERALS, SIZES, SOLUTES, State
from diffsoil.units import G_PER_KG, MG_PER_KG_M2, MM_PER_M, SECONDS_PER_YEAR
from diffsoil.variables import LAYER, Variable

GAS_CONSTANT = 8.314462618e-3
"""kJ / (mol K)."""

REFERENCE_TEMPERATURE = 298.15
"""Temperature of the rate constants, K."""

SPECIFIC_SURFACE = {"clay": 8.0, "silt": 2.2, "sand": 0.3}
"""Reactive surface by size class, m2/g, as in PROFILE (Sverdrup & Warfvinge)."""


class Mechanism(NamedTuple):
    """One term of a rate law: ``10^log_k exp(-E / R (1/T - 1/298.15)) a_H^order``."""

    log_k: float
    """log10 of the rate at 25 C and pH 0, mol/m2/s."""
    activation: float
    """E, kJ/mol."""
    order: float = 0.0
    """Order in the activity of H+."""


class RateLaw(NamedTuple):
    """Dissolution by acid, by water and by base; None where a mineral has no such term."""

    acid: Mechanism | None
    neutral: Mechanism
    base: Mechanism | None = None


_MUSCOVITE = RateLaw(
    Mechanism(-11.85, 22.0, 0.370), Mechanism(-13.55, 22.0), Mechanism(-14.55, 22.0, -0.220)
)

RATE_LAWS: dict[str, RateLaw] = {
    "quartz": RateLaw(None, Mechanism(-13.99, 87.7)),
    "k_feldspar": RateLaw(
        Mechanism(-10.06, 51.7, 0.500), Mechanism(-12.41, 38.0), Mechanism(-21.20, 94.1, -0.823)
    ),
    "albite": RateLaw(
        Mechanism(-10.16, 65.0, 0.457), Mechanism(-12.56, 69.8), Mechanism(-15.60, 71.0, -0.572)
    ),
    "anorthite": RateLaw(Mechanism(-3.50, 16.6, 1.411), Mechanism(-9.12, 17.8)),
    "muscovite": _MUSCOVITE,
    "chlorite": RateLaw(Mechanism(-11.11, 88.0, 0.500), Mechanism(-12.52, 88.0)),
    # assumption: not in the compilation; a mica too
    "illite": _MUSCOVITE,
    "montmorillonite": RateLaw(
        Mechanism(-12.71, 48.0, 0.220), Mechanism(-14.41, 48.0), Mechanism(-14.41, 48.0, -0.130)
    ),
    "kaolinite": RateLaw(
        Mechanism(-11.31, 65.9, 0.777), Mechanism(-13.18, 22.2), Mechanism(-17.05, 17.9, -0.472)
    ),
    "gibbsite": RateLaw(
        Mechanism(-7.65, 47.5, 0.992), Mechanism(-11.50, 61.2), Mechanism(-16.65, 80.1, -0.784)
    ),
    "goethite": RateLaw(None, Mechanism(-7.94, 86.5)),
    # assumption: not in the compilation; the middle of 1e-10 to 1e-8 at pH 4 to 8, taken as the
    # same at any pH, with an activation energy as found for basaltic glass, some 25 kJ/mol
    "volcanic_glass": RateLaw(None, Mechanism(-9.0, 25.0)),
}
"""Rate laws of Palandri & Kharaka (2004), USGS Open File Report 2004-1068.

Goethite's constant is six to seven orders above that of hematite: use it with its saturation.
"""


def _coefficients() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terms ln k, E / R (K) and -ln 10 times the order, each [mechanism, mineral, 1]."""
    absent = Mechanism(-1000.0, 0.0)  # a rate of zero
    laws = [RATE_LAWS[mineral] for mineral in MINERALS]
    table = np.array([[law[i] or absent for law in laws] for i in range(3)])[..., None]
    log_k, activation, order = np.moveaxis(table, 2, 0)
    return LN10 * log_k, activation / GAS_CONSTANT, -LN10 * order


_LOG_K, _ACTIVATION, _BY_PH = _coefficients()


def dissolution_rate(
    ph: Float[Array, " layer"], temperature: Float[Array, " layer"]
) -> Float[Array, "mineral layer"]:
    """Rate of each of :data:`diffsoil.state.MINERALS` far from equilibrium, mol/m2/s.

    The area is that of the mineral's surface. Laboratory rates: in the field they are one to
    three orders slower.

    Args:
        ph: of the soil solution.
        temperature: degrees C.

    Source: Palandri & Kharaka (2004); see :data:`RATE_LAWS` for what is assumed.
    """
    cold = 1.0 / (temperature + ZERO_CELSIUS) - 1.0 / REFERENCE_TEMPERATURE
    # not one array summed along its mechanisms: XLA does that element by element
    acid, neutral, base = (
        jnp.exp(log_k - activation * cold[None, :] + by_ph * ph[None, :])
        for log_k, activation, by_ph in zip(_LOG_K, _ACTIVATION, _BY_PH, strict=True)
    )
    return acid + neutral + base


QUARTZ_SATURATION = 0.105
"""Dissolved silicon in equilibrium with quartz, mol/m3 (log K -3.98)."""
SILICA_SATURATION = 1.95
"""Dissolved silicon in equilibrium with amorphous silica, mol/m3 (log K -2.71)."""
DRIEST = 0.03
"""m3/m3; a layer holds at least this much water, so that solutes always have a place."""

CA, SI, AL, FE = (ELEMENTS.index(e) for e in ("calcium", "silicon", "aluminium", "iron"))
QUARTZ, MONTMORILLONITE, KAOLINITE, GIBBSITE, GOETHITE = (
    MINERALS.index(m) for m in ("quartz", "montmorillonite", "kaolinite", "gibbsite", "goethite")
)

SILICATES = tuple(m for m in MINERALS if m not in ("gibbsite", "goethite"))
"""Minerals that dissolve by their rate; oxides dissolve as far as they are soluble."""
_SILICATE_ROWS = [MINERALS.index(m) for m in SILICATES]

_AREA = MOLAR_MASS[:, None] * G_PER_KG * np.array([SPECIFIC_SURFACE[s] for s in SIZES])[None, :]
"""m2/mol, [mineral, size]."""
_DISSOLVING = np.isin(MINERALS, SILICATES)
_PER_YEAR = SECONDS_PER_YEAR * (_AREA * _DISSOLVING[:, None])[..., None]


def surface_per_mol(mineral: int) -> Array:
    """Surface of a mineral in each size class, m2/mol."""
    return jnp.asarray(_AREA[mineral])


class Neoformation(NamedTuple):
    """Secondary minerals formed of what weathering releases, mol/m2."""

    montmorillonite: Float[Array, " layer"]
    kaolinite: Float[Array, " layer"]
    gibbsite: Float[Array, " layer"]
    goethite: Float[Array, " layer"]


def neoformation(
    released: Float[Array, "element layer"],
    calcium: Float[Array, " layer"],
    dissolved_silicon: Float[Array, " layer"],
    ph: Float[Array, " layer"],
    silicon_threshold: Float[Array, ""],
    smectite_ph: Float[Array, ""],
) -> Neoformation:
    """Part released Al and Si between smectite, kaolinite and gibbsite; Fe becomes goethite.

    Aluminium hardly moves, so all of it forms something where it is released: smectite in
    base-rich soil with silicon in solution, kaolinite where there is silicon but few bases,
    gibbsite where silicon has been leached.

    Args:
        released: mol/m2, by :data:`diffsoil.state.ELEMENTS`.
        calcium: exchangeable and dissolved Ca, mol/m2; smectite takes at most half of it.
        dissolved_silicon: mol/m3.
        ph: of the soil solution.
        silicon_threshold: dissolved silicon at which kaolinite and gibbsite form alike, mol/m3.
        smectite_ph: pH at which half of the Al with silicon becomes smectite.
    """
    aluminium, silicon = released[AL], released[SI]
    of_smectite = STOICHIOMETRY[MONTMORILLONITE]
    with_silicon = dissolved_silicon / (dissolved_silicon + silicon_threshold)
    basic = jax.nn.sigmoid((ph - smectite_ph) / 0.4)
    limits = jnp.stack(
        [
            aluminium * with_silicon * basic / of_smectite[AL],
            silicon / of_smectite[SI],
            0.5 * calcium / of_smectite[CA],
        ]
    )
    smectite = jnp.min(limits, axis=0)
    aluminium = aluminium - smectite * of_smectite[AL]
    silicon = silicon - smectite * of_smectite[SI]
    kaolinite = 0.5 * jnp.minimum(aluminium * with_silicon, silicon)
    return Neoformation(smectite, kaolinite, aluminium - 2.0 * kaolinite, released[FE])


class NoWeathering(Process):
    """Minerals that stay as they are: stands in for :class:`Weathering`.

    Silicon of rain and litter is in the pore water and not sorbed.
    """

    name: ClassVar[str] = "weathering"
    needs: ClassVar[tuple[str, ...]] = ("water_content", "thickness")
    provides: ClassVar[tuple[str, ...]] = ("silicon_space",)

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        water = jnp.mean(environment["water_content"], axis=0)
        return state, {"silicon_space": jnp.maximum(water, DRIEST) * environment["thickness"]}


class Weathering(Process):
    """Dissolution of primary and clay minerals, release of their elements, and neoformation.

    Gibbsite and goethite dissolve only as far as they are soluble
    (:mod:`diffsoil.processes.oxides`). Of the saturation state only silicon counts: quartz and
    kaolinite stop at their own saturation, all other silicates at that of amorphous silica; the
    factor between laboratory and field covers the rest.
    """

    name: ClassVar[str] = "weathering"
    variables: ClassVar[Mapping[str, Variable]] = {
        "silicon_space": Variable(LAYER, "m", "water that would hold the dissolved and sorbed Si"),
    }
    needs: ClassVar[tuple[str, ...]] = (
        "soil_temperature",
        "water_content",
        "porosity",
        "thickness",
        "mineral_mass",
    )
    provides: ClassVar[tuple[str, ...]] = ("silicon_space",)
    reads: ClassVar[tuple[str, ...]] = ("ground",)

    field_factor: Float[Array, ""] = parameter(
        0.003, unit="1", lower=1e-6, upper=1.0, prior=lognormal(0.003, 1.2),
        source="field rates are one to three orders below laboratory rates (White & Brantley 2003)",
        description="weathering rate in the field over that in the laboratory",
    )  # fmt: skip
    mineral_factor: dict[str, Float[Array, ""]] = parameter(
        1.0, unit="1", lower=0.01, upper=100.0, prior=lognormal(1.0, 1.0),
        source="assumption: laboratory rates and surfaces of a mineral are good to a factor of 3",
        description="factor on the weathering rate of a mineral",
        labels=SILICATES,
    )  # fmt: skip
    silicon_sorption: Float[Array, ""] = parameter(
        0.002, unit="m3 kg-1", lower=0.0, upper=0.1, prior=lognormal(0.002, 1.0),
        source="assumption: monosilicic acid is weakly held by oxides and clay edges",
        description="distribution coefficient of dissolved silicon",
    )  # fmt: skip
    silicon_threshold: Float[Array, ""] = parameter(
        0.0405, unit="mol m-3", lower=0.001, upper=0.5, prior=lognormal(0.0405, 0.5),
        source="kaolinite and gibbsite at equilibrium: constants of phreeqc.dat",
        description="dissolved silicon at which kaolinite and gibbsite form alike",
    )  # fmt: skip
    smectite_ph: Float[Array, ""] = parameter(
        7.0, unit="1", lower=5.5, upper=9.0, prior=normal(7.0, 0.4),
        source="assumption: smectite forms in neutral to alkaline soil",
        description="pH at which half of the Al that meets silicon becomes smectite",
    )  # fmt: skip

    def stand_in(self) -> Process:
        """See :class:`diffsoil.process.Process`."""
        return NoWeathering()

    def allowed(
        self, lost: Float[Array, "mineral size layer"], environment: Environment, years: int
    ) -> Float[Array, "mineral size layer"]:
        """What dissolves in a slow step, of what would by the rates alone, mol/m2: all of it."""
        return lost

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None
        temperature = jnp.mean(environment["soil_temperature"], axis=0)
        water = jnp.mean(environment["water_content"], axis=0)
        mass = environment["mineral_mass"] / MG_PER_KG_M2
        space = jnp.maximum(water, DRIEST) * environment["thickness"] + self.silicon_sorption * mass
        silicon = ground.labile[SI] / space
        wet = jnp.clip(water / environment["porosity"], 0.0, 1.0)
        rate = dissolution_rate(ground.ph, temperature) * (self.field_factor * wet)[None]
        omega = jnp.broadcast_to(silicon / SILICA_SATURATION, rate.shape)
        omega = omega.at[QUARTZ].set(silicon / QUARTZ_SATURATION)
        omega = omega.at[KAOLINITE].set((silicon / self.silicon_threshold) ** 2)
        affinity = jnp.maximum(1.0 - omega, 0.0)
        factors = jnp.stack([self.mineral_factor[mineral] for mineral in SILICATES])
        own = jnp.ones(len(MINERALS)).at[jnp.asarray(_SILICATE_ROWS)].set(factors)
        per_year = (rate * affinity * own[:, None])[:, None, :] * _PER_YEAR
        lost = ground.minerals * -jnp.expm1(-per_year * years)
        lost = self.allowed(lost, environment, years)
        released = jnp.einsum("me,msl->el", STOICHIOMETRY, lost)
        made = neoformation(
            released, 0.5 * ground.labile[CA], silicon, ground.ph,
            self.silicon_threshold, self.smectite_ph,
        )  # fmt: skip
        new = jnp.zeros_like(ground.minerals[:, 0])
        new = new.at[MONTMORILLONITE].set(made.montmorillonite).at[KAOLINITE].set(made.kaolinite)
        new = new.at[GIBBSITE].set(made.gibbsite).at[GOETHITE].set(made.goethite)
        left = (released - jnp.einsum("me,ml->el", STOICHIOMETRY, new))[: len(SOLUTES)]
        solids = jnp.sum(MOLAR_MASS[:, None] * (jnp.sum(lost, axis=1) - new))
        ground = dataclasses.replace(
            ground,
            minerals=(ground.minerals - lost).at[:, 0].add(new),
            labile=ground.labile + left * jnp.asarray(CHARGE)[:, None],
            lost=ground.lost.at[-1].add(solids),
        )
        return eqx.tree_at(lambda s: s.ground, state, ground), {"silicon_space": space}


PRIMARY = ("k_feldspar", "albite", "anorthite", "muscovite", "chlorite", "volcanic_glass")
"""Silicates of rocks, which no soil solution forms anew."""
_OF_ROCK = np.isin(MINERALS, PRIMARY)
_DISSOLVED = np.maximum(STOICHIOMETRY[:, SI] - STOICHIOMETRY[:, AL], 0.0) * _OF_ROCK
"""Silicon in a mol that is left when kaolinite takes all of the aluminium."""


def undersaturation(
    supply: Float[Array, " layer"],
    water: Float[Array, " layer"],
    equilibrium: Float[Array, ""],
) -> Float[Array, " layer"]:
    """How far the water of each layer is from equilibrium, as a factor on dissolution, 0 to 1.

    A rate falls linearly towards equilibrium, and water leaves a layer at the concentration c
    that it comes to there: ``F_i = c_i q_i = F_(i-1) + s_i (1 - c_i / c_eq)``. So water that is
    slow beside the rates is near equilibrium when it leaves, and the layers below hardly dissolve.

    Args:
        supply: s, what would dissolve far from equilibrium, mol/m2, >= 0.
        water: q, that leaves the layer downwards in the same time, m, >= 0.
        equilibrium: c_eq, mol/m3, > 0.

    Source: Maher (2010), in layers.
    """

    def layer(inflow: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
        own, most = x
        factor = safe.divide(jnp.maximum(most - inflow, 0.0), most + own)
        return inflow + own * factor, factor

    return lax.scan(layer, jnp.zeros(()), (supply, equilibrium * water))[1]


class TransportWeathering(Weathering):
    """Weathering in which the silicates of rocks dissolve as far as water carries them away.

    Water comes to equilibrium with them on its way down, so they go from the top, and what lies
    below the front of weathering stays (Maher 2010, Earth and Planetary Science Letters 294,
    101-110). The equilibrium is that of silicon beyond what aluminium binds as kaolinite.

    A part of what makes field rates slow is transport, so ``field_factor`` may be larger here.
    """

    needs: ClassVar[tuple[str, ...]] = (*Weathering.needs, "percolation")

    equilibrium_silicon: Float[Array, ""] = parameter(
        0.375, unit="mol m-3", lower=0.02, upper=2.0, prior=lognormal(0.375, 0.4),
        source="Maher & Chamberlain (2014): 0.375; assumption: 0.2 to 0.6",
        description="dissolved Si at which silicates of rocks are in equilibrium with clay",
    )  # fmt: skip

    def allowed(
        self, lost: Float[Array, "mineral size layer"], environment: Environment, years: int
    ) -> Float[Array, "mineral size layer"]:
        """See :class:`Weathering`."""
        supply = jnp.sum(_DISSOLVED[:, None] * jnp.sum(lost, axis=1), axis=0)
        water = jnp.maximum(jnp.sum(environment["percolation"], axis=0), 0.0) * (years / MM_PER_M)
        factor = undersaturation(supply, water, self.equilibrium_silicon)
        of_rock = jnp.asarray(_OF_ROCK)[:, None, None]
        return lost * jnp.where(of_rock, factor[None, None], 1.0)
