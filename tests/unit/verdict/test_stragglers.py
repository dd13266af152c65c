"""Stragglers are named with numbers, over all runs of a variant."""

from __future__ import annotations

import math

import pytest

from orchestrator.results import Timing, WorkerTime
from orchestrator.verdict.stragglers import Straggler, slowest, straggler_index, straggler_reasons
from tests.unit.simulated_runs import a_run, some_runs

pytestmark = pytest.mark.unit


def timing(seconds: dict[str, float | None], idle: dict[str, float | None] | None = None) -> Timing:
    shares = idle or {}
    return Timing(
        workers={task: WorkerTime(step_seconds=time, idle=shares.get(task)) for task, time in seconds.items()}
    )


SLOW = timing(
    {"worker:0": 0.01, "worker:1": 0.04, "worker:2": 0.01, "chief:0": None},
    {"worker:0": 0.7, "worker:1": 0.01, "worker:2": 0.72},
)
EVEN = timing({"worker:0": 0.010, "worker:1": 0.012})


def test_straggler_index_is_the_slowest_over_the_median() -> None:
    assert straggler_index({"worker:0": 0.010, "worker:1": 0.011, "worker:2": 0.012}) == pytest.approx(0.012 / 0.011)
    assert straggler_index({"worker:0": 1.0}) is None
    assert straggler_index({"worker:0": 1.0, "worker:1": math.nan}) is None


def test_the_slowest_worker_and_the_idle_time_of_the_others() -> None:
    found = slowest(SLOW)
    assert found is not None
    assert (found.task, found.factor) == ("worker:1", pytest.approx(4.0))
    assert found.others_idle == pytest.approx(0.71)


@pytest.mark.parametrize(
    "measured",
    [None, EVEN, timing({"worker:0": 0.1}), timing({"worker:0": None, "worker:1": None}), timing({})],
)
def test_no_straggler_if_all_are_even_or_too_little_was_measured(measured: Timing | None) -> None:
    assert slowest(measured) is None


def test_idle_time_is_null_unless_measured_for_all_others() -> None:
    found = slowest(timing({"worker:0": 0.01, "worker:1": 0.04, "worker:2": 0.01}, {"worker:0": 0.7}))
    assert isinstance(found, Straggler)
    assert found.others_idle is None


def test_one_sentence_per_variant() -> None:
    modes = {"sync": some_runs("sync", 300, timing=SLOW), "async": some_runs("async", 100, timing=SLOW)}
    assert straggler_reasons(modes) == [
        "sync: worker:1 takes 4.0x the median step time (5 of 5 runs); the other workers idle 71 % of the time",
        "async: worker:1 takes 4.0x the median step time (5 of 5 runs); the other workers do not wait for it",
    ]


def test_a_worker_slow_in_half_of_the_runs_or_fewer_is_no_reason() -> None:
    runs = [a_run("sync", seed, 100, timing=SLOW if seed < 2 else EVEN) for seed in range(4)]
    assert straggler_reasons({"sync": runs}) == []
    assert straggler_reasons({"sync": runs[:3]})[0].startswith("sync: worker:1 takes 4.0x")
