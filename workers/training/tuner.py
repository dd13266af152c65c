"""How many steps to fuse into one call."""

from __future__ import annotations

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
