"""Reserves resources for tasks on a Ray cluster, as bundles of placement groups."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence
from typing import Any

from orchestrator.errors import ClusterError
from orchestrator.plan.placement import GIB, Bundle, Group, Host, Room, Strategy, listed, place, place_now
from orchestrator.plan.topology import TaskPlan

_FREE_SECONDS = 5.0
"""Time limit for reserving a bundle that is free, and for an answer from a reserved one."""


class RayReservations:
    """Reserves bundles on the cluster that Ray is connected to."""

    def __init__(self, *, remote: bool) -> None:
        """`remote`: the connection is a `ray://` one."""
        self._remote = remote
        self._held: list[Any] = []
        """Placement groups."""

    def hosts(self) -> tuple[Host, ...]:
        """The hosts that are alive, with their free resources."""
        import ray

        def free_by_node() -> Any:  # nested, so that it is pickled by value: the cluster may not have our packages
            import ray

            return ray._private.state.available_resources_per_node()  # the public function only sums over all nodes

        # A ray:// client does not know the nodes' resources, so the function runs on the cluster.
        free = ray.get(ray.remote(num_cpus=0)(free_by_node).remote()) if self._remote else free_by_node()
        return tuple(_host(node, free.get(node["NodeID"], {})) for node in ray.nodes() if node["Alive"])

    def reserve(self, groups: Sequence[Group], strategy: Strategy, deadline: float) -> tuple[Bundle, ...]:
        """Reserve bundles for all tasks of all groups, on hosts chosen by `placement.place`; held until `release`.

        Raises:
            ResourcesError: the cluster does not have the resources that the tasks request.
            ClusterError: it does, but they were not free by `deadline` (monotonic seconds).
        """
        known = self.hosts()
        hosts = tuple(host for chosen in place(groups, known, strategy) for host in chosen)
        plans = [plan for group in groups for plan in group]
        seconds = max(0.0, deadline - time.monotonic())
        bundles = self._hold(plans, hosts, seconds, pinned=len(known) > 1)
        if bundles is None:
            free = "; ".join(f"{h}: {h.free.cpu:g} CPUs, {h.free.gpu:g} GPUs" for h in self.hosts() if h in hosts)
            raise ClusterError(
                f"The cluster did not offer {_total(plans)} for {listed(plans)} within {seconds:.0f} s; free at the "
                f"moment are {free or 'none of the hosts'}. Wait for other jobs to end, ask for less, or raise "
                "--launch-timeout."
            )
        return bundles

    def find(self, plan: TaskPlan, strategy: Strategy, avoid: Collection[str]) -> Bundle | None:
        """Reserve a bundle that is free now, not on a host whose id is in `avoid`; None if there is none."""
        host = place_now(plan, [host for host in self.hosts() if host.id not in avoid], strategy)
        bundles = self._hold([plan], [host], _FREE_SECONDS, pinned=True) if host else None
        return bundles[0] if bundles else None

    def lives(self, host: Host) -> bool:
        """Whether the host is known to be alive, without asking it."""
        import ray

        return any(node["Alive"] and node["NodeID"] == host.id for node in ray.nodes())

    def answers(self, bundle: Bundle) -> bool:
        """Whether tasks can be started in `bundle`, whose host may have been unreachable."""
        import ray
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        if not self.lives(bundle.host):
            return False
        there = PlacementGroupSchedulingStrategy(bundle.group, bundle.index)
        asked = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=there)(lambda: None).remote()
        answered, _ = ray.wait([asked], timeout=_FREE_SECONDS)
        if not answered:
            ray.cancel(asked, force=True)
        return bool(answered)

    def release(self) -> None:
        """Release all bundles."""
        from ray.util import remove_placement_group

        while self._held:
            with contextlib.suppress(Exception):
                remove_placement_group(self._held.pop())

    def _hold(
        self, plans: Sequence[TaskPlan], hosts: Sequence[Host], seconds: float, *, pinned: bool
    ) -> tuple[Bundle, ...] | None:
        """Reserve a bundle per plan on `hosts`, all or none; None if that took longer than `seconds`."""
        import ray
        from ray.util import placement_group, remove_placement_group

        group = placement_group(
            [_bundle(plan) for plan in plans],
            strategy="PACK",
            bundle_label_selector=[{"ray.io/node-id": host.id} for host in hosts] if pinned else None,
        )
        ready, _ = ray.wait([group.ready()], timeout=seconds)
        if not ready:
            with contextlib.suppress(Exception):
                remove_placement_group(group)
            return None
        self._held.append(group)
        return tuple(Bundle(group, index, host) for index, host in enumerate(hosts))


def _host(node: dict[str, Any], free: dict[str, float]) -> Host:
    return Host(
        id=node["NodeID"],
        name=node["NodeManagerHostname"] or node["NodeManagerAddress"],
        address=node["NodeManagerAddress"],
        total=Room.of_ray(node["Resources"]),
        free=Room.of_ray(free),
        labels=node.get("Labels") or {},
    )


def _bundle(plan: TaskPlan) -> dict[str, float]:
    asked = {"CPU": plan.cpus, "GPU": plan.gpus, "memory": plan.memory_gib * GIB}
    return {name: amount for name, amount in asked.items() if amount}


def _total(plans: Sequence[TaskPlan]) -> str:
    return f"{sum(p.cpus for p in plans):g} CPUs and {sum(p.gpus for p in plans):g} GPUs"
