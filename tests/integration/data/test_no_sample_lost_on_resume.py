"""A run that is resumed with more or fewer workers takes every sample of the epoch once: counted in real runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.local_runs import Trained, train
from tests.marked import slow
from workers.checkpoints.storage import LocalStorage
from workers.checkpoints.store import Checkpoint, CheckpointStore
from workers.messages import Position, Taken

BATCH, ROWS = 8, 96
STEPS = ROWS // BATCH
"""Steps of an epoch if a step is one batch."""


def leg(folder: Path, attempt: int, mode: str, workers: int, samples: int, how: str, **fields: Any) -> Trained:
    step = BATCH * (2 if mode == "sync" else 1)  # as for the two workers that the run began with
    params = {"rows": ROWS, "step": step, "how": how}
    return train(
        "counting.py",
        mode=mode,
        workers=workers,
        batch_size=BATCH,
        samples=samples,
        params=params,
        folder=folder,
        attempt=attempt,
        **fields,
    )[0]


def last_checkpoint(folder: Path) -> Checkpoint:
    checkpoint = CheckpointStore(LocalStorage(folder / "checkpoints"), "seed-0").latest().checkpoint
    assert checkpoint is not None
    return checkpoint


def counts(weights: np.ndarray) -> np.ndarray:
    return np.round(weights[:, 0], 3)


@pytest.mark.parametrize(("workers", "how"), [(3, "context"), slow(1, "unseeded")])
def test_sync(tmp_path: Path, workers: int, how: str) -> None:
    leg(tmp_path, 1, "sync", 2, 3 * 2 * BATCH, how)
    before = last_checkpoint(tmp_path)
    assert before.snapshot.position == (Taken(2, (3, 3)),)
    second = leg(tmp_path, 2, "sync", workers, 2 * ROWS, how)
    # The learning rate came from the checkpoint, and was for steps of two batches.
    first = before.snapshot.weights[0]
    seen = counts(first + (second.final.weights[0] - first) * workers / 2)
    assert seen.tolist() == [2] * ROWS
    assert second.ended is not None
    assert second.ended.finished.samples == 2 * ROWS
    assert second.ended.finished.steps == 3 + (2 * ROWS - 3 * 2 * BATCH) // (workers * BATCH)


def batches_of(position: Position, length: int) -> list[int]:
    """Which batches of the canonical stream were taken, by number."""
    stream, taken = list(range(length)), []
    for dealt in position:
        mine = [number for k, number in enumerate(stream) if k // dealt.workers < dealt.taken[k % dealt.workers]]
        stream = [number for number in stream if number not in set(mine)]
        taken += mine
    return sorted(taken)


@pytest.mark.parametrize("workers", [3])
def test_async(tmp_path: Path, workers: int) -> None:
    """Workers take their batches at their own pace, so the stream has gaps in more than one position."""
    uneven = {"steps_per_call": 1, "straggler": "persistent:worker=0,factor=4"}
    leg(tmp_path, 1, "async", 2, 10 * BATCH, "plain", **uneven)
    before = last_checkpoint(tmp_path)
    first = leg(tmp_path, 2, "async", workers, 3 * ROWS, "plain", steps_per_call=1)
    after = last_checkpoint(tmp_path)
    assert sum(before.snapshot.position[0].taken) == 10
    for checkpoint in (before, after):
        taken = np.bincount(
            [number % STEPS for number in batches_of(checkpoint.snapshot.position, 10 * STEPS)], minlength=STEPS
        )
        # Every update is counted, and in the weights: none was in flight when the checkpoint was taken.
        assert counts(checkpoint.snapshot.weights[0]).tolist() == np.repeat(taken, BATCH).tolist()
        assert taken.sum() == checkpoint.manifest.step
    assert after.manifest.step == 3 * STEPS
    assert first.steps.tolist() == list(range(11, 3 * STEPS + 1))
