"""A run across its restarts: what they cost so far, how far it got, and what its training clock shows meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from orchestrator.control.failure_policy import Budget, Decision, FailurePolicy
from workers.messages import CheckpointWritten, ReplicaStatus, TaskFailure


@dataclass(frozen=True)
class _Reading:
    """What the training clock showed, and when that was, in monotonic seconds."""

    clock: float
    at: float


class Restarts:
    """Of one run. The clock and the way to wait are injected."""

    def __init__(
        self,
        run_id: str,
        policy: FailurePolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run_id = run_id
        self._policy = policy
        self._clock = clock
        self.wait = sleep
        self._budget = Budget()
        self._reading: _Reading | None = None
        self.checkpoint: int | None = None
        """Step of the latest checkpoint since the group was launched, or the run was rolled back."""

    def hear(self, statuses: Iterable[ReplicaStatus]) -> None:
        """Take in a poll of the run's leg."""
        now = self._clock()
        for status in statuses:
            if any(plan.run_id == self._run_id for plan in status.leg_started) and self._reading is None:
                self._reading = _Reading(0.0, now)
            for batch in status.batches:
                if len(batch.clock) and batch.run_id == self._run_id:
                    self._reading = _Reading(float(batch.clock[-1]), now)
            for written in status.checkpoints:
                if isinstance(written, CheckpointWritten) and written.run_id == self._run_id:
                    self.checkpoint = max(written.step, self.checkpoint or 0)
                    self._budget = self._budget.after_progress(written.step)

    def goes_on_at(self, clock: float) -> None:
        """The training clock that a run had which is taken up again, in seconds."""
        self._reading = _Reading(clock, self._clock())

    def training_clock(self) -> float:
        """Seconds: what was lost by a failure counts as much as what was trained."""
        return 0.0 if self._reading is None else self._reading.clock + self._clock() - self._reading.at

    def decide(self, failure: TaskFailure) -> Decision:
        """Whether the group is launched anew, and after how many seconds; what that costs is booked."""
        decision = self._policy.decide(failure, self._budget)
        self._budget = decision.budget
        return decision
