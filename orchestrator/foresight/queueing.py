"""The rate of updates where workers queue for parameter servers: a closed queueing network. Pure.

Each worker thinks (computes, sleeps, waits for the network) and then visits the servers. The number of workers in the
network is constant, so that its rate follows exactly from those of smaller populations, by mean value analysis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

MOST_POPULATIONS = 200_000
"""Populations that the exact recursion may visit: more than 400 workers of two kinds have."""


@dataclass(frozen=True)
class Station:
    """A resource that workers queue for."""

    demand: float
    """Seconds of it that an update needs."""
    servers: int = 1
    """Updates that it works on at a time."""


@dataclass(frozen=True)
class Workers:
    """Workers with the same think time."""

    count: int
    think: float
    """Seconds between a worker's visits to the stations."""


@dataclass(frozen=True)
class Rates:
    """What the network does in the long run."""

    updates: float
    """Updates per second of all workers together."""
    by_class: tuple[float, ...]
    """Updates per second of each class of workers, in the order given."""
    response: tuple[float, ...]
    """Seconds that a worker of each class spends at the stations per update, queueing included."""


def rates(classes: Sequence[Workers], stations: Sequence[Station]) -> Rates:
    """Rates of the network of `classes` and `stations`, exact for exponential service in order of arrival.

    The arrival theorem gives the time at a station from the queue that the network has with one worker less: R =
    D (1 + Q), X = N / (Z + sum R), Q = X R. Only the mean of the think time matters. A station with m servers counts as
    one of m times the speed after a fixed delay of D (m - 1) / m (Seidmann). Constant service times queue less than
    exponential ones: there the rate is a lower bound, and min(N / (Z + D), m / D) an upper one.

    Sources: Reiser & Lavenberg, "Mean-Value Analysis of Closed Multichain Queuing Networks", JACM 27 (1980); Seidmann,
    Schweitzer & Shalev-Oren, Large Scale Systems 12 (1987); Lazowska et al., Quantitative System Performance (1984), 6
    and 7. Raises ValueError if the classes have more than `MOST_POPULATIONS` populations.
    """
    populations = prod(workers.count + 1 for workers in classes)
    if populations > MOST_POPULATIONS:
        raise ValueError(f"{populations:,} populations; the recursion is kept to {MOST_POPULATIONS:,}")
    demands = [station.demand / station.servers for station in stations]
    fixed = sum(station.demand * (station.servers - 1) / station.servers for station in stations)
    queues: dict[tuple[int, ...], tuple[float, ...]] = {(0,) * len(classes): (0.0,) * len(stations)}
    found = Rates(0.0, (0.0,) * len(classes), (0.0,) * len(classes))
    for population in _in_order([workers.count for workers in classes]):
        residence: list[list[float]] = []
        throughput: list[float] = []
        for index, workers in enumerate(classes):
            if population[index] == 0:
                residence.append([0.0] * len(stations))
                throughput.append(0.0)
                continue
            fewer = queues[(*population[:index], population[index] - 1, *population[index + 1 :])]
            at = [demand * (1 + queue) for demand, queue in zip(demands, fewer, strict=True)]
            residence.append(at)
            throughput.append(population[index] / (workers.think + fixed + sum(at)))
        queues[population] = tuple(
            sum(x * at[k] for x, at in zip(throughput, residence, strict=True)) for k in range(len(stations))
        )
        found = Rates(sum(throughput), tuple(throughput), tuple(fixed + sum(at) for at in residence))
    return found


def _in_order(counts: Sequence[int]) -> Sequence[tuple[int, ...]]:
    """Every population up to `counts` but the empty one, each after those with one worker less."""
    from itertools import product

    return list(product(*(range(count + 1) for count in counts)))[1:]


def saturation(think: float, demand: float, servers: int = 1) -> float:
    """Workers from which on a station is the limit: N* = m (Z + D) / D. Source: Lazowska et al. (1984), 5.2."""
    return servers * (think + demand) / demand if demand > 0 else float("inf")
