"""RothC-26.3: decomposable and resistant plant material, biomass and humus.

Of what a pool loses a part leaves as CO2 and the rest becomes BIO and HUM in fixed shares, the
same for all pools (Coleman & Jenkinson 1996).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.processes.carbon import linear
from diffsoil.processes.carbon.carbon import Carbon, protected
from diffsoil.processes.carbon.linear import Transfers

BIO_SHARE = 0.46
"""Share of BIO in the decomposed carbon that stays in the soil; the rest is HUM."""

MANURE_DPM, MANURE_RPM, MANURE_HUM = 0.49, 0.49, 0.02
"""Pools that farmyard manure enters."""

POOLS = ("DPM", "RPM", "BIO", "HUM")


def co2_ratio(clay_percent: Float[Array, "..."]) -> Float[Array, "..."]:
    """Ratio x of CO2 to (BIO + HUM) in decomposition products; 5.76 without clay.

    Args:
        clay_percent: clay (< 2 um), mass %, 0 to 100.

    Source: RothC-26.3.
    """
    return 1.67 * (1.85 + 1.60 * jnp.exp(-0.0786 * clay_percent))


def plant_shares(dpm_rpm_ratio: Float[Array, "..."]) -> tuple[Array, Array]:
    """Shares of plant input that enter DPM and RPM, from their ratio (>= 0)."""
    return dpm_rpm_ratio / (1.0 + dpm_rpm_ratio), 1.0 / (1.0 + dpm_rpm_ratio)


def transfers(ratio: Float[Array, "..."]) -> Transfers:
    """What becomes of the losses of any pool.

    Args:
        ratio: CO2 / (BIO + HUM) of the products (:func:`co2_ratio`).
    """
    bio, hum = BIO_SHARE / (1.0 + ratio), (1.0 - BIO_SHARE) / (1.0 + ratio)
    return {(donor, 2): bio for donor in range(4)} | {(donor, 3): hum for donor in range(4)}


def decompose(
    pools: Float[Array, "4 ..."],
    modifier: Float[Array, "..."],
    rates: Float[Array, "4"],
    ratio: Float[Array, "..."],
) -> tuple[Float[Array, "4 ..."], Float[Array, "..."]]:
    """One month of decomposition, before fresh input.

    Args:
        pools: DPM, RPM, BIO, HUM; any amount unit, or the amount of a tracer in them.
        modifier: product of the rate modifiers, >= 0, dimensionless.
        rates: decomposition rates of the four pools, 1/a.
        ratio: CO2 / (BIO + HUM) of the products (:func:`co2_ratio`).

    Returns:
        Pools after the month, and what left as CO2; together they equal what was there.
    """
    loses = -jnp.expm1(-jnp.multiply.outer(rates, modifier) / 12.0)
    return linear.decompose(pools, loses, transfers(ratio))


class RothC(Carbon):
    """Turnover of DPM, RPM, BIO and HUM.

    The litter layer has no clay, hence no stabilisation by it, and no protection.
    """

    pools: ClassVar[tuple[str, ...]] = POOLS
    entered: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"decomposable": "DPM", "resistant": "RPM", "humified": "HUM"}
    )

    k_dpm: Float[Array, ""] = parameter(
        10.0, unit="a-1", lower=2.0, upper=30.0, prior=lognormal(10.0, 0.3),
        source="RothC-26.3", description="decomposition rate of DPM",
    )  # fmt: skip
    k_rpm: Float[Array, ""] = parameter(
        0.3, unit="a-1", lower=0.05, upper=1.0, prior=lognormal(0.3, 0.3),
        source="RothC-26.3; SoilGen calibrations 0.1 to 0.4",
        description="decomposition rate of RPM",
    )  # fmt: skip
    k_bio: Float[Array, ""] = parameter(
        0.66, unit="a-1", lower=0.1, upper=2.0, prior=lognormal(0.66, 0.3),
        source="RothC-26.3", description="decomposition rate of BIO",
    )  # fmt: skip
    k_hum: Float[Array, ""] = parameter(
        0.02, unit="a-1", lower=0.002, upper=0.1, prior=lognormal(0.02, 0.35),
        source="RothC-26.3; SoilGen calibrations 0.005 to 0.03",
        description="decomposition rate of HUM",
    )  # fmt: skip
    co2_factor: Float[Array, ""] = parameter(
        1.0, unit="1", lower=0.3, upper=3.0, prior=lognormal(1.0, 0.2),
        source="RothC-26.3 at 1; the ratio was calibrated in SoilGen (Ranathunga et al. 2022)",
        description="factor on the ratio CO2 / (BIO + HUM)",
    )  # fmt: skip
    subsoil_slowing: Float[Array, ""] = parameter(
        0.0, unit="m-1", lower=0.0, upper=8.0, prior=normal(3.3, 1.5),
        source="0 in RothC and SoilGen; Jenkinson & Coleman (2008) slow RothC with depth; prior: "
        "3.3 +- 0.2 by 28 profiles of Kansas, and areas differ by 1 to 2",
        description="relative fall of the decomposition rate per metre below 0.25 m",
    )  # fmt: skip
    protected: dict[str, Float[Array, ""]] = protected(POOLS)

    def rates(self) -> Float[Array, "4"]:
        """See :meth:`.carbon.Carbon.rates`."""
        return jnp.stack([self.k_dpm, self.k_rpm, self.k_bio, self.k_hum])

    def transfers(self, clay: Float[Array, "..."]) -> Transfers:
        """See :meth:`.carbon.Carbon.transfers`."""
        return transfers(co2_ratio(clay) * self.co2_factor)
