"""report.md: the verdict and the numbers, for a repository, an issue or a mail."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator import text
from orchestrator.report.bars import PHASES, phases
from orchestrator.report.findings import sightings
from orchestrator.report.repeating import command, environment_rows, spec_text
from orchestrator.report.standing import standings
from orchestrator.report.study import Study
from orchestrator.report.terminal import run_facts, target_text

_SPECIAL = re.compile(r"[\\`*<|~$&#]|(?<!\w)_|_(?!\w)|\](?=[(\[:])")
"""Emphasis, code, HTML, tables, formulas and references to issues; the end of a link's text."""
_LEADING = re.compile(r"^(?:[>+=-]|\d+(?=[.)]))")
_LINKS = re.compile(r"(?i)(://|www\.|@|:(?=[a-z0-9_+-]+:))")
"""What viewers make links, mentions or pictures of by themselves."""


def markdown(study: Study, charts: Sequence[str] = ()) -> str:
    """The report as GitHub-flavoured Markdown; `charts` are paths of pictures, relative to it."""
    parts = [f"# {escape(study.job)}: {', '.join(map(escape, study.modes))}", *_verdict(study)]
    parts += [_standing(study), *(f"![{_chart_name(path)}]({path})" for path in charts)]
    parts += ["## Phases", _phases(study), "## Stability", _stability(study), "## Runs", _runs(study)]
    parts += ["## To repeat it", *_spec(study), _environment(study)]
    return "\n\n".join(part for part in parts if part) + "\n"


def escape(value: object, longest: int = 400) -> str:
    """One line in which nothing is markup, a table's border, a link or a mention."""
    visible = _SPECIAL.sub(r"\\\g<0>", text.plain(value, longest))
    return _LINKS.sub(lambda match: "".join(f"&#{ord(c)};" if c in ":.@" else c for c in match[0]), visible)


def _verdict(study: Study) -> list[str]:
    if study.comparison is None:
        return []
    found = study.comparison.verdict
    parts = [f"**{escape(found.headline)}**", f"Confidence: {found.confidence}."]
    for title, items in (("## Why", found.reasons), ("## What to try next", found.next_steps)):
        if items:
            parts += [title, "\n".join(f"- {_item(item)}" for item in items)]
    return [*parts, "## At a glance"]


def _item(value: str) -> str:
    """A list's item, which must not begin another list or a quotation."""
    return _LEADING.sub(lambda match: f"&#{ord(match[0][0])};{match[0][1:]}", escape(value))


def _standing(study: Study) -> str:
    if study.comparison is None:
        return ""
    table = standings(study.results, study.comparison)
    columns = {
        "name": "mode",
        "runs": "runs",
        "reached": "reached target",
        "time": f"median {table.time_title}",
        "speed": table.speed_title,
        "quality": table.quality_title,
        "rate": "samples/s",
        "staleness": "staleness",
        "jitter": "jitter",
        "cost": "cost",
        "findings": "findings",
    }
    shown = {key: title for key, title in columns.items() if table.used(key)}
    return _table(list(shown.values()), [[getattr(line, key) for key in shown] for line in table.lines])


def _phases(study: Study) -> str:
    rows = [
        [name, *(text.seconds(phases(results)[phase]) for phase in PHASES)] for name, results in study.results.items()
    ]
    note = "Means; launch and first step are paid once per variant and are not on the training clock."
    return f"{_table(['mode', *PHASES], rows)}\n\n{note}"


def _stability(study: Study) -> str:
    rows = [
        [seen.variant, seen.kind, f"{seen.runs} of {seen.of}", "; ".join(seen.seen), "; ".join(seen.remedies)]
        for seen in sightings(study.results)
    ]
    if not rows:
        return "No finding and no failure in any run."
    return _table(["mode", "finding", "runs", "what was seen", "remedies"], rows)


def _runs(study: Study) -> str:
    if len(study.runs) == 1:
        return _table(["fact", "value"], run_facts(study.runs[0][1].result))
    rows = []
    for name, run in study.runs:
        result = run.result
        rows.append(
            [
                name,
                result.seed,
                result.status,
                target_text(result),
                text.seconds(result.seconds.training),
                text.number(result.throughput.samples_per_s),
                ", ".join(f"{metric} {text.number(value)}" for metric, value in result.final.items()),
                result.run_id,
            ]
        )
    return _table(["mode", "seed", "ended", "target", "training", "samples/s", "final", "run"], rows)


def _spec(study: Study) -> list[str]:
    spec = spec_text(study)
    if spec is None:
        return ["The spec was not recorded."]
    lines = "\n".join(f"    {text.plain(line)}" for line in spec.splitlines())
    return [f"Save this as `spec.yaml` and run `{command(study)}`:", lines]


def _environment(study: Study) -> str:
    return _table(["environment", "value"], environment_rows([run for _, run in study.runs]))


def _table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, *rows]
    texts = [f"| {' | '.join(escape(cell) for cell in line)} |" for line in lines]
    return "\n".join([texts[0], f"|{'---|' * len(head)}", *texts[1:]])


def _chart_name(path: str) -> str:
    return escape(path.rpartition("/")[2].rpartition(".")[0].replace("-", " "))
