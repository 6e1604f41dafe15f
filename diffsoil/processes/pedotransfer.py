"""Hydraulic properties from texture, organic matter and density: the HYPRES functions.

Continuous pedotransfer functions of Woesten et al. (1999, Geoderma 90, 169-185) for the
Mualem-van Genuchten parameters of European soils, and the retention curve that they describe.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from diffsoil.units import CM_PER_HPA

RESIDUAL_WATER = 0.01
"""Residual water content; HYPRES has no function for it and takes a constant."""

ORGANIC_MATTER_PER_CARBON = 1.72
"""Organic matter for one part of organic carbon, by mass."""

CLAY_RANGE = SILT_RANGE = (1.0, 100.0)
"""Mass %; below 1 % the terms 1/clay and 1/silt leave the data that they were fitted to."""

ORGANIC_MATTER_RANGE = (0.1, 30.0)
"""Mass %; the functions are for mineral soils and have 1/OM and ln OM."""

BULK_DENSITY_RANGE = (0.5, 2.0)
"""g/cm3."""

MESOPORE_HPA, MICROPORE_HPA = 20.0, 600.0
"""Suctions at which mesopores and micropores begin to drain."""


class HydraulicParameters(NamedTuple):
    """Mualem-van Genuchten parameters in HYPRES units."""

    theta_r: Float[Array, "..."]
    """Residual water content, cm3/cm3."""
    theta_s: Float[Array, "..."]
    """Saturated water content, cm3/cm3."""
    alpha_1_cm: Float[Array, "..."]
    """Inverse of a characteristic head, 1/cm."""
    n: Float[Array, "..."]
    """Shape of the retention curve, > 1."""
    ks_cm_d: Float[Array, "..."]
    """Saturated hydraulic conductivity, cm/d."""
    l: Float[Array, "..."]  # noqa: E741 - the published symbol
    """Tortuosity of the conductivity curve, -10 to 10."""


def wosten1999(
    clay_pct: ArrayLike,
    silt_pct: ArrayLike,
    om_pct: ArrayLike,
    bulk_density_g_cm3: ArrayLike,
    topsoil: ArrayLike,
) -> HydraulicParameters:
    """Mualem-van Genuchten parameters by the continuous HYPRES functions.

    All arguments are scalars or arrays of one shape. Values outside the ranges below are taken
    as the nearest value inside: the result is finite for any soil, and its gradient zero there.

    Args:
        clay_pct: clay (< 2 um), mass %, 1 to 100.
        silt_pct: silt (2 to 50 um), mass %, 1 to 100.
        om_pct: organic matter, mass %, 0.1 to 30; 1.72 times organic carbon.
        bulk_density_g_cm3: dry bulk density, g/cm3, 0.5 to 2.
        topsoil: 1 for a topsoil, 0 for a subsoil.

    Source: Woesten, Lilly, Nemes & Le Bas 1999, table 5.
    """
    C, S = _within(clay_pct, CLAY_RANGE), _within(silt_pct, SILT_RANGE)
    OM = _within(om_pct, ORGANIC_MATTER_RANGE)
    D = _within(bulk_density_g_cm3, BULK_DENSITY_RANGE)
    t = jnp.asarray(topsoil, dtype=float)
    ln_S, ln_OM = jnp.log(S), jnp.log(OM)

    theta_s = (
        0.7919 + 0.001691 * C - 0.29619 * D - 1.491e-6 * S**2 + 8.21e-5 * OM**2 + 0.02427 / C
        + 0.01113 / S + 0.01472 * ln_S - 7.33e-5 * OM * C - 0.000619 * D * C
        - 0.001183 * D * OM - 0.0001664 * t * S
    )  # fmt: skip
    ln_alpha = (
        -14.96 + 0.03135 * C + 0.0351 * S + 0.646 * OM + 15.29 * D - 0.192 * t - 4.671 * D**2
        - 0.000781 * C**2 - 0.00687 * OM**2 + 0.0449 / OM + 0.0663 * ln_S + 0.1482 * ln_OM
        - 0.04546 * D * S - 0.4852 * D * OM + 0.00673 * t * C
    )  # fmt: skip
    ln_n = (
        -25.23 - 0.02195 * C + 0.0074 * S - 0.1940 * OM + 45.5 * D - 7.24 * D**2
        + 0.0003658 * C**2 + 0.002885 * OM**2 - 12.81 / D - 0.1524 / S - 0.01958 / OM
        - 0.2876 * ln_S - 0.0709 * ln_OM - 44.6 * jnp.log(D) - 0.02264 * D * C
        + 0.0896 * D * OM + 0.00718 * t * C
    )  # fmt: skip
    ln_ks = (
        7.755 + 0.0352 * S + 0.93 * t - 0.967 * D**2 - 0.000484 * C**2 - 0.000322 * S**2
        + 0.001 / S - 0.0748 / OM - 0.643 * ln_S - 0.01398 * D * C - 0.1673 * D * OM
        + 0.02986 * t * C - 0.03305 * t * S
    )  # fmt: skip
    scaled_l = (
        0.0202 + 0.0006193 * C**2 - 0.001136 * OM**2 - 0.2316 * ln_OM - 0.03544 * D * C
        + 0.00283 * D * S + 0.0488 * D * OM
    )  # fmt: skip
    return HydraulicParameters(
        theta_r=jnp.full_like(theta_s, RESIDUAL_WATER),
        theta_s=theta_s,
        alpha_1_cm=jnp.exp(ln_alpha),
        n=1.0 + jnp.exp(ln_n),
        ks_cm_d=jnp.exp(ln_ks),
        l=10.0 * jnp.tanh(scaled_l / 2.0),  # 10 (e^x - 1) / (e^x + 1)
    )


def _within(value: ArrayLike, limits: tuple[float, float]) -> Array:
    return jnp.clip(jnp.asarray(value, dtype=float), *limits)


def water_content(parameters: HydraulicParameters, head_cm: ArrayLike) -> Float[Array, "..."]:
    """Volumetric water content at a suction head, by the van Genuchten curve with m = 1 - 1/n.

    Args:
        parameters: scalars or arrays of one shape.
        head_cm: suction as a head of water, cm, >= 0 (saturated at and below 0); a scalar or of
            the same shape.

    Returns:
        Water content, cm3/cm3, from theta_s at head 0 towards theta_r.

    Source: van Genuchten 1980, eq. 21.
    """
    theta_r, theta_s, alpha, n = parameters[:4]
    head = jnp.asarray(head_cm, dtype=float)
    suction = head > 0.0
    # ln(1 + (alpha h)^n) through the logarithm of the power, which cannot overflow
    log_power = n * (jnp.log(alpha) + jnp.log(jnp.where(suction, head, 1.0)))
    saturation = jnp.exp(-(1.0 - 1.0 / n) * jax.nn.softplus(log_power))
    return theta_r + (theta_s - theta_r) * jnp.where(suction, saturation, 1.0)


def pore_classes(
    parameters: HydraulicParameters,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Mesopores (drained between 20 and 600 hPa) and micropores (not drained at 600 hPa).

    Returns:
        Both as volume of pores per volume of soil, cm3/cm3; their sum is what holds water at
        20 hPa.
    """
    wet = water_content(parameters, MESOPORE_HPA * CM_PER_HPA)
    micropores = water_content(parameters, MICROPORE_HPA * CM_PER_HPA)
    return wet - micropores, micropores
