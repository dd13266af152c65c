"""Summarizes the runs of one variant over its seeds. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TypeVar

from orchestrator.results import RunResult, Summary
from orchestrator.verdict.evidence import is_interrupted, longest
from orchestrator.verdict.survival import restricted_mean

T = TypeVar("T")


def summarize(runs: Sequence[RunResult], horizon: float | None) -> Summary:
    """One variant over its seeds. Each mean is over the runs that have a measurement, and null if none has.

    Seconds and samples to the target are restricted means (Kaplan-Meier): a run that missed the target counts as
    `horizon` seconds, the same for all variants of a comparison (`evidence.horizon_seconds`).
    """
    with_target = [run for run in runs if run.target is not None]
    reached = [run for run in with_target if run.target is not None and run.target.reached]
    missed = [run for run in runs if with_target and run not in reached]
    clock = [run.seconds.spent for run in missed]
    counts = [run.samples for run in missed]
    to_target = [run.target.seconds for run in reached if run.target is not None]
    samples = [run.target.samples for run in reached if run.target is not None]
    finals = sorted({name for run in runs for name in run.final})
    means = {name: _mean(run.final.get(name) for run in runs) for name in finals}
    succeeded = [run for run in runs if run.status == "succeeded"]
    return Summary(
        runs=len(runs),
        succeeded=len(succeeded),
        reached=len(reached) if with_target else None,
        horizon=horizon if with_target else None,
        seconds_to_target=_restricted(to_target, missed, clock, horizon),
        samples_to_target=_restricted(samples, missed, counts, longest(run.samples for run in runs)),
        elapsed_seconds=_mean(run.seconds.spent for run in succeeded),
        training_seconds=_mean(run.seconds.training for run in succeeded),
        samples_per_s=_mean(run.throughput.samples_per_s for run in runs),
        final={name: mean for name, mean in means.items() if mean is not None},
        staleness_mean=_mean(run.staleness.mean for run in runs if run.staleness is not None),
        jitter=_mean(run.stability.jitter for run in runs),
        cost=_mean(run.cost for run in runs),
        updates=_mean(map(_updates, runs)),
        samples_per_update=common(run.samples_per_update for run in runs),
        learning_rate=common(run.learning_rate for run in runs),
    )


def common(values: Iterable[T]) -> T | None:
    """The value that all runs share; None if they differ."""
    distinct = set(values)
    return distinct.pop() if len(distinct) == 1 else None


def _updates(run: RunResult) -> int | None:
    """Updates until the target, if it was reached; else of the whole run."""
    return run.target.steps if run.target is not None and run.target.reached and run.target.steps else run.steps


def _restricted(
    reached: Sequence[float | None],
    missed: Sequence[RunResult],
    trained: Sequence[float | None],
    horizon: float | None,
) -> float | None:
    """None if no run reached the target: the horizon alone would look like a measurement."""
    times = [float(value) for value in reached if value is not None and value >= 0]
    if not times or horizon is None:
        return None
    for run, last in zip(missed, trained, strict=True):
        times.append(float(last or 0.0) if is_interrupted(run) else horizon)
    observed = [index < len(times) - len(missed) for index in range(len(times))]
    return restricted_mean(times, observed, horizon)


def _mean(values: Iterable[float | None]) -> float | None:
    measured = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(measured) / len(measured) if measured else None
