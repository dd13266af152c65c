"""Shares of a step's samples for workers of different speeds.

The step's joined batch stays the same; only where it is cut changes. A worker's gradients and logs are weighted by its
share, so that the sum over workers is the mean over the joined batch, as with equal shares.
"""

from __future__ import annotations

from collections.abc import Sequence

WARM_UP_STEPS, MEASURED_STEPS = 2, 16
"""Steps with equal shares before the first leg, which overwrites what they did to the weights."""


def shares(seconds: Sequence[float], samples: int) -> tuple[int, ...]:
    """Divide `samples` in proportion to speed, at least 1 to each worker. `seconds` are the workers' times for equal
    shares.

    Every worker computes this from the same numbers, with the same result. If a time could not be measured (0 or NaN),
    all shares are equal, as far as `samples` can be divided.
    """
    speeds = [1 / s if s > 0 else 0.0 for s in seconds]
    if not all(speeds) or len(seconds) > samples:
        speeds = [1.0] * len(seconds)
    spare = samples - len(speeds)  # each worker has one
    exact = [max(0.0, samples * speed / sum(speeds) - 1) for speed in speeds]
    exact = [part * spare / (sum(exact) or 1.0) for part in exact]
    rounded = [int(part) for part in exact]
    largest_rest_first = sorted(range(len(exact)), key=lambda worker: (rounded[worker] - exact[worker], worker))
    for worker in largest_rest_first[: spare - sum(rounded)]:
        rounded[worker] += 1
    return tuple(1 + part for part in rounded)
