"""The plan of a run as JSON, for `regatta plan` and `plan.json`: tasks, hosts, resources, TF_CONFIG, budget."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from orchestrator.plan import topology
from orchestrator.plan.placement import Host
from orchestrator.plan.topology import all_plans
from orchestrator.spec.run import RunSpec
from workers.modes.registry import stages


def plan_document(spec: RunSpec, hosts: Sequence[Host] | None = None) -> dict[str, Any]:
    """The plan of one run (docs/contract.md); `hosts` are the hosts of its tasks, the evaluator's last."""
    plans = all_plans(spec)
    addresses = topology.placeholder_addresses(plans)
    return {
        "mode": spec.mode,
        "tasks": [
            {
                "type": plan.task.type,
                "index": plan.task.index,
                "host": None if host is None else {"name": host.name, "address": host.address},
                "resources": {"cpu": plan.cpus, "gpu": plan.gpus},
                "tf_config": topology.tf_config(plans, addresses, plan.task),
            }
            for plan, host in zip(plans, hosts or repeat(None), strict=hosts is not None)
        ],
        "budget": _budget(spec),
        **({"stages": _stages(spec)} if len(spec.stages) > 1 else {}),
        "spec": spec.resolved(),
        "requires": {"cpu": sum(plan.cpus for plan in plans), "gpu": sum(plan.gpus for plan in plans)},
    }


def _stages(spec: RunSpec) -> list[dict[str, Any]]:
    """The modes that the run trains in one after another, each with the tasks of its own that train."""
    found: list[dict[str, Any]] = []
    done = 0
    for stage, own in zip(stages(spec.mode), spec.stages, strict=True):
        plans, per_step = topology.training_plans(own), own.samples_per_update
        addresses = topology.placeholder_addresses(plans)
        steps = None
        if spec.samples is not None:
            steps = max(0, -(-(round(stage.until * spec.samples) - done) // per_step))
            done += steps * per_step
        found.append(
            {
                "mode": stage.mode,
                "until": stage.until,
                "samples_per_step": per_step,
                "steps": steps,
                "tf_config": {str(plan.task): topology.tf_config(plans, addresses, plan.task) for plan in plans},
            }
        )
    return found


def _budget(spec: RunSpec) -> dict[str, Any]:
    """Training budget. Steps are None for a budget in epochs, because the size of the data is not known yet."""
    global_batch = spec.samples_per_update
    steps = None if spec.samples is None else -(-spec.samples // global_batch)
    if steps is not None and len(spec.stages) > 1:
        steps = sum(stage["steps"] for stage in _stages(spec))
    return {
        "samples": spec.samples,
        "epochs": None if spec.samples is not None else (spec.epochs or 1.0),
        "samples_per_step": global_batch,
        "steps": steps,
        "target": spec.target,
        "timeout": spec.timeout,
    }
