"""The verdict counts every second that a run spends; another clock is named only if it names another winner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.results import RunResult, Seconds
from orchestrator.verdict.evidence import horizon_seconds, plan_race
from orchestrator.verdict.judge import judge
from tests.unit.simulated_runs import a_run, some_runs

pytestmark = pytest.mark.unit


def with_callbacks(run: RunResult, seconds: float, launch: float = 5.0) -> RunResult:
    """`run`, timed by its training, that spent as much again as `seconds` on callbacks before the target."""
    assert run.target is not None
    assert run.target.seconds is not None
    assert run.seconds.training is not None
    training, reached = run.seconds.training, run.target.seconds
    return run.model_copy(
        update={
            "seconds": Seconds(launch=launch, training=training, elapsed=training + seconds),
            "target": run.target.model_copy(update={"seconds": reached + seconds, "training_seconds": reached}),
        }
    )


def variants(slow: float, quick: float, **changes: Any) -> dict[str, list[RunResult]]:
    """`sync` trains 1.5 times as long as `async`; these are the seconds of their callbacks."""
    return {
        "sync": [with_callbacks(run, slow) for run in some_runs("sync", 6.0)],
        "async": [with_callbacks(run, quick, **changes) for run in some_runs("async", 4.0)],
    }


def test_callbacks_that_reverse_the_order_decide() -> None:
    verdict = judge(variants(slow=1.0, quick=6.0), "sync")
    assert verdict.winner == "sync"
    (said,) = [reason for reason in verdict.reasons if "would win" in reason]
    assert said == "counting training alone, without callbacks and their validation, async would win"


def test_a_launch_that_reverses_the_order_is_named() -> None:
    verdict = judge(variants(slow=1.0, quick=1.0, launch=15.0), "sync")
    assert verdict.winner == "async"
    (said,) = [reason for reason in verdict.reasons if "would win" in reason]
    assert said == "counting the launch too, which only a variant's first run waits for, sync would win"


def test_nothing_is_said_where_all_clocks_agree_or_were_not_measured() -> None:
    for modes in (
        variants(slow=1.0, quick=1.0),
        {"sync": some_runs("sync", 6.0), "async": some_runs("async", 4.0)},
        {**variants(1.0, 1.0), "async": [*variants(1.0, 1.0)["async"], a_run("async", 9, None, status="failed")]},
    ):
        assert not [reason for reason in judge(modes, "sync").reasons if "would win" in reason]


def test_a_missed_target_counts_as_the_longest_elapsed_time_where_the_race_is_for_samples_per_second() -> None:
    runs = {"sync": [with_callbacks(run, 3.0) for run in some_runs("sync", 4.0)]}
    longest = max(run.seconds.elapsed or 0.0 for run in runs["sync"])
    assert longest > 4.0
    assert horizon_seconds(runs, replace(plan_race(runs), kind="rate", horizon=1e-4)) == longest
