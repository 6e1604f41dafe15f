"""The mechanisms of protection: one file and one line here for each."""

from __future__ import annotations

from diffsoil.processes.protection.aggregation import Aggregation
from diffsoil.processes.protection.clay import Clay
from diffsoil.processes.protection.mechanism import Mechanism
from diffsoil.processes.protection.mooh import Mooh
from diffsoil.processes.protection.pores import Pores
from diffsoil.registry import Registry
from diffsoil.variables import LAYER, Variable, declare


def modifier(name: str) -> str:
    """The variable, and the output, with the modifier of a mechanism."""
    return f"modifier_{name}"


def _declare(mechanism: type[Mechanism]) -> None:
    about = Variable(LAYER, "1", f"rate modifier by {mechanism.words}", neutral=1.0, output=True)
    declare({modifier(mechanism.name): about})


MECHANISMS: Registry[type[Mechanism]] = Registry(
    "mechanism of protection",
    {mechanism.name: mechanism for mechanism in (Clay, Mooh, Aggregation, Pores)},
    "diffsoil.mechanisms",
    Mechanism,
    _declare,
)
"""By name. A case that names none has those of the program."""

for _mechanism in MECHANISMS.own.values():
    _declare(_mechanism)
