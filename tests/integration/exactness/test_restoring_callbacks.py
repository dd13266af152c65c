"""Callbacks that bring back a state when training begins again: Regatta's checkpoint is what a run continues from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.api import DataContext
from jobs.loading import load_job_class
from tests.integration.local_runs import JOBS, train
from tests.marked import slow

STEPS, BATCH, ROWS = 640, 16, 512
SAID = {
    "backup": "BackupAndRestore's backup in",
    "subclass": "Backup's backup in",
    "own": "the state of Regatta's checkpoint is kept instead",
    "early": "the state of Regatta's checkpoint is kept instead",
    "checkpoint": "the state of Regatta's checkpoint is kept instead",
}


@pytest.mark.parametrize(
    ("mode", "which"),
    [
        slow("sync", "backup"),
        slow("async", "backup"),
        slow("sync", "own"),
        slow("async", "early"),
        slow("sync", "subclass"),
        slow("sync", "checkpoint"),
    ],
)
def test_it_continues_as_without_a_break(mode: str, which: str, tmp_path: Path) -> None:
    import keras

    run: dict[str, Any] = {
        "mode": mode,
        "workers": 1,
        "batch_size": BATCH,
        "samples": STEPS * BATCH,
        "steps_per_call": 2,
        "params": {"set": which, "rows": ROWS},
        "folder": tmp_path,
    }
    # An epoch has 32 steps, after which these callbacks save; the break comes later.
    first = train("restoring.py:Restoring", attempt=1, preempted_at=40, **run)[0]
    assert first.ended is not None
    assert 40 <= first.ended.finished.steps < STEPS
    second = train("restoring.py:Restoring", attempt=2, **run)[0]

    job = load_job_class("restoring.py:Restoring", str(JOBS))()
    keras.utils.set_random_seed(0)
    model = job.build_model()
    model.fit(job.train_dataset(DataContext(BATCH)), epochs=STEPS * BATCH // ROWS, verbose=0)
    for mine, other in zip(second.final.weights, model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)
    log = second.log["worker:0" if mode == "sync" else "chief:0"].decode()
    assert log.count(SAID[which]) == 1
