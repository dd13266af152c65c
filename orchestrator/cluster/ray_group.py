"""A worker group whose supervisors are Ray actors, one per task, each in its place of a placement group."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Sequence
from typing import Any

from orchestrator.cluster.worker_group import SnapshotHandle, WorkerGroup
from orchestrator.errors import ClusterError
from orchestrator.plan.placement import GIB, Bundle, Host
from orchestrator.plan.topology import TaskPlan
from workers.messages import FailureKind, Task, TaskFailure
from workers.news import ReplicaState, ReplicaStatus
from workers.supervisor.replica import Replica

_ANSWER_SECONDS = 5.0
_STOP_SECONDS = 10.0
_ASK_SECONDS = 30.0


class RayGroup(WorkerGroup):
    """Supervisors in Ray actors, one per task, each in its place of a placement group."""

    def __init__(
        self,
        plans: Sequence[TaskPlan],
        session: str,
        bundles: Sequence[Bundle],
        address: str | None,
        interface: str | None,
        deadline: float,
    ) -> None:
        """Tasks take `places`, in order.

        `address` is what they publish; None for the one of the node each lands on, or on its `interface`.
        """
        super().__init__(plans)
        import ray

        self._ray = ray
        self._deadline = deadline
        self._makers = {plan.task: self._maker(plan, bundle) for plan, bundle in zip(plans, bundles, strict=True)}
        self._arguments = (session, address, interface)
        self._actors = {task: maker.remote(task, *self._arguments) for task, maker in self._makers.items()}
        self._hosts = {task: bundle.host for task, bundle in zip(self.tasks, bundles, strict=True)}
        self._polls: dict[Any, Task] = {}
        self._overdue: set[Task] = set()
        """Tasks that did not answer in time, or are just being made: nobody waits for them."""
        self._made_anew: set[Task] = set()
        """Those that are being made: their hosts are not silent."""

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
        self._made_anew &= self._overdue
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

    def holds(self, snapshot: SnapshotHandle) -> bool:
        try:
            self._ray.get(snapshot, timeout=_ANSWER_SECONDS)
        except self._ray.exceptions.RayError:
            return False
        return True

    def lost_hosts(self) -> tuple[Host, ...]:
        """Those that are dead to Ray, and those on which every task of the group is silent."""
        living = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        heard = {self._hosts[task].id for task in self.tasks if task not in self._overdue - self._made_anew}
        return tuple({host.id: host for host in self._hosts.values() if host.id not in living & heard}.values())

    def move(self, task: Task, bundle: Bundle) -> None:
        """`replace` makes `task` anew there, its host being lost."""
        (plan,) = (plan for plan in self.plans if plan.task == task)
        self._makers[task], self._hosts[task] = self._maker(plan, bundle), bundle.host

    def _maker(self, plan: TaskPlan, bundle: Bundle) -> Any:
        """Makes the supervisor of a task, when told to."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        return self._ray.remote(ReplicaActor).options(
            num_cpus=plan.cpus,
            num_gpus=plan.gpus,
            memory=plan.memory_gib * GIB or None,
            max_restarts=0,
            scheduling_strategy=PlacementGroupSchedulingStrategy(bundle.group, bundle.index),
        )

    def _renew(self, task: Task) -> None:
        old = self._actors[task]
        with contextlib.suppress(Exception):
            self._ray.wait([old.stop.remote()], timeout=_STOP_SECONDS)
            self._ray.kill(old)
        self._polls = {reference: asked for reference, asked in self._polls.items() if asked != task}
        self._actors[task] = self._makers[task].remote(task, *self._arguments)
        self._overdue.add(task)
        self._made_anew.add(task)

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


class ReplicaActor(Replica):
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
