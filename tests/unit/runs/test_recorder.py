"""The recorder turns polls into the result, and leaves null what was not measured."""

from __future__ import annotations

import json
import math
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.control.coordinator import Tick
from orchestrator.control.orders import Ended
from orchestrator.control.states import Training
from orchestrator.monitor.run_monitor import RunMonitor
from orchestrator.results import RunResult
from orchestrator.runs.recorder import Recorder
from orchestrator.spec.run import RunSpec
from orchestrator.store.directory import RunStore
from orchestrator.store.documents import to_text
from orchestrator.store.metrics import Metrics
from tests.made import in_order, leg, status
from workers.messages import FailureKind, Start, Task, TaskFailure
from workers.news import Evaluation, HostSample, LegFinished, LegStarted, Stamp, StepBatch

pytestmark = pytest.mark.unit

W0, W1, EVALUATOR = Task("worker", 0), Task("worker", 1), Task("evaluator", 0)


def batch(first: int, losses: Any, *, worker: int = 0, staleness: Any = None) -> StepBatch:
    losses = np.asarray(losses, dtype=np.float64)
    steps = np.arange(first, first + len(losses))
    stale = None if staleness is None else np.asarray(staleness, dtype=np.float64)
    return StepBatch("r", worker, steps, steps / 100, losses, stale, 0.1, {"loss": float(losses.mean())})


def evaluation(step: int, **metrics: float) -> Evaluation:
    return Evaluation(Stamp("r", step, 64 * step, step / 100), metrics, 0.1)


def host(cpu: float | None, rss: int | None, *notes: str) -> HostSample:
    """A host sample taken during the leg."""
    return HostSample(time.time() + 1, cpu, rss, None, None, None, None, None, None, notes=notes)


def ended(steps: int, *, stopped: str | None = None, **changes: Any) -> Ended:
    finished = LegFinished("r", steps, 64 * steps, steps / 100, stopped, steps, {"train": steps / 100})
    return Ended(
        finished, LegStarted("r", steps, 64, 10), **{"reached": None, "last": None, "stopping": None} | changes
    )


class Run:
    """A run, its recorder and its monitor."""

    def __init__(self, path: Path, **fields: Any) -> None:
        self.store = RunStore(path)
        self.spec = RunSpec.make({"job": "digits", **fields})
        self.recorder = Recorder(self.spec, "r", self.store, command_started=0.0)
        self.monitor = RunMonitor(self.spec, "r")

    def observe(self, task: Task = W0, attempt: int = 1, **news: Any) -> None:
        news = {name: value if isinstance(value, tuple) else (value,) for name, value in news.items()}
        statuses = [status(task, *in_order(**news))]
        self.recorder.tick(attempt, Tick(Training("r"), statuses))
        for finding in self.monitor.observe(statuses):
            self.recorder.add_finding(finding)

    def result(self, end: Ended | None, how: Any = "succeeded", reason: str = "budget") -> RunResult:
        for finding in self.monitor.finish():
            self.recorder.add_finding(finding)
        result = self.recorder.result(how, reason, end, self.monitor)
        self.store.close()
        assert (
            RunResult.model_validate(json.loads(to_text(result.to_json()))).to_json().keys() == result.to_json().keys()
        )
        return result

    def events(self) -> list[str]:
        metrics = Metrics(self.store.path)
        kinds: list[str] = metrics.column("SELECT kind FROM events")
        metrics.close()
        return kinds


def test_the_result_of_a_successful_run(tmp_path: Path) -> None:
    run = Run(tmp_path, mode="async", workers=2, ps=1, target="val_accuracy>=0.9", price={"worker": 36.0})
    run.recorder.launch_begins()
    run.recorder.launch_ended(1)
    run.observe(leg_started=LegStarted("r", 200, 32, 50))
    run.observe(
        batches=(batch(1, np.linspace(2, 1, 100), staleness=[0, 1, 2, 3] * 25), batch(101, [0.5] * 100, worker=1))
    )
    reached, last = evaluation(100, val_accuracy=0.92, val_loss=0.4), evaluation(200, val_accuracy=0.95, val_loss=0.3)
    run.observe(EVALUATOR, evaluations=(reached, last))
    run.observe(samples=(host(50.0, 100), host(150.0, 300)))
    run.observe(W1, samples=(host(None, None, "GPU: NVML library not found", "no disk counters"),))
    end = ended(200, stopped="target", reached=reached, last=last, stopping="target")
    result = run.result(end, reason="target")

    assert (result.status, result.stop_reason, result.steps, result.samples) == ("succeeded", "target", 200, 12_800)
    assert result.tasks == {"chief": 1, "ps": 1, "worker": 2, "evaluator": 1}
    assert result.target is not None
    assert (result.target.reached, result.target.seconds, result.target.steps) == (True, 1.0, 100)
    assert (result.target.further_seconds, result.target.further_samples) == (1.0, 6400)
    assert result.final == {"loss": 0.5, "val_accuracy": 0.95, "val_loss": 0.3}
    assert result.staleness is not None
    assert (result.staleness.mean, result.staleness.max) == (1.5, 3.0)
    assert (result.staleness.p50, result.staleness.p95) == (2.0, 3.0)
    assert result.throughput.steps_per_s == pytest.approx(100)
    assert result.throughput.samples_per_s == pytest.approx(6400)
    assert result.utilization.cpu_percent == {"worker:0": 100.0, "worker:1": None}
    assert result.utilization.rss_bytes == {"worker:0": 200, "worker:1": None}
    assert result.utilization.gpu_percent is None
    assert result.utilization.gpu_note == "GPU: NVML library not found"
    assert result.seconds.training == 2.0
    assert result.seconds.launch is not None
    assert result.seconds.to_first_step is not None
    assert result.cost == pytest.approx(2 * 36 * 2 / 3600)
    assert (result.optimizer_iterations, result.doubled_updates) == (200, 0)
    assert (result.attempts, result.failures) == (1, ())
    assert run.events()[:3] == ["launch", "ready", "leg_started"]


def test_values_that_were_not_measured_are_null(tmp_path: Path) -> None:
    result = Run(tmp_path, target="val_accuracy>=0.9").result(None, "failed", "it broke")
    document = result.to_json()
    assert document["steps"] is document["samples"] is document["staleness"] is document["cost"] is None
    assert document["throughput"] == {"steps_per_s": None, "samples_per_s": None}
    assert document["seconds"]["launch"] is document["seconds"]["to_first_step"] is None
    assert document["seconds"]["training"] is document["seconds"]["elapsed"] is None
    assert set(document["seconds"]["parts"].values()) == {None}
    assert document["utilization"] == {"cpu_percent": {}, "rss_bytes": {}, "gpu_percent": None, "gpu_note": None}
    assert document["final"] == {}
    assert document["target"] == {
        "metric": "val_accuracy", "op": ">=", "value": 0.9, "reached": False,
        "seconds": None, "training_seconds": None, "further_seconds": None, "further_samples": None,
        "steps": None, "samples": None,
    }  # fmt: skip
    assert document["doubled_updates"] is document["optimizer_iterations"] is None


def test_without_a_target_its_result_is_null(tmp_path: Path) -> None:
    assert Run(tmp_path).result(ended(10)).target is None


def test_a_failed_run_keeps_its_steps_and_failures(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.observe(batches=batch(1, [2.0, 1.0]))
    failures = [
        TaskFailure(W1, FailureKind.INFRASTRUCTURE, "its process was killed by SIGKILL"),
        TaskFailure(W0, FailureKind.PEER, "lost its peer"),
    ]
    run.recorder.failed(2, failures)
    result = run.result(None, "failed", "worker:1 failed")
    assert (result.steps, result.samples, result.final) == (2, None, {"loss": 1.0})
    assert [(failure.task, failure.kind, failure.attempt) for failure in result.failures] == [
        ("worker:1", "infrastructure", 2),
        ("worker:0", "peer", 2),
    ]
    assert result.failures[0].log == "logs/worker-1.log"
    assert run.events()[-1] == "failed"


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_run_that_diverged_does_not_report_its_last_finite_loss(tmp_path: Path, bad: float) -> None:
    run = Run(tmp_path)
    run.observe(batches=(batch(1, [0.5] * 300), batch(301, [bad] * 100)))
    result = run.result(ended(400, last=evaluation(300, val_loss=0.4)))
    assert not math.isfinite(result.final["loss"])
    assert result.final["val_loss"] == 0.4
    assert "nan" in [finding.kind for finding in result.stability.findings]
    assert "finding" in run.events()


def test_the_final_loss_is_the_mean_of_the_last_percent(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.observe(batches=batch(101, [1.0] * 98 + [0.25, 0.75]))  # news may arrive out of order
    run.observe(batches=batch(1, [8.0] * 100))
    assert run.result(ended(200)).final == {"loss": 0.5}


def test_a_short_run_has_a_final_loss_too(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.observe(batches=batch(1, [3.0]))
    assert run.result(ended(1)).final == {"loss": 3.0}


def test_sync_has_no_staleness_and_no_doubled_updates(tmp_path: Path) -> None:
    run = Run(tmp_path, mode="sync")
    run.observe(batches=batch(1, [3.0]))
    result = run.result(ended(1))
    assert result.staleness is None
    assert result.doubled_updates is None


def test_attempts_are_counted(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.observe(attempt=1)
    run.observe(attempt=3)
    assert run.result(ended(1)).attempts == 3


def test_a_leg_without_time_has_no_throughput(tmp_path: Path) -> None:
    assert Run(tmp_path).result(ended(0)).throughput.steps_per_s is None


def test_steps_that_were_never_reported_are_recorded(tmp_path: Path) -> None:
    """The supervisor was killed after the checkpoint, before a poll could fetch the steps."""
    run = Run(tmp_path)
    run.observe(batches=(batch(1, [0.5] * 720),))
    resumed = leg(attempt=2, start=Start(800, 51_200, 9.0))
    run.recorder.continues(2, resumed)
    run.observe(attempt=2, batches=(batch(801, [0.5] * 10),))
    run.recorder.continues(3, replace(resumed, attempt=3, start=Start(800, 51_200, 9.0)))
    run.store.commit()
    with closing(Metrics(tmp_path)) as metrics:
        lost = metrics.column("SELECT detail FROM events WHERE kind = 'unreported'")
    assert [json.loads(detail) for detail in lost] == [{"first": 721, "last": 800}]
