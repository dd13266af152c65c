"""Asynchronous modes in which a worker may have to wait before its next step.

The chief does not say how many steps a call has: the dispatch thread of a worker asks `Grants`, and waits there. So no
closure that waits holds steps that the workers it waits for need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from workers.modes.async_ import AsyncMode
from workers.modes.grants import Grants
from workers.modes.mode import Call, Decision
from workers.snapshot import Snapshot

if TYPE_CHECKING:
    from workers.news import IntArray


class GrantedMode(AsyncMode):
    """The chief of an asynchronous worker group whose workers ask for their steps."""

    _grants: Grants

    def begin(self, start: Snapshot, seed: int) -> None:
        super().begin(start, seed)
        self._grants.begin(start.step)

    def advance(self, proposal: Decision, boundary: int, total: int) -> tuple[Sequence[Call], Decision]:
        self._grants.offer(total, proposal.steps)
        while self._in_flight < self._workers and self._grants.has_steps:
            self._schedule(0)
        return self._collect(), proposal

    def drain(self) -> Sequence[Call]:
        self._grants.close()
        return super().drain()

    def _execute(self, worker: int, _: int) -> None:
        steps = self._grants.take(worker)
        if not steps:
            nothing = np.zeros(0, np.int64)
            self._completed.put(Call(worker, nothing, np.zeros((0, len(self.log_names))), 0.0, 0.0))
            return
        try:
            super()._execute(worker, steps)
        except BaseException:
            self._lost(worker, steps)
            raise

    def _ran(self, worker: int, reads: IntArray) -> None:
        """Tell `Grants` that `worker` has taken steps."""
        raise NotImplementedError

    def _lost(self, worker: int, steps: int) -> None:
        self._grants.lost(worker, steps)

    def _collect(self) -> list[Call]:
        return [call for call in super()._collect() if len(call.steps)]
