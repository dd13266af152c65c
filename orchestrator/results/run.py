"""The result of a run, and its JSON. A quantity that was not measured is null, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
Status = Literal["succeeded", "failed", "stopped", "preempted"]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Seconds(Frozen):
    """Wall-clock seconds of a run's phases. `training` is the training clock, without launch and compilation."""

    launch: float | None = None
    """From the launch order until every task is ready, compilation included. Shared by all seeds of a worker group."""
    to_first_step: float | None = None
    """From the start of the command to the end of the first training step; null except for a command's first run."""
    training: float | None = None
    total: float | None = None


class Throughput(Frozen):
    steps_per_s: float | None = None
    samples_per_s: float | None = None


class TargetResult(Frozen):
    """Whether and when the target was reached: clock, steps and samples of the first snapshot that met it."""

    metric: str
    op: str
    value: float
    reached: bool
    seconds: float | None = None
    steps: int | None = None
    samples: int | None = None


class Staleness(Frozen):
    """Number of updates that other workers applied between a step's read of the weights and its own update."""

    mean: float
    p50: float
    p95: float
    max: float
    histogram: Mapping[str, int] = Field(default_factory=dict)
    """Number of updates by staleness."""
    by_worker: Mapping[str, float] = Field(default_factory=dict)
    """Mean staleness by worker."""


class Finding(Frozen):
    """A problem with the loss or the speed of a run, and how to fix it."""

    kind: str
    step: int | None = None
    clock: float | None = None
    symptom: str
    evidence: str = ""
    causes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    action: str = "warned"


class GradientNoise(Frozen):
    """Gradient noise scale of a synchronous run, if requested and measurable (`orchestrator.monitor.noise_scale`)."""

    batch: float
    """Noise scale in samples: a much smaller batch is mostly noise, a much larger one wastes samples."""
    signal: float
    """Squared norm of the true gradient, mean over the run."""
    noise: float
    """Trace of the covariance of one sample's gradient."""
    steps: int
    """Number of steps that it was estimated from."""


class Stability(Frozen):
    findings: tuple[Finding, ...] = ()
    jitter: float | None = None
    """Standard deviation of the detrended loss, relative to its level."""
    gradient_noise: GradientNoise | None = None


class Utilization(Frozen):
    """Means over the training time, by task; null where nothing could be measured."""

    cpu_percent: Mapping[str, float | None] = Field(default_factory=dict)
    rss_bytes: Mapping[str, int | None] = Field(default_factory=dict)
    gpu_percent: Mapping[str, float | None] | None = None
    gpu_note: str | None = None


class WorkerTime(Frozen):
    """How one worker spent its training time, as shares from 0 to 1; null where not measurable."""

    input_wait: float | None = None
    """Waiting for the next batch."""
    compute: float | None = None
    communication: float | None = None
    """In collectives, waiting for slower workers included; null in async."""
    snapshot: float | None = None
    idle: float | None = None
    """Neither computing nor communicating: waiting for input, other workers, the chief, or another task's snapshot."""
    step_seconds: float | None = None
    """Mean seconds of a step, without waiting for other workers."""


class Timing(Frozen):
    workers: Mapping[str, WorkerTime]
    """By task."""
    straggler_index: float | None = None
    """Slowest worker's step time over the median (`orchestrator.verdict.stragglers`)."""


class FailureRecord(Frozen):
    """A failure during a run, whether or not the run recovered from it."""

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
    """Name of the variant that the run belongs to; null if it is the mode."""
    seed: int
    status: Status
    stop_reason: str | None = None
    tasks: Mapping[str, int]
    steps: int | None = None
    samples: int | None = None
    samples_per_update: int | None = None
    """Samples of one counted step."""
    learning_rate: float | None = None
    """Learning rate at which the run began."""
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
    """Samples of each step by worker, with `balance`; null if all workers have equal shares."""
    fewest_workers: int | None = None
    """Fewest workers that ever trained, with `min_workers`; null if all trained all the time."""

    @property
    def variant_name(self) -> str:
        return self.variant or self.mode

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)
