"""Assembles a comparison from the results of its runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from orchestrator.results import DEFAULT_MARGIN, Comparison, ModeResults, RunResult, Tuning
from orchestrator.verdict.evidence import horizon_seconds, plan_race
from orchestrator.verdict.judge import judge
from orchestrator.verdict.summary import summarize

ONE_AFTER_ANOTHER = "variants ran one after another, so a machine that slowed down meanwhile hurt the later ones more"


def assemble(
    comparison_id: str,
    results: Sequence[RunResult],
    variants: Sequence[str],
    *,
    job: str,
    seeds: Sequence[int],
    margin: float = DEFAULT_MARGIN,
    notes: Sequence[str] = (),
    tuning: Mapping[str, Tuning] | None = None,
) -> Comparison:
    """The comparison of `results`, given in the order in which the runs began; the first variant is the baseline.

    `notes` are added to the reasons of the verdict, for facts that the results do not hold.
    """
    modes = {name: tuple(result for result in results if result.variant_name == name) for name in variants}
    horizon = horizon_seconds(modes, plan_race(modes))
    interleaved = took_turns([result.variant_name for result in results])
    reasons = [*([] if interleaved else [ONE_AFTER_ANOTHER]), *notes]
    if shrunk := [result.run_id for result in results if result.fewest_workers is not None]:
        reasons.append(f"hosts were lost, and these runs trained with fewer workers for a while: {', '.join(shrunk)}")
    return Comparison(
        comparison_id=comparison_id,
        job=job,
        baseline=variants[0],
        seeds=tuple(seeds),
        margin=margin,
        interleaved=interleaved,
        modes={name: ModeResults(runs=runs, summary=summarize(runs, horizon)) for name, runs in modes.items()},
        verdict=judge(modes, variants[0], margin, reasons, tuned=tuning is not None),
        tuning=tuning,
    )


def took_turns(variants: Sequence[str]) -> bool:
    """Whether runs of these variants, in the order in which they began, alternated as far as possible."""
    blocks = 1 + sum(one != next_one for one, next_one in pairwise(variants))
    return blocks > len(set(variants)) or len(variants) == len(set(variants))
