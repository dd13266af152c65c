"""Judges which variant of a comparison wins, with what confidence, and why: the rules of docs/verdict.md. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.results import DEFAULT_MARGIN, Answer, Interval, Verdict
from orchestrator.verdict.advice import next_steps
from orchestrator.verdict.caveats import caveats
from orchestrator.verdict.clocks import clock_reasons
from orchestrator.verdict.contrast import Contrast, Contrasts
from orchestrator.verdict.decision import Decision, Rulings, decide, decide_all
from orchestrator.verdict.distributing import called, distributing
from orchestrator.verdict.evidence import Modes, Quality, Race, plan_quality, plan_race
from orchestrator.verdict.scaling import scaling_reasons
from orchestrator.verdict.statistics import Estimate, holm
from orchestrator.verdict.stragglers import straggler_reasons
from orchestrator.verdict.wording import (
    FEWEST_SEEDS,
    Ruling,
    cost_reason,
    finding_reasons,
    quality_reason,
    stability_reason,
    time_reason,
)

ALPHA = 0.05


def judge(
    modes: Modes,
    baseline: str,
    margin: float = DEFAULT_MARGIN,
    notes: Sequence[str] = (),
    *,
    tuned: bool = False,
) -> Verdict:
    """The verdict on any number of variants, each compared with the baseline.

    Accuracies that differ by less than `margin` count as equal. `notes` come before the reasons. `tuned`: the learning
    rate of every variant was tuned.

    Raises:
        UsageError: the baseline is not one of the variants, or the margin is not above 0.
    """
    if baseline not in modes:
        raise UsageError(f"baseline: {baseline!r} is not one of the variants: {', '.join(modes) or 'none'}")
    if not 0 < margin < float("inf"):
        raise UsageError(f"margin: {margin} is not above 0")
    race, quality = plan_race(modes), plan_quality(modes)
    if len(modes) < 2:
        return Verdict(winner=None, headline="Not enough evidence: only one variant", confidence="none")
    ruled, final = _ruled(modes, baseline, margin)
    answers = [answer for rulings in ruled for answer in to_answers(rulings, race, quality)]
    better = f"{final.short} than {called(final.loser, modes)}"
    return Verdict(
        winner=final.winner,
        headline=f"Use {final.winner}: {better}" if final.winner else final.short,
        numbers=final.clause[:1].upper() + final.clause[1:] if final.winner else final.clause,
        confidence=final.confidence,
        distributing=distributing(
            modes, lambda names, alone: _decisions(modes, margin, [(name, alone) for name in names])[1]
        ),
        caveats=tuple(caveats(modes, tuned=tuned)),
        answers=tuple(answers),
        reasons=(
            *notes,
            *(answer.reason for answer in answers),
            *clock_reasons(modes, final.winner, lambda changed: _ruled(changed, baseline, margin)[1].winner),
            *scaling_reasons(modes),
            *straggler_reasons(modes),
            *finding_reasons(modes),
        ),
        next_steps=tuple(next_steps(modes, ruled, race, quality)),
    )


def _ruled(modes: Modes, baseline: str, margin: float) -> tuple[list[Rulings], Decision]:
    """The rulings on each variant against the baseline, and the decision over all of them."""
    ruled, decisions = _decisions(modes, margin, [(name, baseline) for name in modes if name != baseline])
    final = decide_all(decisions, lambda best, rest: _decisions(modes, margin, [(best, name) for name in rest])[1])
    return ruled, final


def _decisions(modes: Modes, margin: float, pairs: Sequence[tuple[str, str]]) -> tuple[list[Rulings], list[Decision]]:
    """The rulings and the decision on each pair of variants."""
    race, quality = plan_race(modes), plan_quality(modes)
    contrasts = Contrasts(modes, race, quality, margin)
    ruled = rule_all([contrasts.between(*pair) for pair in pairs])
    return ruled, [decide(rulings, race, quality) for rulings in ruled]


def rule_all(groups: Sequence[Sequence[Contrast]]) -> list[Rulings]:
    """Rule on every contrast, with p-values adjusted within time and quality, and within cost and stability."""
    ruled: list[Rulings] = [{} for _ in groups]
    for family in (("time", "quality"), ("cost", "stability")):
        members = [(i, c) for i, group in enumerate(groups) for c in group if c.question in family]
        adjusted = iter(holm([p for _, c in members for p in _tests(c) if p is not None]))
        for i, c in members:
            size, counts = (None if p is None else next(adjusted) for p in _tests(c))
            ruled[i][c.question] = rule(c, size, counts)
    return ruled


def rule(c: Contrast, p_size: float | None, p_counts: float | None) -> Ruling:
    """Rule by counts first (which side missed or lost more runs), then by the size of the advantage."""
    (bad_x, bad_y), (n_x, n_y) = c.counts.bad, c.counts.runs
    if min(n_x, n_y) < FEWEST_SEEDS:
        return Ruling(c)
    shown = c.p_equal is not None and c.p_equal < ALPHA
    equal = shown and c.pairs.n >= FEWEST_SEEDS and not any(c.counts.bad)
    all_against_none = (bad_x, bad_y) in {(0, n_y), (n_x, 0)}
    if all_against_none or (p_counts is not None and p_counts < ALPHA):
        fewer = c.variant if bad_x * n_y < bad_y * n_x else c.other
        return Ruling(c, fewer, by_counts=True, p_value=p_counts)
    favoured = c.favours()
    significant = p_size is not None and p_size < ALPHA and c.excludes_neutral() and c.matters()
    if equal or favoured is None or not significant or c.loses_more(favoured):
        return Ruling(c, p_value=p_size, equal=equal)
    return Ruling(c, favoured, p_value=p_size)


def to_answers(rulings: Rulings, race: Race, quality: Quality | None) -> list[Answer]:
    answers = []
    for question, ruling in rulings.items():
        c = ruling.contrast
        if question == "time":
            reason = time_reason(ruling, race)
        elif question == "quality" and quality is not None:
            reason = quality_reason(ruling, quality)
        else:
            reason = cost_reason(ruling, race) if question == "cost" else stability_reason(ruling)
        of_ratio = bool(c.neutral) and c.advantage.value is not None
        answers.append(
            Answer(
                question=question,
                variant=c.variant,
                winner=ruling.winner,
                ratio=_interval(c.seen_from(ruling.winner or c.variant)) if of_ratio else None,
                difference=None if c.neutral else _interval(c.advantage),
                p_value=c.p_equal if ruling.equal else ruling.p_value,
                reason=reason,
            )
        )
    return answers


def _tests(c: Contrast) -> tuple[float | None, float | None]:
    """The p-values that can name a winner: of the advantage, and of the counts."""
    tested = c.pairs.n >= FEWEST_SEEDS and not (c.question == "quality" and c.at_target)
    return (c.advantage.p_value if tested else None), c.counts.p_value


def _interval(estimate: Estimate) -> Interval:
    return Interval(value=estimate.value, low=estimate.low, high=estimate.high)
