"""Advice on what to try next, given what a comparison showed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.verdict.contrast import Question
from orchestrator.verdict.evidence import Modes, Quality, Race
from orchestrator.verdict.statistics import seeds_to_halve
from orchestrator.verdict.stragglers import straggler_reasons
from orchestrator.verdict.wording import FEWEST_SEEDS, Ruling, margin_text

GOOD_SEEDS = 5
MOST_SEEDS = 50
"""No advice asks for more seeds than this."""


def next_steps(
    modes: Modes, ruled: Sequence[Mapping[Question, Ruling]], race: Race, quality: Quality | None
) -> list[str]:
    """Distinct sentences, the most urgent first."""
    runs = [run for group in modes.values() for run in group]
    steps = []
    seeds = min((min(rulings["time"].contrast.counts.runs) for rulings in ruled), default=0)
    if seeds < FEWEST_SEEDS:
        steps.append(f"Run at least {GOOD_SEEDS} seeds (--seeds {GOOD_SEEDS}); {seeds} cannot prove anything.")
    elif seeds < GOOD_SEEDS:
        steps.append(f"Run {GOOD_SEEDS} seeds (--seeds {GOOD_SEEDS}): {seeds} give wide intervals.")
    if race.kind != "target":
        steps.append('Set a target (--target "METRIC>=VALUE"): the time to a result says more than speed.')
    elif not any(run.target and run.target.reached for run in runs):
        steps.append(f"No run reached {race.goal}: train on more samples (--samples) or lower the target.")
    if seeds >= FEWEST_SEEDS and any(not rulings["time"].contrast.pairs.paired for rulings in ruled):
        steps.append("Train every variant with the same seeds: paired runs need fewer of them.")
    for rulings in ruled:
        steps += _for_pair(modes, rulings, quality)
    if slow := straggler_reasons(modes):
        steps.append(f"Fix, remove or relieve (--balance) the slow worker, then compare again ({slow[0]}).")
    return list(dict.fromkeys(steps))


def _for_pair(modes: Modes, rulings: Mapping[Question, Ruling], quality: Quality | None) -> list[str]:
    steps = []
    time, final, stability = rulings["time"], rulings.get("quality"), rulings["stability"]
    c = time.contrast
    if final is not None and quality is not None and final.enough:
        need = final.contrast.seeds_to_equal
        settled = final.equal or final.winner or final.contrast.at_target
        unclear = not settled and not (time.winner and final.contrast.not_worse(time.winner))
        if unclear and need is not None and final.contrast.pairs.paired:
            equal = f"that {c.variant} and {c.other} have equal {quality.metric} within {margin_text(final.contrast)}"
            if final.contrast.pairs.n < need <= MOST_SEEDS:
                steps.append(f"To show {equal}, run about {need} seeds.")
            elif need > MOST_SEEDS:
                steps.append(f"To show {equal} takes over {MOST_SEEDS} seeds: widen the margin.")
        if final.winner:
            loser = final.loser
            stale = any(run.staleness and run.staleness.mean > 0 for run in modes[loser])
            why = "; its gradients are stale, so try a lower learning rate" if stale else ""
            steps.append(f"Tune the learning rate of {loser} (--tune-lr) before rejecting it{why}.")
    low, high = c.advantage.low, c.advantage.high
    if time.enough and not time.winner and low and high and max(high, 1 / low) > 1.25:
        need = seeds_to_halve(c.pairs.n)
        steps.append(
            f"Run {need} seeds (--seeds {need}) to halve the interval of {c.variant} against {c.other}, "
            f"{low:.2f}x to {high:.2f}x as fast."
        )
    if any(stability.contrast.counts.bad):
        steps.append("Read the findings and logs of the failed or unstable runs before trusting either variant.")
    return steps
