"""Polynomials of several variables."""

from __future__ import annotations

from math import comb

import jax.numpy as jnp
import numpy as np

from diffsoil.numerics import polynomial


def test_there_is_a_term_for_every_product():
    assert len(polynomial.products(16, 3, 3)) == comb(16 + 3, 3)
    # no product of three different ones
    assert len(polynomial.products(16, 3, 2)) == comb(16 + 3, 3) - comb(16, 3)
    assert len(polynomial.products(3, 2, 1)) == 1 + 3 + 3


def test_a_cubic_is_found_from_points_and_a_ridge_settles_what_none_tells():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((200, 4))
    x[:, 3] = 0.0  # no point tells anything of the fourth variable
    y = 1 + 2 * x[:, 0] - x[:, 1] * x[:, 2] + 0.5 * x[:, 0] ** 2 * x[:, 1]
    factors = polynomial.products(4, 3, 3)
    values = polynomial.values(x, factors)
    np.testing.assert_allclose(polynomial.terms(jnp.asarray(x), factors), values, rtol=1e-12)
    found = polynomial.least_squares(values, y[:, None], np.ones(200), [1e-12])[0, :, 0]
    terms = {tuple(row): c for row, c in zip(factors.tolist(), found, strict=True)}
    wanted = {(4, 4, 4): 1.0, (0, 4, 4): 2.0, (1, 2, 4): -1.0, (0, 0, 1): 0.5}
    for term, coefficient in terms.items():
        np.testing.assert_allclose(coefficient, wanted.get(term, 0.0), atol=1e-8)


def test_points_of_no_weight_do_not_count():
    x = np.linspace(-1, 1, 20)[:, None]
    y = np.where(x < 0, 3 * x, 100.0)
    factors = polynomial.products(1, 1, 1)
    values = polynomial.values(x, factors)
    found = polynomial.least_squares(values, y, (x[:, 0] < 0).astype(float), [0.0])
    np.testing.assert_allclose(found[0, :, 0], [0.0, 3.0], atol=1e-12)
