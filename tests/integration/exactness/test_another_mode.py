"""A run that continues in another mode continues from the very state that it had."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.exactness.test_sync_is_exact import in_one_process
from tests.integration.local_runs import train
from tests.marked import slow

STEPS, BATCH = 120, 16
SLOW = "persistent:worker=0,factor=1"
"""Steps of 20 ms, of which some are left when the run is told to end."""


@pytest.mark.slow
def test_one_process_and_then_async_with_one_worker_are_one_process(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"ps": 1, "workers": 1, "batch_size": BATCH, "samples": STEPS * BATCH}
    settings |= {"folder": tmp_path, "straggler": SLOW}
    first = train("exact.py", mode="single", attempt=1, preempted_at=40, **settings)[0]
    assert first.ended is not None
    begun = first.ended.finished.steps
    assert 40 <= begun < STEPS
    second = train("exact.py", mode="async", attempt=2, modes=("single",), **settings)[0]
    losses, weights = in_one_process(1, STEPS, {})
    np.testing.assert_array_equal(second.steps, np.arange(begun + 1, STEPS + 1))
    np.testing.assert_allclose([*first.losses, *second.losses], losses, rtol=1e-4)
    for ours, theirs in zip(second.final.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("before", "after"),
    [slow("sync", "kasync:3"), slow("ssp:1", "sync"), slow("kasync:2", "local:4"), slow("local:4", "backup:1")],
)
def test_the_state_is_the_same_array_by_array(before: str, after: str) -> None:
    settings: dict[str, Any] = {"ps": 1, "workers": 2, "batch_size": BATCH, "samples": 64 * BATCH}
    ended = train("exact.py", mode=before, **settings)[0].final
    taken_over = train("exact.py", mode=after, since=ended, **settings)[0]  # with no sample left
    assert taken_over.ended is not None
    assert taken_over.ended.finished.steps == ended.step
    now = taken_over.final
    assert (now.step, now.samples) == (ended.step, ended.samples)
    for name in ("weights", "optimizer"):
        for ours, theirs in zip(getattr(now, name), getattr(ended, name), strict=True):
            np.testing.assert_array_equal(ours, theirs)
