"""K-async: an update is the mean of the first K gradients to arrive, whatever weights they were computed on.

A counted step is one gradient, as in `async`, so that samples count what was computed; every K-th moves the weights.
Gradients that wait for others are part of a checkpoint. Those that still wait when a run ends are in no update, and
counted as dropped: K - 1 at most.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from workers.messages import Counts
from workers.modes.async_ import AsyncMode
from workers.modes.gathering import Gathering
from workers.modes.ps_group import PsGroup
from workers.modes.registry import batches_per_update
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    from workers.news import FloatArray, IntArray


class KAsyncMode(AsyncMode):
    """The chief of a group whose gradients are gathered."""

    gathering: Gathering
    fresh = False
    """Whether gradients that were not computed on the present weights are dropped."""
    _base = 0
    """The step before the first gradient of this leg, or of those that waited when it began."""

    @property
    def counts(self) -> Counts:
        return Counts(updates=self.gathering.updates, dropped_gradients=self.gathering.dropped)

    def begin(self, start: Snapshot, seed: int) -> None:
        self.gathering.load(start.gathered, start.step)
        self._base = start.step - self.gathering.kept()
        super().begin(start, seed)

    def snapshot(self, clock: float) -> Snapshot:
        taken = super().snapshot(clock)
        return taken if self._in_flight else replace(taken, gathered=self.gathering.state())

    def _make_gathering(self, group: PsGroup) -> Gathering:
        mode = self._settings.mode
        self.gathering = Gathering(group.model, group.counter, mode, wanted=self._wanted(), fresh=self.fresh)
        return self.gathering

    def _wanted(self) -> int:
        """The gradients of an update."""
        return batches_per_update(self._settings.mode, self._workers)

    def _updates(self, step: int) -> int:
        return self.gathering.kept() // self.gathering.wanted

    def _staleness(self, numbers: IntArray, reads: IntArray) -> FloatArray:
        """In updates, of which the K-th of every K gradients makes one."""
        wanted = self.gathering.wanted
        return ((numbers - 1 - self._base) // wanted - reads // wanted).astype(np.float64)
