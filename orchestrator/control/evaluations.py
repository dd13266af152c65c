"""Snapshots on their way through the evaluator: kept until they are scored, so that its death costs none."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchestrator.cluster.worker_group import SnapshotHandle, WorkerGroup
from orchestrator.plan.topology import EVALUATOR
from workers.messages import Stamp


class Scoring:
    """What the evaluator has been given, and has not answered yet."""

    def __init__(self, evaluator: WorkerGroup) -> None:
        self._evaluator = evaluator
        self._awaited: dict[Stamp, SnapshotHandle] = {}

    def __len__(self) -> int:
        return len(self._awaited)

    def order(self, stamp: Stamp, snapshot: SnapshotHandle) -> None:
        self._awaited[stamp] = snapshot
        self._evaluator.score(EVALUATOR, stamp, snapshot)

    def keep(self, pending: Iterable[Stamp]) -> None:
        """Forget all others: they are scored, or nobody asks for their score any more."""
        wanted = set(pending)
        self._awaited = {stamp: handle for stamp, handle in self._awaited.items() if stamp in wanted}

    def held(self, holds: Callable[[SnapshotHandle], bool]) -> frozenset[Stamp]:
        """Those whose snapshot has come: one that its leader died over never will."""
        return frozenset(stamp for stamp, handle in self._awaited.items() if holds(handle))

    def again(self) -> None:
        """The evaluator began anew: give it everything once more."""
        for stamp, snapshot in self._awaited.items():
            self._evaluator.score(EVALUATOR, stamp, snapshot)
