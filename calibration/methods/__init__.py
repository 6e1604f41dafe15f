"""Methods of inference: the mode, approximations of the posterior, and samplers.

:data:`METHODS` names them all. Each is a class in a file of its own; see
:class:`calibration.methods.method.Method` for what it declares, and ``docs/extending.md``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibration.methods.ensemble_smoother import EnsembleSmoother
    from calibration.methods.laplace import Laplace
    from calibration.methods.map import MAP
    from calibration.methods.method import Method
    from calibration.methods.nuts import NUTS
    from calibration.methods.smc import SMC
    from calibration.methods.svi import SVI, Flow

METHODS: dict[str, str | type[Method]] = {
    "map": "calibration.methods.map:MAP",
    "laplace": "calibration.methods.laplace:Laplace",
    "svi": "calibration.methods.svi:SVI",
    "flow": "calibration.methods.svi:Flow",
    "nuts": "calibration.methods.nuts:NUTS",
    "smc": "calibration.methods.smc:SMC",
    "ensemble": "calibration.methods.ensemble_smoother:EnsembleSmoother",
}
"""Class of each method by its name, or where it is: samplers are loaded when they are asked for."""

__all__ = ["MAP", "METHODS", "NUTS", "SMC", "SVI", "EnsembleSmoother", "Flow", "Laplace", "named"]


def named(name: str) -> type[Method]:
    """The class of a method.

    Raises:
        KeyError: there is none of this name.
    """
    found = METHODS[name]
    if not isinstance(found, str):
        return found
    module, _, kind = found.partition(":")
    return getattr(importlib.import_module(module), kind)


def __getattr__(name: str) -> Any:
    """The classes of the methods, loaded when they are asked for."""
    for key, found in METHODS.items():
        if isinstance(found, str) and found.endswith(f":{name}"):
            return named(key)
    raise AttributeError(f"module 'calibration.methods' has no attribute {name!r}")
