"""The current state of a run, in plain values: filled by `feed`, drawn by `dashboard`."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

RATE_SECONDS = 5.0
"""Window of a rate, in seconds of the run's clock."""
CURVE_POINTS = 512


class Rate:
    """Counts per second over the last `RATE_SECONDS`."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, float]] = deque()

    def add(self, clock: float, count: float) -> None:
        """Add `count` at `clock` (seconds). If the clock was set back by more than the window, start from zero."""
        if self._counts and clock < self._counts[-1][0] - RATE_SECONDS:
            self._counts.clear()
        self._counts.append((clock, count))
        while self._counts[0][0] < clock - RATE_SECONDS:
            self._counts.popleft()

    @property
    def per_second(self) -> float | None:
        """The rate; None until there are two counts at different times."""
        if len(self._counts) < 2:
            return None
        span = max(clock for clock, _ in self._counts) - self._counts[0][0]
        return sum(count for _, count in list(self._counts)[1:]) / span if span > 0 else None


class Curve:
    """The loss over the run's clock in bounded memory: when it is full, adjacent points are merged."""

    def __init__(self) -> None:
        self._points: list[tuple[float, float, float]] = []
        self._weight = 1.0

    def add(self, clock: float, value: float) -> None:
        last = self._points[-1] if self._points else None
        if last is not None and last[2] < self._weight:
            self._points[-1] = _merged(last, (clock, value, 1.0))
        else:
            self._points.append((clock, value, 1.0))
        if len(self._points) >= CURVE_POINTS:
            pairs = zip(self._points[::2], self._points[1::2], strict=True)
            self._points = [_merged(one, other) for one, other in pairs]
            self._weight *= 2

    @property
    def last(self) -> float | None:
        return self._points[-1][1] if self._points else None

    def columns(self, count: int) -> list[float]:
        """Means over `count` equal intervals, or fewer if there are few points; a gap repeats the previous mean."""
        if not self._points:
            return []
        count = max(1, min(count, len(self._points) // 2))
        first, last = self._points[0][0], self._points[-1][0]
        sums: list[list[float]] = [[] for _ in range(count)]
        for clock, value, _ in self._points:
            at = 0 if last <= first else min(count - 1, int((clock - first) / (last - first) * count))
            sums[at].append(value)
        means: list[float] = []
        for values in sums:
            means.append(sum(values) / len(values) if values else means[-1])  # fsum raises on infinities
        return means


def _merged(one: tuple[float, float, float], other: tuple[float, float, float]) -> tuple[float, float, float]:
    weight = one[2] + other[2]
    value = (one[1] * one[2] + other[1] * other[2]) / weight
    return max(one[0], other[0]), value, weight


def metric_of(target: str | None) -> str:
    """The name of the metric in a target such as `val_accuracy>=0.95`; empty without one."""
    return re.split("[<>]", target, maxsplit=1)[0].strip() if target else ""


@dataclass
class Row:
    """Row of one task."""

    state: str = "-"
    pid: int | None = None
    step: int | None = None
    samples: Rate = field(default_factory=Rate)
    waiting: float | None = None
    """Share of its time spent waiting for input, at the latest call."""
    cpu_percent: float | None = None
    rss_bytes: int | None = None
    net_per_s: float | None = None
    """Bytes per second, sent and received."""
    gpu_percent: float | None = None
    """Mean utilisation of its GPUs."""
    gpu_memory_bytes: int | None = None


@dataclass
class FindingLine:
    """The parts of a finding that a view shows."""

    kind: str
    symptom: str
    action: str
    remedy: str = ""


@dataclass
class Board:
    """State of one run."""

    run_id: str
    job: str = ""
    variant: str = ""
    seed: int = 0
    workers: int = 1
    target: str | None = None
    phase: str = "launching"
    rows: dict[str, Row] = field(default_factory=dict)
    total_steps: int | None = None
    global_batch: int = 1
    """Samples per counted step of the leg that trains."""
    steps_before: int = 0
    """Steps of the run when that leg began, and their samples."""
    samples_before: int = 0
    batches_per_step: int = 1
    samples_per_epoch: int | None = None
    step: int = 0
    clock: float = 0.0
    samples: Rate = field(default_factory=Rate)
    loss: Curve = field(default_factory=Curve)
    evaluation: dict[str, float] = field(default_factory=dict)
    metric: str = ""
    """The evaluation metric that is drawn: the target's, or the first."""
    scores: Curve = field(default_factory=Curve)
    findings: list[FindingLine] = field(default_factory=list)
    events: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    """What interrupted or changed the training, newest last, with the time of day."""
    notes: list[str] = field(default_factory=list)
    """Reasons why something could not be measured."""
    outcome: str | None = None
    """How the run ended; None while it trains."""

    def row(self, task: str) -> Row:
        return self.rows.setdefault(task, Row())

    @property
    def progress(self) -> float | None:
        """Share of the budget that has been trained, from 0 to 1."""
        return min(1.0, self.trained / self.budget) if self.budget else None

    @property
    def trained(self) -> int:
        """Samples trained on."""
        return self._samples(self.step)

    @property
    def budget(self) -> int | None:
        """Samples that the run may train on; None if they are not known yet."""
        return None if self.total_steps is None else self._samples(self.total_steps)

    def _samples(self, step: int) -> int:
        return self.samples_before + (step - self.steps_before) * self.global_batch

    @property
    def eta_seconds(self) -> float | None:
        """Seconds until the budget is used up; a metric target may end the run earlier."""
        rate = self.samples.per_second
        if self.budget is None or not rate or self.outcome is not None:
            return None
        return max(0.0, (self.budget - self.trained) / rate)
