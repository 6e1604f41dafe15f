"""Calcite and its solution: constants of the carbonate system, saturation, decalcification.

The equilibrium constants are those of Plummer & Busenberg (1982), Geochimica et Cosmochimica
Acta 46, measured from 0 to 90 C. Their terms of some hundreds cancel: float64 only.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from diffsoil.units import MM_PER_M

ZERO_CELSIUS = 273.15
"""K."""

LN10 = float(np.log(10.0))


class EquilibriumConstant(NamedTuple):
    """``log10 K = a + b T + c / T + d log10 T + e / T^2`` with T in K."""

    a: float
    b: float
    c: float
    d: float
    e: float

    def log10(self, temperature: Float[Array, "..."]) -> Float[Array, "..."]:
        """Decimal logarithm at a temperature in degrees C."""
        kelvin = temperature + ZERO_CELSIUS
        inverse = 1.0 / kelvin
        return (
            self.a
            + self.b * kelvin
            + inverse * (self.c + self.e * inverse)
            + (self.d / LN10) * jnp.log(kelvin)
        )


HENRY = EquilibriumConstant(108.3865, 0.01985076, -6919.53, -40.45154, 669365.0)
FIRST_DISSOCIATION = EquilibriumConstant(-356.3094, -0.06091964, 21834.37, 126.8339, -1684915.0)
SECOND_DISSOCIATION = EquilibriumConstant(-107.8871, -0.03252849, 5151.79, 38.92561, -563713.9)
CALCITE = EquilibriumConstant(-171.9065, -0.077993, 2839.319, 71.595, 0.0)
WATER = EquilibriumConstant(-283.971, -0.05069842, 13323.0, 102.24447, -1119669.0)

_PRODUCT = EquilibriumConstant(
    *(
        first + henry + calcite - second
        for first, henry, calcite, second in zip(
            FIRST_DISSOCIATION, HENRY, CALCITE, SECOND_DISSOCIATION, strict=True
        )
    )
)
"""``K1 KH Kcalcite / K2``: calcite + CO2 + water = calcium + 2 bicarbonate."""


def log_k_henry(temperature: Float[Array, "..."]) -> Float[Array, "..."]:
    """log10 of ``[H2CO3*] / pCO2``, mol/L/atm; temperature in degrees C."""
    return HENRY.log10(temperature)


def log_k1(temperature: Float[Array, "..."]) -> Float[Array, "..."]:
    """log10 of ``H+ HCO3- / H2CO3*``, mol/L; temperature in degrees C."""
    return FIRST_DISSOCIATION.log10(temperature)


def log_k2(temperature: Float[Array, "..."]) -> Float[Array, "..."]:
    """log10 of ``H+ CO3-- / HCO3-``, mol/L; temperature in degrees C."""
    return SECOND_DISSOCIATION.log10(temperature)


def log_k_calcite(temperature: Float[Array, "..."]) -> Float[Array, "..."]:
    """log10 of ``Ca++ CO3--`` at calcite saturation, mol2/L2; temperature in degrees C."""
    return CALCITE.log10(temperature)


def log_k_water(temperature: Float[Array, "..."]) -> Float[Array, "..."]:
    """log10 of ``H+ OH-``, mol2/L2; temperature in degrees C."""
    return WATER.log10(temperature)


def log_activity(
    root_ionic_strength: Float[Array, "..."], temperature: Float[Array, "..."]
) -> Float[Array, "..."]:
    """log10 of the activity coefficient of an ion of charge 1; times z^2 for charge z.

    Args:
        root_ionic_strength: square root of the ionic strength in mol/L, 0 to about 0.7.
        temperature: degrees C.

    Source: Davies (1962); slope of Debye and Hueckel ``0.4883 + 8.074e-4 T`` as in
    Dreybrodt (1988), Processes in Karst Systems.
    """
    slope = 0.4883 + 8.074e-4 * temperature
    root = root_ionic_strength
    return -slope * (root / (1.0 + root) - 0.3 * root * root)


def calcite_saturation(
    temperature: Float[Array, "..."], pco2: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Dissolved calcium in equilibrium with calcite and CO2, mol/m3.

    ``Ca = (K1 Kcalcite KH pCO2 / (4 K2 g_Ca g_HCO3^2))^(1/3)``: bicarbonate alone balances the
    charge. That is within 1 % of the full balance from 1e-3 atm upwards and 1.4 % too low in
    air; further below, carbonate and hydroxide count. The activities take their ionic strength
    ``3 Ca`` from ``Ca = 10.8 pCO2^0.356 exp(-0.018 (T - 10))``, a fit to the same equilibrium;
    the error by it is below 0.2 % from 5 to 25 C and up to 0.03 atm.

    Args:
        temperature: degrees C; the constants were measured from 0 C.
        pco2: partial pressure of CO2, atm, > 0.
    """
    log_pco2 = jnp.log(pco2)
    root_ionic_strength = jnp.exp(
        0.5 * (np.log(3.0 * 10.8e-3) + 0.356 * log_pco2 - 0.018 * (temperature - 10.0))
    )
    log_activities = 6.0 * log_activity(root_ionic_strength, temperature)
    exponent = LN10 * (_PRODUCT.log10(temperature) - log_activities) + log_pco2 - np.log(4.0)
    return jnp.exp(exponent / 3.0 + np.log(1000.0))


def carried_down(
    present: Float[Array, " layer"], most: Float[Array, " layer"]
) -> Float[Array, " layer"]:
    """What leaves each layer with water that takes all it can: ``min(most, inflow + present)``.

    Args:
        present: solid in each layer.
        most: what the water that leaves a layer can hold, in the same unit.
    """

    def layer(inflow: Array, x: tuple[Array, Array]) -> tuple[Array, Array]:
        outflow = jnp.minimum(x[1], inflow + x[0])
        return outflow, outflow

    return lax.scan(layer, jnp.zeros(()), (present, most))[1]


def calcite_front(
    calcite: Float[Array, " layer"],
    saturation: Float[Array, " layer"],
    percolation: Float[Array, " layer"],
) -> tuple[Float[Array, " layer"], Float[Array, " layer"]]:
    """Let percolating water dissolve calcite, and lay it down where it can carry less.

    Water leaves each layer saturated as long as there is calcite: what leaves is
    ``min(percolation * saturation, inflow + calcite)``. Exact for any length of step; the limit
    of the chemistry of a layer without exchangeable cations.

    Args:
        calcite: mol/m2, >= 0.
        saturation: dissolved calcium at saturation, mol/m3, >= 0.
        percolation: water that leaves each layer downwards in the step, mm, >= 0.

    Returns:
        Calcite after the step and dissolved calcite leaving each layer, both mol/m2.
    """
    outflow = carried_down(calcite, percolation * saturation / MM_PER_M)
    inflow = jnp.concatenate([jnp.zeros(1), outflow[:-1]])
    return calcite + inflow - outflow, outflow
