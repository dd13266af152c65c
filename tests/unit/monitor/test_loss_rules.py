"""The rules on training and validation loss, one by one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator.monitor.stability import StabilityDetector
from orchestrator.results import Finding
from tests.unit.monitor.watched_losses import Floats, falling, index_of, kinds, noisy, watch

pytestmark = pytest.mark.unit


def test_a_spike_is_one_finding_with_evidence() -> None:
    losses = noisy(falling())
    losses[1000:1006] *= [4, 3, 2.5, 2, 1.6, 1.4]
    (found,) = watch(losses)
    assert (found.kind, found.step) == ("spike", 1001)
    assert found.clock == pytest.approx(10.01)
    assert "steps above the threshold from step 1001" in found.evidence
    assert f"{losses[1000]:.4g}" in found.symptom


def test_many_spikes_are_capped_and_counted() -> None:
    losses = noisy(falling(8000))
    losses[200:8000:130] *= 2
    found = watch(losses)
    assert kinds(found) == {"spike": 21}
    assert found[-1].step is None
    assert found[-1].symptom == "40 more findings of kind spike"


def test_a_spike_in_the_last_steps_is_found_by_finish() -> None:
    losses = noisy(falling(1003))
    losses[1001] *= 3
    assert [one.step for one in watch(losses)] == [1002]


@pytest.mark.parametrize(
    "factor",
    [
        pytest.param(np.where(np.arange(3000) < 1501, 1.0, 0.3), id="learning rate drops"),
        pytest.param(np.where(np.arange(3000) < 1501, 1.0, 1.15), id="level rises a little"),
        pytest.param(1 + 0.1 * (np.arange(3000) % 100) / 100, id="sawtooth of epochs"),
        pytest.param(np.full(3000, 1e-30), id="tiny unit"),
        pytest.param(np.exp(-np.arange(3000) / 100), id="towards zero"),
    ],
)
def test_no_finding(factor: Floats) -> None:
    assert watch(noisy(falling() * factor)) == []


def test_losses_below_zero() -> None:
    t = np.arange(3000)
    losses = 50 - 400 * (1 - np.exp(-t / 400)) + 5 * np.random.default_rng(1).standard_normal(3000)
    losses[[700, 1500]] += 60
    losses[2500:] += 2.0 * np.arange(500)
    found = watch(losses)
    assert [(one.kind, one.step) for one in found if one.kind == "spike"] == [("spike", 701), ("spike", 1501)]
    (rise,) = [index_of(one) for one in found if one.kind == "divergence"]
    assert 2500 < rise <= 2550


def test_a_jump_that_stays_and_growth_from_the_first_step_are_divergence() -> None:
    jump = noisy(falling())
    jump[2000:] *= 3
    assert kinds(watch(jump))["divergence"] == 1
    growing = noisy(2 * np.exp(0.02 * np.arange(400)))
    (found,) = watch(growing)
    assert found.kind == "divergence"
    assert index_of(found) < 100


def test_a_second_divergence_after_recovery_is_a_second_finding() -> None:
    factor = np.ones(6000)
    factor[1500:1600] = factor[4500:4600] = np.exp(0.03 * np.arange(100))
    found = watch(noisy(falling(6000) * factor))
    assert [one.kind for one in found if one.kind != "spike"] == ["divergence", "divergence"]


def test_a_plateau_is_reported_once_and_convergence_is_not() -> None:
    assert kinds(watch(noisy(np.full(10_000, math.log(10)), 0.01))) == {"plateau": 1}
    assert kinds(watch(np.full(10_000, math.log(10)))) == {"plateau": 1}
    assert watch(noisy(falling(10_000, floor=0.3))) == []


def test_a_slow_start_is_no_plateau() -> None:
    flat_then_falling = np.concatenate([np.full(400, 2.0), falling(3000)])
    assert watch(noisy(flat_then_falling, 0.02)) == []


@pytest.mark.parametrize("period", [2, 3, 5, 16, 40, 60])
def test_swings_from_step_to_step_are_oscillation(period: int) -> None:
    swings = 1 + 0.4 * np.sin(2 * np.pi * np.arange(3000) / period + 1)
    assert kinds(watch(noisy(falling(floor=0.4) * swings)))["oscillation"] == 1


def test_a_loss_that_rises_and_returns_repeatedly_is_oscillation() -> None:
    swings = 1 + 0.5 * np.sin(2 * np.pi * np.arange(4000) / 200)
    assert kinds(watch(noisy(falling(4000, floor=0.4) * swings))) == {"divergence": 2, "oscillation": 1}


def evaluate(validation: Floats, training: Floats) -> list[Finding]:
    """One evaluation every 100 steps, scored 50 steps after its snapshot was taken."""
    detector = StabilityDetector()
    found: list[Finding] = []
    steps = np.arange(len(training))
    for i, loss in enumerate(validation):
        part = slice(max(0, 100 * i - 50), 100 * i + 50)
        found += detector.observe(steps[part], steps[part], steps[part], training[part])
        found += detector.observe_evaluation(100 * i, float(i), float(loss))
    return [one for one in found if one.kind != "plateau"]


def test_overfitting_needs_both_curves() -> None:
    i = np.arange(30)
    turned = noisy(0.5 + 1.5 * np.exp(-i / 4) + 0.03 * np.maximum(0, i - 12), 0.02)
    (found,) = evaluate(turned, noisy(2 * np.exp(-np.arange(3000) / 1000)))
    assert found.kind == "overfitting"
    assert found.step is not None
    assert 1300 <= found.step <= 2000
    assert "dropout" in " ".join(found.remedies)
    assert evaluate(turned, noisy(falling(3000, 0.3, 100))) == []
    level = noisy(0.5 + 1.5 * np.exp(-i / 4), 0.05, seed=3)
    assert evaluate(level, noisy(2 * np.exp(-np.arange(3000) / 1000))) == []


def test_a_validation_loss_that_swings_below_the_training_loss_is_no_overfitting() -> None:
    """Of `mnist-cnn --set data=synthetic` in async: it came back to 0.08 in the next 20 updates."""
    validation = [2.24, 1.82, 1.46, 0.705, 0.711, 0.357, 0.184, 0.132, 0.124, 0.139, 0.305, 0.270]
    assert evaluate(np.array(validation), noisy(2.3 * np.exp(-np.arange(1200) / 800))) == []


def test_a_run_is_told_once_that_it_overfits() -> None:
    """The validation loss comes back to a new best, and rises again."""
    i = np.arange(60)
    turned = 0.5 + 1.5 * np.exp(-i / 4) + 0.03 * np.maximum(0, i - 12)
    turned[40:] = 0.3 + 0.03 * np.maximum(0, i[40:] - 44)
    found = evaluate(turned, noisy(2 * np.exp(-np.arange(6000) / 1000)))
    assert [one.kind for one in found if one.kind == "overfitting"] == ["overfitting"]


def test_a_validation_loss_of_nan_is_one_finding() -> None:
    detector = StabilityDetector()
    found = [detector.observe_evaluation(step, 0.0, math.nan) for step in (1, 2, 3)]
    assert [len(ones) for ones in found] == [1, 0, 0]


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.1, 0.3])
def test_jitter_is_the_noise_over_the_level(sigma: float) -> None:
    detector = StabilityDetector()
    steps = np.arange(4000)
    detector.observe(steps[:40], steps[:40], steps[:40], noisy(falling(4000), sigma)[:40])
    assert detector.jitter is None
    detector.observe(steps[40:], steps[40:], steps[40:], noisy(falling(4000), sigma)[40:])
    assert detector.jitter == pytest.approx(sigma, rel=0.25, abs=0.01)
