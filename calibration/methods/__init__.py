"""Methods of inference: the mode, approximations of the posterior, and samplers.

:data:`METHODS` names them all. Each is a class in a file of its own; see
:class:`calibration.methods.method.Method` for what it declares, and ``docs/how_to/extending.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffsoil.registry import Registry

if TYPE_CHECKING:
    from calibration.methods.ensemble_smoother import EnsembleSmoother
    from calibration.methods.laplace import Laplace
    from calibration.methods.map import MAP
    from calibration.methods.method import Method
    from calibration.methods.nuts import NUTS
    from calibration.methods.smc import SMC
    from calibration.methods.surrogate import Surrogate
    from calibration.methods.svi import SVI, Flow

METHODS: Registry[type[Method]] = Registry(
    "method",
    {
        "map": "calibration.methods.map:MAP",
        "laplace": "calibration.methods.laplace:Laplace",
        "svi": "calibration.methods.svi:SVI",
        "flow": "calibration.methods.svi:Flow",
        "surrogate": "calibration.methods.surrogate:Surrogate",
        "nuts": "calibration.methods.nuts:NUTS",
        "smc": "calibration.methods.smc:SMC",
        "ensemble": "calibration.methods.ensemble_smoother:EnsembleSmoother",
    },
    "calibration.methods",
    "calibration.methods.method:Method",
)
"""Class of each method by its name; samplers are imported when they are asked for."""

__all__ = [
    "MAP",
    "METHODS",
    "NUTS",
    "SMC",
    "SVI",
    "EnsembleSmoother",
    "Flow",
    "Laplace",
    "Surrogate",
]


def __getattr__(name: str) -> Any:
    """The classes of the methods, imported when they are asked for."""
    for kind in METHODS.own.values() if name in __all__ else ():
        if kind.__name__ == name:
            return kind
    raise AttributeError(f"module 'calibration.methods' has no attribute {name!r}")
