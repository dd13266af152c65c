"""Plans a run on the hosts of its cluster."""

from __future__ import annotations

from typing import Any

from orchestrator.cluster.backend import open_backend
from orchestrator.plan.document import plan_document
from orchestrator.plan.placement import place, shortage
from orchestrator.plan.topology import evaluator_plan, training_plans
from orchestrator.spec.run import RunSpec


def plan_where(spec: RunSpec) -> dict[str, Any]:
    """Plan a resolved run without starting anything; if it names a cluster, choose a host for each task.

    Raises:
        ResourcesError: a task fits on no host; the message says why.
        ClusterError: the cluster cannot be reached.
    """
    if spec.address is None:
        return plan_document(spec)
    groups = (training_plans(spec), (evaluator_plan(spec),))
    with open_backend(spec, "plan", (), with_code=False) as backend:
        found = backend.reservations.hosts()
        hosts = [host for chosen in place(groups, found, spec.placement) for host in chosen]
    waits = shortage([plan for group in groups for plan in group], hosts)
    return plan_document(spec, hosts) | {"waits_for": waits}
