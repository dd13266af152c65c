"""One training task: what it keeps from leg to leg in one launched group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jobs.api import Job
from workers.data.stream import samples_per_epoch
from workers.messages import Assignment, Leg
from workers.modes.mode import Mode

Send = Callable[[Any], None]
"""Sends an event to the replica's supervisor."""


class Trainer:
    """Holds the task's mode, which is built and compiled once, and the requests to stop a leg."""

    def __init__(self, assignment: Assignment, job: Job, mode: Mode, send: Send) -> None:
        self.assignment = assignment
        self.job = job
        self.mode = mode
        self.send = send
        self._leg = 0
        self._stops: dict[int, str] = {}
        """Reason to end a leg, by its number. A request may arrive before its leg starts, or after it ended."""
        self._samples_per_epoch: int | None = None

    @property
    def stop(self) -> str | None:
        """Why the current leg has to end at its next call; None if it continues."""
        return self._stops.get(self._leg)

    def request_stop(self, reason: str, leg: int) -> None:
        """End leg number `leg` at its next call. Any thread may call this; only the leader's request counts."""
        self._stops.setdefault(leg, reason)

    def prepare(self) -> None:
        """Build and compile, which happens once per group."""
        self.mode.build()

    def begin(self, leg: Leg) -> None:
        """Make `leg` the current leg, whose stop requests count."""
        self._leg = leg.number

    @property
    def counted_samples(self) -> int | None:
        """Samples in one pass over the training data, if something has asked for them."""
        return self._samples_per_epoch

    def samples_per_epoch(self) -> int:
        """Samples in one pass over the training data; counted once per group."""
        if self._samples_per_epoch is None:
            self._samples_per_epoch = samples_per_epoch(self.job, self.assignment.settings.batch_size)
        return self._samples_per_epoch
