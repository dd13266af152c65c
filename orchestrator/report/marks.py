"""Marks on a run's curve, one for each thing that happened, and gaps where no task trained."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from orchestrator.report.bands import interpolate
from orchestrator.report.figures import label, short
from orchestrator.report.happened import Kind, Mark
from orchestrator.report.series import Axis, Curve
from orchestrator.report.stored import StoredRun
from orchestrator.report.stretches import samples_at

_SYMBOLS: Mapping[Kind, tuple[str, int]] = {
    "restart": ("x", 10),
    "change": ("star", 11),
    "finding": ("triangle-up", 10),
    "worker": ("diamond", 10),
    "end": ("square", 9),
    "checkpoint": ("line-ns-open", 6),
}
"""Plotly's symbol and its size in pixels."""
_ABSENT = 4


def split(curve: Curve, breaks: Sequence[float]) -> tuple[list[float | None], list[float | None]]:
    """x and y of the curve, with a null where one of the breaks lies between two points: no line is drawn there."""
    x: list[float | None] = []
    y: list[float | None] = []
    left = sorted(breaks)
    for i, (at, value) in enumerate(zip(curve.x, curve.y, strict=True)):
        passed = [b for b in left if b <= at]
        left = left[len(passed) :]
        if passed and i:
            x.append(at)
            y.append(None)
        x.append(at)
        y.append(value)
    return x, y


def absences(curve: Curve) -> list[float]:
    """Where the points of an evenly sampled curve begin again after a gap of four intervals or more."""
    steps = [right - left for left, right in pairwise(curve.x)]
    if not steps:
        return []
    usual = statistics.median(steps)
    return [right for right, step in zip(curve.x[1:], steps, strict=True) if step >= _ABSENT * usual]


def mark_trace(
    runs: Sequence[StoredRun], marks: Sequence[Sequence[Mark]], curves: Sequence[Curve], unit: Axis, colour: str
) -> dict[str, Any]:
    """The marks of a variant's runs, each on its run's curve; checkpoints of a lone run only."""
    x: list[float] = []
    y: list[float] = []
    texts: list[str] = []
    shapes: list[tuple[str, int]] = []
    for run, marked, curve in zip(runs, marks, curves, strict=True):
        if len(curve.x) < 2:
            continue
        for mark in marked:
            at = _position(mark, run, unit)
            if at is None or (mark.kind == "checkpoint" and len(runs) > 1):
                continue
            within = min(max(at, curve.x[0]), curve.x[-1])
            words = f"seed {run.result.seed}, step {mark.step:,}: {mark.text}"
            x.append(at)
            y += interpolate(curve, [within])
            texts.append(label(words, 200))
            shapes.append(_SYMBOLS[mark.kind])
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short(x),
        "y": short(y),
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": False,
        "marker": {
            "symbol": [symbol for symbol, _ in shapes],
            "size": [size for _, size in shapes],
            "color": colour,
            "line": {"width": 1.5, "color": colour},
        },
    }


def _position(mark: Mark, run: StoredRun, unit: Axis) -> float | None:
    if unit == "seconds":
        return mark.clock
    return float(mark.step) if unit == "updates" else samples_at(run, mark.step) or None
