"""A backend: where a session's tasks run, and how its worker groups are made. Ray is one, this process another."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.plan.placement import Bundle, Group, Host, Strategy
from orchestrator.plan.topology import TaskPlan
from orchestrator.spec.run import RunSpec


class Reservations(Protocol):
    """Hosts, and the resources that are held on them for tasks."""

    def hosts(self) -> tuple[Host, ...]:
        """The living hosts, and what is free on each."""

    def reserve(self, groups: Sequence[Group], strategy: Strategy, deadline: float) -> tuple[Bundle, ...]:
        """Bundles for all tasks of all groups at once; held until `release`.

        Raises:
            ResourcesError: the hosts do not have what the tasks ask for.
            ClusterError: they do, but not free before `deadline` (monotonic seconds).
        """

    def find(self, plan: TaskPlan, strategy: Strategy, avoid: Collection[str]) -> Bundle | None:
        """A bundle for one task that is free now, on no host whose id is in `avoid`; None if there is none."""

    def answers(self, bundle: Bundle) -> bool:
        """Whether tasks can be started in `bundle`."""

    def release(self) -> None:
        """Give all bundles back."""


class Backend(Protocol):
    """Open while its `with` block lasts."""

    local: bool
    """All tasks run on this host, in processes of this command."""

    def __enter__(self) -> Backend: ...

    def __exit__(self, *_: object) -> None: ...

    @property
    def reservations(self) -> Reservations: ...

    def group(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle], deadline: float) -> WorkerGroup:
        """A worker group in `bundles`; its supervisors have to answer before `deadline` (monotonic seconds)."""

    def lost(self) -> str | None:
        """Why nothing can be launched any more; None if that is not so."""


def open_backend(spec: RunSpec, session: str, plans: Sequence[TaskPlan], *, with_code: bool = True) -> Backend:
    """The backend that `spec` asks for; tasks of `plans` will run there.

    `with_code`: hosts of a cluster get a copy of our packages and of the job's code.
    """
    if spec.backend == "local":
        from orchestrator.cluster.local import LocalBackend

        return LocalBackend(session)
    from orchestrator.cluster.connection import RayBackend

    return RayBackend(session, spec, plans, with_code=with_code)
