"""The modes beside `async` on parameter servers: they lose no step, keep their bound, and are `fit` with one worker."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.integration.exactness.test_sync_is_exact import in_one_process
from tests.integration.local_runs import Trained, train
from tests.marked import slow
from workers.modes.dampened import DampenedMode
from workers.modes.ps_exchange import PsExchange

STEPS, BATCH = 240, 16
SETTINGS: dict[str, Any] = {"ps": 1, "batch_size": BATCH, "samples": STEPS * BATCH}


def leads(trained: Trained) -> list[int]:
    """By how many steps each update's worker was ahead of the slowest when it applied it."""
    by_update = sorted((int(step), batch.worker) for batch in trained.batches for step in batch.steps)
    taken = dict.fromkeys(sorted({worker for _, worker in by_update}), 0)
    found = []
    for _, worker in by_update:
        found.append(taken[worker] - min(taken.values()))
        taken[worker] += 1
    return found


@pytest.mark.parametrize(
    ("mode", "straggler"),
    [("ssp:2", "persistent:worker=1,factor=4"), slow("ssp:0", "none"), slow("dampened", "none")],
)
def test_no_step_is_lost_and_no_worker_too_far_ahead(mode: str, straggler: str) -> None:
    trained = train("exact.py", mode=mode, workers=2, straggler=straggler, **SETTINGS)[0]
    assert trained.ended is not None
    finished = trained.ended.finished
    assert finished.steps == finished.optimizer_iterations == STEPS
    assert finished.doubled_updates == 0
    np.testing.assert_array_equal(trained.steps, np.arange(1, STEPS + 1))
    _, _, bound = mode.partition(":")
    if bound:
        assert max(leads(trained)) <= int(bound)


@pytest.mark.parametrize("mode", [slow("ssp:3"), slow("dampened")])
def test_one_worker_is_one_process(mode: str) -> None:
    trained = train("exact.py", mode=mode, workers=1, **SETTINGS)[0]
    losses, weights = in_one_process(1, STEPS, {})
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-4)
    for ours, theirs in zip(trained.final.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_gradient_is_divided_by_one_plus_its_staleness() -> None:
    import keras
    import tensorflow as tf

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    counter = tf.Variable(5, dtype=tf.int64)
    exchange = PsExchange(model, counter, DampenedMode.weigh)
    kernel, bias = (variable.value for variable in model.trainable_variables)
    rows = tf.IndexedSlices(tf.ones([1, 1]), tf.constant([1]), tf.constant([2, 1]))
    with exchange.reading(exchange.fetch()):
        counter.assign_add(3)  # what other workers applied meanwhile
        pushed = exchange._push([(rows, kernel), (tf.fill([1], 8.0), bias), (None, bias)])
    assert pushed[0][0].values.numpy().tolist() == [[0.25]]
    assert pushed[1][0].numpy().tolist() == [2.0]
    assert pushed[2][0] is None
