"""Steps of workers that wait for each other only at times, followed from draw to draw. Pure.

Draws are arrays of shape (draws, workers), in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]

_CHAINS = 10
"""Independent stretches that the draws of a quorum are cut into, so that they are followed at once."""


def in_groups(draws: FloatArray, size: int) -> FloatArray:
    """Sums of `size` draws in a row: shape (draws // size, workers)."""
    import numpy as np

    count = len(draws) // size
    return np.asarray(draws[: count * size].reshape(count, size, -1).sum(axis=1), np.float64)


def round_seconds(draws: FloatArray, length: int) -> float:
    """Mean seconds of a round: each worker takes `length` steps of its own, and all wait for the last.

    Source: Stich, "Local SGD Converges Fast and Communicates Little" (arXiv 1805.09767), 2.
    """
    return float(in_groups(draws, length).max(axis=1).mean())


def bounded_seconds(draws: FloatArray, bound: int, call: int) -> float:
    """Mean seconds between two steps of a worker that is never more than `bound` steps ahead of the slowest.

    Workers take `call` steps at a time, which count when the last of them is done. So call j ends at

        e_i(j) = max(e_i(j - 1), max over k of e_k(j - 1 - a)) + d_i(j)      with a = (bound + 1) // call - 1

    Source: Ho et al., "More Effective Distributed ML via a Stale Synchronous Parallel Parameter Server" (2013), 3.
    """
    import numpy as np

    call = min(call, bound + 1)
    ahead = (bound + 1) // call - 1
    seconds = in_groups(draws, call)
    ends = np.zeros(draws.shape[1])
    slowest = [0.0] * (ahead + 1)  # when the slowest ended its calls so far; before the first: at the start
    for own in seconds:
        ends = np.maximum(ends, slowest[-1 - ahead]) + own
        slowest.append(float(ends.max()))
    return float(ends.mean()) / (len(seconds) * call)


def quorum_seconds(late: FloatArray, work: FloatArray, wanted: int) -> tuple[float, float]:
    """Mean seconds between two versions of the weights, each made by the first `wanted` gradients of the one before it;
    and how many gradients are computed meanwhile, the dropped ones included.

    A worker sleeps `late`, reads the weights, and computes `work`. If its gradient is of an earlier version by then, it
    is dropped and the worker goes on at once; otherwise it waits for the next version. That is the order statistic of
    Chen et al., "Revisiting Distributed Synchronous SGD" (arXiv 1604.00981), 3, but for the workers that were late
    before.
    """
    import numpy as np

    chains = min(_CHAINS, max(1, len(late) // 50))
    length = len(late) // chains
    late, work = (draws[: chains * length].reshape(chains, length, -1) for draws in (late, work))
    each, now = np.ogrid[:chains, : late.shape[2]], np.zeros((chains, 1))
    taken = np.ones((chains, late.shape[2]), np.int64)
    reads = late[:, 0].copy()
    ends = reads + work[:, 0]

    def restart(which: npt.NDArray[np.bool_], at: FloatArray) -> None:
        """Have the workers `which` begin another step `at` these times."""
        np.copyto(reads, at + late[each[0], taken, each[1]], where=which)
        np.copyto(ends, reads + work[each[0], taken, each[1]], where=which)
        taken[which] += 1

    versions = dropped = 0
    while int(taken.max()) < length - 1:  # a worker begins two steps per version at most
        stale = reads < now
        dropped += int(stale.sum())
        restart(stale, ends.copy())
        now = np.partition(ends, wanted - 1, axis=1)[:, wanted - 1 : wanted]
        restart(ends <= now, now)
        versions += 1
    kept = wanted * versions * chains
    return float(now.mean()) / versions, (kept + dropped) / (versions * chains)
