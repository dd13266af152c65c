"""Which tasks a mode needs, what each may use, and the TF_CONFIG of each: pure functions.

The rules of TensorFlow this encodes: a synchronous cluster is made of workers, the first of which leads; a
parameter-server cluster has one chief that drives, workers that compute and parameter servers that hold the
variables. The evaluator stands outside of the cluster that trains, as TensorFlow's own convention has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.spec.resources import Resources, TypeResources
from orchestrator.spec.run import RunSpec
from workers.messages import Task

EVALUATOR = Task("evaluator", 0)

Addresses = Mapping[Task, str]
"""`host:port` of every training task."""


@dataclass(frozen=True)
class TaskPlan:
    """One task and what it asks of the cluster."""

    task: Task
    cpus: float
    gpus: float
    memory_gib: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Of the host it may run on: label to Ray's selector for it."""


def plan_tasks(
    mode: str, *, workers: int, ps: int, cpus_per_task: float, gpus_per_worker: float
) -> tuple[TaskPlan, ...]:
    """The training tasks of one worker group, without the evaluator. GPUs go to workers only."""
    seats: list[tuple[Task, float]] = []
    if mode == "async":
        seats.append((Task("chief", 0), 0.0))
        seats += [(Task("ps", index), 0.0) for index in range(ps)]
    seats += [(Task("worker", index), gpus_per_worker) for index in range(workers)]
    return tuple(TaskPlan(task, cpus_per_task, gpus) for task, gpus in seats)


def plan_evaluator(cpus_per_task: float) -> TaskPlan:
    return TaskPlan(EVALUATOR, cpus_per_task, 0.0)


def leader(mode: str) -> Task:
    """The task that reports losses and takes snapshots."""
    return Task("chief", 0) if mode == "async" else Task("worker", 0)


def trainers(mode: str, workers: int) -> tuple[Task, ...]:
    """The tasks that run the training loop; the others lend their devices."""
    return (leader(mode),) if mode == "async" else tuple(Task("worker", i) for i in range(workers))


def replaceable(mode: str, workers: int) -> tuple[Task, ...]:
    """The tasks that training goes on without when they are lost, until they are back."""
    return tuple(Task("worker", i) for i in range(workers)) if mode == "async" and workers > 1 else ()


def batches_per_step(mode: str, workers: int, replicas_per_worker: float) -> int:
    """Batches that one counted step consumes: every replica's in sync, one in async."""
    return 1 if mode == "async" else workers * max(1, int(replicas_per_worker))


def tf_config(plans: Sequence[TaskPlan], addresses: Addresses, task: Task) -> dict[str, Any]:
    """TF_CONFIG for `task`."""
    cluster: dict[str, list[str]] = {}
    for plan in sorted(plans, key=lambda p: p.task):
        if plan.task.type != EVALUATOR.type:
            cluster.setdefault(plan.task.type, []).append(addresses[plan.task])
    return {"cluster": cluster, "task": {"type": task.type, "index": task.index}}


def placeholder_addresses(plans: Sequence[TaskPlan]) -> dict[Task, str]:
    """What `plan` prints instead of addresses, which are only known once tasks have hosts."""
    return {plan.task: f"<{plan.task}>" for plan in plans}


def count_by_type(plans: Sequence[TaskPlan]) -> dict[str, int]:
    return dict(Counter(plan.task.type for plan in plans))


def demand(plan: TaskPlan, resources: Resources, worker_labels: Mapping[str, str]) -> TaskPlan:
    """`plan` with what its type asks for."""
    asked = resources.get(plan.task.type, TypeResources())  # type: ignore[call-overload]  # a type of ours
    return replace(
        plan,
        cpus=plan.cpus if asked.cpu is None else asked.cpu,
        gpus=plan.gpus if asked.gpu is None else float(asked.gpu),
        memory_gib=asked.memory_gib or 0.0,
        labels=dict(worker_labels) if plan.task.type == "worker" else {},
    )


def training_plans(spec: RunSpec, workers: int | None = None) -> tuple[TaskPlan, ...]:
    """The training tasks of a run and what they ask for; with so many workers instead of the spec's."""
    plans = plan_tasks(
        spec.mode,
        workers=spec.workers if workers is None else workers,
        ps=spec.ps,
        cpus_per_task=spec.cpus_per_task,
        gpus_per_worker=spec.gpus_per_worker,
    )
    return tuple(demand(plan, spec.resources, spec.worker_labels) for plan in plans)


def evaluator_plan(spec: RunSpec) -> TaskPlan:
    return demand(plan_evaluator(spec.cpus_per_task), spec.resources, spec.worker_labels)
