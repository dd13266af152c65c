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

from workers.modes.store import Flats, Layout, Store

Kind = Literal["managed", "added", "own"]
"""Of a variable: taken from the store; added to; or written over."""


class Visits:
    """One worker's visits."""

    def __init__(self, store: Store, kinds: Sequence[Kind]) -> None:
        """`kinds` has a kind for each array of the state."""
        self._store = store
        self._taken = _elements(store.layout, kinds, "managed")
        self._added = _elements(store.layout, kinds, "added")
        self._adds = any(each.any() for each in self._added)
        self._last: Flats = ()
        """The state after the last visit, if the worker adds to anything."""
        self._number = -1
        """The number of that state."""
        self._count = 0
        """The count of updates in it."""
        self._is_inside = False
        self._numbers: list[int] = []
        self._reads: list[int] = []

    def catch_up(self) -> Flats | None:
        """The present state; None if it is the one after this worker's last visit."""
        self._numbers, self._reads = [], []
        if self._store.number == self._number:
            return None
        with self._store.locked():
            found, self._number, self._count = self._store.read(), self._store.number, self._store.count
        self._keep(found)
        return found

    def begin(self, *own: npt.NDArray[Any]) -> list[Any]:
        """Begin a visit with the worker's state `own`; returns how stale it is, and the state to update."""
        self._store.lock()
        self._is_inside = True
        stale = np.float32(self._store.count - self._count)
        if self._store.number == self._number:
            return [stale, *(mine.copy() for mine in own)]
        merged = []
        for index, (mine, present) in enumerate(zip(own, self._store.read(), strict=True)):
            vector = np.where(self._taken[index], present, mine)
            if (added := self._added[index]).any():
                vector[added] = present[added] + (mine[added] - self._last[index][added])
            merged.append(vector)
        return [stale, *merged]

    def finish(self, *own: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """End a visit with the updated state `own`, and count it."""
        self._reads.append(self._count)
        self._count = self._store.count + 1
        self._numbers.append(self._count)
        self._store.write(own, self._count)
        self._number = self._store.number
        self._keep(own)
        self.leave()
        return np.array(0, np.int32)

    def leave(self) -> None:
        """Give the lock back, if a step failed within a visit."""
        if self._is_inside:
            self._is_inside = False
            self._store.unlock()

    def taken(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Of the steps since `catch_up`: the numbers of their updates, and of the updates in the weights that each read
        and that the worker has now."""
        return np.array(self._numbers, np.int64), np.array([*self._reads, self._count], np.int64)

    def _keep(self, flats: Sequence[npt.NDArray[Any]]) -> None:
        if self._adds:
            self._last = tuple(np.array(flat) for flat in flats)


def _elements(layout: Layout, kinds: Sequence[Kind], kind: Kind) -> list[npt.NDArray[np.bool_]]:
    """By type: which elements of a vector are of arrays of this kind."""
    found = []
    for dtype in layout.dtypes:
        members = layout.members(dtype)
        found.append(np.repeat([kinds[member] == kind for member in members], [layout.size(m) for m in members]))
    return found
