"""RothC with a passive pool: carbon that lasts for millennia, fed by humus.

A small part of what HUM loses becomes passive carbon (PAS), whose losses become CO2, BIO and HUM
as those of any other pool: dP/dt = f k_hum m HUM - k_passive m P. RothC has inert carbon in its
place, which has no age and does not grow; over millennia the passive pool makes it unnecessary.
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, normal, parameter
from diffsoil.processes.carbon import rothc
from diffsoil.processes.carbon.carbon import protected
from diffsoil.processes.carbon.linear import Transfers

POOLS = (*rothc.POOLS, "PAS")
HUM, PAS = POOLS.index("HUM"), POOLS.index("PAS")


class RothCPassive(rothc.RothC):
    """Turnover of DPM, RPM, BIO, HUM and PAS."""

    pools: ClassVar[tuple[str, ...]] = POOLS

    k_passive: Float[Array, ""] = parameter(
        0.0004, unit="a-1", lower=0.0001, upper=0.01, prior=lognormal(0.0005, 0.4),
        source="assumption: 0.0004 to 0.001, a turnover of millennia under the climate of a field, "
        "after the passive pool of Century (Parton et al. 1987); the slow end by 14C of deep soil",
        description="decomposition rate of PAS",
    )  # fmt: skip
    passive_share: Float[Array, ""] = parameter(
        0.02, unit="1", lower=0.0, upper=0.2, prior=lognormal(0.025, 0.3),
        source="Century: 0.03 of the slow pool (Parton et al. 1987); assumption: 0.02 to 0.03",
        description="share of the losses of HUM that becomes PAS",
    )  # fmt: skip
    subsoil_slowing: Float[Array, ""] = parameter(
        1.0, unit="m-1", lower=0.0, upper=8.0, prior=normal(1.0, 1.0),
        source="carbon and its age below 60 cm of profiles of five areas, whose own values lie "
        "between 0 and 2; without a passive pool those of Kansas ask for 3.3",
        description="relative fall of the decomposition rate per metre below 0.25 m",
    )  # fmt: skip
    protected: dict[str, Float[Array, ""]] = protected(POOLS)

    def rates(self) -> Float[Array, "5"]:
        """See :meth:`.carbon.Carbon.rates`."""
        return jnp.append(super().rates(), self.k_passive)

    def transfers(self, clay: Float[Array, "..."]) -> Transfers:
        """See :meth:`.carbon.Carbon.transfers`."""
        as_all = super().transfers(clay)
        bio, hum = as_all[HUM, 2], as_all[HUM, 3]
        rest = 1.0 - self.passive_share
        return {
            **as_all,
            (HUM, 2): rest * bio,
            (HUM, 3): rest * hum,
            (HUM, PAS): self.passive_share * jnp.ones_like(hum),
            (PAS, 2): bio,
            (PAS, 3): hum,
        }
