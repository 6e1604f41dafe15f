"""Dissolved organic carbon: it goes down with percolation and is sorbed on its way.

A share of what would be respired is dissolved instead (Currie & Aber 1997; Neff & Asner 2001), the
less the less water leaves its layer. On its way down layers sorb it, and what they sorb becomes
humified carbon; the rest leaves below. All of it within a year: no water holds any at its end.
"""

from __future__ import annotations

from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, parameter
from diffsoil.process import Environment

PERCOLATION = 200.0
"""mm/a; what the length of sorption is stated for, and enough to dissolve 63 % of the most."""
NONE_PASSES = 50.0
"""Lengths of sorption in a layer; more of them would not change a digit."""
DRIEST = 1e-3
"""mm/a; less water than this carries nothing."""


def carried(
    percolation: Float[Array, " layer"],
    thickness: Float[Array, " layer"],
    length: Float[Array, ""],
) -> Float[Array, "place sink"]:
    """Where carbon ends that is dissolved in each place, as shares that sum up to at most 1.

    Sorption takes time, so what is dissolved goes the further the faster water is. What does not
    leave its place is not counted as dissolved.

    Args:
        percolation: leaves the layers downwards, mm/a; the litter layer is like the uppermost one.
        thickness: m.
        length: of sorption (e-folding) where 200 mm/a percolate, m, > 0.

    Returns:
        Shares of what is dissolved at most, by place (the litter layer, then the layers) and where
        it ends: sorbed in the layers, the last one below the column.
    """
    relative = jnp.maximum(percolation, DRIEST) / PERCOLATION
    lengths = jnp.minimum(thickness / (length * relative), NONE_PASSES)
    leaves = -jnp.expm1(-jnp.append(relative[:1], relative))
    # in lengths of sorption: the lower face of each place, and the upper one of each layer
    lower = jnp.append(jnp.zeros(1), jnp.cumsum(lengths))
    way = jnp.maximum(lower[None] - lower[:, None], 0.0)
    below = jnp.triu(jnp.ones((lower.size, lower.size)))
    sorbed = below[:, :-1] * jnp.exp(-way[:, :-1]) * -jnp.expm1(-lengths)[None]
    return leaves[:, None] * jnp.append(sorbed, jnp.exp(-way[:, -1:]), axis=1)


class Dissolved(eqx.Module):
    """What is dissolved, and how far it gets; part of a model of linear pools."""

    needs: ClassVar[tuple[str, ...]] = ("percolation", "thickness")

    dissolved_share: Float[Array, ""] = parameter(
        0.05, unit="1", lower=0.0, upper=0.3, prior=lognormal(0.05, 0.5),
        source="assumption: 0.02 to 0.1; with the length it leaves 2 to 5 g m-2 a-1 below roots, "
        "as Kindler et al. (2011) found in forests, grassland and cropland",
        description="share of what would be respired that much percolation dissolves instead",
    )  # fmt: skip
    sorption_length: Float[Array, ""] = parameter(
        0.5, unit="m", lower=0.05, upper=5.0, prior=lognormal(0.5, 0.5),
        source="assumption: 0.3 to 1, see dissolved_share",
        description="distance over which soil sorbs dissolved carbon at 200 mm/a (e-folding)",
    )  # fmt: skip

    def moved(self, environment: Environment) -> Float[Array, "place sink"]:
        """Share of what would be respired that is dissolved, by place and where it ends.

        See :func:`carried`.
        """
        percolation = jnp.sum(environment["percolation"], axis=0)
        return self.dissolved_share * carried(
            percolation, environment["thickness"], self.sorption_length
        )
