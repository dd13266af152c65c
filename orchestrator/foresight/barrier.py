"""The time of a step that waits for all workers: the slowest of them, and then an all-reduce. Pure.

All times are in seconds. Draws are arrays of shape (draws, workers).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


def expected_slowest(samples: Sequence[FloatArray], counts: Sequence[int] | None = None) -> float:
    """The expected maximum of independent workers, of each of which a sample of step times is known.

    The distribution of the maximum is the product of the workers' own, F(x) = prod F_i(x)^n_i, here the empirical
    ones; `counts` says how many workers share each sample. No distribution is assumed, and none beyond the largest
    measured time is invented, so that the expectation comes out low if the samples are much fewer than the workers.
    Source: David & Nagaraja, Order Statistics, 3rd ed. (2003), 2.1 and 5.2.
    """
    import numpy as np

    times = np.unique(np.concatenate([np.asarray(sample, np.float64) for sample in samples]))
    below = np.ones(len(times))
    for sample, count in zip(samples, counts or [1] * len(samples), strict=True):
        below *= (np.searchsorted(np.sort(sample), times, side="right") / len(sample)) ** count
    return float(np.dot(times, np.diff(below, prepend=0.0)))


def makespan(delays: FloatArray, work: FloatArray, cores: float) -> FloatArray:
    """When the last worker of every step has done its work: shape (draws,).

    Worker i sleeps `delays[:, i]`, and then needs a core for `work[:, i]`; `cores` cores are shared. A step can end
    neither before its last worker would alone, nor before the cores have done the work of the last k workers that wake
    up, for any k; it ends at the latest of these times. With a core for each worker that is the slowest worker.
    Source: the bounds for parallel machines with release times in Pinedo, Scheduling, 5th ed. (2016), 5.1; tight if
    the workers' work is equal and divisible, as that of time-shared processes is.
    """
    import numpy as np

    alone = (delays + work).max(axis=1)
    if cores >= delays.shape[1]:
        return np.asarray(alone, np.float64)
    order = np.argsort(delays, axis=1)
    wakes = np.take_along_axis(delays, order, axis=1)
    still_to_do = np.cumsum(np.take_along_axis(work, order, axis=1)[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.maximum(alone, (wakes + still_to_do / cores).max(axis=1)), np.float64)


def round_seconds(draws: FloatArray, length: int) -> float:
    """Mean seconds of a round: each worker takes `length` steps of its own, and all wait for the last.

    Source: Stich, "Local SGD Converges Fast and Communicates Little" (arXiv 1805.09767), 2.
    """
    count = len(draws) // length
    return float(draws[: count * length].reshape(count, length, -1).sum(axis=1).max(axis=1).mean())


def all_reduce_growth(workers: int, by_bytes: float = 0.0) -> float:
    """Seconds of an all-reduce among `workers` over those of one between two.

    A ring has 2 (n - 1) messages in a row, and sends 2 (n - 1) / n of the bytes over each link; `by_bytes` is the share
    of the exchange between two that its bytes take, and latency the rest. On one host the number of messages is the
    cost, whatever is in them, so that it is 0 there.
    Source: Thakur, Rabenseifner & Gropp, "Optimization of Collective Communication Operations in MPICH" (2005), 4.4.
    """
    return (workers - 1) * (1 - by_bytes + by_bytes * 2 / workers)
