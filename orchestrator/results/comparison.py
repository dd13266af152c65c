"""The result of a comparison, and its JSON. A quantity that was not measured is null, never 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from orchestrator.results.measurements import Frozen
from orchestrator.results.run import SCHEMA_VERSION, RunResult

DEFAULT_MARGIN = 0.005
"""Default of `margin`: accuracies less than half a point apart count as equal."""


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
    updates: float | None = None
    """Mean number of updates, up to the target if it was reached."""
    samples_per_update: int | None = None
    """Null if the runs differ."""
    learning_rate: float | None = None
    """At which the runs began; null if they differ."""


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


class Distributing(Frozen):
    """The answer to "is it worth distributing at all?": one process against the distributed variants."""

    worth_it: bool | None
    """Null if the data do not decide."""
    one_process: str
    """The variant that trained in one process."""
    answer: str
    """One sentence."""
    efficiency: Mapping[str, Interval] = Field(default_factory=dict)
    """Scaling efficiency by variant: its samples/s over those of one process times its workers; 1 is linear."""


class Verdict(Frozen):
    winner: str | None
    """The variant to use; null if no difference is shown or the evidence is insufficient."""
    headline: str
    """At most a dozen words, and the names of variants."""
    numbers: str = ""
    """The numbers that the headline rests on."""
    confidence: Literal["none", "low", "moderate", "high"]
    distributing: Distributing | None = None
    """Null if no variant trained in one process, or none was distributed."""
    caveats: tuple[str, ...] = ()
    """What keeps the variants from being comparable."""
    answers: tuple[Answer, ...] = ()
    reasons: tuple[str, ...] = ()
    next_steps: tuple[str, ...] = ()


class Tuning(Frozen):
    """What `--tune-lr` did for one variant, with as many samples for each rate as a scored run has."""

    chosen: float
    """Factor on the job's own learning rate."""
    tried: Mapping[str, float | None]
    """Seconds to the target by factor; null where it was missed, or there is none."""
    seconds: float | None
    """What all runs together took; null if one of them did not measure it."""
    samples: int


class Judged(Frozen):
    """A quantity of one variant that `regatta advise` had predicted, and what was measured."""

    variant: str
    quantity: str
    """`update_seconds` (seconds per update, start included), `samples_to_target` or `seconds_to_target`."""
    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    """Bounds of its 90 % interval."""
    measured: float | None = None
    """Geometric mean over the runs; null if one of them did not measure it."""
    error: float | None = None
    """Predicted over measured, less 1."""
    covered: bool | None = None
    """Whether the interval holds what was measured."""
    reason: str | None = None
    """Why it was not predicted, or not measured."""


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
    tuning: Mapping[str, Tuning] | None = None
    """By variant; null without `--tune-lr`."""
    predictions: tuple[Judged, ...] | None = None
    """Measured against predicted; null if `regatta advise` had not predicted the job."""

    def to_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)
