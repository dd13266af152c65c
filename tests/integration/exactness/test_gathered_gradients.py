"""Modes that update the weights with the mean of several gradients: their definition, and what they count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jobs.api import DataContext
from jobs.loading import load_job_class, validate_params
from tests.integration.local_runs import JOBS, train
from workers.errors import UnsupportedOptimizerError
from workers.messages import Counts
from workers.modes.gathering import Gathering
from workers.modes.kasync import KAsyncMode

BATCH = 16


def accumulated(steps: int, each: int) -> tuple[list[float], list[np.ndarray]]:
    """Losses and weights of plain Keras in this process, with the mean of `each` successive gradients as one."""
    import keras

    job_class = load_job_class("exact.py", str(JOBS))
    job = job_class(validate_params(job_class, {}))
    keras.utils.set_random_seed(0)
    model = job.build_model()
    model.optimizer.gradient_accumulation_steps = each
    losses = []
    for batch in job.train_dataset(DataContext(BATCH)).repeat().take(steps):
        model.reset_metrics()
        losses.append(model.train_on_batch(*batch, return_dict=True)["loss"])
    return losses, [weight.numpy() for weight in model.weights]


@pytest.mark.slow
@pytest.mark.parametrize("each", [3, 1])
def test_one_worker_accumulates_gradients_as_keras_does(each: int) -> None:
    """There is one gradient more than updates need: it is in none, and counted as dropped."""
    steps = 60 * each + 1 if each > 1 else 60
    trained = train("exact.py", mode=f"kasync:{each}", workers=1, ps=1, batch_size=BATCH, samples=steps * BATCH)[0]
    losses, weights = accumulated(steps, each)
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-4)
    for ours, theirs in zip(trained.final.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    assert trained.ended is not None
    finished = trained.ended.finished
    assert (finished.steps, finished.optimizer_iterations, finished.counts.dropped_gradients) == (
        steps,
        60,
        steps % each,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "ps"), [(2, 1), (3, 2)])
def test_no_gradient_is_lost(workers: int, ps: int) -> None:
    steps, each = 301, 3
    trained = train("exact.py", mode=f"kasync:{each}", workers=workers, ps=ps, batch_size=BATCH, samples=steps * BATCH)[
        0
    ]
    assert trained.ended is not None
    finished = trained.ended.finished
    assert (finished.steps, finished.optimizer_iterations) == (steps, 100)
    assert finished.counts == Counts(updates=100, dropped_gradients=1)
    assert finished.doubled_updates == 0
    np.testing.assert_array_equal(trained.steps, np.arange(1, steps + 1))
    assert trained.staleness.min() >= 0
    assert trained.losses[-20:].mean() < trained.losses[:20].mean()


def test_late_gradients_are_dropped_and_counted() -> None:
    """Of three workers one is slow; an update is of two gradients, both computed on the weights before it."""
    steps = 150
    trained = train(
        "exact.py",
        mode="backup:1",
        workers=3,
        ps=1,
        batch_size=BATCH,
        samples=steps * BATCH,
        straggler="persistent:worker=2,factor=4",
    )[0]
    assert trained.ended is not None
    finished = trained.ended.finished
    counts = finished.counts
    assert counts.updates == finished.optimizer_iterations
    assert finished.steps == steps == 2 * counts.updates + counts.dropped_gradients
    assert counts.dropped_gradients > 1
    assert finished.doubled_updates == 0
    np.testing.assert_array_equal(trained.steps, np.arange(1, steps + 1))
    taken = {worker: sum(len(b.steps) for b in trained.batches if b.worker == worker) for worker in range(3)}
    assert taken[2] < min(taken[0], taken[1])
    assert not trained.staleness.any()


@pytest.mark.slow
def test_with_nothing_dropped_it_is_sync() -> None:
    settings: dict[str, Any] = {"workers": 2, "batch_size": BATCH, "samples": 60 * 2 * BATCH}
    ours, theirs = (train("exact.py", mode=mode, **settings)[0] for mode in ("backup:0", "sync"))
    np.testing.assert_allclose(ours.losses, theirs.losses, rtol=1e-6)
    for left, right in zip(ours.final.weights, theirs.final.weights, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_of_single_gradients_it_counts_as_async_does() -> None:
    steps = 300
    trained = train("exact.py", mode="kasync:1", workers=2, ps=1, batch_size=BATCH, samples=steps * BATCH)[0]
    assert trained.ended is not None
    finished = trained.ended.finished
    assert finished.steps == finished.optimizer_iterations == steps
    assert (finished.counts.dropped_gradients, finished.doubled_updates) == (0, 0)
    assert 0 <= trained.staleness.mean() <= 1.5


def test_gradients_that_wait_are_part_of_a_checkpoint(tmp_path: Path) -> None:
    """A run that is interrupted between two updates, and resumed, is the uninterrupted one."""
    steps, each = 40, 7
    settings = {"mode": f"kasync:{each}", "workers": 1, "ps": 1, "batch_size": BATCH, "samples": steps * BATCH}
    settings["straggler"] = "persistent:worker=0,factor=1"  # steps of 20 ms, of which some are left
    first = train("exact.py", folder=tmp_path, attempt=1, preempted_at=20, **settings)[0]
    assert first.ended is not None
    assert first.ended.finished.steps < steps
    second = train("exact.py", folder=tmp_path, attempt=2, **settings)[0]
    losses, weights = accumulated(steps, each)
    np.testing.assert_allclose(second.losses, losses[first.ended.finished.steps :], rtol=1e-4)
    for ours, theirs in zip(second.final.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_staleness_is_in_updates() -> None:
    mode = KAsyncMode.__new__(KAsyncMode)
    mode.gathering, mode._base = type("Of", (), {"wanted": 3})(), 6
    numbers, reads = np.array([7, 9, 10, 12]), np.array([0, 2, 2, 0])  # reads count gradients since the base
    np.testing.assert_array_equal(mode._staleness(numbers, reads), [0, 0, 1, 1])


def gathered(*, wanted: int, fresh: bool) -> tuple[Any, Any]:
    """A gathering in this process, and a function that gives it a gradient of the bias, read after so many."""
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, bias_initializer="zeros")])
    model.compile(keras.optimizers.SGD(1.0, clipnorm=2.0), "mse")
    model.optimizer.build(model.trainable_variables)
    gathering = Gathering(model, tf.Variable(0, dtype=tf.int64), "kasync:2", wanted=wanted, fresh=fresh)
    at = []
    gathering.attach(list, lambda: tf.constant(at[-1] if at else 0, tf.int64))

    def give(gradient: float, read: int) -> float:
        at.append(read)
        gathering.counted = None
        model.optimizer.apply([None, tf.constant([gradient])], model.trainable_variables)
        return float(model.trainable_variables[1].numpy()[0])

    return gathering, give


def test_an_update_is_the_mean_which_is_clipped_as_a_whole() -> None:
    gathering, give = gathered(wanted=2, fresh=False)
    assert give(3.0, 0) == 0.0
    assert give(0.0, 0) == -1.5  # and not -1, as if 3 had been clipped to 2
    assert give(-9.0, 0) == -1.5
    assert gathering.dropped == 1  # if the run ended here
    assert [array.tolist() for array in gathering.state()][::2] == [[1, 0, 1, 2, 0], [-9.0]]
    assert give(-1.0, 2) == 0.5
    assert [array.tolist() for array in gathering.state()] == [[0, 0, 2, 2, 0]]
    assert (int(gathering._counter.numpy()), gathering.kept(), gathering.dropped) == (4, 4, 0)


def test_a_gradient_of_other_weights_is_dropped() -> None:
    gathering, give = gathered(wanted=2, fresh=True)
    assert [give(1.0, 0), give(1.0, 0)] == [0.0, -1.0]
    assert give(1.0, 1) == -1.0  # it read the weights before the update
    assert gathering.dropped == 1
    assert [give(1.0, 2), give(1.0, 2)] == [-1.0, -2.0]
    assert (int(gathering._counter.numpy()), gathering.kept(), gathering.dropped) == (5, 4, 1)
    assert [array.tolist() for array in gathering.state()] == [[0, 1, 2, 2, 1]]


def test_what_waits_is_not_taken_for_another_modes() -> None:
    gathering, give = gathered(wanted=3, fresh=False)
    give(1.0, 0)
    state = gathering.state()
    other, give = gathered(wanted=2, fresh=False)
    other._counter.assign(1)
    other.load(state, 1)
    assert (other.kept(), other.dropped) == (0, 1)
    same, give = gathered(wanted=3, fresh=False)
    same._counter.assign(1)
    same.load(state, 1)
    assert (same.kept(), same.dropped) == (1, 1)
    assert [give(1.0, 1), give(1.0, 1)] == [0.0, -1.0]
    assert (same.dropped, same.updates) == (0, 1)


def test_rows_of_a_gradient_are_summed_as_well() -> None:
    import tensorflow as tf

    gathering, _ = gathered(wanted=2, fresh=False)
    weights = gathering._variables
    for value in (1.0, -3.0):
        gathering.counted = None
        rows = tf.IndexedSlices(tf.constant([value, value]), tf.constant([0, 0]), tf.constant([1]))
        gathering._optimizer.apply([tf.zeros([1, 1]), rows], weights)
    assert float(weights[1].numpy()[0]) == 2.0  # a row that occurs twice counts twice: -(2 - 6) / 2


def test_what_cannot_be_gathered_is_refused() -> None:
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(1.0)), "mse")
    with pytest.raises(UnsupportedOptimizerError, match=r"mode kasync:2 gathers .* wraps another"):
        Gathering(model, tf.Variable(0, dtype=tf.int64), "kasync:2", wanted=2, fresh=False)
    gathering, give = gathered(wanted=2, fresh=False)
    give(1.0, 0)
    with pytest.raises(UnsupportedOptimizerError, match="more than once"):
        gathering._optimizer.apply([None, tf.constant([1.0])], gathering._variables)
