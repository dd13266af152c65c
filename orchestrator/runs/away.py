"""Tasks that were replaced while the others trained on, until they work again."""

from __future__ import annotations

from workers.messages import Task
from workers.news import ReplicaState, ReplicaStatus


class Away:
    """The tasks of one run that are away."""

    def __init__(self) -> None:
        self._ready: dict[Task, bool] = {}
        """Whether a task that is away is ready again."""

    def replaced(self, task: Task) -> None:
        self._ready[task] = False

    def observe(self, status: ReplicaStatus) -> None:
        """Note whether the task is ready again."""
        if status.task in self._ready and status.state is ReplicaState.READY:
            self._ready[status.task] = True

    def is_back(self, task: Task) -> bool:
        """Whether `task`, which has taken a step, was away until now."""
        return bool(self._ready.get(task)) and self._ready.pop(task)
