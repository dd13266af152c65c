"""Records one run: what every tick brought goes to the store, and at the end the store becomes the result."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from orchestrator.coordinator import Tick
from orchestrator.fleet import training_plans
from orchestrator.price import cost
from orchestrator.result import (
    FailureRecord,
    Finding,
    RunResult,
    Seconds,
    Stability,
    Staleness,
    Status,
    TargetResult,
    Throughput,
    Utilization,
)
from orchestrator.spec import RunSpec
from orchestrator.states import Ended
from orchestrator.store import Metrics, RunStore
from orchestrator.topology import TaskPlan, count_by_type, plan_evaluator
from workers.messages import StepBatch, TaskFailure
from workers.monitor.stability import StabilityDetector


class Recorder:
    """Listens to one run."""

    def __init__(self, spec: RunSpec, run_id: str, store: RunStore, command_started: float) -> None:
        self._spec = spec
        self._run_id = run_id
        self._store = store
        self._command_started = command_started
        self._begun = time.monotonic()
        self._launch_begun: float | None = None
        self._launch_seconds: float | None = None
        self._first_step: float | None = None
        self._steps = 0
        self._attempts = 1
        self._failures: list[FailureRecord] = []
        self._detector = StabilityDetector()
        self._findings: list[Finding] = []

    def launch_begins(self) -> None:
        self._launch_begun = time.monotonic()
        self._store.event(self._attempts, "launch")

    def launch_ended(self, attempt: int) -> None:
        if self._launch_begun is not None:
            self._launch_seconds = time.monotonic() - self._launch_begun
        self._store.event(attempt, "ready")

    def tick(self, attempt: int, tick: Tick) -> None:
        self._attempts = attempt
        for status in tick.statuses:
            self._store.add(attempt, status)
            for batch in status.batches:
                self._observe(attempt, batch)
            for evaluation in status.evaluations:
                loss = evaluation.metrics.get("val_loss")
                if loss is not None:
                    stamp = evaluation.stamp
                    self._keep(attempt, self._detector.observe_evaluation(stamp.step, stamp.clock, loss))
            for started in status.leg_started:
                self._store.event(attempt, "leg_started", status.task, total_steps=started.total_steps)
            for finished in status.leg_finished:
                self._store.event(attempt, "leg_finished", status.task, stopped=finished.stopped, **finished.phases)

    def failed(self, attempt: int, failures: Sequence[TaskFailure]) -> None:
        for failure in failures:
            log = str(self._store.log_path(failure.task).relative_to(self._store.path))
            self._failures.append(
                FailureRecord(
                    task=str(failure.task), kind=failure.kind, attempt=attempt, summary=failure.summary, log=log
                )
            )
            self._store.event(attempt, "failure", failure.task, failure=failure.kind, summary=failure.summary)

    def result(self, status: Status, reason: str, ended: Ended | None) -> RunResult:
        """The frozen result; flushes what the detector still holds."""
        self._keep(self._attempts, self._detector.finish())
        finished = ended.finished if ended else None
        self._store.event(self._attempts, status, reason=reason)
        self._store.commit()
        return RunResult(
            run_id=self._run_id,
            job=self._spec.job,
            mode=self._spec.mode,
            variant=self._spec.variant,
            seed=self._spec.seed,
            status=status,
            stop_reason=reason,
            tasks=count_by_type(_plans(self._spec)),
            steps=finished.steps if finished else self._steps or None,
            samples=finished.samples if finished else None,
            seconds=Seconds(
                launch=self._launch_seconds,
                to_first_step=self._first_step,
                training=finished.seconds if finished else None,
                total=time.monotonic() - self._begun,
            ),
            throughput=_throughput(ended),
            target=_target(self._spec, ended),
            final=_final(self._store.path, ended),
            stability=Stability(findings=tuple(self._findings), jitter=self._detector.jitter),
            staleness=staleness(self._store.path),
            utilization=utilization(self._store.path),
            cost=cost(self._spec.price, _plans(self._spec), finished.seconds if finished else None),
            attempts=self._attempts,
            failures=tuple(self._failures),
            optimizer_iterations=finished.optimizer_iterations if finished else None,
            doubled_updates=finished.doubled_updates if finished and self._spec.mode == "async" else None,
        )

    def _observe(self, attempt: int, batch: StepBatch) -> None:
        if self._first_step is None and self._launch_begun is not None:
            # When the news came, less the steps after the first that came with it.
            later = float(batch.clock[-1] - batch.clock[0])
            self._first_step = time.monotonic() - self._command_started - later
        self._steps += len(batch.steps)
        samples = batch.steps * self._spec.batch_size
        self._keep(attempt, self._detector.observe(batch.steps, samples, batch.clock, batch.losses))

    def _keep(self, attempt: int, findings: Sequence[object]) -> None:
        for found in findings:
            finding = Finding.model_validate(found, from_attributes=True)
            self._findings.append(finding)
            self._store.event(attempt, "finding", finding=finding.kind, step=finding.step, symptom=finding.symptom)


def _plans(spec: RunSpec) -> tuple[TaskPlan, ...]:
    return (*training_plans(spec), plan_evaluator(spec.cpus_per_task))


def _throughput(ended: Ended | None) -> Throughput:
    if ended is None or ended.finished.seconds <= 0:
        return Throughput()
    finished = ended.finished
    return Throughput(steps_per_s=finished.steps / finished.seconds, samples_per_s=finished.samples / finished.seconds)


def _target(spec: RunSpec, ended: Ended | None) -> TargetResult | None:
    target = spec.parsed_target
    if target is None:
        return None
    hit = ended.reached.stamp if ended and ended.reached else None
    return TargetResult(
        metric=target.metric,
        op=target.op,
        value=target.value,
        reached=hit is not None,
        seconds=hit.clock if hit else None,
        steps=hit.step if hit else None,
        samples=hit.samples if hit else None,
    )


def _final(run: Path, ended: Ended | None) -> dict[str, float]:
    """The last evaluation, and the mean training loss of the last 1 % of the steps: NaN if one of them was."""
    final = dict(ended.last.metrics) if ended and ended.last else {}
    metrics = Metrics(run)
    try:
        losses = metrics.column(
            "SELECT loss FROM steps ORDER BY step DESC LIMIT (SELECT MAX(1, COUNT(*) / 100) FROM steps)"
        )
    finally:
        metrics.close()
    # SQLite keeps NaN as null. A run that diverged must not show the last loss it had before.
    return {"loss": fmean(math.nan if loss is None else loss for loss in losses), **final} if losses else final


def staleness(run: Path) -> Staleness | None:
    """Of every async update in the run's store; None for sync."""
    metrics = Metrics(run)
    try:
        values = metrics.column("SELECT staleness FROM steps WHERE staleness IS NOT NULL ORDER BY staleness")
    finally:
        metrics.close()
    if not values:
        return None

    def quantile(q: float) -> float:
        return float(values[min(len(values) - 1, int(q * len(values)))])

    return Staleness(mean=fmean(values), p50=quantile(0.5), p95=quantile(0.95), max=float(values[-1]))


def utilization(run: Path) -> Utilization:
    """Means by task over the run's samples; null where nothing could be measured, with the reason for GPUs."""
    metrics = Metrics(run)
    try:
        hosts = metrics.rows("SELECT task, AVG(cpu_percent), AVG(rss_bytes) FROM host_samples GROUP BY task")
        gpus = metrics.rows("SELECT task, AVG(utilization_percent) FROM gpu_samples GROUP BY task")
        notes = metrics.column("SELECT DISTINCT value FROM host_samples, json_each(notes) WHERE value LIKE 'GPU:%'")
    finally:
        metrics.close()
    return Utilization(
        cpu_percent={task: cpu for task, cpu, _ in hosts},
        rss_bytes={task: None if rss is None else int(rss) for task, _, rss in hosts},
        gpu_percent=dict(gpus) or None,
        gpu_note="; ".join(notes) or None,
    )
