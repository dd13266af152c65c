"""A fleet: one cluster connection, one evaluator, and a worker group per mode, for one command.

Everything it holds is given back when its `with` block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator import topology
from orchestrator.cluster import Cluster, Placement
from orchestrator.coordinator import Coordinator
from orchestrator.spec import RunSpec
from orchestrator.topology import TaskPlan
from orchestrator.worker_group import Assign, RayGroup, WorkerGroup
from workers.messages import Assignment, JobSource, Task
from workers.process import start_zygote

_LOCALHOST = "127.0.0.1"


def training_plans(spec: RunSpec) -> tuple[TaskPlan, ...]:
    return topology.plan_tasks(
        spec.mode,
        workers=spec.workers,
        ps=spec.ps,
        cpus_per_task=spec.cpus_per_task,
        gpus_per_worker=spec.gpus_per_worker,
    )


class Crew:
    """The worker group of one mode, over all its attempts."""

    def __init__(self, fleet: Fleet, spec: RunSpec, first_place: int) -> None:
        self.spec = spec
        self.attempt = 1
        self.launch_seconds: float | None = None
        self._fleet = fleet
        self._first_place = first_place
        self._group: WorkerGroup | None = None
        self.coordinator: Coordinator | None = None

    @property
    def plans(self) -> tuple[TaskPlan, ...]:
        return training_plans(self.spec)

    def launch(self) -> Coordinator:
        """Order all tasks to start; their readiness is awaited by the coordinator."""
        self._group = self._fleet.group(self.plans, self._first_place)
        self.coordinator = Coordinator(
            self._group,
            self._fleet.evaluator,
            leader=topology.leader(self.spec.mode),
            trainers=topology.trainers(self.spec.mode, self.spec.workers),
        )
        self.coordinator.launch(assigner(self.spec, self.plans))
        return self.coordinator

    def relaunch(self) -> Coordinator:
        """A new attempt: every process and port anew."""
        self.shutdown()
        self.attempt += 1
        return self.launch()

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
        self._evaluator_plan = topology.plan_evaluator(first.cpus_per_task)
        self._all_plans = [*(p for spec in self._specs for p in training_plans(spec)), self._evaluator_plan]
        self._cluster = Cluster(self._session, first.address, self._all_plans, job_file(first))
        self._cleanup = contextlib.ExitStack()
        self._placement: Placement | None = None

    def __enter__(self) -> Fleet:
        first = self._specs[0]
        with contextlib.ExitStack() as undo:
            if self._cluster.local:
                undo.enter_context(_prewarmed(self._session))
            undo.enter_context(self._cluster)
            self.deadline = time.monotonic() + first.launch_timeout
            self._placement = self._cluster.reserve(self._all_plans, self.deadline)
            undo.callback(self._placement.release)
            self.evaluator = self.group((self._evaluator_plan,), len(self._all_plans) - 1)
            undo.callback(self.evaluator.shutdown)
            self.evaluator.launch(assigner(first, (self._evaluator_plan,)))
            self.crews: dict[str, Crew] = {}
            place = 0
            for spec in self._specs:
                crew = self.crews[spec.variant_name] = Crew(self, spec, place)
                undo.callback(crew.shutdown)
                place += len(crew.plans)
            self._cleanup = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def group(self, plans: tuple[TaskPlan, ...], first_place: int) -> WorkerGroup:
        """A group of replicas in the places reserved from `first_place` on."""
        if self._placement is None:
            raise RuntimeError("a fleet launches groups inside of its `with` block only")
        host = _LOCALHOST if self._cluster.local else None
        return RayGroup(plans, self._session, self._placement, first_place, host, self.deadline)


def assigner(spec: RunSpec, plans: tuple[TaskPlan, ...]) -> Assign:
    """What each task of `plans` has to know, once the addresses are known."""
    target = spec.parsed_target
    resources = {plan.task: plan for plan in plans}

    def assign(task: Task, addresses: topology.Addresses) -> Assignment:
        return Assignment(
            task=task,
            mode=spec.mode,
            tf_config=topology.tf_config(plans, addresses, task),
            job=JobSource(spec.job, spec.directory),
            params=spec.params,
            batch_size=spec.batch_size,
            seed=spec.seed,
            cpus=resources[task].cpus,
            gpus=resources[task].gpus,
            sharding=spec.sharding,
            target_metric=target.metric if target else None,
            straggler=spec.straggler,
        )

    return assign


def job_file(spec: RunSpec) -> Path | None:
    """The user's file, for jobs given as one; it travels with our code to other hosts."""
    path, _, _ = spec.job.partition(".py")
    return Path(spec.directory, f"{path}.py") if ".py" in spec.job else None


@contextlib.contextmanager
def _prewarmed(session: str) -> Iterator[socket.socket]:
    """TensorFlow is being imported on one core while Ray starts on another."""
    connection = start_zygote(session)
    try:
        yield connection
    finally:
        connection.close()
