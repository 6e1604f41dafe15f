"""What comes onto the soil: rain with its solutes, dust, lime, fertiliser, ground rock."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import normal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.geometry import overlap
from diffsoil.processes.minerals import CALCITE_MASS, MOLAR_MASS, STOICHIOMETRY
from diffsoil.state import CHARGE, SOLUTES, State


class Additions(Process):
    """Deposition of the years of a slow step, and amendments spread over a depth."""

    name: ClassVar[str] = "additions"
    needs: ClassVar[tuple[str, ...]] = (
        "dust_minerals",
        "dust_calcite",
        "deposited_solutes",
        "added_minerals",
        "added_calcite",
        "added_solutes",
        "added_nitrogen",
        "amendment_depth",
        "thickness",
        "depth_top",
    )
    reads: ClassVar[tuple[str, ...]] = ("ground",)

    acidity: Float[Array, ""] = parameter(
        1.0, unit="1", lower=0.0, upper=2.0, prior=normal(1.0, 0.4),
        source="nitrification frees 2 H+ for each NH4+, and plants take one back with the nitrate "
        "(Helyar & Porter 1989); less of ammonium nitrate, more where nitrate is leached: "
        "the range is an assumption",
        description="acid (mol) that stays in the soil for each mol of ammonium N in fertiliser",
    )  # fmt: skip

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        ground = state.ground
        assert ground is not None
        thickness, depth = environment["thickness"], environment["amendment_depth"]
        inside = overlap(environment["depth_top"], thickness, 0.0, depth) * thickness
        top = jnp.zeros_like(thickness).at[0].set(1.0)
        spread = jnp.where(depth > 0.0, inside / jnp.maximum(jnp.sum(inside), 1e-9), top)
        dust, dust_calcite = (
            environment["dust_minerals"] * years,
            environment["dust_calcite"] * years,
        )
        rain = environment["deposited_solutes"] * years
        minerals, calcite = environment["added_minerals"], environment["added_calcite"]
        # the nitrate or sulphate that stays behind without a base is the acid
        acid = self.acidity * environment["added_nitrogen"]
        solutes = environment["added_solutes"].at[SOLUTES.index("anions")].add(acid)
        all_minerals = jnp.sum(dust + minerals, axis=1)
        all_calcite = dust_calcite + calcite
        elements = all_minerals @ STOICHIOMETRY
        elements = elements.at[: len(SOLUTES)].add((rain + solutes) / jnp.asarray(CHARGE))
        elements = elements.at[0].add(all_calcite)
        solids = jnp.sum(MOLAR_MASS * all_minerals) + CALCITE_MASS * all_calcite
        ground = dataclasses.replace(
            ground,
            minerals=ground.minerals
            + dust[..., None] * top[None, None]
            + minerals[..., None] * spread[None, None],
            calcite=ground.calcite + dust_calcite * top + calcite * spread,
            labile=ground.labile + rain[:, None] * top[None] + solutes[:, None] * spread[None],
            gained=ground.gained + jnp.concatenate([elements, solids[None]]),
        )
        return eqx.tree_at(lambda s: s.ground, state, ground), {}
