"""Which tasks are to be started anew while the others go on, and when. No processes here: the coordinator's memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from orchestrator.control.failure_policy import Budget, FailurePolicy
from workers.messages import ReplicaState, ReplicaStatus, Task, TaskFailure


@dataclass
class _Account:
    budget: Budget = field(default_factory=Budget)
    due: float | None = None
    """When it is to be started; None when it was."""
    ready: bool = True
    """Whether it was ready since it was started last; what it did before may be reported late."""
    back: bool = True
    """Whether it has done anything since it was ready."""


class Replacements:
    """Decides with the policy, one budget per task.

    A task's budget is refilled when it worked again after it was replaced, and the run got further meanwhile.
    """

    def __init__(self, policy: FailurePolicy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._accounts: dict[Task, _Account] = {}
        self._step = 0

    def hear(self, statuses: Iterable[ReplicaStatus]) -> None:
        """Take in a poll: who is at work again, and how far the run is."""
        for status in statuses:
            if status.state is ReplicaState.READY and status.task in self._accounts:
                self._accounts[status.task].ready = self._accounts[status.task].due is None
            for batch in status.batches:
                self._step = max(self._step, int(batch.steps[-1]) if len(batch.steps) else 0)
                self._worked(Task("worker", batch.worker))
            if status.evaluations:
                self._worked(status.task)

    def is_new(self, failure: TaskFailure) -> bool:
        """Whether this failure was not ordered to be mended yet."""
        account = self._accounts.get(failure.task)
        return account is None or account.due is None

    def order(self, failure: TaskFailure) -> bool:
        """Whether the failed task will be started anew; False when that was tried too often."""
        account = self._accounts.setdefault(failure.task, _Account())
        if account.due is not None:
            return True
        budget = account.budget.after_progress(self._step) if account.back else account.budget
        decision = self._policy.decide(failure, budget)
        if decision.again:
            account.budget, account.ready, account.back = decision.budget, False, False
            account.due = self._clock() + decision.wait
        return decision.again

    def due(self) -> list[Task]:
        """Tasks to start now; each is told once."""
        now = self._clock()
        ready = [task for task, account in self._accounts.items() if account.due is not None and account.due <= now]
        for task in ready:
            self._accounts[task].due = None
        return ready

    def _worked(self, task: Task) -> None:
        account = self._accounts.get(task)
        if account is not None and account.ready:
            account.back = True
