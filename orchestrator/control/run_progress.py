"""A run's progress over all its attempts: its training clock, last checkpoint and retry budget."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.control.failure_policy import Decision, FailurePolicy, RetryBudget
from workers.messages import TaskFailure
from workers.news import CheckpointWritten, LegStarted, ReplicaStatus, StepBatch


class RunProgress:
    """Progress of one run. `now` is in monotonic seconds, `clock` in seconds of the training clock."""

    def __init__(self, run_id: str, clock: float | None, now: float) -> None:
        """`clock` is the time at which the training clock of a resumed run continues."""
        self.run_id = run_id
        self._budget = RetryBudget()
        self._reading = None if clock is None else (clock, now)
        """The last reading of the training clock, and the monotonic time of that reading."""
        self.checkpoint: int | None = None
        """Step of the latest checkpoint since the group was launched or the run was rolled back."""

    def observe(self, statuses: Iterable[ReplicaStatus], now: float) -> None:
        """Process a poll of the run's leg."""
        for news in (news for status in statuses for news in status.news):
            match news:
                case LegStarted(run_id=self.run_id) if self._reading is None:
                    self._reading = (0.0, now)
                case StepBatch(run_id=self.run_id) if len(news.clock):
                    self._reading = (float(news.clock[-1]), now)
                case CheckpointWritten(run_id=self.run_id):
                    self.checkpoint = max(news.step, self.checkpoint or 0)
                    self._budget = self._budget.after_progress(news.step)

    def training_clock(self, now: float) -> float:
        """The training clock in seconds; it includes time lost by failures."""
        return 0.0 if self._reading is None else self._reading[0] + now - self._reading[1]

    def decide(self, failure: TaskFailure, policy: FailurePolicy) -> Decision:
        """Decide whether to retry, and charge the retry budget."""
        decision = policy.decide(failure, self._budget)
        self._budget = decision.budget
        return decision
