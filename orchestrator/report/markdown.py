"""report.md: the verdict and the numbers, for a repository, an issue or an email."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator import text
from orchestrator.report.conclusions import headline
from orchestrator.report.conditions import conditions
from orchestrator.report.facts import run_facts, target_text
from orchestrator.report.findings import failed_logs, problems
from orchestrator.report.repeating import command, environment_rows, spec_text
from orchestrator.report.spending import NOTE, spending_table
from orchestrator.report.standing import efficiency_text, standings
from orchestrator.report.study import Study

_SPECIAL = re.compile(r"[\\`*<|~$&#]|(?<!\w)_|_(?!\w)|\](?=[(\[:])")
"""Characters of emphasis, code, HTML, tables, formulas, issue references, and the end of a link text."""
_LEADING = re.compile(r"^(?:[>+=-]|\d+(?=[.)]))")
"""Beginnings of lists and quotations."""
_LINKS = re.compile(r"(?i)(://|www\.|@|:(?=[a-z0-9_+-]+:))")
"""Text that viewers turn into links, mentions or emoji."""


def markdown(study: Study, charts: Sequence[str] = ()) -> str:
    """The report as GitHub-flavoured Markdown; `charts` are paths of images, relative to it."""
    parts = [f"# {escape(study.job)}: {', '.join(map(escape, study.modes))}", *_verdict(study)]
    parts += [_standing(study), *(f"![{_chart_name(path)}]({path})" for path in charts)]
    if rows := conditions(study):
        parts += ["## Conditions", table_text(["condition", "value"], rows)]
    parts += ["## Where the time went", _spending(study), "## Stability", _stability(study), *_log_ends(study)]
    parts += [] if study.is_single else ["## Runs", _runs(study)]
    parts += ["## How to repeat it", *_spec(study), _environment(study)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(value: object, longest: int = 400) -> str:
    """One line of text, escaped so that nothing in it is markup, a table border, a link or a mention."""
    visible = _SPECIAL.sub(r"\\\g<0>", text.plain(value, longest))
    return _LINKS.sub(lambda match: "".join(f"&#{ord(c)};" if c in ":.@" else c for c in match[0]), visible)


def _verdict(study: Study) -> list[str]:
    if study.is_single:
        result = study.runs[0][1].result
        return ["## The run", f"**{escape(headline(result))}**", table_text(["fact", "value"], run_facts(result))]
    if study.comparison is None:
        return []
    found = study.comparison.verdict
    parts = []
    if (worth := found.distributing) is not None:
        parts.append(f"Worth distributing? {escape(worth.answer)} {escape(efficiency_text(worth))}".rstrip())
    parts += [f"**{escape(found.headline)}**", escape(found.numbers), f"Confidence: {found.confidence}."]
    for title, items in (
        ("## Mind", found.caveats),
        ("## Why", found.reasons),
        ("## What to try next", found.next_steps),
    ):
        if items:
            parts += [title, "\n".join(f"- {_item(item)}" for item in items)]
    return [*parts, "## At a glance"]


def _item(value: str) -> str:
    """An escaped list item that begins no other list or quotation."""
    return _LEADING.sub(lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", escape(value))


def _standing(study: Study) -> str:
    if study.comparison is None:
        return ""
    table = standings(study.results, study.comparison)
    columns = {
        "name": "variant",
        "runs": "runs",
        "reached": "reached target",
        "time": f"median {table.time_title}",
        "speed": table.speed_title,
        "quality": table.quality_title,
        "rate": "samples/s",
        "staleness": "staleness",
        "jitter": "jitter",
        "cost": "cost",
        "per_update": "samples per update",
        "updates": "updates",
        "learning_rate": "learning rate",
        "noise": "gradient noise scale (samples)",
        "findings": "findings",
    }
    shown = {key: title for key, title in columns.items() if table.used(key)}
    return table_text(list(shown.values()), [[getattr(line, key) for key in shown] for line in table.lines])


def _spending(study: Study) -> str:
    head, rows = spending_table(study.results)
    return f"{table_text(head, rows)}\n\n{NOTE}" if rows else "It was not measured."


def _stability(study: Study) -> str:
    rows = [
        [one.variant, one.kind, f"{one.runs} of {one.of}", "; ".join(one.descriptions), "; ".join(one.remedies)]
        for one in problems(study.results)
    ]
    if not rows:
        return "No finding and no failure in any run."
    return table_text(["variant", "finding", "runs", "what happened", "remedies"], rows)


def _log_ends(study: Study) -> list[str]:
    """The last lines of the logs of runs that failed, as code."""
    parts = []
    for run, (name, lines) in failed_logs(study.runs):
        code = "\n".join(f"    {text.plain(line)}" for line in lines.splitlines())
        parts += [f"{escape(run.result.run_id)}: the end of {escape(name)}", code]
    return parts


def _runs(study: Study) -> str:
    rows = []
    for name, run in study.runs:
        result = run.result
        rows.append(
            [
                name,
                result.seed,
                result.status,
                target_text(result),
                text.seconds(result.seconds.spent),
                text.number(result.throughput.samples_per_s),
                ", ".join(f"{metric} {text.number(value)}" for metric, value in result.final.items()),
                result.run_id,
            ]
        )
    return table_text(["variant", "seed", "ended", "target", "elapsed", "samples/s", "final", "run"], rows)


def _spec(study: Study) -> list[str]:
    spec = spec_text(study, whole=False)
    if spec is None:
        return ["The spec was not recorded."]
    lines = "\n".join(f"    {text.plain(line)}" for line in spec.splitlines())
    return [f"Save this as `spec.yaml`, in which defaults are left out, and run `{command(study)}`:", lines]


def _environment(study: Study) -> str:
    return table_text(["environment", "value"], environment_rows([run for _, run in study.runs]))


def table_text(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    """A table, its cells escaped."""
    lines = [head, *rows]
    texts = [f"| {' | '.join(escape(cell) for cell in line)} |" for line in lines]
    return "\n".join([texts[0], f"|{'---|' * len(head)}", *texts[1:]])


def _chart_name(path: str) -> str:
    return escape(path.rpartition("/")[2].rpartition(".")[0].replace("-", " "))
