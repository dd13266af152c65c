"""Scaling efficiency: how much throughput more workers add. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.results import RunResult
from orchestrator.verdict.evidence import Modes, Pairs, Point, is_positive, pair
from orchestrator.verdict.statistics import Estimate, geometric_mean_ratio


def scaling_reasons(modes: Modes) -> list[str]:
    """One sentence for each number of workers above the smallest, for variants of one mode.

    `sync, 4 workers: scaling efficiency 0.62 [0.55, 0.70] against 2 workers (5 paired seeds)`

    None for a mode of which two variants have the same number of workers, as they differ in something else.
    """
    by_mode: dict[str, dict[int, list[Sequence[RunResult]]]] = {}
    for runs in modes.values():
        for mode, workers in {(run.mode, run.tasks["worker"]) for run in runs if run.tasks.get("worker")}:
            by_mode.setdefault(mode, {}).setdefault(workers, []).append(runs)
    reasons = []
    for mode, sizes in by_mode.items():
        if len(sizes) < 2 or any(len(variants) > 1 for variants in sizes.values()):
            continue
        fewest = min(sizes)
        for workers in sorted(sizes.keys() - {fewest}):
            pairs = rates(sizes[workers][0], sizes[fewest][0])
            found = scaling_efficiency(pairs.x, pairs.y, workers / fewest, paired=pairs.paired)
            if found.value is not None:
                bounds = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
                runs_text = f"{pairs.n} paired seeds" if pairs.paired else "unpaired"
                reasons.append(
                    f"{mode}, {workers} workers: scaling efficiency {found.value:.2f}{bounds} against {fewest} "
                    f"workers ({runs_text})"
                )
    return reasons


def rates(many: Sequence[RunResult], few: Sequence[RunResult]) -> Pairs:
    """Measured throughputs of two variants' runs."""
    x, y = (
        [Point(r.seed, rate) for r in runs if is_positive(rate := r.throughput.samples_per_s)] for runs in (many, few)
    )
    return pair(x, y)


def scaling_efficiency(many: Sequence[float], few: Sequence[float], workers: float, *, paired: bool = True) -> Estimate:
    """Scaling efficiency X_N / (N X_1), from throughputs with N times the workers (`many`) and without (`few`).

    1 is linear scaling. `workers` is N, and may be a quotient, such as 8/2. The estimate is the geometric mean over
    paired seeds, and the p-value is of "scaling is linear". Intervals and n < 2: as `geometric_mean_ratio`.
    Raises ValueError if `workers` is not above 0.
    Source: Kumar, Grama, Gupta & Karypis, Introduction to Parallel Computing, 5.2.
    """
    if not (math.isfinite(workers) and workers > 0):
        raise ValueError(f"workers must be above 0, not {workers}")
    return geometric_mean_ratio(many, [workers * x for x in few], paired=paired)
