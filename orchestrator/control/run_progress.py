"""A run's progress over all its attempts: its clock, last checkpoint and retry budget."""

from __future__ import annotations

import math
from collections.abc import Iterable

from orchestrator.control.failure_policy import Decision, FailurePolicy, RetryBudget
from workers.messages import RECOVERY, Spent, TaskFailure
from workers.news import CheckpointWritten, LegFinished, LegStarted, ReplicaStatus, StepBatch


class RunProgress:
    """Progress of one run. `now` is in monotonic seconds; the run's clock never stands still."""

    def __init__(self, run_id: str, clock: float | None, now: float, spent: Spent | None = None) -> None:
        """`clock` and `spent` are those at which a resumed run continues."""
        self.run_id = run_id
        self._budget = RetryBudget()
        self._ahead = None if clock is None else clock - now
        """The run's clock less monotonic time: a constant, of which every report shows a lower bound."""
        self._trained = clock or 0.0
        """The run's clock at the end of the last reported step."""
        self._spent: Spent = spent or {}
        self.step = 0
        """The last step that was reported, by any attempt."""
        self.bad_step: int | None = None
        """The first step whose loss was not finite, since the run began or was rolled back."""
        self.checkpoint: int | None = None
        """Step of the latest checkpoint since the group was launched or the run was rolled back."""

    def observe(self, statuses: Iterable[ReplicaStatus], now: float) -> None:
        """Process a poll of the run's leg."""
        for news in (news for status in statuses for news in status.news):
            match news:
                case LegStarted(run_id=self.run_id):
                    self._ahead, self._trained = news.clock - now, news.clock
                case StepBatch(run_id=self.run_id) if len(news.clock):
                    self.step = max(self.step, int(news.steps[-1]))
                    self._read(float(news.clock[-1]), news.spent, now)
                    if self.bad_step is None:
                        known = zip(news.steps, news.losses, strict=True)
                        self.bad_step = next((int(step) for step, loss in known if not math.isfinite(loss)), None)
                case LegFinished(run_id=self.run_id):
                    self._read(news.seconds, news.spent, now)
                case CheckpointWritten(run_id=self.run_id):
                    self.checkpoint = max(news.step, self.checkpoint or 0)
                    self._budget = self._budget.after_progress(news.step)

    def _read(self, clock: float, spent: Spent, now: float) -> None:
        self._ahead = clock - now if self._ahead is None else max(self._ahead, clock - now)
        self._trained = max(self._trained, clock)
        self._spent = spent

    def clock(self, now: float) -> float:
        """The run's clock in seconds; it includes time lost by failures."""
        return 0.0 if self._ahead is None else self._ahead + now

    def spent(self, now: float) -> Spent:
        """What of the run's clock is no training step, if another leg begins now: recovery since the last step."""
        lost = max(0.0, self.clock(now) - self._trained)
        return {**self._spent, RECOVERY: self._spent.get(RECOVERY, 0.0) + lost}

    def decide(self, failure: TaskFailure, policy: FailurePolicy) -> Decision:
        """Decide whether to retry, and charge the retry budget."""
        decision = policy.decide(failure, self._budget)
        self._budget = decision.budget
        return decision
