"""The table of variants as text, one line each, for the terminal, Markdown and HTML reports."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.results import Comparison, Distributing, Interval, RunResult, Verdict
from orchestrator.text import MISSING, dollars, factor, is_number, number, plain, seconds
from orchestrator.verdict.evidence import (
    Modes,
    Point,
    Quality,
    Race,
    ended_alike,
    horizon_seconds,
    plan_quality,
    plan_race,
    race_points,
)
from orchestrator.verdict.summary import summarize


@dataclass(frozen=True)
class Standing:
    """The line of one variant; every value is text."""

    name: str
    runs: str
    reached: str
    time: str
    """Median over the seeds, in which a miss is later than all others."""
    speed: str
    """Ratio to the speed of the baseline, with its interval."""
    quality: str
    rate: str
    staleness: str
    findings: str
    troubled: str
    """Number of runs with a finding or failure."""
    jitter: str
    cost: str
    per_update: str
    updates: str
    """Mean over the runs, up to the target if it was reached."""
    learning_rate: str
    noise: str
    """Median batch, in samples, beyond which more samples are wasted, where it was measured."""


@dataclass(frozen=True)
class Table:
    """All lines, and the meaning of the columns."""

    lines: tuple[Standing, ...]
    baseline: str | None
    race: Race
    quality: Quality | None

    @property
    def time_title(self) -> str:
        return f"time to {self.race.goal}" if self.race.kind == "target" else "training time"

    @property
    def speed_title(self) -> str:
        return f"speed vs {self.baseline}"

    @property
    def quality_title(self) -> str:
        return f"final {self.quality.metric}" if self.quality else "final metric"

    def used(self, column: str) -> bool:
        """Whether any line has a value in this column."""
        return any(getattr(line, column) != MISSING for line in self.lines)


def standings(modes: Modes, comparison: Comparison | None = None) -> Table:
    """The table of these variants, with the speeds of the comparison if there is one."""
    race, quality = plan_race(modes), plan_quality(modes) if ended_alike(modes) else None
    verdict = comparison.verdict if comparison else None
    baseline = comparison.baseline if comparison else None
    lines = tuple(_line(name, runs, race, quality, _speed(name, baseline, verdict)) for name, runs in modes.items())
    return Table(lines, baseline, race, quality)


def _line(name: str, runs: Sequence[RunResult], race: Race, quality: Quality | None, speed: str) -> Standing:
    summary = summarize(runs, horizon_seconds({name: runs}, race))
    final = summary.final.get(quality.metric) if quality else None
    return Standing(
        name=plain(name),
        runs=str(len(runs)),
        reached=MISSING if summary.reached is None else f"{summary.reached}/{len(runs)}",
        time=median_time(runs, race),
        speed=speed,
        quality=number(final),
        rate=MISSING if summary.samples_per_s is None else f"{summary.samples_per_s:,.0f}",
        staleness=number(summary.staleness_mean, 3),
        findings=findings(runs),
        troubled=f"{sum(bool(run.stability.findings or run.failures) for run in runs)}/{len(runs)}",
        jitter=number(summary.jitter, 3),
        cost=dollars(summary.cost),
        per_update=MISSING if summary.samples_per_update is None else f"{summary.samples_per_update:,}",
        updates=MISSING if summary.updates is None else f"{summary.updates:,.0f}",
        learning_rate=number(summary.learning_rate, 3),
        noise=_noise(runs),
    )


def _noise(runs: Sequence[RunResult]) -> str:
    batches = [run.stability.gradient_noise.batch for run in runs if run.stability.gradient_noise is not None]
    return f"{statistics.median(batches):,.0f}" if batches else MISSING


def median_time(runs: Sequence[RunResult], race: Race) -> str:
    """`1.82 s`, or "missed" if half of the runs or more did not reach the goal."""
    if race.kind == "rate":
        clocks = [run.seconds.spent for run in runs if run.seconds.spent is not None]
        return seconds(statistics.median(clocks)) if clocks else MISSING
    points = race_points(runs, race)
    if not points:
        return MISSING
    median = median_of(points)
    return "missed" if median is None else seconds(median)


def median_of(points: Sequence[Point]) -> float | None:
    """The median, in which a miss is later than all others; None if the median is a miss."""
    median = statistics.median(math.inf if point.bad else point.value for point in points) if points else math.inf
    return median if math.isfinite(median) else None


def findings(runs: Sequence[RunResult]) -> str:
    """Number of runs by finding and by end, such as `2 spike, 1 failed`; "none" if there are none."""
    kinds = Counter(kind for run in runs for kind in {finding.kind for finding in run.stability.findings})
    parts = [f"{count} {plain(kind, 30)}" for kind, count in kinds.most_common()]
    failed = sum(run.status == "failed" for run in runs)
    survived = sum(bool(run.failures) and run.status != "failed" for run in runs)
    stopped = sum(run.status == "stopped" for run in runs)
    preempted = sum(run.status == "preempted" for run in runs)
    ends = ((failed, "failed"), (survived, "restarted"), (stopped, "stopped"), (preempted, "preempted"))
    for count, word in ends:
        if count:
            parts.append(f"{count} {word}")
    return ", ".join(parts) or ("none" if runs else MISSING)


def _speed(name: str, baseline: str | None, verdict: Verdict | None) -> str:
    if verdict is None:
        return MISSING
    if name == baseline:
        return "baseline"
    for answer in verdict.answers:
        if answer.question == "time" and answer.variant == name and answer.ratio is not None:
            ratio = _inverse(answer.ratio) if answer.winner == baseline else answer.ratio
            return factor(ratio.value, ratio.low, ratio.high)
    return MISSING


def efficiency_text(distributing: Distributing) -> str:
    """`Scaling efficiency against single (1 is linear): sync 0.62 [0.55, 0.70]`; empty if it was not measured."""
    parts = []
    for name, found in distributing.efficiency.items():
        parts.append(f"{name} {factor(found.value, found.low, found.high).replace('x', '', 1)}")
    head = f"Scaling efficiency against {distributing.one_process} (1 is linear): "
    return f"{head}{', '.join(parts)}" if parts else ""


def _inverse(ratio: Interval) -> Interval:
    def over(value: float | None) -> float | None:
        return 1 / value if value and is_number(value) else None

    return Interval(value=over(ratio.value), low=over(ratio.high), high=over(ratio.low))
