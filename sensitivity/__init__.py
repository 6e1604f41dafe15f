"""Derivatives, global indices, driver analysis and pruning."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensitivity.local_derivatives import local
    from sensitivity.problem import Problem
    from sensitivity.pruning.workflow import prune
    from sensitivity.workflow import active_subspace, dgsm, morris, run_sensitivity, sobol

__all__ = [
    "Problem",
    "active_subspace",
    "dgsm",
    "local",
    "morris",
    "prune",
    "run_sensitivity",
    "sobol",
]

_MODULES = {"local": "local_derivatives", "Problem": "problem", "prune": "pruning.workflow"}


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are asked for: the command line needs options only."""
    if name not in __all__:
        raise AttributeError(f"module 'sensitivity' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sensitivity.{_MODULES.get(name, 'workflow')}"), name)
