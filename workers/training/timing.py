"""A leg's training clock, and timings of its workers' calls."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from workers.modes.mode import Call
from workers.news import CallTiming

_SLACK = 0.05
MIN_SECONDS = 0.1
"""Calls are summed up until they took this long, so that short ones are not reported one by one."""


class LegClock:
    """Counts seconds of training on this process' monotonic clock; it stands still while callbacks run."""

    def __init__(self) -> None:
        self.created = time.monotonic()
        self.start_at(0.0)

    def start_at(self, clock: float | None) -> None:
        """Start at 0 now (None), or at `clock` at the time this object was created: preparing a resumed leg counts."""
        now = time.monotonic()
        self.origin = now if clock is None else self.created - clock
        self._last = now

    def call_ended(self, at: float) -> None:
        """Advance the clock to a call's end at monotonic second `at`."""
        self._last = max(self._last, at)

    @property
    def seconds(self) -> float:
        """Training clock at the end of the latest call."""
        return self._last - self.origin

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock inside."""
        begun = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - begun
            self.origin += seconds
            self._last += seconds


class CallTimer:
    """Sums up calls into one `CallTiming` per worker for every `MIN_SECONDS` of them."""

    def __init__(self, run_id: str, clock: LegClock) -> None:
        self._run_id = run_id
        self._clock = clock
        self._pending: dict[int, list[Call]] = {}
        self._snapshot = 0.0

    def add_snapshot(self, seconds: float) -> None:
        """Count `seconds` that this task spent on a snapshot."""
        self._snapshot += seconds

    def add(self, call: Call) -> Iterator[CallTiming]:
        """Add a call; yields a timing if its worker has one due."""
        calls = self._pending.setdefault(call.worker, [])
        if len(call.steps):
            calls.append(_plausible(call))
        if sum(c.ended - c.started for c in calls) >= MIN_SECONDS:
            yield self._sum_up(call.worker)

    def flush(self) -> Iterator[CallTiming]:
        """Yield the timings that are not due yet, at the end of the leg."""
        for worker in [worker for worker, calls in self._pending.items() if calls]:
            yield self._sum_up(worker)

    def _sum_up(self, worker: int) -> CallTiming:
        calls, self._pending[worker] = self._pending[worker], []
        snapshot, self._snapshot = self._snapshot, 0.0
        return CallTiming(
            run_id=self._run_id,
            worker=worker,
            last_step=max(int(call.steps[-1]) for call in calls),
            steps=sum(len(call.steps) for call in calls),
            clock=max(call.ended for call in calls) - self._clock.origin,
            seconds=sum(call.ended - call.started for call in calls),
            busy=_total(call.busy for call in calls),
            input_wait=_total(call.input_wait for call in calls),
            communication=_total(call.communication for call in calls),
            snapshot=snapshot,
        )


def _plausible(call: Call) -> Call:
    """`call`, without parts that took longer than all of it: the host's clock was set while they were timed."""
    most = call.ended - call.started + _SLACK
    parts = (call.busy, call.input_wait, call.communication)
    if all(part is None or part <= most for part in parts):
        return call
    return replace(call, busy=None, input_wait=None, communication=None)


def _total(values: Iterator[float | None]) -> float | None:
    """Sum of `values`; None if one of them is None."""
    total = math.fsum(math.nan if value is None else value for value in values)
    return None if math.isnan(total) else total
