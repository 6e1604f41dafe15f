"""Mixing by soil fauna as a diffusion that fades with depth."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.numerics import tridiagonal
from diffsoil.parameters import lognormal, parameter
from diffsoil.process import Environment, Process
from diffsoil.processes.mixing import litter_incorporation, with_litter_worked_in
from diffsoil.state import ORGANIC, State
from diffsoil.units import CM_PER_M
from diffsoil.variables import LAYER, Variable


def exchanged(
    depth_top: Float[Array, " layer"],
    thickness: Float[Array, " layer"],
    mass: Float[Array, " layer"],
    diffusivity: Float[Array, ""],
    depth: Float[Array, ""],
) -> Float[Array, " layer"]:
    """Soil that a layer and the one below exchange in a year, Mg/ha; 0 for the last one.

    Args:
        depth_top, thickness: of the layers, m.
        mass: of their soil, Mg/ha.
        diffusivity: at the surface, m2/a.
        depth: in which it falls to 1/e, m.
    """
    at_face = diffusivity * jnp.exp(-depth_top[1:] / depth)
    both = thickness[:-1] + thickness[1:]
    density = (mass[:-1] + mass[1:]) / both
    return jnp.append(at_face * density / (0.5 * both), 0.0)


def diffused(
    amount: Float[Array, "what layer"],
    mass: Float[Array, " layer"],
    exchange: Float[Array, " layer"],
    years: float,
) -> Float[Array, "what layer"]:
    """What layers hold after they have exchanged soil with their neighbours (backward Euler).

    Every amount is conserved, contents stay between the smallest and the largest, whatever the
    length of the step.

    Args:
        amount: in the layers.
        mass: of their soil; what is uniform by mass stays so.
        exchange: mass that a layer and the one below exchange in a year.
        years: length of the step.
    """
    below = years * exchange
    above = jnp.concatenate([jnp.zeros(1), below[:-1]])
    content = tridiagonal.solve(-above, mass + above + below, -below, amount.T).T
    return mass[None] * content


class FaunaDiffusion(Process):
    """Mixing by soil fauna between neighbouring layers, and incorporation of the litter layer.

    Carbon and minerals are mixed alike (Braakhekke et al. 2013; Jagercikova et al. 2015).
    """

    name: ClassVar[str] = "fauna"
    variables: ClassVar[Mapping[str, Variable]] = {
        "fauna_exchange": Variable(
            LAYER, "Mg ha-1 a-1", "soil that fauna exchanges with the layer below"
        ),
    }
    needs: ClassVar[tuple[str, ...]] = ("thickness", "depth_top", "soil_mass")
    provides: ClassVar[tuple[str, ...]] = ("fauna_exchange",)
    yearly_needs: ClassVar[tuple[str, ...]] = ("fauna_exchange", "soil_mass", "surface_share")
    reads: ClassVar[tuple[str, ...]] = ("ground",)
    changes: ClassVar[tuple[str, ...]] = ORGANIC

    diffusivity: Float[Array, ""] = parameter(
        1.0, unit="cm2 a-1", lower=0.0, upper=30.0, prior=lognormal(1.0, 0.7),
        source="Braakhekke et al. (2013), Jagercikova et al. (2015): about 1, with a spread of "
        "an order of magnitude",
        description="diffusivity of soil at the surface by the burrowing of fauna",
    )  # fmt: skip
    fading_depth: Float[Array, ""] = parameter(
        0.3, unit="m", lower=0.03, upper=3.0, prior=lognormal(0.3, 0.4),
        source="Jagercikova et al. (2015): some 0.3",
        description="depth in which the diffusivity falls to 1/e",
    )  # fmt: skip
    litter_incorporation: Float[Array, ""] = litter_incorporation()

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        mass = environment["soil_mass"]
        exchange = exchanged(
            environment["depth_top"],
            environment["thickness"],
            mass,
            self.diffusivity / CM_PER_M**2,
            self.fading_depth,
        )
        if state.ground is not None:
            ground = state.ground
            minerals, layers = ground.minerals, mass.size
            sizes = minerals.reshape(-1, layers)
            every = jnp.concatenate([sizes, ground.calcite[None], ground.labile])
            every = diffused(every, mass, exchange, years)
            count = len(sizes)
            ground = dataclasses.replace(
                ground,
                minerals=every[:count].reshape(minerals.shape),
                calcite=every[count],
                labile=every[count + 1 :],
            )
            state = dataclasses.replace(state, ground=ground)
        return state, {"fauna_exchange": exchange}

    def year(self, state: State, environment: Environment) -> State:
        """See :class:`diffsoil.process.Process`."""

        def mixed(carbon: Array) -> Array:
            return diffused(carbon, environment["soil_mass"], environment["fauna_exchange"], 1.0)

        into = environment["surface_share"]
        state = with_litter_worked_in(state, into, self.litter_incorporation)
        state = dataclasses.replace(state, carbon=mixed(state.carbon))
        if state.radiocarbon is None:
            return state
        return dataclasses.replace(state, radiocarbon=mixed(state.radiocarbon))
