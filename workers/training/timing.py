"""A run's clock during one leg, and timings of its workers' calls."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace

from workers.messages import CALLBACKS, RECOVERY, VALIDATION, Start
from workers.modes.mode import Call, Phases
from workers.news import CallTiming

_SLACK = 0.05
MIN_SECONDS = 0.1
"""Calls are summed up until they took this long, so that short ones are not reported one by one."""


class LegClock:
    """Counts the seconds of a run on this process' monotonic clock. It never stands still.

    `spent` holds what of these seconds was no training step.
    """

    def __init__(self, start: Start | None) -> None:
        """Count from 0 as soon as the leg is loaded; or, if the run continues, from `start.clock` now."""
        self.created = self._last = time.monotonic()
        self._start = start
        self.origin = self.created - (start.clock if start else 0.0)
        self.spent = Phases(dict(start.spent) if start else {})

    def loaded(self) -> float:
        """The leg is loaded. Loading it counts only if the run continues; returns the seconds that it took."""
        self._last = time.monotonic()
        took = self._last - self.created
        if self._start is None:
            self.origin = self._last
        else:
            self.spent.add(RECOVERY, took)
        return took

    def advance(self, at: float | None = None) -> None:
        """Advance the clock to monotonic second `at`, which may be past; None for now."""
        self._last = max(self._last, time.monotonic() if at is None else at)

    @property
    def seconds(self) -> float:
        """The clock at the end of the latest call or callback."""
        return self._last - self.origin

    @property
    def training(self) -> float:
        """The same without callbacks and their validation."""
        return self.seconds - sum(self.spent.seconds.get(part, 0.0) for part in (CALLBACKS, VALIDATION))


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
