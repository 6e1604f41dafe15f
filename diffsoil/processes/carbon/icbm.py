"""ICBM: young and old carbon.

dY/dt = i - k_young r Y and dO/dt = h k_young r Y - k_old r O (Andren & Katterer 1997). What is not
humified leaves as CO2. The modifier r is that of the column here, 1 for a moist bare soil at 9 C
by the functions of RothC; in ICBM it is 1 for the arable soil of Ultuna in central Sweden.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from diffsoil.parameters import lognormal, parameter
from diffsoil.processes.carbon.carbon import Carbon, protected
from diffsoil.processes.carbon.linear import Transfers

POOLS = ("young", "old")


class ICBM(Carbon):
    """Turnover of young and old carbon."""

    pools: ClassVar[tuple[str, ...]] = POOLS
    entered: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"decomposable": "young", "resistant": "young", "humified": "old"}
    )

    k_young: Float[Array, ""] = parameter(
        2.0, unit="a-1", lower=0.2, upper=10.0, prior=lognormal(2.0, 0.3),
        source="Andren & Katterer (1997): 0.8 at Ultuna; assumption: the modifier there is 0.4",
        description="decomposition rate of young carbon",
    )  # fmt: skip
    k_old: Float[Array, ""] = parameter(
        0.015, unit="a-1", lower=0.002, upper=0.1, prior=lognormal(0.015, 0.35),
        source="Andren & Katterer (1997): 0.00605 at Ultuna; assumption: the modifier there is 0.4",
        description="decomposition rate of old carbon",
    )  # fmt: skip
    humification: Float[Array, ""] = parameter(
        0.13, unit="1", lower=0.02, upper=0.5, prior=lognormal(0.13, 0.3),
        source="Andren & Katterer (1997): 0.13 for straw and roots, 0.31 for farmyard manure",
        description="share of the losses of young carbon that becomes old",
    )  # fmt: skip
    protected: dict[str, Float[Array, ""]] = protected(POOLS)

    def rates(self) -> Float[Array, "2"]:
        """See :meth:`.carbon.Carbon.rates`."""
        return jnp.stack([self.k_young, self.k_old])

    def transfers(self, clay: Float[Array, "..."]) -> Transfers:
        """See :meth:`.carbon.Carbon.transfers`; clay does not matter."""
        return {(0, 1): self.humification * jnp.ones_like(clay)}
