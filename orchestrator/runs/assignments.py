"""What each task of a worker group has to know."""

from __future__ import annotations

from orchestrator.cluster.worker_group import Assign
from orchestrator.plan import topology
from orchestrator.plan.topology import TaskPlan
from orchestrator.spec import secrets
from orchestrator.spec.run import RunSpec
from workers.messages import Assignment, JobSource, Task


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
            gradient_noise=spec.gradient_noise,
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
