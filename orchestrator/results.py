"""What a run and a comparison leave behind, and their JSON (docs/contract.md: these names are promises).

What was not measured is null, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
DEFAULT_MARGIN = 0.005
"""Accuracies that are half a point apart count as equal, unless the spec says otherwise."""
Status = Literal["succeeded", "failed", "stopped", "preempted"]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Seconds(Frozen):
    """Wall-clock seconds of a run's phases; launch and compile are never mixed into training."""

    launch: float | None = None
    """From the launch order to every task ready, compile included. Shared by all seeds of a group."""
    to_first_step: float | None = None
    """From the command's start to the end of the first training step; null for all but a command's first run."""
    training: float | None = None
    """Training clock at the last step."""
    total: float | None = None


class Throughput(Frozen):
    steps_per_s: float | None = None
    samples_per_s: float | None = None


class TargetResult(Frozen):
    """When the target was reached: stamps of the first snapshot that met it."""

    metric: str
    op: str
    value: float
    reached: bool
    seconds: float | None = None
    steps: int | None = None
    samples: int | None = None


class Staleness(Frozen):
    """Updates applied by others between a step's read of the weights and its own update."""

    mean: float
    p50: float
    p95: float
    max: float
    histogram: Mapping[str, int] = Field(default_factory=dict)
    """Updates by staleness."""
    by_worker: Mapping[str, float] = Field(default_factory=dict)
    """Means."""


class Finding(Frozen):
    """One thing that went wrong with the loss or the speed, and what to do about it."""

    kind: str
    step: int | None = None
    clock: float | None = None
    symptom: str
    evidence: str = ""
    causes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    action: str = "warned"


class GradientNoise(Frozen):
    """The gradient noise scale of a synchronous run (`orchestrator.monitor.noise_scale`)."""

    batch: float
    """Samples: a batch much smaller is mostly noise, one much larger wastes samples."""
    signal: float
    """Square norm of the true gradient, mean over the run."""
    noise: float
    """Trace of the covariance of one sample's gradient."""
    steps: int
    """That it was estimated from."""


class Stability(Frozen):
    findings: tuple[Finding, ...] = ()
    jitter: float | None = None
    """Standard deviation of the detrended loss over its level."""
    gradient_noise: GradientNoise | None = None
    """Null unless it was asked for, and could be measured."""


class Utilization(Frozen):
    """Means over the training time, by task; null where nothing could be measured."""

    cpu_percent: Mapping[str, float | None] = Field(default_factory=dict)
    rss_bytes: Mapping[str, int | None] = Field(default_factory=dict)
    gpu_percent: Mapping[str, float | None] | None = None
    gpu_note: str | None = None


class WorkerTime(Frozen):
    """Where one worker's training time went, as shares of it; null is what could not be seen."""

    input_wait: float | None = None
    """With nothing to compute, because the next batch was not there."""
    compute: float | None = None
    communication: float | None = None
    """In collectives, waiting for slower workers included; async: not seen."""
    snapshot: float | None = None
    idle: float | None = None
    """Neither computing nor communicating: waiting for input, other workers, the chief, or a snapshot of another."""
    step_seconds: float | None = None
    """Mean time of a step, without waiting for others."""


class Timing(Frozen):
    workers: Mapping[str, WorkerTime]
    """By task."""
    straggler_index: float | None = None
    """Slowest worker's step time over the median; null with fewer than two workers."""


class FailureRecord(Frozen):
    """A failure a run met, whether or not it survived it."""

    task: str
    kind: str
    attempt: int
    summary: str
    log: str | None = None


class RunResult(Frozen):
    schema_: int = Field(default=SCHEMA_VERSION, alias="schema")
    run_id: str
    job: str
    mode: str
    variant: str | None = None
    """What the run is compared as; null for its mode."""
    seed: int
    status: Status
    stop_reason: str | None = None
    tasks: Mapping[str, int]
    steps: int | None = None
    samples: int | None = None
    seconds: Seconds = Seconds()
    throughput: Throughput = Throughput()
    target: TargetResult | None = None
    final: Mapping[str, float] = Field(default_factory=dict)
    stability: Stability = Stability()
    staleness: Staleness | None = None
    utilization: Utilization = Utilization()
    timing: Timing | None = None
    cost: float | None = None
    attempts: int = 1
    failures: tuple[FailureRecord, ...] = ()
    optimizer_iterations: int | None = None
    doubled_updates: int | None = None
    shares: tuple[int, ...] | None = None
    """Samples of each step by worker, with `balance`; null where all have as many."""
    fewest_workers: int | None = None
    """As few as ever trained, with `min_workers`; null where all did all the time."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


class Interval(Frozen):
    """A point estimate with its 95 % interval; null bounds when the data cannot give one."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Summary(Frozen):
    """One variant over its seeds."""

    runs: int
    succeeded: int
    reached: int | None = None
    """Runs that reached the target; null when there was none. A miss is counted, never dropped."""
    horizon: float | None = None
    """Seconds that a missed run counts as in `seconds_to_target`; the same for all variants compared."""
    seconds_to_target: float | None = None
    """Restricted mean: a missed run counts as the horizon. Null when every run missed."""
    samples_to_target: float | None = None
    training_seconds: float | None = None
    samples_per_s: float | None = None
    final: Mapping[str, float] = Field(default_factory=dict)
    staleness_mean: float | None = None
    jitter: float | None = None
    cost: float | None = None


class ModeResults(Frozen):
    runs: tuple[RunResult, ...]
    summary: Summary


class Answer(Frozen):
    """The verdict on one question; `winner` is null when the data do not say."""

    question: Literal["time", "quality", "cost", "stability"]
    winner: str | None
    ratio: Interval | None = None
    """Winner's advantage as a ratio of paired runs, e.g. 2.9 for "2.9x sooner"; no winner: the variant's."""
    p_value: float | None = None
    """Of "equal" (TOST) where quality is equal; else of the difference, adjusted for all questions (Holm)."""
    variant: str | None = None
    """Which variant was compared with the baseline; one answer per question and variant."""
    difference: Interval | None = None
    """Variant's advantage in final accuracy or its kin, in the metric's unit: above 0 is better."""
    reason: str = ""


class Verdict(Frozen):
    winner: str | None
    """The variant to use; null for "no difference" and for "not enough evidence"."""
    headline: str
    confidence: Literal["none", "low", "moderate", "high"]
    answers: tuple[Answer, ...] = ()
    reasons: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()


class Comparison(Frozen):
    schema_: int = Field(default=SCHEMA_VERSION, alias="schema")
    comparison_id: str
    job: str
    baseline: str
    seeds: tuple[int, ...]
    margin: float = DEFAULT_MARGIN
    """Accuracies closer than this count as equal."""
    interleaved: bool = True
    """Whether the variants took turns; else one ran after another, and a drifting machine hurt them unequally."""
    modes: Mapping[str, ModeResults]
    verdict: Verdict

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


def straggler_index(step_seconds: Mapping[str, float]) -> float | None:
    """Slowest worker's step time over the median of all; None with fewer than two workers that have one."""
    times = [time for time in step_seconds.values() if math.isfinite(time) and time > 0]
    return max(times) / median(times) if len(times) > 1 else None
