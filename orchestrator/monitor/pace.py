"""Findings on speed: training that waits for its data, and a worker that the others wait for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median

from orchestrator.monitor.advice import Finding, finding

INPUT_BOUND = 0.2
"""Share of step time spent waiting for input; TensorFlow Profiler's bound for "highly input-bound"
(`kHighlyInfeedBoundThresholdInPercent` in its input pipeline analysis)."""
STRAGGLER = 1.5
"""Slowest worker's step time over the median."""


def input_bound(share: float, step: int, clock: float, threshold: float = INPUT_BOUND) -> Finding | None:
    """`share` of the training time, 0 to 1, that the replicas spent waiting for the next batch."""
    if not share > threshold:
        return None
    evidence = f"{share:.0%} of the training time is spent waiting for the next batch (limit {threshold:.0%})"
    return finding("input_bound", step, clock, "training waits for its data", evidence)


def straggler_index(step_seconds: Mapping[str, float]) -> float | None:
    """Slowest worker's step time over the median of all; None with fewer than two workers that have one."""
    times = [time for time in step_seconds.values() if math.isfinite(time) and time > 0]
    return max(times) / median(times) if len(times) > 1 else None


def straggler(
    step_seconds: Mapping[str, float], step: int, clock: float, threshold: float = STRAGGLER
) -> Finding | None:
    """`step_seconds`: mean seconds per step by worker, without the time spent waiting for each other."""
    index = straggler_index(step_seconds)
    if index is None or index <= threshold:
        return None
    times = {worker: time for worker, time in step_seconds.items() if math.isfinite(time) and time > 0}
    slowest = max(times, key=times.__getitem__)
    evidence = (
        f"{slowest} takes {times[slowest] * 1e3:.3g} ms a step, {index:.2f} times the median of "
        f"{len(times)} workers (limit {threshold})"
    )
    return finding("straggler", step, clock, f"{slowest} is slower than the others", evidence)
