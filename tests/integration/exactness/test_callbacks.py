"""Keras' callbacks in real groups: they run once, on the leader, and take effect on every replica at the same step."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.local_runs import JOBS, Broken, train
from tests.marked import slow
from workers.messages import FailureKind

BATCH, ROWS, EPOCHS = 16, 512, 12


def plain_fit(folder: Path, batch: int) -> list[np.ndarray]:
    """What Keras does with the same job; returns the final weights."""
    import keras

    from jobs.api import DataContext
    from jobs.loading import load_job_class

    job = load_job_class("called.py:Called", str(JOBS))()
    job.run_directory = folder
    (folder / "kept").mkdir()
    keras.utils.set_random_seed(0)
    model = job.build_model()
    callbacks = job.callbacks()
    for callback in callbacks:
        for name in ("filepath", "filename", "log_dir"):
            if hasattr(callback, name):
                setattr(callback, name, str(folder / getattr(callback, name)))
    model.fit(
        job.train_dataset(DataContext(batch)),
        epochs=EPOCHS,
        validation_data=job.eval_dataset(DataContext(BATCH)),
        callbacks=callbacks,
        verbose=0,
    )
    return [weight.numpy() for weight in model.weights]


def table(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(("mode", "workers"), [("sync", 2), slow("async", 1)])
def test_callbacks_do_what_they_do_in_fit(mode: str, workers: int, tmp_path: Path) -> None:
    """One asynchronous worker takes its steps one after another, so that both modes can be held against `fit`."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    trained = train(
        "called.py:Called", mode=mode, workers=workers, batch_size=BATCH, epochs=EPOCHS, folder=ours, eval_every=ROWS
    )[0]
    joined = BATCH * workers if mode == "sync" else BATCH
    weights = plain_fit(theirs, joined)

    rows, expected = table(ours / "kept/log.csv"), table(theirs / "kept/log.csv")
    assert 4 < len(rows) < EPOCHS
    assert [row["epoch"] for row in rows] == [row["epoch"] for row in expected]
    for mine, other in zip(rows, expected, strict=True):
        assert mine.keys() == other.keys()
        np.testing.assert_allclose([*map(float, mine.values())], [*map(float, other.values())], rtol=1e-5, atol=1e-6)
    for mine, other in zip(trained.final.weights, weights, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-6)

    assert (ours / "notes.txt").read_text() == (theirs / "notes.txt").read_text()
    made = {str(path.relative_to(theirs)) for path in theirs.rglob("*") if "tfevents" not in path.name}
    found = {str(path.relative_to(ours)) for path in ours.rglob("*")}
    assert made <= found
    assert list(ours.glob("tensorboard/keras/train/*tfevents*"))
    assert "checkpoints/final.weights.h5" in found

    assert trained.ended is not None
    finished = trained.ended.finished
    assert finished.stopped == "callback"
    assert finished.steps == finished.optimizer_iterations == len(rows) * ROWS // joined
    assert finished.spent["callbacks"] > 0


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_every_leg_has_fresh_callbacks_and_stops_with_its_second_epoch(mode: str, tmp_path: Path) -> None:
    legs = train(
        "called.py:Called",
        seeds=(0, 1),
        mode=mode,
        workers=2,
        batch_size=BATCH,
        samples=100 * ROWS,
        params={"set": "early"},
        folder=tmp_path,
    )
    for leg in legs:
        assert leg.ended is not None
        assert leg.ended.finished.stopped == "callback"
        assert leg.ended.finished.samples == 2 * ROWS
        assert np.array_equal(leg.steps, np.arange(1, leg.ended.finished.steps + 1))
        clocks = np.concatenate([batch.clock for batch in leg.batches])
        assert 0 < clocks.max() <= leg.ended.finished.seconds
    rows = table(tmp_path / "log.csv")
    assert len(rows) == 2
    assert rows[0]["val_loss"] == "NA"  # no callback monitors it, so training does not wait for it


@pytest.mark.parametrize("mode", ["sync", slow("async")])
def test_a_callback_that_raises_is_shown_with_the_users_traceback(mode: str, tmp_path: Path) -> None:
    with pytest.raises(Broken) as broken:
        train(
            "called.py:Called",
            mode=mode,
            workers=2,
            batch_size=BATCH,
            samples=100 * ROWS,
            params={"set": "raising"},
            folder=tmp_path,
        )
    cause = broken.value.cause
    assert cause.kind is FailureKind.USER
    assert cause.summary == "ZeroDivisionError: the user's own mistake"
    assert "called.py" in cause.traceback
    assert "Raised in on_epoch_end of the callback LambdaCallback." in cause.traceback


@pytest.mark.parametrize(("mode", "workers"), [("sync", 2), slow("async", 1)])
def test_a_stop_between_batches_takes_effect_at_once(mode: str, workers: int, tmp_path: Path) -> None:
    trained = train(
        "called.py:Called",
        mode=mode,
        workers=workers,
        batch_size=BATCH,
        samples=100 * ROWS,
        params={"set": "batchwise"},
        folder=tmp_path,
        steps_per_call=1,
    )[0]
    assert trained.ended is not None
    lines = [line.split() for line in (tmp_path / "notes.txt").read_text().splitlines()]
    if mode == "sync":
        assert trained.ended.finished.steps == 6
        assert [line[0] for line in lines] == ["0", "1", "2", "3", "4", "5"]
        means = np.cumsum(trained.losses) / np.arange(1, 7)
        np.testing.assert_allclose([float(line[1]) for line in lines], means, rtol=1e-4)
        assert len({weight for _, _, weight in lines}) == 6
    else:  # what was sent to the worker before it was known is still trained
        assert 6 <= trained.ended.finished.steps <= 8


@pytest.mark.slow
def test_an_endless_stream_has_the_epochs_that_the_job_says(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"mode": "sync", "workers": 1, "batch_size": BATCH, "params": {"set": "early"}}
    trained = train("called.py:EndlessWithEpochs", samples=100 * ROWS, folder=tmp_path, **fields)[0]
    assert trained.ended is not None
    assert trained.ended.finished.samples == 2 * 256
    for job, words in (("called.py:Endless", "samples_per_epoch"), ("called.py:Called", "has to return a list")):
        fields["params"] = {"set": "early" if "Endless" in job else "no_list"}
        with pytest.raises(Broken) as broken:
            train(job, samples=100 * ROWS, folder=tmp_path, **fields)
        assert broken.value.cause.kind is FailureKind.SPEC
        assert words in broken.value.cause.summary
