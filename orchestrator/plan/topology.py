"""The tasks of a run, the resources that each needs, and its TF_CONFIG: pure functions.

TensorFlow's rules: a synchronous cluster consists of workers, the first of which leads; a parameter-server cluster has
a chief that drives training, workers that compute, and parameter servers that store the variables. By TensorFlow's
convention the evaluator is not part of the cluster that trains.
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
    """One task and the resources that it needs."""

    task: Task
    cpus: float
    gpus: float
    memory_gib: float = 0.0
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Ray label selectors, by label, that the task's host must match."""


def training_plans(spec: RunSpec, workers: int | None = None) -> tuple[TaskPlan, ...]:
    """The training tasks of one worker group, without the evaluator; `workers` replaces the spec's number."""
    count = spec.workers if workers is None else workers
    return tuple(_plan(spec, task) for task in spec.traits.tasks(count, spec.ps))


def evaluator_plan(spec: RunSpec) -> TaskPlan:
    return _plan(spec, EVALUATOR)


def all_plans(spec: RunSpec) -> tuple[TaskPlan, ...]:
    """All tasks of a run, the evaluator last."""
    return (*training_plans(spec), evaluator_plan(spec))


def _plan(spec: RunSpec, task: Task) -> TaskPlan:
    asked = spec.resources.get(task.type, TypeResources())  # type: ignore[call-overload]  # a type of ours
    is_worker = task.type == "worker"
    gpus = spec.gpus_per_worker if is_worker else 0  # other tasks compute nothing that a GPU speeds up
    return TaskPlan(
        task,
        cpus=spec.cpus_per_task if asked.cpu is None else asked.cpu,
        gpus=float(gpus if asked.gpu is None else asked.gpu),
        memory_gib=asked.memory_gib or 0.0,
        labels=dict(spec.worker_labels) if is_worker else {},
    )


def tf_config(plans: Sequence[TaskPlan], addresses: Addresses, task: Task) -> dict[str, Any]:
    """The TF_CONFIG of `task`."""
    cluster: dict[str, list[str]] = {}
    for plan in sorted(plans, key=lambda p: p.task):
        if plan.task.type != EVALUATOR.type:
            cluster.setdefault(plan.task.type, []).append(addresses[plan.task])
    return {"cluster": cluster, "task": {"type": task.type, "index": task.index}}


def placeholder_addresses(plans: Sequence[TaskPlan]) -> dict[Task, str]:
    """Placeholders that `regatta plan` prints for addresses, which are not known before the tasks start."""
    return {plan.task: f"<{plan.task}>" for plan in plans}


def count_by_type(plans: Sequence[TaskPlan]) -> dict[str, int]:
    """Number of tasks of each type, in order of appearance."""
    return dict(Counter(plan.task.type for plan in plans))
