"""What is asked of the model, what the probe saw of learning, and what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.foresight.curve import Curve
from orchestrator.metric_target import MetricTarget
from workers.modes.registry import traits


@dataclass(frozen=True)
class Case:
    """A mode and number of workers to predict."""

    mode: str
    workers: int
    batch: int
    """Samples of one worker's batch."""

    @property
    def samples_per_update(self) -> int:
        return self.batch * traits(self.mode).batches_per_step(self.workers, 1)


@dataclass(frozen=True)
class Range:
    """A value with its 90 % interval; `value` and bounds are None, with a `reason`, if it cannot be predicted."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Prediction:
    """What is predicted of one case."""

    case: Case
    step_seconds: Range
    """Seconds per counted update."""
    samples_per_s: Range
    staleness: float | None
    samples_to_target: Range
    seconds_to_target: Range
    gain: Range
    """In time to the target, over one process with a worker's samples per update."""
    speedup: Range
    """The same in samples per second, whatever a sample is worth."""
    saturates_at: float | None


@dataclass(frozen=True)
class Learning:
    """The learning curve of one run of the probe."""

    mode: str
    points: Curve
    """Samples and value at each evaluation."""
    samples_per_update: int
    apart: float
    """What its penalty grows with (`apart`)."""


@dataclass(frozen=True)
class Learned:
    """Curves of the probe: what is known of the samples to a target."""

    target: MetricTarget
    curves: Sequence[Learning]
    noise: float | None
    interval: float
    """Samples between two evaluations of a run. It meets its target at an evaluation, half an interval late."""


def apart(mode: str, workers: int, staleness: float) -> float:
    """What the penalty of a mode grows with: the other workers, if each goes its own way for a round, or staleness."""
    return workers - 1 if traits(mode).waits_for == "rounds" else staleness
