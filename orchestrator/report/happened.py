"""What happened on the way of a run: restarts, findings, workers that came back, checkpoints and an early end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from orchestrator.report.stored import StoredRun
from orchestrator.text import is_number, plain
from workers.messages import SWITCHED

Kind = Literal["restart", "change", "finding", "worker", "checkpoint", "end"]
_KINDS = (
    "driver",
    "failure",
    "replace",
    "rejoined",
    "goes_on",
    "rollback",
    "resized",
    "switched",
    "finding",
    "checkpoint",
    "leg_finished",
)
_DRIVER_ENDED = "its driver ended"
_MOST = 80
"""Most marks of a run: beyond, its checkpoints are left out, and then the latest."""


class Mark(NamedTuple):
    """One event, at a number of updates and seconds of the run's clock."""

    kind: Kind
    step: int
    clock: float
    text: str


class Happened(NamedTuple):
    marks: tuple[Mark, ...]
    breaks: tuple[float, ...]
    """Seconds of the run's clock at which a new attempt goes on: until then nothing was trained."""


def happened(run: StoredRun) -> Happened:
    """The marks and gaps of a run, in order of time."""
    marks: list[Mark] = []
    breaks: list[float] = []
    cause = _DRIVER_ENDED
    switched: Mapping[str, Any] | None = None
    query = f"SELECT kind, task, detail FROM events WHERE kind IN ({','.join('?' * len(_KINDS))}) ORDER BY time"  # noqa: S608 - placeholders
    for kind, task, text in run.rows(query, *_KINDS):
        detail = _mapping(text)
        if kind == "driver":
            cause, switched = _DRIVER_ENDED, None
            continue
        if kind == "failure":
            cause = f"{task}: {plain(detail.get('summary', ''), 120)}"
            continue
        if kind == "switched":
            switched = detail
            continue
        step = _number(detail.get("step"))
        clock = _number(detail.get("clock"))
        if kind == "goes_on" and clock is not None:
            breaks.append(clock)
        described = _described(str(kind), str(task), detail, cause)
        if kind == "goes_on" and switched is not None:
            described, switched = ("change", _change(switched, clock)), None
        if described is None:
            continue
        if step is None:
            step = _last_step(run, clock) if clock is not None or kind == "leg_finished" else None
        clock = clock if clock is not None else _clock_at(run, step)
        if step is not None and clock is not None:
            marks.append(Mark(described[0], int(step), clock, described[1]))
    if len(marks) > _MOST:
        marks = [mark for mark in marks if mark.kind != "checkpoint"][:_MOST]
    return Happened(tuple(marks), tuple(breaks))


def _described(kind: str, task: str, detail: Mapping[str, Any], cause: str) -> tuple[Kind, str] | None:
    match kind:
        case "goes_on":
            return "restart", f"training continued here, after {cause}"
        case "rollback":
            return "restart", f"rolled back to step {detail.get('step')}"
        case "rejoined":
            return "worker", f"{task} is back"
        case "finding":
            return "finding", plain(f"{detail.get('finding')}: {detail.get('symptom')}", 160)
        case "checkpoint":
            return "checkpoint", f"checkpoint at step {detail.get('step')}"
        case "leg_finished" if detail.get("stopped") not in (None, SWITCHED):
            return "end", plain(f"ended early: {detail['stopped']}", 120)
    return None


def _change(detail: Mapping[str, Any], clock: float | None) -> str:
    """What is said of a change of the mode, after which training went on at `clock`."""
    since = _number(detail.get("clock"))
    took = "" if since is None or clock is None else f", which took {clock - since:.1f} s"
    return plain(f"switched to {detail.get('to')} at step {detail.get('step')}{took}", 120)


def _clock_at(run: StoredRun, step: float | None) -> float | None:
    rows = run.rows("SELECT MIN(clock) FROM steps WHERE step >= ?", step) if step is not None else []
    return _number(rows[0][0]) if rows else None


def _last_step(run: StoredRun, clock: float | None) -> float | None:
    query = "SELECT MAX(step) FROM steps"
    rows = run.rows(query) if clock is None else run.rows(f"{query} WHERE clock <= ?", clock)
    return _number(rows[0][0]) if rows else None


def _number(value: object) -> float | None:
    return float(value) if is_number(value) else None


def _mapping(text: object) -> Mapping[str, Any]:
    try:
        read = json.loads(str(text))
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
