"""Named choices: what may be written for one slot of a case, and what is made of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import Any

from diffsoil.io import InputError, nearest


def _same_definition(one: Any, other: Any) -> bool:
    """Whether two classes or functions are one, perhaps because its file has run twice."""
    names = ("__module__", "__qualname__")
    return one is other or all(
        getattr(one, name, one) == getattr(other, name, other) for name in names
    )


def _imported(found: Any) -> Any:
    """What stands at ``package.module:NAME``; anything else as it is."""
    if not isinstance(found, str):
        return found
    module, _, name = found.partition(":")
    return getattr(importlib.import_module(module), name)


class _Own[T](Mapping[str, T]):
    """The choices of this program, imported when they are looked at."""

    def __init__(self, found: Mapping[str, T | str]) -> None:
        self._found = dict(found)

    def __getitem__(self, name: str) -> T:
        choice: T = _imported(self._found[name])
        return choice

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __contains__(self, name: object) -> bool:
        return name in self._found


class Registry[T](Mapping[str, T]):
    """The choices of a slot by name: those of this program, then those added from outside.

    A package adds a choice by an entry point of ``group``, which is loaded when the registry is
    first looked into; a script by :meth:`register`.

    Args:
        what: a choice in words, for messages.
        own: the choices of this program; one whose file is to be imported only when it is chosen
            is given as ``package.module:NAME``.
        group: of entry points; none if empty.
        kind: what choices are classes of, with their name as ``name``; may be given in that
            way too.
        added: called with each choice from outside, before it can be chosen; raises ValueError
            where it cannot be.

    Attributes:
        own: the choices of this program, which hold where a case names none.
    """

    def __init__(
        self,
        what: str,
        own: Mapping[str, T | str],
        group: str = "",
        kind: type | str | None = None,
        added: Callable[[T], None] = lambda choice: None,
    ) -> None:
        self.what = what
        self.own: Mapping[str, T] = _Own(own)
        self._group = group
        self._kind = kind
        self._on_adding = added
        self._added: dict[str, T] = {}
        self._loaded = not group

    def register(self, name: str, choice: T) -> None:
        """Add a choice from outside.

        Args:
            name: what a case writes.
            choice: what it stands for.

        Raises:
            ValueError: the name is taken, or the choice does not fit.
        """
        there = self._added.get(name)
        if name in self.own or (there is not None and not _same_definition(there, choice)):
            raise ValueError(f"there is a {self.what} {name!r} already")
        if self._kind:
            kind: type = _imported(self._kind)
            if not (isinstance(choice, type) and issubclass(choice, kind)):
                raise ValueError(f"{self.what} {name!r} is no class of {kind.__name__}")
            if (own := getattr(choice, "name", None)) != name:
                raise ValueError(f"{self.what} {name!r} has the name {own!r} of its own")
        self._on_adding(choice)
        self._added[name] = choice

    def _others(self) -> dict[str, T]:
        if not self._loaded:
            self._loaded = True  # what is loaded may look into the registry itself
            for point in metadata.entry_points(group=self._group):
                try:
                    self.register(point.name, point.load())
                except Exception as error:
                    self._loaded = False
                    raise InputError(
                        f"{self.what} {point.name!r} ({self._group}, {point.value}) cannot be "
                        f"loaded: {error}"
                    ) from error
        return self._added

    def __getitem__(self, name: str) -> T:
        return self.own[name] if name in self.own else self._others()[name]

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from self._others()

    def __len__(self) -> int:
        return len(self.own) + len(self._others())

    def known(self, name: str) -> str:
        """The name of a choice; ValueError, which names the nearest, if it is none."""
        if name not in self:
            there = ", ".join(repr(other) for other in self) or "none"
            raise ValueError(f"no {self.what} {name!r}{nearest(name, self) or f' ({there})'}")
        return name
