"""What a forecast found."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

UNITS = {"soc_stock": "Mg C/ha", "delta14c": "permil", "litter_stock": "Mg C/ha"}
"""Unit of each quantity that a forecast can have."""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Stocks by draw, and the 14C of a case that follows it.

    Attributes:
        members: treatment and option of each member.
        quantities: name, and depths in cm or None, of each quantity, in the unit of
            :data:`UNITS`.
        years: calendar years, from some decades before the last of the record.
        draws: what is there.
    """

    members: list[tuple[str, str]]
    quantities: list[tuple[str, tuple[float, float] | None]]
    years: np.ndarray
    draws: Float[np.ndarray, "draw member quantity year"]
