"""Stragglers and input-bound training are found while a run trains."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from orchestrator.monitor.speed import LEAST_SECONDS, WINDOW_SECONDS, Pace, input_bound, straggler
from workers.news import CallTiming

pytestmark = pytest.mark.unit


def test_input_bound() -> None:
    assert input_bound(0.19, 10, 1.0) is None
    assert input_bound(math.nan, 10, 1.0) is None
    found = input_bound(0.43, 10, 1.0)
    assert found is not None
    assert (found.kind, found.step) == ("input_bound", 10)
    assert "43%" in found.evidence
    assert "prefetch" in " ".join(found.remedies)


def test_straggler() -> None:
    even = {"worker:0": 0.010, "worker:1": 0.011, "worker:2": 0.012}
    assert straggler(even, 10, 1.0) is None
    found = straggler(even | {"worker:2": 0.030}, 10, 1.0)
    assert found is not None
    assert found.kind == "straggler"
    assert found.evidence.startswith("worker:2 takes 30 ms a step, 2.73 times the median of 3 workers")
    assert straggler({}, 10, 1.0) is None


def timing(worker: int, clock: float, step_ms: float, *, steps: int = 100, **changes: Any) -> CallTiming:
    seconds = steps * step_ms / 1000
    fields = {"busy": seconds, "input_wait": 0.0, "communication": 0.0, "snapshot": 0.0} | changes
    return CallTiming("r", worker, int(clock * 10), steps, clock, seconds, **fields)


def found(pace: Pace, timings: list[CallTiming]) -> list[str]:
    kinds = [finding.kind for one in timings for finding in pace.observe(one)]
    return kinds + [finding.kind for finding in pace.finish()]


def run(seconds: float, step_ms: list[float], **changes: Any) -> list[CallTiming]:
    """Timings of parallel workers, one every tenth of a second."""
    clocks = np.arange(0.1, seconds + 0.05, 0.1)
    return [timing(w, float(c), ms, **changes) for c in clocks for w, ms in enumerate(step_ms)]


def test_equal_workers_with_ready_input_give_no_finding() -> None:
    assert found(Pace(), run(30, [1.0, 1.1, 0.9])) == []


def test_a_straggler_is_found_once_and_named() -> None:
    findings = []
    pace = Pace()
    for one in run(60, [1.0, 1.0, 1.6]):
        findings += list(pace.observe(one))
    findings += list(pace.finish())
    assert [finding.kind for finding in findings] == ["straggler"]
    assert "worker:2" in findings[0].symptom
    assert findings[0].clock is not None
    assert WINDOW_SECONDS <= findings[0].clock < WINDOW_SECONDS + 1, "while the run trains"


def test_a_straggler_takes_over_one_and_a_half_times_the_median() -> None:
    assert found(Pace(), run(12, [1.0, 1.0, 1.49])) == []
    assert found(Pace(), run(12, [1.0, 1.0, 1.51])) == ["straggler"]


def test_a_worker_that_waits_for_others_is_no_straggler() -> None:
    """In sync every call takes as long as the slowest worker's; only that worker does not wait in collectives."""
    fast = [timing(0, c / 10, 2.0, communication=0.1) for c in range(1, 150)]
    slow = [timing(1, c / 10, 2.0, communication=0.0) for c in range(1, 150)]
    findings = [f for pair in zip(fast, slow, strict=True) for one in pair for f in Pace().observe(one)]
    assert findings == []
    pace = Pace()
    findings = [f for pair in zip(fast, slow, strict=True) for one in pair for f in pace.observe(one)]
    assert [finding.kind for finding in findings] == []  # 0.1 s against 0.2 s: 1.33 times the median of two
    pace = Pace()
    third = [timing(2, c / 10, 2.0, communication=0.1) for c in range(1, 150)]
    findings = [f for three in zip(fast, slow, third, strict=True) for one in three for f in pace.observe(one)]
    assert [finding.kind for finding in findings] == ["straggler"]
    assert "worker:1" in findings[0].symptom


def test_input_bound_above_a_fifth_of_the_time() -> None:
    assert found(Pace(), run(12, [1.0, 1.0], input_wait=0.019)) == []
    assert found(Pace(), run(12, [1.0, 1.0], input_wait=0.021)) == ["input_bound"]


def test_batches_skipped_by_a_restart_are_no_slow_input() -> None:
    skipping = [timing(w, 100.5, 5000.0, steps=1, input_wait=5.0) for w in (0, 1)]
    after = [timing(w, 100.5 + c / 10, 1.0) for c in range(1, 120) for w in (0, 1)]
    assert found(Pace(), skipping + after) == []
    pace = Pace()
    assert found(pace, run(30, [1.0, 1.0])) == []
    pace.restarted()
    assert found(pace, skipping + after) == []


def test_unknown_times_give_no_finding() -> None:
    assert found(Pace(), run(30, [1.0, 5.0], busy=None, input_wait=None, communication=None)) == []
    mixed = run(30, [1.0], communication=0.05) + run(30, [9.0], communication=None)
    assert found(Pace(), mixed) == []


def test_a_short_run_is_not_judged() -> None:
    assert found(Pace(), run(LEAST_SECONDS - 0.5, [1.0, 9.0, 1.0], input_wait=0.09)) == []
    assert found(Pace(), run(LEAST_SECONDS + 0.5, [1.0, 9.0, 1.0], input_wait=0.09)) == ["straggler", "input_bound"]
