"""Grants steps to asynchronous workers, so that none gets more than some steps ahead of the slowest. No TensorFlow."""

from __future__ import annotations

import threading


class Bound:
    """Steps of one leg, taken by workers' threads in portions."""

    def __init__(self, workers: int, ahead: int) -> None:
        """A worker may begin a step while it is at most `ahead` steps ahead of the slowest."""
        self._workers = workers
        self._ahead = ahead
        self._changed = threading.Condition()
        self.begin(0)

    def begin(self, step: int) -> None:
        """A leg begins after `step` steps of all workers together; no worker is at work."""
        with self._changed:
            self._steps = [0] * self._workers
            """Steps completed by each worker in this leg."""
            self._lost: set[int] = set()
            self._granted = self._total = step
            self._most = 0

    @property
    def has_steps(self) -> bool:
        with self._changed:
            return self._granted < self._total

    def offer(self, total: int, most: int) -> None:
        """Grant steps until `total`, at most `most` at a time."""
        with self._changed:
            self._total, self._most = total, most
            self._changed.notify_all()

    def close(self) -> None:
        """Grant nothing until the next offer; workers that wait are given no steps."""
        with self._changed:
            self._most = 0
            self._changed.notify_all()

    def take(self, worker: int) -> int:
        """Wait until `worker` may begin steps, and return their number; 0 if there are none for now."""
        with self._changed:
            if worker in self._lost:  # it is back: it would hold up all others if it had to catch up
                self._lost.remove(worker)
                self._steps[worker] = max(self._steps[worker], self._slowest())
            while self._most and self._granted < self._total and self._may_take(worker) < 1:
                self._changed.wait()
            steps = max(0, min(self._most, self._total - self._granted, self._may_take(worker)))
            self._granted += steps
            self._changed.notify_all()  # these may have been the last
            return steps

    def completed(self, worker: int, steps: int) -> None:
        """`worker` has taken `steps` of those granted to it."""
        with self._changed:
            self._steps[worker] += steps
            self._changed.notify_all()

    def lost(self, worker: int, steps: int) -> None:
        """`worker` was lost with `steps` under way: others may take them, and none waits for it."""
        with self._changed:
            self._granted -= steps
            self._lost.add(worker)
            self._changed.notify_all()

    def _may_take(self, worker: int) -> int:
        return self._ahead + 1 - (self._steps[worker] - self._slowest())

    def _slowest(self) -> int:
        present = [steps for worker, steps in enumerate(self._steps) if worker not in self._lost]
        return min(present, default=max(self._steps))
