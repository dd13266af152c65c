"""Stale synchronous parallel: asynchronous, but no worker is more than s steps ahead of the slowest.

A worker waits until the slowest has come close enough. Calls have at most s + 1 steps, so that a small s costs round
trips.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs.api import Job
from workers.messages import Assignment
from workers.modes.bound import Bound
from workers.modes.granted import GrantedMode
from workers.modes.registry import values_of

if TYPE_CHECKING:
    from workers.news import IntArray


class SspMode(GrantedMode):
    """The chief of an asynchronous worker group with bounded staleness."""

    _grants: Bound

    def __init__(self, assignment: Assignment, job: Job) -> None:
        super().__init__(assignment, job)
        self._grants = Bound(self._workers, values_of(self._settings.mode)["number"])

    def _ran(self, worker: int, reads: IntArray) -> None:
        self._grants.completed(worker, len(reads) - 1)
