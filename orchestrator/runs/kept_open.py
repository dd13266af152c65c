"""Keeps a backend open for several sessions after one another: Ray starts, and TensorFlow is imported, once for all."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.cluster.backend import Backend, Reservations, open_backend
from orchestrator.cluster.worker_group import WorkerGroup
from orchestrator.plan.placement import Bundle
from orchestrator.plan.topology import TaskPlan, all_plans
from orchestrator.runs.session import prewarmed
from orchestrator.spec.run import RunSpec


@contextlib.contextmanager
def kept_open(specs: Sequence[RunSpec]) -> Iterator[dict[str, Any]]:
    """Options for sessions of runs like `specs`, one after another, that share a backend."""
    name = f"{os.getpid()}-{time.monotonic_ns():x}"
    largest = max(map(all_plans, specs), key=lambda plans: sum(plan.cpus for plan in plans))
    backend = open_backend(specs[0], name, largest)
    with contextlib.ExitStack() as stack:
        if backend.local:
            stack.enter_context(prewarmed(backend.session))
        stack.enter_context(backend)
        yield {"name": name, "opens": lambda *_: _Open(backend)}


class _Open:
    """A backend that is open already, and stays so."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.local = backend.local
        self.session = backend.session

    def __enter__(self) -> _Open:
        return self

    def __exit__(self, *_: object) -> None: ...

    @property
    def reservations(self) -> Reservations:
        return self._backend.reservations

    def group(self, plans: tuple[TaskPlan, ...], bundles: Sequence[Bundle], deadline: float) -> WorkerGroup:
        return self._backend.group(plans, bundles, deadline)

    def lost(self) -> str | None:
        return self._backend.lost()
