"""The Laplace approximation: a normal at the mode, with the curvature of the posterior there."""

from __future__ import annotations

import dataclasses

from jaxtyping import Array

from calibration.methods.method import Method, Repeated
from calibration.methods.mode import Normal
from calibration.methods.posterior import Draws
from calibration.problem import Problem
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Laplace(Method):
    """Draws of the normal approximation, weighted where weights can correct them.

    Args:
        draws: how many, at least 1.
    """

    name = "laplace"
    description = (
        "a normal approximation of the posterior around the most probable parameters; "
        "no sampler ran, so there is nothing to say about convergence, and limits can be wrong "
        "where the posterior is bent or one-sided"
    )

    draws: int = 1000

    def draw(
        self,
        problem: Problem,
        start: Normal,
        seed: int,
        checkpoints: Checkpoints,
        report: Say,
    ) -> Draws:
        """See :meth:`.method.Method.draw`."""
        return self._drawn(start, seed)

    def repeated(self, problem: Problem, seed: int) -> Repeated:
        """See :meth:`.method.Method.repeated`."""

        def draws(start: Normal, value: Array, seed: int) -> Draws:
            return self._drawn(start, seed)

        return draws

    def _drawn(self, start: Normal, seed: int) -> Draws:
        z = start.sample(self.draws, seed)
        return Draws(z[None], log_proposal=start.log_density(z)[None])
