"""The gradient noise scale."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.monitor.noise_scale import NoiseScaleEstimate, simple_noise_scale

pytestmark = pytest.mark.unit


def test_noise_scale_recovers_a_known_one() -> None:
    """Gradients have mean G and per-sample covariance of trace S: the noise scale is S / |G|^2."""
    rng = np.random.default_rng(0)
    workers, batch, size = 4, 16, 50
    true, sigma = rng.normal(size=size), 3.0
    small, big = [], []
    for _ in range(400):
        each = true + sigma / math.sqrt(batch) * rng.normal(size=(workers, size))
        small.append(np.mean(np.sum(each**2, axis=1)))
        big.append(np.sum(np.mean(each, axis=0) ** 2))
    found = simple_noise_scale(float(np.mean(small)), float(np.mean(big)), batch, batch * workers)
    assert found is not None
    assert found.noise == pytest.approx(size * sigma**2, rel=0.05)
    assert found.signal == pytest.approx(float(true @ true), rel=0.05)
    assert found.batch == pytest.approx(size * sigma**2 / float(true @ true), rel=0.1)


def test_noise_scale_over_calls_is_that_over_steps() -> None:
    rng = np.random.default_rng(1)
    small, big = rng.uniform(4, 5, 400), rng.uniform(2, 3, 400)
    estimate = NoiseScaleEstimate()
    estimate.begin(16, 64)
    for first, last in ((0, 1), (1, 50), (50, 99)):
        estimate.add(small[first:last].mean(), big[first:last].mean(), last - first)
    assert estimate.value is None, "too few steps"
    estimate.add(math.inf, 1.0, 20)
    estimate.add(small[99:].mean(), big[99:].mean(), 301)
    assert estimate.steps == 400
    expected = simple_noise_scale(small.mean(), big.mean(), 16, 64)
    assert estimate.value is not None
    assert expected is not None
    assert estimate.value.batch == pytest.approx(expected.batch)
    estimate.begin(16, 64)
    assert estimate.steps == 400
    estimate.begin(16, 32)
    assert (estimate.steps, estimate.value) == (0, None)


def test_no_noise_scale() -> None:
    assert simple_noise_scale(1.0, 2.0, 16, 64) is None
    assert simple_noise_scale(4.0, 0.5, 16, 64) is None
    estimate = NoiseScaleEstimate()
    estimate.begin(64, 64)
    estimate.add(1.0, 1.0, 100)
    assert estimate.value is None, "one batch size gives one equation"
