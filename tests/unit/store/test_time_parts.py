"""The parts of a run's elapsed seconds add up to them, whatever was measured."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.store.directory import RunStore
from orchestrator.store.metrics import MetricsWriter
from orchestrator.store.time_parts import APART, InCalls, in_calls, parts, spent
from tests.made import status
from workers.messages import Task
from workers.news import CallTiming

pytestmark = pytest.mark.unit

SECONDS = st.floats(0, 100)


@given(SECONDS, SECONDS, st.builds(InCalls, *(st.none() | SECONDS for _ in range(3))))
def test_parts_add_up(apart: float, steps: float, calls: InCalls) -> None:
    found = parts(apart + steps, {"callbacks": apart}, calls)
    known = [value for value in found.model_dump().values() if value is not None]
    assert math.fsum(known) == pytest.approx(apart + steps)
    assert min(known) >= 0
    assert found.callbacks == apart


def test_what_is_not_told_apart_is_null_and_in_other() -> None:
    found = parts(10.0, {"callbacks": 2.0, "recovery": 1.0}, InCalls(input=0.5))
    assert (found.compute, found.exchange, found.input) == (None, None, 0.5)
    assert (found.callbacks, found.validation, found.checkpoint, found.recovery) == (2.0, 0.0, 0.0, 1.0)
    assert found.other == pytest.approx(6.5)
    assert set(parts(None, {}, InCalls()).model_dump().values()) == {None}


def test_calls_that_go_on_during_callbacks_count_less() -> None:
    found = parts(10.0, {"callbacks": 6.0}, InCalls(6.0, 1.0, 1.0))
    assert (found.compute, found.exchange, found.input) == pytest.approx((3.0, 0.5, 0.5))
    assert found.other == pytest.approx(0.0)


def test_seconds_in_calls_are_means_over_the_workers(tmp_path: Path) -> None:
    store = MetricsWriter(tmp_path)
    for busy, waited, worker in ((9.0, 1.0, 0), (9.5, 0.5, 1)):
        timing = CallTiming("r", worker, 100, 100, 10.0, 10.0, busy, waited, 2.0, 0.0)
        store.add(1, status(Task("worker", worker), timing))
    store.commit()
    assert in_calls(tmp_path) == pytest.approx((6.5, 2.0, 0.75))
    store.add(1, status(Task("worker", 0), CallTiming("r", 0, 200, 100, 11.0, 1.0, 1.0, 0.25, None, 0.0)))
    store.close()
    assert in_calls(tmp_path) == (None, None, pytest.approx(0.875)), "one call was not measured"


def test_a_resumed_run_continues_with_what_was_recorded_last(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    assert spent(tmp_path) == {}
    store.event(1, "checkpoint", step=10, callbacks=1.0)
    store.event(1, "leg_finished", train=3.0, callbacks=2.0, validation=0.5, checkpoint=0.1, recovery=0.0)
    store.close()
    assert spent(tmp_path) == dict(zip(APART, (2.0, 0.5, 0.1, 0.0), strict=True))
