"""A session: one backend, one evaluator, and a worker group per variant, for one command.

All resources are released when its `with` block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

from orchestrator.cluster.backend import Backend, open_backend
from orchestrator.cluster.process_limit import check_process_limit
from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.errors import ResourcesError
from orchestrator.plan.placement import Bundle, Group
from orchestrator.plan.topology import TaskPlan, evaluator_plan, training_plans
from orchestrator.runs.group_bundles import GroupBundles
from orchestrator.runs.managed_group import ManagedGroup, assigner, lost_session
from orchestrator.spec.run import RunSpec
from workers.supervisor.process import start_zygote


class Session:
    """Worker groups for `specs`, one per variant, and the evaluator that they share."""

    def __init__(
        self,
        specs: Iterable[RunSpec],
        *,
        name: str | None = None,
        ended: Sequence[bytes] = (),
        opens: Callable[[RunSpec, str, Sequence[TaskPlan]], Backend] = open_backend,
    ) -> None:
        """`name` marks this session's processes; `opens` makes the backend. `ended` is what the earlier fits of a
        script have left behind."""
        self._specs = tuple(specs)
        self.ended = ended
        first = self._specs[0]
        self._name = name or f"{os.getpid()}-{time.monotonic_ns():x}"
        self._scoring = (evaluator_plan(first),)
        plans = [plan for group in self._plans() for plan in group]
        self.backend = opens(first, self._name, plans)
        self._launch_timeout = first.launch_timeout
        self._backend_open = contextlib.ExitStack()
        self._groups_open = contextlib.ExitStack()

    def __enter__(self) -> Session:
        first = self._specs[0]
        with contextlib.ExitStack() as outer, contextlib.ExitStack() as inner:
            if self.backend.local:
                check_process_limit(sum(map(len, self._plans())))
                outer.enter_context(prewarmed(self._name))
            outer.enter_context(self.backend)
            self.deadline = time.monotonic() + first.launch_timeout
            inner.callback(self.backend.reservations.release)
            *reserved, scoring = self._reserve()
            self.evaluator = self.make(self._scoring, scoring)
            inner.callback(self.evaluator.shutdown)
            self.evaluator.launch(assigner(first, self._scoring, self.ended))
            self.groups: dict[str, ManagedGroup] = {}
            for spec, bundles in zip(self._specs, reserved, strict=True):
                own = GroupBundles(spec, bundles, self.backend.reservations)
                group = self.groups[spec.variant_name] = ManagedGroup(self, spec, own)
                inner.callback(group.shutdown)
            self._groups_open, self._backend_open = inner.pop_all(), outer.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if self.backend.lost() is None:  # otherwise nothing would answer any more
            self._groups_open.close()
        self._backend_open.close()

    def check(self) -> None:
        """Raises HostLostError if nothing can be launched any more."""
        if (reason := self.backend.lost()) is not None:
            raise lost_session(reason)

    def make(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle]) -> WorkerGroup:
        """A group of replicas in `bundles`."""
        deadline = max(self.deadline, time.monotonic() + self._launch_timeout)
        return self.backend.group(plans, bundles, deadline)

    def _plans(self, fewer: int = 0) -> list[Group]:
        """The tasks of every group, with `fewer` workers less than in its spec, and the evaluator."""
        return [*(training_plans(spec, spec.workers - fewer) for spec in self._specs), self._scoring]

    def _reserve(self) -> list[tuple[Bundle, ...]]:
        """Bundles for every group and the evaluator. A single group starts with fewer workers if necessary."""
        first = self._specs[0]
        fewest = first.min_workers if len(self._specs) == 1 and first.min_workers else first.workers
        for workers in range(first.workers, fewest, -1):
            with contextlib.suppress(ResourcesError):
                return self._reserve_groups(self._plans(first.workers - workers))
        return self._reserve_groups(self._plans(first.workers - fewest))

    def _reserve_groups(self, groups: Sequence[Group]) -> list[tuple[Bundle, ...]]:
        held = self.backend.reservations.reserve(groups, self._specs[0].placement, self.deadline)
        bundles = iter(held)
        return [tuple(islice(bundles, len(group))) for group in groups]


@contextlib.contextmanager
def prewarmed(session: str) -> Iterator[socket.socket]:
    """Import TensorFlow in a zygote while the backend starts."""
    connection = start_zygote(session)
    try:
        yield connection
    finally:
        connection.close()
