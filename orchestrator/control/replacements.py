"""Decides which failed tasks are replaced while the others continue, and when. Pure."""

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
    """Monotonic seconds at which to start the task; None once it was started."""
    ready: bool = True
    """The task was ready since its last start. Until then, its reports are late ones from before."""
    back: bool = True
    """The task has worked since it was ready."""


class Replacements:
    """Applies the failure policy, with a retry budget per task.

    A task's budget is refilled once the replaced task has worked and the run has made progress.
    """

    def __init__(self, policy: FailurePolicy) -> None:
        self._policy = policy
        self._accounts: dict[Task, _Account] = {}
        self._step = 0

    def observe(self, statuses: Iterable[ReplicaStatus]) -> None:
        """Process a poll: which tasks work again, and which step the run has reached."""
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
        """Whether no replacement is ordered for this failure yet."""
        account = self._accounts.get(failure.task)
        return account is None or account.due is None

    def order(self, failure: TaskFailure, now: float) -> bool:
        """Order a replacement at monotonic time `now`; returns False if the task was replaced too often."""
        account = self._accounts.setdefault(failure.task, _Account())
        if account.due is not None:
            return True
        budget = account.budget.after_progress(self._step) if account.back else account.budget
        decision = self._policy.decide(failure, budget)
        if decision.again:
            account.budget, account.ready, account.back = decision.budget, False, False
            account.due = now + decision.wait
        return decision.again

    def take_due(self, now: float) -> list[Task]:
        """Tasks to start now; each is returned once."""
        ready = [task for task, account in self._accounts.items() if account.due is not None and account.due <= now]
        for task in ready:
            self._accounts[task].due = None
        return ready

    def _worked(self, task: Task) -> None:
        account = self._accounts.get(task)
        if account is not None and account.ready:
            account.back = True
