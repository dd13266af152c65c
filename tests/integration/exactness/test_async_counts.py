"""Asynchronous training loses no step, whatever the number of workers and parameter servers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.integration.exactness.test_sync_is_exact import BATCH as SMALL
from tests.integration.exactness.test_sync_is_exact import in_one_process
from tests.integration.local_runs import train
from tests.marked import slow

BATCH, STEPS = 1024, 300


@pytest.mark.parametrize(("workers", "ps"), [(2, 1), slow(3, 2)])
def test_every_update_is_counted_once(workers: int, ps: int) -> None:
    # Wide layers and large batches, as in real work: only what others apply between a step's read of the weights
    # and its own update is staleness, so computing has to be most of a step for its mean to come near W-1.
    # (A 32-unit layer spends half of each step between steps: 0.55 (W-1) was measured.)
    trained = train(
        "exact.py",
        mode="async",
        workers=workers,
        ps=ps,
        batch_size=BATCH,
        samples=STEPS * BATCH,
        eval_every=STEPS * BATCH,
        params={"units": 4096},
        steps_per_call=10,
    )[0]
    assert trained.ended is not None
    finished = trained.ended.finished
    assert finished.steps == finished.samples // BATCH == STEPS
    assert finished.optimizer_iterations == STEPS
    assert finished.doubled_updates == 0
    np.testing.assert_array_equal(trained.steps, np.arange(1, STEPS + 1))
    others = workers - 1
    assert 0.5 * others <= trained.staleness.mean() <= 1.5 * others


def test_what_cannot_be_in_memory_is_on_parameter_servers() -> None:
    """A step that moves a weight by hand: as many updates, and where memory would lose the weight, none is lost."""
    trained = train("on_servers.py", mode="async", workers=1, ps=1, batch_size=SMALL, samples=50 * SMALL)[0]
    assert b"the weights are on parameter servers: a step writes to its weights" in trained.log["chief:0"]
    losses, weights = in_one_process(1, 50, {}, "on_servers.py")
    np.testing.assert_allclose(trained.losses, losses, rtol=1e-4)
    for ours, theirs in zip(trained.final.weights, weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_a_learning_rate_schedule_follows_the_count_of_updates() -> None:
    """0.01 * 0.9^(updates / 10): with lost counts, the final rate would be higher."""
    trained = train(
        "exact.py",
        mode="async",
        workers=2,
        ps=1,
        batch_size=64,
        samples=STEPS * 64,
        params={"schedule": True},
    )[0]
    iterations = trained.final.optimizer[0]
    assert int(iterations) == STEPS
    assert trained.losses[-20:].mean() < trained.losses[:20].mean()
