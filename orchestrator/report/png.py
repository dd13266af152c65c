"""PNG images of the main charts, for slides and papers, with the curves and colours of report.html.

They need Matplotlib, which is the optional extra `charts`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from orchestrator.report.curves import BINS, evaluation_curves, loss_curves, metric_names, target_on
from orchestrator.report.figures import log_ticks, span_of
from orchestrator.report.lines import Curves, complete, is_steep, middle
from orchestrator.report.palette import NEUTRAL, colours
from orchestrator.report.series import NO_CURVE
from orchestrator.report.standing import median_of
from orchestrator.report.study import Study
from orchestrator.results import TargetResult
from orchestrator.text import plain
from orchestrator.verdict.evidence import plan_race, race_points

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,  # a "$" in a job's name is no formula
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#c9ccd1",
    "axes.labelcolor": "#4a4f57",
    "xtick.color": "#4a4f57",
    "ytick.color": "#4a4f57",
    "axes.grid": True,
    "grid.color": "#e9eae7",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 160,
}


def charts(study: Study) -> dict[str, bytes]:
    """PNG images by file name. A chart without data is absent; all are absent if Matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        return {}
    found: dict[str, bytes | None] = {"loss-vs-seconds.png": _loss(study), "metric-vs-seconds.png": _metric(study)}
    if len(study.runs) > 1:
        found["time-to-target.png"] = _times(study)
    return {name: image for name, image in found.items() if image is not None}


def _loss(study: Study) -> bytes | None:
    return _curves(loss_curves(study, "seconds"), study, "training loss")


def _metric(study: Study) -> bytes | None:
    names = metric_names(study)
    if not names:
        return None
    name = names[0]
    curves = evaluation_curves(study, "seconds")
    chosen = {mode: [run.get(name, NO_CURVE) for run in runs] for mode, runs in curves.items()}
    return _curves(chosen, study, name, target_on(study, name))


def _curves(curves: Curves, study: Study, title: str, target: TargetResult | None = None) -> bytes | None:
    if not any(curve.x for runs in curves.values() for curve in runs):
        return None
    colour = colours(study.modes)
    positive = all(y > 0 for runs in curves.values() for curve in runs for y in curve.y)

    def draw(axes: Any) -> None:
        means = {
            name: middle(complete(study.modes[name], lines), BINS, geometric=positive and "loss" in title)
            for name, lines in curves.items()
        }
        for name, lines in curves.items():
            look = {"linewidth": 0.6, "alpha": 0.4} if means[name].x else {"linewidth": 1.2, "alpha": 0.8}
            for line in lines:
                axes.plot(line.x, line.y, color=colour[name], **look)
        limits = axes.get_ylim()
        for name, mean in means.items():
            axes.plot(mean.x, mean.mean, color=colour[name], linewidth=2, label=_label(name))
            if mean.low:
                axes.fill_between(mean.x, mean.low, mean.high, color=colour[name], alpha=0.16, linewidth=0)
        if is_steep(curves):
            axes.set_yscale("log")
            span = span_of((y for lines in curves.values() for line in lines for y in line.y), log=True)
            ticks = log_ticks(span) if span else {}
            axes.set_yticks(list(ticks), list(ticks.values()))
            axes.set_yticks([], minor=True)
            axes.set_ylim(span)
        else:
            axes.set_ylim(limits)  # a band of few seeds may be much wider than the curves
        if target is not None and not is_steep(curves):
            axes.axhline(target.value, color=NEUTRAL, linewidth=1, linestyle="--")
        axes.set_xlim(left=0)
        axes.set_xlabel("elapsed seconds")
        axes.set_ylabel(plain(title, 60))
        if len(curves) > 1:
            axes.legend()

    return _picture(draw, 4.0)


def _times(study: Study) -> bytes | None:
    race = plan_race(study.results)
    points = {name: race_points(results, race) for name, results in study.results.items()}
    if not any(points.values()):
        return None
    colour = colours(study.modes)
    names = list(study.modes)[::-1]

    def draw(axes: Any) -> None:
        for row, name in enumerate(names):
            for marker, missed in (("o", False), ("x", True)):
                values = [point.value for point in points[name] if point.bad == missed]
                axes.scatter(values, [row] * len(values), color=colour[name], marker=marker, alpha=0.8, s=36)
            median = median_of(points[name])
            if median is not None:
                axes.plot([median, median], [row - 0.25, row + 0.25], color=colour[name], linewidth=2.5)
        axes.set_yticks(range(len(names)), [plain(name, 24) for name in names])
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(left=0)
        goal = f"to {race.goal}" if race.kind == "target" else "per sample" if race.kind == "rate" else "of training"
        missed_any = any(point.bad for row in points.values() for point in row)
        crosses = "; a cross is a run that missed, at the horizon" if missed_any else ""
        axes.set_xlabel(plain(f"seconds {goal}{crosses}", 120))

    return _picture(draw, 1.2 + 0.55 * len(names))


def _picture(draw: Callable[[Any], None], height: float) -> bytes:
    with _matplotlib() as figure_class:
        figure = figure_class(figsize=(7.2, height), layout="constrained")
        draw(figure.add_subplot())
        image = io.BytesIO()
        figure.savefig(image, format="png", metadata={"Software": "Regatta"})
    return image.getvalue()


@contextmanager
def _matplotlib() -> Iterator[Any]:
    """Matplotlib's Figure; without pyplot, which has global state and may need a display."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # names in scripts that the font lacks
        yield Figure


def _label(name: str) -> str:
    """A label for the legend, from which Matplotlib omits labels that begin with "_"."""
    shown = plain(name, 40)
    return f" {shown}" if shown.startswith("_") else shown
