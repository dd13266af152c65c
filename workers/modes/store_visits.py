"""A worker's visits to the store: what it takes from the state that all workers share, and what it leaves there.

No TensorFlow: `workers.modes.store_steps` calls this from within a step's graph. A visit takes all that optimizers
manage (weights, slots, counts, rates) as it is now. What a step writes besides (statistics, random states, variables of
a custom `train_step`) stays the last writer's, as on a parameter server; but what a step adds to is added to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from workers.modes.store import Store

Kind = Literal["managed", "added", "own"]
"""Of a variable: taken from the store; added to; or written over."""


class Visits:
    """One worker's visits."""

    def __init__(self, store: Store, kinds: Sequence[Kind]) -> None:
        """`kinds` has a kind for each array of the state."""
        self.added = [position for position, kind in enumerate(kinds) if kind == "added"]
        """Positions of the arrays that `begin` needs."""
        self.taken = self.added + [position for position, kind in enumerate(kinds) if kind == "managed"]
        """Positions of the arrays that `begin` returns."""
        self._store = store
        self._last: list[npt.NDArray[Any]] = []
        """Of the arrays that a step adds to: what they were after the last visit."""
        self._number = -1
        """The number of the state after the last visit, and the count of updates in it."""
        self._count = 0
        self._is_inside = False
        self._numbers: list[int] = []
        self._reads: list[int] = []

    def catch_up(self) -> list[npt.NDArray[Any]] | None:
        """The present state; None if it is the one after this worker's last visit."""
        self._numbers, self._reads = [], []
        if self._store.number == self._number:
            return None
        with self._store.locked():
            found, self._number, self._count = self._store.read(), self._store.number, self._store.count
        self._last = [found[position].copy() for position in self.added]
        return found

    def begin(self, *own: npt.NDArray[Any]) -> list[Any]:
        """Begin a visit, `own` being the worker's arrays at `added`; returns how stale it is, and those at `taken`."""
        self._store.lock()
        self._is_inside = True
        found = self._store.read(self.taken)
        if self._store.number == self._number:
            found[: len(own)] = [mine.copy() for mine in own]
        else:
            for position, (mine, last) in enumerate(zip(own, self._last, strict=True)):
                found[position] = found[position] + (mine - last)
        return [np.float32(self._store.count - self._count), *found]

    def finish(self, *own: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """End a visit with the updated state `own`, and count it."""
        self._reads.append(self._count)
        self._count = self._store.count + 1
        self._numbers.append(self._count)
        self._store.write(own, self._count)
        self._number = self._store.number
        self._last = [own[position].copy() for position in self.added]
        self.leave()
        return np.array(0, np.int32)

    def leave(self) -> None:
        """Give the lock back, if a step failed within a visit."""
        if self._is_inside:
            self._is_inside = False
            self._store.unlock()

    def counted(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of the steps since `catch_up`: the numbers of their updates, and of the updates in the weights that each read
        and that the worker has now."""
        return np.array(self._numbers, np.int64), np.array([*self._reads, self._count], np.int64)
