"""C-TOOL: fresh, humified and resistant organic matter (Taghizadeh-Toosi et al. 2014).

Of what fresh matter (FOM) loses 1 / (1 + R) becomes humus (HUM), R being RothC's function of clay;
of what HUM loses 1.2 % becomes resistant matter (ROM) and 62.8 % CO2, of what ROM loses 62.8 %
CO2. What C-TOOL carries from its topsoil to its subsoil besides stays in its layer here, where
mixing carries it.
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
from diffsoil.processes.carbon.rothc import co2_ratio

POOLS = ("FOM", "HUM", "ROM")
FOM, HUM, ROM = range(3)
CO2_SHARE = 0.628
"""Of what HUM and ROM lose."""

SOURCE = "Taghizadeh-Toosi et al. (2014), at 10 C"
RESCALED = f"{SOURCE}; assumption: the modifier of RothC is 0.6 of its own in a Danish field"


class CTool(Carbon):
    """Turnover of FOM, HUM and ROM."""

    pools: ClassVar[tuple[str, ...]] = POOLS
    entered: ClassVar[Mapping[str, str]] = MappingProxyType(
        {"decomposable": "FOM", "resistant": "FOM", "humified": "HUM"}
    )

    k_fom: Float[Array, ""] = parameter(
        2.4, unit="a-1", lower=0.3, upper=12.0, prior=lognormal(2.4, 0.3),
        source=f"1.44: {RESCALED}", description="decomposition rate of FOM",
    )  # fmt: skip
    k_humus: Float[Array, ""] = parameter(
        0.056, unit="a-1", lower=0.005, upper=0.3, prior=lognormal(0.056, 0.35),
        source=f"0.0336: {RESCALED}", description="decomposition rate of HUM",
    )  # fmt: skip
    k_rom: Float[Array, ""] = parameter(
        0.00077, unit="a-1", lower=0.0001, upper=0.01, prior=lognormal(0.00077, 0.4),
        source=f"0.00046: {RESCALED}", description="decomposition rate of ROM",
    )  # fmt: skip
    rom_share: Float[Array, ""] = parameter(
        0.012, unit="1", lower=0.0, upper=0.2, prior=lognormal(0.012, 0.3),
        source=SOURCE, description="share of the losses of HUM that becomes ROM",
    )  # fmt: skip
    protected: dict[str, Float[Array, ""]] = protected(POOLS)

    def rates(self) -> Float[Array, "3"]:
        """See :meth:`.carbon.Carbon.rates`."""
        return jnp.stack([self.k_fom, self.k_humus, self.k_rom])

    def transfers(self, clay: Float[Array, "..."]) -> Transfers:
        """See :meth:`.carbon.Carbon.transfers`."""
        one = jnp.ones_like(clay)
        return {
            (FOM, HUM): 1.0 / (1.0 + co2_ratio(clay)),
            (HUM, HUM): (1.0 - CO2_SHARE - self.rom_share) * one,
            (HUM, ROM): self.rom_share * one,
            (ROM, ROM): (1.0 - CO2_SHARE) * one,
        }
