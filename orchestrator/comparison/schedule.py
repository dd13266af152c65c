"""Schedules the runs of a comparison, tunes learning rates on request, and assembles the results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from orchestrator import verdict
from orchestrator.results import Comparison, RunResult, Tuning
from orchestrator.runs.execution import Schedule
from orchestrator.runs.planned import Planned
from orchestrator.spec.comparison import CompareSpec
from orchestrator.spec.run import RunSpec
from orchestrator.text import plural, seconds

LEARNING_RATE_SCALES = (1.0, 0.3, 3.0)
"""The grid of `--tune-lr`, as factors on the job's learning rate; the first wins ties."""

Tried = dict[str, list[RunResult]]
"""Runs that tuned the learning rate of each variant."""

TUNING_SEED_OFFSET = 1_000_003
"""Offset of the tuning seed, far from any seed that is scored."""


def schedule(
    spec: CompareSpec, path: Path, results: list[RunResult], tried: Tried | None = None, *, name: str | None = None
) -> tuple[list[Planned], Schedule]:
    """The first run of each variant, and the schedule of all runs, which appends scored results to `results`, and those
    of tuning to `tried`. Ids of runs begin with `name`, by default that of the folder `path`.

    Seeds are the outer loop, so that variants take turns (ABAB) and drift of the machine affects all of them.
    """
    prefix = name or path.name
    tuning = {one: _tuning_runs(spec, one, path, prefix) for one in spec.variants} if spec.tune_lr else {}
    scored = [_scored(run, path, prefix) for run in spec.runs(spec.seeds[0]).values()]
    first_runs = [runs[0] for runs in tuning.values()] or scored

    def plan() -> Schedule:
        outcomes: Tried = {} if tried is None else tried
        for turn in range(len(LEARNING_RATE_SCALES) if tuning else 0):
            for name, runs in tuning.items():
                outcomes.setdefault(name, []).append((yield runs[turn]))
        scales = {name: LEARNING_RATE_SCALES[best(found)] for name, found in outcomes.items()}
        for seed in spec.seeds:
            for name, run in spec.runs(seed).items():
                scale = run.learning_rate_scale * scales.get(name, 1.0)
                results.append((yield _scored(run.model_copy(update={"learning_rate_scale": scale}), path, prefix)))

    return first_runs, plan()


def best(outcomes: Sequence[RunResult]) -> int:
    """Index of the best run: the first to reach the target, else the best at the end of the equal budget."""

    def rank(result: RunResult) -> tuple[float, ...]:
        failed = result.status == "failed"
        target = result.target
        seconds = target.seconds if target and target.reached and target.seconds is not None else math.inf
        final = {name: value for name, value in result.final.items() if value is not None}
        loss = final.get("val_loss", final.get("loss", math.inf))
        quality = final.get(target.metric, math.nan) if target else math.nan
        signed = (-quality if target and target.op in (">=", ">") else quality) if math.isfinite(quality) else math.inf
        return (failed, seconds, signed, loss if math.isfinite(loss) else math.inf)

    return min(range(len(outcomes)), key=lambda position: rank(outcomes[position]))


def summarize_tuning(outcomes: Sequence[RunResult]) -> Tuning:
    """What was tried for one variant, one outcome for each of `LEARNING_RATE_SCALES`, and what that cost."""
    spent = [run.seconds.spent for run in outcomes if run.seconds.spent is not None]
    reached = [run.target.seconds if run.target and run.target.reached else None for run in outcomes]
    return Tuning(
        chosen=LEARNING_RATE_SCALES[best(outcomes)],
        tried={f"{scale:g}": seconds for scale, seconds in zip(LEARNING_RATE_SCALES, reached, strict=True)},
        seconds=math.fsum(spent) if len(spent) == len(outcomes) else None,
        samples=sum(run.samples or 0 for run in outcomes),
    )


def assemble(
    comparison_id: str, spec: CompareSpec, results: Sequence[RunResult], tried: Tried | None = None
) -> Comparison:
    """The comparison of `results`, which are in the order of the schedule; its end may be missing. `tried` are the
    runs that tuned the learning rates."""
    missing = len(spec.variants) * len(spec.seeds) - len(results)
    notes = [f"not started, because the timeout had passed: {plural(missing, 'run')}, which `regatta resume` trains"]
    tuning = {
        name: summarize_tuning(runs) for name, runs in (tried or {}).items() if len(runs) == len(LEARNING_RATE_SCALES)
    }
    return verdict.assemble(
        comparison_id,
        results,
        list(spec.variants),
        job=spec.run.job,
        seeds=spec.seeds,
        margin=spec.margin,
        notes=[
            *(notes if missing else ()),
            *earlier_fits(results),
            *(_told(name, found) for name, found in tuning.items()),
        ],
        tuning=tuning or None,
    )


def earlier_fits(results: Sequence[RunResult]) -> list[str]:
    """What the runs of a script trained before the fit that is compared, and what that took; nothing for others."""
    trained = [run for run in results if run.earlier_fits]
    if not trained:
        return []
    count = max(len(run.earlier_fits) for run in trained)
    spent = median(math.fsum(fit.total or 0.0 for fit in run.earlier_fits) for run in trained)
    which = "fit 1" if count == 1 else f"fits 1 to {count}"
    return [
        f"fit {count + 1} of the script is compared; every run trained {which} itself before that, in its own mode "
        f"({seconds(spent)} a run with launches, median), which times and costs leave out"
    ]


def _told(name: str, tuning: Tuning) -> str:
    tried = ", ".join(
        f"{scale}x {'missed' if value is None else seconds(value)}" for scale, value in tuning.tried.items()
    )
    cost = f"{seconds(tuning.seconds)}, {tuning.samples:,} samples"
    return f"--tune-lr chose {tuning.chosen:g}x the learning rate for {name} (to the target: {tried}); it cost {cost}"


def _scored(run: RunSpec, path: Path, prefix: str) -> Planned:
    run_id = f"{prefix}-{run.label}"
    return Planned(run, path / "runs" / run_id, run_id)


def _tuning_runs(spec: CompareSpec, name: str, path: Path, prefix: str) -> list[Planned]:
    run = spec.variant(name, spec.seeds[0] + TUNING_SEED_OFFSET)
    planned = []
    for scale in LEARNING_RATE_SCALES:
        tried = run.model_copy(update={"learning_rate_scale": run.learning_rate_scale * scale})
        run_id = f"{prefix}-{tried.label}-lr-x{scale:g}"
        planned.append(Planned(tried, path / "tuning" / run_id, run_id))
    return planned
