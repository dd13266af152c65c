"""A session: one backend, a worker group per variant, and an evaluator per model, for one command.

All resources are released when its `with` block ends, however it ends.
"""

from __future__ import annotations

import contextlib
import json
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
    """Worker groups for `specs`, one per variant, and evaluators, which variants of the same model share."""

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
        self._scored = {_scored(spec): spec for spec in reversed(self._specs)}
        """The first of the specs with the same model and evaluation data."""
        plans = [plan for group in self._plans() for plan in group]
        self.backend = opens(first, name or f"{os.getpid()}-{time.monotonic_ns():x}", plans)
        self._launch_timeout = first.launch_timeout
        self._backend_open = contextlib.ExitStack()
        self._groups_open = contextlib.ExitStack()

    def __enter__(self) -> Session:
        first = self._specs[0]
        with contextlib.ExitStack() as outer, contextlib.ExitStack() as inner:
            if self.backend.local:
                check_process_limit(sum(map(len, self._plans())))
                outer.enter_context(prewarmed(self.backend.session))
            outer.enter_context(self.backend)
            self.deadline = time.monotonic() + first.launch_timeout
            inner.callback(self.backend.reservations.release)
            reserved = iter(self._reserve())
            groups = list(islice(reserved, len(self._specs)))
            self._evaluators: dict[str, WorkerGroup] = {}
            for (scored, spec), bundles in zip(self._scored.items(), reserved, strict=True):
                evaluator = self._evaluators[scored] = self.make((evaluator_plan(spec),), bundles)
                inner.callback(evaluator.shutdown)
                evaluator.launch(assigner(spec, evaluator.plans, self.ended))
            self.groups: dict[str, ManagedGroup] = {}
            for spec, bundles in zip(self._specs, groups, strict=True):
                own = GroupBundles(spec, bundles, self.backend.reservations)
                group = self.groups[spec.variant_name] = ManagedGroup(self, spec, own)
                inner.callback(group.shutdown)
            self._groups_open, self._backend_open = inner.pop_all(), outer.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        if self.backend.lost() is None:  # otherwise nothing would answer any more
            self._groups_open.close()
        self._backend_open.close()

    def evaluator(self, spec: RunSpec) -> WorkerGroup:
        """The evaluator of the model of `spec`."""
        return self._evaluators[_scored(spec)]

    def check(self) -> None:
        """Raises HostLostError if nothing can be launched any more."""
        if (reason := self.backend.lost()) is not None:
            raise lost_session(reason)

    def make(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle]) -> WorkerGroup:
        """A group of replicas in `bundles`."""
        deadline = max(self.deadline, time.monotonic() + self._launch_timeout)
        return self.backend.group(plans, bundles, deadline)

    def _plans(self, fewer: int = 0) -> list[Group]:
        """The tasks of every group, with `fewer` workers less than in its spec, and then the evaluators."""
        training = [training_plans(spec, spec.workers - fewer) for spec in self._specs]
        return [*training, *((evaluator_plan(spec),) for spec in self._scored.values())]

    def _reserve(self) -> list[tuple[Bundle, ...]]:
        """Bundles for every group and evaluator. A single group starts with fewer workers if necessary."""
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


def _scored(spec: RunSpec) -> str:
    """A text of what makes the model and the evaluation data; for runs with equal texts, one evaluator is right."""
    fields = {"job", "directory", "params", "eval_steps", "jit"}
    settings = spec.replica.model_dump(mode="json", include=fields)
    return json.dumps([settings, spec.replica.dtype_policy], sort_keys=True)


@contextlib.contextmanager
def prewarmed(session: str) -> Iterator[socket.socket]:
    """Import TensorFlow in a zygote while the backend starts."""
    connection = start_zygote(session)
    try:
        yield connection
    finally:
        connection.close()
