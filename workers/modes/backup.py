"""Backup workers: each update is the mean of the first N - b gradients computed on the weights before it.

The others come too late, are counted and dropped, and their workers go on from the new weights. A worker gives one
gradient for each version of the weights, so that a call has one step, and waits for the next version before another.
With b = 0 no gradient is ever late: that is mode `sync`, and trained by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jobs.api import Job
from workers.messages import Assignment
from workers.modes.granted import GrantedMode
from workers.modes.kasync import KAsyncMode
from workers.modes.versions import Versions

if TYPE_CHECKING:
    from workers.news import FloatArray, IntArray


class BackupMode(GrantedMode, KAsyncMode):
    """The chief of a group whose late gradients are dropped."""

    fresh = True
    _grants: Versions

    def __init__(self, assignment: Assignment, job: Job) -> None:
        super().__init__(assignment, job)
        self._grants = Versions(self._workers, self._wanted())

    def _ran(self, worker: int, reads: IntArray) -> None:
        self._grants.completed(worker, int(reads[0]), int(reads[-1]))

    def _lost(self, worker: int, steps: int) -> None:
        super()._lost(worker, steps)
        self._grants.learn(self.gathering.kept())  # its gradient may have made an update that it could not report

    def _staleness(self, numbers: IntArray, reads: IntArray) -> FloatArray:
        return np.zeros(len(numbers))  # what is stale is dropped
