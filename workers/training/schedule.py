"""Schedules within a leg: when a checkpoint is due, when an epoch ends, how many steps a call has."""

from __future__ import annotations

import time
from collections.abc import Callable

from workers.modes.traits import TARGET_CALL_SECONDS

_NEVER = 2**62
_MAX_GROWTH = 4.0


class CheckpointSchedule:
    """When checkpoints are due: by samples, at the same step on every replica, and by seconds on the leader's clock."""

    def __init__(
        self,
        every: int | None,
        seconds: float | None,
        step: int,
        global_batch: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """A checkpoint is due after `every` samples and after `seconds`; None turns either off. The leg starts at
        `step`, and a step takes `global_batch` samples."""
        self._clock = clock
        self._seconds = seconds
        self._every = None if every is None else max(1, -(-every // global_batch))
        self.boundary = _NEVER if self._every is None else self._every * (step // self._every + 1)
        """The step at which the next checkpoint is due; calls of fused steps end there."""
        self.start()

    def start(self) -> None:
        """Start counting seconds now."""
        self._at = None if self._seconds is None else self._clock() + self._seconds

    def due(self, step: int) -> bool:
        """Whether a checkpoint is due at `step`. If so, the next one is due an interval later."""
        by_step = step >= self.boundary
        if by_step and self._every is not None:
            self.boundary = self._every * (step // self._every + 1)
        by_time = self._at is not None and self._clock() >= self._at
        if by_step or by_time:
            self.start()
        return by_step or by_time


class Epochs:
    """Counts epochs, in the same way on every replica.

    The stream joins the rest of an epoch with the start of the next, so an epoch ends with the step that takes its last
    sample. An epoch shorter than a step counts as one step.
    """

    def __init__(self, samples: int, global_batch: int, step: int = 0, taken: int | None = None) -> None:
        """`samples` per epoch and `global_batch` per step; training continues from `step`.

        `taken` samples were trained on before; None if every step before took `global_batch` as well.
        """
        self._samples = max(samples, global_batch)
        self._global_batch = global_batch
        self._step = step
        self._taken = step * global_batch if taken is None else taken
        self.number = self._taken // self._samples
        """Number of the current epoch, from 0 as Keras counts."""

    @property
    def end(self) -> int:
        """The step that completes the current epoch."""
        return self._step - (self._taken - (self.number + 1) * self._samples) // self._global_batch


class CallTuner:
    """Chooses how many steps to fuse into a call: their number grows until a call takes about 100 ms.

    Fusing is the largest single gain in speed. Much longer calls would delay stopping, progress and snapshots.
    """

    def __init__(self, fixed: int | None) -> None:
        self._fixed = fixed
        self.steps = fixed or 1

    def observe(self, steps: int, seconds: float) -> None:
        """Take into account that a call of `steps` took `seconds`."""
        if self._fixed or steps < self.steps:  # a call cut short at a boundary says nothing about longer ones
            return
        ideal = steps * TARGET_CALL_SECONDS / max(seconds, 1e-6)
        self.steps = max(1, int(min(ideal, self.steps * _MAX_GROWTH)))
