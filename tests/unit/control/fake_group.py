"""A worker group without processes, whose tasks report what a test prescribes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.plan.topology import TaskPlan
from workers.messages import Leg, Task
from workers.news import ReplicaStatus, Stamp


class FakeClock:
    """A clock that advances only when a poll waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeGroup(WorkerGroup):
    """Answers polls from `news`, and records the calls it receives in `told`."""

    def __init__(
        self, tasks: Iterable[Task], clock: FakeClock, news: Callable[[], Sequence[ReplicaStatus]] = list
    ) -> None:
        super().__init__([TaskPlan(task, 1.0, 0.0) for task in tasks])
        self.clock = clock
        self.news = news
        self.waits: list[float] = []
        self.told: list[tuple[str, Task, tuple[Any, ...]]] = []

    def poll(self, wait: float) -> list[ReplicaStatus]:
        self.waits.append(wait)
        self.clock.now += wait
        return list(self.news())

    def shutdown(self) -> None:
        self.told.append(("shutdown", self.tasks[0], ()))

    def _renew(self, task: Task) -> None:
        self.told.append(("renew", task, ()))

    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        self.told.append((method, task, arguments))
        return f"there:{task.index}" if method == "reserve" else f"{method} of {task}"

    def _answer(self, asked: Any) -> Any:
        return asked

    @property
    def legs(self) -> list[tuple[Task, Leg]]:
        return [(task, arguments[0]) for method, task, arguments in self.told if method == "train"]

    @property
    def stops(self) -> list[tuple[Task, str]]:
        return [(task, arguments[0]) for method, task, arguments in self.told if method == "request_stop"]

    @property
    def replaced(self) -> list[Task]:
        return [task for method, task, _ in self.told if method == "renew"]

    @property
    def to_score(self) -> list[Stamp]:
        return [arguments[0] for method, _, arguments in self.told if method == "score"]


def script(*polls: Sequence[ReplicaStatus]) -> Callable[[], Sequence[ReplicaStatus]]:
    """News for each poll in turn, and none after that."""
    remaining = list(polls)
    return lambda: remaining.pop(0) if remaining else ()
