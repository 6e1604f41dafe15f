"""What minerals are made of: formulas, and the masses and elements that follow from them."""

from __future__ import annotations

import numpy as np

from diffsoil.state import ELEMENTS, MINERALS
from diffsoil.units import G_PER_KG

ATOMIC_WEIGHT = {
    "hydrogen": 1.008,
    "oxygen": 15.999,
    "sodium": 22.98977,
    "magnesium": 24.305,
    "aluminium": 26.98154,
    "silicon": 28.085,
    "potassium": 39.0983,
    "calcium": 40.078,
    "iron": 55.845,
}
"""g/mol, IUPAC."""

FORMULA: dict[str, dict[str, float]] = {
    "quartz": {"silicon": 1, "oxygen": 2},
    "k_feldspar": {"potassium": 1, "aluminium": 1, "silicon": 3, "oxygen": 8},
    "albite": {"sodium": 1, "aluminium": 1, "silicon": 3, "oxygen": 8},
    "anorthite": {"calcium": 1, "aluminium": 2, "silicon": 2, "oxygen": 8},
    "muscovite": {"potassium": 1, "aluminium": 3, "silicon": 3, "oxygen": 12, "hydrogen": 2},
    "chlorite": {"magnesium": 5, "aluminium": 2, "silicon": 3, "oxygen": 18, "hydrogen": 8},
    "illite": {
        "potassium": 0.6,
        "magnesium": 0.25,
        "aluminium": 2.3,
        "silicon": 3.5,
        "oxygen": 12,
        "hydrogen": 2,
    },
    "montmorillonite": {
        "calcium": 0.165,
        "aluminium": 2.33,
        "silicon": 3.67,
        "oxygen": 12,
        "hydrogen": 2,
    },
    "kaolinite": {"aluminium": 2, "silicon": 2, "oxygen": 9, "hydrogen": 4},
    "gibbsite": {"aluminium": 1, "oxygen": 3, "hydrogen": 3},
    "goethite": {"iron": 1, "oxygen": 2, "hydrogen": 1},
    # basaltic-andesitic, per mol of silicon, all iron trivalent: assumption
    "volcanic_glass": {
        "silicon": 1,
        "aluminium": 0.36,
        "iron": 0.15,
        "magnesium": 0.16,
        "calcium": 0.18,
        "sodium": 0.12,
        "potassium": 0.02,
        "oxygen": 3.175,
    },
}
"""mol of each element in a mol of the mineral."""

MOLAR_MASS = np.array(
    [sum(n * ATOMIC_WEIGHT[e] for e, n in FORMULA[m].items()) / G_PER_KG for m in MINERALS]
)
"""kg/mol, by :data:`diffsoil.state.MINERALS`."""

STOICHIOMETRY = np.array([[FORMULA[m].get(e, 0.0) for e in ELEMENTS] for m in MINERALS])
"""mol of an element in a mol of a mineral, [mineral, element]."""

CALCITE_MASS = 0.1000869
"""kg/mol."""

TWO_TO_ONE = np.isin(MINERALS, ("muscovite", "chlorite", "illite", "montmorillonite"))
"""Which minerals are 2:1 clay minerals; only what is of clay size counts as clay."""

ONE_TO_ONE = np.isin(MINERALS, ("kaolinite",))
"""Which minerals are 1:1 clay minerals."""
