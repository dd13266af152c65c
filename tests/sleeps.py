"""How long slow workers sleep before each step, as their `Pace`s draw it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workers.stragglers import Pace, Profile


def sleeps(profile: str, seed: int, workers: int, steps: int) -> npt.NDArray[np.float64]:
    """Seconds that every worker sleeps before each of the first `steps` steps: shape (steps, workers)."""
    paces = [Pace(Profile.parse(profile), seed, worker) for worker in range(workers)]
    return np.array([[pace.seconds() for pace in paces] for _ in range(steps)]).reshape(steps, workers)
