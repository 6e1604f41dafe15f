"""What a method of inference is: one immutable object with its settings, its words and its checks.

Whatever carries out, checks, keeps or reports a calibration asks this object. So a method is one
file with one class, and one line in :data:`calibration.methods.METHODS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from calibration.methods.mode import Normal, Start, by_gradients
from calibration.methods.posterior import Draws
from diffsoil.io import InputError
from diffsoil.work.checkpoints import Checkpoints
from diffsoil.work.progress import Say

if TYPE_CHECKING:
    from calibration.problem import Problem

Row = dict[str, Any]
"""A row of the checks of a fit, see :mod:`calibration.checks`."""

Repeated = Callable[[Normal, Array, int], Draws]
"""Draws from the normal approximation of a posterior, its measured values and a seed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A method with its settings; the defaults are those of a full run.

    A class of a method declares:

    - ``name``: what the command line and ``fit.json`` call it;
    - ``description``: what it is, in one line of the report;
    - ``searches``: it begins at the best fit, which is searched for;
    - ``has_density``: its draws come from a known density, so that they can be weighted;
    - ``exact``: its draws are from the posterior itself, and depend on each other; those of other
      methods approximate it;
    - ``options``: fields that ``--chains``, ``--warmup`` and ``--draws`` set;
    - ``short``: settings of a quick run.

    Args:
        quick: a short run for a first look, which has to meet less in its checks.
        starts: searches for the best fit.

    Raises:
        diffsoil.io.InputError: a size that is not positive.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    searches: ClassVar[bool] = True
    has_density: ClassVar[bool] = True
    exact: ClassVar[bool] = False
    options: ClassVar[tuple[str, ...]] = ()
    short: ClassVar[Mapping[str, Any]] = {}

    quick: bool = False
    starts: int = 3

    def __post_init__(self) -> None:
        for name in self.options:
            value = getattr(self, name)
            if value < (0 if name == "warmup" else 1):
                raise InputError(f"--{name} {value}: must be positive")

    @classmethod
    def sized(cls, quick: bool = False, **given: Any) -> Self:
        """The method with the settings of a quick or of a full run, but for those that are given.

        Args:
            quick: whether a short run will do.
            given: values of options by name; None, or an option that it has not, changes nothing.
        """
        asked = {n: v for n, v in given.items() if v is not None and n in cls.options}
        return cls(quick=quick, **({"starts": 1} | dict(cls.short) if quick else {}) | asked)

    @property
    def side_by_side(self) -> int:
        """Runs that go side by side, on a CPU each on a device of its own."""
        return int(getattr(self, "chains", 2))

    def best(
        self,
        problem: Problem,
        points: Sequence[Normal],
        report: Say,
        value: Float[Array, " obs"] | None = None,
    ) -> Start:
        """The best fit of searches from some points, and the normal approximation there.

        Args:
            problem: what is fitted.
            points: where searches begin, and how wide the posterior may be there.
            report: called with a line of progress now and then.
            value: measured values in the place of the table's own.
        """
        return by_gradients(problem, points, report, value)

    def draw(
        self,
        problem: Problem,
        start: Normal,
        seed: int,
        checkpoints: Checkpoints,
        report: Say,
    ) -> Draws:
        """Draw.

        Args:
            problem: what is fitted.
            start: normal approximation at the best fit, or only as wide as the priors where the
                method does not search.
            seed: same seed, same draws.
            checkpoints: keep finished parts, and have those of a run to resume.
            report: called with a line of progress now and then.
        """
        raise NotImplementedError

    def finished(
        self, checkpoints: Checkpoints
    ) -> Float[np.ndarray, "chain draw parameter"] | None:
        """Draws that an interrupted run has finished; None where there are none."""
        return None

    def warm(self) -> Self:
        """The method when it begins with a posterior of fewer data and need not learn its width."""
        return self

    def repeated(self, problem: Problem, seed: int) -> Repeated:
        """The method for one set of data after another, with one compiled program."""
        raise NotImplementedError

    def checks(self, tree: xr.DataTree) -> list[Row]:
        """Rows of the table of checks that speak of how it drew."""
        return []

    def told(self) -> dict[str, str]:
        """Rows of the report on how it drew."""
        starts = str(self.starts) if self.searches else "none"
        return {"warm-up": "none", "longest path": "none", "starts of the search": starts}

    @property
    def unchecked(self) -> str:
        """Sentence of the report on checks that cannot be made; empty if there are none."""
        return f"The method {self.name} has no sampler, so no check of one."
