"""A backend: where a session's tasks run, and how its worker groups are launched. There are two: Ray and this host."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from orchestrator.cluster.warm.found import lease
from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.plan.placement import Bundle, Group, Host, Strategy
from orchestrator.plan.topology import TaskPlan
from orchestrator.spec.run import RunSpec


class Reservations(Protocol):
    """Lists hosts, and reserves resources on them for tasks."""

    def hosts(self) -> tuple[Host, ...]:
        """The hosts that are alive, with their free resources."""

    def reserve(self, groups: Sequence[Group], strategy: Strategy, deadline: float) -> tuple[Bundle, ...]:
        """Reserve bundles for all tasks of all groups at once; they are held until `release`.

        Raises:
            ResourcesError: the hosts do not have the resources that the tasks request.
            ClusterError: they do, but the resources were not free by `deadline` (monotonic seconds).
        """

    def find(self, plan: TaskPlan, strategy: Strategy, avoid: Collection[str]) -> Bundle | None:
        """Reserve a bundle that is free now, not on a host whose id is in `avoid`; None if there is none."""

    def lives(self, host: Host) -> bool:
        """Whether the host is known to be alive, without asking it."""

    def answers(self, bundle: Bundle) -> bool:
        """Whether tasks can be started in `bundle`, whose host may have been unreachable."""

    def release(self) -> None:
        """Release all bundles."""


class Backend(Protocol):
    """Runs tasks. Open for the duration of its `with` block."""

    local: bool
    """Whether all tasks run on this host, in processes of this command."""
    session: str
    """The name by which its tasks' hosts know the session: of its zygotes and of its folders."""

    def __enter__(self) -> Backend: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def reservations(self) -> Reservations: ...

    def group(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle], deadline: float) -> WorkerGroup:
        """Make a worker group in `bundles`; its supervisors have to answer before `deadline` (monotonic seconds)."""

    def lost(self) -> str | None:
        """The reason why nothing can be launched any more; None if the backend works."""


def open_backend(spec: RunSpec, session: str, plans: Sequence[TaskPlan], *, with_code: bool = True) -> Backend:
    """Make the backend that `spec` requests, for the tasks of `plans`; on this host's warm machine if there is one.

    `with_code`: send a copy of our packages and of the job's code to the hosts of a cluster.
    """
    warm = lease(plans) if spec.address is None else None
    if spec.backend == "local":
        from orchestrator.cluster.local import LocalBackend

        return LocalBackend(session, warm)
    from orchestrator.cluster.connection import RayBackend

    return RayBackend(session, spec, plans, with_code=with_code, warm=warm)
