"""A worker group: the launched tasks of one attempt, and the calls to their supervisors.

Only the way to call a supervisor depends on the backend: `local_group` keeps supervisors in this process, `ray_group`
in Ray actors. In both, each task trains in a process of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.cluster.reachability import reachable_addresses
from orchestrator.plan.placement import Bundle, Host
from orchestrator.plan.topology import TaskPlan
from workers.messages import Assignment, Leg, Task
from workers.news import Evaluation, ReplicaStatus, Stamp

Assign = Callable[[Task, Mapping[Task, str]], Assignment]
"""Makes the assignment of a task, given the addresses of all tasks."""

SnapshotHandle = Any
"""A snapshot, or a reference through which replicas exchange one without passing it through the driver."""


class WorkerGroup(ABC):
    """Starts, polls and ends tasks together."""

    def __init__(self, plans: Sequence[TaskPlan]) -> None:
        self.plans = tuple(plans)
        self.tasks = tuple(plan.task for plan in plans)
        self._assignments: dict[Task, Assignment] = {}

    def launch(self, assign: Assign) -> None:
        """Reserve an address for every task, send each its assignment, and start all processes."""
        addresses = {task: self._ask(task, "reserve") for task in self.tasks}
        addresses = {task: self._answer(answer) for task, answer in addresses.items()}
        addresses = reachable_addresses(addresses, self._ask, self._answer)
        self._assignments = {task: assign(task, addresses) for task in self.tasks}
        started = [self._ask(task, "start", self._assignments[task]) for task in self.tasks]
        for answer in started:
            self._answer(answer)

    def replace(self, task: Task) -> None:
        """Kill what is left of `task` and restart it at the same address, where its peers expect it.

        Does not wait: a later poll reports the result.
        """
        self._renew(task)
        self._ask(task, "start", self._assignments[task])

    def train(self, leg: Leg, tasks: Sequence[Task], snapshot: SnapshotHandle | None = None) -> None:
        """Make `tasks` train; the first one leads and gets the snapshot from which the leg starts."""
        leader, *others = tasks
        self._ask(leader, "train", leg, *([] if snapshot is None else [snapshot]))
        for task in others:  # not awaited, like all orders: polls report tasks that are lost
            self._ask(task, "train", leg)

    def request_stop(self, reason: str, leg: int, tasks: Sequence[Task]) -> None:
        """Make `tasks` end leg number `leg` at their next call."""
        for task in tasks:  # not awaited: a lost task does not answer, and polls report it
            self._ask(task, "request_stop", reason, leg)

    def snapshot(self, task: Task, stamp: Stamp) -> SnapshotHandle:
        """The snapshot that `task` announced, to pass to `score`."""
        return self._ask(task, "take_snapshot", stamp)

    def holds(self, snapshot: SnapshotHandle) -> bool:
        """Whether the snapshot still exists; the task that took it may be gone."""
        return snapshot is not None

    def score(self, task: Task, stamp: Stamp, snapshot: SnapshotHandle) -> None:
        """Make the evaluator score a snapshot; a later poll returns the `Evaluation`."""
        self._ask(task, "score", stamp, snapshot)

    def scored(self, task: Task, evaluation: Evaluation) -> None:
        """Send the evaluation of a snapshot to `task`, which keeps the checkpoints."""
        self._ask(task, "scored", evaluation)

    @abstractmethod
    def poll(self, wait: float) -> list[ReplicaStatus]:
        """The status of every task that answers within `wait` seconds; never raises for a dead task."""

    @abstractmethod
    def shutdown(self) -> None:
        """End every process of the group and release its resources. Safe to call twice."""

    def lost_hosts(self) -> tuple[Host, ...]:
        """Hosts of the group on which nothing can be launched any more."""
        return ()

    def move(self, task: Task, bundle: Bundle) -> None:
        """Make `replace` start `task` in `bundle`, because its host is lost."""
        raise NotImplementedError(f"{task} is in this process, not on a host that could be lost")

    @abstractmethod
    def _renew(self, task: Task) -> None:
        """End the supervisor of `task` and its process, and create another supervisor."""

    @abstractmethod
    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        """Call a `Replica` method; returns a handle for `_answer` or `score`, which may be ignored."""

    @abstractmethod
    def _answer(self, asked: Any) -> Any:
        """Wait for the value behind the handle that `_ask` returned."""
