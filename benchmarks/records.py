"""Measured values and what is computed from them: medians, spreads and ratios. Pure; nothing here measures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Record:
    """One value of one repetition."""

    figure: str
    """Name of the measured quantity: `tiny MLP, speed`."""
    contender: str
    unit: str
    repetition: int
    value: float
    load: float
    """The machine's 1-minute load average just before, which shows what else was running."""


@dataclass(frozen=True)
class Spread:
    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Claim:
    """A goal for the ratio of `ours` to the best of `theirs` in one figure; without `theirs`, for the value itself."""

    title: str
    figure: str
    ours: str
    theirs: tuple[str, ...]
    goal: float
    at: Literal["least", "most"]
    better: Literal["more", "less"] = "more"
    """Whether higher or lower values are better, which decides the best of `theirs`."""


@dataclass(frozen=True)
class Outcome:
    """A claim with its measured value. `against` is the best of `theirs`; None if the goal is absolute."""

    claim: Claim
    value: Spread
    against: str | None

    @property
    def met(self) -> bool:
        median, goal = self.value.median, self.claim.goal
        return median >= goal if self.claim.at == "least" else median <= goal


def spread(values: Sequence[float]) -> Spread:
    """Median and range: there are too few repetitions for quantiles."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def by_contender(records: Iterable[Record], figure: str) -> dict[str, list[Record]]:
    """Group the records of `figure` by contender, in order of first appearance."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.figure == figure:
            found.setdefault(record.contender, []).append(record)
    return found


def paired_ratio(ours: Sequence[Record], theirs: Sequence[Record]) -> Spread | None:
    """Ratios of values of the same repetition, so that a slowdown affects both; None if no repetition has both."""
    other = {record.repetition: record.value for record in theirs}
    ratios = [r.value / other[r.repetition] for r in ours if other.get(r.repetition)]
    return spread(ratios) if ratios else None


def judge(records: Sequence[Record], claims: Iterable[Claim]) -> list[Outcome]:
    """Evaluate the claims for which there are `records`."""
    outcomes = []
    for claim in claims:
        measured = by_contender(records, claim.figure)
        ours = measured.get(claim.ours, [])
        against = _best(measured, claim)
        if not ours or (claim.theirs and against is None):
            continue
        value = spread([r.value for r in ours]) if against is None else paired_ratio(ours, measured[against])
        if value is not None:
            outcomes.append(Outcome(claim, value, against))
    return outcomes


def _best(measured: Mapping[str, Sequence[Record]], claim: Claim) -> str | None:
    medians = {name: statistics.median(r.value for r in measured[name]) for name in claim.theirs if name in measured}
    if not medians:
        return None
    choose = max if claim.better == "more" else min
    return choose(medians, key=lambda name: medians[name])


def document(
    records: Sequence[Record], outcomes: Sequence[Outcome], machine: Mapping[str, Any], began: str
) -> dict[str, Any]:
    """The content of `results.json`: every measured value, and the outcomes."""
    return {
        "schema": 1,
        "began": began,
        "machine": dict(machine),
        "outcomes": [asdict(outcome) | {"met": outcome.met} for outcome in outcomes],
        "records": [asdict(record) for record in records],
    }
