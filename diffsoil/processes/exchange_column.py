"""Exchange of all layers at once, by Newton's method.

Unknowns of a layer are ln g, ln [H+] and what water takes along of each base. A turn of Newton's
method linearises the equations of all layers side by side, and a linear recurrence runs down the
column, for a layer meets what the one above gives. Near the solution each turn squares the error.

Where that comes to no end, as it may where calcite is about to saturate, layers are solved one
after the other by a search between bounds (:func:`diffsoil.processes.exchange_layer.solve`).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

from diffsoil.process import SOLVED
from diffsoil.processes import exchange_layer
from diffsoil.processes.exchange_layer import (
    CALCIUM,
    LITRES,
    LOG_G_BOUNDS,
    Acidity,
    Bases,
    Layers,
    acidity,
    acidity_held,
    bases_at,
    composition,
)
from diffsoil.state import CATIONS

TOLERANCE = 1e-6
"""Largest relative change in the last turn; what is left is about its square."""
STRIDES = (4.0, 0.07)
"""Largest change of a logarithm in the first turn, and in the last one that is made."""
SHORTENING = 0.85
"""Of strides from turn to turn, lest they go to and fro; three or four turns are the rule."""
NOTHING = 1e-15
"""mol_c/m2; less need not be known to any digit."""
ACID = 0.1
"""Share of acidity above which the exchanger tells g better than the solution does."""


class Unknowns(NamedTuple):
    """What is solved for."""

    log_g: Float[Array, " layer"]
    """g in mol/L."""
    log_h: Float[Array, " layer"]
    """[H+] in mol/L."""
    leaves: Float[Array, "cation layer"]
    """What water takes along out of each layer, mol_c/m2."""


class Soil(NamedTuple):
    """What the equations know of the column."""

    layers: Layers
    """With the bases that are there before any flow in."""
    drainage: Float[Array, " layer"]
    """Water that leaves each layer, m."""
    k: Float[Array, " cation"]
    """Gapon coefficients against acidity."""


class Errors(NamedTuple):
    """By how much the equations are missed."""

    filling: Float[Array, " layer"]
    """ln of the share of the exchanger that bases and acidity fill."""
    charge: Float[Array, " layer"]
    """ln of positive over negative charge of the solution."""
    leaves: Float[Array, "cation layer"]
    """What the solution takes along, less the unknown, mol_c/m2."""


class Slopes(NamedTuple):
    """Derivatives of the errors, ln [H+] and then ln g eliminated."""

    charge_by_h: Float[Array, " layer"]
    charge_by_g: Float[Array, " layer"]
    charge_by_inflow: Float[Array, "cation layer"]
    filling_by_charge: Float[Array, " layer"]
    """Where ln [H+] answers to the charge."""
    g_by_filling: Float[Array, " layer"]
    """Where ln g answers to the filling, with [H+]."""
    g_by_inflow: Float[Array, "cation layer"]
    leaves_by_g: Float[Array, "cation layer"]
    leaves_by_inflow: Float[Array, "cation cation layer"]
    """Of each base, by each that flows in; ln g and ln [H+] follow."""


def inflow(leaves: Float[Array, "cation layer"]) -> Float[Array, "cation layer"]:
    """What each layer has from the one above."""
    return jnp.concatenate([jnp.zeros_like(leaves[:, :1]), leaves[:, :-1]], axis=1)


def met(soil: Soil, leaves: Float[Array, "cation layer"]) -> Layers:
    """The layers with what flows in."""
    return soil.layers._replace(bases=soil.layers.bases + inflow(leaves))


def _at(at: Unknowns, soil: Soil) -> tuple[Layers, Bases, Acidity]:
    layers = met(soil, at.leaves)
    return layers, bases_at(at.log_g, layers, soil.k), acidity(jnp.exp(at.log_h), layers)


def errors(at: Unknowns, soil: Soil) -> Errors:
    """By how much trial values miss the equations."""
    layers, bases, acid = _at(at, soil)
    filled = jnp.sum(bases.exchangeable, axis=0) / layers.capacity
    plus = jnp.sum(bases.dissolved, axis=0) + acid.plus
    return Errors(
        filling=jnp.log(filled + acidity_held(at.log_g, at.log_h, layers)),
        charge=jnp.log(plus / acid.minus),
        leaves=LITRES * soil.drainage[None] * bases.dissolved - at.leaves,
    )


def slopes(at: Unknowns, soil: Soil) -> Slopes:
    """How the errors change with the unknowns."""
    layers, bases, acid = _at(at, soil)
    litres, out = LITRES * layers.water, LITRES * soil.drainage
    saturated, others = bases.saturated[None], 1.0 - CALCIUM

    # dissolved bases; at calcite saturation calcium follows the others
    by_amount, by_g = bases.dissolved_by_amount, bases.dissolved_by_g
    falls = bases.saturation_by_others[None] * others
    calcium_by = jnp.where(saturated, falls * by_amount, CALCIUM * by_amount)
    calcium_g = jnp.sum(jnp.where(saturated, falls * by_g, CALCIUM * by_g), axis=0)
    dissolved_g = CALCIUM * calcium_g[None] + others * by_g

    # exchangeable ones, summed: what is not dissolved, but calcium as the root of its solution
    root = (0.5 * bases.exchangeable[0] / bases.saturation)[None]
    held = jnp.where(saturated, root * calcium_by + others, 1.0) - litres[None] * by_amount
    held = jnp.where(saturated & (CALCIUM > 0), 0.0, held)
    own_g = root[0] * calcium_g - bases.exchangeable[0]
    held_g = jnp.where(bases.saturated, own_g, -litres * by_g[0])
    held_g = held_g - litres * jnp.sum(others * by_g, axis=0)

    acidity_share = acidity_held(at.log_g, at.log_h, layers)
    full = jnp.sum(bases.exchangeable, axis=0) + acidity_share * layers.capacity
    plus = jnp.sum(bases.dissolved, axis=0) + acid.plus
    charge_by_h = acid.plus_by_h / plus + acid.minus_by_h / acid.minus
    charge_by_g = jnp.sum(dissolved_g, axis=0) / plus
    charge_by_inflow = (calcium_by + others * by_amount) / plus[None]
    q = layers.acid_exponent * acidity_share * layers.capacity / full / charge_by_h
    g_by_filling = 1.0 / ((acidity_share * layers.capacity - held_g) / full + q * charge_by_g)
    g_by_inflow = g_by_filling[None] * (held / full[None] - q[None] * charge_by_inflow)
    leaves_by_g = out[None] * dissolved_g
    each = np.eye(len(CATIONS))[:, :, None]
    direct = CALCIUM[:, None] * calcium_by[None] + each * (others * by_amount)[None]
    return Slopes(
        charge_by_h=charge_by_h,
        charge_by_g=charge_by_g,
        charge_by_inflow=charge_by_inflow,
        filling_by_charge=q,
        g_by_filling=g_by_filling,
        g_by_inflow=g_by_inflow,
        leaves_by_g=leaves_by_g,
        leaves_by_inflow=out[None, None] * direct + leaves_by_g[:, None] * g_by_inflow[None],
    )


def step(missed: Errors, by: Slopes) -> Unknowns:
    """Changes of the unknowns that make up for errors, as far as slopes tell."""
    alone = by.g_by_filling * (missed.filling - by.filling_by_charge * missed.charge)
    own = missed.leaves + by.leaves_by_g * alone[None]

    def down(above: Array, layer: tuple[Array, Array]) -> tuple[Array, Array]:
        by_inflow, own = layer
        leaves = jnp.sum(by_inflow * above[None], axis=1) + own
        return leaves, leaves

    rows = (jnp.moveaxis(by.leaves_by_inflow, 2, 0), own.T)
    leaves = lax.scan(down, jnp.zeros_like(own[:, 0]), rows)[1].T
    comes = inflow(leaves)
    log_g = alone + jnp.sum(by.g_by_inflow * comes, axis=0)
    charge = missed.charge + by.charge_by_g * log_g + jnp.sum(by.charge_by_inflow * comes, axis=0)
    return Unknowns(log_g, -charge / by.charge_by_h, leaves)


def newton(start: Unknowns, soil: Soil) -> tuple[Unknowns, Bool[Array, ""]]:
    """Newton's method from a start; whether it came to an end with it."""
    longest, shortest = STRIDES

    def search(carry: tuple[Unknowns, Array, Array]) -> Array:
        _, change, stride = carry
        return (change > TOLERANCE) & (stride > shortest)

    def improve(carry: tuple[Unknowns, Array, Array]) -> tuple[Unknowns, Array, Array]:
        at, _, stride = carry
        by = step(errors(at, soil), slopes(at, soil))
        leaves = jnp.maximum(at.leaves + by.leaves, 0.1 * at.leaves)
        shift = jnp.max(jnp.abs(leaves - at.leaves) / (leaves + NOTHING), axis=0)
        change = jnp.maximum(jnp.maximum(jnp.abs(by.log_g), jnp.abs(by.log_h)), shift)
        new = Unknowns(
            at.log_g + jnp.clip(by.log_g, -stride, stride),
            at.log_h + jnp.clip(by.log_h, -stride, stride),
            leaves,
        )
        return new, jnp.max(change), SHORTENING * stride

    first = (start, jnp.asarray(jnp.inf), jnp.asarray(longest))
    found, change, _ = lax.while_loop(search, improve, first)
    return found, change <= TOLERANCE


def one_by_one(needed: Bool[Array, ""], otherwise: Unknowns, soil: Soil) -> Unknowns:
    """Each layer solved by itself, from the top down.

    A loop that makes no turn where it is not needed: in a batch ``lax.cond`` would always act.
    """
    count = otherwise.log_g.size

    def one(carry: tuple[Array, Array, Unknowns]) -> tuple[Array, Array, Unknowns]:
        number, comes, done = carry
        layers, drainage = jax.tree.map(
            lambda x: lax.dynamic_slice_in_dim(x, number, 1, axis=-1), (soil.layers, soil.drainage)
        )
        layers = layers._replace(bases=layers.bases + comes)
        log_g = exchange_layer.solve(jnp.full(1, exchange_layer.START), layers, soil.k)
        found = composition(log_g, layers, soil.k)
        leaves = LITRES * drainage[None] * found.dissolved
        solved = Unknowns(log_g, jnp.log(found.protons), leaves)
        done = jax.tree.map(
            lambda x, new: lax.dynamic_update_slice_in_dim(x, new, number, axis=-1), done, solved
        )
        return number + 1, leaves, done

    first = jnp.where(needed, 0, count)
    comes = jnp.zeros((len(CATIONS), 1))
    return lax.while_loop(lambda carry: carry[0] < count, one, (first, comes, otherwise))[2]


def guess(ph: Float[Array, " layer"], soil: Soil) -> Unknowns:
    """Where to start: the pH that was, and a solution that goes with it and with the bases."""
    layers, k = soil.layers, soil.k
    h = 10.0**-ph
    acid = acidity(h, layers)
    # without acidity to speak of g makes up for the charge: strong g^2 + weak g = charge
    each = k[:, None] * layers.bases / layers.capacity[None]
    strong, weak = 2.0 * (each[0] ** 2 + each[1] ** 2), each[2] + each[3]
    charge = jnp.maximum(acid.minus - acid.plus, 1e-3 * acid.minus)
    basic = weak + jnp.sqrt(weak**2 + 4.0 * strong * charge)
    share = 1.0 - jnp.sum(layers.bases, axis=0) / layers.capacity
    sour = share > ACID
    held = acidity_held(jnp.zeros_like(h), jnp.log(h), layers)
    g = jnp.where(sour, held, 2.0 * charge) / jnp.where(sour, share, basic)
    log_g = jnp.clip(jnp.log(g), *LOG_G_BOUNDS)
    dissolved = bases_at(log_g, layers, k).dissolved
    return Unknowns(log_g, jnp.log(h), LITRES * soil.drainage[None] * dissolved)


@jax.custom_jvp
def solve(start: Unknowns, soil: Soil) -> Unknowns:
    """What fulfils the equations of all layers.

    Derivatives by the soil follow from the implicit function theorem; the start has none.
    """
    found, good = newton(start, soil)
    return one_by_one(~good, found, soil)


@solve.defjvp
def _solve_jvp(
    primals: tuple[Unknowns, Soil], tangents: tuple[Unknowns, Soil]
) -> tuple[Unknowns, Unknowns]:
    start, soil = primals
    at = jax.tree.map(lambda x: checkpoint_name(x, SOLVED), solve(start, soil))
    missed = jax.jvp(lambda given: errors(at, given), (soil,), tangents[1:])[1]
    return at, step(missed, slopes(at, soil))
