"""Summaries of a run's metrics.db for its `result.json`."""
# ruff: noqa: S608 - queries are composed of constants only

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any

from orchestrator.results import FailureRecord, Staleness, Timing, Utilization, WorkerTime
from orchestrator.store.metrics import Metrics
from orchestrator.text import is_number
from orchestrator.verdict.stragglers import straggler_index
from workers.modes.traits import ModeTraits


@contextmanager
def _reading(run: Path) -> Iterator[Metrics]:
    metrics = Metrics(run)
    try:
        yield metrics
    finally:
        metrics.close()


def failures(run: Path) -> list[FailureRecord]:
    """Failures recorded so far: for a run that is resumed, those under earlier drivers."""
    with _reading(run) as metrics:
        rows = metrics.rows("SELECT attempt, task, detail FROM events WHERE kind = 'failure' ORDER BY time")
    found = []
    for attempt, task, detail in rows:
        fields = json.loads(detail)
        log = f"logs/{task.replace(':', '-')}.log"
        record = FailureRecord(task=task, kind=fields["failure"], attempt=attempt, summary=fields["summary"], log=log)
        found.append(record)
    return found


def last_step(run: Path) -> int:
    """The highest step recorded so far; 0 if there is none."""
    with _reading(run) as metrics:
        return int(metrics.column("SELECT MAX(step) FROM steps")[0] or 0)


def modes(run: Path) -> list[str]:
    """The mode of each leg, as far as it was recorded."""
    with _reading(run) as metrics:
        rows = metrics.rows("SELECT detail FROM events WHERE kind = 'leg_started' ORDER BY rowid")
    found = [json.loads(str(detail)).get("mode") for (detail,) in rows]
    return [mode for mode in found if isinstance(mode, str)]


def switches(run: Path) -> list[dict[str, Any]]:
    """The changes of the run's mode on the way that are part of its mode, in order."""
    with _reading(run) as metrics:
        rows = metrics.column("SELECT detail FROM events WHERE kind = 'switched' ORDER BY rowid")
    found = [json.loads(str(detail)) for detail in rows]
    return [{"of": str(one["of"]), "step": int(one["step"]), "stage": int(one["stage"])} for one in found]


def first_learning_rate(run: Path) -> float | None:
    """The learning rate at which the run began; None if it never did."""
    return _of_first_leg(run, "learning_rate")


def samples_per_epoch(run: Path) -> int | None:
    """Samples in one pass over the run's training data; None if they were not counted."""
    counted = _of_first_leg(run, "samples_per_epoch")
    return int(counted) if counted is not None and counted >= 1 else None


def _of_first_leg(run: Path, name: str) -> float | None:
    with _reading(run) as metrics:
        rows = metrics.rows("SELECT detail FROM events WHERE kind = 'leg_started' ORDER BY time LIMIT 1")
    try:
        stored = json.loads(str(rows[0][0])) if rows else None
    except ValueError:
        return None
    value = stored.get(name) if isinstance(stored, dict) else None
    return float(value) if is_number(value) else None


def final_loss(run: Path) -> float | None:
    """Mean training loss over the last 1 % of the steps: NaN if one of them is NaN, None without steps."""
    with _reading(run) as metrics:
        losses = metrics.column(
            "SELECT loss FROM steps ORDER BY step DESC, attempt DESC LIMIT (SELECT MAX(1, COUNT(*) / 100) FROM steps)"
        )
    # SQLite stores NaN as null. A run that diverged must not report the last finite loss.
    return fmean(math.nan if loss is None else loss for loss in losses) if losses else None


def staleness(run: Path) -> Staleness | None:
    """Staleness over all asynchronous updates; None for a synchronous run."""
    known = "FROM steps WHERE staleness IS NOT NULL"
    with _reading(run) as metrics:
        values = metrics.column(f"SELECT staleness {known} ORDER BY 1")
        workers = metrics.rows(f"SELECT worker, AVG(staleness) {known} GROUP BY worker")
        counts = metrics.rows(f"SELECT CAST(ROUND(staleness) AS INT), COUNT(*) {known} GROUP BY 1 ORDER BY 1")
    if not values:
        return None

    def quantile(q: float) -> float:
        return float(values[min(len(values) - 1, int(q * len(values)))])

    return Staleness(
        mean=fmean(values),
        p50=quantile(0.5),
        p95=quantile(0.95),
        max=float(values[-1]),
        histogram={str(value): count for value, count in counts},
        by_worker={f"worker:{worker}": mean for worker, mean in workers},
    )


def utilization(run: Path) -> Utilization:
    """Mean utilization of each task since the last leg started; None, for GPUs with the reason, if not measured."""
    with _reading(run) as metrics:
        since = "WHERE time >= (SELECT MAX(time) FROM events WHERE kind = 'leg_started') GROUP BY task"
        hosts = metrics.rows(f"SELECT task, AVG(cpu_percent), AVG(rss_bytes) FROM host_samples {since}")
        gpus = metrics.rows(f"SELECT task, AVG(utilization_percent) FROM gpu_samples {since}")
        notes = metrics.column("SELECT DISTINCT value FROM host_samples, json_each(notes) WHERE value LIKE 'GPU:%'")
    return Utilization(
        cpu_percent={task: cpu for task, cpu, _ in hosts},
        rss_bytes={task: None if rss is None else int(rss) for task, _, rss in hosts},
        gpu_percent=dict(gpus) or None,
        gpu_note="; ".join(notes) or None,
    )


def timing(run: Path, mode: ModeTraits, clock: float | None) -> Timing | None:
    """Shares of each worker's training time, `clock` seconds; None if no call was timed.

    A worker waits for others while it spends more time in collectives than the worker that spends least there.
    """
    with _reading(run) as metrics:
        # If a value is unknown for one call, its sum is unknown too.
        rows = metrics.rows(
            "SELECT worker, SUM(steps), "
            "CASE WHEN COUNT(busy) = COUNT(*) THEN SUM(busy) END, "
            "CASE WHEN COUNT(input_wait) = COUNT(*) THEN SUM(input_wait) END, "
            "CASE WHEN COUNT(communication) = COUNT(*) THEN SUM(communication) END, SUM(snapshot) "
            "FROM timings GROUP BY worker ORDER BY worker"
        )
    if not rows or not clock:
        return None
    communication = {worker: spent / steps for worker, steps, _, _, spent, _ in rows if spent is not None}
    least = min(communication.values(), default=None)
    workers: dict[str, WorkerTime] = {}
    step_seconds: dict[str, float] = {}
    for worker, steps, busy, input_wait, in_collectives, snapshot in rows:
        task = f"worker:{worker}"
        peer_wait = 0.0 if in_collectives is None or least is None else in_collectives - least * steps
        active = None if busy is None or input_wait is None else busy - input_wait - peer_wait
        if busy is not None and (in_collectives is not None or not mode.lockstep):
            step_seconds[task] = (busy - (in_collectives or 0.0)) / steps
        known = active is not None and in_collectives is not None
        workers[task] = WorkerTime(
            input_wait=_share(input_wait, clock),
            compute=_share(busy - input_wait - in_collectives, clock) if known else None,
            communication=_share(in_collectives, clock),
            snapshot=None if mode.chief else _share(snapshot, clock),
            idle=None if active is None else _share(clock - active - (0.0 if mode.chief else snapshot), clock),
            step_seconds=step_seconds.get(task),
        )
    if mode.chief:
        workers[str(mode.leader)] = WorkerTime(snapshot=_share(sum(row[-1] for row in rows), clock))
    return Timing(workers=workers, straggler_index=straggler_index(step_seconds))


def _share(seconds: float | None, clock: float) -> float | None:
    return None if seconds is None else min(1.0, max(0.0, seconds / clock))
