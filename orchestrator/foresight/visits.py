"""Simulated workers that visit one server after each step, vectorised over the workers. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from orchestrator.foresight.simulated import Simulated
from orchestrator.foresight.steps import Draws, StepTimes
from workers.modes.traits import TARGET_CALL_SECONDS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

_KEPT = 200_000
"""Latest updates over which staleness is averaged."""


def queueing(times: StepTimes, steps: int, exchange: float, number: int = 0) -> Simulated:
    """Simulate workers that visit one server after each step, which serves them in order for `exchange` seconds each.

    It ends after `steps` times workers updates, whichever workers made them.
    """
    return _served(times, steps, exchange, None)


def within_bound(times: StepTimes, steps: int, exchange: float, number: int) -> Simulated:
    """Simulate workers that queue for a server, and are never more than `number` steps ahead of the slowest.

    As in real runs, they take calls of about a tenth of a second, whose steps count when the last is done.
    """
    return _served(times, steps, exchange, number)


def _served(times: StepTimes, steps: int, exchange: float, bound: int | None) -> Simulated:
    """A round serves all visits whose order is certain: a worker that returns can only change the order behind its
    return, and so can one that a slower worker lets go on. So a round sorts the workers' next visits, serves them in
    that order (Lindley's recursion, as a running maximum), and keeps the visits that come before the first return among
    them, and before the slowest worker is a call further.
    """
    import numpy as np

    workers, draws = times.workers, Draws(times)
    everyone = np.arange(workers)
    sleeps, work = draws.next()
    draws.take(np.ones(workers, np.bool_))
    visits, reads = sleeps + work, sleeps.copy()
    calls = None if bound is None else _Calls(workers, bound, draws.mean + exchange)
    busy, free, updates, total = float(visits.sum()), 0.0, 0, workers * steps
    kept: deque[tuple[int, FloatArray, FloatArray]] = deque()
    while updates < total:
        order = np.argsort(visits, kind="stable")
        at = visits[order]
        before = exchange * everyone
        waits = np.maximum(at, free) - before
        leaves = np.asarray(exchange + before + np.maximum.accumulate(waits), np.float64)
        next_sleeps, next_work = (drawn[order] for drawn in draws.next())
        returns = leaves + next_sleeps + next_work
        certain = at[1:] <= np.minimum.accumulate(returns)[:-1]
        served = min(workers if certain.all() else 1 + int(certain.argmin()), total - updates)
        if calls is not None:
            served = calls.until_the_slowest(order, min(served, int(np.isfinite(at).sum())))
        gone = order[:served]
        kept.append((updates, leaves[:served], reads[gone]))
        updates += served
        while updates - kept[0][0] - len(kept[0][1]) > _KEPT:
            kept.popleft()
        free = float(leaves[served - 1])
        if calls is None:
            begins, begin = leaves[:served], gone
        else:
            begins, begin = calls.begin(gone, leaves[:served], visits)
        sleeps, work = (drawn[begin] for drawn in draws.next())
        reads[begin] = begins + sleeps
        visits[begin] = reads[begin] + work
        draws.take(begin)
        busy += float(sleeps.sum() + work.sum())
    unfinished = np.isfinite(visits)
    busy -= float(np.clip(visits[unfinished] - free, 0.0, None).sum())  # not done when it ends
    return Simulated(free, total, total, max(0.0, 1 - busy / (workers * free)), _staleness(list(kept)))


class _Calls:
    """Which workers wait for the slowest before they begin another call of steps."""

    def __init__(self, workers: int, bound: int, step_seconds: float) -> None:
        import numpy as np

        self._call = max(1, min(bound + 1, round(TARGET_CALL_SECONDS / step_seconds)))
        self._ahead = (bound + 1) // self._call - 1
        self._steps = np.zeros(workers, np.int64)
        self._slowest = 0
        """Calls that every worker has ended."""

    def until_the_slowest(self, order: npt.NDArray[np.int64], served: int) -> int:
        """How many of the first `served` visits of `order` come until every worker has ended another call."""
        import numpy as np

        slow = self._steps // self._call == self._slowest
        ending = slow[order[:served]] & ((self._steps[order[:served]] + 1) % self._call == 0)
        ends = np.flatnonzero(ending.cumsum() == slow.sum())
        return int(ends[0]) + 1 if len(ends) else served

    def begin(
        self, gone: npt.NDArray[np.int64], leaves: FloatArray, visits: FloatArray
    ) -> tuple[FloatArray, npt.NDArray[np.int64]]:
        """When which workers begin another step, now that `gone` have ended one at `leaves`. Those that wait have no
        next visit: infinity."""
        import numpy as np

        self._steps[gone] += 1
        before, self._slowest = self._slowest, int((self._steps // self._call).min())
        visits[gone] = np.inf
        ready = np.isinf(visits) & ((self._steps % self._call != 0) | self._may_call())
        at = np.full(len(visits), leaves[-1])
        if self._slowest == before:
            at[gone] = leaves
        else:  # the last of them let others go on; those that had ended before and were free to go on went on then
            free = self._steps[gone] // self._call - before <= self._ahead
            at[gone] = np.where(free | (self._steps[gone] % self._call != 0), leaves, leaves[-1])
        who = np.flatnonzero(ready)
        return at[who], who

    def _may_call(self) -> npt.NDArray[np.bool_]:
        allowed: npt.NDArray[np.bool_] = self._steps // self._call - self._slowest <= self._ahead
        return allowed


def _staleness(kept: list[tuple[int, FloatArray, FloatArray]]) -> float:
    """Mean number of updates between a read and the update; reads before the first kept update are left out."""
    import numpy as np

    leaves = np.concatenate([entry[1] for entry in kept])
    reads = np.concatenate([entry[2] for entry in kept])
    known = reads >= (leaves[0] if kept[0][0] else 0.0)
    seen = np.searchsorted(leaves, reads[known], side="right")
    return float((np.arange(len(leaves))[known] - seen).mean()) if known.any() else 0.0
