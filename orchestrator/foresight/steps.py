"""Own times of the workers' steps: what a worker sleeps under a straggler profile, and what it computes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from workers.stragglers import Pace, Profile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


BLOCK = 512
"""Steps of every worker that are drawn at a time."""


class StepTimes:
    """Draws step times, in order, for any number of workers; the same for the same arguments."""

    def __init__(self, work: Sequence[FloatArray], profile: Profile, seed: int, workers: int) -> None:
        """`work`: samples of the seconds that a step computes, one array per kind of worker; worker i draws from that
        of i modulo their number. A sample of one value makes all steps equal. The sleeps are those that `profile`
        gives to real workers with this `seed`."""
        import numpy as np

        self.workers = workers
        self._work = work
        self._profile = profile
        self._random = [np.random.default_rng([seed, worker, 20_261_129]) for worker in range(workers)]
        self._paces = [Pace(profile, seed, worker) for worker in range(workers)] if profile.sleeps else []

    def sleeps(self, worker: int, count: int) -> FloatArray:
        """Seconds that `worker` sleeps before each of its next `count` steps."""
        import numpy as np

        if not self._paces:
            return np.zeros(count)
        return self._paces[worker].factors(count) * self._profile.get("step")

    def all_sleeps(self, count: int) -> FloatArray:
        """Seconds that each worker sleeps before its next `count` steps: shape (count, workers)."""
        import numpy as np

        return np.stack([self.sleeps(worker, count) for worker in range(self.workers)], axis=1)

    def work(self, worker: int, count: int) -> FloatArray:
        """Seconds that `worker` computes in each of its next `count` steps."""
        import numpy as np

        sample = self._work[worker % len(self._work)]
        if len(sample) == 1:
            return np.full(count, float(sample[0]))
        return self._random[worker].choice(sample, count)

    def block(self, count: int) -> tuple[FloatArray, FloatArray]:
        """Sleeps and work of the next `count` steps of all workers: two arrays of shape (count, workers)."""
        import numpy as np

        work = np.stack([self.work(worker, count) for worker in range(self.workers)], axis=1)
        return self.all_sleeps(count), work


class Draws:
    """The next step of every worker, drawn in blocks."""

    def __init__(self, times: StepTimes) -> None:
        import numpy as np

        self._times = times
        self._sleeps, self._work = times.block(BLOCK)
        self.mean = float(self._sleeps.mean() + self._work.mean())
        """Mean seconds of a step, of those in the first block."""
        self._taken = np.zeros(times.workers, np.int64)
        self._everyone = np.arange(times.workers)

    def next(self) -> tuple[FloatArray, FloatArray]:
        """Sleep and work of each worker's next step."""
        for worker in self._everyone[self._taken == BLOCK]:
            self._sleeps[:, worker], self._work[:, worker] = (
                self._times.sleeps(worker, BLOCK),
                self._times.work(worker, BLOCK),
            )
            self._taken[worker] = 0
        return self._sleeps[self._taken, self._everyone], self._work[self._taken, self._everyone]

    def take(self, workers: npt.NDArray[Any]) -> None:
        """`workers`, a mask or indices, have begun their next step."""
        self._taken[workers] += 1


@lru_cache(maxsize=64)
def sleeps(profile: Profile, seed: int, workers: int, count: int) -> FloatArray:
    """Seconds that each of `workers` workers sleeps before its first `count` steps: shape (count, workers)."""
    return StepTimes([], profile, seed, workers).all_sleeps(count)
