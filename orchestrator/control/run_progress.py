"""How far a run has come, over all its attempts: its training clock, its last checkpoint, its retry budget."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.control.failure_policy import Decision, FailurePolicy, RetryBudget
from workers.messages import TaskFailure
from workers.news import CheckpointWritten, LegStarted, ReplicaStatus, StepBatch


class RunProgress:
    """One run. Times are monotonic seconds, unless they are the training clock's."""

    def __init__(self, run_id: str, clock: float | None, now: float) -> None:
        """`clock`: where the training clock of a run that is resumed continues."""
        self.run_id = run_id
        self._budget = RetryBudget()
        self._reading = None if clock is None else (clock, now)
        """What the training clock showed, and when."""
        self.checkpoint: int | None = None
        """Step of the latest checkpoint since the group was launched, or the run was rolled back."""

    def hear(self, statuses: Iterable[ReplicaStatus], now: float) -> None:
        """Take in a poll of the run's leg."""
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
        """Seconds; time lost by a failure counts as much as time spent training."""
        return 0.0 if self._reading is None else self._reading[0] + now - self._reading[1]

    def decide(self, failure: TaskFailure, policy: FailurePolicy) -> Decision:
        """Whether another attempt is worth it, and after how many seconds; its cost is booked."""
        decision = policy.decide(failure, self._budget)
        self._budget = decision.budget
        return decision
