"""Charts of loss and evaluation metrics against seconds, samples and updates, with a band over the seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.report.bands import FEWEST, Band, band, thinned
from orchestrator.report.figures import Axis, Chart, Choice, Figure, figure, horizontal_line, label, short, span_of
from orchestrator.report.happened import Happened, happened
from orchestrator.report.marks import mark_trace, split
from orchestrator.report.palette import colours, dashes, faded
from orchestrator.report.series import AXES, NO_CURVE, Curve, extent, loss_curve, metric_curves
from orchestrator.report.series import Axis as Unit
from orchestrator.report.stored import StoredRun
from orchestrator.report.study import Study
from orchestrator.results import TargetResult
from orchestrator.verdict.evidence import plan_quality

BINS = 120
_MOST_NUMBERS = 50_000
"""Most numbers in all figures of a chart: about 0.4 MB."""
_FEWEST_POINTS = 24
_LEAST_SHARED = 0.2
"""Smallest share of the longest run that the runs of a variant have in common for their mean to be drawn."""
_MOST_METRICS = 5
_LOG_FROM = 10
"""Highest over lowest value from which a linear axis would hide the end of training."""
_TITLES = {"seconds": "elapsed seconds", "samples": "samples", "updates": "updates of the weights"}
_BY = Choice("against", [("seconds", "Seconds"), ("samples", "Samples"), ("updates", "Updates")])

Curves = Mapping[str, Sequence[Curve]]
"""Curves by variant, one per run."""


def loss_chart(study: Study) -> Chart:
    bins = resolution(study, figures=len(AXES))
    passed = what_happened(study)
    figures: dict[str, Figure] = {}
    for unit in AXES:
        curves = loss_curves(study, unit, bins)
        figures[unit] = curve_figure(curves, study, passed, unit, "training loss", bins, marked=True)
    return Chart(
        "Training loss",
        figures,
        [_BY],
        caption=f"Mean loss of the steps in each of {bins} equal parts of the longest run, not smoothed further. "
        f"{_explanation(study)} Symbols mark restarts, findings, workers that came back and early ends"
        f"{', and small strokes checkpoints' if len(study.runs) == 1 else ''}; point at one to read it.",
        describes="Training loss of every variant against seconds, samples or updates",
        scales=True,
    )


def metric_chart(study: Study) -> Chart:
    names = metric_names(study)
    bins = resolution(study, figures=len(AXES) * max(1, len(names)))
    passed = what_happened(study)
    figures = {}
    for unit in AXES:
        curves = evaluation_curves(study, unit)
        for index, name in enumerate(names):
            chosen = {mode: [run.get(name, NO_CURVE) for run in runs] for mode, runs in curves.items()}
            figures[f"{unit}|{index}"] = curve_figure(
                chosen, study, passed, unit, name, bins, target=target_on(study, name)
            )
    choices = [_BY]
    if len(names) > 1:
        choices.append(Choice("metric", [(str(i), name) for i, name in enumerate(names)]))
    else:
        figures = {key.partition("|")[0]: value for key, value in figures.items()}
    return Chart(
        "Evaluation",
        figures,
        choices,
        caption=f"Computed on the evaluation set, by a process of its own. {_explanation(study)}",
        describes="Evaluation metrics of every variant against seconds, samples or updates",
        scales=True,
    )


def what_happened(study: Study) -> dict[str, list[Happened]]:
    return {name: [happened(run) for run in runs] for name, runs in study.modes.items()}


def loss_curves(study: Study, unit: Unit, bins: int = BINS) -> dict[str, list[Curve]]:
    curves = {}
    for name, runs in study.modes.items():
        longest = max((extent(run, unit) for run in runs), default=0.0)
        curves[name] = [loss_curve(run, unit, longest / bins) for run in runs]
    return curves


def evaluation_curves(study: Study, unit: Unit) -> dict[str, list[dict[str, Curve]]]:
    return {name: [metric_curves(run, unit) for run in runs] for name, runs in study.modes.items()}


def metric_names(study: Study) -> list[str]:
    """Names of the evaluation metrics, beginning with the one by which quality is judged."""
    names = {name: None for _, run in study.runs for name in metric_curves(run, "updates")}
    quality = plan_quality(study.results)
    first = [quality.metric] if quality and quality.metric in names else []
    return list(dict.fromkeys([*first, *sorted(names)]))[:_MOST_METRICS]


def target_on(study: Study, metric: str) -> TargetResult | None:
    """The target, if all runs share one and it is of this metric."""
    targets = [run.result.target for _, run in study.runs if run.result.target is not None]
    values = {(t.metric, t.op, t.value) for t in targets}
    return targets[0] if len(values) == 1 and targets[0].metric == metric else None


def resolution(study: Study, figures: int) -> int:
    """Points per line that keep the file small. At `_FEWEST_POINTS` single runs are not drawn."""
    lines = sum(len(runs) + 4 for runs in study.modes.values()) * 2
    return max(_FEWEST_POINTS, min(BINS, _MOST_NUMBERS // max(1, lines * figures)))


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
        shared = {"name": label(name), "legendgroup": label(name), "type": "scatter", "mode": "lines"}
        if mean.low:
            under.append(_ribbon(mean.x, mean.low, mean.high, colour[name]) | shared)
        alone = not mean.x
        many = len([line for line in lines if line.x]) > 1 and bins > _FEWEST_POINTS
        if many or alone:
            under.append(_seeds(lines, gaps, bins, colour[name], alone) | shared)
        if mean.x:
            line = {"color": colour[name], "width": 2.5, "dash": dash[name]}
            x, y = split(Curve(mean.x, mean.mean), gaps[0] if len(lines) == 1 else ())
            over.append({"x": short(x), "y": short(y), "line": line, "hovertemplate": "%{y:.4g}"} | shared)
        if marked:
            runs = study.modes[name]
            marks.append(
                mark_trace(runs, [one.marks for one in passed[name]], lines, unit, colour[name]) | {"name": label(name)}
            )
    data = [trace for trace in (*under, *over, *marks) if trace["x"]]
    values = [y for lines in curves.values() for curve in lines for y in curve.y]
    near = target is not None and not log and is_near(target.value, values)
    lines_across = horizontal_line(target.value, f"target {target.value:g}") if target is not None and near else {}
    span = span_of([*values, *([target.value] if target is not None and near else [])], log=log)
    x_axis = Axis(_TITLES[unit], extra={"rangemode": "tozero"})
    y_axis = Axis(y_title, log=log, span=span)
    return figure(data, x_axis, y_axis, showlegend=len(curves) > 1, hovermode="x unified", **lines_across)


def is_near(value: float, values: Sequence[float]) -> bool:
    """Whether an axis that shows `value` too leaves the measured values half of its height."""
    if not values:
        return True
    low, high = min(values), max(values)
    return max(high, value) - min(low, value) <= 2 * (high - low)


def _ribbon(x: Sequence[float], low: Sequence[float], high: Sequence[float], colour: str) -> dict[str, Any]:
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


def _explanation(study: Study) -> str:
    most = max((len(runs) for runs in study.modes.values()), default=0)
    if most < 2:
        return ""
    interval = " with its 95 % interval" if most >= FEWEST else ""
    mean = f"The thick line is their mean{interval}, over what all runs of the variant share"
    return f"Thin lines are single runs. {mean}, if that is a fifth of the longest."
