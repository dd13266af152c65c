"""Watches the weights of a leg: a model that is not finite cannot be trained any further."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from workers.modes.mode import Call
from workers.snapshot import Snapshot

SECONDS = 1.0
"""Longest time between two looks at the weights, unless reading them takes long."""
_MOST_SHARE = 0.05
"""Largest share of the time that may be spent on reading weights."""


class FiniteWeights:
    """Looks at the trained weights every second, and at once after a loss that is NaN or infinite.

    The loss alone does not tell: oneDNN's fused layers turn a NaN into 0, and mixed precision skips steps whose loss
    overflows.
    """

    def __init__(self, trainable: Sequence[bool], clock: Callable[[], float] = time.monotonic) -> None:
        """`trainable`: which of a snapshot's weights are trained. Others may be infinite, such as a running minimum."""
        self._trainable = tuple(trainable)
        self._clock = clock
        self._due = clock() + SECONDS
        self._suspected = False
        self.lost = False
        """Whether a weight was NaN or infinite when they were last looked at."""

    def observe(self, calls: Sequence[Call], read: Callable[[], Snapshot]) -> None:
        """Take completed calls into account; `read` returns the state after them."""
        suspected = any(not np.isfinite(call.logs[:, 0]).all() for call in calls)
        begun = self._clock()
        if begun < self._due and (self._suspected or not suspected):
            return
        self.look(read())
        now = self._clock()
        self._due = now + max(SECONDS, (now - begun) / _MOST_SHARE)
        self._suspected = suspected

    def look(self, state: Snapshot) -> None:
        trained = (array for array, is_trained in zip(state.weights, self._trainable, strict=True) if is_trained)
        self.lost = not all(np.isfinite(array).all() for array in trained if array.dtype.kind == "f")
