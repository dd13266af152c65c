"""The worker group of one variant, over all its attempts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from orchestrator.cluster.worker_group import Assign, WorkerGroup
from orchestrator.control.coordinator import Coordinator
from orchestrator.control.failure_policy import FailurePolicy
from orchestrator.control.hangs import HangLimits
from orchestrator.control.machine import Machine, Rules
from orchestrator.errors import HostLostError
from orchestrator.plan.placement import Bundle
from orchestrator.plan.topology import Addresses, TaskPlan, tf_config
from orchestrator.runs.group_bundles import GroupBundles
from orchestrator.spec import secrets
from orchestrator.spec.run import RunSpec
from workers.messages import Assignment, Task

ASK_SECONDS = 4.0
"""Seconds between two questions whether the backend is still there."""


class Launcher(Protocol):
    """The session to which a group belongs."""

    ended: Sequence[bytes]
    """What the earlier fits of a script have left behind."""

    def evaluator(self, spec: RunSpec) -> WorkerGroup:
        """The evaluator of the model of `spec`."""

    def make(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle]) -> WorkerGroup:
        """A worker group of `plans` in `bundles`."""

    def check(self) -> None:
        """Raises HostLostError if nothing can be launched any more."""


class ManagedGroup:
    """A worker group that is relaunched for every attempt. The runs of one variant train in it one after another."""

    def __init__(self, session: Launcher, spec: RunSpec, bundles: GroupBundles) -> None:
        self.spec = spec
        self.stage = 0
        """Index of the mode, of those that the spec's trains in one after another, of the current attempt."""
        self.attempt = 1
        self.bundles = bundles
        self._session = session
        self._group: WorkerGroup | None = None
        self._coordinator: Coordinator | None = None
        self._next_question = 0.0
        self._unanswered = 0

    @property
    def coordinator(self) -> Coordinator:
        """Raises RuntimeError before the first launch."""
        if self._coordinator is None:
            raise RuntimeError("the worker group was not launched")
        return self._coordinator

    @property
    def staged(self) -> RunSpec:
        """The spec in the mode of the current attempt."""
        return self.spec.stages[self.stage]

    @property
    def launched(self) -> bool:
        return self._coordinator is not None

    @property
    def workers(self) -> int:
        """Number of workers in the launched group."""
        tasks = self._group.tasks if self._group else [plan.task for plan in self.bundles.plans]
        return sum(task.type == "worker" for task in tasks)

    def launch(self, stage: int = 0) -> None:
        """Start all tasks; the coordinator waits until they are ready."""
        self.stage = stage
        self._group = self._make()
        machine = Machine(rules(self.spec))
        self._coordinator = Coordinator(self._group, self._session.evaluator(self.spec), self.staged.traits, machine)
        self._coordinator.launch(assigner(self.staged, self._group.plans, self._session.ended))

    def relaunch(self, stage: int | None = None) -> None:
        """Launch a new attempt under the same coordinator: new processes and ports in the remaining bundles.

        With a `stage`, the attempt is of this one.

        Raises:
            HostLostError: too few bundles are left.
            ClusterError: the tasks could not be started, or cannot reach each other.
        """
        if self._group is None:
            raise RuntimeError("the worker group was not launched")
        self._session.check()
        lost = (*self._group.lost_hosts(), *self.bundles.lost(self._group.tasks))
        self._group.shutdown()
        self.stage = self.stage if stage is None else stage
        self.bundles.lose(lost)
        self._move_evaluator()
        self.attempt += 1
        self._group = self._make()
        self.coordinator.renew(self._group, self.staged.traits)
        self.coordinator.launch(assigner(self.staged, self._group.plans, self._session.ended))

    def can_grow(self) -> bool:
        """Whether a group with fewer workers than the spec's could have more in another attempt; reserves bundles."""
        if self.workers == self.spec.workers:
            return False
        self._session.check()
        self.bundles.grow()
        return self.bundles.workers > self.workers

    def watch_backend(self) -> None:
        """Ask every few seconds whether the backend is there, since Ray ends this process a minute after its head.

        Raises:
            HostLostError: it did not answer twice in a row.
        """
        now = time.monotonic()
        if now < self._next_question:
            return
        self._next_question = now + ASK_SECONDS
        try:
            self._session.check()
        except HostLostError:
            self._unanswered += 1
            if self._unanswered > 1:
                raise
        else:
            self._unanswered = 0

    def shutdown(self) -> None:
        if self._group is not None:
            self._group.shutdown()
        self._group = self._coordinator = None

    def _make(self) -> WorkerGroup:
        """The tasks of the current stage, in their bundles; those of the other stage are kept free."""
        traits = self.staged.traits
        own = {*traits.tasks(self.bundles.workers, self.spec.ps)}
        used = [pair for pair in zip(self.bundles.plans, self.bundles.bundles, strict=True) if pair[0].task in own]
        return self._session.make(tuple(plan for plan, _ in used), [bundle for _, bundle in used])

    def _move_evaluator(self) -> None:
        """Move the evaluator to another host if its host was lost and the run may continue without it."""
        evaluator = self._session.evaluator(self.spec)
        lost = evaluator.lost_hosts()
        if not lost or self.spec.min_workers is None:
            return
        (plan,) = evaluator.plans
        evaluator.move(plan.task, self.bundles.elsewhere(plan, {host.id for host in lost}))
        self.coordinator.task_moved(plan.task)


def rules(spec: RunSpec) -> Rules:
    """The rules for failures in `spec`."""
    return Rules(
        policy=FailurePolicy(max_restarts=spec.max_restarts),
        hangs=HangLimits(spec.hang_seconds, spec.launch_timeout),
    )


def assigner(spec: RunSpec, plans: tuple[TaskPlan, ...], ended: Sequence[bytes] = ()) -> Assign:
    """A function from a task of `plans`, and the addresses of all, to the task's assignment.

    `ended` is what the earlier fits of a script have left behind.
    """
    target = spec.parsed_target
    by_task = {plan.task: plan for plan in plans}
    secret_values = secrets.values(spec.env_secrets)
    settings = spec.replica

    def assign(task: Task, addresses: Addresses) -> Assignment:
        return Assignment(
            task=task,
            settings=settings,
            tf_config=tf_config(plans, addresses, task),
            cpus=by_task[task].cpus,
            gpus=by_task[task].gpus,
            target_metric=target.metric if target else None,
            ready_within=spec.launch_timeout,
            secrets=secret_values,
            earlier_fits=tuple(ended),
        )

    return assign


def lost_session(reason: str) -> HostLostError:
    """The error for a backend on which nothing can be launched any more."""
    return HostLostError(
        f"{reason} When there is a cluster again, `regatta resume` with the run's folder continues from its last "
        "checkpoint."
    )
