"""Predictions from a simulated probe, against what the simulated job would really do."""

from __future__ import annotations

import dataclasses

import pytest

from orchestrator.foresight.costs import evidence
from orchestrator.foresight.curve import crossing, meets
from orchestrator.foresight.predict import predict
from orchestrator.foresight.prediction import Case, Learned, Learning, Prediction, apart
from orchestrator.metric_target import MetricTarget
from tests.unit.foresight.simulated_probe import EVERY, a_measurement, a_probe, error_at
from workers.modes.registry import batches_per_update

pytestmark = pytest.mark.unit

TARGET = MetricTarget.parse("val_accuracy>=0.9")


def learned(probe: object, target: MetricTarget = TARGET) -> Learned:
    runs = probe.values()
    curves = [
        Learning(
            run.mode,
            [(p.samples, p.metrics["val_accuracy"]) for p in run.curve],
            run.batch_size * batches_per_update(run.mode, run.workers),
            apart(run.mode, run.workers, run.staleness or 0.0),
        )
        for run in runs
    ]
    return Learned(target, curves, None, 0.0)


def predicted(probe: object, *cases: Case, known: Learned | str | None = None) -> list[Prediction]:
    found = evidence(probe, 64, 0)
    return predict([Case("single", 1, 32), *cases], found, known or learned(probe), 0)


def test_step_times_of_more_workers() -> None:
    probe = a_probe(exchange=0.001)
    one, sync, free = predicted(probe, Case("sync", 5, 32), Case("async", 5, 32))
    assert one.step_seconds.value == pytest.approx(0.01, rel=0.02)
    assert sync.step_seconds.value == pytest.approx(0.01 + 4 * 0.001, rel=0.02)
    assert free.step_seconds.value == pytest.approx(0.01 / 5, rel=0.02)
    assert free.samples_per_s.value == pytest.approx(32 * 5 / 0.01, rel=0.02)
    assert free.staleness == pytest.approx(4, rel=0.02)
    for found in (one, sync, free):
        assert found.step_seconds.low < found.step_seconds.value < found.step_seconds.high


def test_larger_batches_of_one_process_lie_on_a_line() -> None:
    _, double, four = predicted(a_probe(), Case("single", 1, 64), Case("single", 1, 128))
    assert double.step_seconds.value == pytest.approx(0.018, rel=0.02)
    assert four.step_seconds.value == pytest.approx(0.034, rel=0.02)


def test_time_to_a_target_follows_samples_and_staleness() -> None:
    one, sync, free = predicted(a_probe(penalty=0.2), Case("sync", 2, 32), Case("async", 2, 32))
    assert one.samples_to_target.value == pytest.approx(10_000, rel=0.03)
    assert sync.samples_to_target.value == pytest.approx(12_000, rel=0.03)
    assert free.samples_to_target.value == pytest.approx(12_000, rel=0.05)
    assert one.seconds_to_target.value == pytest.approx(10_000 / 3200, rel=0.03)
    assert sync.gain.value == pytest.approx((10_000 / 3200) / (12_000 / 64 * 0.011), rel=0.05)


def test_a_target_beyond_the_probe_is_extrapolated() -> None:
    probe = a_probe()
    short = {kind: dataclasses.replace(run, curve=run.curve[:9]) for kind, run in probe.items()}
    (one,) = predicted(short)
    assert one.samples_to_target.value is not None
    assert one.samples_to_target.value >= 9 * EVERY


def test_without_a_target_only_the_speedup_is_known() -> None:
    (one, sync) = predicted(a_probe(), Case("sync", 2, 32), known="the job has no target")
    assert one.speedup.value == pytest.approx(1)
    assert one.speedup.low == pytest.approx(1)
    assert sync.speedup.value == pytest.approx(2 * 0.01 / 0.011, rel=0.02)
    assert sync.gain.value is None
    assert sync.seconds_to_target.value is None
    assert sync.seconds_to_target.reason == "the job has no target"


def test_what_the_probe_did_not_measure_is_null_with_the_reason() -> None:
    probe = dict(a_probe())
    del probe["async 2"]
    probe["sync 2"] = a_measurement("sync", 2, 0.011, cpu=None)
    _, sync, free = predicted(probe, Case("sync", 2, 32), Case("async", 3, 32))
    assert sync.step_seconds.value is None
    assert "processor time" in (sync.step_seconds.reason or "")
    assert free.gain.value is None
    assert "async" in (free.gain.reason or "")


def test_first_steps_of_more_workers_than_cores_come_later() -> None:
    late = dataclasses.replace(a_probe()["sync 2"], start=0.1)
    found = evidence({**a_probe(), "sync 2": late}, 2, 0)
    assert [found.start("sync", workers) for workers in (1, 2, 4, 8)] == pytest.approx([0.1, 0.1, 0.2, 0.4])
    assert found.start("local:16", 2) == 0  # not measured


def test_shared_cores_are_the_limit() -> None:
    probe = a_probe(cpu=0.01)
    found = evidence(probe, 2, 0)
    _, sync, free = predict([Case("single", 1, 32), Case("sync", 8, 32), Case("async", 8, 32)], found, "no target", 0)
    assert sync.samples_per_s.value == pytest.approx(2 * 3200, rel=0.2)
    assert free.samples_per_s.value <= 2 * 3200 * 1.01
    assert free.saturates_at == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("curve", "text", "samples"),
    [
        ([(100, 0.5), (200, 0.9)], "val_accuracy>=0.7", 150),
        ([(100, 0.8)], "val_accuracy>=0.7", 100),
        ([(100, 2.0), (300, 1.0)], "val_loss<=1.5", 200),
        ([(100, 0.5), (200, 0.6)], "val_accuracy>=0.7", None),
        ([], "val_accuracy>=0.7", None),
    ],
)
def test_where_a_curve_crosses_its_target(curve: list[tuple[float, float]], text: str, samples: float | None) -> None:
    assert crossing(curve, MetricTarget.parse(text)) == samples


def test_a_power_law_is_followed_to_its_target() -> None:
    curve = [(1000.0 * n, 1 - 5 / (1000 * n) ** 0.5) for n in range(1, 21)]
    found = meets(curve, MetricTarget.parse("val_accuracy>=0.975"))
    assert found.extrapolated
    assert found.samples == pytest.approx(40_000, rel=0.01)


@pytest.mark.parametrize(
    ("curve", "text", "reason"),
    [
        ([(1000.0 * n, 0.8) for n in range(1, 21)], "val_accuracy>=0.9", "hardly improved"),
        ([(1000.0 * n, 0.8) for n in range(1, 5)], "val_accuracy>=0.9", "too little"),
        ([(1000.0 * n, n / 100) for n in range(1, 21)], "val_score>=5", "no known bound"),
        ([(1000.0 * n, 1 - 5 / (1000 * n) ** 0.5) for n in range(1, 21)], "val_accuracy>=0.9999", "--minutes"),
    ],
)
def test_a_target_too_far_away_is_not_predicted(curve: list[tuple[float, float]], text: str, reason: str) -> None:
    found = meets(curve, MetricTarget.parse(text))
    assert found.samples is None
    assert reason in (found.reason or "")


def test_the_simulated_curve_meets_its_target_where_it_should() -> None:
    run = a_measurement("single", 1, 0.01)
    found = crossing([(p.samples, p.metrics["val_accuracy"]) for p in run.curve], TARGET)
    assert found == pytest.approx(error_at(0.9), rel=0.01)
