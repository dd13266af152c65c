"""A worker group: the launched tasks of one attempt, and how to talk to them.

What a group does is the same wherever its replicas run; how a replica is reached differs. `local_group` keeps the
supervisors in this process, `ray_group` in Ray actors. The processes that train are real in both.
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
"""From a task, and the addresses of all tasks, to what the task is told."""

SnapshotHandle = Any
"""A snapshot, or a reference to one that one replica can hand to another without passing through the driver."""


class WorkerGroup(ABC):
    """Tasks that start together and end together."""

    def __init__(self, plans: Sequence[TaskPlan]) -> None:
        self.plans = tuple(plans)
        self.tasks = tuple(plan.task for plan in plans)
        self._assignments: dict[Task, Assignment] = {}

    def launch(self, assign: Assign) -> None:
        """Reserve an address for every task, tell each its assignment, and start all processes."""
        addresses = {task: self._ask(task, "reserve") for task in self.tasks}
        addresses = {task: self._answer(answer) for task, answer in addresses.items()}
        addresses = reachable_addresses(addresses, self._ask, self._answer)
        self._assignments = {task: assign(task, addresses) for task in self.tasks}
        started = [self._ask(task, "start", self._assignments[task]) for task in self.tasks]
        for answer in started:
            self._answer(answer)

    def replace(self, task: Task) -> None:
        """End what is left of `task` and start it again at its old address, so that its peers find it.

        Does not wait for it: a later poll reports what becomes of it.
        """
        self._renew(task)
        self._ask(task, "start", self._assignments[task])

    def train(self, leg: Leg, tasks: Sequence[Task], snapshot: SnapshotHandle | None = None) -> None:
        """Have `tasks` train; the first one, which leads, is handed the snapshot that the leg starts from."""
        leader, *others = tasks
        self._ask(leader, "train", leg, *([] if snapshot is None else [snapshot]))
        for task in others:  # as with all orders: of one that is lost, polls tell
            self._ask(task, "train", leg)

    def request_stop(self, reason: str, leg: int, tasks: Sequence[Task]) -> None:
        """End leg number `leg` at its next call."""
        for task in tasks:  # one that is lost does not answer, and polls tell of it
            self._ask(task, "request_stop", reason, leg)

    def snapshot(self, task: Task, stamp: Stamp) -> SnapshotHandle:
        """The snapshot that `task` announced, to be handed to `score`."""
        return self._ask(task, "take_snapshot", stamp)

    def holds(self, snapshot: SnapshotHandle) -> bool:
        """Whether the snapshot is there, though the task that took it may be gone."""
        return snapshot is not None

    def score(self, task: Task, stamp: Stamp, snapshot: SnapshotHandle) -> None:
        """Have the evaluator score a snapshot; the `Evaluation` comes with a later poll."""
        self._ask(task, "score", stamp, snapshot)

    def scored(self, task: Task, evaluation: Evaluation) -> None:
        """Tell `task`, which keeps checkpoints, how good one of its snapshots is."""
        self._ask(task, "scored", evaluation)

    @abstractmethod
    def poll(self, wait: float) -> list[ReplicaStatus]:
        """News of every task that answers within `wait` seconds; never raises for a dead task."""

    @abstractmethod
    def shutdown(self) -> None:
        """End every process of the group and give back what it held. Safe to call twice."""

    def lost_hosts(self) -> tuple[Host, ...]:
        """Hosts of the group that nothing can be launched on any more."""
        return ()

    def move(self, task: Task, bundle: Bundle) -> None:
        """Have `replace` start `task` in another bundle, its host being lost."""
        raise NotImplementedError(f"{task} is in this process, not on a host that could be lost")

    @abstractmethod
    def _renew(self, task: Task) -> None:
        """End the supervisor of `task`, with its process, and make another one."""

    @abstractmethod
    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        """Call a `Replica` method; what comes back is for `_answer`, `score`, or to be dropped."""

    @abstractmethod
    def _answer(self, asked: Any) -> Any:
        """The value of what `_ask` returned."""
