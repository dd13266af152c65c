"""A fleet: one cluster connection, one evaluator, and a worker group per mode, for one command.

Everything it holds is given back when its `with` block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterable, Iterator, Sequence

from orchestrator import secrets, topology
from orchestrator.cluster import Cluster, Placement
from orchestrator.coordinator import Coordinator
from orchestrator.errors import HostLostError
from orchestrator.placement import Group
from orchestrator.policy import FailurePolicy
from orchestrator.ray_group import RayGroup
from orchestrator.resources import demand
from orchestrator.spec import RunSpec
from orchestrator.topology import TaskPlan
from orchestrator.worker_group import Assign, WorkerGroup
from workers.messages import Assignment, JobSource, Task
from workers.process import start_zygote

_LOCALHOST = "127.0.0.1"


def training_plans(spec: RunSpec) -> tuple[TaskPlan, ...]:
    plans = topology.plan_tasks(
        spec.mode,
        workers=spec.workers,
        ps=spec.ps,
        cpus_per_task=spec.cpus_per_task,
        gpus_per_worker=spec.gpus_per_worker,
    )
    return tuple(demand(plan, spec.resources, spec.worker_labels) for plan in plans)


def evaluator_plan(spec: RunSpec) -> TaskPlan:
    return demand(topology.plan_evaluator(spec.cpus_per_task), spec.resources, spec.worker_labels)


class Crew:
    """The worker group of one mode, over all its attempts."""

    def __init__(self, fleet: Fleet, spec: RunSpec, places: Placement) -> None:
        self.spec = spec
        self.attempt = 1
        self._fleet = fleet
        self._places = places
        self._group: WorkerGroup | None = None
        self.coordinator: Coordinator | None = None

    @property
    def plans(self) -> tuple[TaskPlan, ...]:
        return training_plans(self.spec)

    def launch(self) -> Coordinator:
        """Order all tasks to start; their readiness is awaited by the coordinator."""
        self._group = self._fleet.group(self.plans, self._places)
        self.coordinator = Coordinator(
            self._group,
            self._fleet.evaluator,
            leader=topology.leader(self.spec.mode),
            trainers=topology.trainers(self.spec.mode, self.spec.workers),
            replaceable=topology.replaceable(self.spec.mode, self.spec.workers),
            keeps_snapshots=self.spec.on_instability == "rollback",
            policy=FailurePolicy(max_restarts=self.spec.max_restarts),
            hang_seconds=self.spec.hang_seconds,
            first_call_seconds=self.spec.launch_timeout,
        )
        self.coordinator.launch(assigner(self.spec, self.plans))
        return self.coordinator

    def relaunch(self) -> None:
        """A new attempt, under the same coordinator: every process and port anew.

        Raises:
            HostLostError: there is no such place any more.
            ClusterError: the tasks could not be started, or do not reach each other.
        """
        if self.coordinator is None or self._group is None:
            raise RuntimeError("there is no attempt that another one could follow")
        self._fleet.check_head()
        lost = self._group.lost_hosts()
        self._group.shutdown()
        if lost:
            raise HostLostError(
                f"The run cannot go on without {', '.join(lost)}. When there are enough hosts again, `regatta resume` "
                "and the run's folder go on from its last checkpoint."
            )
        self.attempt += 1
        self._group = self._fleet.group(self.plans, self._places)
        self.coordinator.renew(self._group)
        self.coordinator.launch(assigner(self.spec, self.plans))

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
        self._groups = [*(training_plans(spec) for spec in self._specs), (evaluator_plan(first),)]
        plans = [plan for group in self._groups for plan in group]
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
            placement = self._cluster.reserve(self._groups, first.placement, self.deadline)
            undo.callback(placement.release)
            *crews, scoring = _parts(placement, self._groups)
            self.evaluator = self.group(self._groups[-1], scoring)
            undo.callback(self.evaluator.shutdown)
            self.evaluator.launch(assigner(first, self._groups[-1]))
            self.crews: dict[str, Crew] = {}
            for spec, places in zip(self._specs, crews, strict=True):
                crew = self.crews[spec.variant_name] = Crew(self, spec, places)
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

    def group(self, plans: tuple[TaskPlan, ...], places: Placement) -> WorkerGroup:
        """A group of replicas in `places`."""
        address = _LOCALHOST if self._cluster.local else None
        deadline = max(self.deadline, time.monotonic() + self._launch_timeout)
        return RayGroup(plans, self._session, places, address, self._interface, deadline)


def _parts(placement: Placement, groups: Sequence[Group]) -> Iterator[Placement]:
    first = 0
    for group in groups:
        yield placement.part(first, len(group))
        first += len(group)


def assigner(spec: RunSpec, plans: tuple[TaskPlan, ...]) -> Assign:
    """What each task of `plans` has to know, once the addresses are known."""
    target = spec.parsed_target
    resources = {plan.task: plan for plan in plans}
    given = secrets.values(spec.env_secrets)

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
            cache=spec.cache,
            prefetch=spec.prefetch,
            jit=spec.jit,
            devices_per_replica=spec.devices_per_replica,
            dtype_policy=dtype_policy(spec),
            target_metric=target.metric if target else None,
            straggler=spec.straggler,
            balance=spec.balance,
            sample_seconds=spec.sample_seconds if spec.monitor else 0.0,
            timings=spec.monitor,
            secrets=given,
        )

    return assign


def dtype_policy(spec: RunSpec) -> str:
    """Keras' dtype policy, for all tasks alike. CPUs have fast instructions for bfloat16 alone."""
    if not spec.mixed_precision:
        return "float32"
    return "mixed_float16" if spec.gpus_per_worker else "mixed_bfloat16"


@contextlib.contextmanager
def _prewarmed(session: str) -> Iterator[socket.socket]:
    """TensorFlow is being imported on one core while Ray starts on another."""
    connection = start_zygote(session)
    try:
        yield connection
    finally:
        connection.close()
