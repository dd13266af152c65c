"""The bundles of a worker group's tasks, some of which may be lost or replaced between attempts."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from orchestrator.cluster.backend import Reservations
from orchestrator.errors import HostLostError
from orchestrator.plan.placement import Bundle, Host
from orchestrator.plan.topology import TaskPlan, training_plans
from orchestrator.spec.run import RunSpec
from orchestrator.text import plural
from workers.messages import Task

_RESUME = "When there are enough hosts again, `regatta resume` with the run's folder continues from its last checkpoint"


class GroupBundles:
    """Bundles of one worker group, which may lose some of them if the spec sets `min_workers`."""

    def __init__(self, spec: RunSpec, bundles: Sequence[Bundle], reservations: Reservations) -> None:
        """`bundles` are those of the training tasks, in the order of their plans; there may be fewer workers."""
        self._spec = spec
        self._reservations = reservations
        servers = [plan.task for plan in training_plans(spec, workers=0)]
        self._servers: dict[Task, Bundle] = dict(zip(servers, bundles, strict=False))
        self._workers = list(bundles[len(servers) :])
        self._away: list[Bundle] = []
        """Bundles of workers on lost hosts, which may return."""

    @property
    def workers(self) -> int:
        return len(self._workers)

    @property
    def plans(self) -> tuple[TaskPlan, ...]:
        return training_plans(self._spec, self.workers)

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        """One bundle for each of `plans`."""
        return (*self._servers.values(), *self._workers)

    def lose(self, hosts: Sequence[Host]) -> None:
        """Give up the bundles on lost `hosts`, and reserve others where hosts have room.

        Raises:
            HostLostError: the spec does not allow fewer workers, or too few are left.
        """
        if not hosts:
            return
        names = ", ".join(map(str, hosts))
        if self._spec.min_workers is None:
            raise HostLostError(
                f"The run cannot continue without {names}. {_RESUME}. With --min-workers, a run continues with fewer "
                "workers."
            )
        gone = {host.id for host in hosts}
        for plan in training_plans(self._spec, workers=0):
            if self._servers[plan.task].host.id in gone:
                self._servers[plan.task] = self.elsewhere(plan, gone)
        self._away += [bundle for bundle in self._workers if bundle.host.id in gone]
        self._workers = [bundle for bundle in self._workers if bundle.host.id not in gone]
        self._fill(gone)
        if self.workers < self._spec.min_workers:
            raise HostLostError(
                f"Without {names}, there is room for {plural(self.workers, 'worker')}, and --min-workers requires "
                f"{self._spec.min_workers}. {_RESUME}."
            )

    def lost(self, used: Collection[Task]) -> tuple[Host, ...]:
        """Lost hosts of bundles whose tasks are not `used`: no process tells of them."""
        hosts = {bundle.host.id: bundle.host for task, bundle in self._servers.items() if task not in used}
        return tuple(host for host in hosts.values() if not self._reservations.lives(host))

    def elsewhere(self, plan: TaskPlan, gone: Collection[str]) -> Bundle:
        """A bundle on another host for a task that the group needs.

        Raises:
            HostLostError: no host has room.
        """
        bundle = self._reservations.find(plan, self._spec.placement, gone)
        if bundle is None:
            raise HostLostError(f"The host of {plan.task} was lost, and no other host has room for it. {_RESUME}.")
        return bundle

    def grow(self) -> None:
        """Use bundles on hosts that returned or have room, up to the spec's number of workers."""
        for bundle in [bundle for bundle in self._away if self._reservations.answers(bundle)]:
            if self.workers < self._spec.workers:
                self._away.remove(bundle)
                self._workers.append(bundle)
        self._fill({bundle.host.id for bundle in self._away})

    def _fill(self, avoid: Collection[str]) -> None:
        while self.workers < self._spec.workers:
            taken = {bundle.host.id for bundle in self._workers} if self._spec.placement == "one-per-host" else set()
            bundle = self._reservations.find(training_plans(self._spec)[-1], self._spec.placement, {*avoid, *taken})
            if bundle is None:
                return
            self._workers.append(bundle)
