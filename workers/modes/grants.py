"""Grants the steps of a leg to asynchronous workers, which wait in threads of their own. No TensorFlow."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod


class Grants(ABC):
    """Steps of one leg, taken by workers' threads in portions. A subclass says who has to wait."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._changed = threading.Condition()
        self.begin(0)

    def begin(self, step: int) -> None:
        """A leg begins after `step` steps of all workers together; no worker is at work."""
        with self._changed:
            self._granted = self._total = step
            self._most = 0
            self._leg_begins()

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
            self._asks(worker)
            while self._most and self._granted < self._total and self._may_take(worker) < 1:
                self._changed.wait()
            steps = max(0, min(self._most, self._total - self._granted, self._may_take(worker)))
            self._granted += steps
            self._changed.notify_all()  # these may have been the last
            return steps

    def lost(self, worker: int, steps: int) -> None:
        """`worker` was lost with `steps` under way: others may take them, and none waits for it."""
        with self._changed:
            self._granted -= steps
            self._is_lost(worker)
            self._changed.notify_all()

    # What follows is called with the lock held.

    @abstractmethod
    def _leg_begins(self) -> None:
        """Forget the leg before."""

    @abstractmethod
    def _may_take(self, worker: int) -> int:
        """Steps that `worker` may begin now."""

    def _asks(self, worker: int) -> None:  # noqa: B027 - most need nothing
        """`worker` is there and asks for steps."""

    def _is_lost(self, worker: int) -> None:  # noqa: B027
        """`worker` is gone until it asks again."""
