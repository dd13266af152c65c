"""Synchronous training is the same computation as one process on the joined batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from jobs.loading import load_job_class, validate_params
from tests.integration.local_runs import JOBS, ApartGroup, Trained, train

STEPS, BATCH = 50, 16
TOLERANCE = 1e-6
SETTINGS: dict[str, Any] = {"mode": "sync", "workers": 2, "batch_size": BATCH, "samples": STEPS * 2 * BATCH}


@pytest.fixture(scope="module")
def sharing_memory() -> Trained:
    return train("exact.py", **SETTINGS)[0]


@pytest.fixture(scope="module")
def over_network() -> Trained:
    """The workers' addresses are on two hosts, so they use TensorFlow's collectives."""
    return train("exact.py", kind=ApartGroup, **SETTINGS)[0]


@pytest.fixture(scope="module", params=["sharing_memory", "over_network"])
def two_workers(request: pytest.FixtureRequest) -> Trained:
    trained: Trained = request.getfixturevalue(request.param)
    for task in ("worker:0", "worker:1"):
        assert (b"through shared memory" in trained.log[task]) == (request.param == "sharing_memory")
    return trained


@pytest.fixture(scope="module")
def one_process() -> tuple[list[float], list[np.ndarray]]:
    return in_one_process(2, STEPS, {})


def in_one_process(
    workers: int, steps: int, params: Mapping[str, int], file: str = "exact.py"
) -> tuple[list[float], list[np.ndarray]]:
    """Plain Keras in this process, on batches of all workers' samples together."""
    import keras

    from jobs.api import DataContext

    job_class = load_job_class(file, str(JOBS))
    job = job_class(validate_params(job_class, params))
    keras.utils.set_random_seed(0)
    model = job.build_model()
    losses = []
    for batch in job.train_dataset(DataContext(workers * BATCH)).take(steps):
        model.reset_metrics()
        losses.append(model.train_on_batch(*batch, return_dict=True)["loss"])
    return losses, [weight.numpy() for weight in model.weights]


def test_losses_of_every_step_agree(two_workers: Trained, one_process: tuple[list[float], list[np.ndarray]]) -> None:
    assert len(two_workers.losses) == STEPS
    np.testing.assert_allclose(two_workers.losses, one_process[0], rtol=TOLERANCE)


def test_final_weights_agree(two_workers: Trained, one_process: tuple[list[float], list[np.ndarray]]) -> None:
    for ours, theirs in zip(two_workers.final.weights, one_process[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE)


def test_fusing_steps_changes_nothing(sharing_memory: Trained) -> None:
    fused = train("exact.py", steps_per_call=STEPS, **SETTINGS)[0]
    np.testing.assert_allclose(sharing_memory.losses, fused.losses, rtol=TOLERANCE)
    assert max(len(batch.steps) for batch in fused.batches) > max(len(b.steps) for b in sharing_memory.batches[:1])


@pytest.mark.slow
def test_three_workers_agree_with_one_process_too() -> None:
    params = {"rows": 3 * 16 * BATCH}
    trained = train("exact.py", mode="sync", workers=3, batch_size=BATCH, samples=10 * 3 * BATCH, params=params)[0]
    np.testing.assert_allclose(trained.losses, in_one_process(3, 10, params)[0], rtol=TOLERANCE)


@pytest.mark.slow
def test_a_later_seed_of_a_group_is_as_good_as_the_first_of_another() -> None:
    _, second = train("exact.py", seeds=(3, 4), **SETTINGS)
    alone = train("exact.py", seeds=(4,), **SETTINGS)[0]
    np.testing.assert_allclose(second.losses, alone.losses, rtol=TOLERANCE)
    assert second.ended is not None
    assert second.ended.finished.optimizer_iterations == STEPS
