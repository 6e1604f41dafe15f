"""From observations to a posterior: likelihoods, best fit, sampling, prediction, checks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibration.fitting import fit
    from calibration.problem import Problem
    from calibration.saved_fit import load
    from calibration.transfer import predict
    from calibration.twin.assimilation import assimilate

__all__ = ["Problem", "assimilate", "fit", "load", "predict"]

_PUBLIC = {
    "Problem": "calibration.problem:Problem",
    "assimilate": "calibration.twin.assimilation:assimilate",
    "fit": "calibration.fitting:fit",
    "load": "calibration.saved_fit:load",
    "predict": "calibration.transfer:predict",
}


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are asked for: the command line needs none of them."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'calibration' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
