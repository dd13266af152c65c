"""Sentences about a comparison, each with its numbers. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator import text
from orchestrator.verdict.contrast import Contrast
from orchestrator.verdict.evidence import Modes, Quality, Race
from orchestrator.verdict.statistics import Estimate

_TOLD_ELSEWHERE = frozenset({"straggler"})
"""Kinds of findings with a reason of their own, from all runs of a variant (`orchestrator.verdict.stragglers`)."""
FEWEST_SEEDS = 3
"""Fewer seeds prove nothing."""


@dataclass(frozen=True)
class Ruling:
    """A contrast with its verdict: the table "Questions" in docs/verdict.md."""

    contrast: Contrast
    winner: str | None = None
    by_counts: bool = False
    """Whether fewer missed or lost runs decided, not the size of the advantage."""
    p_value: float | None = None
    """P-value of the deciding test, adjusted for all tests of the comparison."""
    equal: bool = False
    """Whether TOST shows equality."""

    @property
    def loser(self) -> str:
        return self.contrast.other if self.winner == self.contrast.variant else self.contrast.variant

    @property
    def enough(self) -> bool:
        return self.contrast.pairs.n >= FEWEST_SEEDS


def factor(estimate: Estimate) -> str:
    """`2.9x [2.8, 3.0]`, without the interval if there is none."""
    if estimate.value is None:
        return "not measured"
    return text.factor(estimate.value, estimate.low, estimate.high)


def points(estimate: Estimate) -> str:
    """`+0.30 points [-0.20, +0.80]`."""
    if estimate.value is None:
        return "not measured"
    d = 2 if abs(estimate.value) < 0.01 else 1
    value = f"{100 * estimate.value:+.{d}f} points"
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} [{100 * estimate.low:+.{d}f}, {100 * estimate.high:+.{d}f}]"


def p_text(p: float | None, name: str = "p") -> str:
    if p is None:
        return "too few for a test"
    if p < 0.001:
        return f"{name} < 0.001"
    return f"{name} = {p:.{3 if p < 0.01 else 2}f}"


def sample_text(contrast: Contrast) -> str:
    pairs = contrast.pairs
    if not pairs.paired:
        return f"{len(pairs.x)} and {len(pairs.y)} runs, unpaired"
    left_out = f", {text.plural(pairs.left_out, 'run')} without a partner left out" if pairs.left_out else ""
    return f"{text.plural(pairs.n, 'paired seed')}{left_out}"


def count_text(contrast: Contrast) -> str:
    """`async 1 of 5, sync 0 of 5`."""
    (bad_x, bad_y), (n_x, n_y) = contrast.counts.bad, contrast.counts.runs
    return f"{contrast.variant} {bad_x} of {n_x}, {contrast.other} {bad_y} of {n_y}"


def speed_phrase(contrast: Contrast, race: Race, name: str) -> str:
    """`reached val_accuracy >= 0.95 2.9x [2.8, 3.0] sooner`."""
    return f"{_verb(race)} {factor(contrast.seen_from(name))} {'faster' if race.kind == 'rate' else 'sooner'}"


def time_reason(ruling: Ruling, race: Race) -> str:
    c = ruling.contrast
    if c.counts.bad == c.counts.runs != (0, 0):
        return f"no run of {c.variant} or {c.other} {_verb(race)}"
    misses = ""
    if any(c.counts.bad):
        per = " per sample" if race.kind == "rate" else ""
        misses = f"; missed: {count_text(c)}, each counted as the common horizon, {race.horizon:.3g} s{per}"
    if ruling.by_counts:
        return f"{ruling.winner} {_verb(race)} in more runs ({p_text(ruling.p_value)}){misses}"
    if c.advantage.value is None:
        return f"time: {c.variant} and {c.other} cannot be compared, as it was not measured for both"
    if ruling.winner:
        phrase = speed_phrase(c, race, ruling.winner)
        tail = f"({sample_text(c)}, {p_text(ruling.p_value)}){misses}"
        return f"{ruling.winner} {phrase} than {ruling.loser} {tail}"
    seen = f"{c.variant} {_verb(race)} {factor(c.advantage)} as fast as {c.other}"
    if not ruling.enough:
        return f"time, with too few seeds for a test: {seen}{misses}"
    tested = f"({sample_text(c)}, {p_text(ruling.p_value)})"
    return f"time: no difference shown: {seen} {tested}{misses}{_why_not(c)}"


def quality_reason(ruling: Ruling, quality: Quality) -> str:
    c, metric = ruling.contrast, f"final {quality.metric}"
    lost = f"; lost (failed or not finite): {count_text(c)}" if any(c.counts.bad) else ""
    if ruling.by_counts:
        return f"{metric}: {ruling.winner} lost fewer runs ({p_text(ruling.p_value)}){lost}"
    if c.advantage.value is None:
        why = "" if quality.is_share else " with values above 0, which a relative margin needs"
        return f"{metric}: {c.variant} and {c.other} cannot be compared, as it was not measured for both{why}{lost}"
    seen = f"{c.variant} {advantage_text(c, c.variant)} against {c.other} ({sample_text(c)}"
    tost = p_text(c.p_equal, "TOST p")
    if ruling.winner:
        won = advantage_text(c, ruling.winner).lstrip("+")
        tail = f"({sample_text(c)}, {p_text(ruling.p_value)}){lost}"
        return f"{metric}: {ruling.winner} {won} better than {ruling.loser} {tail}"
    if not ruling.enough:
        return f"{metric}, with too few seeds for a test: {seen}){lost}"
    if ruling.equal:
        return f"{metric}: equal within {margin_text(c)}: {seen}, {tost}){lost}"
    if c.at_target:
        return f"{metric} does not count, as runs stopped at the target: {seen}, {tost}){lost}"
    return f"{metric}: neither equality within {margin_text(c)} nor a difference is shown: {seen}, {tost}){lost}"


def cost_reason(ruling: Ruling, race: Race) -> str:
    c = ruling.contrast
    to_target = " up to the target" if race.kind == "target" else ""
    if ruling.by_counts:
        return f"cost: {ruling.winner} wins by fewer runs that missed ({count_text(c)}, {p_text(ruling.p_value)})"
    tail = f"({sample_text(c)}, {p_text(ruling.p_value)})"
    if ruling.winner:
        won = factor(c.seen_from(ruling.winner))
        return f"{ruling.winner} cost {won} less{to_target} than {ruling.loser} {tail}"
    claim = "no difference shown" if ruling.enough else "too few seeds for a test"
    return f"cost{to_target}: {claim}: {c.other} cost {factor(c.advantage)} what {c.variant} cost {tail}"


def stability_reason(ruling: Ruling) -> str:
    counts = f"failed, restarted or unstable runs: {count_text(ruling.contrast)}"
    return f"{counts} ({p_text(ruling.p_value)})" if ruling.winner else counts


def advantage_text(contrast: Contrast, name: str) -> str:
    estimate = contrast.seen_from(name)
    return factor(estimate) if contrast.neutral else points(estimate)


def margin_text(contrast: Contrast) -> str:
    if contrast.neutral:
        return f"{100 * (contrast.margin - 1):.3g} %"
    return f"{100 * contrast.margin:.3g} points"


def finding_reasons(modes: Modes) -> list[str]:
    """Findings of the runs, once per variant and kind, in the words of the first run that has one."""
    reasons = []
    for name, runs in modes.items():
        by_kind: dict[str, list[str]] = {}
        for run in runs:
            for kind in {finding.kind for finding in run.stability.findings} - _TOLD_ELSEWHERE:
                first = next(finding for finding in run.stability.findings if finding.kind == kind)
                words = f"{first.symptom}: {first.evidence}" if first.evidence else first.symptom
                by_kind.setdefault(kind, []).append(words)
        for kind, described in sorted(by_kind.items()):
            reasons.append(f"{name}: {described[0]} ({kind}, {len(described)} of {len(runs)} runs)")
    return reasons


def _why_not(c: Contrast) -> str:
    """Why a time interval that excludes "the same" names no winner."""
    if not c.excludes_neutral():
        return ""
    if not c.matters():
        return f"; a difference under {margin_text(c)} does not matter"
    if c.loses_more(c.favours() or ""):
        return f"; {c.favours()} missed more runs, so being faster in the others is no win"
    return "; not significant after correction for the number of questions (Holm)"


def _verb(race: Race) -> str:
    return {
        "target": f"reached {race.goal}",
        "samples": "finished the same samples",
        "rate": "processed samples",
    }[race.kind]
