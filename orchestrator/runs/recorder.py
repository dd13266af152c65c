"""Records one run: passes every poll to the store and the sinks, and computes the result at the end.

It makes no decisions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.control.coordinator import Tick
from orchestrator.control.orders import Ended
from orchestrator.monitor.run_monitor import RunMonitor
from orchestrator.plan.cost import cost
from orchestrator.plan.topology import all_plans, count_by_type
from orchestrator.results import FailureRecord, Finding, RunResult, Seconds, Stability, Status, Utilization
from orchestrator.runs.away import Away
from orchestrator.runs.findings import Findings
from orchestrator.runs.outcome import counts, final, not_finite, target_result, throughput
from orchestrator.sinks.fanout import Sink, Sinks
from orchestrator.spec.run import RunSpec
from orchestrator.store import summaries, time_parts
from orchestrator.store.directory import RunStore
from workers.messages import CALLBACKS, NOT_FINITE, VALIDATION, FailureKind, Leg, Spent, Task, TaskFailure
from workers.news import (
    CallTiming,
    CheckpointFailed,
    CheckpointWritten,
    LegFinished,
    LegStarted,
    News,
    ReplicaStatus,
    StepBatch,
)

_KEPT = ("total_steps", "global_batch", "learning_rate", "samples_per_epoch", "steps_before", "samples_before")
"""What is stored of a leg's plan."""


class Recorder:
    """Records one run."""

    def __init__(
        self,
        spec: RunSpec,
        run_id: str,
        store: RunStore,
        command_started: float | None,
        sinks: Sequence[Sink] = (),
        attempt: int = 1,
    ) -> None:
        """`command_started` is the monotonic time for a command's first run; `attempt` is above 1 for a resumed run."""
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
        self._findings = Findings()
        self._checkpoint: str | None = None
        self._away = Away()
        self._sinks = Sinks(sinks, store)
        self._rollbacks = 0
        self._fewest: int | None = None
        self._leader = spec.stages[0].traits.leader
        self._spent: Spent = time_parts.spent(store.path) if attempt > 1 else {}

    def begins_now(self) -> None:
        """Leave the time so far to the script's earlier fits."""
        late, self._begun = time.monotonic() - self._begun, time.monotonic()
        self._command_started = self._command_started and self._command_started + late

    def launch_begins(self) -> None:
        self._launch_begun = time.monotonic()
        self._store.event(self._attempts, "launch")

    def launch_ended(self, attempt: int) -> None:
        if self._launch_begun is not None:
            self._launch_seconds, self._launch_begun = time.monotonic() - self._launch_begun, None
        self._store.event(attempt, "ready")

    def tick(self, attempt: int, tick: Tick) -> None:
        """Record a poll."""
        self._attempts = attempt
        if tick.replaced:
            self.failed(attempt, tick.replaced)
            for failure in tick.replaced:
                self._store.event(attempt, "replace", failure.task, failure=failure.kind)
                self._away.replaced(failure.task)
        for status in tick.statuses:
            self._status(attempt, status)

    def note(self, attempt: int, text: str) -> None:
        """Store a line for people among the events."""
        self._store.event(attempt, "note", text=text)

    def restarts(self, attempt: int, cause: TaskFailure, waited: float) -> None:
        """Another attempt was launched because of `cause`, after waiting for `waited` seconds."""
        self._attempts = attempt
        self._store.event(attempt, "restart", cause.task, failure=cause.kind, waited=waited)

    def resized(self, attempt: int, workers: int) -> None:
        """`attempt` has another number of workers than the one before."""
        self._fewest = min(workers, self._fewest or workers)
        self._store.event(attempt, "resized", workers=workers)

    def switched(self, attempt: int, ended: LegFinished, mode: str, stage: int) -> None:
        """The run continues in `mode`, its `stage`, after a leg that has `ended`."""
        after, own = {"step": ended.steps, "clock": ended.seconds}, self._spec.mode
        self._store.event(attempt, "switched", None, **after, to=mode, stage=stage, of=own)
        self._store.commit()

    def continues(self, attempt: int, leg: Leg) -> None:
        """A new attempt trains `leg`.

        Its checkpoint may be beyond the last reported step, if a supervisor was killed before it could report.
        """
        start = leg.start
        if start is not None and start.step > self._steps:
            self._store.event(attempt, "unreported", first=self._steps + 1, last=start.step)
        where = {"step": start.step, "samples": start.samples, "clock": start.clock} if start else {"step": 0}
        self._store.event(attempt, "goes_on", **where)

    def rolled_back(self, attempt: int, leg: Leg) -> None:
        """Steps reported from now on repeat steps of the previous leg."""
        self._rollbacks += 1
        self._findings.rolled_back(step := leg.start.step if leg.start else 0)
        self._store.event(attempt, "rollback", step=step)

    def failed(self, attempt: int, failures: Sequence[TaskFailure]) -> None:
        for failure in failures:
            log = str(self._store.log_path(failure.task).relative_to(self._store.path))
            about = {"task": str(failure.task), "kind": failure.kind, "summary": failure.summary, "log": log}
            self._failures.append(FailureRecord(**about, attempt=attempt))
            self._store.event(attempt, "failure", failure.task, failure=failure.kind, summary=failure.summary)

    def add_finding(self, finding: Finding) -> None:
        """Record a finding, with the action taken."""
        self._findings.add(finding)
        self._sinks.add_finding(finding)
        kept = ("step", "clock", "symptom", "action", "remedies")
        details = {name: getattr(finding, name) for name in kept}
        self._store.event(self._attempts, "finding", finding=finding.kind, **details)

    def result(self, status: Status, reason: str, ended: Ended | None, monitor: RunMonitor) -> RunResult:
        """The result of the run."""
        finished = ended.finished if ended else None
        if finished is not None and reason == NOT_FINITE:
            summary = not_finite(finished, self._checkpoint)
            self.failed(self._attempts, [TaskFailure(self._leader, FailureKind.USER, summary)])
        self._store.event(self._attempts, status, reason=reason)
        self._store.commit()
        plans, mode = all_plans(self._spec), self._spec.traits
        # Figures over a part of the steps would be wrong, and look like any others.
        stored = self._store.path if self._store.metrics_complete else None
        timed = stored if len(self._spec.stages) == 1 else None  # calls of two modes have no common shares
        elapsed = finished.seconds if finished else None
        apart = self._spent.get(CALLBACKS, 0.0) + self._spent.get(VALIDATION, 0.0)
        training = None if elapsed is None else elapsed - apart
        return RunResult(
            run_id=self._run_id,
            job=self._spec.job,
            mode=self._spec.mode,
            variant=self._spec.variant,
            seed=self._spec.seed,
            status=status,
            stop_reason=reason,
            tasks=count_by_type(plans),
            steps=finished.steps if finished else self._steps or None,
            samples=finished.samples if finished else None,
            samples_per_update=self._spec.samples_per_update,
            samples_per_epoch=summaries.samples_per_epoch(self._store.path),
            learning_rate=summaries.first_learning_rate(self._store.path),
            seconds=Seconds(
                launch=self._launch_seconds,
                to_first_step=self._first_step,
                elapsed=elapsed,
                training=training,
                total=time.monotonic() - self._begun,
                parts=time_parts.parts(elapsed, self._spent, time_parts.in_calls(stored)),
            ),
            throughput=throughput(ended, training),
            target=target_result(self._spec, ended),
            final=final(stored, ended),
            stability=Stability(
                findings=self._findings.taken(reason, finished),
                jitter=monitor.jitter,
                gradient_noise=monitor.gradient_noise,
            ),
            staleness=summaries.staleness(stored) if stored else None,
            utilization=summaries.utilization(stored) if stored else Utilization(),
            timing=summaries.timing(timed, mode, training) if timed else None,
            cost=cost(self._spec.price, plans, elapsed),
            attempts=self._attempts,
            failures=tuple(self._failures),
            fewest_workers=self._fewest,
            shares=(ended.plan.shares or None) if ended and ended.plan else None,
            **counts(finished, mode, self._spec.mode, self._store.path),
        )

    def close(self, result: RunResult) -> None:
        """Close the sinks, after the result was written."""
        self._sinks.close(result)

    def _status(self, attempt: int, status: ReplicaStatus) -> None:
        self._away.observe(status)
        own = tuple(n for n in status.news if not isinstance(n, CallTiming) or n.run_id == self._run_id)
        status = replace(status, news=own)  # without late timings of the run that the group trained before
        self._store.add(attempt, status, self._rollbacks)
        self._sinks.observe(status)
        for news in status.news:
            self._news(attempt, status.task, news)

    def _news(self, attempt: int, task: Task, news: News) -> None:
        match news:
            case StepBatch():
                self._trained(attempt, news)
            case LegStarted():
                self._leader = task
                plan = {name: getattr(news, name) for name in _KEPT} | {"trains": news.mode}
                plan |= {"era": attempt + self._rollbacks}  # as in the rows of its steps
                self._store.event(attempt, "leg_started", task, mode=self._spec.mode, **plan)
            case CheckpointFailed():
                self._store.event(attempt, "checkpoint_failed", task, step=news.step, problem=news.problem)
            case CheckpointWritten():
                detail = {"samples": news.samples, "clock": news.clock, "name": news.name, "bytes": news.size}
                detail |= self._spent
                self._checkpoint = news.name
                self._store.event(attempt, "checkpoint", task, step=news.step, seconds=news.seconds, **detail)
                self._store.commit()  # a run resumed from this checkpoint then finds the steps before it
            case LegFinished():
                self._spent = news.spent
                self._store.event(attempt, "leg_finished", task, stopped=news.stopped, **news.phases, **news.spent)

    def _trained(self, attempt: int, batch: StepBatch) -> None:
        worker = Task("worker", batch.worker)
        if len(batch.steps) and self._away.is_back(worker):
            self._store.event(attempt, "rejoined", worker, step=int(batch.steps[0]))
        if self._first_step is None and self._command_started is not None:
            # Time of the report, without the steps after the first in the same report.
            later_steps = float(batch.clock[-1] - batch.clock[0])
            self._first_step = time.monotonic() - self._command_started - later_steps
        self._steps = max(self._steps, int(batch.steps[-1]))
        self._spent = batch.spent
