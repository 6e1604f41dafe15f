"""The equations of exchange in layers, and a search that solves each by itself.

One unknown per layer, ``g = [H+] / X`` with X the share of exchangeable acidity (H and Al),
rules everything. A Gapon exchanger keeps divalent bases at ``c = 2 (K g X_j)^2`` and monovalent
ones at ``c = K g X_j`` (mol_c/L). A slow step of N years lets its water leave at the *new*
composition, so each base parts between exchanger, pore water and drainage in closed form,
positive and conserved for any g. The charge balance of the solution gives H+; that bases and
acidity fill the exchanger, with X = H+ / g (:func:`acidity_held`), fixes g. Both are monotone.
Where calcite is left, Ca is at calcite saturation instead, and the balance of Ca says how much
calcite dissolved or was precipitated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from diffsoil.state import CATIONS, CHARGE

LITRES = 1000.0
"""Litres in a m3."""
CALCIUM = np.eye(len(CATIONS))[0][:, None]
"""1 for calcium, 0 for the other bases."""
DIVALENT = np.array(CHARGE)[: len(CATIONS), None] > 1.0
"""Which bases have two charges."""
VALENCE = np.where(DIVALENT, 2.0, 1.0)
"""Charges of a base."""
START = -12.0
"""ln of g in mol/L where a search starts that knows nothing: pH 5 or so."""
LOG_G_BOUNDS = (-32.0, 0.0)
"""ln of g in mol/L: from a soda soil with hardly any acidity to pH 0."""
LOG_H_ALIKE = -5.5 * float(np.log(10.0))
"""ln of [H+] in mol/L at which sites of all strengths are as sites that are alike."""
TOLERANCE = 1e-5
"""In ln g; a step of Newton's method leaves the square of it, and one more follows."""
MOST_TURNS = 60
"""Enough to halve the bounds down to the tolerance; a good start takes three."""
ALUMINIUM_HYDROLYSIS = 1.0e-5
"""AlOH2+ per Al3+ at a [H+] of 1 mol/L and 25 C (phreeqc.dat), for any temperature: at 10 C it is
a third, which pH shows by 0.04 at most."""


class Layers(NamedTuple):
    """What there is to know of layers, each by itself."""

    bases: Float[Array, "cation layer"]
    """Labile Ca (calcite not counted), Mg, K, Na before drainage, mol_c/m2."""
    calcite: Float[Array, " layer"]
    """mol/m2."""
    capacity: Float[Array, " layer"]
    """Cation exchange capacity, mol_c/m2, > 0."""
    water: Float[Array, " layer"]
    """Water that shares the composition: drainage of the step and pore water, m."""
    saturation: Float[Array, " layer"]
    """Ca at calcite saturation in a solution of nothing else, mol_c/L."""
    bicarbonate: Float[Array, " layer"]
    """K1 KH pCO2: [HCO3-][H+], mol2/L2."""
    k2: Float[Array, " layer"]
    """[CO3--][H+] / [HCO3-], mol/L."""
    k_water: Float[Array, " layer"]
    """mol2/L2."""
    aluminium: Float[Array, " layer"]
    """[Al3+] / [H+]^3, L2/mol2."""
    anions: Float[Array, " layer"]
    """Anions of strong and organic acids, mol_c/L."""
    acid_exponent: Float[Array, " layer"]
    """Power of [H+] with which the exchanger takes acidity up; 1 where its sites are all alike."""


class Bases(NamedTuple):
    """Where the bases of layers are at a trial g, and how that changes."""

    exchangeable: Float[Array, "cation layer"]
    """mol_c/m2."""
    dissolved: Float[Array, "cation layer"]
    """mol_c/L."""
    saturated: Bool[Array, " layer"]
    """Whether Ca is held at calcite saturation."""
    saturation: Float[Array, " layer"]
    """Ca at calcite saturation, mol_c/L."""
    saturation_by_others: Float[Array, " layer"]
    """Its change with other dissolved bases."""
    dissolved_by_amount: Float[Array, "cation layer"]
    """Change of what is dissolved, with the amount of the base, m2/L; Ca as if without calcite."""
    dissolved_by_g: Float[Array, "cation layer"]
    """The same with ln g, mol_c/L."""


class Acidity(NamedTuple):
    """Charge of a solution besides that of bases, mol_c/L."""

    plus: Float[Array, " layer"]
    """H+ and Al."""
    minus: Float[Array, " layer"]
    """Carbonate, OH-, strong and organic acids."""
    plus_by_h: Float[Array, " layer"]
    """Rise with ln [H+]."""
    minus_by_h: Float[Array, " layer"]
    """Fall with ln [H+]."""


class Composition(NamedTuple):
    """Exchanger and solution of layers at a trial g."""

    exchangeable: Float[Array, "cation layer"]
    """mol_c/m2."""
    dissolved: Float[Array, "cation layer"]
    """mol_c/L."""
    protons: Float[Array, " layer"]
    """mol/L, from the charge balance of the solution."""
    saturated: Bool[Array, " layer"]
    """Whether Ca is held at calcite saturation."""


def bases_at(log_g: Float[Array, " layer"], layers: Layers, k: Float[Array, " cation"]) -> Bases:
    """Bases on the exchanger and in solution.

    Args:
        log_g: trial value of ln g (g in mol/L).
        layers: with all bases that are there.
        k: Gapon coefficients against acidity; g K X is (c/2)^(1/2) for Ca and Mg, c for K and Na.
    """
    litres = LITRES * layers.water[None]
    amount = layers.bases + CALCIUM * (2.0 * layers.calcite)[None]
    # of an amount e is held and c litres dissolved: c is 2 (f e)^2 or f e
    f = k[:, None] * (jnp.exp(log_g) / layers.capacity)[None]
    root = jnp.where(
        DIVALENT, jnp.sqrt(1.0 + 8.0 * litres * f * f * amount), 1.0 + 2.0 * litres * f
    )
    held = 2.0 * amount / (1.0 + root)
    by_held = f * jnp.where(DIVALENT, 2.0 * f * held, 1.0)
    dissolved = by_held * held
    rise = VALENCE / jnp.where(DIVALENT, root, 0.5 * (1.0 + root))
    excess = jnp.sum((1.0 - CALCIUM) * dissolved, axis=0) - layers.anions
    most = saturation_with(excess, layers.saturation)
    saturated = dissolved[0] > most
    at_most = saturated[None] & (CALCIUM > 0)
    return Bases(
        exchangeable=jnp.where(at_most, jnp.sqrt(0.5 * most)[None] / f, held),
        dissolved=jnp.where(at_most, most[None], dissolved),
        saturated=saturated,
        saturation=most,
        saturation_by_others=-2.0 * most / (3.0 * most + excess),
        dissolved_by_amount=by_held * rise,
        dissolved_by_g=dissolved * rise,
    )


def acidity(h: Float[Array, " layer"], layers: Layers) -> Acidity:
    """Charge of a solution besides that of bases, at a [H+] in mol/L."""
    al = layers.aluminium * h * h
    hydrolysed = 2.0 * ALUMINIUM_HYDROLYSIS * al
    single = (layers.bicarbonate + layers.k_water) / h
    double = 2.0 * layers.bicarbonate * layers.k2 / (h * h)
    return Acidity(
        plus=h * (1.0 + 3.0 * al) + hydrolysed,
        minus=single + double + layers.anions,
        plus_by_h=h * (1.0 + 9.0 * al) + 2.0 * hydrolysed,
        minus_by_h=single + 2.0 * double,
    )


def composition(
    log_g: Float[Array, " layer"], layers: Layers, k: Float[Array, " cation"]
) -> Composition:
    """Exchanger and solution at a trial value of ln g; see :func:`bases_at`."""
    found = bases_at(log_g, layers, k)
    h = neutral(jnp.sum(found.dissolved, axis=0), layers)
    return Composition(found.exchangeable, found.dissolved, h, found.saturated)


def saturation_with(excess: Array, pure: Array) -> Array:
    """Ca at calcite saturation in a solution with other ions, mol_c/L.

    With HCO3- balancing the charge, ``c (c + excess)^2`` is a constant; Newton's iteration from
    above converges monotonically.

    Args:
        excess: other bases less the anions of strong and organic acids, mol_c/L.
        pure: saturation without them, mol_c/L, > 0.
    """

    def improved(c: Array, excess: Array, pure: Array) -> Array:
        balance = c + excess
        error = c * balance * balance - pure**3
        return c - error / (balance * (balance + 2.0 * c))

    # of order 1 where the excess is little, and the limits where it is much or much is lacking
    above, below = jnp.maximum(excess / pure, 0.0), jnp.maximum(-excess / pure, 0.0)
    start = pure * (below + lax.rsqrt(1.0 + 0.72 * below)) / (1.0 + above * (2.0 / 3.0 + above))
    return _refined(improved, start, (excess, pure), 3)


def neutral(bases: Array, layers: Layers) -> Array:
    """[H+] at which a solution of given bases (mol_c/L) is neutral, mol/L.

    Starts from the solution without carbonate and aluminium, which is quadratic, or from what
    those two alone would give in alkaline and in very acid soils.
    """
    excess = bases - layers.anions
    weak = layers.bicarbonate + layers.k_water
    root = jnp.sqrt(excess * excess + 4.0 * weak)
    # of the two forms of the root the one that does not cancel
    positive = excess > 0.0
    divisor = jnp.where(positive, excess + root, 1.0)
    h = jnp.where(positive, 2.0 * weak / divisor, 0.5 * (root - excess))
    # with carbonate alone, and with aluminium alone
    size = jnp.abs(excess) + jnp.sqrt(weak)
    alkaline = jnp.sqrt(2.0 * layers.bicarbonate * layers.k2 / size)
    acid = jnp.cbrt(size / (3.0 * layers.aluminium))
    h = jnp.where(positive, jnp.maximum(h, alkaline), jnp.minimum(h, acid))

    def improved(x: Array, bases: Array, layers: Layers) -> Array:
        at = acidity(jnp.exp(x), layers)
        plus = bases + at.plus
        rise = at.plus_by_h / plus + at.minus_by_h / at.minus
        return x - jnp.log(plus / at.minus) / rise

    return jnp.exp(_refined(improved, jnp.log(h), (bases, layers), 4))


def _refined(improve: Callable[..., Array], start: Array, given: tuple, turns: int) -> Array:
    """Newton's iteration; only the last turn is differentiated, which is exact at a solution."""
    fixed = jax.tree.map(lax.stop_gradient, given)
    x = lax.stop_gradient(start)
    for _ in range(turns):
        x = improve(x, *fixed)
    return improve(x, *given)


def acidity_held(log_g: Array, log_h: Array, layers: Layers) -> Array:
    """Share of the exchanger that acidity holds.

    ``H+ / g`` of sites that are all alike. Weak acids of many strengths lose their protons over a
    wider range of pH, which makes [H+] count with a power below one, around pH 5.5.
    """
    return jnp.exp(LOG_H_ALIKE + layers.acid_exponent * (log_h - LOG_H_ALIKE) - log_g)


def filling(log_g: Array, layers: Layers, k: Array) -> Array:
    """Ln of the share of the exchanger that bases and acidity fill; falls with g, 0 if full."""
    found = composition(log_g, layers, k)
    acid = acidity_held(log_g, jnp.log(found.protons), layers)
    return jnp.log(jnp.sum(found.exchangeable, axis=0) / layers.capacity + acid)


def solve(start: Array, layers: Layers, k: Array) -> Array:
    """Ln g at which bases and acidity just fill the exchanger.

    A bracketed Newton search, not to be differentiated; the layers do not know of each other.
    """

    def slope(x: Array) -> tuple[Array, Array]:
        value, rise = jax.jvp(lambda y: filling(y, layers, k), (x,), (jnp.ones_like(x),))
        return value, jnp.minimum(rise, -1e-3)

    def search(carry: tuple[Array, Array, Array, Array, Array]) -> Array:
        _, _, _, step, turn = carry
        return jnp.any(jnp.abs(step) > TOLERANCE) & (turn < MOST_TURNS)

    def improve(
        carry: tuple[Array, Array, Array, Array, Array],
    ) -> tuple[Array, Array, Array, Array, Array]:
        x, low, high, before, turn = carry
        value, rise = slope(x)
        low = jnp.where(value > 0.0, x, low)
        high = jnp.where(value > 0.0, high, x)
        newton = x - value / rise
        # steps that do not shrink jump to and fro across the kink where calcite saturates
        good = (newton >= low) & (newton <= high) & (jnp.abs(newton - x) <= 0.5 * jnp.abs(before))
        new = jnp.where(good, newton, 0.5 * (low + high))
        return new, low, high, new - x, turn + 1

    low, high = (jnp.full_like(start, b) for b in LOG_G_BOUNDS)
    first = (start, low, high, jnp.full_like(start, 64.0), jnp.zeros((), int))
    x, *_ = lax.while_loop(search, improve, first)
    _, rise = slope(x)
    # far from a solution, where the search gave up, a step could go anywhere
    return x - jnp.clip(filling(x, layers, k) / rise, -1.0, 1.0)
