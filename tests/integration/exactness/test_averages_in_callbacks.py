"""Keras' SwapEMAWeights: what is validated, saved at an epoch's end and returned are the averages that `fit` has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.api import DataContext
from jobs.loading import load_job_class, validate_params
from tests.integration.local_runs import JOBS, train
from tests.marked import slow

BATCH, EPOCHS = 16, 4
NAME = "averaging.py:Averaging"


def plain_fit(folder: Path, batch: int, params: dict[str, Any]) -> list[np.ndarray]:
    """What Keras does with the same job; returns the final weights."""
    import keras

    job_class = load_job_class(NAME, str(JOBS))
    job = job_class(validate_params(job_class, params))
    job.run_directory = folder
    keras.utils.set_random_seed(0)
    model = job.build_model()
    model.fit(
        job.train_dataset(DataContext(batch)),
        epochs=EPOCHS,
        validation_data=job.eval_dataset(DataContext(BATCH)),
        callbacks=job.callbacks(),
        verbose=0,
    )
    weights: list[np.ndarray] = model.get_weights()
    return weights


@pytest.mark.parametrize(
    ("mode", "workers", "which"),
    [
        ("sync", 2, "validation"),
        slow("async", 1, "epochs"),
        slow("sync", 2, "by_layer"),
        slow("async", 1, "scaled"),
    ],
)
def test_swapped_averages_are_those_of_fit(mode: str, workers: int, which: str, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    run: dict[str, Any] = {"workers": workers, "batch_size": BATCH, "epochs": EPOCHS, "params": {"set": which}}
    trained = train(NAME, mode=mode, folder=ours, **run)[0]
    weights = plain_fit(theirs, BATCH * workers if mode == "sync" else BATCH, {"set": which})

    for mine, other in zip(trained.final.weights, weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)
    mine, other = (np.loadtxt(folder / "notes.txt") for folder in (ours, theirs))  # losses, and sums of weights
    assert len(mine) == EPOCHS
    np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3)
