"""What adding workers brings, and what a slow one costs. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from orchestrator.results import RunResult
from orchestrator.verdict.evidence import Modes, Point, is_positive, pair
from orchestrator.verdict.statistics import Estimate, geometric_mean_ratio


def scaling_reasons(modes: Modes) -> list[str]:
    """`sync, 4 workers: scaling efficiency 0.62 [0.55, 0.70] against 2 workers (5 paired seeds)`.

    For variants of one mode that differ in their number of workers; none where two have the same number, as what
    sets those apart is something else.
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
            pairs = pair(_rates(sizes[workers][0]), _rates(sizes[fewest][0]))
            found = scaling_efficiency(pairs.x, pairs.y, workers / fewest, paired=pairs.paired)
            if found.value is not None:
                bounds = "" if found.low is None else f" [{found.low:.2f}, {found.high:.2f}]"
                runs_text = f"{pairs.n} paired seeds" if pairs.paired else "unpaired"
                reasons.append(
                    f"{mode}, {workers} workers: scaling efficiency {found.value:.2f}{bounds} against {fewest} "
                    f"({runs_text})"
                )
    return reasons


def _rates(runs: Sequence[RunResult]) -> list[Point]:
    return [Point(run.seed, rate) for run in runs if is_positive(rate := run.throughput.samples_per_s)]


def scaling_efficiency(many: Sequence[float], few: Sequence[float], workers: float, *, paired: bool = True) -> Estimate:
    """X_N / (N X_1), from the throughputs of runs with N times the workers (`many`) and with one (`few`).

    1 is linear scaling. The geometric mean over paired seeds and its interval, over N; the p-value is of
    "scaling is linear". `workers` may be a quotient, such as 8/2. Intervals and n < 2: as
    `geometric_mean_ratio`. Source: Kumar, Grama, Gupta & Karypis, Introduction to Parallel Computing, 5.2.
    """
    if not (math.isfinite(workers) and workers > 0):
        raise ValueError(f"workers must be above 0, not {workers}")
    return geometric_mean_ratio(many, [workers * x for x in few], paired=paired)


def sync_seconds(draws: Sequence[Sequence[float]], overhead: float = 0.0) -> float | None:
    """Seconds that synchronous training needs under a straggler trace: sum over steps of the slowest draw.

    `draws[step][worker]` are that worker's seconds in that step; `overhead` is what each step adds for all of
    them (the all-reduce). Assumes a barrier at every step and workers that do not disturb each other.
    No step, a step without workers, or a draw that is not finite or below 0: nothing.
    Source: Dutta et al. (2018), Slow and Stale Gradients Can Win the Race, AISTATS, section 3.
    """
    slowest = [max(step) for step in draws if _is_complete(step)]
    if not slowest or len(slowest) < len(draws):
        return None
    return math.fsum(slowest) + overhead * len(slowest)


def waiting_share(draws: Sequence[Sequence[float]]) -> float | None:
    """Share of the workers' time spent waiting at the barrier: 1 - sum of draws / (N sum of slowest draws).

    One of 4 workers 4 times slower: 0.5625. Same assumptions and `None` as `sync_seconds`, and with time 0.
    """
    seconds = sync_seconds(draws)
    if not seconds:
        return None
    busy = math.fsum(math.fsum(step) / len(step) for step in draws)
    return 1 - busy / seconds


def _is_complete(step: Sequence[float]) -> bool:
    return bool(step) and all(math.isfinite(draw) and draw >= 0 for draw in step)
