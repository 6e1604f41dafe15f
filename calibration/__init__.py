"""From observations to a posterior: likelihoods, best fit, sampling, prediction, checks."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calibration.problem import Problem
    from calibration.twin.assimilation import assimilate_case as assimilate
    from calibration.workflow import calibrate_case as fit
    from calibration.workflow import predict_case as predict

__all__ = ["Problem", "assimilate", "fit", "predict"]

_PUBLIC = {
    "Problem": "calibration.problem:Problem",
    "assimilate": "calibration.twin.assimilation:assimilate_case",
    "fit": "calibration.workflow:calibrate_case",
    "predict": "calibration.workflow:predict_case",
}


def __getattr__(name: str) -> Any:
    """The public names, loaded when they are asked for: the command line needs none of them."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'calibration' has no attribute {name!r}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)
