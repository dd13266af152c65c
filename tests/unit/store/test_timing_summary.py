"""`summaries.timing`: each worker's shares of the training time."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.store import summaries
from orchestrator.store.metrics import MetricsWriter
from tests.made import status
from workers.messages import Task
from workers.modes.registry import traits
from workers.news import CallTiming

pytestmark = pytest.mark.unit


def stored(path: Path, *timings: CallTiming) -> Path:
    store = MetricsWriter(path)
    store.add(1, status(Task("worker", 0), *timings))
    store.close()
    return path


def test_sync_shares(tmp_path: Path) -> None:
    """Worker 1 is slow, and worker 0 waits for it in the collective."""
    path = stored(
        tmp_path,
        CallTiming("r", 0, 100, 100, 10.0, 10.0, 9.0, 1.0, 5.0, 0.5),
        CallTiming("r", 1, 100, 100, 10.0, 10.0, 9.5, 0.5, 1.0, 0.0),
    )
    timing = summaries.timing(path, traits("sync"), 10.0)
    assert timing is not None
    zero, one = timing.workers["worker:0"], timing.workers["worker:1"]
    assert (zero.input_wait, zero.compute, zero.communication, zero.snapshot) == pytest.approx((0.1, 0.3, 0.5, 0.05))
    assert zero.idle == pytest.approx(1 - (9 - 1 - 4) / 10 - 0.05), "4 s in the collective were spent waiting"
    assert one.idle == pytest.approx(1 - (9.5 - 0.5) / 10)
    assert (zero.step_seconds, one.step_seconds) == pytest.approx((0.04, 0.085))
    assert timing.straggler_index == pytest.approx(0.085 / 0.0625)


def test_async_shares(tmp_path: Path) -> None:
    path = stored(
        tmp_path,
        CallTiming("r", 0, 100, 100, 10.0, 9.0, 8.0, 2.0, None, 0.4),
        CallTiming("r", 1, 150, 50, 10.0, 9.0, 8.0, 0.0, None, 0.2),
    )
    timing = summaries.timing(path, traits("async"), 10.0)
    assert timing is not None
    zero = timing.workers["worker:0"]
    assert (zero.compute, zero.communication, zero.snapshot) == (None, None, None)
    assert (zero.input_wait, zero.idle) == pytest.approx((0.2, 0.4))
    assert timing.workers["chief:0"].snapshot == pytest.approx(0.06), "the chief takes the snapshots"
    assert timing.straggler_index == pytest.approx(0.16 / 0.12)


def test_one_call_of_unknown_timing_makes_the_sums_unknown(tmp_path: Path) -> None:
    path = stored(
        tmp_path,
        CallTiming("r", 0, 100, 100, 5.0, 5.0, 5.0, 1.0, 1.0, 0.0),
        CallTiming("r", 0, 200, 100, 10.0, 5.0, 5.0, None, None, 0.0),
    )
    timing = summaries.timing(path, traits("sync"), 10.0)
    assert timing is not None
    zero = timing.workers["worker:0"]
    assert zero.input_wait is zero.compute is zero.communication is zero.idle is zero.step_seconds is None
    assert timing.straggler_index is None


def test_no_timings_give_none(tmp_path: Path) -> None:
    assert summaries.timing(stored(tmp_path), traits("sync"), 10.0) is None
