"""Grants steps to asynchronous workers, so that none gets more than some steps ahead of the slowest. No TensorFlow."""

from __future__ import annotations

from workers.modes.grants import Grants


class Bound(Grants):
    """Grants by how far a worker is ahead."""

    def __init__(self, workers: int, ahead: int) -> None:
        """A worker may begin a step while it is at most `ahead` steps ahead of the slowest."""
        self._ahead = ahead
        super().__init__(workers)

    def completed(self, worker: int, steps: int) -> None:
        """`worker` has taken `steps` of those granted to it."""
        with self._changed:
            self._steps[worker] += steps
            self._changed.notify_all()

    def _leg_begins(self) -> None:
        self._steps = [0] * self._workers
        """Steps completed by each worker in this leg."""
        self._lost: set[int] = set()

    def _asks(self, worker: int) -> None:
        if worker in self._lost:  # it is back: it would hold up all others if it had to catch up
            self._lost.remove(worker)
            self._steps[worker] = max(self._steps[worker], self._slowest())

    def _is_lost(self, worker: int) -> None:
        self._lost.add(worker)

    def _may_take(self, worker: int) -> int:
        return self._ahead + 1 - (self._steps[worker] - self._slowest())

    def _slowest(self) -> int:
        present = [steps for worker, steps in enumerate(self._steps) if worker not in self._lost]
        return min(present, default=max(self._steps))
