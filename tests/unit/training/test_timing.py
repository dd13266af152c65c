"""`CallTimer`: timings of a worker's calls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from workers.modes.mode import Call
from workers.modes.step_timer import UNMEASURED, measured
from workers.training.timing import CallTimer, LegClock

pytestmark = pytest.mark.unit


def call(worker: int, first: int, steps: int, began: float, took: float, **changes: Any) -> Call:
    fields = {"busy": took, "input_wait": took / 10, "communication": None} | changes
    return Call(worker, np.arange(first, first + steps), np.ones((steps, 1)), began, began + took, **fields)


def clock(origin: float) -> LegClock:
    started = LegClock(None)
    started.origin = origin
    return started


def test_short_calls_share_a_timing() -> None:
    timer = CallTimer("r", clock(1000.0))
    timings = [t for i in range(100) for t in timer.add(call(0, i + 1, 1, 1000 + i * 0.012, 0.012))]
    timings += timer.flush()
    assert sum(one.steps for one in timings) == 100
    assert len(timings) == 12  # every ninth call fills a tenth of a second
    assert timings[0].steps == 9
    assert sum(one.busy or 0 for one in timings) == pytest.approx(1.2)
    assert sum(one.input_wait or 0 for one in timings) == pytest.approx(0.12)
    assert {one.communication for one in timings} == {None}
    assert timings[-1].last_step == 100
    assert timings[-1].clock == pytest.approx(100 * 0.012)


def test_each_worker_has_its_own_timings_and_each_snapshot_counts_once() -> None:
    running = clock(0.0)
    timer = CallTimer("r", running)
    assert [t.worker for t in timer.add(call(0, 1, 10, 0.0, 0.2))] == [0]
    timer.add_snapshot(0.5)
    one, two = *timer.add(call(1, 11, 10, 0.0, 0.2)), *timer.add(call(0, 21, 10, 0.2, 0.2))
    assert (one.worker, one.snapshot, two.worker, two.snapshot) == (1, 0.5, 0, 0.0)
    (third,) = timer.add(call(0, 31, 10, 0.4, 0.2))
    assert third.clock == pytest.approx(0.6)


def test_a_call_without_steps_has_no_timing() -> None:
    timer = CallTimer("r", clock(0.0))
    assert list(timer.add(call(0, 1, 0, 0.0, 0.5))) == list(timer.flush()) == []


@pytest.mark.parametrize("part", ["busy", "input_wait", "communication"])
def test_parts_longer_than_the_call_are_not_measured(part: str) -> None:
    """The host's clock was set: a straggler of 25,700 ms a step was seen."""
    timer = CallTimer("r", clock(0.0))
    (timing,) = timer.add(
        call(0, 1, 1, 0.0, 0.2, **{"busy": 0.1, "input_wait": 0.01, "communication": 0.0, part: 25.7})
    )
    assert (timing.busy, timing.input_wait, timing.communication) == (None, None, None)
    assert timing.seconds == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1.5, 1.5), (0.0, 0.0), (-1e-9, 0.0), (-25.7, None), (100 * UNMEASURED + 0.3, None)]
)
def test_seconds_below_zero_are_not_measured(seconds: float, expected: float | None) -> None:
    assert measured(seconds) == expected
