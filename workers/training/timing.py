"""Sums up where the time of a worker's calls went, so that short calls are not told one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from workers.messages import CallTiming
from workers.modes import Call

LEAST_SECONDS = 0.1


class CallTimer:
    """Takes in calls, and hands out one `CallTiming` per worker for every `LEAST_SECONDS` of them."""

    def __init__(self, run_id: str, started: float) -> None:
        self._run_id = run_id
        self._started = started
        self._open: dict[int, list[Call]] = {}
        self._snapshot = 0.0

    def snapshot(self, seconds: float) -> None:
        """This task spent `seconds` on a snapshot."""
        self._snapshot += seconds

    def pause(self, seconds: float) -> None:
        """The training clock stood still for so long."""
        self._started += seconds

    def add(self, call: Call) -> Iterator[CallTiming]:
        """What is worth telling now that `call` is done."""
        calls = self._open.setdefault(call.worker, [])
        if len(call.steps):
            calls.append(call)
        if sum(c.ended - c.started for c in calls) >= LEAST_SECONDS:
            yield self._sum_up(call.worker)

    def rest(self) -> Iterator[CallTiming]:
        """What was not told yet: the leg is over."""
        for worker in [worker for worker, calls in self._open.items() if calls]:
            yield self._sum_up(worker)

    def _sum_up(self, worker: int) -> CallTiming:
        calls, self._open[worker] = self._open[worker], []
        snapshot, self._snapshot = self._snapshot, 0.0
        return CallTiming(
            run_id=self._run_id,
            worker=worker,
            last_step=max(int(call.steps[-1]) for call in calls),
            steps=sum(len(call.steps) for call in calls),
            clock=max(call.ended for call in calls) - self._started,
            seconds=sum(call.ended - call.started for call in calls),
            busy=_total(call.busy for call in calls),
            input_wait=_total(call.input_wait for call in calls),
            communication=_total(call.communication for call in calls),
            snapshot=snapshot,
        )


def _total(values: Iterator[float | None]) -> float | None:
    """Their sum; None if one of them is not known."""
    total = math.fsum(math.nan if value is None else value for value in values)
    return None if math.isnan(total) else total
