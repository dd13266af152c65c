"""Chart of the processor, memory, network and GPU utilisation of the tasks, one row per variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.report.figures import Chart, Choice, Figure, label, short
from orchestrator.report.marks import absences, split
from orchestrator.report.palette import NEUTRAL
from orchestrator.report.series import Curve, Usage, usage
from orchestrator.report.stored import StoredRun
from orchestrator.report.study import Study

_MOST_NUMBERS = 50_000
_POINTS, _ENOUGH_POINTS, _FEWEST_POINTS = 200, 40, 8
_WORKERS = ("#2f9fb8", "#a866bd", "#5c9e4c", "#c9605c", "#b58a2a", "#6478cf")
_OTHERS = {"chief": "dash", "ps": "dot", "evaluator": "dashdot"}
QUANTITIES = (
    ("cpu_percent", "Processor", "% of one core"),
    ("memory_gib", "Memory", "GiB"),
    ("network_mib_per_s", "Network", "MiB/s"),
    ("gpu_percent", "GPU", "% busy"),
)


def usage_chart(study: Study) -> Chart:
    """Timelines of the i-th run of every variant, for each i as far as they fit."""
    rounds = max((len(runs) for runs in study.modes.values()), default=0)
    taken, points = _affordable(study, rounds)
    measured = [{name: _usage(runs, i, points) for name, runs in study.modes.items()} for i in range(taken)]
    kinds = [kind for kind in QUANTITIES if any(getattr(u, kind[0]) for row in measured for u in row.values() if u)]
    figures: dict[str, Figure] = {}
    for i, row in enumerate(measured):
        for key, _, unit in kinds:
            lines = {name: getattr(used, key) if used else {} for name, used in row.items()}
            figures["|".join(_keys(i, key, taken, len(kinds)))] = _rows(lines, unit)
    choices = []
    if taken > 1:
        choices.append(Choice("run", [(str(i), _seeds(study, i)) for i in range(taken)]))
    if len(kinds) > 1:
        choices.append(Choice("of", [(key, title) for key, title, _ in kinds]))
    left_out = f" The first {taken} of {rounds} runs are shown." if taken < rounds else ""
    return Chart(
        "Timelines",
        figures,
        choices,
        height=70 + 170 * len(study.modes),
        caption=f"Each line is a task with its process tree; 100 % is one core. In a gap the task was away.{left_out}",
        describes="Utilisation of every task over time",
    )


def usage_notes(study: Study) -> list[str]:
    """Distinct reasons why something was not measured."""
    notes = {note: None for _, run in study.runs for note in usage(run, 2).notes}
    return list(notes)


def _usage(runs: Sequence[StoredRun], index: int, points: int) -> Usage | None:
    return usage(runs[index], points) if index < len(runs) else None


def _affordable(study: Study, rounds: int) -> tuple[int, int]:
    """Number of runs of each variant that can be shown, and of points per line."""
    lines = sum(sum(runs[0].result.tasks.values()) for runs in study.modes.values() if runs) * len(QUANTITIES) * 2
    taken = max(1, min(rounds, _MOST_NUMBERS // max(1, lines * _ENOUGH_POINTS)))
    return taken, max(_FEWEST_POINTS, min(_POINTS, _MOST_NUMBERS // max(1, lines * taken)))


def _keys(index: int, kind: str, rounds: int, kinds: int) -> list[str]:
    return [key for key, used in ((str(index), rounds > 1), (kind, kinds > 1)) if used]


def _seeds(study: Study, index: int) -> str:
    seeds = dict.fromkeys(runs[index].result.seed for runs in study.modes.values() if index < len(runs))
    return f"seed {' / '.join(map(str, seeds))}"


def _rows(lines: Mapping[str, Mapping[str, Curve]], unit: str) -> Figure:
    """One row per variant, all on the same scales."""
    layout: dict[str, Any] = {
        "margin": {"l": 8, "r": 12, "t": 8, "b": 8},
        "legend": {"orientation": "h", "x": 0, "y": 1.04, "yanchor": "bottom"},
        "showlegend": True,
        "hovermode": "x unified",
        "annotations": [],
    }
    data: list[dict[str, Any]] = []
    known: set[str] = set()
    height = 1 / max(1, len(lines))
    for row, (name, tasks) in enumerate(lines.items()):
        suffix = str(row + 1) if row else ""
        top = 1 - row * height
        last = row == len(lines) - 1
        layout["yaxis" + suffix] = {
            "domain": [max(0.0, top - height * 0.8), max(0.0, top - height * 0.14)],
            "title": {"text": unit},
            "rangemode": "tozero",
            "zeroline": False,
            "automargin": True,
            "nticks": 4,
            **({"matches": "y"} if row else {}),
        }
        layout["xaxis" + suffix] = {
            "anchor": "y" + suffix,
            "title": {"text": "seconds since training began" if last else ""},
            "zeroline": False,
            "automargin": True,
            **({"matches": "x"} if row else {}),
        }
        layout["annotations"].append(_strip_title(name, top - height * 0.12, bool(tasks)))
        for task in sorted(tasks, key=_order):
            data.append(_line(task, tasks[task], suffix, first=task not in known))
            known.add(task)
    return {"data": data, "layout": layout}


def _order(task: str) -> tuple[int, str, int, str]:
    kind, number = _parts(task)
    ranks = ["worker", *_OTHERS]
    return ranks.index(kind) if kind in ranks else len(ranks), kind, number, task


def _parts(task: str) -> tuple[str, int]:
    """Type and index of the task: `worker:1 NVIDIA H100` gives worker and 1."""
    kind, _, rest = task.partition(":")
    number = rest.partition(" ")[0]
    return kind, int(number) if number.isdecimal() and len(number) < 9 else 0


def _line(task: str, curve: Curve, suffix: str, *, first: bool) -> dict[str, Any]:
    kind, index = _parts(task)
    x, y = split(curve, absences(curve))
    is_worker = kind == "worker"
    return {
        "type": "scatter",
        "mode": "lines" if len(curve.x) > 1 else "markers",
        "name": label(task, 48),
        "legendgroup": label(task, 48),
        "showlegend": first,
        "x": short(x),
        "y": short(y),
        "xaxis": "x" + suffix,
        "yaxis": "y" + suffix,
        "line": {
            "color": _WORKERS[index % len(_WORKERS)] if is_worker else NEUTRAL,
            "width": 1.8 if is_worker else 1.4,
            "dash": "solid" if is_worker else _OTHERS.get(kind, "dot"),
        },
        "hovertemplate": "%{y:.3g}",
    }


def _strip_title(name: str, y: float, measured: bool) -> dict[str, Any]:
    return {
        "text": f"<b>{label(name)}</b>" + ("" if measured else ": not measured"),
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": y,
        "yref": "paper",
        "yanchor": "bottom",
        "showarrow": False,
    }
