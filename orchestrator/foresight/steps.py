"""Own times of the workers' steps: what a worker sleeps under a straggler profile, and what it computes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from workers.stragglers import Pace, Profile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray = npt.NDArray[np.float64]


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


@lru_cache(maxsize=64)
def sleeps(profile: Profile, seed: int, workers: int, count: int) -> FloatArray:
    """Seconds that each of `workers` workers sleeps before its first `count` steps: shape (count, workers)."""
    return StepTimes([], profile, seed, workers).all_sleeps(count)
