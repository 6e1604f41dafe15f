"""What the exchanger and the solution of a layer have in common, and the layer's own solver.

One unknown per layer, ``g = [H+] / X`` with X the share of exchangeable acidity (H and Al),
rules everything. A Gapon exchanger keeps divalent bases at ``c = 2 (K g X_j)^2`` and monovalent
ones at ``c = K g X_j`` (mol_c/L). A slow step of N years lets its water leave at the *new*
composition, so each base parts between exchanger, pore water and drainage in closed form,
positive and conserved for any g. The charge balance of the solution gives H+; that bases and
acidity fill the exchanger, with X = H+ / g, fixes g. Both are monotone. Where calcite is left,
Ca is at calcite saturation instead, and the balance of Ca says how much calcite dissolved or
was precipitated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array

LITRES = 1000.0
"""Litres in a m3."""
LOG_G_BOUNDS = (-32.0, 0.0)
"""ln of g in mol/L: from a soda soil with hardly any acidity to pH 0."""
TOLERANCE = 1e-5
"""In ln g; a step of Newton's method leaves the square of it, and one more follows."""
MOST_TURNS = 60
"""Enough to halve the bounds down to the tolerance; a good start takes three."""
ALUMINIUM_HYDROLYSIS = 1.0e-5
"""AlOH2+ per Al3+ at a [H+] of 1 mol/L (phreeqc.dat)."""


class Layer(NamedTuple):
    """What the solver needs to know of a layer."""

    bases: tuple[Array, Array, Array, Array]
    """Labile Ca (calcite not counted), Mg, K, Na before drainage, mol_c/m2."""
    calcite: Array
    """mol/m2."""
    capacity: Array
    """Cation exchange capacity, mol_c/m2, > 0."""
    water: Array
    """Water that shares the composition: drainage of the step and pore water, m."""
    saturation: Array
    """Ca at calcite saturation in a solution of nothing else, mol_c/L."""
    bicarbonate: Array
    """K1 KH pCO2: [HCO3-][H+], mol2/L2."""
    k2: Array
    """[CO3--][H+] / [HCO3-], mol/L."""
    k_water: Array
    """mol2/L2."""
    aluminium: Array
    """[Al3+] / [H+]^3, L2/mol2."""
    anions: Array
    """Anions of strong and organic acids, mol_c/L."""


class Composition(NamedTuple):
    """Exchanger and solution of a layer at a trial g."""

    exchangeable: tuple[Array, Array, Array, Array]
    """mol_c/m2."""
    dissolved: tuple[Array, Array, Array, Array]
    """mol_c/L."""
    protons: Array
    """mol/L, from the charge balance of the solution."""
    saturated: Array
    """Whether Ca is held at calcite saturation."""


class Selectivity(NamedTuple):
    """Gapon coefficients against acidity; g K X is (c/2)^(1/2) for Ca and Mg, c for K and Na."""

    calcium: Array
    magnesium: Array
    potassium: Array
    sodium: Array


def composition(log_g: Array, layer: Layer, k: Selectivity) -> Composition:
    """Exchanger and solution at a trial value of ln g (g in mol/L)."""
    per_capacity = jnp.exp(log_g) / layer.capacity

    def divalent(amount: Array, selectivity: Array) -> tuple[Array, Array]:
        factor = selectivity * per_capacity
        # water (m) holds 1000 mol_c/m2 for each mol_c/L
        b = 2.0 * LITRES * layer.water * factor**2
        held = 2.0 * amount / (1.0 + jnp.sqrt(1.0 + 4.0 * b * amount))
        return held, 2.0 * (factor * held) ** 2

    def monovalent(amount: Array, selectivity: Array) -> tuple[Array, Array]:
        factor = selectivity * per_capacity
        held = amount / (1.0 + LITRES * layer.water * factor)
        return held, factor * held

    calcium, magnesium, potassium, sodium = layer.bases
    e_mg, c_mg = divalent(magnesium, k.magnesium)
    e_k, c_k = monovalent(potassium, k.potassium)
    e_na, c_na = monovalent(sodium, k.sodium)
    others = c_mg + c_k + c_na
    most = saturation_with(others - layer.anions, layer.saturation)
    e_ca, c_ca = divalent(calcium + 2.0 * layer.calcite, k.calcium)
    saturated = c_ca > most
    c_ca = jnp.where(saturated, most, c_ca)
    e_ca = jnp.where(saturated, jnp.sqrt(0.5 * most) / (k.calcium * per_capacity), e_ca)
    h = neutral(c_ca + others, layer)
    return Composition((e_ca, e_mg, e_k, e_na), (c_ca, c_mg, c_k, c_na), h, saturated)


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

    lacking = jnp.maximum(-excess, 0.0)
    c = lacking + pure * jnp.sqrt(pure / jnp.maximum(lacking, pure))
    return _refined(improved, c, (excess, pure), 4)


def neutral(bases: Array, layer: Layer) -> Array:
    """[H+] at which a solution of given bases (mol_c/L) is neutral, mol/L.

    Starts from the solution without carbonate and aluminium, which is quadratic, or from what
    those two alone would give in alkaline and in very acid soils.
    """
    excess = bases - layer.anions
    weak = layer.bicarbonate + layer.k_water
    root = jnp.sqrt(excess * excess + 4.0 * weak)
    # of the two forms of the root the one that does not cancel
    positive = excess > 0.0
    divisor = jnp.where(positive, excess + root, 1.0)
    h = jnp.where(positive, 2.0 * weak / divisor, 0.5 * (root - excess))
    # with carbonate alone, and with aluminium alone
    size = jnp.abs(excess) + jnp.sqrt(weak)
    alkaline = jnp.sqrt(2.0 * layer.bicarbonate * layer.k2 / size)
    acid = jnp.cbrt(size / (3.0 * layer.aluminium))
    h = jnp.where(positive, jnp.maximum(h, alkaline), jnp.minimum(h, acid))

    def improved(x: Array, bases: Array, layer: Layer) -> Array:
        h = jnp.exp(x)
        al = layer.aluminium * h * h
        hydrolysed = 2.0 * ALUMINIUM_HYDROLYSIS * al
        plus = bases + h * (1.0 + 3.0 * al) + hydrolysed
        d_plus = h * (1.0 + 9.0 * al) + 2.0 * hydrolysed
        single = (layer.bicarbonate + layer.k_water) / h
        double = 2.0 * layer.bicarbonate * layer.k2 / (h * h)
        minus = single + double + layer.anions
        rise = d_plus / plus + (single + 2.0 * double) / minus
        return x - jnp.log(plus / minus) / rise

    return jnp.exp(_refined(improved, jnp.log(h), (bases, layer), 4))


def _refined(improve: Callable[..., Array], start: Array, given: tuple, turns: int) -> Array:
    """Newton's iteration; only the last turn is differentiated, which is exact at a solution."""
    fixed = jax.tree.map(lax.stop_gradient, given)
    x = lax.stop_gradient(start)
    for _ in range(turns):
        x = improve(x, *fixed)
    return improve(x, *given)


def filling(log_g: Array, layer: Layer, k: Selectivity) -> Array:
    """Ln of the share of the exchanger that bases and acidity fill; falls with g, 0 if full."""
    found = composition(log_g, layer, k)
    acidity = found.protons * jnp.exp(-log_g)
    return jnp.log(sum(found.exchangeable) / layer.capacity + acidity)


def solve(start: Array, layer: Layer, k: Selectivity) -> Array:
    """Ln g at which bases and acidity just fill the exchanger.

    A bracketed Newton search; the derivative follows from one more step at its end, in which
    alone anything is differentiated (the implicit function theorem).
    """
    fixed, constants = jax.tree.map(lax.stop_gradient, (layer, k))

    def slope(x: Array) -> tuple[Array, Array]:
        value, rise = jax.jvp(lambda y: filling(y, fixed, constants), (x,), (jnp.ones_like(x),))
        return value, jnp.minimum(rise, -1e-3)

    def search(carry: tuple[Array, Array, Array, Array, Array]) -> Array:
        _, _, _, step, turn = carry
        return (jnp.abs(step) > TOLERANCE) & (turn < MOST_TURNS)

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
    first = (lax.stop_gradient(start), low, high, jnp.full_like(start, 64.0), jnp.zeros((), int))
    x, *_ = lax.while_loop(search, improve, first)
    _, rise = slope(x)
    # far from a solution, where the search gave up, a step could go anywhere
    return x - jnp.clip(filling(x, layer, k) / rise, -1.0, 1.0)
