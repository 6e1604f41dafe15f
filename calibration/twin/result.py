"""What a forecast found."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Forecast:
    """Stocks by draw.

    Attributes:
        members: treatment and option of each member.
        quantities: name, and depths in cm or None, of each quantity, Mg C/ha.
        years: calendar years, from some decades before the last of the record.
        stocks: what is there.
    """

    members: list[tuple[str, str]]
    quantities: list[tuple[str, tuple[float, float] | None]]
    years: np.ndarray
    stocks: Float[np.ndarray, "draw member quantity year"]
