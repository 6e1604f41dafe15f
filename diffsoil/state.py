"""What a soil column remembers: carbon, water, radiocarbon, and the ground where it develops."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

INERT = "IOM"
"""Inert organic matter, the last pool of every model of carbon; the others decompose."""

MINERALS = (
    "quartz",
    "k_feldspar",
    "albite",
    "anorthite",
    "muscovite",
    "chlorite",
    "illite",
    "montmorillonite",
    "kaolinite",
    "gibbsite",
    "goethite",
    "volcanic_glass",
)
"""Minerals besides calcite, which is kept apart because it dissolves within a slow step."""

SIZES = ("clay", "silt", "sand")
"""Size classes of the fine earth: < 2, 2-50, 50-2000 um. Calcite counts as silt."""

CATIONS = ("calcium", "magnesium", "potassium", "sodium")
"""Exchangeable bases."""

SOLUTES = (*CATIONS, "silicon", "anions")
"""What moves with water: the bases and the anions of strong acids in mol_c, silicon in mol."""

CHARGE = (2.0, 2.0, 1.0, 1.0, 1.0, 1.0)
"""mol_c in a mol of each solute (for silicon mol in a mol)."""

ELEMENTS = (*SOLUTES, "aluminium", "iron")
"""Elements whose amounts are audited, mol/m2."""

BUDGET = (*ELEMENTS, "solids")
"""What is audited in the ground: elements in mol/m2, solids in kg/m2."""


class Ground(eqx.Module):
    """The mineral soil of one column. Amounts are per m2 of soil surface."""

    minerals: Float[Array, "mineral size layer"]
    """Minerals by size class, mol/m2."""
    calcite: Float[Array, " layer"]
    """Calcite, mol/m2."""
    labile: Float[Array, "solute layer"]
    """Exchangeable and dissolved bases and dissolved anions, mol_c/m2; silicon, mol/m2."""
    ph: Float[Array, " layer"]
    """pH of the soil solution in the last slow step."""
    respiration: Float[Array, " layer"]
    """CO2 from the decomposition of organic carbon in the last year, Mg C/ha/a."""
    gained: Float[Array, " budget"]
    """What has entered since the start, by :data:`BUDGET`."""
    lost: Float[Array, " budget"]
    """What has left since the start, by :data:`BUDGET`."""


class State(eqx.Module):
    """Prognostic state of one column. Amounts are per hectare of soil surface."""

    carbon: Float[Array, "pool layer"]
    """Organic carbon by pool and layer, Mg C/ha."""
    litter: Float[Array, " active"]
    """Organic carbon of the litter layer by pool, without inert one, Mg C/ha."""
    water: Float[Array, " layer"]
    """Water in each layer, mm."""
    radiocarbon: Float[Array, "pool layer"] | None
    """Carbon times its 14C activity (1 = modern), Mg C/ha; None when 14C is not followed."""
    litter_radiocarbon: Float[Array, " active"] | None
    """The same for the litter layer."""
    added: Float[Array, ""]
    """Organic carbon that has entered since the start, Mg C/ha."""
    respired: Float[Array, ""]
    """Carbon that has left as CO2 since the start, Mg C/ha."""
    eroded: Float[Array, ""]
    """Organic carbon carried away by erosion, less that of material from below, Mg C/ha."""
    leached: Float[Array, ""]
    """Dissolved organic carbon that has left below since the start, Mg C/ha."""
    ground: Ground | None
    """The mineral soil; None when the case prescribes it."""

    def stock(self) -> Float[Array, ""]:
        """All organic carbon of the column and its litter layer, Mg C/ha."""
        return jnp.sum(self.carbon) + jnp.sum(self.litter)


ORGANIC = ("carbon", "litter", "radiocarbon", "litter_radiocarbon")
"""Fields of the state that what moves organic matter moves together."""


def empty_state(
    layers: int,
    iom: Float[Array, " layer"],
    radiocarbon: bool = False,
    ground: Ground | None = None,
    active: int = 4,
) -> State:
    """A column of parent material: dry, and with no organic carbon but inert one.

    Args:
        layers: number of layers.
        iom: inert organic carbon by layer, Mg C/ha; it carries no 14C.
        radiocarbon: follow 14C.
        ground: the mineral soil, when it is to develop.
        active: number of pools that decompose, 4 in RothC.
    """
    carbon = jnp.zeros((active + 1, layers)).at[-1].set(iom)
    litter = jnp.zeros(active)
    return State(
        carbon=carbon,
        litter=litter,
        water=jnp.zeros(layers),
        radiocarbon=jnp.zeros_like(carbon) if radiocarbon else None,
        litter_radiocarbon=jnp.zeros_like(litter) if radiocarbon else None,
        added=jnp.zeros(()),
        respired=jnp.zeros(()),
        eroded=jnp.zeros(()),
        leached=jnp.zeros(()),
        ground=ground,
    )
