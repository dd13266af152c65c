"""The time of a step by number of workers, in every way in which workers wait. Pure; seconds.

`FORMULAS` has one function per value of `ModeTraits.waits_for`; a mode without such a value is not predicted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.foresight.barrier import all_reduce_growth, makespan, round_seconds
from orchestrator.foresight.queueing import Rates, Station, Workers, rates, saturation
from orchestrator.foresight.shared_cores import Bound, Followed, Free, Quorum, Waiting, follow
from orchestrator.foresight.steps import sleeps
from workers.modes.traits import TARGET_CALL_SECONDS, Waits
from workers.stragglers import Profile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

FEWEST_DRAWS, MOST_DRAWS = 20, 1000
"""Steps whose sleeps a prediction averages over: the first that real workers would take."""
_AFTER_EXCHANGE = 0.5
"""Share of a step's processor time after its exchange. With one of 8 workers late by 0.18 s, steps took 23 ms beyond
its sleep, of 10 ms of processor time each: a share of 0.5 makes 25 ms of it, none 10."""
_ROUNDS, _LONGEST_ROUND = 20, 500
"""Rounds that are drawn where a run has hardly one, and the longest: longer ones differ little from their mean."""


@dataclass(frozen=True)
class Costs:
    """What a step of a single worker costs in one mode."""

    work: FloatArray
    """Sample of its seconds, without its sleep and its exchange."""
    cpu: float = 0.0
    """Seconds of `work` in which it needs a core; 0 if every worker has cores of its own."""
    exchange: float = 0.0
    """Seconds of an exchange with one other worker, without waiting for it; where workers queue, the seconds that
    the parameter servers need for an update, one at a time."""
    exposed: float = 1.0
    """Where workers queue, the share of `work` and exchange between reading the weights and updating them."""
    missing: float = 0.0
    """Seconds that a step takes beyond this model beside other workers that queue; negative if it takes less."""
    colder: float = 0.0
    """Share by which the seconds on a core grow with every doubling of workers that sleep, beyond two."""
    factor: float = 1.0
    """By how much steps of two workers took longer than this model says: corrects those of several workers."""


@dataclass(frozen=True)
class Where:
    """The workers, and what they have to share."""

    workers: int
    cores: float
    """Of the machine that all workers share."""
    profile: Profile
    seed: int = 0
    slower: float = 1.0
    """By how much the last worker's work takes longer than that of the others."""
    number: int = 0
    """The number in the mode's name: the steps of a round, the workers that a quorum does without, or the bound."""
    draws: int = MOST_DRAWS
    skipped: int = 0
    """Steps of each worker before the first draw."""

    def delays(self, work: float, draws: int | None = None) -> FloatArray:
        """Seconds by which each worker is late in its first steps, sleeping or slow: shape (draws, workers)."""
        found = sleeps(self.profile, self.seed, self.workers, self.skipped + (draws or self.draws))[self.skipped :]
        if self.slower != 1:
            found = found.copy()
            found[:, -1] += (self.slower - 1) * work
        return found


@dataclass(frozen=True)
class StepTime:
    """A prediction for one mode and number of workers."""

    seconds: float
    """Between two steps of a worker, mean over the workers."""
    batches_per_s: float
    """Steps of single workers per second, of all workers together."""
    staleness: float = 0.0
    """Mean number of updates by others between a step's read of the weights and its update."""
    saturates_at: float | None = None
    """Number of workers beyond which their queue is the limit; None if they queue for nothing."""
    kept: float = 1.0
    """Share of the batches that are in an update."""


def alone(costs: Costs, where: Where) -> StepTime:
    """One process: its work, and its sleep."""
    work = float(costs.work.mean())
    seconds = work + float(where.delays(work)[:, 0].mean())
    return StepTime(seconds, 1 / seconds)


def together(costs: Costs, where: Where) -> StepTime:
    """All workers wait for the slowest, and exchange gradients.

    An exchange among n workers counts n - 1 times one between two: each waits for a message from every other. After it,
    all of them update their weights and begin the next step at once.
    """
    import numpy as np

    delays, work, on_core, cores = _draws(costs, where)
    late = on_core * _AFTER_EXCHANGE
    slowest = float(makespan(delays + work - on_core, on_core - late, cores).mean())
    slowest += float(makespan(np.zeros(late.shape), late, cores).mean())
    seconds = (slowest + costs.exchange * all_reduce_growth(where.workers)) * (
        costs.factor if where.workers > 1 else 1.0
    )
    return StepTime(seconds, where.workers / seconds)


def queueing(costs: Costs, where: Where) -> StepTime:
    """Workers queue for the parameter servers and for the cores: a closed network (`orchestrator.foresight.queueing`).

    Workers that are late by the same time on average are one class; their think time is what they do not queue for.
    Such a network meets at random; workers that sleep wake up together, and are followed instead.
    """
    late = float(where.delays(float(costs.work.mean())).mean())
    if where.profile.sleeps and where.workers > 1:
        seconds = _follow(costs, where, Free()).seconds(where.workers)
    else:
        seconds = where.workers / _network(costs, where)[1].updates
    # No station does more than all of its time.
    seconds = max(seconds, where.workers * max(_station_seconds(costs, where), costs.exchange))
    staleness = (where.workers - 1) * costs.exposed * max(0.0, seconds - late) / seconds
    return StepTime(seconds, where.workers / seconds, staleness, _saturates(costs, where, late))


def in_rounds(costs: Costs, where: Where) -> StepTime:
    """Workers wait for the slowest at the end of a round, and exchange their states."""
    length = min(where.number, _LONGEST_ROUND)
    count = where.draws if where.draws >= 2 * length else _ROUNDS * length
    delays, work, on_core, cores = _draws(costs, where, count)
    # Workers that have met wake up together again if they are equally fast: then they share the cores in every step.
    alone = delays + work
    shared = makespan(alone - on_core, on_core, cores) - alone.max(axis=1)
    whole = round_seconds(alone + shared[:, None], length)
    exchange = costs.exchange * all_reduce_growth(where.workers) / where.number
    seconds = (whole / length + exchange) * (costs.factor if where.workers > 1 else 1.0)
    return StepTime(seconds, where.workers / seconds)


def by_quorum(costs: Costs, where: Where) -> StepTime:
    """The first workers make the next weights, and the gradients of the others are dropped."""
    waiting = Quorum(max(1, where.workers - where.number))
    seconds = max(
        _follow(costs, where, waiting).seconds(where.workers), where.workers * costs.cpu / max(1.0, where.cores)
    )
    return StepTime(seconds, where.workers / seconds, kept=waiting.kept)


def within_bound(costs: Costs, where: Where) -> StepTime:
    """Workers queue for servers and cores, and those that are too far ahead wait for the slowest."""
    late, work = float(where.delays(float(costs.work.mean())).mean()), float(costs.work.mean()) + costs.missing
    call = min(max(1, round(TARGET_CALL_SECONDS / max(1e-9, late + work))), where.number + 1)
    waiting = Bound(where.workers, call, (where.number + 1) // call - 1)
    seconds = _follow(costs, where, waiting).seconds(where.workers)
    exposed = costs.exposed * max(0.0, seconds - late) / seconds
    return StepTime(seconds, where.workers / seconds, (where.workers - 1) * exposed, _saturates(costs, where, late))


def _follow(costs: Costs, where: Where, waiting: Waiting) -> Followed:
    """What the workers do with their first draws."""
    import numpy as np

    late, work, on_core, cores = _draws(costs, where)
    work = np.maximum(0.0, work + (costs.missing if where.workers > 1 else 0.0))
    return follow(late, work, np.minimum(work, on_core), cores, waiting, costs.exchange)


def _draws(costs: Costs, where: Where, count: int | None = None) -> tuple[FloatArray, FloatArray, FloatArray, float]:
    """Delays of each worker's first steps, their work, and the part of it that needs a core, of shape (count, workers);
    and the cores that this part may count on: fewer than there are if a step uses several at a time."""
    import numpy as np

    delays = where.delays(float(costs.work.mean()), count)
    work = np.random.default_rng(where.seed).choice(costs.work, delays.shape)
    on_core = np.minimum(work, costs.cpu)
    colder = on_core * costs.colder * max(0.0, math.log2(where.workers) - 1) * where.profile.sleeps
    at_a_time = max(1.0, costs.cpu / max(1e-9, float(costs.work.mean())))
    return delays, work + colder, on_core + colder, max(1.0, where.cores / at_a_time)


def queued(costs: Costs, where: Where) -> float:
    """Mean seconds by which a step takes longer because others, which come at random, need servers and cores too."""
    kinds, found = _network(costs, where)
    response = sum(seconds * count for seconds, (_, count) in zip(found.response, kinds, strict=True)) / where.workers
    return response - _station_seconds(costs, where)


def crowded(costs: Costs, where: Where) -> float:
    """The same of workers that are followed."""
    own, alone = (_follow(costs, replace(where, cores=cores), Free()) for cores in (where.cores, where.workers))
    return own.seconds(where.workers) - alone.seconds(where.workers)


def _network(costs: Costs, where: Where) -> tuple[list[tuple[float, int]], Rates]:
    """The kinds of workers, and what their network does."""
    work, cpu = float(costs.work.mean()), _station_seconds(costs, where)
    kinds = _kinds(where.delays(work).mean(axis=0))
    more = costs.missing if where.workers > 1 else 0.0
    classes = [Workers(count, max(0.0, late + work + more - cpu)) for late, count in kinds]
    return kinds, rates(classes, [Station(costs.exchange), Station(cpu)])


def _station_seconds(costs: Costs, where: Where) -> float:
    """Seconds of a step in the queue for the cores, which counts as one server of as many times the speed after a delay
    (`queueing.rates`)."""
    return min(costs.cpu / max(1.0, where.cores), float(costs.work.mean()))


def _saturates(costs: Costs, where: Where, late: float) -> float | None:
    """Number of workers, each `late` by so many seconds, beyond which the cores or the servers are the limit."""
    cpu, whole = _station_seconds(costs, where), late + float(costs.work.mean()) + costs.exchange
    limit = min(saturation(whole - costs.exchange, costs.exchange), saturation(whole - cpu, cpu))
    return limit if limit < float("inf") else None


def _kinds(late: FloatArray) -> list[tuple[float, int]]:
    """Mean delays, and how many workers have about the same, within 20 %; at most two kinds."""
    import numpy as np

    ordered = np.sort(late)
    if ordered[-1] <= 1.2 * ordered[0]:
        return [(float(ordered.mean()), len(ordered))]
    gap = int(np.argmax(np.diff(ordered))) + 1
    return [(float(part.mean()), len(part)) for part in (ordered[:gap], ordered[gap:])]


FORMULAS: Mapping[Waits, Callable[[Costs, Where], StepTime]] = {
    "nothing": alone,
    "workers": together,
    "servers": queueing,
    "rounds": in_rounds,
    "quorum": by_quorum,
    "bound": within_bound,
}
