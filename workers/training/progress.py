"""Progress of a leg: samples by step, and the batches that each worker took.

A run may continue with another number of workers than it began with. Its steps then hold more or fewer samples than
the steps before, so samples are counted from the leg's start, not as a multiple of steps.
"""

from __future__ import annotations

import math

from workers.messages import Position, Start, Taken


class Progress:
    """Counts samples and batches of one leg, in addition to those before it."""

    def __init__(self, start: Start, workers: int, batches_per_step: int, batch_size: int) -> None:
        """One counted step consumes `batches_per_step` batches."""
        self._start = start
        self._taken = [0] * workers
        self._batches_per_step = batches_per_step
        self.global_batch = batches_per_step * batch_size

    def samples(self, step: int) -> int:
        """Samples trained on after `step` updates, since the run began."""
        return self._start.samples + (step - self._start.step) * self.global_batch

    def total_steps(self, samples: int) -> int:
        """The step that completes `samples` training samples."""
        rest = max(0, samples - self._start.samples)
        return max(1, self._start.step + math.ceil(rest / self.global_batch))

    def add_steps(self, worker: int | None, steps: int) -> None:
        """Count `steps` more steps of `worker`; None if all workers took them together."""
        if worker is not None:
            self._taken[worker] += steps
            return
        each = self._batches_per_step // len(self._taken)
        self._taken = [taken + steps * each for taken in self._taken]

    @property
    def position(self) -> Position:
        """Batches taken from the stream since the run began."""
        before, workers = self._start.position, len(self._taken)
        if before and before[-1].workers == workers:
            taken = tuple(old + new for old, new in zip(before[-1].taken, self._taken, strict=True))
            return (*before[:-1], Taken(workers, taken))
        return (*before, Taken(workers, tuple(self._taken)))
