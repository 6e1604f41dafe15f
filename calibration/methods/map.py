"""The most probable parameters alone (maximum a posteriori)."""

from __future__ import annotations

import dataclasses

from calibration.methods.method import Method
from calibration.methods.mode import Normal
from calibration.methods.posterior import Draws
from calibration.problem import Problem
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say


@dataclasses.dataclass(frozen=True, kw_only=True)
class MAP(Method):
    """The best fit, as one draw."""

    name = "map"
    description = "the single most probable set of parameters (no uncertainty)"
    has_density = False

    def draw(
        self,
        problem: Problem,
        start: Normal,
        seed: int,
        checkpoints: Checkpoints,
        report: Say,
    ) -> Draws:
        """See :meth:`.method.Method.draw`."""
        return Draws(start.mean[None, None])
