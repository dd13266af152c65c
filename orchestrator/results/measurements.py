"""What one run measures: seconds by phase and by part, throughput, staleness, use of its hosts.

Field names are part of the contract (docs/contract.md). A quantity that was not measured is null, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Parts(Frozen):
    """Parts of `Seconds.elapsed`, which they add up to. A part that cannot be told apart is null, and in `other`."""

    compute: float | None = None
    exchange: float | None = None
    """Of gradients and weights, waiting for slower workers included."""
    input: float | None = None
    """Waiting for the next batch."""
    callbacks: float | None = None
    validation: float | None = None
    """Evaluations at the ends of epochs, for callbacks. The evaluator's work costs no time here."""
    checkpoint: float | None = None
    """Taking checkpoints; they are written while training continues."""
    recovery: float | None = None
    """From the last step before a fault or a rollback until the state to continue from is loaded."""
    other: float | None = None


class Seconds(Frozen):
    """Wall-clock seconds of a run."""

    launch: float | None = None
    """From the launch order until every task is ready, compilation included. Shared by all seeds of a worker group."""
    to_first_step: float | None = None
    """From the start of the command to the end of the first training step; null except for a command's first run."""
    elapsed: float | None = None
    """From the moment the group is compiled and loaded to the end of training, everything included."""
    training: float | None = None
    """`elapsed` without callbacks and their validation; for throughput."""
    total: float | None = None
    """From the start of the run, launch included, until its result is known."""
    parts: Parts = Parts()

    @property
    def spent(self) -> float | None:
        """`elapsed`; `training` for results of before it was measured."""
        return self.training if self.elapsed is None else self.elapsed


class Throughput(Frozen):
    steps_per_s: float | None = None
    samples_per_s: float | None = None


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
