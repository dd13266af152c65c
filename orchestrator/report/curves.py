"""Charts of loss and evaluation metrics against seconds, samples, updates and epochs, with a band over the seeds."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report.bands import FEWEST
from orchestrator.report.figures import Chart, Choice, Figure
from orchestrator.report.happened import Happened, happened
from orchestrator.report.lines import FEWEST_POINTS, curve_figure
from orchestrator.report.series import NO_CURVE, Curve, axes, extent, loss_curve, metric_curves
from orchestrator.report.series import Axis as Unit
from orchestrator.report.study import Study
from orchestrator.results import TargetResult
from orchestrator.verdict.evidence import plan_quality

BINS = 100
_MOST_NUMBERS = 50_000
"""Most numbers in all figures of a chart: about 0.4 MB."""
_MOST_METRICS = 5


def loss_chart(study: Study) -> Chart:
    units = axes([run for _, run in study.runs])
    bins = resolution(study, figures=len(units))
    passed = what_happened(study)
    figures: dict[str, Figure] = {}
    for unit in units:
        curves = loss_curves(study, unit, bins)
        figures[unit] = curve_figure(curves, study, passed, unit, "training loss", bins, marked=True)
    return Chart(
        "Training loss",
        figures,
        [_against(units)],
        caption=f"Mean loss of the steps in each of {bins} equal parts of the longest run, over five if smoothed. "
        f"{_explanation(study)} Symbols mark restarts, changes of the mode, findings, workers that came back "
        f"and early ends{', and small strokes checkpoints' if len(study.runs) == 1 else ''}; point at one to read it.",
        describes="Training loss of every variant against seconds, samples, updates or epochs",
        scales=True,
        smooths=True,
    )


def metric_chart(study: Study) -> Chart:
    names = metric_names(study)
    units = axes([run for _, run in study.runs])
    bins = resolution(study, figures=len(units) * max(1, len(names)))
    passed = what_happened(study)
    figures = {}
    for unit in units:
        curves = evaluation_curves(study, unit)
        for index, name in enumerate(names):
            chosen = {mode: [run.get(name, NO_CURVE) for run in runs] for mode, runs in curves.items()}
            figures[f"{unit}|{index}"] = curve_figure(
                chosen, study, passed, unit, name, bins, target=target_on(study, name)
            )
    choices = [_against(units)]
    if len(names) > 1:
        choices.append(Choice("metric", [(str(i), name) for i, name in enumerate(names)]))
    else:
        figures = {key.partition("|")[0]: value for key, value in figures.items()}
    return Chart(
        "Evaluation",
        figures,
        choices,
        caption=f"Computed on the evaluation set, by a process of its own. {_explanation(study)}",
        describes="Evaluation metrics of every variant against seconds, samples, updates or epochs",
        scales=True,
    )


def _against(units: Sequence[Unit]) -> Choice:
    return Choice("against", [(unit, unit.capitalize()) for unit in units])


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
    """Points per line that keep the file small. At `FEWEST_POINTS` single runs are not drawn."""
    lines = sum(len(runs) + 4 for runs in study.modes.values()) * 2
    return max(FEWEST_POINTS, min(BINS, _MOST_NUMBERS // max(1, lines * figures)))


def _explanation(study: Study) -> str:
    most = max((len(runs) for runs in study.modes.values()), default=0)
    if most < 2:
        return ""
    interval = " with its 95 % interval" if most >= FEWEST else ""
    mean = f"The thick line is their mean{interval}, over what all runs of the variant share"
    return f"Thin lines are single runs. {mean}, if that is a fifth of the longest."
