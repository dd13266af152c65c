"""What a run measured, as `result.json` tells it: read back from its metrics.db."""
# ruff: noqa: S608 - every word of the queries is our own

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

from orchestrator.results import FailureRecord, Staleness, Timing, Utilization, WorkerTime
from orchestrator.store.metrics import Metrics
from orchestrator.verdict.stragglers import straggler_index
from workers.modes.registry import ModeTraits


@contextmanager
def _reading(run: Path) -> Iterator[Metrics]:
    metrics = Metrics(run)
    try:
        yield metrics
    finally:
        metrics.close()


def failures(run: Path) -> list[FailureRecord]:
    """What the run met under earlier drivers."""
    with _reading(run) as metrics:
        rows = metrics.rows("SELECT attempt, task, detail FROM events WHERE kind = 'failure' ORDER BY time")
    found = []
    for attempt, task, detail in rows:
        told = json.loads(detail)
        log = f"logs/{task.replace(':', '-')}.log"
        found.append(FailureRecord(task=task, kind=told["failure"], attempt=attempt, summary=told["summary"], log=log))
    return found


def last_step(run: Path) -> int:
    """The furthest step that was reported under earlier drivers; 0 without any."""
    with _reading(run) as metrics:
        return int(metrics.column("SELECT MAX(step) FROM steps")[0] or 0)


def final_loss(run: Path) -> float | None:
    """Mean training loss of the last 1 % of the steps: NaN if one of them was; None without steps."""
    with _reading(run) as metrics:
        losses = metrics.column(
            "SELECT loss FROM steps ORDER BY step DESC, attempt DESC LIMIT (SELECT MAX(1, COUNT(*) / 100) FROM steps)"
        )
    # SQLite keeps NaN as null. A run that diverged must not show the last loss it had before.
    return fmean(math.nan if loss is None else loss for loss in losses) if losses else None


def staleness(run: Path) -> Staleness | None:
    """Of every async update in the run's store; None for sync."""
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
    """Means by task over the run's samples; null where nothing could be measured, with the reason for GPUs."""
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


def timing(run: Path, mode: ModeTraits) -> Timing | None:
    """Where each worker's training time went; None where no call was timed.

    What a worker spends in collectives beyond the worker that spent least there, it spent waiting for others.
    """
    with _reading(run) as metrics:
        # A sum with a null in it is null: what is not known of one call is not known of all.
        rows = metrics.rows(
            "SELECT worker, SUM(steps), "
            "CASE WHEN COUNT(busy) = COUNT(*) THEN SUM(busy) END, "
            "CASE WHEN COUNT(input_wait) = COUNT(*) THEN SUM(input_wait) END, "
            "CASE WHEN COUNT(communication) = COUNT(*) THEN SUM(communication) END, SUM(snapshot) "
            "FROM timings GROUP BY worker ORDER BY worker"
        )
        clock = metrics.column("SELECT MAX(clock) FROM timings")[0]
    if not rows or not clock:
        return None
    communication = {worker: spent / steps for worker, steps, _, _, spent, _ in rows if spent is not None}
    least = min(communication.values(), default=None)
    workers: dict[str, WorkerTime] = {}
    own: dict[str, float] = {}
    for worker, steps, busy, waited, met, snapshot in rows:
        task = f"worker:{worker}"
        for_others = 0.0 if met is None or least is None else met - least * steps
        parts = None if busy is None or waited is None else busy - waited - for_others
        if busy is not None and (met is not None or not mode.lockstep):
            own[task] = (busy - (met or 0.0)) / steps
        workers[task] = WorkerTime(
            input_wait=_share(waited, clock),
            compute=None if parts is None or met is None else _share(busy - waited - met, clock),
            communication=_share(met, clock),
            snapshot=None if mode.chief else _share(snapshot, clock),
            idle=None if parts is None else _share(clock - parts - (0.0 if mode.chief else snapshot), clock),
            step_seconds=own.get(task),
        )
    if mode.chief:
        workers[str(mode.leader)] = WorkerTime(snapshot=_share(sum(row[-1] for row in rows), clock))
    return Timing(workers=workers, straggler_index=straggler_index(own))


def _share(seconds: float | None, clock: float) -> float | None:
    return None if seconds is None else min(1.0, max(0.0, seconds / clock))
