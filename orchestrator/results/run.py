"""The result of a run, and its JSON. A quantity that was not measured is null, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from orchestrator.results.measurements import Frozen, GradientNoise, Seconds, Staleness, Throughput, Timing, Utilization

SCHEMA_VERSION = 1
Status = Literal["succeeded", "failed", "stopped", "preempted"]


class TargetResult(Frozen):
    """Whether and when the target was reached: seconds, steps and samples of the first snapshot that met it."""

    metric: str
    op: str
    value: float
    reached: bool
    seconds: float | None = None
    """Elapsed, from the moment the group was compiled and loaded; callbacks, faults and all."""
    training_seconds: float | None = None
    """The same without callbacks and their validation."""
    further_seconds: float | None = None
    """How long the run went on after that snapshot, elapsed."""
    further_samples: int | None = None
    """How many samples it trained on after that snapshot."""
    steps: int | None = None
    samples: int | None = None


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


class Stability(Frozen):
    findings: tuple[Finding, ...] = ()
    jitter: float | None = None
    """Standard deviation of the detrended loss, relative to its level."""
    gradient_noise: GradientNoise | None = None


class FailureRecord(Frozen):
    """A failure during a run, whether or not the run recovered from it."""

    task: str
    kind: str
    attempt: int
    summary: str
    log: str | None = None


class EarlierFit(Frozen):
    """A script's call of `fit` before the judged one, which was trained as a run of its own."""

    fit: int
    """Its number, from 1; its run is in the subfolder `fits/` of this number."""
    line: str
    """Where it is in the script, as `train.py:30`."""
    mode: str
    status: Status
    samples: int | None = None
    epochs: float | None = None
    loss: float | None = None
    """Of training, at its end."""
    elapsed: float | None = None
    """Seconds of training, as in `seconds.elapsed`."""
    total: float | None = None
    """Seconds with its launch, as in `seconds.total`."""
    attempts: int = 1


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
    samples_per_epoch: int | None = None
    """Samples in one pass over the training data; null unless they were counted."""
    learning_rate: float | None = None
    """Learning rate at which the run began."""
    seconds: Seconds = Seconds()
    throughput: Throughput = Throughput()
    target: TargetResult | None = None
    final: Mapping[str, float | None] = Field(default_factory=dict)
    """Null if the weights were not finite in the end."""
    stability: Stability = Stability()
    staleness: Staleness | None = None
    utilization: Utilization = Utilization()
    timing: Timing | None = None
    cost: float | None = None
    attempts: int = 1
    failures: tuple[FailureRecord, ...] = ()
    optimizer_iterations: int | None = None
    doubled_updates: int | None = None
    updates: int | None = None
    """How often the weights that all workers share were changed; null if that is not known."""
    dropped_gradients: int | None = None
    """Gradients that were computed, and count as samples, but are in no update."""
    local_steps: int | None = None
    """Steps that workers took on weights of their own, all workers together; null in modes without such."""
    shares: tuple[int, ...] | None = None
    """Samples of each step by worker, with `balance`; null if all workers have equal shares."""
    fewest_workers: int | None = None
    """Fewest workers that ever trained, with `min_workers`; null if all trained all the time."""
    earlier_fits: tuple[EarlierFit, ...] = ()
    """A script's calls of `fit` before this one, whose time is in none of `seconds`."""

    @property
    def variant_name(self) -> str:
        return self.variant or self.mode

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)
