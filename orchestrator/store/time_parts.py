"""The parts of a run's elapsed seconds, for its `result.json`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import NamedTuple

from orchestrator.results import Parts
from orchestrator.store.metrics import Metrics
from workers.messages import CALLBACKS, CHECKPOINT, RECOVERY, VALIDATION, Spent

APART = (CALLBACKS, VALIDATION, CHECKPOINT, RECOVERY)
"""Parts that are no training steps."""


class InCalls(NamedTuple):
    """Seconds that a worker spent in its calls, mean over the workers; None if not measured in every call."""

    compute: float | None = None
    exchange: float | None = None
    input: float | None = None


def spent(run: Path) -> Spent:
    """What of the run's clock was no training step, as last recorded: with a checkpoint, or when a leg finished."""
    metrics = Metrics(run)
    try:
        details = metrics.column(
            "SELECT detail FROM events WHERE kind IN ('checkpoint', 'leg_finished') ORDER BY rowid DESC LIMIT 1"
        )
    finally:
        metrics.close()
    recorded = json.loads(details[0]) if details else {}
    return {part: float(recorded[part]) for part in APART if part in recorded}


def in_calls(run: Path | None) -> InCalls:
    """How the workers spent their calls. A worker's time in an exchange includes its waits for slower workers."""
    if run is None:
        return InCalls()
    metrics = Metrics(run)
    try:
        workers, *sums = metrics.rows(
            "SELECT COUNT(DISTINCT worker), CASE WHEN COUNT(busy) = COUNT(*) THEN SUM(busy) END, "
            "CASE WHEN COUNT(communication) = COUNT(*) THEN SUM(communication) END, "
            "CASE WHEN COUNT(input_wait) = COUNT(*) THEN SUM(input_wait) END FROM timings"
        )[0]
    finally:
        metrics.close()
    busy, exchange, waited = (None if value is None or not workers else value / workers for value in sums)
    if busy is None or exchange is None or waited is None:
        return InCalls(exchange=exchange, input=waited)
    return InCalls(max(0.0, busy - exchange - waited), exchange, waited)


def parts(elapsed: float | None, spent: Spent, calls: InCalls) -> Parts:
    """The parts of `elapsed`, which add up to it.

    Asynchronous workers go on with their calls while the chief runs callbacks. The training waits for these, so they
    count first.
    """
    if elapsed is None:
        return Parts()
    apart = {part: spent.get(part, 0.0) for part in APART}
    known = {part: seconds for part, seconds in calls._asdict().items() if seconds is not None}
    rest = max(0.0, elapsed - math.fsum(apart.values()))
    most = math.fsum(known.values())
    if most > rest:
        known = {part: seconds * rest / most for part, seconds in known.items()}
    return Parts(**apart, **known, other=max(0.0, rest - math.fsum(known.values())))
