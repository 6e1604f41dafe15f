"""Clay migration: fine particles are loosened, carried down with water, and filtered out.

Clay moves only where it is dispersed: calcite, a high electrolyte concentration and dissolved
aluminium flocculate it. What a layer gives up in a slow step travels down and is filtered out
exponentially with distance; what does not settle within the column leaves it.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.minerals import MOLAR_MASS, STOICHIOMETRY
from diffsoil.state import State

PH_SHARPNESS = 4.0
"""1/pH; the gate opens and shuts within about half a unit."""


REFERENCE_CLAY, REFERENCE_THICKNESS = 20.0, 0.05
"""% and m; clay content and thickness of the layer that the concentration is stated for."""


def dispersion(
    ph: Float[Array, " layer"],
    calcite_fraction: Float[Array, " layer"],
    dissolved_bases: Float[Array, " layer"],
    ph_low: Float[Array, ""],
    ph_high: Float[Array, ""],
    threshold: Float[Array, ""],
) -> Float[Array, " layer"]:
    """Share of the clay that can be dispersed, 0 to 1.

    Args:
        ph: of the soil solution.
        calcite_fraction: mass fraction of calcite; 0.1 % halves dispersion.
        dissolved_bases: mol_c/m3; dispersion falls by half at the threshold.
        ph_low, ph_high: limits of the pH at which clay migrates.
        threshold: electrolyte concentration that flocculates, mol_c/m3, > 0.
    """
    acid = jax.nn.sigmoid(PH_SHARPNESS * (ph - ph_low))
    basic = jax.nn.sigmoid(PH_SHARPNESS * (ph_high - ph))
    free_of_lime = 1.0 / (1.0 + 1000.0 * calcite_fraction)
    dilute = 1.0 / (1.0 + (dissolved_bases / threshold) ** 2)
    return acid * basic * free_of_lime * dilute


def settling(
    leaves: Float[Array, "kind layer"],
    thickness: Float[Array, " layer"],
    length: Float[Array, ""],
) -> tuple[Float[Array, "kind layer"], Float[Array, " kind"]]:
    """Where particles that leave layers at their lower faces settle.

    A layer keeps ``1 - exp(-thickness / length)`` of what comes from above.

    Args:
        leaves: what each layer gives up, by kind of particle, in any unit.
        thickness: m.
        length: e-folding distance of the filter, m, > 0.

    Returns:
        What settles in each layer, and what leaves the column; together what the layers give up.
    """
    # a scan over layers, for its derivatives are ten times cheaper than those of the matrix
    passed = jnp.exp(-thickness / length)
    kept = -jnp.expm1(-thickness / length)

    def layer(inflow: Array, x: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        share, rest, own = x
        return inflow * rest + own, inflow * share

    through, arrives = lax.scan(layer, jnp.zeros(len(leaves)), (kept, passed, leaves.T))
    return arrives.T, through


class Migration(Process):
    """Downward migration of everything of clay size."""

    name: ClassVar[str] = "migration"
    needs: ClassVar[tuple[str, ...]] = (
        "ph",
        "calcite_fraction",
        "dissolved_bases",
        "drainage",
        "thickness",
        "depth_top",
        "bulk_density",
    )
    reads: ClassVar[tuple[str, ...]] = ("ground",)

    concentration: Float[Array, ""] = parameter(
        0.003, unit="kg m-3", lower=0.0, upper=0.5, prior=lognormal(0.003, 0.8),
        source="assumption: an argillic horizon takes some thousand years at 200 mm/a",
        description="clay that water loosens from 5 cm of dispersed soil with 20 % clay",
    )  # fmt: skip
    filter_length: Float[Array, ""] = parameter(
        0.3, unit="m", lower=0.02, upper=2.0, prior=lognormal(0.3, 0.4),
        source="assumption: 0.2 to 0.5 m, from the depth of argillic horizons",
        description="distance over which the soil filters clay out (e-folding)",
    )  # fmt: skip
    decline: Float[Array, ""] = parameter(
        0.25, unit="m", lower=0.05, upper=3.0, prior=lognormal(0.25, 0.4),
        source="assumption: rain splash and fast flow loosen clay near the surface",
        description="depth over which water loosens less clay (e-folding)",
    )  # fmt: skip
    ph_low: Float[Array, ""] = parameter(
        4.6, unit="1", lower=3.5, upper=6.0, prior=normal(4.6, 0.3),
        source="assumption: below, dissolved Al flocculates (lessivage ends near pH 5)",
        description="pH below which clay is flocculated",
    )  # fmt: skip
    ph_high: Float[Array, ""] = parameter(
        7.0, unit="1", lower=6.0, upper=9.0, prior=normal(7.0, 0.3),
        source="assumption: lessivage begins near pH 6.5 to 7, after decalcification",
        description="pH above which clay is flocculated",
    )  # fmt: skip
    threshold: Float[Array, ""] = parameter(
        1.5, unit="mol m-3", lower=0.2, upper=20.0, prior=lognormal(1.5, 0.4),
        source="assumption: critical flocculation concentration of Ca-clays, 1 to 3 mol_c/m3",
        description="bases in solution (mol_c) that flocculate clay",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None
        fine = ground.minerals[:, 0]
        thickness = environment["thickness"]
        gate = dispersion(
            environment["ph"], environment["calcite_fraction"], environment["dissolved_bases"],
            self.ph_low, self.ph_high, self.threshold,
        )  # fmt: skip
        depth = environment["depth_top"] + 0.5 * thickness
        # the load follows the clay content, so its share of the clay does not
        load = self.concentration * gate * jnp.exp(-depth / self.decline) * environment["drainage"]
        of_reference = 0.01 * REFERENCE_CLAY * 1000.0 * environment["bulk_density"]
        share = -jnp.expm1(-load / (of_reference * REFERENCE_THICKNESS))
        leaves = fine * share[None]
        arrives, gone = settling(leaves, thickness, self.filter_length)
        lost = jnp.concatenate([gone @ STOICHIOMETRY, jnp.sum(MOLAR_MASS * gone)[None]])
        ground = dataclasses.replace(
            ground,
            minerals=ground.minerals.at[:, 0].set(fine - leaves + arrives),
            lost=ground.lost + lost,
        )
        return eqx.tree_at(lambda s: s.ground, state, ground), {}
