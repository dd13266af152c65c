"""One variant against another on one question, in numbers; `orchestrator.verdict.judge` judges them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from orchestrator.results import DEFAULT_MARGIN
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


@dataclass(frozen=True)
class Margins:
    """What is too small to matter."""

    share: float = DEFAULT_MARGIN
    """Of accuracies and their kin, absolute: 0.005 is half a point."""
    relative: float = 0.05
    """Of losses and other unbounded metrics, relative."""
    time: float = 0.05
    """Of times and costs, relative."""


class Counts(NamedTuple):
    """Runs that missed, were lost or were troubled, of how many: of the variant, then of the other."""

    bad: tuple[int, int]
    runs: tuple[int, int]
    p_value: float | None
    """Fisher's test of "equally often"; null when the shares agree."""


@dataclass(frozen=True)
class Contrast:
    """A variant against another. `advantage` favours the variant above `neutral`, the other below."""

    question: Question
    variant: str
    other: str
    counts: Counts
    pairs: Pairs = NO_PAIRS
    advantage: Estimate = UNKNOWN
    """Ratio (neutral 1) of times, costs or losses; difference (neutral 0) of accuracies."""
    neutral: float = 1.0
    margin: float = 1.0
    """Smallest advantage that matters, on the advantage's own scale: a factor, or a difference."""
    p_equal: float | None = None
    """TOST: of a difference of the margin or more."""
    seeds_to_equal: int | None = None
    """Paired seeds that would show equality if there is any."""
    at_target: bool = False
    """Some runs stopped at the target: their final metrics are where they stopped, not how far they get."""

    def favours(self) -> str | None:
        value = self.advantage.value
        if value is None or value == self.neutral:
            return None
        return self.variant if value > self.neutral else self.other

    def seen_from(self, name: str) -> Estimate:
        """The advantage of `name`, one of the two."""
        if name == self.variant:
            return self.advantage
        e = self.advantage
        return Estimate(self._turn(e.value), self._turn(e.high), self._turn(e.low), e.p_value)

    def matters(self) -> bool:
        """The observed advantage is beyond the margin, whoever has it."""
        value = self.advantage.value
        return value is not None and not self._within(value)

    def excludes_neutral(self) -> bool:
        low, high = self.advantage.low, self.advantage.high
        return low is not None and high is not None and not low <= self.neutral <= high

    def not_worse(self, name: str) -> bool:
        """Non-inferiority: the whole interval of `name`'s advantage is above minus the margin."""
        low = self.seen_from(name).low
        return low is not None and (low > self.neutral or self._within(low))

    def loses_more(self, name: str) -> bool:
        """A larger share of `name`'s runs is bad: it cannot win on the runs that are not."""
        (bad_x, bad_y), (n_x, n_y) = self.counts.bad, self.counts.runs
        surplus = bad_x * n_y - bad_y * n_x
        return surplus > 0 if name == self.variant else surplus < 0

    def _within(self, value: float) -> bool:
        if self.neutral:
            return 1 / self.margin <= value <= self.margin
        return abs(value) <= self.margin

    def _turn(self, value: float | None) -> float | None:
        if value is None:
            return None
        return 1 / value if self.neutral else -value


class Contrasts:
    """Builds the contrasts of two variants under one plan of race, quality and margins."""

    def __init__(self, modes: Modes, race: Race, quality: Quality | None, margins: Margins, *, by_seed: bool) -> None:
        self._modes, self._race, self._quality = modes, race, quality
        self._margins, self._by_seed = margins, by_seed

    def of(self, variant: str, other: str) -> list[Contrast]:
        """Time always; quality with a metric; cost when every run has one; stability always."""
        x, y = self._modes[variant], self._modes[other]
        made: list[Contrast] = [
            self._ratio("time", variant, other, race_points(x, self._race), race_points(y, self._race))
        ]
        if self._quality is not None:
            made.append(self._final(variant, other, self._quality))
        cost_x, cost_y = cost_points(x, self._race), cost_points(y, self._race)
        if cost_x and cost_y:
            made.append(self._ratio("cost", variant, other, cost_x, cost_y))
        return [*made, self._trouble(variant, other)]

    def _ratio(self, question: Question, variant: str, other: str, x: Sequence[Point], y: Sequence[Point]) -> Contrast:
        """Less is better: the advantage is the other's value over the variant's."""
        pairs = pair(x, y, self._by_seed)
        advantage = geometric_mean_ratio(pairs.y, pairs.x, paired=pairs.paired)
        margin = 1 + self._margins.time
        return Contrast(question, variant, other, count_bad(x, y), pairs, advantage, margin=margin)

    def _final(self, variant: str, other: str, quality: Quality) -> Contrast:
        """More is better for shares; on the log scale, turned to "more is better", for the others."""
        x, y = quality_points(self._modes[variant], quality), quality_points(self._modes[other], quality)
        pairs = pair((p for p in x if not p.bad), (p for p in y if not p.bad), self._by_seed)
        good, poor = (pairs.x, pairs.y) if quality.higher_is_better else (pairs.y, pairs.x)
        if quality.is_share:
            difference = paired_difference if pairs.paired else independent_difference
            advantage, neutral, margin = difference(good, poor), 0.0, self._margins.share
            scaled = margin
        else:
            advantage = geometric_mean_ratio(good, poor, paired=pairs.paired)
            neutral, margin = 1.0, 1 + self._margins.relative
            scaled = math.log(margin)
            known = advantage.value is not None
            good, poor = ([math.log(v) for v in values] if known else [] for values in (good, poor))
        deviations = [a - b for a, b in zip(good, poor, strict=False)]
        return Contrast(
            question="quality",
            variant=variant,
            other=other,
            counts=count_bad(x, y),
            pairs=pairs,
            advantage=advantage,
            neutral=neutral,
            margin=margin,
            p_equal=equivalence(good, poor, scaled, paired=pairs.paired),
            seeds_to_equal=seeds_for_equivalence(deviations, scaled),
            at_target=any(map(stopped_at_target, (*self._modes[variant], *self._modes[other]))),
        )

    def _trouble(self, variant: str, other: str) -> Contrast:
        """Judged by counts alone. Jitter is not: an async loss is one replica's, a sync loss averages all."""
        x, y = (
            [Point(run.seed, 0, is_troubled(run)) for run in self._modes[name] if not is_interrupted(run)]
            for name in (variant, other)
        )
        return Contrast("stability", variant, other, count_bad(x, y))


def count_bad(x: Sequence[Point], y: Sequence[Point]) -> Counts:
    bad, runs = (sum(p.bad for p in x), sum(p.bad for p in y)), (len(x), len(y))
    agree = bad[0] * runs[1] == bad[1] * runs[0]
    return Counts(bad, runs, None if agree else fewer_failures(bad[0], runs[0], bad[1], runs[1]))
