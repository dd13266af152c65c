"""When a learning curve meets a target: read off, or extrapolated by a power law. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.metric_target import MetricTarget

FURTHEST = 20.0
"""How many times the samples of the probe an extrapolation may reach."""
_FEWEST_POINTS = 5
_BOUNDS = {"accuracy": 1.0, "auc": 1.0, "precision": 1.0, "recall": 1.0}
"""What metrics with these words in their names cannot exceed."""

Curve = Sequence[tuple[float, float]]
"""Samples and the metric's value, in order."""


@dataclass(frozen=True)
class Meets:
    """When a curve meets a target."""

    samples: float | None
    reason: str | None = None
    """Why `samples` is None."""
    extrapolated: bool = False


def crossing(curve: Curve, target: MetricTarget) -> float | None:
    """Samples at which a straight line between two evaluations first meets `target`; None if no evaluation does."""
    before: tuple[float, float] | None = None
    for samples, value in curve:
        if target.met_by(value):
            if before is None or value == before[1]:
                return samples
            share = (target.value - before[1]) / (value - before[1])
            return before[0] + min(1.0, max(0.0, share)) * (samples - before[0])
        before = samples, value
    return None


def meets(curve: Curve, target: MetricTarget) -> Meets:
    """When `curve` meets `target`, by extrapolation if it ends before.

    What is left to the metric's bound (1 for an accuracy, 0 for a loss) is taken to fall as a power of the samples,
    fitted to the second half of the curve (Hestness et al., "Deep Learning Scaling is Predictable, Empirically",
    arXiv 1712.00409, who find power laws in the amount of data).
    """
    found = crossing(curve, target)
    if found is not None:
        return Meets(found)
    rising = target.op in (">=", ">")
    bound = next((limit for word, limit in _BOUNDS.items() if word in target.metric), None) if rising else 0.0
    if bound is None:
        return Meets(None, f"the probe did not meet {target}, and {target.metric} has no known bound to extrapolate to")
    later = [(s, abs(bound - v)) for s, v in curve[len(curve) // 2 :] if s > 0 and abs(bound - v) > 0]
    wanted = abs(bound - target.value)
    if len(later) < _FEWEST_POINTS or wanted == 0:
        return Meets(None, f"the probe did not meet {target}, and saw too little of the curve to extrapolate it")
    slope, level = _line([(math.log(s), math.log(left)) for s, left in later])
    if slope > -0.02:
        return Meets(None, f"the probe did not meet {target}, and {target.metric} hardly improved in its second half")
    samples = math.exp(min(700.0, (math.log(wanted) - level) / slope))
    if samples > FURTHEST * curve[-1][0]:
        return Meets(
            None, f"{target} is more than {FURTHEST:g} times as far as the probe trained: give it more --minutes"
        )
    return Meets(max(samples, curve[-1][0]), extrapolated=True)


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and intercept of the least-squares line."""
    n = len(points)
    x, y = sum(p[0] for p in points) / n, sum(p[1] for p in points) / n
    spread = sum((p[0] - x) ** 2 for p in points)
    slope = sum((p[0] - x) * (p[1] - y) for p in points) / spread if spread else 0.0
    return slope, y - slope * x
