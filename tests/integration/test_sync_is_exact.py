"""Synchronous training is the same computation as one process on the joined batches."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.loading import load_job_class
from tests.integration.local_runs import JOBS, Trained, train

STEPS, BATCH = 50, 16
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def two_workers() -> Trained:
    return train("exact.py", mode="sync", workers=2, batch_size=BATCH, samples=STEPS * 2 * BATCH)[0]


@pytest.fixture(scope="module")
def one_process() -> tuple[list[float], list[np.ndarray]]:
    """Plain Keras in this process, on batches of both workers' samples together."""
    import keras

    from jobs.api import DataContext

    job = load_job_class("exact.py", str(JOBS))()
    keras.utils.set_random_seed(0)
    model = job.build_model()
    losses = []
    for batch in job.train_dataset(DataContext(2 * BATCH)).take(STEPS):
        model.reset_metrics()
        losses.append(model.train_on_batch(*batch, return_dict=True)["loss"])
    return losses, [weight.numpy() for weight in model.weights]


def test_losses_of_every_step_agree(two_workers: Trained, one_process: tuple[list[float], list[np.ndarray]]) -> None:
    assert len(two_workers.losses) == STEPS
    np.testing.assert_allclose(two_workers.losses, one_process[0], rtol=TOLERANCE)


def test_final_weights_agree(two_workers: Trained, one_process: tuple[list[float], list[np.ndarray]]) -> None:
    for ours, theirs in zip(two_workers.final.weights, one_process[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def test_fusing_steps_changes_nothing(two_workers: Trained) -> None:
    fused = train(
        "exact.py", mode="sync", workers=2, batch_size=BATCH, samples=STEPS * 2 * BATCH, steps_per_call=STEPS
    )[0]
    np.testing.assert_allclose(two_workers.losses, fused.losses, rtol=TOLERANCE)
    assert max(len(batch.steps) for batch in fused.batches) > max(len(b.steps) for b in two_workers.batches[:1])


def test_a_later_seed_of_a_group_is_as_good_as_the_first_of_another() -> None:
    settings = {"mode": "sync", "workers": 2, "batch_size": BATCH, "samples": STEPS * 2 * BATCH}
    _, second = train("exact.py", seeds=(3, 4), **settings)
    alone = train("exact.py", seeds=(4,), **settings)[0]
    np.testing.assert_allclose(second.losses, alone.losses, rtol=TOLERANCE)
    assert second.ended is not None
    assert second.ended.finished.optimizer_iterations == STEPS
