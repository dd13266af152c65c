"""The history of a run, read from its folder, for the checker."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.store.metrics import Metrics


@dataclass(frozen=True)
class Event:
    time: float
    """Seconds since the epoch."""
    attempt: int
    kind: str
    task: str | None
    detail: dict[str, Any]


@dataclass(frozen=True)
class History:
    """Events, steps and clocks of one run."""

    events: tuple[Event, ...]
    steps: dict[int, list[int]]
    """Numbers of the updates that each attempt reported, sorted."""
    clocks: tuple[float, ...]
    """Training clocks of all calls, in seconds, sorted."""

    @classmethod
    def read(cls, run: Path) -> History:
        metrics = Metrics(run)
        try:
            rows = metrics.rows("SELECT time, attempt, kind, task, detail FROM events ORDER BY rowid")
            events = tuple(Event(*row[:4], json.loads(row[4])) for row in rows)
            steps: dict[int, list[int]] = defaultdict(list)
            for attempt, step in metrics.rows("SELECT attempt, step FROM steps ORDER BY attempt, step"):
                steps[attempt].append(step)
            clocks = tuple(metrics.column("SELECT clock FROM calls ORDER BY clock"))
        finally:
            metrics.close()
        return cls(events, dict(steps), clocks)

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]

    def seconds_between(self, first: str, second: str) -> float:
        """Seconds from the first event of kind `first` to the next one of kind `second`."""
        begun = self.of(first)[0].time
        return next(event.time for event in self.of(second) if event.time >= begun) - begun

    def longest_gap(self) -> float:
        """Longest time without the end of a call, in seconds of the training clock."""
        return max((b - a for a, b in zip(self.clocks, self.clocks[1:], strict=False)), default=0.0)
