"""A run that is resumed from a checkpoint computes what it would have computed without the interruption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.local_runs import Trained, train
from tests.marked import slow
from workers.messages import PREEMPTED

STEPS, BATCH, WORKERS = 600, 8, 2
TOLERANCE = 1e-6
SETTINGS: dict[str, Any] = {"mode": "sync", "workers": WORKERS, "batch_size": BATCH, "steps_per_call": 4}


def whole(folder: Path, **params: Any) -> Trained:
    return train("random_parts.py", folder=folder, samples=STEPS * WORKERS * BATCH, params=params, **SETTINGS)[0]


def in_two_parts(folder: Path, at: int = 25, **params: Any) -> tuple[Trained, Trained]:
    settings = SETTINGS | {"samples": STEPS * WORKERS * BATCH, "params": params, "folder": folder}
    first = train("random_parts.py", attempt=1, preempted_at=at, **settings)[0]
    second = train("random_parts.py", attempt=2, **settings)[0]
    return first, second


@pytest.mark.parametrize(
    "params",
    [slow({"rows": 2000}), {"rows": 2000, "seeded": False, "schedule": False, "called": True}],
    ids=["schedule", "callbacks"],
)
def test_losses_and_weights_are_those_of_an_uninterrupted_run(tmp_path: Path, params: dict[str, Any]) -> None:
    first, second = in_two_parts(tmp_path, **params)
    alone = tmp_path / "alone"
    alone.mkdir()
    one = whole(alone, **params)
    assert first.ended is not None
    assert first.ended.finished.stopped == PREEMPTED
    break_at = first.ended.finished.steps
    assert 25 <= break_at < STEPS
    assert second.steps.tolist() == list(range(break_at + 1, STEPS + 1))
    np.testing.assert_allclose([*first.losses, *second.losses], one.losses, rtol=TOLERANCE)
    for ours, theirs in zip(second.final.weights, one.final.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)
    assert second.ended is not None
    assert second.ended.finished.optimizer_iterations == STEPS
    assert second.ended.finished.samples == STEPS * WORKERS * BATCH
