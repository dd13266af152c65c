"""Where the time went: what a worker tells, what is found in it while the run is on, and what the result says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.monitor.speed import LEAST_SECONDS, WINDOW_SECONDS, Pace
from orchestrator.store import summaries
from orchestrator.store.metrics import MetricsWriter
from tests.made import status
from workers.messages import Task
from workers.modes.mode import Call
from workers.modes.registry import traits
from workers.news import CallTiming
from workers.training.timing import CallTimer, LegClock

pytestmark = pytest.mark.unit


def timing(worker: int, clock: float, step_ms: float, *, steps: int = 100, **changes: Any) -> CallTiming:
    seconds = steps * step_ms / 1000
    fields = {"busy": seconds, "input_wait": 0.0, "communication": 0.0, "snapshot": 0.0} | changes
    return CallTiming("r", worker, int(clock * 10), steps, clock, seconds, **fields)


def found(pace: Pace, timings: list[CallTiming]) -> list[str]:
    kinds = [finding.kind for one in timings for finding in pace.observe(one)]
    return kinds + [finding.kind for finding in pace.finish()]


def run(seconds: float, step_ms: list[float], **changes: Any) -> list[CallTiming]:
    """Workers side by side for so long, a timing every tenth of a second."""
    clocks = np.arange(0.1, seconds + 0.05, 0.1)
    return [timing(w, float(c), ms, **changes) for c in clocks for w, ms in enumerate(step_ms)]


def test_equal_workers_with_their_data_ready_are_well() -> None:
    assert found(Pace(), run(30, [1.0, 1.1, 0.9])) == []


def test_a_worker_slower_than_the_others_is_found_once_and_named() -> None:
    findings = []
    pace = Pace()
    for one in run(60, [1.0, 1.0, 1.6]):
        findings += list(pace.observe(one))
    findings += list(pace.finish())
    assert [finding.kind for finding in findings] == ["straggler"]
    assert "worker:2" in findings[0].symptom
    assert findings[0].clock is not None
    assert WINDOW_SECONDS <= findings[0].clock < WINDOW_SECONDS + 1, "while the run is on"


def test_the_bound_is_one_and_a_half_times_the_median() -> None:
    assert found(Pace(), run(12, [1.0, 1.0, 1.49])) == []
    assert found(Pace(), run(12, [1.0, 1.0, 1.51])) == ["straggler"]


def test_waiting_for_others_is_not_being_slow() -> None:
    """Sync: everybody's call takes as long as the slowest worker's; only that one does not wait in collectives."""
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


def test_more_than_a_fifth_of_waiting_for_input_is_too_much() -> None:
    assert found(Pace(), run(12, [1.0, 1.0], input_wait=0.019)) == []
    assert found(Pace(), run(12, [1.0, 1.0], input_wait=0.021)) == ["input_bound"]


def test_what_a_restart_skips_is_no_slow_input() -> None:
    skipping = [timing(w, 100.5, 5000.0, steps=1, input_wait=5.0) for w in (0, 1)]
    after = [timing(w, 100.5 + c / 10, 1.0) for c in range(1, 120) for w in (0, 1)]
    assert found(Pace(), skipping + after) == []
    pace = Pace()
    assert found(pace, run(30, [1.0, 1.0])) == []
    pace.goes_on()
    assert found(pace, skipping + after) == []


def test_what_cannot_be_seen_is_not_found() -> None:
    assert found(Pace(), run(30, [1.0, 5.0], busy=None, input_wait=None, communication=None)) == []
    mixed = run(30, [1.0], communication=0.05) + run(30, [9.0], communication=None)
    assert found(Pace(), mixed) == []


def test_a_run_of_a_moment_is_not_judged() -> None:
    assert found(Pace(), run(LEAST_SECONDS - 0.5, [1.0, 9.0, 1.0], input_wait=0.09)) == []
    assert found(Pace(), run(LEAST_SECONDS + 0.5, [1.0, 9.0, 1.0], input_wait=0.09)) == ["straggler", "input_bound"]


# What a worker tells.


def call(worker: int, first: int, steps: int, began: float, took: float, **changes: Any) -> Call:
    fields = {"busy": took, "input_wait": took / 10, "communication": None} | changes
    return Call(worker, np.arange(first, first + steps), np.ones((steps, 1)), began, began + took, **fields)


def clock(origin: float) -> LegClock:
    started = LegClock()
    started.origin = origin
    return started


def test_short_calls_are_told_together() -> None:
    timer = CallTimer("r", clock(1000.0))
    told = [t for i in range(100) for t in timer.add(call(0, i + 1, 1, 1000 + i * 0.012, 0.012))] + list(timer.rest())
    assert sum(one.steps for one in told) == 100
    assert len(told) == 12  # every ninth call fills a tenth of a second
    assert told[0].steps == 9
    assert sum(one.busy or 0 for one in told) == pytest.approx(1.2)
    assert sum(one.input_wait or 0 for one in told) == pytest.approx(0.12)
    assert {one.communication for one in told} == {None}
    assert told[-1].last_step == 100
    assert told[-1].clock == pytest.approx(100 * 0.012)


def test_workers_are_told_apart_and_snapshots_once() -> None:
    running = clock(0.0)
    timer = CallTimer("r", running)
    assert [t.worker for t in timer.add(call(0, 1, 10, 0.0, 0.2))] == [0]
    timer.snapshot(0.5)
    one, two = *timer.add(call(1, 11, 10, 0.0, 0.2)), *timer.add(call(0, 21, 10, 0.2, 0.2))
    assert (one.worker, one.snapshot, two.worker, two.snapshot) == (1, 0.5, 0, 0.0)
    running.origin += 10.0
    (third,) = timer.add(call(0, 31, 10, 10.4, 0.2))
    assert third.clock == pytest.approx(0.6), "the training clock stood still"


def test_a_call_without_steps_tells_nothing() -> None:
    timer = CallTimer("r", clock(0.0))
    assert list(timer.add(call(0, 1, 0, 0.0, 0.5))) == list(timer.rest()) == []


# What the result says.


def stored(path: Path, *timings: CallTiming) -> Path:
    store = MetricsWriter(path)
    store.add(1, status(Task("worker", 0), *timings))
    store.close()
    return path


def test_sync_shares(tmp_path: Path) -> None:
    """Of 10 s each worker computes; worker 1 is slow, and worker 0 waits for it in the collective."""
    path = stored(
        tmp_path,
        CallTiming("r", 0, 100, 100, 10.0, 10.0, 9.0, 1.0, 5.0, 0.5),
        CallTiming("r", 1, 100, 100, 10.0, 10.0, 9.5, 0.5, 1.0, 0.0),
    )
    timing = summaries.timing(path, traits("sync"))
    assert timing is not None
    zero, one = timing.workers["worker:0"], timing.workers["worker:1"]
    assert (zero.input_wait, zero.compute, zero.communication, zero.snapshot) == pytest.approx((0.1, 0.3, 0.5, 0.05))
    assert zero.idle == pytest.approx(1 - (9 - 1 - 4) / 10 - 0.05), "4 s of the collective were waiting"
    assert one.idle == pytest.approx(1 - (9.5 - 0.5) / 10)
    assert (zero.step_seconds, one.step_seconds) == pytest.approx((0.04, 0.085))
    assert timing.straggler_index == pytest.approx(0.085 / 0.0625)


def test_async_shares(tmp_path: Path) -> None:
    path = stored(
        tmp_path,
        CallTiming("r", 0, 100, 100, 10.0, 9.0, 8.0, 2.0, None, 0.4),
        CallTiming("r", 1, 150, 50, 10.0, 9.0, 8.0, 0.0, None, 0.2),
    )
    timing = summaries.timing(path, traits("async"))
    assert timing is not None
    zero = timing.workers["worker:0"]
    assert (zero.compute, zero.communication, zero.snapshot) == (None, None, None)
    assert (zero.input_wait, zero.idle) == pytest.approx((0.2, 0.4))
    assert timing.workers["chief:0"].snapshot == pytest.approx(0.06), "the chief takes them"
    assert timing.straggler_index == pytest.approx(0.16 / 0.12)


def test_one_call_that_was_not_seen_leaves_the_sum_unknown(tmp_path: Path) -> None:
    path = stored(
        tmp_path,
        CallTiming("r", 0, 100, 100, 5.0, 5.0, 5.0, 1.0, 1.0, 0.0),
        CallTiming("r", 0, 200, 100, 10.0, 5.0, 5.0, None, None, 0.0),
    )
    timing = summaries.timing(path, traits("sync"))
    assert timing is not None
    zero = timing.workers["worker:0"]
    assert zero.input_wait is zero.compute is zero.communication is zero.idle is zero.step_seconds is None
    assert timing.straggler_index is None


def test_nothing_timed_is_null(tmp_path: Path) -> None:
    assert summaries.timing(stored(tmp_path), "sync") is None
