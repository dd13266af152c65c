"""Mean of the curves of several seeds, with its 95 % interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.report.series import Curve

LEVEL = 0.95
FEWEST = 3
"""Fewest seeds for a band. With two the interval is 13 standard errors wide on either side and hides the chart."""


class Band(NamedTuple):
    """Mean over seeds, where all of them have values; `low` and `high` are empty with fewer than `FEWEST` seeds."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def band(curves: Sequence[Curve], points: int, *, geometric: bool = False) -> Band:
    """Mean of the curves, interpolated on an even grid of `points`, with Student's 95 % interval of that mean.

    It covers the range in which every curve has values: beyond the end of the shortest only slow runs would be
    left, with another mean. `geometric` averages logarithms, for a loss, whose noise is multiplicative.
    """
    curves = [curve for curve in curves if len(curve.x) > 1]
    if not curves:
        return Band([], [], [], [])
    start, end = max(c.x[0] for c in curves), min(c.x[-1] for c in curves)
    if not end > start:
        return Band([], [], [], [])
    to_scale, from_scale = (_log, _exp) if geometric else (float, float)
    grid = [start + (end - start) * i / (points - 1) for i in range(points)]
    columns = [interpolate(curve, grid) for curve in curves]
    x, mean, low, high = Band([], [], [], [])
    half = _half_width(len(curves))
    for at, values in zip(grid, zip(*columns, strict=True), strict=True):
        scaled = [to_scale(value) for value in values]
        if not all(map(math.isfinite, scaled)):
            continue
        middle = math.fsum(scaled) / len(scaled)
        x.append(at)
        mean.append(from_scale(middle))
        if half is not None:
            spread = half * math.sqrt(math.fsum((v - middle) ** 2 for v in scaled) / (len(scaled) - 1))
            low.append(from_scale(middle - spread))
            high.append(from_scale(middle + spread))
    return Band(x, mean, low, high)


def interpolate(curve: Curve, grid: Sequence[float]) -> list[float]:
    """Linear interpolation; the grid is ascending and within the range of the curve."""
    values, right = [], 1
    for at in grid:
        while right < len(curve.x) - 1 and curve.x[right] < at:
            right += 1
        x0, x1, y0, y1 = curve.x[right - 1], curve.x[right], curve.y[right - 1], curve.y[right]
        share = min(1.0, max(0.0, (at - x0) / (x1 - x0)))
        values.append(y0 + share * (y1 - y0))
    return values


def thinned(curve: Curve, points: int) -> Curve:
    """About `points` points of the curve at most, including the last."""
    step = max(1, math.ceil(len(curve.x) / max(2, points)))
    kept = sorted({*range(0, len(curve.x), step), len(curve.x) - 1}) if curve.x else []
    return Curve([curve.x[i] for i in kept], [curve.y[i] for i in kept])


def _half_width(n: int) -> float | None:
    """Half width of the interval in standard deviations: t(0.975, n - 1) / sqrt(n); None with too few seeds."""
    if n < FEWEST:
        return None
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + LEVEL) / 2)) / math.sqrt(n)


def _log(value: float) -> float:
    return math.log(value) if value > 0 else -math.inf


def _exp(value: float) -> float:
    return math.exp(max(-700.0, min(700.0, value)))
