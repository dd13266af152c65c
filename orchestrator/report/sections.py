"""The sections of report.html, one function each: from a study to what is shown; null where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.report import text
from orchestrator.report.bars import PHASES, phase_chart, phases, staleness_chart, time_chart
from orchestrator.report.curves import loss_chart, metric_chart
from orchestrator.report.drawing import chip, drawn, section
from orchestrator.report.markup import Child, Html, el, table
from orchestrator.report.palette import colours
from orchestrator.report.standing import standings
from orchestrator.report.stored import Study
from orchestrator.report.terminal import run_facts
from orchestrator.report.timelines import usage_chart, usage_notes
from orchestrator.result import Answer, Interval

_CONFIDENCE = {
    "none": "No confidence: the data do not say",
    "low": "Low confidence",
    "moderate": "Moderate confidence",
    "high": "High confidence",
}


def verdict(study: Study) -> Html | None:
    """The headline, how sure it is, why, and what to do next."""
    if study.comparison is None:
        return None
    found = study.comparison.verdict
    return el(
        "section",
        el("p", "Verdict", class_="kicker"),
        el("h2", found.headline, class_="headline"),
        el("p", _CONFIDENCE[found.confidence], class_=f"badge {found.confidence}"),
        _listed("Why", found.reasons),
        _listed("What to try next", found.next_steps),
        id="verdict",
    )


def standing(study: Study) -> Html | None:
    """The variants side by side: a column each, so that two fit on a phone."""
    lines = standings(study.results, study.comparison)
    titles = {
        "runs": "runs",
        "reached": "reached the target",
        "time": f"median {lines.time_title}",
        "speed": lines.speed_title,
        "quality": lines.quality_title,
        "rate": "samples per second",
        "staleness": "mean staleness, updates",
        "jitter": "jitter of the loss",
        "cost": "mean cost",
        "findings": "findings",
    }
    colour = colours(study.modes)
    head = ["", *(chip(name, colour[name]) for name in study.modes)]
    rows = [
        [title, *(getattr(line, key) for line in lines.lines)]
        for key, title in titles.items()
        if lines.used(key)
    ]
    return section("At a glance", table(head, rows, numeric=range(1, len(lines.lines) + 1)), id_="glance")


def answers(study: Study) -> Html | None:
    """Each question the verdict asked, with its numbers."""
    if study.comparison is None or not study.comparison.verdict.answers:
        return None
    colour = colours(study.modes)
    rows = [
        [
            answer.question,
            answer.variant or text.MISSING,
            chip(answer.winner, colour.get(answer.winner)) if answer.winner else "no winner",
            _advantage(answer),
            _p(answer),
        ]
        for answer in study.comparison.verdict.answers
    ]
    head = ["question", f"compared with {study.comparison.baseline}", "winner", "advantage, 95 % interval", "p"]
    return section(
        "Question by question",
        el("p", "The advantage is the winner's; without a winner, the variant's.", class_="note"),
        table(head, rows),
        id_="answers",
    )


def learning(study: Study) -> Html | None:
    return section("Learning", drawn(loss_chart(study)), drawn(metric_chart(study)), id_="learning")


def time(study: Study) -> Html | None:
    rows = [
        [name, *(text.seconds(phases(results)[phase]) for phase in PHASES)]
        for name, results in study.results.items()
    ]
    head = ["mean of the runs", *PHASES]
    return section(
        "Time",
        drawn(time_chart(study)) if len(study.runs) > 1 else None,
        drawn(phase_chart(study)),
        table(head, rows, numeric=(1, 2, 3)),
        id_="time",
    )


def utilisation(study: Study) -> Html | None:
    """Timelines; where there are none, why."""
    notes = usage_notes(study)
    gpus = {run.result.utilization.gpu_note for _, run in study.runs if run.result.utilization.gpu_note}
    said = list(dict.fromkeys([*notes, *sorted(gpus)]))
    return section(
        "Utilisation",
        drawn(usage_chart(study), empty="Host samples: not available for these runs."),
        el("p", f"Not measured: {'; '.join(said)}.", class_="note") if said else None,
        id_="utilisation",
    )


def staleness(study: Study) -> Html | None:
    chart = staleness_chart(study)
    if chart.is_empty:
        return None
    fresh = [name for name, results in study.results.items() if not any(result.staleness for result in results)]
    note = f"{' and '.join(fresh)}: no update is ever stale, or it was not measured." if fresh else None
    return section(
        "Staleness of updates",
        drawn(chart),
        el("p", note, class_="note") if note else None,
        id_="staleness",
    )


def stability(study: Study) -> Html | None:
    """Findings about the loss and the speed, and failures, run by run."""
    colour = colours(study.modes)
    rows: list[list[Child]] = []
    for name, run in study.runs:
        result = run.result
        for found in result.stability.findings:
            said = [found.symptom, found.evidence]
            advice = [el("p", f"{title}: {'; '.join(items)}", class_="note") for title, items in
                      (("Possible causes", found.causes), ("Remedies", found.remedies)) if items]
            where = text.MISSING if found.step is None else f"{found.step:,}"
            rows.append([chip(name, colour[name]), result.seed, found.kind, where,
                         [el("p", ": ".join(part for part in said if part)), advice], found.action])
        for failure in result.failures:
            log = f" Log: {failure.log}" if failure.log else ""
            rows.append([chip(name, colour[name]), result.seed, f"failure of {failure.task}",
                         f"attempt {failure.attempt}", f"{failure.kind}: {failure.summary}.{log}", text.MISSING])
    if not rows:
        return section("Stability", el("p", "No finding and no failure in any run."), id_="stability")
    head = ["variant", "seed", "finding", "step", "what was seen", "action"]
    return section("Stability", table(head, rows, numeric=(1, 3)), id_="stability")


def runs(study: Study) -> Html | None:
    """Every run with all its numbers; a single one as a list of facts."""
    if len(study.runs) == 1:
        facts = run_facts(study.runs[0][1].result)
        return section("The run", el("dl", ([el("dt", name), el("dd", value)] for name, value in facts)), id_="runs")
    metrics = list(dict.fromkeys(name for _, run in study.runs for name in run.result.final))[:6]
    colour = colours(study.modes)
    rows = []
    for name, run in study.runs:
        result, target = run.result, run.result.target
        rows.append([
            chip(name, colour[name]),
            result.seed,
            result.status if result.status == "succeeded" else f"{result.status}: {result.stop_reason or ''}",
            text.MISSING if target is None else text.seconds(target.seconds) if target.reached else "missed",
            text.seconds(result.seconds.training),
            *(text.MISSING if count is None else f"{count:,}" for count in (result.steps, result.samples)),
            text.number(result.throughput.samples_per_s),
            *(text.number(result.final.get(metric)) for metric in metrics),
            text.number(result.staleness.mean, 3) if result.staleness else text.MISSING,
            result.attempts,
            result.run_id,
        ])  # fmt: skip
    head = ["variant", "seed", "ended", "to target", "training", "steps", "samples", "samples/s"]
    head += [*metrics, "staleness", "attempts", "run"]
    return section(
        "Runs", table(head, rows, numeric=(1, *range(3, len(head) - 1))), id_="runs"
    )


def _listed(title: str, items: Sequence[str]) -> Html | None:
    return el("div", el("h3", title), el("ul", (el("li", item) for item in items))) if items else None


def _advantage(answer: Answer) -> str:
    if answer.ratio is not None:
        return text.factor(answer.ratio.value, answer.ratio.low, answer.ratio.high)
    if answer.difference is not None:
        return _difference(answer.difference)
    return text.MISSING


def _difference(found: Interval) -> str:
    if found.value is None:
        return text.MISSING
    bounds = "" if found.low is None or found.high is None else f" [{found.low:+.4f}, {found.high:+.4f}]"
    return f"{found.value:+.4f}{bounds}"


def _p(answer: Answer) -> str:
    p = answer.p_value
    return text.MISSING if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"
