"""How something was measured, where that decides what was measured.

The pH in water and in a salt solution are different quantities, and so are exchange capacities at
pH 7 and at the pH of the soil. A row of observations names its procedure in the column ``method``.
Here stands what each one measures, and how that follows from the soil of the column, or why it
does not.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

from jaxtyping import Array


@dataclasses.dataclass(frozen=True)
class Procedure:
    """One way of measuring a quantity in the laboratory.

    Attributes:
        words: what it measures.
        measured: the measured value, of that in the soil; None where they are the same.
        sd: standard deviation of measured values around that, in the unit of the quantity. It
            joins the error of each row.
        source: of both.
        refused: why nothing in the column can be compared with it; empty where something can.
    """

    words: str
    measured: Callable[[Array], Array] | None = None
    sd: float = 0.0
    source: str = ""
    refused: str = ""


SPELLED = MappingProxyType({"h2o": "water"})
"""Other names of procedures, in small letters."""


def ph_in_calcium_chloride(ph: Array) -> Array:
    """PH of a suspension in 0.01 M CaCl2, of that in water.

    From non-saline soils of New South Wales, one part in 2.5. The equations of Davies (1971) and
    of Miller and Kissel (2010) differ from it by 0.2 at most between pH 4 and 8.

    Source: Conyers and Davey (1988), Soil Science 145, 29-36.
    """
    return 1.05 * ph - 0.9


def ph_in_potassium_chloride(ph: Array) -> Array:
    """PH of a suspension in 1 M KCl, of that in water.

    ``pH(water) = -1.95 + 11.58 log10 pH(KCl)``, solved for the latter; from 200 soils of Poland
    under fields and forests.

    Source: Kabala et al. (2016), Polish Journal of Environmental Studies 25, 647-653.
    """
    return 10.0 ** ((ph + 1.95) / 11.58)


PH: Mapping[str, Procedure] = MappingProxyType(
    {
        "water": Procedure("in a suspension in water; compared with the pH of the soil solution"),
        "cacl2": Procedure(
            "in 0.01 M CaCl2: 1.05 pH - 0.9",
            ph_in_calcium_chloride,
            sd=0.2,
            source="Conyers & Davey (1988); sd: assumption, 0.1 to 0.3 (Takamoto et al. 2023 have "
            "0.14 to 0.20 where the salt in the soil is known too)",
        ),
        "kcl": Procedure(
            "in 1 M KCl: 10 to the power of (pH + 1.95) / 11.58",
            ph_in_potassium_chloride,
            sd=0.3,
            source="Kabala et al. (2016), solved for the pH in KCl; sd: assumption, 0.15 to 0.5",
        ),
    }
)
"""Procedures of ``ph``."""

SOIL_PH = {
    "nh4no3": "by ammonium nitrate, at the pH of the soil",
    "nh4cl": "by ammonium chloride, at the pH of the soil",
    "bacl2": "by barium chloride, at the pH of the soil",
}
"""Extractants that do not change the pH of the soil."""

EFFECTIVE = (
    "the column knows the exchange capacity at pH 7, not the smaller one at the pH of an acid soil"
)
TO_PH_8 = "the exchanger of the column holds acidity up to pH 7 only"

BASE_SATURATION: Mapping[str, Procedure] = MappingProxyType(
    {
        "nh4oac": Procedure("bases over exchange capacity, both by ammonium acetate at pH 7"),
        "sum": Procedure("bases over the sum of bases and acidity up to pH 8.2", refused=TO_PH_8),
        "kcl": Procedure(
            "bases over the sum of bases and the acidity that KCl displaces", refused=EFFECTIVE
        ),
        **{
            name: Procedure(f"bases over exchange capacity, both {words}", refused=EFFECTIVE)
            for name, words in SOIL_PH.items()
        },
    }
)
"""Procedures of ``base_saturation``."""

CAPACITY: Mapping[str, Procedure] = MappingProxyType(
    {
        "nh4oac": Procedure("by ammonium acetate at pH 7"),
        "sum": Procedure("sum of bases and acidity up to pH 8.2", refused=TO_PH_8),
        "kcl": Procedure("sum of bases and the acidity that KCl displaces", refused=EFFECTIVE),
        **{name: Procedure(words, refused=EFFECTIVE) for name, words in SOIL_PH.items()},
    }
)
"""Procedures of ``cec``."""

BASES: Mapping[str, Procedure] = MappingProxyType(
    {
        "nh4oac": Procedure("displaced by ammonium acetate at pH 7, which dissolves calcite too"),
        **{
            name: Procedure(f"displaced {words}, the same amount")
            for name, words in SOIL_PH.items()
        },
    }
)
"""Procedures of an exchangeable base: salts of other cations displace the same amount."""
