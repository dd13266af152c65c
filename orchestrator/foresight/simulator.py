"""A discrete-event simulator of the ways in which workers wait, vectorised over the workers. Pure.

It is exact for what it is given: the own time of every step of every worker, and constant times of exchange. Workers
have a core each, and start together. `SIMULATORS` has one function per value of `ModeTraits.waits_for`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from orchestrator.foresight.barrier import makespan
from orchestrator.foresight.simulated import Simulated
from orchestrator.foresight.steps import BLOCK, Draws, StepTimes
from orchestrator.foresight.visits import queueing, within_bound
from workers.modes.traits import Waits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


def alone(times: StepTimes, steps: int, exchange: float, number: int = 0) -> Simulated:
    """Simulate `steps` steps of worker 0, which exchanges nothing."""
    seconds = float(times.sleeps(0, steps).sum() + times.work(0, steps).sum())
    return Simulated(seconds, steps, steps, 0.0)


def together(times: StepTimes, steps: int, exchange: float, number: int = 0) -> Simulated:
    """Simulate `steps` steps that all workers take together, with an exchange of `exchange` seconds in each."""
    seconds = busy = 0.0
    for first in range(0, steps, BLOCK):
        sleeps, work = times.block(min(BLOCK, steps - first))
        seconds += float(makespan(sleeps, work, times.workers).sum()) + exchange * len(sleeps)
        busy += float(sleeps.sum() + work.sum())
    return Simulated(seconds, steps * times.workers, steps, 1 - busy / (times.workers * seconds))


def in_rounds(times: StepTimes, steps: int, exchange: float, number: int) -> Simulated:
    """Simulate workers that take `number` steps each, and then wait for each other and exchange their states."""
    import numpy as np

    seconds = busy = 0.0
    own = np.zeros(times.workers)
    for first in range(0, steps, BLOCK):
        sleeps, work = times.block(min(BLOCK, steps - first))
        whole, end = sleeps + work, first + len(work)
        whole[0] += own
        begins = sorted({0, *range(-first % number, len(work), number)})
        rounds = np.add.reduceat(whole, begins, axis=0)
        ended = len(rounds) - (end % number != 0 and end < steps)
        own = rounds[-1] if ended < len(rounds) else np.zeros(times.workers)
        seconds += float(rounds[:ended].max(axis=1, initial=0.0).sum()) + exchange * ended
        busy += float(sleeps.sum() + work.sum())
    return Simulated(seconds, steps * times.workers, steps, 1 - busy / (times.workers * seconds))


def by_quorum(times: StepTimes, steps: int, exchange: float, number: int) -> Simulated:
    """Simulate workers of which all but `number` make the next weights; the gradients of the others are dropped.

    A gradient that is kept takes the server `exchange` seconds, one at a time. It ends after `steps` times workers
    gradients, the dropped ones included.
    """
    import numpy as np

    workers, draws = times.workers, Draws(times)
    wanted = workers - number
    sleeps, work = draws.next()
    reads, ends = sleeps.copy(), sleeps + work
    draws.take(np.ones(workers, np.bool_))
    served = exchange * (wanted - np.arange(wanted))
    now, gradients, updates, busy, total = 0.0, 0, 0, float(ends.sum()), workers * steps

    def restart(who: npt.NDArray[np.bool_], at: FloatArray | float) -> float:
        sleeps, work = draws.next()
        np.copyto(reads, at + sleeps, where=who)
        np.copyto(ends, reads + work, where=who)
        draws.take(who)
        return float((sleeps + work)[who].sum())

    while gradients < total:
        stale = reads < now
        if stale.any():
            gradients += int(stale.sum())
            busy += restart(stale, ends.copy())
        first = np.argpartition(ends, wanted - 1)[:wanted]
        now = float((np.sort(ends[first]) + served).max())
        kept = np.zeros(workers, np.bool_)
        kept[first] = True
        gradients, updates = gradients + wanted, updates + 1
        busy += restart(kept, now)
    busy -= float(np.maximum(ends - now, 0.0).sum())  # not done when it ends
    return Simulated(now, gradients, updates, max(0.0, 1 - busy / (workers * now)), 0.0)


SIMULATORS: Mapping[Waits, Callable[[StepTimes, int, float, int], Simulated]] = {
    "nothing": alone,
    "workers": together,
    "servers": queueing,
    "rounds": in_rounds,
    "quorum": by_quorum,
    "bound": within_bound,
}
