"""Which tasks a run needs, what each asks of its host, and the TF_CONFIG of each: pure functions.

TensorFlow's rules: a synchronous cluster is made of workers, the first of which leads; a parameter-server cluster has
one chief that drives, workers that compute and parameter servers that hold the variables. The evaluator is not part of
the cluster that trains, by TensorFlow's own convention.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.spec.resources import TypeResources
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
    """Label to Ray's selector for it, for the host that the task may run on."""


def training_plans(spec: RunSpec, workers: int | None = None) -> tuple[TaskPlan, ...]:
    """The training tasks of one worker group, without the evaluator; with `workers` instead of the spec's."""
    count = spec.workers if workers is None else workers
    return tuple(_plan(spec, task) for task in spec.traits.tasks(count, spec.ps))


def evaluator_plan(spec: RunSpec) -> TaskPlan:
    return _plan(spec, EVALUATOR)


def all_plans(spec: RunSpec) -> tuple[TaskPlan, ...]:
    """Every task of a run, the evaluator's last."""
    return (*training_plans(spec), evaluator_plan(spec))


def _plan(spec: RunSpec, task: Task) -> TaskPlan:
    asked = spec.resources.get(task.type, TypeResources())  # type: ignore[call-overload]  # a type of ours
    is_worker = task.type == "worker"
    gpus = spec.gpus_per_worker if is_worker else 0  # the others compute nothing that a GPU helps with
    return TaskPlan(
        task,
        cpus=spec.cpus_per_task if asked.cpu is None else asked.cpu,
        gpus=float(gpus if asked.gpu is None else asked.gpu),
        memory_gib=asked.memory_gib or 0.0,
        labels=dict(spec.worker_labels) if is_worker else {},
    )


def batches_per_step(spec: RunSpec) -> int:
    """Batches that one counted step consumes."""
    return spec.traits.batches_per_step(spec.workers, spec.gpus_per_worker / spec.devices_per_replica)


def tf_config(plans: Sequence[TaskPlan], addresses: Addresses, task: Task) -> dict[str, Any]:
    """TF_CONFIG for `task`."""
    cluster: dict[str, list[str]] = {}
    for plan in sorted(plans, key=lambda p: p.task):
        if plan.task.type != EVALUATOR.type:
            cluster.setdefault(plan.task.type, []).append(addresses[plan.task])
    return {"cluster": cluster, "task": {"type": task.type, "index": task.index}}


def placeholder_addresses(plans: Sequence[TaskPlan]) -> dict[Task, str]:
    """What `regatta plan` prints instead of addresses, which are known once tasks have hosts."""
    return {plan.task: f"<{plan.task}>" for plan in plans}


def count_by_type(plans: Sequence[TaskPlan]) -> dict[str, int]:
    return dict(Counter(plan.task.type for plan in plans))
