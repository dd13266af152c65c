"""A worker group whose supervisors are Ray actors, one per task, each in a bundle of a placement group."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.cluster.warm.facts import READ_AT_IMPORT
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
    """Keeps supervisors in Ray actors, one per task, each in a bundle of a placement group."""

    def __init__(
        self,
        plans: Sequence[TaskPlan],
        session: str,
        bundles: Sequence[Bundle],
        address: str | None,
        interface: str | None,
        deadline: float,
        given: Mapping[str, str] | None = None,
    ) -> None:
        """Create an actor for each task of `plans`, in the bundle at the same index.

        `address` is where tasks publish that they listen; None: the address of their node, on `interface` if given.
        `given` is the environment that replaces the one in which Ray was started.
        """
        super().__init__(plans)
        import ray

        self._ray = ray
        self._deadline = deadline
        self._makers = {plan.task: self._maker(plan, bundle) for plan, bundle in zip(plans, bundles, strict=True)}
        self._arguments = (session, address, interface)
        self._given = given
        self._actors = {task: self._make(task) for task in self._makers}
        self._hosts = {task: bundle.host for task, bundle in zip(self.tasks, bundles, strict=True)}
        self._polls: dict[Any, Task] = {}
        self._overdue: set[Task] = set()
        """Tasks that did not answer in time or are being restarted: `poll` does not wait for them."""
        self._restarting: set[Task] = set()
        """Overdue tasks that are being restarted, which does not mean that their hosts are lost."""

    def poll(self, wait: float) -> list[ReplicaStatus]:
        asked = set(self._polls.values())
        for task, actor in self._actors.items():
            if task not in asked:
                self._polls[actor.poll.remote()] = task
        time.sleep(wait)
        # A host that does not answer delays one poll only; its request stays open.
        if prompt := [reference for reference, task in self._polls.items() if task not in self._overdue]:
            self._ray.wait(prompt, num_returns=len(prompt), timeout=_ANSWER_SECONDS)
        answered, silent = self._ray.wait(list(self._polls), num_returns=len(self._polls), timeout=0)
        self._overdue = {self._polls[reference] for reference in silent}
        self._restarting &= self._overdue
        statuses = [self._status(self._polls.pop(reference), reference) for reference in answered]
        if any(status.failure and status.failure.kind is FailureKind.PEER for status in statuses):
            # Tasks that are silent while others report a lost peer are that peer; Ray reports it half a minute later.
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
        """Hosts that Ray reports as dead, and those on which no task of the group answers."""
        living = {node["NodeID"] for node in self._ray.nodes() if node["Alive"]}
        answering = {self._hosts[task].id for task in self.tasks if task not in self._overdue - self._restarting}
        return tuple({host.id: host for host in self._hosts.values() if host.id not in living & answering}.values())

    def move(self, task: Task, bundle: Bundle) -> None:
        """Make `replace` start `task` in `bundle`, because its host is lost."""
        (plan,) = (plan for plan in self.plans if plan.task == task)
        self._makers[task], self._hosts[task] = self._maker(plan, bundle), bundle.host

    def _make(self, task: Task) -> Any:
        actor = self._makers[task].remote(task, *self._arguments)
        if self._given is not None:  # by a call: what creates an actor is kept in Ray's head, secrets included
            actor.adopt.remote(self._given)
        return actor

    def _maker(self, plan: TaskPlan, bundle: Bundle) -> Any:
        """The actor class and options from which the supervisor of a task is created."""
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
        self._actors[task] = self._make(task)
        self._overdue.add(task)
        self._restarting.add(task)

    def _ask(self, task: Task, method: str, *arguments: Any) -> Any:
        return getattr(self._actors[task], method).remote(*arguments)

    def _answer(self, asked: Any) -> Any:
        try:
            return self._ray.get(asked, timeout=max(_ASK_SECONDS, self._deadline - time.monotonic()))
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OSError):  # raised on the host: no free port, or no such interface
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
    """A replica's supervisor as a Ray actor, which publishes its node's address."""

    def __init__(self, task: Task, session: str, address: str | None, interface: str | None) -> None:
        import ray

        super().__init__(task, session, address or ray.util.get_node_ip_address(), interface)
        with contextlib.suppress(ValueError):  # if Ray does not run the actor in its main thread
            signal.signal(signal.SIGTERM, lambda *_: self.preempt())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])  # see `own_ray.own_signal_handlers`

    def adopt(self, given: Mapping[str, str]) -> None:
        """Replace this process' environment by that of the command, but for what its start and Ray have read."""
        for name in [name for name in os.environ if name not in given and not READ_AT_IMPORT.fullmatch(name)]:
            del os.environ[name]
        os.environ.update({name: given[name] for name in given if not READ_AT_IMPORT.fullmatch(name)})


_LOW_ON_MEMORY = "low on memory"
"""Part of Ray's error message for an actor that its memory monitor has killed."""


def _sentence(error: Exception, words: str) -> str:
    """The line of Ray's long error message that contains `words`, shortened."""
    found = next((line.strip() for line in str(error).splitlines() if words in line), "")
    return (found or _first_line(error))[:300]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
