"""The loss stability detector, on a labelled corpus, on real SGD and on whatever floats Hypothesis comes up with."""

from __future__ import annotations

import math
import pickle
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.monitor.advice import ADVICE
from orchestrator.monitor.noise_scale import NoiseScaleEstimate, simple_noise_scale
from orchestrator.monitor.speed import input_bound, straggler
from orchestrator.monitor.stability import StabilityDetector
from orchestrator.results import Finding, straggler_index
from tests.unit.loss_corpus import HEALTHY, Curve, corpus, curve, sgd_run

pytestmark = pytest.mark.unit

Floats = npt.NDArray[np.float64]

HELD_OUT = 900_000
"""First seed of the curves below; thresholds were chosen on seeds under 100,000."""


def watch(losses: npt.ArrayLike, cuts: Sequence[int] = ()) -> list[Finding]:
    detector = StabilityDetector()
    found: list[Finding] = []
    values = np.asarray(losses, dtype=np.float64)
    steps = np.arange(1, len(values) + 1)
    for start, stop in pairwise([0, *sorted(cuts), len(values)]):
        part = slice(start, stop)
        found += detector.observe(steps[part], 32 * steps[part], 0.01 * steps[part], values[part])
    return [*found, *detector.finish()]


def report(figure: str) -> None:
    """Into the captured output: `pytest -rP` shows it."""
    sys.stdout.write(figure + "\n")


def kinds(found: Sequence[Finding]) -> Counter[str]:
    return Counter(one.kind for one in found)


def index_of(found: Finding) -> int:
    """Position in the curve, which counts from 0 where steps count from 1."""
    assert found.step is not None
    return found.step - 1


def noisy(trend: npt.ArrayLike, sigma: float = 0.05, seed: int = 0) -> Floats:
    values = np.asarray(trend, dtype=np.float64)
    return values * (1 + sigma * np.random.default_rng(seed).standard_normal(len(values)))


def falling(steps: int = 3000, floor: float = 0.15, tau: float = 300) -> Floats:
    return np.asarray(2 * (floor + (1 - floor) * np.exp(-np.arange(steps) / tau)), dtype=np.float64)


# --- the figures promised, on curves that no threshold has seen ------------------------------------------


@dataclass(frozen=True)
class Watched:
    curve: Curve
    found: list[Finding]


@pytest.fixture(scope="module")
def watched() -> list[Watched]:
    curves = [*corpus(20, HELD_OUT), *(curve("spiky", HELD_OUT + 50_000 + i) for i in range(50))]
    return [Watched(one, watch(one.losses)) for one in curves]


def test_at_most_one_false_alarm_in_10000_steps(watched: list[Watched]) -> None:
    healthy = [w for w in watched if w.curve.family in HEALTHY]
    steps = sum(len(w.curve.losses) for w in healthy)
    alarms = Counter((w.curve.family, one.kind) for w in healthy for one in w.found)
    rate = sum(alarms.values()) / steps * 1e4
    report(f"false alarms: {rate:.2f} per 10,000 of {steps} steps in {len(healthy)} curves: {dict(alarms)}")
    assert rate <= 1


def test_recall_of_spikes_of_five_sigma_and_more(watched: list[Watched]) -> None:
    hit: dict[int, list[bool]] = {}
    false = steps = 0
    for w in watched:
        if w.curve.family != "spiky":
            continue
        at = [index_of(one) for one in w.found if one.kind == "spike" and one.step is not None]
        spans = [(s.start, s.start + s.length, int(min(s.sigmas, 10))) for s in w.curve.spikes]
        for start, stop, sigmas in spans:
            hit.setdefault(sigmas, []).append(any(start <= i <= stop for i in at))
        false += sum(not any(start - 1 <= i <= stop for start, stop, _ in spans) for i in at)
        steps += len(w.curve.losses)
    every = [one for ones in hit.values() for one in ones]
    by_size = {f"{sigmas}": round(float(np.mean(ones)), 3) for sigmas, ones in sorted(hit.items())}
    recall = float(np.mean(every))
    report(f"recall {recall:.3f} of {len(every)} spikes, by sigmas {by_size}, {false / steps * 1e4:.2f} false/10k")
    assert len(every) >= 500
    assert recall >= 0.95


def test_divergence_is_found_within_50_steps(watched: list[Watched]) -> None:
    delays = []
    for w in watched:
        start = w.curve.diverges_at
        if start is None:
            continue
        at = [index_of(one) for one in w.found if one.kind == "divergence"]
        assert len(at) == 1, (w.curve.seed, at)
        delays.append(at[0] - start)
    report(f"divergence: {len(delays)} curves, found after {min(delays)} to {max(delays)} steps")
    assert min(delays) > 0
    assert max(delays) <= 50


def test_nan_is_found_at_its_step(watched: list[Watched]) -> None:
    for w in watched:
        if w.curve.nan_at is not None:
            assert [index_of(one) for one in w.found if one.kind == "nan"] == [w.curve.nan_at]


def test_plateaus_are_found_once(watched: list[Watched]) -> None:
    stuck = [w for w in watched if w.curve.stuck_from is not None]
    found = [kinds(w.found)["plateau"] for w in stuck]
    report(f"plateau: found in {sum(map(bool, found))} of {len(stuck)} curves")
    assert max(found) == 1
    assert sum(found) >= 0.9 * len(stuck)  # the noisiest are too short to be called flat


def test_real_sgd_is_left_in_peace() -> None:
    runs = [watch(sgd_run(seed, 2000)) for seed in range(500, 510)]
    found = Counter(one.kind for run in runs for one in run)
    report(f"real SGD: {dict(found)} in {len(runs)} runs of 2,000 steps, {sum(map(bool, runs))} runs with any")
    assert sum(map(bool, runs)) <= 3


# --- rules, one by one -----------------------------------------------------------------------------------


def test_a_spike_is_one_finding_with_its_numbers() -> None:
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
    assert found[-1].symptom == "40 more of kind spike"


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
def test_not_worth_a_word(factor: Floats) -> None:
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


def test_stuck_is_reported_once_and_converged_is_not() -> None:
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


def test_a_loss_that_rises_and_returns_again_and_again_is_oscillation() -> None:
    swings = 1 + 0.5 * np.sin(2 * np.pi * np.arange(4000) / 200)
    assert kinds(watch(noisy(falling(4000, floor=0.4) * swings))) == {"divergence": 2, "oscillation": 1}


def test_nan_until_the_end_is_one_finding_and_is_told_at_once() -> None:
    detector = StabilityDetector()
    steps = np.arange(3)
    (found,) = detector.observe(steps, steps, steps, [1.0, math.nan, math.nan])
    assert (found.kind, found.step) == ("nan", 1)
    assert detector.observe(steps, steps, steps, [math.inf] * 3) == ()
    assert detector.finish() == ()
    assert detector.jitter is None


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


def test_every_finding_says_what_to_do() -> None:
    assert all(advice.causes and advice.remedies for advice in ADVICE.values())
    assert "learning rate" in " ".join(ADVICE["plateau"].remedies)
    assert "batch size" in " ".join(ADVICE["oscillation"].remedies)


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"different lengths: \[2, 2, 2, 1"):
        StabilityDetector().observe([1, 2], [1, 2], [1, 2], [1.0])


# --- properties ------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(["noisy", "async", "spiky", "diverging", "nan", "plateau"]),
    seed=st.integers(0, 10**6),
    cuts=st.lists(st.integers(0, 1000), max_size=20),
)
def test_findings_do_not_depend_on_the_cuts(family: str, seed: int, cuts: list[int]) -> None:
    losses = curve(family, seed).losses[:1000]
    assert watch(losses, cuts) == watch(losses)


def any_stream(draw: st.DrawFn) -> Floats:
    """Runs of any float, some repeated so that rules with long windows get to see them."""
    parts = st.tuples(st.lists(st.floats(width=64), min_size=1, max_size=20), st.integers(1, 30))
    tiled = [np.tile(np.array(values), times) for values, times in draw(st.lists(parts, max_size=8))]
    return np.concatenate([np.empty(0), *tiled])


streams = st.composite(any_stream)()


@settings(max_examples=60, deadline=None)
@given(losses=streams, validation=st.lists(st.floats(), max_size=6))
def test_no_float_makes_it_raise_or_warn(losses: Floats, validation: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = watch(losses, [len(losses) // 2])
        detector = StabilityDetector()
        steps = np.arange(len(losses))
        found += detector.observe(steps, steps, steps, losses)
        for i, loss in enumerate(validation):
            found += detector.observe_evaluation(i, 0.0, loss)
        assert detector.jitter is None or detector.jitter >= 0
    bad = np.flatnonzero(~np.isfinite(losses))
    assert (kinds(found)["nan"] > 0) >= bool(len(bad))


@settings(max_examples=15, deadline=None)
@given(family=st.sampled_from(["noisy", "spiky", "diverging", "plateau"]), power=st.integers(-200, 200))
def test_findings_do_not_depend_on_the_unit_of_the_loss(family: str, power: int) -> None:
    losses = curve(family, 4).losses[:1500]
    scaled = watch(losses * 2.0**power)
    assert [(one.kind, one.step) for one in scaled] == [(one.kind, one.step) for one in watch(losses)]


def test_it_is_cheap_and_bounded() -> None:
    losses = noisy(falling(40_000, tau=5000), 0.1)
    steps = np.arange(len(losses))

    def runs() -> Iterator[float]:
        for _ in range(3):
            detector = StabilityDetector()
            start = time.process_time()
            detector.observe(steps, steps, steps, losses)
            yield len(losses) / (time.process_time() - start)
            assert len(pickle.dumps(detector)) < 100_000

    best = max(runs())
    report(f"{best:,.0f} steps/s of processor time")
    assert best > 20_000  # measured 300,000 on a quiet core, 86,000 on a busy one


# --- pace and noise scale --------------------------------------------------------------------------------


def test_input_bound() -> None:
    assert input_bound(0.19, 10, 1.0) is None
    assert input_bound(math.nan, 10, 1.0) is None
    found = input_bound(0.43, 10, 1.0)
    assert found is not None
    assert (found.kind, found.step) == ("input_bound", 10)
    assert "43%" in found.evidence
    assert "prefetch" in " ".join(found.remedies)


def test_straggler() -> None:
    even = {"worker:0": 0.010, "worker:1": 0.011, "worker:2": 0.012}
    assert straggler_index(even) == pytest.approx(0.012 / 0.011)
    assert straggler(even, 10, 1.0) is None
    found = straggler(even | {"worker:2": 0.030}, 10, 1.0)
    assert found is not None
    assert found.kind == "straggler"
    assert found.evidence.startswith("worker:2 takes 30 ms a step, 2.73 times the median of 3 workers")
    assert straggler_index({"worker:0": 1.0}) is None
    assert straggler_index({"worker:0": 1.0, "worker:1": math.nan}) is None
    assert straggler({}, 10, 1.0) is None


def test_noise_scale_recovers_a_known_one() -> None:
    """Gradients of mean G and per-sample covariance of trace S: the estimate must come out at S / |G|^2."""
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


def test_noise_scale_without_an_answer() -> None:
    assert simple_noise_scale(1.0, 2.0, 16, 64) is None
    assert simple_noise_scale(4.0, 0.5, 16, 64) is None
    estimate = NoiseScaleEstimate()
    estimate.begin(64, 64)
    estimate.add(1.0, 1.0, 100)
    assert estimate.value is None, "one batch size gives one equation"


@pytest.mark.parametrize("back", [0, 400])
def test_a_loss_that_is_higher_because_training_went_back_is_no_divergence(back: int) -> None:
    """And what diverges afterwards is found as if it were the first time."""
    steps = np.arange(1, 1201)
    falling = 15 * np.exp(-steps / 200) + 0.5 + np.random.default_rng(0).normal(0, 0.02, len(steps))

    def feed(detector: StabilityDetector, first: int, losses: np.ndarray) -> list[str]:
        at = np.arange(first, first + len(losses))
        return [found.kind for found in detector.observe(at, 32 * at, at / 100, losses)]

    detector = StabilityDetector()
    assert feed(detector, 1, falling) == []
    detector.goes_back()
    assert feed(detector, back + 1, falling[back:]) == []
    rising = falling[-1] * np.exp(np.arange(200) / 50)
    assert "divergence" in feed(detector, 1201, rising)
