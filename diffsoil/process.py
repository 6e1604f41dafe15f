"""What a process of the column is: the contract between physics and time stepping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import equinox as eqx
from jaxtyping import Array

from diffsoil.state import State
from diffsoil.variables import Variable, declare

type Environment = dict[str, Array]
"""Values by the names of ``diffsoil.variables.VARIABLES``."""

SOLVED = "solved"
"""What a process names so (``jax.ad_checkpoint.checkpoint_name``) a slow step keeps for its
derivatives instead of searching for it anew."""


class Process(eqx.Module):
    """One process of one column, without a batch axis (batching is ``jax.vmap``'s job).

    A process declares what it needs from the case or from processes before it, what it
    provides to those after it, and which state it touches; removing or replacing one is then
    checked before anything runs. What follows from the case alone is computed ahead of the
    time loop and not differentiated unless one of its parameters is free.
    """

    name: ClassVar[str]
    """First half of a full parameter name."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Variables that :meth:`slow` must find."""
    yearly_needs: ClassVar[tuple[str, ...]] = ()
    """Variables that :meth:`year` must find."""
    provides: ClassVar[tuple[str, ...]] = ()
    """Variables that :meth:`slow` returns."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Fields of the state that :meth:`slow` reads or changes."""
    changes: ClassVar[tuple[str, ...]] = ()
    """Fields of the state that :meth:`year` reads or changes."""
    costly: ClassVar[bool] = False
    """Whether :meth:`slow` is worth reusing for some slow steps under the same weather."""
    variables: ClassVar[Mapping[str, Variable]] = {}
    """What it provides, or needs, and no process declared before it; known once the class is."""
    after: ClassVar[str] = ""
    """Name of the process after which one acts that is added to a column from outside."""
    indispensable: ClassVar[str] = ""
    """Why no column can be without it, where that is not for what another process needs."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Declare the variables.

        Raises:
            ValueError: one of them is there already and means something else.
        """
        super().__init_subclass__(**options)
        declare(cls.variables)

    @property
    def parts(self) -> tuple[eqx.Module, ...]:
        """Modules whose parameters have the name of the process before their own."""
        return ()

    def stand_in(self) -> Process | None:
        """A cheaper process of the same name that takes its place where it is removed.

        None where nothing has to: what others need of it has a neutral value in
        ``diffsoil.variables.VARIABLES``, or nobody else needs it.
        """
        return None

    def slow(self, state: State, environment: Environment, years: int) -> tuple[State, Environment]:
        """Act once in a slow step.

        Args:
            state: column at the start of the step.
            environment: everything provided so far.
            years: length of the step; one simulated year of climate stands for all of them.

        Returns:
            The state after the step's slow part, and the variables provided.
        """
        return state, {}

    def reused(self, provided: Environment, then: Environment, now: Environment) -> Environment:
        """What a :attr:`costly` process provides in a slow step in which it does not act.

        Args:
            provided: by :meth:`slow` when it last acted.
            then: the environment that it met at that time.
            now: the present environment, before the process.
        """
        return provided

    def year(self, state: State, environment: Environment) -> State:
        """Act in each year of a slow step."""
        return state
