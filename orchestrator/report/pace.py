"""Chart of how fast training went, with which learning rate and how stale updates were, over the seconds of a run."""

from __future__ import annotations

from orchestrator.report.curves import resolution, what_happened
from orchestrator.report.figures import Chart, Choice
from orchestrator.report.lines import curve_figure
from orchestrator.report.series import extent, learning_rate_curve, rate_curve, staleness_curve
from orchestrator.report.study import Study


def pace_chart(study: Study) -> Chart:
    """Samples per second, the learning rate where it changed, and staleness where it was measured."""
    bins = resolution(study, figures=3) // 2
    longest = {name: max((extent(run, "seconds") for run in runs), default=0.0) for name, runs in study.modes.items()}
    rates = {name: [rate_curve(run, longest[name] / bins) for run in runs] for name, runs in study.modes.items()}
    steps = {name: [learning_rate_curve(run) for run in runs] for name, runs in study.modes.items()}
    passed = what_happened(study)
    figures = {"rate": curve_figure(rates, study, passed, "seconds", "samples per second", bins, marked=True)}
    options = [("rate", "Samples per second")]
    if any(len(set(curve.y)) > 1 for curves in steps.values() for curve in curves):
        figures["learning"] = curve_figure(steps, study, passed, "seconds", "learning rate", bins)
        options.append(("learning", "Learning rate"))
    stale = {n: [staleness_curve(run, longest[n] / bins) for run in runs] for n, runs in study.modes.items()}
    if any(curve.x for curves in stale.values() for curve in curves):
        figures["staleness"] = curve_figure(stale, study, passed, "seconds", "updates by others in between", bins)
        options.append(("staleness", "Staleness"))
    if len(options) == 1:
        figures = {"": figures["rate"]}
    return Chart(
        "Pace",
        figures,
        [Choice("of", options)] if len(options) > 1 else [],
        caption=f"Means in each of {bins} equal parts of a variant's longest run.",
        describes="Samples per second, learning rate and staleness of every variant against seconds",
        scales=True,
    )
