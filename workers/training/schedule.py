"""When a leg's next checkpoint is due."""

from __future__ import annotations

import time
from collections.abc import Callable

from workers.messages import Checkpointing

_NEVER = 2**62


class Due:
    """By samples, at the same step on every replica; by seconds, on the leader's clock, which alone counts."""

    def __init__(
        self,
        settings: Checkpointing | None,
        step: int,
        global_batch: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The leg starts at `step`; a step takes `global_batch` samples."""
        self._clock = clock
        self._seconds = settings.seconds if settings else None
        every = settings.every if settings else None
        self._every = None if every is None else max(1, -(-every // global_batch))
        self.boundary = _NEVER if self._every is None else self._every * (step // self._every + 1)
        """The step at which the next one is due, where calls of fused steps end."""
        self.start()

    def start(self) -> None:
        """Training begins now."""
        self._at = None if self._seconds is None else self._clock() + self._seconds

    def now(self, step: int) -> bool:
        """Whether one is due at `step`; if so, the next one is an interval away."""
        by_step = step >= self.boundary
        if by_step and self._every is not None:
            self.boundary = self._every * (step // self._every + 1)
        by_time = self._at is not None and self._clock() >= self._at
        if by_step or by_time:
            self.start()
        return by_step or by_time


class Epochs:
    """Counts epochs, the same way on every replica.

    The stream joins an epoch's rest with the next one's start, so an epoch ends with the step that takes its last
    sample. Epochs shorter than a step are taken for one step each.
    """

    def __init__(self, samples: int, global_batch: int, step: int = 0, taken: int | None = None) -> None:
        """`samples` in an epoch, `global_batch` in a step; `step` is the one that training goes on from.

        `taken` samples were trained on until then; None if each step before held `global_batch` as well.
        """
        self._samples = max(samples, global_batch)
        self._global_batch = global_batch
        self._step = step
        self._taken = step * global_batch if taken is None else taken
        self.number = self._taken // self._samples
        """Of the epoch under way, from 0 as Keras counts."""

    @property
    def end(self) -> int:
        """The step with which it ends."""
        return self._step - (self._taken - (self.number + 1) * self._samples) // self._global_batch


TARGET_CALL_SECONDS = 0.1
_MAX_GROWTH = 4.0


class CallTuner:
    """How many steps to fuse into a call: grow until a call takes about 100 ms.

    Fusing is the largest single gain in speed; a call much longer than this would make stopping,
    progress and snapshots coarse.
    """

    def __init__(self, fixed: int | None) -> None:
        self._fixed = fixed
        self.steps = fixed or 1

    def observe(self, steps: int, seconds: float) -> None:
        if self._fixed or steps < self.steps:  # a call cut short at a boundary says nothing about longer ones
            return
        ideal = steps * TARGET_CALL_SECONDS / max(seconds, 1e-6)
        self.steps = max(1, int(min(ideal, self.steps * _MAX_GROWTH)))
