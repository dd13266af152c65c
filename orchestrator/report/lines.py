"""The figure of a chart of curves: single runs, their mean with its interval, marks, and the variants' names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.report.bands import Band, band, thinned
from orchestrator.report.figures import Axis, Figure, end_labels, figure, horizontal_line, label, short, span_of
from orchestrator.report.happened import Happened
from orchestrator.report.marks import mark_trace, split
from orchestrator.report.palette import colours, dashes, faded
from orchestrator.report.series import Axis as Unit
from orchestrator.report.series import Curve
from orchestrator.report.stored import StoredRun
from orchestrator.report.study import Study
from orchestrator.results import TargetResult

FEWEST_POINTS = 24
"""Points per line at which single runs are not drawn."""
_LEAST_SHARED = 0.2
"""Smallest share of the longest run that the runs of a variant have in common for their mean to be drawn."""
_LOG_FROM = 10
"""Highest over lowest value from which a linear axis would hide the end of training."""
_TITLES = {"seconds": "elapsed seconds", "samples": "samples", "updates": "updates of the weights", "epochs": "epochs"}

Curves = Mapping[str, Sequence[Curve]]
"""Curves by variant, one per run."""


def complete(runs: Sequence[StoredRun], curves: Sequence[Curve]) -> list[Curve]:
    """Curves to average over seeds: those of succeeded runs, or all if no run succeeded."""
    succeeded = [c for run, c in zip(runs, curves, strict=True) if run.result.status == "succeeded" and len(c.x) > 1]
    return succeeded or [curve for curve in curves if len(curve.x) > 1]


def middle(curves: Sequence[Curve], points: int, *, geometric: bool) -> Band:
    """Mean of the curves with its interval; a single curve as measured.

    Empty if the runs share too little: they stopped at the target at very different times, and a mean over the
    short range that all of them cover would look like a result.
    """
    if len(curves) == 1:
        return Band(*thinned(curves[0], points), [], [])
    mean = band(curves, points, geometric=geometric)
    longest = max((c.x[-1] for c in curves), default=0.0) - min((c.x[0] for c in curves), default=0.0)
    return mean if mean.x and mean.x[-1] - mean.x[0] >= _LEAST_SHARED * longest else Band([], [], [], [])


def is_steep(curves: Curves) -> bool:
    """Whether the values are positive and span a decade, so that they need a logarithmic axis."""
    values = [y for runs in curves.values() for curve in runs for y in curve.y]
    return bool(values) and min(values) > 0 and max(values) >= _LOG_FROM * min(values)


def curve_figure(
    curves: Curves,
    study: Study,
    passed: Mapping[str, Sequence[Happened]],
    unit: Unit,
    y_title: str,
    bins: int,
    *,
    target: TargetResult | None = None,
    marked: bool = False,
) -> Figure:
    """Lines of the curves by variant, with gaps where no task trained, and the marks of each run if `marked`."""
    log = is_steep(curves)
    positive = all(y > 0 for runs in curves.values() for curve in runs for y in curve.y)
    colour, dash = colours(study.modes), dashes(study.modes)
    under: list[dict[str, Any]] = []
    over: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for name, lines in curves.items():
        gaps = [one.breaks if unit == "seconds" else () for one in passed[name]]
        mean = middle(complete(study.modes[name], lines), bins, geometric=positive and "loss" in y_title)
        shared = {"name": label(name), "legendgroup": label(name), "meta": name, "type": "scatter", "mode": "lines"}
        if mean.low:
            under.append(ribbon(mean.x, mean.low, mean.high, colour[name]) | shared)
        alone = not mean.x
        many = len([line for line in lines if line.x]) > 1 and bins > FEWEST_POINTS
        if many or alone:
            under.append(_seeds(lines, gaps, bins, colour[name], alone) | shared)
        if mean.x:
            line = {"color": colour[name], "width": 2.5, "dash": dash[name]}
            x, y = split(Curve(mean.x, mean.mean), gaps[0] if len(lines) == 1 else ())
            over.append({"x": short(x), "y": short(y), "line": line, "hovertemplate": "%{y:.4g}"} | shared)
        if marked:
            runs = study.modes[name]
            marks.append(
                mark_trace(runs, [one.marks for one in passed[name]], lines, unit, colour[name])
                | {"name": label(name), "meta": name}
            )
    data = [trace for trace in (*under, *over, *marks) if trace["x"]]
    values = [y for lines in curves.values() for curve in lines for y in curve.y]
    near = target is not None and not log and is_near(target.value, values)
    lines_across = horizontal_line(target.value, f"target {target.value:g}") if target is not None and near else {}
    span = span_of([*values, *([target.value] if target is not None and near else [])], log=log)
    x_axis = Axis(_TITLES[unit], extra={"rangemode": "tozero"})
    y_axis = Axis(y_title, log=log, span=span)
    drawn = figure(data, x_axis, y_axis, showlegend=len(curves) > 1, hovermode="x unified", **lines_across)
    return drawn | {"ends": end_labels(over, span, log=log)} if len(curves) > 1 and span is not None else drawn


def is_near(value: float, values: Sequence[float]) -> bool:
    """Whether an axis that shows `value` too leaves the measured values half of its height."""
    if not values:
        return True
    low, high = min(values), max(values)
    return max(high, value) - min(low, value) <= 2 * (high - low)


def ribbon(x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str) -> dict[str, Any]:
    """The area between `low` and `high`."""
    return {
        "x": short([*x, *reversed(x)]),
        "y": short([*high, *reversed(low)]),
        "fill": "toself",
        "fillcolor": faded(colour, 0.16),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _seeds(
    lines: Sequence[Curve], gaps: Sequence[Sequence[float]], bins: int, colour: str, alone: bool
) -> dict[str, Any]:
    """All runs of a variant as one trace, with gaps between the runs."""
    x: list[float | None] = []
    y: list[float | None] = []
    for line, breaks in zip(lines, gaps, strict=True):
        along, values = split(thinned(line, bins), breaks)
        x += [*short(along), None]
        y += [*short(values), None]
    return {
        "x": x if any(line.x for line in lines) else [],
        "y": y,
        "line": {"color": faded(colour, 0.75 if alone else 0.5), "width": 1.4 if alone else 1.1},
        "hoverinfo": "skip",
        "showlegend": alone,
    }
