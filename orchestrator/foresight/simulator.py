"""A discrete-event simulator of the ways in which workers wait, vectorised over the workers. Pure.

It is exact for what it is given: the own time of every step of every worker, and constant times of exchange. Workers
have a core each, and start together. `SIMULATORS` has one function per value of `ModeTraits.waits_for`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.foresight.barrier import makespan
from orchestrator.foresight.steps import StepTimes
from workers.modes.traits import Waits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

_BLOCK = 512
"""Steps of every worker that are drawn at a time."""
_KEPT = 200_000
"""Latest updates over which staleness is averaged."""


@dataclass(frozen=True)
class Simulated:
    """What the simulated workers did."""

    seconds: float
    batches: int
    """Steps of single workers: a step that all take together counts once for each."""
    updates: int
    waiting: float
    """Mean share of their time in which workers neither slept nor computed."""
    staleness: float | None = None
    """Mean number of updates by others between a step's read of the weights and its own; None if there are none."""


def alone(times: StepTimes, steps: int, exchange: float) -> Simulated:
    """Simulate `steps` steps of worker 0, which exchanges nothing."""
    seconds = float(times.sleeps(0, steps).sum() + times.work(0, steps).sum())
    return Simulated(seconds, steps, steps, 0.0)


def together(times: StepTimes, steps: int, exchange: float) -> Simulated:
    """Simulate `steps` steps that all workers take together, with an exchange of `exchange` seconds in each."""
    seconds = busy = 0.0
    for first in range(0, steps, _BLOCK):
        sleeps, work = times.block(min(_BLOCK, steps - first))
        seconds += float(makespan(sleeps, work, times.workers).sum()) + exchange * len(sleeps)
        busy += float(sleeps.sum() + work.sum())
    return Simulated(seconds, steps * times.workers, steps, 1 - busy / (times.workers * seconds))


def queueing(times: StepTimes, steps: int, exchange: float) -> Simulated:
    """Simulate workers that visit one server after each step, which serves them in order for `exchange` seconds each.

    It ends after `steps` times workers updates, whichever workers made them. A round serves all visits whose order is
    certain: a worker that returns can only change the order behind its return. So a round sorts the workers' next
    visits, serves them in that order (Lindley's recursion, as a running maximum), and keeps the visits that come before
    the first return among them.
    """
    import numpy as np

    workers = times.workers
    everyone = np.arange(workers)
    sleeps, work = times.block(_BLOCK)
    taken = np.ones(workers, np.int64)
    visits = sleeps[0] + work[0]
    reads = sleeps[0].copy()
    busy, free, updates, total = float(visits.sum()), 0.0, 0, workers * steps
    kept: deque[tuple[int, FloatArray, FloatArray]] = deque()
    while updates < total:
        for worker in everyone[taken == _BLOCK]:
            sleeps[:, worker], work[:, worker] = times.sleeps(worker, _BLOCK), times.work(worker, _BLOCK)
            taken[worker] = 0
        order = np.argsort(visits, kind="stable")
        at = visits[order]
        before = exchange * everyone
        waits = np.maximum(at, free) - before
        leaves = np.asarray(exchange + before + np.maximum.accumulate(waits), np.float64)
        next_sleeps, next_work = sleeps[taken[order], order], work[taken[order], order]
        returns = leaves + next_sleeps + next_work
        certain = at[1:] <= np.minimum.accumulate(returns)[:-1]
        served = min(workers if certain.all() else 1 + int(certain.argmin()), total - updates)
        gone = order[:served]
        kept.append((updates, leaves[:served], reads[gone]))
        updates += served
        while updates - kept[0][0] - len(kept[0][1]) > _KEPT:
            kept.popleft()
        reads[gone] = leaves[:served] + next_sleeps[:served]
        visits[gone] = returns[:served]
        taken[gone] += 1
        busy += float(next_sleeps[:served].sum() + next_work[:served].sum())
        free = float(leaves[served - 1])
    busy -= float(np.clip(visits - free, 0.0, None).sum())  # not done when it ends
    return Simulated(free, total, total, max(0.0, 1 - busy / (workers * free)), _staleness(list(kept)))


def _staleness(kept: list[tuple[int, FloatArray, FloatArray]]) -> float:
    """Mean number of updates between a read and the update; reads before the first kept update are left out."""
    import numpy as np

    leaves = np.concatenate([entry[1] for entry in kept])
    reads = np.concatenate([entry[2] for entry in kept])
    known = reads >= (leaves[0] if kept[0][0] else 0.0)
    seen = np.searchsorted(leaves, reads[known], side="right")
    return float((np.arange(len(leaves))[known] - seen).mean()) if known.any() else 0.0


SIMULATORS: Mapping[Waits, Callable[[StepTimes, int, float], Simulated]] = {
    "nothing": alone,
    "workers": together,
    "servers": queueing,
}
