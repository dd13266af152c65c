"""Loss curves for tests of the stability detector, and its findings in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from orchestrator.monitor.stability import StabilityDetector
from orchestrator.results import Finding

Floats = npt.NDArray[np.float64]


def watch(losses: npt.ArrayLike, cuts: Sequence[int] = ()) -> list[Finding]:
    detector = StabilityDetector()
    found: list[Finding] = []
    values = np.asarray(losses, dtype=np.float64)
    steps = np.arange(1, len(values) + 1)
    for start, stop in pairwise([0, *sorted(cuts), len(values)]):
        part = slice(start, stop)
        found += detector.observe(steps[part], 32 * steps[part], 0.01 * steps[part], values[part])
    return [*found, *detector.finish()]


def kinds(found: Sequence[Finding]) -> Counter[str]:
    return Counter(one.kind for one in found)


def index_of(found: Finding) -> int:
    """Position in the curve, which counts from 0 where steps count from 1."""
    assert found.step is not None
    return found.step - 1


def noisy(trend: npt.ArrayLike, sigma: float = 0.05, seed: int = 0) -> Floats:
    values = np.asarray(trend, dtype=np.float64)
    return values * (1 + sigma * np.random.default_rng(seed).standard_normal(len(values)))


def falling(steps: int = 3000, floor: float = 0.15, tau: float = 300) -> Floats:
    return np.asarray(2 * (floor + (1 - floor) * np.exp(-np.arange(steps) / tau)), dtype=np.float64)
