"""Uneven workers, even steps: each worker's share of a step's samples, by its measured speed.

The step's batch stays what it is; only where it is cut changes. A worker's gradient, and what it logs, then counts as
much as its share, so that the sum over workers is the mean over the joined batch, as it is with equal shares.
"""

from __future__ import annotations

from collections.abc import Sequence

WARM_STEPS, MEASURED_STEPS = 2, 16
"""Steps on equal shares before the first leg; what they did to the weights is overwritten when that begins."""


def shares(seconds: Sequence[float], samples: int) -> tuple[int, ...]:
    """`samples` of each step dealt to workers that take `seconds` for as many: in proportion to speed, 1 at least.

    Every worker computes this from the same numbers and comes to the same result. What cannot be measured (0, not a
    number) leaves all shares equal, as far as `samples` can be divided.
    """
    speeds = [1 / s if s > 0 else 0.0 for s in seconds]
    if not all(speeds) or len(seconds) > samples:
        speeds = [1.0] * len(seconds)
    spare = samples - len(speeds)  # everybody has one
    exact = [max(0.0, samples * speed / sum(speeds) - 1) for speed in speeds]
    exact = [part * spare / (sum(exact) or 1.0) for part in exact]
    dealt = [int(part) for part in exact]
    largest_rest_first = sorted(range(len(exact)), key=lambda worker: (dealt[worker] - exact[worker], worker))
    for worker in largest_rest_first[: spare - sum(dealt)]:
        dealt[worker] += 1
    return tuple(1 + part for part in dealt)
