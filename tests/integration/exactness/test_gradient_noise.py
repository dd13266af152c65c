"""The gradient noise scale of a real synchronous run, against the one computed from all single gradients."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.monitor.noise_scale import NoiseScaleEstimate
from tests.integration.jobs_under_test.still import samples
from tests.integration.local_runs import train
from workers.messages import LARGE_BATCH_NORM, SMALL_BATCH_NORM

BATCH, WORKERS, STEPS = 16, 2, 600


def test_it_is_that_of_the_samples() -> None:
    x, y = samples()
    each = -2 * y * x  # of one sample's squared error, with weights of zero
    signal = float(np.sum(np.mean(each, axis=0) ** 2))
    noise = float(np.sum(np.var(each, axis=0)))

    budget = STEPS * WORKERS * BATCH
    (trained,) = train("still.py", mode="sync", workers=WORKERS, batch_size=BATCH, samples=budget, gradient_noise=True)
    estimate = NoiseScaleEstimate()
    estimate.begin(BATCH, WORKERS * BATCH)
    for batch in trained.batches:
        estimate.add(batch.logs[SMALL_BATCH_NORM], batch.logs[LARGE_BATCH_NORM], len(batch.steps))
    found = estimate.value
    assert estimate.steps == STEPS
    assert found is not None
    assert found.signal == pytest.approx(signal, rel=0.1)
    assert found.noise == pytest.approx(noise, rel=0.1)


def test_it_is_measured_on_request_only() -> None:
    (trained,) = train("still.py", mode="sync", workers=WORKERS, batch_size=BATCH, samples=640)
    assert not {SMALL_BATCH_NORM, LARGE_BATCH_NORM} & set(trained.batches[0].logs)
