"""Exchange of all layers at once, beside layers that are solved one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffsoil.processes import exchange_column as column
from diffsoil.processes import exchange_layer
from diffsoil.processes.carbonate import (
    calcite_saturation,
    log_k1,
    log_k2,
    log_k_henry,
    log_k_water,
)
from diffsoil.processes.exchange import Exchange
from diffsoil.processes.exchange_column import Soil, Unknowns
from diffsoil.processes.exchange_layer import CALCIUM, Layers
from diffsoil.processes.oxides import GIBBSITE, log_solubility

LAYERS, EACH = 12, 25
KINDS = ("acid", "calcareous", "saline", "no bases", "no drainage", "front", "any", "weak acids")


def random_soil(kind: str, rng: np.random.Generator) -> tuple[Soil, np.ndarray]:
    """A column of a kind, and the pH that it may have had before."""
    shares = {"acid": (0.0, 0.4), "no bases": (0.0, 0.0)}
    filled = shares.get(kind, (0.0, 1.0) if kind in ("any", "weak acids") else (0.8, 1.1))
    lime = {"calcareous": 1.0, "front": 1.0, "saline": 0.5, "any": 0.4}.get(kind, 0.0)
    there = rng.random(LAYERS) < lime
    if kind == "front":
        there &= np.arange(LAYERS) >= rng.integers(2, LAYERS)
    drainage = 10 ** rng.uniform(-1, 1, LAYERS)
    if kind in ("no drainage", "any"):
        drainage *= np.arange(LAYERS) < rng.integers(0, LAYERS)
    temperature = jnp.asarray(rng.uniform(-5, 25) * np.ones(LAYERS))
    pco2 = jnp.asarray(10 ** rng.uniform(-3.4, -1.5, LAYERS))
    capacity = rng.uniform(2.0, 20.0, LAYERS)
    shares = rng.dirichlet([2, 2, 1, 8] if kind == "saline" else [8, 2, 0.5, 0.3], LAYERS).T
    strong = (-2.5, -1.0) if kind == "saline" else (-6.0, -3.0)
    layers = Layers(
        bases=jnp.asarray(shares * rng.uniform(*filled, LAYERS) * capacity),
        calcite=jnp.asarray(np.where(there, 10 ** rng.uniform(-3, 2, LAYERS), 0.0)),
        capacity=jnp.asarray(capacity),
        water=jnp.asarray(drainage + rng.uniform(0.005, 0.03, LAYERS)),
        saturation=2e-3 * calcite_saturation(temperature, pco2),
        bicarbonate=10 ** (log_k1(temperature) + log_k_henry(temperature) + jnp.log10(pco2)),
        k2=10 ** log_k2(temperature),
        k_water=10 ** log_k_water(temperature),
        aluminium=10 ** log_solubility(GIBBSITE, temperature),
        anions=jnp.asarray(10 ** rng.uniform(*strong, LAYERS)),
        acid_exponent=jnp.full(LAYERS, 0.6 if kind == "weak acids" else 1.0),
    )
    ph = np.where(there, 7.8, 5.0) + rng.uniform(-1, 1, LAYERS)
    return Soil(layers, jnp.asarray(drainage), Exchange().selectivity()), ph


@jax.jit
@jax.vmap
def both(soil, ph):
    start = column.guess(ph, soil)
    found, good = column.newton(start, soil)
    return found, good, column.one_by_one(jnp.asarray(True), start, soil), start


@jax.jit
@jax.vmap
def solved(start, soil):
    return column.solve(start, soil)


@pytest.fixture(scope="module")
def soils():
    """Soils of all kinds one after the other, solved in both ways."""
    rng = np.random.default_rng(3)
    made = [random_soil(kind, rng) for kind in KINDS for _ in range(EACH)]
    soil, ph = jax.tree.map(lambda *x: jnp.stack(x), *made)
    return soil, *both(soil, ph)


def assert_equal_solutions(one: Unknowns, other: Unknowns) -> None:
    np.testing.assert_allclose(one.log_g, other.log_g, atol=1e-8)
    np.testing.assert_allclose(one.log_h, other.log_h, atol=1e-8)
    np.testing.assert_allclose(one.leaves, other.leaves, rtol=1e-8, atol=1e-14)


def of_kind(tree, kind: str):
    first = KINDS.index(kind) * EACH
    return jax.tree.map(lambda x: x[first : first + EACH], tree)


@pytest.mark.parametrize("kind", KINDS)
def test_all_layers_at_once_are_the_layers_one_by_one(kind, soils):
    _, found, good, expected, _ = of_kind(soils, kind)
    assert np.asarray(good).mean() > 0.8  # from a pH that may be far off
    assert_equal_solutions(*(jax.tree.map(lambda x: x[good], u) for u in (found, expected)))


def test_layers_are_solved_one_by_one_where_newton_fails_and_only_there(soils):
    soil, found, good, expected, start = soils
    lost = (np.arange(len(good)) % 3 == 0) & np.asarray(good)
    nowhere = start._replace(log_g=jnp.where(lost[:, None], jnp.nan, start.log_g))
    result = solved(nowhere, soil)
    by_itself = lost | ~np.asarray(good)
    for kept, all_of in ((by_itself, expected), (~by_itself, found)):
        pairs = zip(jax.tree.leaves(result), jax.tree.leaves(all_of), strict=True)
        for one, other in pairs:
            np.testing.assert_allclose(one[kept], other[kept], rtol=1e-12)


@jax.jit
def derivatives(start, soil, change, weights):
    """Of a weighted sum of all that is solved for: differences, forward and reverse."""

    def weighted(soil):
        found = column.solve(start, soil)
        return sum(jnp.sum(w * x) for w, x in zip(weights, found, strict=True))

    def moved(share):
        return weighted(jax.tree.map(lambda x, d: x + share * d, soil, change))

    h = 1e-4
    near, far = (moved(d) - moved(-d) for d in (h, 2 * h))
    reverse = jax.grad(weighted)(soil)
    along = sum(
        jnp.sum(g * d) for g, d in zip(*map(jax.tree.leaves, (reverse, change)), strict=True)
    )
    forward = jax.jvp(moved, (jnp.zeros(()),), (jnp.ones(()),))[1]
    return (8 * near - far) / (12 * h), forward, along


@pytest.mark.parametrize("kind", KINDS)
def test_derivatives_are_those_of_finite_differences(kind, soils):
    soil, _, _, expected, _ = jax.tree.map(lambda x: x[5], of_kind(soils, kind))
    rng = np.random.default_rng(4)
    change = jax.tree.map(lambda x: x * rng.uniform(-1, 1, x.shape), soil)
    weights = [rng.uniform(0.5, 1.5, x.shape) for x in expected]
    differences, forward, reverse = derivatives(expected, soil, change, weights)
    assert float(reverse) == pytest.approx(float(forward), rel=1e-10)
    assert float(differences) == pytest.approx(float(forward), rel=1e-6)


def test_a_start_has_no_influence_on_derivatives(soils):
    soil, *_, start = jax.tree.map(lambda x: x[5], of_kind(soils, "front"))
    by_start = jax.jit(jax.grad(lambda start: jnp.sum(column.solve(start, soil).log_h)))(start)
    assert not any(np.asarray(x).any() for x in by_start)


def test_weak_acids_of_many_strengths_spread_the_range_of_ph():
    soil, _ = random_soil("acid", np.random.default_rng(1))
    layers = jax.tree.map(lambda x: jnp.broadcast_to(x[..., :1], x.shape), soil.layers)
    share = np.linspace(0.1, 0.95, LAYERS)
    calcium = CALCIUM * (share * layers.capacity)[None]

    def ph(exponent: float) -> np.ndarray:
        own = layers._replace(bases=calcium, acid_exponent=jnp.full(LAYERS, exponent))
        log_g = exchange_layer.solve(jnp.full(LAYERS, exchange_layer.START), own, soil.k)
        return -np.log10(exchange_layer.composition(log_g, own, soil.k).protons)

    alike, many = ph(1.0), ph(0.6)
    assert np.ptp(many) > 1.2 * np.ptp(alike)
    # coefficients mean the same at pH 5.5
    assert np.interp(5.5, many, share) == pytest.approx(np.interp(5.5, alike, share), abs=0.02)
