"""Decides on one winner from the rulings on all questions: lost runs, then quality, then time. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.verdict.contrast import Contrast, Question
from orchestrator.verdict.evidence import Quality, Race
from orchestrator.verdict.wording import (
    FEWEST_SEEDS,
    Ruling,
    advantage_text,
    count_text,
    margin_text,
    p_text,
    speed_phrase,
    time_reason,
)

Rulings = dict[Question, Ruling]
Confidence = Literal["none", "low", "moderate", "high"]
_LEVELS: tuple[Confidence, ...] = ("none", "low", "moderate", "high")
ENOUGH_SEEDS = 5
CERTAIN = 0.01


@dataclass(frozen=True)
class Decision:
    """Decision between one variant and another, over all questions."""

    variant: str
    other: str
    winner: str | None
    clause: str
    """The numbers."""
    confidence: Confidence
    short: str = "No clear winner"
    """How much better the winner is "than" the loser, such as `2.1x sooner`; without a winner, the headline."""
    by_quality: bool = False
    advantage: float = 1.0
    """The winner's advantage in time, which ranks several winners."""

    @property
    def loser(self) -> str:
        return self.other if self.winner == self.variant else self.variant


def decide(rulings: Rulings, race: Race, quality: Quality | None) -> Decision:
    """Decide between two variants, with a clause that says why: the table "The winner" in docs/verdict.md."""
    time, final = rulings["time"], rulings.get("quality")
    c = time.contrast
    seeds = max(min(ruling.contrast.counts.runs) for ruling in (time, final) if ruling is not None)
    if seeds < FEWEST_SEEDS:
        faster = c.favours() or c.variant
        seen = f" Observed: {faster} {speed_phrase(c, race, faster)}." if c.advantage.value else ""
        head = f"Proves nothing yet: {seeds} comparable seed{'s' * (seeds != 1)} of {c.variant} and {c.other}"
        return _undecided(c, f"{head}, at least {FEWEST_SEEDS} needed.{seen}", "none", f"Too few seeds: {seeds}")
    if final is not None and quality is not None:
        if final.winner:
            return _by_quality(final, time, race, quality)
        if time.winner:
            return _by_time(time, final, race, quality)
    elif time.winner:
        return _by_time_alone(time, race, "final quality was not measured")
    equal = final is not None and final.equal
    if c.advantage.value is None:
        all_missed = race.kind == "target" and c.counts.bad == c.counts.runs != (0, 0)
        short = "No winner: no run reached the target" if all_missed else "Not enough evidence"
        return _undecided(c, f"Not enough evidence: {time_reason(time, race)}", "none", short)
    reason = time_reason(time, race).removeprefix("time: no difference shown: ")
    clause = f"No difference shown between {c.variant} and {c.other}: {reason}"
    if equal and final and quality:
        clause += f"; final {quality.metric} is equal ({p_text(final.contrast.p_equal, 'TOST p')})"
    return _undecided(c, clause, _confidence_in_none(c, equal))


def decide_all(
    decisions: Sequence[Decision], head_to_head: Callable[[str, Sequence[str]], Sequence[Decision]]
) -> Decision:
    """One decision over all variants: the best of those that beat the baseline, if any does.

    The best is the best by quality, then by time. `head_to_head` compares it with the others that beat the
    baseline; those that show no difference to it are named, and cap the confidence at low.
    """
    beating = sorted((d for d in decisions if d.winner == d.variant), key=_rank, reverse=True)
    if len(beating) > 1:
        best, *rest = beating
        duels = head_to_head(best.variant, [d.variant for d in rest])
        won = [duel.other for duel in duels if duel.winner == duel.other]
        if won:
            best = next(d for d in rest if d.variant == won[0])
            return _with_rivals(best, [d.variant for d in beating if d is not best])
        return _with_rivals(best, [duel.other for duel in duels if duel.winner is None])
    if beating:
        return beating[0]
    if len(decisions) == 1:
        return decisions[0]
    winners = {d.winner for d in decisions}
    level = min((d.confidence for d in decisions), key=_LEVELS.index)
    winner = winners.pop() if len(winners) == 1 else None
    nearest = min(decisions, key=lambda d: d.advantage) if winner else decisions[0]
    if winner is None and len({d.short for d in decisions}) > 1:
        nearest = replace(nearest, short=Decision.short)
    clauses = [d.clause if d.winner == winner else f"{d.winner} beats {d.variant}: {d.clause}" for d in decisions]
    clause = "; ".join([*(clause.removesuffix(".") for clause in clauses[:-1]), clauses[-1]])
    return replace(nearest, winner=winner, clause=clause, confidence=level)


def _by_quality(final: Ruling, time: Ruling, race: Race, quality: Quality) -> Decision:
    c, winner = final.contrast, final.winner or ""
    if final.by_counts:
        clause = f"it lost fewer runs (failed or not finite: {count_text(c)}, {p_text(final.p_value)})"
        short = "fewer lost runs"
    else:
        amount = advantage_text(c, winner).lstrip("+")
        short = f"final {quality.metric} {_rounded(c, winner)} better"
        clause = f"its final {quality.metric} is {amount} better than {final.loser}'s ({p_text(final.p_value)})"
    caps: list[Confidence] = []
    if time.winner == final.loser:
        clause += f", though {_lead(time, race, final.loser)}"
        caps.append("moderate")
    return replace(_decision(final, clause, time, caps, by_quality=True), short=short)


def _by_time(time: Ruling, final: Ruling, race: Race, quality: Quality) -> Decision:
    """The faster wins if its quality is shown to be equal or not worse, or if all its runs reached the target."""
    c, winner = final.contrast, time.winner or ""
    if c.loses_more(winner):
        reason = f"{winner} lost more runs (failed or not finite: {count_text(c)})"
        return _undecided(time.contrast, f"No winner: {_lead(time, race, winner)}, but {reason}", "low")
    if final.equal:
        clause = f"at equal {quality.metric} ({p_text(c.p_equal, 'TOST p')})"
        return _by_speed(time, race, f"{_lead(time, race)} {clause}", [])
    if final.enough and c.not_worse(winner) and not c.at_target:
        clause = f"with final {quality.metric} not worse by {margin_text(c)} or more ({advantage_text(c, winner)})"
        return _by_speed(time, race, f"{_lead(time, race)} {clause}", [])
    if c.at_target and winner in _all_reached(time.contrast):
        clause = f"{_lead(time, race)}; runs stopped there, so final {quality.metric} does not count"
        return _by_speed(time, race, clause, ["moderate"])
    seen = advantage_text(c, winner)
    return _by_time_alone(time, race, f"equal final {quality.metric} is not shown ({winner}: {seen})")


def _by_time_alone(time: Ruling, race: Race, doubt: str) -> Decision:
    """Speed alone is no win, but reaching the target sooner on every seed is one, with low confidence."""
    winner = time.winner or ""
    if race.kind == "target" and winner in _all_reached(time.contrast):
        return _by_speed(time, race, f"{_lead(time, race)}, but {doubt}", ["low"])
    return _undecided(time.contrast, f"No winner: {_lead(time, race, winner)}, but {doubt}", "low")


def _by_speed(time: Ruling, race: Race, clause: str, caps: Sequence[Confidence]) -> Decision:
    c, winner = time.contrast, time.winner or ""
    if time.by_counts:
        short = "more runs reached the target" if race.kind == "target" else "more runs reached the end"
    else:
        short = f"{_rounded(c, winner)} {'faster' if race.kind == 'rate' else 'sooner'}"
    return replace(_decision(time, clause, time, caps), short=short)


def _rounded(c: Contrast, winner: str) -> str:
    """The winner's advantage without its interval: `2.1x`, `12x`, `1.06x` or `1.5 points`."""
    value = c.seen_from(winner).value
    if c.neutral and value is not None:
        return f"{value:.{2 if value < 1.1 else 1 if value < 10 else 0}f}x"
    return advantage_text(c, winner).partition(" [")[0].lstrip("+")


def _decision(
    deciding: Ruling, clause: str, time: Ruling, caps: Sequence[Confidence], by_quality: bool = False
) -> Decision:
    c, p, winner = deciding.contrast, deciding.p_value, deciding.winner or ""
    n = min(c.counts.runs) if deciding.by_counts else c.pairs.n
    limits: list[Confidence] = [*caps, "high"]
    if n < ENOUGH_SEEDS or winner not in _all_reached(time.contrast) or p is None or p >= 0.05:
        limits.append("low")
    elif p >= CERTAIN or not (c.pairs.paired or deciding.by_counts):
        limits.append("moderate")
    advantage = time.contrast.seen_from(winner).value or 1.0
    level = min(limits, key=_LEVELS.index)
    return Decision(c.variant, c.other, winner, clause, level, by_quality=by_quality, advantage=advantage)


def _undecided(c: Contrast, clause: str, confidence: Confidence, short: str = Decision.short) -> Decision:
    return Decision(c.variant, c.other, None, clause, confidence, short)


def _confidence_in_none(c: Contrast, equal: bool) -> Confidence:
    """Confidence in "no difference": high if the interval allows 10 % at most, moderate if 25 %."""
    low, high = c.advantage.low, c.advantage.high
    if low is None or high is None or not equal or any(c.counts.bad):
        return "low"
    room = max(high, 1 / low)
    return "high" if room <= 1.1 else "moderate" if room <= 1.25 else "low"


def _lead(time: Ruling, race: Race, name: str = "it") -> str:
    c, winner = time.contrast, time.winner or ""
    if time.by_counts:
        verb = race.goal if race.kind == "target" else "the end"
        return f"{name} reached {verb} in more runs (missed: {count_text(c)}, {p_text(time.p_value)})"
    missed = f" (missed: {count_text(c)})" if any(c.counts.bad) else ""
    return f"{name} {speed_phrase(c, race, winner)} than {time.loser}{missed}"


def _all_reached(c: Contrast) -> list[str]:
    return [name for name, bad in zip((c.variant, c.other), c.counts.bad, strict=True) if not bad]


def _rank(d: Decision) -> tuple[bool, float]:
    return d.by_quality, d.advantage


def _with_rivals(best: Decision, rivals: Sequence[str]) -> Decision:
    if not rivals:
        return best
    level = min(best.confidence, "low", key=_LEVELS.index)
    return replace(best, clause=f"{best.clause}; no difference shown to {', '.join(rivals)}", confidence=level)
