"""Protection of organic carbon by the soil's own minerals, chemistry and structure.

Four mechanisms slow decomposition by a factor between about 0.8 and 1; the strongest one
rules: ``d = min(clay, MOOH, aggregation, pores)``. Source of all: van der Meij & Finke (2026),
Table 1, where the constants are called first guesses to be calibrated.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from diffsoil.numerics import safe
from diffsoil.parameters import UNIFORM, parameter
from diffsoil.process import Environment, Process
from diffsoil.state import State

SOURCE = "van der Meij & Finke (2026), Table 1"
MOOH_MINIMUM = 0.8
"""Most protection that dissolved Al and Fe can give."""

Mechanism = Literal["clay", "mooh", "aggregation", "pores"]
MECHANISMS: tuple[Mechanism, ...] = ("clay", "mooh", "aggregation", "pores")


def clay_modifier(one_to_one_share: Float[Array, "..."], b1: Float[Array, ""]) -> Array:
    """``B1 + (1 - B1) * 1:1 / (1:1 + 2:1)``: 2:1 clay minerals protect.

    Args:
        one_to_one_share: mass share of 1:1 minerals in 1:1 and 2:1 clay minerals, 0 to 1.
        b1: modifier of a soil without 1:1 minerals, 0 to 1.
    """
    return b1 + (1.0 - b1) * one_to_one_share


def mooh_modifier(dissolved_al_fe: Float[Array, "..."], b2: Float[Array, ""]) -> Array:
    """``max(0.8, exp(-B2 (Al + Fe)))``: Al and Fe hydroxides protect.

    Args:
        dissolved_al_fe: dissolved Al3+, Fe3+ and Fe2+, mmol/dm3, >= 0.
        b2: dm3/mmol, >= 0.
    """
    return jnp.maximum(MOOH_MINIMUM, jnp.exp(-b2 * dissolved_al_fe))


def aggregation_modifier(
    base_saturation: Float[Array, "..."],
    calcite: Float[Array, "..."],
    b3a: Float[Array, ""],
    b3b: Float[Array, ""],
) -> Array:
    """``min(1 - B3a BS / 100, 1 - B3b calcite)``: aggregates of a base-rich soil protect.

    Args:
        base_saturation: %, 0 to 100.
        calcite: mass fraction, 0 to 1.
        b3a, b3b: largest protections, 0 to 1.
    """
    return jnp.minimum(1.0 - b3a * base_saturation / 100.0, 1.0 - b3b * calcite)


def pore_modifier(
    mesopores: Float[Array, "..."], micropores: Float[Array, "..."], b4: Float[Array, ""]
) -> Array:
    """``B4 + (1 - B4) * meso / (meso + micro)``: carbon in micropores is out of reach.

    Args:
        mesopores, micropores: volume fractions, >= 0.
        b4: modifier of a soil without mesopores, 0 to 1.
    """
    return b4 + (1.0 - b4) * safe.divide(mesopores, mesopores + micropores, otherwise=1.0)


class HardMinimum(eqx.Module):
    """The strongest mechanism alone counts; the gradient jumps where two change places."""

    def __call__(
        self, modifiers: Float[Array, "mechanism ..."], weights: Array | None = None
    ) -> Array:
        """Minimum along the first axis, whatever the weights."""
        return safe.minimum_hard(modifiers)


class SoftMinimum(eqx.Module):
    """A smooth minimum, below the hard one by at most ``width * log(number of mechanisms)``."""

    width: float = eqx.field(static=True, default=0.01)

    def __call__(
        self, modifiers: Float[Array, "mechanism ..."], weights: Array | None = None
    ) -> Array:
        """Smooth minimum along the first axis.

        Args:
            modifiers: at most 1.
            weights: how much each counts, 0 (as if it were not there) to 1; all count if not
                given. Where none counts the minimum is 1.
        """
        if weights is None:
            return safe.minimum_soft(modifiers, self.width)
        every = jnp.concatenate([modifiers, jnp.ones_like(modifiers[:1])])
        counts = jnp.concatenate([weights, jnp.prod(1.0 - weights)[None]])
        least = lax.stop_gradient(jnp.min(every, axis=0))
        powers = jnp.exp((least[None] - every) / self.width)
        return least - self.width * jnp.log(jnp.tensordot(counts, powers, 1))


class Protection(Process):
    """Rate modifier d of every layer: the minimum of the chosen mechanisms."""

    name: ClassVar[str] = "protection"
    provides: ClassVar[tuple[str, ...]] = (
        *(f"modifier_{mechanism}" for mechanism in MECHANISMS),
        "modifier_overall",
    )

    mechanisms: tuple[Mechanism, ...] = eqx.field(static=True, default=MECHANISMS)
    minimum: HardMinimum | SoftMinimum = HardMinimum()

    b1: Float[Array, ""] = parameter(
        0.8, unit="1", lower=0.4, upper=1.0, prior=UNIFORM, source=SOURCE + ", B1",
        description="modifier of a soil without 1:1 clay minerals",
    )  # fmt: skip
    b2: Float[Array, ""] = parameter(
        5.0, unit="dm3 mmol-1", lower=0.0, upper=20.0, prior=UNIFORM, source=SOURCE + ", B2",
        description="protection by dissolved Al and Fe",
    )  # fmt: skip
    b3a: Float[Array, ""] = parameter(
        0.2, unit="1", lower=0.0, upper=0.6, prior=UNIFORM, source=SOURCE + ", B3a",
        description="protection by aggregation at a base saturation of 100 %",
    )  # fmt: skip
    b3b: Float[Array, ""] = parameter(
        0.2, unit="1", lower=0.0, upper=0.6, prior=UNIFORM, source=SOURCE + ", B3b",
        description="protection by aggregation in pure calcite",
    )  # fmt: skip
    b4: Float[Array, ""] = parameter(
        0.8, unit="1", lower=0.4, upper=1.0, prior=UNIFORM, source=SOURCE + ", B4",
        description="modifier of a soil without mesopores",
    )  # fmt: skip

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        """Only what the chosen mechanisms need."""
        by_mechanism = {
            "clay": ("one_to_one_share",),
            "mooh": ("dissolved_al_fe",),
            "aggregation": ("base_saturation", "calcite_fraction"),
            "pores": ("mesopores", "micropores"),
        }
        return ("clay_percent", *(n for m in self.mechanisms for n in by_mechanism[m]))

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """See :class:`diffsoil.process.Process`."""
        one = jnp.ones_like(environment["clay_percent"])
        modifiers = {f"modifier_{mechanism}": one for mechanism in MECHANISMS}
        active = {f"modifier_{m}": self._modifier(m, environment) for m in self.mechanisms}
        overall = self.minimum(jnp.stack(list(active.values()))) if active else one
        return state, modifiers | active | {"modifier_overall": overall}

    def _modifier(self, mechanism: Mechanism, environment: Environment) -> Array:
        match mechanism:
            case "clay":
                return clay_modifier(environment["one_to_one_share"], self.b1)
            case "mooh":
                return mooh_modifier(environment["dissolved_al_fe"], self.b2)
            case "aggregation":
                return aggregation_modifier(
                    environment["base_saturation"],
                    environment["calcite_fraction"],
                    self.b3a,
                    self.b3b,
                )
            case "pores":
                return pore_modifier(environment["mesopores"], environment["micropores"], self.b4)
