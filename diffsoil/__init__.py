"""diffsoil: a differentiable soil column.

Soil organic carbon and the soil around it over millennia, with exact gradients of
everything the program computes with respect to everything it was told.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from diffsoil import _runtime

if TYPE_CHECKING:
    from diffsoil.cases import load_case, parameter_table
    from diffsoil.output.simulation import simulate

__all__ = ["load_case", "parameter_table", "simulate"]

_MODULES = {
    "load_case": "diffsoil.cases",
    "parameter_table": "diffsoil.cases",
    "simulate": "diffsoil.output.simulation",
}

_runtime.configure()


def __getattr__(name: str) -> Any:
    """The public functions, loaded when they are asked for: tables and files are heavy."""
    if name not in _MODULES:
        raise AttributeError(f"module 'diffsoil' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
