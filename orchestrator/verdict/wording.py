"""A comparison's numbers as sentences. Pure; every sentence carries its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.verdict.contrast import Contrast
from orchestrator.verdict.evidence import Modes, Quality, Race
from orchestrator.verdict.statistics import Estimate

_SAID_ELSEWHERE = frozenset({"straggler"})
"""Kinds of findings that have a reason of their own, over all runs (`orchestrator.verdict.stragglers`)."""
ONE_AFTER_ANOTHER = "variants ran one after another: a machine that got slower meanwhile hurt the later ones"
FEWEST_SEEDS = 3
"""Fewer prove nothing."""


@dataclass(frozen=True)
class Ruling:
    """A contrast, judged: see the table in docs/verdict.md."""

    contrast: Contrast
    winner: str | None = None
    by_counts: bool = False
    """Won by fewer missed or lost runs, not by the size of the advantage."""
    p_value: float | None = None
    """Of the deciding test, adjusted for all tests of the comparison."""
    equal: bool = False
    """TOST holds."""

    @property
    def loser(self) -> str:
        return self.contrast.other if self.winner == self.contrast.variant else self.contrast.variant

    @property
    def enough(self) -> bool:
        return self.contrast.pairs.n >= FEWEST_SEEDS


def decimals(value: float) -> int:
    return 2 if value < 2 else 1 if value < 100 else 0


def factor(estimate: Estimate) -> str:
    """`2.9x [2.8, 3.0]`; the bounds only where there are any."""
    if estimate.value is None:
        return "not measured"
    d = decimals(estimate.value)
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.{d}f}x"
    high = f"{estimate.high:.{d}f}" if estimate.high < 1000 else "over 1000"
    return f"{estimate.value:.{d}f}x [{estimate.low:.{d}f}, {high}]"


def points(estimate: Estimate) -> str:
    """`+0.30 points [-0.20, +0.80]`."""
    if estimate.value is None:
        return "not measured"
    d = 2 if abs(estimate.value) < 0.01 else 1
    text = f"{100 * estimate.value:+.{d}f} points"
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} [{100 * estimate.low:+.{d}f}, {100 * estimate.high:+.{d}f}]"


def p_text(p: float | None, name: str = "p") -> str:
    if p is None:
        return "too few for a test"
    if p < 0.001:
        return f"{name} < 0.001"
    return f"{name} = {p:.{3 if p < 0.01 else 2}f}"


def sample_text(contrast: Contrast) -> str:
    pairs = contrast.pairs
    runs = "run" if pairs.left_out == 1 else "runs"
    left = f", {pairs.left_out} {runs} without a partner left out" if pairs.left_out else ""
    if pairs.paired:
        return f"{pairs.n} paired seed{'s' if pairs.n != 1 else ''}{left}"
    return f"{len(pairs.x)} and {len(pairs.y)} runs, unpaired{left}"


def count_text(contrast: Contrast) -> str:
    """`async 1 of 5, sync 0 of 5`."""
    (bad_x, bad_y), (n_x, n_y) = contrast.counts.bad, contrast.counts.runs
    return f"{contrast.variant} {bad_x} of {n_x}, {contrast.other} {bad_y} of {n_y}"


def speed_phrase(contrast: Contrast, race: Race, name: str) -> str:
    """`reached val_accuracy >= 0.95 2.9x [2.8, 3.0] sooner`; `... as fast` where it is no claim."""
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
        return f"time: not measured for both {c.variant} and {c.other}"
    if ruling.winner:
        phrase = speed_phrase(c, race, ruling.winner)
        tail = f"({sample_text(c)}, {p_text(ruling.p_value)}){misses}"
        return f"{ruling.winner} {phrase} than {ruling.loser} {tail}"
    if not ruling.enough:
        return f"time, observed: {c.variant} {_verb(race)} {factor(c.advantage)} as fast as {c.other}{misses}"
    return (
        f"time: no difference shown: {c.variant} {_verb(race)} {factor(c.advantage)} as fast as {c.other}"
        f" ({sample_text(c)}, {p_text(ruling.p_value)}){misses}{_why_not(c)}"
    )


def quality_reason(ruling: Ruling, quality: Quality) -> str:
    c, metric = ruling.contrast, f"final {quality.metric}"
    lost = f"; lost (failed or not finite): {count_text(c)}" if any(c.counts.bad) else ""
    if ruling.by_counts:
        return f"{metric}: {ruling.winner} lost fewer runs ({p_text(ruling.p_value)}){lost}"
    if c.advantage.value is None:
        why = "" if quality.is_share else " (a relative margin needs values above 0)"
        return f"{metric}: not measured for both {c.variant} and {c.other}{why}{lost}"
    seen = f"{c.variant} {advantage_text(c, c.variant)} against {c.other} ({sample_text(c)}"
    tost = p_text(c.p_equal, "TOST p")
    if ruling.winner:
        won = advantage_text(c, ruling.winner).lstrip("+")
        return f"{metric}: {ruling.winner} {won} better than {ruling.loser} ({sample_text(c)}, " + (
            f"{p_text(ruling.p_value)}){lost}"
        )
    if not ruling.enough:
        return f"{metric}, observed: {seen}){lost}"
    if ruling.equal:
        return f"{metric}: equal within {margin_text(c)}: {seen}, {tost}){lost}"
    if c.at_target:
        return f"{metric}: runs stopped at the target, so no contest of final quality: {seen}, {tost}){lost}"
    return f"{metric}: neither equal within {margin_text(c)} nor different is shown: {seen}, {tost}){lost}"


def cost_reason(ruling: Ruling, race: Race) -> str:
    c = ruling.contrast
    to_target = " up to the target" if race.kind == "target" else ""
    if ruling.by_counts:
        return f"cost: {ruling.winner} pays for fewer runs that miss ({count_text(c)}, {p_text(ruling.p_value)})"
    tail = f"({sample_text(c)}, {p_text(ruling.p_value)})"
    if ruling.winner:
        won = factor(c.seen_from(ruling.winner))
        return f"{ruling.winner} cost {won} less{to_target} than {ruling.loser} {tail}"
    claim = "no difference shown" if ruling.enough else "observed"
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
    """What slowed or upset the runs, once per variant and kind, in the words of the first run that met it."""
    reasons = []
    for name, runs in modes.items():
        met: dict[str, list[str]] = {}
        for run in runs:
            for kind in {finding.kind for finding in run.stability.findings} - _SAID_ELSEWHERE:
                first = next(finding for finding in run.stability.findings if finding.kind == kind)
                said = f"{first.symptom}: {first.evidence}" if first.evidence else first.symptom
                met.setdefault(kind, []).append(said)
        for kind, texts in sorted(met.items()):
            reasons.append(f"{name}: {texts[0]} ({kind}, {len(texts)} of {len(runs)} runs)")
    return reasons


def _why_not(c: Contrast) -> str:
    """Why an interval that excludes "the same" names no winner."""
    if not c.excludes_neutral():
        return ""
    if not c.matters():
        return f"; a difference under {margin_text(c)} does not matter"
    if c.loses_more(c.favours() or ""):
        return f"; {c.favours()} missed more runs, so its sooner runs do not count as a win"
    return "; not beyond chance, given how many questions were asked"


def _verb(race: Race) -> str:
    return {
        "target": f"reached {race.goal}",
        "budget": "finished the same samples",
        "rate": "processed samples",
    }[race.kind]
