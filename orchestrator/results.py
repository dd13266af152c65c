"""Results of a run and of a comparison, and their JSON. Field names are part of the contract (docs/contract.md).

A quantity that was not measured is null, never 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from orchestrator.measurements import Frozen, GradientNoise, Seconds, Staleness, Throughput, Timing, Utilization

SCHEMA_VERSION = 1
DEFAULT_MARGIN = 0.005
"""Default of `margin`: accuracies less than half a point apart count as equal."""
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
    shares: tuple[int, ...] | None = None
    """Samples of each step by worker, with `balance`; null if all workers have equal shares."""
    fewest_workers: int | None = None
    """Fewest workers that ever trained, with `min_workers`; null if all trained all the time."""

    @property
    def variant_name(self) -> str:
        return self.variant or self.mode

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


class Interval(Frozen):
    """A point estimate with its 95 % interval; the bounds are null if there are too few data."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Summary(Frozen):
    """One variant, summarized over its seeds."""

    runs: int
    succeeded: int
    reached: int | None = None
    """Number of runs that reached the target; null without a target. Runs that missed it are counted, never dropped."""
    horizon: float | None = None
    """Seconds that a run which missed the target counts as in `seconds_to_target`; the same for all variants."""
    seconds_to_target: float | None = None
    """Restricted mean: a run that missed the target counts as the horizon. Null if every run missed it."""
    samples_to_target: float | None = None
    elapsed_seconds: float | None = None
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
    """The verdict on one question for one variant; `winner` is null if the data do not decide."""

    question: Literal["time", "quality", "cost", "stability"]
    winner: str | None
    ratio: Interval | None = None
    """Advantage of the winner, or of the variant without a winner, as a ratio: 2.9 for "2.9x sooner"."""
    p_value: float | None = None
    """Of equality (TOST) where quality is equal; otherwise of the difference, adjusted for all questions (Holm)."""
    variant: str | None = None
    """The variant that was compared with the baseline."""
    difference: Interval | None = None
    """Advantage of the variant in a final accuracy or similar metric, in its unit: above 0 is better."""
    reason: str = ""


class Verdict(Frozen):
    winner: str | None
    """The variant to use; null if no difference is shown or the evidence is insufficient."""
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
    """Whether the variants took turns. Otherwise a machine that slowed down meanwhile hurt the later ones more."""
    modes: Mapping[str, ModeResults]
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)
