"""Grants a step at a time, so that no worker gives two gradients for one version of the weights. No TensorFlow."""

from __future__ import annotations

from workers.modes.grants import Grants


class Versions(Grants):
    """Grants by the version of the weights, of which every `wanted` gradients make another."""

    def __init__(self, workers: int, wanted: int) -> None:
        self._wanted = wanted
        self._version = 0
        super().__init__(workers)

    def completed(self, worker: int, read: int, kept: int) -> None:
        """`worker` has given a gradient, computed on the weights that `read` gradients had made; now there are `kept`.

        If it was kept, the worker waits for the next version. If it came too late, that version is there already.
        """
        with self._changed:
            self._awaited[worker] = read // self._wanted + 1
            self._learn(kept)

    def learn(self, kept: int) -> None:
        """There are `kept` gradients now, of any workers."""
        with self._changed:
            self._learn(kept)

    def _learn(self, kept: int) -> None:
        self._version = max(self._version, kept // self._wanted)
        self._changed.notify_all()

    def _leg_begins(self) -> None:
        self._version = 0
        self._awaited = [0] * self._workers
        """The version that each worker waits for before its next step."""

    def _is_lost(self, worker: int) -> None:
        self._awaited[worker] = 0

    def _may_take(self, worker: int) -> int:
        return int(self._version >= self._awaited[worker])
