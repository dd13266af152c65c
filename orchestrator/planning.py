"""What `regatta plan` tells, and `plan.json` keeps: tasks, resources, TF_CONFIG, budget. Starts nothing."""

from __future__ import annotations

from typing import Any

from orchestrator import topology
from orchestrator.fleet import training_plans
from orchestrator.spec import RunSpec


def plan_document(spec: RunSpec) -> dict[str, Any]:
    """The plan of one run, as JSON (DESIGN.md section 6)."""
    plans = (*training_plans(spec), topology.plan_evaluator(spec.cpus_per_task))
    addresses = topology.placeholder_addresses(plans)
    return {
        "mode": spec.mode,
        "tasks": [
            {
                "type": plan.task.type,
                "index": plan.task.index,
                "resources": {"cpu": plan.cpus, "gpu": plan.gpus},
                "tf_config": topology.tf_config(plans, addresses, plan.task),
            }
            for plan in plans
        ],
        "budget": _budget(spec),
        "requires": {"cpu": sum(plan.cpus for plan in plans), "gpu": sum(plan.gpus for plan in plans)},
    }


def _budget(spec: RunSpec) -> dict[str, Any]:
    """Steps are null for a budget in epochs: how many samples those are is known once the data are read."""
    global_batch = spec.batch_size * topology.batches_per_step(spec.mode, spec.workers, spec.gpus_per_worker)
    return {
        "samples": spec.samples,
        "epochs": None if spec.samples is not None else (spec.epochs or 1.0),
        "samples_per_step": global_batch,
        "steps": None if spec.samples is None else -(-spec.samples // global_batch),
        "target": spec.target,
        "timeout": spec.timeout,
    }
