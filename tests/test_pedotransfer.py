"""HYPRES pedotransfer functions: parity with published values, finite everywhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from diffsoil.io import data_path
from diffsoil.processes.pedotransfer import pore_classes, water_content, wosten1999

REFERENCE = pd.read_csv(data_path("reference", "ptf", "wosten1999_cases.csv"))
SOIL = ["clay_pct", "silt_pct", "om_pct", "bulk_density_g_cm3", "topsoil"]


@pytest.fixture(scope="module")
def parameters():
    return jax.jit(wosten1999)(*(REFERENCE[name].to_numpy(dtype=float) for name in SOIL))


@pytest.mark.parametrize("name", ["theta_r", "theta_s", "alpha_1_cm", "n", "ks_cm_d", "l"])
def test_parameters_agree_with_the_reference_to_1e_9(parameters, name):
    np.testing.assert_allclose(getattr(parameters, name), REFERENCE[name], rtol=1e-9)


def test_parameters_come_in_the_published_order(parameters):
    assert parameters._fields == ("theta_r", "theta_s", "alpha_1_cm", "n", "ks_cm_d", "l")


def test_retention_and_pore_classes_agree_with_the_reference_to_1e_9(parameters):
    mesopores, micropores = pore_classes(parameters)
    np.testing.assert_allclose(mesopores, REFERENCE["mesopores_20_600hPa"], rtol=1e-9)
    np.testing.assert_allclose(micropores, REFERENCE["micropores_600hPa"], rtol=1e-9)
    wet = water_content(parameters, 20 * 1.019716)
    np.testing.assert_allclose(wet, REFERENCE["theta_20hPa"], rtol=1e-9)


@pytest.mark.parametrize(
    ("clay", "silt", "expected"),
    [(25, 15, (0.5098983, 0.05413231, 1.169909)), (45, 3, (0.5043652, 0.04231467, 1.177021))],
)
def test_published_example_is_reproduced(clay, silt, expected):
    found = wosten1999(clay, silt, 4.5, 1.124447, 1)
    np.testing.assert_allclose((found.theta_s, found.alpha_1_cm, found.n), expected, rtol=1e-6)


def test_loess_retention_matches_the_tabulated_curve():
    loess = wosten1999(16.0, 67.0, 1.72, 1.22, 0)
    heads = np.array([20.0, 50.0, 100.0, 330.0, 600.0, 15000.0])
    curve = jax.vmap(lambda head: water_content(loess, head))(heads)
    np.testing.assert_allclose(curve, [0.4718, 0.4362, 0.3962, 0.3172, 0.2799, 0.1395], atol=6e-5)


def test_soil_without_suction_is_saturated_and_its_slope_is_zero():
    loess = wosten1999(16.0, 67.0, 1.72, 1.22, 1)
    for head in (0.0, -5.0):
        content, slope = jax.value_and_grad(lambda h: water_content(loess, h))(head)
        assert content == loess.theta_s
        assert slope == 0.0


def test_retention_is_finite_and_never_below_the_residual_at_any_head():
    loess = wosten1999(16.0, 67.0, 1.72, 1.22, 1)
    heads = np.array([0.0, 1e-300, 1e-6, 1.0, 1e6, 1e300])
    content, slope = jax.vmap(jax.value_and_grad(lambda h: water_content(loess, h)))(heads)
    assert np.all(np.isfinite(content))
    assert np.all(np.isfinite(slope))
    assert np.all(np.diff(content) <= 0)
    assert content[-1] >= loess.theta_r


@pytest.mark.parametrize("topsoil", [0.0, 1.0])
def test_any_soil_has_finite_values_and_gradients(topsoil):
    # the corners of what a caller may hand over, far outside the valid ranges
    corners = np.array(np.meshgrid([0, 50, 100], [0, 50, 100], [0, 2, 60], [0.0, 1.3, 3.0]))
    soils = corners.reshape(4, -1).T

    def everything(soil):
        found = wosten1999(*soil, topsoil)
        classes = jnp.stack(pore_classes(found))
        return jnp.concatenate([jnp.stack(found), classes])

    values = jax.jit(jax.vmap(everything))(soils)
    gradients = jax.jit(jax.vmap(jax.jacrev(everything)))(soils)
    assert np.all(np.isfinite(values))
    assert np.all(np.isfinite(gradients))
    assert np.all(values[:, 1] > values[:, 0])
    assert np.all(values[:, 3] >= 1.0)
    assert np.all(values[:, 6:] >= 0.0)


def test_no_clay_counts_as_the_documented_minimum():
    assert wosten1999(0.0, 60.0, 2.0, 1.3, 1) == wosten1999(1.0, 60.0, 2.0, 1.3, 1)
    assert wosten1999(20.0, 60.0, 0.0, 1.3, 1) == wosten1999(20.0, 60.0, 0.1, 1.3, 1)


def test_gradient_of_the_pore_classes_equals_finite_differences():
    soil = jnp.array([18.0, 60.0, 2.1, 1.3])

    def micropores(soil):
        return pore_classes(wosten1999(*soil, 1))[1]

    exact = jax.grad(micropores)(soil)
    for i, step in enumerate(1e-5 * np.asarray(soil)):
        change = step * np.eye(4)[i]
        difference = (micropores(soil + change) - micropores(soil - change)) / (2 * step)
        np.testing.assert_allclose(exact[i], difference, rtol=1e-6)
