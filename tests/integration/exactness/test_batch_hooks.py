"""Callbacks that count batches: theirs are those of `fit`, however fast the machine is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.api import DataContext
from jobs.loading import load_job_class, validate_params
from tests.integration.local_runs import JOBS, train
from tests.marked import slow
from workers.modes.mode import Consult
from workers.training.callback_needs import how_often

BATCH, ROWS, EPOCHS = 16, 512, 3


def plain_fit(folder: Path, batch: int, params: dict[str, Any]) -> list[np.ndarray]:
    """What Keras does with the same job; returns the final weights."""
    import keras

    job_class = load_job_class("batchwise.py:Batchwise", str(JOBS))
    job = job_class(validate_params(job_class, params))
    job.run_directory = folder
    keras.utils.set_random_seed(0)
    model = job.build_model()
    callbacks = job.callbacks()
    for callback in callbacks:
        if hasattr(callback, "filepath"):
            callback.filepath = str(folder / callback.filepath)
    model.fit(job.train_dataset(DataContext(batch)), epochs=EPOCHS, callbacks=callbacks, verbose=0)
    return [weight.numpy() for weight in model.weights]


@pytest.mark.parametrize(
    ("mode", "workers", "which"),
    [
        slow("sync", 2, "warm_up"),
        slow("async", 1, "warm_up"),
        ("sync", 2, "clipping"),
        slow("sync", 1, "saving"),
        *(slow(*group, "cyclic") for group in (("sync", 2), ("async", 1))),
    ],
)
def test_every_batch_counts_as_in_fit(mode: str, workers: int, which: str, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    params = {"set": which}
    run: dict[str, Any] = {"mode": mode, "workers": workers, "batch_size": BATCH, "epochs": EPOCHS, "params": params}
    trained = train("batchwise.py:Batchwise", folder=ours, **run)[0]
    weights = plain_fit(theirs, BATCH * workers if mode == "sync" else BATCH, params)

    for mine, other in zip(trained.final.weights, weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)
    assert trained.ended is not None
    made = {path.name: path.read_text() for path in theirs.glob("*.txt")}
    assert {path.name: path.read_text() for path in ours.glob("*.txt")} == made
    assert {path.name for path in theirs.glob("*.h5")} <= {path.name for path in ours.glob("*.h5")}
    leader = "worker:0" if mode == "sync" else "chief:0"
    assert trained.log[leader].decode().count("batch hooks run for every batch") == 1


def user_made(kind: str) -> Any:
    import keras

    hooks = {"on_train_batch_end": lambda *_: None} if kind == "end" else {"on_batch_begin": lambda *_: None}
    return type("Own", (keras.callbacks.EarlyStopping,), hooks)()


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("EarlyStopping", {}, Consult.EPOCHS),
        ("ModelCheckpoint", {"filepath": "a.keras"}, Consult.EPOCHS),
        ("ModelCheckpoint", {"filepath": "a.keras", "save_freq": 7}, Consult.BATCH_ENDS),
        ("TensorBoard", {}, Consult.EPOCHS),
        ("TensorBoard", {"update_freq": 5}, Consult.BATCHES),
        ("TerminateOnNaN", {}, Consult.CALLS),
        ("BackupAndRestore", {"backup_dir": "b", "save_freq": 7}, Consult.CALLS),
        ("BackupAndRestore", {"backup_dir": "b"}, Consult.EPOCHS),
        ("LambdaCallback", {"on_epoch_end": print}, Consult.EPOCHS),
        ("LambdaCallback", {"on_train_batch_end": print}, Consult.BATCH_ENDS),
        ("end", {}, Consult.BATCH_ENDS),
        ("begin", {}, Consult.BATCHES),
    ],
)
def test_kerass_own_callbacks_that_need_not_are_left_fast(
    name: str, arguments: dict[str, Any], expected: Consult
) -> None:
    import keras

    made = user_made(name) if name in ("begin", "end") else getattr(keras.callbacks, name)(**arguments)
    assert how_often(made) is expected


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 1])
def test_a_run_that_is_continued_counts_no_batch_twice(workers: int, tmp_path: Path) -> None:
    """The hooks that precede a batch may have run already when the checkpoint is taken."""
    run: dict[str, Any] = {
        "mode": "sync",
        "workers": workers,
        "batch_size": BATCH,
        "samples": 200 * BATCH * workers,
        "params": {"set": "warm_up"},
        "folder": tmp_path,
    }
    first = train("batchwise.py:Batchwise", attempt=1, preempted_at=9, **run)[0]
    assert first.ended is not None
    assert 9 <= first.ended.finished.steps < 200
    train("batchwise.py:Batchwise", attempt=2, **run)
    assert (tmp_path / "notes.txt").read_text() == "200 batches\n"
