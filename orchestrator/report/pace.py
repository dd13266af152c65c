"""Chart of how fast training went, and with which learning rate, over the seconds of a run."""

from __future__ import annotations

from orchestrator.report.curves import curve_figure, resolution, what_happened
from orchestrator.report.figures import Chart, Choice
from orchestrator.report.series import extent, learning_rate_curve, rate_curve
from orchestrator.report.study import Study


def pace_chart(study: Study) -> Chart:
    """Samples per second, and the learning rate where it changed."""
    bins = resolution(study, figures=2) // 2
    longest = {name: max((extent(run, "seconds") for run in runs), default=0.0) for name, runs in study.modes.items()}
    rates = {name: [rate_curve(run, longest[name] / bins) for run in runs] for name, runs in study.modes.items()}
    steps = {name: [learning_rate_curve(run) for run in runs] for name, runs in study.modes.items()}
    passed = what_happened(study)
    figures = {"rate": curve_figure(rates, study, passed, "seconds", "samples per second", bins, marked=True)}
    options = [("rate", "Samples per second")]
    if any(len(set(curve.y)) > 1 for curves in steps.values() for curve in curves):
        figures["learning"] = curve_figure(steps, study, passed, "seconds", "learning rate", bins)
        options.append(("learning", "Learning rate"))
    if len(options) == 1:
        figures = {"": figures["rate"]}
    return Chart(
        "Pace",
        figures,
        [Choice("of", options)] if len(options) > 1 else [],
        caption=f"Samples per second in each of {bins} equal parts of a variant's longest run.",
        describes="Samples per second and learning rate of every variant against seconds",
        scales=True,
    )
