"""The places of a worker group's tasks: some may be lost with their hosts, and others found, between two attempts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from orchestrator.errors import HostLostError
from orchestrator.plan.placement import Host, Place, Strategy
from orchestrator.plan.topology import TaskPlan, training_plans
from orchestrator.spec.run import RunSpec
from workers.messages import Task


class Ground(Protocol):
    """Where places are found: the cluster."""

    def find(self, plan: TaskPlan, strategy: Strategy, avoid: Collection[str]) -> Place | None:
        """A place for one task that is free now, on no host whose id is in `avoid`."""

    def answers(self, place: Place) -> bool:
        """Whether tasks can be started there."""


class Seating:
    """Of one worker group. It loses places only where the spec lets it go on with fewer workers."""

    def __init__(self, spec: RunSpec, places: Sequence[Place], ground: Ground) -> None:
        """`places` are those of the training tasks, in the order of their plans; maybe of fewer workers."""
        self._spec = spec
        self._ground = ground
        servers = [plan.task for plan in training_plans(spec, workers=0)]
        self._servers: dict[Task, Place] = dict(zip(servers, places, strict=False))
        self._workers = list(places[len(servers) :])
        self._away: list[Place] = []
        """Places of workers that could not be reached; their hosts may come back."""

    @property
    def workers(self) -> int:
        return len(self._workers)

    @property
    def plans(self) -> tuple[TaskPlan, ...]:
        return training_plans(self._spec, self.workers)

    @property
    def places(self) -> tuple[Place, ...]:
        """One for each of `plans`."""
        return (*self._servers.values(), *self._workers)

    def lose(self, hosts: Sequence[Host]) -> None:
        """Give up what lies on `hosts`, and take what is free elsewhere.

        Raises:
            HostLostError: the spec does not allow it, or too little is left.
        """
        if not hosts:
            return
        names = ", ".join(map(str, hosts))
        if self._spec.min_workers is None:
            raise HostLostError(
                f"The run cannot go on without {names}. When there are enough hosts again, `regatta resume` and the "
                "run's folder go on from its last checkpoint; with --min-workers a run goes on with fewer workers."
            )
        gone = {host.id for host in hosts}
        for plan in training_plans(self._spec, workers=0):
            if self._servers[plan.task].host.id in gone:
                self._servers[plan.task] = self.elsewhere(plan, gone)
        self._away += [place for place in self._workers if place.host.id in gone]
        self._workers = [place for place in self._workers if place.host.id not in gone]
        self._fill(gone)
        if self.workers < self._spec.min_workers:
            raise HostLostError(
                f"Without {names} there are places for {self.workers} workers, and --min-workers asks for "
                f"{self._spec.min_workers}. When there are enough hosts again, `regatta resume` and the run's folder "
                "go on from its last checkpoint."
            )

    def elsewhere(self, plan: TaskPlan, gone: Collection[str]) -> Place:
        """Another place for a task that the group cannot do without.

        Raises:
            HostLostError: there is none.
        """
        place = self._ground.find(plan, self._spec.placement, gone)
        if place is None:
            raise HostLostError(
                f"The host of {plan.task} is gone, and no other one has room for it now. When there are enough hosts "
                "again, `regatta resume` and the run's folder go on from its last checkpoint."
            )
        return place

    def grow(self) -> None:
        """Take what has come back, or become free, up to the number of workers asked for."""
        for place in [place for place in self._away if self._ground.answers(place)]:
            if self.workers < self._spec.workers:
                self._away.remove(place)
                self._workers.append(place)
        self._fill({place.host.id for place in self._away})

    def _fill(self, avoid: Collection[str]) -> None:
        while self.workers < self._spec.workers:
            taken = {place.host.id for place in self._workers} if self._spec.placement == "one-per-host" else set()
            place = self._ground.find(training_plans(self._spec)[-1], self._spec.placement, {*avoid, *taken})
            if place is None:
                return
            self._workers.append(place)
