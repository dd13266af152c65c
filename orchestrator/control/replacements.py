"""Which tasks are replaced while the others continue, and when. Pure: no processes, no clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.control.failure_policy import FailurePolicy, RetryBudget
from workers.messages import Task, TaskFailure
from workers.news import Evaluation, ReplicaState, ReplicaStatus, StepBatch


@dataclass
class _Account:
    budget: RetryBudget = field(default_factory=RetryBudget)
    due: float | None = None
    """When the task is to be started; None when it was."""
    ready: bool = True
    """The task was ready since it was last started; what it did before may be reported late."""
    back: bool = True
    """The task has done some work since it was ready."""


class Replacements:
    """Decides with the policy, with a retry budget per task.

    A task's budget is refilled when the task worked again after it was replaced, and the run got further meanwhile.
    """

    def __init__(self, policy: FailurePolicy) -> None:
        self._policy = policy
        self._accounts: dict[Task, _Account] = {}
        self._step = 0

    def hear(self, statuses: Iterable[ReplicaStatus]) -> None:
        """Take in a poll: which tasks work again, and how far the run is."""
        for status in statuses:
            if status.state is ReplicaState.READY and status.task in self._accounts:
                self._accounts[status.task].ready = self._accounts[status.task].due is None
            for news in status.news:
                match news:
                    case StepBatch():
                        self._step = max(self._step, int(news.steps[-1]) if len(news.steps) else 0)
                        self._worked(Task("worker", news.worker))
                    case Evaluation():
                        self._worked(status.task)

    def is_new(self, failure: TaskFailure) -> bool:
        """No replacement was ordered for this failure yet."""
        account = self._accounts.get(failure.task)
        return account is None or account.due is None

    def order(self, failure: TaskFailure, now: float) -> bool:
        """Order a replacement at monotonic time `now`; False when that was tried too often."""
        account = self._accounts.setdefault(failure.task, _Account())
        if account.due is not None:
            return True
        budget = account.budget.after_progress(self._step) if account.back else account.budget
        decision = self._policy.decide(failure, budget)
        if decision.again:
            account.budget, account.ready, account.back = decision.budget, False, False
            account.due = now + decision.wait
        return decision.again

    def due(self, now: float) -> list[Task]:
        """Tasks to start now; each is given once."""
        ready = [task for task, account in self._accounts.items() if account.due is not None and account.due <= now]
        for task in ready:
            self._accounts[task].due = None
        return ready

    def _worked(self, task: Task) -> None:
        account = self._accounts.get(task)
        if account is not None and account.ready:
            account.back = True
