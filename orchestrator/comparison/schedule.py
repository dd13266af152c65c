"""Schedules the runs of a comparison, tunes learning rates on request, and assembles the results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from orchestrator import verdict
from orchestrator.results import Comparison, RunResult
from orchestrator.runs.execution import Planned, Schedule
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.run import RunSpec
from orchestrator.text import plural

LEARNING_RATE_SCALES = (1.0, 0.3, 3.0)
"""The grid of `--tune-lr`, as factors on the job's learning rate; the first wins ties."""

TUNING_SEED_OFFSET = 1_000_003
"""Offset of the tuning seed, far from any seed that is scored."""


def schedule(spec: CompareSpec, path: Path, results: list[RunResult]) -> tuple[list[Planned], Schedule]:
    """The first run of each variant, and the schedule of all runs, which appends scored results to `results`.

    Seeds are the outer loop, so that variants take turns (ABAB) and drift of the machine affects all of them.
    """
    tuning = {name: _tuning_runs(spec, name, path) for name in spec.variants} if spec.tune_lr else {}
    scored = [_scored(run, path) for run in spec.runs(spec.seeds[0]).values()]
    first_runs = [runs[0] for runs in tuning.values()] or scored

    def plan() -> Schedule:
        scales = {}
        tried: dict[str, list[RunResult]] = {name: [] for name in tuning}
        for turn in range(len(LEARNING_RATE_SCALES) if tuning else 0):
            for name, runs in tuning.items():
                tried[name].append((yield runs[turn]))
        for name, outcomes in tried.items():
            scales[name] = LEARNING_RATE_SCALES[best(outcomes)]
        for seed in spec.seeds:
            for name, run in spec.runs(seed).items():
                scale = run.learning_rate_scale * scales.get(name, 1.0)
                results.append((yield _scored(run.model_copy(update={"learning_rate_scale": scale}), path)))

    return first_runs, plan()


def best(outcomes: Sequence[RunResult]) -> int:
    """Index of the best run: the first to reach the target, else the best at the end of the equal budget."""

    def rank(result: RunResult) -> tuple[float, ...]:
        failed = result.status == "failed"
        target = result.target
        seconds = target.seconds if target and target.reached and target.seconds is not None else math.inf
        loss = result.final.get("val_loss", result.final.get("loss", math.inf))
        quality = result.final.get(target.metric, math.nan) if target else math.nan
        signed = (-quality if target and target.op in (">=", ">") else quality) if math.isfinite(quality) else math.inf
        return (failed, seconds, signed, loss if math.isfinite(loss) else math.inf)

    return min(range(len(outcomes)), key=lambda position: rank(outcomes[position]))


def assemble(comparison_id: str, spec: CompareSpec, results: Sequence[RunResult]) -> Comparison:
    """The comparison of `results`, which are in the order of the schedule; its end may be missing."""
    missing = len(spec.variants) * len(spec.seeds) - len(results)
    note = f"not started, because the timeout had passed: {plural(missing, 'run')}, which `regatta resume` trains"
    return verdict.assemble(
        comparison_id,
        results,
        list(spec.variants),
        job=spec.run.job,
        seeds=spec.seeds,
        margin=spec.margin,
        notes=[note] if missing else [],
    )


def _scored(run: RunSpec, path: Path) -> Planned:
    run_id = f"{path.name}-{run.label}"
    return Planned(run, path / "runs" / run_id, run_id)


def _tuning_runs(spec: CompareSpec, name: str, path: Path) -> list[Planned]:
    run = spec.variant(name, spec.seeds[0] + TUNING_SEED_OFFSET)
    planned = []
    for scale in LEARNING_RATE_SCALES:
        tried = run.model_copy(update={"learning_rate_scale": run.learning_rate_scale * scale})
        run_id = f"{path.name}-{tried.label}-lr-x{scale:g}"
        planned.append(Planned(tried, path / "tuning" / run_id, run_id))
    return planned
