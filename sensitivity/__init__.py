"""Derivatives, global indices, driver analysis and pruning."""

from sensitivity.local import local
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
