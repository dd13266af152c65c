"""Refuses what a cluster can never hold, before it is submitted: by the nodes that its dashboard lists."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.plan.placement import Host, Room, place
from orchestrator.plan.topology import evaluator_plan, training_plans
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.files import base_of

if TYPE_CHECKING:
    from orchestrator.spec.files import Spec
    from orchestrator.spec.run import RunSpec

_NODES = "/api/v0/nodes?detail=1&limit=10000"
"""The nodes of Ray's state API."""


def refuse_what_never_fits(spec: Spec, get: Callable[[str], Any]) -> None:
    """Raises ResourcesError if a run of `spec` would not fit on the cluster, with nothing else on it.

    `get` asks the dashboard for a path, and returns what `requests` does. Of a comparison each variant is looked at
    alone. Nodes that an autoscaler would add are not known, nor are they to the run, which ends with the same words.
    """
    hosts = _hosts(get)
    for run in _runs(spec) if hosts else ():
        groups = (training_plans(run, run.min_workers), (evaluator_plan(run),))
        place(groups, hosts, run.placement)


def _hosts(get: Callable[[str], Any]) -> tuple[Host, ...]:
    """The nodes that are alive, without what runs on them; none if the dashboard or a proxy before it does not tell."""
    try:
        listed = get(_NODES).json()["data"]["result"]["result"]
        return tuple(_host(node) for node in listed if node["state"] == "ALIVE")
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError):
        return ()


def _runs(spec: Spec) -> Iterable[RunSpec]:
    if isinstance(spec, CompareSpec):
        return itertools.chain.from_iterable(spec.runs(seed).values() for seed in spec.seeds[:1])
    return (base_of(spec),)


def _host(node: Any) -> Host:
    room = Room.of_ray(node["resources_total"])
    labels = {str(name): str(value) for name, value in (node.get("labels") or {}).items()}
    return Host(str(node["node_id"]), str(node["node_name"]), str(node["node_ip"]), room, room, labels)
