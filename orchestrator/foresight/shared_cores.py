"""Workers that sleep, compute on cores that all of them share, and then go on or wait, followed event by event. Pure.

What the formulas of queues cannot say: workers that sleep equally long wake up together, and then all need a core at
once. Draws are arrays of shape (draws, workers), in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

_MOST_STEPS = 32_000
"""Steps of all workers together that are followed: a quarter of a second."""
_FEWEST_DRAWS = 20


@dataclass(frozen=True)
class Followed:
    """What the workers did, from their start to the last step that each of them began."""

    rate: float
    """Steps per second of all workers together, what was dropped included."""

    def seconds(self, workers: int) -> float:
        """Between two steps of one of `workers`."""
        return workers / self.rate


class Waiting(Protocol):
    """Who begins another step when a worker has ended one."""

    def ended(self, worker: int, now: float, read: float) -> Sequence[int]:
        """`worker` ended a step, for which it had read the weights at time `read`; returns the workers that go on."""
        ...


class Free:
    """No worker waits for another."""

    def ended(self, worker: int, now: float, read: float) -> Sequence[int]:
        return (worker,)


class Quorum:
    """The first `wanted` gradients of a version of the weights make the next; who is late, is dropped and goes on.

    Source: Chen et al., "Revisiting Distributed Synchronous SGD" (arXiv 1604.00981), 3.
    """

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._made_at = 0.0
        self._waiting: list[int] = []
        self._kept = self._dropped = 0

    @property
    def kept(self) -> float:
        """Share of the gradients."""
        return self._kept / max(1, self._kept + self._dropped)

    def ended(self, worker: int, now: float, read: float) -> Sequence[int]:
        if read < self._made_at:
            self._dropped += 1
            return (worker,)
        self._waiting.append(worker)
        if len(self._waiting) < self._wanted:
            return ()
        self._made_at, self._kept = now, self._kept + self._wanted
        released, self._waiting = self._waiting, []
        return released


class Bound:
    """No worker begins a call of `call` steps while it is more than `ahead` calls ahead of the slowest.

    With `ahead` of 0, all workers wait at the end of every call: a round.
    Source: Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server" (2013), 3.
    """

    def __init__(self, workers: int, call: int, ahead: int) -> None:
        self._call, self._ahead = call, ahead
        self._steps = [0] * workers
        self._waiting: list[int] = []

    def ended(self, worker: int, now: float, read: float) -> Sequence[int]:
        self._steps[worker] += 1
        if self._steps[worker] % self._call:
            return (worker,)
        self._waiting.append(worker)
        most = min(self._steps) // self._call + self._ahead
        released = [each for each in self._waiting if self._steps[each] // self._call <= most]
        self._waiting = [each for each in self._waiting if self._steps[each] // self._call > most]
        return released


def follow(
    late: FloatArray, work: FloatArray, on_core: FloatArray, cores: float, waiting: Waiting, exchange: float = 0.0
) -> Followed:
    """Follow workers until one of them has taken all its draws.

    A worker sleeps `late`, reads the weights, waits for what needs no core, and then needs a core for `on_core` seconds
    of its `work`. Cores are shared equally: of k workers that need one, each runs at min(1, cores / k) of its speed
    (processor sharing: Lazowska et al., Quantitative System Performance (1984), 6). Last it visits the servers, which
    serve one worker at a time for `exchange` seconds.
    """
    draws, workers = late.shape
    draws = min(draws, max(_FEWEST_DRAWS, _MOST_STEPS // workers))
    sleeps, needs = late[:draws].tolist(), on_core[:draws].tolist()
    elsewhere = (work[:draws] - on_core[:draws]).tolist()
    now = served = 0.0  # `served`: seconds that a worker which has needed a core all the time has had of it
    free = 0.0  # when the servers have served all that came so far
    at_core: list[tuple[float, int]] = []  # what `served` will be when the worker is done
    later: list[tuple[float, int, bool]] = []  # when a worker needs a core, or ends its step
    began, reads, taken = [0.0] * workers, [0.0] * workers, [0] * workers

    def begin(worker: int) -> None:
        step = taken[worker]
        began[worker] = now
        reads[worker] = now + sleeps[step][worker]
        heappush(later, (reads[worker] + elsewhere[step][worker], worker, False))

    for worker in range(workers):
        begin(worker)
    while True:
        speed = min(1.0, cores / len(at_core)) if at_core else 1.0
        done = now + (at_core[0][0] - served) / speed if at_core else float("inf")
        if later and later[0][0] <= done:
            then, worker, ends = heappop(later)
            served, now = served + (then - now) * speed, then
            if not ends:
                heappush(at_core, (served + needs[taken[worker]][worker], worker))
                continue
        else:
            served, worker = heappop(at_core)
            now = done
            if exchange:
                free = max(now, free) + exchange
                heappush(later, (free, worker, True))
                continue
        taken[worker] += 1
        if taken[worker] == draws:
            taken[worker] -= 1
            return Followed(sum(steps / at for steps, at in zip(taken, began, strict=True) if at))
        for other in waiting.ended(worker, now, reads[worker]):
            begin(other)
