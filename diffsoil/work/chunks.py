"""Work that is stored in chunks: a file for each, whole or not at all.

Every chunk holds what it has found and the state that the next one starts from, so a run that is
stopped at any moment loses the chunk it was at, goes on after the last file and ends as if it had
never been stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from diffsoil.io import InputError
from diffsoil.work import arrays

KEPT, STATE = "kept_", "state_"


class Chunks:
    """The chunks of one run.

    Args:
        folder: folder of the fit.
        name: of the folder within it that holds the files.
        resume: go on after the chunks that are there; they are removed if not.
        report: given a line if a chunk is damaged; the run goes on from the last good one.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        resume: bool = False,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._folder = Path(folder) / name
        good = self._good(report) if resume else 0
        for path in self._files()[good:]:
            path.unlink()
        self.done = good

    def _good(self, report: Callable[[str], None] | None) -> int:
        """How many chunks there are before the first damaged one."""
        files = self._files()
        for number, path in enumerate(files):
            try:
                arrays.load(path)
            except arrays.DamagedError as error:
                if report is None:
                    raise
                report(f"{error}; going on from the {number} of {len(files)} pieces before it")
                return number
        return len(files)

    def _files(self) -> list[Path]:
        """Files of the finished chunks in order; one after a gap does not count."""
        found: list[Path] = []
        while (path := self._path(len(found))).is_file():
            found.append(path)
        return found

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.npz"

    def save(self, kept: dict[str, np.ndarray], state: Any) -> None:
        """Write the next chunk.

        Args:
            kept: what it has found, by name; may be empty.
            state: pytree of arrays that the next chunk starts from.
        """
        content = {f"{KEPT}{name}": np.asarray(value) for name, value in kept.items()}
        leaves = jax.tree.leaves(state)
        content |= {f"{STATE}{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        self._folder.mkdir(parents=True, exist_ok=True)
        arrays.save(self._path(self.done), **content)
        self.done += 1

    def state(self, start: Any) -> Any:
        """The state after the last chunk, with the structure of ``start``, or else ``start``."""
        if not self.done:
            return start
        path = self._path(self.done - 1)
        file = arrays.load(path)
        count = sum(name.startswith(STATE) for name in file)
        leaves = [jnp.asarray(file[f"{STATE}{i}"]) for i in range(count)]
        leaves_of, shape = jax.tree.flatten(start)
        if len(leaves) != len(leaves_of):
            raise InputError(f"{path}: holds {len(leaves)} arrays, {len(leaves_of)} are expected")
        return jax.tree.unflatten(shape, leaves)

    def each(self) -> Iterator[dict[str, np.ndarray]]:
        """What each chunk has found, one in memory at a time."""
        for path in self._files():
            file = arrays.load(path)
            yield {n.removeprefix(KEPT): file[n] for n in file if n.startswith(KEPT)}

    def kept(self, axis: int = 1) -> dict[str, np.ndarray]:
        """All that the chunks have found, joined along an axis."""
        full = [part for part in self.each() if part]
        if not full:
            return {}
        return {name: np.concatenate([p[name] for p in full], axis=axis) for name in full[0]}
