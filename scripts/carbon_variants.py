"""A case with another model of carbon, for scripts that lay several side by side."""

from __future__ import annotations

from typing import Any

OF_ROTHC = ("carbon.k_hum", "carbon.k_rpm", "carbon.iom_factor")
RATES = {
    "rothc": OF_ROTHC,
    "rothc_passive": ("carbon.k_hum", "carbon.k_rpm", "carbon.k_passive", "carbon.passive_share"),
    "icbm": ("carbon.k_young", "carbon.k_old", "carbon.humification", "carbon.iom_factor"),
    "ctool": ("carbon.k_fom", "carbon.k_humus", "carbon.k_rom", "carbon.rom_share"),
}
"""What is freed of each model; priors are those of the case where it has one."""
OLD_POOL = ("rothc_passive", "ctool")
"""Models whose old carbon grows from humus: no inert carbon beside it."""


def with_carbon(document: dict[str, Any], model: str) -> None:
    """Change the model of a case that has RothC, and what of it is free.

    Args:
        document: the case, changed in place.
        model: one of :data:`RATES`.
    """
    document["carbon"] = model
    own = {rate: document["free"].pop(rate, {}) for rate in RATES[model]}
    document["free"] = own | {n: of for n, of in document["free"].items() if n not in OF_ROTHC}
    if model in OLD_POOL:
        for soil in document["soil"].values():
            for horizon in soil["horizons"]:
                horizon.pop("iom_percent", None)
