"""The local backend: supervisors in this process, one host, no Ray."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Collection, Sequence
from itertools import chain

from orchestrator.cluster.local_group import LocalGroup
from orchestrator.cluster.warm.found import Lease
from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.plan.placement import Bundle, Group, Host, Room, Strategy
from orchestrator.plan.topology import TaskPlan


class LocalBackend:
    """Runs tasks on this host's cores, which they share as under any process launcher: nothing is reserved."""

    local = True

    def __init__(self, session: str, warm: Lease | None = None) -> None:
        """`warm`: fork the tasks from the zygote of that machine."""
        self.session = warm.state.session if warm else session
        self.reservations = LocalReservations()
        self._warm = warm
        self._open = contextlib.ExitStack()

    def __enter__(self) -> LocalBackend:
        if self._warm is not None:
            self._open.enter_context(self._warm.marking())
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def group(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle], deadline: float) -> WorkerGroup:
        return LocalGroup(plans, self.session)

    def lost(self) -> str | None:
        return None


class LocalReservations:
    """Grants every request, on this host."""

    def __init__(self) -> None:
        room = Room(float(os.cpu_count() or 1))
        self._here = Host("local", platform.node() or "localhost", "127.0.0.1", total=room, free=room)

    def hosts(self) -> tuple[Host, ...]:
        return (self._here,)

    def reserve(self, groups: Sequence[Group], strategy: Strategy, deadline: float) -> tuple[Bundle, ...]:
        return tuple(Bundle(None, index, self._here) for index, _ in enumerate(chain.from_iterable(groups)))

    def find(self, plan: TaskPlan, strategy: Strategy, avoid: Collection[str]) -> Bundle | None:
        return None if self._here.id in avoid else Bundle(None, 0, self._here)

    def lives(self, host: Host) -> bool:
        return True

    def answers(self, bundle: Bundle) -> bool:
        return True

    def release(self) -> None: ...
