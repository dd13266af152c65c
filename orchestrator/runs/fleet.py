"""A fleet: one cluster connection, one evaluator, and a worker group per mode, for one command.

Everything it holds is given back when its `with` block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from orchestrator.cluster.connection import Cluster
from orchestrator.cluster.ray_group import RayGroup
from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.control.coordinator import Coordinator
from orchestrator.control.failure_policy import FailurePolicy
from orchestrator.errors import HostLostError, ResourcesError
from orchestrator.plan import topology
from orchestrator.plan.placement import Group, Place
from orchestrator.plan.topology import TaskPlan, evaluator_plan, training_plans
from orchestrator.runs.assignments import assigner
from orchestrator.runs.group_places import Seating
from orchestrator.spec.run import RunSpec
from workers.messages import JobSource
from workers.supervisor.process import start_zygote

_LOCALHOST = "127.0.0.1"


class Crew:
    """The worker group of one mode, over all its attempts."""

    def __init__(self, fleet: Fleet, spec: RunSpec, seating: Seating) -> None:
        self.spec = spec
        self.attempt = 1
        self.seating = seating
        self._fleet = fleet
        self._group: WorkerGroup | None = None
        self.coordinator: Coordinator | None = None

    def launch(self) -> Coordinator:
        """Order all tasks to start; their readiness is awaited by the coordinator."""
        self._group = self._fleet.group(self.seating.plans, self.seating.places)
        self.coordinator = Coordinator(
            self._group,
            self._fleet.evaluator,
            leader=topology.leader(self.spec.mode),
            trainers=topology.trainers(self.spec.mode, self.seating.workers),
            replaceable=topology.replaceable(self.spec.mode, self.seating.workers),
            keeps_snapshots=self.spec.on_instability == "rollback",
            policy=FailurePolicy(max_restarts=self.spec.max_restarts),
            hang_seconds=self.spec.hang_seconds,
            first_call_seconds=self.spec.launch_timeout,
        )
        self.coordinator.launch(assigner(self.spec, self.seating.plans))
        return self.coordinator

    @property
    def workers(self) -> int:
        """As many as the launched group has."""
        tasks = self._group.tasks if self._group else [plan.task for plan in self.seating.plans]
        return sum(task.type == "worker" for task in tasks)

    def can_grow(self) -> bool:
        """Whether the next attempt would have more workers, where they are fewer than asked for; takes their places."""
        if self.workers == self.spec.workers:
            return False
        self._fleet.check_head()
        self.seating.grow()
        return self.seating.workers > self.workers

    def relaunch(self) -> None:
        """A new attempt, under the same coordinator: every process and port anew, in the places there are.

        Raises:
            HostLostError: there are not enough of them any more.
            ClusterError: the tasks could not be started, or do not reach each other.
        """
        if self.coordinator is None or self._group is None:
            raise RuntimeError("there is no attempt that another one could follow")
        self._fleet.check_head()
        lost = self._group.lost_hosts()
        self._group.shutdown()
        self.seating.lose(lost)
        self._move_evaluator()
        self.attempt += 1
        self._group = self._fleet.group(self.seating.plans, self.seating.places)
        self.coordinator.renew(
            self._group,
            topology.trainers(self.spec.mode, self.seating.workers),
            topology.replaceable(self.spec.mode, self.seating.workers),
        )
        self.coordinator.launch(assigner(self.spec, self.seating.plans))

    def _move_evaluator(self) -> None:
        """Where its host is lost, and the run may go on without it."""
        evaluator = self._fleet.evaluator
        gone = evaluator.lost_hosts()
        if not gone or self.spec.min_workers is None or self.coordinator is None:
            return
        (plan,) = evaluator.plans
        evaluator.move(plan.task, self.seating.elsewhere(plan, {host.id for host in gone}))
        self.coordinator.replace(plan.task)

    def shutdown(self) -> None:
        if self._group is not None:
            self._group.shutdown()
        self._group = self.coordinator = None


class Fleet:
    """Crews for `specs`, one per variant, and the evaluator they share."""

    def __init__(self, specs: Iterable[RunSpec]) -> None:
        self._specs = tuple(specs)
        first = self._specs[0]
        self._session = f"{os.getpid()}-{time.monotonic_ns():x}"
        self._scoring = (evaluator_plan(first),)
        plans = [plan for group in self._groups() for plan in group]
        self._cluster = Cluster(self._session, first.address, plans, JobSource(first.job, first.directory))
        self._interface = first.interface
        self._launch_timeout = first.launch_timeout
        self._cleanup = contextlib.ExitStack()
        self._on_ray = contextlib.ExitStack()

    def __enter__(self) -> Fleet:
        first = self._specs[0]
        with contextlib.ExitStack() as outer, contextlib.ExitStack() as undo:
            if self._cluster.local:
                outer.enter_context(_prewarmed(self._session))
            outer.enter_context(self._cluster)
            self.deadline = time.monotonic() + first.launch_timeout
            undo.callback(self._cluster.places.release)
            *crews, scoring = self._reserve()
            self.evaluator = self.group(self._scoring, scoring)
            undo.callback(self.evaluator.shutdown)
            self.evaluator.launch(assigner(first, self._scoring))
            self.crews: dict[str, Crew] = {}
            for spec, places in zip(self._specs, crews, strict=True):
                crew = self.crews[spec.variant_name] = Crew(self, spec, Seating(spec, places, self._cluster.places))
                undo.callback(crew.shutdown)
            self._on_ray, self._cleanup = undo.pop_all(), outer.pop_all()
        return self

    def check_head(self) -> None:
        """Raises HostLostError if Ray's head is gone; nothing else may be asked of Ray then."""
        if not self._cluster.head_answers():
            raise HostLostError(
                f"Ray's head ({self._cluster.head}) does not answer, so nothing can be launched. When there is a "
                "cluster again, `regatta resume` and the run's folder go on from its last checkpoint."
            )

    def __exit__(self, *_: object) -> None:
        if self._cluster.head_answers():
            self._on_ray.close()
        self._cleanup.close()

    def _groups(self, fewer: int = 0) -> list[Group]:
        """The tasks of every crew, with so many workers less than asked for, and the evaluator."""
        return [*(training_plans(spec, spec.workers - fewer) for spec in self._specs), self._scoring]

    def _reserve(self) -> list[tuple[Place, ...]]:
        """Places for every crew, and for the evaluator. A single crew begins with fewer workers where it may."""
        first = self._specs[0]
        fewest = first.min_workers if len(self._specs) == 1 and first.min_workers else first.workers
        for workers in range(first.workers, fewest, -1):
            with contextlib.suppress(ResourcesError):
                return self._reserve_groups(self._groups(first.workers - workers))
        return self._reserve_groups(self._groups(first.workers - fewest))

    def _reserve_groups(self, groups: Sequence[Group]) -> list[tuple[Place, ...]]:
        places = iter(self._cluster.places.reserve(groups, self._specs[0].placement, self.deadline))
        return [tuple(islice(places, len(group))) for group in groups]

    def group(self, plans: tuple[TaskPlan, ...], places: Sequence[Place]) -> WorkerGroup:
        """A group of replicas in `places`."""
        address = _LOCALHOST if self._cluster.local else None
        deadline = max(self.deadline, time.monotonic() + self._launch_timeout)
        return RayGroup(plans, self._session, places, address, self._interface, deadline)


@contextlib.contextmanager
def _prewarmed(session: str) -> Iterator[socket.socket]:
    """TensorFlow is being imported on one core while Ray starts on another."""
    connection = start_zygote(session)
    try:
        yield connection
    finally:
        connection.close()
