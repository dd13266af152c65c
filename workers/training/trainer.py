"""Trains legs, one after another, in one launched group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs.api import Job
from workers.data.stream import samples_per_epoch
from workers.messages import Assignment, Leg
from workers.modes.mode import Mode

Send = Callable[[Any], None]
"""Hands an event to the replica's supervisor."""


class Trainer:
    """One training task of a group: its mode, built and compiled once, and the requests to stop a leg."""

    def __init__(self, assignment: Assignment, job: Job, mode: Mode, send: Send) -> None:
        self.assignment = assignment
        self.job = job
        self.mode = mode
        self.send = send
        self._leg = 0
        self._stops: dict[int, str] = {}
        """Reasons to end a leg, by its number; one may arrive before its leg, or after it ended."""
        self._epoch: int | None = None

    @property
    def stop(self) -> str | None:
        """Why the current leg is to end at its next call; None if it is not."""
        return self._stops.get(self._leg)

    def request_stop(self, reason: str, leg: int) -> None:
        """Ask leg number `leg` to end at its next call; any thread may call this, only the leader's counts."""
        self._stops.setdefault(leg, reason)

    def prepare(self) -> None:
        """Build and compile: everything that is paid once per group."""
        self.mode.build()

    def begin(self, leg: Leg) -> None:
        """From now on stop requests for `leg` count."""
        self._leg = leg.number

    def samples_per_epoch(self) -> int:
        """Samples in one pass over the training data; counted once per group."""
        if self._epoch is None:
            self._epoch = samples_per_epoch(self.job, self.assignment.settings.batch_size)
        return self._epoch
