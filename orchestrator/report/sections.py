"""Sections of report.html: one function each, which returns None if there is nothing to show."""

from __future__ import annotations

from urllib.parse import quote

from orchestrator import text
from orchestrator.report.bars import staleness_chart, time_chart
from orchestrator.report.conclusions import headline
from orchestrator.report.curves import loss_chart, metric_chart
from orchestrator.report.drawing import chip, drawn, section, variant_filter
from orchestrator.report.facts import run_facts
from orchestrator.report.findings import Problem, failed_logs, problems
from orchestrator.report.markup import Child, Html, el, preformatted, table
from orchestrator.report.pace import pace_chart
from orchestrator.report.palette import colours
from orchestrator.report.spending import spending_chart, spending_table
from orchestrator.report.standing import standings
from orchestrator.report.stored import StoredRun
from orchestrator.report.study import Study
from orchestrator.report.timelines import usage_chart, usage_notes

_MOST_COLUMNS = 4
_MOST_RUNS = 200


def standing(study: Study) -> Html | None:
    """The variants side by side: one column each, so that two fit on a phone, or one row each if there are many."""
    if study.is_single:
        return None
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
        "per_update": "samples per update",
        "updates": "updates, to the target if it was reached",
        "learning_rate": "learning rate at the start",
        "noise": "gradient noise scale (samples)",
        "findings": "findings",
    }
    colour = colours(study.modes)
    chips = [chip(name, colour[name]) for name in study.modes]
    shown = {key: title for key, title in titles.items() if lines.used(key)}
    cells: list[list[Child]] = [[getattr(line, key) for line in lines.lines] for key in shown]
    head: list[Child] = ["variant", *chips]
    rows = [[title, *values] for title, values in zip(shown.values(), cells, strict=True)]
    if len(chips) > _MOST_COLUMNS:
        head, rows = ["variant", *shown.values()], [list(row) for row in zip(chips, *cells, strict=True)]
    numbers = table(head, rows, numeric=range(1, len(head)), sortable=len(chips) > _MOST_COLUMNS)
    return section("At a glance", drawn(time_chart(study)), numbers, id_="glance")


def learning(study: Study) -> Html | None:
    charts = (loss_chart(study), metric_chart(study), pace_chart(study))
    several = variant_filter(study.modes, colours(study.modes)) if len(study.modes) > 2 else None
    return section("Learning", several, *map(drawn, charts), id_="learning")


def time(study: Study) -> Html | None:
    head, rows = spending_table(study.results)
    return section(
        "Time",
        drawn(spending_chart(study)),
        table(head, rows, numeric=range(1, len(head))) if rows else None,
        id_="time",
    )


def utilisation(study: Study) -> Html | None:
    """Timelines, and why something was not measured."""
    notes = usage_notes(study)
    gpus = {run.result.utilization.gpu_note for _, run in study.runs if run.result.utilization.gpu_note}
    reasons = list(dict.fromkeys([*notes, *sorted(gpus)]))
    return section(
        "Utilisation",
        drawn(usage_chart(study), empty="Host samples: not available for these runs."),
        el("p", f"Not measured: {'; '.join(reasons)}.", class_="note") if reasons else None,
        id_="utilisation",
    )


def staleness(study: Study) -> Html | None:
    chart = staleness_chart(study)
    if chart.is_empty:
        return None
    unmeasured = [name for name, results in study.results.items() if not any(result.staleness for result in results)]
    note = f"Not measured for {' and '.join(unmeasured)}; synchronous updates have none." if unmeasured else None
    return section(
        "Staleness of updates",
        drawn(chart),
        el("p", note, class_="note") if note else None,
        id_="staleness",
    )


def stability(study: Study) -> Html | None:
    """Findings about the loss and the speed, and failures."""
    colour = colours(study.modes)
    rows = [
        [chip(one.variant, colour[one.variant]), one.kind, f"{one.runs} of {one.of}", _described(one)]
        for one in problems(study.results)
    ]
    if not rows:
        return section("Stability", el("p", "No finding and no failure in any run."), id_="stability")
    found = table(["variant", "finding", "runs", "what happened"], rows)
    return section("Stability", found, _log_ends(study), id_="stability")


def _log_ends(study: Study) -> list[Html]:
    """The end of the log of each failed run, folded away."""
    return [
        el("details", el("summary", f"{text.plain(run.result.run_id, 80)}: the end of {name}"), preformatted(lines))
        for run, (name, lines) in failed_logs(study.runs)
    ]


def _described(problem: Problem) -> list[Html]:
    parts = [el("p", description) for description in problem.descriptions]
    for title, items in (("Possible causes", problem.causes), ("Remedies", problem.remedies)):
        if items:
            parts.append(el("p", f"{title}: {'; '.join(items)}.", class_="note"))
    return parts


def run(study: Study) -> Html | None:
    """A single run as a list of facts."""
    if not study.is_single:
        return None
    result = study.runs[0][1].result
    facts = el("dl", ([el("dt", name), el("dd", value)] for name, value in run_facts(result)))
    head = el("p", "The run", class_="kicker"), el("h2", headline(result), class_="headline")
    return el("section", *head, facts, id="run")


def runs(study: Study) -> Html | None:
    """Every run with all its numbers."""
    if study.is_single:
        return None
    metrics = list(dict.fromkeys(name for _, run in study.runs for name in run.result.final))[:6]
    colour = colours(study.modes)
    rows = []
    for name, run in study.runs[:_MOST_RUNS]:
        result, target = run.result, run.result.target
        rows.append([
            chip(name, colour[name]),
            result.seed,
            result.status if result.status == "succeeded" else f"{result.status}: {result.stop_reason or ''}",
            text.MISSING if target is None else text.seconds(target.seconds) if target.reached else "missed",
            text.seconds(result.seconds.spent),
            *(text.MISSING if count is None else f"{count:,}" for count in (result.steps, result.samples)),
            text.number(result.throughput.samples_per_s),
            *(text.number(result.final.get(metric)) for metric in metrics),
            text.number(result.staleness.mean, 3) if result.staleness else text.MISSING,
            result.attempts,
            _linked(study, run),
        ])  # fmt: skip
    head = ["variant", "seed", "ended", "to target", "elapsed", "steps", "samples", "samples/s"]
    head += [*metrics, "staleness", "attempts", "run"]
    left_out = len(study.runs) - len(rows)
    return section(
        "Runs",
        table(head, rows, numeric=(1, *range(3, len(head) - 1)), sortable=True),
        el("p", f"{left_out} more are in comparison.json.", class_="note") if left_out else None,
        id_="runs",
    )


def _linked(study: Study, run: StoredRun) -> Child:
    """The run's name, as a link to its folder if the page lies beside it."""
    if study.comparison is None or run.path is None:
        return run.result.run_id
    return el("a", text.plain(run.result.run_id, 80), href=f"runs/{quote(run.path.name, safe='')}/")
