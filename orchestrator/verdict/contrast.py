"""Contrasts of one variant with another on one question; `orchestrator.verdict.judge` rules on them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from orchestrator.verdict.evidence import (
    Modes,
    Pairs,
    Point,
    Quality,
    Race,
    cost_points,
    is_interrupted,
    is_troubled,
    pair,
    quality_points,
    race_points,
    stopped_at_target,
)
from orchestrator.verdict.statistics import (
    Estimate,
    equivalence,
    fewer_failures,
    geometric_mean_ratio,
    independent_difference,
    paired_difference,
    seeds_for_equivalence,
)

Question = Literal["time", "quality", "cost", "stability"]
NO_PAIRS = Pairs([], [], paired=False, left_out=0)
UNKNOWN = Estimate()
RELATIVE_MARGIN = 0.05
"""Losses and other unbounded metrics that differ by a smaller share than this count as equal."""
TIME_MARGIN = 0.05
"""Times and costs that differ by a smaller share than this are no advantage."""


class Counts(NamedTuple):
    """Number of bad runs (missed, lost or troubled) and of all runs, of the variant and of the other."""

    bad: tuple[int, int]
    runs: tuple[int, int]
    p_value: float | None
    """Fisher's test of "equally often"; null if the shares agree."""


@dataclass(frozen=True)
class Contrast:
    """A variant against another on one question. An `advantage` above `neutral` favours the variant."""

    question: Question
    variant: str
    other: str
    counts: Counts
    pairs: Pairs = NO_PAIRS
    advantage: Estimate = UNKNOWN
    """Ratio (neutral 1) of times, costs or losses; difference (neutral 0) of accuracies."""
    neutral: float = 1.0
    margin: float = 1.0
    """Smallest advantage that matters, on the scale of the advantage: a factor, or a difference."""
    p_equal: float | None = None
    """TOST: p-value of "they differ by the margin or more"."""
    seeds_to_equal: int | None = None
    """Number of paired seeds that would show equality if there is no difference."""
    at_target: bool = False
    """Whether some runs stopped at the target, so that final metrics tell where runs stopped, not how good they get."""

    def favours(self) -> str | None:
        value = self.advantage.value
        if value is None or value == self.neutral:
            return None
        return self.variant if value > self.neutral else self.other

    def seen_from(self, name: str) -> Estimate:
        """The advantage of `name`, which is the variant or the other."""
        if name == self.variant:
            return self.advantage
        e = self.advantage
        return Estimate(self._inverted(e.value), self._inverted(e.high), self._inverted(e.low), e.p_value)

    def matters(self) -> bool:
        """Whether the observed advantage of either side is beyond the margin."""
        value = self.advantage.value
        return value is not None and not self._within_margin(value)

    def excludes_neutral(self) -> bool:
        low, high = self.advantage.low, self.advantage.high
        return low is not None and high is not None and not low <= self.neutral <= high

    def not_worse(self, name: str) -> bool:
        """Non-inferiority: the whole interval of the advantage of `name` is above minus the margin."""
        low = self.seen_from(name).low
        return low is not None and (low > self.neutral or self._within_margin(low))

    def loses_more(self, name: str) -> bool:
        """Whether a larger share of the runs of `name` is bad: then it cannot win by its good ones."""
        (bad_x, bad_y), (n_x, n_y) = self.counts.bad, self.counts.runs
        surplus = bad_x * n_y - bad_y * n_x
        return surplus > 0 if name == self.variant else surplus < 0

    def _within_margin(self, value: float) -> bool:
        if self.neutral:
            return 1 / self.margin <= value <= self.margin
        return abs(value) <= self.margin

    def _inverted(self, value: float | None) -> float | None:
        if value is None:
            return None
        return 1 / value if self.neutral else -value


class Contrasts:
    """Makes the contrasts between variants, by the same race, quality and margin for all of them."""

    def __init__(self, modes: Modes, race: Race, quality: Quality | None, margin: float) -> None:
        self._modes, self._race, self._quality, self._margin = modes, race, quality, margin

    def between(self, variant: str, other: str) -> list[Contrast]:
        """Time and stability always, quality if there is a metric, and cost if every run has one."""
        x, y = self._modes[variant], self._modes[other]
        contrasts = [_ratio("time", variant, other, race_points(x, self._race), race_points(y, self._race))]
        if self._quality is not None:
            contrasts.append(self._final_quality(variant, other, self._quality))
        cost_x, cost_y = cost_points(x, self._race), cost_points(y, self._race)
        if cost_x and cost_y:
            contrasts.append(_ratio("cost", variant, other, cost_x, cost_y))
        return [*contrasts, self._stability(variant, other)]

    def _final_quality(self, variant: str, other: str, quality: Quality) -> Contrast:
        """A difference of shares; of other metrics a ratio, inverted if lower is better."""
        x, y = quality_points(self._modes[variant], quality), quality_points(self._modes[other], quality)
        pairs = pair((p for p in x if not p.bad), (p for p in y if not p.bad))
        better, worse = (pairs.x, pairs.y) if quality.higher_is_better else (pairs.y, pairs.x)
        if quality.is_share:
            difference = paired_difference if pairs.paired else independent_difference
            advantage, neutral, margin = difference(better, worse), 0.0, self._margin
            scaled = margin
        else:
            advantage = geometric_mean_ratio(better, worse, paired=pairs.paired)
            neutral, margin = 1.0, 1 + RELATIVE_MARGIN
            scaled = math.log(margin)
            known = advantage.value is not None
            better, worse = ([math.log(v) for v in values] if known else [] for values in (better, worse))
        deviations = [a - b for a, b in zip(better, worse, strict=False)]
        return Contrast(
            question="quality",
            variant=variant,
            other=other,
            counts=count_bad(x, y),
            pairs=pairs,
            advantage=advantage,
            neutral=neutral,
            margin=margin,
            p_equal=equivalence(better, worse, scaled, paired=pairs.paired),
            seeds_to_equal=seeds_for_equivalence(deviations, scaled),
            at_target=any(map(stopped_at_target, (*self._modes[variant], *self._modes[other]))),
        )

    def _stability(self, variant: str, other: str) -> Contrast:
        """Counts of troubled runs. Jitter does not count: an async loss is one replica's, a sync loss is a mean."""
        x, y = (
            [Point(run.seed, 0, is_troubled(run)) for run in self._modes[name] if not is_interrupted(run)]
            for name in (variant, other)
        )
        return Contrast("stability", variant, other, count_bad(x, y))


def count_bad(x: Sequence[Point], y: Sequence[Point]) -> Counts:
    bad, runs = (sum(p.bad for p in x), sum(p.bad for p in y)), (len(x), len(y))
    agree = bad[0] * runs[1] == bad[1] * runs[0]
    return Counts(bad, runs, None if agree else fewer_failures(bad[0], runs[0], bad[1], runs[1]))


def _ratio(question: Question, variant: str, other: str, x: Sequence[Point], y: Sequence[Point]) -> Contrast:
    """A contrast of times or costs, where less is better: the advantage is the other's value over the variant's."""
    pairs = pair(x, y)
    missed = all(point.bad for point in (*x, *y))  # two horizons, whose ratio would look like a measurement
    advantage = UNKNOWN if missed else geometric_mean_ratio(pairs.y, pairs.x, paired=pairs.paired)
    return Contrast(question, variant, other, count_bad(x, y), pairs, advantage, margin=1 + TIME_MARGIN)
