"""Protection of organic carbon by the soil's own minerals, chemistry and structure.

Mechanisms slow decomposition by a factor between about 0.8 and 1; the strongest one limits it:
``d = min(clay, MOOH, aggregation, pores)``. Source of all: van der Meij & Finke (2026), Table 1,
where the constants are called first guesses to be calibrated.
"""

from diffsoil.processes.protection.aggregation import Aggregation, aggregation_modifier
from diffsoil.processes.protection.clay import Clay, clay_modifier
from diffsoil.processes.protection.mechanism import Mechanism
from diffsoil.processes.protection.mechanisms import MECHANISMS, modifier
from diffsoil.processes.protection.minimum import MINIMA, HardMinimum, SoftMinimum
from diffsoil.processes.protection.mooh import Mooh, mooh_modifier
from diffsoil.processes.protection.pores import Pores, pore_modifier
from diffsoil.processes.protection.protection import Protection

__all__ = [
    "MECHANISMS",
    "MINIMA",
    "Aggregation",
    "Clay",
    "HardMinimum",
    "Mechanism",
    "Mooh",
    "Pores",
    "Protection",
    "SoftMinimum",
    "aggregation_modifier",
    "clay_modifier",
    "modifier",
    "mooh_modifier",
    "pore_modifier",
]
