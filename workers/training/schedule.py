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
