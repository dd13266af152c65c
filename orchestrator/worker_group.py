"""A worker group: the launched tasks of one attempt, and how to talk to them.

What a group does is the same wherever its replicas run; how a replica is reached differs. `LocalGroup` keeps
the supervisors in this process, `RayGroup` in Ray actors. The processes that train are real in both.
"""

from __future__ import annotations

import contextlib
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.cluster import Placement
from orchestrator.errors import ClusterError
from orchestrator.placement import GIB
from orchestrator.reach import agree
from orchestrator.topology import TaskPlan
from workers.messages import (
    Assignment,
    Evaluation,
    FailureKind,
    Leg,
    ReplicaState,
    ReplicaStatus,
    Stamp,
    Task,
    TaskFailure,
)
from workers.replica import Replica

_ANSWER_SECONDS = 5.0
_STOP_SECONDS = 10.0
_ASK_SECONDS = 30.0

Assign = Callable[[Task, Mapping[Task, str]], Assignment]
"""From a task and everybody's addresses to what the task has to know."""

SnapshotHandle = Any
"""A snapshot, or a reference to one that can be handed to another replica without passing through here."""


class WorkerGroup(ABC):
    """Tasks that start together and end together."""

    def __init__(self, plans: Sequence[TaskPlan]) -> None:
        self.plans = tuple(plans)
        self.tasks = tuple(plan.task for plan in plans)
        self._places: dict[Task, Assignment] = {}

    def launch(self, assign: Assign) -> None:
        """Reserve an address for every task, tell each its place, and start all processes."""
        addresses = {task: self._ask(task, "reserve") for task in self.tasks}
        addresses = {task: self._answer(answer) for task, answer in addresses.items()}
        addresses = agree(addresses, self._ask, self._answer)
        self._places = {task: assign(task, addresses) for task in self.tasks}
        started = [self._ask(task, "start", self._places[task]) for task in self.tasks]
        for answer in started:
            self._answer(answer)

    def replace(self, task: Task) -> None:
        """End what is left of `task` and start it anew, at its old address, so that its peers find it again.

        Does not wait for it; that the address was taken meanwhile, or anything else, is told by a later poll.
        """
        self._renew(task)
        self._ask(task, "start", self._places[task])

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

    def lost_hosts(self) -> tuple[str, ...]:
        """Hosts of the group that nothing can be launched on any more."""
        return ()

    @abstractmethod
    def _renew(self, task: Task) -> None:
        """End the supervisor of `task`, with its process, and make another one in its place."""

    @abstractmethod
    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        """Call a `Replica` method; what comes back is for `_answer`, `score`, or to be dropped."""

    @abstractmethod
    def _answer(self, asked: Any) -> Any:
        """The value of what `_ask` returned."""


class LocalGroup(WorkerGroup):
    """Supervisors in this process: for tests, and for looking into a job without Ray."""

    def __init__(self, plans: Sequence[TaskPlan], session: str) -> None:
        super().__init__(plans)
        self._session = session
        self._replicas = {task: Replica(task, session) for task in self.tasks}

    def poll(self, wait: float) -> list[ReplicaStatus]:
        time.sleep(wait)
        return [replica.poll() for replica in self._replicas.values()]

    def shutdown(self) -> None:
        for replica in self._replicas.values():
            with contextlib.suppress(OSError):
                replica.stop()

    def _renew(self, task: Task) -> None:
        with contextlib.suppress(OSError):
            self._replicas[task].stop()
        self._replicas[task] = Replica(task, self._session)

    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        return getattr(self._replicas[task], method)(*arguments)

    def _answer(self, asked: Any) -> Any:
        return asked


class RayGroup(WorkerGroup):
    """Supervisors in Ray actors, one per task, each in its place of a placement group."""

    def __init__(
        self,
        plans: Sequence[TaskPlan],
        session: str,
        placement: Placement,
        address: str | None,
        interface: str | None,
        deadline: float,
    ) -> None:
        """Tasks take the places of `placement`, in order.

        `address` is what they publish; None for the one of the node each lands on, or on its `interface`.
        """
        super().__init__(plans)
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        self._ray = ray
        self._deadline = deadline
        actor = ray.remote(_Seat)
        self._seats = {
            plan.task: actor.options(
                num_cpus=plan.cpus,
                num_gpus=plan.gpus,
                memory=plan.memory_gib * GIB or None,
                max_restarts=0,
                scheduling_strategy=PlacementGroupSchedulingStrategy(placement.group, place),
            )
            for place, plan in enumerate(plans, placement.first)
        }
        self._arguments = (session, address, interface)
        self._actors = {task: seat.remote(task, *self._arguments) for task, seat in self._seats.items()}
        self._hosts = dict(zip(self.tasks, placement.hosts, strict=True))
        self._polls: dict[Any, Task] = {}
        self._overdue: set[Task] = set()
        """Tasks that did not answer in time, or are just being made: nobody waits for them."""

    def poll(self, wait: float) -> list[ReplicaStatus]:
        asked = set(self._polls.values())
        for task, actor in self._actors.items():
            if task not in asked:
                self._polls[actor.poll.remote()] = task
        time.sleep(wait)
        # A host that does not answer keeps its question open and holds nobody else up, but once.
        if prompt := [reference for reference, task in self._polls.items() if task not in self._overdue]:
            self._ray.wait(prompt, num_returns=len(prompt), timeout=_ANSWER_SECONDS)
        answered, silent = self._ray.wait(list(self._polls), num_returns=len(self._polls), timeout=0)
        self._overdue = {self._polls[reference] for reference in silent}
        statuses = [self._status(self._polls.pop(reference), reference) for reference in answered]
        if any(status.failure and status.failure.kind is FailureKind.PEER for status in statuses):
            # Whoever is silent while others have lost a peer is that peer: Ray needs half a minute more to say so.
            statuses += [self._lost(task, "does not answer") for task in self._polls.values()]
        return statuses

    def shutdown(self) -> None:
        actors, self._actors = self._actors, {}
        with contextlib.suppress(Exception):
            stops = [actor.stop.remote() for actor in actors.values()]
            self._ray.wait(stops, num_returns=len(stops), timeout=_STOP_SECONDS)
        for actor in actors.values():
            with contextlib.suppress(Exception):
                self._ray.kill(actor)

    def lost_hosts(self) -> tuple[str, ...]:
        """Those that are dead to Ray, and those on which every task of the group is silent."""
        living = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        heard = {self._hosts[task].id for task in self.tasks if task not in self._overdue}
        return tuple({str(host): None for host in self._hosts.values() if host.id not in living & heard})

    def _renew(self, task: Task) -> None:
        old = self._actors[task]
        with contextlib.suppress(Exception):
            self._ray.wait([old.stop.remote()], timeout=_STOP_SECONDS)
            self._ray.kill(old)
        self._polls = {reference: asked for reference, asked in self._polls.items() if asked != task}
        self._actors[task] = self._seats[task].remote(task, *self._arguments)
        self._overdue.add(task)

    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        return getattr(self._actors[task], method).remote(*arguments)

    def _answer(self, asked: Any) -> Any:
        try:
            return self._ray.get(asked, timeout=max(_ASK_SECONDS, self._deadline - time.monotonic()))
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OSError):  # the host's own words: no free port, no such interface
                raise ClusterError(str(error.cause)) from error
            raise
        except self._ray.exceptions.RayError as error:
            raise ClusterError(f"A task's Ray actor did not answer: {_first_line(error)}") from error

    def _status(self, task: Task, reference: Any) -> ReplicaStatus:
        try:
            status: ReplicaStatus = self._ray.get(reference)
        except self._ray.exceptions.RayError as error:
            if isinstance(error, self._ray.exceptions.OutOfMemoryError) or _LOW_ON_MEMORY in str(error):
                return self._starved(task, error)
            return self._lost(task, f"lost its Ray actor: {_first_line(error)}")
        return status

    def _starved(self, task: Task, error: Exception) -> ReplicaStatus:
        summary = f"Ray's memory monitor ended it on {self._hosts[task]}: {_sentence(error, _LOW_ON_MEMORY)}"
        hint = "Lower --batch-size, spread the tasks over more hosts (--placement spread), or reserve memory for each."
        failure = TaskFailure(task, FailureKind.MEMORY, summary, hint=hint)
        return ReplicaStatus(task, ReplicaState.FAILED, failure=failure)

    def _lost(self, task: Task, what: str) -> ReplicaStatus:
        summary = f"its host {self._hosts[task]} {what}"
        hint = "`ray status` on the head lists the hosts that are left."
        failure = TaskFailure(task, FailureKind.INFRASTRUCTURE, summary, hint=hint)
        return ReplicaStatus(task, ReplicaState.FAILED, failure=failure)


class _Seat(Replica):
    """A replica's supervisor as Ray makes it: on whichever node there was a place."""

    def __init__(self, task: Task, session: str, address: str | None, interface: str | None) -> None:
        import ray

        super().__init__(task, session, address or ray.util.get_node_ip_address(), interface)
        with contextlib.suppress(ValueError):  # where Ray does not run it in the main thread
            signal.signal(signal.SIGTERM, lambda *_: self.preempt())


_LOW_ON_MEMORY = "low on memory"
"""Ray's words, in the error of an actor that its memory monitor has killed."""


def _sentence(error: Exception, words: str) -> str:
    """The line of Ray's long message that holds `words`, shortened."""
    found = next((line.strip() for line in str(error).splitlines() if words in line), "")
    return (found or _first_line(error))[:300]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
