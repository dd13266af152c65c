"""Records one run: what every tick brought goes to the store, and at the end the store becomes the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from orchestrator.control.coordinator import Tick
from orchestrator.control.states import Ended
from orchestrator.monitor.noise_scale import NoiseScaleEstimate
from orchestrator.monitor.speed import Pace
from orchestrator.monitor.stability import StabilityDetector
from orchestrator.plan.cost import cost
from orchestrator.plan.topology import TaskPlan, count_by_type, evaluator_plan, training_plans
from orchestrator.results import (
    FailureRecord,
    Finding,
    GradientNoise,
    RunResult,
    Seconds,
    Stability,
    Status,
    TargetResult,
    Throughput,
)
from orchestrator.sinks.fanout import Sink, Sinks
from orchestrator.spec.run import RunSpec
from orchestrator.store import summaries
from orchestrator.store.directory import RunStore
from workers.messages import (
    LARGE_BATCH_NORM,
    SMALL_BATCH_NORM,
    CheckpointFailed,
    CheckpointWritten,
    Leg,
    ReplicaState,
    StepBatch,
    Task,
    TaskFailure,
)


class Recorder:
    """Listens to one run."""

    def __init__(
        self,
        spec: RunSpec,
        run_id: str,
        store: RunStore,
        command_started: float | None,
        sinks: Sequence[Sink] = (),
        attempt: int = 1,
    ) -> None:
        self._spec = spec
        self._run_id = run_id
        self._store = store
        self._command_started = command_started
        self._begun = time.monotonic()
        self._launch_begun: float | None = None
        self._launch_seconds: float | None = None
        self._first_step: float | None = None
        self._steps = summaries.last_step(store.path) if attempt > 1 else 0
        self._attempts = attempt
        self._failures = summaries.failures(store.path) if attempt > 1 else []
        self._detector = StabilityDetector()
        self._pace = Pace()
        self._noise = NoiseScaleEstimate()
        self._findings: list[Finding] = []
        self._away: dict[Task, bool] = {}
        """Tasks that were replaced, and have not done anything since; whether they are ready again."""
        self._sinks = Sinks(sinks, store)
        self.react: Callable[[Finding], str] = lambda _: "warned"
        """Does something about a finding, and says what."""
        self.rollbacks = 0
        self._fewest: int | None = None

    def launch_begins(self) -> None:
        self._launch_begun = time.monotonic()
        self._store.event(self._attempts, "launch")

    def launch_ended(self, attempt: int) -> None:
        if self._launch_begun is not None:
            self._launch_seconds = time.monotonic() - self._launch_begun
        self._store.event(attempt, "ready")

    def tick(self, attempt: int, tick: Tick) -> None:
        self._attempts = attempt
        if tick.replaced:
            self.failed(attempt, tick.replaced)
            for failure in tick.replaced:
                self._store.event(attempt, "replace", failure.task, failure=failure.kind)
                self._away[failure.task] = False
        for status in tick.statuses:
            if status.task in self._away and status.state is ReplicaState.READY:
                self._away[status.task] = True
            timings = tuple(timing for timing in status.timings if timing.run_id == self._run_id)
            status = replace(status, timings=timings)  # noqa: PLW2901 - less the last words on the run before
            self._store.add(attempt, status, self.rollbacks)
            self._sinks.hear(status)
            for batch in status.batches:
                self._observe(attempt, batch)
            if status.batches and self._spec.monitor:
                self._keep(attempt, self._judge(status.batches))
            for timing in timings:
                self._keep(attempt, self._pace.observe(timing))
            for evaluation in status.evaluations:
                loss = evaluation.metrics.get("val_loss")
                if loss is not None and self._spec.monitor:
                    stamp = evaluation.stamp
                    self._keep(attempt, self._detector.observe_evaluation(stamp.step, stamp.clock, loss))
            for started in status.leg_started:
                plan = {"total_steps": started.total_steps, "global_batch": started.global_batch}
                self._store.event(attempt, "leg_started", status.task, **plan)
                self._noise.begin(self._spec.batch_size, started.global_batch)
            for checkpoint in status.checkpoints:
                self._checkpoint(attempt, status.task, checkpoint)
            for finished in status.leg_finished:
                self._store.event(attempt, "leg_finished", status.task, stopped=finished.stopped, **finished.phases)

    def _checkpoint(self, attempt: int, task: Task, told: CheckpointWritten | CheckpointFailed) -> None:
        if isinstance(told, CheckpointFailed):
            self._store.event(attempt, "checkpoint_failed", task, step=told.step, problem=told.problem)
            return
        detail = {"samples": told.samples, "clock": told.clock, "name": told.name, "bytes": told.size}
        self._store.event(attempt, "checkpoint", task, step=told.step, seconds=told.seconds, **detail)
        self._store.commit()  # whoever goes on from there finds the steps before it

    def note(self, attempt: int, text: str) -> None:
        """One line for whoever reads the events."""
        self._store.event(attempt, "note", text=text)

    def restarts(self, attempt: int, cause: TaskFailure, waited: float) -> None:
        """The group is launched anew because of `cause`, `waited` seconds after it broke."""
        self._attempts = attempt
        self._store.event(attempt, "restart", cause.task, failure=cause.kind, waited=waited)

    def resized(self, attempt: int, workers: int) -> None:
        """Attempt `attempt` has another number of workers than the one before."""
        self._fewest = min(workers, self._fewest or workers)
        self._store.event(attempt, "resized", workers=workers)

    def goes_on(self, attempt: int, leg: Leg) -> None:
        """A new attempt trains `leg`. A supervisor that was killed took the last reports with it, the checkpoint that
        is gone on from may lie beyond them."""
        self._pace.goes_on()
        self._detector.goes_back()
        start = leg.start
        if start is not None and start.step > self._steps:
            self._store.event(attempt, "unreported", first=self._steps + 1, last=start.step)
        where = {"step": start.step, "samples": start.samples, "clock": start.clock} if start else {"step": 0}
        self._store.event(attempt, "goes_on", **where)

    def rolled_back(self, attempt: int, leg: Leg) -> None:
        """What comes now repeats steps of the leg before."""
        self.rollbacks += 1
        self._detector.goes_back()
        self._store.event(attempt, "rollback", step=leg.start.step if leg.start else 0)

    def close(self, result: RunResult) -> None:
        """The result is written: nothing more will come."""
        self._sinks.close(result)

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
        if self._spec.monitor:
            self._keep(self._attempts, (*self._detector.finish(), *self._pace.finish()))
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
            stability=Stability(
                findings=tuple(self._findings), jitter=self._detector.jitter, gradient_noise=self._gradient_noise()
            ),
            staleness=summaries.staleness(self._store.path),
            utilization=summaries.utilization(self._store.path),
            timing=summaries.timing(self._store.path, self._spec.mode),
            cost=cost(self._spec.price, _plans(self._spec), finished.seconds if finished else None),
            attempts=self._attempts,
            failures=tuple(self._failures),
            fewest_workers=self._fewest,
            shares=(ended.plan.shares or None) if ended and ended.plan else None,
            optimizer_iterations=finished.optimizer_iterations if finished else None,
            doubled_updates=finished.doubled_updates if finished and self._spec.mode == "async" else None,
        )

    def _observe(self, attempt: int, batch: StepBatch) -> None:
        worker = Task("worker", batch.worker)
        if self._away.get(worker) and len(batch.steps):
            del self._away[worker]
            self._store.event(attempt, "rejoined", worker, step=int(batch.steps[0]))
        if self._first_step is None and self._command_started is not None:
            # When the news came, less the steps after the first that came with it.
            later = float(batch.clock[-1] - batch.clock[0])
            self._first_step = time.monotonic() - self._command_started - later
        self._steps = max(self._steps, int(batch.steps[-1]))
        if SMALL_BATCH_NORM in batch.logs and LARGE_BATCH_NORM in batch.logs:
            self._noise.add(batch.logs[SMALL_BATCH_NORM], batch.logs[LARGE_BATCH_NORM], len(batch.steps))

    def _judge(self, batches: Sequence[StepBatch]) -> Iterable[Finding]:
        """All at once: with cold caches the detector takes 17 us a step for 36 steps, and 12 for 180."""
        steps, clock, losses = (
            np.concatenate([getattr(batch, column) for batch in batches]) for column in ("steps", "clock", "losses")
        )
        return self._detector.observe(steps, steps * self._spec.batch_size, clock, losses)

    def _gradient_noise(self) -> GradientNoise | None:
        found = self._noise.value
        return None if found is None else GradientNoise(**asdict(found), steps=self._noise.steps)

    def _keep(self, attempt: int, findings: Iterable[Finding]) -> None:
        for found in findings:
            finding = found.model_copy(update={"action": self.react(found)})
            self._findings.append(finding)
            self._sinks.found(finding)
            self._store.event(
                attempt,
                "finding",
                finding=finding.kind,
                step=finding.step,
                clock=finding.clock,
                symptom=finding.symptom,
                action=finding.action,
            )


def _plans(spec: RunSpec) -> tuple[TaskPlan, ...]:
    return (*training_plans(spec), evaluator_plan(spec))


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
    """The last evaluation, and the final training loss."""
    final = dict(ended.last.metrics) if ended and ended.last else {}
    loss = summaries.final_loss(run)
    return final if loss is None else {"loss": loss, **final}
