"""Stale synchronous parallel: asynchronous, but no worker is more than s steps ahead of the slowest.

The chief does not say how many steps a call has: the dispatch thread of a worker asks `Bound`, and waits until the
slowest worker has come close enough. Calls have at most s + 1 steps, so that a small s costs round trips.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jobs.api import Job
from workers.messages import Assignment
from workers.modes.async_ import AsyncMode
from workers.modes.bound import Bound
from workers.modes.mode import Call, Decision
from workers.modes.ps_workers import current_worker
from workers.modes.registry import values_of
from workers.snapshot import Snapshot


class SspMode(AsyncMode):
    """The chief of an asynchronous worker group with bounded staleness."""

    def __init__(self, assignment: Assignment, job: Job) -> None:
        super().__init__(assignment, job)
        self._bound = Bound(self._workers, values_of(self._settings.mode)["number"])

    def begin(self, start: Snapshot, seed: int) -> None:
        super().begin(start, seed)
        self._bound.begin(start.step)

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        self._bound.offer(total, proposal.steps)
        while self._in_flight < self._workers and self._bound.has_steps:
            self._in_flight += 1
            self._cluster.schedule(self._execute, self._iterators, 0)
        return self._collect(), proposal

    def drain(self) -> Sequence[Call]:
        self._bound.close()
        return super().drain()

    def _execute(self, iterator: Any, _: int) -> None:
        worker = current_worker()
        steps = self._bound.take(worker)
        if not steps:
            nothing = np.zeros(0, np.int64)
            self._completed.put(Call(worker, nothing, np.zeros((0, len(self.log_names))), 0.0, 0.0))
            return
        try:
            super()._execute(iterator, steps)
        except BaseException:
            self._bound.lost(worker, steps)
            raise
        self._bound.completed(worker, steps)

    def _collect(self) -> list[Call]:
        return [call for call in super()._collect() if len(call.steps)]
